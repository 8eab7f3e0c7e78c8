//! What time does to a client's connection: a silent server is asked and then given up, tasks whose deadline
//! has passed are woken, and a connection that has become quiet is read by the poller again. A task on the
//! I/O thread, there only while calls are under way.

use std::{
    sync::{Arc, Mutex, Weak, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{FrameReader, Link, Waiter, lock};
use crate::{
    frame::Frame,
    transport::{io, session::FrameSink},
};

/// How often a connection with calls under way is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// And how often one whose callers read for themselves.
const QUIET_AFTER: Duration = Duration::from_millis(100);
/// After so long a silence a server that owes an answer is asked.
const PING_AFTER: Duration = Duration::from_secs(5);
/// And given up when it has not said anything for so long after that.
const GIVE_UP_AFTER: Duration = Duration::from_secs(8);
/// A reply that has begun may take so long, beside what its length allows.
const FRAME_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Watch {
    state: Mutex<State>,
    /// The next look has been moved forward.
    sooner: Arc<Notify>,
}

#[derive(Default)]
struct State {
    /// When the task looks next, if it runs.
    looks_at: Option<Instant>,
    /// Calls and reads as of the last look.
    calls_seen: u64,
    heard_seen: u64,
    /// Since when nothing has been heard while calls were open.
    silent_since: Option<Instant>,
    asked_at: Option<Instant>,
}

impl Link {
    /// Has tasks woken at that time, if not before.
    pub(in super::super) fn watch_until(&self, until: Instant) {
        self.watch_by(until.min(Instant::now() + LOOK_EVERY));
    }

    /// Has the poller read again when nobody else does any more.
    pub(super) fn watch_for_quiet(&self) {
        self.watch_by(Instant::now() + QUIET_AFTER);
    }

    fn watch_by(&self, at: Instant) {
        let mut state = lock(&self.watch.state);
        match state.looks_at {
            Some(looks_at) if looks_at <= at => {}
            Some(_) => {
                state.looks_at = Some(at);
                self.watch.sooner.notify_one();
            }
            None => {
                state.looks_at = Some(at);
                io::handle().spawn(run(Weak::clone(&self.me), Arc::clone(&self.watch.sooner)));
            }
        }
    }

    /// One look; when the next one is due.
    fn look(&self) -> Option<Instant> {
        let now = Instant::now();
        // Whoever has the reader looks after the connection.
        if let Some(reader) = self.try_read() {
            self.look_after(&reader);
            drop(reader);
            self.hand_over();
        }
        let (overdue, next_deadline, opened, open) = {
            let mut table = self.calls.lock();
            let overdue = table.overdue(now);
            (overdue, table.next_deadline(), table.opened(), table.open_calls())
        };
        overdue.into_iter().for_each(Waiter::wake);
        let mut state = lock(&self.watch.state);
        let quiet = open == 0 && opened == state.calls_seen;
        state.calls_seen = opened;
        let reads = self.writer.registration().is_some_and(super::Registration::reads);
        if quiet && self.session.open_calls() == 0 {
            state.looks_at = None;
            drop(state);
            if !reads {
                self.have_read();
            }
            return None;
        }
        let regular = now + if reads { LOOK_EVERY } else { QUIET_AFTER };
        let next = next_deadline.map_or(regular, |deadline| deadline.min(regular));
        state.looks_at = Some(next);
        Some(next)
    }

    /// Whether the server is there, as far as can be told by whoever has the reader.
    pub(super) fn look_after(&self, reader: &FrameReader) {
        let now = Instant::now();
        let open = self.open_calls() > 0;
        let mut state = lock(&self.watch.state);
        let heard = self.heard.load(Ordering::Relaxed);
        if !open || heard != state.heard_seen {
            (state.heard_seen, state.silent_since, state.asked_at) = (heard, None, None);
        }
        let silent_since = *state.silent_since.get_or_insert(now);
        let reason = match state.asked_at {
            Some(at) if now >= at + GIVE_UP_AFTER => Some("the server gave no sign of life for 15 s"),
            None if open && now >= silent_since + PING_AFTER => {
                state.asked_at = Some(now);
                drop(state);
                self.writer.send(Frame::Ping { id: 1 });
                None
            }
            Some(_) | None => None,
        };
        let is_late = reader.due(FRAME_TIMEOUT).is_some_and(|due| now > due);
        let reason = reason.or(is_late.then_some("a frame was not finished in time"));
        if let Some(reason) = reason {
            self.close(reason);
        }
    }
}

async fn run(link: Weak<Link>, sooner: Arc<Notify>) {
    // The link does not live for our sake.
    while let Some(looks_at) = link.upgrade().and_then(|link| lock(&link.watch.state).looks_at) {
        let _moved = tokio::time::timeout_at(looks_at.into(), sooner.notified()).await;
        let Some(link) = link.upgrade() else { return };
        let due = lock(&link.watch.state).looks_at.is_some_and(|at| at <= Instant::now());
        if due && link.look().is_none() {
            return;
        }
    }
}
