//! One slot of a service: at most one live process, and what becomes of it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{Action, Activity, Exit, Report, Rules, WorkerId};
use crate::config::Policy;

/// A place for one worker.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) state: State,
    /// When its processes failed, as far back as the start limit looks.
    failures: VecDeque<Instant>,
    /// Failures since the last stable run.
    streak: u32,
    /// Its process is the successor of that worker, and not ready yet: one more than the pool should have.
    pub(super) replaces: Option<WorkerId>,
    /// It goes with its process.
    pub(super) leaves: bool,
}

/// A slot's state.
#[derive(Debug, Default)]
pub(super) enum State {
    #[default]
    Stopped,
    Starting {
        worker: WorkerId,
        since: Instant,
    },
    Running {
        worker: WorkerId,
        since: Instant,
    },
    Backoff {
        until: Instant,
    },
    Stopping {
        worker: WorkerId,
        /// When it is killed; `None`: it has been.
        kill_at: Option<Instant>,
        next: Next,
    },
    Exited,
    Fatal,
}

/// What follows when a process that was told to stop is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing.
    Stay,
    /// A new process.
    Start,
    /// It counts as a failure.
    Fail,
    /// The slot goes too.
    Go,
}

impl State {
    pub(super) fn worker(&self) -> Option<WorkerId> {
        self.activity().map(|(worker, _)| worker)
    }

    pub(super) fn activity(&self) -> Option<(WorkerId, Activity)> {
        match self {
            Self::Starting { worker, .. } => Some((*worker, Activity::Starting)),
            Self::Running { worker, .. } => Some((*worker, Activity::Running)),
            Self::Stopping { worker, .. } => Some((*worker, Activity::Draining)),
            Self::Stopped | Self::Backoff { .. } | Self::Exited | Self::Fatal => None,
        }
    }
}

impl Slot {
    /// The place of a worker's successor.
    pub(super) fn successor_of(worker: WorkerId) -> Self {
        Self { replaces: Some(worker), ..Self::default() }
    }

    /// Whether it counts as one of the pool.
    pub(super) fn is_regular(&self) -> bool {
        !self.leaves && self.replaces.is_none()
    }

    /// When time changes its state.
    pub(super) fn deadline(&self, rules: &Rules) -> Option<Instant> {
        match self.state {
            State::Starting { since, .. } if rules.is_program => Some(since + rules.policy.start_secs),
            State::Starting { since, .. } => Some(since + rules.policy.start_timeout),
            State::Backoff { until } => Some(until),
            State::Stopping { kill_at, .. } => kill_at,
            State::Stopped | State::Running { .. } | State::Exited | State::Fatal => None,
        }
    }

    pub(super) fn backoff_until(&self) -> Option<Instant> {
        match self.state {
            State::Backoff { until } => Some(until),
            _ => None,
        }
    }

    /// Forgets earlier failures.
    pub(super) fn forgive(&mut self) {
        self.failures.clear();
        self.streak = 0;
    }

    pub(super) fn spawn(&mut self, next_id: &mut u64, now: Instant, actions: &mut Vec<Action>) {
        *next_id += 1;
        let worker = WorkerId(*next_id);
        self.state = State::Starting { worker, since: now };
        actions.push(Action::Spawn(worker));
    }

    /// Asks the process to end, if there is one; `next` is what follows.
    pub(super) fn stop(&mut self, next: Next, rules: &Rules, now: Instant, actions: &mut Vec<Action>) {
        // A place that was to go, or was one too many, does not stay.
        self.leaves |= next == Next::Go || self.replaces.is_some();
        match &mut self.state {
            State::Starting { worker, .. } | State::Running { worker, .. } => {
                let worker = *worker;
                let kill_at = Some(now + rules.policy.stop_timeout);
                self.state = State::Stopping { worker, kill_at, next };
                actions.push(Action::Stop(worker));
            }
            State::Stopping { next: old, .. } => *old = next,
            State::Stopped | State::Backoff { .. } | State::Exited | State::Fatal => {
                self.state = State::Stopped;
            }
        }
    }

    /// Asks a process to end that is of no use; when it is gone, it has failed.
    pub(super) fn dismiss(&mut self, rules: &Rules, now: Instant, actions: &mut Vec<Action>) {
        if let State::Starting { worker, .. } = self.state {
            let kill_at = Some(now + rules.policy.stop_timeout);
            self.state = State::Stopping { worker, kill_at, next: Next::Fail };
            actions.push(Action::Stop(worker));
        }
    }

    /// Kills the process, if there is one.
    pub(super) fn kill(&mut self, next: Next, actions: &mut Vec<Action>) {
        self.leaves |= next != Next::Fail && self.replaces.is_some();
        match self.state.worker() {
            Some(worker) => {
                self.state = State::Stopping { worker, kill_at: None, next };
                actions.push(Action::Kill(worker));
            }
            None => self.state = State::Stopped,
        }
    }

    /// Its process is gone against our will: wait and try again, or give up. `chance` is from 0 to 1.
    pub(super) fn fail(
        &mut self,
        worker: WorkerId,
        exit: Exit,
        policy: &Policy,
        chance: f64,
        now: Instant,
    ) -> Report {
        if let State::Running { since, .. } = self.state
            && now.saturating_duration_since(since) >= policy.start_limit_interval
        {
            self.forgive();
        }
        self.failures.push_back(now);
        while self
            .failures
            .front()
            .is_some_and(|first| now.saturating_duration_since(*first) > policy.start_limit_interval)
        {
            self.failures.pop_front();
        }
        if self.failures.len() >= policy.start_limit {
            self.state = State::Fatal;
            return Report::GaveUp(worker, exit, self.failures.len());
        }
        let delay = delay(policy, self.streak).mul_f64(1.0 + policy.restart_jitter * chance);
        let delay = Duration::from_millis(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        self.streak = self.streak.saturating_add(1);
        self.state = State::Backoff { until: now + delay };
        Report::Died(worker, exit, delay)
    }
}

/// The delay after so many failures in a row.
fn delay(policy: &Policy, streak: u32) -> Duration {
    let doubled = 2_u32.checked_pow(streak).and_then(|factor| policy.restart_delay.checked_mul(factor));
    doubled.map_or(policy.restart_delay_max, |delay| delay.min(policy.restart_delay_max))
}
