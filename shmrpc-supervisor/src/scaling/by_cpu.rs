//! The original's rule. A worker more when the mean CPU *per worker* exceeds `new_proc_cpu_pc` over
//! `new_proc_avg_over_secs`, and the last change is as old. One fewer when the *total* stays below it over
//! `kill_proc_avg_over_secs`.

use super::{Load, mean};
use crate::config::Scaling;

pub(super) fn reason_for_more(loads: &[Load], rule: &Scaling) -> Option<String> {
    let mean = mean(loads.iter().map(|load| load.cpu_share / load.workers.max(1) as f64));
    (mean > rule.new_proc_cpu_pc).then(|| {
        format!("{mean:.2} cores a worker over {:?}, above {}", rule.new_proc_avg_over, rule.new_proc_cpu_pc)
    })
}

pub(super) fn reason_for_fewer(loads: &[Load], rule: &Scaling) -> Option<String> {
    let most = loads.iter().map(|load| load.cpu_share).fold(0.0, f64::max);
    (most < rule.new_proc_cpu_pc).then(|| {
        let over = rule.kill_proc_avg_over;
        format!("at most {most:.2} cores in all over {over:?}, below {}", rule.new_proc_cpu_pc)
    })
}
