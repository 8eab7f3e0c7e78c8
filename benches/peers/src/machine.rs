//! The machine: what it is, and what else runs on it. Read from `/proc`, never changed.

use std::{fs, process::Command, time::Duration};

use crate::memory::{children_cpu_time, cpu_time};

/// The first value of `key` in a file of `key: value` lines.
pub fn value(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line =
        text.lines().find(|line| line.starts_with(key) && line[key.len()..].trim_start().starts_with(':'))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// A value in kB of such a file, in bytes.
pub fn value_bytes(path: &str, key: &str) -> f64 {
    let text = value(path, key).unwrap_or_default();
    text.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
}

/// Load over one, five and fifteen minutes.
pub fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// One line about hardware, kernel and compiler.
pub fn description() -> String {
    let cpu = value("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".into());
    let processors = crate::memory::processors().len();
    let virtual_machine = fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("hypervisor"));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let clock = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let clock = fs::read_to_string(clock).unwrap_or_default();
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc = rustc
        .map_or_else(|_| "rustc unknown".into(), |out| String::from_utf8_lossy(&out.stdout).into_owned());
    let memory_gib = value_bytes("/proc/meminfo", "MemTotal") / f64::from(1 << 30);
    format!(
        "{cpu}, {processors} processors{}, {memory_gib:.0} GiB of memory, Linux {}, clock source {}, {}",
        if virtual_machine { " (virtual machine)" } else { "" },
        kernel.trim(),
        clock.trim(),
        rustc.trim()
    )
}

/// The versions that were measured, out of this package's own lockfile.
pub fn versions() -> String {
    let lock = include_str!("../Cargo.lock");
    let names =
        ["shmrpc", "iceoryx2", "ipc-channel", "prost", "tarpc", "tokio", "tonic", "zmq", "zeromq-src"];
    let version = |name: &str| {
        let mut lines = lock.lines().skip_while(|line| *line != format!("name = \"{name}\""));
        lines.nth(1)?.strip_prefix("version = ").map(|text| format!("{name} {}", text.trim_matches('"')))
    };
    names.into_iter().filter_map(version).collect::<Vec<_>>().join(", ")
}

/// Processor time of everybody, and of this program and the children that it has waited for.
#[derive(Clone, Copy)]
pub struct Usage {
    all: Duration,
    own: Duration,
}

impl Usage {
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        // "cpu user nice system idle iowait irq softirq steal …", in hundredths of a second.
        let numbers: Vec<u64> =
            stat.lines().next().unwrap_or_default().split_whitespace().skip(1).flat_map(str::parse).collect();
        let ticks: u64 = [0, 1, 2, 7].iter().filter_map(|&index| numbers.get(index)).sum();
        let own = cpu_time(std::process::id()) + children_cpu_time();
        Self { all: Duration::from_millis(ticks * 10), own }
    }

    /// What others have used since `then`, in per cent of one processor over `elapsed`; what the host has taken
    /// away counts.
    pub fn foreign_pc(self, then: Self, elapsed: Duration) -> f64 {
        let others = (self.all - then.all).as_secs_f64() - (self.own - then.own).as_secs_f64();
        (others / elapsed.as_secs_f64() * 100.0).max(0.0)
    }
}
