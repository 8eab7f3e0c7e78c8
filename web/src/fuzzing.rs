//! Whatever here parses bytes of others, as functions of bytes; see `shmrpc_core::fuzzing`. Only built with the
//! feature `fuzzing`; no part of the interface.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
pub use shmrpc_core::fuzzing::Target;

use crate::{
    admission::{Peer, Rules},
    log::{LogLine, LogPage, LogStream},
    options::WebOptions,
    page::{self, Trends},
    snapshot::Snapshot,
};

/// The targets of this crate.
pub const TARGETS: &[Target] = &[
    Target { name: "admission", run: admission, seeds: admission_seeds },
    Target { name: "log_line", run: log_line, seeds: log_line_seeds },
    Target { name: "page", run: whole_page, seeds: page_seeds },
];

const USER: u32 = 1000;
const SECRET: &str = "secret";
const PAGE_SECRET: &str = "page5ecret";

/// The head of a request: an address, where it comes from, and headers, a line each. Whoever is let in asked
/// for one of our names, from one of our pages or none, and is an allowed user or knows the token.
fn admission(data: &[u8]) {
    let options = WebOptions {
        allowed_hosts: vec!["box.example".into()],
        allowed_uids: vec![USER],
        token: Some(SECRET.into()),
        ..WebOptions::default()
    };
    let rules = Rules::new(&options, PAGE_SECRET.into());
    let mut lines = data.split(|&byte| byte == b'\n');
    let Some(Ok(uri)) = lines.next().map(Uri::try_from) else { return };
    let from = lines.next().and_then(|line| line.first().copied()).unwrap_or(0);
    let remote = if from & 1 == 0 { "127.0.0.1:4000" } else { "192.0.2.1:4000" };
    let uid = [Some(USER), None, Some(0), Some(USER + 1)][usize::from(from >> 1 & 3)];
    let peer = Peer {
        local: "127.0.0.1:5155".parse().expect("an address"),
        remote: remote.parse().expect("an address"),
        uid,
    };
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii())) {
            headers.append(name, value);
        }
    }
    let method = if from & 8 == 0 { Method::GET } else { Method::POST };
    if rules.decide(&method, &uri, &headers, &peer).is_ok() {
        assert!(is_ours(&uri, &headers), "{uri} {headers:?}");
        let is_user = remote.starts_with("127.") && uid == Some(USER);
        assert!(is_user || shows_token(&headers), "{headers:?} {peer:?}");
        let is_browser = headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site");
        let is_ours = uri.query().unwrap_or_default().contains(PAGE_SECRET) || shows_token(&headers);
        assert!(method == Method::GET || !is_browser || is_ours, "{uri} {headers:?}");
    }
}

/// The same rule again, in other words.
fn is_ours(uri: &Uri, headers: &HeaderMap) -> bool {
    let text = |value: &HeaderValue| value.to_str().unwrap_or("?").to_ascii_lowercase();
    let hosts: Vec<String> = headers.get_all(header::HOST).iter().map(text).collect();
    let [host] = &hosts[..] else { return false };
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host.as_str(), None),
    };
    let literal = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let is_local = name == "localhost" || literal.is_ok_and(|ip| ip.to_canonical().is_loopback());
    let name_is_ours = name == "box.example" || (is_local && port.map(str::parse) == Some(Ok(5155)));
    let asked = uri.authority().is_none_or(|asked| asked.as_str().eq_ignore_ascii_case(host));
    let pages_are_ours = headers
        .get_all(header::ORIGIN)
        .iter()
        .map(text)
        .all(|origin| origin == format!("http://{host}") || origin == format!("https://{host}"));
    let sites = headers.get_all("sec-fetch-site").iter();
    name_is_ours
        && asked
        && pages_are_ours
        && sites.map(text).all(|site| site == "same-origin" || site == "none")
}

fn shows_token(headers: &HeaderMap) -> bool {
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (shown.next(), shown.next()) else { return false };
    let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
    let (scheme, rest) = value.split_once(' ').unwrap_or_default();
    // `Basic` is decoded by nobody but the code that is tried here: the scheme must do.
    scheme.eq_ignore_ascii_case("basic") || (scheme.eq_ignore_ascii_case("bearer") && rest.trim() == SECRET)
}

/// A line of a worker, on the page and for its scripts: nothing that acts is left, and no markup is added.
fn log_line(data: &[u8]) {
    let (service, text) = match data.iter().position(|&byte| byte == 0) {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (&b"echo"[..], data),
    };
    let line = |service: &[u8], text: &[u8]| LogPage {
        lines: vec![LogLine {
            cursor: 1,
            time_ms: 1,
            service: String::from_utf8_lossy(service).into_owned(),
            pid: Some(1),
            stream: LogStream::Stdout,
            text: String::from_utf8_lossy(text).into_owned(),
        }],
        missed_lines: 0,
    };
    let page = line(service, text);
    let acts = |c: char| {
        (c.is_control() && c != '\t')
            || ('\u{200b}'..='\u{200f}').contains(&c)
            || ('\u{2028}'..='\u{202e}').contains(&c)
            || ('\u{2060}'..='\u{206f}').contains(&c)
    };
    let shown = page::shown_log(&Snapshot::default(), &page);
    assert!(shown.texts().all(|text| !text.contains(acts)), "{page:?}");
    let marks = |page: &LogPage| page::rendered_lines(page).matches(['<', '"']).count();
    // A part with a style has an element with a class.
    assert_eq!(marks(&page), marks(&line(b"echo", b"plain")) + 4 * shown.styled(), "{page:?}");
}

/// A snapshot with any names and numbers in it, as a page.
fn whole_page(data: &[u8]) {
    let Ok(snapshot) = serde_json::from_slice::<Snapshot>(data) else { return };
    let page = page::render(&snapshot, &Trends::new(), &LogPage::default(), PAGE_SECRET).into_string();
    assert_eq!(page.matches("<script").count(), 1, "{snapshot:?}");
    for service in &snapshot.services {
        let page = page::render_service(service, PAGE_SECRET).into_string();
        assert_eq!(page.matches("<script").count(), 0, "{service:?}");
    }
}

fn admission_seeds() -> Vec<Vec<u8>> {
    [
        "/\n\0\nhost: localhost:5155\norigin: http://localhost:5155\nsec-fetch-site: same-origin",
        "/api/v1/services\n\u{1}\nhost: box.example:80\nauthorization: Bearer secret",
        "http://[::1]:5155/\n\u{2}\nhost: [::1]:5155\nauthorization: Basic bWU6c2VjcmV0",
        "/\n\0\nhost: evil.example:5155\norigin: https://evil.example\nsec-fetch-site: cross-site",
        "/\n\0\nhost: 127.0.0.1:5155\nhost: evil@localhost:5155",
        "/?page=page5ecret\n\u{8}\nhost: localhost:5155\norigin: http://localhost:5155",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn log_line_seeds() -> Vec<Vec<u8>> {
    [
        "plain text, ümläut",
        "\u{1b}[1;31mred\u{1b}[0m \u{1b}]0;title\u{7} \u{1b}]8;;http://x\u{1b}\\link",
        "echo\0<script>alert(1)</script> \"quoted\" &amp; 'x'",
        "\u{202e}gnp.exe \u{9b}31m \u{200b} \u{2066} \u{feff} tab\t\r",
        "\u{1b}Pq\u{1b}\\ \u{1b}(B \u{1b}c \u{1b}[?25l \u{7f}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn page_seeds() -> Vec<Vec<u8>> {
    let mut snapshot = Snapshot { host: "box".into(), cpus: 2, time_ms: 1 << 40, ..Snapshot::default() };
    let seed = |snapshot: &Snapshot| serde_json::to_vec(snapshot).expect("a snapshot is JSON");
    let empty = seed(&snapshot);
    snapshot.services.push(service());
    vec![empty, seed(&snapshot)]
}

fn service() -> crate::snapshot::ServiceSnapshot {
    let usage = r#"{"cpu_share":0.5,"rss_bytes":9000,"pss_bytes":null,"virtual_bytes":1,"read_bytes":2,"written_bytes":3}"#;
    let text = r#"{"name":"echo_serv","struct_name":"EchoServer","prefix":null,"doc":"Echoes.","port":5555,
        "tcp_bind":"127.0.0.1","status":"running","status_detail":"a <b>","min_workers":1,"max_workers":4,
        "force_insecure_serialisation":false,"workers":[{"pid":7,"state":"running","usage":USAGE,"uptime_ms":99}],
        "usage":USAGE,"restarts":3,"uptime_ms":100,"methods":[{"id":"00000000000000ff","name":"echo","encoding":"json",
        "shape":"unary","signature":"(Value) -> Value","params":[["data","Value"]],"returns":"Value","doc":"d",
        "idempotent":true,"read_only":false,"deadline_ms":5,"count":9,"errors":1,"bytes_in":10,"bytes_out":11,
        "total_ns":12000,"mean_ns":1300,"p50_ns":1200,"p99_ns":null}]}"#;
    serde_json::from_str(&text.replace("USAGE", usage)).expect("a service of our own format")
}
