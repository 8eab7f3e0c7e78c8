//! What calls under way hold of their connection's room, and of that of all connections.

use std::sync::{Arc, atomic::Ordering};

use super::Peer;

/// Room that the arguments of a call take up, given back when this is dropped.
pub(in super::super) struct Held {
    peer: Arc<Peer>,
    bytes: usize,
}

impl Held {
    pub(super) fn new(peer: &Arc<Peer>, bytes: usize) -> Self {
        peer.arguments_bytes.fetch_add(bytes, Ordering::SeqCst);
        peer.shared.arguments_bytes.fetch_add(bytes, Ordering::SeqCst);
        Self { peer: Arc::clone(peer), bytes }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let shared = &self.peer.shared;
        self.peer.arguments_bytes.fetch_sub(self.bytes, Ordering::SeqCst);
        let before = shared.arguments_bytes.fetch_sub(self.bytes, Ordering::SeqCst);
        let limit = shared.options.max_all_arguments_bytes;
        if before > limit && before - self.bytes <= limit {
            // There is room for everybody again.
            let peers: Vec<Arc<Peer>> = shared.peers().values().cloned().collect();
            peers.iter().for_each(Peer::resume);
        } else {
            self.peer.resume();
        }
    }
}
