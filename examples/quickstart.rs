//! README's first command: builds everything, starts the services of `service.ini`, makes one call and prints
//! its answer, says what to try next, and stays until `^C` or SIGTERM.
//!
//! It only drives the programs that users drive; what they do is theirs. Each failure says what to do.

#[path = "../tests/support/cargo.rs"]
mod cargo;
#[path = "echo/service.rs"]
#[allow(dead_code, reason = "one call needs one method")]
mod service;

use std::{
    path::{Path, PathBuf},
    process::{ExitCode, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};

use cargo::cargo;
use service::EchoServerClient;

const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longer than workers may take to finish what they are at.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);

type Failure = String;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("quickstart: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let programs = programs()?;
    build(root).await?;

    let mut daemon = Daemon::start(root, &programs.join("shmrpc-service"))?;
    let outcome = tokio::select! {
        dashboard = daemon.until_ready() => match dashboard {
            Ok(dashboard) => match first_call().await {
                Ok(()) => {
                    print_next_steps(&dashboard, &programs);
                    daemon.until_stopped().await
                }
                Err(failure) => Err(failure),
            },
            Err(failure) => Err(failure),
        },
        () = asked_to_stop() => Ok(()),
    };
    daemon.stop().await;
    outcome
}

/// The folder of this build's programs: this one lies in `examples` there.
fn programs() -> Result<PathBuf, Failure> {
    let me =
        std::env::current_exe().map_err(|error| format!("cannot tell where this program is: {error}"))?;
    let folder = me.parent().and_then(Path::parent).ok_or("this program is not in a target folder")?;
    Ok(folder.to_owned())
}

/// Builds daemon, command line and examples, in the profile in which this program was built.
async fn build(root: &Path) -> Result<(), Failure> {
    println!("building the daemon, the command line and the examples …");
    let mut command = Command::from(cargo());
    command.current_dir(root).args(["build", "--workspace", "--bins", "--examples"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let status = command.status().await.map_err(|error| format!("cannot run cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo build ended with {status}; see above")) }
}

struct Daemon(Child);

impl Daemon {
    fn start(root: &Path, program: &Path) -> Result<Self, Failure> {
        println!("starting {} service.ini …", program.display());
        let mut command = Command::new(program);
        command.arg("service.ini").current_dir(root).stdout(Stdio::piped()).kill_on_drop(true);
        // `^C` reaches this program alone, which then stops the daemon once.
        command.process_group(0);
        if std::env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", "warn");
        }
        command.spawn().map(Self).map_err(|error| format!("cannot start {}: {error}", program.display()))
    }

    /// Waits until all services have been started; the dashboard's address.
    async fn until_ready(&mut self) -> Result<String, Failure> {
        let mut lines = BufReader::new(self.0.stdout.take().expect("stdout is piped")).lines();
        let said = async {
            while let Ok(Some(line)) = lines.next_line().await {
                println!("{line}");
                if let Some((_, address)) = line.split_once("dashboard at ") {
                    return Some(address.trim().to_owned());
                }
            }
            None
        };
        match timeout(READY_TIMEOUT, said).await {
            Ok(Some(dashboard)) => {
                tokio::spawn(async move {
                    while let Ok(Some(line)) = lines.next_line().await {
                        println!("{line}");
                    }
                });
                Ok(dashboard)
            }
            Ok(None) => Err(ended(self.0.wait().await)),
            Err(_) => Err(format!("the services were not ready within {READY_TIMEOUT:?}; see `logs`")),
        }
    }

    async fn until_stopped(&mut self) -> Result<(), Failure> {
        tokio::select! {
            status = self.0.wait() => Err(ended(status)),
            () = asked_to_stop() => Ok(()),
        }
    }

    /// Asks it to end, and waits until its workers are gone.
    async fn stop(&mut self) {
        let Some(pid) = self.0.id() else { return };
        println!("stopping …");
        // It may have ended in this moment, which is what is wanted.
        let _gone = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM);
        match timeout(STOP_TIMEOUT, self.0.wait()).await {
            Ok(_) => println!("stopped"),
            Err(_) => eprintln!("quickstart: the daemon did not stop within {STOP_TIMEOUT:?}: it is killed"),
        }
    }
}

fn ended(status: std::io::Result<ExitStatus>) -> Failure {
    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
    format!(
        "the daemon ended with {status}; it has said why above\n\
         if a port is taken: stop the program that has it (perhaps another quickstart), or change the port in \
         service.ini\n\
         if another daemon runs already: stop it, or set SHMRPC_DIR to another folder"
    )
}

/// One call through shared memory.
async fn first_call() -> Result<(), Failure> {
    let until = Instant::now() + READY_TIMEOUT;
    let client = loop {
        match EchoServerClient::connect("shm://").await {
            Ok(client) => break client,
            Err(error) if Instant::now() >= until => return Err(format!("cannot connect: {error}")),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    };
    let question = json!({"hello": "shared memory"});
    let start = Instant::now();
    let answer =
        client.echo_json(&question).await.map_err(|error| format!("the first call failed: {error}"))?;
    println!("\ncalled    echo_json({question}) of echo_serv at shm://, and had in {:?}", start.elapsed());
    println!("answer    {answer}");
    Ok(())
}

fn print_next_steps(dashboard: &str, programs: &Path) {
    // As one would type it from here, where that is possible.
    let here = std::env::current_dir().unwrap_or_default();
    let shown = programs.strip_prefix(&here).unwrap_or(programs).display();
    println!("\ndashboard {dashboard}");
    println!("try next, in another terminal:");
    println!("  {shown}/shmrpc call shm://echo_serv echo_json '{{\"a\":1}}'");
    println!("  {shown}/shmrpc services");
    println!("  {shown}/examples/echo_client");
    println!("^C stops everything");
}

/// Returns at `^C` or SIGTERM.
async fn asked_to_stop() {
    let mut terminate = signal(SignalKind::terminate()).expect("a handler for SIGTERM can be installed");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
