//! One service's section → [`ServiceSettings`], with every default filled in.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;
use shmrpc_core::endpoint::is_service_name;

use super::{
    cgroup::{CgroupLimits, cgroup},
    diagnostic::{Diagnostic, Diagnostics},
    ini::Section,
    keys::{DEFAULTS, WEB},
    logs::{Rotation, rotation},
    pool::{Recycling, Scaling, recycling, scaling},
    reader::Reader,
    surroundings::{Dependencies, Surroundings, dependencies, surroundings},
    tcp::{TcpSettings, tcp},
    value,
};

/// Workers show that they run once a second, and are looked at as often.
const SHORTEST_WATCHDOG: Duration = Duration::from_secs(3);
/// More workers or threads than anyone means.
const MAX_COUNT: usize = 1024;

/// What a section asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceSettings {
    /// The section's name as written.
    pub section: String,
    /// The section's line.
    pub line: usize,
    /// The section as it was understood, for people to read.
    pub written: Arc<str>,
    /// What its workers run.
    pub source: Source,
    /// The line that names the program.
    pub source_line: usize,
    /// The TCP port, where the ini overrides the struct's own.
    pub port: Option<u16>,
    /// The folder of all logs; the service's own are in a folder of its name in it.
    pub log_dir: PathBuf,
    /// How long its log files are kept.
    pub rotation: Rotation,
    /// How it is reached over TCP.
    pub tcp: TcpSettings,
    /// The pool is never larger.
    pub max_proc_num: usize,
    /// Workers started at once.
    pub min_proc_num: usize,
    /// The line of `min_proc_num`, else of the section.
    pub min_proc_num_line: usize,
    /// Later services start only when this one is ready, or has failed to become so.
    pub wait_until_completed: bool,
    /// Guarded encodings over TCP and REST.
    pub force_insecure_serialisation: bool,
    /// Handler threads of each worker.
    pub threads: usize,
    /// Added to the workers' environment.
    pub env: Vec<(String, String)>,
    /// The workers' working directory.
    pub working_dir: PathBuf,
    /// When to restart, wait and give up.
    pub policy: Policy,
    /// Without a supervisor for so long, workers drain and exit; `None`: never.
    pub orphan_timeout: Option<Duration>,
    /// A worker whose process has not run for so long is killed and replaced; `None`: never.
    pub watchdog_timeout: Option<Duration>,
    /// When to have more workers, or fewer.
    pub scaling: Scaling,
    /// When a worker has done enough.
    pub recycling: Recycling,
    /// Surroundings of the workers' processes.
    pub surroundings: Surroundings,
    /// What they may use together.
    pub cgroup: CgroupLimits,
    /// Other services without which it is not started, by name or section; and those that it only comes after.
    pub dependencies: Dependencies,
}

/// What a service's workers run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A worker program that offers a service.
    Import {
        /// The struct that the section names.
        struct_name: String,
        /// The prefix of another copy of the service, from `[Struct:PREFIX]`.
        prefix: Option<String>,
        /// The program: a path, or a name to look up.
        import_from: String,
    },
    /// Any command line.
    Program {
        /// The service's name: the section's, spaces as `_`.
        name: String,
        /// The program and its arguments.
        words: Vec<String>,
    },
}

/// The times and limits by which a service's workers are kept alive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Which workers that end by themselves are started again.
    pub restart: Restart,
    /// New workers are ready before old ones go, where the pool may be larger by one for that time.
    pub surge: bool,
    /// The first delay before a dead worker is replaced; each further one doubles.
    pub restart_delay: Duration,
    /// The longest delay.
    pub restart_delay_max: Duration,
    /// Delays are longer by up to this share of themselves, by chance, so that what died together does not come
    /// back together.
    pub restart_jitter: f64,
    /// So many failed starts within [`Self::start_limit_interval`] are Fatal.
    pub start_limit: usize,
    /// See [`Self::start_limit`].
    pub start_limit_interval: Duration,
    /// A worker that is not ready by then has failed.
    pub start_timeout: Duration,
    /// For so long a worker must run for its start to count as a success; a `program` is ready then.
    pub start_secs: Duration,
    /// A worker that has not exited so long after [`Self::stop_signal`] is killed.
    pub stop_timeout: Duration,
    /// The signal that asks a worker to drain and exit.
    pub stop_signal: Signal,
}

/// Which workers that end by themselves are started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// All; a plain program only if it failed.
    Standard,
    /// All.
    Always,
    /// Those that did not exit with code 0.
    OnFailure,
    /// None.
    Never,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            restart: Restart::Standard,
            surge: true,
            restart_delay: Duration::from_millis(100),
            restart_delay_max: Duration::from_secs(30),
            restart_jitter: 0.2,
            start_limit: 5,
            start_limit_interval: Duration::from_mins(1),
            start_timeout: Duration::from_secs(30),
            start_secs: Duration::from_secs(1),
            stop_timeout: Duration::from_secs(10),
            stop_signal: Signal::SIGTERM,
        }
    }
}

/// Where logs go unless something else is said.
pub(super) const LOG_DIR: &str = "logs";

/// What a section and the defaults have in common.
pub(super) struct Common {
    pub(super) log_dir: PathBuf,
    rotation: Rotation,
    tcp: TcpSettings,
    max_proc_num: Option<usize>,
    min_proc_num: usize,
    wait_until_completed: bool,
    force_insecure_serialisation: bool,
    threads: usize,
    env: Vec<(String, String)>,
    working_dir: PathBuf,
    policy: Policy,
    orphan_timeout: Option<Duration>,
    watchdog_timeout: Option<Duration>,
    scaling: Scaling,
    recycling: Recycling,
    surroundings: Surroundings,
    cgroup: CgroupLimits,
}

/// Reads the keys that may stand in `[defaults]`.
pub(super) fn common(reader: &mut Reader<'_>, base: &Path) -> Common {
    let path = |text: &str| (!text.is_empty()).then(|| base.join(text));
    let bounds = (reader.number("min_proc_num", 1, MAX_COUNT), reader.number("max_proc_num", 1, MAX_COUNT));
    if let (Some(least), Some(most)) = bounds
        && least > most
    {
        let line = reader.line("min_proc_num").max(reader.line("max_proc_num"));
        let problem = format!("min_proc_num {least} exceeds max_proc_num {most}");
        reader.fault(Diagnostic::new(line, problem).key("min_proc_num"));
    }
    let never_or_time = |text: &str| match text.to_ascii_lowercase().as_str() {
        "never" | "none" => Some(None),
        _ => value::duration(text).map(Some),
    };
    Common {
        log_dir: reader.read("log_dir", "a folder", path).unwrap_or_else(|| base.join(LOG_DIR)),
        rotation: rotation(reader),
        tcp: tcp(reader, base),
        max_proc_num: bounds.1,
        min_proc_num: bounds.0.unwrap_or(1),
        wait_until_completed: boolean(reader, "wait_until_completed", true),
        force_insecure_serialisation: boolean(reader, "force_insecure_serialisation", false),
        threads: reader.number("threads", 1, MAX_COUNT).unwrap_or_else(cores),
        env: reader.read("env", value::ACCEPTED_ENV, value::environment).unwrap_or_default(),
        working_dir: reader.read("working_dir", "a folder", path).unwrap_or_else(|| base.to_owned()),
        policy: policy(reader),
        orphan_timeout: reader
            .read("orphan_timeout", "a time such as 30 (seconds), or never", never_or_time)
            .unwrap_or(Some(Duration::from_secs(30))),
        watchdog_timeout: reader
            .read("watchdog_timeout", "3 (seconds) or more, or never", |text| {
                never_or_time(text).filter(|time| time.is_none_or(|time| time >= SHORTEST_WATCHDOG))
            })
            .unwrap_or(Some(Duration::from_secs(10))),
        scaling: scaling(reader),
        recycling: recycling(reader),
        surroundings: surroundings(reader),
        cgroup: cgroup(reader, base),
    }
}

fn policy(reader: &mut Reader<'_>) -> Policy {
    let standard = Policy::default();
    let share = |text: &str| text.parse().ok().filter(|share: &f64| (0.0..=1.0).contains(share));
    let restart = |text: &str| match text.to_ascii_lowercase().as_str() {
        "always" => Some(Restart::Always),
        "on-failure" => Some(Restart::OnFailure),
        "never" | "no" => Some(Restart::Never),
        _ => None,
    };
    let policy = Policy {
        restart: reader.read("restart", "always, on-failure or never", restart).unwrap_or(standard.restart),
        surge: boolean(reader, "surge", standard.surge),
        restart_jitter: reader
            .read("restart_jitter", "a share of the delay from 0 to 1, such as 0.2", share)
            .unwrap_or(standard.restart_jitter),
        restart_delay: time(reader, "restart_delay", standard.restart_delay),
        restart_delay_max: time(reader, "restart_delay_max", standard.restart_delay_max),
        start_limit: reader.number("start_limit", 1, 1000).unwrap_or(standard.start_limit),
        start_limit_interval: time(reader, "start_limit_interval", standard.start_limit_interval),
        start_timeout: time(reader, "start_timeout", standard.start_timeout),
        start_secs: time(reader, "start_secs", standard.start_secs),
        stop_timeout: time(reader, "stop_timeout", standard.stop_timeout),
        stop_signal: reader
            .read("stop_signal", value::ACCEPTED_SIGNAL, value::signal)
            .unwrap_or(standard.stop_signal),
    };
    if policy.restart_delay > policy.restart_delay_max {
        let line = reader.line("restart_delay").max(reader.line("restart_delay_max"));
        let problem = format!(
            "restart_delay {:?} exceeds restart_delay_max {:?}",
            policy.restart_delay, policy.restart_delay_max
        );
        reader.fault(Diagnostic::new(line, problem).key("restart_delay"));
    }
    policy
}

fn boolean(reader: &mut Reader<'_>, key: &str, standard: bool) -> bool {
    reader.read(key, value::ACCEPTED_BOOLEAN, value::boolean).unwrap_or(standard)
}

fn time(reader: &mut Reader<'_>, key: &str, standard: Duration) -> Duration {
    reader.read(key, value::ACCEPTED_DURATION, value::duration).unwrap_or(standard)
}

/// Asked once: the answer is read out of several files.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

/// Reads a service's section; `None` when it does not say what to run.
pub(super) fn read(
    section: &Section,
    defaults: Option<&Section>,
    base: &Path,
    faults: &mut Diagnostics,
) -> Option<ServiceSettings> {
    let mut reader = Reader::new(section, defaults, faults);
    let source = source(section, &mut reader);
    let port = reader.read("port", "1 to 65535", |text| text.parse().ok().filter(|port| *port != 0));
    if port.is_none()
        && let Some(Source::Import { prefix: Some(prefix), .. }) = &source
        && !section.entries.iter().any(|entry| entry.key == "port")
    {
        let problem = format!("a copy under the prefix {prefix} needs a port of its own");
        reader.fault(Diagnostic::new(section.line, problem).key("port").accepted("1 to 65535"));
    }
    let common = common(&mut reader, base);
    let dependencies = dependencies(&mut reader);
    let source = source?;
    let source_line = reader.line(match source {
        Source::Import { .. } => "import_from",
        Source::Program { .. } => "program",
    });
    Some(ServiceSettings {
        section: section.name.clone(),
        line: section.line,
        written: section.to_string().into(),
        source,
        source_line,
        port,
        log_dir: common.log_dir,
        rotation: common.rotation,
        tcp: common.tcp,
        max_proc_num: common.max_proc_num.unwrap_or_else(|| cores().max(common.min_proc_num)),
        min_proc_num: common.min_proc_num,
        min_proc_num_line: reader.line("min_proc_num"),
        wait_until_completed: common.wait_until_completed,
        force_insecure_serialisation: common.force_insecure_serialisation,
        threads: common.threads,
        env: common.env,
        working_dir: common.working_dir,
        policy: common.policy,
        orphan_timeout: common.orphan_timeout,
        watchdog_timeout: common.watchdog_timeout,
        scaling: common.scaling,
        recycling: common.recycling,
        surroundings: common.surroundings,
        cgroup: common.cgroup,
        dependencies,
    })
}

fn source(section: &Section, reader: &mut Reader<'_>) -> Option<Source> {
    let has = |key: &str| section.entries.iter().find(|entry| entry.key == key);
    match (has("import_from"), has("program")) {
        (Some(import), None) => {
            let import_from = reader.read("import_from", "a program's path or name", |text| {
                (!text.is_empty()).then(|| text.to_owned())
            });
            let (struct_name, prefix) = struct_and_prefix(section, reader);
            let import_from = import_from?;
            debug_assert_eq!(import.value, import_from);
            Some(Source::Import { struct_name: struct_name?, prefix, import_from })
        }
        (None, Some(_)) => {
            let accepted = "a command line, such as /usr/bin/env python3 -m http.server";
            let words = reader.read("program", accepted, value::words);
            let name = section.name.replace(char::is_whitespace, "_");
            if !is_service_name(&name) {
                reader.fault(bad_name(section, &name));
                return None;
            }
            Some(Source::Program { name, words: words? })
        }
        (Some(import), Some(program)) => {
            let line = import.line.max(program.line);
            reader
                .fault(Diagnostic::new(line, "has both import_from and program").accepted("one of the two"));
            None
        }
        (None, None) => {
            reader.fault(
                Diagnostic::new(section.line, "names no program")
                    .nearest(&section.name, [WEB, DEFAULTS])
                    .accepted("import_from = WORKER_PROGRAM, or program = COMMAND LINE"),
            );
            None
        }
    }
}

fn struct_and_prefix(section: &Section, reader: &mut Reader<'_>) -> (Option<String>, Option<String>) {
    let (struct_name, prefix) = match section.name.split_once(':') {
        Some((name, prefix)) => (name.trim(), Some(prefix.trim())),
        None => (section.name.as_str(), None),
    };
    let is_struct = !struct_name.is_empty()
        && !struct_name.starts_with(|c: char| c.is_ascii_digit())
        && struct_name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if !is_struct || prefix.is_some_and(|prefix| !is_service_name(prefix)) {
        reader.fault(bad_name(section, struct_name));
        return (None, None);
    }
    (Some(struct_name.to_owned()), prefix.map(str::to_owned))
}

fn bad_name(section: &Section, name: &str) -> Diagnostic {
    Diagnostic::new(section.line, format!("{name:?} cannot name a service")).accepted(
        "with import_from the struct's name, [Struct] or [Struct:PREFIX]; with program 1 to 64 letters, \
         digits, spaces, '_', '-' or '.'",
    )
}
