//! Accepting connections and answering them until told to stop.

use std::{future::Future, io, sync::Arc};

use axum::{Json, Router, routing};
use tokio::net::TcpListener;

use crate::{daemon::Daemon, options::WebOptions};

/// Serves the page and the REST API on `listener` until `shutdown` resolves, then lets requests that are
/// under way finish and ends event streams.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve(
    listener: TcpListener,
    daemon: Arc<dyn Daemon>,
    options: WebOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let _ = options;
    let services = routing::get(move || {
        let snapshot = daemon.snapshot();
        async move { Json((*snapshot).clone()) }
    });
    let routes = Router::new().route("/api/v1/services", services);
    axum::serve(listener, routes).with_graceful_shutdown(shutdown).await
}
