//! The table of addresses, the only place that knows them all.
//!
//! | address | what |
//! |---|---|
//! | `GET /` | the page |
//! | `GET /live` | the page's own event stream |
//! | `GET /assets/{hash}/{name}` | style and scripts |
//! | `GET /api/v1/services` | everything |
//! | `GET /api/v1/services/{name}` | one service |
//! | `POST /api/v1/services/{name}/start`, `stop`, `restart` | orders |
//! | `POST` (`GET` where read-only) `/api/v1/services/{name}/methods/{method}` | a call |
//! | `GET /api/v1/stream` | everything, again and again |
//! | `GET /api/v1/logs`, `/api/v1/logs/stream` | the console log |

mod call;
mod logs;
mod services;
mod streams;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::StatusCode,
    routing::{get, post},
};

use crate::{assets, page, problem, server::Shared};

/// All routes; state is filled in.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/live", get(streams::live))
        .route("/favicon.ico", get(assets::icon))
        .route("/assets/{hash}/{name}", get(assets::asset))
        .route("/api/v1/services", get(services::all))
        .route("/api/v1/services/{name}", get(services::one))
        .route("/api/v1/services/{name}/{action}", post(services::order))
        .route("/api/v1/services/{name}/methods/{method}", get(call::by_get).post(call::by_post))
        .route("/api/v1/stream", get(streams::snapshots))
        .route("/api/v1/logs", get(logs::lines))
        .route("/api/v1/logs/stream", get(streams::log_lines))
        .fallback(async || problem::empty(StatusCode::NOT_FOUND))
        .layer(DefaultBodyLimit::max(shared.options.max_body_bytes))
        .with_state(Arc::clone(shared))
}
