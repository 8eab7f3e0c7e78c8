//! [`Point`]: what was measured of one subject over some time, a second or many. Points of neighbouring times merge into
//! the point of the whole time: means by how many seconds they stand for, extremes and latencies exactly.

use std::collections::BTreeMap;

use shmrpc_core::observe::LatencyHistogram;
use shmrpc_web::Series;

/// The series that are kept as numbers; percentiles come out of the latencies.
pub(crate) const KEPT: [Series; 13] = [
    Series::Cpu,
    Series::Rss,
    Series::Pss,
    Series::Read,
    Series::Written,
    Series::Fds,
    Series::Threads,
    Series::Workers,
    Series::Calls,
    Series::Errors,
    Series::Queued,
    Series::Wait,
    Series::Busy,
];

/// The place of a series among those that are kept as numbers; `None` for percentiles.
pub(super) fn place(series: Series) -> Option<usize> {
    KEPT.iter().position(|kept| *kept == series)
}

/// One quantity over some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stat {
    pub(super) mean: f32,
    pub(super) min: f32,
    pub(super) max: f32,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Point {
    /// How many seconds it stands for; 0: nothing was measured.
    pub(super) seconds: u32,
    pub(super) stats: [Option<Stat>; KEPT.len()],
    /// Calls by the bucket of [`LatencyHistogram`] that they fall into.
    pub(super) latencies: BTreeMap<u8, u64>,
}

impl Point {
    /// Nothing known of a second that was measured.
    pub(crate) fn of_second() -> Self {
        Self { seconds: 1, ..Self::default() }
    }

    /// Says what one quantity was. A number that is none is a quantity that is not known.
    pub(crate) fn set(&mut self, series: Series, value: f64) {
        let value = value as f32;
        if let Some(place) = place(series).filter(|_| value.is_finite()) {
            self.stats[place] = Some(Stat { mean: value, min: value, max: value });
        }
    }

    /// Says how long the calls took.
    pub(crate) fn set_latencies(&mut self, calls: impl Iterator<Item = (u8, u64)>) {
        self.latencies = calls.filter(|(_, count)| *count > 0).collect();
    }

    /// Takes in the point of another time.
    pub(super) fn merge(&mut self, other: &Self) {
        let (own_weight, weight) = (f64::from(self.seconds), f64::from(other.seconds));
        for (own, stat) in self.stats.iter_mut().zip(other.stats) {
            *own = match (*own, stat) {
                (Some(own), Some(stat)) => {
                    let sum = f64::from(own.mean) * own_weight + f64::from(stat.mean) * weight;
                    let mean = (sum / (own_weight + weight).max(1.0)) as f32;
                    Some(Stat { mean, min: own.min.min(stat.min), max: own.max.max(stat.max) })
                }
                (own, stat) => own.or(stat),
            };
        }
        for (&bucket, &count) in &other.latencies {
            let sum = self.latencies.entry(bucket).or_default();
            *sum = sum.saturating_add(count);
        }
        self.seconds = self.seconds.saturating_add(other.seconds);
    }

    /// The time that the given share of all calls did not exceed, in nanoseconds; `None` without calls.
    pub(super) fn quantile_ns(&self, share: f64) -> Option<f32> {
        let mut histogram = LatencyHistogram::default();
        for (&bucket, &count) in &self.latencies {
            histogram.set(usize::from(bucket), count);
        }
        histogram.quantile(share).map(|time| time.as_nanos() as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(cpu: f64, latencies: &[(u8, u64)]) -> Point {
        let mut point = Point::of_second();
        point.set(Series::Cpu, cpu);
        point.set_latencies(latencies.iter().copied());
        point
    }

    #[test]
    fn a_minute_has_the_mean_the_extremes_and_all_the_calls_of_its_seconds() {
        let mut minute = Point::default();
        for second in [second(0.5, &[(40, 1)]), second(2.0, &[]), second(0.5, &[(40, 97), (80, 2)])] {
            minute.merge(&second);
        }
        let cpu = minute.stats[0].unwrap();
        assert_eq!((minute.seconds, cpu.mean, cpu.min, cpu.max), (3, 1.0, 0.5, 2.0));
        assert_eq!(minute.quantile_ns(0.5), Some(LatencyHistogram::middle(40) as f32));
        assert_eq!(minute.quantile_ns(0.99), Some(LatencyHistogram::middle(80) as f32));
        assert_eq!((minute.stats[1], Point::of_second().quantile_ns(0.5)), (None, None));
    }

    #[test]
    fn numbers_that_are_none_are_not_kept() {
        let mut point = Point::of_second();
        point.set(Series::Cpu, f64::NAN);
        point.set(Series::Rss, f64::INFINITY);
        assert_eq!(point, Point::of_second());
    }
}
