//! The service's own log: one JSON object a line, `{t, level, pid, port, svc, msg}`, appended to
//! `LOG_DIR/NAME/NAME_log.log.json`, or to stderr when there is no log folder. All workers of a service
//! append to one file; a line is written by one `write`, so lines do not mix.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Write},
    sync::OnceLock,
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

/// Writes the log of the service that this process serves. Every method may be called from any thread, and
/// never fails: a line that cannot be written is lost.
#[derive(Debug)]
pub struct Logger {
    service: String,
    port: u16,
    file: Option<File>,
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
            Some(OpenOptions::new().create(true).append(true).open(path)?)
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
            Some(file) => (&mut &*file).write_all(&text),
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
