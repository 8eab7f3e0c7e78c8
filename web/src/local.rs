//! The same routes at a Unix socket, for programs of this machine: the command line. Who may come in is who may open
//! the socket and has an allowed uid, which the kernel tells; there are no browsers here, so no `Host` or `Origin`
//! is looked at.

use std::{future::Future, io, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::StatusCode,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tower::ServiceExt as _;

use crate::{
    admission::Rules,
    daemon::Daemon,
    options::WebOptions,
    page::TrendWatch,
    problem::{self, Problem},
    routes,
    server::Shared,
};

/// Connections at once; further ones wait.
const MAX_CONNECTIONS: usize = 64;
/// How long to wait after `accept` failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long streams and requests under way may take to end.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves the REST API on a Unix socket until `shutdown` resolves. Peers of other uids than
/// [`WebOptions::allowed_uids`] are turned away.
///
/// # Errors
/// When the socket cannot be used. Failures of single connections are theirs alone.
pub async fn serve_local(
    listener: UnixListener,
    daemon: Arc<dyn Daemon>,
    options: WebOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    listener.local_addr()?;
    let (closing, is_closing) = watch::channel(false);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // No page is shown here, so there is no page token to know.
    let rules = Rules::new(&options, String::new());
    let (uids, header_timeout) = (options.allowed_uids.clone(), options.header_timeout);
    let shared = Arc::new(Shared { daemon, options, is_closing, rules, trends: TrendWatch::default() });
    let routes = routes::router(&shared).layer(from_fn(present));
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accept = async {
            let slot = Arc::clone(&slots).acquire_owned().await.map_err(io::Error::other)?;
            io::Result::Ok((listener.accept().await?.0, slot))
        };
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, slot)) => {
                let is_allowed = stream.peer_cred().is_ok_and(|peer| uids.contains(&peer.uid()));
                let routes = if is_allowed { routes.clone() } else { refusing() };
                connections.spawn(async move {
                    if let Err(error) = connection(stream, routes, header_timeout).await {
                        tracing::debug!(%error, "control socket: connection ended");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "control socket: accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    closing.send_replace(true);
    let finished = async { while connections.join_next().await.is_some() {} };
    let _cut_off = tokio::time::timeout(FINISH_TIMEOUT, finished).await;
    connections.shutdown().await;
    Ok(())
}

type ConnectionError = Box<dyn std::error::Error + Send + Sync>;

async fn connection(stream: UnixStream, routes: Router, timeout: Duration) -> Result<(), ConnectionError> {
    let service =
        service_fn(move |request: hyper::Request<Incoming>| routes.clone().oneshot(request.map(Body::new)));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(timeout);
    builder.serve_connection(TokioIo::new(stream), service).await?;
    Ok(())
}

/// What a stranger meets, whatever is asked for.
fn refusing() -> Router {
    let refusal = async || {
        Problem::new(StatusCode::FORBIDDEN, "refused", "this socket is for its own user").into_response()
    };
    Router::new().fallback(refusal)
}

async fn present(request: axum::extract::Request, next: Next) -> Response {
    problem::present(next.run(request).await, false)
}
