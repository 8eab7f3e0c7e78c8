//! How something that takes long gets on, for whoever waits: on stderr one line that changes where that is a terminal,
//! else a line for each change.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

use ratatui::crossterm::terminal;

/// What is done sooner needs no words.
const QUIET_TIME: Duration = Duration::from_secs(1);

/// One wait. What it has shown is wiped away at its end.
pub(super) struct Progress {
    since: Instant,
    is_terminal: bool,
    shown: String,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), is_terminal: stderr().is_terminal(), shown: String::new() }
    }

    /// Says how far it is, unless that is known, or it is too early for words.
    pub(super) fn say(&mut self, text: String) {
        if self.since.elapsed() < QUIET_TIME || text == self.shown {
            return;
        }
        self.write(&text);
        self.shown = text;
    }

    /// Wipes away what is shown, before something else is said.
    pub(super) fn wipe(&mut self) {
        if self.is_terminal && !std::mem::take(&mut self.shown).is_empty() {
            self.write("");
        }
    }

    fn write(&self, text: &str) {
        // Nobody may be there to read it.
        let _unread = if self.is_terminal {
            // A line that is broken could not be taken back.
            let width = terminal::size().map_or(80, |(columns, _)| usize::from(columns)).saturating_sub(1);
            let text: String = text.chars().take(width).collect();
            write!(stderr(), "\r\x1b[K{text}").and_then(|()| stderr().flush())
        } else {
            writeln!(stderr(), "shmrpc: {text}")
        };
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.wipe();
    }
}
