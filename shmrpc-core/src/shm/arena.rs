//! Arenas: memory for messages that do not fit a slot. The sender owns the arena, allocates in it
//! privately and is the only one to write; the receiver maps it and says what it no longer needs by setting
//! a bit. Nothing that a receiver writes can make the sender's bookkeeping wrong: a bit counts if the receiver has
//! also copied the extent's number, which stands before the message. So a bit that some faulty process has set does
//! not have another message written over one that is still to be read.
//!
//! An arena is a power of two of pages and never resized; a message that fits none brings a new one,
//! at least as large as all before it together, and old ones are given back when nothing lies in them.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use super::{
    channel::Place,
    kill_point::kill_point,
    region::{Region, RegionError, page_bytes},
};

/// The first page holds the receiver's bits, one a granule.
const MAX_GRANULES: usize = 4096 * 8;
const HEADER_BYTES: usize = 4096;
const MIN_BYTES: usize = 64 * 1024;
/// Before each message: the extent's number, and the same once more when the receiver has released it.
const LABEL_BYTES: usize = 16;
/// Largest arena that is mapped for a peer.
const MAX_ARENA_BYTES: usize = 8 << 30;

fn granule_bytes(len_bytes: usize) -> usize {
    len_bytes.div_ceil(MAX_GRANULES).next_power_of_two().max(256)
}

/// Granules before the first message: the header takes at least one.
fn header_granules(granule_bytes: usize) -> usize {
    HEADER_BYTES.div_ceil(granule_bytes)
}

/// Granules for messages in an arena of that length.
fn room(len_bytes: usize) -> usize {
    let granule_bytes = granule_bytes(len_bytes);
    (len_bytes / granule_bytes).saturating_sub(header_granules(granule_bytes))
}

/// The smallest arena, in whole pages, that is sure to hold one message of that length.
fn snug_bytes(len_bytes: usize) -> usize {
    // A granule for the header, one for each end that does not fill one.
    (LABEL_BYTES + len_bytes + HEADER_BYTES + 3 * granule_bytes(len_bytes * 2)).next_multiple_of(page_bytes())
}

/// A message's place in an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) arena: u32,
    pub(crate) offset: u64,
}

impl Extent {
    /// Where a message of that length lies.
    pub(crate) fn place(self, len_bytes: usize) -> Place {
        Place { arena: self.arena, len_bytes: len_bytes as u32, offset: self.offset }
    }
}

/// The receiver's note that it no longer needs the extent at that offset.
pub(crate) fn release(region: &Region, offset: u64) {
    let granule_bytes = granule_bytes(region.len_bytes());
    let granule = offset as usize / granule_bytes;
    let (word, label) = (granule / 64 * 8, granule * granule_bytes);
    if word + 8 <= HEADER_BYTES && region.holds(word, 8) && region.holds(label, LABEL_BYTES) {
        let number = region.word64(label).load(Ordering::Relaxed);
        region.word64(label + 8).store(number, Ordering::Relaxed);
        kill_point("take.numbered");
        // Pairs with the Acquire swap in `Arena::reclaim`: the bytes have been read by now, and the number copied.
        region.word64(word).fetch_or(1 << (granule % 64), Ordering::Release);
    }
}

/// A peer's arenas, by their ids. A peer has a handful, each larger than those before.
#[derive(Default)]
pub(crate) struct PeerArenas(Mutex<Vec<(u32, Arc<Region>)>>);

impl PeerArenas {
    fn lock(&self) -> MutexGuard<'_, Vec<(u32, Arc<Region>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, id: u32) -> Option<Arc<Region>> {
        // The newest is the one in use.
        self.lock().iter().rev().find(|(known, _)| *known == id).map(|(_, region)| Arc::clone(region))
    }

    /// Maps an arena that a peer has announced, in place of one with the same id.
    pub(crate) fn attach(&self, id: u32, fd: OwnedFd) -> Result<(), RegionError> {
        let region = Arc::new(Region::attach(fd, MAX_ARENA_BYTES)?);
        let mut arenas = self.lock();
        arenas.retain(|(known, _)| *known != id);
        arenas.push((id, region));
        Ok(())
    }

    pub(crate) fn forget(&self, id: u32) {
        self.lock().retain(|(known, _)| *known != id);
    }
}

/// All arenas of one sender towards one receiver, or towards several that share it.
pub(crate) struct Arenas {
    arenas: Vec<Arena>,
    next_id: u32,
    total_bytes: usize,
    cap_bytes: usize,
}

struct Arena {
    id: u32,
    region: Arc<Region>,
    granule_bytes: usize,
    free: Ranges,
    used: Ranges,
    /// Extents so far: the last one's number.
    numbers: u64,
}

/// Ranges of granules that do not overlap, in their order. Mostly a handful: kept in one piece, so that taking one
/// and giving it back allocates nothing.
#[derive(Default)]
struct Ranges(Vec<Range>);

#[derive(Clone, Copy)]
struct Range {
    start: usize,
    len: usize,
    /// The extent's, of one in use.
    number: u64,
}

impl Range {
    fn end(self) -> usize {
        self.start + self.len
    }
}

impl Ranges {
    /// Where the first range is that begins there or later.
    fn from(&self, start: usize) -> usize {
        self.0.partition_point(|range| range.start < start)
    }

    fn insert(&mut self, range: Range) {
        self.0.insert(self.from(range.start), range);
    }

    /// Adds a range, as one with those that it touches.
    fn join(&mut self, mut range: Range) {
        let mut at = self.from(range.start);
        if let Some(&after) = self.0.get(at).filter(|after| after.start == range.end()) {
            range.len += after.len;
            self.0.remove(at);
        }
        if at > 0 && self.0[at - 1].end() == range.start {
            at -= 1;
            range = Range { start: self.0[at].start, len: self.0[at].len + range.len, number: 0 };
            self.0.remove(at);
        }
        self.0.insert(at, range);
    }

    /// Takes the range out that begins there.
    fn remove(&mut self, start: usize) -> Option<Range> {
        let at = self.from(start);
        self.0.get(at).is_some_and(|range| range.start == start).then(|| self.0.remove(at))
    }

    /// Cuts so many granules off the first range that has them; says where they begin.
    fn cut(&mut self, len: usize) -> Option<usize> {
        let at = self.0.iter().position(|range| range.len >= len)?;
        let Range { start, len: whole, number } = self.0[at];
        if whole == len {
            self.0.remove(at);
        } else {
            self.0[at] = Range { start: start + len, len: whole - len, number };
        }
        Some(start)
    }
}

/// Why there is no extent.
#[derive(Debug)]
pub(crate) enum NoExtent {
    /// The byte cap would be exceeded.
    Cap { wanted_bytes: usize, cap_bytes: usize },
    /// The system has no memory.
    Region(RegionError),
}

/// A new extent: where to write, and the arena if it is new and the receiver must be told first.
pub(crate) struct Allocated {
    pub(crate) extent: Extent,
    pub(crate) region: Arc<Region>,
    pub(crate) is_new: bool,
    /// Arenas that were given back; receivers may unmap them.
    pub(crate) dropped: Vec<u32>,
}

impl Arenas {
    pub(crate) fn new(cap_bytes: usize) -> Self {
        Self { arenas: Vec::new(), next_id: 1, total_bytes: 0, cap_bytes }
    }

    /// Finds room for a message.
    pub(crate) fn allocate(&mut self, len_bytes: usize) -> Result<Allocated, NoExtent> {
        for arena in self.arenas.iter_mut().rev() {
            arena.reclaim();
            if let Some(extent) = arena.allocate(len_bytes) {
                let region = Arc::clone(&arena.region);
                return Ok(Allocated { extent, region, is_new: false, dropped: Vec::new() });
            }
        }
        let dropped = self.forget_empty();
        let wanted_bytes = snug_bytes(len_bytes)
            .next_power_of_two()
            .max(self.total_bytes.next_power_of_two())
            .max(MIN_BYTES)
            .max(page_bytes());
        // Room for one message is enough when doubling would break the cap.
        let wanted_bytes = if self.total_bytes + wanted_bytes <= self.cap_bytes {
            wanted_bytes
        } else {
            snug_bytes(len_bytes)
        };
        if self.total_bytes + wanted_bytes > self.cap_bytes {
            return Err(NoExtent::Cap { wanted_bytes, cap_bytes: self.cap_bytes });
        }
        let region = Arc::new(Region::create("shmrpc-arena", wanted_bytes).map_err(NoExtent::Region)?);
        let granule_bytes = granule_bytes(wanted_bytes);
        let first = header_granules(granule_bytes);
        let mut arena = Arena {
            id: self.next_id,
            region: Arc::clone(&region),
            granule_bytes,
            free: Ranges(vec![Range { start: first, len: room(wanted_bytes), number: 0 }]),
            used: Ranges::default(),
            numbers: 0,
        };
        self.next_id += 1;
        self.total_bytes += wanted_bytes;
        let extent = arena.allocate(len_bytes).expect("a new arena is made to measure");
        self.arenas.push(arena);
        Ok(Allocated { extent, region, is_new: true, dropped })
    }

    /// Takes an extent back on the sender's own side.
    pub(crate) fn free(&mut self, extent: Extent) {
        if let Some(arena) = self.arenas.iter_mut().find(|arena| arena.id == extent.arena) {
            arena.free(extent.offset as usize / arena.granule_bytes);
        }
    }

    /// Every arena, to tell a receiver that joins.
    pub(crate) fn regions(&self) -> impl Iterator<Item = (u32, &Arc<Region>)> {
        self.arenas.iter().map(|arena| (arena.id, &arena.region))
    }

    /// Gives back arenas in which nothing lies.
    fn forget_empty(&mut self) -> Vec<u32> {
        let total = &mut self.total_bytes;
        let mut dropped = Vec::new();
        self.arenas.retain(|arena| {
            let keep = !arena.used.0.is_empty();
            if !keep {
                *total -= arena.region.len_bytes();
                dropped.push(arena.id);
            }
            keep
        });
        dropped
    }
}

impl Arena {
    fn allocate(&mut self, len_bytes: usize) -> Option<Extent> {
        let len = (LABEL_BYTES + len_bytes).div_ceil(self.granule_bytes);
        let start = self.free.cut(len)?;
        self.numbers += 1;
        self.used.insert(Range { start, len, number: self.numbers });
        let label = start * self.granule_bytes;
        // Told to the receiver with the message that follows.
        self.region.word64(label).store(self.numbers, Ordering::Relaxed);
        self.region.word64(label + 8).store(0, Ordering::Relaxed);
        Some(Extent { arena: self.id, offset: (label + LABEL_BYTES) as u64 })
    }

    fn free(&mut self, start: usize) {
        if let Some(range) = self.used.remove(start) {
            self.free.join(range);
        }
    }

    /// Whether the receiver has released the extent that begins there.
    fn is_released(&self, start: usize) -> bool {
        let used = self.used.0.get(self.used.from(start)).filter(|range| range.start == start);
        used.is_some_and(|range| {
            let released = self.region.word64(start * self.granule_bytes + 8);
            released.load(Ordering::Relaxed) == range.number
        })
    }

    /// Takes back what the receiver has released. Bits that belong to no extent are ignored.
    fn reclaim(&mut self) {
        let mut next = 0;
        while let Some(used) = self.used.0.get(self.used.from(next)) {
            let word = used.start / 64;
            next = (word + 1) * 64;
            if self.region.word64(word * 8).load(Ordering::Relaxed) != 0 {
                // Pairs with the Release in `release`.
                let bits = self.region.word64(word * 8).swap(0, Ordering::Acquire);
                for bit in (0..64).filter(|bit| bits >> bit & 1 == 1) {
                    let start = word * 64 + bit;
                    if self.is_released(start) {
                        self.free(start);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_do_not_overlap_and_come_back() {
        let mut arenas = Arenas::new(1 << 20);
        let first = arenas.allocate(1000).unwrap();
        assert!(first.is_new);
        let second = arenas.allocate(1000).unwrap();
        assert!(!second.is_new && second.extent.offset >= first.extent.offset + 1000);
        arenas.free(first.extent);
        assert_eq!(arenas.allocate(900).unwrap().extent, first.extent);
    }

    #[test]
    fn what_the_receiver_releases_is_used_again() {
        let mut arenas = Arenas::new(1 << 20);
        let first = arenas.allocate(5000).unwrap();
        release(&first.region, first.extent.offset);
        let second = arenas.allocate(5000).unwrap();
        assert_eq!(first.extent, second.extent);
        release(&first.region, 7 << 40);
        release(&first.region, 60 * 1024);
        assert_ne!(arenas.allocate(5000).unwrap().extent, second.extent);
    }

    #[test]
    fn a_bit_that_somebody_else_has_set_frees_nothing() {
        let mut arenas = Arenas::new(1 << 20);
        let first = arenas.allocate(5000).unwrap();
        for word in 0..HEADER_BYTES / 8 {
            first.region.word64(word * 8).store(u64::MAX, Ordering::Relaxed);
        }
        assert_ne!(arenas.allocate(5000).unwrap().extent, first.extent, "it is still to be read");
        release(&first.region, first.extent.offset);
        assert_eq!(arenas.allocate(5000).unwrap().extent, first.extent);
    }

    /// Arenas of gigabytes are too much for a test: the sums alone are checked.
    #[test]
    fn an_arena_made_to_measure_holds_its_message_and_every_granule_has_a_bit() {
        for power in 8..32 {
            for off in [-4097_i64, -4096, -257, -1, 0, 1, 255, 4096, 4097] {
                let len = ((1_i64 << power) + off).max(1) as usize;
                for len in [len, len + len / 2, len + len / 3] {
                    let arena = snug_bytes(len);
                    for arena in [arena, arena.next_power_of_two()] {
                        let granule = granule_bytes(arena);
                        let room = room(arena) * granule;
                        assert!(room >= LABEL_BYTES + len, "{len} bytes in an arena of {arena}");
                        assert!(arena / granule <= MAX_GRANULES, "{len} bytes in an arena of {arena}");
                    }
                }
            }
        }
    }

    #[test]
    fn growth_stops_at_the_cap() {
        let mut arenas = Arenas::new(1 << 20);
        let mut held = Vec::new();
        let refused = loop {
            match arenas.allocate(100_000) {
                Ok(extent) => held.push(extent),
                Err(NoExtent::Cap { cap_bytes, .. }) => break cap_bytes,
                Err(NoExtent::Region(error)) => panic!("{error}"),
            }
        };
        assert_eq!(refused, 1 << 20);
        assert!(held.len() >= 5, "{} messages fit", held.len());
        for extent in held {
            arenas.free(extent.extent);
        }
        assert!(arenas.allocate(900_000).is_ok(), "empty arenas make room");
    }
}
