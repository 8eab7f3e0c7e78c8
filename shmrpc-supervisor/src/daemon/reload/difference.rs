//! What a changed plan asks for, service by service. Pure: compares, and does nothing.

use std::sync::Arc;

use crate::{
    config::{Dependencies, Recycling, Rotation, Scaling},
    plan::{Plan, ServicePlan},
};

/// What is to become of one service.
#[derive(Debug, PartialEq)]
pub(super) enum Difference {
    /// Nothing that its workers could notice; the new plan replaces the old one.
    Same(ServicePlan),
    /// Its workers must be replaced.
    Changed(ServicePlan),
    /// It is new.
    Added(ServicePlan),
    /// It is gone.
    Removed(String),
}

impl Difference {
    /// In words; `None` for no difference.
    pub(super) fn told(&self) -> Option<String> {
        match self {
            Self::Same(_) => None,
            Self::Changed(plan) => Some(format!("{} changed", plan.name)),
            Self::Added(plan) => Some(format!("{} added", plan.name)),
            Self::Removed(name) => Some(format!("{name} removed")),
        }
    }
}

/// Compares the running services with a new plan, in the new plan's order; removed ones come last.
pub(super) fn differences(running: &[&ServicePlan], new: Plan) -> Vec<Difference> {
    let removed: Vec<Difference> = running
        .iter()
        .filter(|old| new.services.iter().all(|service| service.name != old.name))
        .map(|old| Difference::Removed(old.name.clone()))
        .collect();
    let kept =
        new.services.into_iter().map(|service| match running.iter().find(|old| old.name == service.name) {
            None => Difference::Added(service),
            Some(old) if essence(old) == essence(&service) => Difference::Same(service),
            Some(_) => Difference::Changed(service),
        });
    kept.chain(removed).collect()
}

/// A plan without what can change under running workers: its place in the file, the bounds of the pool,
/// the order of starts, the watchdog, how long logs are kept, how its types are shown.
fn essence(plan: &ServicePlan) -> ServicePlan {
    let mut plan = plan.clone();
    plan.max_workers = 0;
    (plan.after, plan.requires) = (Vec::new(), Vec::new());
    plan.schemas = Arc::default();
    let settings = &mut plan.settings;
    settings.written = Arc::default();
    (settings.line, settings.source_line, settings.min_proc_num_line) = (0, 0, 0);
    (settings.min_proc_num, settings.max_proc_num) = (0, 0);
    settings.wait_until_completed = false;
    settings.watchdog_timeout = None;
    settings.scaling = Scaling::default();
    settings.recycling = Recycling::default();
    settings.rotation = Rotation::default();
    settings.dependencies = Dependencies::default();
    plan
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        config::{Diagnostics, Settings},
        program::Lookup,
    };

    fn plan(ini: &str) -> Plan {
        let mut faults = Diagnostics::new("t.ini");
        let settings = Settings::parse(ini.as_bytes(), Path::new("/"), &mut faults);
        Plan::new(settings, &Lookup::new("/"), &[], faults).unwrap()
    }

    #[test]
    fn only_what_differs_is_touched() {
        let old = plan("[a]\nprogram=sh\n[b]\nprogram=sh\n[c]\nprogram=sh\n[d]\nprogram=sh\n");
        let new = "# moved\n[e]\nprogram=sh\n[a]\nprogram=sh\n[b]\nprogram=sh\nmin_proc_num=2\nmax_proc_num=9\n\
                   [c]\nprogram=sh -c x\n";
        let running: Vec<&ServicePlan> = old.services.iter().collect();
        let found: Vec<String> = differences(&running, plan(new))
            .into_iter()
            .map(|difference| match difference {
                Difference::Same(service) => format!("same {}", service.name),
                Difference::Changed(service) => format!("changed {}", service.name),
                Difference::Added(service) => format!("added {}", service.name),
                Difference::Removed(name) => format!("removed {name}"),
            })
            .collect();
        assert_eq!(found, ["added e", "same a", "same b", "changed c", "removed d"]);
    }
}
