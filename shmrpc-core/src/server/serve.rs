//! Serving a service from this process: [`serve`] for a program that is one service, [`Serving`] for one
//! that does other things besides. No supervisor is needed; `worker` is the same under one.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Service, runtime};
use crate::{
    client::{ConnectOptions, Connection},
    error::ServeError,
    runtime_dir::RuntimeDir,
    transport::{
        shm::worker::{Worker, WorkerOptions},
        tcp::gateway::{Gateway, TcpOptions},
    },
};

/// How to serve. `Default` is right for most.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServeOptions {
    /// The name under which clients find the service; `None`: its own.
    pub name: Option<String>,
    /// The runtime folder; `None`: [`RuntimeDir::default_path`].
    pub runtime_dir: Option<PathBuf>,
    /// Where to listen for TCP besides; `None`: nowhere. Port 0 lets the system choose.
    pub tcp_bind: Option<SocketAddr>,
    /// What TCP allows.
    pub tcp: TcpOptions,
    /// Threads that run `fn` handlers; calls beyond that wait. Default: the number of CPUs, at most 4.
    pub threads: usize,
    /// How long [`Serving::drain`] and the end of [`serve`] wait for calls that run (default 10 s).
    pub drain_timeout: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            name: None,
            runtime_dir: None,
            tcp_bind: None,
            tcp: TcpOptions::default(),
            threads: crate::shm::doorbell::online_cpus().min(4),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// A service that is being served by this process, over shared memory and TCP. Dropped, it stops at once; calls
/// that run then fail with [`RpcError::WorkerDied`](crate::RpcError::WorkerDied) at their callers.
pub struct Serving {
    gateway: Option<Gateway>,
    worker: Worker,
    drain_timeout: Duration,
}

impl Serving {
    /// Starts serving, and returns when clients can connect.
    ///
    /// # Errors
    /// When the runtime folder cannot be used, memory is lacking, or a limit of the service is reached.
    pub fn start(service: Arc<dyn Service>, options: ServeOptions) -> Result<Self, ServeError> {
        let info = service.info();
        let runtime_dir = options.runtime_dir.unwrap_or_else(RuntimeDir::default_path);
        let name = options.name.unwrap_or_else(|| info.name.to_owned());
        if let Some(address) = options.tcp_bind {
            options.tcp.check_bind(address)?;
        }
        let listener = options
            .tcp_bind
            .map(|at| TcpListener::bind(at).map_err(|e| ServeError::io(format!("listening on {at}"), e)));
        let listener = listener.transpose()?;
        let worker = Worker::start(
            service,
            WorkerOptions {
                runtime_dir: runtime_dir.clone(),
                service: name.clone(),
                port: info.port,
                threads: options.threads,
                output: None,
            },
        )?;
        let gateway =
            listener.map(|listener| open_gateway(listener, &worker, name, runtime_dir, options.tcp));
        Ok(Self { gateway: gateway.transpose()?, worker, drain_timeout: options.drain_timeout })
    }

    /// Where TCP clients find the service, if they do.
    #[must_use]
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        self.gateway.as_ref().map(Gateway::local_addr)
    }

    /// Takes no more calls, waits for those that run, and stops. Says how many were cut off at the
    /// timeout.
    #[must_use = "calls may have been cut off"]
    pub fn drain(self) -> usize {
        drain(self.gateway, &self.worker, self.drain_timeout)
    }
}

/// Lets TCP clients into a service of this runtime folder: whatever comes over the listener is called
/// through shared memory like anybody else's calls, so that any worker may answer; but for calls of methods that
/// are quick, which `worker` runs at once.
pub(super) fn open_gateway(
    listener: TcpListener,
    worker: &Worker,
    service: String,
    runtime_dir: PathBuf,
    mut options: TcpOptions,
) -> Result<Gateway, ServeError> {
    let connect = ConnectOptions { runtime_dir: Some(runtime_dir), ..ConnectOptions::default() };
    let upstream = Connection::connect_any(format!("shm://{service}"), &connect)
        .map_err(|e| ServeError::io("reaching the service for its TCP clients", std::io::Error::other(e)))?;
    options.service = Some(service);
    Gateway::serve_beside(listener, upstream, Some(worker.local()), options)
}

/// Drains the door first, then the worker behind it.
pub(super) fn drain(gateway: Option<Gateway>, worker: &Worker, at_most: Duration) -> usize {
    let began = Instant::now();
    if let Some(gateway) = gateway {
        gateway.drain_blocking(at_most);
    }
    worker.drain(at_most.saturating_sub(began.elapsed()))
}

/// Serves one service from this program until SIGTERM or SIGINT, then drains. Blocks the thread.
///
/// # Errors
/// As [`Serving::start`].
pub fn serve(service: impl Service) -> Result<(), ServeError> {
    let termination = Termination::listen()?;
    let serving = Serving::start(Arc::new(service), ServeOptions::default())?;
    runtime().block_on(termination.received());
    let _cut_off = serving.drain();
    Ok(())
}

/// The signals that ask a process to end. Listened for from the time at which this is made, which must be
/// before anybody can know of the process.
pub(super) struct Termination {
    terminate: Signal,
    interrupt: Signal,
}

impl Termination {
    pub(super) fn listen() -> Result<Self, ServeError> {
        let _runtime = runtime().enter();
        let listen = |kind| signal(kind).map_err(|e| ServeError::io("listening for signals", e));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Completes when one has come.
    pub(super) async fn received(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
