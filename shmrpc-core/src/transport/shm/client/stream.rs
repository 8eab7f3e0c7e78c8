//! Streaming calls: sent whole to one worker, one with a sleeping thread if there is any, over its link.

use std::{sync::Arc, time::Instant};

use super::{ShmClient, peers::Worker};
use crate::{
    client::Pending,
    error::RpcError,
    frame::{Call, Frame},
    method::Shape,
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
        let mut state = shared.lock();
        let (worker, shape) = state.peers.for_stream(call.method.id).ok_or_else(|| {
            if state.peers.workers().is_empty() {
                let (service, reason) = (shared.service.clone(), "no worker is alive".into());
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
        streams::send(&worker.link, frame);
        drop(state);
        let session = Arc::clone(&worker.session);
        let reply = Pending::new(SessionCall::new(session, id, opened.answer, label, until));
        Ok(ClientStream { reply, sender: opened.sender, receiver: opened.receiver })
    }
}

impl super::Peers {
    /// The worker for a new stream, and the method's shape there.
    fn for_stream(&self, method: crate::method::MethodId) -> Option<(Arc<Worker>, Shape)> {
        let offers = |worker: &&Arc<Worker>| worker.shape_of(method).is_some();
        let worker =
            self.workers().iter().filter(offers).max_by_key(|worker| worker.board.sleeps(worker.index))?;
        Some((Arc::clone(worker), worker.shape_of(method)?))
    }
}
