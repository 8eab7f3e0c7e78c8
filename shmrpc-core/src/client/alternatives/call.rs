//! A call that is waited for later, with its arguments, for as long as it may have to go to another endpoint.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{MOST_MOVES, Move, Shared, unavailable};
use crate::{
    client::{Door, Pending, PendingCall, Reply, Target},
    error::RpcError,
    method::MethodId,
    transport::{Outbound, io::Alarm},
};

pub(super) struct MovingCall {
    shared: Arc<Shared>,
    request: Request,
    state: State,
    moves: u32,
}

struct Request {
    method: MethodId,
    name: Box<str>,
    idempotent: bool,
    door: Door,
    payload: Box<[u8]>,
    deadline: Duration,
    until: Instant,
}

enum State {
    /// On the transport of that serial.
    Begun(Pending, u64),
    /// Nobody serves where it was, for which there was that reason.
    Moves {
        moving: Arc<Move>,
        service: String,
        reason: String,
        alarm: Alarm,
    },
    Over,
}

impl MovingCall {
    pub(super) fn begin(shared: Arc<Shared>, call: &Outbound<'_>) -> Result<Self, RpcError> {
        let request = Request {
            method: call.method.id,
            name: call.method.name.into(),
            idempotent: call.method.idempotent,
            door: call.door,
            payload: call.payload.into(),
            deadline: call.deadline,
            until: Instant::now() + call.deadline,
        };
        let mut begun = Self { shared, request, state: State::Over, moves: 0 };
        begun.send(call.deadline)?;
        Ok(begun)
    }

    /// Hands the call to the transport in use, or has another one looked for.
    fn send(&mut self, deadline: Duration) -> Result<(), RpcError> {
        loop {
            let Request { method: id, name, idempotent, door, payload, .. } = &self.request;
            let method = Target { id: *id, name, idempotent: *idempotent, deadline: None };
            let way = self.shared.way()?;
            let call = Outbound { method, door: *door, payload, deadline };
            match way.transport(&self.shared).begin(call) {
                Ok(pending) => {
                    self.state = State::Begun(pending, way.serial);
                    return Ok(());
                }
                Err(error) => {
                    if self.moves_on(way.serial, error)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// What follows from an error: a move that is to be waited for (`true`), or another attempt at once.
    fn moves_on(&mut self, serial: u64, error: RpcError) -> Result<bool, RpcError> {
        let RpcError::Unavailable { service, reason } = error else { return Err(error) };
        if self.moves == MOST_MOVES {
            return Err(RpcError::Unavailable { service, reason });
        }
        self.moves += 1;
        self.state = State::Over;
        let Some(moving) = self.shared.leave(serial) else { return Ok(false) };
        self.state = State::Moves { moving, service, reason, alarm: Alarm::new(self.request.until) };
        Ok(true)
    }

    /// A transport's answer. `None`: the call goes on.
    fn answered(&mut self, serial: u64, answer: Result<Reply, RpcError>) -> Option<Result<Reply, RpcError>> {
        let error = match answer {
            Err(error @ RpcError::Unavailable { .. }) => error,
            answer => {
                self.state = State::Over;
                return Some(answer);
            }
        };
        match self.moves_on(serial, error) {
            Ok(true) => None,
            Ok(false) => self.again().err().map(Err),
            Err(error) => Some(Err(error)),
        }
    }

    fn again(&mut self) -> Result<(), RpcError> {
        let left = self.request.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.overdue(self.shared.first.1.service().name.clone()));
        }
        self.send(left)
    }

    /// The move is over.
    fn moved(&mut self, outcome: Result<(), String>) -> Result<(), RpcError> {
        let before = std::mem::replace(&mut self.state, State::Over);
        match (before, outcome) {
            (State::Moves { service, reason, .. }, Err(others)) => {
                Err(unavailable(service, &reason, &others))
            }
            _ => self.again(),
        }
    }

    fn overdue(&self, service: String) -> RpcError {
        let (method, after) = (self.request.name.to_string(), self.request.deadline);
        RpcError::DeadlineExceeded { service, method, after }
    }
}

impl PendingCall for MovingCall {
    fn wait(&mut self) -> Result<Reply, RpcError> {
        loop {
            match &mut self.state {
                State::Begun(pending, serial) => {
                    let (serial, answer) = (*serial, pending.wait_here());
                    if let Some(answer) = self.answered(serial, answer) {
                        return answer;
                    }
                }
                State::Moves { moving, service, .. } => {
                    let (moving, service) = (Arc::clone(moving), service.clone());
                    let outcome = moving.wait_until(self.request.until);
                    self.moved(outcome.ok_or_else(|| self.overdue(service))?)?;
                }
                State::Over => return Err(RpcError::Cancelled),
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, RpcError>> {
        loop {
            match &mut self.state {
                State::Begun(pending, serial) => {
                    let serial = *serial;
                    let Poll::Ready(answer) = Pin::new(pending).poll(cx) else { return Poll::Pending };
                    if let Some(answer) = self.answered(serial, answer) {
                        return Poll::Ready(answer);
                    }
                }
                State::Moves { moving, service, alarm, .. } => match moving.poll(cx) {
                    Poll::Ready(outcome) => self.moved(outcome)?,
                    Poll::Pending if alarm.poll(cx) => {
                        let service = service.clone();
                        return Poll::Ready(Err(self.overdue(service)));
                    }
                    Poll::Pending => return Poll::Pending,
                },
                State::Over => return Poll::Ready(Err(RpcError::Cancelled)),
            }
        }
    }
}
