//! A [`Snapshot`] in the text format of Prometheus, version 0.0.4. Pure: a snapshot in, text out.
//!
//! Written by hand and not by a library: everything here is read out of a snapshot that is there already, so that
//! there is nothing to register or to count, and the classic format is what `promtool` and every scraper reads.

use std::fmt::{self, Display, Write};

use shmrpc_core::observe::LatencyHistogram;

use crate::snapshot::{
    MethodSnapshot, ServiceSnapshot, ServiceStatus, Snapshot, WorkerSnapshot, WorkerState,
};

/// What the format is called in HTTP.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the histogram's buckets, as powers of two of nanoseconds: 1 µs to 34 s. The workers count in
/// buckets that end there too, so that no sample is in a wrong one.
const BUCKET_POWERS: std::ops::RangeInclusive<u32> = 10..=35;

const STATUSES: [ServiceStatus; 7] = [
    ServiceStatus::Stopped,
    ServiceStatus::Starting,
    ServiceStatus::Running,
    ServiceStatus::Backoff,
    ServiceStatus::Stopping,
    ServiceStatus::Exited,
    ServiceStatus::Fatal,
];
const WORKER_STATES: [WorkerState; 3] = [WorkerState::Starting, WorkerState::Running, WorkerState::Draining];

/// The whole page.
pub(crate) fn render(snapshot: &Snapshot) -> String {
    let mut page = Page { text: String::with_capacity(4096), family: "" };
    daemon(&mut page, snapshot);
    for_services(&mut page, &snapshot.services);
    for_workers(&mut page, &snapshot.services);
    for_methods(&mut page, &snapshot.services);
    page.text
}

fn daemon(page: &mut Page, snapshot: &Snapshot) {
    page.family("shmrpc_daemon_info", Kind::Gauge, "The daemon, always 1.");
    page.sample("", &[("version", &snapshot.version), ("pid", &snapshot.pid)], 1);
    page.family("shmrpc_daemon_uptime_seconds", Kind::Gauge, "How long the daemon has run.");
    page.sample("", &[], seconds(snapshot.uptime_ms));
    page.family("shmrpc_machine_cpus", Kind::Gauge, "CPUs that the daemon may use.");
    page.sample("", &[], snapshot.cpus);
}

fn for_services(page: &mut Page, services: &[ServiceSnapshot]) {
    page.family(
        "shmrpc_service_status",
        Kind::Gauge,
        "1 for the state that the service is in, 0 for the others.",
    );
    for service in services {
        for status in STATUSES {
            let labels: &Labels<'_> = &[("service", &service.name), ("status", &status.name())];
            page.sample("", labels, u8::from(service.status == status));
        }
    }
    page.family("shmrpc_service_workers", Kind::Gauge, "Worker processes, by what they are doing.");
    for service in services {
        for state in WORKER_STATES {
            let count = service.workers.iter().filter(|worker| worker.state == state).count();
            page.sample("", &[("service", &service.name), ("state", &state.name())], count);
        }
    }
    type Of = fn(&ServiceSnapshot) -> Option<f64>;
    let families: [(&str, Kind, &str, Of); 7] = [
        ("shmrpc_service_min_workers", Kind::Gauge, "The least that the pool has.", |service| {
            Some(f64::from(service.min_workers))
        }),
        ("shmrpc_service_max_workers", Kind::Gauge, "The most that the pool may have.", |service| {
            Some(f64::from(service.max_workers))
        }),
        (
            "shmrpc_service_restarts_total",
            Kind::Counter,
            "Workers that were started in place of dead ones.",
            |service| Some(service.restarts as f64),
        ),
        (
            "shmrpc_service_uptime_seconds",
            Kind::Gauge,
            "Since when the service has been running without a break; 0 while it does not.",
            |service| Some(seconds(service.uptime_ms.unwrap_or(0))),
        ),
        (
            "shmrpc_service_cpu_usage_ratio",
            Kind::Gauge,
            "CPU that all workers together use, 1 is one CPU kept busy.",
            |service| Some(service.usage.cpu_share),
        ),
        (
            "shmrpc_service_busy_threads_ratio",
            Kind::Gauge,
            "Share of the handler threads that were busy over the last second.",
            |service| service.busy_share,
        ),
        (
            "shmrpc_service_queued_calls",
            Kind::Gauge,
            "Calls that waited for a worker, mean over the last second.",
            |service| service.queued_calls,
        ),
    ];
    for (name, kind, help, of) in families {
        page.family(name, kind, help);
        for service in services {
            if let Some(value) = of(service) {
                page.sample("", &[("service", &service.name)], value);
            }
        }
    }
}

fn for_workers(page: &mut Page, services: &[ServiceSnapshot]) {
    type Of = fn(&WorkerSnapshot) -> Option<f64>;
    let families: [(&str, Kind, &str, Of); 9] = [
        ("shmrpc_worker_uptime_seconds", Kind::Gauge, "How long the process has run.", |worker| {
            Some(seconds(worker.uptime_ms))
        }),
        ("shmrpc_worker_calls_total", Kind::Counter, "Calls that the worker has answered.", |worker| {
            Some(worker.calls as f64)
        }),
        (
            "shmrpc_worker_call_errors_total",
            Kind::Counter,
            "Calls that the worker has answered with anything but success.",
            |worker| Some(worker.errors as f64),
        ),
        (
            "shmrpc_worker_cpu_usage_ratio",
            Kind::Gauge,
            "CPU that the process uses, 1 is one CPU kept busy.",
            |worker| Some(worker.usage.cpu_share),
        ),
        ("shmrpc_worker_resident_memory_bytes", Kind::Gauge, "Resident memory.", |worker| {
            Some(worker.usage.rss_bytes as f64)
        }),
        (
            "shmrpc_worker_proportional_memory_bytes",
            Kind::Gauge,
            "Memory, of shared pages the share of this process.",
            |worker| worker.usage.pss_bytes.map(|bytes| bytes as f64),
        ),
        ("shmrpc_worker_virtual_memory_bytes", Kind::Gauge, "Virtual memory.", |worker| {
            Some(worker.usage.virtual_bytes as f64)
        }),
        ("shmrpc_worker_read_bytes_total", Kind::Counter, "Bytes read from storage.", |worker| {
            Some(worker.usage.read_bytes as f64)
        }),
        ("shmrpc_worker_written_bytes_total", Kind::Counter, "Bytes written to storage.", |worker| {
            Some(worker.usage.written_bytes as f64)
        }),
    ];
    for (name, kind, help, of) in families {
        page.family(name, kind, help);
        for service in services {
            for worker in &service.workers {
                if let Some(value) = of(worker) {
                    page.sample("", &[("service", &service.name), ("pid", &worker.pid)], value);
                }
            }
        }
    }
}

fn for_methods(page: &mut Page, services: &[ServiceSnapshot]) {
    type Of = fn(&MethodSnapshot) -> u64;
    let families: [(&str, &str, Of); 4] = [
        ("shmrpc_calls_total", "Calls answered, errors included.", |method| method.calls.count),
        ("shmrpc_call_errors_total", "Calls answered with anything but success.", |method| {
            method.calls.errors
        }),
        ("shmrpc_call_argument_bytes_total", "Bytes of arguments.", |method| method.calls.bytes_in),
        ("shmrpc_call_reply_bytes_total", "Bytes of replies.", |method| method.calls.bytes_out),
    ];
    let each =
        || services.iter().flat_map(|service| service.methods.iter().map(move |method| (service, method)));
    for (name, help, of) in families {
        page.family(name, Kind::Counter, help);
        for (service, method) in each() {
            let labels: &Labels<'_> = &[("service", &service.name), ("method", &method.description.name)];
            page.sample("", labels, of(method));
        }
    }
    page.family("shmrpc_call_duration_seconds", Kind::Histogram, "Time that calls spent in their handlers.");
    for (service, method) in each() {
        let labels = [("service", &service.name as &dyn Display), ("method", &method.description.name)];
        histogram(page, labels, &method.latency, method.calls.total_ns);
    }
}

fn histogram(page: &mut Page, labels: [(&str, &dyn Display); 2], latency: &LatencyHistogram, total_ns: u64) {
    let [service, method] = labels;
    for power in BUCKET_POWERS {
        let bound_ns = 1_u64 << power;
        let bound = bound_ns as f64 / 1e9;
        page.sample("_bucket", &[service, method, ("le", &bound)], latency.below(bound_ns));
    }
    // One number for both, whatever was being counted meanwhile.
    let all = latency.below(u64::MAX);
    page.sample("_bucket", &[service, method, ("le", &"+Inf")], all);
    page.sample("_sum", &labels, total_ns as f64 / 1e9);
    page.sample("_count", &labels, all);
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

type Labels<'a> = [(&'a str, &'a dyn Display)];

/// Text in the making.
struct Page {
    text: String,
    /// The name of the family that was begun last.
    family: &'static str,
}

impl Page {
    /// Begins a family; its samples follow.
    fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        self.family = name;
    }

    /// A sample of the family that was begun last.
    fn sample(&mut self, suffix: &str, labels: &Labels<'_>, value: impl Display) {
        let name = self.family;
        self.put(format_args!("{name}{suffix}"));
        for (number, (label, text)) in labels.iter().enumerate() {
            let before = if number == 0 { '{' } else { ',' };
            self.put(format_args!("{before}{label}=\""));
            self.put_escaped(&text.to_string());
            self.text.push('"');
        }
        self.put(format_args!("{} {value}\n", if labels.is_empty() { "" } else { "}" }));
    }

    fn put(&mut self, what: fmt::Arguments<'_>) {
        // A string takes everything.
        let _written = self.text.write_fmt(what);
    }

    fn put_escaped(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                other => self.text.push(other),
            }
        }
    }
}
