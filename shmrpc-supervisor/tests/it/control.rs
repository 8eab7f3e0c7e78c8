//! The daemon's control socket, as `shmrpc` speaks to it.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream, process::CommandExt},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    probe::{self, call, connect},
    scene::{PATIENCE, Scene, eventually, lives},
};

const WEB: &str = "[web monitor]\nport=0\n[defaults]\nstart_secs=50ms\nrestart_jitter=0\n";

fn command(scene: &Scene, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shmrpc"));
    command
        .args(args)
        .env("SHMRPC_DIR", scene.path().join("run"))
        .current_dir(scene.path())
        .stdin(Stdio::null());
    command
}

/// Runs `shmrpc` to its end: its code, and what it printed.
fn shmrpc(scene: &Scene, args: &[&str]) -> (i32, String, String) {
    let output = command(scene, args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json(scene: &Scene, args: &[&str]) -> Value {
    let (code, out, err) = shmrpc(scene, args);
    assert_eq!(code, 0, "{args:?}: {err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}: {out}"))
}

#[test]
fn services_are_shown_stopped_started_and_restarted() {
    let scene = Scene::new(&format!("{WEB}[a]\nprogram=/bin/sleep 1000\n[b]\nprogram=/bin/sleep 1001\n"));
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let (code, out, _) = shmrpc(&scene, &["status"]);
    assert_eq!(code, 0);
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("SERVICE") && lines[1].starts_with("a ") && lines[1].contains(" running "));
    let shown = json(&scene, &["status", "--json", "b"]);
    assert_eq!((shown.as_array().unwrap().len(), &shown[0]["status"]), (1, &"running".into()));

    let (code, _, err) = shmrpc(&scene, &["stop", "a", "nobody"]);
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("nobody"), "{err}");
    assert_eq!(daemon.service("a").unwrap()["status"], "stopped", "it was waited for");
    let (code, _, err) = shmrpc(&scene, &["status", "--running"]);
    assert_eq!((code, err.contains("a is stopped")), (1, true), "{err}");
    let (code, _, err) = shmrpc(&scene, &["stop", "a"]);
    assert_eq!((code, err.contains("cannot stop a: it is stopped")), (4, true), "{err}");
    assert_eq!(json(&scene, &["start", "a", "--json"])[0]["status"], "running");
    let old = daemon.pids("a");
    for args in [&["restart", "a", "--rolling"][..], &["restart", "a", "--at-once"]] {
        assert_eq!(shmrpc(&scene, args).0, 0, "{args:?}");
        assert!(!daemon.pids("a").iter().any(|pid| old.contains(pid)));
    }
    let (code, _, err) = shmrpc(&scene, &["status", "c"]);
    assert_eq!((code, err.contains("there are: a, b")), (3, true), "{err}");

    let (code, _, err) = shmrpc(&scene, &["shutdown"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(daemon.wait().code(), Some(0));
    let (code, _, err) = shmrpc(&scene, &["status"]);
    assert_eq!((code, err.contains("no shmrpc-service runs in")), (3, true), "{err}");
    probe::nothing_left(&scene);
}

#[test]
fn a_pool_is_scaled_by_hand_and_back_to_its_load() {
    let scene = probe::scene("max_proc_num=3\n");
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let serving = |shown: &Value| shown[0]["workers"].as_array().unwrap().len();
    assert_eq!(serving(&json(&scene, &["scale", "probe", "3", "--json"])), 3);
    assert_eq!(serving(&json(&scene, &["scale", "probe", "-1", "--json"])), 2);
    let shown = json(&scene, &["scale", "probe", "+1", "--json"]);
    assert_eq!((serving(&shown), &shown[0]["fixed_workers"]), (3, &3.into()));
    let (code, _, err) = shmrpc(&scene, &["scale", "probe", "4"]);
    assert_eq!((code, err.contains("probe may have 1 to 3 workers, not 4")), (4, true), "{err}");
    assert_eq!(shmrpc(&scene, &["scale", "probe", "many"]).0, 2);
    let shown = json(&scene, &["scale", "probe", "auto", "--json"]);
    assert_eq!((serving(&shown), &shown[0]["fixed_workers"]), (3, &Value::Null));
    let (_, events, _) = shmrpc(&scene, &["events", "probe"]);
    assert!(
        events.contains("1 → 3 workers: ordered") && events.contains("follows its load again"),
        "{events}"
    );
    daemon.stop();
}

/// Orders that take longer than a second say how far they are: where stderr is no terminal, a line for each change.
#[test]
fn whoever_waits_hears_how_far_it_is() {
    let scene = Scene::new(&format!(
        "{WEB}[slow]\nprogram=/bin/sh -c 'trap \"sleep 2; exit\" TERM; while :; do sleep 0.1; done'\nmin_proc_num=2\n\
         max_proc_num=2\n[quick]\nprogram=/bin/sleep 1000\n"
    ));
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let (code, _, err) = shmrpc(&scene, &["restart", "slow", "quick"]);
    assert_eq!((code, err.contains("shmrpc: 1 of 2: slow: 1 of 2 workers replaced\n")), (0, true), "{err}");
    let (code, out, err) = shmrpc(&scene, &["restart", "quick"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let (code, _, err) = shmrpc(&scene, &["stop", "slow"]);
    assert_eq!((code, err.contains("shmrpc: slow: 2 workers finish their calls\n")), (0, true), "{err}");
    assert_eq!(shmrpc(&scene, &["start", "slow"]).0, 0);
    let (code, _, err) = shmrpc(&scene, &["shutdown"]);
    assert_eq!((code, err.contains("shmrpc: 1 services finish their calls: slow\n")), (0, true), "{err}");
    daemon.wait();
}

#[test]
fn what_the_rest_api_has_the_command_line_has_too() {
    let scene = probe::scene("");
    let mut first = scene.start(&[]);
    first.ready();
    let worker = first.pids("probe")[0];
    let (code, metrics, _) = shmrpc(&scene, &["metrics"]);
    assert_eq!(
        (code, metrics.contains("shmrpc_service_status{service=\"probe\",status=\"running\"} 1")),
        (0, true)
    );
    let (_, top, _) = shmrpc(&scene, &["top"]);
    assert!(top.starts_with("SERVICE ") && top.lines().nth(1).unwrap().contains("running"), "{top}");
    let top = json(&scene, &["top", "--json"]);
    assert_eq!(
        (&top["services"][0]["name"], &top["services"][0]["calls_per_s"]),
        (&"probe".into(), &0.0.into())
    );
    let (code, checked, _) = shmrpc(&scene, &["check"]);
    assert_eq!(
        (code, checked.contains("1 service, no faults") && checked.contains("[Probe]")),
        (0, true),
        "{checked}"
    );
    let (code, history, err) =
        shmrpc(&scene, &["history", "probe", "--series", "cpu,p99", "--since", "5m", "--points", "5"]);
    let lines: Vec<&str> = history.lines().collect();
    assert_eq!(
        (code, lines[0].split_whitespace().collect::<Vec<_>>()),
        (0, vec!["TIME", "CPU", "P99"]),
        "{err}"
    );
    assert!((6..=7).contains(&lines.len()), "{history}");
    assert_eq!(json(&scene, &["history", "--json"])["columns"][0]["series"], "workers");
    let (code, _, err) = shmrpc(&scene, &["history", "probe", "--series", "heat"]);
    assert_eq!((code, err.contains("no series \"heat\"; accepted: cpu, ")), (2, true), "{err}");
    assert!(shmrpc(&scene, &["events", "probe", "--since", "1h"]).1.contains("ready"));
    scene.write("service.ini", &scene.read("service.ini").replace("threads=2", "thread=2"));
    let (code, _, err) = shmrpc(&scene, &["check"]);
    assert_eq!((code, err.contains("did you mean threads?")), (4, true), "{err}");
    scene.write("service.ini", &scene.read("service.ini").replace("thread=2", "threads=2"));
    assert_eq!(first.pids("probe"), [worker], "nothing was changed by looking");
    assert_eq!(shmrpc(&scene, &["hand-over"]).0, 0);
    assert_eq!(first.wait().code(), Some(0));
    let mut second = scene.start(&[]);
    second.ready();
    assert_eq!(second.pids("probe"), [worker]);
    second.stop();
}

#[test]
fn a_reload_says_what_it_has_changed_and_faults_are_told() {
    let ini = format!("{WEB}[a]\nprogram=/bin/sleep 1000\n[b]\nprogram=/bin/sleep 1001\n");
    let scene = Scene::new(&ini);
    let mut daemon = scene.start(&[]);
    daemon.ready();
    assert_eq!(shmrpc(&scene, &["reload"]).1, "nothing has changed\n");
    scene.write("service.ini", &format!("{WEB}[a]\nprogram=/bin/sleep 1002\n[c]\nprogram=/bin/sleep 1003\n"));
    assert_eq!(shmrpc(&scene, &["reload"]).1, "a changed, c added, b removed\n");
    daemon.status("c", "running");
    scene.write("service.ini", &ini.replace("program", "programme"));
    let (code, _, err) = shmrpc(&scene, &["reload"]);
    assert_eq!((code, err.contains("service.ini:7: [a] programme: unknown key")), (4, true), "{err}");
    let (code, _, err) = shmrpc(&scene, &["check", "service.ini"]);
    assert_eq!((code, err.contains("did you mean program?")), (2, true), "{err}");
    let (code, out, _) = shmrpc(&scene, &["check", "service.ini", "--json"]);
    let faults: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &faults["faults"][0]["line"]), (2, &6.into()));
    scene.write("service.ini", &ini);
    assert!(shmrpc(&scene, &["check", "service.ini"]).1.contains("2 services, no faults"));
    assert_eq!(json(&scene, &["check", "service.ini", "--json"])["services"][1]["name"], "b");
    daemon.stop();
}

/// A command that follows something, and its lines as they come.
struct Following {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Following {
    fn start(scene: &Scene, args: &[&str]) -> Self {
        let mut child = command(scene, args).stdout(Stdio::piped()).process_group(0).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    fn expect(&self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no line with {part:?}"));
            if line.contains(part) {
                return line;
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ended = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let _status = self.child.wait();
    }
}

#[test]
fn logs_and_events_are_shown_chosen_and_followed() {
    let scene = probe::scene("[talker]\nprogram=/bin/sh -c 'echo from the talker; exec sleep 1000'\n");
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let connection = connect(&scene);
    let say = |line: &str| call(&connection, "say", &serde_json::json!([line])).map(drop).unwrap();
    say("one \u{1b}[31mred");
    eventually("the line", || shmrpc(&scene, &["logs"]).1.contains("one [31mred").then_some(()));
    let (_, out, _) = shmrpc(&scene, &["logs", "probe", "--stream", "stdout", "--grep", "one"]);
    assert_eq!(out.lines().count(), 1, "{out}");
    assert!(out.contains(" probe[") && out.contains("] out one [31mred") && !out.contains('\u{1b}'), "{out}");
    let pid = daemon.pids("probe")[0].to_string();
    let (_, out, _) = shmrpc(&scene, &["logs", "--pid", &pid, "--json", "-n", "1"]);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["service"], "probe");
    assert_eq!(shmrpc(&scene, &["logs", "nobody"]).0, 3);
    assert_eq!(shmrpc(&scene, &["logs", "--since", "1h", "--grep", "one"]).1.lines().count(), 1);
    assert_eq!(shmrpc(&scene, &["logs", "--level", "critical", "--grep", "one"]).1, "");

    let logs = Following::start(&scene, &["logs", "-f", "probe", "--stream", "stdout", "-n", "1"]);
    let events = Following::start(&scene, &["events", "-f", "talker"]);
    logs.expect("one");
    events.expect("ready");
    say("two");
    logs.expect("two");
    assert_eq!(shmrpc(&scene, &["restart", "talker"]).0, 0);
    events.expect("restart ordered");
    assert!(events.expect("rolling restart done: 1 replaced").contains(" talker "));
    say("three");
    logs.expect("three");
    daemon.stop();
}

#[test]
fn the_socket_is_for_its_own_user_and_speaks_the_rest_api() {
    let scene = Scene::new(&format!("{WEB}[a]\nprogram=/bin/sleep 1000\n"));
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let socket = scene.path().join("run/control");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let ask = |request: &str| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = ask("GET /api/v1/services/a HTTP/1.1\r\nHost: whatever\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"running\""), "{answer}");
    let answer = ask("GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("no-such-page"), "{answer}");
    // The same orders come in by the dashboard's door.
    assert_eq!(daemon.post("/api/v1/services/a/scale", "application/json", br#"{"to": 1}"#).0, 202);
    assert_eq!(daemon.post("/api/v1/services/a/scale", "application/json", br#"{"to": "x"}"#).0, 400);
    assert_eq!(daemon.request("POST", "/api/v1/reload").0, 200);
    if nix::unistd::geteuid().is_root() {
        // A stranger who were let into the folder would meet closed doors.
        for path in [scene.path().to_owned(), scene.path().join("run")] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
        let mut stranger = Command::new("curl");
        stranger
            .args(["-s", "--unix-socket"])
            .arg(&socket)
            .arg("http://localhost/api/v1/services")
            .uid(65_534);
        if let Ok(output) = stranger.output() {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(!text.contains("running") && (text.is_empty() || text.contains("own user")), "{text}");
        }
        fs::set_permissions(scene.path().join("run"), fs::Permissions::from_mode(0o700)).unwrap();
    }
    daemon.stop();
    assert!(!socket.exists());
}

#[test]
fn a_socket_of_a_killed_daemon_is_taken_over() {
    let scene = Scene::new(&format!("{WEB}[a]\nprogram=/bin/sleep 1000\n"));
    let mut first = scene.start(&[]);
    first.ready();
    let old = first.pids("a")[0];
    first.signal(Signal::SIGKILL);
    first.wait();
    assert_eq!(shmrpc(&scene, &["status"]).0, 3);
    let mut second = scene.start(&[]);
    second.ready();
    assert_eq!(shmrpc(&scene, &["status", "--running"]).0, 0);
    assert!(!lives(old));
    second.stop();
}
