//! Rows of the fault matrix between workers and clients, each test named after its row. What is waited for comes
//! within a tenth of the patience that is had.

use std::{
    os::unix::process::CommandExt,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use shmrpc::{Door, RpcError, client::Target};

use super::{PATIENCE, Scene, call, pid};

/// The uid of nobody, who must not get anything.
const STRANGER: u32 = 65534;

/// How many descriptors a process has open, and how many bytes of shared regions it has mapped.
fn held(pid: u32) -> (usize, u64) {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a living process").count();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("a living process");
    let regions = maps.lines().filter(|line| line.contains("memfd:shmrpc"));
    let bytes = regions.filter_map(|line| {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        Some(u64::from_str_radix(to, 16).ok()? - u64::from_str_radix(from, 16).ok()?)
    });
    (fds, bytes.sum())
}

#[test]
fn worker_sigkill_mid_call() {
    let mut scene = Scene::new(1);
    let client = scene.connect();
    for _ in 0..10 {
        let victim = scene.pids()[0];
        assert_eq!(pid(&client).unwrap(), victim);
        let hanging = {
            let client = client.clone();
            std::thread::spawn(move || (call(&client, "hang", Door::Json, b"[60000]"), Instant::now()))
        };
        std::thread::sleep(Duration::from_millis(30));
        let killed = Instant::now();
        scene.kill(victim);
        let (outcome, told) = hanging.join().unwrap();
        let error = outcome.unwrap_err();
        assert!(matches!(error, RpcError::WorkerDied { .. }), "{error}");
        let named = format!("worker pid {victim} of torture died while it ran hang");
        assert_eq!(error.to_string(), named);
        // Ten times the bound of 100 ms.
        assert!(told - killed < Duration::from_secs(1), "told after {:?}", told - killed);
        scene.start_worker();
    }
}

/// `SHMRPC_TORTURE_KILLS` asks for more than 60.
#[test]
fn client_sigkill_anywhere() {
    let kills = std::env::var("SHMRPC_TORTURE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(60_u64);
    let scene = Scene::new(1);
    let (worker, steady) = (scene.pids()[0], scene.connect());
    let kill_one = |after: Duration| {
        let mut client = scene.command("torture_client").args(["100000000", "7"]).spawn().unwrap();
        std::thread::sleep(after);
        client.kill().unwrap();
        client.wait().unwrap();
        pid(&steady).unwrap();
    };
    kill_one(Duration::from_millis(100));
    std::thread::sleep(Duration::from_millis(500));
    let before = held(worker);
    for round in 0..kills {
        // From before it has connected until it is in the midst of calls.
        kill_one(Duration::from_micros(500 + round * 7919 % 60_000));
    }
    let until = Instant::now() + PATIENCE;
    while held(worker) > before && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    let after = held(worker);
    assert!(after.0 <= before.0 && after.1 <= before.1, "held {before:?}, after {kills} kills {after:?}");
}

#[test]
fn sigstop_of_a_lock_holder() {
    let scene = Scene::new(2);
    let busy: Vec<Child> = (0..2)
        .map(|seed| {
            let mut client = scene.command("torture_client");
            client.args(["100000000", &seed.to_string()]).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    let steady = scene.connect().with_deadline(Duration::from_secs(1));
    let stopped = |pid: u32, round: u32| {
        // Somewhere in the midst of whatever it does.
        std::thread::sleep(Duration::from_micros(u64::from(round) * 577 % 3000));
        Scene::freeze(pid);
        let service = steady.service();
        let echo = Target::from(service.method("echo_raw").unwrap());
        let mut late = 0;
        for number in 0..50_u32 {
            let data = number.to_le_bytes();
            match steady.call_bytes_blocking(echo, Door::Native, &data) {
                Ok(reply) => assert_eq!(reply.body, data),
                // The one call that the stopped worker had claimed already.
                Err(RpcError::DeadlineExceeded { .. }) => late += 1,
                Err(error) => panic!("{error}"),
            }
        }
        Scene::signal(pid, Signal::SIGCONT);
        late
    };
    for round in 0..12 {
        let late = stopped(scene.pids()[round as usize % 2], round);
        assert!(late <= 1, "{late} calls waited for a stopped worker");
        let late = stopped(busy[round as usize % 2].id(), round);
        assert_eq!(late, 0, "calls waited for a stopped client");
    }
    for mut client in busy {
        client.kill().unwrap();
        client.wait().unwrap();
    }
}

#[test]
fn a_stranger_uid() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can become somebody else");
        return;
    }
    let scene = Scene::new(1);
    let (worker, client) = (scene.pids()[0], scene.connect());
    let as_stranger = |line: String| {
        let mut command = std::process::Command::new("/bin/sh");
        command.arg("-c").arg(line).uid(STRANGER).gid(STRANGER).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap().success()
    };
    assert!(as_stranger("true".into()), "a stranger can run commands");
    let folder = scene.folder.display();
    assert!(!as_stranger(format!("ls {folder}")), "the runtime folder is private");
    assert!(!as_stranger(format!("touch {folder}/squatted")), "nobody else puts names there");
    assert!(!as_stranger(format!("ls /proc/{worker}/fd/")), "regions cannot be had from /proc");
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&scene.folder).unwrap());
    let segment = format!("/dev/shm/shmrpc-directory-{inode:016x}-*");
    assert!(!as_stranger(format!("cat {segment}")), "the directory cannot be read");
    assert!(!as_stranger(format!("echo x >> $(ls {segment})")), "nor written");
    // Nor is a folder taken that a stranger has made.
    let theirs = std::env::temp_dir().join(format!("shmrpc-squatted-{}", std::process::id()));
    assert!(as_stranger(format!("mkdir -m 777 {}", theirs.display())));
    let mut options = shmrpc::ConnectOptions::default();
    options.runtime_dir = Some(theirs.clone());
    assert!(shmrpc::Connection::connect_any("shm://torture", &options).is_err());
    std::fs::remove_dir(&theirs).unwrap();
    pid(&client).unwrap();
}
