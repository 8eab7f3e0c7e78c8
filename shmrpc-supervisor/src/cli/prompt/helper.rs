//! What the line editor asks of us: the candidates for a Tab. Which words may stand there is [`complete`]'s
//! business; here is where services and methods are looked up.

use std::{path::PathBuf, time::Duration};

use clap::CommandFactory;
use rustyline::{
    Context,
    completion::{Completer, FilenameCompleter, Pair},
    highlight::Highlighter,
    hint::Hinter,
    validate::Validator,
};

use super::complete::{Completion, Known, complete};
use crate::cli::{args::Line, control::Control, services};

/// Who presses Tab does not wait longer.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Helper {
    grammar: clap::Command,
    running: Running,
}

impl Helper {
    pub(super) fn new(runtime_dir: Option<PathBuf>) -> Self {
        let mut grammar = Line::command();
        grammar.build();
        Self { grammar, running: Running { runtime_dir } }
    }
}

/// The services there are: the daemon's, without a daemon those that run by themselves.
struct Running {
    runtime_dir: Option<PathBuf>,
}

impl Running {
    fn control(&self) -> Control {
        Control::new(self.runtime_dir.as_deref()).with_patience(PATIENCE)
    }
}

impl Known for Running {
    fn services(&self) -> Vec<String> {
        match self.control().snapshot() {
            Ok(snapshot) => snapshot.services.into_iter().map(|service| service.name).collect(),
            Err(_) => services::names(self.runtime_dir.as_deref()),
        }
    }

    fn methods(&self, service: &str) -> Vec<String> {
        let service = self.control().service(service);
        let methods = service.map(|service| service.methods).unwrap_or_default();
        methods.into_iter().map(|method| method.description.name).collect()
    }
}

impl Completer for Helper {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        match complete(&self.grammar, &line[..pos], &self.running) {
            Completion::Words(start, words) => {
                let pair = |word: String| Pair { replacement: format!("{word} "), display: word };
                Ok((start, words.into_iter().map(pair).collect()))
            }
            Completion::Files => FilenameCompleter::new().complete_path(line, pos),
        }
    }
}

impl Hinter for Helper {
    type Hint = String;
}
impl Highlighter for Helper {}
impl Validator for Helper {}
impl rustyline::Helper for Helper {}
