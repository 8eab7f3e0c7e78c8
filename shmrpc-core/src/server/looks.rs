//! When a worker looks at itself: see `transport/shm/worker/look.rs` for what it sees.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Weak,
    time::{Duration, Instant},
};

use crate::transport::shm::worker::Worker;

/// The mean time between two looks of a worker that has something to do.
const INTERVAL: Duration = Duration::from_millis(50);
/// One that has had nothing to do for so long rests, and looks once a slice.
const REST_AFTER: Duration = Duration::from_secs(1);

/// The looks of a worker, over time.
pub(super) struct Looks {
    rests_at: Instant,
    count: u64,
    chance: RandomState,
}

impl Looks {
    pub(super) fn new() -> Self {
        Self { rests_at: Instant::now(), count: 0, chance: RandomState::new() }
    }

    /// Lets about a slice of time pass.
    pub(super) fn pass(&mut self, worker: &Weak<Worker>, slice: Duration) {
        let until = Instant::now() + slice;
        loop {
            let now = Instant::now();
            if now >= until {
                return;
            }
            if worker.upgrade().is_some_and(|worker| worker.look()) {
                self.rests_at = now + REST_AFTER;
            }
            std::thread::sleep(if now >= self.rests_at { until - now } else { self.interval() });
        }
    }

    /// From half to one and a half times the mean, by chance: calls that come at a steady pace would be met in the same
    /// state at every look of the same pace.
    fn interval(&mut self) -> Duration {
        self.count += 1;
        let share = self.chance.hash_one(self.count) as u32;
        INTERVAL / 2 + INTERVAL.mul_f64(f64::from(share) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_keep_no_time() {
        let mut looks = Looks::new();
        let times: Vec<Duration> = (0..1000).map(|_| looks.interval()).collect();
        assert!(times.iter().all(|time| (INTERVAL / 2..=INTERVAL * 3 / 2).contains(time)));
        let mean = times.iter().sum::<Duration>() / 1000;
        assert!((INTERVAL * 9 / 10..INTERVAL * 11 / 10).contains(&mean), "{mean:?}");
        // Whatever the pace of the calls, looks meet all of its phases about as often.
        for pace in [INTERVAL, INTERVAL / 2, INTERVAL * 2, INTERVAL * 6] {
            let mut met = [0; 10];
            let mut at = Duration::ZERO;
            for time in &times {
                at += *time;
                let phase = at.as_nanos() % pace.as_nanos() * 10 / pace.as_nanos();
                met[phase as usize] += 1;
            }
            assert!(met.iter().all(|times| (50..200).contains(times)), "{pace:?}: {met:?}");
        }
    }
}
