//! A worker's counters: per method, how many calls, errors, bytes and how long. Written by the worker's
//! threads with relaxed additions, read by observers at any time; the last values outlive the worker for
//! as long as an observer maps them.

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    sync::atomic::Ordering,
    time::Duration,
};

use super::region::{Region, RegionError, page_bytes};
use crate::observe::{LatencyHistogram, MethodCounters};

/// A word in the header, beside the number of methods.
const HEARTBEAT: usize = 8;
const FIELDS: usize = 5;
const METHOD_BYTES: usize = ((FIELDS + LatencyHistogram::BUCKETS) * 8).next_multiple_of(128);
const HEADER_BYTES: usize = 128;
const MAX_METHODS: usize = 4096;
const MAX_BYTES: usize = HEADER_BYTES + MAX_METHODS * METHOD_BYTES;

/// A mapped table of counters.
pub(crate) struct Counters {
    region: Region,
    methods: usize,
}

impl Counters {
    pub(crate) fn create(methods: usize) -> Result<Self, RegionError> {
        let len = (HEADER_BYTES + methods * METHOD_BYTES).next_multiple_of(page_bytes());
        let region = Region::create("shmrpc-counters", len)?;
        region.word64(0).store(methods as u64, Ordering::Release);
        Ok(Self { region, methods })
    }

    pub(crate) fn attach(fd: OwnedFd) -> Result<Self, RegionError> {
        let region = Region::attach(fd, MAX_BYTES.next_multiple_of(65536))?;
        if !region.holds(0, HEADER_BYTES) {
            return Err(RegionError::Refused(format!("counters in {} bytes", region.len_bytes())));
        }
        let methods = usize::try_from(region.word64(0).load(Ordering::Acquire)).unwrap_or(usize::MAX);
        if methods > MAX_METHODS || !region.holds(HEADER_BYTES, methods * METHOD_BYTES) {
            return Err(RegionError::Refused(format!("counters of {methods} methods")));
        }
        Ok(Self { region, methods })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.region.fd()
    }

    /// Counts one answered call.
    pub(crate) fn count(&self, method: usize, failed: bool, bytes_in: u64, bytes_out: u64, nanos: u64) {
        if method >= self.methods {
            return;
        }
        let base = HEADER_BYTES + method * METHOD_BYTES;
        let add = |field: usize, by: u64| {
            self.region.word64(base + field * 8).fetch_add(by, Ordering::Relaxed);
        };
        add(0, 1);
        if failed {
            add(1, 1);
        }
        add(2, bytes_in);
        add(3, bytes_out);
        add(4, nanos);
        add(FIELDS + LatencyHistogram::bucket(nanos), 1);
    }

    /// Says that the worker's process runs.
    pub(crate) fn beat(&self) {
        self.region.word64(HEARTBEAT).fetch_add(1, Ordering::Relaxed);
    }

    /// How often it has said so.
    pub(crate) fn heartbeat(&self) -> u64 {
        self.region.word64(HEARTBEAT).load(Ordering::Relaxed)
    }

    /// All counters now. Fields of one method may be a call apart from each other.
    pub(crate) fn read(&self) -> Vec<MethodCounters> {
        (0..self.methods)
            .map(|method| {
                let base = HEADER_BYTES + method * METHOD_BYTES;
                let field = |n: usize| self.region.word64(base + n * 8).load(Ordering::Relaxed);
                let mut latency = LatencyHistogram::default();
                for bucket in 0..LatencyHistogram::BUCKETS {
                    latency.set(bucket, field(FIELDS + bucket));
                }
                MethodCounters {
                    calls: field(0),
                    errors: field(1),
                    bytes_in: field(2),
                    bytes_out: field(3),
                    total: Duration::from_nanos(field(4)),
                    latency,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observer_reads_what_a_worker_counts() {
        let worker = Counters::create(2).unwrap();
        let observer = Counters::attach(worker.fd().try_clone_to_owned().unwrap()).unwrap();
        worker.count(1, false, 10, 20, 1000);
        worker.count(1, true, 1, 2, 3000);
        worker.count(9, true, 1, 2, 3000);
        let read = observer.read();
        assert_eq!((read[0].calls, read[1].calls, read[1].errors), (0, 2, 1));
        assert_eq!((read[1].bytes_in, read[1].bytes_out), (11, 22));
        assert_eq!(read[1].total, Duration::from_micros(4));
    }

    #[test]
    fn a_table_shorter_than_its_header_is_refused() {
        let short = Region::create("test", 4).unwrap();
        let refused = Counters::attach(short.fd().try_clone_to_owned().unwrap());
        assert!(matches!(refused, Err(RegionError::Refused(_))));
    }
}
