//! Where arguments and replies lie: an argument that is written in place in an arena of ours, and a reply in the
//! slot or in an arena of a worker's, checked to lie inside before anything is read.

use std::sync::Arc;

use super::{Shared, peers::Worker, ring::Lane};
use crate::{
    client::Reply,
    error::{RpcError, Status},
    server::{Lent, LoanError, Room},
    shm::{
        arena::{Extent, release},
        channel::{CALL_INLINE_BYTES, REPLY_INLINE_BYTES, ReplyHeader},
        kill_point::kill_point,
        region::Region,
    },
};

/// A call's answer.
pub(super) enum Answer<'a> {
    /// Decided without one in the slot, or copied out for a worker that died.
    Decided(Reply),
    /// Where the worker has put it.
    Lies(InReply<'a>),
}

/// A reply where it lies. Dropped, it gives an arena's room back; the slot is the caller's to give back.
pub(super) struct InReply<'a> {
    pub(super) status: Status,
    memory: Memory<'a>,
    at: usize,
    len: usize,
}

enum Memory<'a> {
    Slot(&'a Region),
    Arena(Arc<Region>),
}

impl<'a> InReply<'a> {
    /// `None` when it lies in an arena that is not known (yet).
    pub(super) fn find(
        lane: &'a Lane,
        slot: u16,
        header: ReplyHeader,
        worker: Option<&Worker>,
    ) -> Option<Result<Self, RpcError>> {
        let len = header.place.len_bytes as usize;
        let status = Status::from_u16(header.status.into());
        if header.place.arena == 0 {
            if len > REPLY_INLINE_BYTES {
                return Some(Err(RpcError::Protocol(format!("inline reply of {len} bytes"))));
            }
            let memory = Memory::Slot(lane.channel.region());
            return Some(Ok(Self { status, memory, at: lane.channel.reply_inline(slot), len }));
        }
        let region = worker?.arena(header.place.arena)?;
        let at = usize::try_from(header.place.offset).unwrap_or(usize::MAX);
        if !region.holds(at, len) {
            return Some(Err(RpcError::Protocol(format!("reply of {len} bytes outside its arena"))));
        }
        Some(Ok(Self { status, memory: Memory::Arena(region), at, len }))
    }

    fn memory(&self) -> &Region {
        match &self.memory {
            Memory::Slot(region) => region,
            Memory::Arena(region) => region,
        }
    }
}

impl Drop for InReply<'_> {
    fn drop(&mut self) {
        if let Memory::Arena(region) = &self.memory {
            release(region, self.at as u64);
            kill_point("take.released");
        }
    }
}

impl Lent for InReply<'_> {
    fn len_bytes(&self) -> usize {
        self.len
    }

    fn copy_out(&self, offset: usize, len: usize, into: &mut Vec<u8>) {
        assert!(offset + len <= self.len, "a part of a reply lies inside it");
        self.memory().copy_out(self.at + offset, len, into);
    }

    fn copy_to(&self, offset: usize, into: &mut [u8]) {
        assert!(offset + into.len() <= self.len, "a part of a reply lies inside it");
        self.memory().copy_to(self.at + offset, into);
    }

    fn region(&self) -> Option<(&Region, usize)> {
        Some((self.memory(), self.at))
    }
}

/// Room for an argument: a small one is copied into the slot when the call is published, a large one is written
/// where it stays.
pub(super) struct ArgumentRoom<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) small: [u8; CALL_INLINE_BYTES],
    /// Given back unless a call has taken it over.
    pub(super) lent: Option<(Extent, Arc<Region>)>,
}

impl ArgumentRoom<'_> {
    fn give_back(&mut self) {
        if let Some((extent, _)) = self.lent.take() {
            self.shared.lock().rings.give_back(extent);
        }
    }
}

impl Drop for ArgumentRoom<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Room for ArgumentRoom<'_> {
    fn make(&mut self, len_bytes: usize) -> Result<usize, LoanError> {
        self.give_back();
        if len_bytes <= CALL_INLINE_BYTES {
            return Ok(CALL_INLINE_BYTES);
        }
        let limit_bytes = self.shared.max_message_bytes.min(u64::from(u32::MAX));
        if len_bytes as u64 > limit_bytes {
            return Err(LoanError::TooLarge { len_bytes: len_bytes as u64, limit_bytes });
        }
        let mut state = self.shared.lock();
        let state = &mut *state;
        let allocated = state.rings.allocate(len_bytes, &state.peers);
        self.lent = Some(allocated.map_err(|_| LoanError::NoSpace { len_bytes: len_bytes as u64 })?);
        Ok(len_bytes)
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        match &self.lent {
            Some((extent, region)) => region.copy_in(extent.offset as usize + offset, bytes),
            None => self.small[offset..offset + bytes.len()].copy_from_slice(bytes),
        }
    }

    fn fill(&mut self, offset: usize, source: &dyn Lent) {
        match (&self.lent, source.region()) {
            (Some((extent, region)), Some((from, at))) => {
                region.copy_from(extent.offset as usize + offset, from, at, source.len_bytes());
            }
            (Some((extent, region)), None) => {
                let mut copy = Vec::new();
                source.copy_out(0, source.len_bytes(), &mut copy);
                region.copy_in(extent.offset as usize + offset, &copy);
            }
            (None, _) => source.copy_to(0, &mut self.small[offset..offset + source.len_bytes()]),
        }
    }

    fn read(&mut self, len_bytes: usize, into: &mut Vec<u8>) {
        match &self.lent {
            Some((extent, region)) => region.copy_out(extent.offset as usize, len_bytes, into),
            None => into.extend_from_slice(&self.small[..len_bytes]),
        }
        self.give_back();
    }
}
