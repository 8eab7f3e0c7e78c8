//! Reloads: the ini file is read again off the loop, compared with what runs, and only what the difference
//! asks for is done. A file with faults, or a port that is taken, changes nothing.

mod difference;

use std::{collections::HashMap, net::TcpListener};

use self::difference::{Difference, differences};
use super::{
    Message, bind_service,
    event_loop::Loop,
    supervised::{Fate, Supervised},
};
use crate::{
    config::Diagnostics,
    listen::ListenError,
    machine::{Event, Status},
    plan::{Plan, ServicePlan},
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
        tracing::info!(file = %self.options.file.display(), "reading the configuration again");
        let (messages, options) = (self.around.messages.clone(), self.options.clone());
        tokio::task::spawn_blocking(move || {
            let plan = Plan::load(&options.file, &options.wanted);
            let _loop_is_gone = messages.blocking_send(Message::Reloaded(plan));
        });
    }

    pub(super) fn reloaded(&mut self, result: Result<Plan, Diagnostics>) {
        if self.ending.is_some() {
            return;
        }
        let plan = match result {
            Ok(plan) => plan,
            Err(faults) => {
                tracing::error!("the old configuration stays:\n{faults}");
                return;
            }
        };
        let address = plan.web.address;
        if address.port() != 0 && address != self.address {
            tracing::warn!("the dashboard stays at {} until the next start", self.address);
        }
        let running: Vec<&ServicePlan> = self.services.iter().map(|service| &service.plan).collect();
        let differences = differences(&running, plan);
        match self.listeners(&differences) {
            Ok(listeners) => self.apply(differences, listeners),
            Err(error) => tracing::error!("the old configuration stays: {}", sources::told(&error)),
        }
    }

    /// Binds the ports that are new, before anything is changed.
    fn listeners(&self, differences: &[Difference]) -> Result<HashMap<String, TcpListener>, ListenError> {
        let mut listeners = HashMap::new();
        for difference in differences {
            let (Difference::Added(plan) | Difference::Changed(plan)) = difference else { continue };
            let old = self.find(&plan.name).and_then(|service| service.plan.tcp_address());
            if plan.tcp_address() != old
                && let Some(listener) = bind_service(plan)?
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
                    tracing::info!(service = plan.name, "added");
                    order.push(plan.name.clone());
                    self.startup.push_back(plan.name.clone());
                    let listener = listeners.remove(&plan.name);
                    let first_id = self.new_ids();
                    self.services.push(Supervised::new(plan, listener, first_id));
                }
                Difference::Changed(plan) => {
                    tracing::info!(service = plan.name, "changed: its workers are replaced");
                    order.push(plan.name.clone());
                    let listener = listeners.remove(&plan.name);
                    self.replace(plan, listener);
                }
                Difference::Removed(name) => {
                    tracing::info!(service = name, "removed");
                    self.retire(&name);
                }
            }
        }
        let place = |service: &Supervised| order.iter().position(|name| name == service.name());
        self.services.sort_by_key(|service| place(service).unwrap_or(usize::MAX));
    }

    fn replan(&mut self, plan: ServicePlan) {
        let around = self.around.clone();
        if let Some(service) = self.services.iter_mut().find(|service| service.name() == plan.name) {
            let resized = plan.settings.min_proc_num != service.plan.settings.min_proc_num;
            // A change that had not come to pass yet is taken back.
            let fate = std::mem::replace(&mut service.fate, Fate::Stays);
            if matches!(fate, Fate::Goes | Fate::Changes(_, _, true)) {
                service.handle(Event::Start, &around);
            }
            service.plan = plan;
            if resized {
                let count = service.plan.settings.min_proc_num;
                service.handle(Event::Resize(count), &around);
            }
        }
    }

    fn replace(&mut self, plan: ServicePlan, listener: Option<TcpListener>) {
        let around = self.around.clone();
        if let Some(service) = self.services.iter_mut().find(|service| service.name() == plan.name) {
            let is_queued = self.startup.iter().any(|name| *name == plan.name);
            let starts = match service.fate {
                Fate::Stays => service.machine.status() != Status::Stopped || is_queued,
                Fate::Changes(_, _, starts) => starts,
                Fate::Goes => true,
            };
            service.fate = Fate::Changes(Box::new(plan), listener, starts);
            service.handle(Event::Stop, &around);
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

    /// Services that a reload removed or changed, and whose last worker is gone.
    pub(super) fn fulfil_fates(&mut self) {
        let handle = self.handle.clone();
        self.services.retain(|service| {
            let goes = matches!(service.fate, Fate::Goes) && service.machine.is_empty();
            if goes {
                handle.forget(service.name());
            }
            !goes
        });
        let mut next_id = self.next_id;
        for service in &mut self.services {
            if !service.machine.is_empty() || !matches!(service.fate, Fate::Changes(..)) {
                continue;
            }
            let fate = std::mem::replace(&mut service.fate, Fate::Stays);
            let Fate::Changes(plan, new_listener, starts) = fate else { continue };
            let keeps_port = plan.tcp_address() == service.plan.tcp_address();
            let listener = if keeps_port { service.listener.take() } else { new_listener };
            next_id += 1 << 40;
            handle.forget(&plan.name);
            if starts && !self.startup.contains(&plan.name) {
                self.startup.push_back(plan.name.clone());
            }
            *service = Supervised::new(*plan, listener, next_id);
        }
        self.next_id = next_id;
    }

    fn new_ids(&mut self) -> u64 {
        self.next_id += 1 << 40;
        self.next_id
    }
}
