//! `shmrpc-service service.ini`: reads the file, and runs what it says until it is told to stop.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use shmrpc_core::RuntimeDir;
use shmrpc_supervisor::{
    daemon::{self, Options},
    listen::Inherited,
    plan::{Plan, checked},
    sources,
};
use tracing_subscriber::EnvFilter;

/// The daemon that keeps the services of an ini file alive.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 stopped as asked, 1 failed, 2 faults in the ini file or usage."
)]
struct Args {
    /// Say what would run, or all faults of the file, and exit.
    #[arg(long)]
    check: bool,
    /// Replace the daemon that runs on the folder: it ends, and its workers serve on under this one.
    #[arg(long, conflicts_with = "check")]
    replace: bool,
    /// The runtime folder [default: $SHMRPC_DIR, $XDG_RUNTIME_DIR/shmrpc or /tmp/shmrpc-UID].
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
    /// The ini file.
    ini: PathBuf,
    /// Start only these services (names, or sections of the file).
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Faults in what the user wrote.
const EXIT_FAULTS: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    let inherited = Inherited::from_environment();
    let plan = match Plan::load(&args.ini, &args.services) {
        Ok(plan) => plan,
        Err(faults) => {
            eprintln!("{faults}");
            return EXIT_FAULTS.into();
        }
    };
    if args.check {
        print!("{}", checked(&args.ini, &plan));
        return ExitCode::SUCCESS;
    }
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        // Whoever reads our log may go away; we do not.
        .log_internal_errors(false)
        .init();
    let runtime_dir = args.runtime_dir.unwrap_or_else(RuntimeDir::default_path);
    let options = Options { file: args.ini, wanted: args.services, runtime_dir, replaces: args.replace };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("shmrpc-service: cannot start its threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(daemon::run(plan, options, inherited));
    // Readers of pipes that some stranger still holds open are not waited for.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shmrpc-service: {}", sources::told(&error));
            ExitCode::FAILURE
        }
    }
}
