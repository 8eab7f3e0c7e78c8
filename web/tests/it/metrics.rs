//! `/metrics`: as a scraper reads it, and as `promtool` judges it.

use std::{
    collections::{HashMap, HashSet},
    io::Write,
    process::{Command, Stdio},
};

use shmrpc_core::observe::LatencyHistogram;
use shmrpc_web::ServiceStatus;

use crate::{
    http::{Answer, get, send},
    server::TestServer,
};

/// With a service that has every odd thing in it.
fn scrape() -> (TestServer, String) {
    let server = TestServer::start();
    {
        let mut state = server.daemon.state();
        let service = &mut state.services[0];
        service.queued_calls = Some(2.5);
        service.busy_share = Some(0.25);
        service.restarts = 3;
        let method = &mut service.methods[0];
        (method.calls.count, method.calls.errors, method.calls.total_ns) = (7, 2, 4_500_000_000);
        for (nanos, count) in [(900, 2), (1_000_000, 4), (40_000_000_000, 1)] {
            method.latency.set(LatencyHistogram::bucket(nanos), count);
        }
    }
    let answer = get(server.address, "/metrics");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let text = String::from_utf8(answer.body).unwrap();
    (server, text)
}

fn value(text: &str, sample: &str) -> f64 {
    let found = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {sample} in {text}")).parse().unwrap()
}

#[test]
fn numbers_of_services_workers_and_methods() {
    let (server, text) = scrape();
    let name = server.daemon.state().services[0].name.clone();
    let method = server.daemon.state().services[0].methods[0].description.name.clone();
    let of = |family: &str| value(&text, &format!("{family}{{service=\"{name}\"}}"));
    assert_eq!(of("shmrpc_service_queued_calls"), 2.5);
    assert_eq!(of("shmrpc_service_busy_threads_ratio"), 0.25);
    assert_eq!(of("shmrpc_service_restarts_total"), 3.0);
    let labels = format!("service=\"{name}\",status");
    assert_eq!(value(&text, &format!("shmrpc_service_status{{{labels}=\"running\"}}")), 1.0);
    assert_eq!(value(&text, &format!("shmrpc_service_status{{{labels}=\"fatal\"}}")), 0.0);
    assert_eq!(value(&text, &format!("shmrpc_service_workers{{service=\"{name}\",state=\"running\"}}")), 2.0);
    let pid = server.daemon.state().services[0].workers[0].pid;
    let worker = |family: &str| value(&text, &format!("{family}{{service=\"{name}\",pid=\"{pid}\"}}"));
    assert_eq!(worker("shmrpc_worker_resident_memory_bytes"), 9_400_000.0);
    assert_eq!(worker("shmrpc_worker_calls_total"), 602.0);
    assert_eq!(worker("shmrpc_worker_cpu_usage_ratio"), 0.034);

    let labels = format!("service=\"{name}\",method=\"{method}\"");
    assert_eq!(value(&text, &format!("shmrpc_calls_total{{{labels}}}")), 7.0);
    assert_eq!(value(&text, &format!("shmrpc_call_errors_total{{{labels}}}")), 2.0);
    let bucket =
        |le: &str| value(&text, &format!("shmrpc_call_duration_seconds_bucket{{{labels},le=\"{le}\"}}"));
    assert_eq!(bucket("0.000001024"), 2.0);
    assert_eq!(bucket("0.000524288"), 2.0);
    assert_eq!(bucket("0.001048576"), 6.0);
    assert_eq!(bucket("34.359738368"), 6.0);
    assert_eq!(bucket("+Inf"), 7.0);
    assert_eq!(value(&text, &format!("shmrpc_call_duration_seconds_count{{{labels}}}")), 7.0);
    assert_eq!(value(&text, &format!("shmrpc_call_duration_seconds_sum{{{labels}}}")), 4.5);
}

/// The rules of the format, as far as a scraper would stumble over them.
#[test]
fn every_family_is_told_once_and_before_its_samples() {
    let (_, text) = scrape();
    let (mut kinds, mut samples) = (HashMap::new(), HashSet::new());
    let mut family = "";
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && help.ends_with('.'), "{line}");
            family = name;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, family);
            assert!(kinds.insert(name, kind).is_none(), "{name} is told twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok_and(|value| value >= 0.0), "{line}");
            let suffix = sample.split('{').next().unwrap().strip_prefix(family).unwrap();
            match kinds[family] {
                "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
                _ => assert_eq!(suffix, "", "{line}"),
            }
            assert!(samples.insert(sample), "{sample} is there twice");
        }
    }
}

/// Names come from users.
#[test]
fn labels_are_escaped() {
    let server = TestServer::start();
    server.daemon.state().services[1].name = "a\\b\"c\nd".into();
    let text = String::from_utf8(get(server.address, "/metrics").body).unwrap();
    assert!(text.contains(r#"{service="a\\b\"c\nd",status="stopped"}"#), "{text}");
}

/// A service that stands still keeps its families; whoever may not come in is told nothing.
#[test]
fn the_door_is_the_one_of_everything_else() {
    let server = TestServer::start();
    server.daemon.state().settle("echo_serv", ServiceStatus::Stopped);
    assert_eq!(get(server.address, "/metrics").status, 200);
    let foreign: Answer = send(server.address, "GET", "/metrics", &[("host", "evil.example")], b"");
    assert_eq!(foreign.status, 403);
    assert!(!String::from_utf8_lossy(&foreign.body).contains("shmrpc_"));
}

/// The judge of Prometheus's own makers, where it is installed; CI installs it.
#[test]
fn promtool_has_nothing_to_say() {
    let (_, text) = scrape();
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match started {
        Ok(promtool) => promtool,
        Err(error) => {
            let required = std::env::var_os("SHMRPC_REQUIRE_PROMTOOL").is_some();
            assert!(!required, "promtool cannot be started: {error}");
            return println!("not tested: promtool cannot be started: {error}");
        }
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}
