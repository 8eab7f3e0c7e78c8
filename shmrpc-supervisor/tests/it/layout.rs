//! Programs whose shared memory has another layout version, as those of another release have: the same sources, built
//! with a feature.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use shmrpc::observe::LAYOUT_VERSION;

use crate::{
    cargo::cargo,
    probe::{AtEnd, call, connect, end, nothing_left, scene},
    scene::{Scene, eventually, free_port, lives, texts},
};

/// The version of those programs.
const OTHER: u32 = 1_000_000 + LAYOUT_VERSION;

/// One of the programs; they are built apart from everything else, because of the feature.
fn other(program: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let target = test.ancestors().nth(3).expect("tests lie in target/PROFILE/deps").join("kill-points");
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/victim/Cargo.toml");
        let mut build = cargo();
        build.args(["build", "--quiet", "--features", "other-layout", "--bin", "other-probe"]);
        build.args(["--bin", "other-client", "--manifest-path", manifest, "--target-dir"]).arg(&target);
        assert!(build.status().unwrap().success(), "programs of another layout cannot be built");
        target.join("debug")
    });
    folder.join(program)
}

/// A process of the other layout; killed if it is still there.
struct Other(Child);

impl Other {
    fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn ends(&mut self) -> Option<i32> {
        eventually("its end", || self.0.try_wait().unwrap()).code()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A worker as a daemon of the other release would have left it behind.
fn left_behind(scene: &Scene) -> Other {
    let run = scene.path().join("run");
    let config = json!({
        "struct_name": "Probe", "service": "probe", "port": 5999, "runtime_dir": run, "log_dir": null, "threads": 2,
        "tcp_listener_fd": null, "output_read_fds": null, "force_insecure_serialisation": false,
        "tcp_secret_file": null, "tcp_allow_remote": false, "tcp_tls": {}, "tcp_limits": {},
        "orphan_timeout": null, "drain_timeout": { "secs": 10, "nanos": 0 },
    });
    let mut command = Command::new(other("other-probe"));
    command
        .env("SHMRPC_DIR", &run)
        .env("SHMRPC_SUPERVISED", "1/probe/1")
        .env("SHMRPC_WORKER", config.to_string());
    Other::spawn(command.process_group(0).stdin(Stdio::null()))
}

/// A client that calls in several ways until it is told to end.
struct OtherClient {
    process: Other,
    output: BufReader<ChildStdout>,
}

impl OtherClient {
    fn start(scene: &Scene, endpoints: &str) -> Self {
        let mut command = Command::new(other("other-client"));
        command.arg(endpoints).env("SHMRPC_DIR", scene.path().join("run"));
        let mut process = Other::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut output = BufReader::new(process.0.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "connected\n");
        Self { process, output }
    }

    /// Its exit code and its last words.
    fn finish(mut self) -> (Option<i32>, String) {
        drop(self.process.0.stdin.take());
        let mut said = String::new();
        self.output.read_to_string(&mut said).unwrap();
        (self.process.ends(), said)
    }
}

fn services(scene: &Scene) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shmrpc"));
    let output = command.arg("services").env("SHMRPC_DIR", scene.path().join("run")).output().unwrap();
    let (stdout, stderr) = texts(&output);
    stdout + &stderr
}

/// The daemon and its program are replaced by those of another release: clients of the old one call on.
#[test]
fn a_new_layout_version_moves_clients_without_a_lost_call() {
    let port = free_port();
    let scene = scene(&format!("min_proc_num=2\nmax_proc_num=2\ntcp_bind=127.0.0.1\nport={port}\n"));
    let mut old = [left_behind(&scene), left_behind(&scene)];
    let pids = old.each_ref().map(Other::pid);
    let met =
        |pid: u32| services(&scene).contains(&format!("pid {pid} serves probe, but its shared memory has"));
    eventually("both workers", || pids.into_iter().all(met).then_some(()));
    let clients: Vec<OtherClient> =
        (0..2).map(|_| OtherClient::start(&scene, &format!("shm://probe,tcp://127.0.0.1:{port}"))).collect();
    let bound = OtherClient::start(&scene, "shm://probe");

    let mut daemon = scene.start(&[]);
    daemon.ready();
    let layouts = format!("its shared memory has layout version {OTHER}, the daemon's {LAYOUT_VERSION}");
    assert!(daemon.log().contains(&format!("{layouts}: it cannot be adopted")), "{}", daemon.log());
    let new = daemon.pids("probe");
    assert!(new.len() == 2 && new.iter().all(|pid| !pids.contains(pid)), "{new:?}");
    for worker in &mut old {
        assert_eq!(worker.ends(), Some(0), "drained, as it was asked to");
    }
    // Clients of the new release call the new workers over shared memory meanwhile.
    let ours = connect(&scene);
    assert!(new.contains(&u32::try_from(call(&ours, "pid", &json!([])).unwrap().as_u64().unwrap()).unwrap()));

    let (code, said) = bound.finish();
    assert_eq!(code, Some(1), "{said}");
    let versions = format!("its shared memory has layout version {LAYOUT_VERSION}, ours has {OTHER}");
    assert!(said.contains(&versions), "{said}");
    let mut late = Command::new(other("other-client"));
    late.arg("shm://probe").env("SHMRPC_DIR", scene.path().join("run")).stdin(Stdio::null());
    let (said, _) = texts(&late.output().unwrap());
    assert!(said.contains(&versions) && said.contains("refused the connection"), "{said}");

    // Long enough for each to have called the new workers.
    let calls =
        |daemon: &crate::scene::Daemon<'_>| daemon.service("probe").unwrap()["methods"][1]["count"].as_u64();
    let before = calls(&daemon);
    eventually("calls over TCP", || (calls(&daemon) > before.map(|count| count + 50)).then_some(()));
    for client in clients {
        let (code, said) = client.finish();
        assert_eq!(code, Some(0), "{said}");
        let said: Value = serde_json::from_str(&said).unwrap();
        let heard = |pid: &u32| said["pids"].as_array().unwrap().contains(&json!(pid));
        assert!(pids.iter().any(heard) && new.iter().any(heard), "{said}");
        println!("{said}");
    }
    drop(ours);
    daemon.stop();
    nothing_left(&scene);
}

/// Puts another program in a worker's place, as an installation does.
fn install(scene: &Scene, program: &std::path::Path) {
    fs::copy(program, scene.path().join("new")).unwrap();
    fs::rename(scene.path().join("new"), scene.path().join("worker")).unwrap();
}

/// The program alone is replaced: the daemon could not see what it starts.
#[test]
fn a_program_of_another_layout_is_refused_and_the_old_workers_stay() {
    let scene = scene("start_limit=2\n");
    install(&scene, &PathBuf::from(env!("CARGO_BIN_EXE_shmrpc")).with_file_name("examples").join("probe"));
    scene.write(
        "service.ini",
        &scene.read("service.ini").replace("import_from=probe", "import_from=./worker"),
    );
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let old = daemon.pids("probe");
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        let at_end = AtEnd(&ends);
        let load = scope.spawn(|| {
            let client = connect(&scene);
            while !ends.load(Ordering::Relaxed) {
                assert_eq!(call(&client, "add", &json!([2, 3])).unwrap(), 5);
            }
        });
        install(&scene, &other("other-probe"));
        let problem = format!("has layout version {OTHER}, that of this program {LAYOUT_VERSION}");
        let (_, stderr) = texts(&scene.run(&["--check"], &[]));
        assert!(stderr.contains("[Probe] import_from: ") && stderr.contains(&problem), "{stderr}");
        daemon.signal(Signal::SIGHUP);
        daemon.logs(&problem);
        // Whoever insists is told too.
        let since = format!("shared memory has layout version {OTHER} and the daemon's {LAYOUT_VERSION}");
        assert_eq!(daemon.request("POST", "/api/v1/services/probe/restart").0, 202);
        daemon.logs("rolling restart stopped, 1 old ones stay");
        assert!(daemon.log().contains(&since), "{}", daemon.log());
        // The one that was told to go may still be on its way out.
        eventually("the old worker alone", || (daemon.pids("probe") == old).then_some(()));
        drop(at_end);
        load.join().unwrap();
        // With the old worker dead there is none; that ends with words too.
        end(old[0]);
        let fatal = daemon.status("probe", "fatal");
        assert!(fatal["status_detail"].as_str().unwrap().contains(&since), "{fatal}");
    });
    install(&scene, &PathBuf::from(env!("CARGO_BIN_EXE_shmrpc")).with_file_name("examples").join("probe"));
    daemon.request("POST", "/api/v1/services/probe/start");
    daemon.status("probe", "running");
    assert!(!lives(old[0]));
    daemon.stop();
    nothing_left(&scene);
}
