//! Watching services from outside the data path: who serves, and what their counters say. The
//! supervisor and `shmrpc services` are observers; nobody asks a worker anything on the call path.

use std::{
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, OnceLock, mpsc},
    time::Duration,
};

use crate::{
    error::ConnectError, method::ServiceDescription, shm::counters::Counters,
    transport::shm::observer::Watching,
};

/// The version of what this program's processes see of each other in shared memory. Programs of different versions meet
/// over TCP alone.
pub const LAYOUT_VERSION: u32 = crate::transport::shm::LAYOUT_VERSION;

/// A running observer: it knows every worker of the runtime folder and hears of those that come and go.
/// Dropped, it leaves.
pub struct Observer {
    _watching: Watching,
}

/// What an observer hears.
pub enum ObserverEvent {
    /// A worker serves: it was there already, or has just become ready.
    Up(Arc<WorkerView>),
    /// A worker is gone, by its own decision or dead.
    Down(Arc<WorkerView>),
    /// A worker serves of which nothing can be seen: its shared memory has another layout than ours. Of its end nobody
    /// tells.
    Estranged {
        /// Its process id; 0 of one in another pid namespace.
        pid: u32,
        /// The service's name with its prefix.
        service: String,
        /// Its layout version, which is not [`LAYOUT_VERSION`].
        layout_version: u32,
    },
}

/// How an observer takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObserverRole {
    /// Looks only (`shmrpc services`).
    Spectator,
    /// Supervises: workers count it as their supervisor (no orphan timeout while it lives) and leave
    /// the draining of their output pipes to it.
    Supervisor,
}

impl Observer {
    /// Joins the runtime folder, creating it (0700) if need be; events arrive on the receiver.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn join(
        runtime_dir: &Path,
        role: ObserverRole,
    ) -> Result<(Self, mpsc::Receiver<ObserverEvent>), ConnectError> {
        let (events, receiver) = mpsc::channel();
        let watching = Watching::start(runtime_dir, role, events).map_err(|source| ConnectError::Io {
            endpoint: runtime_dir.display().to_string(),
            doing: "joining the runtime folder".into(),
            source,
        })?;
        Ok((Self { _watching: watching }, receiver))
    }
}

/// One worker, seen from outside.
pub struct WorkerView {
    pid: u32,
    description: ServiceDescription,
    counters: Counters,
    output: OnceLock<[OwnedFd; 2]>,
}

impl WorkerView {
    pub(crate) fn new(pid: u32, description: ServiceDescription, counters: Counters) -> Self {
        Self { pid, description, counters, output: OnceLock::new() }
    }

    pub(crate) fn set_output(&self, output: [OwnedFd; 2]) {
        let _ = self.output.set(output);
    }

    /// Its process id; 0 of one in another pid namespace, where it has one that means nothing here.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The service's name with its prefix.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.description.name
    }

    /// What it offers.
    #[must_use]
    pub fn description(&self) -> &ServiceDescription {
        &self.description
    }

    /// Its counters now, one entry a method in the order of the description. Read out of shared memory;
    /// the last values remain readable after the worker's death.
    #[must_use]
    pub fn counters(&self) -> Vec<MethodCounters> {
        self.counters.read()
    }

    /// Calls of all methods together: whether anything has happened can be told by it at little cost. A call is counted
    /// here an instant before it is in all of [`counters`](Self::counters).
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.counters.calls()
    }

    /// A number that grows about once a second for as long as the worker's process runs; 0 for one that has no
    /// supervisor and does not say. Standing still, it tells of a process that is stopped: whether a handler
    /// takes long makes no difference to it.
    #[must_use]
    pub fn heartbeat(&self) -> u64 {
        self.counters.heartbeat()
    }

    /// How its threads are occupied and what waits for them, as sums over looks that it takes by itself.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        self.counters.occupancy()
    }

    /// Clones of the read ends of its stdout and stderr, if it has handed them over (supervisors only,
    /// for a worker that an earlier supervisor started).
    #[must_use]
    pub fn output(&self) -> Option<(OwnedFd, OwnedFd)> {
        let [stdout, stderr] = self.output.get()?;
        Some((stdout.try_clone().ok()?, stderr.try_clone().ok()?))
    }
}

/// What a worker saw when it looked at itself and at the rings of its service, added up over all its looks:
/// about twenty a second, at times of chance, while it has anything to do, one a second at rest. It costs no call anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// How often it has looked.
    pub looks: u64,
    /// Threads of its pool that were in handlers.
    pub busy: u64,
    /// Calls that nobody had claimed, of the whole service: all its workers see the same.
    pub queued: u64,
    /// Calls that were under way outside the pool: of `async` handlers, and of quick methods over TCP.
    pub apart: u64,
}

impl Occupancy {
    /// What came after an earlier reading of the same worker.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            looks: self.looks.saturating_sub(earlier.looks),
            busy: self.busy.saturating_sub(earlier.busy),
            queued: self.queued.saturating_sub(earlier.queued),
            apart: self.apart.saturating_sub(earlier.apart),
        }
    }
}

/// One method's counters since its worker started.
#[derive(Clone, Debug, Default)]
pub struct MethodCounters {
    /// Calls answered, errors included.
    pub calls: u64,
    /// Calls answered with anything but success.
    pub errors: u64,
    /// Bytes of arguments.
    pub bytes_in: u64,
    /// Bytes of replies.
    pub bytes_out: u64,
    /// Time in handlers.
    pub total: Duration,
    /// Time in handlers, as a histogram.
    pub latency: LatencyHistogram,
}

impl MethodCounters {
    /// Adds another worker's counters of the same method.
    pub fn add(&mut self, other: &Self) {
        // A faulty worker may have written any numbers.
        self.calls = self.calls.saturating_add(other.calls);
        self.errors = self.errors.saturating_add(other.errors);
        self.bytes_in = self.bytes_in.saturating_add(other.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(other.bytes_out);
        self.total = self.total.saturating_add(other.total);
        self.latency.add(&other.latency);
    }

    /// Mean time in the handler.
    #[must_use]
    pub fn mean(&self) -> Duration {
        u32::try_from(self.calls).ok().filter(|&n| n > 0).map_or_else(
            || Duration::from_nanos((self.total.as_nanos() / u128::from(self.calls.max(1))) as u64),
            |n| self.total / n,
        )
    }
}

/// A histogram over powers of two, each cut into four: at most 12.5 % off the true value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyHistogram {
    counts: [u64; Self::BUCKETS],
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self { counts: [0; Self::BUCKETS] }
    }
}

impl LatencyHistogram {
    /// Number of buckets: 40 powers of two of nanoseconds (up to 18 minutes), four each.
    pub const BUCKETS: usize = 160;

    /// The bucket of a duration in nanoseconds.
    #[must_use]
    pub const fn bucket(nanos: u64) -> usize {
        if nanos < 4 {
            return nanos as usize;
        }
        let power = 63 - nanos.leading_zeros() as usize;
        let quarter = ((nanos >> (power - 2)) & 3) as usize;
        let bucket = (power - 1) * 4 + quarter;
        if bucket < Self::BUCKETS { bucket } else { Self::BUCKETS - 1 }
    }

    /// The middle of a bucket in nanoseconds.
    #[must_use]
    pub const fn middle(bucket: usize) -> u64 {
        if bucket < 4 {
            return bucket as u64;
        }
        let (power, quarter) = (bucket / 4 + 1, (bucket % 4) as u64);
        let width = 1_u64 << (power - 2);
        (4 + quarter) * width + width / 2
    }

    /// Sets one bucket's count.
    pub fn set(&mut self, bucket: usize, count: u64) {
        self.counts[bucket] = count;
    }

    /// Adds another histogram.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
    }

    /// The buckets that are not empty: the middle of each in nanoseconds, and its count.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        let all = self.counts.iter().enumerate();
        all.filter(|(_, count)| **count > 0).map(|(bucket, count)| (Self::middle(bucket), *count))
    }

    /// What has come since an earlier state of the same histogram.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut since = self.clone();
        for (count, old) in since.counts.iter_mut().zip(before.counts) {
            *count = count.saturating_sub(old);
        }
        since
    }

    /// How many samples are below a bound, as far as buckets tell: exactly, if the bound is a power of two.
    #[must_use]
    pub fn below(&self, nanos: u64) -> u64 {
        let end = if nanos == u64::MAX { Self::BUCKETS } else { Self::bucket(nanos) };
        self.counts[..end].iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The value that the given share (0 to 1) of all samples does not exceed; `None` without samples.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let total = self.counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        if total == 0 {
            return None;
        }
        let rank = ((total as f64 * share).ceil() as u64).clamp(1, total);
        let mut seen = 0_u64;
        let bucket = self.counts.iter().position(|&count| {
            seen = seen.saturating_add(count);
            seen >= rank
        })?;
        Some(Duration::from_nanos(Self::middle(bucket)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn middles_lie_in_their_buckets() {
        for bucket in 0..LatencyHistogram::BUCKETS {
            assert_eq!(LatencyHistogram::bucket(LatencyHistogram::middle(bucket)), bucket);
        }
        assert_eq!(LatencyHistogram::bucket(u64::MAX), LatencyHistogram::BUCKETS - 1);
    }

    #[test]
    fn what_has_come_since_is_told_by_its_buckets() {
        let mut before = LatencyHistogram::default();
        before.set(LatencyHistogram::bucket(1000), 2);
        let mut now = before.clone();
        now.set(LatencyHistogram::bucket(1_000_000), 3);
        let middle = LatencyHistogram::middle(LatencyHistogram::bucket(1_000_000));
        assert_eq!(now.since(&before).buckets().collect::<Vec<_>>(), [(middle, 3)]);
        assert_eq!(now.buckets().count(), 2);
    }

    #[test]
    fn quantiles_of_two_samples() {
        let mut histogram = LatencyHistogram::default();
        assert!(histogram.quantile(0.5).is_none());
        histogram.set(LatencyHistogram::bucket(1000), 1);
        histogram.set(LatencyHistogram::bucket(1_000_000), 1);
        let near = |share: f64, nanos: u128| {
            let got = histogram.quantile(share).unwrap().as_nanos();
            assert!(got.abs_diff(nanos) * 8 <= nanos, "{got} is not {nanos}");
        };
        near(0.5, 1000);
        near(0.99, 1_000_000);
    }
}
