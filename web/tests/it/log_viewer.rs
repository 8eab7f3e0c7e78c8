//! The console log from outside: what it may be asked for, and what it shows of lines that try to act.

use shmrpc_web::LogStream;

use crate::{
    http::{get, send},
    server::TestServer,
};

/// What workers may print to do something to whoever looks.
const PARTS: [&str; 30] = [
    "\u{1b}",
    "[31m",
    "]0;title",
    "\u{7}",
    "\u{1b}\\",
    "P",
    "(B",
    "\r",
    "\n",
    "\0",
    "\u{9b}",
    "\u{9d}",
    "\u{90}",
    "\u{7f}",
    "\u{202e}",
    "\u{2066}",
    "\u{200b}",
    "\u{feff}",
    "\u{2028}",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"'>",
    "&lt;",
    "</pre>",
    "--><svg onload=alert(1)>",
    "data: x\n\nevent: tables\n",
    "?25l",
    " ",
    "é",
    "x",
];

fn line(random: &mut u64) -> String {
    (0..10)
        .map(|_| {
            *random ^= *random << 13;
            *random ^= *random >> 7;
            *random ^= *random << 17;
            PARTS[(*random % PARTS.len() as u64) as usize]
        })
        .collect()
}

/// What a terminal acts on, in UTF-8 or not; a tab and the end of a line are harmless.
fn acts(c: char) -> bool {
    (c.is_control() && c != '\t' && c != '\n')
        || ('\u{200b}'..='\u{200f}').contains(&c)
        || ('\u{2028}'..='\u{202e}').contains(&c)
        || ('\u{2060}'..='\u{206f}').contains(&c)
        || c == '\u{feff}'
}

/// The row of the fault matrix: 10,000 lines, 0 escapes; and no way to a file.
#[test]
fn log_viewer_traversal_and_escapes() {
    let server = TestServer::start();
    let tags = |html: &str| {
        html.matches("<script").count() + html.matches("<img").count() + html.matches("<svg").count()
    };
    let mut random = 0x9e37_79b9_7f4a_7c15;
    let clean = tags(&get(server.address, "/").text());
    for batch in 0..40 {
        for number in 0..250 {
            let service = if number % 10 == 0 { line(&mut random) } else { "echo_serv".into() };
            server.daemon.log.push(&service, Some(1), LogStream::Stdout, line(&mut random));
        }
        let (json, html) =
            (get(server.address, "/api/v1/logs?limit=250").text(), get(server.address, "/").text());
        for text in [&json, &html] {
            let found = text.char_indices().find(|&(_, c)| acts(c));
            let around = found.map(|(at, _)| text[..at].chars().rev().take(40).collect::<String>());
            assert!(found.is_none(), "{found:?} after (backwards) {around:?} in batch {batch}");
        }
        assert_eq!(tags(&html), clean, "markup of a worker stands in the page");
        let page: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(page["lines"].as_array().unwrap().len(), 250);
    }
    for target in [
        "/assets/../../../../etc/passwd",
        "/assets/0/../../../../etc/passwd",
        "/assets/0/..%2f..%2f..%2fetc%2fpasswd",
        "/assets/%2e%2e/%2e%2e/etc/passwd",
        "/assets/0/%00",
        "//etc/passwd",
        "/etc/passwd",
        "/%2fetc%2fpasswd",
        "/api/v1/logs/../../../../etc/passwd",
        "/api/v1/logs/..%2f..%2fetc%2fpasswd",
        "/api/v1/logs?file=/etc/passwd",
        "/api/v1/logs?service=../../etc/passwd",
        "/api/v1/logs?after=../../etc/passwd",
        "/api/v1/logs?after=-1",
        "/api/v1/logs?limit=99999999999999999999999",
        "/api/v1/services/..%2f..%2fetc%2fpasswd",
        "/api/v1/services/%2e%2e",
    ] {
        let answer = send(server.address, "GET", target, &[], b"");
        assert!(matches!(answer.status, 400 | 404), "{} for {target}", answer.status);
        assert!(!String::from_utf8_lossy(&answer.body).contains("root:"), "{target}");
    }
}

#[test]
fn lines_are_chosen_by_their_time_and_those_of_services_own_logs_by_how_much_they_matter() {
    let server = TestServer::start();
    for (stream, text) in [
        (LogStream::Log, "info: as ever"),
        (LogStream::Log, "error: disk on fire"),
        (LogStream::Stderr, "error: printed"),
        (LogStream::Log, "warning: low on tea"),
    ] {
        server.daemon.log.push("echo_serv", Some(7), stream, text.into());
    }
    let answer = get(server.address, "/api/v1/logs?level=warning");
    let lines = answer.json()["lines"].as_array().unwrap().clone();
    let texts: Vec<&str> = lines.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["error: disk on fire", "warning: low on tea"]);
    let count = |query: &str| {
        let answer = get(server.address, &format!("/api/v1/logs?pid=7&{query}")).json();
        answer["lines"].as_array().unwrap().len()
    };
    let to_come = u64::MAX >> 1;
    assert_eq!(
        (count("from=-600000"), count(&format!("from={to_come}")), count(&format!("to={to_come}"))),
        (4, 0, 4)
    );
    assert_eq!((count("to=-600000"), count("to=1"), count("from=-600000&level=error")), (0, 0, 1));
    let wrong = get(server.address, "/api/v1/logs?level=loud");
    assert_eq!((wrong.status, wrong.json()["detail"].as_str().unwrap().contains("critical")), (400, true));
}
