//! The arguments of commands that speak to the daemon.

use std::{path::PathBuf, time::Duration};

use super::parse_duration;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct StatusArgs {
    /// Only these services.
    #[arg(value_name = "SERVICE")]
    pub(in crate::cli) services: Vec<String>,
    /// Fails with code 1 unless all of them run.
    #[arg(long)]
    pub(in crate::cli) running: bool,
    /// Prints JSON instead of a table.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct OrderArgs {
    /// The services, by name.
    #[arg(value_name = "SERVICE", required = true)]
    pub(in crate::cli) services: Vec<String>,
    #[command(flatten)]
    pub(in crate::cli) waiting: WaitingArgs,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct RestartArgs {
    /// The services, by name.
    #[arg(value_name = "SERVICE", required = true)]
    pub(in crate::cli) services: Vec<String>,
    /// One worker after the other, each when its successor is ready. This is the default.
    #[arg(long, conflicts_with = "at_once")]
    pub(in crate::cli) rolling: bool,
    /// All workers at the same time: quicker, but for a moment nobody serves.
    #[arg(long)]
    pub(in crate::cli) at_once: bool,
    #[command(flatten)]
    pub(in crate::cli) waiting: WaitingArgs,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ScaleArgs {
    /// The service, by name.
    pub(in crate::cli) service: String,
    /// A number of workers, +1, -1, or auto: what its load asks for.
    #[arg(allow_hyphen_values = true)]
    pub(in crate::cli) to: String,
    #[command(flatten)]
    pub(in crate::cli) waiting: WaitingArgs,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct WaitingArgs {
    /// Does not wait until it is done.
    #[arg(long)]
    pub(in crate::cli) no_wait: bool,
    /// How long to wait until it is done.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    pub(in crate::cli) timeout: Duration,
    /// Prints the outcome as JSON when it is done.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ReloadArgs {
    /// Prints JSON.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct LogsArgs {
    /// Only lines of that service.
    pub(in crate::cli) service: Option<String>,
    /// Goes on with lines as they come, until it is interrupted.
    #[arg(short, long)]
    pub(in crate::cli) follow: bool,
    /// So many of the newest lines, at most.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub(in crate::cli) lines: usize,
    /// Only lines that contain this.
    #[arg(long, value_name = "TEXT")]
    pub(in crate::cli) grep: Option<String>,
    /// Only lines that came from there: stdout, stderr, log or daemon.
    #[arg(long, value_name = "STREAM", value_parser = ["stdout", "stderr", "log", "daemon"])]
    pub(in crate::cli) stream: Option<String>,
    /// Only lines of that process.
    #[arg(long)]
    pub(in crate::cli) pid: Option<u32>,
    /// Prints each line as one JSON object.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct EventsArgs {
    /// Only events of that service.
    pub(in crate::cli) service: Option<String>,
    /// Goes on with events as they come, until it is interrupted.
    #[arg(short, long)]
    pub(in crate::cli) follow: bool,
    /// So many of the newest events, at most.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub(in crate::cli) lines: usize,
    /// Prints each event as one JSON object.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct TopArgs {
    /// How often to look.
    #[arg(long, default_value = "1s", value_parser = parse_duration)]
    pub(in crate::cli) interval: Duration,
    /// Prints one frame as a table.
    #[arg(long)]
    pub(in crate::cli) once: bool,
    /// Prints one frame as JSON.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct CheckArgs {
    /// The ini file.
    pub(in crate::cli) file: PathBuf,
    /// Prints JSON: the services, or the faults.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}
