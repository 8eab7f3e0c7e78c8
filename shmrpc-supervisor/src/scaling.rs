//! When a pool grows and shrinks: a pure function over one sample a second. Two rules: the original's, which
//! looks at CPU alone, and ours, which looks at how long calls wait and how busy the threads are that run them.
//!
//! The daemon measures (`daemon/pool.rs`) and hands the advice to the service's machine. Nothing here reads a
//! clock or knows a process.

mod by_cpu;
mod by_load;
#[cfg(test)]
mod simulation;

use std::{
    collections::VecDeque,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use crate::config::{Autoscale, Scaling};

/// What a pool did since the sample before: a second, as a rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// The end of that time.
    pub at: Instant,
    /// How many workers served.
    pub workers: usize,
    /// All their threads together.
    pub threads: usize,
    /// Their CPU together, without what was spent on spinning: 1.0 is one core kept busy.
    pub cpu_share: f64,
    /// Threads that were in handlers, on average; where handlers do not block threads, CPU if that is more.
    pub busy: f64,
    /// Threads that were ready to run and had no processor, on average.
    pub starved: f64,
    /// Calls that waited to be claimed, on average.
    pub queued: f64,
    /// Calls answered a second.
    pub calls_per_s: f64,
    /// All workers' memory together.
    pub memory_bytes: u64,
}

impl Load {
    /// The share of threads that were busy.
    pub(crate) fn utilisation(&self) -> f64 {
        self.busy / self.threads.max(1) as f64
    }

    /// Threads that were busy and did not lack a processor. What is lost for want of processors no further worker can win
    /// back: it would want them too.
    pub(crate) fn needed(&self) -> f64 {
        (self.busy - self.starved).max(self.cpu_share).min(self.busy)
    }

    /// How long a call would have waited, had no thread lacked a processor: calls queue up for as long as threads are
    /// kept, whatever keeps them.
    pub(crate) fn own_wait_s(&self) -> f64 {
        let lost_share = if self.busy > 0.0 { (self.starved / self.busy).clamp(0.0, 1.0) } else { 0.0 };
        self.wait_s() * (1.0 - lost_share)
    }

    /// How long a call waited on average, by Little's law. Calls that wait while none is answered wait for as
    /// long as the sample took, at least.
    pub(crate) fn wait_s(&self) -> f64 {
        if self.queued <= 0.0 { 0.0 } else { (self.queued / self.calls_per_s.max(1.0)).min(60.0) }
    }
}

/// A size that a pool should have, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// So many workers.
    pub workers: usize,
    /// For the log: `queue wait p90 4.1 ms over 20s`.
    pub reason: String,
}

/// A pool's load as far back as the rules look, and what has been learnt about it.
#[derive(Clone, Debug)]
pub struct Scaler {
    loads: VecDeque<Load>,
    changed_at: Instant,
    /// Sizes at which calls waited too long, and how busy the pool was then. It does not return to such a size
    /// before it has clearly less to do: so it does not swing between two sizes.
    too_few: Vec<(usize, f64)>,
}

impl Scaler {
    /// A pool that has just been started.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { loads: VecDeque::new(), changed_at: now, too_few: Vec::new() }
    }

    /// The pool has grown or shrunk, or its workers are being replaced: what follows is measured anew.
    pub fn changed(&mut self, now: Instant) {
        self.changed_at = now;
    }

    /// Takes a sample of a pool that should have `size` workers, and says what other size it should have.
    pub fn advise(
        &mut self,
        load: Load,
        size: usize,
        rule: &Scaling,
        bounds: &RangeInclusive<usize>,
    ) -> Option<Advice> {
        self.keep(load, rule);
        let too_large = rule.max_proc_mem_bytes.filter(|most| load.memory_bytes > *most);
        let may_shrink = size > *bounds.start();
        if let Some(most) = too_large {
            let settled = self.look_back(load.at, rule.new_proc_avg_over).is_some();
            let reason = format!("{} bytes of memory exceed max_proc_mem_bytes {most}", load.memory_bytes);
            return (may_shrink && settled).then_some(Advice { workers: size - 1, reason });
        }
        // While workers are missing or about to go, their load says nothing about the pool.
        if load.workers != size {
            return None;
        }
        let has_room = rule.max_proc_mem_bytes.is_none_or(|most| load.memory_bytes < most);
        let more = if size < *bounds.end() && has_room { self.reason_for_more(&load, rule) } else { None };
        if let Some(reason) = more {
            return Some(Advice { workers: size + 1, reason });
        }
        let fewer = if may_shrink { self.reason_for_fewer(&load, rule) } else { None };
        fewer.map(|reason| Advice { workers: size - 1, reason })
    }

    fn reason_for_more(&mut self, load: &Load, rule: &Scaling) -> Option<String> {
        let loads: Vec<Load> = self.look_back(load.at, rule.new_proc_avg_over)?.copied().collect();
        match rule.autoscale {
            Autoscale::Off => None,
            Autoscale::Original => by_cpu::reason_for_more(&loads, rule),
            Autoscale::Load => {
                let reason = by_load::reason_for_more(&loads, rule)?;
                self.too_few.retain(|(size, _)| *size != load.workers);
                self.too_few.push((load.workers, by_load::mean_needed(&loads)));
                Some(reason)
            }
        }
    }

    fn reason_for_fewer(&self, load: &Load, rule: &Scaling) -> Option<String> {
        let loads: Vec<Load> = self.look_back(load.at, rule.kill_proc_avg_over)?.copied().collect();
        match rule.autoscale {
            Autoscale::Off => None,
            Autoscale::Original => by_cpu::reason_for_fewer(&loads, rule),
            Autoscale::Load => {
                let known = self.too_few.iter().find(|(size, _)| *size + 1 == load.workers);
                by_load::reason_for_fewer(&loads, known.map(|(_, busy)| *busy), rule)
            }
        }
    }

    fn keep(&mut self, load: Load, rule: &Scaling) {
        self.loads.push_back(load);
        let longest = rule.new_proc_avg_over.max(rule.kill_proc_avg_over);
        let is_old = |first: &Load| load.at.saturating_duration_since(first.at) > longest;
        // One older than the longest look back stays, so that it can be told that the look back is full.
        while self.loads.get(1).is_some_and(is_old) {
            self.loads.pop_front();
        }
    }

    /// The loads of so long; `None` before the pool has been as it is for so long.
    fn look_back(&self, now: Instant, over: Duration) -> Option<impl Iterator<Item = &Load>> {
        let is_full = |at: Instant| now.saturating_duration_since(at) >= over;
        let first = self.loads.front()?;
        (is_full(first.at) && is_full(self.changed_at))
            .then(|| self.loads.iter().filter(move |load| now.saturating_duration_since(load.at) < over))
    }
}

/// A mean; 0 of nothing.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count.max(1))
}
