//! `shmrpc services`: who serves in the runtime folder, read out of shared memory without asking anybody.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use shmrpc_core::{
    ConnectError, RuntimeDir,
    observe::{LAYOUT_VERSION, Observer, ObserverEvent, ObserverRole, WorkerView},
};

use super::{args::ServicesArgs, failure::Failure, table};

/// Workers that are there are reported one after the other; after this long a silence all have been.
const SILENCE: Duration = Duration::from_millis(200);
const AT_MOST: Duration = Duration::from_secs(3);

#[derive(Debug, Serialize)]
struct ServiceRow {
    name: String,
    struct_name: String,
    port: u16,
    pids: Vec<u32>,
    methods: usize,
    calls: u64,
    errors: u64,
    bytes_in: u64,
    bytes_out: u64,
}

/// Writes one row a service.
pub(super) fn run(
    args: &ServicesArgs,
    runtime_dir: Option<&Path>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let runtime_dir = folder(runtime_dir);
    let found = workers(&runtime_dir)?;
    for (service, pid, layout) in &found.estranged {
        let (service, ours) = (table::plain(service), LAYOUT_VERSION);
        eprintln!(
            "shmrpc: pid {pid} serves {service}, but its shared memory has layout version {layout}, ours {ours}"
        );
    }
    let rows = rows(&found.workers);
    if args.json {
        let text = serde_json::to_string_pretty(&rows).expect("rows are JSON");
        return writeln!(out, "{text}").map_err(Failure::output);
    }
    if rows.is_empty() {
        if found.estranged.is_empty() {
            eprintln!("shmrpc: no service runs in {}", runtime_dir.display());
        }
        return Ok(());
    }
    let rows: Vec<[String; 7]> = rows
        .into_iter()
        .map(|row| {
            // Those of another pid namespace have none here.
            let shown = |pid: &u32| if *pid == 0 { "-".to_owned() } else { pid.to_string() };
            let pids: Vec<String> = row.pids.iter().map(shown).collect();
            [
                row.name,
                row.struct_name,
                row.port.to_string(),
                pids.join(","),
                row.methods.to_string(),
                row.calls.to_string(),
                row.errors.to_string(),
            ]
        })
        .collect();
    table::write(out, &["SERVICE", "STRUCT", "PORT", "WORKERS", "METHODS", "CALLS", "ERRORS"], &rows)
        .map_err(Failure::output)
}

/// The names of the services that run, for hints; none if they cannot be found out.
pub(super) fn names(runtime_dir: Option<&Path>) -> Vec<String> {
    let found = workers(&folder(runtime_dir)).unwrap_or_default();
    rows(&found.workers).into_iter().map(|row| row.name).collect()
}

fn folder(given: Option<&Path>) -> PathBuf {
    given.map_or_else(RuntimeDir::default_path, Path::to_owned)
}

/// Who serves.
#[derive(Default)]
struct Found {
    workers: Vec<Arc<WorkerView>>,
    /// Service, process and layout version of those of which nothing more can be seen.
    estranged: BTreeSet<(String, u32, u32)>,
}

/// The workers that serve. The folder is not made where there is none.
fn workers(runtime_dir: &Path) -> Result<Found, ConnectError> {
    let mut found = Found::default();
    if !runtime_dir.exists() {
        return Ok(found);
    }
    let (_observer, events) = Observer::join(runtime_dir, ObserverRole::Spectator)?;
    let until = Instant::now() + AT_MOST;
    while let Ok(event) = events.recv_timeout(SILENCE.min(until.saturating_duration_since(Instant::now()))) {
        match event {
            ObserverEvent::Up(worker) => found.workers.push(worker),
            ObserverEvent::Down(gone) => found.workers.retain(|worker| !Arc::ptr_eq(worker, &gone)),
            ObserverEvent::Estranged { pid, service, layout_version } => {
                found.estranged.insert((service, pid, layout_version));
            }
        }
    }
    Ok(found)
}

fn rows(workers: &[Arc<WorkerView>]) -> Vec<ServiceRow> {
    let mut rows: BTreeMap<&str, ServiceRow> = BTreeMap::new();
    for worker in workers {
        let description = worker.description();
        let row = rows.entry(worker.service()).or_insert_with(|| ServiceRow {
            name: table::plain(worker.service()),
            struct_name: table::plain(&description.struct_name),
            port: description.port,
            pids: Vec::new(),
            methods: description.methods.len(),
            calls: 0,
            errors: 0,
            bytes_in: 0,
            bytes_out: 0,
        });
        row.pids.push(worker.pid());
        for counters in worker.counters() {
            row.calls = row.calls.saturating_add(counters.calls);
            row.errors = row.errors.saturating_add(counters.errors);
            row.bytes_in = row.bytes_in.saturating_add(counters.bytes_in);
            row.bytes_out = row.bytes_out.saturating_add(counters.bytes_out);
        }
    }
    let mut rows: Vec<ServiceRow> = rows.into_values().collect();
    rows.iter_mut().for_each(|row| row.pids.sort_unstable());
    rows
}
