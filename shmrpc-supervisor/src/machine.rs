//! One service's workers as a state machine: (state, event, now) → (state, actions). It decides when to
//! start, stop, kill, restart and give up; it starts nothing itself, does no I/O and never reads the
//! clock. Events come from the daemon's loop, which carries out the [`Action`]s.
//!
//! A service has *slots*, one for each worker that it should have. A slot holds at most one live process;
//! processes have numbers of their own, so that a late event about a dead one hits nobody.

mod report;
mod roll;
mod slot;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use shmrpc_core::observe::LAYOUT_VERSION;

pub use self::report::Report;
use self::slot::{Next, Slot, State};
use crate::config::{Policy, Restart};

/// The number of one worker process, unique in its service for as long as the daemon runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u64);

/// What happens to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants it to run.
    Start,
    /// Somebody wants it to stop.
    Stop,
    /// Somebody wants new workers in place of the present ones, one after the other.
    Restart,
    /// The same, all at once.
    RestartAtOnce,
    /// The daemon is in a hurry: kill what runs.
    Kill,
    /// A worker has done enough, for that reason.
    Replace(WorkerId, String),
    /// The pool shall have so many workers, because its bounds have changed.
    Resize(usize),
    /// The rule would have so many workers, for that reason.
    Advised(usize, String),
    /// Somebody fixes the size of the pool, or leaves it to the rule.
    Scale(Scale),
    /// A worker of an earlier daemon was found; its number comes from [`Machine::fresh_id`].
    Adopted(WorkerId),
    /// A worker serves.
    Ready(WorkerId),
    /// A worker's process has not run for so long.
    Silent(WorkerId, Duration),
    /// A worker serves, but of what it does nothing can be seen: its shared memory has another layout.
    Estranged(WorkerId),
    /// A worker is gone, or could not be started.
    Exited(WorkerId, Exit),
    /// Time has passed: [`Machine::deadline`] is reached.
    Tick,
}

/// What somebody wants of a pool's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// So many workers, whatever the rule says.
    To(usize),
    /// What the rule says.
    Auto,
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It returned that code.
    Code(i32),
    /// A signal of that name ended it.
    Signal(String),
    /// It could not be started, for that reason.
    NotStarted(String),
    /// The kernel killed it because its service had more memory than its control group may have.
    OutOfMemory,
    /// It was told to go, because its shared memory has that layout version, which is not the daemon's.
    OtherLayout(u32),
    /// It was not our child, and the kernel does not tell.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(name) => write!(f, "was killed by {name}"),
            Self::NotStarted(reason) => write!(f, "could not be started: {reason}"),
            Self::OutOfMemory => {
                f.write_str("was killed by the kernel: the service had more memory than cgroup_memory_max")
            }
            Self::OtherLayout(theirs) => write!(
                f,
                "was told to go, since its shared memory has layout version {theirs} and the daemon's {LAYOUT_VERSION}"
            ),
            Self::Unknown => f.write_str("is gone, its exit status is unknown"),
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a process under that number.
    Spawn(WorkerId),
    /// Send it the stop signal.
    Stop(WorkerId),
    /// Kill it and its process group.
    Kill(WorkerId),
    /// Tell the log.
    Report(Report),
}

/// A service's state as a whole, named as in supervisord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not running because nobody wants it to.
    Stopped,
    /// Being started; no worker is ready.
    Starting,
    /// At least one worker serves.
    Running,
    /// No worker lives; the next start waits for its delay.
    Backoff,
    /// Told to stop; workers still drain.
    Stopping,
    /// A program that ended by itself, without an error.
    Exited,
    /// Died too often; left alone until somebody starts it.
    Fatal,
}

/// What one live process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Started, not ready.
    Starting,
    /// Serving.
    Running,
    /// Told to stop.
    Draining,
}

/// What a machine must know of its service.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Times and limits.
    pub policy: Policy,
    /// A plain program: ready when it has run for a while, and free to end without an error.
    pub is_program: bool,
    /// The pool's bounds, unless somebody fixes its size.
    pub min: usize,
    /// See [`Self::min`].
    pub max: usize,
    /// More workers than this the service itself forbids, even for a moment.
    pub cap: Option<usize>,
    /// What chance comes from.
    pub seed: u64,
}

/// One service's workers. See the module.
#[derive(Debug)]
pub struct Machine {
    rules: Rules,
    wanted: bool,
    slots: Vec<Slot>,
    /// Workers that a restart has yet to replace, one after the other.
    rolling: VecDeque<WorkerId>,
    /// How many there were to be replaced; 0: nobody.
    roll_total: usize,
    rolled: usize,
    fixed: Option<usize>,
    next_id: u64,
    restarts: u64,
    last_exit: Option<Exit>,
}

impl Machine {
    /// A stopped service with the least number of slots. `first_id` is where its numbers begin.
    #[must_use]
    pub fn new(rules: Rules, first_id: u64) -> Self {
        Self {
            rules,
            wanted: false,
            slots: (0..rules.min).map(|_| Slot::default()).collect(),
            rolling: VecDeque::new(),
            roll_total: 0,
            rolled: 0,
            fixed: None,
            next_id: first_id,
            restarts: 0,
            last_exit: None,
        }
    }

    /// Holds from now on for what is to come.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// A number for a worker that is about to be adopted.
    pub fn fresh_id(&mut self) -> WorkerId {
        self.next_id += 1;
        WorkerId(self.next_id)
    }

    /// Takes an event at the time `now` and says what is to be done.
    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Start => self.start(now, &mut actions),
            Event::Stop => self.stop(now, &mut actions),
            Event::Restart => self.restart(now, &mut actions),
            Event::Kill => self.kill(&mut actions),
            Event::RestartAtOnce => self.restart_at_once(now, &mut actions),
            Event::Replace(worker, reason) => self.replace(worker, reason, &mut actions),
            Event::Resize(count) => self.resize(count, now, &mut actions),
            Event::Advised(count, reason) => self.advised(count, &reason, now, &mut actions),
            Event::Scale(scale) => self.scale(scale, now, &mut actions),
            Event::Adopted(worker) => self.adopt(worker, now, &mut actions),
            Event::Ready(worker) => self.ready(worker, now, &mut actions),
            Event::Silent(worker, time) => self.silent(worker, time, &mut actions),
            Event::Estranged(worker) => {
                let rules = self.rules;
                self.slot_of(worker).into_iter().for_each(|slot| slot.dismiss(&rules, now, &mut actions));
            }
            Event::Exited(worker, exit) => self.exited(worker, exit, now, &mut actions),
            Event::Tick => {}
        }
        self.tick(now, &mut actions);
        self.roll(now, &mut actions);
        actions
    }

    /// When [`Event::Tick`] is due; `None`: not before another event.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.slots.iter().filter_map(|slot| slot.deadline(&self.rules)).min()
    }

    /// The service's state as a whole.
    #[must_use]
    pub fn status(&self) -> Status {
        let any = |is: fn(&State) -> bool| self.slots.iter().any(|slot| is(&slot.state));
        let lives = |state: &State| state.worker().is_some();
        if !self.wanted {
            return if any(lives) { Status::Stopping } else { Status::Stopped };
        }
        if any(|state| matches!(state, State::Running { .. })) {
            Status::Running
        } else if any(lives) {
            Status::Starting
        } else if any(|state| matches!(state, State::Backoff { .. })) {
            Status::Backoff
        } else if any(|state| matches!(state, State::Fatal)) {
            Status::Fatal
        } else {
            Status::Exited
        }
    }

    /// Whether every slot is past its first attempt: ready, or failed. Later services wait for this.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.slots.iter().any(|slot| matches!(slot.state, State::Starting { .. } | State::Stopping { .. }))
    }

    /// Whether no process is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.iter().all(|slot| slot.state.worker().is_none())
    }

    /// The live processes and what they do.
    pub fn workers(&self) -> impl Iterator<Item = (WorkerId, Activity)> {
        self.slots.iter().filter_map(|slot| slot.state.activity())
    }

    /// Whether somebody wants it to run.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// How many workers were started in place of dead ones.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Why it is in its state, where the word alone does not say.
    #[must_use]
    pub fn detail(&self, now: Instant) -> Option<String> {
        let exit = self.last_exit.as_ref()?;
        match self.status() {
            Status::Fatal => Some(format!(
                "a worker {exit}; given up after {} failures within {:?}",
                self.rules.policy.start_limit, self.rules.policy.start_limit_interval
            )),
            Status::Exited => Some(format!("it {exit}")),
            Status::Backoff | Status::Running | Status::Starting => {
                let next = self.slots.iter().filter_map(|slot| slot.backoff_until()).min()?;
                let left = next.saturating_duration_since(now).as_secs_f64();
                Some(format!("a worker {exit}, next start in {left:.1} s"))
            }
            Status::Stopped | Status::Stopping => None,
        }
    }

    fn slot_of(&mut self, worker: WorkerId) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.state.worker() == Some(worker))
    }

    fn start(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.wanted = true;
        for slot in &mut self.slots {
            match &mut slot.state {
                State::Stopping { next: next @ Next::Stay, .. } => *next = Next::Start,
                state if state.worker().is_none() => {
                    // Somebody has asked: earlier failures are forgiven.
                    slot.forgive();
                    slot.spawn(&mut self.next_id, now, actions);
                }
                _ => {}
            }
        }
    }

    fn stop(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.wanted = false;
        self.forget_roll();
        for slot in &mut self.slots {
            slot.stop(Next::Stay, &self.rules, now, actions);
        }
        self.drop_empty_leavers();
        self.last_exit = None;
    }

    fn kill(&mut self, actions: &mut Vec<Action>) {
        self.wanted = false;
        self.forget_roll();
        for slot in &mut self.slots {
            slot.kill(Next::Stay, actions);
        }
        self.drop_empty_leavers();
    }

    fn adopt(&mut self, worker: WorkerId, now: Instant, actions: &mut Vec<Action>) {
        let running = State::Running { worker, since: now };
        let most = self.fixed.unwrap_or(self.rules.max);
        let free = self.slots.iter().position(|slot| slot.state.worker().is_none());
        let index = free.unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        self.slots[index].state = running;
        if self.size() > most {
            // More than the pool may have: it drains and goes.
            self.slots[index].stop(Next::Go, &self.rules, now, actions);
        }
    }

    fn ready(&mut self, worker: WorkerId, now: Instant, actions: &mut Vec<Action>) {
        let Some(slot) = self.slot_of(worker).filter(|slot| matches!(slot.state, State::Starting { .. }))
        else {
            return;
        };
        slot.state = State::Running { worker, since: now };
        let old = slot.replaces.take();
        actions.push(Action::Report(Report::Ready(worker)));
        let rules = self.rules;
        if let Some(slot) = old.and_then(|old| self.slot_of(old)) {
            slot.stop(Next::Go, &rules, now, actions);
        }
    }

    fn silent(&mut self, worker: WorkerId, time: Duration, actions: &mut Vec<Action>) {
        if let Some(slot) = self.slot_of(worker)
            && matches!(slot.state, State::Running { .. })
        {
            actions.push(Action::Report(Report::Silent(worker, time)));
            slot.kill(Next::Fail, actions);
        }
    }

    fn exited(&mut self, worker: WorkerId, exit: Exit, now: Instant, actions: &mut Vec<Action>) {
        let Some(index) = self.slots.iter().position(|slot| slot.state.worker() == Some(worker)) else {
            return;
        };
        let comes_back = self.comes_back(&exit);
        let chance = self.chance(worker);
        let successor = self.successor_of(worker);
        let slot = &mut self.slots[index];
        let was_told_to = match slot.state {
            State::Stopping { next, .. } if next != Next::Fail => Some(next),
            _ if !self.wanted || slot.leaves => Some(Next::Stay),
            _ => None,
        };
        if let Some(next) = was_told_to {
            actions.push(Action::Report(Report::Ended(worker, exit)));
            slot.state = State::Stopped;
            if slot.leaves {
                self.slots.remove(index);
            } else if next == Next::Start {
                slot.spawn(&mut self.next_id, now, actions);
            }
        } else if slot.replaces.is_some() {
            self.roll_failed(index, worker, exit, actions);
        } else if let Some(successor) = successor {
            // Its successor is on its way, and takes its place.
            actions.push(Action::Report(Report::Ended(worker, exit)));
            self.slots[successor].replaces = None;
            self.slots.remove(index);
        } else if comes_back {
            self.last_exit = Some(exit.clone());
            actions.push(Action::Report(slot.fail(worker, exit, &self.rules.policy, chance, now)));
        } else {
            slot.state = State::Exited;
            self.last_exit = Some(exit.clone());
            actions.push(Action::Report(Report::Ended(worker, exit)));
        }
    }

    /// Whether a worker that ended so by itself is started again.
    fn comes_back(&self, exit: &Exit) -> bool {
        let succeeded = *exit == Exit::Code(0);
        match self.rules.policy.restart {
            Restart::Standard => !(self.rules.is_program && succeeded),
            Restart::Always => true,
            Restart::OnFailure => !succeeded,
            Restart::Never => false,
        }
    }

    /// A number from 0 to 1 that differs from worker to worker and from daemon to daemon.
    fn chance(&self, worker: WorkerId) -> f64 {
        let mut mixed = self.rules.seed ^ worker.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// What is due by now.
    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        for slot in &mut self.slots {
            if slot.deadline(&self.rules).is_none_or(|due| due > now) {
                continue;
            }
            match slot.state {
                State::Starting { worker, .. } if self.rules.is_program => {
                    slot.state = State::Running { worker, since: now };
                    actions.push(Action::Report(Report::Ready(worker)));
                }
                State::Starting { worker, .. } => {
                    let after = self.rules.policy.start_timeout;
                    actions.push(Action::Report(Report::NotReady(worker, after)));
                    slot.kill(Next::Fail, actions);
                }
                State::Stopping { worker, next, .. } => {
                    let after = self.rules.policy.stop_timeout;
                    actions.push(Action::Report(Report::NotStopped(worker, after)));
                    slot.kill(next, actions);
                }
                State::Backoff { .. } => {
                    self.restarts += 1;
                    slot.spawn(&mut self.next_id, now, actions);
                }
                State::Stopped | State::Running { .. } | State::Exited | State::Fatal => {}
            }
        }
    }
}
