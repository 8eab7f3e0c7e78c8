//! Runs the models, all or those that are named: each tries the orders in which the threads of a small scene may take
//! their steps, and the values that weakly ordered loads may see, and fails at the first that goes wrong.
//!
//! `ring`, `sleep` and `lock` run the real `channel.rs`, `board.rs` and `lock/wait.rs`; what stands around them there is
//! here in small. Death is a real one, as far as the code can tell: a thread stops in a window that `kill_point` names.

mod kill_point;
mod lane;
mod lock;
mod region;
mod ring;
mod sleep;
mod sync;

// The files themselves.
#[allow(dead_code, clippy::all)]
#[rustfmt::skip]
#[path = "../../../shmrpc-core/src/shm/board.rs"]
mod board;
#[allow(dead_code, clippy::all)]
#[rustfmt::skip]
#[path = "../../../shmrpc-core/src/shm/channel.rs"]
mod channel;

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// A model: its name, how many switches away from a thread that could go on are tried at most (`None`: all), and itself.
type Model = (&'static str, Option<usize>, fn());

/// Tries all orders; says how many there were.
fn explore((name, preemptions, model): Model) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 100_000;
    let (began, runs) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&runs);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let bound = preemptions.map_or("all".into(), |most| format!("up to {most} preemptions"));
    println!("{name}: {} orders ({bound}), {:.1?}", runs.load(Ordering::Relaxed), began.elapsed());
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let models: Vec<Model> =
        [ring::MODELS, sleep::MODELS, lock::MODELS, lane::MODELS].into_iter().flatten().copied().collect();
    let chosen: Vec<_> = models
        .into_iter()
        .filter(|(name, ..)| {
            wanted.is_empty() || wanted.iter().any(|wanted| name.starts_with(wanted.as_str()))
        })
        .collect();
    if chosen.is_empty() {
        eprintln!("no model of such a name");
        return ExitCode::from(2);
    }
    chosen.into_iter().for_each(explore);
    ExitCode::SUCCESS
}
