//! What a peer can see from outside: descriptors and regions of a process, the words of a board, and the entries of
//! the service directory. The layouts are those of docs/memory-model.md.

use std::{
    collections::HashSet,
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

use serde_json::Value;

/// The table of workers on a board, and that of channels.
const WORKERS: (u64, usize) = (384, 64);
const CHANNELS: (u64, usize) = (1408, 4096);
const ENTRY_BYTES: usize = 512;

/// How many descriptors a process has open, and how many bytes of shared regions it has mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) fds: usize,
    pub(crate) mapped_bytes: u64,
}

impl Held {
    pub(crate) fn by(pid: u32) -> Self {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).expect("a living process").count();
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("a living process");
        let regions = maps.lines().filter(|line| line.contains("memfd:shmrpc"));
        let bytes = regions.filter_map(|line| {
            let (from, to) = line.split(' ').next()?.split_once('-')?;
            Some(u64::from_str_radix(to, 16).ok()? - u64::from_str_radix(from, 16).ok()?)
        });
        Self { fds, mapped_bytes: bytes.sum() }
    }

    pub(crate) fn at_most(self, other: Self) -> bool {
        self.fds <= other.fds && self.mapped_bytes <= other.mapped_bytes
    }
}

/// How many indices and channel numbers are taken on the board of a worker.
pub(crate) fn taken_on_board(worker: u32) -> (usize, usize) {
    (taken(worker, WORKERS).len(), channels_on_board(worker).len())
}

/// The channels that have numbers on the board of a worker.
pub(crate) fn channels_on_board(worker: u32) -> HashSet<[u8; 8]> {
    taken(worker, CHANNELS)
}

fn taken(worker: u32, (at, words): (u64, usize)) -> HashSet<[u8; 8]> {
    let board = fs::read_dir(format!("/proc/{worker}/fd")).expect("a living worker").flatten().find(|fd| {
        fs::read_link(fd.path()).is_ok_and(|target| target.to_string_lossy().contains("memfd:shmrpc-board"))
    });
    let board = File::open(board.expect("a worker has a board").path()).expect("our own user's");
    let mut bytes = vec![0; words * 8];
    board.read_exact_at(&mut bytes, at).expect("a whole board");
    let words = bytes.chunks_exact(8).map(|word| word.try_into().expect("eight bytes"));
    words.filter(|word| *word != [0; 8]).collect()
}

/// Who is listed in the directory of a folder. Torn entries are nobody's.
pub(crate) fn listed(folder: &Path) -> Vec<Value> {
    let Ok(name) = fs::read_link(folder.join("directory")) else { return Vec::new() };
    let bytes = fs::read(Path::new("/dev/shm").join(name)).unwrap_or_default();
    let entries = bytes.chunks_exact(ENTRY_BYTES).filter_map(|slot| {
        let len = u32::from_le_bytes(slot[..4].try_into().ok()?) as usize;
        serde_json::from_slice(slot.get(12..12 + len)?).ok()
    });
    entries.collect()
}

/// The pid of an entry.
pub(crate) fn pid_of(entry: &Value) -> u32 {
    entry["process"]["pid"].as_u64().and_then(|pid| pid.try_into().ok()).unwrap_or(0)
}

/// What the directory of a folder is called in `/dev/shm`, up to its random part.
pub(crate) fn segment_prefix(folder: &Path) -> String {
    format!("shmrpc-directory-{:016x}-", fs::metadata(folder).expect("the folder is there").ino())
}

/// What lies about in a folder and in `/dev/shm` that belongs to nobody of `living`.
pub(crate) fn litter(folder: &Path, living: &[u32]) -> Vec<String> {
    let names = |folder: &Path| {
        let names = fs::read_dir(folder).into_iter().flatten().flatten();
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let mut litter = Vec::new();
    let entries = listed(folder);
    let dead = entries.iter().filter(|entry| !living.contains(&pid_of(entry)));
    litter.extend(dead.map(|entry| format!("an entry of pid {}, {}", pid_of(entry), entry["role"])));
    let linked = fs::read_link(folder.join("directory")).ok();
    for name in names(folder) {
        let of_the_living = name == "directory"
            || name
                .strip_suffix(".sock")
                .is_some_and(|node| entries.iter().any(|entry| entry["node"] == node));
        if !of_the_living {
            litter.push(format!("{name} in the folder"));
        }
    }
    let prefix = segment_prefix(folder);
    let segments = names(Path::new("/dev/shm")).into_iter().filter(|name| name.starts_with(&prefix));
    let stray = segments.filter(|name| linked.as_deref() != Some(Path::new(name)));
    litter.extend(stray.map(|name| format!("/dev/shm/{name}")));
    litter
}
