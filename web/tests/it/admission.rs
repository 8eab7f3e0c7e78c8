//! Who may come in, over real connections: every route and the lack of one, with and without the token.

use std::net::Ipv4Addr;

use shmrpc_web::{ServiceStatus, WebOptions, addresses};

use crate::{
    http::{answer_head, send},
    server::TestServer,
};

/// An address with names filled in.
fn fill(address: &str) -> String {
    let name = if address.contains("assets") { "page.js" } else { "echo_serv" };
    let filled = address.replace("{hash}", "0").replace("{name}", name);
    filled.replace("{action}", "stop").replace("{method}", "print")
}

/// Every address of the router's own list, with names filled in, and some that are in none.
pub(crate) fn targets() -> Vec<String> {
    let own = addresses().into_iter().map(fill);
    let targets: Vec<String> =
        own.chain(["/nowhere", "/api/v1/services/echo_serv/methods/look"].map(Into::into)).collect();
    assert!(targets.len() >= 13 && !targets.iter().any(|target| target.contains('{')), "{targets:?}");
    targets
}

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"];

/// The row of the fault matrix: each kind of foreign request, to each address, by each method. None gets more
/// than a refusal, the daemon's token or not, and nothing changes.
#[test]
fn dns_rebinding_csrf() {
    let server = TestServer::start();
    let port = server.address.port();
    let (rebound, own) = (format!("evil.example:{port}"), format!("localhost:{port}"));
    let other_port = format!("http://localhost:{}", port ^ 1);
    let foreign = [
        ("host", rebound.as_str()),
        ("host", "evil.example"),
        ("host", "localhost"),
        ("host", "localhost.evil.example"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", other_port.as_str()),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ];
    for target in targets() {
        for (number, method) in METHODS.into_iter().enumerate() {
            // All of them where something could change, in turn elsewhere.
            let tried = if method == "POST" { &foreign[..] } else { &foreign[number % foreign.len()..][..1] };
            for foreign in tried {
                let mut headers = vec![*foreign, ("authorization", "Bearer open sesame")];
                if foreign.0 != "host" {
                    headers.push(("host", own.as_str()));
                }
                let answer = send(server.address, method, &target, &headers, b"");
                assert_eq!(answer.status, 403, "{method} {target} with {foreign:?}");
                assert_eq!(answer.header("content-type"), Some("application/problem+json"));
                assert_eq!(answer.header("access-control-allow-origin"), None);
            }
        }
    }
    assert_eq!(server.daemon.state().services[0].status, ServiceStatus::Running);
}

/// A change that a browser asks for, from our own origin, but without what our page knows.
#[test]
fn a_browsers_change_needs_the_pages_token() {
    let server = TestServer::start();
    let own = format!("localhost:{}", server.address.port());
    let origin = format!("http://{own}");
    let page = [("host", own.as_str()), ("origin", origin.as_str()), ("sec-fetch-site", "same-origin")];
    for target in targets() {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            for query in ["", "?page=", "?page=00000000000000000000000000000000"] {
                let answer = send(server.address, method, &format!("{target}{query}"), &page, b"");
                assert_eq!(answer.status, 403, "{method} {target}{query}");
            }
        }
    }
    assert_eq!(server.daemon.state().services[0].status, ServiceStatus::Running);
}

/// Whatever stands in the place of a name, in any address that has one: it is a name, and leads nowhere else.
#[test]
fn traversal() {
    const ESCAPES: [&str; 10] = [
        "..",
        "%2e%2e",
        ".%2e",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2fetc%2fpasswd",
        "..%5c..%5cetc%5cpasswd",
        "%252e%252e%252fetc%252fpasswd",
        "%00",
        "echo_serv%00",
        "%ff",
    ];
    let server = TestServer::start();
    for address in addresses().into_iter().filter(|address| address.contains('{')) {
        let parts: Vec<&str> = address.split('/').collect();
        for place in (0..parts.len()).filter(|place| parts[*place].starts_with('{')) {
            for escape in ESCAPES {
                let mut parts = parts.clone();
                parts[place] = escape;
                let target = fill(&parts.join("/"));
                for method in ["GET", "POST"] {
                    // A stream says that there is no such service, and does not end.
                    let answer = match address.starts_with("/live") {
                        true => answer_head(server.address, method, &target),
                        false => send(server.address, method, &target, &[], b""),
                    };
                    let is_told = answer.status == 200 && address.starts_with("/live");
                    assert!(
                        is_told || matches!(answer.status, 400 | 404 | 405),
                        "{} for {target}",
                        answer.status
                    );
                    assert!(!String::from_utf8_lossy(&answer.body).contains("root:"), "{target}");
                }
            }
        }
    }
    assert_eq!(server.daemon.state().services[0].status, ServiceStatus::Running);
}

#[test]
fn answers_are_kept_to_themselves() {
    let server = TestServer::start();
    for target in targets().iter().filter(|target| !target.contains("live") && !target.contains("stream")) {
        for method in METHODS {
            let answer = send(server.address, method, target, &[], b"");
            let policy = answer.header("content-security-policy").unwrap_or_default();
            assert!(
                policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
                "{method} {target}"
            );
            assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{target}");
            assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{target}");
            assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{target}");
        }
    }
}

#[test]
fn the_own_page_and_bare_programs_come_in() {
    let server = TestServer::start();
    let port = server.address.port();
    let origin = format!("http://localhost:{port}");
    let host = format!("localhost:{port}");
    let page = [("host", host.as_str()), ("origin", origin.as_str()), ("sec-fetch-site", "same-origin")];
    let shown = send(server.address, "GET", "/", &page, b"").text();
    let mut parts = shown.split('"');
    let order = parts.find(|part| part.starts_with("/api/v1/services/echo_serv/stop?page="));
    let order = order.expect("the page has a button that stops the service");
    assert_eq!(send(server.address, "POST", order, &page, b"").status, 202);
    assert_eq!(send(server.address, "POST", "/api/v1/services/reports/start", &[], b"").status, 202);
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
    for target in targets() {
        for method in METHODS {
            let answer = send(server.address, method, &target, &[], b"");
            assert_eq!(answer.status, 401, "{method} {target}");
            assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Basic ")));
        }
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
