//! Keys on what all processes of a service together may use → [`CgroupLimits`].

use std::path::{Path, PathBuf};

use super::{diagnostic::Diagnostic, reader::Reader, value};

/// Limits of a control group (cgroup v2) that all processes of a service share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CgroupLimits {
    /// The group in which those of the services are made; `None`: the daemon's own.
    pub root: Option<PathBuf>,
    /// Memory: beyond it the kernel kills one of them.
    pub memory_max_bytes: Option<u64>,
    /// CPUs.
    pub cpu_max: Option<f64>,
    /// Processes and threads.
    pub pids_max: Option<u64>,
    /// Where the limits cannot be set nothing is started.
    pub required: bool,
}

impl CgroupLimits {
    /// Whether there is any.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.memory_max_bytes.is_some() || self.cpu_max.is_some() || self.pids_max.is_some()
    }
}

pub(super) fn cgroup(reader: &mut Reader<'_>, base: &Path) -> CgroupLimits {
    let memory = |text: &str| value::size_bytes(text).filter(|bytes| *bytes >= 1 << 20);
    let cpus = |text: &str| text.parse().ok().filter(|cpus: &f64| (0.01..=4096.0).contains(cpus));
    let count = |text: &str| text.parse().ok().filter(|count: &u64| *count >= 1);
    let folder = |text: &str| (!text.is_empty()).then(|| base.join(text));
    let limits = CgroupLimits {
        root: reader.read("cgroup_root", "a folder of a cgroup v2 tree", folder),
        memory_max_bytes: reader.read("cgroup_memory_max", "a size of 1M or more", memory),
        cpu_max: reader.read("cgroup_cpu_max", "a number of CPUs from 0.01 to 4096, such as 1.5", cpus),
        pids_max: reader.read("cgroup_pids_max", "a number of processes and threads, 1 or more", count),
        required: reader.read("cgroup_required", value::ACCEPTED_BOOLEAN, value::boolean).unwrap_or_default(),
    };
    if limits.required && !limits.is_limited() && reader.is_service() {
        let problem =
            "asks for limits, and there are none: cgroup_memory_max, cgroup_cpu_max, cgroup_pids_max";
        let line = reader.line("cgroup_required");
        reader.fault(Diagnostic::new(line, problem).key("cgroup_required"));
    }
    limits
}
