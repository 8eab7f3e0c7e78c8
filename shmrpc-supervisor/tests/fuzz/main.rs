//! Every parser of a peer's bytes, against generated inputs: right ones that were damaged, and noise. The parsers
//! and what they check are `fuzzing` of each crate; the same ones are run by the coverage-guided fuzzer in
//! `fuzz/`, whose corpus is tried here too.
//!
//! `SHMRPC_FUZZ_INPUTS` sets how many inputs each parser gets (20,000 otherwise), `SHMRPC_FUZZ_SEED` which.

mod bombs;
mod budget;
mod mutate;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use shmrpc_supervisor::fuzzing::{Target, every_target};

use crate::mutate::Mutator;

/// What a parser may allocate at any moment beside its input.
const BUDGET_BYTES: usize = 32 << 20;
/// An input that takes longer has no end.
const PATIENCE: Duration = Duration::from_secs(30);
const DEFAULT_INPUTS: u64 = 20_000;
const DEFAULT_SEED: u64 = 0x5eed;

macro_rules! campaigns {
    ($($test:ident: $target:literal)*) => {
        const TESTED: &[&str] = &[$($target),*];

        $(
            #[test]
            fn $test() {
                campaign($target);
            }
        )*
    };
}

campaigns! {
    malformed_frames: "tcp_frames"
    handshake: "handshake"
    snappy: "snappy"
    session: "session"
    endpoint: "endpoint"
    json: "json"
    msgpack: "msgpack"
    bincode: "bincode"
    raw: "raw"
    channel: "channel"
    board: "board"
    arena: "arena"
    counters: "counters"
    attach: "attach"
    link_message: "link_message"
    directory: "directory"
    admission: "admission"
    log_line: "log_line"
    page: "page"
    ini: "ini"
    output_lines: "output_lines"
    describe: "describe"
}

#[test]
fn every_target_has_its_test_and_its_corpus() {
    let write = std::env::var_os("SHMRPC_FUZZ_WRITE_SEEDS").is_some();
    for target in every_target() {
        if write {
            write_seeds(&target);
        }
        assert!(TESTED.contains(&target.name), "{} is not tested", target.name);
        assert!(!corpus(target.name).is_empty(), "{} has no corpus; see CONTRIBUTING.md", target.name);
    }
    assert_eq!(TESTED.len(), every_target().len());
}

/// Writes a target's seeds to where the fuzzer looks for them.
fn write_seeds(target: &Target) {
    let folder = corpus_folder(target.name);
    fs::create_dir_all(&folder).unwrap();
    for (number, seed) in (target.seeds)().into_iter().enumerate() {
        fs::write(folder.join(format!("seed-{number:02}")), seed).unwrap();
    }
}

fn corpus_folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name)
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(corpus_folder(name)).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

fn campaign(name: &str) {
    let target = every_target().into_iter().find(|target| target.name == name).expect("a known target");
    let (inputs, seed) =
        (number("SHMRPC_FUZZ_INPUTS", DEFAULT_INPUTS), number("SHMRPC_FUZZ_SEED", DEFAULT_SEED));
    let mut seeds = (target.seeds)();
    seeds.extend(corpus(name));
    let start = Instant::now();
    let watch = Watch::start(target.name);
    let mut most = (0, 0);
    for input in &seeds {
        most = most.max(try_one(&target, input, 0));
    }
    let mutator = Mutator::new(seeds);
    for index in 1..=inputs {
        watch.at(index);
        most = most.max(try_one(&target, &mutator.input(seed, index), index));
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{name}: {inputs} inputs of seed {seed} in {seconds:.1} s; at most {} KiB, for {} bytes",
        most.0 >> 10,
        most.1
    );
}

/// The most that was allocated, and the input's length.
fn try_one(target: &Target, input: &[u8], index: u64) -> (usize, usize) {
    let (outcome, peak_bytes) =
        budget::peak_during(|| catch_unwind(AssertUnwindSafe(|| (target.run)(input))));
    let fault = match outcome {
        Ok(()) if peak_bytes <= BUDGET_BYTES + input.len() => return (peak_bytes, input.len()),
        Ok(()) => Box::new(format!("{peak_bytes} bytes allocated for {}", input.len())) as Box<_>,
        Err(panic) => panic,
    };
    let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
    eprintln!("{}: input {index} of {} bytes, peak of {peak_bytes} bytes: {hex}", target.name, input.len());
    resume_unwind(fault);
}

/// Ends the process when one input takes for ever, and says which it was.
struct Watch {
    index: Arc<AtomicU64>,
}

impl Watch {
    fn start(name: &'static str) -> Self {
        let index = Arc::new(AtomicU64::new(0));
        let watched = Arc::downgrade(&index);
        thread::spawn(move || {
            let (mut last, mut since) = (u64::MAX, Instant::now());
            while let Some(index) = watched.upgrade() {
                let now = index.load(Ordering::Relaxed);
                drop(index);
                if now != last {
                    (last, since) = (now, Instant::now());
                } else if since.elapsed() > PATIENCE {
                    eprintln!("{name}: input {now} takes longer than {PATIENCE:?}");
                    std::process::abort();
                }
                thread::sleep(Duration::from_millis(200));
            }
        });
        Self { index }
    }

    fn at(&self, index: u64) {
        self.index.store(index, Ordering::Relaxed);
    }
}
