//! Snapshots of the last seconds → what is shown of them: rates, and times of the calls since. Pure.

use std::collections::VecDeque;

use serde::Serialize;
use shmrpc_core::observe::LatencyHistogram;
use shmrpc_web::{MethodSnapshot, ServiceSnapshot, ServiceStatus, Snapshot, Usage, WorkerState};

use crate::cli::table::plain;

/// Rates are taken over so long: the daemon's samples, a second apart, would make those of a second jump.
const SPAN_MS: u64 = 3000;

/// The newest snapshots of one daemon.
#[derive(Default)]
pub(super) struct Window {
    snapshots: VecDeque<Snapshot>,
}

impl Window {
    /// Takes one more; those of another daemon are forgotten, as its counters began anew.
    pub(super) fn push(&mut self, snapshot: Snapshot) {
        let is_another = |last: &Snapshot| last.pid != snapshot.pid || last.uptime_ms > snapshot.uptime_ms;
        if self.snapshots.back().is_some_and(is_another) {
            self.snapshots.clear();
        }
        let is_old = |next: &Snapshot| snapshot.uptime_ms - next.uptime_ms >= SPAN_MS;
        while self.snapshots.get(1).is_some_and(is_old) {
            self.snapshots.pop_front();
        }
        self.snapshots.push_back(snapshot);
    }

    /// What they show; `None` before the first.
    pub(super) fn frame(&self) -> Option<Frame> {
        let now = self.snapshots.back()?;
        let before = self.snapshots.front().filter(|before| before.uptime_ms < now.uptime_ms);
        let service = |service: &ServiceSnapshot| {
            let known = before.and_then(|before| {
                let seconds = (now.uptime_ms - before.uptime_ms) as f64 / 1000.0;
                Some(Since { before: before.service(&service.name)?, seconds })
            });
            ServiceRow::new(service, known.as_ref())
        };
        Some(Frame {
            time_ms: now.time_ms,
            host: plain(&now.host),
            version: now.version.clone(),
            pid: now.pid,
            uptime_ms: now.uptime_ms,
            cpus: now.cpus,
            services: now.services.iter().map(service).collect(),
        })
    }
}

/// A service as it was, and how long ago that is.
struct Since<'a> {
    before: &'a ServiceSnapshot,
    seconds: f64,
}

impl Since<'_> {
    fn rate(&self, now: u64, before: u64) -> f64 {
        now.saturating_sub(before) as f64 / self.seconds
    }
}

/// A daemon and its services at one moment. What is a rate or a time is `None` until there are two samples, and what
/// only calls can tell is `None` without any.
#[derive(Debug, Serialize)]
pub(super) struct Frame {
    pub(super) time_ms: u64,
    pub(super) host: String,
    pub(super) version: String,
    pub(super) pid: u32,
    pub(super) uptime_ms: u64,
    pub(super) cpus: u32,
    pub(super) services: Vec<ServiceRow>,
}

#[derive(Debug, Serialize)]
pub(super) struct ServiceRow {
    pub(super) name: String,
    pub(super) status: ServiceStatus,
    pub(super) status_detail: Option<String>,
    /// Those that serve.
    pub(super) workers_running: usize,
    pub(super) min_workers: u32,
    pub(super) max_workers: u32,
    #[serde(flatten)]
    pub(super) calls: Calls,
    pub(super) queue_wait_ns: Option<u64>,
    pub(super) cpu_share: f64,
    pub(super) memory_bytes: u64,
    pub(super) uptime_ms: Option<u64>,
    pub(super) restarts: u64,
    pub(super) workers: Vec<WorkerRow>,
    pub(super) methods: Vec<MethodRow>,
}

/// Calls of late.
#[derive(Debug, Default, Serialize)]
pub(super) struct Calls {
    pub(super) calls_per_s: Option<f64>,
    pub(super) errors_per_s: Option<f64>,
    pub(super) p50_ns: Option<u64>,
    pub(super) p99_ns: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct WorkerRow {
    pub(super) pid: u32,
    pub(super) state: WorkerState,
    pub(super) calls_per_s: Option<f64>,
    pub(super) calls: u64,
    pub(super) errors: u64,
    pub(super) cpu_share: f64,
    pub(super) memory_bytes: u64,
    pub(super) uptime_ms: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct MethodRow {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) recent: Calls,
    pub(super) calls: u64,
    pub(super) errors: u64,
}

impl ServiceRow {
    fn new(now: &ServiceSnapshot, since: Option<&Since<'_>>) -> Self {
        let calls = recent(&now.methods.iter().collect::<Vec<_>>(), since);
        // Little's law, as the scaling rule has it.
        let wait_s = now.queued_calls.zip(calls.calls_per_s).map(|(queued, rate)| queued / rate.max(1.0));
        let workers: Vec<WorkerRow> = now
            .workers
            .iter()
            .map(|worker| WorkerRow {
                pid: worker.pid,
                state: worker.state,
                calls_per_s: since.and_then(|since| {
                    let before = since.before.workers.iter().find(|before| before.pid == worker.pid)?;
                    Some(since.rate(worker.calls, before.calls))
                }),
                calls: worker.calls,
                errors: worker.errors,
                cpu_share: worker.usage.cpu_share,
                memory_bytes: memory_bytes(&worker.usage),
                uptime_ms: worker.uptime_ms,
            })
            .collect();
        let method = |method: &MethodSnapshot| MethodRow {
            name: plain(&method.description.name),
            recent: recent(&[method], since),
            calls: method.calls.count,
            errors: method.calls.errors,
        };
        Self {
            name: plain(&now.name),
            status: now.status,
            status_detail: now.status_detail.as_deref().map(plain),
            workers_running: workers.iter().filter(|worker| worker.state == WorkerState::Running).count(),
            min_workers: now.min_workers,
            max_workers: now.max_workers,
            calls,
            queue_wait_ns: wait_s.map(|seconds| (seconds * 1e9) as u64),
            cpu_share: now.usage.cpu_share,
            memory_bytes: memory_bytes(&now.usage),
            uptime_ms: now.uptime_ms,
            restarts: now.restarts,
            workers,
            methods: now.methods.iter().map(method).collect(),
        }
    }
}

/// What some methods of a service did together since then.
fn recent(methods: &[&MethodSnapshot], since: Option<&Since<'_>>) -> Calls {
    let Some(since) = since else { return Calls::default() };
    let (mut count, mut errors, mut latency) = (0.0, 0.0, LatencyHistogram::default());
    for now in methods {
        match since.before.method(&now.description.name) {
            Some(before) => {
                count += since.rate(now.calls.count, before.calls.count);
                errors += since.rate(now.calls.errors, before.calls.errors);
                latency.add(&now.latency.since(&before.latency));
            }
            // It has come since.
            None => {
                count += since.rate(now.calls.count, 0);
                errors += since.rate(now.calls.errors, 0);
                latency.add(&now.latency);
            }
        }
    }
    let quantile = |share| Some(u64::try_from(latency.quantile(share)?.as_nanos()).unwrap_or(u64::MAX));
    Calls {
        calls_per_s: Some(count),
        errors_per_s: Some(errors),
        p50_ns: quantile(0.5),
        p99_ns: quantile(0.99),
    }
}

fn memory_bytes(usage: &Usage) -> u64 {
    usage.pss_bytes.unwrap_or(usage.rss_bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A daemon's answer with one service of one method, as it comes over the socket.
    pub(in crate::cli::top) fn snapshot(pid: u32, uptime_ms: u64, calls: u64) -> Snapshot {
        let usage = json!({ "cpu_share": 0.5, "rss_bytes": 9 << 20, "pss_bytes": 4 << 20, "virtual_bytes": 0,
            "read_bytes": 0, "written_bytes": 0 });
        let worker = json!({ "pid": 7, "state": "running", "usage": usage, "uptime_ms": uptime_ms, "calls": calls,
            "errors": 0 });
        let method = json!({ "id": "0000000000000001", "name": "echo", "encoding": "json", "shape": "unary", "signature": "",
            "params": [], "returns": "", "doc": "", "idempotent": false, "read_only": false, "deadline_ms": null,
            "count": calls, "errors": calls / 10, "bytes_in": 0, "bytes_out": 0, "total_ns": 0, "mean_ns": null,
            "p50_ns": null, "p99_ns": null, "latency": [[1000, calls]] });
        let service = |name: &str, status: &str| {
            json!({ "name": name, "struct_name": "Echo", "prefix": null, "doc": "", "port": 5555, "tcp_bind": null,
                "status": status, "status_detail": null, "min_workers": 1, "max_workers": 4,
                "force_insecure_serialisation": false, "workers": [worker], "usage": usage, "fixed_workers": null,
                "rolling": false, "busy_share": 0.2, "queued_calls": 0.5, "restarts": 0, "uptime_ms": uptime_ms,
                "methods": [method] })
        };
        let all = json!({ "time_ms": 1_000_000 + uptime_ms, "host": "box", "version": "0.1.0", "pid": pid,
            "uptime_ms": uptime_ms, "cpus": 2, "services": [service("echo_serv", "running"), service("a", "fatal")] });
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let mut window = Window::default();
        assert!(window.frame().is_none());
        window.push(snapshot(1, 10_000, 500));
        let frame = window.frame().unwrap();
        assert_eq!((frame.services[0].calls.calls_per_s, frame.services[0].queue_wait_ns), (None, None));
        for (uptime_ms, calls) in [(11_000, 600), (12_000, 700), (13_000, 800), (14_000, 900), (15_000, 1000)]
        {
            window.push(snapshot(1, uptime_ms, calls));
        }
        assert_eq!(window.snapshots.len(), 4);
        let frame = window.frame().unwrap();
        let row = &frame.services[0];
        assert_eq!((row.calls.calls_per_s, row.calls.errors_per_s), (Some(100.0), Some(10.0)));
        assert_eq!(row.queue_wait_ns, Some(5_000_000), "half a call waits while a hundred come in a second");
        assert!(row.calls.p99_ns.unwrap().abs_diff(1000) <= 125);
        assert_eq!((row.memory_bytes, row.workers_running), (4 << 20, 1));
        assert_eq!((row.workers[0].calls_per_s, row.methods[0].calls), (Some(100.0), 1000));
    }

    #[test]
    fn without_calls_there_are_no_times() {
        let mut window = Window::default();
        window.push(snapshot(1, 10_000, 500));
        window.push(snapshot(1, 11_000, 500));
        let calls = &window.frame().unwrap().services[0].calls;
        assert_eq!((calls.calls_per_s, calls.p50_ns), (Some(0.0), None));
    }

    #[test]
    fn another_daemon_begins_anew() {
        let mut window = Window::default();
        window.push(snapshot(1, 10_000, 500));
        window.push(snapshot(2, 1000, 3));
        assert_eq!(window.frame().unwrap().services[0].calls.calls_per_s, None);
        window.push(snapshot(2, 2000, 5));
        assert_eq!(window.frame().unwrap().services[0].calls.calls_per_s, Some(2.0));
    }
}
