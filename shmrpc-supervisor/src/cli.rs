//! The command line `shmrpc`: looks at services, calls them and measures them, as a client like any other; and
//! gives orders to the daemon over its control socket.
//!
//! Arguments come from `args`, one module does each command, and a `Failure` becomes a line on stderr
//! and an exit code. Without a command, `prompt` reads lines and has each done by another process of this program.

mod args;
mod bench;
mod call;
mod check;
mod control;
mod failure;
pub mod manual;
mod methods;
mod nearest;
mod prompt;
mod services;
mod table;
mod target;
#[cfg(test)]
mod tests;
mod top;
mod units;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use shmrpc_web::Action;

pub(crate) use self::control::shown_line;
use self::{
    args::{Args, Command},
    control::Control,
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
    let runtime_dir = args.reach.runtime_dir.as_deref();
    let daemon = Control::new(runtime_dir);
    let Some(command) = &args.command else { return prompt::run(&args.reach) };
    match command {
        Command::Services(services) => services::run(services, runtime_dir, out),
        Command::Methods(methods) => methods::run(methods, &args.reach, out),
        Command::Call(call) => call::run(call, &args.reach, out),
        Command::Bench(bench) => bench::run(bench, &args.reach, out),
        Command::Status(args) => control::status(args, &daemon, out),
        Command::Start(args) => control::order(args, Action::Start, &daemon, out),
        Command::Stop(args) => control::order(args, Action::Stop, &daemon, out),
        Command::Restart(args) => control::restart(args, &daemon, out),
        Command::Scale(args) => control::scale(args, &daemon, out),
        Command::Reload(args) => control::reload(args, &daemon, out),
        Command::Logs(args) => control::logs(args, &daemon, out),
        Command::Events(args) => control::events(args, &daemon, out),
        Command::Metrics => control::metrics(&daemon, out),
        Command::HandOver(args) => control::hand_over(args, &daemon, out),
        Command::Shutdown(args) => control::shutdown(args, &daemon, out),
        Command::History(args) => control::history(args, &daemon, out),
        Command::Top(args) => top::run(args, runtime_dir, out),
        Command::Check(args) => check::run(args, &daemon, out),
        Command::Completions(args) => manual::completions(args, out),
        Command::Man(args) => manual::page(args, out),
    }?;
    out.flush().map_err(Failure::output)
}
