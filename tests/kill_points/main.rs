//! Every window of death, one by one: a real process is killed exactly there, again and again, and whoever survives
//! goes on. The windows are the calls of `kill_point` in `shmrpc-core`; docs/memory-model.md says of each what is left
//! and who repairs it. A program of its own, since it counts descriptors.
//!
//! Each window is killed a few times here; `SHMRPC_KILLS_PER_WINDOW=100` asks for more (`.ci/deep kills`), and
//! `SHMRPC_KILL_ONLY=text` for those whose names begin so.

mod board;
#[path = "../support/cargo.rs"]
mod cargo;
mod clients;
mod locks;
mod scene;
mod tally;
mod windows;
mod workers;

// Both sides make the same calls; what is public for the victims is not used by all here.
#[expect(unreachable_pub, dead_code, reason = "the victims make more of it")]
#[path = "../victim/src/load.rs"]
mod load;
#[expect(unreachable_pub, reason = "the victims are other crates")]
#[path = "../victim/src/service.rs"]
mod service;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// What must happen, happens before this: ten times the longest bound for the death of a client.
const HANG: Duration = Duration::from_secs(10);
/// By then a victim has come to where it is to die.
const PATIENCE: Duration = Duration::from_secs(60);

/// One test at a time: descriptors of this process are counted.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often each window is to be killed.
fn kills_per_window() -> u32 {
    std::env::var("SHMRPC_KILLS_PER_WINDOW").ok().and_then(|text| text.parse().ok()).unwrap_or(2)
}

#[test]
fn every_window_of_a_worker() {
    let _turn = one_at_a_time();
    workers::kill_in_every_window();
}

#[test]
fn every_window_of_a_client() {
    let _turn = one_at_a_time();
    clients::kill_in_every_window();
}

#[test]
fn every_window_of_a_lock() {
    let _turn = one_at_a_time();
    locks::kill_in_every_window();
}

#[test]
fn connections_that_are_dropped_at_once_keep_no_numbers() {
    let _turn = one_at_a_time();
    clients::drop_at_once();
}

#[test]
fn source_document_and_tests_name_the_same_windows() {
    windows::compare();
}
