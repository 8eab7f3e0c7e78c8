//! One service under supervision: its plan, its state machine, its live processes, and what they have
//! counted. Carries out the machine's actions; decides nothing itself.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::{BuildHasher, Hasher},
    net::TcpListener,
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use shmrpc_core::{
    method::{MethodDescription, MethodId},
    observe::{MethodCounters, WorkerView},
};
use shmrpc_web::{LogStream, LogTail, Usage};
use tokio::sync::mpsc;

use super::{
    Message,
    pool::{Measured, Seen, counters_of, rule_of},
    watchdog::{self, Watchdog},
};
use crate::{
    cgroup::{CgroupError, Group},
    config::Autoscale,
    history::History,
    listen,
    machine::{Action, Event, Exit, Machine, Report, Rules, Status, WorkerId},
    output::{self, Destination, LogFiles},
    plan::ServicePlan,
    process::{self, Pipes, Process},
    sources, strays,
};

/// What every service needs of the daemon.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) runtime_dir: PathBuf,
    pub(crate) files: LogFiles,
    pub(crate) tail: Arc<LogTail>,
    pub(crate) history: History,
    pub(crate) messages: mpsc::Sender<Message>,
}

impl Surroundings {
    /// Something that the daemon has done, or has seen: for its log, the page and `shmrpc events`. Of the daemon itself if
    /// no service is named.
    pub(crate) fn event(&self, service: &str, pid: Option<u32>, text: &str) {
        tracing::info!(service, pid, "{text}");
        self.tell(service, pid, text.to_owned());
    }

    /// The same of what the daemon's own log has in other words.
    pub(crate) fn tell(&self, service: &str, pid: Option<u32>, text: String) {
        self.history.note(self.tail.push_event(service, pid, text));
    }
}

/// What becomes of a service once its last process is gone.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It stays as it is.
    Stays,
    /// A reload has removed it.
    Goes,
}

/// A live process.
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) started: Instant,
    pub(crate) usage: Usage,
    pub(super) view: Option<Arc<WorkerView>>,
    pub(crate) seen: Seen,
    watchdog: Watchdog,
    mark: String,
    /// Of its shared memory, if it is not ours.
    other_layout: Option<u32>,
}

/// See the module.
pub(crate) struct Supervised {
    pub(crate) plan: ServicePlan,
    pub(crate) machine: Machine,
    pub(crate) listener: Option<TcpListener>,
    pub(crate) running: HashMap<WorkerId, Running>,
    pub(crate) fate: Fate,
    /// Since when it has been Running without a break.
    pub(crate) since: Option<Instant>,
    /// Counters of the methods as of the last sample, dead workers included.
    pub(crate) methods: Vec<(MethodDescription, MethodCounters)>,
    dead: HashMap<MethodId, MethodCounters>,
    /// Something else than calls has changed what `methods` says.
    is_changed: bool,
    pub(super) measured: Measured,
    /// A service that must run before this one is started.
    pub(crate) waits_for: Option<String>,
    /// The control group of its processes, if it has limits that can be set.
    group: Option<Group>,
    seed: u64,
}

impl Supervised {
    /// A stopped service. `first_id` is where its workers' numbers begin.
    pub(crate) fn new(plan: ServicePlan, listener: Option<TcpListener>, first_id: u64) -> Self {
        let seed = RandomState::new().build_hasher().finish();
        let machine = Machine::new(rules_of(&plan, seed), first_id);
        let mut service = Self {
            plan,
            machine,
            listener,
            running: HashMap::new(),
            fate: Fate::Stays,
            since: None,
            methods: Vec::new(),
            dead: HashMap::new(),
            is_changed: true,
            measured: Measured::new(Instant::now()),
            waits_for: None,
            group: None,
            seed,
        };
        service.count();
        service
    }

    /// Another plan holds from now on; whether present workers are replaced is for the caller to say.
    pub(crate) fn set_plan(&mut self, plan: ServicePlan, around: &Surroundings) {
        self.machine.set_rules(rules_of(&plan, self.seed));
        self.plan = plan;
        self.is_changed = true;
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            around.files.rotate(&self.log_file(stream), self.plan.settings.rotation);
        }
        self.measured = Measured::new(Instant::now());
        self.count();
    }

    pub(crate) fn name(&self) -> &str {
        &self.plan.name
    }

    /// The file in which its workers keep the service's own log.
    pub(crate) fn journal(&self) -> PathBuf {
        self.plan.log_dir().join(format!("{}_log.log.json", self.name()))
    }

    fn log_file(&self, stream: LogStream) -> PathBuf {
        self.plan.log_dir().join(format!("{}_log.{}", self.name(), stream.name()))
    }

    /// Gives an event to the machine and does what it says.
    pub(crate) fn handle(&mut self, event: Event, around: &Surroundings) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for action in self.machine.handle(event, Instant::now()) {
                match action {
                    Action::Spawn(worker) => {
                        if let Err(error) = self.spawn(worker, around) {
                            events.push(Event::Exited(worker, Exit::NotStarted(error.to_string())));
                        }
                    }
                    Action::Stop(worker) => {
                        if let Some(running) = self.running.get(&worker) {
                            running.process.stop(self.plan.settings.policy.stop_signal);
                        }
                    }
                    Action::Kill(worker) => {
                        if let Some(running) = self.running.get(&worker) {
                            running.process.kill();
                        }
                    }
                    Action::Report(report) => self.report(&report, around),
                }
            }
        }
        match self.machine.status() {
            Status::Running => self.since = self.since.or_else(|| Some(Instant::now())),
            _ => self.since = None,
        }
    }

    fn spawn(&mut self, worker: WorkerId, around: &Surroundings) -> std::io::Result<()> {
        let mark = format!("{}/{}/{}", std::process::id(), self.name(), worker.0);
        self.prepare_group(around).map_err(std::io::Error::other)?;
        let listener = self.listener.as_ref();
        listener.map_or(Ok(()), listen::open)?;
        let group = self.group.as_ref();
        let (process, pipes) = process::spawn(&self.plan, &around.runtime_dir, listener, &mark, group)?;
        tracing::debug!(service = self.name(), pid = process.pid(), "worker started");
        self.attend(worker, process, Some(pipes), mark, around)
    }

    /// Has the control group as the plan says.
    fn prepare_group(&mut self, around: &Surroundings) -> Result<(), CgroupError> {
        let limits = &self.plan.settings.cgroup;
        if !limits.is_limited() {
            self.group = None;
            return Ok(());
        }
        match Group::new(self.name(), limits) {
            Ok(group) => self.group = Some(group.after(self.group.as_ref())),
            Err(error) if limits.required => return Err(error),
            Err(error) => self.say(None, &format!("no limits are set: {}", sources::told(&error)), around),
        }
        Ok(())
    }

    /// Nobody is in its control group any more, or the next daemon will find it.
    pub(crate) fn leave_group(&mut self) {
        if let Some(group) = self.group.take() {
            group.remove();
        }
    }

    /// Takes over a worker that an earlier daemon started.
    pub(crate) fn adopt(&mut self, view: &Arc<WorkerView>, around: &Surroundings) {
        let Some((stdout, stderr)) = view.output() else {
            return;
        };
        let worker = self.machine.fresh_id();
        let attended = Process::adopt(view.pid()).and_then(|process| {
            let pipes = Pipes::new(&stdout, &stderr).ok();
            self.attend(worker, process, pipes, String::new(), around)
        });
        if let Err(error) = attended {
            tracing::warn!(service = self.name(), pid = view.pid(), %error, "worker cannot be adopted");
            return;
        }
        if let Some(running) = self.running.get_mut(&worker) {
            running.view = Some(Arc::clone(view));
        }
        let _told_when_one_is_started = self.prepare_group(around);
        self.say(Some(view.pid()), "adopted from an earlier daemon", around);
        self.handle(Event::Adopted(worker), around);
    }

    /// Waits for a process's end and follows its output.
    fn attend(
        &mut self,
        worker: WorkerId,
        process: Process,
        pipes: Option<Pipes>,
        mark: String,
        around: &Surroundings,
    ) -> std::io::Result<()> {
        let watch = match process.watch() {
            Ok(watch) => watch,
            Err(error) => {
                process.kill();
                process.finish();
                return Err(error);
            }
        };
        let (service, messages) = (self.name().to_owned(), around.messages.clone());
        tokio::spawn(async move {
            if let Err(error) = process::exited(watch).await {
                tracing::error!(%service, %error, "worker cannot be waited for");
            }
            let _loop_is_gone = messages.send(Message::Exited { service, worker }).await;
        });
        if let Some(pipes) = pipes {
            for (pipe, stream) in [(pipes.stdout, LogStream::Stdout), (pipes.stderr, LogStream::Stderr)] {
                let name = self.name();
                let file = self.log_file(stream);
                around.files.rotate(&file, self.plan.settings.rotation);
                let to = Destination { service: name.to_owned(), pid: process.pid(), stream, file };
                output::follow(pipe, to, around.files.clone(), Arc::clone(&around.tail));
            }
        }
        let (started, usage) = (Instant::now(), Usage::default());
        let (watchdog, seen) = (Watchdog::default(), Seen::default());
        let (view, other_layout) = (None, None);
        let running = Running { process, started, usage, view, seen, watchdog, mark, other_layout };
        self.running.insert(worker, running);
        Ok(())
    }

    /// A worker's process has ended: it is reaped, with what it left behind. Returns the mark of whatever else of that
    /// may come to light.
    pub(crate) fn exited(&mut self, worker: WorkerId, around: &Surroundings) -> Option<String> {
        let running = self.running.remove(&worker)?;
        self.is_changed = true;
        if let Some(view) = &running.view {
            for (id, counters) in counters_of(view) {
                self.dead.entry(id).or_default().add(&counters);
            }
        }
        let exit = match running.process.finish() {
            exit if running.other_layout.is_some() => running.other_layout.map_or(exit, Exit::OtherLayout),
            exit @ (Exit::Signal(_) | Exit::Unknown) => {
                let is_starved = self.group.as_mut().is_some_and(Group::has_run_out_of_memory);
                if is_starved { Exit::OutOfMemory } else { exit }
            }
            exit => exit,
        };
        let known = self.running.values().map(|other| other.process.pid()).collect();
        let mark = Some(running.mark).filter(|mark| !mark.is_empty());
        strays::kill_marked(mark.as_deref(), &known);
        self.handle(Event::Exited(worker, exit), around);
        mark
    }

    /// Whether the next daemon can take its workers over: their output has a reader meanwhile.
    pub(crate) fn can_be_adopted(&self) -> bool {
        self.plan.description.is_some()
    }

    /// Whether that process is one of its workers.
    pub(crate) fn has(&self, pid: u32) -> bool {
        self.running.values().any(|running| running.process.pid() == pid)
    }

    /// A worker serves.
    pub(crate) fn ready(&mut self, view: &Arc<WorkerView>, around: &Surroundings) {
        let found = self.running.iter_mut().find(|(_, running)| running.process.pid() == view.pid());
        if let Some((&worker, running)) = found {
            running.view = Some(Arc::clone(view));
            self.handle(Event::Ready(worker), around);
        }
    }

    /// A worker serves whose shared memory has another layout.
    pub(crate) fn estranged(&mut self, pid: u32, layout: u32, around: &Surroundings) {
        let found = self.running.iter_mut().find(|(_, running)| running.process.pid() == pid);
        if let Some((&worker, running)) = found {
            running.other_layout = Some(layout);
            self.handle(Event::Estranged(worker), around);
        }
    }

    /// Takes what the sampler measured, and reads the counters.
    pub(crate) fn sampled(&mut self, usages: &HashMap<u32, Usage>) {
        for running in self.running.values_mut() {
            if let Some(usage) = usages.get(&running.process.pid()) {
                running.usage = *usage;
            }
        }
        self.count();
    }

    /// Has workers killed whose processes do not run.
    pub(crate) fn watch(&mut self, around: &Surroundings) {
        let Some(timeout) = self.plan.settings.watchdog_timeout else { return };
        let now = Instant::now();
        let mut silent = Vec::new();
        for (worker, running) in &mut self.running {
            let Some(view) = &running.view else { continue };
            let still = running.watchdog.look(view.heartbeat(), now);
            if still >= timeout && !watchdog::is_traced(running.process.pid()) {
                silent.push(*worker);
            }
        }
        for worker in silent {
            self.handle(Event::Silent(worker, timeout), around);
        }
    }

    fn count(&mut self) {
        let mut is_new = std::mem::take(&mut self.is_changed);
        for running in self.running.values_mut() {
            let Some(view) = &running.view else { continue };
            is_new |= running.seen.look(view);
        }
        if !is_new {
            return;
        }
        let mut sums = self.dead.clone();
        let mut description = self.plan.description.as_ref();
        for running in self.running.values() {
            let Some(view) = &running.view else { continue };
            description = Some(view.description());
            for (id, counters) in &running.seen.counters {
                sums.entry(*id).or_default().add(counters);
            }
        }
        let methods = description.map(|description| description.methods.as_slice()).unwrap_or_default();
        self.methods = methods
            .iter()
            .map(|method| (method.clone(), sums.remove(&method.id).unwrap_or_default()))
            .collect();
    }

    fn report(&self, report: &Report, around: &Surroundings) {
        let running = report.worker().and_then(|worker| self.running.get(&worker));
        self.say(running.map(|running| running.process.pid()), &report.to_string(), around);
    }

    /// An event of this service, for the log and the page.
    pub(crate) fn say(&self, pid: Option<u32>, text: &str, around: &Surroundings) {
        around.event(self.name(), pid, text);
    }
}

fn rules_of(plan: &ServicePlan, seed: u64) -> Rules {
    let min = plan.settings.min_proc_num;
    let cap = plan.description.as_ref().and_then(|description| description.max_workers);
    Rules {
        policy: plan.settings.policy,
        is_program: plan.description.is_none(),
        min,
        max: if rule_of(plan) == Autoscale::Off { min } else { plan.max_workers },
        cap: cap.map(|cap| cap.max(1) as usize),
        seed,
    }
}
