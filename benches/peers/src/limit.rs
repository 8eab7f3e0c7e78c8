//! What the machine itself can do between two processes, with nothing of an RPC in it: a cache line, two semaphores or
//! two futexes going there and back, and `memcpy` in one process. `limit/ring.rs` adds a bare slot ring, which moves
//! bytes too; `limit/canary.rs` watches the state of the machine during a run.

pub mod canary;
pub mod ring;

use std::hint::spin_loop;
use std::sync::atomic::Ordering;

use crate::{
    job::{Carrier, Figures, Job},
    measure::{self, Caller, Echo},
    memory::Memory,
    role,
};

/// The two words, or semaphores, far enough apart for the prefetcher.
const REQUEST: usize = 0;
const REPLY: usize = 256;
const LEN_BYTES: usize = 4096;

/// The side that answers.
pub fn serve(job: &Job) -> ! {
    let memory = Memory::create(LEN_BYTES);
    if job.carrier == Carrier::Semaphores {
        memory.make_semaphore(REQUEST);
        memory.make_semaphore(REPLY);
    }
    role::ready(vec![memory.path()]);
    let mut turn = 0_u64;
    loop {
        turn += 1;
        wait(job.carrier, &memory, REQUEST, turn);
        post(job.carrier, &memory, REPLY, turn);
    }
}

/// The side that asks.
pub fn client(job: &Job, go: impl FnOnce()) -> Figures {
    let memory = Memory::open(&job.servers[0].addresses[0]);
    measure::blocking(PingPong { carrier: job.carrier, memory, turn: 0 }, job, go)
}

struct PingPong {
    carrier: Carrier,
    memory: Memory,
    turn: u64,
}

impl Caller for PingPong {
    fn call(&mut self, _: &mut Echo) {
        self.turn += 1;
        post(self.carrier, &self.memory, REQUEST, self.turn);
        wait(self.carrier, &self.memory, REPLY, self.turn);
    }

    fn send(&mut self, _: &mut Echo) {
        unreachable!("a ping-pong has one ball");
    }

    fn receive(&mut self, _: &mut Echo) {
        unreachable!("a ping-pong has one ball");
    }
}

fn post(carrier: Carrier, memory: &Memory, at: usize, turn: u64) {
    match carrier {
        Carrier::Line => memory.word(at).store(turn, Ordering::Release),
        Carrier::Semaphores => memory.post(at),
        _ => memory.futex_post(at, turn as u32),
    }
}

fn wait(carrier: Carrier, memory: &Memory, at: usize, turn: u64) {
    match carrier {
        Carrier::Line => {
            // No pause: its 24 ns would be a fifth of the round trip.
            while memory.word(at).load(Ordering::Acquire) != turn {}
        }
        Carrier::Semaphores => memory.wait(at),
        _ => memory.futex_wait(at, turn as u32),
    }
}

/// Copies from one private buffer to another.
pub fn memcpy(job: &Job, go: impl FnOnce()) -> Figures {
    let (source, mut target) = (vec![7_u8; job.size_bytes], vec![0_u8; job.size_bytes]);
    let mut copy = || {
        target.copy_from_slice(std::hint::black_box(&source));
        std::hint::black_box(&mut target);
    };
    measure::one(&mut copy, job, go)
}

/// One look of a spinning side that has found nothing.
pub fn rest() {
    spin_loop();
}
