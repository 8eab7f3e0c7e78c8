//! The verdict on a run: what was written down is added up and compared with what was done, and whatever is left
//! is looked for. Says it all before it fails.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use crate::{
    cast::Cast,
    ledger::{self, Sums},
};

/// Descriptors and mapped bytes that a client may hold at the end beyond what it held at the beginning: arenas
/// grow with what is in flight, not with time.
const MORE_FDS: u64 = 40;
const MORE_REGION_BYTES: u64 = 256 << 20;

/// To be given when everybody has ended.
pub(crate) fn give(cast: &Cast, seed: u64) {
    let folder = cast.folder();
    let sums = Sums::read(folder);
    let (too_often, executions) = ledger::run_too_often(folder);
    let calls = sums.calls();
    println!("chaos: {calls} calls, the slowest took {} ms: {:?}", sums.slowest_ms, sums.outcomes);
    println!("chaos: {executions} executions noted, {} too often", too_often.len());
    for said in sums.at_rest.values() {
        println!("chaos: a steady client held (descriptors, bytes) {said:?}");
    }
    let left = left(cast);
    println!("chaos: left over: {}", if left.is_empty() { "nothing".to_owned() } else { left.join(", ") });
    let wrongs = ledger::wrongs(folder);
    assert!(wrongs.is_empty(), "seed {seed}: {wrongs}");
    assert!(too_often.is_empty(), "seed {seed}: {too_often:?}");
    assert!(left.is_empty(), "seed {seed}: left over: {left:?}");
    assert!(sums.outcomes.get("right").is_some_and(|right| *right > 0), "seed {seed}: nobody was answered");
    let killed: Vec<String> = cast.killed.iter().map(|pid| format!("pid {pid} ")).collect();
    let was_killed = |said: &str| killed.iter().any(|pid| said.starts_with(pid));
    let ended: Vec<&String> = sums.said_dead.iter().filter(|said| !was_killed(said)).collect();
    assert!(ended.is_empty(), "seed {seed}: said to have died, but never killed: {ended:?}");
    for said in sums.at_rest.values().filter(|said| said.len() > 1) {
        let (before, after) = (said[0], said[said.len() - 1]);
        assert!(after.0 <= before.0 + MORE_FDS, "seed {seed}: descriptors leak: {said:?}");
        assert!(after.1 <= before.1 + MORE_REGION_BYTES, "seed {seed}: memory leaks: {said:?}");
    }
}

/// Processes, and names in the runtime folder and in /dev/shm, that should not be there any more.
fn left(cast: &Cast) -> Vec<String> {
    let mut left: Vec<String> =
        cast.everybody().iter().map(|actor| format!("process {}", actor.pid)).collect();
    let run = cast.folder().join("run");
    left.extend(names(&run).into_iter().map(|name| format!("run/{name}")));
    let inode = fs::metadata(&run).map_or(0, |meta| meta.ino());
    let ours = format!("shmrpc-directory-{inode:016x}-");
    let segments = names(Path::new("/dev/shm")).into_iter().filter(|name| name.starts_with(&ours));
    left.extend(segments.map(|name| format!("/dev/shm/{name}")));
    left
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
