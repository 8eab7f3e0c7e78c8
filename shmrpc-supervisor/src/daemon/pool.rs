//! A service's pool, measured once a second: what its workers did is handed to the rule of [`crate::scaling`], whose
//! advice goes to the machine; and workers that have done enough are replaced. Decides nothing itself.

use std::time::{Duration, Instant};

use shmrpc_core::{
    method::MethodId,
    observe::{LatencyHistogram, MethodCounters, Occupancy, WorkerView},
};
use shmrpc_web::Usage;

use super::supervised::{Running, Supervised, Surroundings};
use crate::{
    config::Autoscale,
    machine::{Activity, Event, Status, WorkerId},
    plan::ServicePlan,
    scaling::{Load, Scaler},
};

/// A worker whose successor did not get ready is tried to be replaced again after so long.
const REPLACE_AGAIN: Duration = Duration::from_secs(30);
/// A pool that may not shrink and has too much memory has its largest worker replaced so often.
const REPLACE_LARGEST: Duration = Duration::from_mins(10);

/// What of a service's pool is remembered from second to second.
#[derive(Debug)]
pub(crate) struct Measured {
    scaler: Scaler,
    at: Option<Instant>,
    largest_replaced: Option<Instant>,
    /// The newest sample.
    load: Option<Load>,
}

/// What of one worker is.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    occupancy: Occupancy,
    /// Its counters by the last look that found anything new.
    pub(crate) counters: Vec<(MethodId, MethodCounters)>,
    /// Whether the look after that found nothing more.
    is_settled: bool,
    /// What [`WorkerView::calls`] said then.
    counted_calls: u64,
    /// Calls that it has answered.
    pub(crate) calls: u64,
    /// Those of them that it answered with anything but success.
    pub(crate) errors: u64,
    /// How long they took.
    pub(crate) latency: LatencyHistogram,
    calls_before: u64,
    told_to_go: Option<Instant>,
}

impl Seen {
    /// Reads a worker's counters; `false` if there is nothing new in them.
    pub(super) fn look(&mut self, view: &WorkerView) -> bool {
        let calls = view.calls();
        let is_new = calls != self.counted_calls || self.counters.is_empty();
        if !is_new && self.is_settled {
            return false;
        }
        // The last call may have been counted, and its time not yet: one look more.
        (self.is_settled, self.counted_calls) = (!is_new, calls);
        self.counters = counters_of(view).collect();
        (self.calls, self.errors) = (0, 0);
        self.latency = LatencyHistogram::default();
        for (_, counters) in &self.counters {
            self.calls = self.calls.saturating_add(counters.calls);
            self.errors = self.errors.saturating_add(counters.errors);
            self.latency.add(&counters.latency);
        }
        true
    }
}

/// A worker's counters by method.
pub(super) fn counters_of(view: &WorkerView) -> impl Iterator<Item = (MethodId, MethodCounters)> {
    let ids = view.description().methods.iter().map(|method| method.id);
    ids.zip(view.counters())
}

impl Measured {
    pub(crate) fn new(now: Instant) -> Self {
        Self { scaler: Scaler::new(now), at: None, largest_replaced: None, load: None }
    }
}

/// The rule that holds for a service: a plain program has no calls that could wait.
pub(crate) fn rule_of(plan: &ServicePlan) -> Autoscale {
    match plan.settings.scaling.autoscale {
        Autoscale::Load if plan.description.is_none() => Autoscale::Off,
        rule => rule,
    }
}

impl Supervised {
    /// Takes stock after a round, and has the machine told what follows.
    pub(crate) fn steer(&mut self, around: &Surroundings) {
        let now = Instant::now();
        let serving: Vec<WorkerId> = self
            .machine
            .workers()
            .filter_map(|(worker, activity)| (activity == Activity::Running).then_some(worker))
            .collect();
        let load = self.load(&serving, now);
        self.measured.load = load;
        if self.machine.status() != Status::Running || self.machine.is_rolling() {
            self.measured.scaler.changed(now);
            return;
        }
        self.replace_worn(&serving, now, around);
        let (Some(load), None) = (load, self.machine.fixed()) else { return };
        let scaling = crate::config::Scaling { autoscale: rule_of(&self.plan), ..self.plan.settings.scaling };
        let bounds = self.plan.settings.min_proc_num..=self.plan.max_workers;
        if let Some(advice) = self.measured.scaler.advise(load, self.machine.size(), &scaling, &bounds) {
            self.measured.scaler.changed(now);
            self.handle(Event::Advised(advice.workers, advice.reason), around);
        }
    }

    /// The newest sample of a pool that has threads to be busy.
    pub(crate) fn load_now(&self) -> Option<Load> {
        self.measured.load.filter(|load| load.threads > 0 && self.plan.description.is_some())
    }

    /// What the pool did since the last time; `None` the first time.
    fn load(&mut self, serving: &[WorkerId], now: Instant) -> Option<Load> {
        let before = self.measured.at.replace(now);
        let threads = self.plan.settings.threads;
        let mut load = Load {
            at: now,
            workers: serving.len(),
            threads: serving.len() * threads,
            cpu_share: 0.0,
            busy: 0.0,
            starved: 0.0,
            queued: 0.0,
            calls_per_s: 0.0,
            memory_bytes: 0,
        };
        let seconds = now.saturating_duration_since(before?).as_secs_f64().max(0.001);
        for (worker, running) in &mut self.running {
            load.memory_bytes = load.memory_bytes.saturating_add(memory_bytes(&running.usage));
            if serving.contains(worker) {
                add(&mut load, running, threads, seconds);
            }
        }
        load.queued /= serving.len().max(1) as f64;
        Some(load)
    }

    fn replace_worn(&mut self, serving: &[WorkerId], now: Instant, around: &Surroundings) {
        let mut reasons: Vec<(WorkerId, String)> = Vec::new();
        for worker in serving {
            let Some(running) = self.running.get(worker) else { continue };
            if running.seen.told_to_go.is_none_or(|at| now.duration_since(at) >= REPLACE_AGAIN)
                && let Some(reason) = self.worn(*worker, running)
            {
                reasons.push((*worker, reason));
            }
        }
        reasons.extend(self.largest_if_too_large(serving, now));
        for (worker, reason) in reasons {
            if let Some(running) = self.running.get_mut(&worker) {
                running.seen.told_to_go = Some(now);
            }
            self.handle(Event::Replace(worker, reason), around);
        }
    }

    fn worn(&self, worker: WorkerId, running: &Running) -> Option<String> {
        let limits = self.plan.settings.recycling;
        if let Some(most) = limits.max_calls {
            // Up to a tenth fewer, so that workers of one age do not all go at once.
            let spread = worker.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            let own = most - ((u128::from(most / 10) * u128::from(spread)) >> 24) as u64;
            if running.seen.calls >= own {
                return Some(format!("{} calls answered, max_calls is {most}", running.seen.calls));
            }
        }
        let most = limits.max_worker_mem_bytes?;
        let used = memory_bytes(&running.usage);
        (used > most).then(|| format!("{used} bytes of memory exceed max_worker_mem_bytes {most}"))
    }

    /// A pool that cannot shrink gives memory back by replacing its largest worker, now and then.
    fn largest_if_too_large(&mut self, serving: &[WorkerId], now: Instant) -> Option<(WorkerId, String)> {
        let most = self.plan.settings.scaling.max_proc_mem_bytes?;
        let used = self.measured.load?.memory_bytes;
        let lately = self.measured.largest_replaced;
        let is_due = lately.is_none_or(|at| now.duration_since(at) >= REPLACE_LARGEST);
        if used <= most || self.machine.size() > self.plan.settings.min_proc_num || !is_due {
            return None;
        }
        let size = |worker: &&WorkerId| self.running.get(*worker).map(|running| memory_bytes(&running.usage));
        let largest = *serving.iter().max_by_key(size)?;
        self.measured.largest_replaced = Some(now);
        let text = format!("{used} bytes of the pool exceed max_proc_mem_bytes {most}, and it has the most");
        Some((largest, text))
    }
}

/// Adds what one worker did.
fn add(load: &mut Load, running: &mut Running, threads: usize, seconds: f64) {
    let cpu_share = running.usage.cpu_share;
    let calls = running.seen.calls;
    let before = std::mem::replace(&mut running.seen.calls_before, calls);
    load.calls_per_s += calls.saturating_sub(before) as f64 / seconds;
    let Some(view) = &running.view else {
        load.cpu_share += cpu_share;
        return;
    };
    let occupancy = view.occupancy();
    let seen = occupancy.since(std::mem::replace(&mut running.seen.occupancy, occupancy));
    let mean = |sum: u64| if seen.looks == 0 { 0.0 } else { sum as f64 / seen.looks as f64 };
    let (busy, apart) = (mean(seen.busy), mean(seen.apart));
    // While no call is under way, CPU is spent on waiting for one.
    let working = cpu_share.min(busy + apart);
    load.cpu_share += working;
    load.busy += busy.max(working.min(threads as f64));
    load.queued += mean(seen.queued);
    load.starved += running.usage.cpu_wait_share;
}

fn memory_bytes(usage: &Usage) -> u64 {
    usage.pss_bytes.unwrap_or(usage.rss_bytes)
}
