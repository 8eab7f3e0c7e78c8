//! Pools under steady loads of several heights, in real time and with the rule's own pace. Takes as long as it is told:
//! `SHMRPC_SCALING_SECONDS=600`; without that it is skipped, and the simulations of `scaling.rs` stand for it.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    probe::{AtEnd, call, connect_to, scene},
    scene::{Daemon, Scene},
};

/// Services, and how many threads each is to keep busy with work of the processor. One that is about as much as a
/// single worker may have to do is where a pool would swing, if it did. Together they are half a core, so that
/// it is pools that are tried, and not the machine.
const HEIGHTS: [(&str, f64); 3] = [("low.probe", 0.05), ("brink.probe", 0.2), ("high.probe", 0.3)];
const CLIENTS: u32 = 3;
const CALL_MS: u64 = 5;
/// How long a pool without load may take to shrink, beyond the time that it is to have had little to do.
const SHRINKING: Duration = Duration::from_mins(8);

fn ini() -> String {
    let common =
        "min_proc_num=1\nmax_proc_num=4\nmax_utilisation=0.2\nkill_proc_avg_over_secs=60\nthreads=1\n";
    let copy =
        |(name, port): (&str, u16)| format!("[Probe:{name}]\nimport_from=probe\nport={port}\n{common}");
    [("low", 5981), ("brink", 5982), ("high", 5983)].map(copy).concat()
}

/// Calls at a steady pace, until they are told to end. None may fail.
fn steady(scene: &Scene, service: &str, busy: f64, ends: &AtomicBool, calls: &AtomicU64) {
    let connection = connect_to(scene, service);
    let period = Duration::from_millis(CALL_MS).mul_f64(f64::from(CLIENTS) / busy);
    let mut next = Instant::now();
    while !ends.load(Ordering::Relaxed) {
        call(&connection, "burn", &json!([CALL_MS])).unwrap();
        calls.fetch_add(1, Ordering::Relaxed);
        next += period;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// The sizes that each pool has had, with the time of each change.
#[derive(Default)]
struct Trace {
    sizes: BTreeMap<&'static str, Vec<(u64, usize)>>,
}

impl Trace {
    fn look(&mut self, daemon: &Daemon<'_>, seconds: u64) {
        for (name, _) in HEIGHTS {
            let service = daemon.service(name).unwrap();
            let workers = service["workers"].as_array().unwrap();
            let size = workers.iter().filter(|worker| worker["state"] == "running").count();
            assert!((1..=4).contains(&size), "{name}: {size} workers");
            let sizes = self.sizes.entry(name).or_default();
            if sizes.last().is_none_or(|(_, last)| *last != size) {
                println!("{seconds:4} s  {name}: {size} workers");
                sizes.push((seconds, size));
            }
        }
    }

    fn is_ordered(&self, may_follow: fn(usize, usize) -> bool) -> bool {
        self.sizes.values().all(|sizes| sizes.windows(2).all(|pair| may_follow(pair[0].1, pair[1].1)))
    }

    fn size(&self, name: &str) -> usize {
        self.sizes[name].last().unwrap().1
    }
}

/// For how long processes of this machine have waited for a processor, in all; 0 where the kernel does not say.
fn stalled_s() -> f64 {
    let pressure = std::fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
    let total_us = pressure.lines().next().and_then(|line| line.rsplit("total=").next()?.parse::<f64>().ok());
    total_us.unwrap_or_default() / 1e6
}

#[test]
fn a_steady_load_of_any_height_never_makes_a_pool_swing() {
    let Ok(seconds) = std::env::var("SHMRPC_SCALING_SECONDS") else { return };
    let load_time = Duration::from_secs(seconds.parse().unwrap());
    let scene = scene(&ini());
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let (ends, calls) = (AtomicBool::new(false), HEIGHTS.map(|_| AtomicU64::new(0)));
    let (begun, stalled_before_s) = (Instant::now(), stalled_s());
    let mut rise = Trace::default();
    thread::scope(|scope| {
        for ((name, busy), calls) in HEIGHTS.into_iter().zip(&calls) {
            for _ in 0..CLIENTS {
                let (scene, ends) = (&scene, &ends);
                scope.spawn(move || steady(scene, name, busy, ends, calls));
            }
        }
        let _end = AtEnd(&ends);
        while begun.elapsed() < load_time {
            rise.look(&daemon, begun.elapsed().as_secs());
            thread::sleep(Duration::from_millis(500));
        }
    });
    for ((name, _), calls) in HEIGHTS.into_iter().zip(&calls) {
        println!("{name}: {} calls, none failed", calls.load(Ordering::Relaxed));
    }
    let waited = (stalled_s() - stalled_before_s) / begun.elapsed().as_secs_f64() * 100.0;
    println!("somebody waited for a processor {waited:.0} % of the time");
    let changes = |daemon: &Daemon<'_>| {
        let log = daemon.log();
        log.lines()
            .filter(|line| line.contains(" workers: "))
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    };
    assert!(
        rise.is_ordered(|before, after| after > before),
        "a reversal; on a machine that others keep busy the load is not steady, whatever the callers do: {waited:.0} %\n{}",
        changes(&daemon)
    );
    assert!(rise.size("high.probe") > 1, "{:?}", rise.sizes);

    let (idle, mut fall) = (Instant::now(), Trace::default());
    loop {
        fall.look(&daemon, begun.elapsed().as_secs());
        if HEIGHTS.iter().all(|(name, _)| fall.size(name) == 1) {
            break;
        }
        assert!(idle.elapsed() < SHRINKING, "pools without load: {:?}", fall.sizes);
        thread::sleep(Duration::from_millis(500));
    }
    assert!(fall.is_ordered(|before, after| after < before), "a reversal: {:?}", fall.sizes);
    println!("{}", changes(&daemon));
    daemon.stop();
}
