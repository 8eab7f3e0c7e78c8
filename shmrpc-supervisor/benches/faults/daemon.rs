//! What the daemon answers: faulty files, taken places, and its own death.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
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

/// From the stop of a worker until another one serves, beyond the watchdog's patience.
pub(crate) fn watchdog(tries: usize) -> Vec<Duration> {
    const PATIENCE: Duration = Duration::from_secs(3);
    flush();
    let scene = with_worker("watchdog_timeout=3s\nrestart_delay=100ms\nstart_limit=1000\n");
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let once = |_| {
        let worker = eventually("a worker", || daemon.pids("victim").first().copied());
        // It has beaten by then.
        std::thread::sleep(Duration::from_millis(500));
        kill(Pid::from_raw(worker.cast_signed()), Signal::SIGSTOP).expect("it lives");
        let start = Instant::now();
        eventually("another worker", || {
            let service = daemon.service("victim")?;
            let serves = service["status"] == "running" && !lives(worker);
            (serves && daemon.pids("victim").iter().any(|&pid| pid != worker)).then_some(())
        });
        start.elapsed().saturating_sub(PATIENCE)
    };
    let times = (0..tries.div_ceil(5)).map(once).collect();
    daemon.stop();
    times
}

/// From the order to stop a service until its children and theirs are gone, one of them in a session of its own.
pub(crate) fn grandchildren(tries: usize) -> Vec<Duration> {
    flush();
    let program = "/bin/sh -c '(setsid sh -c \"echo \\$\\$ > away; exec sleep 1003\" &); exec sleep 1000'";
    let once = |_| {
        let scene = Scene::new(&format!("{WEB}[forks]\nprogram={program}\n"));
        let mut daemon = scene.start(&[]);
        daemon.ready();
        let pids = [
            daemon.pids("forks")[0],
            eventually("its pid", || scene.read("away").trim().parse::<u32>().ok()),
        ];
        let start = Instant::now();
        assert_eq!(daemon.request("POST", "/api/v1/services/forks/stop").0, 202);
        eventually("the end of all", || (!pids.into_iter().any(lives)).then_some(()));
        let taken = start.elapsed();
        daemon.stop();
        taken
    };
    (0..tries.div_ceil(3)).map(once).collect()
}

/// What a program that dies again and again costs the daemon: its processor time in each second.
pub(crate) fn crash_loop(tries: usize) -> Vec<Duration> {
    flush();
    let scene = Scene::new(&format!("{WEB}start_limit=1000\n[crash]\nprogram=/bin/false\n"));
    let mut daemon = scene.start(&[]);
    daemon.logs("next start in");
    let used = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("it lives").flatten();
        let ns = tasks.filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(ns.sum())
    };
    let once = |_| {
        let before = used();
        std::thread::sleep(Duration::from_secs(1));
        // A thread that has ended takes its time with it.
        used().saturating_sub(before)
    };
    let times = (0..tries).map(once).collect();
    daemon.stop();
    times
}

/// From the first bytes of a request that never ends to the end of its connection; many at once.
pub(crate) fn slowloris_http(tries: usize) -> Vec<Duration> {
    flush();
    let scene = Scene::new(&format!("{WEB}[a]\nprogram=/bin/sleep 1000\n"));
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let address = daemon.address();
    let times = slow_peers(tries, &address, b"GET / HTTP/1.1\r\n");
    daemon.stop();
    times
}

/// Connections that say that and no more, all at the same time; how long each lasts.
pub(crate) fn slow_peers(count: usize, address: &str, said: &[u8]) -> Vec<Duration> {
    let one = || {
        let start = Instant::now();
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        stream.write_all(said).expect("room for some bytes");
        let _reset = stream.read_to_end(&mut Vec::new());
        start.elapsed()
    };
    std::thread::scope(|scope| {
        let peers: Vec<_> = (0..count).map(|_| scope.spawn(one)).collect();
        peers.into_iter().map(|peer| peer.join().expect("the end comes")).collect()
    })
}
