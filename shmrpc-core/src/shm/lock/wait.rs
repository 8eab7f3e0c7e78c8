//! Taking, waiting for and releasing a lock: the protocol over the word and the semaphore of a
//! [`LockPage`].
//!
//! The word of a lock is its [`Owner`], or 0; the word of a signal is its number of open posts. Its top bit
//! says that somebody may sleep: set before sleeping, cleared by whoever releases and then posts once, set
//! again by who was woken. A waiter that is killed therefore costs one post too many and nothing for ever.
//! Sleeps are cut into slices: a wake-up that is lost, with a peer that was killed between the word and the
//! post, costs one slice, and after each slice the holder must be alive.

use std::{
    hint::spin_loop,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    super::kill_point::kill_point,
    Acquired,
    owner::{OWNER_MASK, Owner},
    page::LockPage,
};

/// The top bit: somebody may sleep on the semaphore.
const SLEEPERS: u64 = 1 << 63;
const _: () = assert!(SLEEPERS & OWNER_MASK == 0);
/// Open posts of a signal, as many as a POSIX semaphore takes.
const MOST_POSTS: u64 = i32::MAX as u64;

/// The first and the longest slice. The longest bounds how late a holder's death is noticed.
const FIRST_SLICE: Duration = Duration::from_millis(5);
const LONGEST_SLICE: Duration = Duration::from_millis(40);

const DEFAULT_SPIN: Duration = Duration::from_micros(20);

/// The lock's name stands for another lock by now.
#[derive(Debug)]
pub(super) struct Replaced;

/// Why a release was refused.
#[derive(Debug)]
pub(super) enum Refusal {
    NotOwner(Option<Owner>),
    Overflow,
}

/// How long to spin: as long as that has lately paid, at most `longest`.
#[derive(Debug)]
pub(super) struct Spin {
    longest_ns: u64,
    current_ns: AtomicU64,
}

impl Default for Spin {
    fn default() -> Self {
        Self::new(DEFAULT_SPIN)
    }
}

impl Spin {
    pub(super) fn new(longest: Duration) -> Self {
        static CPUS: OnceLock<usize> = OnceLock::new();
        let cpus = *CPUS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from));
        let longest_ns = if cpus == 1 { 0 } else { u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX) };
        Self { longest_ns, current_ns: AtomicU64::new(longest_ns) }
    }

    /// Spins until `free` or the time is up, and learns from the outcome.
    fn until(&self, free: impl Fn() -> bool, limit: Option<Duration>) -> bool {
        let budget_ns = self.current_ns.load(Ordering::Relaxed);
        let budget = Duration::from_nanos(budget_ns).min(limit.unwrap_or(Duration::MAX));
        if budget.is_zero() {
            return free();
        }
        let start = Instant::now();
        let paid = loop {
            if (0..32).any(|_| {
                spin_loop();
                free()
            }) {
                break true;
            }
            if start.elapsed() >= budget {
                break false;
            }
        };
        // A sixteenth remains, so that better times are noticed.
        let next = if paid { budget_ns.saturating_mul(2) } else { budget_ns / 2 };
        self.current_ns.store(next.clamp(self.longest_ns / 16, self.longest_ns), Ordering::Relaxed);
        paid
    }
}

/// One attempt to have a lock.
pub(super) struct Wait<'a> {
    page: &'a LockPage,
    me: Owner,
    /// `None`: for ever, which is also said by a time beyond what the clock can tell.
    until: Option<Instant>,
}

enum Attempt {
    Taken,
    Held(u64),
}

impl<'a> Wait<'a> {
    pub(super) fn new(page: &'a LockPage, me: Owner, timeout: Option<Duration>) -> Self {
        Self { page, me, until: timeout.and_then(|timeout| Instant::now().checked_add(timeout)) }
    }

    fn left(&self) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(Instant::now()))
    }

    /// Waits until the lock is had; `None` when the time is up.
    pub(super) fn acquire(&self, spin: &Spin) -> Result<Option<Acquired>, Replaced> {
        if self.page.is_replaced() {
            return Err(self.replaced());
        }
        if matches!(self.attempt(false), Attempt::Taken) {
            return Ok(Some(Acquired::Clean));
        }
        let is_signal = self.page.is_signal();
        spin.until(|| is_free(self.page.word().load(Ordering::Relaxed), is_signal), self.left());
        self.sleep()
    }

    /// Takes the lock if it is free, or its holder dead.
    pub(super) fn attempt_once(&self) -> Result<Option<Acquired>, Replaced> {
        if self.page.is_replaced() {
            return Err(self.replaced());
        }
        match self.attempt(false) {
            Attempt::Taken => Ok(Some(Acquired::Clean)),
            Attempt::Held(word) => Ok(self.recover(word, false)),
        }
    }

    fn sleep(&self) -> Result<Option<Acquired>, Replaced> {
        let mut slice = FIRST_SLICE;
        let (mut slept, mut woken) = (false, true);
        loop {
            if self.page.is_replaced() {
                return Err(self.replaced());
            }
            let word = match self.attempt(slept) {
                Attempt::Taken => return Ok(Some(Acquired::Clean)),
                Attempt::Held(word) => word,
            };
            let left = self.left();
            let is_over = left.is_some_and(|left| left.is_zero());
            // The proof costs as much as half a sleep: only where a wake-up stayed out, and at the end.
            if (!woken || is_over)
                && let Some(acquired) = self.recover(word, slept)
            {
                return Ok(Some(acquired));
            }
            if is_over {
                return Ok(None);
            }
            let seen = self.page.word().compare_exchange(
                word,
                word | SLEEPERS,
                // Nothing is published; the word itself orders who sees the bit.
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            if seen.is_ok() {
                kill_point("lock.waiting");
                woken = self.page.sleep(slice.min(left.unwrap_or(slice)));
                kill_point("lock.woken");
                slept = true;
                slice = (slice * 2).min(LONGEST_SLICE);
            }
        }
    }

    /// Passes the wake-up on, so that every sleeper of a replaced lock learns of it.
    fn replaced(&self) -> Replaced {
        self.page.wake();
        Replaced
    }

    /// Takes the lock or one post, if there is one. Who has slept leaves the bit set for those that still
    /// sleep.
    fn attempt(&self, slept: bool) -> Attempt {
        let mark = if slept { SLEEPERS } else { 0 };
        // Read once: a faulty process may turn the one kind into the other.
        let is_signal = self.page.is_signal();
        let mut word = self.page.word().load(Ordering::Relaxed);
        while is_free(word, is_signal) {
            let next = if is_signal { word - 1 } else { self.me.word() | word & SLEEPERS };
            // Acquire pairs with the Release in `release`: what the last holder wrote is seen.
            match self.page.word().compare_exchange_weak(
                word,
                next | mark,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    kill_point("lock.taken");
                    if is_signal && slept && next & !SLEEPERS > 0 {
                        self.page.wake(); // several posts may have met in one wake-up
                    }
                    return Attempt::Taken;
                }
                Err(seen) => word = seen,
            }
        }
        Attempt::Held(word)
    }

    /// Takes the lock from a holder that is proved dead.
    fn recover(&self, word: u64, slept: bool) -> Option<Acquired> {
        if self.page.is_signal() {
            return None;
        }
        let holder = Owner::from_word(word)?;
        if holder == self.me || !holder.is_dead() {
            return None;
        }
        let mark = if slept { SLEEPERS } else { 0 };
        let next = self.me.word() | word & SLEEPERS | mark;
        // Of several that have the proof one succeeds. The dead released nothing, so there is no pair; the
        // kernel orders all that a process wrote before its end.
        self.page.word().compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        kill_point("lock.recovered");
        Some(Acquired::Recovered)
    }
}

fn is_free(word: u64, is_signal: bool) -> bool {
    (word & !SLEEPERS != 0) == is_signal
}

/// Frees the lock, or posts the signal, and wakes one sleeper if there may be one.
pub(super) fn release(page: &LockPage, me: Owner) -> Result<(), Refusal> {
    let mut word = page.word().load(Ordering::Relaxed);
    loop {
        let next = if page.is_signal() {
            let posts = word & !SLEEPERS;
            if posts >= MOST_POSTS {
                return Err(Refusal::Overflow);
            }
            posts + 1
        } else {
            match Owner::from_word(word) {
                Some(owner) if owner == me => 0,
                other => return Err(Refusal::NotOwner(other)),
            }
        };
        // Release pairs with the Acquire in `attempt`.
        match page.word().compare_exchange_weak(word, next, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => break,
            Err(seen) => word = seen,
        }
    }
    kill_point("lock.released");
    if word & SLEEPERS != 0 {
        page.wake();
    }
    Ok(())
}

/// Who holds the lock; `None` for a signal.
pub(super) fn holder(page: &LockPage) -> Option<Owner> {
    if page.is_signal() {
        return None;
    }
    Owner::from_word(page.word().load(Ordering::Relaxed))
}
