//! What processes use of the machine, asked of the kernel once a second: CPU, memory and I/O through
//! sysinfo; proportional memory from `/proc/PID/smaps_rollup` and waits for a CPU from `/proc/PID/task/*/schedstat`,
//! which sysinfo does not read. Blocks for as long as the kernel takes; the daemon runs it off its loop.

use std::{
    collections::HashMap,
    io,
    time::{Duration, Instant},
};

use procfs::process::Process;
use shmrpc_web::Usage;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// The kernel walks through all of a process's memory to tell its proportional size: asked once in so many samples.
const SELDOM_EVERY: u64 = 5;

/// Remembers the last sample, so that shares of CPU can be told.
#[derive(Debug)]
pub struct Sampler {
    system: System,
    samples: u64,
    at: Option<Instant>,
    /// How long each process's threads had waited for a CPU, when it was last seen to have one.
    waited: HashMap<u32, Duration>,
    seldom: HashMap<u32, Seldom>,
}

/// What costs more to ask for, and changes slowly.
#[derive(Clone, Copy, Debug, Default)]
struct Seldom {
    pss_bytes: Option<u64>,
    open_files: Option<u64>,
    threads: Option<u64>,
}

impl Sampler {
    /// Nothing measured yet.
    ///
    /// # Errors
    /// When the system cannot be asked.
    pub fn new() -> io::Result<Self> {
        let system = System::new().map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { system, samples: 0, at: None, waited: HashMap::new(), seldom: HashMap::new() })
    }

    /// Measures those processes; one that is gone is left out.
    pub fn sample(&mut self, pids: &[u32]) -> HashMap<u32, Usage> {
        let wanted: Vec<Pid> = pids.iter().map(|&pid| Pid::from_u32(pid)).collect();
        let what = ProcessRefreshKind::nothing().with_cpu().with_memory().with_disk_usage().without_tasks();
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&wanted), true, what);
        self.samples += 1;
        let now = Instant::now();
        let since = self.at.replace(now).map(|at| now.saturating_duration_since(at));
        self.seldom.retain(|pid, _| pids.contains(pid));
        self.waited.retain(|pid, _| pids.contains(pid));
        for &pid in pids {
            // Not all in the same sample.
            let is_due = (self.samples + u64::from(pid)).is_multiple_of(SELDOM_EVERY);
            if is_due || !self.seldom.contains_key(&pid) {
                self.seldom.insert(pid, Seldom::of(pid));
            }
        }
        let mut usage = |pid: u32| {
            let process = self.system.process(Pid::from_u32(pid))?;
            let disk = process.disk_usage();
            let seldom = self.seldom.get(&pid).copied().unwrap_or_default();
            let cpu_share = f64::from(process.cpu_usage()) / 100.0;
            // A file for each thread: not read for those that rest. Who gets no CPU at all is seen when it has got one.
            let waited = if cpu_share > 0.0 { newly_waited(&mut self.waited, pid) } else { Duration::ZERO };
            Some((
                pid,
                Usage {
                    cpu_share,
                    cpu_wait_share: since
                        .map_or(0.0, |since| waited.as_secs_f64() / since.as_secs_f64().max(0.001)),
                    rss_bytes: process.memory(),
                    pss_bytes: seldom.pss_bytes,
                    virtual_bytes: process.virtual_memory(),
                    read_bytes: disk.total_read_bytes,
                    written_bytes: disk.total_written_bytes,
                    open_files: seldom.open_files,
                    threads: seldom.threads,
                },
            ))
        };
        pids.iter().filter_map(|&pid| usage(pid)).collect()
    }
}

impl Seldom {
    fn of(pid: u32) -> Self {
        let Ok(process) = Process::new(pid.cast_signed()) else { return Self::default() };
        Self {
            pss_bytes: pss_bytes(&process),
            open_files: process.fd_count().ok().map(|count| count as u64),
            threads: process.stat().ok().and_then(|stat| u64::try_from(stat.num_threads).ok()),
        }
    }
}

/// For how long threads of a process have waited for a CPU since it was last asked for.
fn newly_waited(known: &mut HashMap<u32, Duration>, pid: u32) -> Duration {
    let Some(waited) = waited(pid) else { return Duration::ZERO };
    // A thread that ends takes its time with it.
    known.insert(pid, waited).map_or(Duration::ZERO, |before| waited.saturating_sub(before))
}

fn waited(pid: u32) -> Option<Duration> {
    let tasks = Process::new(pid.cast_signed()).ok()?.tasks().ok()?;
    let waits_ns = tasks.flatten().filter_map(|task| task.schedstat().ok()).map(|stat| stat.run_delay);
    Some(Duration::from_nanos(waits_ns.sum()))
}

fn pss_bytes(process: &Process) -> Option<u64> {
    let rollup = process.smaps_rollup().ok()?;
    rollup.memory_map_rollup.0.first()?.extension.map.get("Pss").copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_a_dead_one_is_left_out() {
        let own = std::process::id();
        let sample = Sampler::new().unwrap().sample(&[own, u32::MAX >> 1]);
        assert_eq!(sample.len(), 1);
        let usage = &sample[&own];
        assert!(usage.rss_bytes > 0 && usage.virtual_bytes >= usage.rss_bytes);
        assert!(usage.pss_bytes.is_some_and(|pss| pss > 0 && pss <= usage.rss_bytes * 2));
        assert!(usage.open_files > Some(2) && usage.threads > Some(0), "{usage:?}");
    }

    #[test]
    fn threads_that_want_more_processors_than_there_are_wait_for_them() {
        let processors = std::thread::available_parallelism().unwrap().get();
        let (own, ends) = (std::process::id(), std::sync::atomic::AtomicBool::new(false));
        let spin = || {
            while !ends.load(std::sync::atomic::Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        };
        let mut sampler = Sampler::new().unwrap();
        let is_seen = std::thread::scope(|scope| {
            for _ in 0..processors * 3 {
                scope.spawn(spin);
            }
            let deadline = Instant::now() + Duration::from_mins(1);
            // Two in three wait at any time, if the machine has nothing else to do.
            let mut is_seen = || sampler.sample(&[own])[&own].cpu_wait_share >= processors as f64 / 2.0;
            while !is_seen() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(300));
            }
            let is_seen = Instant::now() < deadline;
            ends.store(true, std::sync::atomic::Ordering::Relaxed);
            is_seen
        });
        assert!(is_seen);
    }
}
