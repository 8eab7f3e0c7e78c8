//! What a worker of ours is given, seen through a script in its place, and what becomes of it.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::scene::{Scene, eventually, free_port, lives, texts};

/// Describes itself like a worker program; started as a worker it never becomes ready.
const WORKER: &str = r#"#!/bin/sh
if [ "$1" = --describe ]; then
    echo '[{"struct_name":"EchoServer","name":"echo_serv","port":PORT,"max_workers":null,"doc":"","methods":[]}]'
    exit
fi
echo "$SHMRPC_WORKER" > config.part
ls -l /proc/self/fd > fds
mv config.part config.json
echo hello
exec sleep 1000
"#;

fn scene(ini: &str, port: u16) -> Scene {
    let scene = Scene::new(ini);
    scene.script("echo_server", &WORKER.replace("PORT", &port.to_string()));
    scene
}

#[test]
fn a_worker_is_told_everything_and_a_program_inherits_nothing() {
    let port = free_port();
    let scene = scene(
        "[web monitor]\nport=0\n[defaults]\nlog_dir=here\ntcp_bind=127.0.0.1\nwait_until_completed=no\n\
         threads=3\nstop_timeout=20s\norphan_timeout=never\nforce_insecure_serialisation=True\n\
         [before]\nprogram=/bin/sh -c 'ls /proc/self/fd > before; exec sleep 1000'\n\
         [EchoServer:eu]\nimport_from=echo_server\nport=PORT\n\
         [after]\nprogram=/bin/sh -c 'ls /proc/self/fd > after; exec sleep 1000'\nstart_secs=10ms\n"
            .replace("PORT", &port.to_string())
            .as_str(),
        1,
    );
    let mut daemon = scene.start(&[]);
    daemon.status("after", "running");
    eventually("the worker's configuration", || scene.path().join("config.json").exists().then_some(()));
    let config: Value = serde_json::from_str(&scene.read("config.json")).unwrap();
    assert_eq!(config["struct_name"], "EchoServer");
    assert_eq!(config["service"], "eu.echo_serv");
    assert_eq!(config["port"], port);
    assert_eq!(config["threads"], 3);
    assert_eq!(config["force_insecure_serialisation"], true);
    assert_eq!(config["orphan_timeout"], Value::Null);
    assert_eq!(config["drain_timeout"]["secs"], 18);
    assert_eq!(config["runtime_dir"], scene.path().join("run").to_str().unwrap());
    assert_eq!(config["log_dir"], scene.path().join("here").to_str().unwrap());
    let fds = scene.read("fds");
    for fd in [&config["tcp_listener_fd"], &config["output_read_fds"][0], &config["output_read_fds"][1]] {
        assert!(fds.contains(&format!(" {fd} -> ")), "no {fd} in\n{fds}");
    }
    assert_eq!(fds.matches("socket:").count(), 1, "{fds}");
    // What whoever runs the tests has left open is inherited by everybody; nothing is added to it.
    let listed =
        |name: &str| eventually("the list", || Some(scene.read(name)).filter(|list| !list.is_empty()));
    assert_eq!(listed("before"), listed("after"));
    // Nobody accepts, but the port is ours.
    std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    eventually("its line", || {
        (scene.read("here/eu.echo_serv/eu.echo_serv_log.stdout") == "hello\n").then_some(())
    });
    daemon.stop();
}

#[test]
fn what_its_types_tell_is_in_the_document() {
    const TELLS: &str = r##"#!/bin/sh
if [ "$1" = --describe ]; then
    echo '[{"struct_name":"Post","name":"post","port":5903,"max_workers":null,"doc":"","methods":[{
        "id":"00000000000000ff","name":"send","encoding":"json","shape":"unary","signature":"(Parcel) -> u8",
        "params":[["parcel","Parcel"]],"returns":"u8","doc":"","idempotent":false,"read_only":false,"deadline_ms":null}],
        "schemas":{"methods":{"send":{"arguments":[{"$ref":"#/$defs/Parcel"}],"reply":null,"error":null}},
            "taken":{"Parcel":{"type":"object"}}}}]'
    exit
fi
exec sleep 1000
"##;
    let scene = Scene::new("[web monitor]\nport=0\n[Post:eu]\nimport_from=post\nport=5904\n");
    scene.script("post", TELLS);
    let mut daemon = scene.start(&[]);
    daemon.status("eu.post", "starting");
    let (status, body) = daemon.request("GET", "/api/v1/openapi.json");
    assert_eq!(status, 200, "{body}");
    let document: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(document["components"]["schemas"]["eu.post.Parcel"]["type"], "object");
    let call = &document["paths"]["/api/v1/services/eu.post/methods/send"]["post"];
    let arguments = &call["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(arguments["prefixItems"][0]["$ref"], "#/components/schemas/eu.post.Parcel");
    daemon.stop();
}

#[test]
fn who_never_becomes_ready_is_reported_and_not_waited_for_without_end() {
    let scene = scene(
        "[web monitor]\nport=0\n[defaults]\nstart_timeout=3s\nrestart_delay=20s\n\
         [EchoServer]\nimport_from=echo_server\n[after]\nprogram=/bin/sleep 1000\nstart_secs=10ms\n",
        1,
    );
    let mut daemon = scene.start(&[]);
    assert_eq!(daemon.status("echo_serv", "starting")["workers"].as_array().unwrap().len(), 1);
    assert_eq!(daemon.service("after").unwrap()["status"], "stopped");
    daemon.logs("not ready after 3s: killed");
    daemon.status("after", "running");
    daemon.status("echo_serv", "backoff");
    daemon.stop();
}

#[test]
fn a_taken_service_port_is_named_and_nothing_is_started() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let ini = "[web monitor]\nport=0\n[first]\nprogram=/bin/sh -c 'touch started'\n\
               [EchoServer]\nimport_from=echo_server\ntcp_bind=127.0.0.1\n";
    let scene = scene(ini, port);
    let output = scene.run(&[], &[]);
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(&format!("port {port} on 127.0.0.1 for echo_serv is taken by pid ")), "{stderr}");
    assert!(!scene.path().join("started").exists());
    assert_eq!(std::fs::read_dir(scene.path().join("run")).unwrap().count(), 0);
}

#[test]
fn orders_come_by_rest() {
    let scene = Scene::new(
        "[web monitor]\nport=0\n[a]\nprogram=/bin/sh -c 'echo up; exec sleep 1000'\nstart_secs=10ms\n",
    );
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let first = daemon.pids("a")[0];
    assert_eq!(daemon.request("POST", "/api/v1/services/a/start").0, 409);
    assert_eq!(daemon.request("POST", "/api/v1/services/b/stop").0, 404);
    let (status, body) = daemon.request("POST", "/api/v1/services/a/stop");
    assert!((200..300).contains(&status), "{status} {body}");
    assert!(daemon.status("a", "stopped")["workers"].as_array().unwrap().is_empty());
    assert!(!lives(first));
    daemon.request("POST", "/api/v1/services/a/start");
    daemon.status("a", "running");
    let second = daemon.pids("a")[0];
    let lines = |count: usize| {
        let (_, body) = daemon.request("GET", "/api/v1/logs");
        (body.matches("\"up\"").count() == count).then_some(body)
    };
    eventually("two lines in the console log", || lines(2));
    daemon.request("POST", "/api/v1/services/a/restart");
    eventually("a third worker", || {
        daemon.pids("a").first().copied().filter(|&pid| pid != second && pid != first)
    });
    let lines = eventually("three lines in the console log", || lines(3));
    assert!(lines.contains("\"stdout\""), "{lines}");
    daemon.stop();
}

#[test]
fn programs_of_a_killed_daemon_make_room_for_their_successors() {
    let scene = Scene::new(
        "[web monitor]\nport=0\n[a]\nprogram=/bin/sh -c 'sleep 1000 & sleep 1000'\nstart_secs=10ms\n",
    );
    let mut first = scene.start(&[]);
    first.ready();
    let old = first.pids("a")[0];
    kill(Pid::from_raw(first.pid().cast_signed()), Signal::SIGKILL).unwrap();
    first.wait();
    assert!(lives(old));
    let mut second = scene.start(&[]);
    second.logs("ended what an earlier daemon had left behind");
    second.ready();
    assert!(!lives(old));
    second.stop();
    assert!(!scene.anything_runs());
}
