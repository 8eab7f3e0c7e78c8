//! `shmrpc`, the command line. Everything is in [`shmrpc_supervisor::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    shmrpc_supervisor::cli::run()
}
