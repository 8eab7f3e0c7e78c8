//! Who may come in, over real connections: every route and the lack of one, with and without the token.

use std::net::Ipv4Addr;

use shmrpc_web::{ServiceStatus, WebOptions};

use crate::{http::send, server::TestServer};

const ROUTES: &[(&str, &str)] = &[
    ("GET", "/"),
    ("GET", "/live"),
    ("GET", "/favicon.ico"),
    ("GET", "/assets/0/page.js"),
    ("GET", "/api/v1/services"),
    ("GET", "/api/v1/services/echo_serv"),
    ("POST", "/api/v1/services/echo_serv/stop"),
    ("GET", "/api/v1/services/echo_serv/stop"),
    ("POST", "/api/v1/services/echo_serv/methods/print"),
    ("GET", "/api/v1/services/echo_serv/methods/look"),
    ("GET", "/api/v1/stream"),
    ("GET", "/api/v1/logs"),
    ("GET", "/api/v1/logs/stream"),
    ("GET", "/nowhere"),
    ("OPTIONS", "/api/v1/services/echo_serv/stop"),
    ("BREW", "/"),
];

#[test]
fn foreign_requests_are_refused_on_every_route() {
    let server = TestServer::start();
    let port = server.address.port();
    let rebound = format!("evil.example:{port}");
    for (method, target) in ROUTES {
        for foreign in [
            ("host", rebound.as_str()),
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let token = ("authorization", "Bearer open sesame");
            let answer = send(server.address, method, target, &[foreign, token], b"");
            assert_eq!(answer.status, 403, "{method} {target} with {foreign:?}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
    }
    assert_eq!(server.daemon.state().services[0].status, ServiceStatus::Running);
}

#[test]
fn answers_are_kept_to_themselves() {
    let server = TestServer::start();
    for (method, target) in
        ROUTES.iter().filter(|(_, target)| !target.ends_with("e") && !target.contains("stream"))
    {
        let answer = send(server.address, method, target, &[], b"");
        let policy = answer.header("content-security-policy").unwrap_or_default();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{target}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{target}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{target}");
    }
}

#[test]
fn the_own_page_and_bare_programs_come_in() {
    let server = TestServer::start();
    let port = server.address.port();
    let origin = format!("http://localhost:{port}");
    let host = format!("localhost:{port}");
    let page = [("host", host.as_str()), ("origin", origin.as_str()), ("sec-fetch-site", "same-origin")];
    assert_eq!(send(server.address, "POST", "/api/v1/services/echo_serv/stop", &page, b"").status, 202);
    assert_eq!(send(server.address, "GET", "/api/v1/services", &[], b"").status, 200);
}

/// This process's uid is not in the list, so it plays the stranger.
#[test]
fn strangers_need_the_token() {
    let options = WebOptions {
        allowed_uids: vec![u32::MAX - 7],
        token: Some("open sesame".into()),
        ..WebOptions::default()
    };
    let server = TestServer::with(options);
    for (method, target) in ROUTES {
        let answer = send(server.address, method, target, &[], b"");
        assert_eq!(answer.status, 401, "{method} {target}");
        assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Basic ")));
    }
    let wrong = send(server.address, "GET", "/", &[("authorization", "Bearer open sesam")], b"");
    assert_eq!(wrong.status, 401);
    for right in ["Bearer open sesame", "Basic bWU6b3BlbiBzZXNhbWU="] {
        assert_eq!(send(server.address, "GET", "/", &[("authorization", right)], b"").status, 200, "{right}");
    }
    assert_eq!(server.daemon.state().services[0].status, ServiceStatus::Running);
}

/// A connection that does not come from a loopback address is nobody's, even if its socket is ours.
#[test]
fn other_addresses_need_the_token() {
    let Some(own_address) = outward_address() else {
        eprintln!("skipped: this machine has loopback addresses alone");
        return;
    };
    let listener = std::net::TcpListener::bind((own_address, 0)).unwrap();
    let options = WebOptions { token: Some("open sesame".into()), ..WebOptions::default() };
    let server = TestServer::on(listener, crate::fake::FakeDaemon::new(), options);
    assert_eq!(send(server.address, "GET", "/api/v1/services", &[], b"").status, 401);
    let token = [("authorization", "Bearer open sesame")];
    assert_eq!(send(server.address, "GET", "/api/v1/services", &token, b"").status, 200);
}

/// The address from which this machine would reach others; nothing is sent.
fn outward_address() -> Option<Ipv4Addr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    match socket.local_addr().ok()?.ip() {
        std::net::IpAddr::V4(address) if !address.is_loopback() => Some(address),
        _ => None,
    }
}
