//! What the user has chosen to see, and what there is to see: keys and news in, nothing drawn.

use std::cmp::Ordering;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use shmrpc_web::{Snapshot, log::utc};

use super::frame::{Frame, ServiceRow, Window};
use crate::cli::failure::Failure;

/// What is to happen after a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    Leave,
}

/// By what services are sorted. Numbers begin with the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// As in the ini file.
    #[default]
    Own,
    Name,
    Status,
    Workers,
    Calls,
    Errors,
    P99,
    Wait,
    Cpu,
    Memory,
}

impl Sort {
    fn of(key: char) -> Option<Self> {
        Some(match key {
            'o' => Self::Own,
            'n' => Self::Name,
            's' => Self::Status,
            'w' => Self::Workers,
            'c' => Self::Calls,
            'e' => Self::Errors,
            'p' => Self::P99,
            't' => Self::Wait,
            'u' => Self::Cpu,
            'm' => Self::Memory,
            _ => return None,
        })
    }

    fn compare(self, one: &ServiceRow, other: &ServiceRow) -> Ordering {
        let number = |of: fn(&ServiceRow) -> f64| of(other).total_cmp(&of(one));
        match self {
            Self::Own => Ordering::Equal,
            Self::Name => one.name.cmp(&other.name),
            Self::Status => one.status.name().cmp(other.status.name()),
            Self::Workers => number(|row| row.workers_running as f64),
            Self::Calls => number(|row| row.calls.calls_per_s.unwrap_or(-1.0)),
            Self::Errors => number(|row| row.calls.errors_per_s.unwrap_or(-1.0)),
            Self::P99 => number(|row| row.calls.p99_ns.map_or(-1.0, |ns| ns as f64)),
            Self::Wait => number(|row| row.queue_wait_ns.map_or(-1.0, |ns| ns as f64)),
            Self::Cpu => number(|row| row.cpu_share),
            Self::Memory => number(|row| row.memory_bytes as f64),
        }
    }
}

#[derive(Default)]
pub(super) struct State {
    window: Window,
    /// The newest, its services in the order of [`Sort`].
    pub(super) frame: Option<Frame>,
    /// Why there is nothing newer, or that the daemon is another.
    pub(super) notice: Option<String>,
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    /// The service that the cursor is at; none: the first.
    selected: Option<String>,
    /// Its workers and methods are shown.
    pub(super) is_open: bool,
    /// How far the open service's lines are scrolled; the view knows how far that can be.
    pub(super) scrolled: usize,
    pub(super) is_helping: bool,
}

impl State {
    /// Takes what the daemon has answered, or that it has not.
    pub(super) fn hear(&mut self, news: Result<Snapshot, Failure>) {
        match news {
            Ok(snapshot) => {
                let before = self.frame.as_ref().map_or(snapshot.pid, |frame| frame.pid);
                if before != snapshot.pid {
                    self.notice = Some(format!("another daemon since {}", clock(snapshot.time_ms)));
                } else if self.notice.as_ref().is_some_and(|notice| notice.contains(TRYING_AGAIN)) {
                    self.notice = None;
                }
                self.window.push(snapshot);
                self.frame = self.window.frame();
                self.arrange();
            }
            Err(failure) => {
                let seen =
                    self.frame.as_ref().map(|frame| format!("; this is from {}", clock(frame.time_ms)));
                self.notice = Some(format!("{failure}; {TRYING_AGAIN}{}", seen.unwrap_or_default()));
            }
        }
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> Next {
        if key.kind == KeyEventKind::Release {
            return Next::Stay;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if self.is_helping {
            self.is_helping = false;
            return if is_control && key.code == KeyCode::Char('c') { Next::Leave } else { Next::Stay };
        }
        match key.code {
            KeyCode::Char('c' | 'd') if is_control => return Next::Leave,
            KeyCode::Char('q') => return Next::Leave,
            KeyCode::Esc | KeyCode::Left | KeyCode::Backspace if self.is_open => self.is_open = false,
            KeyCode::Esc => return Next::Leave,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.is_helping = true,
            KeyCode::Enter | KeyCode::Right => (self.is_open, self.scrolled) = (true, 0),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-10),
            KeyCode::PageDown => self.step(10),
            KeyCode::Home => self.step(isize::MIN),
            KeyCode::End => self.step(isize::MAX),
            KeyCode::Char(key) => {
                if let Some(sort) = Sort::of(key) {
                    self.is_reversed = self.sort == sort && !self.is_reversed && sort != Sort::Own;
                    self.sort = sort;
                    self.arrange();
                }
            }
            _ => {}
        }
        Next::Stay
    }

    /// The row of the cursor, unless there is none.
    pub(super) fn position(&self) -> Option<usize> {
        let services = &self.frame.as_ref()?.services;
        let selected = self.selected.as_ref();
        let position = selected.and_then(|name| services.iter().position(|row| row.name == *name));
        position.or((!services.is_empty()).then_some(0))
    }

    /// The service of the cursor.
    pub(super) fn service(&self) -> Option<&ServiceRow> {
        self.frame.as_ref()?.services.get(self.position()?)
    }

    fn step(&mut self, by: isize) {
        if self.is_open {
            self.scrolled = self.scrolled.saturating_add_signed(by);
            return;
        }
        let Some(at) = self.position() else { return };
        let Some(frame) = &self.frame else { return };
        let to = at.saturating_add_signed(by).min(frame.services.len() - 1);
        self.selected = Some(frame.services[to].name.clone());
    }

    fn arrange(&mut self) {
        let Some(mut frame) = self.window.frame() else { return };
        frame.services.sort_by(|one, other| self.sort.compare(one, other));
        if self.is_reversed {
            frame.services.reverse();
        }
        self.frame = Some(frame);
    }
}

const TRYING_AGAIN: &str = "trying again";

/// The time of day, UTC.
pub(super) fn clock(time_ms: u64) -> String {
    utc(time_ms)[11..19].to_owned()
}

#[cfg(test)]
mod tests {
    use super::{super::frame::tests::snapshot, *};
    use crate::cli::failure::Exit;

    fn state() -> State {
        let mut state = State::default();
        state.hear(Ok(snapshot(1, 1000, 0)));
        state.hear(Ok(snapshot(1, 2000, 10)));
        state
    }

    fn press(state: &mut State, code: KeyCode) -> Next {
        state.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn names(state: &State) -> Vec<&str> {
        state.frame.as_ref().unwrap().services.iter().map(|row| row.name.as_str()).collect()
    }

    #[test]
    fn keys_sort_and_once_more_the_other_way_round() {
        let mut state = state();
        assert_eq!(names(&state), ["echo_serv", "a"]);
        press(&mut state, KeyCode::Char('n'));
        assert_eq!(names(&state), ["a", "echo_serv"]);
        press(&mut state, KeyCode::Char('n'));
        assert_eq!(names(&state), ["echo_serv", "a"]);
        state.hear(Ok(snapshot(1, 3000, 20)));
        assert_eq!(names(&state), ["echo_serv", "a"], "news do not change the order");
        for key in "swceptumo".chars() {
            press(&mut state, KeyCode::Char(key));
            assert!(state.sort == Sort::of(key).unwrap() && !state.is_reversed, "{key}");
        }
    }

    #[test]
    fn the_cursor_stays_with_its_service() {
        let mut state = state();
        assert_eq!(state.service().unwrap().name, "echo_serv");
        press(&mut state, KeyCode::Up);
        press(&mut state, KeyCode::Down);
        press(&mut state, KeyCode::End);
        assert_eq!(state.service().unwrap().name, "a");
        press(&mut state, KeyCode::Char('n'));
        assert_eq!((state.service().unwrap().name.as_str(), state.position()), ("a", Some(0)));
    }

    #[test]
    fn one_enters_and_leaves() {
        let mut state = state();
        press(&mut state, KeyCode::Enter);
        press(&mut state, KeyCode::Down);
        assert!(state.is_open && state.scrolled == 1);
        assert_eq!(press(&mut state, KeyCode::Esc), Next::Stay);
        assert!(!state.is_open);
        assert_eq!(press(&mut state, KeyCode::Char('?')), Next::Stay);
        assert_eq!(press(&mut state, KeyCode::Char('q')), Next::Stay, "any key ends the help");
        assert_eq!(press(&mut state, KeyCode::Char('q')), Next::Leave);
        assert_eq!(press(&mut state, KeyCode::Esc), Next::Leave);
        assert_eq!(state.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Next::Leave);
    }

    #[test]
    fn a_daemon_that_goes_and_comes_back_is_told_of() {
        let mut state = State::default();
        state.hear(Err(Failure::new(Exit::NotFound, "nobody")));
        assert_eq!(state.notice.as_deref(), Some("nobody; trying again"));
        state.hear(Ok(snapshot(1, 1000, 0)));
        assert_eq!(state.notice, None);
        state.hear(Err(Failure::new(Exit::NotFound, "nobody")));
        assert_eq!(state.notice.as_deref(), Some("nobody; trying again; this is from 00:16:41"));
        assert_eq!(names(&state).len(), 2, "what was seen last stays");
        state.hear(Ok(snapshot(2, 1000, 0)));
        assert_eq!(state.notice.as_deref(), Some("another daemon since 00:16:41"));
    }
}
