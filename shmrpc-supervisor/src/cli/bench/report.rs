//! What a bench has seen: one report a client, added up into one.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::json;

const LONGEST_NS: u64 = 3_600_000_000_000;

/// Latencies with three significant digits.
pub(super) struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_max(LONGEST_NS, 3).expect("these bounds are sound"))
    }
}

impl Latencies {
    pub(super) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Values in nanoseconds, and how often each was seen.
    pub(super) fn to_counts(&self) -> Vec<(u64, u64)> {
        self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
    }

    fn add(&mut self, counts: &[(u64, u64)]) {
        for &(value, count) in counts {
            self.0.saturating_record_n(value, count);
        }
    }
}

/// What one client process hands over.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ClientReport {
    pub(super) elapsed_ns: u64,
    pub(super) bytes: u64,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
    pub(super) latencies: Vec<(u64, u64)>,
}

/// All clients together.
#[derive(Default)]
pub(super) struct Report {
    latencies: Latencies,
    bytes_per_s: f64,
    calls_per_s: f64,
    errors: u64,
    first_error: Option<String>,
}

impl Report {
    /// Adds a client, at the rate of its own time: clients end at slightly different moments.
    pub(super) fn add(&mut self, client: ClientReport) {
        let seconds = client.elapsed_ns.max(1) as f64 / 1e9;
        let calls: u64 = client.latencies.iter().map(|(_, count)| count).sum();
        self.latencies.add(&client.latencies);
        self.calls_per_s += calls as f64 / seconds;
        self.bytes_per_s += client.bytes as f64 / seconds;
        self.errors += client.errors;
        self.first_error = self.first_error.take().or(client.first_error);
    }

    fn quantile(&self, share: f64) -> u64 {
        self.latencies.0.value_at_quantile(share)
    }

    pub(super) fn to_json(&self) -> String {
        let mut report = json!({
            "calls": self.latencies.0.len(),
            "calls_per_s": self.calls_per_s.round(),
            "bytes_per_s": self.bytes_per_s.round(),
            "p50_ns": self.quantile(0.5),
            "p99_ns": self.quantile(0.99),
            "p999_ns": self.quantile(0.999),
            "max_ns": self.latencies.0.max(),
            "errors": self.errors,
        });
        if let Some(error) = &self.first_error {
            report["first_error"] = error.as_str().into();
        }
        report.to_string()
    }

    pub(super) fn to_text(&self) -> String {
        let time = |nanos| format!("{:?}", Duration::from_nanos(nanos));
        let mut text = format!(
            "calls    {} ({:.0} a second)\nbytes    {:.1} MB a second, both ways\nlatency  p50 {}, p99 {}, \
             p99.9 {}, max {}\nerrors   {}",
            self.latencies.0.len(),
            self.calls_per_s,
            self.bytes_per_s / 1e6,
            time(self.quantile(0.5)),
            time(self.quantile(0.99)),
            time(self.quantile(0.999)),
            time(self.latencies.0.max()),
            self.errors,
        );
        if let Some(error) = &self.first_error {
            text.push_str(&format!("; the first: {error}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_added_up() {
        let mut report = Report::default();
        for latency_us in [1, 3] {
            let mut latencies = Latencies::default();
            (0..100).for_each(|_| latencies.record(Duration::from_micros(latency_us)));
            report.add(ClientReport {
                elapsed_ns: 500_000_000,
                bytes: 1000,
                errors: 1,
                first_error: Some(format!("error {latency_us}")),
                latencies: latencies.to_counts(),
            });
        }
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(json["calls"], 200);
        assert_eq!(json["calls_per_s"], 400.0);
        assert_eq!(json["bytes_per_s"], 4000.0);
        assert_eq!(json["errors"], 2);
        assert_eq!(json["first_error"], "error 1");
        let near = |key: &str, nanos: u64| {
            let got = json[key].as_u64().unwrap();
            assert!(got.abs_diff(nanos) * 500 <= nanos, "{key}: {got} is not {nanos}");
        };
        near("p50_ns", 1_000);
        near("p99_ns", 3_000);
        near("max_ns", 3_000);
    }
}
