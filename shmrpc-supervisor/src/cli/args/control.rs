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
    /// Only lines of the last so long: 2s, 10m, 1h.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(in crate::cli) since: Option<Duration>,
    /// Only lines of services' own logs that matter as much, or more.
    #[arg(long, value_name = "LEVEL", value_parser = ["debug", "info", "warning", "error", "critical"])]
    pub(in crate::cli) level: Option<String>,
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
    /// Only events of the last so long: 2s, 10m, 1h, 7d. They outlive the daemon.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(in crate::cli) since: Option<Duration>,
    /// So many of the newest events, at most.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub(in crate::cli) lines: usize,
    /// Prints each event as one JSON object.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct HistoryArgs {
    /// The service, by name [default: the daemon itself].
    pub(in crate::cli) service: Option<String>,
    /// One of its processes, alive or dead, in place of all together.
    #[arg(long, value_name = "PID", requires = "service")]
    pub(in crate::cli) worker: Option<u32>,
    /// What to show: names between commas, as cpu,rss,calls,p99.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "workers,calls,errors,p50,p99,wait,cpu,pss"
    )]
    pub(in crate::cli) series: Vec<String>,
    /// From so long ago: 10m, 1h, 7d.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    pub(in crate::cli) since: Duration,
    /// At most about so many points: each is the mean of its time.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub(in crate::cli) points: u32,
    /// Prints JSON, with the extremes of each point.
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
    /// The ini file [default: the daemon's own, which the daemon reads].
    pub(in crate::cli) file: Option<PathBuf>,
    /// Prints JSON: the services, or the faults; of the daemon's own file what the daemon says.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}
