//! Connecting again after a connection has ended: one attempt after another on the I/O thread, while
//! calls wait for the outcome.

use std::{
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    Shared,
    dial::{Address, dial},
    link::Link,
};
use crate::{
    client::Outcome,
    error::RpcError,
    transport::{io, session::Label},
};

/// Delay after the first failed attempt; doubled up to the longest.
const FIRST_DELAY: Duration = Duration::from_millis(5);
const LONGEST_DELAY: Duration = Duration::from_millis(250);

pub(super) struct Redial {
    outcome: Outcome<Result<Arc<Link>, String>>,
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
        let redial = Arc::new(Self { outcome: Outcome::default() });
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
                redial.outcome.settle(outcome);
            }
        });
        redial
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(self.outcome.get(), Some(Err(_)))
    }

    pub(super) fn wait_until(&self, until: Instant) -> Result<Arc<Link>, Missed> {
        self.outcome.wait_until(until).ok_or(Missed::DeadlineExceeded)?.map_err(Missed::Unavailable)
    }

    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Result<Arc<Link>, Missed>> {
        self.outcome.poll(cx).map_err(Missed::Unavailable)
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
