//! How long the rows of the fault matrix take: each fault is brought about again and again, and the time to what
//! is expected is measured. Prints one Markdown table of p50, p99 and the longest beside the row's bound.
//!
//! `cargo bench --bench faults` runs all rows, `cargo bench --bench faults -- sigkill typo` those whose names
//! contain a word; `SHMRPC_FAULTS_TRIES` (30) sets how often. The outcomes are asserted as well, but the tests of
//! the rows' names are elsewhere. Figures hold for the machine and the hour; a busy one shows in the longest.
//!
//! This program is its own worker and its own client, each a process.

mod daemon;
mod processes;
#[path = "../../tests/it/scene.rs"]
#[allow(dead_code, reason = "shared with the tests of processes, which use more of it")]
mod scene;
mod service;
mod wire;

use std::{process::ExitCode, time::Duration};

use shmrpc::server::{Offered, WorkerConfig, worker_program};

/// A row, and how it is measured.
struct Row {
    name: &'static str,
    bound: &'static str,
    /// Takes how often; gives the times.
    measure: fn(usize) -> Vec<Duration>,
}

const ROWS: &[Row] = &[
    Row {
        name: "worker SIGKILL mid-call, small",
        bound: "p99 100 ms",
        measure: processes::worker_sigkill_small,
    },
    Row {
        name: "worker SIGKILL mid-call, 100 MB resident",
        bound: "p99 100 ms",
        measure: processes::worker_sigkill_large,
    },
    Row {
        name: "worker SIGKILL mid-call, 2 GB resident",
        bound: "p99 1.5 s",
        measure: processes::worker_sigkill_huge,
    },
    Row {
        name: "client SIGKILL: its descriptors and regions gone from the worker",
        bound: "p99 100 ms, max 1 s",
        measure: processes::client_sigkill,
    },
    Row { name: "worker SIGSTOP: beyond the deadline", bound: "20 ms", measure: processes::worker_sigstop },
    Row {
        name: "worker SIGSTOP: to the next worker, beyond watchdog_timeout",
        bound: "10 s",
        measure: daemon::watchdog,
    },
    Row {
        name: "calls beside a busy client, to two workers",
        bound: "–",
        measure: processes::calls_beside_others,
    },
    Row {
        name: "the same, the client and each worker in turn stopped",
        bound: "1 ms more",
        measure: processes::calls_beside_stopped,
    },
    Row { name: "no descriptor for a region: NoSpace", bound: "10 ms", measure: processes::no_space },
    Row {
        name: "supervisor SIGKILL: start of the next to adoption", bound: "–", measure: daemon::adoption
    },
    Row {
        name: "supervisor SIGKILL: end of a worker beyond orphan_timeout",
        bound: "–",
        measure: daemon::orphan_timeout,
    },
    Row {
        name: "crash loop: the daemon's processor time in a second",
        bound: "50 ms",
        measure: daemon::crash_loop,
    },
    Row { name: "grandchildren of a stopped worker", bound: "5 s", measure: daemon::grandchildren },
    Row { name: "port taken", bound: "1 s", measure: daemon::port_taken },
    Row { name: "second supervisor", bound: "1 s", measure: daemon::second_supervisor },
    Row { name: "ini typo, unknown key, bad value", bound: "100 ms", measure: daemon::ini_typo },
    Row { name: "frame over the limit", bound: "1 ms", measure: wire::frame_over_the_limit },
    Row { name: "malformed frame: close", bound: "–", measure: wire::malformed_frame },
    Row { name: "slowloris, frames", bound: "10 s", measure: wire::slowloris_frames },
    Row { name: "slowloris, HTTP", bound: "10 s", measure: daemon::slowloris_http },
    Row { name: "TCP call, alone", bound: "–", measure: wire::probe_alone },
    Row {
        name: "TCP call beside 10,000 idle connections",
        bound: "p99 2 × that alone",
        measure: wire::probe_beside_idle,
    },
    Row { name: "decompression bomb, in process", bound: "–", measure: wire::decompression_bomb },
    Row { name: "deep value, 1 MiB, in process", bound: "100 ms", measure: wire::deep_value },
    Row {
        name: "huge value, 2³³ elements claimed, in process", bound: "100 ms", measure: wire::huge_claim
    },
    Row {
        name: "huge value, 16 MiB to JSON's Value, in process",
        bound: "100 ms",
        measure: wire::huge_value,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|a| a == "--describe") || std::env::var_os(WorkerConfig::VARIABLE).is_some() {
        return worker_program(&[Offered::new::<service::Victim>(service::Victim::default)]);
    }
    if let [role, folder] = arguments.as_slice()
        && let Some(role) = service::role(role)
    {
        role(folder.as_ref());
    }
    let tries = std::env::var("SHMRPC_FAULTS_TRIES").map_or(30, |text| text.parse().expect("a number"));
    let words: Vec<String> =
        arguments.iter().filter(|a| !a.starts_with('-')).map(|a| a.to_lowercase()).collect();
    println!("| fault | tries | p50 | p99 | max | bound |\n|---|---|---|---|---|---|");
    for row in ROWS {
        let name = row.name.to_lowercase();
        if words.is_empty() || words.iter().any(|word| name.contains(word)) {
            let mut times = (row.measure)(tries);
            times.sort_unstable();
            let at = |share: f64| shown(times[((times.len() - 1) as f64 * share).ceil() as usize]);
            let [p50, p99, max] = [0.5, 0.99, 1.0].map(at);
            println!("| {} | {} | {p50} | {p99} | {max} | {} |", row.name, times.len(), row.bound);
        }
    }
    ExitCode::SUCCESS
}

fn shown(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s < 1e-3 => format!("{:.1} µs", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}
