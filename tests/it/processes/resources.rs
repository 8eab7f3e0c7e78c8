//! Rows of the fault matrix about what runs out or cannot be relied on: memory, room in a ring, the wall clock.

use std::{path::PathBuf, process::Command};

use nix::sys::signal::Signal;
use shmrpc::{Door, RpcError, client::Target};

use super::{PATIENCE, Scene, pid};

/// Runs a shell's line in a scene; its status and what it said.
fn shell(scene: &Scene, line: &str) -> (std::process::ExitStatus, String) {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(line).env("SHMRPC_DIR", &scene.folder);
    let output = command.output().expect("a shell");
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn dev_shm_full() {
    let scene = Scene::new(1);
    let program = Scene::program("odd_client");
    // A limit on files is one on regions; who exceeds it is not to be ended by a signal.
    let line = format!("trap '' XFSZ; ulimit -f 4096; exec {} crowded", program.display());
    let (status, said) = shell(&scene, &line);
    assert!(status.success(), "{status}: {said}");
    pid(&scene.connect()).unwrap();
}

/// The directory is the one thing that lies in `/dev/shm` itself.
#[test]
fn dev_shm_full_when_the_first_worker_comes() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can have a /dev/shm of its own");
        return;
    }
    let program = Scene::program("torture_service");
    let mount = "mount -t tmpfs -o size=8k none /dev/shm";
    let mounts = Command::new("unshare").args(["-m", "sh", "-c", mount]).output();
    if !mounts.is_ok_and(|output| output.status.success()) {
        println!("skipped: this system does not let root mount");
        return;
    }
    let scene = Scene::new(0);
    let line = format!("unshare -m sh -c '{mount}; exec {} --serve'", program.display());
    let (status, said) = shell(&scene, &line);
    assert_eq!(status.code(), Some(1), "{status}: {said}");
    assert!(said.contains("no room in /dev/shm for a directory of 32768 bytes"), "{said}");
}

/// Calls that nobody takes fill the rings and nothing else.
#[test]
fn a_slow_consumer() {
    let scene = Scene::new(1);
    let worker = scene.pids()[0];
    let client = scene.connect().with_deadline(PATIENCE);
    assert_eq!(pid(&client).unwrap(), worker);
    let service = client.service();
    let echo = Target::from(service.method("echo_raw").unwrap());
    Scene::freeze(worker);
    let mut begun = Vec::new();
    let refused = loop {
        let data = [begun.len() as u8; 100];
        match client.begin(echo, Door::Native, &data) {
            Ok(pending) => begun.push((pending, data)),
            Err(error) => break error,
        }
        assert!(begun.len() < 100_000, "there is no end to it");
    };
    assert!(matches!(refused, RpcError::Busy(_)), "{refused}");
    assert!(begun.len() > 4000, "only {} calls under way", begun.len());
    let resident = || procfs_resident_kib(std::process::id());
    let before = resident();
    let data = vec![7; 1 << 20];
    for _ in 0..2000 {
        let refused = client.begin(echo, Door::Native, &data).map(drop).unwrap_err();
        assert!(matches!(refused, RpcError::Busy(_)), "{refused}");
    }
    // 2,000 MiB were offered; other tests of this process need some too.
    let grown = resident().saturating_sub(before);
    assert!(grown < 500 << 10, "{grown} KiB more for calls that were refused");
    Scene::signal(worker, Signal::SIGCONT);
    for (pending, data) in begun {
        assert_eq!(pending.wait().unwrap().body, data);
    }
}

fn procfs_resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a living process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// A library that moves the wall clock by a day each time that it is read.
fn moved_clock() -> Option<PathBuf> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/moved_clock.rs");
    let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("moved-{}.so", std::process::id()));
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition=2024", "--crate-type=cdylib", "-Copt-level=1", "-o"]).arg(&library).arg(source);
    rustc.status().ok()?.success().then_some(library)
}

#[test]
fn wall_clock_moved() {
    let library = moved_clock().expect("the compiler that made this test makes a library");
    let scene = Scene::with_preloaded(library.clone(), 1);
    let output = scene.command("odd_client").arg("clock").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    drop(scene);
    std::fs::remove_file(library).unwrap();
}

/// No thread of a client or of a worker waits by the wall clock.
#[test]
fn no_wait_is_by_the_wall_clock() {
    if !Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success()) {
        println!("skipped: there is no strace");
        return;
    }
    let scene = Scene::new(0);
    let trace = |of: &str| scene.folder.with_extension(of);
    let traced = |of: &str, program: &str, argument: &str| {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=futex,clock_nanosleep,ppoll,select", "-o"]).arg(trace(of));
        command.arg(Scene::program(program)).arg(argument).env("SHMRPC_DIR", &scene.folder);
        command
    };
    let mut worker = traced("worker", "torture_service", "--serve").spawn().unwrap();
    let client = scene.connect();
    let served_by = pid(&client).unwrap();
    assert!(traced("client", "odd_client", "sleep").status().unwrap().success());
    drop(client);
    let served_by = nix::unistd::Pid::from_raw(served_by.cast_signed());
    nix::sys::signal::kill(served_by, Signal::SIGTERM).unwrap();
    assert!(worker.wait().unwrap().success());
    for of in ["worker", "client"] {
        let calls = std::fs::read_to_string(trace(of)).unwrap();
        std::fs::remove_file(trace(of)).unwrap();
        assert!(calls.contains("FUTEX_WAIT"), "the {of} has waited");
        // A wait without a time limit, as for the end of a thread, names that clock and does not look at it.
        let timed = |line: &&str| line.contains("CLOCK_REALTIME") && line.contains("tv_sec");
        let by_the_wall: Vec<_> = calls.lines().filter(timed).collect();
        assert!(by_the_wall.is_empty(), "{of}: {by_the_wall:#?}");
    }
}
