//! Descendants that outlived the worker that started them, and that left its process group. The daemon is
//! their subreaper, so they become its children; they are found by the mark in their environment, killed
//! when their worker is gone, and reaped.

use std::collections::HashSet;

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::Pid,
};

use crate::process::MARK_VARIABLE;

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

/// Kills the strays that bear that mark. They are our children and not reaped, so their numbers are their
/// own.
pub fn kill_marked(mark: &str, known: &HashSet<u32>) -> usize {
    let bears = |process: &procfs::process::Process| {
        let environment = process.environ().unwrap_or_default();
        environment.get(std::ffi::OsStr::new(MARK_VARIABLE)).is_some_and(|value| value == mark)
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
