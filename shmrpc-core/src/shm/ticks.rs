//! Time for the call path: the processor's own counter where it can be trusted, the system's clock elsewhere.
//! A reading costs a third of `Instant::now`, and does not wait for earlier loads; it serves spans (how long
//! to spin, how long a handler took). Deadlines are on CLOCK_MONOTONIC, which all processes share; [`Reckoned`] knows
//! it without asking the system each time.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use super::doorbell::monotonic_ns;

/// A moment, in units of this process's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticks(u64);

impl Ticks {
    /// Now.
    pub(crate) fn now() -> Self {
        Self(scale().read())
    }

    /// Nanoseconds since an earlier moment; 0 for a later one (counters of two processors may be apart).
    pub(crate) fn ns_since(self, earlier: Self) -> u64 {
        let ticks = self.0.saturating_sub(earlier.0);
        ((u128::from(ticks) * u128::from(scale().ns_per_tick_q32)) >> 32) as u64
    }

    /// That much later.
    pub(crate) fn plus(self, span: Duration) -> Self {
        let ns = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let ticks = (u128::from(ns) << 32) / u128::from(scale().ns_per_tick_q32.max(1));
        Self(self.0.saturating_add(u64::try_from(ticks).unwrap_or(u64::MAX)))
    }

    /// Whether this moment is not before the other.
    pub(crate) fn reached(self, other: Self) -> bool {
        self.0 >= other.0
    }
}

/// What a tick is.
struct Scale {
    counter: bool,
    /// Fixed point, 32 bits behind the point.
    ns_per_tick_q32: u64,
    origin: Instant,
}

impl Scale {
    fn read(&self) -> u64 {
        if self.counter { counter() } else { self.origin.elapsed().as_nanos() as u64 }
    }
}

fn scale() -> &'static Scale {
    static SCALE: OnceLock<Scale> = OnceLock::new();
    SCALE.get_or_init(|| {
        let origin = Instant::now();
        let rate = if counter_is_steady() { calibrate() } else { 0 };
        // From 10 MHz to 100 GHz: anything else is not a processor's clock.
        let counter = (1 << 25..100 << 32).contains(&rate);
        Scale { counter, ns_per_tick_q32: if counter { rate } else { 1 << 32 }, origin }
    })
}

/// Nanoseconds of a tick against the system's clock: the median of a few short spans.
fn calibrate() -> u64 {
    let mut rates = [0; 5].map(|_: u64| {
        let first = Reading::closest(counter, 0);
        let began = Instant::now();
        while began.elapsed() < Duration::from_micros(40) {
            std::hint::spin_loop();
        }
        let last = Reading::closest(counter, 0);
        let (ns, ticks) = (last.ns.saturating_sub(first.ns), last.ticks.saturating_sub(first.ticks));
        u64::try_from((u128::from(ns) << 32) / u128::from(ticks.max(1))).unwrap_or(0)
    });
    rates.sort_unstable();
    rates[rates.len() / 2]
}

/// CLOCK_MONOTONIC, and the counter a moment before it.
struct Reading {
    ticks: u64,
    ns: u64,
    /// Ticks between the counter's readings on both sides of the clock's.
    width: u64,
}

impl Reading {
    /// The closest of a few: a thread may be suspended between two readings, for as long as others please. One that
    /// is no wider than `enough` is as good as any.
    fn closest(counter: impl Fn() -> u64, enough: u64) -> Self {
        let read = || {
            let ticks = counter();
            let ns = monotonic_ns();
            Self { ticks, ns, width: counter().saturating_sub(ticks) }
        };
        let mut closest = read();
        for _ in 0..3 {
            if closest.width <= enough {
                break;
            }
            let again = read();
            if again.width < closest.width {
                closest = again;
            }
        }
        closest
    }
}

#[cfg(target_arch = "x86_64")]
fn counter() -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Whether the counter runs at one rate whatever the processor's clock does (CPUID 8000_0007h, EDX bit 8, in AMD's
/// and Intel's manuals).
#[cfg(target_arch = "x86_64")]
fn counter_is_steady() -> bool {
    use core::arch::x86_64::__cpuid;
    __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx >> 8 & 1 == 1
}

#[cfg(not(target_arch = "x86_64"))]
fn counter() -> u64 {
    0
}

#[cfg(not(target_arch = "x86_64"))]
fn counter_is_steady() -> bool {
    false
}

/// CLOCK_MONOTONIC, read once in a while and reckoned from ticks in between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reckoned {
    read_ns: u64,
    read_at: Ticks,
    good_until: Ticks,
}

impl Reckoned {
    /// Between two readings.
    const GOOD_FOR: Duration = Duration::from_millis(1);
    /// How far apart clock and counter may have been read.
    const WIDTH: Duration = Duration::from_micros(2);
    /// By how much it may be wrong, either way: what a rate that is off by a hundredth makes of [`Self::GOOD_FOR`], and
    /// [`Self::WIDTH`].
    pub(crate) const ERROR_NS: u64 = 12_000;

    pub(crate) fn new() -> Self {
        let enough = Ticks(0).plus(Self::WIDTH).0;
        let reading = Reading::closest(|| Ticks::now().0, enough);
        let read_at = Ticks(reading.ticks);
        // Nothing is reckoned from readings that were far apart: the clock is read again the next time.
        let good_until = if reading.width <= enough { read_at.plus(Self::GOOD_FOR) } else { read_at };
        Self { read_ns: reading.ns, read_at, good_until }
    }

    /// The time in nanoseconds at a moment that has just been, or a little later.
    pub(crate) fn at(&mut self, now: Ticks) -> u64 {
        if now.reached(self.good_until) {
            *self = Self::new();
        }
        self.read_ns + now.ns_since(self.read_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_agree_with_the_system_clock() {
        let (began, first) = (Instant::now(), Ticks::now());
        std::thread::sleep(Duration::from_millis(50));
        let ours = Ticks::now().ns_since(first) as f64;
        let theirs = began.elapsed().as_nanos() as f64;
        assert!((0.9..1.1).contains(&(ours / theirs)), "{ours} ns for {theirs} ns");
        assert_eq!(first.ns_since(Ticks::now()), 0);
        assert!(Ticks::now().reached(first.plus(Duration::from_millis(40))));
        assert!(!Ticks::now().reached(Ticks::now().plus(Duration::from_secs(60))));
    }

    #[test]
    fn reckoned_time_keeps_close_to_the_clock() {
        let mut reckoned = Reckoned::new();
        for _ in 0..1000 {
            let before = monotonic_ns();
            let ours = reckoned.at(Ticks::now());
            let after = monotonic_ns();
            assert!(
                (before - 50_000..after + 50_000).contains(&ours),
                "{ours} is not within {before}..{after}"
            );
            std::thread::sleep(Duration::from_micros(10));
        }
    }

    /// A thread may be suspended between the reading that it was given and its look at the clock.
    #[test]
    fn an_old_moment_does_not_put_the_clock_forward() {
        let old = Ticks::now();
        let mut reckoned = Reckoned { read_ns: 0, read_at: old, good_until: old };
        std::thread::sleep(Duration::from_millis(5));
        reckoned.at(old);
        let ours = reckoned.at(Ticks::now());
        let after = monotonic_ns();
        assert!(ours <= after + Reckoned::ERROR_NS, "{ours} is ahead of {after}");
    }
}
