//! A call that is waited for later, or by a task. A task looks for its answer as a thread would for as long as that
//! pays, and is woken by the hub's reactor after that.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use super::Flight;
use crate::{
    client::{PendingCall, Reply},
    error::RpcError,
    shm::{doorbell::monotonic_ns, ticks::Ticks},
    transport::{
        Outbound,
        shm::{
            client::{Open, Patience, ring::Waiter, rings::Peer},
            hub::TaskWaits,
        },
    },
};

/// A call that is waited for later, or by a task.
pub(crate) struct ShmCall {
    /// Keeps the connection until the call is over, even if its owner has let go of it.
    open: Arc<Open>,
    flight: Flight,
    /// While the task is polled again and again, rather than woken.
    watch: Option<Watch>,
    task: Option<TaskWaits>,
}

/// A task's watch for its answer.
struct Watch {
    began: Ticks,
    until: Ticks,
    /// How many answers the connection's tasks had taken when `until` was set: as long as there are more and more, it
    /// is worth while to stay awake for the next.
    answers: u32,
}

/// How long one poll of a task beside others looks for an answer. Those that were called before it have been polled
/// before it: if their answers were there, its own is the next.
const GLANCE: Duration = Duration::from_micros(1);

impl ShmCall {
    pub(in super::super) fn begin(open: &Arc<Open>, call: &Outbound<'_>) -> Result<Self, RpcError> {
        let flight = Flight::begin(open, call)?;
        Ok(Self { open: Arc::clone(open), flight, watch: None, task: None })
    }

    fn take(&mut self) -> Option<Result<Reply, RpcError>> {
        let mut body = Vec::new();
        let outcome = self.flight.take(&self.open, &mut body)?;
        let patience = &self.open.patience;
        if self.flight.alone {
            let slept = self.task.is_some() && self.flight.peer != Peer::Woken;
            if let Some(watch) = self.watch.as_ref().filter(|_| slept) {
                patience.learn(Ticks::now().ns_since(watch.began));
            }
        } else {
            patience.note_answer();
        }
        self.task = None;
        Some(outcome.map(|status| Reply { status, body }))
    }

    /// While answers come sooner than a thread could be woken: alone, the task looks for its answer for as long
    /// as a thread would; beside others it has itself polled again, so that they run meanwhile. Whether there is
    /// more to wait for in this way.
    fn watch(&mut self, cx: &Context<'_>) -> bool {
        let answers = self.open.patience.answers();
        let now = Ticks::now();
        let until = match &mut self.watch {
            Some(watch) => {
                if watch.answers != answers {
                    (watch.until, watch.answers) = (now.plus(Patience::BUDGET), answers);
                }
                watch.until
            }
            None => {
                let patience = self.flight.patience(&self.open);
                let until = now.plus(patience);
                self.watch = Some(Watch { began: now, until, answers });
                if !self.flight.alone && !patience.is_zero() {
                    cx.waker().wake_by_ref();
                    return true;
                }
                until
            }
        };
        if now.reached(until) {
            return false;
        }
        if self.flight.alone {
            self.flight.watch_until(&self.open, until);
            return false;
        }
        if self.flight.watch_until(&self.open, now.plus(GLANCE)) {
            return false;
        }
        cx.waker().wake_by_ref();
        true
    }
}

impl PendingCall for ShmCall {
    fn wait(&mut self) -> Result<Reply, RpcError> {
        let mut body = Vec::new();
        let status = self.flight.wait(&self.open, &mut body)?;
        Ok(Reply { status, body })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, RpcError>> {
        if let Err(forked) = self.open.check_fork() {
            return Poll::Ready(Err(forked));
        }
        if self.task.is_none() && !self.flight.is_answered(&self.open) && self.watch(cx) {
            return Poll::Pending;
        }
        if let Some(outcome) = self.take() {
            return Poll::Ready(outcome);
        }
        if monotonic_ns() >= self.flight.deadline_ns {
            self.task = None;
            return Poll::Ready(Err(self.flight.overdue(&self.open)));
        }
        self.flight.note(&self.open, || Waiter::Task(cx.waker().clone()));
        let hub = self.open.node.hub();
        if self.task.is_none() {
            self.task = Some(hub.task_waits());
        }
        hub.announce_task(&***self.open, self.flight.deadline_ns);
        // It may have come between the first look and the note of whom to wake.
        match self.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }
}

impl Drop for ShmCall {
    fn drop(&mut self) {
        self.flight.abandon(&self.open);
    }
}
