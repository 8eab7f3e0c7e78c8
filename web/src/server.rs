//! Accepting connections and answering them until told to stop.
//!
//! Here are the limits on whoever connects (how many, how slow), the middleware that asks
//! [`crate::admission`] before any route sees a request, and the order of the end: no new connections,
//! event streams end, requests under way finish, the rest is cut off.

use std::{
    future::Future,
    io::{self, Read as _},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tower::ServiceExt as _;

use crate::{
    admission::{Peer, Rules},
    daemon::Daemon,
    options::WebOptions,
    page::TrendWatch,
    problem::{self, Problem},
    routes,
};

/// How long requests under way may take once the end has begun.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait after `accept` failed (for want of descriptors, as a rule).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The longest head of a request.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) daemon: Arc<dyn Daemon>,
    pub(crate) options: WebOptions,
    /// Becomes true when event streams are to end.
    pub(crate) is_closing: watch::Receiver<bool>,
    pub(crate) rules: Rules,
    /// What the overview shows of the last minutes.
    pub(crate) trends: TrendWatch,
}

/// Serves the page and the REST API on `listener` until `shutdown` resolves; then lets requests that are
/// under way finish (for five seconds at most) and ends event streams.
///
/// # Errors
/// When the listener cannot be used. Failures of single connections are theirs alone.
pub async fn serve(
    listener: TcpListener,
    daemon: Arc<dyn Daemon>,
    options: WebOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    listener.local_addr()?;
    let (closing, is_closing) = watch::channel(false);
    let slots = Arc::new(Semaphore::new(options.max_connections.max(1)));
    let rules = Rules::new(&options, random_token()?);
    let shared = Arc::new(Shared { daemon, options, is_closing, rules, trends: TrendWatch::default() });
    let routes = routes::router(&shared).layer(from_fn_with_state(Arc::clone(&shared), guard));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &slots) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, remote, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "dashboard: accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (routes, watcher) = (routes.clone(), graceful.watcher());
        let header_timeout = shared.options.header_timeout;
        connections.spawn(async move {
            if let Err(error) = connection(stream, remote, routes, watcher, header_timeout).await {
                tracing::debug!(%remote, %error, "dashboard: connection ended");
            }
            drop(slot);
        });
    }
    drop(listener);
    closing.send_replace(true);
    let _ = tokio::time::timeout(FINISH_TIMEOUT, graceful.shutdown()).await;
    connections.shutdown().await;
    Ok(())
}

fn random_token() -> io::Result<String> {
    let mut random = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(random)))
}

type Slot = tokio::sync::OwnedSemaphorePermit;

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> io::Result<(TcpStream, SocketAddr, Slot)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, remote) = listener.accept().await?;
    Ok((stream, remote, slot))
}

type ConnectionError = Box<dyn std::error::Error + Send + Sync>;

async fn connection(
    stream: TcpStream,
    remote: SocketAddr,
    routes: Router,
    watcher: hyper_util::server::graceful::Watcher,
    header_timeout: Duration,
) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    let peer = look_up_peer(stream.local_addr()?, remote).await;
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        routes.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    watcher.watch(connection).await?;
    Ok(())
}

/// The kernel's table is read once a connection; who connected does not change.
async fn look_up_peer(local: SocketAddr, remote: SocketAddr) -> Peer {
    let uid = if remote.ip().to_canonical().is_loopback() {
        let looked_up =
            tokio::task::spawn_blocking(move || shmrpc_core::peer_uid::of_connection(remote, local)).await;
        looked_up.map_err(io::Error::other).flatten().unwrap_or_else(|error| {
            tracing::warn!(%error, "dashboard: the owner of a connection cannot be looked up");
            None
        })
    } else {
        None
    };
    Peer { local, remote, uid }
}

/// What every page and answer carries: nothing from elsewhere, nothing guessed, shown in no frame.
const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Stands before every route, and before the answer that there is none.
async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let wants_page = problem::wants_page(request.headers());
    let decision = match request.extensions().get::<Peer>() {
        Some(peer) => shared
            .rules
            .decide(request.method(), request.uri(), request.headers(), peer)
            .map_err(Problem::from),
        None => Err(Problem::new(
            axum::http::StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "a request without connection",
        )),
    };
    let response = match decision {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            tracing::info!(
                path = request.uri().path(),
                reason = problem.detail,
                "dashboard: request refused"
            );
            problem.into_response()
        }
    };
    let mut response = problem::present(response, wants_page);
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
