//! The loops that count. A carrier's client is a [`Caller`]; these call it in a load's pattern and time it, the same
//! way for all. `measure/tasks.rs` does the same for clients that are async.
//!
//! The mean is taken with no clock in the loop (it is read about every 50 µs, between batches); percentiles come from a
//! second stretch with one reading a call. A reply is checked (length, sequence number) on every call.

pub mod tasks;

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    job::{Figures, Job, Load},
    memory::cpu_time,
    statistics::{histogram, percentiles},
};

/// How long a paced client rests between calls.
pub const PACE: Duration = Duration::from_millis(1);

/// A message that says which one it is, and knows the answer that it expects.
pub struct Echo {
    bytes: Vec<u8>,
    sent: u64,
    answered: u64,
}

impl Echo {
    pub fn new(size_bytes: usize) -> Self {
        Self { bytes: vec![7; size_bytes], sent: 0, answered: 0 }
    }

    /// The next message.
    pub fn next(&mut self) -> &[u8] {
        self.sent += 1;
        self.bytes[..8].copy_from_slice(&self.sent.to_ne_bytes());
        &self.bytes
    }

    /// Checks the answer to the oldest message that has none yet.
    pub fn check(&mut self, reply: &[u8]) {
        assert_eq!(reply.len(), self.bytes.len(), "a reply has its request's length");
        self.check_start(reply);
    }

    /// The same where the answer is the message's first eight bytes.
    pub fn check_start(&mut self, reply: &[u8]) {
        self.answered += 1;
        assert_eq!(reply.get(..8), Some(&self.answered.to_ne_bytes()[..]), "replies come in order");
    }

    pub const fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// A client that blocks.
pub trait Caller {
    /// One round trip.
    fn call(&mut self, echo: &mut Echo) {
        self.send(echo);
        self.flush();
        self.receive(echo);
    }
    /// Sends one, perhaps into a buffer.
    fn send(&mut self, echo: &mut Echo);
    /// What was sent goes out now.
    fn flush(&mut self) {}
    /// Waits for the oldest answer that is out.
    fn receive(&mut self, echo: &mut Echo);
}

/// Measures a client in the job's pattern.
pub fn blocking(mut caller: impl Caller, job: &Job, go: impl FnOnce()) -> Figures {
    let mut echo = Echo::new(job.size_bytes);
    let mut call = || caller.call(&mut echo);
    let warm_up = job.warm_up();
    match job.load {
        Load::One => one(&mut call, job, go),
        Load::Paced => {
            repeat(warm_up, &mut call);
            go();
            let window = Window::open(job);
            let mut times_ns = histogram();
            while window.began.elapsed() < job.window {
                thread::sleep(PACE);
                let began = Instant::now();
                call();
                record(&mut times_ns, began.elapsed());
            }
            let mut figures = window.close();
            percentiles(&mut figures, &times_ns);
            figures
        }
        Load::Flight(depth) => {
            repeat(warm_up, &mut call);
            go();
            flight(&mut caller, &mut echo, depth, job)
        }
        Load::Idle(_) => unreachable!("nobody calls"),
    }
}

/// One call at a time: half of the window without a clock, half with one.
pub fn one(call: &mut impl FnMut(), job: &Job, go: impl FnOnce()) -> Figures {
    repeat(job.warm_up(), call);
    go();
    let window = Window::open(job);
    let (calls, took) = repeat(job.window / 2, call);
    let mut times_ns = histogram();
    let mut last = Instant::now();
    let began = last;
    while last - began < job.window / 2 {
        call();
        let now = Instant::now();
        record(&mut times_ns, now - last);
        last = now;
    }
    let mut figures = window.close();
    percentiles(&mut figures, &times_ns);
    figures.mean_ns = Some(took.as_nanos() as f64 / calls as f64);
    let all = calls as f64 + times_ns.len() as f64;
    figures.calls_per_s = Some(all / (took + (last - began)).as_secs_f64());
    figures
}

/// Calls for so long, in batches of about 50 µs between readings of the clock. Says how often, and how long it took.
pub fn repeat(at_least: Duration, call: &mut impl FnMut()) -> (u64, Duration) {
    let (mut calls, mut batch, began) = (0, 1, Instant::now());
    let mut last = began;
    loop {
        for _ in 0..batch {
            call();
        }
        calls += batch;
        let now = Instant::now();
        if now - began >= at_least {
            return (calls, now - began);
        }
        match now - last {
            short if short < Duration::from_micros(25) => batch *= 2,
            long if long > Duration::from_micros(100) => batch = (batch / 2).max(1),
            _ => {}
        }
        last = now;
    }
}

/// Between half of `depth`, which is even, and all of it in flight.
fn flight(caller: &mut impl Caller, echo: &mut Echo, depth: usize, job: &Job) -> Figures {
    let burst = depth / 2;
    let send = |caller: &mut _, echo: &mut _| {
        (0..burst).for_each(|_| Caller::send(caller, echo));
        Caller::flush(caller);
    };
    send(caller, echo);
    let window = Window::open(job);
    let (bursts, took) = repeat(job.window, &mut || {
        send(caller, echo);
        (0..burst).for_each(|_| caller.receive(echo));
    });
    let mut figures = window.close();
    figures.calls_per_s = Some((bursts * burst as u64) as f64 / took.as_secs_f64());
    (0..burst).for_each(|_| caller.receive(echo));
    figures
}

/// Counts one call's time; what exceeds the histogram counts as its greatest.
pub fn record(times_ns: &mut hdrhistogram::Histogram<u64>, took: Duration) {
    times_ns.saturating_record(took.as_nanos() as u64);
}

/// A stretch over which the processor time of both sides is counted.
pub struct Window {
    servers: Vec<u32>,
    pub began: Instant,
    cpu: (Duration, Duration),
}

impl Window {
    pub fn open(job: &Job) -> Self {
        let servers: Vec<u32> = job.servers.iter().map(|server| server.pid).collect();
        let cpu = cpu(&servers);
        Self { servers, began: Instant::now(), cpu }
    }

    pub fn close(self) -> Figures {
        let took = self.began.elapsed().as_secs_f64();
        let (client, server) = cpu(&self.servers);
        let share = |now: Duration, then: Duration| Some((now - then).as_secs_f64() / took * 100.0);
        Figures {
            client_cpu_pc: share(client, self.cpu.0),
            server_cpu_pc: share(server, self.cpu.1),
            ..Figures::default()
        }
    }
}

fn cpu(servers: &[u32]) -> (Duration, Duration) {
    (cpu_time(std::process::id()), servers.iter().map(|&pid| cpu_time(pid)).sum())
}
