//! The console log as the dashboard shows it: [`LogLine`], and [`LogTail`], the bounded memory of the
//! newest lines from which a [`Daemon`](crate::Daemon) answers.
//!
//! Lines come from the supervisor's readers of worker output; files are written elsewhere. Their text is
//! untrusted: it is kept as it came and made harmless where it is shown.

use std::{
    collections::VecDeque,
    sync::Mutex,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use shmrpc_core::server::Level;
use tokio::sync::watch;
use utoipa::ToSchema;

/// A line of the console log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// Its place: cursors grow, with gaps or without. A daemon begins them at its start time in
    /// microseconds since 1970, so that none comes again after a restart; they fit into a JSON number.
    pub cursor: u64,
    /// When it was read, in milliseconds since 1970.
    pub time_ms: u64,
    /// The service that wrote it; empty for the daemon itself.
    pub service: String,
    /// The process that wrote it, if known.
    pub pid: Option<u32>,
    /// Where it came from.
    pub stream: LogStream,
    /// The line without its end.
    pub text: String,
}

impl LogLine {
    /// How much it matters: the word with which lines of a service's own log begin; `None` for all others.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        let (level, _) = self.text.split_once(": ").filter(|_| self.stream == LogStream::Log)?;
        Level::from_name(level)
    }
}

/// A line's time in UTC with milliseconds: `2026-01-31T14:03:59.042Z`. Beyond the year 9999 its end.
#[must_use]
pub fn utc(time_ms: u64) -> String {
    const LAST_MS: u64 = 253_402_300_799_999;
    let time = UNIX_EPOCH + Duration::from_millis(time_ms.min(LAST_MS));
    humantime::format_rfc3339_millis(time).to_string()
}

/// Where a line of the console log came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// A worker's standard output.
    Stdout,
    /// A worker's standard error.
    Stderr,
    /// A service's own logger.
    Log,
    /// The daemon: starts, stops, deaths.
    Daemon,
}

impl LogStream {
    /// `stdout`, `stderr`, `log` or `daemon`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Log => "log",
            Self::Daemon => "daemon",
        }
    }
}

/// Some lines, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogPage {
    /// The lines.
    pub lines: Vec<LogLine>,
    /// Lines after the cursor that are gone already: they were pushed out by newer ones.
    pub missed_lines: u64,
}

impl LogPage {
    /// Keeps at most so many lines: the first ones after a cursor, the last ones without.
    pub(crate) fn cut(&mut self, after: Option<u64>, limit: usize) {
        if after.is_none() {
            self.lines.drain(..self.lines.len().saturating_sub(limit));
        } else {
            self.lines.truncate(limit);
        }
    }
}

/// The newest lines of all services, bounded in number and bytes; the oldest go first. Shared by the
/// readers that push and the requests that look; neither waits for the other for longer than a copy.
#[derive(Debug)]
pub struct LogTail {
    kept: Mutex<Kept>,
    newest: watch::Sender<u64>,
    first_cursor: u64,
    max_lines: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Kept {
    lines: VecDeque<LogLine>,
    bytes: usize,
    next_cursor: u64,
}

/// What a line costs beside its texts.
const LINE_OVERHEAD_BYTES: usize = size_of::<LogLine>();

impl Default for LogTail {
    /// 10,000 lines, 8 MiB.
    fn default() -> Self {
        Self::new(10_000, 8 << 20)
    }
}

impl LogTail {
    /// An empty tail that keeps at most so many lines and bytes; the newest line is kept in any case.
    #[must_use]
    pub fn new(max_lines: usize, max_bytes: usize) -> Self {
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let first_cursor = u64::try_from(micros).unwrap_or(1).max(1);
        let kept = Mutex::new(Kept { lines: VecDeque::new(), bytes: 0, next_cursor: first_cursor });
        Self { kept, newest: watch::Sender::new(first_cursor - 1), first_cursor, max_lines, max_bytes }
    }

    /// Adds a line, read now. Long lines are the reader's business: cut them before.
    pub fn push(&self, service: &str, pid: Option<u32>, stream: LogStream, text: String) {
        self.add(service, pid, stream, text, |_| ());
    }

    /// Adds an event, a line of the stream `daemon`, and returns it as it stands in the log.
    pub fn push_event(&self, service: &str, pid: Option<u32>, text: String) -> LogLine {
        self.add(service, pid, LogStream::Daemon, text, LogLine::clone)
    }

    fn add<T>(
        &self,
        service: &str,
        pid: Option<u32>,
        stream: LogStream,
        text: String,
        look: impl FnOnce(&LogLine) -> T,
    ) -> T {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        let mut kept = self.lock();
        let cursor = kept.next_cursor;
        kept.next_cursor += 1;
        let line = LogLine { cursor, time_ms, service: service.to_owned(), pid, stream, text };
        let seen = look(&line);
        kept.bytes += cost_bytes(&line);
        kept.lines.push_back(line);
        while kept.lines.len() > self.max_lines.max(1)
            || (kept.bytes > self.max_bytes && kept.lines.len() > 1)
        {
            let Some(oldest) = kept.lines.pop_front() else { break };
            kept.bytes -= cost_bytes(&oldest);
        }
        // Under the lock, so that the cursor told never goes back.
        self.newest.send_replace(cursor);
        seen
    }

    /// See [`Daemon::log_since`](crate::Daemon::log_since).
    #[must_use]
    pub fn since(&self, after: Option<u64>, limit: usize) -> LogPage {
        let kept = self.lock();
        let Some(after) = after else {
            let skipped = kept.lines.len().saturating_sub(limit);
            return LogPage { lines: kept.lines.iter().skip(skipped).cloned().collect(), missed_lines: 0 };
        };
        let oldest = kept.lines.front().map_or(kept.next_cursor, |line| line.cursor);
        // A cursor of an earlier daemon has missed at most what this one has thrown away.
        let missed_lines = oldest.saturating_sub(self.first_cursor.max(after.saturating_add(1)));
        let start = kept.lines.partition_point(|line| line.cursor <= after);
        LogPage { lines: kept.lines.iter().skip(start).take(limit).cloned().collect(), missed_lines }
    }

    /// See [`Daemon::log_changes`](crate::Daemon::log_changes).
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        // A panic while pushing leaves at worst a wrong byte count, never a broken line.
        self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn cost_bytes(line: &LogLine) -> usize {
    LINE_OVERHEAD_BYTES + line.service.len() + line.text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lines_time_is_that_of_the_calendar() {
        for (time_ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_735_689_599_042, "2024-12-31T23:59:59.042Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(utc(time_ms), expected);
        }
    }

    fn filled(max_lines: usize, max_bytes: usize, count: usize) -> LogTail {
        let tail = LogTail::new(max_lines, max_bytes);
        for i in 0..count {
            tail.push("echo", Some(7), LogStream::Stdout, format!("line {i}"));
        }
        tail
    }

    fn texts(page: &LogPage) -> Vec<&str> {
        page.lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn levels_are_those_of_a_services_own_log() {
        let level = |stream, text: &str| {
            let tail = LogTail::default();
            tail.push("echo", None, stream, text.into());
            tail.since(None, 1).lines[0].level()
        };
        assert_eq!(level(LogStream::Log, "warning: low on tea: refill"), Some(Level::Warning));
        assert_eq!(level(LogStream::Log, "not one of ours"), None);
        assert_eq!(level(LogStream::Stderr, "warning: printed"), None);
    }

    #[test]
    fn the_newest_lines_stay() {
        let tail = filled(3, usize::MAX, 5);
        let page = tail.since(None, 10);
        assert_eq!(texts(&page), ["line 2", "line 3", "line 4"]);
        assert_eq!(texts(&tail.since(None, 2)), ["line 3", "line 4"]);
        assert_eq!(*tail.changes().borrow(), page.lines[2].cursor);
    }

    #[test]
    fn bytes_are_bounded_but_the_newest_line_is_kept() {
        let tail = filled(100, 1, 4);
        assert_eq!(texts(&tail.since(None, 10)), ["line 3"]);
    }

    #[test]
    fn a_cursor_gets_what_follows_and_hears_what_it_missed() {
        let tail = filled(3, usize::MAX, 5);
        let first_kept = tail.since(None, 10).lines[0].cursor;
        let page = tail.since(Some(first_kept), 10);
        assert_eq!((texts(&page), page.missed_lines), (vec!["line 3", "line 4"], 0));
        let page = tail.since(Some(first_kept - 2), 1);
        assert_eq!((texts(&page), page.missed_lines), (vec!["line 2"], 1));
        assert!(tail.since(Some(first_kept + 2), 10).lines.is_empty());
        assert_eq!(tail.since(Some(0), 10).missed_lines, 2);
    }
}
