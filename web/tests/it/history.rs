//! Time series and events from outside: what may be asked for, and the form of the answers.

use serde_json::json;
use shmrpc_web::{HistoryPage, LogPage, LogStream, Series};

use crate::{
    http::{Answer, get},
    server::TestServer,
};

const ADDRESS: &str = "/api/v1/services/echo_serv/history";

#[test]
fn series_come_as_columns_of_equal_length() {
    let server = TestServer::start();
    let answer =
        get(server.address, &format!("{ADDRESS}?series=cpu,p99,cpu&from=1000000&to=1600000&points=60"));
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{answer:?}");
    let page: HistoryPage = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((page.from_ms, page.step_ms, page.points), (1_000_000, 10_000, 60));
    let names: Vec<Series> = page.columns.iter().map(|column| column.series).collect();
    assert_eq!(names, [Series::Cpu, Series::P99]);
    assert!(page.columns.iter().all(|column| column.values.len() == 60));
    // What nobody knows is null, and not nought.
    let values = answer.json()["columns"][0]["values"].as_array().unwrap().clone();
    assert!(
        values.contains(&json!(null)) && values.iter().any(|value| value.as_f64() > Some(0.3)),
        "{values:?}"
    );
    assert_eq!(
        (&answer.json()["columns"][0]["unit"], &answer.json()["columns"][1]["max"]),
        (&json!("cpus"), &json!(null))
    );
    assert_eq!(page.workers.len(), 2);
}

#[test]
fn without_more_words_it_is_all_of_the_last_hour() {
    let server = TestServer::start();
    for (address, service) in [(ADDRESS, "echo_serv"), ("/api/v1/history", "")] {
        let page: HistoryPage = serde_json::from_slice(&get(server.address, address).body).unwrap();
        assert_eq!(
            (page.service.as_str(), page.step_ms, page.columns.len()),
            (service, 12_000, Series::ALL.len())
        );
        assert!((300..=301).contains(&page.points), "{}", page.points);
    }
    let page = get(server.address, &format!("{ADDRESS}?from=-60000&worker=17&series=rss")).json();
    assert_eq!((&page["worker"], &page["step_ms"]), (&json!(17), &json!(1000)));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let server = TestServer::start();
    let refused = |answer: Answer, status: u16, part: &str| {
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(part), "{answer:?}");
    };
    refused(get(server.address, "/api/v1/services/nobody/history"), 404, "nobody");
    for (query, part) in [
        ("series=cpu,heat", "accepted: cpu, rss"),
        ("from=2&to=2", "not before"),
        ("points=0", "1 to 2000"),
        ("points=2001", "1 to 2000"),
        ("worker=me", "worker"),
        ("since=2", "since"),
    ] {
        refused(get(server.address, &format!("{ADDRESS}?{query}")), 400, part);
    }
}

#[test]
fn events_are_chosen_by_cursor_service_and_time() {
    let server = TestServer::start();
    for (service, stream, text) in [
        ("echo_serv", LogStream::Daemon, "ready"),
        ("echo_serv", LogStream::Stdout, "hello"),
        ("reports", LogStream::Daemon, "gone"),
    ] {
        server.daemon.log.push(service, None, stream, text.into());
    }
    let events = |query: &str| -> Vec<(u64, String)> {
        let answer = get(server.address, &format!("/api/v1/events?{query}"));
        let page: LogPage = serde_json::from_slice(&answer.body).unwrap();
        page.lines.into_iter().map(|line| (line.cursor, line.text)).collect()
    };
    let texts = |query: &str| -> Vec<String> { events(query).into_iter().map(|(_, text)| text).collect() };
    assert_eq!(texts(""), ["2 services configured", "ready", "gone"]);
    assert_eq!(texts("limit=1"), ["gone"]);
    assert_eq!(texts("service=echo_serv"), ["ready"]);
    assert_eq!(texts("from=-60000&to=1000"), [""; 0]);
    let first = events("")[0].0;
    assert_eq!(texts(&format!("after={first}&limit=1")), ["ready"]);
    assert_eq!(get(server.address, "/api/v1/events?stream=stdout").status, 400);
}
