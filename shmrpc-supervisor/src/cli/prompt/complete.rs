//! The words that may stand where the cursor is: a pure function of the grammar, the line up to the cursor, and the
//! services and methods that there are.

use clap::{Arg, Command, ValueHint};

/// What can be found out about services.
pub(super) trait Known {
    /// Names of all services.
    fn services(&self) -> Vec<String>;
    /// Names of a service's methods; none if it is not there.
    fn methods(&self, service: &str) -> Vec<String>;
}

/// What may stand there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Completion {
    /// One of these words, from that byte of the line on.
    Words(usize, Vec<String>),
    /// A file.
    Files,
}

/// `line` ends at the cursor; `grammar` has been built.
pub(super) fn complete(grammar: &Command, line: &str, known: &dyn Known) -> Completion {
    let Some((start, before)) = last_word(line) else { return Completion::Words(line.len(), Vec::new()) };
    let begun = &line[start..];
    let all = match Place::of(grammar, before) {
        Place::Command(command) => names_of(command),
        Place::Option(command) => options_of(command, begun),
        Place::Value(arg, given) => {
            let hint = arg.get_value_hint();
            if matches!(hint, ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath) {
                return Completion::Files;
            }
            if begun.starts_with('-') && !given.is_option {
                options_of(given.command, begun)
            } else {
                values_of(arg, &given, known)
            }
        }
    };
    Completion::Words(start, all.into_iter().filter(|word| word.starts_with(begun)).collect())
}

/// Where the last word begins, and the words before it; `None` within quotes.
fn last_word(line: &str) -> Option<(usize, Vec<String>)> {
    let (mut start, mut quote, mut is_escaped) = (0, None, false);
    for (at, c) in line.char_indices() {
        match (quote, c) {
            _ if is_escaped => is_escaped = false,
            (None | Some('"'), '\\') => is_escaped = true,
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, c) if c.is_whitespace() => start = at + c.len_utf8(),
            _ => {}
        }
    }
    if quote.is_some() { None } else { Some((start, shlex::split(&line[..start])?)) }
}

/// What the grammar wants next.
enum Place<'a> {
    Command(&'a Command),
    Option(&'a Command),
    Value(&'a Arg, Given<'a>),
}

/// What has been given already.
struct Given<'a> {
    command: &'a Command,
    values: Vec<String>,
    is_option: bool,
}

impl<'a> Place<'a> {
    fn of(grammar: &'a Command, words: Vec<String>) -> Self {
        let (mut command, mut values, mut pending) = (grammar, Vec::new(), None);
        for word in words {
            if pending.take().is_some() {
                continue;
            }
            if let Some(next) = command.find_subcommand(&word) {
                command = next;
            } else if word.starts_with('-') {
                pending = option(command, &word).filter(|arg| arg.get_action().takes_values());
            } else {
                values.push(word);
            }
        }
        if let Some(arg) = pending {
            return Self::Value(arg, Given { command, values, is_option: true });
        }
        if command.has_subcommands() {
            return if values.is_empty() { Self::Command(command) } else { Self::Option(command) };
        }
        let positionals: Vec<&Arg> = command.get_positionals().collect();
        let takes_more = |arg: &&Arg| arg.get_num_args().is_some_and(|range| range.max_values() > 1);
        let next =
            positionals.get(values.len()).copied().or_else(|| positionals.last().copied().filter(takes_more));
        match next {
            Some(arg) => Self::Value(arg, Given { command, values, is_option: false }),
            None => Self::Option(command),
        }
    }
}

/// The option that a word names, unless its value stands in the same word.
fn option<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| {
        let short = arg.get_short().map(|short| format!("-{short}"));
        let long = arg.get_long().map(|long| format!("--{long}"));
        short.as_deref() == Some(word) || long.as_deref() == Some(word)
    })
}

fn names_of(command: &Command) -> Vec<String> {
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    shown.map(|command| command.get_name().to_owned()).collect()
}

/// Options, where one has been begun.
fn options_of(command: &Command, begun: &str) -> Vec<String> {
    let shown =
        command.get_opts().chain(command.get_arguments().filter(|arg| !arg.get_action().takes_values()));
    let shown = shown.filter(|arg| begun.starts_with('-') && !arg.is_hide_set());
    shown.filter_map(|arg| Some(format!("--{}", arg.get_long()?))).collect()
}

fn values_of(arg: &Arg, given: &Given<'_>, known: &dyn Known) -> Vec<String> {
    match arg.get_id().as_str() {
        "service" => known.services(),
        "services" => {
            let not_yet = |name: &String| !given.values.contains(name);
            known.services().into_iter().filter(not_yet).collect()
        }
        "endpoint" => known.services().into_iter().map(|name| format!("shm://{name}")).collect(),
        "method" => {
            let service = given.values.first().and_then(|endpoint| endpoint.strip_prefix("shm://"));
            service.map_or_else(Vec::new, |service| known.methods(service))
        }
        "to" => ["auto", "+1", "-1"].map(str::to_owned).into(),
        _ => {
            let values = arg.get_possible_values();
            values.iter().map(|value| value.get_name().to_owned()).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::args::Line;

    struct Two;

    impl Known for Two {
        fn services(&self) -> Vec<String> {
            ["echo_serv", "search"].map(str::to_owned).into()
        }

        fn methods(&self, service: &str) -> Vec<String> {
            if service == "echo_serv" {
                ["echo_json", "echo_raw"].map(str::to_owned).into()
            } else {
                Vec::new()
            }
        }
    }

    fn completion(line: &str) -> Completion {
        let mut grammar = Line::command();
        grammar.build();
        complete(&grammar, line, &Two)
    }

    fn words(line: &str) -> String {
        match completion(line) {
            Completion::Words(_, words) => words.join(" "),
            Completion::Files => "FILES".into(),
        }
    }

    #[test]
    fn every_place_has_its_words() {
        for (line, expected) in [
            ("sta", "status start"),
            ("exi", "exit"),
            ("hel", "help"),
            ("help sto", "stop"),
            ("stop ", "echo_serv search"),
            ("stop e", "echo_serv"),
            ("stop echo_serv ", "search"),
            ("stop --timeout 5s s", "search"),
            ("logs ", "echo_serv search"),
            ("logs search ", ""),
            ("logs --stream d", "daemon"),
            ("logs -n ", ""),
            ("logs --fo", "--follow"),
            ("restart --ro", "--rolling"),
            ("restart search --at", "--at-once"),
            ("scale search a", "auto"),
            ("call shm://e", "shm://echo_serv"),
            ("call shm://echo_serv echo_", "echo_json echo_raw"),
            ("call shm://nobody ", ""),
            ("call shm://echo_serv echo_json '{\"a\": s", ""),
            ("bench shm://echo_serv echo_j", "echo_json"),
            ("completions z", "zsh"),
            ("check serv", "FILES"),
            ("call shm://echo_serv echo_raw --raw ", "FILES"),
            ("nonsense ", ""),
        ] {
            assert_eq!(words(line), expected, "{line:?}");
        }
        assert!(words("").starts_with("services methods call "), "{}", words(""));
        assert_eq!(completion("stop  ec"), Completion::Words(6, vec!["echo_serv".into()]));
    }
}
