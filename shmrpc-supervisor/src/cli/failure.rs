//! Why a command failed: a text for people and an exit code for scripts.

use std::{error::Error, fmt, io};

use shmrpc_core::{ConnectError, RpcError};

/// The exit codes, as `--help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    Other = 1,
    Usage = 2,
    NotFound = 3,
    Refused = 4,
    Deadline = 5,
    Service = 6,
    Lost = 7,
}

/// A command that failed.
#[derive(Debug)]
pub(super) struct Failure {
    exit: u8,
    text: String,
    closed_pipe: bool,
}

impl Failure {
    pub(super) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self::with_code(exit as u8, text)
    }

    /// A client process's failure, passed on.
    pub(super) fn with_code(exit: u8, text: impl Into<String>) -> Self {
        Self { exit, text: text.into(), closed_pipe: false }
    }

    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self::new(Exit::Usage, text)
    }

    /// A reader that went away (`| head`) is no failure.
    pub(super) fn output(error: io::Error) -> Self {
        let closed_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        Self { closed_pipe, ..Self::new(Exit::Other, format!("writing the output: {error}")) }
    }

    pub(super) fn code(&self) -> u8 {
        self.exit
    }

    pub(super) fn is_closed_pipe(&self) -> bool {
        self.closed_pipe
    }

    /// Says of whom the text speaks, unless it does so itself.
    pub(super) fn about(mut self, name: &str) -> Self {
        if !self.text.contains(name) {
            self.text = format!("{name}: {}", self.text);
        }
        self
    }

    /// Adds a hint after the text.
    pub(super) fn hint(mut self, hint: &str) -> Self {
        if !hint.is_empty() {
            self.text.push_str("; ");
            self.text.push_str(hint);
        }
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::new(connect_exit(&error), with_sources(&error))
    }
}

impl From<RpcError> for Failure {
    fn from(error: RpcError) -> Self {
        Self::new(call_exit(&error), with_sources(&error))
    }
}

fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

fn connect_exit(error: &ConnectError) -> Exit {
    match error {
        ConnectError::Endpoint(_) => Exit::Usage,
        ConnectError::NotFound { .. } => Exit::NotFound,
        ConnectError::Refused { .. } | ConnectError::Untrusted { .. } => Exit::Refused,
        // What this side was given is missing or of no use.
        ConnectError::Tls { .. } => Exit::Usage,
        ConnectError::TimedOut { .. } => Exit::Deadline,
        ConnectError::Io { source, .. } => match source.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotFound
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::AddrNotAvailable => Exit::NotFound,
            io::ErrorKind::TimedOut => Exit::Deadline,
            _ => Exit::Other,
        },
        // The last address was the last hope: what became of it says most.
        ConnectError::All(errors) => errors.last().map_or(Exit::Usage, connect_exit),
        _ => Exit::Other,
    }
}

fn call_exit(error: &RpcError) -> Exit {
    match error {
        RpcError::WorkerDied { .. } | RpcError::ConnectionLost { .. } => Exit::Lost,
        RpcError::DeadlineExceeded { .. } => Exit::Deadline,
        RpcError::Unavailable { .. } | RpcError::NoSuchMethod(_) => Exit::NotFound,
        RpcError::BadArguments(_) | RpcError::DecodeLimit { what: "arguments", .. } => Exit::Usage,
        RpcError::Panicked(_) => Exit::Service,
        RpcError::Refused(_)
        | RpcError::TooLarge { .. }
        | RpcError::TooLargeAtServer(_)
        | RpcError::Busy(_) => Exit::Refused,
        _ => Exit::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn errors_have_the_codes_that_help_promises() {
        let (service, method) = (|| "s".to_owned(), || "m".to_owned());
        for (error, code) in [
            (RpcError::NoSuchMethod(String::new()), 3),
            (RpcError::Unavailable { service: service(), reason: String::new() }, 3),
            (RpcError::Refused(String::new()), 4),
            (
                RpcError::DeadlineExceeded {
                    service: service(),
                    method: method(),
                    after: Duration::from_secs(1),
                },
                5,
            ),
            (RpcError::Panicked(String::new()), 6),
            (RpcError::WorkerDied { service: service(), method: method(), worker: String::new() }, 7),
            (RpcError::ConnectionLost { service: service(), method: method(), reason: String::new() }, 7),
            (RpcError::BadArguments(String::new()), 2),
            (RpcError::Internal(String::new()), 1),
        ] {
            assert_eq!(Failure::from(error.clone()).code(), code, "{error}");
        }
    }

    #[test]
    fn a_closed_port_is_nobody_there() {
        let source = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = ConnectError::Io { endpoint: "tcp://h:1".into(), doing: "connecting".into(), source };
        let failure = Failure::from(ConnectError::All(vec![error]));
        assert_eq!(failure.code(), 3);
        assert!(failure.to_string().contains("tcp://h:1"), "{failure}");
    }
}
