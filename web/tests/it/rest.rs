//! Every route, what it answers, and every error with its status and its `code`.

use std::io::{BufRead as _, BufReader, Write as _};

use serde_json::{Value, json};
use shmrpc_web::{ServiceStatus, Snapshot};

use crate::{
    http::{Answer, get, post, send},
    server::TestServer,
};

const METHODS: &str = "/api/v1/services/echo_serv/methods";
const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";
const LINES: &str = "application/x-ndjson";

fn assert_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    let document = answer.json();
    assert_eq!((answer.status, document["code"].as_str()), (status, Some(code)), "{document}");
    assert_eq!(document["status"], json!(status));
    assert!(document["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{document}");
}

#[test]
fn services_are_listed_and_shown_one_by_one() {
    let server = TestServer::start();
    let answer = get(server.address, "/api/v1/services");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(JSON)));
    let snapshot: Snapshot = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(snapshot.services.len(), 2);
    assert_eq!(snapshot.services[0].workers.len(), 2);
    let method = answer.json()["services"][0]["methods"][1].clone();
    assert_eq!(
        (&method["name"], &method["count"], &method["encoding"]),
        (&json!("echo_json"), &json!(1204), &json!("json"))
    );

    let one = get(server.address, "/api/v1/services/echo_serv");
    assert_eq!((one.status, one.json()["name"].as_str()), (200, Some("echo_serv")));
    assert_eq!(one.header("cache-control"), Some("no-store"));
    assert_problem(&get(server.address, "/api/v1/services/nobody"), 404, "no-such-service");
}

#[test]
fn orders_are_taken_and_refused() {
    let server = TestServer::start();
    let stop = send(server.address, "POST", "/api/v1/services/echo_serv/stop", &[], b"");
    assert_eq!((stop.status, stop.json()["status"].as_str()), (202, Some("stopping")));
    wait_for(&server, "echo_serv", ServiceStatus::Stopped);
    let again = send(server.address, "POST", "/api/v1/services/echo_serv/stop", &[], b"");
    assert_problem(&again, 409, "conflict");
    assert!(again.json()["detail"].as_str().unwrap().contains("it is stopped"), "{again:?}");
    let start = send(server.address, "POST", "/api/v1/services/echo_serv/start", &[], b"");
    assert_eq!((start.status, start.json()["status"].as_str()), (202, Some("starting")));
    wait_for(&server, "echo_serv", ServiceStatus::Running);
    assert_eq!(send(server.address, "POST", "/api/v1/services/echo_serv/restart", &[], b"").status, 202);

    let post = |target: &str| send(server.address, "POST", target, &[], b"");
    assert_problem(&post("/api/v1/services/nobody/stop"), 404, "no-such-service");
    assert_problem(&post("/api/v1/services/echo_serv/explode"), 404, "no-such-page");
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let answer = send(server.address, method, "/api/v1/services/echo_serv/stop", &[], b"");
        assert_problem(&answer, 405, "method-not-allowed");
        assert_eq!(answer.header("allow"), Some("POST"));
    }
}

#[test]
fn a_form_without_scripts_leads_back_to_the_page() {
    let server = TestServer::start();
    let accept = [("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")];
    let answer = send(server.address, "POST", "/api/v1/services/reports/start", &accept, b"");
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
    let answer = send(server.address, "POST", "/api/v1/services/nobody/start", &accept, b"");
    assert_eq!((answer.status, answer.header("content-type")), (404, Some("text/html; charset=utf-8")));
    assert!(answer.text().contains("no service &quot;nobody&quot;"), "{}", answer.text());
}

fn wait_for(server: &TestServer, service: &str, status: ServiceStatus) {
    let deadline = std::time::Instant::now() + crate::http::DEADLINE;
    let target = format!("/api/v1/services/{service}");
    while get(server.address, &target).json()["status"] != json!(status) {
        assert!(std::time::Instant::now() < deadline, "{service} never became {status}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn methods_answer_in_the_encoding_that_they_are_called_in() {
    let server = TestServer::start();
    server.daemon.state().services[0].force_insecure_serialisation = true;
    let binary: Vec<u8> = (0..=255).collect();
    let msgpack = "application/vnd.msgpack";
    for (method, content_type, body, answered) in [
        ("echo_raw", BYTES, binary.as_slice(), BYTES),
        ("echo_raw", BYTES, b"", BYTES),
        ("echo_json", JSON, br#"[{"a": 1}]"#, JSON),
        ("echo_json", "application/json; charset=utf-8", b" [1]", JSON),
        ("echo_msgpack", JSON, b"[1,2]", JSON),
        ("echo_msgpack", msgpack, &[0x91, 0x01], msgpack),
        ("echo_msgpack", "application/msgpack", &[0x91, 0x01], msgpack),
        ("echo_bincode", JSON, b"[1,2]", JSON),
        ("echo_bincode", "application/x-bincode", &[1, 2], "application/x-bincode"),
    ] {
        let answer = post(server.address, &format!("{METHODS}/{method}"), content_type, body);
        assert_eq!((answer.status, answer.body.as_slice()), (200, body), "{method} {content_type}");
        assert_eq!(answer.header("content-type"), Some(answered), "{method} {content_type}");
        assert_eq!(answer.header("shmrpc-status"), Some("ok"));
    }
    let bare = send(server.address, "POST", &format!("{METHODS}/echo_json"), &[], b"");
    assert_eq!((bare.status, bare.text().as_str()), (200, "[]"), "no body: no arguments");
    let bare = send(server.address, "POST", &format!("{METHODS}/echo_raw"), &[], b"");
    assert_eq!((bare.status, bare.body.len(), bare.header("content-type")), (200, 0, Some(BYTES)));
}

#[test]
fn calls_that_cannot_be_say_why() {
    let server = TestServer::start();
    let call = |method: &str, content_type: &str, body: &[u8]| {
        post(server.address, &format!("{METHODS}/{method}"), content_type, body)
    };
    let elsewhere = post(server.address, "/api/v1/services/nobody/methods/echo", JSON, b"[]");
    assert_problem(&elsewhere, 404, "no-such-service");
    let unknown = call("ecko_json", JSON, b"[]");
    assert_problem(&unknown, 404, "no-such-method");
    assert!(unknown.json()["detail"].as_str().unwrap().contains("echo_json"), "{unknown:?}");
    assert_problem(&call("echo_bincode", JSON, b"[]"), 403, "refused");
    assert_problem(&call("echo_bincode", "application/x-bincode", b"x"), 403, "refused");
    assert_problem(&call("echo_json", JSON, b"{}"), 400, "bad-arguments");
    for (method, content_type) in [
        ("echo_json", "text/plain"),
        ("echo_json", "application/x-www-form-urlencoded"),
        ("echo_json", "multipart/form-data; boundary=x"),
        ("echo_json", BYTES),
        ("echo_json", "application/vnd.msgpack"),
        ("echo_raw", JSON),
        ("echo_msgpack", "application/x-bincode"),
        ("echo_json", ""),
    ] {
        assert_problem(&call(method, content_type, b"[1]"), 415, "unsupported-media-type");
    }
    let typeless = send(server.address, "POST", &format!("{METHODS}/echo_json"), &[], b"[1]");
    assert_problem(&typeless, 415, "unsupported-media-type");
}

#[test]
fn failures_of_calls_have_their_statuses() {
    let server = TestServer::start();
    let call = |method: &str| post(server.address, &format!("{METHODS}/{method}"), JSON, b"[]");
    assert_problem(&call("die"), 502, "worker-died");
    assert_problem(&call("panic"), 500, "panicked");
    assert_problem(&call("refuse"), 400, "bad-arguments");
    assert_problem(&call("big"), 502, "reply-too-large");
    let busy = call("busy");
    assert_problem(&busy, 503, "busy");
    assert_eq!(busy.header("retry-after"), Some("1"));

    let failed = call("fail");
    assert_problem(&failed, 422, "service-error");
    assert_eq!(failed.header("shmrpc-status"), Some("service-error"));
    assert_eq!(failed.json()["error"], json!({"kind": "nope"}));
    let msgpack = "application/vnd.msgpack";
    let failed = post(server.address, &format!("{METHODS}/fail_msgpack"), msgpack, &[0x90]);
    assert_eq!((failed.status, failed.body.as_slice()), (422, b"\xa4nope".as_slice()));
    assert_eq!(failed.header("content-type"), Some(msgpack));
    assert_eq!(failed.header("shmrpc-status"), Some("service-error"));

    server.daemon.state().settle("echo_serv", ServiceStatus::Stopped);
    assert_problem(&call("echo_json"), 503, "unavailable");
}

#[test]
fn a_call_may_bring_its_own_deadline() {
    let server = TestServer::start();
    let call = |deadline: &str| {
        let headers = [("content-type", JSON), ("shmrpc-deadline-ms", deadline)];
        send(server.address, "POST", &format!("{METHODS}/sleep"), &headers, b"[]")
    };
    let late = call("50");
    assert_problem(&late, 504, "deadline-exceeded");
    assert!(late.json()["detail"].as_str().unwrap().contains("50ms"), "{late:?}");
    for wrong in ["0", "soon", "-1"] {
        assert_problem(&call(wrong), 400, "bad-request");
    }
}

#[test]
fn only_what_changes_nothing_may_be_called_by_get() {
    let server = TestServer::start();
    let call = |target: &str| get(server.address, &format!("{METHODS}/{target}"));
    for (target, body) in [
        ("look", "[]"),
        ("look?args=[1,2]", "[1,2]"),
        ("look?args=%5B%22a+b%20%C3%A4%22%5D", "[\"a b ä\"]"),
        ("look_raw", ""),
    ] {
        let answer = call(target);
        assert_eq!((answer.status, answer.text().as_str()), (200, body), "{target}");
    }
    assert_eq!(send(server.address, "HEAD", &format!("{METHODS}/look"), &[], b"").status, 200);
    assert_problem(&call("look?args=1"), 400, "bad-arguments");
    assert_problem(&call("look?args=[%FF]"), 400, "bad-arguments");
    assert_problem(&call("look?arg=[]"), 400, "bad-request");
    assert_problem(&call("look?args=[]&args=[]"), 400, "bad-request");
    assert_problem(&call("look_raw?args=[]"), 400, "bad-arguments");
    let changing = call("echo_json?args=[1]");
    assert_problem(&changing, 405, "method-not-allowed");
    assert_eq!(changing.header("allow"), Some("POST"));
    assert_problem(&call("nothing"), 404, "no-such-method");
}

#[test]
fn a_method_that_streams_answers_line_by_line() {
    let server = TestServer::start();
    let answer = post(server.address, &format!("{METHODS}/ticks"), JSON, b"[7]");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-ndjson")));
    let lines = "{\"item\":1}\n{\"item\":2}\n{\"item\":3}\n{\"reply\":[7]}\n";
    assert_eq!(answer.text(), lines);
    let answer = post(server.address, &format!("{METHODS}/ticks_raw"), "application/octet-stream", b"");
    assert_eq!((answer.status, answer.text().as_str()), (200, "123"));
}

#[test]
fn a_method_takes_the_lines_of_a_body_as_they_come() {
    let server = TestServer::start();
    let call = |method: &str, content_type: &str, body: &[u8]| {
        post(server.address, &format!("{METHODS}/{method}"), content_type, body)
    };
    // The reply has the arguments, and each item behind the other.
    for (body, answered) in [
        ("[1]\n{\"a\": 1}\n2\n", "[1]{\"a\": 1}2"),
        ("\n [1]\r\n\n  \n2", " [1]\r2"),
        ("[1]", "[1]"),
        ("", "[]"),
    ] {
        let answer = call("pour", LINES, body.as_bytes());
        assert_eq!((answer.status, answer.text().as_str()), (200, answered), "{body:?}");
        assert_eq!(answer.header("content-type"), Some(JSON));
    }
    let bare = send(server.address, "POST", &format!("{METHODS}/pour"), &[], b"");
    assert_eq!((bare.status, bare.text().as_str()), (200, "[]"));
    let long = vec![7; 300_000];
    let answer = call("pour_raw", BYTES, &long);
    assert_eq!((answer.status, answer.body), (200, long));

    let answer = call("swap", LINES, b"[7]\n1\n2\n");
    assert_eq!(answer.text(), "{\"item\":1}\n{\"item\":2}\n{\"reply\":[7]}\n");
    assert_eq!(answer.header("content-type"), Some(LINES));

    let wrong = call("pour", LINES, b"[1]\n2\n{3\n4\n");
    assert_problem(&wrong, 400, "bad-arguments");
    assert!(wrong.json()["detail"].as_str().unwrap().starts_with("line 3: "), "{wrong:?}");
    assert_problem(&call("pour", LINES, b"{}\n1"), 400, "bad-arguments");
    let wrong = call("swap", LINES, b"[7]\n1\n]\n");
    let last = wrong.text().lines().last().map(|line| serde_json::from_str::<Value>(line).unwrap()).unwrap();
    assert_eq!((wrong.status, &last["problem"]["code"]), (200, &json!("bad-arguments")), "{wrong:?}");
    for (method, content_type) in [("pour", JSON), ("pour", ""), ("pour_raw", LINES), ("swap", BYTES)] {
        assert_problem(&call(method, content_type, b"[1]"), 415, "unsupported-media-type");
    }
}

#[test]
fn items_go_both_ways_at_once() {
    let server = TestServer::start();
    let mut stream = crate::http::connect(server.address);
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let head = format!(
        "POST {METHODS}/swap HTTP/1.1\r\nHost: {}\r\nContent-Type: {LINES}\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
        server.address
    );
    // A line need not come in one piece.
    stream.write_all((head + &chunk("[7]\n1\n[2,") + &chunk(" 3]\n")).as_bytes()).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut until = |end: &str| {
        let mut line = String::new();
        while !line.contains(end) {
            line.clear();
            assert_ne!(reader.read_line(&mut line).unwrap(), 0, "no {end}");
        }
    };
    until("{\"item\":1}");
    until("{\"item\":[2,3]}");
    for number in 4..100 {
        stream.write_all(chunk(&format!("{number}\n")).as_bytes()).unwrap();
        until(&format!("{{\"item\":{number}}}"));
    }
    stream.write_all(chunk("").as_bytes()).unwrap();
    until("{\"reply\":[7]}");
}

#[test]
fn logs_can_be_kept_as_a_file() {
    let server = TestServer::start();
    server.daemon.log.push(
        "echo_serv",
        Some(7),
        shmrpc_web::LogStream::Stderr,
        "\u{1b}[31mred\u{1b}[0m <b>".into(),
    );
    let answer = get(server.address, "/api/v1/logs?format=text&service=echo_serv");
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(answer.header("content-disposition").unwrap().starts_with("attachment"));
    assert!(answer.text().ends_with("Z echo_serv[7] stderr: red <b>\n"), "{}", answer.text());
}

#[test]
fn the_api_describes_itself_and_the_services() {
    let server = TestServer::start();
    let answer = get(server.address, "/api/v1/openapi.json");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(JSON)));
    let document = answer.json();
    let echo = &document["paths"]["/api/v1/services/echo_serv/methods/echo_json"]["post"];
    let arguments = &echo["requestBody"]["content"][JSON]["schema"];
    assert_eq!(
        (&arguments["minItems"], &arguments["prefixItems"][0]["title"]),
        (&json!(1), &json!("data: Value"))
    );
    assert!(document["paths"]["/api/v1/services/echo_serv/methods/look"]["get"].is_object());
    assert!(document["paths"]["/api/v1/services/echo_serv/methods/echo_json"]["get"].is_null());

    // A type that tells its schema is among those of the document; one that does not may be anything.
    let send = &document["paths"]["/api/v1/services/echo_serv/methods/send"]["post"];
    let arguments = &send["requestBody"]["content"][JSON]["schema"]["prefixItems"];
    let parcel = json!({ "$ref": "#/components/schemas/echo_serv.Parcel", "title": "parcel: Parcel" });
    assert_eq!(arguments[0], parcel);
    assert_eq!((&arguments[1]["title"], &arguments[1]["maximum"]), (&json!("copies: u8"), &json!(255)));
    let parcel = &document["components"]["schemas"]["echo_serv.Parcel"]["properties"];
    assert_eq!(parcel["to"]["$ref"], "#/components/schemas/echo_serv.Address");
    // OpenAPI has no schema of a body that is a sequence: the lines have one of their own.
    let swap = &document["paths"]["/api/v1/services/echo_serv/methods/swap"]["post"];
    let taken = &swap["requestBody"]["content"][LINES];
    assert_eq!(taken["x-itemSchema"]["$ref"], "#/components/schemas/echo_serv.Parcel");
    assert_eq!(taken["x-firstLineSchema"]["prefixItems"][0]["title"], "data: Value");
    let line = &swap["responses"]["200"]["content"][LINES]["x-itemSchema"]["oneOf"];
    assert_eq!(line[0]["properties"]["item"]["$ref"], "#/components/schemas/echo_serv.Receipt");
    assert_eq!(line[2]["properties"]["problem"]["$ref"], "#/components/schemas/Problem");
    // What is sent once a second does without.
    assert!(get(server.address, "/api/v1/services/echo_serv").json().get("schemas").is_none());
}

#[test]
fn unknown_addresses_and_methods_are_problems_too() {
    let server = TestServer::start();
    for target in
        ["/apis", "/api/v2/services", "/api/v1/services/", "/assets/0/page.js", "/../etc/passwd", "/%00"]
    {
        assert_problem(&get(server.address, target), 404, "no-such-page");
    }
    let answer = send(server.address, "DELETE", "/api/v1/services", &[], b"");
    assert_problem(&answer, 405, "method-not-allowed");
    assert!(answer.header("allow").is_some_and(|allow| allow.contains("GET")), "{answer:?}");
    assert_problem(&get(server.address, "/api/v1/services/%FF"), 400, "bad-request");
    assert_problem(&send(server.address, "OPTIONS", "/api/v1/services", &[], b""), 405, "method-not-allowed");
}

#[test]
fn the_pages_are_complete_without_scripts() {
    let server = TestServer::start();
    server.daemon.log.push("echo_serv", None, shmrpc_web::LogStream::Stdout, "<b>hello</b>".into());
    let line = "&lt;b&gt;hello&lt;/b&gt;";
    let stop = r#"<form method="post" action="/api/v1/services/echo_serv/stop?page="#;
    for (address, parts) in [
        ("/", &["echo_serv", "running", "Gives back", line, stop] as &[&str]),
        (
            "/services/echo_serv?range=1h",
            &[
                "running",
                "127.0.0.1:5555",
                "echo_msgpack",
                "1,204",
                "import_from",
                "Time in the handler",
                line,
                stop,
            ],
        ),
        ("/events", &["2 services configured"]),
        ("/api", &["/api/v1/openapi.json"]),
    ] {
        let page = get(server.address, address);
        assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
        let markup = page.text();
        for part in parts {
            assert!(markup.contains(part), "{address} lacks {part}");
        }
        assert_is_of_our_own(&server, &markup);
    }
    let answer = send(server.address, "GET", "/services/ecko", &[("accept", "text/html")], b"");
    assert_eq!(answer.status, 404);
    assert!(answer.text().contains("no service &quot;ecko&quot;"), "{}", answer.text());
}

/// Nothing from elsewhere, nothing inline, and what is linked is there, to be kept.
fn assert_is_of_our_own(server: &TestServer, markup: &str) {
    for banned in ["<style", " style=", "onclick", "javascript:", "http://", "https://", "//cdn"] {
        assert!(!markup.contains(banned), "the page has {banned}");
    }
    let addresses = markup.split('"').filter(|part| part.starts_with("/assets/"));
    let mut count = 0;
    for address in addresses.collect::<std::collections::BTreeSet<_>>() {
        let asset = get(server.address, address);
        assert_eq!(asset.status, 200, "{address}");
        assert!(asset.header("cache-control").unwrap().contains("immutable"));
        let tag = asset.header("etag").unwrap().to_owned();
        let known = send(server.address, "GET", address, &[("if-none-match", &tag)], b"");
        assert_eq!((known.status, known.body.len()), (304, 0));
        count += 1;
    }
    assert!(count >= 3, "style, script and icon are linked");
}
