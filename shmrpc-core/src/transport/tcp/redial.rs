//! Connecting again after a connection has ended: one attempt after another on the I/O thread, while
//! calls wait for the outcome.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use super::{
    Shared,
    dial::{Address, dial},
    link::Link,
};
use crate::{
    error::RpcError,
    transport::{io, session::Label},
};

/// Delay after the first failed attempt; doubled up to the longest.
const FIRST_DELAY: Duration = Duration::from_millis(5);
const LONGEST_DELAY: Duration = Duration::from_millis(250);

pub(super) struct Redial {
    state: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    outcome: Option<Result<Arc<Link>, String>>,
    wakers: Vec<Waker>,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Missed {
    DeadlineExceeded,
    Unavailable(String),
}

impl Missed {
    pub(super) fn error(self, label: &Label) -> RpcError {
        match self {
            Self::DeadlineExceeded => label.deadline_exceeded(),
            Self::Unavailable(reason) => RpcError::Unavailable { service: label.service.clone(), reason },
        }
    }
}

impl Redial {
    pub(super) fn start(shared: Weak<Shared>, address: Address) -> Arc<Self> {
        let redial = Arc::new(Self { state: Mutex::default(), changed: Condvar::new() });
        let until = Instant::now() + address.options.reconnect_timeout;
        io::handle().spawn({
            let redial = Arc::clone(&redial);
            async move {
                let outcome = attempts(&shared, &address, until).await;
                if let Ok(link) = &outcome {
                    match shared.upgrade() {
                        Some(shared) => shared.connected(link),
                        None => link.close("nobody wants the connection any more"),
                    }
                }
                redial.settle(outcome);
            }
        });
        redial
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, outcome: Result<Arc<Link>, String>) {
        let mut state = self.lock();
        state.outcome = Some(outcome);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(self.lock().outcome, Some(Err(_)))
    }

    pub(super) fn wait_until(&self, until: Instant) -> Result<Arc<Link>, Missed> {
        let mut state = self.lock();
        loop {
            if let Some(outcome) = &state.outcome {
                return outcome.clone().map_err(Missed::Unavailable);
            }
            let left = until.checked_duration_since(Instant::now()).ok_or(Missed::DeadlineExceeded)?;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Result<Arc<Link>, Missed>> {
        let mut state = self.lock();
        if let Some(outcome) = &state.outcome {
            return Poll::Ready(outcome.clone().map_err(Missed::Unavailable));
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Tries until it works, the time is over, or nobody is left who would call.
async fn attempts(shared: &Weak<Shared>, address: &Address, until: Instant) -> Result<Arc<Link>, String> {
    let mut delay = FIRST_DELAY;
    loop {
        let error = match dial(address).await {
            Ok(link) => return Ok(link),
            Err(error) => error,
        };
        if Instant::now() + delay >= until || shared.strong_count() == 0 {
            return Err(match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            });
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(LONGEST_DELAY);
    }
}
