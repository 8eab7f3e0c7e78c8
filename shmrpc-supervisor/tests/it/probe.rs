//! A real worker (`examples/probe.rs`) under the real daemon.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use shmrpc::{ConnectOptions, Connection, Door, RpcError, Status};

use crate::{
    cargo::cargo,
    scene::{Daemon, Scene, eventually, free_port, lives},
};

const INI: &str = "[web monitor]\nport=0\n[defaults]\nlog_dir=here\nrestart_delay=10ms\nrestart_jitter=0\n[Probe]\nimport_from=probe\nthreads=2\n";

/// Sets a flag when it is dropped: those who call until then end also when a check beside them has failed.
pub(crate) struct AtEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A scene with the worker program.
pub(crate) fn scene(more: &str) -> Scene {
    scene_with(&[], more)
}

/// A scene with the worker program and other examples built: `cargo test` builds examples, `cargo test --test it` does
/// not, and may find old ones.
pub(crate) fn scene_with(examples: &[&str], more: &str) -> Scene {
    static BUILT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = PathBuf::from(env!("CARGO_BIN_EXE_shmrpc-service"));
    let changed = |path: PathBuf| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let mut stale = Vec::new();
    for example in [&["probe"], examples].concat() {
        if !built.insert(example.to_owned()) {
            continue;
        }
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let source =
            ["examples", "tests/misbehaving"].map(|folder| source.join(folder).join(format!("{example}.rs")));
        // One that is older than the daemon may have been built of an older core.
        let needed = source.into_iter().filter_map(changed).chain(changed(folder.clone())).max();
        if changed(folder.with_file_name("examples").join(example)) < needed {
            stale.extend(["--example", example]);
        }
    }
    if !stale.is_empty() {
        let mut build = cargo();
        build.args(["build", "--workspace"]).args(stale);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success());
    }
    Scene::new(&format!("{INI}{more}"))
}

pub(crate) fn connect(scene: &Scene) -> Connection {
    connect_to(scene, "probe")
}

pub(crate) fn connect_to(scene: &Scene, service: &str) -> Connection {
    let mut options = ConnectOptions::default();
    options.runtime_dir = Some(scene.path().join("run"));
    Connection::connect_any(format!("shm://{service}"), &options).unwrap()
}

pub(crate) fn call(connection: &Connection, method: &str, args: &Value) -> Result<Value, RpcError> {
    let service = connection.service();
    let method = service.method(method).unwrap();
    let reply = connection.call_bytes_blocking(method.into(), Door::Json, args.to_string().as_bytes())?;
    assert_eq!(reply.status, Status::Ok, "{}", String::from_utf8_lossy(&reply.body));
    Ok(serde_json::from_slice(&reply.body).unwrap())
}

/// Waits until a worker is at a call of `slow`.
fn slow_begins(scene: &Scene) {
    let begins = || scene.read("here/probe/probe_log.stdout").contains("slow begins").then_some(());
    eventually("the slow call's beginning", begins);
}

pub(crate) fn end(pid: u32) {
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
}

fn calls_of(daemon: &Daemon<'_>, method: &str) -> u64 {
    let service = daemon.service("probe").unwrap();
    let methods = service["methods"].as_array().unwrap();
    methods.iter().find(|known| known["name"] == method).unwrap()["count"].as_u64().unwrap()
}

pub(crate) fn nothing_left(scene: &Scene) {
    let left: Vec<_> = fs::read_dir(scene.path().join("run")).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_killed_worker_is_replaced_and_its_calls_still_count() {
    let scene = scene("min_proc_num=2\nmax_proc_num=2\n");
    let mut daemon = scene.start(&[]);
    assert!(daemon.ready().contains("1 of 1 services run"));
    let connection = connect(&scene);
    for i in 0..10 {
        assert_eq!(call(&connection, "add", &json!([i, 1])).unwrap(), i + 1);
    }
    eventually("ten counted calls", || (calls_of(&daemon, "add") == 10).then_some(()));
    let old = daemon.pids("probe");
    let slow = thread::scope(|scope| {
        let slow = scope.spawn(|| call(&connection, "slow", &json!([60_000])));
        // Whoever has the slow call answers no other; both are killed.
        slow_begins(&scene);
        old.iter().for_each(|pid| end(*pid));
        slow.join().unwrap()
    });
    assert!(matches!(slow, Err(RpcError::WorkerDied { .. })), "{slow:?}");
    daemon.logs("was killed by SIGKILL; next start in 10ms");
    let new = eventually("two new workers", || {
        let pids = daemon.pids("probe");
        (pids.len() == 2 && pids.iter().all(|pid| !old.contains(pid))).then_some(pids)
    });
    daemon.status("probe", "running");
    for i in 0..10 {
        assert_eq!(call(&connection, "add", &json!([i, 1])).unwrap(), i + 1);
    }
    eventually("twenty counted calls", || {
        let count = calls_of(&daemon, "add");
        assert!(count >= 10, "{count}");
        (count == 20).then_some(())
    });
    daemon.stop();
    assert!(!new.into_iter().any(lives));
    drop(connection);
    nothing_left(&scene);
}

#[test]
fn rest_calls_reach_the_worker_and_lines_reach_the_page() {
    let scene = scene("");
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let base = "/api/v1/services/probe/methods";
    assert_eq!(daemon.post(&format!("{base}/add"), "application/json", b"[2, 3]"), (200, "5".into()));
    let (status, body) = daemon.post(&format!("{base}/echo"), "application/octet-stream", b"\x01bytes");
    assert_eq!((status, body.as_bytes()), (200, &b"\x01bytes"[..]));
    let (lines, many) = ("application/x-ndjson", (1..=1000).map(|i| format!("{i}\n")).collect::<String>());
    let add_all = |body: &str| daemon.post(&format!("{base}/add_all"), lines, body.as_bytes());
    assert_eq!(add_all(&format!("[7]\n{many}")), (200, "500507".into()));
    let (status, body) = add_all("[7]\n1\n\"two\"\n");
    assert_eq!(status, 422, "{body}");
    let (status, body) = add_all("[7]\n1\ntwo\n");
    assert!(status == 400 && body.contains("line 3"), "{status} {body}");
    assert_eq!(daemon.request("GET", &format!("{base}/pid")).1, daemon.pids("probe")[0].to_string());
    let (status, body) = daemon.post(&format!("{base}/add_guarded"), "application/x-bincode", b"\x04\x06");
    assert_eq!(status, 403, "{body}");
    let (status, _) = daemon.post(&format!("{base}/say"), "application/json", b"[\"a line for you\"]");
    assert_eq!(status, 200);
    eventually("the line on the page, printed and logged", || {
        let (_, body) = daemon.request("GET", "/api/v1/logs");
        (body.contains("\"a line for you\"") && body.contains(": a line for you\"")).then_some(())
    });
    daemon.stop();
    assert_eq!(scene.read("here/probe/probe_log.stdout"), "a line for you\n");
    assert!(scene.read("here/probe/probe_log.log.json").contains("a line for you"));
}

#[test]
fn a_stop_waits_for_the_calls_that_are_under_way() {
    let scene = scene("");
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let pid = daemon.pids("probe")[0];
    let connection = connect(&scene);
    thread::scope(|scope| {
        let slow = scope.spawn(|| call(&connection, "slow", &json!([1000])));
        slow_begins(&scene);
        daemon.stop();
        assert_eq!(slow.join().unwrap().unwrap(), pid);
    });
    assert!(!lives(pid));
    drop(connection);
    nothing_left(&scene);
}

#[test]
fn workers_outlive_a_killed_daemon_and_the_next_one_adopts_them() {
    let scene = scene("");
    let mut first = scene.start(&[]);
    first.ready();
    let pid = first.pids("probe")[0];
    let connection = connect(&scene);
    end(first.pid());
    first.wait();
    assert_eq!(call(&connection, "pid", &json!([])).unwrap(), pid);
    call(&connection, "say", &json!(["nobody listens"])).unwrap();
    let mut second = scene.start(&[]);
    second.ready();
    assert_eq!(second.pids("probe"), [pid]);
    assert!(second.log().contains("adopted from an earlier daemon"), "{}", second.log());
    call(&connection, "say", &json!(["somebody listens"])).unwrap();
    eventually("the adopted worker's line", || {
        scene.read("here/probe/probe_log.stdout").contains("somebody listens").then_some(())
    });
    eventually("its counters", || (calls_of(&second, "say") == 2).then_some(()));
    // It is watched too.
    end(pid);
    let new = eventually("a new worker", || second.pids("probe").first().copied().filter(|new| *new != pid));
    second.status("probe", "running");
    second.stop();
    assert!(!lives(new));
}

#[test]
fn workers_without_a_daemon_go_after_a_while() {
    let scene = scene("orphan_timeout=500ms\n");
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let pid = daemon.pids("probe")[0];
    end(daemon.pid());
    daemon.wait();
    eventually("the orphan's end", || (!lives(pid)).then_some(()));
}

#[test]
fn after_everything_was_killed_one_start_and_stop_leaves_nothing() {
    let scene = scene("min_proc_num=2\nmax_proc_num=2\n");
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let workers = daemon.pids("probe");
    end(daemon.pid());
    workers.into_iter().for_each(end);
    daemon.wait();
    let mut daemon = scene.start(&[]);
    assert!(daemon.ready().contains("1 of 1 services run"));
    daemon.stop();
    nothing_left(&scene);
}

#[test]
fn calls_to_a_stopped_service_are_refused_at_once() {
    let scene = scene("");
    let mut daemon = scene.start(&[]);
    daemon.ready();
    daemon.request("POST", "/api/v1/services/probe/stop");
    daemon.status("probe", "stopped");
    let (status, body) = daemon.post("/api/v1/services/probe/methods/add", "application/json", b"[2, 3]");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("it is stopped"), "{body}");
    daemon.request("POST", "/api/v1/services/probe/start");
    daemon.status("probe", "running");
    let path = "/api/v1/services/probe/methods/add";
    assert_eq!(daemon.post(path, "application/json", b"[2, 3]"), (200, "5".into()));
    daemon.stop();
}

/// What the workers count in shared memory reaches a scraper.
#[test]
fn metrics_count_the_calls() {
    let scene = scene("");
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let client = connect(&scene);
    (0..3).for_each(|_| assert_eq!(call(&client, "add", &json!([2, 3])).unwrap(), 5));
    let metrics = || {
        let (status, text) = daemon.request("GET", "/metrics");
        assert_eq!(status, 200, "{text}");
        text
    };
    let counted = "shmrpc_calls_total{service=\"probe\",method=\"add\"} 3\n";
    let text = eventually("three calls", || Some(metrics()).filter(|text| text.contains(counted)));
    let pid = daemon.pids("probe")[0];
    for sample in [
        "shmrpc_call_duration_seconds_count{service=\"probe\",method=\"add\"} 3\n",
        "shmrpc_service_status{service=\"probe\",status=\"running\"} 1\n",
        &format!("shmrpc_worker_calls_total{{service=\"probe\",pid=\"{pid}\"}} 3\n"),
    ] {
        assert!(text.contains(sample), "no {sample} in {text}");
    }
    daemon.stop();
}

#[test]
fn the_same_answers_come_over_tcp_from_all_workers_on_one_port() {
    let port = free_port();
    let more = format!("min_proc_num=2\nmax_proc_num=2\ntcp_bind=127.0.0.1\nport={port}\n");
    for forced in [false, true] {
        let scene = scene(&format!("{more}force_insecure_serialisation={forced}\n"));
        let mut daemon = scene.start(&[]);
        daemon.ready();
        let options = ConnectOptions::default();
        let connection = Connection::connect_any(format!("tcp://127.0.0.1:{port}"), &options).unwrap();
        assert_eq!(call(&connection, "add", &json!([2, 3])).unwrap(), 5);
        let service = connection.service();
        let guarded = service.method("add_guarded").unwrap();
        let reply = connection.call_bytes_blocking(guarded.into(), Door::Native, b"\x04\x06");
        if forced {
            assert_eq!(reply.unwrap().body, b"\x0a");
        } else {
            assert!(matches!(reply, Err(RpcError::Refused(_))), "{reply:?}");
        }
        let pids = daemon.pids("probe");
        assert!(pids.contains(
            &u32::try_from(call(&connection, "pid", &json!([])).unwrap().as_u64().unwrap()).unwrap()
        ));
        // The port stays taken while workers come and go.
        pids.into_iter().for_each(end);
        eventually("an answer from a new worker", || call(&connection, "add", &json!([2, 3])).ok());
        daemon.stop();
    }
}

#[test]
fn a_copy_under_a_prefix_is_a_service_of_its_own() {
    let scene = scene("[Probe:eu]\nimport_from=probe\nport=5998\n");
    let mut daemon = scene.start(&[]);
    assert!(daemon.ready().contains("2 of 2 services run"));
    let (own, copy) = (daemon.pids("probe")[0], daemon.pids("eu.probe")[0]);
    let mut options = ConnectOptions::default();
    options.runtime_dir = Some(scene.path().join("run"));
    let connection = Connection::connect_any("shm://eu.probe", &options).unwrap();
    assert_eq!(call(&connection, "pid", &json!([])).unwrap(), copy);
    assert_eq!(call(&connect(&scene), "pid", &json!([])).unwrap(), own);
    let (_, body) = daemon.request("GET", "/api/v1/services/eu.probe/methods/pid");
    assert_eq!(body, copy.to_string());
    let service = daemon.service("eu.probe").unwrap();
    assert_eq!((&service["prefix"], &service["struct_name"]), (&json!("eu"), &json!("Probe")));
    call(&connection, "say", &json!(["from the copy"])).unwrap();
    eventually("its line in its own file", || {
        (scene.read("here/eu.probe/eu.probe_log.stdout") == "from the copy\n").then_some(())
    });
    drop(connection);
    daemon.stop();
    nothing_left(&scene);
}
