//! Windows of death: a call of [`kill_point`] stands wherever a process may die between two steps that others
//! can see, and gives that window its name. With the feature `kill-points`, which is for tests alone, the environment
//! variable `SHMRPC_KILL_AT=NAME[:N]` ends the process with SIGKILL when it comes there for the N-th time (the
//! first unless said otherwise); without the feature nothing is left of it.
//!
//! What each window leaves behind, and who repairs it, is in docs/memory-model.md; `tests/kill_points` kills real
//! processes in every one, and checks that source, document and tests name the same.

/// Nothing: the feature `kill-points` is off.
#[cfg(not(feature = "kill-points"))]
#[inline(always)]
pub(crate) fn kill_point(_name: &'static str) {}

/// Dies here if this is the window that was asked for.
#[cfg(feature = "kill-points")]
pub(crate) fn kill_point(name: &'static str) {
    armed::pass(name);
}

#[cfg(feature = "kill-points")]
mod armed {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    };

    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };

    struct Armed {
        name: String,
        passes_left: AtomicU32,
    }

    pub(super) fn pass(name: &str) {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        if let Some(armed) = ARMED.get_or_init(from_environment)
            && armed.name == name
            && armed.passes_left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            die();
        }
    }

    fn from_environment() -> Option<Armed> {
        let text = std::env::var("SHMRPC_KILL_AT").ok()?;
        let (name, passes) = match text.split_once(':') {
            Some((name, passes)) => (name, passes.parse().expect("SHMRPC_KILL_AT=NAME:N has a number")),
            None => (text.as_str(), 1),
        };
        Some(Armed { name: name.to_owned(), passes_left: AtomicU32::new(passes) })
    }

    fn die() -> ! {
        let _sent = kill(Pid::this(), Signal::SIGKILL);
        // The signal takes effect before `kill` returns.
        loop {
            std::thread::park();
        }
    }
}
