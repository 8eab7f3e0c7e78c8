//! A call under way: [`Pending`] is waited for by a thread (`wait`) or by a task (it is a future). For
//! transports without a place of their own to wait, [`Completion`] is the cell in which the answer
//! arrives.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Instant,
};

use super::Reply;
use crate::{error::RpcError, transport::shm::client::ShmCall};

/// A call under way. Dropping it cancels the call: the server is told, a late answer is discarded.
#[must_use = "a dropped call is cancelled"]
pub struct Pending {
    inner: Inner,
}

/// Calls through shared memory are kept in place: an allocation would cost a good part of a call.
enum Inner {
    Shm(ShmCall),
    Boxed(Box<dyn PendingCall>),
}

impl Inner {
    fn get(&mut self) -> &mut dyn PendingCall {
        match self {
            Self::Shm(call) => call,
            Self::Boxed(call) => &mut **call,
        }
    }
}

/// What a transport does for a call under way. Dropping it cancels.
pub(crate) trait PendingCall: Send {
    /// Blocks until the answer is there or the deadline has passed.
    fn wait(&mut self) -> Result<Reply, RpcError>;
    /// Polls for the answer; the transport wakes the task, at the deadline too.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, RpcError>>;
}

impl Pending {
    pub(crate) fn new(inner: impl PendingCall + 'static) -> Self {
        Self { inner: Inner::Boxed(Box::new(inner)) }
    }

    pub(crate) fn shm(call: ShmCall) -> Self {
        Self { inner: Inner::Shm(call) }
    }

    /// Blocks the thread until the answer is there.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub fn wait(mut self) -> Result<Reply, RpcError> {
        self.wait_here()
    }

    /// As [`Self::wait`]; once.
    pub(super) fn wait_here(&mut self) -> Result<Reply, RpcError> {
        self.inner.get().wait()
    }
}

impl Future for Pending {
    type Output = Result<Reply, RpcError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.get().poll(cx)
    }
}

/// A cell that is filled once, awaited by one thread or one task.
pub(crate) struct Completion<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

struct State<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

impl<T> Completion<T> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { value: None, waker: None }), filled: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the value in unless there has been one, and wakes whoever waits.
    pub(crate) fn fill(&self, value: T) {
        let mut state = self.lock();
        if state.value.is_none() {
            state.value = Some(value);
            let waker = state.waker.take();
            drop(state);
            self.filled.notify_all();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Blocks until there is a value; `None` when `until` has passed.
    pub(crate) fn wait_until(&self, until: Instant) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(value) = state.value.take() {
                return Some(value);
            }
            let left = until.checked_duration_since(Instant::now())?;
            state = self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes the value, or remembers the task to wake.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<T> {
        let mut state = self.lock();
        if let Some(value) = state.value.take() {
            return Poll::Ready(value);
        }
        if state.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Runs a blocking function on a thread of its own and awaits it, in any runtime.
pub(crate) async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let cell = Completion::new();
    let filled = Arc::clone(&cell);
    std::thread::Builder::new()
        .name("shmrpc-connect".into())
        .spawn(move || filled.fill(work()))
        .expect("a thread can be started");
    std::future::poll_fn(move |cx| cell.poll(cx)).await
}
