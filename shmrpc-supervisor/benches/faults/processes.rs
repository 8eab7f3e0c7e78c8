//! Deaths and stops of workers and clients, over shared memory.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{Signal, kill},
    },
    unistd::Pid,
};
use shmrpc::RpcError;

use crate::service::{Actor, CLIENT, HUGE, LARGE, SMALL, connect, echo, flush, hang};

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn worker_sigkill_small(tries: usize) -> Vec<Duration> {
    worker_sigkill(SMALL, tries)
}

pub(crate) fn worker_sigkill_large(tries: usize) -> Vec<Duration> {
    worker_sigkill(LARGE, tries)
}

pub(crate) fn worker_sigkill_huge(tries: usize) -> Vec<Duration> {
    worker_sigkill(HUGE, tries.div_ceil(6))
}

/// From the kill to the error in the caller's hands.
fn worker_sigkill(role: &str, tries: usize) -> Vec<Duration> {
    flush();
    let once = |_| {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut worker, _port) = Actor::start(role, folder.path());
        let connection = connect(folder.path());
        thread::scope(|scope| {
            let call = scope.spawn(|| (hang(&connection), Instant::now()));
            assert_eq!(worker.line(), "in");
            let killed = Instant::now();
            worker.kill();
            let (outcome, told) = call.join().expect("the call returns");
            assert!(matches!(outcome, Err(RpcError::WorkerDied { .. })), "{outcome:?}");
            told - killed
        })
    };
    (0..tries).map(once).collect()
}

/// What a process holds: descriptors, and regions of ours.
fn held(pid: u32) -> (usize, usize) {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    (fds, maps.matches("/memfd:shmrpc").count())
}

/// What it holds when that has not changed for two seconds.
fn settled(pid: u32) -> (usize, usize) {
    let (mut last, mut since) = (held(pid), Instant::now());
    while since.elapsed() < Duration::from_secs(2) {
        thread::sleep(Duration::from_millis(20));
        let now = held(pid);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

/// From the kill until the worker holds what it held before the client came.
pub(crate) fn client_sigkill(tries: usize) -> Vec<Duration> {
    flush();
    let folder = tempfile::tempdir().expect("a folder");
    let (worker, _port) = Actor::start(SMALL, folder.path());
    // The first client has the worker make what it keeps.
    drop(Actor::start(CLIENT, folder.path()));
    let before = settled(worker.pid());
    let once = |_| {
        let (mut client, line) = Actor::start(CLIENT, folder.path());
        assert_eq!(line, "calling");
        assert!(held(worker.pid()) > before);
        let killed = Instant::now();
        client.kill();
        while held(worker.pid()) > before {
            assert!(killed.elapsed() < PATIENCE, "{:?} instead of {before:?}", held(worker.pid()));
            thread::sleep(Duration::from_micros(200));
        }
        killed.elapsed()
    };
    (0..tries).map(once).collect()
}

/// How much later than its deadline a call to a stopped worker fails.
pub(crate) fn worker_sigstop(tries: usize) -> Vec<Duration> {
    const DEADLINE: Duration = Duration::from_millis(100);
    flush();
    let folder = tempfile::tempdir().expect("a folder");
    let (worker, _port) = Actor::start(SMALL, folder.path());
    let connection = connect(folder.path()).with_deadline(DEADLINE);
    echo(&connection, b"x").expect("an answer");
    let signal = |signal| kill(Pid::from_raw(worker.pid().cast_signed()), signal).expect("it lives");
    signal(Signal::SIGSTOP);
    let begun = Instant::now();
    let is_stopped = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", worker.pid())).unwrap_or_default();
        stat.contains(") T ")
    };
    while !is_stopped() {
        assert!(begun.elapsed() < PATIENCE, "it does not stop");
    }
    let once = |_| {
        let start = Instant::now();
        let outcome = echo(&connection, b"x");
        assert!(matches!(outcome, Err(RpcError::DeadlineExceeded { .. })), "{outcome:?}");
        start.elapsed().saturating_sub(DEADLINE)
    };
    let times = (0..tries).map(once).collect();
    signal(Signal::SIGCONT);
    times
}

pub(crate) fn calls_beside_others(tries: usize) -> Vec<Duration> {
    beside_others(tries, false)
}

pub(crate) fn calls_beside_stopped(tries: usize) -> Vec<Duration> {
    beside_others(tries, true)
}

/// A client's calls to two workers, beside another client that calls all the time; or beside one that is stopped in
/// the midst of that, with each of the workers in turn: calls are slower while the one that attends their ring is stopped.
fn beside_others(tries: usize, are_stopped: bool) -> Vec<Duration> {
    flush();
    let folder = tempfile::tempdir().expect("a folder");
    let workers = [(); 2].map(|()| Actor::start(SMALL, folder.path()).0);
    let (other, _) = Actor::start(CLIENT, folder.path());
    let connection = connect(folder.path()).with_deadline(PATIENCE);
    (0..1000).for_each(|_| drop(echo(&connection, b"x").expect("an answer")));
    let once = |_| {
        let start = Instant::now();
        echo(&connection, b"x").expect("an answer");
        start.elapsed()
    };
    let signal = |pid: u32, signal| kill(Pid::from_raw(pid.cast_signed()), signal).expect("it lives");
    let beside = |worker: &Actor| -> Vec<Duration> {
        let stopped: &[u32] = if are_stopped { &[other.pid(), worker.pid()] } else { &[] };
        stopped.iter().for_each(|&pid| signal(pid, Signal::SIGSTOP));
        let times = (0..tries * 100).map(once).collect();
        stopped.iter().for_each(|&pid| signal(pid, Signal::SIGCONT));
        times
    };
    workers.iter().flat_map(beside).collect()
}

/// Arguments that need a region, when the process may open no further descriptor.
pub(crate) fn no_space(tries: usize) -> Vec<Duration> {
    flush();
    let folder = tempfile::tempdir().expect("a folder");
    let (_worker, _port) = Actor::start(SMALL, folder.path());
    let connection = connect(folder.path());
    echo(&connection, b"x").expect("an answer");
    let data = vec![7; 1 << 20];
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, 3, hard).expect("a lower limit");
    let once = |_| {
        let start = Instant::now();
        let outcome = echo(&connection, &data);
        let taken = start.elapsed();
        assert!(matches!(outcome, Err(RpcError::NoSpace(_))), "{outcome:?}");
        taken
    };
    let times = (0..tries).map(once).collect();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("the old limit");
    assert!(echo(&connection, &data).is_ok(), "the connection is usable");
    times
}
