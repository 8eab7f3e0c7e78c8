//! What clients and workers write down, each a whole line or record in one appending write, so that a process
//! may be killed at any time; and the sums of it.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// The folder of the run.
const FOLDER: &str = "CHAOS_FOLDER";
/// One noted execution: the call's number, the worker's pid, and room.
pub(crate) const NOTE_BYTES: usize = 16;
/// Calls that must not be run twice have this bit in their number.
pub(crate) const ONCE: u64 = 1 << 63;

/// The variable and its value for a process of the run.
pub(crate) fn variable(folder: &Path) -> (&'static str, &Path) {
    (FOLDER, folder)
}

fn folder() -> PathBuf {
    std::env::var_os(FOLDER).expect("the run names its folder").into()
}

fn appending(path: &Path) -> File {
    File::options().create(true).append(true).open(path).expect("the run's folder can be written")
}

/// The file in which workers note executions.
pub(crate) fn open_notes() -> File {
    appending(&folder().join("executions"))
}

/// A client's file.
pub(crate) fn open_tally() -> File {
    appending(&folder().join(format!("tally.{}", std::process::id())))
}

/// Says that something must not have happened. The run ends on it.
pub(crate) fn wrong(text: &str) {
    let line = format!("pid {}: {text}\n", std::process::id());
    let _told_already = appending(&folder().join("wrong")).write_all(line.as_bytes());
}

/// What must not have happened, so far.
pub(crate) fn wrongs(folder: &Path) -> String {
    fs::read_to_string(folder.join("wrong")).unwrap_or_default()
}

/// All that was written down.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    /// Calls by outcome.
    pub(crate) outcomes: BTreeMap<String, u64>,
    /// Workers that were said to have died.
    pub(crate) said_dead: Vec<String>,
    /// The longest that a call took, in milliseconds.
    pub(crate) slowest_ms: u64,
    /// What clients held at rest: pid → (descriptors, mapped bytes of regions), in the order of the lines.
    pub(crate) at_rest: HashMap<u64, Vec<(u64, u64)>>,
}

impl Sums {
    pub(crate) fn read(folder: &Path) -> Self {
        let mut sums = Self::default();
        for entry in fs::read_dir(folder).expect("the run's folder").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(pid) = name.strip_prefix("tally.").and_then(|pid| pid.parse().ok()) else { continue };
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
                sums.add(pid, &line);
            }
        }
        sums
    }

    fn add(&mut self, pid: u64, line: &Value) {
        for (outcome, count) in line["outcomes"].as_object().into_iter().flatten() {
            *self.outcomes.entry(outcome.clone()).or_default() += count.as_u64().unwrap_or(0);
        }
        let dead = line["said_dead"].as_array().into_iter().flatten();
        self.said_dead.extend(dead.filter_map(|worker| worker.as_str().map(str::to_owned)));
        self.slowest_ms = self.slowest_ms.max(line["slowest_ms"].as_u64().unwrap_or(0));
        if let (Some(fds), Some(bytes)) = (line["fds"].as_u64(), line["region_bytes"].as_u64()) {
            self.at_rest.entry(pid).or_default().push((fds, bytes));
        }
    }

    pub(crate) fn calls(&self) -> u64 {
        self.outcomes.values().sum()
    }
}

/// Calls that were run more often than their methods allow, as texts, and how many executions were noted.
pub(crate) fn run_too_often(folder: &Path) -> (Vec<String>, usize) {
    let bytes = fs::read(folder.join("executions")).unwrap_or_default();
    let mut runs: HashMap<u64, Vec<u32>> = HashMap::new();
    for record in bytes.chunks_exact(NOTE_BYTES) {
        let number = u64::from_le_bytes(record[..8].try_into().expect("eight bytes"));
        let pid = u32::from_le_bytes(record[8..12].try_into().expect("four bytes"));
        runs.entry(number).or_default().push(pid);
    }
    let limit = |number: u64| if number & ONCE != 0 { 1 } else { 2 };
    let too_often = runs.iter().filter(|(number, pids)| pids.len() > limit(**number));
    let texts = too_often.map(|(number, pids)| format!("call {number:016x} was run by {pids:?}")).collect();
    (texts, bytes.len() / NOTE_BYTES)
}
