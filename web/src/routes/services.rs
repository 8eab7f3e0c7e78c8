//! Looking at services, and starting and stopping them.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    daemon::Action,
    problem::{self, Problem},
    server::Shared,
};

/// Answers show the moment; a cache would show another.
pub(super) const NO_STORE: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// The whole [`Snapshot`](crate::Snapshot).
pub(super) async fn all(State(shared): State<Arc<Shared>>) -> Response {
    (NO_STORE, Json(&*shared.daemon.snapshot())).into_response()
}

/// One [`ServiceSnapshot`](crate::ServiceSnapshot).
pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let snapshot = shared.daemon.snapshot();
    let service = snapshot.service(&name).ok_or_else(|| Problem::no_such_service(&name))?;
    Ok((NO_STORE, Json(service)).into_response())
}

/// `start`, `stop` or `restart`: 202 with the service as it is now, since the order takes its time. The
/// page's buttons work without scripts too: their forms are led back to the page.
pub(super) async fn order(
    State(shared): State<Arc<Shared>>,
    Path((name, action)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Some(action) = Action::from_name(&action) else {
        return Ok(problem::empty(StatusCode::NOT_FOUND));
    };
    shared.daemon.control(&name, action).await?;
    tracing::info!(service = name, action = action.name(), "dashboard: order given");
    if problem::wants_page(&headers) {
        return Ok((StatusCode::SEE_OTHER, [(header::LOCATION, "/")]).into_response());
    }
    let snapshot = shared.daemon.snapshot();
    let service = snapshot.service(&name).ok_or_else(|| Problem::no_such_service(&name))?;
    Ok((StatusCode::ACCEPTED, NO_STORE, Json(service)).into_response())
}
