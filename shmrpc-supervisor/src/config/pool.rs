//! Keys on the size of a pool and on the age of its workers → [`Scaling`] and [`Recycling`].

use std::time::Duration;

use super::{reader::Reader, value};

/// By what rule a pool grows and shrinks between its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Autoscale {
    /// By how long calls wait, and how busy the threads are.
    Load,
    /// By CPU, as the Python original did.
    Original,
    /// Not at all.
    Off,
}

/// When a pool grows and shrinks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    /// The rule.
    pub autoscale: Autoscale,
    /// Calls may wait so long, 90 of 100 of them: beyond that a worker is added.
    pub max_queue_wait: Duration,
    /// The share of busy threads above which a worker is added.
    pub max_utilisation: f64,
    /// The original's rule. One core is 1.0: mean CPU per worker above which a worker is added, and total CPU
    /// below which one is taken away.
    pub new_proc_cpu_pc: f64,
    /// Over how long the pool must have too much to do. No other change follows sooner.
    pub new_proc_avg_over: Duration,
    /// Over how long it must have too little to do.
    pub kill_proc_avg_over: Duration,
    /// No worker is added while the pool has as much memory; beyond it the pool shrinks.
    pub max_proc_mem_bytes: Option<u64>,
}

impl Default for Scaling {
    fn default() -> Self {
        Self {
            autoscale: Autoscale::Load,
            max_queue_wait: Duration::from_millis(2),
            max_utilisation: 0.8,
            new_proc_cpu_pc: 0.3,
            new_proc_avg_over: Duration::from_secs(20),
            kill_proc_avg_over: Duration::from_mins(4),
            max_proc_mem_bytes: None,
        }
    }
}

/// When a worker has done enough and is replaced by a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recycling {
    /// After about so many calls; workers differ by up to a tenth, so that not all go at once.
    pub max_calls: Option<u64>,
    /// When it has so much memory.
    pub max_worker_mem_bytes: Option<u64>,
}

pub(super) fn scaling(reader: &mut Reader<'_>) -> Scaling {
    let share = |text: &str| text.parse().ok().filter(|share: &f64| *share > 0.0 && *share <= 1024.0);
    let part = |text: &str| text.parse().ok().filter(|share: &f64| *share > 0.0 && *share <= 1.0);
    let rule = |text: &str| match text.to_ascii_lowercase().as_str() {
        "load" | "on" | "yes" | "true" => Some(Autoscale::Load),
        "original" | "cpu" => Some(Autoscale::Original),
        "off" | "no" | "none" | "false" => Some(Autoscale::Off),
        _ => None,
    };
    let standard = Scaling::default();
    let mut time = |key: &str, standard: Duration| {
        reader.read(key, value::ACCEPTED_DURATION, value::duration).unwrap_or(standard)
    };
    let new_proc_avg_over = time("new_proc_avg_over_secs", standard.new_proc_avg_over);
    let kill_proc_avg_over = time("kill_proc_avg_over_secs", standard.kill_proc_avg_over);
    let max_queue_wait = time("max_queue_wait", standard.max_queue_wait);
    Scaling {
        autoscale: reader.read("autoscale", "load, original or off", rule).unwrap_or(standard.autoscale),
        max_queue_wait,
        max_utilisation: reader
            .read("max_utilisation", "a share of the threads, such as 0.8", part)
            .unwrap_or(standard.max_utilisation),
        new_proc_cpu_pc: reader
            .read("new_proc_cpu_pc", "a share of one core, such as 0.3", share)
            .unwrap_or(standard.new_proc_cpu_pc),
        new_proc_avg_over,
        kill_proc_avg_over,
        max_proc_mem_bytes: reader.read("max_proc_mem_bytes", value::ACCEPTED_SIZE, value::size_bytes),
    }
}

pub(super) fn recycling(reader: &mut Reader<'_>) -> Recycling {
    let count = |text: &str| text.parse().ok().filter(|calls: &u64| *calls > 0);
    Recycling {
        max_calls: reader.read("max_calls", "a whole number of calls, 1 or more", count),
        max_worker_mem_bytes: reader.read("max_worker_mem_bytes", value::ACCEPTED_SIZE, value::size_bytes),
    }
}
