//! `shmrpc status`: the services and how they are; `shmrpc metrics`: the same for Prometheus.

use std::io::Write;

use shmrpc_web::{ServiceSnapshot, ServiceStatus, WorkerState};

use super::Control;
use crate::cli::{
    args::StatusArgs,
    failure::{Exit, Failure},
    table,
};

pub(in crate::cli) fn status(
    args: &StatusArgs,
    control: &Control,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let snapshot = control.snapshot()?;
    for name in &args.services {
        if snapshot.service(name).is_none() {
            let known: Vec<&str> = snapshot.services.iter().map(|service| service.name.as_str()).collect();
            let failure = Failure::new(Exit::NotFound, format!("no service {name:?}"));
            return Err(failure.hint(&format!("there are: {}", known.join(", "))));
        }
    }
    let is_asked =
        |service: &ServiceSnapshot| args.services.is_empty() || args.services.contains(&service.name);
    let services: Vec<ServiceSnapshot> = snapshot.services.into_iter().filter(is_asked).collect();
    show(&services, args.json, out)?;
    let down = services.iter().find(|service| service.status != ServiceStatus::Running);
    match down.filter(|_| args.running) {
        Some(service) => Err(Failure::new(Exit::Other, format!("{} is {}", service.name, service.status))),
        None => Ok(()),
    }
}

pub(in crate::cli) fn metrics(control: &Control, out: &mut dyn Write) -> Result<(), Failure> {
    let text = control.ask("GET", "/metrics", None)?.text()?;
    out.write_all(text.as_bytes()).map_err(Failure::output)
}

/// Services as a table or as JSON.
pub(super) fn show(services: &[ServiceSnapshot], json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if json {
        let text = serde_json::to_string_pretty(services).expect("services are JSON");
        return writeln!(out, "{text}").map_err(Failure::output);
    }
    let rows: Vec<[String; 9]> = services.iter().map(row).collect();
    let heading = ["SERVICE", "STATUS", "WORKERS", "CPU", "MEMORY", "CALLS", "ERRORS", "UPTIME", "DETAIL"];
    table::write(out, &heading, &rows).map_err(Failure::output)
}

fn row(service: &ServiceSnapshot) -> [String; 9] {
    let sum = |of: fn(&shmrpc_web::MethodSnapshot) -> u64| {
        service.methods.iter().map(of).fold(0_u64, u64::saturating_add).to_string()
    };
    let usage = &service.usage;
    let memory_mib = usage.pss_bytes.unwrap_or(usage.rss_bytes) >> 20;
    [
        table::plain(&service.name),
        service.status.to_string(),
        workers(service),
        format!("{:.0} %", usage.cpu_share * 100.0),
        format!("{memory_mib} MiB"),
        sum(|method| method.calls.count),
        sum(|method| method.calls.errors),
        service.uptime_ms.map_or_else(|| "-".into(), uptime),
        detail(service),
    ]
}

/// Those that serve, of how many there may be.
fn workers(service: &ServiceSnapshot) -> String {
    let serving = service.workers.iter().filter(|worker| worker.state == WorkerState::Running).count();
    if service.min_workers == service.max_workers {
        return serving.to_string();
    }
    format!("{serving} of {}-{}", service.min_workers, service.max_workers)
}

fn detail(service: &ServiceSnapshot) -> String {
    let mut parts: Vec<String> = service.status_detail.iter().map(|text| table::plain(text)).collect();
    if service.rolling {
        parts.push("workers are being replaced".into());
    }
    if let Some(fixed) = service.fixed_workers {
        parts.push(format!("fixed at {fixed}"));
    }
    parts.join("; ")
}

fn uptime(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}
