//! One lane of a client: its random choices, its call numbers, and the verdict on every outcome.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use shmrpc::{CallError, RpcError};

use super::{LONG, SLACK, Shared};
use crate::{ledger, random::Random};

const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// What a call promised.
#[derive(Clone, Copy)]
pub(super) enum Promise {
    /// It is answered, unless its worker is killed.
    Answer,
    /// It is answered within that time, or says that it was not.
    Within(Duration),
    /// As `Answer`; a stream may also find that its worker has just gone.
    Stream,
}

pub(super) struct Lane {
    pub(super) random: Random,
    shared: Arc<Shared>,
    pulse: Arc<AtomicU64>,
    next_number: u64,
    tally: File,
    outcomes: BTreeMap<&'static str, u64>,
    said_dead: Vec<String>,
    slowest_ms: u64,
    flushed: Instant,
}

impl Lane {
    pub(super) fn new(shared: &Arc<Shared>, client: u32, index: u32, seed: u64) -> Self {
        let pulse = Arc::new(AtomicU64::new(0));
        shared.pulses.lock().expect("unpoisoned").push(Arc::clone(&pulse));
        Self {
            random: Random::new(seed ^ u64::from(client) << 8 ^ u64::from(index)),
            shared: Arc::clone(shared),
            pulse,
            next_number: u64::from(client) << 40 | u64::from(index) << 32,
            tally: ledger::open_tally(),
            outcomes: BTreeMap::new(),
            said_dead: Vec::new(),
            slowest_ms: 0,
            flushed: Instant::now(),
        }
    }

    /// A number that no other call of the run has.
    pub(super) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// To be called between two steps, with nothing under way: pauses a little, rests if the run says so;
    /// `false` at the end.
    pub(super) fn goes_on(&mut self) -> bool {
        self.pulse.store(0, Ordering::Relaxed);
        if self.flushed.elapsed() > FLUSH_INTERVAL {
            self.flush();
        }
        let shared = Arc::clone(&self.shared);
        if shared.resting.load(Ordering::SeqCst) {
            self.flush();
            shared.parked.fetch_add(1, Ordering::SeqCst);
            while shared.resting.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            shared.parked.fetch_sub(1, Ordering::SeqCst);
        }
        if shared.ending.load(Ordering::SeqCst) {
            self.flush();
            return false;
        }
        if self.random.one_in(4) {
            thread::sleep(self.random.duration(Duration::from_millis(4)));
        }
        true
    }

    /// To be called when a step begins.
    pub(super) fn begin(&self) -> Instant {
        self.pulse.store(self.shared.now_ms(), Ordering::Relaxed);
        Instant::now()
    }

    fn flush(&mut self) {
        self.flushed = Instant::now();
        if self.outcomes.is_empty() {
            return;
        }
        let line = json!({
            "outcomes": std::mem::take(&mut self.outcomes),
            "said_dead": std::mem::take(&mut self.said_dead),
            "slowest_ms": self.slowest_ms,
        });
        self.tally.write_all(format!("{line}\n").as_bytes()).expect("a tally can be written");
    }

    pub(super) fn count(&mut self, outcome: &'static str) {
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    /// Judges a call's outcome: `Ok` says whether the reply was right.
    pub(super) fn judge<E: std::fmt::Debug>(
        &mut self,
        what: &str,
        began: Instant,
        promise: Promise,
        outcome: Result<bool, CallError<E>>,
    ) {
        let took = began.elapsed();
        let limit = match promise {
            Promise::Within(deadline) => deadline,
            Promise::Answer | Promise::Stream => LONG,
        };
        if took > limit + SLACK {
            ledger::wrong(&format!("{what} took {took:?}, {limit:?} were allowed: {outcome:?}"));
        }
        if !matches!(promise, Promise::Within(_)) {
            self.slowest_ms = self.slowest_ms.max(took.as_millis() as u64);
        }
        let error = match outcome {
            Ok(true) => return self.count("right"),
            Ok(false) => return ledger::wrong(&format!("{what} had a wrong reply after {took:?}")),
            Err(CallError::Rpc(error)) => error,
            Err(CallError::Service(error)) => {
                return ledger::wrong(&format!("{what} failed by itself: {error:?}"));
            }
        };
        match (error, promise) {
            (RpcError::WorkerDied { worker, method, .. }, _) => {
                self.said_dead.push(format!("{worker} while it ran {method}"));
                self.count("WorkerDied");
            }
            (RpcError::DeadlineExceeded { .. }, Promise::Within(deadline)) if took >= deadline => {
                self.count("DeadlineExceeded");
            }
            (RpcError::ConnectionLost { .. }, Promise::Stream) => self.count("ConnectionLost"),
            (error, _) => ledger::wrong(&format!("{what} ended after {took:?}: {error}")),
        }
    }
}
