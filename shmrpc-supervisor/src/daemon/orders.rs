//! Orders: what people and programs want of the daemon, from the dashboard, the REST API and the control socket
//! alike. Each is checked against how things are, and then becomes an event of a machine.

use shmrpc_web::{Action, ControlError, ScaleTo};

use super::{
    Order, OrderAnswer,
    event_loop::{Ending, Loop},
    supervised::{Fate, Supervised},
};
use crate::{
    machine::{Event, Scale},
    report,
};

impl Loop {
    /// Does what is wanted, or says why not.
    pub(super) fn obey(&mut self, order: Order, answer: OrderAnswer) {
        if self.ending.is_some() {
            let _asker_is_gone = answer.send(Err(ControlError::ShuttingDown));
            return;
        }
        let result = match order {
            Order::Service(name, action) => self.control(&name, action),
            Order::Scale(name, to) => self.scale(&name, to),
            Order::Shutdown => {
                self.end(Ending::Drain);
                Ok(())
            }
            Order::HandOver => {
                self.end(Ending::Leave);
                Ok(())
            }
            Order::Check => {
                self.check(answer);
                return;
            }
            Order::Reload => {
                // One that is under way may have read the file already.
                let is_late = usize::from(self.reloading);
                self.reload_askers[is_late].push(answer);
                self.reload();
                return;
            }
        };
        self.publish();
        let _asker_is_gone = answer.send(result.map(|()| String::new()));
    }

    fn scale(&mut self, name: &str, to: ScaleTo) -> Result<(), ControlError> {
        let around = self.around.clone();
        let service = found(&mut self.services, name)?;
        let plan = &service.plan;
        let most = plan.max_workers.max(plan.settings.min_proc_num);
        let now = service.machine.size();
        let wanted = match to {
            ScaleTo::Auto => None,
            ScaleTo::Workers(count) => Some(count as usize),
            ScaleTo::More(count) => Some(now + count as usize),
            ScaleTo::Fewer(count) => Some(now.saturating_sub(count as usize)),
        };
        if let Some(wanted) = wanted
            && !(1..=most).contains(&wanted)
        {
            let text = format!("{name} may have 1 to {most} workers, not {wanted}");
            return Err(ControlError::Refused(text));
        }
        service.handle(Event::Scale(wanted.map_or(Scale::Auto, Scale::To)), &around);
        Ok(())
    }

    fn control(&mut self, name: &str, action: Action) -> Result<(), ControlError> {
        let around = self.around.clone();
        let is_queued = self.startup.iter().any(|queued| queued == name);
        let service = found(&mut self.services, name)?;
        let status = report::status_of(service.machine.status());
        let stays = matches!(service.fate, Fate::Stays);
        let (event, makes_sense) = match action {
            Action::Start => (Event::Start, status.can_start()),
            Action::Stop => (Event::Stop, status.can_stop() || is_queued),
            Action::Restart => (Event::Restart, true),
            Action::RestartAtOnce => (Event::RestartAtOnce, true),
        };
        if !makes_sense || !stays {
            return Err(ControlError::Conflict { service: name.to_owned(), action, status });
        }
        service.say(None, &format!("{} ordered", action.name()), &around);
        self.startup.retain(|queued| queued != name);
        if event == Event::Start {
            self.start_by_hand(name);
        } else {
            service.waits_for = None;
            service.handle(event, &around);
        }
        Ok(())
    }
}

fn found<'a>(services: &'a mut [Supervised], name: &str) -> Result<&'a mut Supervised, ControlError> {
    let found = services.iter_mut().find(|service| service.name() == name);
    found.ok_or_else(|| ControlError::NotFound(name.to_owned()))
}
