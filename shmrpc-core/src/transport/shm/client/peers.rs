//! The workers that a connection knows: greeting them, handing them rings and arenas, and what happens
//! when one of them is gone.

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{Shared, State, ring::Waiter};
use crate::{
    error::RpcError,
    method::{MethodId, ServiceDescription, Shape},
    shm::{
        arena::PeerArenas,
        board::Board,
        channel::Claimer,
        doorbell::{Doorbell, monotonic_ns},
        kill_point::kill_point,
        region::Region,
    },
    transport::session::Session,
    transport::shm::{
        known::{self, Offer},
        link::{Arrival, Link},
        message::{Caller, LAYOUT_VERSION, Message, Welcome, other_layout},
        node::Party,
        streams,
    },
};

/// All workers that have greeted us and still live.
#[derive(Default)]
pub(super) struct Peers {
    workers: Vec<Arc<Worker>>,
    /// Since when there has been none.
    alone_since_ns: Option<u64>,
    /// Workers of another layout, each with its own: there is nothing to say on these links, but their ends tell.
    strangers: Vec<(Arc<Link>, u32)>,
}

/// One worker.
pub(super) struct Worker {
    pub(super) link: Arc<Link>,
    pub(super) board: Arc<Board>,
    pub(super) index: u8,
    nonce: u64,
    offer: Arc<Offer>,
    pub(super) claimer: Claimer,
    pub(super) pid: u32,
    pub(super) doorbell: Arc<Doorbell>,
    pub(super) session: Arc<Session>,
    arenas: PeerArenas,
    /// It finishes what it has, and begins no more streams.
    leaves: AtomicBool,
}

impl Worker {
    pub(super) fn leaves(&self) -> bool {
        self.leaves.load(Ordering::Acquire)
    }

    /// The shape of a method, if this worker offers it.
    pub(super) fn shape_of(&self, id: MethodId) -> Option<Shape> {
        self.offer.shapes.get(&id).copied()
    }

    /// A region in which this worker has put a reply; it was announced before the reply was published.
    pub(super) fn arena(&self, id: u32) -> Option<Arc<Region>> {
        self.arenas.get(id)
    }
}

impl Peers {
    fn by_link(&self, link: &Link) -> Option<&Arc<Worker>> {
        self.workers.iter().find(|worker| worker.link.token() == link.token())
    }

    pub(super) fn workers(&self) -> &[Arc<Worker>] {
        &self.workers
    }

    pub(super) fn claimer(&self, who: Claimer) -> Option<&Arc<Worker>> {
        self.workers.iter().find(|worker| worker.claimer == who)
    }

    /// The shape of a method, if any worker offers it.
    pub(super) fn shape_of(&self, id: MethodId) -> Option<Shape> {
        self.workers.iter().find_map(|worker| worker.shape_of(id))
    }

    pub(super) fn alone_since_ns(&self) -> Option<u64> {
        self.alone_since_ns
    }

    pub(super) fn is_stranger(&self, link: &Link) -> bool {
        self.strangers.iter().any(|(stranger, _)| stranger.token() == link.token())
    }

    /// For how long calls wait when there is no worker: not at all where others serve, to whom we cannot speak.
    pub(super) fn patience(&self, usual: Duration) -> Duration {
        if self.strangers.is_empty() { usual } else { Duration::ZERO }
    }

    /// Why calls that have waited for so long do so no longer.
    pub(super) fn absence(&self, usual: Duration) -> String {
        match self.strangers.last() {
            Some((_, layout)) => format!("the service has other workers: {}", other_layout(*layout)),
            None => format!("no worker for {usual:?}"),
        }
    }
}

impl Shared {
    /// Dials a worker's node and introduces this connection. If the link ends, `closed` tells.
    pub(super) fn dial(self: &Arc<Self>, node: &str) -> Option<Arc<Link>> {
        let party = Arc::<Self>::downgrade(self) as std::sync::Weak<dyn Party>;
        let link = self.node.dial(node, party).ok()?;
        self.say_hello(&link);
        Some(link)
    }

    fn say_hello(&self, link: &Link) -> bool {
        let hello = Message::Hello {
            version: LAYOUT_VERSION,
            caller: Caller::Client,
            service: self.service.clone(),
            id: self.id,
            node: self.node.id().to_owned(),
            process: self.node.process(),
        };
        let sent = link.send(&hello, &[self.node.doorbell().fd()]);
        kill_point("hello.sent");
        sent
    }

    /// A worker has answered: it gets every ring and arena, and finds what nobody has claimed yet.
    fn greet(&self, link: &Arc<Link>, welcome: Welcome, fds: Vec<OwnedFd>) -> Result<(), String> {
        let [board, doorbell, counters] =
            <[OwnedFd; 3]>::try_from(fds).map_err(|_| "not three descriptors")?;
        let text = |error: crate::shm::region::RegionError| error.to_string();
        let board = known::board(board).map_err(text)?;
        let doorbell = known::doorbell(doorbell).map_err(text)?;
        // For observers.
        drop(counters);
        kill_point("greet.mapped");
        let mut state = self.lock();
        let state = &mut *state;
        let is_known = state.peers.workers.iter().any(|known| known.nonce == welcome.nonce);
        // Where both sides dialled at once, one link is enough. A connection that is over has given its rings' numbers back,
        // and would not do so again.
        if is_known || state.has_left || self.is_given_up() {
            link.close();
            return Ok(());
        }
        let worker = Arc::new(Worker {
            link: Arc::clone(link),
            board,
            index: welcome.index,
            nonce: welcome.nonce,
            offer: known::offer(welcome.description),
            claimer: Claimer::from_bits(welcome.claimer),
            pid: welcome.process.pid,
            doorbell,
            session: streams::session(link),
            arenas: PeerArenas::default(),
            leaves: AtomicBool::new(false),
        });
        state.rings.hand_to(&worker)?;
        let description = &worker.offer.description;
        let _first = self.first_description.set(Arc::clone(description));
        state.description = Some(Arc::clone(description));
        state.peers.workers.push(worker);
        kill_point("greet.known");
        state.peers.alone_since_ns = None;
        state.last_method = None;
        state.rings.aim(&state.peers);
        self.greeted.notify_all();
        Ok(())
    }

    fn refused(&self, reason: String) {
        // The end of the link, which follows, wakes whoever waits for a greeting.
        self.lock().refusal = Some(reason);
    }

    /// A worker has another layout: calls for which there is no worker of ours need not wait for one.
    fn estranged(&self, link: &Arc<Link>, layout: u32) {
        let mut state = self.lock();
        state.refusal = Some(other_layout(layout));
        state.peers.strangers.push((Arc::clone(link), layout));
        state.forget_awaited(link);
        state.forget_process(link.peer_pid());
        drop(state);
        self.greeted.notify_all();
        self.node.hub().wake();
    }

    /// Ends this connection, whose shared memory cannot be believed: all calls under way fail and say so; later ones
    /// are its heir's. Slots are not used again, so that nobody reads what a worker may still write there.
    pub(super) fn give_up(&self, reason: &str) -> RpcError {
        let error = damaged(reason);
        let mut state = self.lock();
        if !self.given_up.swap(true, Ordering::Relaxed) {
            // So that the next call does not take the short way.
            state.last_method = None;
            state.rings.give_up_all(&error);
            state.peers.workers.iter().for_each(|worker| worker.link.close());
            state.peers.strangers.drain(..).for_each(|(link, _)| link.close());
            self.node.hub().wake();
            self.greeted.notify_all();
        }
        let due = state.rings.take_due();
        drop(state);
        due.into_iter().for_each(Waiter::wake);
        error
    }

    /// A worker is gone. What it had claimed and not answered has died with it, unless it may be run
    /// again; what it had not claimed is there for the others.
    fn bury(&self, dead: &Arc<Worker>, state: &mut State) {
        state.peers.workers.retain(|worker| worker.nonce != dead.nonce);
        dead.board.leave_worker(dead.index, dead.nonce);
        state.last_method = None;
        if state.peers.workers.is_empty() {
            state.peers.alone_since_ns = Some(monotonic_ns());
        }
        let lost = |method: u64| RpcError::WorkerDied {
            service: self.service.clone(),
            method: method_name(state.description.as_deref(), method),
            worker: format!("pid {}", dead.pid),
        };
        state.rings.recover(dead, lost);
        // The leader, if it sleeps, has a new time to keep: how long to wait for another worker.
        self.node.hub().wake();
        state.rings.aim(&state.peers);
        state.rings.rescue(&state.peers, monotonic_ns());
    }

    /// Tells every worker that this connection is over.
    pub(super) fn leave(&self) {
        let mut state = self.lock();
        state.has_left = true;
        state.rings.leave();
        kill_point("leave.numbers_given_back");
        let workers: Vec<_> = state.peers.workers.drain(..).collect();
        state.peers.strangers.drain(..).for_each(|(link, _)| link.close());
        drop(state);
        for worker in workers {
            worker.session.end("the connection was dropped", |_| RpcError::Cancelled);
            worker.link.close();
            kill_point("leave.link_closed");
        }
    }
}

/// What calls are told that were under way when their connection was given up.
pub(super) fn damaged(reason: &str) -> RpcError {
    RpcError::Protocol(format!("the shared memory of the connection was damaged: {reason}"))
}

pub(super) fn method_name(description: Option<&ServiceDescription>, id: u64) -> String {
    let method = description.and_then(|d| d.methods.iter().find(|m| m.id.0 == id));
    method.map_or_else(|| format!("method {id:016x}"), |m| m.name.clone())
}

impl Party for Shared {
    fn wants(&self, first: &Message) -> bool {
        matches!(first, Message::Invite { id, .. } if *id == self.id)
    }

    fn arrived(&self, link: &Arc<Link>, arrival: Arrival) {
        let (message, mut fds) = match arrival {
            Arrival::Message(message, fds) => (message, fds),
            Arrival::Frame(bytes) => {
                let state = self.lock();
                let worker = state.peers.by_link(link).cloned();
                drop(state);
                if let Some(worker) = worker {
                    streams::on_frame(link, &worker.session, bytes);
                }
                return;
            }
        };
        match message {
            Message::Invite { version, worker, .. } => {
                if version != LAYOUT_VERSION {
                    return self.estranged(link, version);
                }
                let known = self.lock().peers.workers.iter().any(|known| known.nonce == worker);
                if known || !self.say_hello(link) {
                    link.close();
                }
            }
            Message::Welcome(welcome) if welcome.version == LAYOUT_VERSION => {
                if let Err(reason) = self.greet(link, *welcome, fds) {
                    self.refused(reason);
                    link.close();
                }
            }
            Message::Welcome(welcome) => {
                self.refused(other_layout(welcome.version));
                link.close();
            }
            Message::Refuse { layout: Some(layout), .. } if layout != LAYOUT_VERSION => {
                self.estranged(link, layout);
            }
            Message::Refuse { reason, .. } => self.refused(reason),
            Message::Damaged { reason } => drop(self.give_up(&reason)),
            Message::Arena { id } if fds.len() == 1 => {
                // A copy that cannot be mapped is missed by the reply that lies in it.
                let worker = self.lock().peers.by_link(link).cloned();
                let _failed = worker.map(|worker| worker.arenas.attach(id, fds.remove(0)));
            }
            Message::Goodbye => {
                let state = self.lock();
                if let Some(worker) = state.peers.by_link(link) {
                    worker.leaves.store(true, Ordering::Release);
                    // Under the lock, as streams are begun: none follows.
                    link.send(&Message::Goodbye, &[]);
                }
            }
            Message::DropArena { id } => {
                if let Some(worker) = self.lock().peers.by_link(link) {
                    worker.arenas.forget(id);
                }
            }
            _ => {}
        }
    }

    fn closed(&self, link: &Arc<Link>) {
        let mut state = self.lock();
        let dead = state.peers.workers.iter().find(|worker| worker.link.token() == link.token()).cloned();
        let gone = dead.clone();
        match dead {
            Some(dead) => self.bury(&dead, &mut state),
            None => {
                state.peers.strangers.retain(|(stranger, _)| stranger.token() != link.token());
                state.forget_awaited(link);
                self.greeted.notify_all();
            }
        }
        let due = state.rings.take_due();
        drop(state);
        if let Some(dead) = gone {
            let worker = format!("pid {}", dead.pid);
            dead.session.end("the worker is gone", |label| RpcError::WorkerDied {
                service: label.service.clone(),
                method: label.method.clone(),
                worker: worker.clone(),
            });
        }
        due.into_iter().for_each(Waiter::wake);
    }
}
