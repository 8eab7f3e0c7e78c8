//! A call over TCP: it waits for a connection if there is none, then for its answer, and goes to the next
//! connection if it is certain that the last one did not run it.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    Request, Shared, Way,
    calls::Outcome,
    link::{Link, Waited},
    redial::{Missed, Redial},
};
use crate::{
    client::{PendingCall, Reply},
    error::{RpcError, Status},
    frame::Frame,
    transport::{io::Alarm, session::FrameSink},
};

/// Servers that go away one after another: so many are left before the caller hears of it.
const MOST_MOVES: u32 = 8;

pub(super) struct TcpCall {
    shared: Arc<Shared>,
    request: Request,
    state: State,
    moves: u32,
    /// An idempotent call has been run twice, perhaps; no more.
    repeated: bool,
}

enum State {
    Waiting(Arc<Redial>, Alarm),
    Sent(Arc<Link>, u64),
    /// It has been answered, or given up.
    Over,
}

impl TcpCall {
    pub(super) fn start(shared: Arc<Shared>, request: Request) -> Result<Self, RpcError> {
        let mut moves = 0;
        let state = place(&shared, &request, shared.way(), &mut moves)?;
        Ok(Self { shared, request, state, moves, repeated: false })
    }

    fn send(&mut self, way: Way) -> Result<(), RpcError> {
        self.state = place(&self.shared, &self.request, way, &mut self.moves)?;
        Ok(())
    }

    /// The connection that the call waited for, or why there is none.
    fn arrived(&mut self, link: Result<Arc<Link>, Missed>) -> Result<(), RpcError> {
        let link = link.map_err(|missed| missed.error(&self.shared.label(&self.request)))?;
        self.send(Way::Link(link))
    }

    /// What is made of a call's end. `None`: it has been sent once more, on another connection.
    fn ended(&mut self, link: &Link, waited: Waited) -> Option<Result<Reply, RpcError>> {
        let (status, body) = match waited {
            Waited::Over(Outcome::Reply(status @ (Status::Ok | Status::ServiceError), body)) => {
                self.state = State::Over;
                return Some(Ok(Reply { status, body }));
            }
            Waited::Over(Outcome::Reply(status, body)) => (Some(status), body),
            Waited::Over(Outcome::Lost(reason)) => (None, reason.into_bytes()),
            Waited::DeadlineExceeded => {
                self.abandon();
                return Some(Err(self.shared.label(&self.request).deadline_exceeded()));
            }
        };
        self.state = State::Over;
        let again = match status {
            // It was told that the server goes away, and did not run the call.
            Some(Status::Unavailable) => link.going_away() && self.moves < MOST_MOVES,
            Some(_) => false,
            None => self.request.idempotent && !std::mem::replace(&mut self.repeated, true),
        };
        if again {
            self.moves += 1;
            return self.send(self.shared.way()).err().map(Err);
        }
        let label = self.shared.label(&self.request);
        Some(Err(match status {
            Some(status) => label.of_reply(status, &body),
            None => label.lost(&String::from_utf8_lossy(&body)),
        }))
    }

    /// Gives up a call that is under way; the server is told.
    fn abandon(&mut self) {
        if let State::Sent(link, id) = std::mem::replace(&mut self.state, State::Over) {
            let tell = link.calls.lock().give_up(id);
            if tell {
                link.writer.send(Frame::Cancel { id });
            }
            link.leave_if_done();
        }
    }
}

/// Sends the call, or finds what it has to wait for. A connection that ended before anything was sent is
/// passed over.
fn place(shared: &Arc<Shared>, request: &Request, mut way: Way, moves: &mut u32) -> Result<State, RpcError> {
    loop {
        let link = match way {
            Way::Link(link) => link,
            Way::Redial(redial) => return Ok(State::Waiting(redial, Alarm::new(request.until))),
        };
        match link.send_unary(shared, request) {
            Ok(id) => return Ok(State::Sent(link, id)),
            Err(RpcError::Unavailable { .. }) if *moves < MOST_MOVES => *moves += 1,
            Err(error) => return Err(error),
        }
        way = shared.way();
    }
}

impl PendingCall for TcpCall {
    fn wait(&mut self) -> Result<Reply, RpcError> {
        loop {
            match &mut self.state {
                State::Waiting(redial, _) => {
                    let link = redial.wait_until(self.request.until);
                    self.arrived(link)?;
                }
                State::Sent(link, id) => {
                    let link = Arc::clone(link);
                    let waited = link.wait(*id, self.request.until);
                    if let Some(answer) = self.ended(&link, waited) {
                        return answer;
                    }
                }
                State::Over => return Err(RpcError::Cancelled),
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, RpcError>> {
        loop {
            match &mut self.state {
                State::Waiting(redial, alarm) => match redial.poll(cx) {
                    Poll::Ready(link) => self.arrived(link)?,
                    Poll::Pending if alarm.poll(cx) => {
                        return Poll::Ready(Err(self.shared.label(&self.request).deadline_exceeded()));
                    }
                    Poll::Pending => return Poll::Pending,
                },
                State::Sent(link, id) => {
                    let link = Arc::clone(link);
                    let Poll::Ready(waited) = link.poll(*id, self.request.until, cx) else {
                        return Poll::Pending;
                    };
                    if let Some(answer) = self.ended(&link, waited) {
                        return Poll::Ready(answer);
                    }
                }
                State::Over => return Poll::Ready(Err(RpcError::Cancelled)),
            }
        }
    }
}

impl Drop for TcpCall {
    fn drop(&mut self) {
        // After a fork the connection is the parent's: nothing may be said on it.
        if self.shared.check_owner().is_ok() {
            self.abandon();
        }
    }
}
