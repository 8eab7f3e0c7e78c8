//! The console log on the page. Lines are untrusted bytes of workers: escape sequences are taken out,
//! other control characters become visible, overlong lines are cut, and markup is escaped by whoever
//! inserts the text.

use maud::{Markup, html};
use serde::Serialize;

use super::format;
use crate::{
    log::{LogLine, LogPage, utc},
    snapshot::Snapshot,
};

/// A line is shown up to so many characters.
const MAX_CHARS: usize = 4000;
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
    text: String,
}

/// What the page's scripts get of a log page.
pub(crate) fn shown_log(snapshot: &Snapshot, page: &LogPage) -> ShownLog {
    let lines = page.lines.iter().map(|line| shown_line(snapshot, line)).collect();
    ShownLog { lines, missed_lines: page.missed_lines }
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
        text: harmless(&line.text),
    }
}

/// The section with the newest lines, for scripts to go on from.
pub(super) fn section(snapshot: &Snapshot, page: &LogPage) -> Markup {
    let shown = shown_log(snapshot, page);
    let cursor = shown.lines.last().map(|line| line.cursor);
    html! {
        section #log .log aria-labelledby="log-heading" {
            div.bar {
                h2 #log-heading { "Console log" }
                div.tools hidden {
                    label.visually-hidden for="log-service" { "Service" }
                    select #log-service {
                        option value="" { "All services" }
                        option { "daemon" }
                        @for service in &snapshot.services { option { (service.name) } }
                    }
                    label.visually-hidden for="log-text" { "Text" }
                    input #log-text type="search" placeholder="Filter lines" autocomplete="off" spellcheck="false";
                    button #log-pause type="button" aria-pressed="false" { "Pause" }
                    button #log-clear type="button" { "Clear" }
                }
            }
            div.frame {
                // A busy log read aloud would drown everything else, hence aria-live="off".
                div #log-lines .lines role="log" aria-live="off" aria-labelledby="log-heading" tabindex="0"
                    data-cursor=[cursor] {
                    @for line in &shown.lines { (rendered(line)) }
                }
                p #log-empty .empty hidden[!shown.lines.is_empty()] { "Nothing has been printed yet." }
                button #log-newest .newest type="button" hidden { "Newest lines ↓" }
            }
        }
    }
}

/// The same elements as `console.js` makes.
fn rendered(line: &ShownLine) -> Markup {
    let whole = utc(line.time_ms);
    // The time of day; scripts show the reader's own instead.
    let time = &whole["2026-01-31T".len()..whole.len() - 1];
    html! {
        div.line data-stream=(line.stream) data-service=(line.service) {
            time datetime=(&whole) { (time) }
            span.service data-tint=[line.tint] title=[line.pid.map(|pid| format!("pid {pid}"))] { (line.service) }
            span.text { (line.text) }
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
        self.lines.iter().flat_map(|line| [line.service.as_str(), line.text.as_str()])
    }
}

/// The text without anything that could act on whoever shows it.
fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(MAX_CHARS * 4));
    let mut rest = text.chars().peekable();
    let mut shown_chars = 0;
    while let Some(c) = rest.next() {
        if shown_chars == MAX_CHARS {
            let left = 1 + rest.count();
            shown.push_str(&format!(" … {} characters more", format::count(left as u64)));
            return shown;
        }
        match c {
            '\u{1b}' => {
                skip_escape(&mut rest);
                continue;
            }
            '\t' => shown.push('\t'),
            // A carriage return before the end of the line, as Windows programs write it.
            '\r' if rest.peek().is_none() => {}
            '\0'..='\u{1f}' => shown.push(char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}')),
            '\u{7f}' => shown.push('\u{2421}'),
            // C1 controls, marks that turn the direction of text, invisible joints and fillers.
            '\u{80}'..='\u{9f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{61c}' => shown.push_str(&format!("<{:04X}>", c as u32)),
            _ => shown.push(c),
        }
        shown_chars += 1;
    }
    shown
}

/// Skips the rest of an escape sequence after ESC: CSI up to its final byte, the string kinds (OSC, DCS,
/// …) up to BEL or ST, others two characters. An unfinished one takes the rest of the line.
fn skip_escape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match rest.next() {
        Some('[') => {
            while let Some(&c) = rest.peek() {
                if !(' '..='~').contains(&c) {
                    return;
                }
                rest.next();
                if ('@'..='~').contains(&c) {
                    return;
                }
            }
        }
        Some(']' | 'P' | '^' | '_' | 'X') => {
            while let Some(c) = rest.next() {
                if c == '\u{7}' || (c == '\u{1b}' && rest.next_if_eq(&'\\').is_some()) {
                    return;
                }
            }
        }
        Some(' '..='/') => {
            rest.next();
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_harmful_is_shown() {
        for (text, expected) in [
            ("plain text, ümläut 漢字 🙂", "plain text, ümläut 漢字 🙂"),
            ("\u{1b}[1;31mred\u{1b}[0m!", "red!"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;http://x\u{1b}\\link", "link"),
            ("\u{1b}(Bcharset", "charset"),
            ("\u{1b}c reset", " reset"),
            ("cut \u{1b}[31", "cut "),
            ("cut \u{1b}", "cut "),
            ("\u{1b}[31\u{1}m", "␁m"),
            ("tab\tstays\r", "tab\tstays"),
            ("over\rwritten", "over␍written"),
            ("bell\u{7} null\0", "bell␇ null␀"),
            ("\u{202e}gnp.exe", "<202E>gnp.exe"),
            ("\u{9b}31m", "<009B>31m"),
        ] {
            assert_eq!(harmless(text), expected);
        }
    }

    #[test]
    fn long_lines_are_cut() {
        let text = "é".repeat(MAX_CHARS + 1500);
        let shown = harmless(&text);
        assert!(shown.ends_with("é … 1,500 characters more"), "{}", &shown[shown.len() - 60..]);
        assert_eq!(harmless(&text[..MAX_CHARS * 2]), text[..MAX_CHARS * 2]);
    }

    #[test]
    fn whatever_comes_nothing_that_acts_is_left() {
        let parts = [
            "\u{1b}", "[", "]", "0;", "m", "\u{7}", "\u{1b}\\", "\r", "\n", "\0", "\u{9b}", "\u{202e}",
            "\u{2066}", "\u{200b}", "P", "(", "x", "é", " ", "?25l", "\u{7f}", "\u{feff}", "\t",
        ];
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..10_000 {
            let mut text = String::new();
            for _ in 0..12 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                text += parts[(random % parts.len() as u64) as usize];
            }
            let shown = harmless(&text);
            let acts = |c: char| {
                (c.is_control() && c != '\t')
                    || ('\u{2028}'..='\u{202e}').contains(&c)
                    || ('\u{2060}'..='\u{206f}').contains(&c)
            };
            assert!(!shown.contains(acts), "{text:?} became {shown:?}");
            assert_eq!(harmless(&shown), shown);
        }
    }

    #[test]
    fn markup_is_escaped() {
        let line = LogLine {
            cursor: 1,
            time_ms: 0,
            service: "\"><script>".into(),
            pid: None,
            stream: crate::log::LogStream::Stdout,
            text: "<img src=x onerror=alert(1)>".into(),
        };
        let html = rendered(&shown_line(&Snapshot::default(), &line)).into_string();
        assert!(!html.contains("<img") && !html.contains("<script"), "{html}");
    }
}
