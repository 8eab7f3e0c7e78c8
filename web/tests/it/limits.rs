//! Limits on whoever connects: long bodies, slow heads, many connections, and the end of the server.

use std::{
    io::{BufReader, Read, Write},
    time::Duration,
};

use shmrpc_web::WebOptions;

use crate::{
    http::{connect, get, post, read_answer, read_head, send},
    server::TestServer,
};

const ECHO: &str = "/api/v1/services/echo_serv/methods/echo_raw";
const BYTES: &str = "application/octet-stream";
const POUR: &str = "/api/v1/services/echo_serv/methods/pour";
const LINES: &str = "application/x-ndjson";

#[test]
fn bodies_beyond_the_limit_are_refused() {
    let server = TestServer::with(WebOptions { max_body_bytes: 1000, ..WebOptions::default() });
    assert_eq!(post(server.address, ECHO, BYTES, &[7; 1000]).body, [7; 1000]);
    let answer = post(server.address, ECHO, BYTES, &[7; 1001]);
    assert_eq!((answer.status, answer.json()["code"].as_str()), (413, Some("too-large")));
    let mut stream = connect(server.address);
    let mut text = format!("POST {ECHO} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", server.address);
    text += &format!(
        "content-type: {BYTES}\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n{}\r\n0\r\n\r\n",
        "x".repeat(1001)
    );
    stream.write_all(text.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut BufReader::new(stream), false).status, 413, "a length that is not declared");
}

#[test]
fn the_default_limit_lets_sixteen_mebibytes_pass() {
    let server = TestServer::start();
    let body = vec![0x5a; 16 << 20];
    let answer = post(server.address, ECHO, BYTES, &body);
    assert_eq!((answer.status, answer.body.len()), (200, body.len()));
    let declared = [("content-type", BYTES), ("content-length", "16777217")];
    assert_eq!(send(server.address, "POST", ECHO, &declared, b"").status, 413);
}

/// The row of the fault matrix: who sends nothing, or a byte now and then, is cut off, and others are served
/// meanwhile. The default is the row's bound.
#[test]
fn slowloris_http() {
    assert!(WebOptions::default().header_timeout <= Duration::from_secs(10));
    let options = WebOptions { header_timeout: Duration::from_millis(500), ..WebOptions::default() };
    let server = TestServer::with(options);
    let mut slow: Vec<_> = (0..100).map(|_| connect(server.address)).collect();
    let (silent, dripping) = slow.split_at_mut(50);
    let mut open = 50;
    for byte in "GET / HTTP/1.1\r\nx-a: b\r\n".repeat(100).bytes() {
        open = dripping.iter_mut().filter_map(|stream| stream.write_all(&[byte]).ok()).count();
        if open == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(open, 0, "a head that never ends is read on and on");
    assert_eq!(get(server.address, "/favicon.ico").status, 200);
    for stream in silent {
        stream.read_to_end(&mut Vec::new()).expect("the server ends the connection");
    }
}

#[test]
fn slow_heads_and_bodies_are_cut_off() {
    let options = WebOptions {
        header_timeout: Duration::from_millis(200),
        body_timeout: Duration::from_millis(200),
        ..WebOptions::default()
    };
    let server = TestServer::with(options);
    let mut slow = connect(server.address);
    slow.write_all(b"GET / HTTP/1.1\r\nhost: ").unwrap();
    let mut rest = Vec::new();
    // The end arrives long before the client's own deadline, whatever is said before it.
    slow.read_to_end(&mut rest).expect("the server ends the connection");

    let mut slow = connect(server.address);
    let head = format!(
        "POST {ECHO} HTTP/1.1\r\nhost: {}\r\ncontent-type: {BYTES}\r\ncontent-length: 10\r\n\r\nfive!",
        server.address
    );
    slow.write_all(head.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut BufReader::new(slow), false).status, 408);

    // Of items each piece is waited for so long.
    let mut slow = connect(server.address);
    let head = format!(
        "POST {POUR} HTTP/1.1\r\nhost: {}\r\ncontent-type: {LINES}\r\ncontent-length: 10\r\n\r\n[1]\n2\n",
        server.address
    );
    slow.write_all(head.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut BufReader::new(slow), false).status, 408);
}

#[test]
fn a_line_may_be_as_long_as_a_body_and_lines_together_longer() {
    let server = TestServer::with(WebOptions { max_body_bytes: 1000, ..WebOptions::default() });
    let pour = |body: &str| send(server.address, "POST", POUR, &[("content-type", LINES)], body.as_bytes());
    let line = format!("\"{}\"\n", "x".repeat(900));
    assert_eq!(pour(&format!("[]\n{}", line.repeat(100))).status, 200);
    let long = format!("\"{}\"\n", "x".repeat(1000));
    let answer = pour(&format!("[]\n{line}{long}"));
    assert_eq!((answer.status, answer.json()["code"].as_str()), (413, Some("too-large")));
    assert!(answer.text().contains("line 3: more than 1000 bytes"), "{}", answer.text());
}

#[test]
fn further_connections_wait_for_their_turn() {
    let server = TestServer::with(WebOptions { max_connections: 2, ..WebOptions::default() });
    let idle: Vec<_> = (0..2).map(|_| connect(server.address)).collect();
    let mut waiting = connect(server.address);
    let request =
        format!("GET /favicon.ico HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", server.address);
    waiting.write_all(request.as_bytes()).unwrap();
    waiting.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(waiting.read(&mut [0]).is_err(), "served although two connections are open");
    drop(idle);
    waiting.set_read_timeout(Some(crate::http::DEADLINE)).unwrap();
    assert_eq!(read_answer(&mut BufReader::new(waiting), false).status, 200);
}

#[test]
fn nonsense_is_answered_or_cut_off_and_the_server_lives() {
    let server = TestServer::start();
    let long_header = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    for nonsense in [
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}",
        "GET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        long_header.as_str(),
    ] {
        let mut stream = connect(server.address);
        let _ = stream.write_all(nonsense.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(get(server.address, "/api/v1/services").status, 200);
}

#[test]
fn the_end_lets_calls_finish_and_ends_streams() {
    let server = TestServer::start();
    let address = server.address;
    let mut stream = BufReader::new(connect(address));
    let request = format!("GET /api/v1/stream HTTP/1.1\r\nhost: {address}\r\n\r\n");
    stream.get_mut().write_all(request.as_bytes()).unwrap();
    assert_eq!(read_head(&mut stream).status, 200);
    let mut call = BufReader::new(connect(address));
    let request = format!(
        "POST /api/v1/services/echo_serv/methods/sleep HTTP/1.1\r\nhost: {address}\r\n\
         content-length: 0\r\nshmrpc-deadline-ms: 400\r\n\r\n"
    );
    call.get_mut().write_all(request.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    drop(server);
    assert_eq!(read_answer(&mut call, false).status, 504);
    stream.read_to_end(&mut Vec::new()).expect("the stream ends");
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
}
