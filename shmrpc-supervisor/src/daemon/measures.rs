//! From counters that only grow to what happened in the last second: the points of the history, one for each service,
//! each of its processes, and the daemon. Reads what a round has brought; asks nobody.

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use shmrpc_core::observe::LatencyHistogram;
use shmrpc_web::{Series, Usage};

use super::supervised::{Running, Supervised};
use crate::history::{Point, Subject};

/// What of each subject is remembered from second to second.
#[derive(Debug, Default)]
pub(super) struct Measures {
    at: Option<Instant>,
    before: HashMap<Subject, Totals>,
}

/// Sums since the processes started.
#[derive(Clone, Debug, Default)]
struct Totals {
    read_bytes: u64,
    written_bytes: u64,
    calls: u64,
    errors: u64,
    latency: LatencyHistogram,
}

impl Totals {
    fn of_worker(running: &Running) -> Self {
        Self {
            read_bytes: running.usage.read_bytes,
            written_bytes: running.usage.written_bytes,
            calls: running.seen.calls,
            errors: running.seen.errors,
            latency: running.seen.latency.clone(),
        }
    }

    /// Dead workers' calls are counted too.
    fn of_service(service: &Supervised) -> Self {
        let mut totals = Self::default();
        for (_, counters) in &service.methods {
            totals.calls = totals.calls.saturating_add(counters.calls);
            totals.errors = totals.errors.saturating_add(counters.errors);
            if counters.calls > 0 {
                totals.latency.add(&counters.latency);
            }
        }
        for running in service.running.values() {
            totals.read_bytes = totals.read_bytes.saturating_add(running.usage.read_bytes);
            totals.written_bytes = totals.written_bytes.saturating_add(running.usage.written_bytes);
        }
        totals
    }
}

impl Measures {
    /// The points of the time since the last call, or since then for what is new.
    pub(super) fn take(
        &mut self,
        services: &[Supervised],
        daemon: Option<&Usage>,
        now: Instant,
    ) -> Vec<(Subject, Point)> {
        let seconds = self.at.replace(now).map_or(1.0, |at| now.duration_since(at).as_secs_f64().max(0.001));
        let mut points = Vec::new();
        let mut all = (0, 0.0, 0.0);
        for service in services {
            for running in service.running.values() {
                let subject = Subject { service: service.name().to_owned(), pid: running.process.pid() };
                let mut point = used(&running.usage);
                self.happened(&subject, Totals::of_worker(running), seconds, &mut point);
                points.push((subject, point));
            }
            let subject = Subject { service: service.name().to_owned(), pid: 0 };
            let usage: Usage = service.running.values().map(|running| &running.usage).sum();
            let mut point = used(&usage);
            let (calls, errors) = self.happened(&subject, Totals::of_service(service), seconds, &mut point);
            point.set(Series::Workers, service.running.len() as f64);
            if let Some(load) = service.load_now() {
                point.set(Series::Queued, load.queued);
                point.set(Series::Wait, load.wait_s() * 1e9);
                point.set(Series::Busy, load.utilisation());
            }
            points.push((subject, point));
            all = (all.0 + service.running.len(), all.1 + calls, all.2 + errors);
        }
        if let Some(usage) = daemon {
            let subject = Subject { service: String::new(), pid: 0 };
            let mut point = used(usage);
            let totals = Totals {
                read_bytes: usage.read_bytes,
                written_bytes: usage.written_bytes,
                ..Totals::default()
            };
            self.happened(&subject, totals, seconds, &mut point);
            point.set(Series::Workers, all.0 as f64);
            point.set(Series::Calls, all.1);
            point.set(Series::Errors, all.2);
            points.push((subject, point));
        }
        let present: HashSet<&Subject> = points.iter().map(|(subject, _)| subject).collect();
        self.before.retain(|subject, _| present.contains(subject));
        points
    }

    /// What came since the last time, as rates; returns those of calls and errors. Of what is new only that it is there.
    fn happened(&mut self, subject: &Subject, now: Totals, seconds: f64, point: &mut Point) -> (f64, f64) {
        let Some(before) = self.before.get_mut(subject) else {
            self.before.insert(subject.clone(), now);
            return (0.0, 0.0);
        };
        // Sums fall when a process of several is gone.
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let (calls, errors) = (rate(now.calls, before.calls), rate(now.errors, before.errors));
        point.set(Series::Read, rate(now.read_bytes, before.read_bytes));
        point.set(Series::Written, rate(now.written_bytes, before.written_bytes));
        point.set(Series::Calls, calls);
        point.set(Series::Errors, errors);
        if now.calls != before.calls {
            let came = now.latency.since(&before.latency);
            let bucket = |(nanos, count)| (LatencyHistogram::bucket(nanos) as u8, count);
            point.set_latencies(came.buckets().map(bucket));
        }
        *before = now;
        (calls, errors)
    }
}

fn used(usage: &Usage) -> Point {
    let mut point = Point::of_second();
    point.set(Series::Cpu, usage.cpu_share);
    point.set(Series::Rss, usage.rss_bytes as f64);
    let known =
        [(Series::Pss, usage.pss_bytes), (Series::Fds, usage.open_files), (Series::Threads, usage.threads)];
    for (series, number) in known {
        point.set(series, number.map_or(f64::NAN, |number| number as f64));
    }
    point
}
