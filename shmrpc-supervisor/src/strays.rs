//! Processes that outlived the one that was responsible for them.
//!
//! Descendants that left their worker's process group: the daemon is their subreaper, so they become its
//! children; they are found by the mark in their environment, killed when their worker is gone, and reaped.
//!
//! What a daemon that was killed has left behind: its workers serve on and are adopted, but plain programs
//! have nobody who would tell them to go, and would keep their ports from their successors. They are found
//! by the mark too, never by a recorded number, and ended before anything is started.

use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::Pid,
};
use shmrpc_core::server::WorkerConfig;

use crate::process::{FOLDER_VARIABLE, MARK_VARIABLE, Process};

/// Children of this process that are none of the workers `known`.
fn unknown_children(known: &HashSet<u32>) -> Vec<procfs::process::Process> {
    let own = std::process::id().cast_signed();
    let Ok(all) = procfs::process::all_processes() else {
        return Vec::new();
    };
    all.flatten()
        .filter(|process| !known.contains(&process.pid().cast_unsigned()))
        .filter(|process| process.stat().is_ok_and(|stat| stat.ppid == own))
        .collect()
}

/// Kills the strays that bear one of these marks; how many. They are our children and not reaped, so their numbers are
/// their own. What *they* have started comes to light only when they are dead: look again.
pub fn kill_marked<'a>(marks: impl IntoIterator<Item = &'a str>, known: &HashSet<u32>) -> usize {
    let marks: HashSet<&OsStr> = marks.into_iter().map(OsStr::new).collect();
    let bears = |process: &procfs::process::Process| {
        let environment = process.environ().unwrap_or_default();
        environment.get(OsStr::new(MARK_VARIABLE)).is_some_and(|value| marks.contains(value.as_os_str()))
    };
    let strays = unknown_children(known);
    strays.iter().filter(|process| bears(process)).map(|process| end(process.pid())).count()
}

/// Kills every stray; for the daemon's own end. `true` when there was none.
pub fn kill_all(known: &HashSet<u32>) -> bool {
    let strays = unknown_children(known);
    for process in &strays {
        end(process.pid());
    }
    strays.is_empty()
}

fn end(pid: i32) {
    let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
}

/// Reaps strays that have exited. The workers' own exits are left to those who wait for them.
pub fn reap(known: &HashSet<u32>) {
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        let pid = match waitid(Id::All, peek) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => pid,
            Err(Errno::EINTR) => continue,
            Ok(_) | Err(_) => return,
        };
        // A worker's exit is in the way: it is handled first, and strays are looked for again then.
        if known.contains(&pid.as_raw().cast_unsigned()) {
            return;
        }
        let _reaped = waitpid(pid, Some(WaitPidFlag::WNOHANG));
    }
}

/// What earlier daemons of a runtime folder have left behind. Whoever holds the folder is the only daemon
/// there, so that none of these has a daemon any more.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// Workers, which serve on and can be adopted.
    pub workers: Vec<u32>,
    /// Plain programs, and descendants of workers that are gone.
    pub others: Vec<u32>,
}

impl Leftovers {
    /// Looks for them.
    #[must_use]
    pub fn find(runtime_dir: &Path) -> Self {
        let mut marked: HashMap<OsString, Vec<(u32, bool)>> = HashMap::new();
        let own_uid = nix::unistd::geteuid();
        for process in procfs::process::all_processes().into_iter().flatten().flatten() {
            let is_self = process.pid().cast_unsigned() == std::process::id();
            let is_own_user = process.uid().ok() == Some(own_uid.as_raw());
            // Programs may run as somebody else, which takes root. Whoever imitates their marks is ended with them.
            if is_self || !(is_own_user || own_uid.is_root()) {
                continue;
            }
            let Ok(mut environment) = process.environ() else { continue };
            let is_ours =
                environment.get(OsStr::new(FOLDER_VARIABLE)).is_some_and(|path| path == runtime_dir);
            if let Some(mark) = environment.remove(OsStr::new(MARK_VARIABLE)).filter(|_| is_ours) {
                let leads = process.stat().is_ok_and(|stat| stat.pgrp == process.pid());
                let is_worker =
                    is_own_user && leads && environment.contains_key(OsStr::new(WorkerConfig::VARIABLE));
                marked.entry(mark).or_default().push((process.pid().cast_unsigned(), is_worker));
            }
        }
        let mut found = Self::default();
        for processes in marked.into_values() {
            let workers = processes.iter().filter(|(_, is_worker)| *is_worker).map(|(pid, _)| *pid);
            let before = found.workers.len();
            found.workers.extend(workers);
            if found.workers.len() == before {
                // A living worker would keep what it has started; these have none.
                found.others.extend(processes.iter().map(|(pid, _)| *pid));
            }
        }
        found
    }

    /// Ends those that nobody will adopt.
    pub fn end_others(&self, patience: Duration) {
        let others: Vec<Process> = self.others.iter().filter_map(|pid| Process::adopt(*pid).ok()).collect();
        others.iter().for_each(|process| process.stop(Signal::SIGTERM));
        let deadline = Instant::now() + patience;
        while others.iter().any(Process::lives) && Instant::now() < deadline {
            sleep(Duration::from_millis(5));
        }
        others.iter().filter(|process| process.lives()).for_each(Process::kill);
    }
}
