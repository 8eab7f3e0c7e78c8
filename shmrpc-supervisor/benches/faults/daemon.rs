//! What the daemon answers: faulty files, taken places, and its own death.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    scene::{Scene, eventually, lives},
    service::flush,
};

const WEB: &str = "[web monitor]\nport=0\n[defaults]\nstart_secs=10ms\n";

/// This program as the daemon's worker.
fn with_worker(more: &str) -> Scene {
    let program = std::env::current_exe().expect("a program has a path");
    Scene::new(&format!("{WEB}{more}[Victim]\nimport_from={}\n", program.display()))
}

fn end(pid: u32) {
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).expect("it lives");
}

/// From the start of the next daemon until it says that it has adopted the worker.
pub(crate) fn adoption(tries: usize) -> Vec<Duration> {
    flush();
    let once = |_| {
        let scene = with_worker("");
        let mut first = scene.start(&[]);
        first.ready();
        end(first.pid());
        first.wait();
        let start = Instant::now();
        let mut second = scene.start(&[]);
        eventually("the adoption", || second.log().contains("adopted from an earlier daemon").then_some(()));
        let taken = start.elapsed();
        second.ready();
        second.stop();
        taken
    };
    (0..tries.div_ceil(3)).map(once).collect()
}

/// How much later than its time a worker without a daemon is gone.
pub(crate) fn orphan_timeout(tries: usize) -> Vec<Duration> {
    const TIMEOUT: Duration = Duration::from_secs(1);
    flush();
    let once = |_| {
        let scene = with_worker("orphan_timeout=1s\n");
        let mut daemon = scene.start(&[]);
        daemon.ready();
        let worker = daemon.pids("victim")[0];
        end(daemon.pid());
        daemon.wait();
        let start = Instant::now();
        eventually("the worker's end", || (!lives(worker)).then_some(()));
        start.elapsed().saturating_sub(TIMEOUT)
    };
    (0..tries.div_ceil(3)).map(once).collect()
}

/// A daemon that ends by itself, from its start to its end.
fn ends(scene: &Scene, code: i32) -> Duration {
    let start = Instant::now();
    let output = scene.run(&[], &[]);
    let taken = start.elapsed();
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
    taken
}

pub(crate) fn port_taken(tries: usize) -> Vec<Duration> {
    flush();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let scene = Scene::new(&format!("[web monitor]\nport={port}\n[a]\nprogram=/bin/true\n"));
    (0..tries).map(|_| ends(&scene, 1)).collect()
}

pub(crate) fn second_supervisor(tries: usize) -> Vec<Duration> {
    flush();
    let scene = Scene::new(&format!("{WEB}[a]\nprogram=/bin/sleep 1000\n"));
    let mut first = scene.start(&[]);
    first.ready();
    let times = (0..tries).map(|_| ends(&scene, 1)).collect();
    first.stop();
    times
}

pub(crate) fn ini_typo(tries: usize) -> Vec<Duration> {
    flush();
    let scene = Scene::new(&format!("{WEB}max_proc_nun=3\nthreads=none\n[a]\nprogram=/bin/true\n"));
    (0..tries).map(|_| ends(&scene, 2)).collect()
}
