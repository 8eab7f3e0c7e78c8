//! One front end process: HTTP in, calls over shared memory out. It holds no index.

use std::{net::TcpListener, os::unix::process::parent_id, time::Duration, time::Instant};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{Html, IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::api::SearchServerClient;

const LONGEST_QUERY_BYTES: usize = 1000;
const MOST_HITS: u32 = 50;

/// Connected at the first question, so that front ends may start before the service.
struct Service {
    endpoint: String,
    client: OnceCell<SearchServerClient>,
}

type Shared = State<&'static Service>;

impl Service {
    async fn client(&self) -> Result<&SearchServerClient, Failure> {
        self.client
            .get_or_try_init(|| SearchServerClient::connect(self.endpoint.as_str()))
            .await
            .map_err(|error| Failure(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))
    }
}

/// Serves from a listener that other processes may share, until told to stop or left by its parent.
pub(crate) async fn serve(listener: TcpListener, endpoint: String) -> std::io::Result<()> {
    let service: &'static Service = Box::leak(Box::new(Service { endpoint, client: OnceCell::new() }));
    let router = Router::new()
        .route("/", get(|| async { Html(include_str!("page.html")) }))
        .route("/search", get(search))
        .route("/stats", get(stats))
        .with_state(service);
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(listener, router).with_graceful_shutdown(asked_to_stop()).await
}

async fn asked_to_stop() {
    let parent = parent_id();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .expect("a handler for SIGTERM can be installed");
    let orphaned = async {
        while parent_id() == parent {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
        () = orphaned => {}
    }
}

#[derive(Deserialize)]
struct Question {
    q: String,
    #[serde(default = "ten")]
    limit: u32,
}

fn ten() -> u32 {
    10
}

async fn search(State(service): Shared, Query(question): Query<Question>) -> Result<Response, Failure> {
    if question.q.len() > LONGEST_QUERY_BYTES {
        return Err(Failure(StatusCode::BAD_REQUEST, format!("q exceeds {LONGEST_QUERY_BYTES} bytes")));
    }
    let client = service.client().await?;
    let start = Instant::now();
    let hits = client.search(&question.q, question.limit.min(MOST_HITS)).await.map_err(Failure::call)?;
    let took_us = start.elapsed().as_micros() as u64;
    Ok(Json(json!({ "hits": hits, "took_us": took_us, "front_pid": std::process::id() })).into_response())
}

async fn stats(State(service): Shared) -> Result<Response, Failure> {
    let stats = service.client().await?.stats().await.map_err(Failure::call)?;
    Ok(Json(json!({ "index": stats, "front_pid": std::process::id() })).into_response())
}

struct Failure(StatusCode, String);

impl Failure {
    fn call(error: impl std::fmt::Display) -> Self {
        Self(StatusCode::BAD_GATEWAY, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}
