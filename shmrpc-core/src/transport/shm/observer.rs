//! Looks on: an observer is linked to every worker of a runtime folder, has their counters mapped, and is
//! told when one comes or goes. `crate::observe` is its public face.

use std::{
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc},
};

use super::{
    directory::{Entry, Role},
    link::{Arrival, Link},
    message::{Caller, LAYOUT_VERSION, Message, Welcome},
    node::{Membership, Node, Party},
};
use crate::{
    observe::{ObserverEvent, ObserverRole, WorkerView},
    process::random_u64,
    shm::counters::Counters,
};

/// An observer's links. Dropped, it leaves.
pub(crate) struct Watching {
    shared: Arc<Shared>,
    _membership: Membership,
}

struct Shared {
    node: Arc<Node>,
    id: u64,
    role: ObserverRole,
    workers: Mutex<Vec<Watched>>,
    /// Links on which we have said who we are, and of which services their workers are.
    greeting: Mutex<Vec<(u64, String)>>,
    events: mpsc::Sender<ObserverEvent>,
}

struct Watched {
    link: Arc<Link>,
    nonce: u64,
    view: Arc<WorkerView>,
}

impl Watching {
    pub(crate) fn start(
        runtime_dir: &Path,
        role: ObserverRole,
        events: mpsc::Sender<ObserverEvent>,
    ) -> std::io::Result<Self> {
        let membership = Node::join(runtime_dir)?;
        membership.directory().sweep()?;
        let shared = Arc::new(Shared {
            id: random_u64(),
            role,
            workers: Mutex::default(),
            greeting: Mutex::default(),
            events,
            node: Arc::clone(&membership),
        });
        shared.node.add_party(Arc::<Shared>::downgrade(&shared) as Weak<dyn Party>);
        let watching = Self { shared, _membership: membership };
        let shared = &watching.shared;
        shared.node.publish(Entry {
            role: Role::Observer,
            service: String::new(),
            id: shared.id,
            node: shared.node.id().to_owned(),
            process: shared.node.process(),
            board: 0,
        })?;
        for entry in shared.node.directory().entries()? {
            if entry.role == Role::Worker && entry.board != 0 {
                let party = Arc::<Shared>::downgrade(shared) as Weak<dyn Party>;
                if let Ok(link) = shared.node.dial(&entry.node, party) {
                    shared.say_hello(&link, &entry.service);
                }
            }
        }
        Ok(watching)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if self.shared.node.is_ours() {
            self.shared.node.withdraw(self.shared.id);
            for worker in self.shared.lock().drain(..) {
                worker.link.close();
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say_hello(&self, link: &Link, service: &str) -> bool {
        let said = (link.token(), service.to_owned());
        self.greeting.lock().unwrap_or_else(PoisonError::into_inner).push(said);
        let caller = match self.role {
            ObserverRole::Spectator => Caller::Spectator,
            ObserverRole::Supervisor => Caller::Supervisor,
        };
        let hello = Message::Hello {
            version: LAYOUT_VERSION,
            caller,
            service: service.to_owned(),
            id: self.id,
            node: self.node.id().to_owned(),
            process: self.node.process(),
        };
        link.send(&hello, &[self.node.doorbell().fd()])
    }

    /// The service of a worker that answers us, or whose link has ended before.
    fn greeted(&self, link: &Link) -> Option<String> {
        let mut greeting = self.greeting.lock().unwrap_or_else(PoisonError::into_inner);
        let at = greeting.iter().position(|(token, _)| *token == link.token())?;
        Some(greeting.swap_remove(at).1)
    }

    /// A worker cannot be watched, because of its layout.
    fn estranged(&self, link: &Link, service: String, layout_version: u32) {
        let pid = link.peer_pid().unwrap_or(0);
        let _ = self.events.send(ObserverEvent::Estranged { pid, service, layout_version });
    }

    fn greet(&self, link: &Arc<Link>, welcome: Welcome, fds: Vec<OwnedFd>) -> bool {
        let Some(counters) = fds.into_iter().nth(2).and_then(|fd| Counters::attach(fd).ok()) else {
            return false;
        };
        let mut workers = self.lock();
        if workers.iter().any(|known| known.nonce == welcome.nonce) {
            return false;
        }
        let pid = if welcome.process.is_foreign() { 0 } else { welcome.process.pid };
        let view = Arc::new(WorkerView::new(pid, welcome.description, counters));
        workers.push(Watched { link: Arc::clone(link), nonce: welcome.nonce, view: Arc::clone(&view) });
        drop(workers);
        if self.role == ObserverRole::Supervisor {
            link.send(&Message::Output, &[]);
        }
        let _ = self.events.send(ObserverEvent::Up(view));
        true
    }
}

impl Party for Shared {
    fn wants(&self, first: &Message) -> bool {
        matches!(first, Message::Invite { id, .. } if *id == self.id)
    }

    fn arrived(&self, link: &Arc<Link>, arrival: Arrival) {
        let (message, fds) = match arrival {
            Arrival::Message(message, fds) => (message, fds),
            Arrival::Frame(_) => return,
        };
        let keep = match message {
            Message::Invite { version, service, .. } if version != LAYOUT_VERSION => {
                self.estranged(link, service, version);
                false
            }
            Message::Invite { service, .. } => self.say_hello(link, &service),
            Message::Welcome(welcome) => {
                self.greeted(link);
                welcome.version == LAYOUT_VERSION && self.greet(link, *welcome, fds)
            }
            Message::Refuse { layout: Some(layout), .. } => {
                if let Some(service) = self.greeted(link) {
                    self.estranged(link, service, layout);
                }
                false
            }
            Message::Output => {
                let workers = self.lock();
                let worker = workers.iter().find(|known| known.link.token() == link.token());
                if let (Some(worker), Ok(fds)) = (worker, <[OwnedFd; 2]>::try_from(fds)) {
                    worker.view.set_output(fds);
                }
                true
            }
            Message::Refuse { .. } | Message::Goodbye => false,
            _ => true,
        };
        if !keep {
            link.close();
        }
    }

    fn closed(&self, link: &Arc<Link>) {
        self.greeted(link);
        let mut workers = self.lock();
        if let Some(at) = workers.iter().position(|known| known.link.token() == link.token()) {
            let gone = workers.swap_remove(at);
            drop(workers);
            let _ = self.events.send(ObserverEvent::Down(gone.view));
        }
    }
}
