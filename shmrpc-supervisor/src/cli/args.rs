//! What may be written after `shmrpc`, and nothing of what it does.

mod control;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};
use clap_complete::Shell;

pub(super) use self::control::{
    CheckArgs, EventsArgs, HistoryArgs, LogsArgs, OrderArgs, ReloadArgs, RestartArgs, ScaleArgs, StatusArgs,
    TopArgs, WaitingArgs,
};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  any other failure
  2  usage: the command line, or arguments that the method does not take
  3  not found: no such service or method, or nobody is there
  4  refused: not allowed, or beyond a limit
  5  no answer within the deadline
  6  the service answered with an error of its own
  7  the worker died or the connection was lost while the call was under way";

/// Looks at services, calls them, measures them, and gives orders to the daemon that runs them.
///
/// Without a command it is a prompt for them; where there is no terminal it reads them from standard input, a line each.
#[derive(Debug, Parser)]
#[command(name = "shmrpc", version, about, after_help = EXIT_CODES)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) reach: Reach,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

/// A line at the prompt: what may follow `shmrpc`, and what only a prompt has.
#[derive(Debug, Parser)]
#[command(name = "shmrpc", no_binary_name = true, help_template = "{subcommands}{after-help}", after_help = LINE_HELP)]
pub(super) struct Line {
    #[command(flatten)]
    pub(super) reach: Reach,
    #[command(subcommand)]
    pub(super) word: Word,
}

/// The first word of a line at the prompt, and what follows it.
#[derive(Debug, Subcommand)]
pub(super) enum Word {
    #[command(flatten)]
    Command(Command),
    /// Leaves the prompt.
    #[command(visible_alias = "quit")]
    Exit,
}

const LINE_HELP: &str = "
'help COMMAND' says more. Words are split as by a shell: quote JSON, '{\"a\": 1}'. Tab completes, the arrow keys and
^R find earlier lines, ^C ends what runs or clears the line, ^D leaves.";

/// What has to be known beside an address to reach a service.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Reach {
    /// The runtime folder [default: $SHMRPC_DIR, $XDG_RUNTIME_DIR/shmrpc or /tmp/shmrpc-UID].
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) runtime_dir: Option<PathBuf>,
    /// For tls://HOST:PORT: the authorities that may have signed the server's certificate, PEM [default:
    /// $SHMRPC_TLS_CA_FILE].
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) tls_ca_file: Option<PathBuf>,
    /// A certificate to show to servers that ask for one, PEM [default: $SHMRPC_TLS_CERTIFICATE_FILE].
    #[arg(long, global = true, value_name = "FILE", requires = "tls_key_file")]
    pub(super) tls_certificate_file: Option<PathBuf>,
    /// The private key of that certificate, PEM [default: $SHMRPC_TLS_KEY_FILE].
    #[arg(long, global = true, value_name = "FILE", requires = "tls_certificate_file")]
    pub(super) tls_key_file: Option<PathBuf>,
    /// The name that the server's certificate must be for [default: $SHMRPC_TLS_SERVER_NAME, else HOST].
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) tls_server_name: Option<String>,
}

impl Reach {
    /// The same, as arguments of another process of this program.
    pub(super) fn to_args(&self) -> Vec<OsString> {
        let files = [
            ("--runtime-dir", &self.runtime_dir),
            ("--tls-ca-file", &self.tls_ca_file),
            ("--tls-certificate-file", &self.tls_certificate_file),
            ("--tls-key-file", &self.tls_key_file),
        ];
        let files = files.into_iter().filter_map(|(name, file)| Some((name, file.as_ref()?.into())));
        let name = self.tls_server_name.as_ref().map(|name| ("--tls-server-name", name.into()));
        files.chain(name).flat_map(|(name, value): (_, OsString)| [name.into(), value]).collect()
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Lists the services that run on this machine for this user.
    Services(ServicesArgs),
    /// Lists what a service offers.
    Methods(MethodsArgs),
    /// Calls a method and prints its reply.
    ///
    /// A reply is one line of JSON, or the bytes of a raw method. The items of a stream are printed as they
    /// come, one line each, the reply last; items to the service are read from standard input, one line
    /// each.
    #[command(after_help = EXIT_CODES)]
    Call(CallArgs),
    /// Measures a method with client processes of its own.
    Bench(BenchArgs),
    /// Shows the daemon's services and how they are.
    Status(StatusArgs),
    /// Starts services, and what they require.
    Start(OrderArgs),
    /// Stops services: their workers finish their calls.
    Stop(OrderArgs),
    /// Replaces the workers of services by new ones.
    Restart(RestartArgs),
    /// Fixes the number of a service's workers, or leaves it to the load.
    Scale(ScaleArgs),
    /// Has the daemon read its ini file again, and says what has changed.
    Reload(ReloadArgs),
    /// Shows what the services have printed and logged.
    Logs(LogsArgs),
    /// Shows what the daemon has done, and why.
    Events(EventsArgs),
    /// Prints the daemon's counters and gauges in the text format of Prometheus.
    Metrics,
    /// Ends the daemon and leaves its workers, who serve on, to the next one.
    HandOver(WaitingArgs),
    /// Stops all services and the daemon.
    Shutdown(WaitingArgs),
    /// Shows how a service, or the daemon, has fared: one line for each of some points in time.
    History(HistoryArgs),
    /// Shows services as they work, until q is pressed.
    ///
    /// Rates and times are those of the last three seconds. The arrow keys choose a service, Enter shows its workers and
    /// methods, Escape goes back. n s w c e p t u m sort by name, status, workers, calls, errors, p99, waiting time, CPU and
    /// memory, and once more the other way round; o is the order of the ini file. Where the output is no terminal, one
    /// frame is printed.
    Top(TopArgs),
    /// Says what an ini file would run, or all of its faults.
    Check(CheckArgs),
    /// Prints a script that has a shell complete this command line.
    Completions(CompletionsArgs),
    /// Prints the manual page.
    Man(ManArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell.
    pub(super) shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// The page of that command [default: the page of shmrpc itself].
    pub(super) command: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ServicesArgs {
    /// Prints JSON instead of a table.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct MethodsArgs {
    /// Where the service is: shm://NAME, tcp://HOST:PORT, tls://HOST:PORT, or several, separated by commas
    /// and tried in order.
    pub(super) endpoint: String,
    /// Prints the whole description as JSON instead of a table.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct CallArgs {
    /// Where the service is: shm://NAME, tcp://HOST:PORT, tls://HOST:PORT, or several, separated by commas
    /// and tried in order.
    pub(super) endpoint: String,
    /// The method.
    pub(super) method: String,
    /// The arguments, each one JSON value: 42, '"text"', '{"a": 1}'.
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    pub(super) arguments: Vec<String>,
    /// For raw methods: sends the bytes of a file, or of standard input (-), and writes the reply's bytes.
    #[arg(long, value_name = "FILE|-", conflicts_with = "arguments")]
    pub(super) raw: Option<PathBuf>,
    /// How long to wait for the answer: 2s, 150ms, 1.5s, 1m [default: the method's own, else 30s].
    #[arg(long, value_parser = parse_duration)]
    pub(super) deadline: Option<Duration>,
    /// Compresses over TCP if the server agrees.
    #[arg(long)]
    pub(super) compress: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(super) struct BenchArgs {
    /// Where the service is: shm://NAME, tcp://HOST:PORT or tls://HOST:PORT.
    pub(super) endpoint: String,
    /// The method: a raw one is sent that many bytes, another one a string of that length (or nothing, if
    /// it takes nothing).
    pub(super) method: String,
    /// Length of the argument.
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    pub(super) size: usize,
    /// Calls that each client has under way; with several, replies are taken in the order of the calls.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(super) in_flight: u32,
    /// Client processes.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) clients: u32,
    /// For how long to measure.
    #[arg(long, value_name = "S", default_value = "5", value_parser = parse_seconds)]
    pub(super) seconds: Duration,
    /// Prints JSON: calls, calls_per_s, bytes_per_s (arguments and replies), p50_ns, p99_ns, p999_ns,
    /// max_ns, errors.
    #[arg(long)]
    pub(super) json: bool,
    /// Set in the client processes that this program starts.
    #[arg(long, hide = true)]
    pub(super) as_client: bool,
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    positive(seconds)
}

/// A number with one of the units `us`, `ms`, `s`, `m`, `h`, `d`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit_seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        "" => return Err("a unit is missing: us, ms, s, m, h or d".into()),
        _ => return Err(format!("no unit {unit:?}: us, ms, s, m, h or d")),
    };
    let number: f64 = number.trim().parse().map_err(|_| format!("{number:?} is not a number"))?;
    positive(number * unit_seconds)
}

fn positive(seconds: f64) -> Result<Duration, String> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("not a positive length of time".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_duration("1.5ms"), Ok(Duration::from_micros(1500)));
        assert_eq!(parse_duration("1m"), Ok(Duration::from_secs(60)));
        for bad in ["2", "s", "-1s", "0s", "nans", "2 days", "1e99h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn arguments_may_be_negative_numbers() {
        let args =
            Args::try_parse_from(["shmrpc", "call", "shm://a", "add", "-1", "-2.5e3", "--deadline", "1s"])
                .unwrap();
        let Some(Command::Call(call)) = args.command else { panic!("not a call") };
        assert_eq!(call.arguments, ["-1", "-2.5e3"]);
        let args = Args::try_parse_from(["shmrpc", "call", "shm://a", "m", "--raw", "-", "--deadline", "2s"]);
        let Some(Command::Call(call)) = args.unwrap().command else { panic!("not a call") };
        assert_eq!(call.raw, Some(PathBuf::from("-")));
        assert_eq!(call.deadline, Some(Duration::from_secs(2)));
    }
}
