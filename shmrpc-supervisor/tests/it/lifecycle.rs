//! Starting, dying, restarting, giving up and stopping.

use std::fs;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::scene::{Scene, eventually, lives};

const WEB: &str = "[web monitor]\nport=0\n[defaults]\nstart_secs=50ms\nrestart_jitter=0\n";

fn end(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}

#[test]
fn services_start_in_order_and_a_stop_leaves_nothing() {
    let scene = Scene::new(&format!(
        "{WEB}[first]\nprogram=/bin/sh -c 'echo first >> order; sleep 1000 & sleep 1000'\nstart_secs=1s\n\
         [second]\nprogram=/bin/sh -c 'echo second >> order; exec sleep 1000'\nmin_proc_num=2\nmax_proc_num=2\n"
    ));
    let mut daemon = scene.start(&[]);
    let line = daemon.ready();
    assert!(
        line.starts_with("shmrpc-service: 2 of 2 services run; dashboard at http://127.0.0.1:"),
        "{line}"
    );
    assert!(line.contains(&daemon.address()) && line.lines().count() == 1, "{line}");
    daemon.status("second", "running");
    eventually("three lines", || (scene.read("order").lines().count() == 3).then_some(()));
    assert_eq!(scene.read("order").lines().next(), Some("first"));
    let pids: Vec<u32> = [daemon.pids("first"), daemon.pids("second")].concat();
    assert_eq!(pids.len(), 3);
    let usage = eventually("a sample", || {
        let service = daemon.service("first").unwrap();
        service["usage"]["rss_bytes"].as_u64().filter(|rss| *rss > 0)
    });
    assert!(usage > 100_000, "{usage}");
    daemon.stop();
    assert!(!pids.into_iter().any(lives));
    let left: Vec<_> = fs::read_dir(scene.path().join("run")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_killed_worker_is_replaced() {
    let scene = Scene::new(&format!("{WEB}[sleeper]\nprogram=/bin/sleep 1000\n"));
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let old = daemon.pids("sleeper")[0];
    end(old, Signal::SIGKILL);
    daemon.logs("was killed by SIGKILL; next start in 100ms");
    let new = eventually("a new worker", || {
        let service = daemon.status("sleeper", "running");
        assert!(service["restarts"].as_u64().unwrap() <= 1);
        daemon.pids("sleeper").first().copied().filter(|&pid| pid != old)
    });
    assert!(lives(new));
    daemon.stop();
    assert!(!lives(new));
}

#[test]
fn a_program_that_is_not_a_program_any_more_fails_like_a_crash() {
    let scene = Scene::new(&format!("{WEB}restart_delay=10ms\nstart_limit=2\n[gone]\nprogram=./gone\n"));
    // It has the execute permission, and an interpreter that does not exist.
    scene.script("gone", "#!/no/such/interpreter\n");
    let mut daemon = scene.start(&[]);
    let gone = daemon.status("gone", "fatal");
    assert!(gone["status_detail"].as_str().unwrap().contains("could not be started"), "{gone}");
    daemon.stop();
}

#[test]
fn a_program_may_end_by_itself() {
    let scene = Scene::new(&format!("{WEB}[once]\nprogram=/bin/sh -c 'sleep 0.1; echo done'\n"));
    let mut daemon = scene.start(&[]);
    daemon.status("once", "exited");
    daemon.stop();
}

#[test]
fn who_ignores_the_stop_signal_is_killed_with_its_whole_group() {
    let scene = Scene::new(&format!(
        "{WEB}stop_timeout=200ms\n[stubborn]\nprogram=/bin/sh -c 'trap \"\" TERM; sleep 1000 & echo $! > child; wait; wait; sleep 1000'\n"
    ));
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let pid = daemon.pids("stubborn")[0];
    let child = eventually("the child's pid", || scene.read("child").trim().parse().ok());
    daemon.stop();
    assert!(daemon.log().contains("did not stop within 200ms: killed"), "{}", daemon.log());
    assert!(!lives(pid) && !lives(child));
}

#[test]
fn a_second_interrupt_kills() {
    let scene = Scene::new(&format!(
        "{WEB}stop_timeout=1h\n[stubborn]\nprogram=/bin/sh -c 'trap \"\" TERM; echo up > up; while :; do sleep 0.1; done'\n"
    ));
    let mut daemon = scene.start(&[]);
    daemon.ready();
    eventually("the trap", || (!scene.read("up").is_empty()).then_some(()));
    let pid = daemon.pids("stubborn")[0];
    daemon.signal(Signal::SIGINT);
    daemon.status("stubborn", "stopping");
    daemon.signal(Signal::SIGINT);
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(!lives(pid));
}

#[test]
fn a_subset_of_the_services_can_be_named() {
    let scene = Scene::new(&format!("{WEB}[a]\nprogram=/bin/sleep 1000\n[b]\nprogram=/bin/sleep 1000\n"));
    let mut daemon = scene.start(&["b"]);
    assert!(daemon.ready().contains("1 of 1 services run"));
    assert!(daemon.service("a").is_none() && daemon.service("b").is_some());
    daemon.stop();
}

/// A tree as the kernel's, in which files do nothing.
fn cgroup_tree(scene: &Scene, controllers: &str) {
    std::fs::create_dir(scene.path().join("cgroups")).unwrap();
    scene.write("cgroups/cgroup.controllers", controllers);
    scene.write("cgroups/cgroup.subtree_control", "");
}

#[test]
fn a_control_group_limits_a_service_and_says_why_it_was_killed() {
    let scene = Scene::new(
        "[web monitor]\nport=0\n[defaults]\nstart_secs=20ms\nrestart_delay=10ms\nrestart_jitter=0\ncgroup_root=cgroups\n\
         [hungry]\nprogram=/bin/sleep 1000\ncgroup_memory_max=64M\ncgroup_pids_max=9\n[free]\nprogram=/bin/sleep 1001\n",
    );
    cgroup_tree(&scene, "cpu memory pids");
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let pid = daemon.pids("hungry")[0];
    assert_eq!(scene.read("cgroups/shmrpc-hungry/memory.max"), "67108864");
    assert_eq!(scene.read("cgroups/shmrpc-hungry/pids.max"), "9");
    assert_eq!(scene.read("cgroups/shmrpc-hungry/cgroup.procs"), pid.to_string());
    assert!(!scene.path().join("cgroups/shmrpc-free").exists());
    // What the kernel does when there is no more.
    scene.write("cgroups/shmrpc-hungry/memory.events", "oom 1\noom_kill 1\n");
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
    daemon.logs("was killed by the kernel: the service had more memory than cgroup_memory_max");
    daemon.eventually("its successor in the group", || {
        let successor = *daemon.pids("hungry").first()?;
        (successor != pid && scene.read("cgroups/shmrpc-hungry/cgroup.procs") == successor.to_string())
            .then_some(())
    });
    daemon.stop();
}

#[test]
fn limits_that_cannot_be_set_are_told_or_nothing_is_started() {
    let scene = Scene::new(
        "[web monitor]\nport=0\n[defaults]\nstart_secs=20ms\nrestart_delay=10ms\nstart_limit=2\ncgroup_root=cgroups\n\
         cgroup_memory_max=64M\n[lenient]\nprogram=/bin/sleep 1000\n[strict]\nprogram=/bin/sleep 1001\ncgroup_required=True\n",
    );
    cgroup_tree(&scene, "cpu");
    let mut daemon = scene.start(&[]);
    daemon.status("lenient", "running");
    daemon.logs("no limits are set: ");
    let strict = daemon.status("strict", "fatal");
    let detail = strict["status_detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("does not give its groups the controller memory"), "{detail}");
    daemon.stop();
}
