//! The command line `shmrpc`: looks at services, calls them and measures them, as a client like any other.
//!
//! Arguments come from `args`, one module does each command, and a `Failure` becomes a line on stderr
//! and an exit code. Starting and stopping services is the daemon's business, not done here.

mod args;
mod bench;
mod call;
mod failure;
mod methods;
mod nearest;
mod services;
mod table;
mod target;
#[cfg(test)]
mod tests;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;

use self::{
    args::{Args, Command},
    failure::Failure,
};

/// Runs the command that the program's arguments ask for.
#[must_use]
pub fn run() -> ExitCode {
    match execute(&Args::parse(), &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("shmrpc: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn execute(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    match &args.command {
        Command::Services(services) => services::run(services, args.reach.runtime_dir.as_deref(), out),
        Command::Methods(methods) => methods::run(methods, &args.reach, out),
        Command::Call(call) => call::run(call, &args.reach, out),
        Command::Bench(bench) => bench::run(bench, &args.reach, out),
    }?;
    out.flush().map_err(Failure::output)
}
