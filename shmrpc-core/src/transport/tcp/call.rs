//! A call over TCP: it waits for a connection if there is none, then for its answer, and goes to the next
//! connection if it is certain that the last one did not run it.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    Request, Shared, Way,
    link::Link,
    redial::{Missed, Redial},
};
use crate::{
    client::{PendingCall, Reply},
    error::RpcError,
    transport::{io::Alarm, session::SessionCall},
};

/// Servers that go away one after another: so many are left before the caller hears of it.
const MOST_MOVES: u32 = 8;

pub(super) struct TcpCall {
    shared: Arc<Shared>,
    request: Request,
    state: State,
    alarm: Alarm,
    moves: u32,
    /// An idempotent call has been run twice, perhaps; no more.
    repeated: bool,
}

enum State {
    Waiting(Arc<Redial>),
    Sent(Arc<Link>, SessionCall),
}

impl TcpCall {
    pub(super) fn start(shared: Arc<Shared>, request: Request) -> Result<Self, RpcError> {
        let mut moves = 0;
        let state = place(&shared, &request, shared.way(), &mut moves)?;
        let alarm = Alarm::new(request.until);
        Ok(Self { shared, request, state, alarm, moves, repeated: false })
    }

    fn send(&mut self, way: Way) -> Result<(), RpcError> {
        self.state = place(&self.shared, &self.request, way, &mut self.moves)?;
        Ok(())
    }

    /// The connection that the call waited for, or why there is none.
    fn arrived(&mut self, link: Result<Arc<Link>, Missed>) -> Result<(), RpcError> {
        let link = link.map_err(|missed| missed.error(&self.request))?;
        self.send(Way::Link(link))
    }

    /// Whether the call is to be sent once more, on another connection; if so, that is arranged.
    fn moves_on(&mut self, link: &Link, answer: &Result<Reply, RpcError>) -> Result<bool, RpcError> {
        let Err(error) = answer else { return Ok(false) };
        let again = match error {
            // It was told that the server goes away, and did not run the call.
            RpcError::Unavailable { .. } => link.going_away() && self.moves < MOST_MOVES,
            RpcError::ConnectionLost { .. } => {
                self.request.idempotent && !std::mem::replace(&mut self.repeated, true)
            }
            _ => false,
        };
        if again {
            self.moves += 1;
            self.send(self.shared.way())?;
        }
        Ok(again)
    }
}

/// Sends the call, or finds what it has to wait for. A connection that ended before anything was sent is
/// passed over.
fn place(shared: &Arc<Shared>, request: &Request, mut way: Way, moves: &mut u32) -> Result<State, RpcError> {
    loop {
        let link = match way {
            Way::Link(link) => link,
            Way::Redial(redial) => return Ok(State::Waiting(redial)),
        };
        match link.send_unary(request) {
            Ok(call) => return Ok(State::Sent(link, call)),
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
                State::Waiting(redial) => {
                    let link = redial.wait_until(self.request.until);
                    self.arrived(link)?;
                }
                State::Sent(link, call) => {
                    let (link, answer) = (Arc::clone(link), call.wait());
                    if !self.moves_on(&link, &answer)? {
                        return answer;
                    }
                }
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, RpcError>> {
        loop {
            match &mut self.state {
                State::Waiting(redial) => match redial.poll(cx) {
                    Poll::Ready(link) => self.arrived(link)?,
                    Poll::Pending if self.alarm.poll(cx) => {
                        return Poll::Ready(Err(self.request.label.deadline_exceeded()));
                    }
                    Poll::Pending => return Poll::Pending,
                },
                State::Sent(link, call) => {
                    let Poll::Ready(answer) = call.poll(cx) else { return Poll::Pending };
                    let link = Arc::clone(link);
                    if !self.moves_on(&link, &answer)? {
                        return Poll::Ready(answer);
                    }
                }
            }
        }
    }
}
