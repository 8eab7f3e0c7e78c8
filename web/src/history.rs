//! What was: time series of services and workers ([`HistoryPage`]) and events ([`EventQuery`]), as the REST API asks
//! a [`Daemon`](crate::Daemon) for them and shows them. Keeps nothing: the daemon has the store.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::log::{LogLine, LogPage, LogStream};

/// Points that one answer has at most.
pub const MAX_POINTS: usize = 2000;

/// One measured quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Series {
    /// CPU: 1 is one CPU kept busy.
    Cpu,
    /// Resident memory.
    Rss,
    /// Proportional memory: shared pages count by the share of each process.
    Pss,
    /// Read from storage.
    Read,
    /// Written to storage.
    Written,
    /// Open file descriptors.
    Fds,
    /// Threads of the processes.
    Threads,
    /// Processes; of the daemon: all workers.
    Workers,
    /// Calls answered, errors included.
    Calls,
    /// Calls answered with anything but success.
    Errors,
    /// Half of the calls took no longer.
    P50,
    /// 9 of 10 calls took no longer.
    P90,
    /// 99 of 100 calls took no longer.
    P99,
    /// Calls that waited for a worker.
    Queued,
    /// How long a call waited for a worker, on average.
    Wait,
    /// The share of the workers' threads that were busy.
    Busy,
}

impl Series {
    /// All of them, in the order of the API.
    pub const ALL: [Self; 16] = [
        Self::Cpu,
        Self::Rss,
        Self::Pss,
        Self::Read,
        Self::Written,
        Self::Fds,
        Self::Threads,
        Self::Workers,
        Self::Calls,
        Self::Errors,
        Self::P50,
        Self::P90,
        Self::P99,
        Self::Queued,
        Self::Wait,
        Self::Busy,
    ];

    /// Its name in the API: `cpu`, `p99` …
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Rss => "rss",
            Self::Pss => "pss",
            Self::Read => "read",
            Self::Written => "written",
            Self::Fds => "fds",
            Self::Threads => "threads",
            Self::Workers => "workers",
            Self::Calls => "calls",
            Self::Errors => "errors",
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::Queued => "queued",
            Self::Wait => "wait",
            Self::Busy => "busy",
        }
    }

    /// The series of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|series| series.name() == name)
    }

    /// What its values count: `cpus`, `bytes`, `bytes/s`, `1`, `1/s` or `ns`.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Cpu => "cpus",
            Self::Rss | Self::Pss => "bytes",
            Self::Read | Self::Written => "bytes/s",
            Self::Fds | Self::Threads | Self::Workers | Self::Queued | Self::Busy => "1",
            Self::Calls | Self::Errors => "1/s",
            Self::P50 | Self::P90 | Self::P99 | Self::Wait => "ns",
        }
    }

    /// The share of all calls that a percentile stands for; `None` for what is no percentile. Percentiles of a longer
    /// time are those of all its calls, not means of percentiles.
    #[must_use]
    pub const fn share(self) -> Option<f64> {
        match self {
            Self::P50 => Some(0.5),
            Self::P90 => Some(0.9),
            Self::P99 => Some(0.99),
            _ => None,
        }
    }
}

/// Which points are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// The service's name; empty: the daemon itself.
    pub service: String,
    /// One of its processes, alive or dead, in place of all together.
    pub worker: Option<u32>,
    /// The quantities.
    pub series: Vec<Series>,
    /// From then on, in milliseconds since 1970.
    pub from_ms: u64,
    /// To before then; later than `from_ms`.
    pub to_ms: u64,
    /// At most about so many points, 1 to [`MAX_POINTS`].
    pub points: usize,
}

impl HistoryQuery {
    /// The least step, in milliseconds, that does not lead to more points than are wanted.
    #[must_use]
    pub fn least_step_ms(&self) -> u64 {
        (self.to_ms - self.from_ms).div_ceil(self.points as u64).max(1)
    }

    /// An answer without values whose points lie at multiples of the step, which is a multiple of `unit_ms`.
    #[must_use]
    pub fn grid(&self, unit_ms: u64) -> HistoryPage {
        let step_ms = self.least_step_ms().next_multiple_of(unit_ms);
        let from_ms = self.from_ms / step_ms * step_ms;
        let points = (self.to_ms - from_ms).div_ceil(step_ms) as usize;
        let holes = vec![None; points];
        let column = |series: &Series| {
            let extremes = series.share().is_none().then(|| holes.clone());
            Column {
                series: *series,
                unit: series.unit().into(),
                values: holes.clone(),
                min: extremes.clone(),
                max: extremes,
            }
        };
        HistoryPage {
            service: self.service.clone(),
            worker: self.worker,
            from_ms,
            step_ms,
            points,
            columns: self.series.iter().map(column).collect(),
            workers: Vec::new(),
        }
    }
}

/// Time series of one subject: point `i` is about the time from `from_ms + i × step_ms` up to the next point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryPage {
    /// The service; empty: the daemon itself.
    pub service: String,
    /// The process, if one was asked for.
    pub worker: Option<u32>,
    /// When the first point begins, in milliseconds since 1970.
    pub from_ms: u64,
    /// From point to point.
    pub step_ms: u64,
    /// The length of every column.
    pub points: usize,
    /// The quantities in the order of the request.
    pub columns: Vec<Column>,
    /// Of a service: its processes in that time, dead ones included, as far as they are still known.
    pub workers: Vec<WorkerSpan>,
}

/// One quantity. A hole is `None`: nobody looked then, or there was nothing to be seen, as no percentile without calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Column {
    /// Which.
    pub series: Series,
    /// See [`Series::unit`].
    pub unit: String,
    /// The mean over each point's time; of percentiles that over all of its calls.
    pub values: Vec<Option<f32>>,
    /// The lowest of the seconds; absent for percentiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Vec<Option<f32>>>,
    /// The highest of the seconds; absent for percentiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Vec<Option<f32>>>,
}

/// A process that was there for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerSpan {
    /// Its process id.
    pub pid: u32,
    /// When it was first measured, in milliseconds since 1970.
    pub first_ms: u64,
    /// When it was last measured.
    pub last_ms: u64,
}

/// Which events are wanted: lines of the stream `daemon`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventQuery {
    /// Those after this cursor, oldest first; without it the newest.
    pub after: Option<u64>,
    /// Those of that service; empty: of the daemon itself.
    pub service: Option<String>,
    /// From then on, in milliseconds since 1970.
    pub from_ms: u64,
    /// To before then.
    pub to_ms: u64,
    /// At most so many.
    pub limit: usize,
}

impl EventQuery {
    /// Whether that line is one of them, its place apart.
    #[must_use]
    pub fn keeps(&self, line: &LogLine) -> bool {
        line.stream == LogStream::Daemon
            && (self.from_ms..self.to_ms).contains(&line.time_ms)
            && self.service.as_ref().is_none_or(|service| line.service == *service)
    }

    /// Chooses among lines that are oldest first, all of them after the cursor.
    #[must_use]
    pub fn choose(&self, mut page: LogPage) -> LogPage {
        page.lines.retain(|line| self.keeps(line));
        page.cut(self.after, self.limit);
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_lie_at_multiples_of_their_step() {
        let mut query = HistoryQuery {
            service: "echo".into(),
            worker: None,
            series: vec![Series::Cpu, Series::P99],
            from_ms: 10_500,
            to_ms: 70_500,
            points: 60,
        };
        let page = query.grid(1000);
        assert_eq!((page.from_ms, page.step_ms, page.points), (10_000, 1000, 61));
        assert!(page.columns[0].max.is_some() && page.columns[1].max.is_none());
        query.points = 25;
        let page = query.grid(1000);
        assert_eq!((page.from_ms, page.step_ms, page.points), (9000, 3000, 21));
        let page = query.grid(60_000);
        assert_eq!((page.from_ms, page.step_ms, page.points), (0, 60_000, 2));
    }

    #[test]
    fn names_of_series_are_those_of_json() {
        for series in Series::ALL {
            assert_eq!(serde_json::to_value(series).unwrap(), series.name());
            assert_eq!(Series::from_name(series.name()), Some(series));
        }
    }
}
