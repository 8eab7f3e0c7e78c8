//! One worker process: started, signalled, waited for. Each is the leader of a process group of its own
//! and is known by its pidfd, so that no signal ever meets a stranger who got the same number.
//!
//! Everything here is called from the daemon's one loop, so that nothing is reaped between a look at a
//! process and a signal to it. No worker dies with the daemon: there is no parent-death signal.

use std::{
    fs::File,
    io,
    net::TcpListener,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{
            fs::OpenOptionsExt,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

use command_fds::{CommandFdExt, FdMapping};
use nix::{
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, killpg},
    unistd::{Pid, pipe2},
};
use rustix::process::{PidfdFlags, Resource, Rlimit, pidfd_open, pidfd_send_signal, prlimit};
use shmrpc_core::server::WorkerConfig;
use tokio::net::unix::pipe;

use crate::{
    cgroup::Group,
    config::{Source, Surroundings},
    machine::Exit,
    notify,
    plan::ServicePlan,
    sources,
};

/// The environment variable that marks a worker and all that it starts: `DAEMON_PID/SERVICE/NUMBER`.
pub const MARK_VARIABLE: &str = "SHMRPC_SUPERVISED";
/// The environment variable that names the runtime folder.
pub const FOLDER_VARIABLE: &str = "SHMRPC_DIR";

// The descriptors that a worker of ours inherits, beside the standard three.
const CHILD_STDOUT_READ: i32 = 3;
const CHILD_STDERR_READ: i32 = 4;
const CHILD_LISTENER: i32 = 5;

/// A live process, or one that has exited and not been [`finish`](Self::finish)ed.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    pidfd: OwnedFd,
    /// `None`: adopted, some other process is its parent.
    child: Option<Child>,
    /// The stop signal goes to the whole group, as it would from a terminal.
    signals_group: bool,
}

/// The read ends of a process's standard output and standard error.
#[derive(Debug)]
pub struct Pipes {
    /// Standard output.
    pub stdout: pipe::Receiver,
    /// Standard error.
    pub stderr: pipe::Receiver,
}

impl Pipes {
    /// Takes read ends that a worker may hold too: they are opened anew, so that reading without
    /// blocking here does not change how the worker reads.
    ///
    /// # Errors
    /// When they are no pipes, or cannot be opened.
    pub fn new(stdout: &OwnedFd, stderr: &OwnedFd) -> io::Result<Self> {
        let anew = |fd: &OwnedFd| {
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
            pipe::Receiver::from_owned_fd(file.into())
        };
        Ok(Self { stdout: anew(stdout)?, stderr: anew(stderr)? })
    }
}

/// Starts one worker of a service, in its control group if it has one. `mark` is the value of [`MARK_VARIABLE`].
///
/// # Errors
/// When the program cannot be run.
pub(crate) fn spawn(
    plan: &ServicePlan,
    runtime_dir: &Path,
    listener: Option<&TcpListener>,
    mark: &str,
    group: Option<&Group>,
) -> io::Result<(Process, Pipes)> {
    let (stdout_read, stdout_write) = pipe2(OFlag::O_CLOEXEC)?;
    let (stderr_read, stderr_write) = pipe2(OFlag::O_CLOEXEC)?;
    let pipes = Pipes::new(&stdout_read, &stderr_read)?;
    let given = plan.settings.surroundings;
    let mut command = command(plan);
    command
        .current_dir(&plan.settings.working_dir)
        .env_remove(WorkerConfig::VARIABLE)
        .env(FOLDER_VARIABLE, runtime_dir)
        .env(MARK_VARIABLE, mark)
        .stdin(Stdio::null())
        .stdout(stdout_write)
        .stderr(stderr_write)
        .process_group(0);
    for variable in notify::VARIABLES {
        command.env_remove(variable);
    }
    command.envs(plan.settings.env.iter().map(|(key, value)| (key, value)));
    if let Some(config) = worker_config(plan, runtime_dir, listener.is_some()) {
        let text = serde_json::to_string(&config).map_err(io::Error::other)?;
        command.env(WorkerConfig::VARIABLE, text);
        // The worker keeps the read ends too: its output has a reader even if this daemon dies.
        let mut mappings = vec![
            FdMapping { parent_fd: stdout_read, child_fd: CHILD_STDOUT_READ },
            FdMapping { parent_fd: stderr_read, child_fd: CHILD_STDERR_READ },
        ];
        if let Some(listener) = listener {
            let parent_fd = listener.try_clone()?.into();
            mappings.push(FdMapping { parent_fd, child_fd: CHILD_LISTENER });
        }
        command.fd_mappings(mappings).map_err(io::Error::other)?;
    }
    if let Some(user) = given.user {
        // Other groups of ours are given up with it.
        command.uid(user);
    }
    if let Some(group) = given.group {
        command.gid(group);
    }
    let child = command.spawn()?;
    limit(child.id(), &given);
    if let Some(nice) = given.nice {
        renice(child.id(), nice);
    }
    let process = Process::of_child(child, plan.description.is_none())?;
    if let Some(Err(error)) = group.map(|group| group.take(process.pid())) {
        if plan.settings.cgroup.required {
            process.kill();
            process.finish();
            return Err(io::Error::other(error));
        }
        tracing::warn!(service = plan.name, "a worker has no limits: {}", sources::told(&error));
    }
    Ok((process, pipes))
}

/// The program and its arguments. The umask is a shell's to set, in the child, before it becomes the program.
fn command(plan: &ServicePlan) -> Command {
    let Some(umask) = plan.settings.surroundings.umask else {
        let mut command = Command::new(&plan.program);
        command.args(&plan.args);
        return command;
    };
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "umask \"$0\" && exec \"$@\""]).arg(format!("{umask:03o}"));
    command.arg(&plan.program).args(&plan.args);
    command
}

fn renice(pid: u32, nice: i32) {
    let process = rustix::process::Pid::from_raw(pid.cast_signed());
    if let Err(error) = rustix::process::setpriority_process(process, nice) {
        tracing::warn!(pid, nice, %error, "a worker's niceness cannot be set");
    }
}

/// Sets what resources a process that was just started may use; what it starts inherits that.
fn limit(pid: u32, given: &Surroundings) {
    let process = rustix::process::Pid::from_raw(pid.cast_signed());
    let limits = [
        (Resource::Nofile, given.limit_nofile),
        (Resource::As, given.limit_as_bytes),
        (Resource::Core, given.limit_core_bytes),
    ];
    for (resource, most) in limits {
        let Some(most) = most else { continue };
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        if let Err(error) = prlimit(process, resource, limit) {
            tracing::warn!(pid, ?resource, most, %error, "a worker's limit cannot be set");
        }
    }
}

/// What the worker is told; `None` for a plain program.
fn worker_config(plan: &ServicePlan, runtime_dir: &Path, has_listener: bool) -> Option<WorkerConfig> {
    let Source::Import { struct_name, .. } = &plan.settings.source else {
        return None;
    };
    let settings = &plan.settings;
    Some(WorkerConfig {
        struct_name: struct_name.clone(),
        service: plan.name.clone(),
        port: plan.port.unwrap_or_default(),
        runtime_dir: runtime_dir.to_owned(),
        log_dir: Some(settings.log_dir.clone()),
        threads: settings.threads,
        tcp_listener_fd: has_listener.then_some(CHILD_LISTENER),
        output_read_fds: Some((CHILD_STDOUT_READ, CHILD_STDERR_READ)),
        force_insecure_serialisation: settings.force_insecure_serialisation,
        tcp_secret_file: settings.tcp.secret_file.clone(),
        tcp_tls: settings.tcp.tls.clone(),
        tcp_allow_remote: settings.tcp.allow_remote,
        tcp_limits: settings.tcp.limits,
        orphan_timeout: settings.orphan_timeout,
        // Shorter than our own patience, so that a drain that takes too long ends in the worker's own
        // words and not in a kill.
        drain_timeout: settings.policy.stop_timeout.mul_f64(0.9),
    })
}

impl Process {
    fn of_child(mut child: Child, signals_group: bool) -> io::Result<Self> {
        let pid = child.id();
        match open_pidfd(pid) {
            Ok(pidfd) => Ok(Self { pid, pidfd, child: Some(child), signals_group }),
            Err(error) => {
                // A process that cannot be watched must not be left running.
                let _gone = child.kill();
                let _reaped = child.wait();
                Err(error)
            }
        }
    }

    /// Takes over a worker that an earlier daemon has started.
    ///
    /// # Errors
    /// When there is no such process any more.
    pub fn adopt(pid: u32) -> io::Result<Self> {
        Ok(Self { pid, pidfd: open_pidfd(pid)?, child: None, signals_group: false })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has not exited.
    #[must_use]
    pub fn lives(&self) -> bool {
        // A pidfd is readable once its process has exited.
        let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready == 0)
    }

    /// A descriptor that becomes readable when it exits.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn watch(&self) -> io::Result<OwnedFd> {
        self.pidfd.try_clone()
    }

    /// Asks it to end: a worker by a signal to itself alone, a plain program by one to its whole group.
    pub fn stop(&self, signal: Signal) {
        let sent = if self.signals_group {
            killpg(self.group(), signal).map_err(io::Error::from)
        } else {
            rustix::process::Signal::from_named_raw(signal as i32)
                .map_or(Ok(()), |signal| pidfd_send_signal(&self.pidfd, signal).map_err(io::Error::from))
        };
        // One that is gone already needs no signal; its exit is on its way to us.
        if let Err(error) = sent {
            tracing::debug!(pid = self.pid, %error, "stop signal not delivered");
        }
    }

    /// Kills it and its process group. The group's number is its own for as long as it is not reaped.
    pub fn kill(&self) {
        let _gone = killpg(self.group(), Signal::SIGKILL);
        let _gone = pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL);
    }

    /// Reaps an exited process, after what is left of its group has been killed.
    pub fn finish(mut self) -> Exit {
        let Some(child) = &mut self.child else {
            // Not ours to reap; whoever did may have freed the group's number.
            return Exit::Unknown;
        };
        let _nobody_left = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
        match child.wait() {
            Ok(status) => exit_of(status),
            Err(_) => Exit::Unknown,
        }
    }

    fn group(&self) -> Pid {
        Pid::from_raw(self.pid.cast_signed())
    }
}

fn open_pidfd(pid: u32) -> io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed());
    let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(number)) => {
            let name = Signal::try_from(number).map(|signal| signal.as_str().to_owned());
            Exit::Signal(name.unwrap_or_else(|_| format!("signal {number}")))
        }
        (None, None) => Exit::Unknown,
    }
}

/// Waits until the process behind a pidfd has exited.
///
/// # Errors
/// When the runtime cannot watch the descriptor.
#[expect(deprecated, reason = "its unsafe successor asks that the descriptor be owned, as it is here")]
pub async fn exited(pidfd: OwnedFd) -> io::Result<()> {
    let watched = tokio::io::unix::AsyncFd::with_interest(pidfd, tokio::io::Interest::READABLE)?;
    watched.readable().await.map(drop)
}

/// Makes descendants whose parents die children of this process, so that none escapes.
pub fn become_subreaper() {
    if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
        tracing::warn!(%error, "descendants of workers may escape: no subreaper");
    }
}
