//! `shmrpc-service service.ini`: reads the file, and runs what it says until it is told to stop.

use std::{io::stdout, path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use shmrpc_core::RuntimeDir;
use shmrpc_supervisor::{
    cli::manual,
    daemon::{self, Options},
    listen::Inherited,
    logging,
    plan::{Plan, checked},
    sources,
};

/// The daemon that keeps the services of an ini file alive.
#[derive(Parser)]
#[command(
    name = "shmrpc-service",
    version,
    override_usage = "shmrpc-service [OPTIONS] <INI> [SERVICE]...",
    after_help = "Exit codes: 0 stopped as asked, 1 failed, 2 faults in the ini file or usage."
)]
struct Args {
    /// Say what would run, or all faults of the file, and exit.
    #[arg(long)]
    check: bool,
    /// Replace the daemon that runs on the folder: it ends, and its workers serve on under this one.
    #[arg(long, conflicts_with = "check")]
    replace: bool,
    /// Write what services print to standard output too, as for the log of a container.
    #[arg(long)]
    log_stdout: bool,
    /// The runtime folder [default: $SHMRPC_DIR, $XDG_RUNTIME_DIR/shmrpc or /tmp/shmrpc-UID].
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
    /// Print a script that has that shell complete this command line, and exit.
    #[arg(long, value_name = "SHELL", exclusive = true)]
    completions: Option<Shell>,
    /// Print the manual page, and exit.
    #[arg(long, exclusive = true)]
    man: bool,
    /// The ini file.
    #[arg(required_unless_present_any = ["completions", "man"])]
    ini: Option<PathBuf>,
    /// Start only these services (names, or sections of the file).
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Faults in what the user wrote.
const EXIT_FAULTS: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    let Some(ini) = args.ini else {
        let mut out = stdout().lock();
        let written = match args.completions {
            Some(shell) => manual::write_completions(Args::command(), shell, &mut out),
            None => manual::write_page(Args::command(), &mut out),
        };
        return written.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    };
    let inherited = Inherited::from_environment();
    let plan = match Plan::load(&ini, &args.services) {
        Ok(plan) => plan,
        Err(faults) => {
            eprintln!("{faults}");
            return EXIT_FAULTS.into();
        }
    };
    if args.check {
        print!("{}", checked(&ini, &plan));
        return ExitCode::SUCCESS;
    }
    logging::start();
    let runtime_dir = args.runtime_dir.unwrap_or_else(RuntimeDir::default_path);
    let options = Options {
        file: ini,
        wanted: args.services,
        runtime_dir,
        replaces: args.replace,
        echoes: args.log_stdout,
    };
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
