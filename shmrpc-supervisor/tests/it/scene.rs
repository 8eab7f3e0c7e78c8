//! A temporary folder with an ini file, and the daemon run in it.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use tempfile::TempDir;

/// One test's folder.
pub(crate) struct Scene {
    folder: TempDir,
}

impl Scene {
    /// A folder with that ini file.
    pub(crate) fn new(ini: &str) -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        scene.write("service.ini", ini);
        scene
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Writes an executable script.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        let source = self.write(&format!("{name}.text"), text);
        let path = self.path().join(name);
        // Another process writes it: a descriptor open for writing that leaks into a concurrent test's
        // fork would make the script unrunnable for a moment.
        let status = Command::new("install").args(["-m", "755"]).arg(source).arg(&path).status().unwrap();
        assert!(status.success());
        path
    }

    /// The daemon's command line in this folder, with arguments before the ini file and after it.
    pub(crate) fn command(&self, before: &[&str], after: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shmrpc-service"));
        command.args(before).arg("service.ini").args(after);
        command
            .current_dir(self.path())
            .env("SHMRPC_DIR", self.path().join("run"))
            .env("RUST_LOG", "info")
            .stdin(Stdio::null());
        command
    }

    /// Starts the daemon and leaves it running.
    pub(crate) fn start(&self, after: &[&str]) -> Daemon<'_> {
        self.start_as(self.command(&[], after))
    }

    /// Starts the daemon by that command.
    pub(crate) fn start_as(&self, mut command: Command) -> Daemon<'_> {
        let log = |name: &str| fs::File::create(self.path().join(name)).unwrap();
        let child = command.stdout(log("daemon.out")).stderr(log("daemon.log")).spawn().unwrap();
        Daemon { scene: self, child, ended: None }
    }

    /// A file's text; empty when it is not there.
    pub(crate) fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs the daemon to its end, which must come.
    pub(crate) fn run(&self, before: &[&str], after: &[&str]) -> Output {
        let (stdout, stderr) = (self.path().join("run.out"), self.path().join("run.err"));
        let mut command = self.command(before, after);
        command.stdout(fs::File::create(&stdout).unwrap()).stderr(fs::File::create(&stderr).unwrap());
        let mut daemon = Daemon { scene: self, child: command.spawn().unwrap(), ended: None };
        let status = daemon.wait();
        Output { status, stdout: fs::read(stdout).unwrap(), stderr: fs::read(stderr).unwrap() }
    }

    /// Whether a process runs that was started by a daemon of this scene.
    pub(crate) fn anything_runs(&self) -> bool {
        let mark = format!("SHMRPC_DIR={}", self.path().join("run").display());
        fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|word| word == mark.as_bytes())
        })
    }
}

/// Both streams of an output as text.
pub(crate) fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// A port that nobody listens at, below the range out of which Linux chooses by itself (32768 to 60999 unless
/// `ip_local_port_range` says otherwise): no connection and no listener at port 0 takes it before the test's own process does.
pub(crate) fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(97);
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut ports =
        std::iter::repeat_with(|| first.wrapping_add(TAKEN.fetch_add(1, Relaxed)) % 12_000 + 20_000);
    ports.find_map(|port| u16::try_from(port).ok().filter(free)).unwrap()
}

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something holds; says what was waited for if it never does.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not happen within {PATIENCE:?}");
        sleep(Duration::from_millis(10));
    }
}

/// Whether a process lives (zombies do not).
pub(crate) fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

/// A running daemon; ended when dropped.
pub(crate) struct Daemon<'a> {
    scene: &'a Scene,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Daemon<'_> {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        self.scene.read("daemon.log")
    }

    /// Waits until its log contains that.
    pub(crate) fn logs(&self, part: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.log().contains(part) {
            assert!(Instant::now() < deadline, "no {part:?} in\n{}", self.log());
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits until something holds; says what was waited for, and shows the daemon's log, if it never does.
    pub(crate) fn eventually<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < deadline, "{what} did not happen within {PATIENCE:?}:\n{}", self.log());
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the line that says that it is ready, and returns it.
    pub(crate) fn ready(&self) -> String {
        eventually("the ready line", || {
            let out = self.scene.read("daemon.out");
            out.ends_with('\n').then_some(out)
        })
    }

    /// The dashboard's address, `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        eventually("the dashboard's address in the log", || {
            let log = self.log();
            let (_, rest) = log.split_once("dashboard at http://")?;
            rest.split_once('/').map(|(address, _)| address.to_owned())
        })
    }

    /// One HTTP request without a body; status and body of the answer.
    pub(crate) fn request(&self, method: &str, path: &str) -> (u16, String) {
        self.send(method, path, "", &[])
    }

    /// One HTTP POST.
    pub(crate) fn post(&self, path: &str, content_type: &str, body: &[u8]) -> (u16, String) {
        self.send("POST", path, &format!("Content-Type: {content_type}\r\n"), body)
    }

    fn send(&self, method: &str, path: &str, header: &str, body: &[u8]) -> (u16, String) {
        let address = self.address();
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{header}\
             Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// A service in the REST API.
    pub(crate) fn service(&self, name: &str) -> Option<Value> {
        let (status, body) = self.request("GET", "/api/v1/services");
        assert_eq!(status, 200, "{body}");
        let snapshot: Value = serde_json::from_str(&body).unwrap();
        let services = snapshot["services"].as_array().unwrap();
        services.iter().find(|service| service["name"] == name).cloned()
    }

    /// Waits until a service has that status, and returns it.
    pub(crate) fn status(&self, name: &str, status: &str) -> Value {
        eventually(&format!("{name} {status}"), || {
            self.service(name).filter(|service| service["status"] == status)
        })
    }

    /// The pids of a service's workers.
    pub(crate) fn pids(&self, name: &str) -> Vec<u32> {
        let service = self.service(name).unwrap();
        let workers = service["workers"].as_array().unwrap();
        workers.iter().map(|worker| u32::try_from(worker["pid"].as_u64().unwrap()).unwrap()).collect()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let status = eventually("the daemon's end", || child.try_wait().unwrap());
        self.ended = Some(status);
        status
    }

    /// Ends it as a user would.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // Twice: the second one kills what does not drain.
            self.signal(Signal::SIGINT);
            sleep(Duration::from_millis(50));
            let _ended_already = kill(Pid::from_raw(self.pid().cast_signed()), Signal::SIGINT);
            let _status = self.child.wait();
        }
    }
}
