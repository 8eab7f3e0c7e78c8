//! Reloads: the ini file is read again off the loop, compared with what runs, and only what the difference
//! asks for is done. A file with faults, or a port that is taken, changes nothing.

mod difference;

use std::{collections::HashMap, net::TcpListener};

use shmrpc_web::ControlError;

use self::difference::{Difference, differences};
use super::{
    Message, OrderAnswer, bind_service,
    event_loop::Loop,
    pool::rule_of,
    supervised::{Fate, Supervised},
};
use crate::{
    config::{Autoscale, Diagnostics},
    listen::ListenError,
    machine::Event,
    plan::{Plan, ServicePlan, checked},
    sources,
};

impl Loop {
    pub(super) fn reload(&mut self) {
        if self.ending.is_some() {
            return;
        }
        if self.reloading {
            // The file may have changed since it was read: it is read once more.
            self.reload_again = true;
            return;
        }
        self.reloading = true;
        self.manager.reloading();
        let text = format!("reading the configuration again: {}", self.options.file.display());
        self.around.event("", Some(std::process::id()), &text);
        let (messages, options) = (self.around.messages.clone(), self.options.clone());
        tokio::task::spawn_blocking(move || {
            let plan = Plan::load(&options.file, &options.wanted);
            let _loop_is_gone = messages.blocking_send(Message::Reloaded(plan));
        });
    }

    /// Reads the file for somebody who wants to know what it would run, or its faults.
    pub(super) fn check(&mut self, answer: OrderAnswer) {
        self.checking += 1;
        let (messages, options) = (self.around.messages.clone(), self.options.clone());
        tokio::task::spawn_blocking(move || {
            let plan = Plan::load(&options.file, &options.wanted);
            let checked = plan.map(|plan| checked(&options.file, &plan));
            let _asker_is_gone =
                answer.send(checked.map_err(|faults| ControlError::Refused(faults.to_string())));
            let _loop_is_gone = messages.blocking_send(Message::Checked);
        });
    }

    /// The file has been read.
    pub(super) fn reload_done(&mut self, result: Result<Plan, Diagnostics>) {
        self.reloading = false;
        let done = self.reloaded(result);
        if let Err(error) = &done {
            tracing::error!("{error}");
            self.around.tell("", Some(std::process::id()), error.to_string());
        }
        // With an old configuration too: it is as ready as before.
        self.manager.ready();
        let [askers, late] = std::mem::take(&mut self.reload_askers);
        self.reload_askers[0] = late;
        self.publish();
        for asker in askers {
            let _asker_is_gone = asker.send(done.clone());
        }
        if std::mem::take(&mut self.reload_again) {
            self.reload();
        }
    }

    fn reloaded(&mut self, result: Result<Plan, Diagnostics>) -> Result<String, ControlError> {
        if self.ending.is_some() {
            return Err(ControlError::ShuttingDown);
        }
        let stays = |why: String| ControlError::Refused(format!("the old configuration stays: {why}"));
        let plan = result.map_err(|faults| stays(format!("\n{faults}")))?;
        let address = plan.web.address;
        if address.port() != 0 && address != self.address {
            tracing::warn!("the dashboard stays at {} until the next start", self.address);
        }
        let running: Vec<&ServicePlan> = self.services.iter().map(|service| &service.plan).collect();
        let differences = differences(&running, plan);
        let listeners = self.listeners(&differences).map_err(|error| stays(sources::told(&error)))?;
        let told: Vec<String> = differences.iter().filter_map(Difference::told).collect();
        self.apply(differences, listeners);
        Ok(if told.is_empty() { "nothing has changed".into() } else { told.join(", ") })
    }

    /// Binds the ports that are new, before anything is changed.
    fn listeners(&self, differences: &[Difference]) -> Result<HashMap<String, TcpListener>, ListenError> {
        let mut listeners = HashMap::new();
        let ours = self.known();
        for difference in differences {
            let (Difference::Added(plan) | Difference::Changed(plan)) = difference else { continue };
            let old = self.find(&plan.name).and_then(|service| service.plan.tcp_address());
            if plan.tcp_address() != old
                && let Some(listener) = bind_service(plan, &ours)?
            {
                listeners.insert(plan.name.clone(), listener);
            }
        }
        Ok(listeners)
    }

    fn apply(&mut self, differences: Vec<Difference>, mut listeners: HashMap<String, TcpListener>) {
        let mut order = Vec::new();
        for difference in differences {
            match difference {
                Difference::Same(plan) => {
                    order.push(plan.name.clone());
                    self.replan(plan);
                }
                Difference::Added(plan) => {
                    self.around.event(&plan.name, None, "added");
                    order.push(plan.name.clone());
                    self.startup.push_back(plan.name.clone());
                    let listener = listeners.remove(&plan.name);
                    let first_id = self.new_ids();
                    self.services.push(Supervised::new(plan, listener, first_id));
                }
                Difference::Changed(plan) => {
                    let is_rebuilt = self.find(&plan.name).is_some_and(|old| old.plan.stamp != plan.stamp);
                    let what = if is_rebuilt { "its program has changed" } else { "changed" };
                    self.around.event(&plan.name, None, &format!("{what}: its workers are replaced"));
                    order.push(plan.name.clone());
                    let listener = listeners.remove(&plan.name);
                    self.replace(plan, listener);
                }
                Difference::Removed(name) => {
                    self.around.event(&name, None, "removed");
                    self.retire(&name);
                }
            }
        }
        let place = |service: &Supervised| order.iter().position(|name| name == service.name());
        self.services.sort_by_key(|service| place(service).unwrap_or(usize::MAX));
    }

    /// A service whose workers would notice nothing.
    fn replan(&mut self, plan: ServicePlan) {
        let around = self.around.clone();
        if let Some(service) = self.services.iter_mut().find(|service| service.name() == plan.name) {
            let bounds = |plan: &ServicePlan| (plan.settings.min_proc_num, plan.max_workers);
            let is_resized = bounds(&plan) != bounds(&service.plan);
            let comes_back = matches!(std::mem::replace(&mut service.fate, Fate::Stays), Fate::Goes);
            service.set_plan(plan, &around);
            if is_resized && service.machine.fixed().is_none() {
                let most = service.plan.max_workers.max(service.plan.settings.min_proc_num);
                let count = service.machine.size().clamp(service.plan.settings.min_proc_num, most);
                let count = if rule_of(&service.plan) == Autoscale::Off {
                    service.plan.settings.min_proc_num
                } else {
                    count
                };
                service.handle(Event::Resize(count), &around);
            }
            if comes_back {
                service.handle(Event::Start, &around);
            }
        }
    }

    /// A service whose workers are replaced: new ones are what the new plan says, and old ones serve until those
    /// are ready.
    fn replace(&mut self, plan: ServicePlan, listener: Option<TcpListener>) {
        let around = self.around.clone();
        self.handle.forget(&plan.name);
        if let Some(service) = self.services.iter_mut().find(|service| service.name() == plan.name) {
            if plan.tcp_address() != service.plan.tcp_address() {
                // Old workers have the old one, and keep it.
                service.listener = listener;
            }
            let name = plan.name.clone();
            self.replan(plan);
            if let Some(service) = self.services.iter_mut().find(|service| service.name() == name)
                && service.machine.is_wanted()
            {
                service.handle(Event::Restart, &around);
            }
        }
    }

    fn retire(&mut self, name: &str) {
        let around = self.around.clone();
        self.startup.retain(|queued| queued != name);
        if let Some(service) = self.services.iter_mut().find(|service| service.name() == name) {
            service.fate = Fate::Goes;
            service.handle(Event::Stop, &around);
        }
    }

    /// Services that a reload removed, and whose last worker is gone.
    pub(super) fn fulfil_fates(&mut self) {
        let handle = self.handle.clone();
        self.services.retain_mut(|service| {
            let goes = matches!(service.fate, Fate::Goes) && service.machine.is_empty();
            if goes {
                handle.forget(service.name());
                service.leave_group();
            }
            !goes
        });
    }

    fn new_ids(&mut self) -> u64 {
        self.next_id += 1 << 40;
        self.next_id
    }
}
