//! What the daemon remembers: time series and events, through restarts, crashes and damage.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    probe::{call, connect, scene},
    replace::replaced,
    scene::Daemon,
};

/// The answer to a GET.
fn get(daemon: &Daemon<'_>, path: &str) -> Value {
    let (status, body) = daemon.request("GET", path);
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// Waits until a series of the last minute has a value that is wanted; the sum of them all.
fn series(daemon: &Daemon<'_>, address: &str, name: &str, wanted: impl Fn(f64) -> bool) -> f64 {
    let path = format!("/api/v1/{address}series={name}&from=-60000&points=60");
    daemon.eventually(&format!("{path} as wanted"), || {
        let page = get(daemon, &path);
        let values = page["columns"][0]["values"].as_array().unwrap();
        assert_eq!(values.len() as u64, page["points"].as_u64().unwrap());
        let known = values.iter().filter_map(Value::as_f64);
        known.clone().any(&wanted).then(|| known.sum())
    })
}

/// Events as (cursor, text).
fn events(daemon: &Daemon<'_>, query: &str) -> Vec<(u64, String)> {
    let page = get(daemon, &format!("/api/v1/events?{query}"));
    let lines = page["lines"].as_array().unwrap().clone();
    lines
        .iter()
        .map(|line| (line["cursor"].as_u64().unwrap(), line["text"].as_str().unwrap().into()))
        .collect()
}

const ADDRESS: &str = "services/probe/history?";

#[test]
fn what_services_did_outlives_the_daemon_that_saw_it() {
    let scene = scene("");
    let first = scene.start(&[]);
    first.ready();
    let connection = connect(&scene);
    let worker = first.pids("probe")[0];
    let is_some = |value: f64| value > 0.0;
    // What came before the first look at a worker has no time at which it happened.
    series(&first, ADDRESS, "rss", is_some);
    for _ in 0..50 {
        call(&connection, "add", &json!([2, 3])).unwrap();
    }
    let calls = series(&first, ADDRESS, "calls", is_some);
    for name in ["p50", "p99", "threads", "fds", "workers"] {
        series(&first, ADDRESS, name, is_some);
    }
    for name in ["rss", "calls", "p90"] {
        series(&first, &format!("{ADDRESS}worker={worker}&"), name, is_some);
    }
    series(&first, "history?", "rss", is_some);
    let before = events(&first, "service=probe");
    assert!(before.iter().any(|(_, text)| text.contains("ready")), "{before:?}");

    let second = replaced(&scene, first);
    assert!(series(&second, ADDRESS, "calls", is_some) >= calls);
    let page = get(&second, &format!("/api/v1/{ADDRESS}series=cpu"));
    assert_eq!(page["workers"][0]["pid"], worker, "{page}");
    let after = second.eventually("its own events", || {
        let newest = before.last().unwrap().0;
        let events = events(&second, &format!("service=probe&after={newest}"));
        events.iter().any(|(_, text)| text.contains("adopted")).then_some(events)
    });
    let all: Vec<u64> = before.iter().chain(&after).map(|(cursor, _)| *cursor).collect();
    assert!(all.is_sorted(), "{all:?}");
    assert_eq!(events(&second, "service=probe").len(), all.len());
}

/// The seconds since then in which a service was measured.
fn measured(daemon: &Daemon<'_>, from_ms: u64) -> Vec<u64> {
    let page = get(daemon, &format!("/api/v1/{ADDRESS}series=rss&from={from_ms}&points=1000"));
    let (from_ms, step_ms) = (page["from_ms"].as_u64().unwrap(), page["step_ms"].as_u64().unwrap());
    assert_eq!(step_ms, 1000);
    let values = page["columns"][0]["values"].as_array().unwrap();
    let known = values.iter().enumerate().filter(|(_, value)| value.is_number());
    known.map(|(i, _)| from_ms + i as u64 * step_ms).collect()
}

#[test]
fn a_crash_loses_seconds_and_a_damaged_file_is_set_aside() {
    let scene = scene("");
    let mut first = scene.start(&[]);
    first.ready();
    let before = events(&first, "service=probe");
    assert!(!before.is_empty());
    let begin_ms = get(&first, "/api/v1/services")["time_ms"].as_u64().unwrap();
    let seconds = first
        .eventually("some seconds", || Some(measured(&first, begin_ms)).filter(|seconds| seconds.len() > 5));
    first.signal(Signal::SIGKILL);
    first.wait();
    let mut second = scene.start(&[]);
    second.ready();
    let certain = &seconds[..seconds.len() - 2];
    assert_eq!(measured(&second, begin_ms)[..certain.len()], *certain);
    second.eventually("it goes on", || {
        let still = measured(&second, begin_ms);
        assert!(still.starts_with(certain), "{still:?}");
        (still.last() > Some(&(seconds[seconds.len() - 1] + 1000))).then_some(())
    });
    let later = events(&second, "service=probe");
    assert_eq!(later[..before.len()], before[..], "{later:?}");
    second.stop();

    let file = scene.path().join("here/history.redb");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let mut third = scene.start(&[]);
    third.ready();
    third.logs("the old file is set aside");
    assert_eq!(fs::read(scene.path().join("here/history.redb.damaged")).unwrap().len(), bytes.len() / 2);
    assert!(!events(&third, "").is_empty());
    third.stop();
}

#[test]
fn where_nothing_can_be_written_history_is_kept_in_memory() {
    let scene = scene("");
    let ini = scene.read("service.ini");
    // A file is in the place of the folder.
    let ini = ini.replace("port=0\n", "port=0\nhistory_dir=service.ini\n");
    scene.write("service.ini", &ini);
    let mut daemon = scene.start(&[]);
    daemon.ready();
    daemon.logs("the history is kept in memory only");
    series(&daemon, ADDRESS, "rss", |value| value > 0.0);
    assert!(!events(&daemon, "").is_empty());
    daemon.stop();
}
