//! The size of a pool and the age of its workers, with a real daemon and real workers.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::{
    probe::{AtEnd, call, connect, scene},
    scene::{Daemon, Scene, eventually, lives},
};

/// Calls of several clients, from here until it is told to end; how many there were. None may fail.
fn under_load<T>(
    scene: &Scene,
    method: &str,
    ms: u64,
    clients: usize,
    run: impl FnOnce(&AtomicU64) -> T,
) -> T {
    let (ends, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let connection = connect(scene);
                while !ends.load(Ordering::Relaxed) {
                    call(&connection, method, &json!([ms])).unwrap();
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _end = AtEnd(&ends);
        run(&calls)
    })
}

fn workers(daemon: &Daemon<'_>, count: usize) -> Vec<u32> {
    daemon.eventually(&format!("a pool of {count}"), || {
        let pids = daemon.pids("probe");
        (pids.len() == count && daemon.service("probe")?["status"] == "running").then_some(pids)
    })
}

#[test]
fn a_pool_follows_a_step_of_load_up_and_down_within_its_bounds() {
    let scene = scene(
        "min_proc_num=1\nmax_proc_num=3\nnew_proc_avg_over_secs=1500ms\nkill_proc_avg_over_secs=3s\n\
         wait_until_completed=yes\n",
    );
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let first = daemon.pids("probe");
    under_load(&scene, "burn", 20, 12, |_| {
        workers(&daemon, 3);
        // It stays within its bounds for as long as the load lasts.
        let until = Instant::now() + Duration::from_secs(4);
        while Instant::now() < until {
            assert_eq!(daemon.pids("probe").len(), 3);
            thread::sleep(Duration::from_millis(200));
        }
    });
    assert_eq!(workers(&daemon, 1), first, "the eldest stays");
    let log = daemon.log();
    for change in ["1 → 2 workers: ", "2 → 3 workers: ", "3 → 2 workers: ", "2 → 1 workers: "] {
        assert_eq!(log.matches(change).count(), 1, "{change}\n{log}");
    }
    assert!(log.contains("over 1.5s") && log.contains("% of threads busy over 3s"), "{log}");
    let (_, events) = daemon.request("GET", "/api/v1/logs");
    assert!(events.contains("3 → 2 workers: "), "{events}");
    daemon.stop();
}

#[test]
fn calls_never_fail_while_all_workers_are_replaced_five_times() {
    let scene = scene("min_proc_num=2\nmax_proc_num=2\nautoscale=off\n");
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let mut old = workers(&daemon, 2);
    under_load(&scene, "slow", 2, 4, |calls| {
        for round in 1..=5 {
            daemon.request("POST", "/api/v1/services/probe/restart");
            let done =
                || (daemon.log().matches("rolling restart done: 2 replaced").count() == round).then_some(());
            daemon.eventually("a rolling restart", done);
            let new = workers(&daemon, 2);
            assert!(new.iter().all(|pid| !old.contains(pid)), "{old:?} {new:?}");
            old = new;
        }
        assert!(calls.load(Ordering::Relaxed) > 100);
    });
    daemon.stop();
}

#[test]
fn a_changed_file_and_a_rebuilt_program_roll_in_without_a_failed_call() {
    let scene = scene("autoscale=off\n");
    let built = std::path::PathBuf::from(env!("CARGO_BIN_EXE_shmrpc-service"));
    let built = built.with_file_name("examples").join("probe");
    let copy = scene.path().join("probe");
    std::fs::copy(&built, &copy).unwrap();
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let first = workers(&daemon, 1)[0];
    under_load(&scene, "slow", 1, 2, |_| {
        scene.write("service.ini", &format!("{}env=COLOUR=blue\n", scene.read("service.ini")));
        daemon.signal(Signal::SIGHUP);
        let second = daemon.eventually("a worker with the new environment", || {
            let new = daemon.pids("probe").first().copied().filter(|pid| *pid != first)?;
            let environment = std::fs::read(format!("/proc/{new}/environ")).ok()?;
            environment.split(|&byte| byte == 0).any(|entry| entry == b"COLOUR=blue").then_some(new)
        });
        daemon.eventually("the old worker's end", || (!lives(first)).then_some(()));
        // Another file in its place, as an installer would put it there.
        std::fs::copy(&built, scene.path().join("probe.new")).unwrap();
        std::fs::rename(scene.path().join("probe.new"), &copy).unwrap();
        daemon.signal(Signal::SIGHUP);
        daemon.eventually("a worker of the new program", || {
            daemon.pids("probe").first().copied().filter(|pid| ![first, second].contains(pid))
        });
        daemon.eventually("the second worker's end", || (!lives(second)).then_some(()));
        // Nothing has changed now.
        let third = workers(&daemon, 1);
        daemon.signal(Signal::SIGHUP);
        daemon.eventually("a third reading", || {
            (daemon.log().matches("reading the configuration again").count() == 3).then_some(())
        });
        thread::sleep(Duration::from_millis(500));
        assert_eq!(daemon.pids("probe"), third);
    });
    daemon.stop();
}

#[test]
fn a_successor_that_cannot_start_leaves_the_old_worker_serving() {
    let scene = scene("start_timeout=2s\nautoscale=off\n");
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let old = workers(&daemon, 1);
    let ini = scene.read("service.ini");
    // The daemon describes the program without it; as a worker it cannot write its log.
    scene.write("not_a_folder", "");
    scene.write("service.ini", &ini.replace("log_dir=here", "log_dir=not_a_folder/logs"));
    under_load(&scene, "slow", 1, 2, |_| {
        daemon.signal(Signal::SIGHUP);
        daemon.logs("rolling restart stopped, 1 old ones stay");
    });
    daemon.eventually("the successor's end", || (daemon.pids("probe") == old).then_some(()));
    daemon.status("probe", "running");
    daemon.stop();
}

#[test]
fn a_worker_that_has_answered_its_calls_is_replaced() {
    let scene = scene("max_calls=100\nautoscale=off\n");
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let old = workers(&daemon, 1)[0];
    under_load(&scene, "slow", 1, 2, |_| {
        daemon.logs("calls answered, max_calls is 100");
        daemon.eventually("its end", || (!lives(old)).then_some(()));
    });
    daemon.stop();
}

#[test]
fn what_a_service_requires_runs_before_it_and_a_dead_one_is_reported() {
    let web = "[web monitor]\nport=0\n[defaults]\nstart_secs=300ms\nrestart_jitter=0\n";
    let scene = Scene::new(&format!(
        "{web}[front]\nprogram=/bin/sh -c 'test -e up && exec sleep 1000'\nrequires=db\n\
         [orphan]\nprogram=/bin/sleep 1001\nrequires=dead\n[late]\nprogram=/bin/sleep 1002\nafter=dead\n\
         [dead]\nprogram=/bin/sh -c 'exit 3'\nstart_limit=1\n\
         [db]\nprogram=/bin/sh -c 'touch up; exec sleep 1000'\nstart_secs=2s\n"
    ));
    let mut daemon = scene.start(&[]);
    assert!(daemon.ready().contains("3 of 5 services run"), "{}", daemon.log());
    daemon.status("front", "running");
    daemon.status("late", "running");
    assert_eq!(daemon.service("orphan").unwrap()["status_detail"], "waits for dead, which is fatal");
    daemon.logs("waits for dead, which is fatal");
    // Stopped with it, the requirement is started with it too.
    daemon.request("POST", "/api/v1/services/front/stop");
    daemon.request("POST", "/api/v1/services/db/stop");
    daemon.status("db", "stopped");
    daemon.status("front", "stopped");
    daemon.request("POST", "/api/v1/services/front/start");
    daemon.status("front", "running");
    daemon.status("db", "running");
    daemon.stop();
}

#[test]
fn a_process_gets_its_umask_and_niceness() {
    let scene = Scene::new(
        "[web monitor]\nport=0\n[a]\nprogram=/bin/sh -c 'touch made; exec sleep 1000'\numask=027\nnice=5\n\
         limit_nofile=100\nlimit_core=0\ndirectory=there\nstart_secs=200ms\n",
    );
    std::fs::create_dir(scene.path().join("there")).unwrap();
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let made = eventually("the program's file", || std::fs::metadata(scene.path().join("there/made")).ok());
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&made.permissions()) & 0o777, 0o640);
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pids("a")[0])).unwrap();
    let nice = stat.rsplit(')').next().unwrap().split_whitespace().nth(16).unwrap().to_owned();
    assert_eq!(nice, "5");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pids("a")[0])).unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!((limit("Max open files"), limit("Max core file size")), ("100 100".into(), "0 0".into()));
    daemon.stop();
}
