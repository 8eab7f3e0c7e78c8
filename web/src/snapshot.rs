//! What the dashboard and the REST API show of a daemon, as plain data: [`Snapshot`] and its parts.
//!
//! The supervisor fills it in, REST serialises it as it stands (so field names are part of the API), and
//! the page formats it. Nothing here measures, and nothing here formats.

use std::{fmt, iter::Sum, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use shmrpc_core::{
    method::MethodDescription,
    observe::{LatencyHistogram, MethodCounters},
    schema::Schemas,
};
use utoipa::ToSchema;

/// One daemon at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// When it was taken, in milliseconds since 1970.
    pub time_ms: u64,
    /// The machine's name.
    pub host: String,
    /// The daemon's version.
    pub version: String,
    /// The daemon's process id.
    pub pid: u32,
    /// How long the daemon has run.
    pub uptime_ms: u64,
    /// The machine's CPUs, so that shares of one CPU can be judged.
    pub cpus: u32,
    /// The services in the order of the ini file.
    pub services: Vec<ServiceSnapshot>,
}

impl Snapshot {
    /// The service of that name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&ServiceSnapshot> {
        self.services.iter().find(|service| service.name == name)
    }
}

/// One section of the ini file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServiceSnapshot {
    /// The name that URLs, logs and endpoints use, with its prefix (`PREFIX.NAME`) if it has one.
    pub name: String,
    /// The ini section: the struct's name, or for a plain program whatever the user wrote.
    pub struct_name: String,
    /// The prefix under which this copy runs.
    pub prefix: Option<String>,
    /// The first paragraph of the service's documentation.
    pub doc: String,
    /// The service's port; a plain program has none.
    pub port: Option<u16>,
    /// The address on which TCP is offered, if it is.
    pub tcp_bind: Option<String>,
    /// What the supervisor is doing with it.
    pub status: ServiceStatus,
    /// Why, when the word alone does not say: `exited with code 1, next start in 3 s`.
    pub status_detail: Option<String>,
    /// The pool's bounds.
    pub min_workers: u32,
    /// The pool's bounds.
    pub max_workers: u32,
    /// `force_insecure_serialisation`: guarded encodings are allowed over TCP and REST.
    pub force_insecure_serialisation: bool,
    /// Its live processes.
    pub workers: Vec<WorkerSnapshot>,
    /// The sum over the workers.
    pub usage: Usage,
    /// The size that somebody has fixed for its pool; `None`: it follows the load.
    #[serde(default)]
    pub fixed_workers: Option<u32>,
    /// Whether workers are being replaced one after the other.
    #[serde(default)]
    pub rolling: bool,
    /// The share of its workers' threads that were busy over the last second.
    #[serde(default)]
    pub busy_share: Option<f64>,
    /// Calls that waited for a worker, on average over the last second.
    #[serde(default)]
    pub queued_calls: Option<f64>,
    /// How many workers were started in place of dead ones since the daemon started.
    pub restarts: u64,
    /// Since when it has been running without a break; `None` while it does not run.
    pub uptime_ms: Option<u64>,
    /// What the ini file says of it, for the page alone; empty: nothing is known.
    #[serde(skip)]
    pub ini_section: Arc<str>,
    /// Its methods in source order; known once a worker has started, or from `--describe`.
    #[schema(value_type = Vec<crate::openapi::Method>)]
    pub methods: Vec<MethodSnapshot>,
    /// What the types of its methods tell, for the OpenAPI document alone.
    #[serde(skip)]
    pub schemas: Arc<Schemas>,
}

impl ServiceSnapshot {
    /// The method of that name.
    #[must_use]
    pub fn method(&self, name: &str) -> Option<&MethodSnapshot> {
        self.methods.iter().find(|method| method.description.name == name)
    }
}

/// The states of a service, named as in supervisord.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceStatus {
    /// Not running, because somebody stopped it or it was never started.
    Stopped,
    /// Workers are being started, none is ready.
    Starting,
    /// At least one worker serves.
    Running,
    /// Its worker died; the next start waits for its delay.
    Backoff,
    /// Workers are draining.
    Stopping,
    /// It ended by itself, and that was expected.
    Exited,
    /// It died too often and is left alone until somebody starts it.
    Fatal,
}

impl ServiceStatus {
    /// The word: `running`, `stopped` …
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Backoff => "backoff",
            Self::Stopping => "stopping",
            Self::Exited => "exited",
            Self::Fatal => "fatal",
        }
    }

    /// Whether `start` makes sense.
    #[must_use]
    pub const fn can_start(self) -> bool {
        matches!(self, Self::Stopped | Self::Exited | Self::Fatal | Self::Backoff)
    }

    /// Whether `stop` makes sense.
    #[must_use]
    pub const fn can_stop(self) -> bool {
        matches!(self, Self::Running | Self::Starting | Self::Backoff)
    }
}

impl fmt::Display for ServiceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One process of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkerSnapshot {
    /// Its process id.
    pub pid: u32,
    /// What it is doing.
    pub state: WorkerState,
    /// What it uses.
    pub usage: Usage,
    /// How long it has run.
    pub uptime_ms: u64,
    /// Calls that it has answered, errors included.
    #[serde(default)]
    pub calls: u64,
    /// Calls that it has answered with anything but success.
    #[serde(default)]
    pub errors: u64,
}

/// What a worker process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// Started, not yet ready.
    Starting,
    /// Serving.
    Running,
    /// Finishing its calls before it goes.
    Draining,
}

impl WorkerState {
    /// The word: `starting`, `running` or `draining`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
        }
    }
}

/// What a process, or all processes of a service together, use of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Share of one CPU over the last sampling interval: 1.0 is one CPU kept busy.
    pub cpu_share: f64,
    /// Threads that were ready to run and had no CPU, on average over the last sampling interval; 0 where the kernel
    /// does not say.
    #[serde(default)]
    pub cpu_wait_share: f64,
    /// Resident memory.
    pub rss_bytes: u64,
    /// Proportional memory: shared pages count by the share of each process. `None` where the kernel
    /// does not say; in a sum, the processes that are not known count with their resident memory.
    pub pss_bytes: Option<u64>,
    /// Virtual memory.
    pub virtual_bytes: u64,
    /// Bytes read from storage since the process started.
    pub read_bytes: u64,
    /// Bytes written to storage since the process started.
    pub written_bytes: u64,
    /// Open file descriptors. `None` where the kernel does not say; asked less often than the rest.
    #[serde(default)]
    pub open_files: Option<u64>,
    /// Threads; likewise.
    #[serde(default)]
    pub threads: Option<u64>,
}

impl<'a> Sum<&'a Self> for Usage {
    fn sum<I: Iterator<Item = &'a Self>>(usages: I) -> Self {
        usages.fold(Self::default(), |sum, one| Self {
            cpu_share: sum.cpu_share + one.cpu_share,
            cpu_wait_share: sum.cpu_wait_share + one.cpu_wait_share,
            rss_bytes: sum.rss_bytes.saturating_add(one.rss_bytes),
            pss_bytes: Some(
                sum.pss_bytes.unwrap_or(0).saturating_add(one.pss_bytes.unwrap_or(one.rss_bytes)),
            ),
            virtual_bytes: sum.virtual_bytes.saturating_add(one.virtual_bytes),
            read_bytes: sum.read_bytes.saturating_add(one.read_bytes),
            written_bytes: sum.written_bytes.saturating_add(one.written_bytes),
            open_files: added(sum.open_files, one.open_files),
            threads: added(sum.threads, one.threads),
        })
    }
}

/// A sum of what is known.
fn added(sum: Option<u64>, one: Option<u64>) -> Option<u64> {
    sum.map_or(one, |sum| Some(sum.saturating_add(one.unwrap_or(0))))
}

/// One method: what it is, and how it has been called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodSnapshot {
    /// Its definition; in JSON its fields stand beside the counters.
    #[serde(flatten)]
    pub description: MethodDescription,
    /// Its counters over all workers, the dead ones included, since the daemon started.
    #[serde(flatten)]
    pub calls: CallStatistics,
    /// Time in handlers, of the same calls. In JSON a list of pairs: a time in nanoseconds, and how many calls took
    /// about as long.
    #[serde(default, with = "latency_pairs")]
    pub latency: LatencyHistogram,
}

/// A histogram as the pairs of its buckets.
mod latency_pairs {
    use serde::{Deserialize, Deserializer, Serializer};
    use shmrpc_core::observe::LatencyHistogram;

    pub(super) fn serialize<S: Serializer>(histogram: &LatencyHistogram, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(histogram.buckets())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<LatencyHistogram, D::Error> {
        let mut histogram = LatencyHistogram::default();
        for (middle_ns, count) in Vec::<(u64, u64)>::deserialize(from)? {
            histogram.set(LatencyHistogram::bucket(middle_ns), count);
        }
        Ok(histogram)
    }
}

/// The counters of a method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CallStatistics {
    /// Calls answered, errors included.
    pub count: u64,
    /// Calls answered with anything but success.
    pub errors: u64,
    /// Bytes of arguments.
    pub bytes_in: u64,
    /// Bytes of replies.
    pub bytes_out: u64,
    /// Time in handlers, in nanoseconds.
    pub total_ns: u64,
    /// Mean time in the handler; `None` before the first call.
    pub mean_ns: Option<u64>,
    /// Half of the calls took no longer.
    pub p50_ns: Option<u64>,
    /// 9 of 10 calls took no longer.
    #[serde(default)]
    pub p90_ns: Option<u64>,
    /// 99 of 100 calls took no longer.
    pub p99_ns: Option<u64>,
}

impl From<&MethodCounters> for CallStatistics {
    fn from(counters: &MethodCounters) -> Self {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self {
            count: counters.calls,
            errors: counters.errors,
            bytes_in: counters.bytes_in,
            bytes_out: counters.bytes_out,
            total_ns: nanos(counters.total),
            mean_ns: (counters.calls > 0).then(|| nanos(counters.mean())),
            p50_ns: counters.latency.quantile(0.5).map(nanos),
            p90_ns: counters.latency.quantile(0.9).map(nanos),
            p99_ns: counters.latency.quantile(0.99).map(nanos),
        }
    }
}
