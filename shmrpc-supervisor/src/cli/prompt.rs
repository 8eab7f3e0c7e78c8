//! `shmrpc` without a command: a prompt on a terminal, elsewhere commands from standard input, a line each.
//!
//! A line is understood by the definitions of the command line, and done by a process of this program of its own. So ^C
//! ends what runs and not the prompt, and nothing that a command leaves behind outlives it.

mod complete;
mod helper;
mod history;

use std::{
    io::{self, BufRead, IsTerminal, stdin, stdout},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{ExitStatus, Stdio},
    sync::{Arc, atomic::AtomicBool},
};

use clap::{CommandFactory, Parser, error::ErrorKind};
use rustyline::{CompletionType, Config, Editor, error::ReadlineError, history::FileHistory};
use signal_hook::consts::{SIGINT, SIGQUIT};

use self::{helper::Helper, history::Kept};
use super::{
    args::{Line, Reach, Word},
    control::Control,
    failure::{Exit, Failure},
};

const PROMPT: &str = "shmrpc> ";

/// Reads lines and has each done, until the input ends or a line says so. On a terminal that is a success whatever has
/// failed; elsewhere the first failure ends it.
pub(super) fn run(reach: &Reach) -> Result<(), Failure> {
    if !stdin().is_terminal() || !stdout().is_terminal() {
        return script(reach, stdin().lock());
    }
    // A command that runs hears these too, and ends by them; the prompt stays.
    for signal in [SIGINT, SIGQUIT] {
        let unheeded = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal, unheeded).map_err(|error| no_terminal(&error))?;
    }
    converse(reach)
}

fn converse(reach: &Reach) -> Result<(), Failure> {
    let config = Config::builder()
        .max_history_size(history::MAX_LINES)
        .and_then(|config| config.history_ignore_dups(true))
        .map_err(|error| no_terminal(&error))?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .build();
    let mut editor =
        Editor::<Helper, FileHistory>::with_config(config).map_err(|error| no_terminal(&error))?;
    editor.set_helper(Some(Helper::new(reach.runtime_dir.clone())));
    let mut kept = Kept::load(&mut editor);
    greet(reach);
    loop {
        match editor.readline(PROMPT) {
            Ok(line) => {
                let _is_new = editor.add_history_entry(line.as_str());
                kept.save(&mut editor);
                if !answer(reach, &line) {
                    return Ok(());
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(no_terminal(&error)),
        }
    }
}

fn no_terminal(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Other, format!("the terminal cannot be used: {error}"))
}

fn greet(reach: &Reach) {
    let daemon = match Control::new(reach.runtime_dir.as_deref()).snapshot() {
        Ok(snapshot) => {
            let running =
                snapshot.services.iter().filter(|service| service.status.name() == "running").count();
            format!("{running} of {} services run", snapshot.services.len())
        }
        Err(failure) => failure.to_string(),
    };
    println!("{daemon}. 'help' lists commands, Tab completes, ^D leaves.");
}

/// What a line is.
enum Understood {
    /// Empty, or a comment.
    Nothing,
    /// Words of a command.
    Command(Vec<String>),
    /// Something to be told: help, or what is wrong with the line.
    Told(clap::Error),
    Leave,
}

fn understand(line: &str) -> Understood {
    let Some(words) = shlex::split(line) else {
        return Understood::Told(Line::command().error(ErrorKind::InvalidValue, "a quote is not closed"));
    };
    if words.is_empty() {
        return Understood::Nothing;
    }
    match Line::try_parse_from(&words) {
        Ok(Line { word: Word::Exit, .. }) => Understood::Leave,
        Ok(Line { word: Word::Command(_), .. }) => Understood::Command(words),
        Err(answer) => Understood::Told(answer),
    }
}

/// Tells it, and says whether that was a failure.
fn tell(answer: &clap::Error) -> u8 {
    let _unread = answer.print();
    u8::try_from(answer.exit_code()).unwrap_or(1)
}

/// At a terminal: whatever fails has said so itself. Whether to stay.
fn answer(reach: &Reach, line: &str) -> bool {
    match understand(line) {
        Understood::Nothing => {}
        Understood::Leave => return false,
        Understood::Told(answer) => {
            tell(&answer);
        }
        Understood::Command(words) => match process(reach, &words).status() {
            // The terminal has shown ^C, and is in the midst of a line.
            Ok(status) if status.signal() == Some(SIGINT) => println!(),
            Ok(status) => {
                if let Some(signal) = status.signal() {
                    eprintln!("shmrpc: ended by signal {signal}");
                }
            }
            Err(error) => eprintln!("shmrpc: {}", cannot_run(&error)),
        },
    }
    true
}

fn script(reach: &Reach, input: impl BufRead) -> Result<(), Failure> {
    for (index, line) in input.lines().enumerate() {
        let line =
            line.map_err(|error| Failure::new(Exit::Other, format!("reading standard input: {error}")))?;
        let code = match understand(&line) {
            Understood::Nothing => 0,
            Understood::Leave => return Ok(()),
            Understood::Told(answer) => tell(&answer),
            Understood::Command(words) => {
                // The lines that follow are commands, and no command's input.
                let status = process(reach, &words).stdin(Stdio::null()).status();
                code_of(status.map_err(|error| cannot_run(&error))?)
            }
        };
        if code != 0 {
            let text = format!("line {} failed with code {code}, the rest is left undone: {line}", index + 1);
            return Err(Failure::with_code(code, text));
        }
    }
    Ok(())
}

/// This program, to do what the words say.
fn process(reach: &Reach, words: &[String]) -> std::process::Command {
    // The very file that runs, even if another has been put in its place.
    let mut process = std::process::Command::new("/proc/self/exe");
    process.arg0("shmrpc").args(reach.to_args()).args(words);
    process
}

fn cannot_run(error: &io::Error) -> Failure {
    Failure::new(Exit::Other, format!("cannot run a command: {error}"))
}

/// As shells have it: 128 and the signal's number.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    u8::try_from(code).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Line::command().debug_assert();
    }

    #[test]
    fn lines_are_commands_or_say_what_they_are() {
        let words = |line: &str| match understand(line) {
            Understood::Command(words) => words,
            _ => panic!("{line:?} is no command"),
        };
        assert_eq!(words("  stop a  b"), ["stop", "a", "b"]);
        assert_eq!(words(r#"call shm://a b '{"c": [1, "d e"]}'"#)[3], r#"{"c": [1, "d e"]}"#);
        assert_eq!(words("status # all of them"), ["status"]);
        for line in ["", "   ", "# nothing"] {
            assert!(matches!(understand(line), Understood::Nothing), "{line:?}");
        }
        for line in ["exit", "quit"] {
            assert!(matches!(understand(line), Understood::Leave), "{line:?}");
        }
        let told = |line: &str| match understand(line) {
            Understood::Told(answer) => (answer.exit_code(), answer.to_string()),
            _ => panic!("{line:?} is understood"),
        };
        for (line, part) in
            [("help", "Leaves the prompt"), ("help stop", "Usage: stop"), ("stop --help", "Usage: stop")]
        {
            let (code, text) = told(line);
            assert!(code == 0 && text.contains(part), "{line:?}: {text}");
        }
        for line in ["nonsense", "stop", "stop 'a", "exit now", "shmrpc status", "call shm://a"] {
            assert_eq!(told(line).0, 2, "{line:?}");
        }
    }
}
