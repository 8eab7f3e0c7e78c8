//! Which service is started when: in the order of the file, each when what it needs is there. A service that waits
//! for another one that has failed is reported and holds nobody else up; it is started when the other runs.

use std::time::Instant;

use super::{event_loop::Loop, supervised::Supervised};
use crate::machine::{Event, Status};

/// Whether a service may be started.
enum Turn {
    Now,
    /// Another one is about to be ready, or to fail.
    Soon,
    /// That one has failed, or is not wanted.
    Blocked(String, Status),
}

impl Loop {
    /// Starts the services that wait for their turn, as far as it has come.
    pub(super) fn advance(&mut self) {
        if !self.expected.is_empty() && Instant::now() < self.held_until {
            return;
        }
        self.expected.clear();
        let around = self.around.clone();
        loop {
            let waited_for = self.starting.as_ref().and_then(|name| self.find(name));
            if waited_for.is_some_and(|service| !service.machine.is_settled()) {
                return;
            }
            self.starting = None;
            let Some(name) = self.next_in_turn() else { break };
            self.startup.retain(|queued| *queued != name);
            if let Some(service) = self.services.iter_mut().find(|service| service.name() == name) {
                service.waits_for = None;
                service.handle(Event::Start, &around);
                if service.plan.settings.wait_until_completed {
                    self.starting = Some(name);
                }
            }
        }
        let is_soon = |name: &String| matches!(self.find(name).map(|it| self.turn(it)), Some(Turn::Soon));
        if !self.announced && !self.startup.iter().any(is_soon) {
            self.announced = true;
            self.announce();
        }
    }

    fn next_in_turn(&mut self) -> Option<String> {
        self.startup.retain(|name| self.services.iter().any(|service| service.name() == name));
        let mut next = None;
        let mut blocked = Vec::new();
        for name in &self.startup {
            let Some(service) = self.find(name) else { continue };
            match self.turn(service) {
                Turn::Now => {
                    next = Some(name.clone());
                    break;
                }
                Turn::Soon => {}
                Turn::Blocked(other, status) => blocked.push((name.clone(), other, status)),
            }
        }
        let around = self.around.clone();
        for (name, other, status) in blocked {
            let text = format!("waits for {other}, which is {}", crate::report::status_of(status));
            if let Some(service) = self.services.iter_mut().find(|service| service.name() == name)
                && service.waits_for.as_ref() != Some(&text)
            {
                service.say(None, &text, &around);
                service.waits_for = Some(text);
            }
        }
        next
    }

    fn turn(&self, service: &Supervised) -> Turn {
        let is_queued = |name: &str| self.startup.iter().any(|queued| queued == name);
        for name in &service.plan.requires {
            let Some(other) = self.find(name) else { continue };
            match other.machine.status() {
                Status::Running => {}
                Status::Starting => return Turn::Soon,
                Status::Stopped if is_queued(name) => match self.turn(other) {
                    Turn::Now | Turn::Soon => return Turn::Soon,
                    Turn::Blocked(..) => return Turn::Blocked(name.clone(), Status::Stopped),
                },
                status => return Turn::Blocked(name.clone(), status),
            }
        }
        for name in &service.plan.after {
            let Some(other) = self.find(name) else { continue };
            let is_coming = match other.machine.status() {
                Status::Starting => true,
                Status::Stopped if is_queued(name) => !matches!(self.turn(other), Turn::Blocked(..)),
                _ => false,
            };
            if is_coming {
                return Turn::Soon;
            }
        }
        Turn::Now
    }

    /// Whoever orders a start does not wait for services that merely stand before it in the file.
    pub(super) fn start_by_hand(&mut self, name: &str) {
        let is_ready = self.find(name).is_some_and(|service| matches!(self.turn(service), Turn::Now));
        let around = self.around.clone();
        match self.services.iter_mut().find(|service| service.name() == name) {
            Some(service) if is_ready => {
                service.waits_for = None;
                service.handle(Event::Start, &around);
            }
            _ => self.enqueue(name),
        }
    }

    /// Has a service started as soon as all that it requires runs, which is started too.
    pub(super) fn enqueue(&mut self, name: &str) {
        if self.startup.iter().any(|queued| queued == name) {
            return;
        }
        self.startup.push_back(name.to_owned());
        let required = self.find(name).map(|service| service.plan.requires.clone()).unwrap_or_default();
        for other in required {
            let is_down = self.find(&other).is_some_and(|service| !service.machine.is_wanted());
            if is_down {
                self.enqueue(&other);
            }
        }
    }
}
