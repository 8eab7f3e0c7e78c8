//! Our rule. A worker more when calls wait too long, or the threads that run them are too busy; one fewer when
//! the rest would have an easy time. Between the two lies a wide band in which nothing happens.

use super::{Load, mean};
use crate::config::Scaling;

/// With one worker fewer, threads may be so much less busy than where the pool grows, and no more.
const EASY: f64 = 0.6;
/// A size that was once too small is tried again when there is so much less to do than then.
const CLEARLY_LESS: f64 = 0.7;

pub(super) fn reason_for_more(loads: &[Load], rule: &Scaling) -> Option<String> {
    let over = rule.new_proc_avg_over;
    let wait_s = percentile_90(loads.iter().map(Load::own_wait_s).collect());
    // Who waits no longer than the call itself takes is not kept waiting.
    let answered = mean(loads.iter().map(|load| load.calls_per_s));
    let handler_s = if answered > 0.0 { mean_needed(loads) / answered } else { 0.0 };
    if wait_s > rule.max_queue_wait.as_secs_f64().max(handler_s) {
        return Some(format!("queue wait p90 {} over {over:?}", millis(wait_s)));
    }
    let busy = mean(loads.iter().map(|load| load.needed() / load.threads.max(1) as f64));
    (busy > rule.max_utilisation).then(|| format!("{:.0} % of threads busy over {over:?}", busy * 100.0))
}

/// `too_busy`: how busy the pool was when it had one worker fewer, and that was too few. Time without a processor counts as busy
/// here: a pool that shrank for it would grow again when it has one.
pub(super) fn reason_for_fewer(loads: &[Load], too_busy: Option<f64>, rule: &Scaling) -> Option<String> {
    let newest = loads.last()?;
    let busy = mean(loads.iter().map(|load| load.busy));
    let threads_each = newest.threads as f64 / newest.workers.max(1) as f64;
    let left = newest.workers.saturating_sub(1) as f64 * threads_each;
    let would_be = busy / left.max(1.0);
    let waits = percentile_90(loads.iter().map(Load::wait_s).collect());
    let is_easy = would_be < rule.max_utilisation * EASY && waits < rule.max_queue_wait.as_secs_f64();
    let is_less = too_busy.is_none_or(|too_busy| busy < too_busy * CLEARLY_LESS);
    (is_easy && is_less).then(|| {
        let (share, over) = (busy / newest.threads.max(1) as f64 * 100.0, rule.kill_proc_avg_over);
        format!("{share:.0} % of threads busy over {over:?}")
    })
}

/// Threads of the whole pool that were busy and had a processor, or did not want one.
pub(super) fn mean_needed(loads: &[Load]) -> f64 {
    mean(loads.iter().map(Load::needed))
}

fn percentile_90(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * 9).div_ceil(10).saturating_sub(1);
    values.get(rank).copied().unwrap_or_default()
}

fn millis(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1e3)
}
