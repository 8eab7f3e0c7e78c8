//! Supervised services → the snapshot that the page and REST show. Copies; measures nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use shmrpc_web::{
    CallStatistics, MethodSnapshot, ServiceSnapshot, ServiceStatus, Snapshot, Usage, WorkerSnapshot,
    WorkerState,
};

use crate::{
    config::Source,
    daemon::Supervised,
    machine::{Activity, Status},
};

/// What of a snapshot never changes.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    name: String,
    cpus: u32,
    started: Instant,
}

impl Host {
    /// This machine, and a daemon that starts now.
    pub(crate) fn new() -> Self {
        let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            name: name.unwrap_or_else(|| "localhost".into()),
            cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
            started: Instant::now(),
        }
    }
}

/// The daemon now.
pub(crate) fn snapshot(host: &Host, services: &[Supervised], now: Instant) -> Snapshot {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Snapshot {
        time_ms: millis(since_epoch),
        host: host.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_ms: millis(now.saturating_duration_since(host.started)),
        cpus: host.cpus,
        services: services.iter().map(|service| of_service(service, now)).collect(),
    }
}

fn of_service(service: &Supervised, now: Instant) -> ServiceSnapshot {
    let plan = &service.plan;
    let settings = &plan.settings;
    let (struct_name, prefix) = match &settings.source {
        Source::Import { struct_name, prefix, .. } => (struct_name.clone(), prefix.clone()),
        Source::Program { .. } => (settings.section.clone(), None),
    };
    let workers: Vec<WorkerSnapshot> = service
        .machine
        .workers()
        .filter_map(|(worker, activity)| {
            let running = service.running.get(&worker)?;
            Some(WorkerSnapshot {
                pid: running.process.pid(),
                state: state_of(activity),
                usage: running.usage,
                uptime_ms: millis(now.saturating_duration_since(running.started)),
                calls: running.seen.calls,
                errors: running.seen.errors,
            })
        })
        .collect();
    let methods = service.methods.iter().map(|(description, counters)| MethodSnapshot {
        description: description.clone(),
        calls: CallStatistics::from(counters),
        latency: counters.latency.clone(),
    });
    let load = service.load_now();
    ServiceSnapshot {
        name: plan.name.clone(),
        struct_name,
        prefix,
        doc: plan.description.as_ref().map(|description| description.doc.clone()).unwrap_or_default(),
        port: plan.port,
        tcp_bind: plan.tcp_address().map(|(ip, _)| ip.to_string()),
        status: status_of(service.machine.status()),
        status_detail: service.waits_for.clone().or_else(|| service.machine.detail(now)),
        min_workers: count(settings.min_proc_num),
        max_workers: count(plan.max_workers),
        force_insecure_serialisation: settings.force_insecure_serialisation,
        usage: workers.iter().map(|worker| &worker.usage).sum::<Usage>(),
        workers,
        fixed_workers: service.machine.fixed().map(count),
        rolling: service.machine.is_rolling(),
        busy_share: load.map(|load| load.busy / load.threads.max(1) as f64),
        queued_calls: load.map(|load| load.queued),
        restarts: service.machine.restarts(),
        uptime_ms: service.since.map(|since| millis(now.saturating_duration_since(since))),
        ini_section: Arc::clone(&settings.written),
        methods: methods.collect(),
        schemas: Arc::clone(&plan.schemas),
    }
}

/// The page's word for a machine's status.
pub(crate) fn status_of(status: Status) -> ServiceStatus {
    match status {
        Status::Stopped => ServiceStatus::Stopped,
        Status::Starting => ServiceStatus::Starting,
        Status::Running => ServiceStatus::Running,
        Status::Backoff => ServiceStatus::Backoff,
        Status::Stopping => ServiceStatus::Stopping,
        Status::Exited => ServiceStatus::Exited,
        Status::Fatal => ServiceStatus::Fatal,
    }
}

fn state_of(activity: Activity) -> WorkerState {
    match activity {
        Activity::Starting => WorkerState::Starting,
        Activity::Running => WorkerState::Running,
        Activity::Draining => WorkerState::Draining,
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
