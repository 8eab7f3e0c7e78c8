//! Streaming calls at the worker: they come whole over a client's link and run beside the pool, which
//! they may outlast by far.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Shared, clients::Client};
use crate::{
    error::Status,
    frame::{Call, Frame},
    server::{CallContext, IncomingCall, ReplySink, Responder, contained, runtime},
    shm::{counters::Table, kill_point::kill_point, ticks::Ticks},
    transport::{
        io::NO_DEADLINE,
        session::Incoming,
        shm::streams::{on_frame, send},
    },
};

impl Shared {
    pub(super) fn stream_frame(self: &Arc<Self>, client: &Arc<Client>, bytes: Vec<u8>) {
        if let Some(Incoming::Call(call)) = on_frame(&client.link, &client.session, bytes) {
            self.start_stream(client, call);
        }
    }

    fn start_stream(self: &Arc<Self>, client: &Arc<Client>, call: Call) {
        let id = call.id;
        let Some(&method) = self.methods.get(&call.method.0) else {
            let text = format!("{} has no method {}", self.description.name, call.method);
            return send(
                &client.link,
                Frame::Reply { id, status: Status::NoSuchMethod, payload: text.into() },
            );
        };
        let timeout = if call.timeout_ns == 0 { NO_DEADLINE } else { Duration::from_nanos(call.timeout_ns) };
        let until = Instant::now() + timeout;
        let shape = self.description.methods[method].shape;
        let Ok(accepted) = client.session.accept(id, shape, until) else { return client.link.close() };
        kill_point("stream.accepted");
        let deadline = (call.timeout_ns != 0).then_some(until);
        let context = CallContext::new(id, deadline).with_cancelled(accepted.cancelled);
        self.activity.begin();
        let counted = Responder::new(Counted {
            shared: Arc::clone(self),
            responder: Some(client.session.responder(id)),
            method,
            bytes_in: call.payload.len() as u64,
            begun: Ticks::now(),
        });
        let shared = Arc::clone(self);
        runtime().spawn_blocking(move || {
            let payload = Cow::Owned(call.payload.into());
            let call = IncomingCall::new(payload, call.door, context, counted);
            contained(&shared.service, method, call.with_stream(accepted.stream));
        });
    }
}

/// The answer to a streaming call, counted like any other.
struct Counted {
    shared: Arc<Shared>,
    responder: Option<Responder<'static>>,
    method: usize,
    bytes_in: u64,
    begun: Ticks,
}

impl ReplySink for Counted {
    fn send(&mut self, status: Status, body: &[u8]) {
        let counters = &self.shared.counters;
        let failed = status != Status::Ok;
        counters.count(Table::COMMON, self.method, failed, self.bytes_in, body.len() as u64);
        counters.count_time(Table::COMMON, self.method, Ticks::now().ns_since(self.begun));
        if let Some(responder) = self.responder.take() {
            responder.send(status, body);
        }
        self.shared.activity.end();
    }
}
