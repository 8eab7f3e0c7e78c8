//! A call of ours that waits for its answer over a session.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use super::{Answer, Label, Session};
use crate::{
    client::{PendingCall, Reply},
    error::RpcError,
    transport::io::Alarm,
};

pub(crate) struct SessionCall {
    session: Arc<Session>,
    id: u64,
    answer: Answer,
    label: Arc<Label>,
    until: Instant,
    alarm: Alarm,
}

impl SessionCall {
    pub(crate) fn new(
        session: Arc<Session>,
        id: u64,
        answer: Answer,
        label: Arc<Label>,
        until: Instant,
    ) -> Self {
        Self { session, id, answer, label, until, alarm: Alarm::new(until) }
    }

    fn give_up(&self) -> RpcError {
        let error = self.label.deadline_exceeded();
        self.session.cancel(self.id, &error);
        error
    }
}

impl PendingCall for SessionCall {
    fn wait(&mut self) -> Result<Reply, RpcError> {
        self.answer.wait_until(self.until).unwrap_or_else(|| Err(self.give_up()))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, RpcError>> {
        if let Poll::Ready(answer) = self.answer.poll(cx) {
            return Poll::Ready(answer);
        }
        if self.alarm.poll(cx) {
            return Poll::Ready(Err(self.give_up()));
        }
        Poll::Pending
    }
}

impl Drop for SessionCall {
    fn drop(&mut self) {
        self.session.cancel(self.id, &RpcError::Cancelled);
    }
}
