//! The event streams and the console log over REST.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;
use shmrpc_web::{LogStream, WebOptions};

use crate::{
    http::{connect, get, read_head, send},
    server::TestServer,
};

/// One event: its name, its id and its data.
#[derive(Debug, Default, PartialEq)]
struct Event {
    name: String,
    id: Option<u64>,
    data: String,
}

impl Event {
    fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

/// A stream of events, out of the chunks in which it travels.
struct Events {
    reader: BufReader<TcpStream>,
    text: String,
}

impl Events {
    fn open(address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Self {
        let mut reader = BufReader::new(connect(address));
        let mut request = format!("GET {target} HTTP/1.1\r\nhost: {address}\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        reader.get_mut().write_all((request + "\r\n").as_bytes()).unwrap();
        let head = read_head(&mut reader);
        assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
        Self { reader, text: String::new() }
    }

    fn next(&mut self) -> Event {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = parse(event);
                self.text = rest.to_owned();
                if !event.name.is_empty() {
                    return event;
                }
                continue;
            }
            let mut size = String::new();
            self.reader.read_line(&mut size).expect("a chunk in time");
            let size = usize::from_str_radix(size.trim(), 16).expect("a chunk's size");
            let mut chunk = vec![0; size + 2];
            self.reader.read_exact(&mut chunk).unwrap();
            self.text += std::str::from_utf8(&chunk[..size]).unwrap();
        }
    }

    /// The next event of that name.
    fn next_named(&mut self, name: &str) -> Event {
        loop {
            let event = self.next();
            if event.name == name {
                return event;
            }
        }
    }
}

fn parse(text: &str) -> Event {
    let mut event = Event::default();
    for line in text.lines() {
        match line.split_once(": ") {
            Some(("event", name)) => event.name = name.into(),
            Some(("id", id)) => event.id = Some(id.parse().unwrap()),
            Some(("data", data)) => event.data += data,
            _ => {}
        }
    }
    event
}

fn quick() -> TestServer {
    TestServer::with(WebOptions { refresh_interval: Duration::from_millis(50), ..WebOptions::default() })
}

fn print(server: &TestServer, text: &str) {
    server.daemon.log.push("echo_serv", Some(7), LogStream::Stdout, text.into());
}

#[test]
fn snapshots_come_again_and_again() {
    let server = quick();
    let mut events = Events::open(server.address, "/api/v1/stream", &[]);
    let first = events.next();
    assert_eq!(
        (first.name.as_str(), &first.json()["services"][0]["status"]),
        ("snapshot", &"running".into())
    );
    server.daemon.state().settle("echo_serv", shmrpc_web::ServiceStatus::Fatal);
    while events.next().json()["services"][0]["status"] != "fatal" {}
}

#[test]
fn the_log_is_read_page_by_page() {
    let server = TestServer::start();
    for i in 0..5 {
        print(&server, &format!("line {i}"));
    }
    let texts = |target: &str| -> Vec<String> {
        let answer = get(server.address, target);
        assert_eq!(answer.status, 200, "{answer:?}");
        let lines = answer.json()["lines"].as_array().unwrap().clone();
        lines.iter().map(|line| line["text"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(texts("/api/v1/logs?limit=2"), ["line 3", "line 4"]);
    let all = get(server.address, "/api/v1/logs").json();
    assert_eq!(all["lines"].as_array().unwrap().len(), 6, "with the daemon's own first line");
    let cursor = all["lines"][2]["cursor"].as_u64().unwrap();
    assert_eq!(texts(&format!("/api/v1/logs?after={cursor}&limit=2")), ["line 2", "line 3"]);
    assert_eq!(texts("/api/v1/logs?limit=0"), [""; 0]);
    for wrong in ["?after=x", "?after=-1", "?limit=many", "?file=/etc/passwd"] {
        let answer = get(server.address, &format!("/api/v1/logs{wrong}"));
        assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("bad-request")), "{wrong}");
    }
}

#[test]
fn the_log_stream_goes_on_where_it_was_left() {
    let server = TestServer::start();
    print(&server, "one");
    let mut events = Events::open(server.address, "/api/v1/logs/stream", &[]);
    assert_eq!(events.next().json()["stream"], "daemon");
    let one = events.next();
    assert_eq!((one.name.as_str(), &one.json()["text"]), ("log", &"one".into()));
    assert_eq!(one.id, one.json()["cursor"].as_u64());
    print(&server, "two");
    assert_eq!(events.next().json()["text"], "two");
    drop(events);

    print(&server, "three");
    let last = one.id.unwrap().to_string();
    let mut events = Events::open(server.address, "/api/v1/logs/stream", &[("last-event-id", &last)]);
    assert_eq!(events.next().json()["text"], "two");
    assert_eq!(events.next().json()["text"], "three");
    let wrong = send(server.address, "GET", "/api/v1/logs/stream", &[("last-event-id", "x")], b"");
    assert_eq!(wrong.status, 400);
}

#[test]
fn lines_lost_in_between_are_counted() {
    let server = TestServer::start();
    print(&server, "first");
    let mut events = Events::open(server.address, "/api/v1/logs/stream?limit=1", &[]);
    let first = events.next();
    assert_eq!(first.json()["text"], "first");
    drop(events);
    for i in 0..6000 {
        print(&server, &format!("line {i}"));
    }
    let target = format!("/api/v1/logs/stream?after={}", first.id.unwrap());
    let mut events = Events::open(server.address, &target, &[]);
    let missed = events.next();
    assert_eq!((missed.name.as_str(), missed.data.as_str()), ("missed", "1000"));
    assert_eq!(events.next().json()["text"], "line 1000");
}

#[test]
fn the_pages_stream_has_everything_in_one() {
    let server = quick();
    let mut events = Events::open(server.address, "/live", &[]);
    let version = events.next();
    let page = get(server.address, "/").text();
    assert_eq!(version.name, "version");
    assert!(page.contains(&format!("data-version=\"{}\"", version.data)), "{}", version.data);
    let parts = events.next_named("parts").json();
    assert!(parts["tables"].as_str().unwrap().contains("echo_serv"), "{parts}");
    // The second time only what has changed is sent.
    assert!(events.next_named("parts").json().get("tables").is_none());
    print(&server, "\u{1b}[31mred\u{1b}[0m");
    loop {
        let lines = events.next_named("log").json()["lines"].as_array().unwrap().clone();
        if lines.iter().any(|line| line["pieces"] == serde_json::json!([{"style": "f1", "text": "red"}])) {
            break;
        }
    }
}
