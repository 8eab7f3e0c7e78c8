//! The dashboard with an imagined daemon behind it, for work on the page itself:
//! `cargo run -p shmrpc-web --example demo [PORT]`, then open the address that it prints.

#[path = "../tests/it/fake.rs"]
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
mod fake;

use std::{sync::Arc, time::Duration};

use shmrpc_core::Encoding;
use shmrpc_web::{LogStream, ServiceStatus, WebOptions};

use fake::FakeDaemon;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}/", listener.local_addr()?);
    let daemon = FakeDaemon::new();
    imagine(&daemon);
    tokio::spawn(live(Arc::clone(&daemon)));
    let options = WebOptions { token: Some("demo".into()), ..WebOptions::default() };
    let shutdown = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    shmrpc_web::serve(listener, daemon, options, shutdown).await
}

/// More services, one in each state.
fn imagine(daemon: &FakeDaemon) {
    let mut state = daemon.state();
    let mut search = fake::service(
        "search",
        "Search",
        "A full-text index over a folder of text files, one in memory for all front ends.",
        Some(5601),
    );
    search.max_workers = 1;
    search.methods = ["query", "suggest"].map(|name| fake::method(name, Encoding::Msgpack)).into();
    let front = fake::service("search_front", "search_front", "", None);
    let mut mail = fake::service("eu.mailer", "Mailer", "Sends what was queued.", Some(5610));
    mail.status_detail = Some("exited with code 1, next start in 3 s".into());
    mail.restarts = 4;
    let mut thumbs =
        fake::service("thumbnails", "Thumbnails", "Makes small pictures of large ones.", Some(5611));
    thumbs.tcp_bind = Some("0.0.0.0:5611".into());
    thumbs.status_detail = Some("died 5 times in 60 s, signal 11 (SIGSEGV)".into());
    state.services.extend([search, front, mail, thumbs]);
    state.settle("search", ServiceStatus::Running);
    state.settle("search_front", ServiceStatus::Starting);
    state.settle("eu.mailer", ServiceStatus::Backoff);
    state.settle("thumbnails", ServiceStatus::Fatal);
}

const LINES: &[(&str, LogStream, &str)] = &[
    ("search", LogStream::Log, "INFO  query \"shared memory\" → 42 hits in 1.3 ms"),
    ("echo_serv", LogStream::Stdout, "echo: 64 bytes from client 7"),
    ("echo_serv", LogStream::Stdout, "\u{1b}[32mok\u{1b}[0m all <b>three</b> workers warm"),
    ("eu.mailer", LogStream::Stderr, "thread 'main' panicked at src/main.rs:40:9: no route to smtp.example"),
    ("search_front", LogStream::Stdout, "GET /?q=ring+buffer 200 2.1 ms"),
    ("", LogStream::Daemon, "eu.mailer: worker 4211 exited with code 1, next start in 3 s"),
];

/// Calls, load and lines that never were.
async fn live(daemon: Arc<FakeDaemon>) {
    for step in 0_u64.. {
        let (service, stream, text) = LINES[(step * 7 % 11) as usize % LINES.len()];
        daemon.log.push(service, Some(4201), stream, text.into());
        {
            let mut state = daemon.state();
            for service in state.services.iter_mut().filter(|s| s.status == ServiceStatus::Running) {
                for (index, method) in service.methods.iter_mut().enumerate().take(6) {
                    let calls = &mut method.calls;
                    calls.count += (step + 3) * 7 % (11 + index as u64 * 5);
                    calls.total_ns = calls.count * (9_000 + 41_000 * index as u64);
                    calls.mean_ns = calls.total_ns.checked_div(calls.count);
                    calls.p50_ns = calls.mean_ns.map(|mean| mean * 4 / 5);
                    calls.p90_ns = calls.mean_ns.map(|mean| mean * 3);
                    calls.p99_ns = calls.mean_ns.map(|mean| mean * 9);
                }
                for (index, worker) in service.workers.iter_mut().enumerate() {
                    worker.uptime_ms += 400;
                    worker.usage.cpu_share = 0.03 + (step * (3 + index as u64) % 17) as f64 / 60.0;
                    worker.usage.written_bytes += 4096;
                }
                service.uptime_ms = service.uptime_ms.map(|uptime_ms| uptime_ms + 400);
                service.usage = service.workers.iter().map(|worker| &worker.usage).sum();
            }
        }
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
}
