//! One connection of a gateway, after its handshake: its frames until the end.
//!
//! One thread at a time has the *turn*: it reads, and deals with frames one by one. It lets go of the lock
//! while it deals with one, so that the turn can be taken from it when that takes unexpectedly long.

mod held;
mod here;
pub(super) mod idle;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::watch;

pub(super) use self::held::Held;
use super::{Phase, Shared, admission::Agreed, forward::Forward};
use crate::{
    error::Status,
    frame::{Call, CallHead, Frame, FrameError, Header, Kind, decode, split_call},
    server::runtime,
    transport::{
        session::{FrameSink, Incoming, Session},
        tcp::{
            poller::{Readiness, Ready, Registration, poller},
            reader::{FrameReader, ReadError, Received},
            socket::{Fill, Socket, Wait},
            ticker::{self, Tick},
            writer::Writer,
        },
    },
};

/// How long a peer that is sent away has to hear why.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// A frame may keep others of its connection waiting for so long.
const LONGEST_TURN: Duration = Duration::from_millis(1);
/// Replies are gathered for so long.
const GATHERED_FOR_NS: u64 = 50_000;
/// Threads of the poller in a process that serves.
const MOST_THREADS: usize = 5;

pub(super) struct Peer {
    me: Weak<Peer>,
    number: u64,
    shared: Arc<Shared>,
    socket: Arc<Socket>,
    pub(super) writer: Arc<Writer>,
    pub(super) session: Arc<Session>,
    state: Mutex<State>,
    /// Reads that have brought something.
    heard: AtomicU64,
    /// Bytes of arguments of calls under way.
    arguments_bytes: AtomicUsize,
    /// Nothing is read until there is room for it.
    paused: AtomicBool,
    /// Its client has been told to go elsewhere.
    told: AtomicBool,
    draining: AtomicBool,
    ended: AtomicBool,
    /// Last, so that it is dropped last: whoever drains waits for it.
    phase: watch::Receiver<Phase>,
}

struct State {
    reader: FrameReader,
    /// A thread has the turn.
    taken: bool,
    /// There may be more to read.
    again: bool,
    /// The end is there to be read, behind whatever came before it.
    hung_up: bool,
    /// Changes when the turn is taken away from a thread.
    turn: u64,
    /// Since when the thread that has the turn has been dealing with one frame.
    busy_since: Option<Instant>,
    /// The ticker looks at this connection.
    watched: bool,
    /// A timer looks at the frame under way.
    timed: bool,
    /// The peer has broken the protocol: it is told so, and what it sends is dropped.
    dismissed: bool,
}

/// What there is to do next for whoever has the turn.
enum Next {
    Call(CallHead, Bytes),
    Frame(Frame),
    Oversized(Header, FrameError),
    /// There is nothing to do until there is more to read.
    Rest,
    /// The turn was taken away.
    Lost,
    /// The connection has ended; or must, for this reason.
    End(Option<String>),
}

impl Peer {
    /// Takes over a connection whose handshake is done.
    pub(super) fn start(
        number: u64,
        shared: &Arc<Shared>,
        socket: Socket,
        agreed: &Agreed,
        phase: watch::Receiver<Phase>,
    ) -> std::io::Result<Arc<Self>> {
        let socket = Arc::new(socket);
        let writer = Writer::new(Arc::clone(&socket));
        if agreed.compress {
            writer.compress();
        }
        let state = State {
            reader: FrameReader::new(shared.options.message_limit_bytes()),
            taken: false,
            again: false,
            hung_up: false,
            turn: 0,
            busy_since: None,
            watched: false,
            timed: false,
            dismissed: false,
        };
        let peer = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            number,
            shared: Arc::clone(shared),
            socket: Arc::clone(&socket),
            session: Session::new(Arc::clone(&writer) as Arc<dyn FrameSink>, agreed.limits),
            writer,
            state: Mutex::new(state),
            heard: AtomicU64::new(0),
            arguments_bytes: AtomicUsize::new(0),
            paused: AtomicBool::new(false),
            told: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            phase,
        });
        let threads = (crate::shm::doorbell::online_cpus() + 1).clamp(3, MOST_THREADS);
        // Known to the gateway before it can end.
        shared.peers().insert(number, Arc::clone(&peer));
        let member: Weak<dyn Ready> = Arc::<Self>::downgrade(&peer) as _;
        let registered =
            poller(threads).and_then(|poller| Registration::new(poller, Arc::clone(&socket), member));
        match registered {
            Ok(registration) => peer.writer.register(registration),
            Err(error) => {
                // Not counted yet as one that may be forgotten.
                shared.peers().remove(&number);
                return Err(error);
            }
        }
        if socket.may_have_more() {
            peer.take_turn(false);
        }
        Ok(peer)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the peer to go elsewhere with its next calls.
    pub(super) fn drain(&self) {
        self.send_away("the server is going away");
    }

    fn send_away(&self, reason: &str) {
        if !self.told.swap(true, Ordering::AcqRel) {
            let reason = reason.into();
            self.writer.send(Frame::GoAway { status: Status::Unavailable, reason });
            // Afterwards: a client whose call is refused has been told why before, and takes it elsewhere.
            self.draining.store(true, Ordering::Release);
        }
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Ends the connection here and now.
    pub(super) fn end(&self) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        self.session.end("the client has gone", |label| label.lost("the client has gone"));
        self.writer.close();
        self.shared.forget(self.number);
    }

    /// Something may have come. `in_place`: this thread may run calls.
    fn take_turn(self: &Arc<Self>, in_place: bool) {
        let mut state = self.lock();
        state.again = true;
        if state.taken {
            // Whoever has the turn may be busy for longer than anybody thought.
            if state.busy_since.is_some() {
                self.have_watched(&mut state);
            }
            return;
        }
        state.taken = true;
        let turn = state.turn;
        self.have_turn(state, turn, in_place);
    }

    fn have_turn<'a>(self: &'a Arc<Self>, mut state: MutexGuard<'a, State>, turn: u64, in_place: bool) {
        let mut gathered_since_ns = None;
        loop {
            let next = self.next(&mut state, turn);
            drop(state);
            let dealt = match next {
                Next::Call(head, payload) => self.on_call(head, payload, in_place, &mut gathered_since_ns),
                Next::Frame(frame) => self.on_frame(frame),
                Next::Oversized(header, error) => self.refuse_oversized(header, &error),
                Next::Rest => return self.writer.flush(),
                Next::Lost => return self.writer.flush(),
                Next::End(None) => return self.end(),
                Next::End(Some(reason)) => return self.dismiss(reason),
            };
            if let Err(reason) = dealt {
                return self.dismiss(reason);
            }
            state = self.lock();
        }
    }

    /// A call is about to be run by the thread that has the turn, which may be taken from it until the call is
    /// over. Only then: other frames must be dealt with in their order.
    fn begin_call(&self, has_gathered: bool) -> u64 {
        let mut state = self.lock();
        state.busy_since = Some(Instant::now());
        if has_gathered || state.reader.has_bytes() {
            self.have_watched(&mut state);
        }
        state.turn
    }

    fn end_call(&self, turn: u64) {
        let mut state = self.lock();
        if state.turn == turn {
            state.busy_since = None;
        }
    }

    fn next(self: &Arc<Self>, state: &mut State, turn: u64) -> Next {
        if state.turn != turn {
            return Next::Lost;
        }
        if self.ended.load(Ordering::Acquire) {
            return Next::End(None);
        }
        loop {
            if !self.has_room() {
                state.taken = false;
                self.paused.store(true, Ordering::SeqCst);
                // Again, now that whoever makes room knows.
                if !self.has_room() {
                    return Next::Rest;
                }
                self.paused.store(false, Ordering::SeqCst);
                state.taken = true;
            }
            match state.found(self.shared.options.message_limit_bytes()) {
                Ok(Some(next)) => return next,
                Ok(None) => {}
                Err(ReadError::Io(_) | ReadError::Truncated) => return Next::End(None),
                Err(error) => return Next::End(Some(error.to_string())),
            }
            if !state.again {
                state.taken = false;
                state.reader.give_buffer_back();
                self.time_frame(state);
                return Next::Rest;
            }
            state.again = false;
            let filled = if state.dismissed {
                drop_all(&self.socket)
            } else {
                self.heard.fetch_add(1, Ordering::Relaxed);
                state.reader.fill(&*self.socket, Wait::No)
            };
            match filled {
                Ok(Fill::Some) => state.again = true,
                Ok(Fill::Last) => state.again |= state.hung_up,
                Ok(Fill::Nothing) => {}
                Ok(Fill::Closed) | Err(ReadError::Io(_) | ReadError::Truncated) => return Next::End(None),
                Err(error) => return Next::End(Some(error.to_string())),
            }
        }
    }

    fn has_room(&self) -> bool {
        let options = &self.shared.options;
        self.arguments_bytes.load(Ordering::SeqCst) <= options.max_arguments_bytes
            && self.shared.arguments_bytes.load(Ordering::SeqCst) <= options.max_all_arguments_bytes
            && self.writer.has_room()
    }

    /// Reads on, if nothing was read for want of room.
    fn resume(self: &Arc<Self>) {
        if self.paused.load(Ordering::SeqCst) && self.has_room() && self.paused.swap(false, Ordering::SeqCst)
        {
            self.take_turn(false);
        }
    }

    fn on_call(
        self: &Arc<Self>,
        head: CallHead,
        payload: Bytes,
        in_place: bool,
        gathered_since_ns: &mut Option<u64>,
    ) -> Result<(), String> {
        if in_place && self.run_here(&head, &payload, gathered_since_ns) {
            return Ok(());
        }
        let CallHead { id, method, timeout_ns, door, idempotent, .. } = head;
        self.forward(Call { id, method, timeout_ns, door, idempotent, metadata: Bytes::new(), payload })
    }

    fn forward(self: &Arc<Self>, call: Call) -> Result<(), String> {
        let bytes = call.payload.len();
        let held = Held::new(self, bytes);
        let forward = Forward {
            shared: Arc::clone(&self.shared),
            session: Arc::clone(&self.session),
            writer: Arc::clone(&self.writer),
            draining: self.is_draining(),
            _phase: self.phase.clone(),
        };
        forward.start(call, held).map_err(|violation| violation.to_string())
    }

    fn on_frame(self: &Arc<Self>, frame: Frame) -> Result<(), String> {
        match self.session.on_frame(frame) {
            Ok(None | Some(Incoming::Pong | Incoming::Notify | Incoming::GoAway { .. })) => Ok(()),
            Ok(Some(Incoming::Ping(id))) => {
                self.writer.send(Frame::Pong { id });
                Ok(())
            }
            Ok(Some(Incoming::Call(call))) => self.forward(call),
            Err(violation) => Err(violation.to_string()),
        }
    }

    /// A frame beyond the limit has been skipped: what it belongs to fails, the connection lives.
    fn refuse_oversized(&self, header: Header, error: &FrameError) -> Result<(), String> {
        let id = header.id;
        match header.kind {
            Kind::Call => {
                let payload = error.to_string().into();
                self.writer.send(Frame::Reply { id, status: Status::TooLarge, payload });
            }
            Kind::StreamItem => {
                let reason = error.to_string();
                let _known = self.session.on_frame(Frame::StreamEnd { id, status: Status::TooLarge, reason });
                self.writer.send(Frame::StreamStop { id });
            }
            _ => return Err(error.to_string()),
        }
        Ok(())
    }

    /// Says what the peer has done wrong, and ends the connection when it has had time to read that.
    fn dismiss(self: &Arc<Self>, reason: String) {
        let mut state = self.lock();
        let first = !std::mem::replace(&mut state.dismissed, true);
        state.turn += 1;
        state.taken = false;
        drop(state);
        if !first {
            return;
        }
        self.session.end("the client has gone", |label| label.lost("the client has gone"));
        self.writer.send(Frame::GoAway { status: Status::Protocol, reason });
        self.writer.finish();
        let peer = Arc::clone(self);
        runtime().spawn(async move {
            tokio::time::sleep(LAST_WORDS).await;
            peer.end();
        });
        self.take_turn(false);
    }

    /// Looks after the frame under way, if there is one and nobody does.
    fn time_frame(&self, state: &mut State) {
        let allowed = self.shared.options.frame_timeout;
        if state.timed || state.dismissed || state.reader.due(allowed).is_none() {
            return;
        }
        state.timed = true;
        let me = Weak::clone(&self.me);
        runtime().spawn(async move {
            while let Some(due) = me.upgrade().and_then(|peer| peer.frame_due()) {
                tokio::time::sleep_until(due.into()).await;
            }
        });
    }

    /// When the frame under way must be complete. If it should be already, its sender is sent away.
    fn frame_due(self: &Arc<Self>) -> Option<Instant> {
        let mut state = self.lock();
        let due = state.reader.due(self.shared.options.frame_timeout);
        let now = Instant::now();
        if due.is_some_and(|due| due > now) {
            return due;
        }
        if due.is_some() && self.paused.load(Ordering::Acquire) {
            // It is we who do not read.
            return Some(now + self.shared.options.frame_timeout);
        }
        state.timed = false;
        drop(state);
        if due.is_some() {
            self.dismiss("a frame was not finished in time".into());
        }
        None
    }

    /// Has the ticker see to it that no frame keeps those behind it waiting.
    fn have_watched(&self, state: &mut State) {
        if !std::mem::replace(&mut state.watched, true) {
            ticker::watch(self.me.clone());
        }
    }
}

impl State {
    /// What has been read and is to be dealt with next.
    fn found(&mut self, max_message_bytes: u64) -> Result<Option<Next>, ReadError> {
        let (header, body) = match self.reader.next()? {
            None => return Ok(None),
            Some(Received::Oversized { header, error }) => return Ok(Some(Next::Oversized(header, error))),
            Some(Received::Frame(header, body)) => (header, body),
        };
        let found =
            if header.kind == Kind::Call { split_call(header, &body, max_message_bytes) } else { Ok(None) };
        let found = match found {
            Ok(Some((head, at))) => Ok(Next::Call(head, body.into_bytes_from(at))),
            Ok(None) => decode(header, body.into_bytes(), max_message_bytes).map(Next::Frame),
            Err(error) => Err(error),
        };
        match found {
            Err(error @ FrameError::TooLarge { .. }) => Ok(Some(Next::Oversized(header, error))),
            found => Ok(Some(found?)),
        }
    }
}

/// Reads what nobody wants to know any more.
fn drop_all(socket: &Socket) -> Result<Fill, ReadError> {
    let mut dropped = [0; 4096];
    Ok(socket.read(&mut dropped, Wait::No)?.0)
}

impl Ready for Peer {
    fn ready(self: Arc<Self>, what: Readiness) {
        if what.writable {
            self.writer.unblocked();
            self.resume();
        }
        if what.hung_up {
            self.lock().hung_up = true;
        }
        if what.readable {
            self.take_turn(true);
        }
    }
}

impl Tick for Peer {
    fn tick(self: Arc<Self>) -> bool {
        let mut state = self.lock();
        match state.busy_since {
            Some(since) if since.elapsed() >= LONGEST_TURN => {
                state.turn += 1;
                state.busy_since = None;
                state.watched = false;
                let turn = state.turn;
                self.have_turn(state, turn, false);
                self.writer.flush();
                false
            }
            Some(_) => true,
            None => {
                // Between two frames, or at rest: a busy connection is watched for a while.
                state.watched = state.taken;
                state.watched
            }
        }
    }
}
