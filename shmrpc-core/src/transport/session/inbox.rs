//! The receiving end of one stream: items that have come and not been taken, and the credit that is owed
//! to the sender for those that have.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::Bytes;

use super::{FrameSink, Violation};
use crate::{
    error::RpcError,
    frame::{Frame, ITEM_OVERHEAD_BYTES},
    shm::kill_point::kill_point,
};

/// An item, the end of the items, or what broke them off.
pub(crate) type Item = Option<Result<Bytes, RpcError>>;

pub(crate) struct Inbox {
    id: u64,
    sink: Arc<dyn FrameSink>,
    window_bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    items: VecDeque<Bytes>,
    /// What the sender may still send; an item may take it below zero, once.
    granted: i64,
    /// Taken by the receiver and not granted anew yet.
    owed: u64,
    end: Option<Result<(), RpcError>>,
    /// Nobody will take another item.
    stopped: bool,
    wakers: Vec<Waker>,
}

/// What an item costs of its stream's credit.
pub(super) fn cost(item: &Bytes) -> u64 {
    item.len() as u64 + ITEM_OVERHEAD_BYTES
}

impl Inbox {
    pub(super) fn new(id: u64, sink: Arc<dyn FrameSink>, window_bytes: u64) -> Self {
        let state = State {
            items: VecDeque::new(),
            granted: i64::try_from(window_bytes).unwrap_or(i64::MAX),
            owed: 0,
            end: None,
            stopped: false,
            wakers: Vec::new(),
        };
        Self { id, sink, window_bytes, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, item: Bytes) -> Result<(), Violation> {
        let mut state = self.lock();
        if state.granted <= 0 {
            return Err(Violation(format!("item of call {} without credit", self.id)));
        }
        state.granted -= i64::try_from(cost(&item)).unwrap_or(i64::MAX);
        if state.end.is_some() && !state.stopped {
            return Err(Violation(format!("item of call {} after its end", self.id)));
        }
        if !state.stopped {
            state.items.push_back(item);
            self.wake(state);
        }
        Ok(())
    }

    pub(super) fn end(&self, outcome: Result<(), RpcError>) {
        let mut state = self.lock();
        if state.end.is_none() {
            state.end = Some(outcome);
            self.wake(state);
        }
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The next item; `Err` when `until` has passed.
    pub(crate) fn recv_until(&self, until: Instant) -> Result<Item, TimedOut> {
        let mut state = self.lock();
        loop {
            if let Some(item) = self.take(&mut state) {
                self.settle_credit(state);
                return Ok(item);
            }
            let left = until.checked_duration_since(Instant::now()).ok_or(TimedOut)?;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn poll_recv(&self, cx: &Context<'_>) -> Poll<Item> {
        let mut state = self.lock();
        if let Some(item) = self.take(&mut state) {
            self.settle_credit(state);
            return Poll::Ready(item);
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// `None` while there is nothing to say. What broke the items off is said once.
    fn take(&self, state: &mut State) -> Option<Item> {
        if let Some(item) = state.items.pop_front() {
            state.owed += cost(&item);
            return Some(Some(Ok(item)));
        }
        match std::mem::replace(state.end.as_mut()?, Ok(())) {
            Ok(()) => Some(None),
            Err(error) => Some(Some(Err(error))),
        }
    }

    /// Grants what has been taken, in portions of half a window, with the lock given back.
    fn settle_credit(&self, mut state: MutexGuard<'_, State>) {
        if state.owed >= self.window_bytes.div_ceil(2) && state.end.is_none() {
            let bytes = std::mem::take(&mut state.owed);
            state.granted = state.granted.saturating_add_unsigned(bytes);
            drop(state);
            self.sink.send(Frame::Credit { id: self.id, bytes });
            kill_point("stream.credit_sent");
        }
    }

    /// The receiver is gone: what has come is dropped, and the sender is told.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.items.clear();
        let tell = state.end.is_none() && !state.stopped;
        state.stopped = true;
        drop(state);
        if tell {
            self.sink.send(Frame::StreamStop { id: self.id });
        }
    }
}

/// The deadline passed before there was anything to take.
#[derive(Debug)]
pub(crate) struct TimedOut;
