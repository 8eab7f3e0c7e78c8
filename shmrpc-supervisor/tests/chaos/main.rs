//! The chaos run: the real daemon, its workers and their clients are killed, stopped and started at random, by
//! a seed, while every client checks every reply to the byte. At the end nothing may be left: no process, no
//! name, no descriptor. The run says its seed, what it did, how calls ended, and what was left over.
//!
//! `SHMRPC_CHAOS_SECONDS` (20), `SHMRPC_CHAOS_KILLS` (as many as fit: some six a second) and
//! `SHMRPC_CHAOS_SEED` (from the clock) choose another run;
//! `SHMRPC_CHAOS_TRACE` has each deed told.
//!
//! This program is its own worker and its own client, each a process; it has a `main` of its own therefore,
//! and no test harness.

mod cast;
mod client;
mod ledger;
mod play;
mod random;
#[path = "../it/scene.rs"]
#[allow(dead_code, reason = "shared with the tests of processes, which use more of it")]
mod scene;
mod service;
mod verdict;

use std::process::ExitCode;

use shmrpc::server::{Offered, WorkerConfig, worker_program};

const NAME: &str = "ten_thousand_random_kills";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|a| a == "--describe") || std::env::var_os(WorkerConfig::VARIABLE).is_some() {
        return worker_program(&[Offered::new::<service::Chaos>(service::Chaos::default)]);
    }
    if let [role, number, seed] = arguments.as_slice()
        && role == cast::CLIENT_ROLE
    {
        let number = number.parse().expect("the client's number");
        return client::run(number, seed.parse().expect("the client's seed"));
    }
    if arguments.iter().any(|argument| argument == "--list") {
        println!("{NAME}: test");
        return ExitCode::SUCCESS;
    }
    let mut names = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
    let is_chosen = names.peek().is_none() || names.any(|name| NAME.contains(name.as_str()));
    if is_chosen {
        // A failure panics, which ends the program with a code that cargo understands.
        play::run(&play::Settings::from_environment());
    }
    println!("test result: ok. {} passed; 0 failed; {NAME}", u8::from(is_chosen));
    ExitCode::SUCCESS
}
