//! One target, by the name of the program that this is built as.
#![no_main]

use std::sync::LazyLock;

use shmrpc_supervisor::fuzzing::{Target, every_target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let known = every_target().into_iter().find(|target| target.name == env!("CARGO_BIN_NAME"));
    known.expect("a target of that name")
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.run)(data));
