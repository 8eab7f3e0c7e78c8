//! Figures out of samples: percentiles of one run's calls, medians over rounds, what two clients come to together.

use hdrhistogram::Histogram;

use crate::job::Figures;

/// A histogram from a nanosecond to a minute, at three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds are valid")
}

/// Puts percentiles in. Those that too few calls stand behind stay absent: p99 needs a hundred, p99.9 a thousand.
pub fn percentiles(figures: &mut Figures, times_ns: &Histogram<u64>) {
    let at = |quantile, least| (times_ns.len() >= least).then(|| times_ns.value_at_quantile(quantile) as f64);
    figures.p50_ns = at(0.5, 1);
    figures.p99_ns = at(0.99, 100);
    figures.p999_ns = at(0.999, 1000);
    figures.worst_ns = (!times_ns.is_empty()).then(|| times_ns.max() as f64);
}

/// The middle one; of an even number the mean of the two in the middle.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[half]),
        _ => Some(f64::midpoint(values[half - 1], values[half])),
    }
}

type Field = (fn(&Figures) -> Option<f64>, fn(&mut Figures, Option<f64>));

const FIELDS: [Field; 9] = [
    (|f| f.mean_ns, |f, v| f.mean_ns = v),
    (|f| f.p50_ns, |f, v| f.p50_ns = v),
    (|f| f.p99_ns, |f, v| f.p99_ns = v),
    (|f| f.p999_ns, |f, v| f.p999_ns = v),
    (|f| f.worst_ns, |f, v| f.worst_ns = v),
    (|f| f.calls_per_s, |f, v| f.calls_per_s = v),
    (|f| f.fairness, |f, v| f.fairness = v),
    (|f| f.client_cpu_pc, |f, v| f.client_cpu_pc = v),
    (|f| f.server_cpu_pc, |f, v| f.server_cpu_pc = v),
];

/// The median of each figure over rounds.
pub fn medians(rounds: &[&Figures]) -> Figures {
    let mut middle = Figures::default();
    for (read, write) in FIELDS {
        write(&mut middle, median(rounds.iter().filter_map(|figures| read(figures))));
    }
    middle
}

/// What clients that ran at the same time come to: calls add up, times are the median client's, the worst is
/// the worst of all.
pub fn together(clients: &[Figures]) -> Figures {
    let mut all = medians(&clients.iter().collect::<Vec<_>>());
    if clients.len() > 1 {
        let calls: Vec<f64> = clients.iter().filter_map(|client| client.calls_per_s).collect();
        let sum: f64 = calls.iter().sum();
        let slowest = calls.iter().copied().fold(f64::INFINITY, f64::min);
        all.calls_per_s = Some(sum);
        all.fairness = Some(slowest * calls.len() as f64 / sum);
        all.worst_ns = clients.iter().filter_map(|client| client.worst_ns).reduce(f64::max);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_odd_and_even_numbers() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }

    #[test]
    fn fairness_is_the_slowest_clients_share_of_the_mean() {
        let clients = [1.0, 3.0].map(|calls| Figures { calls_per_s: Some(calls), ..Figures::default() });
        let all = together(&clients);
        assert_eq!((all.calls_per_s, all.fairness), (Some(4.0), Some(0.5)));
    }

    #[test]
    fn a_percentile_needs_calls_behind_it() {
        let mut times = histogram();
        (1..=100).for_each(|time| times.record(time).unwrap());
        let mut figures = Figures::default();
        percentiles(&mut figures, &times);
        assert_eq!((figures.p50_ns, figures.p99_ns, figures.p999_ns), (Some(50.0), Some(99.0), None));
    }
}
