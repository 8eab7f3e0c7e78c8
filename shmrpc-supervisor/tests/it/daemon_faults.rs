//! The rows of the fault matrix that the daemon alone answers, each under its name; `ini_typo_unknown_key_bad_value`
//! is in [`check`](super::check). Whatever is waited for has a deadline beyond ten times the row's bound.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::symlink,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::{
    probe::{self, AtEnd, call, connect, end},
    scene::{Scene, eventually, lives, texts},
};

const WEB: &str = "[web monitor]\nport=0\n[defaults]\nstart_secs=50ms\nrestart_jitter=0\n";

/// Beside the state machine's own test of that name, which has the default delays.
#[test]
fn crash_loop() {
    let scene = Scene::new(&format!(
        "{WEB}restart_delay=10ms\nstart_limit=4\n[crash]\nprogram=/bin/sh -c 'echo x >> starts; exit 3'\n\
         [steady]\nprogram=/bin/sleep 1000\n"
    ));
    let mut daemon = scene.start(&[]);
    let crash = daemon.status("crash", "fatal");
    assert_eq!(scene.read("starts").lines().count(), 4);
    for delay in ["10ms", "20ms", "40ms"] {
        daemon.logs(&format!("exited with code 3; next start in {delay}"));
    }
    daemon.logs("exited with code 3; given up after 4 failures");
    assert!(crash["status_detail"].as_str().unwrap().starts_with("a worker exited with code 3; given up"));
    daemon.status("steady", "running");
    assert!(daemon.ready().contains("1 of 2 services run"));
    daemon.stop();
}

/// The worker has a child, one that left its process group, and one whose parent is gone.
#[test]
fn grandchildren_of_a_stopped_worker() {
    let program = "/bin/sh -c 'sleep 1001 & echo $! > child; setsid sleep 1002 & \
                   (setsid sh -c \"echo \\$\\$ > away; exec sleep 1003\" &); exec sleep 1000'";
    for kill in [false, true] {
        let scene = Scene::new(&format!("{WEB}[forks]\nprogram={program}\nrestart_delay=30s\n"));
        let mut daemon = scene.start(&[]);
        daemon.ready();
        let pid = daemon.pids("forks")[0];
        let read = |name: &str| eventually("a child's pid", || scene.read(name).trim().parse::<u32>().ok());
        let descendants = [read("child"), read("away")];
        assert!(descendants.into_iter().all(lives));
        if kill {
            end(pid);
        } else {
            assert_eq!(daemon.request("POST", "/api/v1/services/forks/stop").0, 202);
        }
        eventually("the end of all", || (!lives(pid) && !descendants.into_iter().any(lives)).then_some(()));
        daemon.stop();
        assert!(!scene.anything_runs());
    }
}

/// Every write to a log file fails for want of space, in the daemon and in the worker.
#[test]
fn disk_full_under_the_logs() {
    let scene = probe::scene("");
    let folder = scene.path().join("here/probe");
    fs::create_dir_all(&folder).unwrap();
    for stream in ["stdout", "stderr", "log.json"] {
        symlink("/dev/full", folder.join(format!("probe_log.{stream}"))).unwrap();
    }
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let connection = connect(&scene);
    let line = "x".repeat(1000);
    for number in 0..300 {
        call(&connection, "say", &json!([line])).unwrap();
        assert_eq!(call(&connection, "add", &json!([number, 1])).unwrap(), number + 1);
    }
    daemon.logs("bytes of output could not be written to log files");
    eventually("the lines on the page all the same", || {
        daemon.request("GET", "/api/v1/logs").1.contains("\"stdout\"").then_some(())
    });
    assert_eq!(daemon.status("probe", "running")["restarts"], 0);
    drop(connection);
    daemon.stop();
}

#[test]
fn reload_keeps_the_old_configuration() {
    let scene = Scene::new(&format!("{WEB}[same]\nprogram=/bin/sleep 1000\n"));
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let pids = daemon.pids("same");
    scene.write("service.ini", &format!("{WEB}[same]\nprogramme=/bin/sleep 1000\n"));
    daemon.signal(Signal::SIGHUP);
    daemon.logs("the old configuration stays");
    daemon.logs("service.ini:7: [same] programme: unknown key; did you mean program?");
    assert_eq!(daemon.pids("same"), pids);
    daemon.stop();
}

#[test]
fn port_taken_or_second_supervisor() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let scene = Scene::new(&format!("[web monitor]\nport={port}\n[a]\nprogram=/bin/sh -c 'touch started'\n"));
    let output = scene.run(&[], &[]);
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let expected =
        format!("port {port} on 127.0.0.1 for the dashboard is taken by pid {}", std::process::id());
    assert!(stderr.contains(&expected), "{stderr}");
    assert!(!scene.path().join("started").exists());

    let scene = Scene::new(&format!("{WEB}[a]\nprogram=/bin/sleep 1000\n"));
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let output = scene.run(&[], &[]);
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(&format!("another shmrpc-service (pid {}) runs on", daemon.pid())), "{stderr}");
    daemon.stop();
}

/// Calls of four threads, while the workers are replaced again and again, by order and because the
/// configuration has changed. `SHMRPC_TORTURE_CALLS` sets how many calls at least.
#[test]
fn reload_or_rolling_restart_under_load() {
    let wanted = std::env::var("SHMRPC_TORTURE_CALLS").map_or(2000, |text| text.parse::<u64>().unwrap());
    let scene = probe::scene("min_proc_num=2\nmax_proc_num=2\n");
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let ini = scene.read("service.ini");
    let (connection, done, calls) = (connect(&scene), AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for n in 0..4 {
            let (connection, done, calls) = (&connection, &done, &calls);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(call(connection, "add", &json!([n, 1])).unwrap(), n + 1);
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _at_end = AtEnd(&done);
        let mut round = 0;
        while round < 4 || calls.load(Ordering::Relaxed) < wanted {
            let old = daemon.pids("probe");
            if round % 2 == 0 {
                daemon.request("POST", "/api/v1/services/probe/restart");
            } else {
                scene.write("service.ini", &format!("{ini}env=ROUND={round}\n"));
                daemon.signal(Signal::SIGHUP);
            }
            daemon.eventually("two new workers", || {
                let pids = daemon.pids("probe");
                (pids.len() == 2 && pids.iter().all(|pid| !old.contains(pid))).then_some(())
            });
            daemon.status("probe", "running");
            round += 1;
        }
    });
    println!("{} calls without a failure", calls.into_inner());
    daemon.stop();
}
