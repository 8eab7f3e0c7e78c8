//! Measures shmrpc, its peers and the limits of the machine beneath them, process to process, interleaved in one run, and
//! prints one Markdown document of medians and ratios.
//!
//! `rows` says what is measured, `run` takes the rounds in turn, `spawn` starts this program again in its roles (`role`),
//! `measure` has the loops, `peer` and `limit` what is called in them, `idle` the service at rest; `table`, `targets` and
//! `original` write down what came out. docs/performance.md tells how to run it and how to read it.

mod args;
mod idle;
mod job;
mod limit;
mod machine;
mod measure;
mod memory;
mod original;
mod peer;
mod role;
mod rows;
mod run;
mod spawn;
mod statistics;
mod table;
mod targets;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, job] = arguments.as_slice()
        && !role.starts_with('-')
    {
        role::run(role, job);
        return ExitCode::SUCCESS;
    }
    match run::run(&args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
