//! A daemon that is replaced by another, and everything that may change under load without a failed call.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::json;
use shmrpc::{ConnectOptions, Connection};

use crate::{
    probe::{AtEnd, call, connect, nothing_left, scene},
    scene::{Daemon, Scene, free_port, lives},
};

pub(crate) fn replaced<'a>(scene: &'a Scene, mut old: Daemon<'a>) -> Daemon<'a> {
    std::fs::write(scene.path().join("daemon.out"), "").unwrap();
    let new = scene.start_as(scene.command(&["--replace"], &[]));
    assert_eq!(old.wait().code(), Some(0), "{}", new.log());
    new.ready();
    new
}

#[test]
fn a_daemon_is_replaced_and_its_workers_serve_on() {
    let port = free_port();
    let scene = scene(&format!(
        "tcp_bind=127.0.0.1\nport={port}\n[plain]\nprogram=/bin/sleep 1000\nstart_secs=50ms\n"
    ));
    let first = scene.start(&[]);
    first.ready();
    let (worker, program) = (first.pids("probe")[0], first.pids("plain")[0]);
    let tcp = Connection::connect_any(format!("tcp://127.0.0.1:{port}"), &ConnectOptions::default()).unwrap();
    let shm = connect(&scene);
    let mut second = replaced(&scene, first);
    assert_eq!(second.pids("probe"), [worker]);
    assert!(!lives(program), "nobody can adopt it");
    second.status("plain", "running");
    for connection in [&tcp, &shm] {
        assert_eq!(call(connection, "pid", &json!([])).unwrap(), worker);
    }
    // New ones are served at the port of both, by the old worker or by its successor.
    second.request("POST", "/api/v1/services/probe/restart");
    second.logs("rolling restart done: 1 replaced");
    let new = Connection::connect_any(format!("tcp://127.0.0.1:{port}"), &ConnectOptions::default()).unwrap();
    assert_eq!(call(&new, "add", &json!([2, 3])).unwrap(), 5);
    drop((tcp, shm, new));
    second.stop();
    nothing_left(&scene);
}

#[test]
fn a_daemon_that_was_killed_finds_its_ports_with_its_workers() {
    let port = free_port();
    let scene = scene(&format!("tcp_bind=127.0.0.1\nport={port}\n"));
    let mut first = scene.start(&[]);
    first.ready();
    let worker = first.pids("probe")[0];
    first.signal(Signal::SIGKILL);
    first.wait();
    let mut second = scene.start(&[]);
    second.status("probe", "running");
    assert_eq!(second.pids("probe"), [worker]);
    let tcp = Connection::connect_any(format!("tcp://127.0.0.1:{port}"), &ConnectOptions::default()).unwrap();
    assert_eq!(call(&tcp, "pid", &json!([])).unwrap(), worker);
    drop(tcp);
    second.stop();
}

#[test]
fn who_replaces_nobody_just_starts() {
    let scene = scene("");
    let mut daemon = scene.start_as(scene.command(&["--replace"], &[]));
    assert!(daemon.ready().contains("1 of 1 services run"));
    daemon.stop();
}

/// Calls, each with the time that it took; none may fail.
fn calls(scene: &Scene, ends: &AtomicBool, times: &Mutex<Vec<Duration>>) {
    let connection = connect(scene);
    let mut own = Vec::new();
    while !ends.load(Ordering::Relaxed) {
        let begun = Instant::now();
        assert_eq!(call(&connection, "add", &json!([own.len(), 1])).unwrap(), own.len() + 1);
        own.push(begun.elapsed());
    }
    times.lock().unwrap().extend(own);
}

fn loaded<T>(scene: &Scene, run: impl FnOnce() -> T) -> (T, Vec<Duration>) {
    let (ends, times) = (AtomicBool::new(false), Mutex::default());
    let result = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| calls(scene, &ends, &times));
        }
        let _end = AtEnd(&ends);
        run()
    });
    let mut times = times.into_inner().unwrap();
    times.sort();
    (result, times)
}

fn p99(times: &[Duration]) -> Duration {
    times[times.len() * 99 / 100]
}

/// Five rolling restarts, a reload with a changed ini and a replacement of the daemon. How long calls took is
/// printed; `SHMRPC_LONG=1` goes on to 100,000 calls.
#[test]
fn reload_or_rolling_restart_under_load() {
    let scene = scene("min_proc_num=2\nmax_proc_num=2\nautoscale=off\n");
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let ((), quiet) = loaded(&scene, || thread::sleep(Duration::from_secs(2)));
    let least = if std::env::var_os("SHMRPC_LONG").is_some() { 100_000 } else { 1000 };
    let mut changed = Vec::new();
    while changed.len() < least {
        let (next, times) = loaded(&scene, || {
            let before = daemon.log().matches("rolling restart done").count();
            let done = |count: usize| {
                let log = || daemon.log().matches("rolling restart done").count();
                daemon.eventually("a rolling restart", || (log() >= before + count).then_some(()));
            };
            for round in 1..=5 {
                assert_eq!(daemon.request("POST", "/api/v1/services/probe/restart").0, 202);
                done(round);
            }
            let ini = scene.read("service.ini");
            scene.write(
                "service.ini",
                &format!("{}\nenv=AT={}\n", ini.split("\nenv=").next().unwrap(), changed.len()),
            );
            daemon.signal(Signal::SIGHUP);
            done(6);
            replaced(&scene, daemon)
        });
        daemon = next;
        changed.extend(times);
    }
    changed.sort();
    println!(
        "{} calls, none failed; p99 {:?}, worst {:?}; quiet: {} calls, p99 {:?}",
        changed.len(),
        p99(&changed),
        changed.last().unwrap(),
        quiet.len(),
        p99(&quiet)
    );
    daemon.stop();
}
