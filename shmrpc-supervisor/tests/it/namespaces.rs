//! As between containers: a daemon with its workers and a client in namespaces of their own, which share nothing but the
//! runtime folder.

use std::{fs, process::Command};

use crate::probe;

/// What each side has for itself: pids, `/proc`, network, System V and POSIX objects, `/dev/shm`.
const APART: &str = "unshare --pid --fork --kill-child --mount-proc --net --ipc --mount sh -ec";

#[test]
fn client_and_worker_in_containers_of_their_own_share_memory() {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED: only root makes namespaces");
        return;
    }
    let scene = probe::scene("orphan_timeout=5s\n");
    fs::create_dir(scene.path().join("run")).unwrap();
    fs::write(scene.path().join("big"), vec![7; 3 << 20]).unwrap();
    let (service, shmrpc) = (env!("CARGO_BIN_EXE_shmrpc-service"), env!("CARGO_BIN_EXE_shmrpc"));
    // The loopback device is down there, and needed for the dashboard's port alone.
    scene.write(
        "daemon.sh",
        &format!(
            "mount -t tmpfs none /dev/shm\n\
             echo 1 > /proc/sys/net/ipv4/ip_nonlocal_bind\n\
             exec {service} service.ini > daemon.out 2> daemon.log\n"
        ),
    );
    scene.write(
        "client.sh",
        &format!(
            "mount -t tmpfs none /dev/shm\n\
             tries=0\n\
             until {shmrpc} call shm://probe add 2 3; do\n\
             tries=$((tries + 1)); [ $tries -lt 600 ] || exit 9; sleep 0.1\n\
             done 2> /dev/null\n\
             {shmrpc} call shm://probe echo --raw big | cmp - big && echo same\n\
             {shmrpc} status --running > /dev/null && echo running\n\
             ls -A /dev/shm\n\
             {shmrpc} shutdown\n"
        ),
    );
    // The folder is mounted for all that follow, and nowhere else.
    let play = format!(
        "mount -t tmpfs -o mode=700 none run\n\
         {APART} '. ./daemon.sh' &\n\
         trap 'kill -9 $! 2> /dev/null || true' EXIT\n\
         {APART} '. ./client.sh'\n\
         wait $!\n\
         ls -A run\n"
    );
    let output = Command::new("timeout")
        .args(["-k", "5", "120", "unshare", "--mount", "--propagation", "private", "sh", "-ec", &play])
        .current_dir(scene.path())
        .env("SHMRPC_DIR", scene.path().join("run"))
        .env("RUST_LOG", "info")
        .output()
        .unwrap();
    let told = format!("{output:?}\n{}", scene.read("daemon.log"));
    assert!(output.status.success(), "{told}");
    // Nothing was in the client's /dev/shm, and nothing is left in the folder.
    assert_eq!(String::from_utf8_lossy(&output.stdout), "5\nsame\nrunning\n", "{told}");
}
