//! Frames into a TCP stream. Whoever sends a frame writes it there and then if nobody else is writing, so
//! that a call costs no change of threads; frames that come meanwhile are written together by whoever
//! writes already. What the socket does not take is left to the connection's own task.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use tokio::{net::TcpStream, sync::Notify, time::timeout};

use crate::{
    frame::{Frame, encode},
    transport::session::FrameSink,
};

/// Buffers in one write.
const BATCH: usize = 64;
/// Writes in a row by a thread that only wanted to send its own frame.
const ROUNDS: usize = 8;
/// What a buffer costs beside its bytes: a queue of tiny frames is bounded too.
const OVERHEAD_BYTES: usize = 64;
/// Beyond so many bytes in the queue, whoever can wait does.
pub(super) const QUEUE_LIMIT_BYTES: usize = 64 << 20;
/// A peer that takes nothing for so long, while there is something to take, is given up.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Writer {
    stream: Arc<TcpStream>,
    compress: AtomicBool,
    queue: Mutex<Queue>,
    /// The queue has become shorter.
    room: Condvar,
    room_async: Notify,
    /// The task has something to write.
    work: Notify,
    closed: Notify,
}

#[derive(Default)]
struct Queue {
    chunks: VecDeque<Bytes>,
    len_bytes: usize,
    /// Somebody is writing, and will write what is added.
    writing: bool,
    closed: bool,
}

enum Pass {
    Done,
    More,
    Blocked,
}

impl Writer {
    pub(super) fn new(stream: Arc<TcpStream>) -> Arc<Self> {
        Arc::new(Self {
            stream,
            compress: AtomicBool::new(false),
            queue: Mutex::default(),
            room: Condvar::new(),
            room_async: Notify::new(),
            work: Notify::new(),
            closed: Notify::new(),
        })
    }

    /// From here on payloads may be packed.
    pub(super) fn compress(&self) {
        self.compress.store(true, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn has_room(&self) -> bool {
        let queue = self.lock();
        queue.len_bytes <= QUEUE_LIMIT_BYTES / 2 || queue.closed
    }

    /// Writes what the senders could not, until the connection is closed. One task a connection.
    pub(super) async fn run(&self) {
        loop {
            tokio::select! {
                () = self.work.notified() => {}
                () = self.closed.notified() => return,
            }
            loop {
                match timeout(STALL_TIMEOUT, self.stream.writable()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => return self.close(),
                }
                match self.pass() {
                    Ok(Pass::Done) => break,
                    Ok(Pass::More | Pass::Blocked) => {}
                    Err(_) => return self.close(),
                }
            }
        }
    }

    /// Waits until everything has been handed to the kernel, or the connection is closed.
    pub(super) async fn flushed(&self) {
        loop {
            let room = self.room_async.notified();
            if self.is_flushed() {
                return;
            }
            room.await;
        }
    }

    fn is_flushed(&self) -> bool {
        let queue = self.lock();
        queue.closed || (queue.chunks.is_empty() && !queue.writing)
    }

    /// Writes nothing any more, and lets the peer and our reader see the end.
    pub(super) fn close(&self) {
        let mut queue = self.lock();
        if queue.closed {
            return;
        }
        *queue = Queue { closed: true, ..Queue::default() };
        drop(queue);
        let both = nix::sys::socket::Shutdown::Both;
        // Fails if the peer has closed already, which is as good.
        let _closed = nix::sys::socket::shutdown(std::os::fd::AsRawFd::as_raw_fd(&*self.stream), both);
        self.closed.notify_one();
        self.room.notify_all();
        self.room_async.notify_waiters();
    }

    /// Writes once. Only whoever has set `writing` may call this.
    fn pass(&self) -> io::Result<Pass> {
        let batch: Vec<Bytes> = self.lock().chunks.iter().take(BATCH).cloned().collect();
        let slices: Vec<IoSlice<'_>> = batch.iter().map(|chunk| IoSlice::new(chunk)).collect();
        let written = match self.stream.try_write_vectored(&slices) {
            Ok(written) => written,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(Pass::Blocked);
            }
            Err(error) => return Err(error),
        };
        let mut queue = self.lock();
        let before = queue.len_bytes;
        queue.consume(written);
        if queue.len_bytes <= QUEUE_LIMIT_BYTES / 2 && before > QUEUE_LIMIT_BYTES / 2 {
            self.room.notify_all();
            self.room_async.notify_waiters();
        }
        if !queue.chunks.is_empty() {
            return Ok(Pass::More);
        }
        queue.writing = false;
        drop(queue);
        self.room_async.notify_waiters();
        Ok(Pass::Done)
    }
}

impl Queue {
    fn consume(&mut self, mut written: usize) {
        self.len_bytes = self.len_bytes.saturating_sub(written);
        while let Some(first) = self.chunks.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.len_bytes = self.len_bytes.saturating_sub(OVERHEAD_BYTES);
            self.chunks.pop_front();
        }
    }
}

impl FrameSink for Writer {
    fn send(&self, frame: Frame) {
        let encoded = encode(frame, self.compress.load(Ordering::Relaxed));
        let mut queue = self.lock();
        if queue.closed {
            return;
        }
        for chunk in [encoded.head, encoded.payload].into_iter().filter(|chunk| !chunk.is_empty()) {
            queue.len_bytes += chunk.len() + OVERHEAD_BYTES;
            queue.chunks.push_back(chunk);
        }
        if std::mem::replace(&mut queue.writing, true) {
            return;
        }
        drop(queue);
        for _ in 0..ROUNDS {
            match self.pass() {
                Ok(Pass::Done) => return,
                Ok(Pass::More) => {}
                Ok(Pass::Blocked) => break,
                Err(_) => return self.close(),
            }
        }
        self.work.notify_one();
    }
}
