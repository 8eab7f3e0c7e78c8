//! TCP, the server's side: a [`Gateway`] accepts connections on a listener and forwards their calls to an
//! upstream [`Connection`] (a worker's own rings, or a service in this process). It knows frames, limits
//! and who may come in; it never looks into arguments.

mod admission;
mod forward;
mod options;
mod peer;

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, sync::watch, task::JoinHandle};

pub use self::options::TcpOptions;
use self::{
    admission::{Declined, introduce, turn_away},
    peer::Peer,
};
use super::socket::prepare;
use crate::{
    client::{Completion, Connection},
    error::{ServeError, Status},
    server::runtime,
    transport::Local,
};

/// How long accepting pauses when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections beyond the limit that are told so at the same time; the others are just closed.
const MOST_TURNED_AWAY: usize = 64;

/// A listener whose connections are served. Dropped, it closes them at once; [`Gateway::drain`] lets the
/// calls under way end first.
#[must_use = "dropped, the gateway closes its connections"]
pub struct Gateway {
    shared: Arc<Shared>,
    phase: watch::Sender<Phase>,
    accepting: JoinHandle<()>,
    local_addr: SocketAddr,
}

/// What every connection of a gateway shares.
struct Shared {
    upstream: Connection,
    /// The service itself, if it is in this process, for calls that are run where they are read.
    local: Option<Arc<dyn Local>>,
    options: TcpOptions,
    /// Bytes of arguments of calls under way, of all connections.
    arguments_bytes: AtomicUsize,
    /// Connections that are served now.
    open: AtomicUsize,
    turned_away: AtomicUsize,
    /// Sockets of those that have not introduced themselves yet, by the number that they will have.
    entering: Mutex<HashMap<u64, OwnedFd>>,
    /// By a number of their own, once they have introduced themselves.
    peers: Mutex<HashMap<u64, Arc<Peer>>>,
    next_peer: AtomicU64,
}

impl Shared {
    fn entering(&self) -> MutexGuard<'_, HashMap<u64, OwnedFd>> {
        self.entering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<u64, Arc<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection has ended.
    fn forget(&self, number: u64) {
        let peer = self.peers().remove(&number);
        if peer.is_some() {
            self.open.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    Draining,
    Stopped,
}

impl Gateway {
    /// Serves a listener, on the process's runtime for handlers.
    ///
    /// # Errors
    /// When the listener cannot be used, or is open to other machines without anything that guards it.
    pub fn serve(
        listener: TcpListener,
        upstream: Connection,
        options: TcpOptions,
    ) -> Result<Self, ServeError> {
        Self::serve_beside(listener, upstream, None, options)
    }

    /// As [`serve`](Self::serve), with the service itself at hand.
    pub(crate) fn serve_beside(
        listener: TcpListener,
        upstream: Connection,
        local: Option<Arc<dyn Local>>,
        options: TcpOptions,
    ) -> Result<Self, ServeError> {
        let local_addr = listener
            .local_addr()
            .map_err(|source| ServeError::io("asking a listener for its address", source))?;
        options.check_bind(local_addr)?;
        let doing = |what: &str| format!("{what} {local_addr}");
        listener.set_nonblocking(true).map_err(|source| ServeError::io(doing("preparing"), source))?;
        let _entered = runtime().enter();
        let listener = tokio::net::TcpListener::from_std(listener)
            .map_err(|source| ServeError::io(doing("listening on"), source))?;
        let (open, turned_away) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let shared = Arc::new(Shared {
            upstream,
            local,
            options,
            arguments_bytes: AtomicUsize::new(0),
            open,
            turned_away,
            entering: Mutex::default(),
            peers: Mutex::default(),
            next_peer: AtomicU64::new(0),
        });
        let (phase, seen) = watch::channel(Phase::Serving);
        if let Some(timeout) = shared.options.idle_timeout {
            runtime().spawn(peer::idle::sweep(Arc::clone(&shared), seen.clone(), timeout));
        }
        let accepting = runtime().spawn(accept(Arc::clone(&shared), listener, seen));
        Ok(Self { shared, phase, accepting, local_addr })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Connections that are served now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.open.load(Ordering::Acquire)
    }

    /// Stops accepting, tells every client to go elsewhere, and lets the calls under way end. Returns when
    /// all connections have ended, or closes those that are left when the time is over.
    pub async fn drain(self, at_most: Duration) {
        let drained = Completion::new();
        let filled = Arc::clone(&drained);
        runtime().spawn(async move {
            self.drain_here(at_most).await;
            filled.fill(());
        });
        std::future::poll_fn(|cx| drained.poll(cx)).await;
    }

    /// As [`drain`](Self::drain), blocking the thread.
    pub fn drain_blocking(self, at_most: Duration) {
        let drained = Completion::new();
        let filled = Arc::clone(&drained);
        runtime().spawn(async move {
            self.drain_here(at_most).await;
            filled.fill(());
        });
        // The drain ends by itself; the second timeout is for a runtime that is blocked altogether.
        let _ended = drained.wait_until(Instant::now() + at_most + Duration::from_secs(5));
    }

    async fn drain_here(mut self, at_most: Duration) {
        self.phase.send_replace(Phase::Draining);
        let _cancelled_or_done = (&mut self.accepting).await;
        let peers: Vec<Arc<Peer>> = self.shared.peers().values().cloned().collect();
        peers.iter().for_each(|peer| peer.drain());
        drop(peers);
        // Every connection holds a receiver.
        let _time_is_over = tokio::time::timeout(at_most, self.phase.closed()).await;
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Stopped);
        self.accepting.abort();
        // Here and now, so that a client that is served by a successor a moment later is not held up by
        // a connection of ours that is about to end.
        for (_, fd) in self.shared.entering().drain() {
            let _gone = nix::sys::socket::shutdown(fd.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        }
        let peers: Vec<Arc<Peer>> = self.shared.peers().values().cloned().collect();
        peers.iter().for_each(|peer| peer.end());
    }
}

async fn accept(shared: Arc<Shared>, listener: tokio::net::TcpListener, mut phase: watch::Receiver<Phase>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => return,
        };
        match accepted {
            Ok((stream, from)) => welcome(&shared, stream, from, &phase),
            Err(error) if out_of_descriptors(&error) => tokio::time::sleep(ACCEPT_PAUSE).await,
            // The others concern the one connection that was not accepted.
            Err(_) => {}
        }
    }
}

fn out_of_descriptors(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// Serves a connection if there is room for it.
fn welcome(shared: &Arc<Shared>, stream: TcpStream, from: SocketAddr, phase: &watch::Receiver<Phase>) {
    let shared = Arc::clone(shared);
    let limit = shared.options.max_connections;
    if shared.open.fetch_add(1, Ordering::AcqRel) >= limit {
        shared.open.fetch_sub(1, Ordering::AcqRel);
        if shared.turned_away.fetch_add(1, Ordering::AcqRel) < MOST_TURNED_AWAY {
            let reason = format!("the limit of {limit} connections is reached");
            tokio::spawn(async move {
                turn_away(&shared, stream, Declined(Status::Busy, reason)).await;
                shared.turned_away.fetch_sub(1, Ordering::AcqRel);
            });
        } else {
            shared.turned_away.fetch_sub(1, Ordering::AcqRel);
        }
        return;
    }
    let phase = phase.clone();
    tokio::spawn(async move {
        prepare(&stream);
        let number = shared.next_peer.fetch_add(1, Ordering::Relaxed);
        if let Ok(fd) = stream.as_fd().try_clone_to_owned() {
            shared.entering().insert(number, fd);
        }
        let started = introduce(&shared, stream, from).await.and_then(|(wire, agreed)| {
            let start = |socket| Peer::start(number, &shared, socket, &agreed, phase.clone());
            wire.into_socket().and_then(start).ok()
        });
        shared.entering().remove(&number);
        let now = *phase.borrow();
        match (started, now) {
            (Some(_), Phase::Serving) => {}
            (Some(peer), Phase::Draining) => peer.drain(),
            (Some(peer), Phase::Stopped) => peer.end(),
            (None, _) => {
                shared.open.fetch_sub(1, Ordering::AcqRel);
            }
        }
        // In this order: whoever drains waits for the receivers, and may count on the upstream being free.
        drop((shared, phase));
    });
}
