//! Frames into a TCP stream. Whoever sends a frame writes it there and then if nobody else is writing, so
//! that a call costs no change of threads; frames that come meanwhile are written together by whoever
//! writes already. What the socket does not take is left to the poller. Frames may also be gathered first
//! and sent together.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{poller::Registration, socket::Socket};
use crate::{
    client::Door,
    error::Status,
    frame::{CallHead, Frame, encode, pack, put_call, put_reply},
    transport::session::FrameSink,
};

/// Buffers in one write.
const BATCH: usize = 64;
/// Writes in a row by a thread that only wanted to send its own frame.
const ROUNDS: usize = 8;
/// Shorter payloads are copied behind their head: one buffer is cheaper to write than two.
const INLINE_BYTES: usize = 8 << 10;
/// What a buffer costs beside its bytes: a queue of tiny frames is bounded too.
const OVERHEAD_BYTES: usize = 64;
/// A buffer of so many bytes is kept while there is nothing to write.
const KEPT_BYTES: usize = 4 << 10;
/// Beyond so many bytes in the queue, whoever can wait does.
pub(super) const QUEUE_LIMIT_BYTES: usize = 64 << 20;
/// A peer that takes nothing for so long, while there is something to take, is given up.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Writer {
    me: Weak<Writer>,
    socket: Arc<Socket>,
    /// Set before anything is sent.
    registration: OnceLock<Registration>,
    compress: AtomicBool,
    queue: Mutex<Queue>,
    /// The queue has become shorter.
    room: Condvar,
    room_async: Notify,
}

#[derive(Default)]
struct Queue {
    /// What the socket has not taken, in front of everything else.
    stuck: VecDeque<Chunk>,
    /// Large payloads and what was to be sent before them.
    chunks: VecDeque<Chunk>,
    /// Small frames, one behind the other.
    tail: Vec<u8>,
    len_bytes: usize,
    /// Frames that were added and that nobody has begun to write.
    gathered: usize,
    /// Somebody is writing, and will write what is added.
    writing: bool,
    /// The poller goes on when the socket takes more.
    blocked: bool,
    /// When the socket took something for the last time, while it is blocked.
    blocked_at: Option<Instant>,
    /// A timer looks at `blocked_at`.
    timed: bool,
    /// To be sent no more than what is here.
    finishing: bool,
    closed: bool,
}

struct Chunk {
    data: Data,
    written: usize,
}

enum Data {
    Own(Vec<u8>),
    Shared(Bytes),
}

impl Chunk {
    fn own(bytes: Vec<u8>) -> Self {
        Self { data: Data::Own(bytes), written: 0 }
    }

    fn left(&self) -> &[u8] {
        match &self.data {
            Data::Own(bytes) => &bytes[self.written..],
            Data::Shared(bytes) => &bytes[self.written..],
        }
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.stuck.is_empty() && self.chunks.is_empty() && self.tail.is_empty()
    }

    fn added(&mut self, len_bytes: usize) {
        self.len_bytes += len_bytes + OVERHEAD_BYTES;
        self.gathered += 1;
    }

    fn push_payload(&mut self, payload: Bytes) {
        let tail = std::mem::take(&mut self.tail);
        if !tail.is_empty() {
            self.chunks.push_back(Chunk::own(tail));
        }
        self.chunks.push_back(Chunk { data: Data::Shared(payload), written: 0 });
    }

    /// Everything, in its order.
    fn take(&mut self) -> VecDeque<Chunk> {
        let mut all = std::mem::take(&mut self.stuck);
        all.append(&mut self.chunks);
        if !self.tail.is_empty() {
            all.push_back(Chunk::own(std::mem::take(&mut self.tail)));
        }
        all
    }
}

impl Writer {
    pub(super) fn new(socket: Arc<Socket>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            socket,
            registration: OnceLock::new(),
            compress: AtomicBool::new(false),
            queue: Mutex::default(),
            room: Condvar::new(),
            room_async: Notify::new(),
        })
    }

    /// Where the poller is told that there is something left to write.
    pub(super) fn register(&self, registration: Registration) {
        let _first = self.registration.set(registration);
    }

    pub(super) fn registration(&self) -> Option<&Registration> {
        self.registration.get()
    }

    /// From here on payloads may be packed.
    pub(super) fn compress(&self) {
        self.compress.store(true, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a call; how many frames wait now to be sent.
    pub(super) fn gather_call(&self, mut head: CallHead, payload: &Bytes) -> (usize, usize) {
        let packed = pack(payload, self.compress.load(Ordering::Relaxed)).map(Bytes::from);
        head.is_packed = packed.is_some();
        let payload = packed.as_ref().unwrap_or(payload);
        let mut queue = self.lock();
        if queue.closed {
            return (0, 0);
        }
        put_call(&mut queue.tail, head, payload.len());
        queue.added(payload.len());
        if payload.len() <= INLINE_BYTES {
            queue.tail.extend_from_slice(payload);
        } else {
            queue.push_payload(payload.clone());
        }
        (queue.gathered, queue.len_bytes)
    }

    /// Adds a reply, and sends it at once if it is large: whatever the socket takes now is not copied.
    pub(super) fn gather_reply(&self, id: u64, status: Status, body: &[u8]) {
        let packed = pack(body, self.compress.load(Ordering::Relaxed));
        let payload = packed.as_deref().unwrap_or(body);
        let mut queue = self.lock();
        if queue.closed {
            return;
        }
        put_reply(&mut queue.tail, id, status, packed.is_some(), payload.len());
        queue.added(payload.len());
        if payload.len() <= INLINE_BYTES {
            queue.tail.extend_from_slice(payload);
            return;
        }
        let alone = !queue.writing && !queue.blocked && queue.stuck.is_empty() && queue.chunks.is_empty();
        if !alone {
            return queue.push_payload(Bytes::copy_from_slice(payload));
        }
        queue.writing = true;
        queue.gathered = 0;
        let head = std::mem::take(&mut queue.tail);
        drop(queue);
        let outcome = self.write_borrowed(&head, payload);
        let mut queue = self.lock();
        queue.writing = false;
        match outcome {
            Ok(written) => {
                let total = head.len() + payload.len();
                queue.len_bytes = queue.len_bytes.saturating_sub(written);
                if written < head.len() {
                    queue.stuck.push_back(Chunk { data: Data::Own(head), written });
                }
                if written < total {
                    let from = written.saturating_sub(total - payload.len());
                    queue.stuck.push_back(Chunk::own(payload[from..].to_vec()));
                }
                // What came meanwhile counts on us.
                self.write(queue);
            }
            Err(_) => {
                drop(queue);
                self.close();
            }
        }
    }

    fn write_borrowed(&self, head: &[u8], payload: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        while written < head.len() + payload.len() {
            let (head, payload) =
                (&head[written.min(head.len())..], &payload[written.saturating_sub(head.len())..]);
            match self.socket.write(&[IoSlice::new(head), IoSlice::new(payload)])? {
                Some(more) => written += more,
                None => break,
            }
        }
        Ok(written)
    }

    /// Sends what has been gathered, unless somebody does already.
    pub(super) fn flush(&self) {
        let queue = self.lock();
        if !queue.writing && !queue.blocked {
            self.write(queue);
        }
    }

    /// How many frames have been gathered.
    pub(super) fn gathered(&self) -> usize {
        self.lock().gathered
    }

    /// The socket takes more: called by the poller.
    pub(super) fn unblocked(&self) {
        if let Some(registration) = self.registration() {
            registration.write(false);
        }
        let mut queue = self.lock();
        if queue.blocked {
            queue.blocked = false;
            if !queue.writing {
                self.write(queue);
            }
        }
    }

    /// When a peer that takes nothing is given up; `None` if it need not be watched any more.
    fn stalls_at(&self) -> Option<Instant> {
        let mut queue = self.lock();
        let at = queue.blocked_at.filter(|_| !queue.closed).map(|at| at + STALL_TIMEOUT);
        queue.timed = at.is_some_and(|at| at > Instant::now());
        drop(queue);
        if at.is_some_and(|at| at <= Instant::now()) {
            self.close();
            return None;
        }
        at
    }

    fn write<'a>(&'a self, mut queue: MutexGuard<'a, Queue>) {
        queue.writing = true;
        for _ in 0..ROUNDS {
            if queue.closed || queue.is_empty() {
                return self.written_all(queue);
            }
            queue.gathered = 0;
            let mut kept = Vec::new();
            let mut flight = VecDeque::new();
            // The usual case, in which nothing is allocated.
            if queue.stuck.is_empty() && queue.chunks.is_empty() {
                kept = std::mem::take(&mut queue.tail);
            } else {
                flight = queue.take();
            }
            drop(queue);
            let outcome = if flight.is_empty() { self.write_one(&mut kept, &mut flight) } else { Ok(0) };
            let outcome = match outcome {
                Ok(some) => self.write_chunks(&mut flight).map(|more| some + more),
                error => error,
            };
            queue = self.lock();
            let Ok(written) = outcome else {
                drop(queue);
                return self.close();
            };
            let was_full = queue.len_bytes > QUEUE_LIMIT_BYTES / 2;
            queue.len_bytes = queue.len_bytes.saturating_sub(written);
            if queue.tail.capacity() == 0 && kept.capacity() <= KEPT_BYTES {
                queue.tail = kept;
            }
            if written > 0 {
                queue.blocked_at = None;
            }
            if was_full && queue.len_bytes <= QUEUE_LIMIT_BYTES / 2 {
                self.room.notify_all();
                self.room_async.notify_waiters();
                // And whoever stopped reading for want of room is told by the poller.
                if let Some(registration) = self.registration() {
                    registration.write(true);
                }
            }
            if !flight.is_empty() {
                queue.stuck = flight;
                queue.blocked_at.get_or_insert_with(Instant::now);
                break;
            }
            if queue.is_empty() {
                queue.len_bytes = 0;
                return self.written_all(queue);
            }
        }
        queue.writing = false;
        queue.blocked = true;
        let watch = queue.blocked_at.is_some() && !std::mem::replace(&mut queue.timed, true);
        drop(queue);
        if watch {
            let me = Weak::clone(&self.me);
            crate::transport::io::handle().spawn(async move {
                while let Some(at) = me.upgrade().and_then(|writer| writer.stalls_at()) {
                    tokio::time::sleep_until(at.into()).await;
                }
            });
        }
        if let Some(registration) = self.registration() {
            registration.write(true);
        }
    }

    /// One buffer; what the socket does not take of it is put into `stuck`.
    fn write_one(&self, bytes: &mut Vec<u8>, stuck: &mut VecDeque<Chunk>) -> io::Result<usize> {
        let written = self.socket.write(&[IoSlice::new(bytes)])?.unwrap_or(0);
        if written < bytes.len() {
            stuck.push_back(Chunk { data: Data::Own(std::mem::take(bytes)), written });
        } else {
            bytes.clear();
        }
        Ok(written)
    }

    /// As much as the socket takes; what is left stays in the queue.
    fn write_chunks(&self, flight: &mut VecDeque<Chunk>) -> io::Result<usize> {
        let mut total = 0;
        while !flight.is_empty() {
            let slices: Vec<IoSlice<'_>> =
                flight.iter().take(BATCH).map(|chunk| IoSlice::new(chunk.left())).collect();
            let Some(mut written) = self.socket.write(&slices)? else { break };
            total += written;
            while let Some(first) = flight.front_mut() {
                let left = first.left().len();
                if written < left {
                    first.written += written;
                    break;
                }
                written -= left;
                flight.pop_front();
            }
        }
        Ok(total)
    }

    fn written_all(&self, mut queue: MutexGuard<'_, Queue>) {
        queue.writing = false;
        let finish = queue.finishing && !queue.closed;
        drop(queue);
        if finish {
            self.socket.finish();
        }
    }

    /// Whether the queue is too long.
    pub(super) fn is_full(&self) -> bool {
        let queue = self.lock();
        queue.len_bytes > QUEUE_LIMIT_BYTES && !queue.closed
    }

    /// Blocks while the queue is too long. `false` when `until` has passed.
    pub(super) fn wait_for_room(&self, until: Instant) -> bool {
        let mut queue = self.lock();
        while queue.len_bytes > QUEUE_LIMIT_BYTES && !queue.closed {
            let Some(left) = until.checked_duration_since(Instant::now()) else { return false };
            queue = self.room.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Waits while more than half of what the queue may hold is in it.
    pub(super) async fn room(&self) {
        loop {
            let room = self.room_async.notified();
            if self.has_room() {
                return;
            }
            room.await;
        }
    }

    pub(super) fn has_room(&self) -> bool {
        let queue = self.lock();
        queue.len_bytes <= QUEUE_LIMIT_BYTES / 2 || queue.closed
    }

    /// Sends what is here and nothing more, so that the peer can read it before the connection ends.
    pub(super) fn finish(&self) {
        let mut queue = self.lock();
        queue.finishing = true;
        if !queue.writing && !queue.blocked {
            self.write(queue);
        }
    }

    /// Writes nothing any more, and lets the peer and our reader see the end.
    pub(super) fn close(&self) {
        let mut queue = self.lock();
        if queue.closed {
            return;
        }
        let writing = queue.writing;
        *queue = Queue { closed: true, writing, ..Queue::default() };
        drop(queue);
        self.socket.close();
        self.room.notify_all();
        self.room_async.notify_waiters();
    }
}

impl FrameSink for Writer {
    fn send(&self, frame: Frame) {
        let encoded = encode(frame, self.compress.load(Ordering::Relaxed));
        let mut queue = self.lock();
        if queue.closed || queue.finishing {
            return;
        }
        queue.added(encoded.payload.len());
        queue.tail.extend_from_slice(&encoded.head);
        if !encoded.payload.is_empty() {
            queue.push_payload(encoded.payload);
        }
        if !queue.writing && !queue.blocked {
            self.write(queue);
        }
    }
}

/// A call, without its payload.
pub(super) fn call_head(
    id: u64,
    method: crate::method::MethodId,
    timeout_ns: u64,
    door: Door,
    idempotent: bool,
) -> CallHead {
    CallHead { id, method, timeout_ns, door, idempotent, is_packed: false }
}
