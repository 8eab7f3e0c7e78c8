//! The board of a service: which channels have work, which workers sleep. Made by the first worker,
//! shared by all workers of the service and all its clients.
//!
//! Three tables: `sleepers`, a byte a worker with a bit for each of its bells at which a thread sleeps that nobody
//! has woken yet; `ready`, a bit a channel; and who owns each worker index and channel number, as a random nonce, so
//! that a number that was reused is never taken for its predecessor.

use super::{
    kill_point::kill_point,
    region::{Identity, Region, RegionError},
    sync::{AtomicU64, Ordering, fence, fence_after_swap},
};

/// Most channels of one service.
pub(crate) const MAX_CHANNELS: usize = 4096;
/// Most worker processes of one service.
pub(crate) const MAX_WORKERS: usize = 64;
/// The bells of a worker: a bit each in its byte of `sleepers`.
pub(crate) const MAX_BELLS: usize = 8;

const MAGIC: u64 = u64::from_le_bytes(*b"shmrpcB1");
const ID: usize = 8;
const USED_WORDS: usize = 128;
const SLEEPERS: usize = 256;
const WORKERS: usize = 384;
const READY: usize = WORKERS + MAX_WORKERS * 8;
const CHANNELS: usize = READY + MAX_CHANNELS / 8;
const LEN_BYTES: usize = (CHANNELS + MAX_CHANNELS * 8).next_multiple_of(4096);
const _: () = assert!(READY.is_multiple_of(64) && CHANNELS.is_multiple_of(64));

/// A mapped board.
pub(crate) struct Board {
    region: Region,
    id: u64,
}

impl Board {
    pub(crate) fn create(id: u64) -> Result<Self, RegionError> {
        let region = Region::create("shmrpc-board", LEN_BYTES)?;
        region.word64(ID).store(id, Ordering::Relaxed);
        // Pairs with the Acquire load in `attach`.
        region.word64(0).store(MAGIC, Ordering::Release);
        Ok(Self { region, id })
    }

    pub(crate) fn attach(fd: std::os::fd::OwnedFd) -> Result<Self, RegionError> {
        let region = Region::attach(fd, LEN_BYTES)?;
        // Pairs with the Release store in `create`.
        if region.len_bytes() != LEN_BYTES || region.word64(0).load(Ordering::Acquire) != MAGIC {
            return Err(RegionError::Refused("not a board of this layout version".into()));
        }
        let id = region.word64(ID).load(Ordering::Relaxed);
        Ok(Self { region, id })
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn identity(&self) -> Identity {
        self.region.identity()
    }

    pub(crate) fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.region.fd()
    }

    // Workers.

    /// Takes a free worker index; `None` when all are taken.
    pub(crate) fn join_worker(&self, nonce: u64) -> Option<u8> {
        let free = (0..MAX_WORKERS).find(|&index| {
            self.worker(index).compare_exchange(0, nonce, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })?;
        kill_point("index.taken");
        self.clear_sleepers(free);
        u8::try_from(free).ok()
    }

    /// Gives the index back; does nothing if it belongs to somebody else by now.
    pub(crate) fn leave_worker(&self, index: u8, nonce: u64) {
        // Its count of sleepers stays until the index is taken again: several peers may bury one worker, and
        // a late one would wipe out what the successor has announced.
        let worker = self.worker(usize::from(index) % MAX_WORKERS);
        let _ = worker.compare_exchange(nonce, 0, Ordering::AcqRel, Ordering::Relaxed);
        kill_point("index.left");
    }

    /// The nonces of all workers that hold an index.
    pub(crate) fn workers(&self) -> impl Iterator<Item = (u8, u64)> + '_ {
        (0..MAX_WORKERS as u8)
            .map(|index| (index, self.worker(usize::from(index)).load(Ordering::Acquire)))
            .filter(|&(_, nonce)| nonce != 0)
    }

    fn worker(&self, index: usize) -> &AtomicU64 {
        self.region.word64(WORKERS + index * 8)
    }

    // Sleepers: eight workers to a word.

    fn sleepers(&self, word: usize) -> &AtomicU64 {
        self.region.word64(SLEEPERS + word * 8)
    }

    /// Announces that a thread of this worker is about to sleep at that bell. The caller then looks at everything
    /// once more, and sleeps only if there is nothing.
    pub(crate) fn announce_sleep(&self, index: u8, bell: u8) {
        let (word, bit) = bit_of(index, bell);
        self.sleepers(word).fetch_or(bit, Ordering::SeqCst);
        // Pairs with the fence in `fence_after_publish`: either the publisher sees the sleeper, or the
        // sleeper's second look sees what was published.
        fence(Ordering::SeqCst);
    }

    /// Takes the announcement back; `false` when somebody has used it, which means a post is on its way.
    pub(crate) fn retract_sleep(&self, index: u8, bell: u8) -> bool {
        let (word, bit) = bit_of(index, bell);
        self.sleepers(word).fetch_and(!bit, Ordering::SeqCst) & bit != 0
    }

    /// Claims a sleeping thread of that worker; the bell that has to be rung. The first one, so that calls which come
    /// one by one meet the same thread each time, on the same processor.
    pub(crate) fn take_bell(&self, index: u8) -> Option<u8> {
        let (word, first) = bit_of(index, 0);
        let shift = first.trailing_zeros();
        loop {
            let bells = (self.sleepers(word).load(Ordering::Relaxed) >> shift) as u8;
            let bell = bells.trailing_zeros() as u8;
            if bells == 0 {
                return None;
            }
            if self.retract_sleep(index, bell) {
                return Some(bell);
            }
        }
    }

    fn clear_sleepers(&self, index: usize) {
        let (word, first) = bit_of(index as u8, 0);
        self.sleepers(word).fetch_and(!(first * 0xff), Ordering::SeqCst);
    }

    /// Whether a thread of that worker sleeps.
    pub(crate) fn sleeps(&self, index: u8) -> bool {
        let (word, first) = bit_of(index, 0);
        self.sleepers(word).load(Ordering::Relaxed) & (first * 0xff) != 0
    }

    /// Whether any worker thread sleeps.
    pub(crate) fn anybody_sleeps(&self) -> bool {
        (0..MAX_WORKERS / 8).any(|word| self.sleepers(word).load(Ordering::Relaxed) != 0)
    }

    /// Claims one sleeping thread, of a worker whose doorbell the caller knows: the worker, and its bell, which the
    /// caller must ring. Starts the search at `from`.
    pub(crate) fn take_sleeper(&self, from: u8, known: impl Fn(u8) -> bool) -> Option<(u8, u8)> {
        if !self.anybody_sleeps() {
            return None;
        }
        (0..MAX_WORKERS as u8)
            .map(|step| (from.wrapping_add(step)) % MAX_WORKERS as u8)
            .filter(|&index| known(index))
            .find_map(|index| self.take_bell(index).map(|bell| (index, bell)))
    }

    // Channels.

    fn channel(&self, number: usize) -> &AtomicU64 {
        self.region.word64(CHANNELS + number * 8)
    }

    /// Takes a free channel number; `None` when all are taken.
    pub(crate) fn join_channel(&self, nonce: u64) -> Option<u16> {
        let free = (0..MAX_CHANNELS).find(|&number| {
            let owner = self.channel(number);
            owner.load(Ordering::Relaxed) == 0
                && owner.compare_exchange(0, nonce, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })?;
        kill_point("number.taken");
        self.clear_ready(free as u16);
        kill_point("number.cleared");
        self.region.word64(USED_WORDS).fetch_max(free as u64 / 64 + 1, Ordering::Release);
        u16::try_from(free).ok()
    }

    /// Gives a channel number back if it still belongs to that nonce. Done by the client itself, or by
    /// any worker after the client's death.
    pub(crate) fn leave_channel(&self, number: u16, nonce: u64) {
        // Its ready bit stays until the number is taken again: several workers may bury one client, and a late
        // one would withdraw what the successor has said.
        let channel = self.channel(usize::from(number) % MAX_CHANNELS);
        let _ = channel.compare_exchange(nonce, 0, Ordering::AcqRel, Ordering::Relaxed);
        kill_point("number.left");
    }

    /// The channel numbers that are taken, and by which nonces.
    pub(crate) fn channels(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        (0..MAX_CHANNELS)
            .map(|number| (number as u16, self.channel(number).load(Ordering::Acquire)))
            .filter(|&(_, nonce)| nonce != 0)
    }

    /// Takes a channel number that the board says is somebody else's: only when it has no free one. Two that do
    /// so to each other get along: each takes it when it waits for too long.
    pub(crate) fn seize_channel(&self, number: u16, nonce: u64) {
        self.channel(usize::from(number) % MAX_CHANNELS).store(nonce, Ordering::Release);
    }

    /// Writes anew what everybody relies on and nobody changes.
    pub(crate) fn mend(&self) {
        self.region.word64(ID).store(self.id, Ordering::Relaxed);
        self.region.word64(0).store(MAGIC, Ordering::Release);
    }

    /// Has workers look as far as that channel number.
    pub(crate) fn mend_used(&self, number: u16) {
        self.region.word64(USED_WORDS).fetch_max(u64::from(number) / 64 + 1, Ordering::Release);
    }

    /// Whether a channel number belongs to that nonce.
    pub(crate) fn owns_channel(&self, number: u16, nonce: u64) -> bool {
        let number = usize::from(number);
        number < MAX_CHANNELS && self.channel(number).load(Ordering::Acquire) == nonce
    }

    fn ready(&self, word: usize) -> &AtomicU64 {
        self.region.word64(READY + word * 8)
    }

    /// Says that a channel has work; whether it had not been said before.
    pub(crate) fn set_ready(&self, number: u16) -> bool {
        let (word, bit) = (usize::from(number) % MAX_CHANNELS / 64, 1 << (number % 64));
        let ready = self.ready(word);
        // The look first: a busy client finds its bit set and leaves the cache line alone.
        let is_news =
            ready.load(Ordering::Relaxed) & bit == 0 && ready.fetch_or(bit, Ordering::SeqCst) & bit == 0;
        if is_news {
            // Pairs with the fence in `announce_sleep`: either whoever falls asleep sees the bit, or the caller, who
            // looks next, sees that somebody sleeps.
            fence_after_swap();
        }
        is_news
    }

    /// Withdraws it. The caller then looks at the ring once more.
    pub(crate) fn clear_ready(&self, number: u16) {
        let (word, bit) = (usize::from(number) % MAX_CHANNELS / 64, 1_u64 << (number % 64));
        self.ready(word).fetch_and(!bit, Ordering::SeqCst);
    }

    /// The first channel that has work, at or after `from` (going round), among those that `wanted` accepts.
    pub(crate) fn next_ready(&self, from: u16, wanted: impl Fn(u16) -> bool) -> Option<u16> {
        let used = (self.region.word64(USED_WORDS).load(Ordering::Relaxed) as usize).min(MAX_CHANNELS / 64);
        let (first, offset) = (usize::from(from) / 64, u32::from(from) % 64);
        for step in 0..=used {
            let word = (first + step) % used.max(1);
            let mut bits = self.ready(word).load(Ordering::Relaxed);
            if step == 0 {
                bits &= u64::MAX << offset;
            }
            while bits != 0 {
                let number = (word * 64) as u16 + bits.trailing_zeros() as u16;
                if wanted(number) {
                    return Some(number);
                }
                bits &= bits - 1;
            }
        }
        None
    }
}

/// To be called between publishing and looking who is awake.
pub(crate) fn fence_after_publish() {
    // Pairs with the fences in `Board::announce_sleep` and `Channel::unattend`.
    fence(Ordering::SeqCst);
}

/// Where a worker's bell is among the sleepers: the word, and the bit in it.
fn bit_of(index: u8, bell: u8) -> (usize, u64) {
    let (index, bell) = (usize::from(index) % MAX_WORKERS, u32::from(bell) % MAX_BELLS as u32);
    (index / 8, 1 << ((index % 8) as u32 * 8 + bell))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleepers_are_announced_and_taken_once() {
        let board = Board::create(1).unwrap();
        let worker = board.join_worker(11).unwrap();
        let other = board.join_worker(12).unwrap();
        assert_ne!(worker, other);
        assert!(board.take_sleeper(0, |_| true).is_none());
        board.announce_sleep(other, 7);
        board.announce_sleep(other, 2);
        assert_eq!(board.take_sleeper(0, |n| n != other), None);
        assert_eq!(board.take_sleeper(0, |_| true), Some((other, 2)), "the first of its bells");
        assert!(board.retract_sleep(other, 7));
        assert!(!board.retract_sleep(other, 2), "this announcement was used already");
        assert!(!board.anybody_sleeps());
    }

    #[test]
    fn whoever_buries_a_worker_late_leaves_its_successor_alone() {
        let board = Board::create(1).unwrap();
        let index = board.join_worker(11).unwrap();
        board.announce_sleep(index, 0);
        board.leave_worker(index, 11);
        assert_eq!(board.join_worker(12), Some(index));
        assert!(!board.sleeps(index), "what the predecessor announced is forgotten");
        board.announce_sleep(index, 0);
        board.leave_worker(index, 11);
        assert_eq!(board.take_sleeper(0, |_| true), Some((index, 0)));
        assert_eq!(board.workers().collect::<Vec<_>>(), [(index, 12)]);
    }

    #[test]
    fn a_number_beyond_the_table_belongs_to_nobody() {
        let board = Board::create(1).unwrap();
        let number = board.join_channel(5).unwrap();
        assert!(board.owns_channel(number, 5));
        assert!(!board.owns_channel(number + MAX_CHANNELS as u16, 5));
    }

    #[test]
    fn ready_channels_are_found_in_turn() {
        let board = Board::create(1).unwrap();
        let numbers: Vec<u16> = (0..130).map(|n| board.join_channel(n + 1).unwrap()).collect();
        assert!(board.set_ready(numbers[3]));
        assert!(!board.set_ready(numbers[3]));
        assert!(board.set_ready(numbers[128]));
        assert_eq!(board.next_ready(0, |_| true), Some(3));
        assert_eq!(board.next_ready(4, |_| true), Some(128));
        assert_eq!(board.next_ready(129, |_| true), Some(3));
        assert_eq!(board.next_ready(0, |n| n != 3), Some(128));
        board.clear_ready(3);
        board.leave_channel(128, 129);
        let owned = |n: u16| board.owns_channel(n, u64::from(n) + 1);
        assert_eq!(board.next_ready(0, owned), None);
        assert_eq!(board.join_channel(500), Some(128));
        assert_eq!(board.next_ready(0, |_| true), None, "a number is taken over without its past");
    }

    #[test]
    fn a_reused_number_is_not_its_predecessor() {
        let board = Board::create(1).unwrap();
        let number = board.join_channel(5).unwrap();
        board.leave_channel(number, 5);
        assert_eq!(board.join_channel(6), Some(number));
        board.leave_channel(number, 5);
        assert!(board.owns_channel(number, 6));
    }
}
