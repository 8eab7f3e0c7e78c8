//! One call of a gateway's client, passed on to the upstream connection and answered.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::watch;

use super::{Phase, Shared, peer::Held};
use crate::{
    client::{Connection, Reply, Target},
    error::{RpcError, Status},
    frame::Call,
    method::{MethodDescription, ServiceDescription, Shape},
    server::runtime,
    stream::{ByteReceiver, ByteSender, ClientStream, ServerStream, StreamClosed},
    transport::{
        session::{Session, Violation},
        tcp::writer::Writer,
    },
};

pub(super) struct Forward {
    pub(super) shared: Arc<Shared>,
    pub(super) session: Arc<Session>,
    pub(super) writer: Arc<Writer>,
    pub(super) draining: bool,
    /// Last, so that it is dropped last: whoever drains waits for it.
    pub(super) _phase: watch::Receiver<Phase>,
}

impl Forward {
    /// Takes the call on, or answers at once why not. `held` is given back when the arguments are.
    pub(super) fn start(self, call: Call, held: Held) -> Result<(), Violation> {
        let service = self.shared.upstream.service();
        let id = call.id;
        let checked = self.check(&service, &call);
        let shape = checked.as_ref().map_or(Shape::Unary, |method| method.shape);
        let accepted = self.session.accept(id, shape, until(call.timeout_ns))?;
        let method = match checked {
            Ok(method) => method.clone(),
            Err((status, text)) => {
                self.session.finish(id, status, text.into());
                return Ok(());
            }
        };
        let session = Arc::clone(&self.session);
        let task = runtime().spawn(async move {
            let (status, body) = match method.shape {
                Shape::Unary => self.unary(&method, call, held).await,
                _ => self.stream(&method, call, held, accepted.stream).await,
            };
            self.session.finish(id, status, body);
        });
        let abort = task.abort_handle();
        session.on_cancel(id, &accepted.cancelled, move || abort.abort());
        Ok(())
    }

    fn check<'a>(
        &self,
        service: &'a ServiceDescription,
        call: &Call,
    ) -> Result<&'a MethodDescription, (Status, String)> {
        let options = &self.shared.options;
        if self.draining {
            return Err((Status::Unavailable, "the server is going away".into()));
        }
        if self.session.open_calls() >= options.max_in_flight as usize {
            return Err((
                Status::Busy,
                format!("{} calls are under way in this connection", options.max_in_flight),
            ));
        }
        let method = service.methods.iter().find(|method| method.id == call.method).ok_or_else(|| {
            let known: Vec<&str> = service.methods.iter().map(|method| method.name.as_str()).collect();
            (
                Status::NoSuchMethod,
                format!("{} has no method {}; it has {}", service.name, call.method, known.join(", ")),
            )
        })?;
        if method.encoding.is_guarded() && !options.force_insecure_serialisation {
            let text = format!(
                "{}.{} uses {}, which is not allowed over TCP unless force_insecure_serialisation is set",
                service.name, method.name, method.encoding
            );
            return Err((Status::Refused, text));
        }
        Ok(method)
    }

    /// The upstream with the caller's deadline.
    fn upstream(&self, timeout_ns: u64) -> Connection {
        match timeout_ns {
            0 => self.shared.upstream.clone(),
            _ => self.shared.upstream.with_deadline(Duration::from_nanos(timeout_ns)),
        }
    }

    async fn unary(&self, method: &MethodDescription, call: Call, held: Held) -> (Status, Bytes) {
        let upstream = self.upstream(call.timeout_ns);
        let target = Target { idempotent: call.idempotent && method.idempotent, ..Target::from(method) };
        // Workers' rings and services in this process take a call without waiting for room.
        let answer = match upstream.begin(target, call.door, &call.payload) {
            Ok(pending) => pending.await,
            Err(error) => Err(error),
        };
        drop(held);
        outcome(answer)
    }

    async fn stream(
        &self,
        method: &MethodDescription,
        call: Call,
        held: Held,
        client: ServerStream,
    ) -> (Status, Bytes) {
        let upstream = self.upstream(call.timeout_ns);
        let target = Target::from(method);
        // A stream may have to wait for a socket.
        let begun = tokio::task::block_in_place(|| upstream.begin_stream(target, call.door, &call.payload));
        drop((call, held));
        let ClientStream { reply, sender, receiver } = match begun {
            Ok(stream) => stream,
            Err(error) => return outcome(Err(error)),
        };
        let up = pump(&client.receiver, &sender, None);
        // The reply is passed on after the last item.
        let down = async { tokio::join!(pump(&receiver, &client.sender, Some(&self.writer)), reply).1 };
        tokio::pin!(down);
        let answer = tokio::select! {
            biased;
            answer = &mut down => answer,
            () = up => down.await,
        };
        outcome(answer)
    }
}

fn outcome(answer: Result<Reply, RpcError>) -> (Status, Bytes) {
    match answer {
        Ok(reply) => (reply.status, reply.body.into()),
        Err(error) => {
            let (status, text) = error.to_reply();
            (status, text.into())
        }
    }
}

/// Passes items on until either end has had enough. Credit is kept on both sides, so that no more than a
/// window of items is in here; and all streams of a connection together wait for room in its queue.
async fn pump(from: &ByteReceiver, to: &ByteSender, queue: Option<&Writer>) {
    while let Some(item) = from.recv_async().await {
        if let Some(queue) = queue {
            queue.room().await;
        }
        match item {
            Ok(item) => {
                if to.send_async(item).await.is_err() {
                    return from.stop();
                }
            }
            Err(error) => return to.fail(StreamClosed::from(&error)),
        }
    }
    to.finish();
}

/// When the caller of a gateway's call stops waiting, for what needs an instant.
pub(super) fn until(timeout_ns: u64) -> Instant {
    let most = crate::transport::io::NO_DEADLINE;
    let after = if timeout_ns == 0 { most } else { Duration::from_nanos(timeout_ns).min(most) };
    Instant::now() + after
}
