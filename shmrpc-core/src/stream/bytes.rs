//! The halves of a stream as bytes: what a gateway, the command line or REST passes on without knowing
//! the values in it.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;

use super::StreamClosed;
use crate::{
    client::Pending,
    error::RpcError,
    transport::{
        io::Alarm,
        session::{Inbox, Label, Outbox},
    },
};

/// Sends the items of one direction. Any number of threads and tasks may share it. Dropped, it ends the
/// items.
pub struct ByteSender {
    outbox: Option<Arc<Outbox>>,
    until: Instant,
}

impl ByteSender {
    pub(crate) fn new(outbox: Option<Arc<Outbox>>, until: Instant) -> Self {
        Self { outbox, until }
    }

    /// The sender of a direction that the method has not.
    pub(crate) fn none() -> Self {
        Self { outbox: None, until: Instant::now() }
    }

    /// Sends one item, blocking the thread while the receiver is a window behind.
    ///
    /// # Errors
    /// When no more can be sent; see [`StreamClosed`].
    pub fn send(&self, item: impl Into<Bytes>) -> Result<(), StreamClosed> {
        self.outbox.as_ref().ok_or(StreamClosed::ByPeer)?.send_until(item.into(), self.until)
    }

    /// Sends one item, waiting while the receiver is a window behind.
    ///
    /// # Errors
    /// When no more can be sent; see [`StreamClosed`].
    pub async fn send_async(&self, item: impl Into<Bytes>) -> Result<(), StreamClosed> {
        let outbox = self.outbox.as_ref().ok_or(StreamClosed::ByPeer)?;
        let (mut item, mut alarm) = (Some(item.into()), Alarm::new(self.until));
        poll_fn(|cx| match outbox.poll_send(&mut item, cx) {
            Poll::Pending if alarm.poll(cx) => Poll::Ready(Err(StreamClosed::DeadlineExceeded)),
            sent => sent,
        })
        .await
    }

    /// Ends the items. Dropping does the same.
    pub fn finish(&self) {
        if let Some(outbox) = &self.outbox {
            outbox.finish();
        }
    }

    /// Ends the items for a reason that the receiver gets as an error.
    pub fn fail(&self, reason: StreamClosed) {
        if let Some(outbox) = &self.outbox {
            outbox.fail(reason.status(), reason);
        }
    }
}

impl Drop for ByteSender {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.fail(StreamClosed::Failed("the sender of the items panicked".into()));
        } else if Instant::now() >= self.until {
            // Whoever sent has most likely been stopped by the deadline: these were not all.
            self.fail(StreamClosed::DeadlineExceeded);
        } else {
            self.finish();
        }
    }
}

/// Takes the items of one direction in their order. Dropped, it tells the sender that no more are wanted.
pub struct ByteReceiver {
    inbox: Option<Arc<Inbox>>,
    until: Instant,
    label: Option<Arc<Label>>,
}

impl ByteReceiver {
    pub(crate) fn new(inbox: Option<Arc<Inbox>>, until: Instant, label: Option<Arc<Label>>) -> Self {
        Self { inbox, until, label }
    }

    /// The receiver of a direction that the method has not.
    pub(crate) fn none() -> Self {
        Self::new(None, Instant::now(), None)
    }

    /// The next item, blocking the thread until there is one; `None` after the last. An error is the last
    /// thing that is said.
    #[must_use]
    pub fn recv(&self) -> Option<Result<Bytes, RpcError>> {
        let inbox = self.inbox.as_ref()?;
        inbox.recv_until(self.until).unwrap_or_else(|_timed_out| Some(Err(self.timed_out())))
    }

    /// The next item; `None` after the last. An error is the last thing that is said.
    pub async fn recv_async(&self) -> Option<Result<Bytes, RpcError>> {
        let mut alarm = Alarm::new(self.until);
        poll_fn(|cx| self.poll_recv(cx, &mut alarm)).await
    }

    /// As [`Self::recv_async`], by hand.
    pub(super) fn poll_recv(
        &self,
        cx: &Context<'_>,
        alarm: &mut Alarm,
    ) -> Poll<Option<Result<Bytes, RpcError>>> {
        let Some(inbox) = &self.inbox else { return Poll::Ready(None) };
        match inbox.poll_recv(cx) {
            Poll::Pending if alarm.poll(cx) => Poll::Ready(Some(Err(self.timed_out()))),
            item => item,
        }
    }

    pub(super) fn alarm(&self) -> Alarm {
        Alarm::new(self.until)
    }

    /// Wants no more items; those that have come are dropped. Dropping does the same.
    pub fn stop(&self) {
        if let Some(inbox) = &self.inbox {
            inbox.stop();
        }
    }

    fn timed_out(&self) -> RpcError {
        match &self.label {
            Some(label) => label.deadline_exceeded(),
            None => RpcError::Cancelled,
        }
    }
}

impl Drop for ByteReceiver {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A streaming call as its caller holds it. The fields may be taken apart and used on different threads.
/// Dropping `reply` before it is there cancels the call.
pub struct ClientStream {
    /// The end of the call.
    pub reply: Pending,
    /// Items to the server.
    pub sender: ByteSender,
    /// Items from the server.
    pub receiver: ByteReceiver,
}

/// A streaming call as the server holds it, beside the obligation to answer.
pub struct ServerStream {
    /// Items to the caller.
    pub sender: ByteSender,
    /// Items from the caller.
    pub receiver: ByteReceiver,
}

impl ServerStream {
    /// No items either way.
    pub(crate) fn none() -> Self {
        Self { sender: ByteSender::none(), receiver: ByteReceiver::none() }
    }
}
