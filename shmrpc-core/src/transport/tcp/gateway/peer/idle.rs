//! Connections in which nothing has been under way for too long are told to go, and then closed. One task a gateway
//! looks at all of them now and then; it is there only if there is such a limit.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{LAST_WORDS, Peer};
use crate::{
    server::runtime,
    transport::tcp::gateway::{Phase, Shared},
};

/// So many looks a timeout, so that nobody stays for much longer.
const LOOKS: u32 = 4;
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What was seen of a connection: how often something had come from it, and when that was first so.
type Seen = (u64, Instant);

/// Runs until the gateway stops serving.
pub(in super::super) async fn sweep(
    shared: Arc<Shared>,
    mut phase: watch::Receiver<Phase>,
    timeout: Duration,
) {
    let pause = (timeout / LOOKS).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
    let mut seen: HashMap<u64, Seen> = HashMap::new();
    while tokio::time::timeout(pause, phase.wait_for(|phase| *phase != Phase::Serving)).await.is_err() {
        let peers: Vec<Arc<Peer>> = shared.peers().values().cloned().collect();
        let now = Instant::now();
        let mut still = HashMap::with_capacity(peers.len());
        for peer in peers {
            let heard = peer.heard.load(Ordering::Relaxed);
            let since = match seen.get(&peer.number) {
                Some((before, since)) if *before == heard && !peer.is_busy() => *since,
                _ => now,
            };
            if now.duration_since(since) >= timeout {
                peer.dismiss_idle();
            } else {
                still.insert(peer.number, (heard, since));
            }
        }
        seen = still;
    }
    // In this order, as everywhere: whoever drains waits for the receivers.
    drop(shared);
    drop(phase);
}

impl Peer {
    fn is_busy(&self) -> bool {
        self.session.open_calls() > 0 || self.arguments_bytes.load(Ordering::SeqCst) > 0
    }

    /// A call that crosses our words is refused as by a server that goes away, and so is made again elsewhere.
    fn dismiss_idle(self: Arc<Self>) {
        self.send_away("nothing was under way for too long");
        runtime().spawn(async move {
            tokio::time::sleep(LAST_WORDS).await;
            while self.is_busy() {
                tokio::time::sleep(LAST_WORDS).await;
            }
            self.end();
        });
    }
}
