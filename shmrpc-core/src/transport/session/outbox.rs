//! The sending end of one stream: how much may still be sent, and who waits for more.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::Bytes;

use super::{FrameSink, Violation, inbox::cost};
use crate::{
    error::Status,
    frame::{Frame, MAX_WINDOW_BYTES},
    shm::kill_point::kill_point,
    stream::StreamClosed,
};

pub(crate) struct Outbox {
    id: u64,
    sink: Arc<dyn FrameSink>,
    max_item_bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// While it is above zero an item may be sent, however long: it may go below zero by that item.
    credit: i64,
    closed: Option<StreamClosed>,
    wakers: Vec<Waker>,
}

impl Outbox {
    pub(super) fn new(id: u64, sink: Arc<dyn FrameSink>, window_bytes: u64, max_item_bytes: u64) -> Self {
        let credit = i64::try_from(window_bytes).unwrap_or(i64::MAX);
        let state = Mutex::new(State { credit, closed: None, wakers: Vec::new() });
        Self { id, sink, max_item_bytes, state, changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends, once there is credit; blocks until then, or until `until`.
    pub(crate) fn send_until(&self, item: Bytes, until: Instant) -> Result<(), StreamClosed> {
        self.check_length(&item)?;
        let mut state = self.lock();
        loop {
            if let Some(closed) = &state.closed {
                return Err(closed.clone());
            }
            if state.credit > 0 {
                self.send_now(&mut state, item);
                return Ok(());
            }
            let left = until.checked_duration_since(Instant::now()).ok_or(StreamClosed::DeadlineExceeded)?;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// As [`Self::send_until`] for a task; the item is taken once it is sent.
    pub(crate) fn poll_send(
        &self,
        item: &mut Option<Bytes>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), StreamClosed>> {
        if let Some(item) = item {
            self.check_length(item)?;
        }
        let mut state = self.lock();
        if let Some(closed) = &state.closed {
            return Poll::Ready(Err(closed.clone()));
        }
        if state.credit > 0 {
            if let Some(item) = item.take() {
                self.send_now(&mut state, item);
            }
            return Poll::Ready(Ok(()));
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Under the lock, so that items, and the end after them, go out in their order.
    fn send_now(&self, state: &mut State, payload: Bytes) {
        state.credit -= i64::try_from(cost(&payload)).unwrap_or(i64::MAX);
        self.sink.send(Frame::StreamItem { id: self.id, payload });
        kill_point("stream.item_sent");
    }

    fn check_length(&self, item: &Bytes) -> Result<(), StreamClosed> {
        let (len_bytes, limit_bytes) = (item.len() as u64, self.max_item_bytes);
        if len_bytes <= limit_bytes {
            return Ok(());
        }
        let closed = StreamClosed::TooLarge { len_bytes, limit_bytes };
        self.fail(Status::TooLarge, closed.clone());
        Err(closed)
    }

    /// More credit. A peer that grants without bounds would have us queue without bounds.
    pub(super) fn grant(&self, bytes: u64) -> Result<(), Violation> {
        let mut state = self.lock();
        state.credit = state.credit.saturating_add_unsigned(bytes);
        if state.credit > MAX_WINDOW_BYTES.cast_signed() {
            return Err(Violation(format!(
                "call {} was granted more than {MAX_WINDOW_BYTES} bytes",
                self.id
            )));
        }
        self.wake(state);
        Ok(())
    }

    /// No more can be sent; the peer knows already.
    pub(super) fn close(&self, reason: StreamClosed) {
        let mut state = self.lock();
        if state.closed.is_none() {
            state.closed = Some(reason);
            self.wake(state);
        }
    }

    /// No more will be sent: the peer is told that these were all.
    pub(crate) fn finish(&self) {
        self.end(Status::Ok, StreamClosed::Finished, String::new());
    }

    /// No more will be sent: the peer is told that something went wrong.
    pub(crate) fn fail(&self, status: Status, reason: StreamClosed) {
        let text = reason.to_string();
        self.end(status, reason, text);
    }

    fn end(&self, status: Status, closed: StreamClosed, reason: String) {
        let mut state = self.lock();
        if state.closed.is_none() {
            state.closed = Some(closed);
            self.sink.send(Frame::StreamEnd { id: self.id, status, reason });
            kill_point("stream.end_sent");
            self.wake(state);
        }
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }
}
