//! Streaming calls: sent whole to one worker, one with a sleeping thread if there is any, over its link.

use std::{
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    ShmClient, State,
    peers::{Worker, damaged},
};
use crate::{
    client::Pending,
    error::RpcError,
    frame::{Call, Frame},
    method::Shape,
    shm::{doorbell::monotonic_ns, kill_point::kill_point},
    stream::ClientStream,
    transport::{
        Outbound,
        inproc::unknown,
        io::NO_DEADLINE,
        session::{Label, SessionCall},
        shm::streams::{self, MAX_STREAM_MESSAGE_BYTES},
    },
};

impl ShmClient {
    pub(super) fn start_stream(&self, call: &Outbound<'_>) -> Result<ClientStream, RpcError> {
        let shared = &self.shared;
        let len_bytes = call.payload.len() as u64;
        if len_bytes > MAX_STREAM_MESSAGE_BYTES {
            let limit_bytes = MAX_STREAM_MESSAGE_BYTES;
            return Err(RpcError::TooLarge { what: "arguments", len_bytes, limit_bytes });
        }
        let until = Instant::now() + call.deadline.min(NO_DEADLINE);
        let label = Arc::new(Label {
            service: shared.service.clone(),
            method: call.method.name.into(),
            deadline: call.deadline,
        });
        // Held until the call is sent: the ids on a link must grow.
        let mut state = self.await_worker(until);
        if shared.is_given_up() {
            return Err(damaged("by the time of this call"));
        }
        let (worker, shape) = state.peers.for_stream(call.method.id).ok_or_else(|| {
            if !state.peers.any_stays() {
                let (service, reason) =
                    (shared.service.clone(), state.peers.absence(shared.reconnect_timeout));
                RpcError::Unavailable { service, reason }
            } else {
                unknown(&shared.service, call.method)
            }
        })?;
        let id = state.rings.next_serial();
        let opened = worker
            .session
            .open(id, shape, Arc::clone(&label), until)
            .map_err(|reason| label.lost(&reason))?;
        let timeout_ns = if call.deadline < NO_DEADLINE { call.deadline.as_nanos() as u64 } else { 0 };
        let frame = Frame::Call(Call {
            id,
            method: call.method.id,
            timeout_ns,
            door: call.door,
            idempotent: call.method.idempotent,
            metadata: Default::default(),
            payload: call.payload.to_vec().into(),
        });
        kill_point("stream.opened");
        streams::send(&worker.link, frame);
        kill_point("stream.begun");
        drop(state);
        let session = Arc::clone(&worker.session);
        let reply = Pending::new(SessionCall::new(session, id, opened.answer, label, until));
        Ok(ClientStream { reply, sender: opened.sender, receiver: opened.receiver })
    }
}

impl ShmClient {
    /// Like any other call, one that streams waits for a worker when there is none, for as long as the
    /// connection does.
    fn await_worker(&self, until: Instant) -> MutexGuard<'_, State> {
        let shared = &self.shared;
        let now_ns = monotonic_ns();
        let mut state = shared.lock();
        while !state.peers.any_stays() && !shared.is_given_up() {
            let alone_ns = monotonic_ns().saturating_sub(state.peers.alone_since_ns().unwrap_or(now_ns));
            let patience = state.peers.patience(shared.reconnect_timeout);
            let left = patience.saturating_sub(Duration::from_nanos(alone_ns));
            let left = left.min(until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            let waited = shared.greeted.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }
}

impl super::Peers {
    /// Whether there is a worker that will be there for a while.
    pub(super) fn any_stays(&self) -> bool {
        self.workers().iter().any(|worker| !worker.leaves())
    }

    /// The worker for a new stream, and the method's shape there.
    fn for_stream(&self, method: crate::method::MethodId) -> Option<(Arc<Worker>, Shape)> {
        let offers = |worker: &&Arc<Worker>| !worker.leaves() && worker.shape_of(method).is_some();
        let worker =
            self.workers().iter().filter(offers).max_by_key(|worker| worker.board.sleeps(worker.index))?;
        Some((Arc::clone(worker), worker.shape_of(method)?))
    }
}
