//! The last minutes of every service, for the overview: asked of the daemon once in a while for all pages together.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use crate::{
    daemon::Daemon,
    history::{HistoryQuery, Series},
    snapshot::Snapshot,
};

/// What a trend looks back over.
const SPAN_MS: u64 = 300_000;
/// From point to point.
const STEP_MS: u64 = 5_000;
/// A figure that is older than so many points is not shown as if it were of now.
const FRESH_POINTS: usize = 2;
/// Between two looks, whoever asks.
const LOOK_INTERVAL: Duration = Duration::from_millis(900);

/// One service's last minutes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Trend {
    /// Calls a second over the last minutes, oldest first.
    pub(crate) calls: Vec<Option<f32>>,
    /// Calls a second, now.
    pub(crate) calls_per_s: Option<f32>,
    /// Failed calls a second, now.
    pub(crate) errors_per_s: Option<f32>,
    /// Half of the last calls took no longer.
    pub(crate) p50_ns: Option<f32>,
    /// 99 of 100 of the last calls took no longer.
    pub(crate) p99_ns: Option<f32>,
}

/// Trends by the names of services.
pub(crate) type Trends = HashMap<String, Trend>;

/// The last look.
#[derive(Debug, Default)]
pub(crate) struct TrendWatch {
    last: Mutex<Option<(Instant, Arc<Trends>)>>,
}

impl TrendWatch {
    /// The trends of all services, at most a moment old.
    pub(crate) async fn now(&self, daemon: &dyn Daemon, snapshot: &Snapshot) -> Arc<Trends> {
        let mut last = self.last.lock().await;
        if let Some((when, trends)) = &*last
            && when.elapsed() < LOOK_INTERVAL
        {
            return Arc::clone(trends);
        }
        let mut trends = Trends::with_capacity(snapshot.services.len());
        for service in &snapshot.services {
            let trend = of_service(daemon, &service.name, snapshot.time_ms).await;
            trends.insert(service.name.clone(), trend);
        }
        let trends = Arc::new(trends);
        *last = Some((Instant::now(), Arc::clone(&trends)));
        trends
    }
}

async fn of_service(daemon: &dyn Daemon, name: &str, now_ms: u64) -> Trend {
    let from_ms = now_ms.saturating_sub(SPAN_MS);
    let query = HistoryQuery {
        service: name.to_owned(),
        worker: None,
        series: vec![Series::Calls, Series::Errors, Series::P50, Series::P99],
        from_ms,
        to_ms: now_ms.max(from_ms + 1),
        points: (SPAN_MS / STEP_MS) as usize,
    };
    let page = daemon.history(query).await;
    let column = |series: Series| {
        let found = page.columns.iter().find(|column| column.series == series);
        found.map(|column| column.values.clone()).unwrap_or_default()
    };
    let calls = column(Series::Calls);
    Trend {
        calls_per_s: newest(&calls),
        errors_per_s: newest(&column(Series::Errors)),
        p50_ns: newest(&column(Series::P50)),
        p99_ns: newest(&column(Series::P99)),
        calls,
    }
}

fn newest(values: &[Option<f32>]) -> Option<f32> {
    values.iter().rev().take(FRESH_POINTS).copied().find_map(|value| value)
}
