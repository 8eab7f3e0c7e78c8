//! What two peers know of the calls that are open between them, over frames: answers, streams, credit,
//! cancellation. A state machine: frames of the peer come in by [`Session::on_frame`], ours go out
//! through a [`FrameSink`]; no I/O, no clock, no runtime. TCP, the in-process transport and the streams
//! of shared memory share it.
//!
//! A session has both roles: it opens calls ([`Session::open`]) and accepts them ([`Session::accept`]).
//! Locks are taken in the order outbox, session, inbox, and the sink is called under none but an
//! outbox's, so that two sessions may be wired to each other without a queue between them.

mod call;
mod inbox;
mod outbox;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

pub(crate) use self::{call::SessionCall, inbox::Inbox, outbox::Outbox};
use crate::{
    client::{Completion, Reply},
    error::{RpcError, Status},
    frame::{Call, Frame},
    method::Shape,
    server::{ReplySink, Responder},
    shm::kill_point::kill_point,
    stream::{ByteReceiver, ByteSender, ServerStream, StreamClosed},
};

/// Where a session's frames go. Never blocks; what it holds is bounded by credit and by the limits on
/// calls. Once the peer is gone, frames are dropped.
pub(crate) trait FrameSink: Send + Sync {
    fn send(&self, frame: Frame);
}

/// What either side takes of the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionLimits {
    /// Bytes of items that we grant in advance.
    pub(crate) our_window_bytes: u64,
    /// Bytes of items that the peer grants in advance.
    pub(crate) peer_window_bytes: u64,
    /// Longest reply or item that the peer takes.
    pub(crate) peer_max_message_bytes: u64,
}

/// A frame that is not the session's own business.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// To be accepted or answered.
    Call(Call),
    /// To be answered with a Pong of the same id.
    Ping(u64),
    Pong,
    GoAway {
        reason: String,
    },
    /// Nothing in this version says anything that must be heard.
    Notify,
}

/// The peer broke the protocol; the connection must be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Violation(pub(crate) String);

/// What a call is called in errors.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    pub(crate) service: String,
    pub(crate) method: String,
    pub(crate) deadline: Duration,
}

impl Label {
    pub(crate) fn deadline_exceeded(&self) -> RpcError {
        let (service, method) = (self.service.clone(), self.method.clone());
        RpcError::DeadlineExceeded { service, method, after: self.deadline }
    }

    pub(crate) fn lost(&self, reason: &str) -> RpcError {
        let (service, method) = (self.service.clone(), self.method.clone());
        RpcError::ConnectionLost { service, method, reason: reason.into() }
    }

    pub(crate) fn of_reply(&self, status: Status, payload: &[u8]) -> RpcError {
        RpcError::from_reply(status, payload, &self.service, &self.method, self.deadline)
    }
}

pub(crate) type Answer = Arc<Completion<Result<Reply, RpcError>>>;

pub(crate) struct Session {
    sink: Arc<dyn FrameSink>,
    limits: SessionLimits,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    open: HashMap<u64, Entry>,
    ended: Option<String>,
}

/// The streams of a call, as far as it has them.
type Streams = (Option<Arc<Inbox>>, Option<Arc<Outbox>>);

struct Entry {
    inbox: Option<Arc<Inbox>>,
    outbox: Option<Arc<Outbox>>,
    role: Role,
}

enum Role {
    Ours { answer: Answer, label: Arc<Label> },
    Theirs { cancelled: Arc<AtomicBool>, on_cancel: Option<Box<dyn FnOnce() + Send>> },
}

/// A call that we opened; its Call frame is the caller's to send.
pub(crate) struct Opened {
    pub(crate) answer: Answer,
    pub(crate) sender: ByteSender,
    pub(crate) receiver: ByteReceiver,
}

/// A call of the peer's that we took on; [`Session::finish`] or a [`Session::responder`] answers it.
pub(crate) struct Accepted {
    pub(crate) stream: ServerStream,
    pub(crate) cancelled: Arc<AtomicBool>,
}

impl Session {
    pub(crate) fn new(sink: Arc<dyn FrameSink>, limits: SessionLimits) -> Arc<Self> {
        Arc::new(Self { sink, limits, calls: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls under way, of both sides.
    pub(crate) fn open_calls(&self) -> usize {
        self.lock().open.len()
    }

    /// Whether a call of that id is under way.
    pub(crate) fn is_open(&self, id: u64) -> bool {
        self.lock().open.contains_key(&id)
    }

    /// What is said in place of a reply that is longer than the peer takes.
    pub(crate) fn refuses(&self, status: Status, len_bytes: usize) -> Option<String> {
        let limit = self.limits.peer_max_message_bytes;
        let is_payload = matches!(status, Status::Ok | Status::ServiceError);
        (is_payload && len_bytes as u64 > limit)
            .then(|| format!("reply of {len_bytes} bytes exceeds the limit of {limit} bytes"))
    }

    /// Opens a call of ours. The error is the reason for which the session has ended.
    pub(crate) fn open(
        &self,
        id: u64,
        shape: Shape,
        label: Arc<Label>,
        until: Instant,
    ) -> Result<Opened, String> {
        let answer = Completion::new();
        let inbox = streams_down(shape).then(|| self.inbox(id));
        let outbox = shape.takes_stream().then(|| self.outbox(id));
        let mut calls = self.lock();
        if let Some(reason) = &calls.ended {
            return Err(reason.clone());
        }
        let role = Role::Ours { answer: Arc::clone(&answer), label: Arc::clone(&label) };
        calls.open.insert(id, Entry { inbox: inbox.clone(), outbox: outbox.clone(), role });
        drop(calls);
        Ok(Opened {
            answer,
            sender: ByteSender::new(outbox, until),
            receiver: ByteReceiver::new(inbox, until, Some(label)),
        })
    }

    /// Takes on a call of the peer's.
    pub(crate) fn accept(&self, id: u64, shape: Shape, until: Instant) -> Result<Accepted, Violation> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let inbox = shape.takes_stream().then(|| self.inbox(id));
        let outbox = streams_down(shape).then(|| self.outbox(id));
        let mut calls = self.lock();
        if id == 0 || calls.open.contains_key(&id) {
            return Err(Violation(format!("call id {id} is zero or in use")));
        }
        let role = Role::Theirs { cancelled: Arc::clone(&cancelled), on_cancel: None };
        calls.open.insert(id, Entry { inbox: inbox.clone(), outbox: outbox.clone(), role });
        drop(calls);
        let receiver = ByteReceiver::new(inbox, until, None);
        Ok(Accepted { stream: ServerStream { sender: ByteSender::new(outbox, until), receiver }, cancelled })
    }

    /// The obligation to answer an accepted call, for a handler.
    pub(crate) fn responder(self: &Arc<Self>, id: u64) -> Responder<'static> {
        Responder::new(SessionReply { session: Arc::clone(self), id })
    }

    /// Runs `on_cancel` when the peer cancels the call or is lost: at once if that has happened already,
    /// never if the call has been answered.
    pub(crate) fn on_cancel(
        &self,
        id: u64,
        cancelled: &AtomicBool,
        on_cancel: impl FnOnce() + Send + 'static,
    ) {
        if let Some(Entry { role: Role::Theirs { on_cancel: hook, .. }, .. }) = self.lock().open.get_mut(&id)
        {
            *hook = Some(Box::new(on_cancel));
            return;
        }
        if cancelled.load(Ordering::Acquire) {
            on_cancel();
        }
    }

    fn inbox(&self, id: u64) -> Arc<Inbox> {
        Arc::new(Inbox::new(id, Arc::clone(&self.sink), self.limits.our_window_bytes))
    }

    fn outbox(&self, id: u64) -> Arc<Outbox> {
        let limits = &self.limits;
        Arc::new(Outbox::new(
            id,
            Arc::clone(&self.sink),
            limits.peer_window_bytes,
            limits.peer_max_message_bytes,
        ))
    }

    /// A frame of the peer's. Frames about calls that are not open any more are ignored: they may have
    /// crossed ours.
    pub(crate) fn on_frame(&self, frame: Frame) -> Result<Option<Incoming>, Violation> {
        match frame {
            Frame::Call(call) => return Ok(Some(Incoming::Call(call))),
            Frame::Ping { id } => return Ok(Some(Incoming::Ping(id))),
            Frame::Pong { .. } => return Ok(Some(Incoming::Pong)),
            Frame::GoAway { reason, .. } => return Ok(Some(Incoming::GoAway { reason })),
            Frame::Notify { .. } => return Ok(Some(Incoming::Notify)),
            Frame::Reply { id, status, payload } => self.on_reply(id, status, payload.into()),
            Frame::StreamItem { id, payload } => {
                if let Some(inbox) = self.streams(id).map(|(inbox, _)| inbox) {
                    let taken = inbox.map(|inbox| inbox.push(payload));
                    taken.ok_or_else(|| Violation(format!("item for call {id}, which takes none")))??;
                }
            }
            Frame::StreamEnd { id, status, reason } => {
                let label = self.label(id);
                if let Some((Some(inbox), _)) = self.streams(id) {
                    inbox.end(match (status, label) {
                        (Status::Ok, _) => Ok(()),
                        (_, Some(label)) => Err(label.of_reply(status, reason.as_bytes())),
                        (_, None) => Err(RpcError::Cancelled),
                    });
                }
            }
            Frame::StreamStop { id } => {
                if let Some((_, Some(outbox))) = self.streams(id) {
                    outbox.close(StreamClosed::ByPeer);
                }
            }
            Frame::Credit { id, bytes } => {
                if let Some((_, Some(outbox))) = self.streams(id) {
                    outbox.grant(bytes)?;
                }
            }
            Frame::Cancel { id } => self.on_cancelled(id),
            Frame::Hello(_)
            | Frame::Welcome(_)
            | Frame::Refuse { .. }
            | Frame::Challenge(_)
            | Frame::Proof(_) => {
                return Err(Violation("a handshake frame after the handshake".into()));
            }
        }
        Ok(None)
    }

    fn streams(&self, id: u64) -> Option<Streams> {
        self.lock().open.get(&id).map(|entry| (entry.inbox.clone(), entry.outbox.clone()))
    }

    fn label(&self, id: u64) -> Option<Arc<Label>> {
        match &self.lock().open.get(&id)?.role {
            Role::Ours { label, .. } => Some(Arc::clone(label)),
            Role::Theirs { .. } => None,
        }
    }

    fn on_reply(&self, id: u64, status: Status, body: Vec<u8>) {
        let mut calls = self.lock();
        if !matches!(calls.open.get(&id), Some(Entry { role: Role::Ours { .. }, .. })) {
            return;
        }
        let entry = calls.open.remove(&id);
        drop(calls);
        let Some(Entry { inbox, outbox, role: Role::Ours { answer, label } }) = entry else { return };
        let outcome = match status {
            Status::Ok | Status::ServiceError => Ok(Reply { status, body }),
            _ => Err(label.of_reply(status, &body)),
        };
        settle(inbox, outbox, outcome.as_ref().map(|_| ()).map_err(Clone::clone));
        answer.fill(outcome);
    }

    fn on_cancelled(&self, id: u64) {
        let mut calls = self.lock();
        if matches!(calls.open.get(&id), Some(Entry { role: Role::Theirs { .. }, .. })) {
            let entry = calls.open.remove(&id);
            drop(calls);
            entry.into_iter().for_each(|entry| entry.abandon(|_| RpcError::Cancelled));
        }
    }

    /// Gives up a call of ours: the peer is told, its streams end with `error`.
    pub(crate) fn cancel(&self, id: u64, error: &RpcError) {
        let entry = self.lock().open.remove(&id);
        if let Some(Entry { inbox, outbox, role: Role::Ours { answer, .. } }) = entry {
            settle(inbox, outbox, Err(error.clone()));
            answer.fill(Err(error.clone()));
            self.sink.send(Frame::Cancel { id });
            kill_point("stream.cancelled");
        }
    }

    /// Answers a call of the peer's, unless it has been cancelled. Its streams end with it.
    pub(crate) fn finish(&self, id: u64, status: Status, body: bytes::Bytes) {
        let Some(entry) = self.lock().open.remove(&id) else { return };
        settle(entry.inbox, entry.outbox, Err(RpcError::Cancelled));
        kill_point("stream.settled");
        let (status, payload) = match self.refuses(status, body.len()) {
            Some(text) => (Status::TooLarge, text.into()),
            None => (status, body),
        };
        self.sink.send(Frame::Reply { id, status, payload });
        kill_point("stream.replied");
    }

    /// Takes no more calls of ours if none is open; whether that is so now.
    pub(crate) fn end_if_idle(&self, reason: &str) -> bool {
        let mut calls = self.lock();
        if calls.open.is_empty() {
            calls.ended.get_or_insert_with(|| reason.into());
        }
        calls.ended.is_some()
    }

    /// The peer is gone: nothing is sent any more, our calls fail with `error`, the peer's are cancelled.
    pub(crate) fn end(&self, reason: &str, error: impl Fn(&Label) -> RpcError) {
        let mut calls = self.lock();
        if calls.ended.is_some() {
            return;
        }
        calls.ended = Some(reason.into());
        let open = std::mem::take(&mut calls.open);
        drop(calls);
        for entry in open.into_values() {
            entry.abandon(&error);
        }
    }
}

impl Entry {
    fn abandon(self, error: impl Fn(&Label) -> RpcError) {
        match self.role {
            Role::Ours { answer, label } => {
                let error = error(&label);
                settle(self.inbox, self.outbox, Err(error.clone()));
                answer.fill(Err(error));
            }
            Role::Theirs { cancelled, on_cancel } => {
                cancelled.store(true, Ordering::Release);
                settle(self.inbox, self.outbox, Err(RpcError::Cancelled));
                if let Some(on_cancel) = on_cancel {
                    on_cancel();
                }
            }
        }
    }
}

/// Ends both streams of a call without a word to the peer, who knows.
fn settle(inbox: Option<Arc<Inbox>>, outbox: Option<Arc<Outbox>>, outcome: Result<(), RpcError>) {
    if let Some(outbox) = outbox {
        outbox.close(outcome.as_ref().err().map_or(StreamClosed::ByPeer, StreamClosed::from));
    }
    if let Some(inbox) = inbox {
        inbox.end(outcome);
    }
}

fn streams_down(shape: Shape) -> bool {
    matches!(shape, Shape::Download | Shape::Duplex)
}

struct SessionReply {
    session: Arc<Session>,
    id: u64,
}

impl ReplySink for SessionReply {
    fn send(&mut self, status: Status, body: &[u8]) {
        self.session.finish(self.id, status, bytes::Bytes::copy_from_slice(body));
    }
}
