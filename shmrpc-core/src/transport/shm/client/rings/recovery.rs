//! What becomes of calls whose worker has died, and of those for which no worker comes: the connection owns its rings,
//! so it alone decides.

use std::sync::{Arc, atomic::Ordering};

use super::Rings;
use crate::{
    client::Reply,
    error::RpcError,
    server::Lent,
    shm::{channel::Claimer, kill_point::kill_point},
    transport::shm::client::{
        peers::Worker,
        place::InReply,
        ring::{Key, Ring},
    },
};

impl Rings {
    /// Decides the calls that a dead worker had claimed.
    pub(in super::super) fn recover(&mut self, dead: &Worker, lost: impl Fn(u64) -> RpcError) {
        for ring in &mut self.rings {
            let lane = Arc::clone(&ring.lane);
            let attended = lane.channel.attended();
            let by = attended.load(Ordering::Acquire);
            if by & 0xffff == u64::from(dead.index) + 1 {
                let _ = attended.compare_exchange(by, 0, Ordering::AcqRel, Ordering::Relaxed);
                kill_point("recover.unattended");
            }
            let mut again = Vec::new();
            for (slot, call) in ring.calls() {
                let index = call.index;
                if call.is_decided() || !lane.channel.claimed_by(slot, index, dead.claimer) {
                    continue;
                }
                if let Some(reply) = lane.channel.reply(slot, index) {
                    // Answered before it died; what lies in its arena must be taken while we have it.
                    if let Ok(reply) = reply
                        && reply.place.arena != 0
                    {
                        let read = InReply::find(&lane, slot, reply, Some(dead)).map(|found| {
                            let found = found?;
                            let mut body = Vec::new();
                            found.copy_out(0, found.len_bytes(), &mut body);
                            Ok(Reply { status: found.status, body })
                        });
                        call.decide(read.unwrap_or_else(|| Err(lost(call.method))), &mut self.due);
                    }
                    continue;
                }
                if call.idempotent && !call.retried && !call.abandoned {
                    call.retried = true;
                    again.push(slot);
                } else {
                    let error = lost(call.method);
                    call.decide(Err(error), &mut self.due);
                }
            }
            for slot in again {
                let index = ring.next;
                let Some(call) = ring.call(slot) else { continue };
                let before = std::mem::replace(&mut call.index, index);
                if lane.channel.renumber(slot, before, index).is_err() {
                    call.decide(Err(lost(call.method)), &mut self.due);
                    continue;
                }
                ring.publish(slot);
                kill_point("recover.again");
            }
        }
        self.forget_decided();
    }

    /// Fails every call that no worker has claimed. The connection claims them itself: a call that was just
    /// forgotten would leave its number on the ring, and the slot's next use under it.
    pub(super) fn give_up_unclaimed(&mut self, error: &RpcError) {
        for ring in &mut self.rings {
            for _ in 0..ring.in_flight() {
                let Some(claimed) = ring.lane.channel.try_claim(Claimer::CLIENT) else { break };
                kill_point("give_up.claimed");
                let call = ring.call(claimed.slot);
                if let Some(call) = call.filter(|call| call.index == claimed.index) {
                    call.decide(Err(error.clone()), &mut self.due);
                }
            }
        }
        self.forget_decided();
    }

    /// Fails every call: what lies in the rings is not to be believed any more.
    pub(in super::super) fn give_up_all(&mut self, error: &RpcError) {
        for (_, call) in self.rings.iter_mut().flat_map(Ring::calls) {
            if !call.is_decided() {
                call.decide(Err(error.clone()), &mut self.due);
            }
        }
    }

    /// Frees the slots of abandoned calls that have been decided.
    pub(super) fn forget_decided(&mut self) {
        let gone: Vec<Key> = self.abandoned.drain(..).collect();
        for key in gone {
            match self.call(key) {
                Some(call) if call.is_decided() => self.finish(key),
                Some(_) => self.abandoned.push_back(key),
                None => {}
            }
        }
    }
}
