//! The original's rule by which a pool grows and shrinks: a pure function over measurements of CPU. The
//! daemon does not act on it yet; it keeps `min_proc_num` workers.
//!
//! A worker more when the mean CPU *per worker* exceeds `new_proc_cpu_pc` over `new_proc_avg_over_secs`, and
//! the last change is as old. One fewer when the *total* stays below it over `kill_proc_avg_over_secs`.
//! Nothing more while the pool has as much memory as `max_proc_mem_bytes`.

use std::{
    collections::VecDeque,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use crate::config::Scaling;

/// What a pool used at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// When.
    pub at: Instant,
    /// All workers' CPU together: 1.0 is one core kept busy.
    pub cpu_share: f64,
    /// How many workers there were.
    pub workers: usize,
    /// All workers' memory together.
    pub memory_bytes: u64,
}

/// What the rule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Leave the pool as it is.
    Keep,
    /// One worker more.
    Grow,
    /// One worker fewer.
    Shrink,
}

/// A pool's load as far back as the rule looks.
#[derive(Clone, Debug)]
pub struct History {
    loads: VecDeque<Load>,
    changed_at: Instant,
}

impl History {
    /// A pool that has just been started.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { loads: VecDeque::new(), changed_at: now }
    }

    /// The pool has grown or shrunk.
    pub fn changed(&mut self, now: Instant) {
        self.changed_at = now;
    }

    /// Takes a measurement and says what the rule asks for; `bounds` are the pool's.
    pub fn advise(&mut self, load: Load, rule: &Scaling, bounds: &RangeInclusive<usize>) -> Advice {
        self.loads.push_back(load);
        let longest = rule.new_proc_avg_over.max(rule.kill_proc_avg_over);
        let is_old = |first: &Load| load.at.saturating_duration_since(first.at) > longest;
        // One older than the longest look back stays, so that it can be told that the look back is full.
        while self.loads.get(1).is_some_and(is_old) {
            self.loads.pop_front();
        }
        if load.workers < *bounds.end() && self.wants_more(&load, rule) {
            Advice::Grow
        } else if load.workers > *bounds.start() && self.wants_fewer(&load, rule) {
            Advice::Shrink
        } else {
            Advice::Keep
        }
    }

    fn wants_more(&self, now: &Load, rule: &Scaling) -> bool {
        let has_room = rule.max_proc_mem_bytes.is_none_or(|most| now.memory_bytes < most);
        let mean = self.look_back(now.at, rule.new_proc_avg_over).map(|loads| {
            let (mut sum, mut count) = (0.0, 0_u32);
            for load in loads {
                sum += load.cpu_share / load.workers.max(1) as f64;
                count += 1;
            }
            sum / f64::from(count.max(1))
        });
        has_room && mean.is_some_and(|mean| mean > rule.new_proc_cpu_pc)
    }

    fn wants_fewer(&self, now: &Load, rule: &Scaling) -> bool {
        let loads = self.look_back(now.at, rule.kill_proc_avg_over);
        loads.is_some_and(|mut loads| loads.all(|load| load.cpu_share < rule.new_proc_cpu_pc))
    }

    /// The loads of so long; `None` before the pool has been as it is for so long.
    fn look_back(&self, now: Instant, over: Duration) -> Option<impl Iterator<Item = &Load>> {
        let is_full = |at: Instant| now.saturating_duration_since(at) >= over;
        let first = self.loads.front()?;
        (is_full(first.at) && is_full(self.changed_at))
            .then(|| self.loads.iter().filter(move |load| now.saturating_duration_since(load.at) <= over))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Scaling = Scaling {
        new_proc_cpu_pc: 0.3,
        new_proc_avg_over: Duration::from_secs(20),
        kill_proc_avg_over: Duration::from_secs(240),
        max_proc_mem_bytes: Some(1000),
    };

    /// Plays one load a second, `(cpu_share, memory_bytes)` by second and workers; at which second which
    /// advice was given, and followed.
    fn play(seconds: u64, load: impl Fn(u64, usize) -> (f64, u64)) -> Vec<(u64, Advice)> {
        let start = Instant::now();
        let (mut history, mut workers, mut advices) = (History::new(start), 1, Vec::new());
        for second in 0..seconds {
            let at = start + Duration::from_secs(second);
            let (cpu_share, memory_bytes) = load(second, workers);
            let advice = history.advise(Load { at, cpu_share, workers, memory_bytes }, &RULE, &(1..=3));
            match advice {
                Advice::Keep => continue,
                Advice::Grow => workers += 1,
                Advice::Shrink => workers -= 1,
            }
            history.changed(at);
            advices.push((second, advice));
        }
        advices
    }

    #[test]
    fn a_busy_pool_grows_once_in_a_look_back_up_to_its_bound() {
        let advices = play(200, |_, workers| (workers as f64 * 0.9, 0));
        assert_eq!(advices, [(20, Advice::Grow), (40, Advice::Grow)]);
    }

    #[test]
    fn the_mean_is_per_worker() {
        // 0.5 on one worker is much, on two it is not.
        assert_eq!(play(200, |_, _| (0.5, 0)), [(20, Advice::Grow)]);
    }

    #[test]
    fn a_quiet_pool_shrinks_only_after_the_long_look_back() {
        let advices = play(800, |second, workers| if second < 50 { (workers as f64, 0) } else { (0.1, 0) });
        assert_eq!(advices[..2], [(20, Advice::Grow), (40, Advice::Grow)]);
        assert_eq!(advices[2..], [(290, Advice::Shrink), (530, Advice::Shrink)]);
    }

    #[test]
    fn one_busy_moment_keeps_the_pool() {
        let busy_now_and_then = |second: u64, _| {
            let share = if second < 25 || second.is_multiple_of(200) { 0.9 } else { 0.0 };
            (share, 0)
        };
        assert_eq!(play(1000, busy_now_and_then), [(20, Advice::Grow)]);
    }

    #[test]
    fn a_pool_with_too_much_memory_does_not_grow() {
        assert_eq!(play(200, |_, _| (3.0, 1000)), []);
    }
}
