//! Locks whose makers, holders and waiters die. The lock is had by the next, who is told when its holder has died;
//! and nothing is left in `/dev/shm`.

use std::time::Instant;

use shmrpc::{Acquired, HybridLock, LockError, LockMode};

use crate::{
    HANG,
    clients::await_line,
    kills_per_window,
    scene::{Scene, await_death},
    tally::Tally,
    windows::{self, Part, Window},
};

pub(crate) fn kill_in_every_window() {
    let mut tally = Tally::default();
    let scene = Scene::new();
    for window in windows::of(&[Part::Locks, Part::Waits, Part::Inherits]) {
        for round in 0..kills_per_window() {
            let pass = 1 + round * 7 % window.passes;
            let name = format!("shmrpc_kills_{}_{}_{round}", std::process::id(), window.name);
            let first = HybridLock::new(&name, LockMode::CREATE_NEW_EXCLUSIVE, 1, 0o600).expect("a new lock");
            match window.part {
                Part::Locks => {
                    let mut victim = scene.client(&["locks", &name], Some((window, pass)));
                    await_death(&mut victim, window, pass);
                }
                Part::Waits => waits(&scene, &name, window, pass),
                _ => inherits(&scene, &name, window, pass),
            }
            let began = Instant::now();
            let lock = HybridLock::new(&name, LockMode::CONNECT_OR_CREATE, 1, 0o600).expect("the lock");
            let how = lock.lock(HANG).expect("the dead give way");
            tally.note(window, began.elapsed(), 0, 0);
            let died_with_it = ["lock.taken", "lock.recovered"].contains(&window.name);
            let wanted = if died_with_it { Acquired::Recovered } else { Acquired::Clean };
            assert_eq!(how, wanted, "{}", window.name);
            lock.unlock().expect("it is ours");
            // A new one sweeps what its maker has left aside.
            let lock = HybridLock::new(&name, LockMode::CREATE_NEW_OVERWRITE, 1, 0o600).expect("a new one");
            lock.unlink().expect("it is named so");
            assert_eq!(left(&name), Vec::<String>::new(), "{}", window.name);
            // Whoever still has the one that was there before is told so, even if its replacer died over it.
            let told = first.lock(HANG).expect_err("another one has its name");
            assert!(matches!(told, LockError::Replaced { .. }), "{}: {told}", window.name);
        }
    }
    tally.print("a lock");
}

/// The victim waits for a lock that this process has, and gives back now and then.
fn waits(scene: &Scene, name: &str, window: &'static Window, pass: u32) {
    let lock = HybridLock::new(name, LockMode::CONNECT_TO_EXISTING, 1, 0o600).expect("the lock");
    lock.lock(HANG).expect("nobody has it");
    let mut victim = scene.client(&["waits", name], Some((window, pass)));
    await_line(&mut victim, "waiting");
    await_death(&mut victim, window, pass);
    lock.unlock().expect("it is ours");
}

/// The victim takes a lock from a holder that was killed.
fn inherits(scene: &Scene, name: &str, window: &'static Window, pass: u32) {
    let holder = Window { name: "lock.taken", ..*window };
    let mut first = scene.client(&["waits", name], Some((&holder, 1)));
    await_death(&mut first, &holder, 1);
    let mut victim = scene.client(&["waits", name], Some((window, pass)));
    await_death(&mut victim, window, pass);
}

/// What is in `/dev/shm` of that lock, or of one that a dead process was making; other tests make locks too.
fn left(name: &str) -> Vec<String> {
    let names = std::fs::read_dir("/dev/shm").expect("shared memory").flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let of_the_dead = |file: &str| {
        let owner = file.strip_prefix(".shmlock.").and_then(|rest| rest.split('.').nth(1));
        let pid = owner.and_then(|word| u64::from_str_radix(word, 16).ok()).map(|word| word & 0x3f_ffff);
        pid.is_some_and(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists())
    };
    names.filter(|file| file.contains(name) || of_the_dead(file)).collect()
}
