//! Workers whose shared memory has another layout than the daemon's, because they or it are of another release: nothing
//! can be seen of them. One that this daemon has started is told to go, as one that will never be ready; one that an
//! earlier daemon has left serves on until its successors do; others are left alone.

use nix::sys::signal::Signal;
use shmrpc_core::observe::LAYOUT_VERSION;

use super::event_loop::{Ending, Loop};
use crate::{machine::Status, process::Process};

/// A worker of an earlier daemon that cannot be adopted.
pub(super) struct Outdated {
    service: String,
    process: Process,
}

impl Loop {
    /// A worker of another layout has been met; of some this is told twice.
    pub(super) fn estranged(&mut self, pid: u32, name: &str, layout: u32) {
        let around = self.around.clone();
        let layouts = format!("its shared memory has layout version {layout}, the daemon's {LAYOUT_VERSION}");
        if let Some(service) = self.services.iter_mut().find(|service| service.has(pid)) {
            service.estranged(pid, layout, &around);
        } else if self.expected.remove(&pid) {
            // If it is gone meanwhile, nothing is left to do.
            let Ok(process) = Process::adopt(pid) else { return };
            let text = format!("{layouts}: it cannot be adopted, and goes when its successors serve");
            around.event(name, Some(pid), &text);
            self.outdated.push(Outdated { service: name.to_owned(), process });
        } else if !self.outdated.iter().any(|known| known.process.pid() == pid) {
            around.event(name, Some(pid), &format!("{layouts}: it is left alone"));
        }
    }

    /// Has workers go whose services serve without them, or are not wanted any more.
    pub(super) fn part_with_outdated(&mut self) {
        if self.outdated.is_empty() || self.ending == Some(Ending::Leave) {
            return;
        }
        for known in std::mem::take(&mut self.outdated) {
            if !known.process.lives() {
                continue;
            }
            if self.ending.is_none() && self.is_needed(&known.service) {
                self.outdated.push(known);
                continue;
            }
            let service = self.find(&known.service);
            let signal = service.map_or(Signal::SIGTERM, |service| service.plan.settings.policy.stop_signal);
            known.process.stop(signal);
            self.around.event(&known.service, Some(known.process.pid()), "not adopted: told to stop");
        }
    }

    /// Whether a service has yet to come to where it serves.
    fn is_needed(&self, name: &str) -> bool {
        let Some(service) = self.find(name) else { return false };
        let is_coming = self.startup.iter().any(|queued| queued == name) || service.machine.is_wanted();
        is_coming && !(service.machine.is_settled() && service.machine.status() == Status::Running)
    }
}
