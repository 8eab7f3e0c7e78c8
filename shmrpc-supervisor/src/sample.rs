//! What processes use of the machine, asked of the kernel once a second: CPU, memory and I/O through
//! sysinfo, proportional memory from `/proc/PID/smaps_rollup`, which sysinfo does not read. Blocks for as
//! long as the kernel takes; the daemon runs it off its loop.

use std::{collections::HashMap, io};

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
        Ok(Self { system, samples: 0, seldom: HashMap::new() })
    }

    /// Measures those processes; one that is gone is left out.
    pub fn sample(&mut self, pids: &[u32]) -> HashMap<u32, Usage> {
        let wanted: Vec<Pid> = pids.iter().map(|&pid| Pid::from_u32(pid)).collect();
        let what = ProcessRefreshKind::nothing().with_cpu().with_memory().with_disk_usage().without_tasks();
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&wanted), true, what);
        self.samples += 1;
        self.seldom.retain(|pid, _| pids.contains(pid));
        for &pid in pids {
            // Not all in the same sample.
            let is_due = (self.samples + u64::from(pid)).is_multiple_of(SELDOM_EVERY);
            if is_due || !self.seldom.contains_key(&pid) {
                self.seldom.insert(pid, Seldom::of(pid));
            }
        }
        let usage = |pid: u32| {
            let process = self.system.process(Pid::from_u32(pid))?;
            let disk = process.disk_usage();
            let seldom = self.seldom.get(&pid).copied().unwrap_or_default();
            Some((
                pid,
                Usage {
                    cpu_share: f64::from(process.cpu_usage()) / 100.0,
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
}
