//! The table of addresses, the only place that knows them all.
//!
//! | address | what |
//! |---|---|
//! | `GET /`, `/services/{name}`, `/events`, `/api` | the pages |
//! | `GET /live`, `/live/services/{name}`, `/live/events` | the pages' own event streams |
//! | `GET /assets/{hash}/{name}` | style and scripts |
//! | `GET /api/v1/services` | everything |
//! | `GET /api/v1/services/{name}` | one service |
//! | `POST /api/v1/services/{name}/start`, `stop`, `restart` | orders |
//! | `POST /api/v1/services/{name}/restart-at-once` | the same |
//! | `POST /api/v1/services/{name}/scale` | the size of its pool: `{"to": "+1"}` |
//! | `POST /api/v1/reload`, `/api/v1/check`, `/api/v1/shutdown`, `/api/v1/hand-over` | orders to the daemon |
//! | `POST` (`GET` where read-only) `/api/v1/services/{name}/methods/{method}` | a call |
//! | `GET /api/v1/services/{name}/history`, `/api/v1/history` | time series of a service, of the daemon |
//! | `GET /api/v1/events` | what the daemon has done |
//! | `GET /api/v1/openapi.json` | all of this for programs, with the methods of the services |
//! | `GET /metrics` | counters and gauges for Prometheus |
//! | `GET /api/v1/stream` | everything, again and again |
//! | `GET /api/v1/logs`, `/api/v1/logs/stream` | the console log |

mod call;
mod download;
mod history;
mod items;
mod logs;
mod services;
mod streams;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::StatusCode,
    routing::{MethodRouter, get, post},
};

pub(crate) use self::services::NO_STORE;
use crate::{assets, openapi, page, problem, server::Shared};

/// Every address with what answers there.
fn table() -> [(&'static str, MethodRouter<Arc<Shared>>); 26] {
    [
        ("/", get(page::overview)),
        ("/services/{name}", get(page::service)),
        ("/events", get(page::events)),
        ("/api", get(page::api)),
        ("/live", get(streams::live_overview)),
        ("/live/services/{name}", get(streams::live_service)),
        ("/live/events", get(streams::live_events)),
        ("/favicon.ico", get(assets::icon)),
        ("/assets/{hash}/{name}", get(assets::asset)),
        ("/metrics", get(services::metrics)),
        ("/api/v1/openapi.json", get(openapi::show)),
        ("/api/v1/services", get(services::all)),
        ("/api/v1/services/{name}", get(services::one)),
        ("/api/v1/services/{name}/{action}", post(services::order)),
        ("/api/v1/services/{name}/scale", post(services::scale)),
        ("/api/v1/services/{name}/history", get(history::of_service)),
        ("/api/v1/history", get(history::of_daemon)),
        ("/api/v1/events", get(history::events)),
        ("/api/v1/reload", post(services::reload)),
        ("/api/v1/check", post(services::check)),
        ("/api/v1/shutdown", post(services::shutdown)),
        ("/api/v1/hand-over", post(services::hand_over)),
        ("/api/v1/services/{name}/methods/{method}", get(call::by_get).post(call::by_post)),
        ("/api/v1/stream", get(streams::snapshots)),
        ("/api/v1/logs", get(logs::lines)),
        ("/api/v1/logs/stream", get(streams::log_lines)),
    ]
}

/// The addresses, for tests that try all of them: one that is added is tried too.
#[must_use]
pub fn addresses() -> Vec<&'static str> {
    table().into_iter().map(|(address, _)| address).collect()
}

/// All routes; state is filled in.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    let routes =
        table().into_iter().fold(Router::new(), |router, (address, route)| router.route(address, route));
    routes
        .fallback(async || problem::empty(StatusCode::NOT_FOUND))
        .layer(DefaultBodyLimit::max(shared.options.max_body_bytes))
        .with_state(Arc::clone(shared))
}
