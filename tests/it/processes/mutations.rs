//! A peer of the same user that scribbles over all that it has been handed: the words of its own ring, slots and
//! arenas, the board that it shares with everybody, and the doorbells of the workers. Workers and other clients
//! go on, and each of their replies is right. Its own are right too, or its connection is given up and says so.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    process::{Child, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use shmrpc::{Connection, Door};

use super::{PATIENCE, Scene, call, pid};

/// So many mutations between two looks at what there is to scribble over.
const BATCH: u64 = 200;
/// So many between two pauses, in which others make calls.
const BURST: u64 = 20;

const ARENA_HEADER_BYTES: u64 = 4096;

/// Of a board mostly its words about workers and work, and few of its 4096 channel numbers: it takes a while until
/// those that were written there are free again, and so long nobody new can connect.
const BOARD_BYTES: u64 = 2048;

/// A small generator (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit.max(1)
    }
}

/// What a client carries: in slots small messages, or in arenas large ones. Its slots' words differ by that.
const SIZES: [&str; 2] = ["small", "large"];

/// A shared region, and what of it may be scribbled over. Not what a message carries: that is the scribbler's own, and
/// nobody could tell it from another.
struct Target {
    region: File,
    /// From its start.
    len: u64,
    slots: Option<Slots>,
}

/// The slots of a channel.
struct Slots {
    count: u64,
    are_large: bool,
}

impl Slots {
    const BYTES: u64 = 1024;

    fn offset(count: u64) -> u64 {
        (512 + count * 8).next_multiple_of(128)
    }

    /// Told by the length, since the words may have been scribbled over already.
    fn of(len: u64, are_large: bool) -> Option<Self> {
        let bytes = |count: u64| (Self::offset(count) + count * Self::BYTES).next_multiple_of(4096);
        [2, 16, 128, 1024, 4096]
            .into_iter()
            .find(|&count| bytes(count) == len)
            .map(|count| Self { count, are_large })
    }

    /// Where one of the words lies that say something about a call or a reply.
    fn some_word(&self, random: &mut Random) -> u64 {
        let small: &[u64] = &[0, 1, 2, 3, 4, 5, 64, 65];
        let words = if self.are_large { &[0, 1, 2, 3, 4, 5, 6, 64, 65, 66] } else { small };
        let (slot, word) = (random.below(self.count), random.below(words.len() as u64) as usize);
        Self::offset(self.count) + slot * Self::BYTES + words[word] * 8
    }
}

/// The shared regions that a process has open, opened once more.
fn regions(pid: u32, are_large: bool, whole_board: bool, wanted: impl Fn(&str) -> bool) -> Vec<Target> {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    fds.filter_map(|fd| {
        let target = std::fs::read_link(fd.path()).ok()?;
        let name = target.to_str()?.strip_prefix("/memfd:shmrpc-")?.split(' ').next()?.to_owned();
        let file = File::options().read(true).write(true).open(fd.path()).ok()?;
        let len = file.metadata().ok()?.len();
        let slots = if name == "channel" { Slots::of(len, are_large) } else { None };
        let within = match (name.as_str(), &slots) {
            ("arena", _) => len.min(ARENA_HEADER_BYTES),
            ("board", _) if !whole_board => len.min(BOARD_BYTES),
            (_, Some(slots)) => Slots::offset(slots.count),
            _ => len,
        };
        wanted(&name).then_some(Target { region: file, len: within, slots })
    })
    .collect()
}

/// One mutation somewhere in a region, in its first lines as often as anywhere else.
fn mutate(random: &mut Random, Target { region, len, slots }: &Target) {
    let within = match random.below(3) {
        0 => *len.min(&1024),
        1 => *len.min(&(16 << 10)),
        _ => *len,
    };
    let at = match slots {
        Some(slots) if random.below(3) > 0 => slots.some_word(random),
        _ => random.below(within) & !7,
    };
    let mut word = [0; 8];
    let _short = region.read_at(&mut word, at);
    let before = u64::from_le_bytes(word);
    let after = match random.below(7) {
        0 => 0,
        1 => u64::MAX,
        2 => random.next(),
        3 => before ^ 1 << random.below(64),
        4 => before.wrapping_add(1),
        5 => before.wrapping_sub(1),
        _ => random.below(1 << 16),
    };
    let bytes = after.to_le_bytes();
    let (from, count) = [(0, 8), (0, 4), (4, 4), (0, 1)][random.below(4) as usize];
    let _short = region.write_at(&bytes[from..from + count], at + from as u64);
}

/// Calls and checks until it is told to stop; how many.
fn honest(client: &Connection, done: &AtomicBool) -> u64 {
    let mut calls = 0;
    while !done.load(Ordering::Relaxed) {
        for len in [1, 100, 224, 300, 9000] {
            let data: Vec<u8> = (0..len).map(|at: u64| (at.wrapping_mul(31) ^ calls) as u8).collect();
            assert!(call(client, "echo_raw", Door::Native, &data).unwrap() == data);
            calls += 1;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    calls
}

/// Says that it is over when it is dropped.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn mutate_all(scene: &Scene, victims: &[Child], seed: u64, count: u64) -> u64 {
    let mut random = Random(seed | 1);
    let mut mutations = 0;
    while mutations < count {
        let whole_board = random.below(16) == 0;
        let mut targets = Vec::new();
        for (victim, size) in victims.iter().zip(SIZES) {
            let theirs = |name: &str| !name.starts_with("doorbell-own");
            targets.extend(regions(victim.id(), size == "large", whole_board, theirs));
        }
        for &worker in &scene.pids() {
            targets.extend(regions(worker, false, whole_board, |name| name.starts_with("counters")));
        }
        if targets.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        for number in 0..BATCH {
            if number % BURST == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            let at = random.below(targets.len() as u64) as usize;
            mutate(&mut random, &targets[at]);
            mutations += 1;
        }
    }
    mutations
}

/// The figure is 1,000,000: `SHMRPC_MUTATIONS=1000000`; `SHMRPC_MUTATION_SEED` repeats a run.
#[test]
fn a_same_uid_peer_truncates_or_scribbles_over_a_region() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let count = number("SHMRPC_MUTATIONS").unwrap_or(50_000);
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number("SHMRPC_MUTATION_SEED").unwrap_or(clock.as_nanos() as u64);
    println!("SHMRPC_MUTATION_SEED={seed}");
    let scene = Scene::new(2);
    let clients: Vec<Connection> = (0..2).map(|_| scene.connect().with_deadline(PATIENCE)).collect();
    let victim = |size: &str| {
        let mut victim = scene.command("scribbled_client");
        victim.arg(size).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut victims = SIZES.map(victim);
    let (done, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    for Target { region, .. } in
        scene.pids().iter().flat_map(|&worker| regions(worker, false, true, |_| true))
    {
        assert!(region.set_len(0).is_err(), "sealed against shrinking");
        assert!(region.set_len(1 << 30).is_err(), "sealed against growing");
    }
    let mutations = std::thread::scope(|scope| {
        // Also when this thread panics.
        let _ends = Ends(&done);
        for client in &clients {
            scope.spawn(|| calls.fetch_add(honest(client, &done), Ordering::Relaxed));
        }
        mutate_all(&scene, &victims, seed, count)
    });
    println!("{mutations} mutations, {calls:?} calls of others, all right");
    victims.iter_mut().for_each(|victim| drop(victim.stdin.take()));
    for (victim, size) in victims.into_iter().zip(SIZES) {
        let output = victim.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("the client with {size} messages: {}", told.trim());
        assert!(output.status.success(), "seed {seed}: the client with {size} messages: {}", output.status);
        let told: serde_json::Value = serde_json::from_str(&told).expect("the victim's tally");
        assert!(told["right"].as_u64().unwrap_or(0) > 0, "seed {seed}: {told}");
        assert!(told["wrong"].is_null(), "seed {seed}: {told}");
        let goes_on = told["right after damage"].as_u64() > told["failed after damage"].as_u64();
        assert!(told["Protocol"].is_null() || goes_on, "seed {seed}: {told}");
    }
    assert!(calls.into_inner() > 0);
    // Whoever comes later is served too.
    for _ in 0..10 {
        pid(&scene.connect()).unwrap();
    }
}
