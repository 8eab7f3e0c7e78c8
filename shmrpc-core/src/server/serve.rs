//! Serving a service from this process: [`serve`] for a program that is one service, [`Serving`] for one
//! that does other things besides. No supervisor is needed; `worker` is the same under one.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Service, runtime};
use crate::{
    error::ServeError,
    runtime_dir::RuntimeDir,
    transport::shm::worker::{Worker, WorkerOptions},
};

/// How to serve. `Default` is right for most.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServeOptions {
    /// The name under which clients find the service; `None`: its own.
    pub name: Option<String>,
    /// The runtime folder; `None`: [`RuntimeDir::default_path`].
    pub runtime_dir: Option<PathBuf>,
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
            threads: crate::shm::doorbell::usable_cpus().min(4),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// A service that is being served by this process, over shared memory. Dropped, it stops at once; calls
/// that run then fail with [`RpcError::WorkerDied`](crate::RpcError::WorkerDied) at their callers.
pub struct Serving {
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
        let worker = Worker::start(
            service,
            WorkerOptions {
                runtime_dir: options.runtime_dir.unwrap_or_else(RuntimeDir::default_path),
                service: options.name.unwrap_or_else(|| info.name.to_owned()),
                port: info.port,
                threads: options.threads,
                output: None,
            },
        )?;
        Ok(Self { worker, drain_timeout: options.drain_timeout })
    }

    /// Takes no more calls, waits for those that run, and stops. Says how many were cut off at the
    /// timeout.
    #[must_use = "calls may have been cut off"]
    pub fn drain(self) -> usize {
        self.worker.drain(self.drain_timeout)
    }
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
