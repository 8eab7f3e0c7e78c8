//! One client's channel: a ring of calls that workers claim in order, and the slots in which call and
//! reply lie. Made and owned by the client; every worker of the service maps it.
//!
//! The ring's entries hold slot numbers, so a slow call keeps its slot and nothing else. An entry lies in the
//! first line of the slot of the same number, and a call goes there if that slot is free: who watches the
//! ring then has the call's header, and 16 bytes of its arguments, with the line that told of it.
//! Who wrote a line last is in the layout: client and workers each have their own.
//!
//! Claiming is one compare-and-swap on `head`, which names the claimer; the claim is then noted in a table of
//! the workers', a word a slot. Who claims next notes the claim that `head` names first, so `head` always names
//! the one claim that may not be noted yet, and a dead worker's claims can be found exactly.
//!
//! The words that describe a call or a reply are sealed (`seal`): where a faulty process has written among them, or has
//! made a worker claim the wrong slot, the seal does not fit, and the connection is given up instead of believed.

// The paths are said for the models, which take this file from elsewhere.
#[path = "channel/claim.rs"]
mod claim;
#[path = "channel/header.rs"]
mod header;
#[path = "channel/seal.rs"]
mod seal;
#[cfg(test)]
mod tests;

use std::os::fd::{BorrowedFd, OwnedFd};

pub(crate) use self::{
    claim::{Claimed, Claimer},
    header::{CallHeader, Damaged, Place, ReplyHeader, SealedCall},
};
use super::{
    kill_point::kill_point,
    region::{Region, RegionError},
    sync::{AtomicU32, AtomicU64, Ordering, fence, fence_after_swap},
};

const MAGIC: u64 = u64::from_le_bytes(*b"shmrpcC3");
const GEOMETRY: usize = 8;
const HEAD: usize = 128;
const ATTENDED: usize = 256;
const SLEEPING: usize = 384;
const CLAIMS: usize = 512;

/// Bytes of a cache line.
const LINE: usize = 64;
/// Bytes of one slot: half for the call, half for the reply.
pub(crate) const SLOT_BYTES: usize = 1024;
// Words of a slot. The first is the ring's entry of the same number, whatever call lies in the slot.
const ENTRY: usize = 0;
const METHOD: usize = 1;
const DEADLINE: usize = 2;
const PLACE: usize = 3;
/// The seal in the upper half, the door, and in the lowest bit whether the call has been given up.
const FLAGS: usize = 4;
const CALL_ID: usize = 5;
/// Small arguments begin here; of what lies in an arena, this is the offset.
const CALL_INLINE: usize = 6;
const REPLY: usize = SLOT_BYTES / 8 / 2;
const REPLY_PLACE: usize = REPLY + 1;
/// Small replies begin here; of what lies in an arena, this is whose arena it is, and a 16th of the offset.
const REPLY_INLINE: usize = REPLY + 2;

const CANCELLED: u64 = 1;

/// Messages in arenas begin at multiples of it.
const OFFSET_UNIT: u64 = 16;

/// Arguments up to this length lie in the slot itself.
pub(crate) const CALL_INLINE_BYTES: usize = (REPLY - CALL_INLINE) * 8;
/// Replies up to this length lie in the slot itself.
pub(crate) const REPLY_INLINE_BYTES: usize = SLOT_BYTES - REPLY_INLINE * 8;
/// Most slots of one channel.
pub(crate) const MAX_SLOTS: usize = 4096;
const MAX_BYTES: usize = slots_offset(MAX_SLOTS) + MAX_SLOTS * SLOT_BYTES;

const fn slots_offset(slots: usize) -> usize {
    (CLAIMS + slots * 8).next_multiple_of(128)
}

/// A mapped channel. At most one call less is under way than there are slots: the entry before `head` is then
/// never overwritten while its claim may still have to be noted.
pub(crate) struct Channel {
    region: Region,
    slots: usize,
    /// Where the slots begin, in bytes.
    slots_at: usize,
}

impl Channel {
    /// A new channel; `slots` is a power of two, at most [`MAX_SLOTS`].
    pub(crate) fn create(slots: usize) -> Result<Self, RegionError> {
        assert!(slots.is_power_of_two() && (2..=MAX_SLOTS).contains(&slots));
        let len = (slots_offset(slots) + slots * SLOT_BYTES).next_multiple_of(super::region::page_bytes());
        let region = Region::create("shmrpc-channel", len)?;
        region.word64(GEOMETRY).store(slots as u64, Ordering::Relaxed);
        // Pairs with the Acquire load in `attach`.
        region.word64(0).store(MAGIC, Ordering::Release);
        Ok(Self::over(region, slots))
    }

    fn over(region: Region, slots: usize) -> Self {
        Self { region, slots, slots_at: slots_offset(slots) }
    }

    /// A client's channel.
    pub(crate) fn attach(fd: OwnedFd) -> Result<Self, RegionError> {
        let region = Region::attach(fd, MAX_BYTES.next_multiple_of(65536))?;
        // Pairs with the Release store in `create`.
        if region.len_bytes() < CLAIMS || region.word64(0).load(Ordering::Acquire) != MAGIC {
            return Err(RegionError::Refused("not a channel of this layout version".into()));
        }
        let slots = region.word64(GEOMETRY).load(Ordering::Relaxed);
        let slots = usize::try_from(slots).unwrap_or(0);
        let sane = slots.is_power_of_two()
            && (2..=MAX_SLOTS).contains(&slots)
            && region.holds(slots_offset(slots), slots * SLOT_BYTES);
        if !sane {
            return Err(RegionError::Refused(format!("a channel of {slots} slots")));
        }
        Ok(Self::over(region, slots))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.region.fd()
    }

    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    fn head(&self) -> &AtomicU64 {
        self.region.word64(HEAD)
    }

    /// Where call number `index` is announced: in the first word of the slot that it has if that is free.
    fn entry(&self, index: u32) -> &AtomicU64 {
        &self.slot(self.natural_slot(index))[ENTRY]
    }

    /// The slot of the same number as the entry of call `index`.
    pub(crate) fn natural_slot(&self, index: u32) -> u16 {
        (index as usize & (self.slots - 1)) as u16
    }

    fn slot(&self, slot: u16) -> &[AtomicU64; SLOT_BYTES / 8] {
        self.region.words(self.slot_offset(slot))
    }

    fn slot_offset(&self, slot: u16) -> usize {
        self.slots_at + (usize::from(slot) & (self.slots - 1)) * SLOT_BYTES
    }

    /// Who claimed the call in a slot: `index + 1` and the claimer.
    fn claim(&self, slot: u16) -> &AtomicU64 {
        self.region.word64(CLAIMS + (usize::from(slot) & (self.slots - 1)) * 8)
    }

    /// Who attends this ring, so that its client need not ring: 0 for nobody, else
    /// `1 + worker index | cpu << 16 | thread << 32`.
    pub(crate) fn attended(&self) -> &AtomicU64 {
        self.region.word64(ATTENDED)
    }

    /// Set by the client before it sleeps, swapped to 0 by whoever wakes it.
    pub(crate) fn sleeping(&self) -> &AtomicU32 {
        self.region.word32(SLEEPING)
    }

    // The client's side.

    /// Writes the header of what will be call number `index`; the caller has put the payload where the header says.
    #[inline]
    pub(crate) fn write_call(&self, slot: u16, index: u32, call: &CallHeader) {
        let word = self.slot(slot);
        word[METHOD].store(call.method, Ordering::Relaxed);
        word[DEADLINE].store(call.deadline_ns, Ordering::Relaxed);
        word[PLACE].store(call.place.word(), Ordering::Relaxed);
        let seal = u64::from(seal::of_call(index, call));
        word[FLAGS].store(seal << 32 | u64::from(call.door) << 8, Ordering::Relaxed);
        word[CALL_ID].store(call.call_id, Ordering::Relaxed);
        if call.place.arena != 0 {
            word[CALL_INLINE].store(call.place.offset, Ordering::Relaxed);
        }
    }

    /// Has a call run once more under another number.
    pub(crate) fn renumber(&self, slot: u16, from: u32, to: u32) -> Result<(), Damaged> {
        let call = self.read_call(Claimed { slot, index: from })?;
        self.write_call(slot, to, &call.header);
        Ok(())
    }

    /// Where a small argument lies.
    pub(crate) fn call_inline(&self, slot: u16) -> usize {
        self.slot_offset(slot) + CALL_INLINE * 8
    }

    /// Writes a small argument.
    #[inline]
    pub(crate) fn put_call(&self, slot: u16, bytes: &[u8]) {
        self.put::<{ LINE - CALL_INLINE * 8 }>(self.call_inline(slot), bytes);
    }

    /// Writes a small reply.
    #[inline]
    pub(crate) fn put_reply(&self, slot: u16, bytes: &[u8]) {
        self.put::<{ LINE - (REPLY_INLINE - REPLY) * 8 }>(self.reply_inline(slot), bytes);
    }

    /// What lies in the first line comes last, next to the words that are written there afterwards: the other side watches
    /// that line, and takes it away after each write that it sees.
    #[inline]
    fn put<const FIRST: usize>(&self, at: usize, bytes: &[u8]) {
        let Some((first, rest)) = bytes.split_first_chunk::<FIRST>() else {
            return self.region.copy_in(at, bytes);
        };
        self.region.copy_in(at + FIRST, rest);
        self.region.copy_in(at, first);
    }

    /// Several calls are on their way: call `index` will soon be written, and its lines are still the workers'.
    pub(crate) fn expect_to_write(&self, index: u32) {
        let at = self.slot_offset(self.natural_slot(index));
        self.region.prefetch_exclusive(at);
        self.region.prefetch_exclusive(at + LINE);
    }

    /// The reply to call `index` will soon be read.
    pub(crate) fn expect_to_read(&self, index: u32) {
        let at = self.slot_offset(self.natural_slot(index)) + REPLY * 8;
        self.region.prefetch(at);
        self.region.prefetch(at + LINE);
    }

    /// Who watches for the reply in a slot, all in its first line, asks for the next line at each look: if both have been
    /// written, both come at once.
    pub(crate) fn expect_rest_of_reply(&self, slot: u16) {
        self.region.prefetch(self.slot_offset(slot) + REPLY * 8 + LINE);
    }

    /// Appends a slot to the ring as call number `index`.
    pub(crate) fn publish(&self, index: u32, slot: u16) {
        let entry = u64::from(index.wrapping_add(1)) << 32 | u64::from(slot);
        kill_point("publish.written");
        // Pairs with the Acquire load in `try_claim`: everything written to the slot is seen by its claimer.
        self.entry(index).store(entry, Ordering::Release);
        kill_point("publish.entered");
    }

    /// Marks a call as no longer wanted: a worker that claims it now answers without running it.
    pub(crate) fn cancel(&self, slot: u16) {
        self.slot(slot)[FLAGS].fetch_or(CANCELLED, Ordering::Relaxed);
        kill_point("cancel.marked");
    }

    /// The reply to call `index`, if it is there.
    #[inline]
    pub(crate) fn reply(&self, slot: u16, index: u32) -> Option<Result<ReplyHeader, Damaged>> {
        let word = self.slot(slot);
        // Pairs with the Release store in `publish_reply`.
        let stamp = word[REPLY].load(Ordering::Acquire);
        if (stamp >> 32) as u32 != index.wrapping_add(1) {
            return None;
        }
        let place = word[REPLY_PLACE].load(Ordering::Relaxed);
        let whose = if place >> 32 == 0 { 0 } else { word[REPLY_INLINE].load(Ordering::Relaxed) };
        if stamp != seal::stamp(index, stamp as u8, place, whose) {
            return Some(Err(Damaged));
        }
        let place = Place { offset: (whose & 0xffff_ffff) * OFFSET_UNIT, ..Place::from_word(place) };
        Some(Ok(ReplyHeader {
            status: stamp as u8,
            place,
            claimer: Claimer::from_bits((whose >> 32) as u32),
        }))
    }

    /// Whether call `index` has been answered.
    pub(crate) fn is_answered(&self, slot: u16, index: u32) -> bool {
        // Pairs with the Release store in `publish_reply`.
        (self.slot(slot)[REPLY].load(Ordering::Acquire) >> 32) as u32 == index.wrapping_add(1)
    }

    /// Where a small reply lies.
    pub(crate) fn reply_inline(&self, slot: u16) -> usize {
        self.slot_offset(slot) + REPLY_INLINE * 8
    }

    /// Number of the next call that nobody has claimed.
    pub(crate) fn next_unclaimed(&self) -> u32 {
        self.head().load(Ordering::Acquire) as u32
    }

    /// Whether call `index` in `slot` was claimed by `worker`. Only asked when that worker is dead.
    pub(crate) fn claimed_by(&self, slot: u16, index: u32, worker: Claimer) -> bool {
        let head = self.head().load(Ordering::Acquire);
        self.note_last_claim(head);
        let claim = self.claim(slot).load(Ordering::Acquire);
        claim >> 32 == u64::from(index.wrapping_add(1)) && claim as u32 == worker.bits()
    }

    /// Who claimed call `index` in `slot`, if anybody has.
    pub(crate) fn claimer(&self, slot: u16, index: u32) -> Option<Claimer> {
        let claim = self.claim(slot).load(Ordering::Acquire);
        (claim >> 32 == u64::from(index.wrapping_add(1))).then_some(Claimer::from_bits(claim as u32))
    }

    // The workers' side.

    /// More calls may be there already: their lines are still the client's.
    pub(crate) fn expect_more(&self, index: u32) {
        let at = self.slot_offset(self.natural_slot(index));
        self.region.prefetch(at);
        self.region.prefetch(at + LINE);
        self.region.prefetch_exclusive(at + REPLY * 8);
        self.region.prefetch_exclusive(at + REPLY * 8 + LINE);
    }

    /// Call `index` may soon be there, and will be answered: the client has the reply's lines, having read what was
    /// there before.
    pub(crate) fn expect_to_answer(&self, index: u32) {
        let at = self.slot_offset(self.natural_slot(index)) + REPLY * 8;
        self.region.prefetch_exclusive(at);
        self.region.prefetch_exclusive(at + LINE);
    }

    /// As [`Self::has_work`], for who watches: asks for the call's second line with the first, see
    /// [`Self::expect_rest_of_reply`].
    pub(crate) fn work_arrives(&self) -> bool {
        let next = self.next_unclaimed();
        self.region.prefetch(self.slot_offset(self.natural_slot(next)) + LINE);
        self.has_call(next)
    }

    /// Whether the ring has a call that nobody has claimed.
    pub(crate) fn has_work(&self) -> bool {
        self.has_call(self.next_unclaimed())
    }

    fn has_call(&self, index: u32) -> bool {
        // Pairs with the Release store in `publish`.
        (self.entry(index).load(Ordering::Acquire) >> 32) as u32 == index.wrapping_add(1)
    }

    /// How many calls nobody has claimed, as far as they can be seen from outside while others claim.
    pub(crate) fn waiting(&self) -> usize {
        let next = self.next_unclaimed();
        (0..self.slots as u32).take_while(|offset| self.has_call(next.wrapping_add(*offset))).count()
    }

    /// Claims the next call, if there is one.
    pub(crate) fn try_claim(&self, me: Claimer) -> Option<Claimed> {
        let mut head = self.head().load(Ordering::Acquire);
        loop {
            let index = head as u32;
            // Pairs with the Release store in `publish`.
            let entry = self.entry(index).load(Ordering::Acquire);
            if (entry >> 32) as u32 != index.wrapping_add(1) {
                // Empty, or the head is old: others may have gone on since it was read.
                let again = self.head().load(Ordering::Acquire);
                if again == head {
                    return None;
                }
                head = again;
                continue;
            }
            // Also where it is our own process's name: another of its threads may have stopped before its note.
            self.note_last_claim(head);
            kill_point("claim.last_noted");
            let claimed = u64::from(me.bits()) << 32 | u64::from(index.wrapping_add(1));
            // AcqRel pairs with itself in other workers: who claims later sees the earlier claim's note.
            match self.head().compare_exchange(head, claimed, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    kill_point("claim.won");
                    let slot = (entry as u16) & (self.slots - 1) as u16;
                    self.note_claim(slot, index, me);
                    kill_point("claim.noted");
                    return Some(Claimed { slot, index });
                }
                Err(now) => head = now,
            }
        }
    }

    fn note_claim(&self, slot: u16, index: u32, who: Claimer) {
        let claim = u64::from(index.wrapping_add(1)) << 32 | u64::from(who.bits());
        // Pairs with the Acquire loads in `claimed_by` and `claimer`.
        self.claim(slot).store(claim, Ordering::Release);
    }

    /// Notes the claim that `head` names, for a claimer that may have stopped before it did so itself.
    fn note_last_claim(&self, head: u64) {
        let (who, index) = (Claimer::from_bits((head >> 32) as u32), (head as u32).wrapping_sub(1));
        if who.bits() == 0 {
            return;
        }
        // Pairs with the Release store in `publish`.
        let entry = self.entry(index).load(Ordering::Acquire);
        let stamp = index.wrapping_add(1);
        if (entry >> 32) as u32 != stamp {
            // The client has gone once round the ring since: the claim was noted long ago.
            return;
        }
        let note = self.claim(entry as u16);
        let noted = note.load(Ordering::Acquire);
        // The slot's earlier uses have older stamps; an equal or newer one means there is nothing to do.
        let older = (((noted >> 32) as u32).wrapping_sub(stamp) as i32) < 0;
        if older {
            let claim = u64::from(stamp) << 32 | u64::from(who.bits());
            let _ = note.compare_exchange(noted, claim, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Reads a claimed call's header, once. The place is not yet checked.
    #[inline]
    pub(crate) fn read_call(&self, claimed: Claimed) -> Result<SealedCall, Damaged> {
        let word = self.slot(claimed.slot);
        let mut place = Place::from_word(word[PLACE].load(Ordering::Relaxed));
        if place.arena != 0 {
            place.offset = word[CALL_INLINE].load(Ordering::Relaxed);
        }
        let flags = word[FLAGS].load(Ordering::Relaxed);
        let header = CallHeader {
            call_id: word[CALL_ID].load(Ordering::Relaxed),
            method: word[METHOD].load(Ordering::Relaxed),
            deadline_ns: word[DEADLINE].load(Ordering::Relaxed),
            place,
            door: (flags >> 8) as u8,
            cancelled: flags & CANCELLED != 0,
        };
        let seal = (flags >> 32) as u32;
        if seal == seal::of_call(claimed.index, &header) {
            Ok(SealedCall { header, seal })
        } else {
            Err(Damaged)
        }
    }

    /// Whether a claimed call with that seal is still what lies in its slot, unanswered: if not, it was claimed twice,
    /// or given back while it ran, and an answer would be written over that of another call.
    #[inline]
    pub(crate) fn awaits(&self, claimed: Claimed, seal: u32) -> bool {
        let word = self.slot(claimed.slot);
        (word[FLAGS].load(Ordering::Relaxed) >> 32) as u32 == seal
            && (word[REPLY].load(Ordering::Relaxed) >> 32) as u32 != claimed.index.wrapping_add(1)
    }

    /// Whether the client has given the call up.
    pub(crate) fn is_cancelled(&self, slot: u16) -> bool {
        self.slot(slot)[FLAGS].load(Ordering::Relaxed) & CANCELLED != 0
    }

    /// Publishes the reply; the caller has put the payload where the header says.
    #[inline]
    pub(crate) fn publish_reply(&self, claimed: Claimed, reply: ReplyHeader) {
        let word = self.slot(claimed.slot);
        let place = reply.place.word();
        word[REPLY_PLACE].store(place, Ordering::Relaxed);
        let mut whose = 0;
        if reply.place.arena != 0 {
            whose = u64::from(reply.claimer.bits()) << 32 | (reply.place.offset / OFFSET_UNIT);
            word[REPLY_INLINE].store(whose, Ordering::Relaxed);
        }
        let stamp = seal::stamp(claimed.index, reply.status, place, whose);
        kill_point("reply.placed");
        // Pairs with the Acquire loads in `reply` and `is_answered`.
        word[REPLY].store(stamp, Ordering::Release);
        kill_point("reply.stamped");
    }

    /// Says who attends, unless somebody does already.
    pub(crate) fn attend(&self, mine: u64) -> bool {
        self.attended().load(Ordering::Relaxed) == 0
            && self.attended().compare_exchange(0, mine, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Stops attending; the caller looks at the ring once more afterwards.
    pub(crate) fn unattend(&self, mine: u64) {
        let _ = self.attended().compare_exchange(mine, 0, Ordering::SeqCst, Ordering::Relaxed);
        kill_point("unattend.cleared");
        // Pairs with `fence_after_publish`: either the client sees that nobody attends, or the look that
        // follows sees its call.
        fence(Ordering::SeqCst);
    }
}

/// Between a claim and a look that must not be earlier.
pub(crate) fn fence_after_claim() {
    fence_after_swap();
}
