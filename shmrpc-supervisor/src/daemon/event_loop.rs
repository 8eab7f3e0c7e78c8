//! The loop: hears what happens, hands it to the service concerned, starts services in their order, and
//! ends when the last worker is gone. Each event is handled to its end before the next.

use std::{
    collections::{HashSet, VecDeque},
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use shmrpc_core::observe::{ObserverEvent, WorkerView};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::MissedTickBehavior,
};

use super::{
    Message, Options, OrderAnswer,
    estranged::Outdated,
    measures::Measures,
    round::{Rounds, Subjects},
    supervised::{Supervised, Surroundings},
};
use crate::{
    handle::Handle,
    machine::{Event, Status},
    notify::Notifier,
    process::Process,
    report::{self, Host},
    strays,
};

/// How often usage and counters are read.
const ROUND_INTERVAL: Duration = Duration::from_secs(1);
/// How long descendants that escaped their worker's group have to die, at the end; and how long they are looked for after
/// a worker's death, or after the last one that was found.
const STRAYS_TIMEOUT: Duration = Duration::from_secs(5);

/// How often is looked whether a worker that somebody else started has handed over its output, and for how
/// long.
const STRANGERS_INTERVAL: Duration = Duration::from_millis(20);
const STRANGERS_TIME: Duration = Duration::from_secs(5);

/// How the daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Workers serve on, for the next daemon. Plain programs, which nobody can adopt, end.
    Leave,
    /// Workers finish their calls.
    Drain,
    /// Nothing is waited for.
    Kill,
}

/// The signals that the daemon obeys.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// The loop's state. Its methods run one at a time.
pub(super) struct Loop {
    pub(super) services: Vec<Supervised>,
    pub(super) around: Surroundings,
    pub(super) handle: Handle,
    pub(super) host: Host,
    pub(super) address: SocketAddr,
    pub(super) options: Options,
    /// The service manager, which wants to hear how things go.
    pub(super) manager: Notifier,
    /// Services that have yet to be started, in order.
    pub(super) startup: VecDeque<String>,
    /// The service that the others wait for.
    pub(super) starting: Option<String>,
    pub(super) announced: bool,
    /// Workers of an earlier daemon that have yet to be adopted; nothing is started before.
    pub(super) expected: HashSet<u32>,
    /// Until then at most.
    pub(super) held_until: Instant,
    /// Workers that this daemon has not started, and since when they are known.
    pub(super) strangers: Vec<(Arc<WorkerView>, Instant)>,
    /// Workers of an earlier daemon that cannot be adopted.
    pub(super) outdated: Vec<Outdated>,
    pub(super) ending: Option<Ending>,
    pub(super) reloading: bool,
    /// Who waits to hear what the reload under way has changed; and who came too late for it.
    pub(super) reload_askers: [Vec<OrderAnswer>; 2],
    /// So many askers wait to hear what the file says.
    pub(super) checking: usize,
    /// Another reload was asked for meanwhile.
    pub(super) reload_again: bool,
    /// Bytes of output that were dropped, as far as the user has been told.
    pub(super) told_dropped_bytes: u64,
    /// Marks of workers that are dead, and since when nothing has been found of what they started.
    pub(super) bereft: Vec<(String, Instant)>,
    /// Away while it looks.
    pub(super) rounds: Option<Box<Rounds>>,
    pub(super) measures: Measures,
    pub(super) next_id: u64,
}

impl Loop {
    pub(super) async fn run(&mut self, mut inbox: mpsc::Receiver<Message>, mut signals: Signals) {
        let mut clock = tokio::time::interval(ROUND_INTERVAL);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watchdog = self.manager.watchdog_interval().map(tokio::time::interval);
        let mut is_quiet = false;
        loop {
            // At a look nothing has happened yet: what it finds comes as a message.
            if !std::mem::take(&mut is_quiet) {
                self.settle();
                if self.has_ended() {
                    return;
                }
            }
            let deadline = self.deadline();
            let due = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            let alive = async {
                match &mut watchdog {
                    Some(watchdog) => watchdog.tick().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = alive => {
                    self.manager.alive();
                    is_quiet = true;
                }
                Some(message) = inbox.recv() => self.hear(message),
                () = due => self.tick(),
                _ = clock.tick() => {
                    self.look();
                    is_quiet = true;
                }
                _ = signals.terminate.recv() => self.end(Ending::Drain),
                _ = signals.interrupt.recv() => {
                    let again = self.ending.is_some();
                    self.end(if again { Ending::Kill } else { Ending::Drain });
                }
                _ = signals.hangup.recv() => self.reload(),
            }
        }
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Order { order, answer } => self.obey(order, answer),
            Message::Exited { service, worker } => {
                let around = self.around.clone();
                for service in self.services.iter_mut().filter(|known| known.name() == service) {
                    let mark = service.exited(worker, &around);
                    self.bereft.extend(mark.map(|mark| (mark, Instant::now())));
                }
            }
            Message::Sighted(ObserverEvent::Up(view)) => self.sighted(view),
            // Its process's end says more, and comes by itself.
            Message::Sighted(ObserverEvent::Down(_)) => {}
            Message::Sighted(ObserverEvent::Estranged { pid, service, layout_version }) => {
                self.estranged(pid, &service, layout_version);
            }
            Message::Looked(rounds, usages) => {
                self.rounds = Some(rounds);
                let daemon = usages.get(&std::process::id()).copied();
                let around = self.around.clone();
                for service in &mut self.services {
                    service.sampled(&usages);
                    service.watch(&around);
                    service.steer(&around);
                }
                let points = self.measures.take(&self.services, daemon.as_ref(), Instant::now());
                self.around.history.record(points);
            }
            Message::Reloaded(result) => self.reload_done(result),
            Message::Checked => self.checking -= 1,
        }
    }

    fn sighted(&mut self, view: Arc<WorkerView>) {
        let around = self.around.clone();
        let ours = self.services.iter_mut().find(|service| service.has(view.pid()));
        match ours {
            Some(service) if service.name() == view.service() => {
                service.ready(&view, &around);
                // It may offer other methods than those before it.
                self.handle.forget(view.service());
            }
            Some(_) => {}
            None => self.strangers.push((view, Instant::now())),
        }
    }

    /// Workers that this daemon has not started: those that an earlier one had are adopted once they have
    /// handed over their output, which takes a moment; services that run by themselves are left alone.
    fn meet_strangers(&mut self) {
        let around = self.around.clone();
        self.expected.retain(|pid| Path::new("/proc").join(pid.to_string()).exists());
        for (view, since) in std::mem::take(&mut self.strangers) {
            if view.output().is_none() {
                if since.elapsed() < STRANGERS_TIME {
                    self.strangers.push((view, since));
                }
                continue;
            }
            self.expected.remove(&view.pid());
            if let Some(service) = self.services.iter_mut().find(|known| known.name() == view.service()) {
                service.adopt(&view, &around);
            } else {
                // Wanted no more. Without us it would go by itself, but we are here.
                tracing::info!(service = view.service(), pid = view.pid(), "not configured: told to stop");
                if let Ok(process) = Process::adopt(view.pid()) {
                    process.stop(nix::sys::signal::Signal::SIGTERM);
                }
            }
        }
    }

    /// What follows from whatever has just happened.
    fn settle(&mut self) {
        self.meet_strangers();
        self.fulfil_fates();
        self.part_with_outdated();
        if self.ending.is_none() {
            self.advance();
        }
        self.tell_manager();
        self.publish();
    }

    pub(super) fn publish(&self) {
        self.handle.publish(report::snapshot(&self.host, &self.services, Instant::now()));
    }

    pub(super) fn announce(&mut self) {
        self.tell_manager();
        self.manager.ready();
        let (text, address) = (self.summary(), self.address);
        let mut out = io::stdout().lock();
        // Nobody may be there to read it.
        let _unread = writeln!(out, "shmrpc-service: {text}; dashboard at http://{address}/")
            .and_then(|()| out.flush());
    }

    fn summary(&self) -> String {
        let running = |service: &&Supervised| service.machine.status() == Status::Running;
        let (ready, all) = (self.services.iter().filter(running).count(), self.services.len());
        format!("{ready} of {all} services run")
    }

    fn tell_manager(&mut self) {
        let summary = self.summary();
        self.manager.status(summary);
    }

    pub(super) fn find(&self, name: &str) -> Option<&Supervised> {
        self.services.iter().find(|service| service.name() == name)
    }

    fn deadline(&self) -> Option<Instant> {
        let machines = self.services.iter().filter_map(|service| service.machine.deadline());
        let waits = !self.strangers.is_empty() || !self.expected.is_empty();
        let another_look = waits.then(|| Instant::now() + STRANGERS_INTERVAL);
        machines.chain(another_look).min()
    }

    fn tick(&mut self) {
        for service in &mut self.services {
            service.handle(Event::Tick, &self.around);
        }
    }

    pub(super) fn end(&mut self, how: Ending) {
        if self.ending == Some(how) {
            return;
        }
        let (text, event) = match how {
            Ending::Leave => ("handing over: workers serve on", Event::Stop),
            Ending::Drain => ("stopping all services", Event::Stop),
            Ending::Kill => ("killing all workers", Event::Kill),
        };
        self.around.event("", Some(std::process::id()), text);
        self.ending = Some(how);
        self.manager.stopping();
        self.startup.clear();
        for service in &mut self.services {
            if how != Ending::Leave || !service.can_be_adopted() {
                service.handle(event.clone(), &self.around);
            }
        }
    }

    /// Whether the end has come: nobody is left who is waited for.
    fn has_ended(&self) -> bool {
        let is_done = |service: &Supervised| {
            service.machine.is_empty() || (self.has_handed_over() && service.can_be_adopted())
        };
        self.ending.is_some() && self.services.iter().all(is_done)
    }

    /// Whether workers are left to the next daemon.
    pub(super) fn has_handed_over(&self) -> bool {
        self.ending == Some(Ending::Leave)
    }

    /// Says how much output had to be dropped since the last time.
    fn tell_dropped(&mut self) {
        let dropped_bytes = self.around.files.dropped_bytes();
        let new_bytes = dropped_bytes - std::mem::replace(&mut self.told_dropped_bytes, dropped_bytes);
        if new_bytes > 0 {
            let text = format!("{new_bytes} bytes of output could not be written to log files");
            tracing::warn!("{text}");
            self.around.tell("", Some(std::process::id()), text);
        }
    }

    /// Begins a round, unless the last one is still under way.
    fn look(&mut self) {
        self.tell_dropped();
        if !self.announced || self.ending.is_some() {
            self.manager.going_on();
        }
        let known = self.known();
        if !self.reloading && self.checking == 0 {
            // Programs that are asked what they offer are our children too, and waited for elsewhere.
            strays::reap(&known);
        }
        self.end_bereft(&known);
        let Some(mut rounds) = self.rounds.take() else { return };
        let services = self.services.iter().filter(|service| service.plan.description.is_some());
        let journals = services
            .map(|service| (service.name().to_owned(), service.journal(), service.plan.settings.rotation));
        let mut pids = known;
        pids.insert(std::process::id());
        let subjects = Subjects { pids, journals: journals.collect() };
        let around = self.around.clone();
        tokio::task::spawn_blocking(move || {
            let usages = rounds.run(subjects, &around.tail, &around.files);
            let _loop_is_gone = around.messages.blocking_send(Message::Looked(rounds, usages));
        });
    }

    /// Descendants become our children one generation after the other, each when its parents are dead.
    fn end_bereft(&mut self, known: &HashSet<u32>) {
        if self.bereft.is_empty() {
            return;
        }
        let now = Instant::now();
        if strays::kill_marked(self.bereft.iter().map(|(mark, _)| mark.as_str()), known) > 0 {
            self.bereft.iter_mut().for_each(|(_, since)| *since = now);
        }
        self.bereft.retain(|(_, since)| now.duration_since(*since) < STRAYS_TIMEOUT);
    }

    pub(super) fn known(&self) -> HashSet<u32> {
        let running = self.services.iter().flat_map(|service| service.running.values());
        running.map(|running| running.process.pid()).collect()
    }

    /// At the end: kills descendants that escaped their workers' groups.
    pub(super) async fn end_strays(&self) {
        let deadline = Instant::now() + STRAYS_TIMEOUT;
        let known = HashSet::new();
        while !strays::kill_all(&known) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
            strays::reap(&known);
        }
    }
}
