//! The process's I/O thread: one tokio runtime on one background thread, started when first needed. It
//! serves every TCP connection of this process's clients and every timer of async callers, so that
//! callers need no runtime of their own. No user's code runs here.

use std::{
    sync::{Mutex, PoisonError},
    task::{Context, Waker},
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Handle},
    task::JoinHandle,
};

/// Deadlines further away than this are none.
pub(crate) const NO_DEADLINE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The runtime of the I/O thread. After `fork` the child, which has no such thread, gets its own.
pub(crate) fn handle() -> Handle {
    static RUNNING: Mutex<Option<(u32, Handle)>> = Mutex::new(None);
    let pid = std::process::id();
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    match &*running {
        Some((owner, handle)) if *owner == pid => handle.clone(),
        _ => {
            let handle = start();
            *running = Some((pid, handle.clone()));
            handle
        }
    }
}

fn start() -> Handle {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a tokio runtime can be started");
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("shmrpc-io".into())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))
        .expect("a thread can be started");
    handle
}

/// Wakes a task at a deadline. Costs nothing until it is polled: callers that block have no use for it.
pub(crate) struct Alarm {
    until: Instant,
    armed: Option<(Waker, JoinHandle<()>)>,
}

impl Alarm {
    pub(crate) fn new(until: Instant) -> Self {
        Self { until, armed: None }
    }

    /// Whether the deadline has passed; if not, the task is woken when it does.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> bool {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        let armed_for_us = self.armed.as_ref().is_some_and(|(waker, _)| waker.will_wake(cx.waker()));
        if !armed_for_us && left < NO_DEADLINE / 2 {
            self.disarm();
            let (until, waker) = (self.until, cx.waker().clone());
            let task = handle().spawn({
                let waker = waker.clone();
                async move {
                    tokio::time::sleep_until(until.into()).await;
                    waker.wake();
                }
            });
            self.armed = Some((waker, task));
        }
        false
    }

    fn disarm(&mut self) {
        if let Some((_, task)) = self.armed.take() {
            task.abort();
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.disarm();
    }
}
