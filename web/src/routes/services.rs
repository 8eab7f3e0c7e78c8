//! Looking at services, and starting and stopping them.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::JsonRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    daemon::{Action, ScaleTo},
    metrics, page,
    problem::{self, Problem},
    server::Shared,
};

/// Answers show the moment; a cache would show another.
pub(crate) const NO_STORE: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// The whole [`Snapshot`](crate::Snapshot).
pub(super) async fn all(State(shared): State<Arc<Shared>>) -> Response {
    (NO_STORE, Json(&*shared.daemon.snapshot())).into_response()
}

/// The same in numbers, for Prometheus.
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let text = metrics::render(&shared.daemon.snapshot());
    (NO_STORE, [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
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

/// A pool's size, as a number or a word.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Size {
    to: Value,
}

/// What a form says in its address.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    /// The size of a pool, in place of a body.
    to: Option<String>,
    /// The service whose page the form stands on; without it that was the overview.
    next: Option<String>,
}

/// Fixes the size of a pool, or leaves it to the load: 202 with the service as it is now.
pub(super) async fn scale(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(form): Query<Form>,
    headers: HeaderMap,
    size: Result<Json<Size>, JsonRejection>,
) -> Result<Response, Problem> {
    let refuse = |text: String| Problem::bad_request("bad-request", text);
    let text = match &form.to {
        Some(to) => to.clone(),
        None => {
            let Json(size) = size.map_err(|error| refuse(error.body_text()))?;
            size.to.as_str().map_or_else(|| size.to.to_string(), str::to_owned)
        }
    };
    let to: ScaleTo = text.parse().map_err(refuse)?;
    shared.daemon.scale(&name, to).await?;
    tracing::info!(service = name, %to, "dashboard: size ordered");
    ordered(&shared, &name, &form, &headers)
}

/// The answer to an order that was taken.
fn ordered(shared: &Shared, name: &str, form: &Form, headers: &HeaderMap) -> Result<Response, Problem> {
    if problem::wants_page(headers) {
        let next = form.next.as_deref().map_or_else(|| "/".into(), page::service_address);
        return Ok((StatusCode::SEE_OTHER, [(header::LOCATION, next)]).into_response());
    }
    let snapshot = shared.daemon.snapshot();
    let service = snapshot.service(name).ok_or_else(|| Problem::no_such_service(name))?;
    Ok((StatusCode::ACCEPTED, NO_STORE, Json(service)).into_response())
}

/// Has the configuration read again: 200 with what was changed, when that is known.
pub(super) async fn reload(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let done = shared.daemon.reload().await?;
    Ok((NO_STORE, Json(json!({ "done": done }))).into_response())
}

/// Has the configuration read, and nothing changed: 200 with what it would run.
pub(super) async fn check(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let done = shared.daemon.check().await?;
    Ok((NO_STORE, Json(json!({ "done": done }))).into_response())
}

/// Has the daemon end without its workers, which the next one adopts: 202.
pub(super) async fn hand_over(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    shared.daemon.hand_over().await?;
    Ok((StatusCode::ACCEPTED, NO_STORE, Json(json!({}))).into_response())
}

/// Has the daemon end: 202.
pub(super) async fn shutdown(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    shared.daemon.shutdown().await?;
    tracing::info!("shutdown ordered");
    Ok((StatusCode::ACCEPTED, NO_STORE, Json(json!({}))).into_response())
}

/// `start`, `stop` or `restart`: 202 with the service as it is now, since the order takes its time. The
/// page's buttons work without scripts too: their forms are led back to the page.
pub(super) async fn order(
    State(shared): State<Arc<Shared>>,
    Path((name, action)): Path<(String, String)>,
    Query(form): Query<Form>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Some(action) = Action::from_name(&action) else {
        return Ok(problem::empty(StatusCode::NOT_FOUND));
    };
    shared.daemon.control(&name, action).await?;
    tracing::info!(service = name, action = action.name(), "dashboard: order given");
    ordered(&shared, &name, &form, &headers)
}
