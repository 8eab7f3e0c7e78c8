//! A runtime folder with healthy processes in it, and the victims that are sent there.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    HANG, PATIENCE, board,
    cargo::cargo,
    load::{self, connect},
    service::VictimBlockingClient,
    windows::Window,
};

/// Where the victims' programs are, once they are built. They are built apart from everything else, because their
/// feature must not be on anywhere else.
fn programs() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let test = std::env::current_exe().expect("a test has a path");
        let target = test.ancestors().nth(3).expect("tests lie in target/PROFILE/deps").join("kill-points");
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/victim/Cargo.toml");
        let mut build = cargo();
        build.args(["build", "--quiet", "--manifest-path", manifest, "--target-dir"]).arg(&target);
        assert!(build.status().expect("cargo runs").success(), "the victims cannot be built");
        target.join("debug")
    })
}

pub(crate) struct Scene {
    pub(crate) folder: PathBuf,
    workers: Vec<Child>,
}

/// Looks again and again until `done` has something, or it hangs.
pub(crate) fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(it) = done() {
            return it;
        }
        assert!(Instant::now() < until, "{what} never came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("pids are positive"));
    kill(pid, signal).expect("our child, not yet waited for");
}

impl Scene {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("shmrpc-kills-{}-{number}", std::process::id()));
        // Made by whoever joins first; here, so that it has an inode from the start.
        fs::DirBuilder::new().create(&folder).expect("a fresh folder");
        fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("ours");
        Self { folder, workers: Vec::new() }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(programs().join(program));
        command.env("SHMRPC_DIR", &self.folder).env_remove("SHMRPC_KILL_AT").stdin(Stdio::null());
        command
    }

    /// Starts a healthy worker and waits until it serves; its pid.
    pub(crate) fn start_worker(&mut self) -> u32 {
        let child = self.command("victim-worker").arg("--serve").spawn().expect("the worker starts");
        let pid = child.id();
        self.workers.push(child);
        self.await_worker(pid);
        pid
    }

    /// Ends a healthy worker as an administrator would.
    pub(crate) fn stop_worker(&mut self, pid: u32) {
        let at = self.workers.iter().position(|child| child.id() == pid).expect("a worker of ours");
        let mut child = self.workers.swap_remove(at);
        signal(&child, Signal::SIGTERM);
        let status = child.wait().expect("our child");
        assert!(status.success(), "a healthy worker ended with {status}");
    }

    /// Kills a healthy process, or one that has not come to its window.
    pub(crate) fn kill_worker(&mut self, pid: u32) {
        let at = self.workers.iter().position(|child| child.id() == pid).expect("a worker of ours");
        end(self.workers.swap_remove(at));
    }

    pub(crate) fn await_worker(&self, pid: u32) {
        eventually("a worker", || self.serves(pid).then_some(()));
    }

    /// Whether a victim comes as far as to serve.
    pub(crate) fn outlives_joining(&self, victim: &mut Child) -> bool {
        eventually("a worker, or its death", || {
            let is_dead = victim.try_wait().expect("our child").is_some();
            (is_dead || self.serves(victim.id())).then_some(!is_dead)
        })
    }

    /// Waits until a victim serves, and tells it to leave; or until it is dead already, since who comes passes some of
    /// the windows of those who go, when it frees what others have left.
    pub(crate) fn ask_victim_to_leave(&self, victim: &mut Child) {
        if self.outlives_joining(victim) {
            ask_to_leave(victim);
        }
    }

    fn serves(&self, pid: u32) -> bool {
        let entries = board::listed(&self.folder);
        entries.iter().any(|entry| board::pid_of(entry) == pid && entry["board"] != 0)
    }

    /// Starts a worker that is to die.
    pub(crate) fn victim_worker(&self, window: &Window, pass: u32) -> Child {
        let mut command = self.command("victim-worker");
        let kill_at = format!("{}:{pass}", window.name);
        // Shown if the test fails.
        println!("{kill_at} in {:?}", window.part);
        command.arg("--serve").env("SHMRPC_KILL_AT", kill_at).spawn().expect("the victim starts")
    }

    /// Starts a client; one that is to die, if it is told where.
    pub(crate) fn client(&self, args: &[&str], die: Option<(&Window, u32)>) -> Child {
        let mut command = self.command("victim-client");
        if let Some((window, pass)) = die {
            command.env("SHMRPC_KILL_AT", format!("{}:{pass}", window.name));
        }
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the client starts")
    }

    /// The pids of the healthy workers.
    pub(crate) fn workers(&self) -> impl Iterator<Item = u32> {
        self.workers.iter().map(Child::id)
    }

    /// The pids of all healthy processes.
    pub(crate) fn living(&self) -> Vec<u32> {
        self.workers().chain([std::process::id()]).collect()
    }

    pub(crate) fn connect(&self) -> VictimBlockingClient {
        connect(Some(&self.folder)).expect("connected")
    }

    /// Every kind of call over a connection that was there before, and one over a new one.
    pub(crate) fn probe(&self, client: &VictimBlockingClient) {
        for round in 0..4 {
            load::large(client, round).expect("answered");
            load::small(client, round).expect("answered");
        }
        load::again(client).expect("answered");
        load::many(client, 1).into_iter().for_each(|outcome| outcome.expect("answered"));
        load::streamed(client, 0).expect("answered");
        load::small(&self.connect(), 1).expect("answered");
    }

    /// Fails if anything of the dead is left after a while.
    pub(crate) fn assert_swept(&self, what: &str) {
        let until = Instant::now() + HANG;
        loop {
            let litter = board::litter(&self.folder, &self.living());
            if litter.is_empty() {
                return;
            }
            assert!(Instant::now() < until, "{what}: left behind: {litter:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Waits until a victim has died in its window.
pub(crate) fn await_death(victim: &mut Child, window: &Window, pass: u32) {
    let status = await_end(victim, window, pass);
    assert!(is_killed(status), "{}:{pass} in {:?}: {status}: {}", window.name, window.part, said(victim));
}

/// Waits until a victim has ended; whether it died in its window. It may have passed it by, if that is a matter of who
/// is quicker.
pub(crate) fn dies(victim: &mut Child, window: &Window, pass: u32) -> bool {
    is_killed(await_end(victim, window, pass))
}

fn await_end(victim: &mut Child, window: &Window, pass: u32) -> ExitStatus {
    let until = Instant::now() + PATIENCE;
    loop {
        match victim.try_wait().expect("our child") {
            Some(status) => return status,
            None if Instant::now() > until => {
                let _ = victim.kill();
                let _ = victim.wait();
                panic!("{}:{pass} in {:?} was never passed", window.name, window.part);
            }
            None => std::thread::sleep(Duration::from_micros(300)),
        }
    }
}

fn is_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::SIGKILL as i32)
}

fn said(child: &mut Child) -> String {
    let mut text = String::new();
    if let Some(stderr) = &mut child.stderr {
        let _unreadable = std::io::Read::read_to_string(stderr, &mut text);
    }
    text
}

/// Kills a process and waits for its end.
pub(crate) fn end(mut child: Child) {
    child.kill().expect("our child");
    child.wait().expect("our child");
}

/// Sends SIGTERM to a victim.
fn ask_to_leave(child: &Child) {
    signal(child, Signal::SIGTERM);
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.workers.drain(..).for_each(end);
            let _ = fs::remove_dir_all(&self.folder);
            return;
        }
        while let Some(worker) = self.workers.last() {
            self.stop_worker(worker.id());
        }
        let left: Vec<_> = fs::read_dir(&self.folder).into_iter().flatten().flatten().collect();
        assert!(left.is_empty(), "left in the runtime folder: {left:?}");
        let litter = board::litter(&self.folder, &[]);
        assert!(litter.is_empty(), "left: {litter:?}");
        fs::remove_dir(&self.folder).expect("an empty folder");
    }
}
