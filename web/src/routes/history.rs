//! What was: time series of a service, of one of its workers or of the daemon, and events.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::{
    logs::{DEFAULT_LINES, MAX_LINES, absolute, now_ms},
    services::NO_STORE,
};
use crate::{
    history::{EventQuery, HistoryQuery, MAX_POINTS, Series},
    plain_json::PlainJson,
    problem::Problem,
    server::Shared,
};

/// What is shown when the request does not say: the last hour.
const DEFAULT_SPAN_MS: u64 = 3_600_000;
/// Points when the request does not say how many.
const DEFAULT_POINTS: usize = 300;

/// Which points.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Names between commas; all without it.
    series: Option<String>,
    from: Option<i64>,
    to: Option<i64>,
    points: Option<usize>,
    worker: Option<u32>,
}

/// Which events.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WantedEvents {
    after: Option<u64>,
    service: Option<String>,
    from: Option<i64>,
    to: Option<i64>,
    limit: Option<usize>,
}

/// A [`HistoryPage`](crate::HistoryPage) of a service.
pub(super) async fn of_service(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Problem> {
    if shared.daemon.snapshot().service(&name).is_none() {
        return Err(Problem::no_such_service(&name));
    }
    answer(&shared, name, wanted).await
}

/// The same of the daemon itself.
pub(super) async fn of_daemon(
    State(shared): State<Arc<Shared>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Problem> {
    answer(&shared, String::new(), wanted).await
}

async fn answer(
    shared: &Shared,
    service: String,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(wanted) = wanted.map_err(|error| refused(error.body_text()))?;
    let now_ms = now_ms();
    let to_ms = wanted.to.map_or(now_ms, |to| absolute(to, now_ms));
    let from_ms = wanted.from.map_or(to_ms.saturating_sub(DEFAULT_SPAN_MS), |from| absolute(from, now_ms));
    if from_ms >= to_ms {
        return Err(refused(format!("from ({from_ms}) is not before to ({to_ms})")));
    }
    let points = wanted.points.unwrap_or(DEFAULT_POINTS);
    if !(1..=MAX_POINTS).contains(&points) {
        return Err(refused(format!("points: 1 to {MAX_POINTS}, not {points}")));
    }
    let series = series(wanted.series.as_deref())?;
    let query = HistoryQuery { service, worker: wanted.worker, series, from_ms, to_ms, points };
    Ok((NO_STORE, Json(shared.daemon.history(query).await)).into_response())
}

fn series(names: Option<&str>) -> Result<Vec<Series>, Problem> {
    let Some(names) = names else { return Ok(Series::ALL.to_vec()) };
    let mut series: Vec<Series> = Vec::new();
    for name in names.split(',') {
        let found = Series::from_name(name).ok_or_else(|| {
            let accepted = Series::ALL.map(Series::name).join(", ");
            refused(format!("no series {name:?}; accepted: {accepted}"))
        })?;
        if !series.contains(&found) {
            series.push(found);
        }
    }
    Ok(series)
}

/// Events with their cursors; the last one's is the next request's `after`, also of a later daemon.
pub(super) async fn events(
    State(shared): State<Arc<Shared>>,
    wanted: Result<Query<WantedEvents>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(wanted) = wanted.map_err(|error| refused(error.body_text()))?;
    let now_ms = now_ms();
    let query = EventQuery {
        after: wanted.after,
        service: wanted.service,
        from_ms: wanted.from.map_or(0, |from| absolute(from, now_ms)),
        to_ms: wanted.to.map_or(u64::MAX, |to| absolute(to, now_ms)),
        limit: wanted.limit.unwrap_or(DEFAULT_LINES).min(MAX_LINES),
    };
    Ok((NO_STORE, PlainJson(shared.daemon.events(query).await)).into_response())
}

fn refused(detail: String) -> Problem {
    Problem::bad_request("bad-request", detail)
}
