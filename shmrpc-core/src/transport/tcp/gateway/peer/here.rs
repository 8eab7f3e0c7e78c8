//! Calls that are run by the thread that has read them, because their method has lately been quick: no other
//! thread has to be woken, neither for the call nor for its reply. Slower methods go through the rings,
//! where whichever worker is free takes them.

use std::sync::Arc;

use bytes::Bytes;

use super::{GATHERED_FOR_NS, Peer};
use crate::{
    error::Status,
    frame::CallHead,
    server::{CallContext, NearSink, ReplySink},
    shm::doorbell::monotonic_ns,
    transport::tcp::gateway::forward::until,
};

impl Peer {
    /// Runs a call here and now if that is wise. Its reply is gathered with those before it, unless they have
    /// waited for long enough.
    pub(super) fn run_here(
        self: &Arc<Self>,
        head: &CallHead,
        payload: &Bytes,
        gathered_since_ns: &mut Option<u64>,
    ) -> bool {
        let Some(local) = &self.shared.local else { return false };
        let Some((method, encoding)) = local.quick(head.method) else { return false };
        let allowed = !encoding.is_guarded() || self.shared.options.force_insecure_serialisation;
        if !allowed || self.is_draining() || self.session.is_open(head.id) {
            return false;
        }
        let inside = self.writer.registration().and_then(|registration| registration.poller().in_place());
        let Some(_inside) = inside else { return false };
        let turn = self.begin_call(gathered_since_ns.is_some());
        let since_ns = *gathered_since_ns.get_or_insert_with(monotonic_ns);
        let context = CallContext::new(head.id, Some(until(head.timeout_ns)));
        let mut sink = HereReply { peer: self, id: head.id };
        let ran = local.run(method, payload, head.door, context, &mut sink);
        self.end_call(turn);
        if monotonic_ns().saturating_sub(since_ns) > GATHERED_FOR_NS {
            self.writer.flush();
            *gathered_since_ns = None;
        }
        ran
    }
}

/// Where the reply of such a call goes: to those that are gathered.
struct HereReply<'a> {
    peer: &'a Arc<Peer>,
    id: u64,
}

impl HereReply<'_> {
    fn gather(&self, status: Status, body: &[u8]) {
        let Self { peer, id } = self;
        match peer.session.refuses(status, body.len()) {
            Some(text) => peer.writer.gather_reply(*id, Status::TooLarge, text.as_bytes()),
            None => peer.writer.gather_reply(*id, status, body),
        }
    }
}

impl ReplySink for HereReply<'_> {
    fn send(&mut self, status: Status, body: &[u8]) {
        self.gather(status, body);
    }
}

impl NearSink for HereReply<'_> {
    fn detach(&mut self) -> Box<dyn ReplySink> {
        Box::new(LateReply { peer: Arc::clone(self.peer), id: self.id })
    }
}

/// The same for a handler that answers later, when nobody is there to send what is gathered.
struct LateReply {
    peer: Arc<Peer>,
    id: u64,
}

impl ReplySink for LateReply {
    fn send(&mut self, status: Status, body: &[u8]) {
        HereReply { peer: &self.peer, id: self.id }.gather(status, body);
        self.peer.writer.flush();
    }
}
