//! Finds the program that a section names, and asks it what it offers (`PROGRAM --describe`). Starts no
//! worker.

use std::{
    ffi::OsString,
    io::{self, Read},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use shmrpc_core::{schema::Described, server::WorkerConfig};

/// How long a program may take to describe itself.
pub const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest description that is read.
const MAX_DESCRIPTION_BYTES: u64 = 8 << 20;

/// Where programs are looked for.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// The ini file's folder.
    pub base: PathBuf,
    /// The daemon's own folder.
    pub own: Option<PathBuf>,
    /// `$PATH`.
    pub path: Option<OsString>,
}

impl Lookup {
    /// For an ini file that lies in `base`.
    #[must_use]
    pub fn new(base: impl Into<PathBuf>) -> Self {
        let own = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
        Self { base: base.into(), own, path: std::env::var_os("PATH") }
    }

    /// The program of that name: a path relative to the ini's folder, or a name that is looked up beside
    /// the ini, in the build folders there, beside the daemon, and on `PATH`.
    ///
    /// # Errors
    /// Where it was looked for.
    pub fn find(&self, name: &str) -> Result<PathBuf, NotFound> {
        let absent =
            |tried: Vec<PathBuf>, others: &'static str| NotFound { name: name.into(), tried, others };
        if name.contains('/') {
            let path = self.base.join(name);
            return if is_program(&path) { Ok(path) } else { Err(absent(vec![path], "")) };
        }
        let beside = self.base.join(name);
        if is_program(&beside) {
            return Ok(beside);
        }
        let target = self.base.join("target");
        let built: Vec<PathBuf> = ["release/examples", "debug/examples", "release", "debug"]
            .iter()
            .map(|folder| target.join(folder).join(name))
            .collect();
        // The one built last: a stale release build must not hide what was just compiled.
        let newest = built.iter().filter(|path| is_program(path)).max_by_key(|path| modified(path));
        if let Some(newest) = newest {
            return Ok(newest.clone());
        }
        let own = self.own.iter().flat_map(|own| [own.join(name), own.join("examples").join(name)]);
        let path = self.path.iter().flat_map(std::env::split_paths).map(|folder| folder.join(name));
        let found = own.chain(path).find(|path| is_program(path));
        found.ok_or_else(|| {
            let mut tried = vec![beside];
            tried.extend(built);
            absent(tried, ", beside shmrpc-service and on PATH")
        })
    }
}

/// A program that is nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no program {name:?}: looked for {}{others}",
    .tried.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
)]
pub struct NotFound {
    name: String,
    tried: Vec<PathBuf>,
    others: &'static str,
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|meta| meta.modified()).ok()
}

/// A program that did not say what it offers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DescribeError {
    /// It could not be started.
    #[error("{program} cannot be started")]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It did not end in time; it was killed.
    #[error("{program} --describe did not end within {after:?}; is it made by worker_main!?")]
    TimedOut {
        /// The program.
        program: PathBuf,
        /// The time it had.
        after: Duration,
    },
    /// It ended in an error.
    #[error("{program} --describe ended with {status}{said}; is it made by worker_main!?")]
    Failed {
        /// The program.
        program: PathBuf,
        /// Its exit status in words.
        status: String,
        /// The last line that it wrote to stderr, after `: `.
        said: String,
    },
    /// What it wrote is no description.
    #[error("{program} --describe wrote no description ({reason}); is it made by worker_main!?")]
    NotADescription {
        /// The program.
        program: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Runs `PROGRAM --describe` in `working_dir` and reads what services it offers.
///
/// # Errors
/// When it cannot be started, does not end in time, fails, or writes something else.
pub fn describe(
    program: &Path,
    working_dir: &Path,
    timeout: Duration,
) -> Result<Vec<Described>, DescribeError> {
    let own = || program.to_owned();
    let mut child = Command::new(program)
        .arg("--describe")
        .current_dir(working_dir)
        .env_remove(WorkerConfig::VARIABLE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|source| DescribeError::Start { program: own(), source })?;
    let deadline = Instant::now() + timeout;
    let stdout = read_on_thread(child.stdout.take());
    let stderr = read_on_thread(child.stderr.take());
    let left = || deadline.saturating_duration_since(Instant::now());
    let written = stdout.recv_timeout(left()).ok();
    let status = written.as_ref().and_then(|_| wait_until(&mut child, deadline));
    let (Some(written), Some(status)) = (written, status) else {
        end(&mut child);
        return Err(DescribeError::TimedOut { program: own(), after: timeout });
    };
    // Children that it may have left behind, and that hold its stderr.
    end(&mut child);
    if !status.success() {
        let said = stderr.recv_timeout(Duration::from_millis(200)).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let said = said.lines().next_back().map(|line| format!(": {}", line.escape_debug()));
        let (status, said) = (status.to_string(), said.unwrap_or_default());
        return Err(DescribeError::Failed { program: own(), status, said });
    }
    read_description(&written)
        .map_err(|error| DescribeError::NotADescription { program: own(), reason: error.to_string() })
}

/// What `--describe` writes.
pub(crate) fn read_description(written: &[u8]) -> serde_json::Result<Vec<Described>> {
    serde_json::from_slice(written)
}

fn read_on_thread(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    if let Some(pipe) = pipe {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _cut = pipe.take(MAX_DESCRIPTION_BYTES).read_to_end(&mut bytes);
            let _nobody_waits = sender.send(bytes);
        });
    }
    receiver
}

fn wait_until(child: &mut Child, deadline: Instant) -> Option<std::process::ExitStatus> {
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Kills what is left of the child's process group, and the child.
fn end(child: &mut Child) {
    let group = Pid::from_raw(child.id().cast_signed());
    let _gone = killpg(group, Signal::SIGKILL);
    let _reaped = child.wait();
}

/// Which file a program is: another one under the same name has another stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramStamp {
    device: u64,
    inode: u64,
    len_bytes: u64,
    modified_s: i64,
    modified_ns: i64,
}

impl ProgramStamp {
    /// The file's stamp; `None` when it cannot be looked at.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let file = std::fs::metadata(path).ok()?;
        Some(Self {
            device: file.dev(),
            inode: file.ino(),
            len_bytes: file.len(),
            modified_s: file.mtime(),
            modified_ns: file.mtime_nsec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
        let (path, source) = (folder.join(name), folder.join("script.text"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&source, text).unwrap();
        // Another process writes it: a descriptor open for writing that leaks into a concurrent test's
        // fork would make the script unrunnable for a moment.
        let status = Command::new("install").args(["-m", "755"]).arg(source).arg(&path).status().unwrap();
        assert!(status.success());
        path
    }

    #[test]
    fn programs_are_found_beside_the_ini_then_in_the_newest_build() {
        let folder = tempfile::tempdir().unwrap();
        let lookup = Lookup { base: folder.path().into(), own: None, path: Some("/usr/bin:/bin".into()) };
        let error = lookup.find("shmrpc_no_such").unwrap_err().to_string();
        assert!(error.contains("target/debug/examples/shmrpc_no_such"), "{error}");
        assert!(lookup.find("sh").unwrap().ends_with("sh"));
        let release = script(folder.path(), "target/release/examples/sh", "");
        assert_eq!(lookup.find("sh").unwrap(), release);
        let debug = script(folder.path(), "target/debug/examples/sh", "");
        std::fs::File::open(&debug)
            .unwrap()
            .set_modified(SystemTime::now() + Duration::from_secs(9))
            .unwrap();
        assert_eq!(lookup.find("sh").unwrap(), debug);
        let beside = script(folder.path(), "sh", "");
        assert_eq!(lookup.find("sh").unwrap(), beside);
        assert_eq!(lookup.find("./sh").unwrap(), folder.path().join("./sh"));
        assert!(lookup.find("sub/sh").is_err());
    }

    #[test]
    fn what_is_no_worker_program_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let fails = script(folder.path(), "fails", "#!/bin/sh\necho oh no >&2\nexit 3\n");
        let error = describe(&fails, folder.path(), DESCRIBE_TIMEOUT).unwrap_err().to_string();
        assert!(error.contains("exit status: 3: oh no"), "{error}");
        let other = script(folder.path(), "other", "#!/bin/sh\necho hello\n");
        let error = describe(&other, folder.path(), DESCRIBE_TIMEOUT).unwrap_err();
        assert!(matches!(error, DescribeError::NotADescription { .. }), "{error}");
        let hangs = script(folder.path(), "hangs", "#!/bin/sh\nsleep 600\n");
        let error = describe(&hangs, folder.path(), Duration::from_millis(200)).unwrap_err();
        assert!(matches!(error, DescribeError::TimedOut { .. }), "{error}");
        let good = script(folder.path(), "good", "#!/bin/sh\necho '[]'\n");
        assert!(describe(&good, folder.path(), DESCRIBE_TIMEOUT).unwrap().is_empty());
    }
}
