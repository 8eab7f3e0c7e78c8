//! Rows of the fault matrix that need a daemon, each test named after its row. What is waited for comes within
//! a tenth of the patience that is had.

use std::{
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use shmrpc::RpcError;

use crate::{
    probe::{AtEnd, call, connect, end, nothing_left, scene},
    scene::{eventually, lives},
};

#[test]
fn worker_sigstop() {
    let scene = scene("watchdog_timeout=3s\n");
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let stopped = daemon.pids("probe")[0];
    let connection = connect(&scene);
    call(&connection, "pid", &json!([])).unwrap();
    // One that is merely busy is left alone: two seconds more than the watchdog has patience for.
    assert_eq!(call(&connection, "slow", &json!([5000])).unwrap(), stopped);
    kill(Pid::from_raw(stopped.cast_signed()), Signal::SIGSTOP).unwrap();
    eventually("the stop", || {
        let stat = std::fs::read_to_string(format!("/proc/{stopped}/stat")).unwrap();
        stat.contains(") T ").then_some(())
    });
    let deadline = Duration::from_millis(300);
    let began = Instant::now();
    let late = call(&connection.with_deadline(deadline), "pid", &json!([]));
    assert!(matches!(late, Err(RpcError::DeadlineExceeded { .. })), "{late:?}");
    assert!(began.elapsed() >= deadline && began.elapsed() < 10 * deadline, "{:?}", began.elapsed());
    daemon.logs("has not run for 3s: killed");
    let new = eventually("an answer from another worker", || call(&connection, "pid", &json!([])).ok());
    assert_ne!(new, stopped);
    assert!(!lives(stopped));
    daemon.stop();
    drop(connection);
    nothing_left(&scene);
}

#[test]
fn supervisor_sigkill() {
    let scene = scene("min_proc_num=2\nmax_proc_num=2\n");
    let mut first = scene.start(&[]);
    first.ready();
    let workers = first.pids("probe");
    let (connection, done) = (connect(&scene), AtomicBool::new(false));
    thread::scope(|scope| {
        let steady = scope.spawn(|| {
            let mut calls = 0;
            while !done.load(Ordering::Relaxed) {
                assert_eq!(call(&connection, "add", &json!([calls, 1])).unwrap(), calls + 1);
                calls += 1;
            }
            calls
        });
        let at_end = AtEnd(&done);
        let idle = connect(&scene);
        end(first.pid());
        first.wait();
        let new = connect(&scene);
        assert_eq!(call(&new, "add", &json!([2, 3])).unwrap(), 5);
        // A worker that nobody supervises comes later, and serves clients that were there before.
        let program = env!("CARGO_BIN_EXE_shmrpc-service").replace("shmrpc-service", "examples/probe");
        let mut late = Command::new(program)
            .arg("--serve")
            .env("SHMRPC_DIR", scene.path().join("run"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        eventually("an answer from the late worker", || {
            (call(&idle, "pid", &json!([])).unwrap() == late.id()).then_some(())
        });
        kill(Pid::from_raw(late.id().cast_signed()), Signal::SIGTERM).unwrap();
        assert!(late.wait().unwrap().success());
        let mut second = scene.start(&[]);
        second.ready();
        let mut adopted = second.pids("probe");
        adopted.sort_unstable();
        let mut before = workers.clone();
        before.sort_unstable();
        assert_eq!(adopted, before);
        drop(at_end);
        assert!(steady.join().unwrap() > 0, "no call has failed, and some were made");
        second.stop();
    });
    drop(connection);
    nothing_left(&scene);
}

#[test]
fn a_handler_prints_while_no_supervisor_is_there() {
    let scene = scene("");
    let mut first = scene.start(&[]);
    first.ready();
    let connection = connect(&scene);
    end(first.pid());
    first.wait();
    let line = "x".repeat(1 << 20);
    for _ in 0..2 {
        call(&connection, "say", &json!([line])).unwrap();
    }
    let mut second = scene.start(&[]);
    second.ready();
    call(&connection, "say", &json!(["somebody listens"])).unwrap();
    eventually("the line that somebody hears", || {
        scene.read("here/probe/probe_log.stdout").contains("somebody listens").then_some(())
    });
    // What nobody has heard is in the file, or its length is in the service's log.
    let kept_bytes = scene.read("here/probe/probe_log.stdout").len();
    if kept_bytes < 2 << 20 {
        eventually("the count of what was dropped", || {
            scene.read("here/probe/probe_log.log.json").contains("bytes of output were dropped").then_some(())
        });
    }
    second.stop();
}
