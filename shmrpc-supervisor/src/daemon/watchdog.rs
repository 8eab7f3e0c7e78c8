//! Whether a worker's process runs at all. Its heartbeat is a number in shared memory that a thread of its own
//! moves once a second, whatever the handlers do; one that stands still belongs to a process that is stopped.
//!
//! Nothing here is broken on time: a silent worker is killed, and it is its death that others act on.

use std::time::{Duration, Instant};

/// So much of the time between two looks counts at most: this process may have been stopped itself, together
/// with its workers.
const LONGEST_STEP: Duration = Duration::from_secs(2);

/// What is known of one worker's heartbeat.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    heartbeat: u64,
    still: Duration,
    looked: Option<Instant>,
}

impl Watchdog {
    /// Takes a look's result; for how long the heartbeat has stood still.
    pub(super) fn look(&mut self, heartbeat: u64, now: Instant) -> Duration {
        let step = self.looked.replace(now).map_or(Duration::ZERO, |before| now.duration_since(before));
        // Zero: a worker that does not say.
        if heartbeat == 0 || heartbeat != self.heartbeat {
            self.heartbeat = heartbeat;
            self.still = Duration::ZERO;
        } else {
            self.still += step.min(LONGEST_STEP);
        }
        self.still
    }
}

/// Whether somebody debugs that process.
pub(super) fn is_traced(pid: u32) -> bool {
    let status = procfs::process::Process::new(pid.cast_signed()).and_then(|process| process.status());
    status.is_ok_and(|status| status.tracerpid != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_heartbeat_that_stands_still_while_we_run_counts() {
        let (mut watchdog, start) = (Watchdog::default(), Instant::now());
        let mut look = |at_ms, heartbeat| watchdog.look(heartbeat, start + Duration::from_millis(at_ms));
        assert_eq!(look(0, 0), Duration::ZERO);
        assert_eq!(look(5_000, 0), Duration::ZERO, "it has never said anything");
        assert_eq!(look(6_000, 7), Duration::ZERO);
        assert_eq!(look(7_000, 7), Duration::from_secs(1));
        assert_eq!(look(8_500, 7), Duration::from_millis(2_500));
        assert_eq!(look(9_000, 8), Duration::ZERO);
        assert_eq!(look(600_000, 8), LONGEST_STEP, "we have been stopped too");
        assert!(is_traced(std::process::id()) || !is_traced(u32::MAX >> 1));
    }
}
