//! A runtime folder with worker processes in it, which checks at its end that nothing of them is left.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::Signal,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use shmrpc::{ConnectOptions, Connection};

use super::PATIENCE;

/// A runtime folder with the processes in it, all of which are gone at the end.
pub(super) struct Scene {
    pub(super) folder: PathBuf,
    pub(super) workers: Vec<Child>,
    /// Loaded into every program before its libraries.
    preload: Option<PathBuf>,
}

impl Scene {
    pub(super) fn new(workers: usize) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("shmrpc-scene-{}-{number}", std::process::id()));
        let mut scene = Self { folder, workers: Vec::new(), preload: None };
        for _ in 0..workers {
            scene.start_worker();
        }
        scene
    }

    /// A scene all of whose programs have that library loaded first.
    pub(super) fn with_preloaded(library: PathBuf, workers: usize) -> Self {
        let mut scene = Self::new(0);
        scene.preload = Some(library);
        for _ in 0..workers {
            scene.start_worker();
        }
        scene
    }

    pub(super) fn program(name: &str) -> PathBuf {
        let test = std::env::current_exe().expect("a test has a path");
        let target = test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps");
        let program = target.join("examples").join(name);
        assert!(
            program.exists(),
            "{} is not built: `cargo test` without `--test` builds it",
            program.display()
        );
        program
    }

    pub(super) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(Self::program(name));
        command.env("SHMRPC_DIR", &self.folder).stdin(Stdio::null());
        if let Some(library) = &self.preload {
            command.env("LD_PRELOAD", library);
        }
        command
    }

    /// Starts a worker and waits until it is listed; its pid.
    pub(super) fn start_worker(&mut self) -> u32 {
        let pid = self.spawn_worker();
        self.await_worker(pid);
        pid
    }

    /// Starts a worker and does not wait.
    pub(super) fn spawn_worker(&mut self) -> u32 {
        let child = self.command("torture_service").arg("--serve").spawn().expect("the worker starts");
        let pid = child.id();
        self.workers.push(child);
        pid
    }

    pub(super) fn await_worker(&self, pid: u32) {
        let (_observer, events) =
            shmrpc::observe::Observer::join(&self.folder, shmrpc::observe::ObserverRole::Spectator)
                .expect("the folder can be observed");
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match events.recv_timeout(left).expect("the worker becomes ready") {
                shmrpc::observe::ObserverEvent::Up(view) if view.pid() == pid => return,
                _ => {}
            }
        }
    }

    pub(super) fn connect(&self) -> Connection {
        let mut options = ConnectOptions::default();
        options.runtime_dir = Some(self.folder.clone());
        let until = Instant::now() + PATIENCE;
        loop {
            match Connection::connect_any("shm://torture", &options) {
                Ok(connection) => return connection,
                Err(error) if Instant::now() > until => panic!("{error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// `kill -9`, and wait until the process is gone.
    pub(super) fn kill(&mut self, pid: u32) {
        let at = self.workers.iter().position(|child| child.id() == pid).expect("a worker of ours");
        let mut child = self.workers.swap_remove(at);
        child.kill().expect("it can be killed");
        child.wait().expect("it can be waited for");
    }

    /// Ends a worker as an administrator would.
    pub(super) fn stop(&mut self, pid: u32) {
        let at = self.workers.iter().position(|child| child.id() == pid).expect("a worker of ours");
        terminate(self.workers.swap_remove(at));
    }

    /// Sends a signal to a process of ours that has not been waited for.
    pub(super) fn signal(pid: u32, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(pid).expect("pids are positive"));
        nix::sys::signal::kill(pid, signal).expect("our child, not yet waited for");
    }

    /// Stops a worker, and waits until all its threads have stopped.
    pub(super) fn freeze(pid: u32) {
        Self::signal(pid, Signal::SIGSTOP);
        let pid = Pid::from_raw(i32::try_from(pid).expect("pids are positive"));
        let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).expect("our child");
        assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        self.workers.iter().map(Child::id).collect()
    }
}

fn terminate(mut child: Child) {
    Scene::signal(child.id(), Signal::SIGTERM);
    let status = child.wait().expect("it can be waited for");
    assert!(status.success(), "the worker ended with {status}");
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for child in &mut self.workers {
                let _ = child.kill();
                let _ = child.wait();
            }
            return;
        }
        self.workers.drain(..).for_each(terminate);
        let left: Vec<_> = std::fs::read_dir(&self.folder).into_iter().flatten().flatten().collect();
        assert!(left.is_empty(), "left in the runtime folder: {left:?}");
        assert_no_segment_of(&self.folder);
        std::fs::remove_dir(&self.folder).expect("an empty folder");
    }
}

/// Directory segments carry the inode of their folder in their name.
fn assert_no_segment_of(folder: &Path) {
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(folder).expect("the folder is there"));
    let prefix = format!("shmrpc-directory-{inode:016x}");
    let names = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let left: Vec<_> = names.filter(|n| n.file_name().to_string_lossy().starts_with(&prefix)).collect();
    assert!(left.is_empty(), "left in /dev/shm: {left:?}");
}
