//! The service's own log: one JSON object a line, `{t, level, pid, port, svc, msg}`, appended to
//! `LOG_DIR/NAME/NAME_log.log.json`, or to stderr when there is no log folder. All workers of a service
//! append to one file; a line is written by one `write`, so lines do not mix. Whoever puts the file aside need not tell:
//! before each line is looked whether its name still leads to it.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
    time::SystemTime,
};

use serde::Serialize;

use super::WorkerConfig;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For whoever develops the service.
    Debug,
    /// What happens in the normal course of things.
    Info,
    /// Something is odd, the service goes on.
    Warning,
    /// Something failed.
    Error,
    /// The service cannot go on as it should.
    Critical,
}

impl Level {
    /// The level of that name: `debug`, `info`, `warning`, `error` or `critical`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "debug" => Some(Self::Debug),
            "info" => Some(Self::Info),
            "warning" => Some(Self::Warning),
            "error" => Some(Self::Error),
            "critical" => Some(Self::Critical),
            _ => None,
        }
    }
}

/// Writes the log of the service that this process serves. Every method may be called from any thread, and
/// never fails: a line that cannot be written is lost.
#[derive(Debug)]
pub struct Logger {
    service: String,
    port: u16,
    file: Option<LogFile>,
}

/// The file of that name, also after it was put aside.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    open: Mutex<(File, u64)>,
}

impl LogFile {
    fn new(path: PathBuf) -> io::Result<Self> {
        let open = Mutex::new(Self::open(&path)?);
        Ok(Self { path, open })
    }

    /// The file, and its inode's number.
    fn open(path: &Path) -> io::Result<(File, u64)> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let inode = file.metadata()?.ino();
        Ok((file, inode))
    }

    fn append(&self, line: &[u8]) -> io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if fs::metadata(&self.path).map_or(0, |meta| meta.ino()) != open.1 {
            *open = Self::open(&self.path)?;
        }
        open.0.write_all(line)
    }
}

#[derive(Serialize)]
struct Line<'a> {
    t: f64,
    level: Level,
    pid: u32,
    port: u16,
    svc: &'a str,
    msg: &'a str,
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// The log of the service that this process serves; before a worker has started, and in programs that
/// serve alone, it goes to stderr.
#[must_use]
pub fn logger() -> &'static Logger {
    static STDERR: Logger = Logger { service: String::new(), port: 0, file: None };
    LOGGER.get().unwrap_or(&STDERR)
}

/// Opens the log that the supervisor asks for.
pub(super) fn init(config: &WorkerConfig) -> io::Result<()> {
    let file = match &config.log_dir {
        Some(dir) => {
            let folder = dir.join(&config.service);
            std::fs::create_dir_all(&folder)?;
            let path = folder.join(format!("{}_log.log.json", config.service));
            Some(LogFile::new(path)?)
        }
        None => None,
    };
    // A second worker in one process keeps the first one's log.
    let _ = LOGGER.set(Logger { service: config.service.clone(), port: config.port, file });
    Ok(())
}

impl Logger {
    /// Writes one line.
    pub fn log(&self, level: Level, message: impl fmt::Display) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let line = Line {
            t: since.as_secs_f64(),
            level,
            pid: std::process::id(),
            port: self.port,
            svc: &self.service,
            msg: &message.to_string(),
        };
        let Ok(mut text) = serde_json::to_vec(&line) else { return };
        text.push(b'\n');
        let _ = match &self.file {
            Some(file) => file.append(&text),
            None => io::stderr().write_all(&text),
        };
    }

    /// Writes a line at level debug.
    pub fn debug(&self, message: impl fmt::Display) {
        self.log(Level::Debug, message);
    }

    /// Writes a line at level info.
    pub fn info(&self, message: impl fmt::Display) {
        self.log(Level::Info, message);
    }

    /// Writes a line at level warning.
    pub fn warning(&self, message: impl fmt::Display) {
        self.log(Level::Warning, message);
    }

    /// Writes a line at level error.
    pub fn error(&self, message: impl fmt::Display) {
        self.log(Level::Error, message);
    }

    /// Writes a line at level critical.
    pub fn critical(&self, message: impl fmt::Display) {
        self.log(Level::Critical, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_put_aside_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = LogFile::new(path.clone()).unwrap();
        log.append(b"one\n").unwrap();
        fs::rename(&path, folder.path().join("aside")).unwrap();
        log.append(b"two\n").unwrap();
        log.append(b"three\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two\nthree\n");
        assert_eq!(fs::read(folder.path().join("aside")).unwrap(), b"one\n");
    }
}
