//! The console log and the events on the page. Lines are untrusted bytes of workers: [`ansi`] makes them harmless, and
//! markup is escaped by whoever inserts the text.

mod ansi;

use maud::{Markup, html};
use serde::Serialize;

use self::ansi::Piece;
pub(super) use self::ansi::harmless;
use super::{View, parts};
use crate::{
    log::{LogLine, LogPage, LogStream, utc},
    snapshot::Snapshot,
};

/// Colours by which services can be told apart.
const TINTS: usize = 6;

/// Lines ready for display, as the page's scripts get them.
#[derive(Debug, Serialize)]
pub(crate) struct ShownLog {
    lines: Vec<ShownLine>,
    missed_lines: u64,
}

#[derive(Debug, Serialize)]
struct ShownLine {
    cursor: u64,
    time_ms: u64,
    service: String,
    pid: Option<u32>,
    /// The service's colour; the daemon has none.
    tint: Option<usize>,
    stream: &'static str,
    /// How much it matters: 0 debugging to 4 critical.
    level: u8,
    pieces: Vec<Piece>,
}

/// What the page's scripts get of a log page.
pub(crate) fn shown_log(snapshot: &Snapshot, page: &LogPage) -> ShownLog {
    let lines = page.lines.iter().map(|line| shown_line(snapshot, line)).collect();
    ShownLog { lines, missed_lines: page.missed_lines }
}

/// A page of lines as text, one a line, for whoever keeps it as a file.
pub(crate) fn as_text(page: &LogPage) -> String {
    let mut text = String::new();
    for line in &page.lines {
        let service = if line.service.is_empty() { "daemon" } else { &line.service };
        let pid = line.pid.map(|pid| format!("[{pid}]")).unwrap_or_default();
        let (time, stream) = (utc(line.time_ms), line.stream.name());
        text += &format!("{time} {}{pid} {stream}: {}\n", harmless(service), harmless(&line.text));
    }
    text
}

fn shown_line(snapshot: &Snapshot, line: &LogLine) -> ShownLine {
    let place = snapshot.services.iter().position(|service| service.name == line.service);
    ShownLine {
        cursor: line.cursor,
        time_ms: line.time_ms,
        service: if line.service.is_empty() { "daemon".into() } else { harmless(&line.service) },
        pid: line.pid,
        tint: place.map(|place| place % TINTS),
        stream: line.stream.name(),
        level: level(line),
        pieces: ansi::pieces(&line.text),
    }
}

/// The levels that lines may be chosen by, with the least of each.
const LEVELS: [(u8, &str); 4] =
    [(0, "All levels"), (1, "Info and above"), (2, "Warnings and above"), (3, "Errors and above")];

/// A service's own logger says it first; what comes without a level counts as information, on standard error as a warning.
fn level(line: &LogLine) -> u8 {
    match line.stream {
        LogStream::Log => match line.text.split(':').next().unwrap_or_default() {
            "trace" | "debug" => 0,
            "warning" | "warn" => 2,
            "error" => 3,
            "critical" => 4,
            _ => 1,
        },
        LogStream::Stderr => 2,
        LogStream::Stdout | LogStream::Daemon => 1,
    }
}

/// The section with the newest lines, for scripts to go on from.
pub(super) fn section(snapshot: &Snapshot, view: &View, page: &LogPage) -> Markup {
    let shown = shown_log(snapshot, page);
    let cursor = shown.lines.last().map(|line| line.cursor);
    let (heading, nothing) = match view {
        View::Events => ("Events", "Nothing has happened yet."),
        View::Overview | View::Service(_) => ("Console log", "Nothing has been printed yet."),
    };
    html! {
        section #log .log .(view.name()) aria-labelledby="log-heading" {
            div.bar {
                h2 #log-heading { (heading) }
                (tools(snapshot, view))
            }
            div.frame {
                // A busy log read aloud would drown everything else, hence aria-live="off".
                div #log-lines .lines role="log" aria-live="off" aria-labelledby="log-heading" tabindex="0"
                    data-cursor=[cursor] {
                    @for line in &shown.lines { (rendered(line)) }
                }
                p #log-empty .empty hidden[!shown.lines.is_empty()] { (nothing) }
                button #log-newest .newest type="button" hidden { "Newest lines ↓" }
            }
        }
    }
}

fn tools(snapshot: &Snapshot, view: &View) -> Markup {
    html! {
        div.tools hidden {
            @if !matches!(view, View::Service(_)) {
                label.visually-hidden for="log-service" { "Service" }
                select #log-service {
                    option value="" { "All services" }
                    option { "daemon" }
                    @for service in &snapshot.services { option { (service.name) } }
                }
            }
            @if *view != View::Events {
                label.visually-hidden for="log-level" { "Level" }
                select #log-level { @for (least, word) in LEVELS { option value=(least) { (word) } } }
            }
            label.visually-hidden for="log-text" { "Text" }
            input #log-text type="search" placeholder="Filter lines" autocomplete="off" spellcheck="false";
            button #log-pause type="button" aria-pressed="false" { "Pause" }
            button #log-clear type="button" { "Clear" }
            a.button href=(download(view)) download { "Download" }
        }
    }
}

/// All lines that the daemon still has, as a file.
fn download(view: &View) -> String {
    match view {
        View::Overview => "/api/v1/logs?limit=10000&format=text".into(),
        View::Events => "/api/v1/logs?limit=10000&format=text&stream=daemon".into(),
        View::Service(name) => {
            format!("/api/v1/logs?limit=10000&format=text&service={}", parts::url_part(name))
        }
    }
}

/// The same elements as `console.js` makes.
fn rendered(line: &ShownLine) -> Markup {
    let whole = utc(line.time_ms);
    let (date, time) = (&whole[..10], &whole[11..whole.len() - 1]);
    html! {
        div.line data-stream=(line.stream) data-service=(line.service) data-level=(line.level) {
            // The time in UTC; scripts show the reader's own instead.
            time datetime=(&whole) { span.date { (date) " " } (time) }
            span.service data-tint=[line.tint] title=[line.pid.map(|pid| format!("pid {pid}"))] { (line.service) }
            span.text {
                @for piece in &line.pieces {
                    @if piece.style.is_empty() { (piece.text) } @else { span class=(piece.style) { (piece.text) } }
                }
            }
        }
    }
}

/// The lines alone, as they stand in the page.
#[cfg(feature = "fuzzing")]
pub(crate) fn rendered_lines(page: &LogPage) -> String {
    let shown = shown_log(&Snapshot::default(), page);
    shown.lines.iter().map(|line| rendered(line).into_string()).collect()
}

#[cfg(feature = "fuzzing")]
impl ShownLog {
    /// All texts that came from a worker.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().flat_map(|line| {
            let texts = line.pieces.iter().map(|piece| piece.text.as_str());
            std::iter::once(line.service.as_str()).chain(texts)
        })
    }

    /// How many parts of lines have a style, and so an element of their own.
    pub(crate) fn styled(&self) -> usize {
        self.lines.iter().flat_map(|line| &line.pieces).filter(|piece| !piece.style.is_empty()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stream: LogStream, text: &str) -> LogLine {
        LogLine { cursor: 1, time_ms: 0, service: "\"><script>".into(), pid: None, stream, text: text.into() }
    }

    #[test]
    fn markup_is_escaped() {
        let line = line(LogStream::Stdout, "<img src=x onerror=alert(1)>\u{1b}[31m<b>");
        let html = rendered(&shown_line(&Snapshot::default(), &line)).into_string();
        assert!(!html.contains("<img") && !html.contains("<script") && !html.contains("<b>"), "{html}");
        assert!(html.contains("<span class=\"f1\">&lt;b&gt;</span>"), "{html}");
    }

    #[test]
    fn levels_are_those_of_the_logger() {
        for (stream, text, expected) in [
            (LogStream::Log, "debug: x", 0),
            (LogStream::Log, "info: error: x", 1),
            (LogStream::Log, "warning: x", 2),
            (LogStream::Log, "critical: x", 4),
            (LogStream::Stdout, "error: x", 1),
            (LogStream::Stderr, "x", 2),
        ] {
            assert_eq!(level(&line(stream, text)), expected, "{text}");
        }
    }
}
