//! Who is linked to this worker, and the seats at its clients' rings: handshakes, regions handed over,
//! and what is let go when a client is gone.

use std::{
    collections::HashMap,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering, fence},
    },
    time::Instant,
};

use super::{Shared, lock};
use crate::{
    error::RpcError,
    process::ProcessStamp,
    server::Cancellation,
    shm::{
        arena::{Arenas, PeerArenas},
        channel::{Channel, Claimed},
        doorbell::Doorbell,
        kill_point::kill_point,
        region::{Region, RegionError},
    },
    transport::session::Session,
    transport::shm::{
        known,
        link::{Arrival, Link},
        message::{Caller, LAYOUT_VERSION, Message, other_layout},
        node::Party,
        streams,
    },
};

/// Memory for replies to one client.
const ARENA_CAP_BYTES: usize = 4 << 30;

/// A process that is linked to us.
pub(super) struct Client {
    pub(super) link: Arc<Link>,
    caller: Caller,
    process: ProcessStamp,
    node: String,
    pub(super) doorbell: Arc<Doorbell>,
    /// Its streaming calls.
    pub(super) session: Arc<Session>,
    /// The client's arenas, in which its arguments lie.
    arguments: PeerArenas,
    /// Our arenas, in which its replies lie.
    pub(super) replies: Mutex<Arenas>,
    /// It knows that we leave, and begins no more streams here.
    parted: AtomicBool,
}

impl Client {
    pub(super) fn has_parted(&self) -> bool {
        self.caller != Caller::Client || self.parted.load(Ordering::Acquire)
    }

    pub(super) fn is_supervisor(&self) -> bool {
        self.caller == Caller::Supervisor
    }

    /// One of the client's arenas; it was announced before any call that lies in it was published.
    pub(super) fn argument_arena(&self, id: u32) -> Option<Arc<Region>> {
        self.arguments.get(id)
    }
}

/// A channel number whose client is no longer linked to us.
pub(super) struct Orphan {
    number: u16,
    nonce: u64,
    process: ProcessStamp,
    node: String,
}

/// A ring that we serve.
pub(super) struct Seat {
    pub(super) channel: Channel,
    pub(super) nonce: u64,
    pub(super) number: u16,
    pub(super) client: Arc<Client>,
}

/// The rings that we serve, by their numbers on the board.
#[derive(Clone, Default)]
pub(super) struct Seats(Vec<Option<Arc<Seat>>>);

impl Seats {
    pub(super) fn get(&self, number: u16) -> Option<&Arc<Seat>> {
        self.0.get(usize::from(number)).and_then(Option::as_ref)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Seat>> {
        self.0.iter().flatten()
    }

    fn insert(&mut self, seat: Arc<Seat>) {
        let number = usize::from(seat.number);
        if self.0.len() <= number {
            self.0.resize(number + 1, None);
        }
        self.0[number] = Some(seat);
    }

    /// Takes out all seats of a client.
    fn remove(&mut self, client: &Arc<Client>) -> Vec<Arc<Seat>> {
        let theirs = |seat: &mut Option<Arc<Seat>>| seat.take_if(|seat| Arc::ptr_eq(&seat.client, client));
        self.0.iter_mut().filter_map(theirs).collect()
    }
}

impl Seat {
    /// Ends the connection that this ring belongs to: what lies in it is not to be believed any more.
    #[cold]
    pub(super) fn give_up(&self, reason: &str) {
        self.client.link.send(&Message::Damaged { reason: reason.into() }, &[]);
        self.client.link.close();
    }

    /// The number by which a handler asks whether its call has been cancelled.
    pub(super) fn number_of(claimed: Claimed) -> u64 {
        u64::from(claimed.index) << 16 | u64::from(claimed.slot)
    }
}

impl Cancellation for Seat {
    fn is_cancelled(&self, call: u64) -> bool {
        let (slot, index) = (call as u16, (call >> 16) as u32);
        // Once it has been answered its slot is another call's.
        let given_up = self.channel.is_cancelled(slot) && self.channel.claimer(slot, index).is_some();
        given_up || self.client.link.is_closed()
    }
}

impl Shared {
    pub(super) fn seats(&self) -> Arc<Seats> {
        Arc::clone(&self.seats.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change_seats<T>(&self, change: impl FnOnce(&mut Seats) -> T) -> T {
        let mut seats = self.seats.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Seats::clone(&seats);
        let result = change(&mut changed);
        *seats = Arc::new(changed);
        drop(seats);
        // Pairs with the Acquire load in the pool.
        self.seats_version.fetch_add(1, Ordering::Release);
        result
    }

    fn client(&self, link: &Link) -> Option<Arc<Client>> {
        lock(&self.clients).iter().find(|client| client.link.token() == link.token()).cloned()
    }

    fn greet(
        &self,
        link: &Arc<Link>,
        caller: Caller,
        process: ProcessStamp,
        node: String,
        mut fds: Vec<OwnedFd>,
    ) -> Result<(), String> {
        if fds.len() != 1 {
            return Err("a greeting needs one doorbell".into());
        }
        let doorbell = known::doorbell(fds.remove(0)).map_err(|e| e.to_string())?;
        let client = Arc::new(Client {
            link: Arc::clone(link),
            caller,
            process,
            node,
            doorbell,
            session: streams::session(link),
            arguments: PeerArenas::default(),
            replies: Mutex::new(Arenas::new(ARENA_CAP_BYTES)),
            parted: AtomicBool::new(false),
        });
        {
            let mut clients = lock(&self.clients);
            // Under the lock: who leaves takes it after the flag is set, and ends every link that is listed.
            if self.draining.load(Ordering::Acquire) {
                return Err("this worker is leaving".into());
            }
            clients.push(client);
        }
        kill_point("welcome.known");
        self.mend();
        link.send(&self.welcome(), &[self.board.fd(), self.bells.doorbell().fd(), self.counters.fd()]);
        kill_point("welcome.sent");
        Ok(())
    }

    fn attach(&self, link: &Link, nonce: u64, number: u16, fd: OwnedFd) -> Result<(), RegionError> {
        let Some(client) = self.client(link) else { return Ok(()) };
        let known = self.seats().get(number).is_some_and(|seat| seat.nonce == nonce);
        if known || !self.board.owns_channel(number, nonce) {
            return Ok(());
        }
        let seat = Arc::new(Seat { channel: Channel::attach(fd)?, nonce, number, client });
        self.change_seats(|seats| seats.insert(Arc::clone(&seat)));
        kill_point("seat.taken");
        if seat.channel.has_work() {
            self.board.set_ready(number);
        }
        // A thread may have seen the ready bit before it had the seat: let one look again. Pairs with the fence
        // in `announce_sleep`: either we see it announced, or it sees that the seats have changed.
        fence(Ordering::SeqCst);
        self.bells.wake_one(&self.board);
        Ok(())
    }

    fn arena(&self, link: &Link, id: u32, fd: OwnedFd) -> Result<(), RegionError> {
        self.client(link).map_or(Ok(()), |client| client.arguments.attach(id, fd))
    }

    fn hand_over_output(&self, link: &Link) {
        let supervisor = self.client(link).is_some_and(|client| client.is_supervisor());
        if let (true, Some((stdout, stderr))) = (supervisor, &self.output) {
            link.send(&Message::Output, &[stdout.as_fd(), stderr.as_fd()]);
        }
    }
}

impl Shared {
    /// Frees the channel numbers of clients that died without giving them back. One that lives keeps
    /// them, though its link to us has ended: our colleagues serve it by those numbers.
    fn free_orphans(&self) {
        lock(&self.orphans).retain(|orphan| {
            let alive = self.node.directory().is_alive(&orphan.process, &orphan.node);
            if !alive {
                self.board.leave_channel(orphan.number, orphan.nonce);
            }
            alive && self.board.owns_channel(orphan.number, orphan.nonce)
        });
    }
}

impl Shared {
    /// Writes anew what whoever joins relies on, should a faulty process have written there.
    fn mend(&self) {
        self.board.mend();
        kill_point("mend.board");
        self.counters.mend();
    }

    /// Frees channel numbers that have been nobody's for two ticks: of clients that died before they could tell
    /// anybody, or written by a faulty process. A client that is late finds its number gone and takes another.
    fn free_strangers(&self) {
        let (seats, mut before) = (self.seats(), lock(&self.strangers));
        let orphans = lock(&self.orphans);
        let is_known = |number: u16, nonce: u64| {
            seats.get(number).is_some_and(|seat| seat.nonce == nonce)
                || orphans.iter().any(|orphan| orphan.number == number && orphan.nonce == nonce)
        };
        let strangers = self.board.channels().filter(|&(number, nonce)| !is_known(number, nonce));
        let strangers: HashMap<u16, u64> = strangers.collect();
        for (&number, &nonce) in strangers.iter().filter(|(number, nonce)| before.get(number) == Some(nonce))
        {
            self.board.leave_channel(number, nonce);
        }
        *before = strangers;
    }
}

impl Party for Shared {
    fn wants(&self, first: &Message) -> bool {
        // One that leaves makes room for its successor in the same process.
        !self.draining.load(Ordering::Acquire)
            && matches!(first, Message::Hello { service, .. }
                if *service == self.description.name || service.is_empty())
    }

    fn arrived(&self, link: &Arc<Link>, arrival: Arrival) {
        let (message, mut fds) = match arrival {
            Arrival::Message(message, fds) => (message, fds),
            Arrival::Frame(bytes) => {
                if let (Some(client), Some(shared)) = (self.client(link), self.me.upgrade()) {
                    shared.stream_frame(&client, bytes);
                }
                return;
            }
        };
        let outcome = match message {
            Message::Hello { version, .. } if version != LAYOUT_VERSION => {
                let reason = other_layout(version);
                link.send(&Message::Refuse { reason, layout: Some(LAYOUT_VERSION) }, &[]);
                Ok(())
            }
            Message::Hello { caller, process, node, .. } => self.greet(link, caller, process, node, fds),
            Message::Attach { channel, number } if fds.len() == 1 => {
                self.attach(link, channel, number, fds.remove(0)).map_err(|e| e.to_string())
            }
            Message::Arena { id } if fds.len() == 1 => {
                self.arena(link, id, fds.remove(0)).map_err(|e| e.to_string())
            }
            Message::DropArena { id } => {
                if let Some(client) = self.client(link) {
                    client.arguments.forget(id);
                }
                Ok(())
            }
            Message::Output => {
                self.hand_over_output(link);
                Ok(())
            }
            Message::Goodbye => {
                if let Some(client) = self.client(link) {
                    client.parted.store(true, Ordering::Release);
                }
                Ok(())
            }
            Message::Refuse { .. } => {
                link.close();
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(reason) = outcome {
            link.send(&Message::Refuse { reason, layout: None }, &[]);
            link.close();
        }
    }

    fn closed(&self, link: &Arc<Link>) {
        let gone = self.client(link);
        lock(&self.clients).retain(|client| client.link.token() != link.token());
        let Some(gone) = gone else { return };
        gone.session.end("the client is gone", |_| RpcError::Cancelled);
        if gone.is_supervisor() {
            *lock(&self.supervisor_seen) = Instant::now();
        }
        let lost = self.change_seats(|seats| seats.remove(&gone));
        kill_point("part.unseated");
        self.bells.announce_again(&self.board);
        if !lost.is_empty() {
            let left = lost.iter().map(|seat| Orphan {
                number: seat.number,
                nonce: seat.nonce,
                process: gone.process,
                node: gone.node.clone(),
            });
            lock(&self.orphans).extend(left);
        }
        self.free_orphans();
    }

    fn tick(&self) {
        self.mend();
        self.free_orphans();
        self.free_strangers();
    }
}
