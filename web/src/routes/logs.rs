//! The console log, page by page; [`super::streams`] has it live.

use std::sync::Arc;

use axum::{
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::services::NO_STORE;
use crate::{plain_json::PlainJson, problem::Problem, server::Shared};

/// Lines sent when the request does not say how many.
pub(super) const DEFAULT_LINES: usize = 1000;
/// Lines sent at most.
const MAX_LINES: usize = 10_000;

/// Which lines.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Those after this cursor; without it the newest.
    pub(super) after: Option<u64>,
    /// At most so many.
    pub(super) limit: Option<usize>,
}

/// Lines with their cursors; the last one's is the next request's `after`.
pub(super) async fn lines(
    State(shared): State<Arc<Shared>>,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(wanted) = wanted.map_err(|error| Problem::bad_request("bad-request", error.body_text()))?;
    let limit = wanted.limit.unwrap_or(DEFAULT_LINES).min(MAX_LINES);
    Ok((NO_STORE, PlainJson(shared.daemon.log_since(wanted.after, limit))).into_response())
}
