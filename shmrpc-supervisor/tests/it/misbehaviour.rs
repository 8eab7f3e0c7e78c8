//! Five programs that misbehave (`tests/misbehaving`), each handled as configured, while a well-behaved neighbour answers
//! every call.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::json;
use shmrpc::RpcError;

use crate::{
    probe::{AtEnd, call, connect, connect_to, nothing_left, scene_with},
    scene::{Scene, eventually, lives},
};

const EXAMPLES: [&str; 5] = ["crashing", "forking", "flooding", "leaking", "hanging"];
/// The daemon's memory while somebody floods it; a gibibyte is printed in less than a minute.
const MAX_DAEMON_KIB: u64 = 200 << 10;

fn program(name: &str) -> String {
    let daemon = PathBuf::from(env!("CARGO_BIN_EXE_shmrpc-service"));
    daemon.with_file_name("examples").join(name).display().to_string()
}

/// Calls of the neighbour until told to end; none may fail.
fn neighbour(scene: &Scene, ends: &AtomicBool) -> u64 {
    let connection = connect(scene);
    let mut calls = 0;
    while !ends.load(Ordering::Relaxed) {
        assert_eq!(call(&connection, "add", &json!([calls, 1])).unwrap(), calls + 1);
        calls += 1;
        thread::sleep(Duration::from_millis(5));
    }
    calls
}

/// Runs something beside the neighbour, who must have been served all the while, by one and the same worker.
fn beside_a_neighbour(scene: &Scene, run: impl FnOnce()) {
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        let calls = scope.spawn(|| neighbour(scene, &ends));
        let end = AtEnd(&ends);
        run();
        drop(end);
        assert!(calls.join().unwrap() > 0);
    });
}

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

#[test]
fn a_crash_loop_is_given_up_and_a_flood_is_bounded() {
    let scene = scene_with(
        &EXAMPLES,
        &format!(
            "autoscale=off\n[crashing]\nprogram={}\nrestart=always\nstart_limit=3\nlimit_core=0\n[flooding]\nprogram={}\n\
             start_secs=50ms\n",
            program("crashing"),
            program("flooding")
        ),
    );
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let neighbour = daemon.pids("probe");
    beside_a_neighbour(&scene, || {
        let crashing = daemon.status("crashing", "fatal");
        assert!(
            crashing["status_detail"].as_str().unwrap().contains("given up after 3 failures"),
            "{crashing}"
        );
        // It floods until it has filled a file.
        eventually("a flood", || {
            let printed = fs::metadata(scene.path().join("here/flooding/flooding_log.stdout")).ok()?.len();
            assert!(resident_kib(daemon.pid()) < MAX_DAEMON_KIB, "{} KiB", resident_kib(daemon.pid()));
            (printed > 40 << 20 || scene.path().join("here/flooding/flooding_log.stdout.1").exists())
                .then_some(())
        });
        daemon.status("flooding", "running");
        assert_eq!(daemon.request("POST", "/api/v1/services/flooding/stop").0, 202);
        daemon.status("flooding", "stopped");
    });
    assert_eq!(daemon.pids("probe"), neighbour);
    daemon.stop();
    nothing_left(&scene);
}

#[test]
fn who_starts_processes_without_end_goes_with_all_of_them() {
    let more = format!("autoscale=off\n[forking]\nprogram={}\nstart_secs=50ms\n", program("forking"));
    let scene = scene_with(&EXAMPLES, &more);
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let neighbour = daemon.pids("probe");
    let mark = format!("SHMRPC_DIR={}", scene.path().join("run").display());
    let descendants = || {
        let processes = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
            let named = |name: &str, part: &str| {
                let text = fs::read(entry.path().join(name)).unwrap_or_default();
                text.split(|&byte| byte == 0).any(|word| word == part.as_bytes())
            };
            named("environ", &mark) && named("cmdline", "1000")
        });
        processes.count()
    };
    beside_a_neighbour(&scene, || {
        eventually("forty processes", || (descendants() == 40).then_some(()));
        assert_eq!(daemon.request("POST", "/api/v1/services/forking/stop").0, 202);
        daemon.status("forking", "stopped");
        eventually("the end of all", || (descendants() == 0).then_some(()));
    });
    assert_eq!(daemon.pids("probe"), neighbour);
    daemon.stop();
    assert!(!scene.anything_runs());
}

#[test]
fn a_leaking_worker_is_replaced_before_it_has_too_much_and_a_hanging_one_by_the_watchdog() {
    let scene = scene_with(
        &EXAMPLES,
        "autoscale=off\n[Leaking]\nimport_from=leaking\nmax_worker_mem_bytes=64M\nmax_proc_num=1\n\
         [Hanging]\nimport_from=hanging\nwatchdog_timeout=3s\nmax_proc_num=1\n",
    );
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let neighbour = daemon.pids("probe");
    beside_a_neighbour(&scene, || {
        let hanging = connect_to(&scene, "hanging");
        let stopped = daemon.pids("hanging")[0];
        let hangs = scope_call(&hanging);
        let leaking = connect_to(&scene, "leaking");
        let first = daemon.pids("leaking")[0];
        // No call of its fails while it is replaced.
        eventually("another worker", || {
            let pid = call(&leaking, "keep", &json!([1 << 20])).unwrap();
            thread::sleep(Duration::from_millis(20));
            (pid != first).then_some(())
        });
        daemon.logs("bytes of memory exceed max_worker_mem_bytes");
        daemon.logs("has not run for 3s: killed");
        let lost = hangs.join().unwrap();
        assert!(matches!(lost, Err(RpcError::WorkerDied { .. })), "{lost:?}");
        let new = eventually("an answer from another worker", || call(&hanging, "pid", &json!([])).ok());
        assert!(new != stopped && !lives(stopped));
    });
    assert_eq!(daemon.pids("probe"), neighbour);
    daemon.stop();
    nothing_left(&scene);
}

/// A call that hangs, on a thread of its own.
fn scope_call(hanging: &shmrpc::Connection) -> thread::JoinHandle<Result<serde_json::Value, RpcError>> {
    let hanging = hanging.clone();
    thread::spawn(move || call(&hanging, "hang", &json!([])))
}
