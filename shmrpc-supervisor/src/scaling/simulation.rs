//! Pools under simulated loads, on a clock of their own. What the rules make of each load is kept as a table in
//! `tests/traces`, compared to the letter; `SHMRPC_UPDATE_TRACES=1` writes the tables anew.
//!
//! Calls come by chance, as from many clients that know nothing of each other, wait in one queue, and keep a thread
//! for as long as they take. All of it is reckoned in whole milliseconds, so that every machine gets the same.

use std::{collections::VecDeque, fmt::Write, fs, path::Path};

use super::*;

const THREADS_EACH: usize = 2;
const MOST_WORKERS: usize = 8;
/// Clients that have so many calls waiting send no more.
const MOST_WAITING: usize = 2000;
const LOOKS_A_SECOND: u64 = 20;
const STALL_MS: u64 = 150;

struct Simulation {
    start: Instant,
    rule: Scaling,
    scaler: Scaler,
    workers: usize,
    handler_ms: u64,
    now_ms: u64,
    /// When each busy thread is free again; in order, since all calls take as long.
    ends_ms: VecDeque<u64>,
    waiting: usize,
    chance: u64,
    /// Others take all processors away this often, for [`STALL_MS`].
    stalls_per_s: u64,
    stalled_until_ms: u64,
}

/// One second of a pool.
struct Second {
    load: Load,
    advice: Option<Advice>,
}

impl Simulation {
    fn new(autoscale: Autoscale, handler_ms: u64) -> Self {
        let start = Instant::now();
        Self {
            start,
            rule: Scaling { autoscale, ..Scaling::default() },
            scaler: Scaler::new(start),
            workers: 1,
            handler_ms,
            now_ms: 0,
            ends_ms: VecDeque::new(),
            waiting: 0,
            chance: 1,
            stalls_per_s: 0,
            stalled_until_ms: 0,
        }
    }

    fn random(&mut self) -> u64 {
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.chance >> 33
    }

    fn is_stalled(&mut self) -> bool {
        if self.stalls_per_s > 0 && self.random() % 1000 < self.stalls_per_s {
            self.stalled_until_ms = self.now_ms + STALL_MS;
        }
        self.now_ms < self.stalled_until_ms
    }

    /// Plays one second with so many calls, on average.
    fn second(&mut self, calls_per_s: u64) -> Second {
        let threads = self.workers * THREADS_EACH;
        let (mut answered, mut busy, mut queued, mut starved_ms) = (0_u64, 0, 0, 0);
        for ms in 0..1000 {
            self.now_ms += 1;
            if self.is_stalled() {
                // Whoever is at work goes on later.
                starved_ms += self.ends_ms.len();
                self.ends_ms.iter_mut().for_each(|end| *end += 1);
            }
            while self.ends_ms.front().is_some_and(|end| *end <= self.now_ms) {
                self.ends_ms.pop_front();
                answered += 1;
            }
            // Ten chances a millisecond.
            for _ in 0..10 {
                if self.random() % 10_000 < calls_per_s && self.waiting < MOST_WAITING {
                    self.waiting += 1;
                }
            }
            while self.waiting > 0 && self.ends_ms.len() < threads {
                self.waiting -= 1;
                self.ends_ms.push_back(self.now_ms + self.handler_ms);
            }
            if ms % (1000 / LOOKS_A_SECOND) == 0 {
                busy += self.ends_ms.len() as u64;
                queued += self.waiting as u64;
            }
        }
        let mean = |sum: u64| sum as f64 / LOOKS_A_SECOND as f64;
        let load = Load {
            at: self.start + Duration::from_millis(self.now_ms),
            workers: self.workers,
            threads,
            cpu_share: mean(busy),
            busy: mean(busy),
            starved: starved_ms as f64 / 1000.0,
            queued: mean(queued),
            calls_per_s: answered as f64,
            memory_bytes: 0,
        };
        let advice = self.scaler.advise(load, self.workers, &self.rule, &(1..=MOST_WORKERS));
        if let Some(advice) = &advice {
            self.workers = advice.workers;
            self.scaler.changed(load.at);
        }
        Second { load, advice }
    }
}

/// Plays a load and returns what became of the pool, as a table.
fn table(mut simulation: Simulation, seconds: u64, calls_per_s: impl Fn(u64) -> u64) -> String {
    let mut text = String::from("  time   calls/s  workers  busy  waiting\n");
    for second in 1..=seconds {
        let calls_per_s = calls_per_s(second);
        let Second { load, advice } = simulation.second(calls_per_s);
        if second % 30 == 0 {
            let busy = load.utilisation() * 100.0;
            let (workers, waiting) = (load.workers, load.queued);
            let _infallible =
                writeln!(text, "{second:>4} s  {calls_per_s:>8}  {workers:>7}  {busy:>3.0}%  {waiting:>7.1}");
        }
        if let Some(Advice { workers, reason }) = advice {
            let _infallible = writeln!(text, "{second:>4} s  {} → {workers} workers: {reason}", load.workers);
        }
    }
    text
}

fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces").join(name);
    if std::env::var_os("SHMRPC_UPDATE_TRACES").is_some() {
        fs::write(&path, text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "{} differs from\n{text}", path.display());
}

fn by_load() -> Simulation {
    Simulation::new(Autoscale::Load, 10)
}

#[test]
fn step() {
    let calls = |second| if (60..420).contains(&second) { 800 } else { 40 };
    compare("step.txt", &table(by_load(), 1800, calls));
}

#[test]
fn ramp() {
    compare("ramp.txt", &table(by_load(), 1800, |second| if second < 900 { second } else { 1800 - second }));
}

#[test]
fn spike() {
    let calls = |second| if (100..105).contains(&second) { 2000 } else { 100 };
    compare("spike.txt", &table(by_load(), 600, calls));
}

/// Half an hour from quiet to busy and back, thrice.
#[test]
fn sine() {
    // A parabola for each half wave: the same on all machines.
    let calls = |second: u64| {
        let (place, rises) = (second % 900, (second / 900).is_multiple_of(2));
        let height = place * (900 - place) * 700 / (450 * 450) / 2;
        if rises { 360 + height } else { 360 - height.min(350) }
    };
    compare("sine.txt", &table(by_load(), 5400, calls));
}

#[test]
fn original() {
    let calls = |second| if (60..420).contains(&second) { 300 } else { 10 };
    compare("original.txt", &table(Simulation::new(Autoscale::Original, 10), 2400, calls));
}

/// A steady load of any height, with short calls and long ones: after ten minutes the pool has only ever grown.
#[test]
fn flat() {
    let mut text = String::from("calls of  calls/s  threads' worth  workers after 600 s, changes\n");
    for handler_ms in [1, 10, 200] {
        for percent in (5..=115).step_by(10) {
            // Of all threads of the largest pool.
            let calls_per_s = percent * (MOST_WORKERS * THREADS_EACH) as u64 * 10 / handler_ms;
            if calls_per_s > 9000 {
                continue;
            }
            let mut simulation = Simulation::new(Autoscale::Load, handler_ms);
            let mut changes = String::new();
            for second in 1..=600 {
                let played = simulation.second(calls_per_s);
                if let Some(advice) = played.advice {
                    assert!(
                        advice.workers > played.load.workers,
                        "{percent} % of {handler_ms} ms: {advice:?}"
                    );
                    let _infallible = write!(changes, " {second} s");
                }
            }
            let worth = calls_per_s as f64 * handler_ms as f64 / 1000.0;
            let workers = simulation.workers;
            let _infallible = writeln!(
                text,
                "{handler_ms:>5} ms  {calls_per_s:>7}  {worth:>14.1}  {workers:>7}, {changes}"
            );
        }
    }
    compare("flat.txt", &text);
}

/// A steady load beside others who take the processors away, a seventh of the time and then half of it: calls wait for as
/// long as threads do, and a larger pool would wait with them. One that has to catch up often grows, and stays.
#[test]
fn crowded() {
    let mut text = String::new();
    for (stalls_per_s, calls_per_s) in [(1, 20), (5, 20), (1, 80), (5, 80)] {
        let simulation = Simulation { stalls_per_s, ..by_load() };
        text += &table(simulation, 900, |_| calls_per_s);
    }
    compare("crowded.txt", &text);
}

#[test]
fn a_pool_with_too_much_memory_does_not_grow_and_then_shrinks() {
    let mut simulation = by_load();
    simulation.rule.max_proc_mem_bytes = Some(1000);
    let start = simulation.start;
    let full = |second: u64, workers: usize, memory_bytes: u64| Load {
        at: start + Duration::from_secs(second),
        workers,
        threads: workers * 2,
        cpu_share: workers as f64 * 2.0,
        busy: workers as f64 * 2.0,
        starved: 0.0,
        queued: 50.0,
        calls_per_s: 10.0,
        memory_bytes,
    };
    let bounds = 1..=3;
    for second in 0..60 {
        let advice = simulation.scaler.advise(full(second, 2, 1000), 2, &simulation.rule, &bounds);
        assert_eq!(advice, None, "at {second} s");
    }
    let advice = simulation.scaler.advise(full(60, 2, 1001), 2, &simulation.rule, &bounds).unwrap();
    assert_eq!(advice.workers, 1);
    assert_eq!(advice.reason, "1001 bytes of memory exceed max_proc_mem_bytes 1000");
}
