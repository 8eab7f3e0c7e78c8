//! Worker programs: what [`worker_main!`](crate::worker_main) makes `main` of. Under a supervisor the
//! program serves the service that it is told to; with `--describe` it says what it offers; by hand, with
//! `--serve`, it serves alone.

use std::{
    io::Read,
    net::TcpListener,
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
    sync::{Arc, Weak},
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    Definition, Service, TcpLimits, TlsFiles, WorkerConfig, log,
    looks::Looks,
    runtime,
    serve::{Termination, drain, open_gateway},
};
use crate::{
    error::ServeError,
    method::{ServiceDescription, ServiceInfo},
    runtime_dir::RuntimeDir,
    schema::Schemas,
    secret::Secret,
    shm::inherited_fd,
    tls::ServerTls,
    transport::{
        shm::{
            LAYOUT_VERSION,
            worker::{Worker, WorkerOptions},
        },
        tcp::gateway::TcpOptions,
    },
};

/// Between a SIGHUP and the look at who may have sent it.
const HANGUP_DELAY: Duration = Duration::from_millis(200);

/// One service that a worker program offers.
pub struct Offered {
    info: &'static ServiceInfo,
    schemas: fn() -> Schemas,
    make: Box<dyn Fn() -> Arc<dyn Service>>,
}

impl Offered {
    /// A service and how to make it. It is made only in the process that serves it.
    pub fn new<S: Service + Definition>(make: impl Fn() -> S + 'static) -> Self {
        Self { info: S::INFO, schemas: S::schemas, make: Box::new(move || Arc::new(make())) }
    }
}

/// What `--describe` prints of a service: what it offers, and who can supervise it and call it through shared memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Described {
    /// What it offers, as it travels in handshakes too.
    #[serde(flatten)]
    pub description: ServiceDescription,
    /// See [`LAYOUT_VERSION`](crate::observe::LAYOUT_VERSION); `None`: it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout_version: Option<u32>,
    /// What its types tell; nothing in programs of before.
    #[serde(default, skip_serializing_if = "Schemas::is_empty")]
    pub schemas: Schemas,
}

/// Makes `main` of a worker program out of its services: `worker_main!(EchoServer, Other = Other::open());`.
/// A service without an expression is made by `Default`.
#[macro_export]
macro_rules! worker_main {
    (@make $service:ty) => { <$service as ::core::default::Default>::default() };
    (@make $service:ty, $make:expr) => { $make };
    ($($service:ty $(= $make:expr)?),+ $(,)?) => {
        fn main() -> ::std::process::ExitCode {
            $crate::server::worker_program(&[
                $($crate::server::Offered::new::<$service>(|| $crate::worker_main!(@make $service $(, $make)?))),+
            ])
        }
    };
}

/// The `main` of a worker program; see [`worker_main!`](crate::worker_main).
pub fn worker_program(offered: &[Offered]) -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("--describe") => return describe(offered),
        Some("--serve") => return serve_alone(offered, std::env::args().nth(2).as_deref()),
        _ => {}
    }
    let Ok(text) = std::env::var(WorkerConfig::VARIABLE) else {
        eprintln!(
            "this is a worker program of shmrpc, which offers {}\n\
             it is started by `shmrpc-service`, from an ini file; by hand: --describe, or --serve [NAME]",
            names(offered)
        );
        return ExitCode::from(2);
    };
    let outcome = serde_json::from_str::<WorkerConfig>(&text)
        .map_err(|error| ServeError::Configuration(error.to_string()))
        .and_then(|config| run(offered, config));
    finish(outcome)
}

fn finish(outcome: Result<(), ServeError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let source = std::error::Error::source(&error).map(|e| format!(": {e}")).unwrap_or_default();
            eprintln!("shmrpc worker: {error}{source}");
            ExitCode::FAILURE
        }
    }
}

fn names(offered: &[Offered]) -> String {
    offered.iter().map(|offer| offer.info.struct_name).collect::<Vec<_>>().join(", ")
}

fn describe(offered: &[Offered]) -> ExitCode {
    let described = |offer: &Offered| Described {
        description: offer.info.into(),
        layout_version: Some(LAYOUT_VERSION),
        schemas: (offer.schemas)(),
    };
    let services: Vec<Described> = offered.iter().map(described).collect();
    println!("{}", serde_json::to_string_pretty(&services).expect("descriptions are plain data"));
    ExitCode::SUCCESS
}

fn serve_alone(offered: &[Offered], name: Option<&str>) -> ExitCode {
    let chosen = match name {
        None => offered.first(),
        Some(name) => offered.iter().find(|offer| offer.info.struct_name == name || offer.info.name == name),
    };
    let Some(offer) = chosen else {
        eprintln!("no service {} here; this program offers {}", name.unwrap_or(""), names(offered));
        return ExitCode::from(2);
    };
    finish(run(
        offered,
        WorkerConfig {
            struct_name: offer.info.struct_name.into(),
            service: offer.info.name.into(),
            port: offer.info.port,
            runtime_dir: RuntimeDir::default_path(),
            log_dir: None,
            threads: super::ServeOptions::default().threads,
            tcp_listener_fd: None,
            output_read_fds: None,
            force_insecure_serialisation: false,
            tcp_secret_file: None,
            tcp_allow_remote: false,
            tcp_tls: TlsFiles::default(),
            tcp_limits: TcpLimits::default(),
            orphan_timeout: None,
            drain_timeout: Duration::from_secs(10),
        },
    ))
}

fn run(offered: &[Offered], config: WorkerConfig) -> Result<(), ServeError> {
    let offer =
        offered.iter().find(|offer| offer.info.struct_name == config.struct_name).ok_or_else(|| {
            ServeError::Configuration(format!("no service {}, only {}", config.struct_name, names(offered)))
        })?;
    log::init(&config).map_err(|e| ServeError::io("opening the service's log", e))?;
    let inherit = |fd: i32| {
        inherited_fd(fd).ok_or_else(|| ServeError::Configuration(format!("descriptor {fd} is not open")))
    };
    let output = match config.output_read_fds {
        Some((stdout, stderr)) => Some((inherit(stdout)?, inherit(stderr)?)),
        None => None,
    };
    let drained = match &output {
        Some((stdout, stderr)) => {
            let clone = |fd: &OwnedFd| fd.try_clone().map_err(|e| ServeError::io("keeping the output", e));
            Some((clone(stdout)?, clone(stderr)?))
        }
        None => None,
    };
    let secret = config.tcp_secret_file.as_ref().map(Secret::from_file).transpose()?;
    let files = &config.tcp_tls;
    let tls = ServerTls::from_parts(
        files.certificate_file.as_deref(),
        files.key_file.as_deref(),
        files.client_ca_file.as_deref(),
    )?;
    let listener = config.tcp_listener_fd.map(inherit).transpose()?.map(TcpListener::from);
    let termination = Termination::listen()?;
    let hangup = output.is_some().then(hangup).transpose()?;
    let service = (offer.make)();
    let worker = Arc::new(Worker::start(
        service,
        WorkerOptions {
            runtime_dir: config.runtime_dir.clone(),
            service: config.service.clone(),
            port: config.port,
            threads: config.threads,
            output,
        },
    )?);
    let gateway = listener.map(|listener| {
        let mut options = TcpOptions {
            force_insecure_serialisation: config.force_insecure_serialisation,
            secret,
            tls,
            allow_remote: config.tcp_allow_remote,
            ..TcpOptions::default()
        };
        config.tcp_limits.apply(&mut options);
        open_gateway(listener, &worker, config.service.clone(), config.runtime_dir.clone(), options)
    });
    let gateway = gateway.transpose()?;
    if let Some(pipes) = drained {
        let supervised = Arc::downgrade(&worker);
        std::thread::Builder::new()
            .name("shmrpc-output".into())
            .spawn(move || drain_output(&supervised, &[pipes.0, pipes.1]))
            .map_err(|e| ServeError::io("starting a thread", e))?;
    }
    runtime().block_on(async {
        tokio::select! {
            () = ended(termination, &worker, config.orphan_timeout) => {}
            () = hung_up(hangup, &worker) => {}
        }
    });
    drain(gateway, &worker, config.drain_timeout);
    Ok(())
}

/// Completes when the worker is asked to end, or has been an orphan for too long.
async fn ended(termination: Termination, worker: &Worker, orphan_timeout: Option<Duration>) {
    let orphaned = async {
        let Some(timeout) = orphan_timeout else { return std::future::pending().await };
        while worker.without_supervisor_for() < timeout {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = termination.received() => {}
        () = orphaned => log::logger().warning("no supervisor for too long: draining"),
    }
}

/// Listens for SIGHUP.
fn hangup() -> Result<Signal, ServeError> {
    let _runtime = runtime().enter();
    signal(SignalKind::hangup()).map_err(|e| ServeError::io("listening for signals", e))
}

/// Completes when the supervisor has sent SIGHUP. The kernel sends one too, to a worker that is stopped when
/// its supervisor dies, and has it go on: that one means nothing, or a worker would not outlive its supervisor.
async fn hung_up(hangup: Option<Signal>, worker: &Worker) {
    let Some(mut hangup) = hangup else { return std::future::pending().await };
    while hangup.recv().await.is_some() {
        // For the watcher to notice a supervisor's death.
        tokio::time::sleep(HANGUP_DELAY).await;
        if worker.without_supervisor_for() < HANGUP_DELAY / 2 {
            return;
        }
    }
    std::future::pending().await
}

/// While no supervisor reads this worker's output, throws it away, so that printing neither fails nor
/// blocks for ever; how much that was stands in the service's log when a supervisor is back. The supervisor comes first: its absence has to last for a second.
fn drain_output(worker: &Weak<Worker>, pipes: &[OwnedFd; 2]) {
    let slice = Duration::from_secs(1);
    let mut files: Vec<std::fs::File> = Vec::new();
    for pipe in pipes {
        files.extend(pipe.try_clone().ok().map(Into::into));
    }
    let mut buffer = vec![0; 64 * 1024];
    let mut dropped_bytes = 0;
    let mut looks = Looks::new();
    while let Some(strong) = worker.upgrade() {
        // A thread that nothing else keeps: neither handlers nor a lock between processes.
        strong.beat();
        let orphaned = strong.without_supervisor_for() > slice;
        drop(strong);
        if !orphaned {
            if dropped_bytes > 0 {
                let text = format!("{dropped_bytes} bytes of output were dropped, for want of a supervisor");
                log::logger().warning(&text);
                dropped_bytes = 0;
            }
            looks.pass(worker, slice);
            continue;
        }
        let mut polled = [
            PollFd::new(pipes[0].as_fd(), PollFlags::POLLIN),
            PollFd::new(pipes[1].as_fd(), PollFlags::POLLIN),
        ];
        let polled_well = poll(&mut polled, PollTimeout::from(1000_u16)).is_ok();
        // Once more: what has come for a supervisor that has come meanwhile is not ours to take.
        let orphaned = worker.upgrade().is_some_and(|worker| worker.without_supervisor_for() > slice);
        if polled_well && orphaned {
            let readable = polled.map(|fd| fd.any().unwrap_or(false));
            for (file, _) in files.iter_mut().zip(readable).filter(|(_, readable)| *readable) {
                dropped_bytes += file.read(&mut buffer).unwrap_or(0);
            }
        }
    }
}
