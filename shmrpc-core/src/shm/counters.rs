//! A worker's counters: per method, how many calls, errors, bytes and how long. Read by observers at any time;
//! the last values outlive the worker for as long as an observer maps them.
//!
//! Each thread of the pool writes a table of its own, with plain loads and stores; one more table, with atomic
//! additions, is for answers that come from elsewhere. A reader adds them up.

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{
    kill_point::kill_point,
    region::{Region, RegionError, page_bytes},
};
use crate::observe::{LatencyHistogram, MethodCounters, Occupancy};

/// A word in the header, beside the numbers of methods and tables.
const HEARTBEAT: usize = 16;
/// Four more, in the order of [`Occupancy`]'s fields.
const OCCUPANCY: usize = 24;
const FIELDS: usize = 5;
const METHOD_BYTES: usize = ((FIELDS + LatencyHistogram::BUCKETS) * 8).next_multiple_of(128);
const HEADER_BYTES: usize = 128;
const MAX_METHODS: usize = 4096;
/// Threads beyond these share the common table.
const MAX_TABLES: usize = 16;
const MAX_BYTES: usize = HEADER_BYTES + MAX_TABLES * MAX_METHODS * METHOD_BYTES;

/// Mapped tables of counters.
pub(crate) struct Counters {
    region: Region,
    methods: usize,
    tables: usize,
}

/// Which table a thread writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table(usize);

impl Table {
    /// For whoever has no table alone.
    pub(crate) const COMMON: Self = Self(0);
}

impl Counters {
    /// Counters for so many methods, and threads that count at the same time.
    pub(crate) fn create(methods: usize, threads: usize) -> Result<Self, RegionError> {
        let tables = (1 + threads).min(MAX_TABLES);
        let len = (HEADER_BYTES + tables * methods * METHOD_BYTES).next_multiple_of(page_bytes());
        let region = Region::create("shmrpc-counters", len)?;
        let counters = Self { region, methods, tables };
        counters.mend();
        Ok(counters)
    }

    /// Writes (anew) what every reader relies on.
    pub(crate) fn mend(&self) {
        self.region.word64(8).store(self.tables as u64, Ordering::Relaxed);
        self.region.word64(0).store(self.methods as u64, Ordering::Release);
    }

    pub(crate) fn attach(fd: OwnedFd) -> Result<Self, RegionError> {
        let region = Region::attach(fd, MAX_BYTES.next_multiple_of(65536))?;
        if !region.holds(0, HEADER_BYTES) {
            return Err(RegionError::Refused(format!("counters in {} bytes", region.len_bytes())));
        }
        let methods = usize::try_from(region.word64(0).load(Ordering::Acquire)).unwrap_or(usize::MAX);
        let tables = usize::try_from(region.word64(8).load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let sane = methods <= MAX_METHODS && (1..=MAX_TABLES).contains(&tables);
        if !sane || !region.holds(HEADER_BYTES, tables * methods * METHOD_BYTES) {
            return Err(RegionError::Refused(format!("{tables} tables of counters of {methods} methods")));
        }
        Ok(Self { region, methods, tables })
    }

    /// The table of a thread, by its number in the pool. No two threads may have the same number.
    pub(crate) fn table(&self, thread: usize) -> Table {
        Table(if thread + 1 < self.tables { thread + 1 } else { 0 })
    }

    fn fields(&self, table: usize, method: usize) -> &[AtomicU64; METHOD_BYTES / 8] {
        self.region.words(HEADER_BYTES + (table * self.methods + method) * METHOD_BYTES)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.region.fd()
    }

    /// Counts one answered call.
    pub(crate) fn count(&self, table: Table, method: usize, failed: bool, bytes_in: u64, bytes_out: u64) {
        if method < self.methods {
            let fields = self.fields(table.0, method);
            add(table, &fields[0], 1);
            kill_point("count.begun");
            if failed {
                add(table, &fields[1], 1);
            }
            add(table, &fields[2], bytes_in);
            add(table, &fields[3], bytes_out);
        }
    }

    /// Counts how long it took.
    pub(crate) fn count_time(&self, table: Table, method: usize, nanos: u64) {
        if method < self.methods {
            let fields = self.fields(table.0, method);
            add(table, &fields[4], nanos);
            add(table, &fields[FIELDS + LatencyHistogram::bucket(nanos)], 1);
        }
    }

    /// Says that the worker's process runs.
    pub(crate) fn beat(&self) {
        self.region.word64(HEARTBEAT).fetch_add(1, Ordering::Relaxed);
    }

    /// How often it has said so.
    pub(crate) fn heartbeat(&self) -> u64 {
        self.region.word64(HEARTBEAT).load(Ordering::Relaxed)
    }

    /// Calls answered, of all methods.
    pub(crate) fn calls(&self) -> u64 {
        let of = |table| (0..self.methods).map(move |method| &self.fields(table, method)[0]);
        let words = (0..self.tables).flat_map(of);
        words.fold(0_u64, |sum, word| sum.wrapping_add(word.load(Ordering::Relaxed)))
    }

    /// Adds a look at how many threads are in handlers and how many calls wait. One thread alone does so.
    pub(crate) fn note_occupancy(&self, seen: Occupancy) {
        // `looks` last, pairing with the Acquire load in `occupancy`: no sum is behind its number of looks.
        let sums = [(3, seen.apart), (2, seen.queued), (1, seen.busy), (0, seen.looks)];
        for (field, by) in sums {
            self.region.word64(OCCUPANCY + field * 8).fetch_add(by, Ordering::Release);
        }
    }

    /// The sums of all looks.
    pub(crate) fn occupancy(&self) -> Occupancy {
        let sum = |field: usize| self.region.word64(OCCUPANCY + field * 8).load(Ordering::Acquire);
        Occupancy { looks: sum(0), busy: sum(1), queued: sum(2), apart: sum(3) }
    }

    /// All counters now. Fields of one method may be a call apart from each other.
    pub(crate) fn read(&self) -> Vec<MethodCounters> {
        let sum = |method: usize, field: usize| {
            let words = (0..self.tables).map(|table| &self.fields(table, method)[field]);
            words.fold(0_u64, |sum, word| sum.wrapping_add(word.load(Ordering::Relaxed)))
        };
        (0..self.methods)
            .map(|method| {
                let mut latency = LatencyHistogram::default();
                for bucket in 0..LatencyHistogram::BUCKETS {
                    latency.set(bucket, sum(method, FIELDS + bucket));
                }
                MethodCounters {
                    calls: sum(method, 0),
                    errors: sum(method, 1),
                    bytes_in: sum(method, 2),
                    bytes_out: sum(method, 3),
                    total: Duration::from_nanos(sum(method, 4)),
                    latency,
                }
            })
            .collect()
    }
}

fn add(table: Table, field: &AtomicU64, by: u64) {
    if table.0 == 0 {
        field.fetch_add(by, Ordering::Relaxed);
    } else {
        // Nobody else writes it.
        field.store(field.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observer_reads_what_a_worker_counts() {
        let worker = Counters::create(2, 1).unwrap();
        let observer = Counters::attach(worker.fd().try_clone_to_owned().unwrap()).unwrap();
        for (table, method, failed, bytes_in, bytes_out, nanos) in [
            (worker.table(0), 1, false, 10, 20, 1000),
            (Table::COMMON, 1, true, 1, 2, 3000),
            (worker.table(7), 9, true, 1, 2, 3000),
        ] {
            worker.count(table, method, failed, bytes_in, bytes_out);
            worker.count_time(table, method, nanos);
        }
        let read = observer.read();
        assert_eq!((read[0].calls, read[1].calls, read[1].errors), (0, 2, 1));
        assert_eq!((read[1].bytes_in, read[1].bytes_out), (11, 22));
        assert_eq!(read[1].total, Duration::from_micros(4));
    }

    #[test]
    fn looks_are_added_up() {
        let worker = Counters::create(1, 1).unwrap();
        let before = worker.occupancy();
        for queued in [0, 6] {
            worker.note_occupancy(Occupancy { looks: 1, busy: 2, queued, apart: 1 });
        }
        let seen = worker.occupancy().since(before);
        assert_eq!(seen, Occupancy { looks: 2, busy: 4, queued: 6, apart: 2 });
        assert_eq!(before.since(worker.occupancy()), Occupancy::default(), "a new worker in its place");
    }

    #[test]
    fn a_table_shorter_than_its_header_is_refused() {
        let short = Region::create("test", 4).unwrap();
        let refused = Counters::attach(short.fd().try_clone_to_owned().unwrap());
        assert!(matches!(refused, Err(RegionError::Refused(_))));
    }
}
