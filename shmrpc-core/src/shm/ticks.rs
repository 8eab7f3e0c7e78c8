//! Time for the call path: the processor's own counter where it can be trusted, the system's clock elsewhere.
//! A reading costs a third of `Instant::now`, and does not wait for earlier loads; it serves spans (how long
//! to spin, how long a handler took), never deadlines.
//!
//! Deadlines are on CLOCK_MONOTONIC, which all processes share; [`coarse_ns`] reads it at the resolution of the
//! system's tick (1 to 10 ms), for a fifth of the price.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

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

/// Nanoseconds of a tick against the system's clock: the median of a few short spans, so that one in which this
/// thread was suspended between two readings does no harm.
fn calibrate() -> u64 {
    let mut rates = [0; 5].map(|_: u64| {
        let (began, first) = (Instant::now(), counter());
        while began.elapsed() < Duration::from_micros(40) {
            std::hint::spin_loop();
        }
        let (ns, ticks) = (began.elapsed().as_nanos(), counter().saturating_sub(first));
        u64::try_from((ns << 32) / u128::from(ticks.max(1))).unwrap_or(0)
    });
    rates.sort_unstable();
    rates[rates.len() / 2]
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

/// CLOCK_MONOTONIC as of the last tick of the system: behind [`monotonic_ns`](super::doorbell::monotonic_ns)
/// by at most [`coarse_step_ns`].
pub(crate) fn coarse_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists and the target is a valid timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The length of the system's tick.
pub(crate) fn coarse_step_ns() -> u64 {
    static STEP: OnceLock<u64> = OnceLock::new();
    *STEP.get_or_init(|| {
        let mut step = libc::timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        // SAFETY: the clock exists and the target is a valid timespec.
        unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut step) };
        step.tv_sec as u64 * 1_000_000_000 + step.tv_nsec as u64
    })
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
    fn the_coarse_clock_is_behind_by_a_step_at_most() {
        let coarse = coarse_ns();
        let now = super::super::doorbell::monotonic_ns();
        assert!(coarse <= now);
        assert!(coarse + coarse_step_ns() + 1_000_000_000 > now, "{coarse} is far behind {now}");
    }
}
