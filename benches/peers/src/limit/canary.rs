//! The canary: a short cache-line ping-pong between two pinned threads. Virtual machines have stretches in which all
//! that shares memory between cores is several times slower while nothing else runs; a round that meets one is
//! taken again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{memory::pin, statistics::median};

#[repr(align(256))]
struct Line(AtomicU64);

const STOP: u64 = u64::MAX;
const BATCH: u64 = 200;
const WINDOW: Duration = Duration::from_millis(8);

/// A round trip in nanoseconds: the median of batches, so that being interrupted now and then does not count.
pub fn measure(processors: &[usize]) -> f64 {
    let (first, last) = (processors[0], processors[processors.len() - 1]);
    let lines = Arc::new([Line(AtomicU64::new(0)), Line(AtomicU64::new(0))]);
    let theirs = Arc::clone(&lines);
    let answering = thread::spawn(move || {
        pin(last);
        let mut turn = 1;
        loop {
            match theirs[0].0.load(Ordering::Acquire) {
                STOP => return,
                seen if seen == turn => {
                    theirs[1].0.store(turn, Ordering::Release);
                    turn += 1;
                }
                _ => {}
            }
        }
    });
    let asking = thread::spawn(move || {
        pin(first);
        let (mut turn, mut batches, began) = (0, Vec::new(), Instant::now());
        while began.elapsed() < WINDOW {
            let batch = Instant::now();
            for _ in 0..BATCH {
                turn += 1;
                lines[0].0.store(turn, Ordering::Release);
                while lines[1].0.load(Ordering::Acquire) != turn {}
            }
            batches.push(batch.elapsed().as_nanos() as f64 / BATCH as f64);
        }
        lines[0].0.store(STOP, Ordering::Release);
        median(batches).expect("at least one batch")
    });
    let round_trip_ns = asking.join().expect("the canary sings");
    answering.join().expect("the canary sings");
    round_trip_ns
}
