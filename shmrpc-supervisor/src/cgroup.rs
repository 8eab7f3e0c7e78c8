//! Control groups (cgroup v2): one for each service that has limits, in the daemon's own or in one that the ini names.
//! What happens in it is the kernel's business; that it has killed for want of memory is read here.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::config::CgroupLimits;

/// The time over which a share of the CPU is given out, in microseconds: the kernel's own default.
const CPU_PERIOD_US: f64 = 100_000.0;
/// Where the daemon moves if it stands in the way: a group that has groups under it may have no processes.
const OWN_GROUP: &str = "shmrpc-daemon";

/// Limits that cannot be set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CgroupError {
    #[error("this machine has no cgroup v2 that this process is in")]
    NoTree,
    #[error("{} does not give its groups the controller {controller}: it has not been delegated", .root.display())]
    NotDelegated { root: PathBuf, controller: &'static str },
    #[error("cannot {doing} {}", .path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

/// The group of one service.
#[derive(Debug)]
pub(crate) struct Group {
    folder: PathBuf,
    /// What the kernel had killed for want of memory by the last look.
    oom_kills: u64,
}

impl Group {
    /// The group of that service with its limits set, made if need be.
    ///
    /// # Errors
    /// When the limits cannot be set. Blocks for as long as the kernel takes, which is no time.
    pub(crate) fn new(service: &str, limits: &CgroupLimits) -> Result<Self, CgroupError> {
        let root = limits.root.clone().map_or_else(own, Ok)?;
        let wanted = [
            ("memory", "memory.max", limits.memory_max_bytes.map(|bytes| bytes.to_string())),
            ("cpu", "cpu.max", limits.cpu_max.map(cpu_max)),
            ("pids", "pids.max", limits.pids_max.map(|count| count.to_string())),
        ];
        for &(controller, _, ref value) in &wanted {
            if value.is_some() {
                enable(&root, controller)?;
            }
        }
        let folder = root.join(format!("shmrpc-{service}"));
        fs::create_dir_all(&folder).map_err(failed("make", &folder))?;
        for (_, file, value) in wanted {
            let path = folder.join(file);
            // A limit that is wanted no more was perhaps set by the configuration before.
            match value {
                Some(value) => fs::write(&path, value).map_err(failed("write", &path))?,
                None if path.exists() => fs::write(&path, "max").map_err(failed("write", &path))?,
                None => {}
            }
        }
        let oom_kills = oom_kills(&folder);
        Ok(Self { folder, oom_kills })
    }

    /// The same group as before: what happened in between has yet to be seen.
    pub(crate) fn after(mut self, before: Option<&Self>) -> Self {
        self.oom_kills = before.map_or(self.oom_kills, |before| before.oom_kills);
        self
    }

    /// Takes a process in, and all that it starts from then on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn take(&self, pid: u32) -> Result<(), CgroupError> {
        let path = self.folder.join("cgroup.procs");
        fs::write(&path, pid.to_string()).map_err(failed("write", &path))
    }

    /// Whether the kernel has killed in it for want of memory since the last look.
    pub(crate) fn has_run_out_of_memory(&mut self) -> bool {
        let kills = oom_kills(&self.folder);
        kills > std::mem::replace(&mut self.oom_kills, kills)
    }

    /// Gives the group up. One that is not empty stays.
    pub(crate) fn remove(self) {
        let _not_empty = fs::remove_dir(&self.folder);
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CgroupError {
    move |source| CgroupError::Io { doing, path: path.to_owned(), source }
}

fn cpu_max(cpus: f64) -> String {
    format!("{:.0} {CPU_PERIOD_US:.0}", cpus * CPU_PERIOD_US)
}

/// The group that this process is in.
fn own() -> Result<PathBuf, CgroupError> {
    let read = || {
        let own = procfs::process::Process::myself().ok()?;
        let mounts = own.mountinfo().ok()?;
        let mount = mounts.into_iter().find(|mount| mount.fs_type == "cgroup2")?;
        let groups = own.cgroups().ok()?;
        let path = groups.into_iter().find(|group| group.hierarchy == 0)?.pathname;
        // In a container the tree begins at its own group.
        let below = path.strip_prefix(&mount.root).unwrap_or(&path).trim_start_matches('/').to_owned();
        Some(mount.mount_point.join(below))
    };
    read().ok_or(CgroupError::NoTree)
}

/// Has the groups in `root` get a controller.
fn enable(root: &Path, controller: &'static str) -> Result<(), CgroupError> {
    let has = |file: &str| {
        let text = fs::read_to_string(root.join(file)).unwrap_or_default();
        text.split_ascii_whitespace().any(|word| word.trim_start_matches('+') == controller)
    };
    if has("cgroup.subtree_control") {
        return Ok(());
    }
    if !has("cgroup.controllers") {
        return Err(CgroupError::NotDelegated { root: root.to_owned(), controller });
    }
    let path = root.join("cgroup.subtree_control");
    let write = || fs::write(&path, format!("+{controller}"));
    let written = match write() {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => step_aside(root).and_then(|()| write()),
        written => written,
    };
    written.map_err(failed("write", &path))
}

fn step_aside(root: &Path) -> io::Result<()> {
    let own = root.join(OWN_GROUP);
    fs::create_dir_all(&own)?;
    fs::write(own.join("cgroup.procs"), std::process::id().to_string())
}

fn oom_kills(folder: &Path) -> u64 {
    let text = fs::read_to_string(folder.join("memory.events")).unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Folders and files as the kernel's.
    fn tree(controllers: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), controllers).unwrap();
        fs::write(root.path().join("cgroup.subtree_control"), "").unwrap();
        root
    }

    fn limits(root: &Path) -> CgroupLimits {
        CgroupLimits {
            root: Some(root.to_owned()),
            memory_max_bytes: Some(64 << 20),
            cpu_max: Some(1.5),
            pids_max: None,
            required: false,
        }
    }

    #[test]
    fn a_group_has_the_limits_and_the_processes() {
        let root = tree("cpuset cpu io memory pids\n");
        let group = Group::new("echo", &limits(root.path())).unwrap();
        let read = |name: &str| fs::read_to_string(root.path().join("shmrpc-echo").join(name));
        assert_eq!(read("memory.max").unwrap(), "67108864");
        assert_eq!(read("cpu.max").unwrap(), "150000 100000");
        assert!(read("pids.max").is_err());
        group.take(4711).unwrap();
        assert_eq!(read("cgroup.procs").unwrap(), "4711");
        let fewer = CgroupLimits { cpu_max: None, ..limits(root.path()) };
        Group::new("echo", &fewer).unwrap();
        assert_eq!(read("cpu.max").unwrap(), "max");
    }

    #[test]
    fn kills_for_want_of_memory_are_seen_once() {
        let root = tree("memory cpu");
        let folder = root.path().join("shmrpc-echo");
        fs::create_dir(&folder).unwrap();
        let events = |kills: u32| {
            let text = format!("low 0\nhigh 0\nmax 9\noom 2\noom_kill {kills}\noom_group_kill 7\n");
            fs::write(folder.join("memory.events"), text).unwrap();
        };
        events(1);
        let mut group = Group::new("echo", &limits(root.path())).unwrap();
        assert!(!group.has_run_out_of_memory(), "that was before");
        events(2);
        assert!(group.has_run_out_of_memory());
        assert!(!group.has_run_out_of_memory());
    }

    #[test]
    fn a_tree_that_was_not_delegated_is_told() {
        let root = tree("cpu pids");
        let error = Group::new("echo", &limits(root.path())).unwrap_err();
        assert!(error.to_string().contains("does not give its groups the controller memory"), "{error}");
        let nowhere = limits(Path::new("/nonexistent/tree"));
        assert!(matches!(Group::new("echo", &nowhere), Err(CgroupError::NotDelegated { .. })));
    }
}
