//! One live connection of a client: the calls and streams that are open in it, its writer, and whoever reads.
//!
//! The socket is read by one thread at a time, which has the reader. A thread that waits for its answer takes
//! the reader if it is free, and reads for all; when it has its own answer it passes the reader on. While
//! tasks wait, and while nothing happens, the poller reads. `wait` has the rules by which no answer is
//! left lying in the socket.

mod wait;
mod watch;

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;

use self::watch::Watch;
use super::{
    calls::{Calls, Outcome, Table, Waiter},
    poller::{Readiness, Ready, Registration, poller},
    reader::{Body, FrameReader, Received},
    socket::{Fill, Socket, Wait},
    writer::Writer,
};
use crate::{
    error::Status,
    frame::{
        Frame, FrameError, Header, Kind, decode,
        handshake::{Hello, SNAPPY, Welcome},
        unpack_reply,
    },
    method::{MethodId, ServiceDescription, Shape},
    shm::doorbell::monotonic_ns,
    transport::session::{FrameSink, Incoming, Session, SessionLimits},
};

pub(super) use self::wait::Waited;

/// For so long after an answer a server is believed to be there still: longer than a thread that calls in a
/// row takes between two calls, shorter than any restart.
const FRESH_NS: u64 = 100_000;

pub(super) struct Link {
    me: Weak<Link>,
    pub(super) session: Arc<Session>,
    pub(super) calls: Calls,
    pub(super) writer: Arc<Writer>,
    pub(super) service: Arc<ServiceDescription>,
    shapes: std::collections::HashMap<MethodId, Shape>,
    /// Longest arguments that the server takes.
    pub(super) peer_max_message_bytes: u64,
    max_message_bytes: u64,
    socket: Arc<Socket>,
    reader: Mutex<FrameReader>,
    /// The poller came while another thread read.
    missed: AtomicBool,
    /// Reads that have brought something.
    heard: AtomicU64,
    /// When a thread read its answer for the last time.
    heard_at_ns: AtomicU64,
    watch: Watch,
    /// The ticker looks after what has been gathered.
    ticking: AtomicBool,
    /// The poller has been asked to send what has been gathered.
    flushing: AtomicBool,
    /// Why the server takes no more calls, once it has said so.
    goodbye: OnceLock<String>,
}

impl Link {
    /// Takes over a connection whose handshake is done.
    pub(super) fn start(socket: Socket, hello: &Hello, welcome: Welcome) -> io::Result<Arc<Self>> {
        let socket = Arc::new(socket);
        let writer = Writer::new(Arc::clone(&socket));
        if welcome.compression == SNAPPY {
            writer.compress();
        }
        let limits = SessionLimits {
            our_window_bytes: hello.stream_window_bytes,
            peer_window_bytes: welcome.stream_window_bytes,
            peer_max_message_bytes: welcome.max_message_bytes,
        };
        let link = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            session: Session::new(Arc::clone(&writer) as Arc<dyn FrameSink>, limits),
            calls: Calls::default(),
            writer,
            shapes: welcome.service.methods.iter().map(|method| (method.id, method.shape)).collect(),
            service: Arc::new(welcome.service),
            peer_max_message_bytes: welcome.max_message_bytes,
            max_message_bytes: hello.max_message_bytes,
            reader: Mutex::new(FrameReader::new(hello.max_message_bytes)),
            socket: Arc::clone(&socket),
            missed: AtomicBool::new(false),
            heard: AtomicU64::new(0),
            heard_at_ns: AtomicU64::new(0),
            watch: Watch::default(),
            ticking: AtomicBool::new(false),
            flushing: AtomicBool::new(false),
            goodbye: OnceLock::new(),
        });
        let member: Weak<dyn Ready> = Arc::<Self>::downgrade(&link) as _;
        link.writer.register(Registration::new(poller(1)?, Arc::clone(&socket), member)?);
        if socket.may_have_more() {
            link.poller_reads();
        }
        Ok(link)
    }

    /// Whether new calls may be given to it, as far as can be known now.
    pub(super) fn is_usable(&self) -> bool {
        // A server that restarted while nothing was under way has said so, or closed; nobody may have read
        // that yet. Nobody waits, so whoever has the reader gives it back in a moment.
        if self.open_calls() == 0 && !self.is_fresh() {
            let mut reader = lock(&self.reader);
            let read = self.pump(&mut reader, Wait::No);
            drop(reader);
            self.read_on(read);
        }
        !self.going_away() && self.calls.lock().ended().is_none()
    }

    pub(super) fn going_away(&self) -> bool {
        self.goodbye.get().is_some()
    }

    pub(super) fn shape(&self, method: MethodId) -> Option<Shape> {
        self.shapes.get(&method).copied()
    }

    fn open_calls(&self) -> usize {
        self.calls.lock().open_calls() + self.session.open_calls()
    }

    /// Whether an answer has come a moment ago: the server was there then.
    fn is_fresh(&self) -> bool {
        monotonic_ns().saturating_sub(self.heard_at_ns.load(Ordering::Relaxed)) < FRESH_NS
    }

    /// Whether somebody waits who reads nothing.
    fn must_be_read(&self) -> bool {
        self.calls.lock().tasks() > 0 || self.session.open_calls() > 0
    }

    /// Ends the connection; calls under way fail.
    pub(super) fn close(&self, reason: &str) {
        let waiters = self.calls.lock().end(reason);
        self.session.end(reason, |label| label.lost(reason));
        self.writer.close();
        waiters.into_iter().for_each(Waiter::wake);
    }

    /// Closes it if the server has said goodbye and nothing is under way.
    pub(super) fn leave_if_done(&self) {
        if let Some(reason) = self.goodbye.get()
            && self.session.open_calls() == 0
            && self.calls.lock().end_if_idle(reason)
            && self.session.end_if_idle(reason)
        {
            self.close(reason);
        }
    }

    fn try_read(&self) -> Option<MutexGuard<'_, FrameReader>> {
        match self.reader.try_lock() {
            Ok(reader) => Some(reader),
            Err(TryLockError::Poisoned(reader)) => Some(reader.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Reads what is there and hands it out. The error is why the connection has ended.
    fn pump(&self, reader: &mut FrameReader, mut wait: Wait) -> Result<(), String> {
        let mut waiters = Vec::new();
        let pumped = loop {
            match reader.fill(&*self.socket, std::mem::replace(&mut wait, Wait::No)) {
                Err(error) => break Err(error.to_string()),
                Ok(Fill::Nothing) => break Ok(()),
                Ok(Fill::Closed) => {
                    let reason = self.goodbye.get().map(String::as_str);
                    break Err(reason.unwrap_or("the server closed the connection").to_owned());
                }
                Ok(fill) => {
                    self.heard.fetch_add(1, Ordering::Relaxed);
                    if let Err(reason) = self.hand_out(reader, &mut waiters) {
                        break Err(reason);
                    }
                    if fill == Fill::Last {
                        break Ok(());
                    }
                }
            }
        };
        reader.give_buffer_back();
        waiters.into_iter().for_each(Waiter::wake);
        pumped
    }

    /// Hands out every frame that is complete.
    fn hand_out(&self, reader: &mut FrameReader, waiters: &mut Vec<Waiter>) -> Result<(), String> {
        let mut table: Option<MutexGuard<'_, Table>> = None;
        while let Some(received) = reader.next().map_err(|error| error.to_string())? {
            let (id, outcome) = match received {
                Received::Frame(header, body) if header.kind == Kind::Reply => {
                    if Table::is_elsewhere(header.id) {
                        table = None;
                        self.on_frame(self.decoded(header, body.into_bytes())?)?;
                        continue;
                    }
                    (header.id, self.reply(header, body)?)
                }
                Received::Frame(header, body) => {
                    table = None;
                    self.on_frame(self.decoded(header, body.into_bytes())?)?;
                    continue;
                }
                Received::Oversized { header, error } if Table::is_elsewhere(header.id) => {
                    // Only this call is lost: the frame has been skipped.
                    let (id, status, payload) = (header.id, Status::TooLarge, error.to_string().into());
                    table = None;
                    self.on_frame(Frame::Reply { id, status, payload })?;
                    continue;
                }
                Received::Oversized { header, error } => (header.id, oversized(&error)),
            };
            let table = table.get_or_insert_with(|| self.calls.lock());
            match table.deliver(id, outcome) {
                Waiter::Nobody => {}
                waiter => waiters.push(waiter),
            }
        }
        Ok(())
    }

    fn decoded(&self, header: Header, body: Bytes) -> Result<Frame, String> {
        match decode(header, body, self.max_message_bytes) {
            Err(error @ FrameError::TooLarge { .. }) => {
                let payload = error.to_string().into();
                Ok(Frame::Reply { id: header.id, status: Status::TooLarge, payload })
            }
            decoded => decoded.map_err(|error| error.to_string()),
        }
    }

    fn reply(&self, header: Header, body: Body<'_>) -> Result<Outcome, String> {
        let status = Status::from_u16(header.code);
        match unpack_reply(header, &body, self.max_message_bytes) {
            Ok(Some(unpacked)) => Ok(Outcome::Reply(status, unpacked)),
            Ok(None) => Ok(Outcome::Reply(
                status,
                match body {
                    Body::Here(bytes) => bytes.to_vec(),
                    Body::Own(bytes) => bytes,
                },
            )),
            Err(error @ FrameError::TooLarge { .. }) => Ok(oversized(&error)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn on_frame(&self, frame: Frame) -> Result<(), String> {
        match self.session.on_frame(frame) {
            Ok(None | Some(Incoming::Pong | Incoming::Notify)) => {}
            Ok(Some(Incoming::Ping(id))) => self.writer.send(Frame::Pong { id }),
            Ok(Some(Incoming::GoAway { reason })) => {
                let _first_counts = self.goodbye.set(reason);
            }
            Ok(Some(Incoming::Call(call))) => {
                let reason = "this side takes no calls".into();
                self.writer.send(Frame::Reply { id: call.id, status: Status::NoSuchMethod, payload: reason });
            }
            Err(violation) => return Err(violation.to_string()),
        }
        Ok(())
    }

    /// What follows a read: the end, if there is one.
    fn read_on(&self, read: Result<(), String>) {
        match read {
            Ok(()) => self.leave_if_done(),
            Err(reason) => self.close(&reason),
        }
    }
}

fn oversized(error: &FrameError) -> Outcome {
    Outcome::Reply(Status::TooLarge, error.to_string().into_bytes())
}

impl Ready for Link {
    fn ready(self: Arc<Self>, what: Readiness) {
        if self.flushing.swap(false, Ordering::AcqRel) {
            self.writer.flush();
        }
        if what.writable {
            self.writer.unblocked();
        }
        if what.readable {
            self.poller_reads();
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.writer.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
