//! The same loops for async clients. Pinned, a client runs on a runtime of one thread; free, on one of two.

use std::{future::Future, time::Instant};

use tokio::{runtime::Runtime, time::MissedTickBehavior};

use super::{Echo, PACE, Window, record};
use crate::{
    job::{Figures, Job, Load},
    statistics::{histogram, percentiles},
};

/// A client that is awaited. Clones share a connection.
pub trait AsyncCaller: Clone + Send + 'static {
    fn call(&mut self, echo: &mut Echo) -> impl Future<Output = ()> + Send;
}

/// The runtime of a client or a server.
pub fn runtime(job: &Job) -> Runtime {
    let mut builder = match job.pinned {
        true => tokio::runtime::Builder::new_current_thread(),
        false => tokio::runtime::Builder::new_multi_thread(),
    };
    if !job.pinned {
        builder.worker_threads(2);
    }
    builder.enable_all().build().expect("a runtime starts")
}

/// Measures a client in the job's pattern.
pub fn measure<C: AsyncCaller>(
    runtime: &Runtime,
    caller: C,
    job: &Job,
    go: impl FnOnce() + Send + 'static,
) -> Figures {
    let job = job.clone();
    let work = async move {
        match job.load {
            Load::One => one(caller, &job, go).await,
            Load::Paced => paced(caller, &job, go).await,
            Load::Flight(depth) => flight(caller, depth, &job, go).await,
            Load::Idle(_) => unreachable!("nobody calls"),
        }
    };
    // As a task, so that it does not live on the thread that only blocks on it.
    runtime.block_on(async { tokio::spawn(work).await.expect("no call fails") })
}

async fn one<C: AsyncCaller>(mut caller: C, job: &Job, go: impl FnOnce()) -> Figures {
    let mut echo = Echo::new(job.size_bytes);
    calls_until(&mut caller, &mut echo, Instant::now() + job.warm_up()).await;
    go();
    let window = Window::open(job);
    let first = Instant::now();
    let calls = calls_until(&mut caller, &mut echo, first + job.window / 2).await;
    let took = first.elapsed();
    let mut times_ns = histogram();
    let mut last = Instant::now();
    let began = last;
    while last - began < job.window / 2 {
        caller.call(&mut echo).await;
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

/// Calls until then, in batches of about 50 µs between readings of the clock, and says how often.
async fn calls_until<C: AsyncCaller>(caller: &mut C, echo: &mut Echo, until: Instant) -> u64 {
    let (mut calls, mut batch, mut last) = (0, 1, Instant::now());
    loop {
        for _ in 0..batch {
            caller.call(echo).await;
        }
        calls += batch;
        let now = Instant::now();
        if now >= until {
            return calls;
        }
        match (now - last).as_micros() {
            0..25 => batch *= 2,
            25..=100 => {}
            _ => batch = (batch / 2).max(1),
        }
        last = now;
    }
}

async fn paced<C: AsyncCaller>(mut caller: C, job: &Job, go: impl FnOnce()) -> Figures {
    let mut echo = Echo::new(job.size_bytes);
    calls_until(&mut caller, &mut echo, Instant::now() + job.warm_up()).await;
    go();
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let window = Window::open(job);
    let mut times_ns = histogram();
    while window.began.elapsed() < job.window {
        pace.tick().await;
        let began = Instant::now();
        caller.call(&mut echo).await;
        record(&mut times_ns, began.elapsed());
    }
    let mut figures = window.close();
    percentiles(&mut figures, &times_ns);
    figures
}

async fn flight<C: AsyncCaller>(mut caller: C, depth: usize, job: &Job, go: impl FnOnce()) -> Figures {
    let mut echo = Echo::new(job.size_bytes);
    calls_until(&mut caller, &mut echo, Instant::now() + job.warm_up()).await;
    go();
    let window = Window::open(job);
    let until = window.began + job.window;
    let tasks: Vec<_> = (0..depth)
        .map(|_| {
            let (mut caller, mut echo) = (caller.clone(), Echo::new(job.size_bytes));
            tokio::spawn(async move {
                let mut calls = 0_u64;
                loop {
                    for _ in 0..8 {
                        caller.call(&mut echo).await;
                    }
                    calls += 8;
                    if Instant::now() >= until {
                        return calls;
                    }
                }
            })
        })
        .collect();
    let mut calls = 0;
    for task in tasks {
        calls += task.await.expect("no call fails");
    }
    let took = window.began.elapsed();
    let mut figures = window.close();
    figures.calls_per_s = Some(calls as f64 / took.as_secs_f64());
    figures
}
