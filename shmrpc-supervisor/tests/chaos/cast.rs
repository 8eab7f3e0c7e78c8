//! The processes of the run: the daemon, its workers, clients that live through it all and clients that do not.
//! Each is signalled through a descriptor of its own, after a look that it is ours: no stranger that got the same
//! number is ever hit.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::Write,
    os::fd::OwnedFd,
    path::Path,
    process::{Child, ChildStdin, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use shmrpc::server::WorkerConfig;

use crate::{
    ledger,
    scene::{Scene, eventually},
};

/// The first argument of this program when it is a client.
pub(crate) const CLIENT_ROLE: &str = "--as-client";
/// Who knows that it is to end has so long for it.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// A living process of the run.
pub(crate) struct Actor {
    pub(crate) pid: u32,
    handle: OwnedFd,
}

impl Actor {
    /// The process of that number, if it lives and is one of this run.
    fn of(pid: u32, folder: &Path) -> Option<Self> {
        let handle = pidfd_open(Pid::from_raw(pid.cast_signed())?, PidfdFlags::empty()).ok()?;
        variable_of(pid, ledger::variable(folder).0)
            .is_some_and(|value| Path::new(&value) == folder)
            .then_some(Self { pid, handle })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let _it_is_gone = pidfd_send_signal(&self.handle, signal);
    }
}

/// A process's environment variable.
fn variable_of(pid: u32, name: &str) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environment.split(|&byte| byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(String::from_utf8_lossy(value).into_owned())
    })
}

/// A client process of the run.
pub(crate) struct Client {
    child: Child,
    lines: Option<ChildStdin>,
}

impl Client {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it a word.
    pub(crate) fn tell(&mut self, word: &str) {
        if let Some(lines) = &mut self.lines {
            let _it_is_gone = lines.write_all(format!("{word}\n").as_bytes());
        }
    }
}

/// Everybody.
pub(crate) struct Cast {
    pub(crate) scene: Scene,
    pub(crate) daemon: Option<Child>,
    pub(crate) steady: Vec<Client>,
    pub(crate) mortal: Vec<Client>,
    /// Clients that have been told to end, and until when they have to.
    pub(crate) leaving: Vec<(Client, Instant)>,
    /// Whom the run has killed.
    pub(crate) killed: HashSet<u32>,
    pub(crate) starts: u64,
    clients: u32,
    seed: u64,
}

impl Cast {
    pub(crate) fn new(workers: usize, seed: u64) -> Self {
        let this = std::env::current_exe().expect("this program has a path");
        // As good as no limit of starts: it is not what is tried here.
        let ini = format!(
            "[web monitor]\nport = 0\n\n[defaults]\nlog_dir = logs\nrestart_delay = 10ms\n\
             restart_delay_max = 50ms\nstart_limit = 1000\nstart_limit_interval = 1ms\n\n\
             [Chaos]\nimport_from = {}\nmin_proc_num = {workers}\nmax_proc_num = {workers}\nthreads = 3\n",
            this.display()
        );
        let scene = Scene::new(&ini);
        Self {
            scene,
            daemon: None,
            steady: Vec::new(),
            mortal: Vec::new(),
            leaving: Vec::new(),
            killed: HashSet::new(),
            starts: 0,
            clients: 0,
            seed,
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.scene.path()
    }

    /// Starts the daemon; the one before is dead.
    pub(crate) fn start_daemon(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder().join("daemon.log"));
        let log = log.expect("the daemon's log");
        let (name, value) = ledger::variable(self.folder());
        let mut command = self.scene.command(&[], &[]);
        command.env(name, value).env("RUST_LOG", "warn").stdout(Stdio::null()).stderr(log);
        self.daemon = Some(command.spawn().expect("the daemon starts"));
        self.starts += 1;
    }

    pub(crate) fn start_client(&mut self) -> Client {
        self.clients += 1;
        self.starts += 1;
        let this = std::env::current_exe().expect("this program has a path");
        let (name, value) = ledger::variable(self.folder());
        let mut command = std::process::Command::new(this);
        command
            .args([CLIENT_ROLE, &self.clients.to_string(), &self.seed.to_string()])
            .env(name, value)
            .env("SHMRPC_DIR", self.folder().join("run"))
            .stdin(Stdio::piped());
        let mut child = command.spawn().expect("a client starts");
        let lines = child.stdin.take();
        Client { child, lines }
    }

    /// The workers that live now, by their pids.
    pub(crate) fn workers(&self) -> Vec<Actor> {
        let mut workers: Vec<Actor> = self
            .everybody()
            .into_iter()
            .filter(|actor| variable_of(actor.pid, WorkerConfig::VARIABLE).is_some())
            .collect();
        workers.sort_unstable_by_key(|worker| worker.pid);
        workers
    }

    /// Every living process of the run, but this one.
    pub(crate) fn everybody(&self) -> Vec<Actor> {
        let folders = fs::read_dir("/proc").expect("/proc").flatten();
        let pids = folders.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter_map(|pid| Actor::of(pid, self.folder())).collect()
    }

    pub(crate) fn actor(&self, pid: u32) -> Option<Actor> {
        Actor::of(pid, self.folder())
    }

    /// Kills a child of ours and takes its status.
    pub(crate) fn kill_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            self.killed.insert(daemon.id());
            daemon.kill().expect("our child");
            daemon.wait().expect("our child");
        }
    }

    pub(crate) fn kill_client(&mut self, mut client: Client) {
        self.killed.insert(client.pid());
        client.child.kill().expect("our child");
        client.child.wait().expect("our child");
    }

    /// Tells a client to end, which takes it as long as the calls that it has.
    pub(crate) fn end_client(&mut self, mut client: Client) {
        client.tell(crate::client::END);
        self.leaving.push((client, Instant::now() + END_TIMEOUT));
    }

    /// Takes the status of clients that have ended.
    pub(crate) fn see_off(&mut self) {
        let folder = self.scene.path();
        self.leaving.retain_mut(|(client, until)| match client.child.try_wait().expect("our child") {
            Some(status) => {
                assert!(status.success(), "client {}: {status}\n{}", client.pid(), ledger::wrongs(folder));
                false
            }
            None => {
                assert!(Instant::now() < *until, "client {} does not end", client.pid());
                true
            }
        });
    }

    /// Ends the daemon as it should end, with all its workers.
    pub(crate) fn end_daemon(&mut self) {
        let mut daemon = self.daemon.take().expect("a daemon runs");
        self.actor(daemon.id()).expect("it lives").signal(Signal::TERM);
        let status = eventually("the daemon's end", || daemon.try_wait().expect("our child"));
        assert!(status.success(), "the daemon: {status}\n{}", self.scene.read("daemon.log"));
    }
}

impl Drop for Cast {
    /// Whatever happened, nobody is left running.
    fn drop(&mut self) {
        for actor in self.everybody() {
            actor.signal(Signal::KILL);
        }
        let leaving = self.leaving.iter_mut().map(|(client, _)| client);
        for client in self.steady.iter_mut().chain(&mut self.mortal).chain(leaving) {
            let _reaped = client.child.wait();
        }
        if let Some(daemon) = &mut self.daemon {
            let _reaped = daemon.wait();
        }
    }
}
