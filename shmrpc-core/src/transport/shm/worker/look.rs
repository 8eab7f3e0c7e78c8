//! A worker's looks at itself, for whoever decides how many workers there should be: threads in handlers, calls
//! that wait. Taken by a thread that nothing else keeps, from words that the call path writes anyway, so that
//! no call pays for them; summed up in the counters.

use std::sync::atomic::Ordering;

use super::Shared;
use crate::observe::Occupancy;

/// More rings than this are not looked at: who has so many clients sees enough of the queue in these.
const MOST_RINGS: usize = 256;

impl Shared {
    /// One look; whether there was anything to see, then or since the last look. Taken by one thread alone.
    pub(super) fn look(&self) -> bool {
        let (busy, apart) = self.activity.occupied();
        // While a thread is free, nothing waits.
        let queued = if busy + apart < self.threads { 0 } else { self.waiting() };
        let (busy, queued, apart) = (busy as u64, queued as u64, apart as u64);
        self.counters.note_occupancy(Occupancy { looks: 1, busy, queued, apart });
        let calls = self.counters.calls();
        let has_moved = calls != self.looked_calls.swap(calls, Ordering::Relaxed);
        has_moved || busy + apart + queued > 0
    }

    fn waiting(&self) -> usize {
        self.seats().iter().take(MOST_RINGS).map(|seat| seat.channel.waiting()).sum()
    }
}
