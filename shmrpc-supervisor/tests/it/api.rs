//! The OpenAPI document of the real daemon, with the services of `examples/` under it, held against what is answered: every
//! address, right requests and wrong ones. No answer is one that the document does not tell of, and none says that the
//! daemon is at fault.

use std::{net::SocketAddr, path::PathBuf};

use crate::{
    cargo::cargo,
    scene::{Daemon, Scene, eventually},
    schemathesis,
};

/// Names that exist among those that do not, a deadline with which no honest call is too late, and streams cut off after an
/// event. A service that is not running (503) is said to be so.
const SETTINGS: &str = r#"
max-stream-events = 1

[checks.not_a_server_error]
expected-statuses = ["2xx", "4xx", 503]

[dictionaries]
services = { values = ["echo_serv", "search_serv"] }
methods = { values = ["echo_json", "echo_raw", "echo_bincode", "stats", "worker_pid"] }

[parameters]
"path.name" = { dictionary = "services", probability = 0.8 }
"path.method" = { dictionary = "methods", probability = 0.8 }
"header.Shmrpc-Deadline-Ms" = "25000"

# A stream of four thousand million items ends by its deadline.
[[operations]]
include-path = "/api/v1/services/echo_serv/methods/echo_often"
parameters = { "header.Shmrpc-Deadline-Ms" = "200" }
"#;

/// What changes the state of the services, and what ends the daemon.
const ORDERS: &str = "\\{action\\}|scale$";
const ENDS: &str = "shutdown|hand-over";
/// A method that sleeps for as long as it is told: hundreds of its calls would take hours, and prove nothing.
const SLEEPS: &str = "echo_later";

fn example(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_shmrpc-service")).with_file_name("examples").join(name)
}

/// Built here: they are examples of another package.
fn scene() -> Scene {
    let mut build = cargo();
    build.args(["build", "--workspace", "--example", "echo_server", "--example", "search_server"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success());
    Scene::new(&format!(
        "[web monitor]\nport=0\n[defaults]\nlog_dir=here\n\
         [EchoServer]\nimport_from={}\nmin_proc_num=2\n[SearchServer]\nimport_from={}\n",
        example("echo_server").display(),
        example("search_server").display(),
    ))
}

fn all_run(daemon: &Daemon<'_>) {
    for name in ["echo_serv", "search_serv"] {
        daemon.eventually(&format!("{name} runs"), || {
            let status = daemon.service(name)?["status"].as_str()?.to_owned();
            if status == "stopped" {
                daemon.request("POST", &format!("/api/v1/services/{name}/start"));
            }
            (status == "running").then_some(())
        });
    }
}

#[test]
fn the_document_of_the_real_daemon_says_all_that_is_answered() {
    let name = "the_document_of_the_real_daemon_says_all_that_is_answered";
    let Some(program) = schemathesis::program(name) else { return };
    let scene = scene();
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let address: SocketAddr = daemon.address().parse().unwrap();
    all_run(&daemon);
    let looks = format!("{ORDERS}|{ENDS}|{SLEEPS}");
    schemathesis::run(&program, address, SETTINGS, &["--exclude-path-regex", &looks, "--max-examples", "50"]);
    schemathesis::run(&program, address, SETTINGS, &["--include-path-regex", ORDERS, "--max-examples", "30"]);
    all_run(&daemon);

    // What ends it, once each: the next one has the same workers.
    let workers = daemon.pids("echo_serv");
    assert_eq!(daemon.request("POST", "/api/v1/hand-over").0, 202);
    daemon.wait();
    let mut daemon = scene.start(&[]);
    daemon.ready();
    eventually("the same workers", || (daemon.pids("echo_serv") == workers).then_some(()));
    assert_eq!(daemon.request("POST", "/api/v1/shutdown").0, 202);
    daemon.wait();
}
