//! The daemon's own log: lines on stderr, for a terminal, a file, or the journal of systemd.
//!
//! `RUST_LOG` chooses the level, `info` unless it is set. Where stderr is the journal (`JOURNAL_STREAM`), a line begins with
//! its priority and has no time: the journal has its own.

use std::{env, fmt, io, io::IsTerminal, os::unix::fs::MetadataExt};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Writer},
    },
    registry::LookupSpan,
};

/// Begins. To be called once, before anything is logged.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        // Whoever reads our log may go away; we do not.
        .log_internal_errors(false);
    if is_journal() {
        let lines = Format::default().without_time().with_level(false).with_target(false).with_ansi(false);
        log.event_format(ForJournal(lines)).init();
    } else {
        log.init();
    }
}

/// Whether stderr is the journal: systemd names the device and inode of the stream that it has given.
fn is_journal() -> bool {
    let named = env::var("JOURNAL_STREAM").ok();
    let own = std::fs::metadata("/proc/self/fd/2").ok();
    named.zip(own).is_some_and(|(named, own)| named == format!("{}:{}", own.dev(), own.ino()))
}

/// Each line with `<N>` before it, the priority as syslog numbers it.
struct ForJournal(Format<Full, ()>);

impl<S, N> FormatEvent<S, N> for ForJournal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        text.lines().try_for_each(|line| writeln!(to, "<{priority}>{line}"))
    }
}
