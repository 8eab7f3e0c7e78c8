//! Programs that run as another user than the daemon: who they are then, and what is open to them. Only root can have
//! that done.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use nix::{sys::signal::Signal, unistd::User};

use crate::{
    probe,
    scene::{Scene, eventually, free_port, lives, texts},
};

/// A group that nobody is in, and that need not have a name.
const GROUP: u32 = 54_242;

fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        println!("SKIPPED: only root runs programs as somebody else");
    }
    is_root
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A line of `/proc/PID/status`, in words.
fn status_of(pid: u32, name: &str) -> Vec<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().map(|word| word.parse().unwrap()).collect()
}

/// It has none of root's rights, cannot enter the runtime folder, and calls others over TCP with their secret.
#[test]
fn a_program_runs_as_its_user_and_is_outside() {
    if !is_root() {
        return;
    }
    let nobody = User::from_name("nobody").unwrap().expect("every system has nobody").uid.as_raw();
    let (own, known) = (free_port(), free_port());
    let scene = probe::scene(&format!(
        "tcp_bind=127.0.0.1\nport={own}\n\
         [Probe:known]\nimport_from=probe\ntcp_bind=127.0.0.1\nport={known}\ntcp_secret_file=secret\n\
         [client]\nprogram=./client\nuser=nobody\ngroup={GROUP}\nstart_secs=50ms\n"
    ));
    allow(scene.path(), 0o711);
    allow(&scene.write("secret", "what only friends know"), 0o600);
    fs::copy(env!("CARGO_BIN_EXE_shmrpc"), scene.path().join("shmrpc")).unwrap();
    scene.script(
        "client",
        &format!(
            "#!/bin/sh\n\
             ls \"$SHMRPC_DIR\" > /dev/null 2>&1 && echo in || echo out\n\
             ./shmrpc call shm://probe add 2 3 2>&1\n\
             ./shmrpc call tcp://127.0.0.1:{own} add 2 3 2>&1\n\
             SHMRPC_SECRET='what only friends know' ./shmrpc call tcp://127.0.0.1:{known} add 2 3 2>&1\n\
             echo over\n\
             exec sleep 1000\n"
        ),
    );
    let mut first = scene.start(&[]);
    assert!(first.ready().contains("3 of 3 services run"));
    let pid = first.pids("client")[0];
    let told = eventually("the end of its calls", || {
        let told = scene.read("here/client/client_log.stdout");
        told.ends_with("over\n").then_some(told)
    });
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told[0], "out", "{told:?}");
    assert!(told[1].contains("belongs to") || told[1].contains("denied"), "{told:?}");
    assert!(told[2].contains(&format!("user id {nobody} is not allowed here")), "{told:?}");
    assert_eq!(told[3], "5", "{told:?}");
    assert_eq!(status_of(pid, "Uid:"), [nobody; 4]);
    assert_eq!(status_of(pid, "Gid:"), [GROUP; 4]);
    assert_eq!(status_of(pid, "Groups:"), [] as [u32; 0]);
    // A daemon that is killed leaves it behind; the next one ends it all the same.
    first.signal(Signal::SIGKILL);
    first.wait();
    assert!(lives(pid));
    let mut second = scene.start(&[]);
    second.status("client", "running");
    assert!(!lives(pid), "{}", second.log());
    assert!(second.log().contains("ended what an earlier daemon had left behind"), "{}", second.log());
    let again = second.pids("client")[0];
    assert_eq!(status_of(again, "Uid:"), [nobody; 4]);
    second.stop();
    assert!(!lives(again));
    probe::nothing_left(&scene);
}

/// A worker could not enter the folder in which its callers are; a user without a group would be in the daemon's.
#[test]
fn what_could_not_work_is_refused() {
    let scene = Scene::new(
        "[Probe]\nimport_from=./probe\nuser=0\n[Probe:eu]\nimport_from=./probe\nport=1\ngroup=0\n\
         [alone]\nprogram=/bin/true\nuser=54243\n",
    );
    let output = scene.run(&["--check"], &[]);
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    for part in [
        "service.ini:1: [Probe] user: workers run as the daemon's own user; accepted: with program alone",
        "service.ini:4: [Probe:eu] group: workers run as the daemon's own user",
        "service.ini:10: [alone] user: nobody of that number is known here, so that a group must be named too",
    ] {
        assert!(stderr.contains(part), "no {part:?} in\n{stderr}");
    }
}
