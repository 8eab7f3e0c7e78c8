//! What many calls wait for at once: that a connection has been made again, or that another endpoint answers.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Instant,
};

/// A cell that is filled once and read by any number of threads and tasks.
pub(crate) struct Outcome<T> {
    state: Mutex<State<T>>,
    settled: Condvar,
}

struct State<T> {
    value: Option<T>,
    wakers: Vec<Waker>,
}

impl<T> Default for Outcome<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { value: None, wakers: Vec::new() }), settled: Condvar::new() }
    }
}

impl<T: Clone> Outcome<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the value in and wakes all who wait.
    pub(crate) fn settle(&self, value: T) {
        let mut state = self.lock();
        state.value = Some(value);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.settled.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The value, if there is one yet.
    pub(crate) fn get(&self) -> Option<T> {
        self.lock().value.clone()
    }

    /// Blocks until there is a value; `None` when `until` has passed.
    pub(crate) fn wait_until(&self, until: Instant) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(value) = &state.value {
                return Some(value.clone());
            }
            let left = until.checked_duration_since(Instant::now())?;
            state = self.settled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The value, or the task is woken when it is there.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<T> {
        let mut state = self.lock();
        if let Some(value) = &state.value {
            return Poll::Ready(value.clone());
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}
