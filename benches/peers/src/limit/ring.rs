//! A bare slot ring: one client, in order, copy in, echo by copy, copy out. No handshake, no deadlines, no counters, no
//! recovery: the height of the ceiling. Both sides spin for ever, or sleep at once on semaphores with a "sleeping"
//! flag, so that a busy side is not rung.
//!
//! Memory of one client: a page with the two flags and the two semaphores; then for each slot a request and a
//! reply, each of a stamp, a length and the bytes.

use std::sync::atomic::{Ordering, fence};

use crate::{
    job::{Carrier, Figures, Job},
    limit::rest,
    measure::{self, Caller, Echo},
    memory::Memory,
    role,
};

const CLIENT_SLEEPS: usize = 0;
const SERVER_SLEEPS: usize = 256;
const CLIENT_BELL: usize = 512;
/// The server has one bell for all of its clients, in the first client's memory.
const SERVER_BELL: usize = 768;
const HEAD_BYTES: usize = 4096;
const STAMP_AND_LENGTH_BYTES: usize = 16;

/// Where things lie in memory.
#[derive(Clone, Copy)]
struct Layout {
    slots: usize,
    half_bytes: usize,
}

impl Layout {
    /// Many slots for small messages; for large ones few, which stay in the cache.
    fn of(job: &Job) -> Self {
        let slots = match job.size_bytes {
            0..=65_536 => 64,
            65_537..=1_048_576 => 8,
            _ => 2,
        };
        Self { slots, half_bytes: (STAMP_AND_LENGTH_BYTES + job.size_bytes).next_multiple_of(128) }
    }

    const fn len_bytes(self) -> usize {
        HEAD_BYTES + self.slots * 2 * self.half_bytes
    }

    const fn request(self, turn: u64) -> usize {
        HEAD_BYTES + (turn as usize % self.slots) * 2 * self.half_bytes
    }

    const fn reply(self, turn: u64) -> usize {
        self.request(turn) + self.half_bytes
    }
}

/// The side that answers: one thread for all clients.
pub fn serve(job: &Job) -> ! {
    let layout = Layout::of(job);
    let memories: Vec<Memory> = (0..job.clients).map(|_| Memory::create(layout.len_bytes())).collect();
    for memory in &memories {
        memory.make_semaphore(CLIENT_BELL);
        memory.make_semaphore(SERVER_BELL);
    }
    role::ready(memories.iter().map(Memory::path).collect());
    let sleeps = job.carrier == Carrier::SleepingRing;
    let mut turns = vec![1_u64; job.clients];
    loop {
        let mut answered = 0;
        for (memory, turn) in memories.iter().zip(&mut turns) {
            answered += answer(layout, memory, turn, sleeps);
        }
        if answered > 0 {
            continue;
        }
        if !sleeps {
            rest();
            continue;
        }
        // The flag is in each client's memory; the bell that they ring is the first client's, but for one client
        // that is the same place.
        memories.iter().for_each(|memory| memory.word(SERVER_SLEEPS).store(1, Ordering::Relaxed));
        fence(Ordering::SeqCst);
        let waiting = |(memory, turn): (&Memory, &u64)| stamp(memory, layout.request(*turn)) == *turn;
        if !memories.iter().zip(&turns).any(waiting) {
            memories[0].wait(SERVER_BELL);
        }
        memories.iter().for_each(|memory| memory.word(SERVER_SLEEPS).store(0, Ordering::Relaxed));
    }
}

/// Answers what is in one client's ring, at most once around, and says how many.
fn answer(layout: Layout, memory: &Memory, turn: &mut u64, sleeps: bool) -> usize {
    let mut answered = 0;
    while answered < layout.slots && stamp(memory, layout.request(*turn)) == *turn {
        let (request, reply) = (layout.request(*turn), layout.reply(*turn));
        let len = memory.word(request + 8).load(Ordering::Relaxed);
        let (from, to) = (request + STAMP_AND_LENGTH_BYTES, reply + STAMP_AND_LENGTH_BYTES);
        memory.move_within(from, to, len as usize);
        memory.word(reply + 8).store(len, Ordering::Relaxed);
        memory.word(reply).store(*turn, Ordering::Release);
        *turn += 1;
        answered += 1;
    }
    if sleeps && answered > 0 {
        ring(memory, CLIENT_SLEEPS, memory, CLIENT_BELL);
    }
    answered
}

fn stamp(memory: &Memory, at: usize) -> u64 {
    memory.word(at).load(Ordering::Acquire)
}

/// Rings if the other side sleeps.
fn ring(flags: &Memory, flag: usize, bells: &Memory, bell: usize) {
    fence(Ordering::SeqCst);
    if flags.word(flag).load(Ordering::Relaxed) == 1 && flags.word(flag).swap(0, Ordering::Relaxed) == 1 {
        bells.post(bell);
    }
}

/// The side that asks.
pub fn client(job: &Job, go: impl FnOnce()) -> Figures {
    let addresses = &job.servers[0].addresses;
    let caller = Ring {
        layout: Layout::of(job),
        memory: Memory::open(&addresses[job.index]),
        bells: Memory::open(&addresses[0]),
        sleeps: job.carrier == Carrier::SleepingRing,
        sent: 0,
        received: 0,
        reply: vec![0; job.size_bytes],
    };
    measure::blocking(caller, job, go)
}

struct Ring {
    layout: Layout,
    memory: Memory,
    bells: Memory,
    sleeps: bool,
    sent: u64,
    received: u64,
    reply: Vec<u8>,
}

impl Caller for Ring {
    fn send(&mut self, echo: &mut Echo) {
        self.sent += 1;
        let at = self.layout.request(self.sent);
        let message = echo.next();
        self.memory.write(at + STAMP_AND_LENGTH_BYTES, message);
        self.memory.word(at + 8).store(message.len() as u64, Ordering::Relaxed);
        self.memory.word(at).store(self.sent, Ordering::Release);
    }

    fn flush(&mut self) {
        if self.sleeps {
            ring(&self.memory, SERVER_SLEEPS, &self.bells, SERVER_BELL);
        }
    }

    fn receive(&mut self, echo: &mut Echo) {
        self.received += 1;
        let at = self.layout.reply(self.received);
        while stamp(&self.memory, at) != self.received {
            if self.sleeps {
                self.sleep(at);
            } else {
                rest();
            }
        }
        let len = self.memory.word(at + 8).load(Ordering::Relaxed) as usize;
        self.memory.read(at + STAMP_AND_LENGTH_BYTES, &mut self.reply[..len]);
        echo.check(&self.reply[..len]);
    }
}

impl Ring {
    fn sleep(&self, at: usize) {
        self.memory.word(CLIENT_SLEEPS).store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if stamp(&self.memory, at) != self.received {
            self.memory.wait(CLIENT_BELL);
        }
        self.memory.word(CLIENT_SLEEPS).store(0, Ordering::Relaxed);
    }
}
