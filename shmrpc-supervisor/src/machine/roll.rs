//! Replacing workers without a gap, and changing the size of the pool. A worker is replaced by *surge* where
//! that is allowed: its successor is started beside it, and it drains when the successor is ready. If the
//! successor never gets ready, everybody else stays. Otherwise the old one goes first.

use std::time::Instant;

use super::{
    Action, Exit, Machine, Report, Scale, WorkerId,
    slot::{Next, Slot, State},
};

impl Machine {
    /// Workers that the pool should have: without those that go, and without successors before they are ready.
    #[must_use]
    pub fn size(&self) -> usize {
        self.slots.iter().filter(|slot| slot.is_regular()).count()
    }

    /// The size that somebody has fixed.
    #[must_use]
    pub fn fixed(&self) -> Option<usize> {
        self.fixed
    }

    /// Whether workers are being replaced, or wait for it.
    #[must_use]
    pub fn is_rolling(&self) -> bool {
        self.roll_total > 0
    }

    pub(super) fn restart(&mut self, now: Instant, actions: &mut Vec<Action>) {
        // Those that are being started too: they may have read what the restart is meant to replace.
        let present = self.slots.iter().filter(|slot| !slot.leaves).filter_map(|slot| match slot.state {
            State::Starting { worker, .. } | State::Running { worker, .. } => Some(worker),
            _ => None,
        });
        self.rolling = present.collect();
        self.roll_total = self.rolling.len();
        self.rolled = 0;
        self.start(now, actions);
    }

    pub(super) fn restart_at_once(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.forget_roll();
        for slot in &mut self.slots {
            slot.forgive();
            slot.stop(Next::Start, &self.rules, now, actions);
        }
        self.drop_empty_leavers();
        self.start(now, actions);
    }

    /// A worker has done enough.
    pub(super) fn replace(&mut self, worker: WorkerId, reason: String, actions: &mut Vec<Action>) {
        let runs = |slot: &Slot| matches!(slot.state, State::Running { worker: w, .. } if w == worker);
        let is_known = self.rolling.contains(&worker) || self.successor_of(worker).is_some();
        if self.wanted && !is_known && self.slots.iter().any(runs) {
            actions.push(Action::Report(Report::Worn(worker, reason)));
            self.rolling.push_back(worker);
            self.roll_total += 1;
        }
    }

    pub(super) fn forget_roll(&mut self) {
        self.rolling.clear();
        (self.roll_total, self.rolled) = (0, 0);
    }

    /// One worker after the other, each when the one before it has gone and its successor serves.
    pub(super) fn roll(&mut self, now: Instant, actions: &mut Vec<Action>) {
        while self.roll_total > 0 && self.is_settled() {
            let Some(worker) = self.rolling.pop_front() else {
                actions.push(Action::Report(Report::Rolled(self.rolled)));
                self.forget_roll();
                return;
            };
            let may_surge = self.may_surge();
            let Some(slot) = self.slots.iter_mut().find(|slot| slot.state.worker() == Some(worker)) else {
                continue;
            };
            self.rolled += 1;
            actions.push(Action::Report(Report::Replacing(worker, self.rolled, self.roll_total)));
            slot.forgive();
            if may_surge {
                let mut successor = Slot::successor_of(worker);
                successor.spawn(&mut self.next_id, now, actions);
                self.slots.push(successor);
            } else {
                slot.stop(Next::Start, &self.rules, now, actions);
            }
        }
    }

    fn may_surge(&self) -> bool {
        let rules = &self.rules;
        rules.policy.surge && !rules.is_program && rules.cap.is_none_or(|cap| self.size() < cap)
    }

    pub(super) fn successor_of(&self, worker: WorkerId) -> Option<usize> {
        self.slots.iter().position(|slot| slot.replaces == Some(worker))
    }

    /// A successor is gone before it was ready.
    pub(super) fn roll_failed(
        &mut self,
        index: usize,
        worker: WorkerId,
        exit: Exit,
        actions: &mut Vec<Action>,
    ) {
        self.slots.remove(index);
        let left = self.rolling.len() + 1;
        self.forget_roll();
        self.last_exit = Some(exit.clone());
        actions.push(Action::Report(Report::RollStopped(worker, exit, left)));
    }

    pub(super) fn scale(&mut self, scale: Scale, now: Instant, actions: &mut Vec<Action>) {
        match scale {
            Scale::To(count) => {
                self.fixed = Some(count);
                self.resized(count, "ordered", now, actions);
            }
            Scale::Auto => {
                if self.fixed.take().is_some() {
                    actions.push(Action::Report(Report::Automatic));
                }
                let count = self.size().clamp(self.rules.min, self.rules.max.max(self.rules.min));
                self.resized(count, "the pool's bounds", now, actions);
            }
        }
    }

    /// The rule's advice, which an order outweighs.
    pub(super) fn advised(&mut self, count: usize, reason: &str, now: Instant, actions: &mut Vec<Action>) {
        if self.wanted && self.fixed.is_none() {
            self.resized(count, reason, now, actions);
        }
    }

    fn resized(&mut self, to: usize, reason: &str, now: Instant, actions: &mut Vec<Action>) {
        let from = self.size();
        if from != to {
            let reason = reason.to_owned();
            actions.push(Action::Report(Report::Resized { from, to, reason }));
            self.resize(to, now, actions);
        }
    }

    pub(super) fn resize(&mut self, count: usize, now: Instant, actions: &mut Vec<Action>) {
        while self.size() < count {
            let mut slot = Slot::default();
            if self.wanted {
                slot.spawn(&mut self.next_id, now, actions);
            }
            self.slots.push(slot);
        }
        while self.size() > count {
            let Some(index) = self.most_dispensable() else { break };
            self.slots[index].stop(Next::Go, &self.rules, now, actions);
            self.drop_empty_leavers();
        }
    }

    /// Who goes first: places without a process, then who does not serve yet, then the youngest. One that is being
    /// replaced goes anyway.
    fn most_dispensable(&self) -> Option<usize> {
        let candidates = self.slots.iter().enumerate().filter(|(_, slot)| slot.is_regular());
        let rank = |(index, slot): &(usize, &Slot)| {
            let is_replaced = slot.state.worker().is_some_and(|worker| self.successor_of(worker).is_some());
            let kind = match slot.state {
                _ if is_replaced => 0,
                State::Running { .. } => 1,
                State::Starting { .. } | State::Stopping { .. } => 2,
                State::Stopped | State::Backoff { .. } | State::Exited | State::Fatal => 3,
            };
            (kind, *index)
        };
        candidates.max_by_key(rank).map(|(index, _)| index)
    }

    /// Places that were told to go and have no process.
    pub(super) fn drop_empty_leavers(&mut self) {
        self.slots.retain(|slot| !slot.leaves || slot.state.worker().is_some());
    }
}
