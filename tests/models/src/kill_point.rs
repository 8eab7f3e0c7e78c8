//! In place of the signal that ends a process: a thread of a model stops where it is told to, by unwinding to
//! [`until_death`].

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

loom::thread_local! {
    static DIES_AT: Cell<&'static str> = Cell::new("");
}

struct Dead;

/// Stops the thread if it was told to die here.
pub(crate) fn kill_point(name: &'static str) {
    if DIES_AT.with(Cell::get) == name {
        DIES_AT.with(|at| at.set(""));
        resume_unwind(Box::new(Dead));
    }
}

/// Does something, until it is done or this thread comes to that window; `None` if it has died there.
pub(crate) fn until_death<T>(window: &'static str, does: impl FnOnce() -> T) -> Option<T> {
    DIES_AT.with(|at| at.set(window));
    let outcome = catch_unwind(AssertUnwindSafe(does));
    DIES_AT.with(|at| at.set(""));
    match outcome {
        Ok(done) => Some(done),
        Err(cause) if cause.is::<Dead>() => None,
        Err(cause) => resume_unwind(cause),
    }
}
