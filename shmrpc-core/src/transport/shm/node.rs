//! A node: what a process has once, however many services and connections it has: a listening socket in
//! the runtime folder, a watcher thread that sleeps in epoll, a doorbell, and the hub where callers sleep.
//!
//! The watcher accepts and reads links and hands what arrives to a [`Party`]: a worker, a connection or
//! an observer of this process. It never blocks and runs no user code.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, Once, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    eventfd::{EfdFlags, EventFd},
    socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect, listen, socket},
};

use super::{
    directory::{Directory, Entry, Kept, LOCK_TIMEOUT, Look},
    hub::{Bell, Hub},
    link::{Arrival, Link},
    message::Message,
};
use crate::{
    process::{ProcessStamp, random_u64},
    runtime_dir::RuntimeDir,
    shm::{doorbell::Doorbell, fork_generation, kill_point::kill_point},
};

/// Somebody in this process to whom links belong.
pub(crate) trait Party: Send + Sync {
    /// Whether a link that begins with this message is for us.
    fn wants(&self, first: &Message) -> bool;
    /// Something arrived on a link of ours. Never blocks.
    fn arrived(&self, link: &Arc<Link>, arrival: Arrival);
    /// A link of ours has ended.
    fn closed(&self, link: &Arc<Link>);
    /// Called every few seconds.
    fn tick(&self) {}
}

const TICK: Duration = Duration::from_secs(5);
/// When what a peer has left is swept after its link has ended: a process that is killed is not gone yet
/// when its sockets are.
const SWEEPS: [Duration; 3] = [Duration::from_millis(20), Duration::from_millis(300), Duration::from_secs(3)];
const LISTENER: u64 = 0;
const STOP: u64 = 1;

/// A process's place in one runtime folder. The last [`Membership`] dropped leaves it.
pub(crate) struct Node {
    core: Arc<Core>,
    watcher: Mutex<Option<JoinHandle<()>>>,
}

/// One user of a node: a connection, a worker or an observer. While there are any, the node is there; when
/// the last is dropped, its socket and entries are gone before the drop returns.
pub(crate) struct Membership {
    node: Arc<Node>,
}

impl std::ops::Deref for Membership {
    type Target = Arc<Node>;

    fn deref(&self) -> &Arc<Node> {
        &self.node
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if !self.node.is_ours() {
            return;
        }
        let mut nodes = lock(&NODES);
        let last = self.node.core.members.fetch_sub(1, Ordering::AcqRel) == 1;
        if last {
            nodes.retain(|(.., node)| !std::ptr::eq(node.as_ptr(), Arc::as_ptr(&self.node)));
            drop(nodes);
            self.node.stop();
        }
    }
}

struct Core {
    members: AtomicUsize,
    dir: Arc<RuntimeDir>,
    directory: Directory,
    id: String,
    process: ProcessStamp,
    fork_generation: u32,
    doorbell: Arc<Doorbell>,
    hub: Arc<Hub>,
    listener: OwnedFd,
    epoll: Epoll,
    stop: EventFd,
    stopping: AtomicBool,
    left: AtomicBool,
    next_token: AtomicU64,
    links: Mutex<HashMap<u64, Arc<Link>>>,
    parties: Mutex<Vec<Weak<dyn Party>>>,
    kept: Mutex<Vec<Kept>>,
    /// Sweeps that are still to be done after the last end of a link.
    sweeps_left: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the watcher knows of the directory since it has read it.
#[derive(Default)]
struct Seen {
    look: Option<Look>,
    ticks: u32,
}

impl Seen {
    /// A directory that looks as before is read once a minute all the same: who writes through a mapping leaves no trace,
    /// nor who writes in the same tick of the kernel.
    const READ_EVERY: u32 = 12;

    fn must_read(&mut self, look: Option<Look>) -> bool {
        self.ticks += 1;
        let is_same = look.is_some() && look == self.look && self.ticks < Self::READ_EVERY;
        if !is_same {
            *self = Self { look, ticks: 0 };
        }
        !is_same
    }
}

static NODES: Mutex<Vec<(PathBuf, u32, Weak<Node>)>> = Mutex::new(Vec::new());

impl Node {
    /// Joins that runtime folder; the process's node there is made when first needed.
    pub(crate) fn join(path: &Path) -> io::Result<Membership> {
        let generation = fork_generation();
        let mut nodes = lock(&NODES);
        nodes.retain(|(_, of, node)| *of == generation && node.strong_count() > 0);
        if let Some(node) = nodes.iter().find(|(at, ..)| at == path).and_then(|(_, _, node)| node.upgrade()) {
            node.core.members.fetch_add(1, Ordering::AcqRel);
            return Ok(Membership { node });
        }
        let node = Arc::new(Self::start(path, generation)?);
        nodes.push((path.into(), generation, Arc::downgrade(&node)));
        static AT_EXIT: Once = Once::new();
        AT_EXIT.call_once(|| crate::shm::at_exit(leave_all));
        Ok(Membership { node })
    }

    fn start(path: &Path, fork_generation: u32) -> io::Result<Self> {
        let dir = Arc::new(RuntimeDir::open(path).map_err(io::Error::other)?);
        let id = format!("{:016x}{:016x}", random_u64(), random_u64());
        let doorbell = Arc::new(Doorbell::create(Bell::ALL.len()).map_err(io::Error::other)?);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let stop = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let listener = new_socket()?;
        {
            // Under the lock: a sweep must not meet a socket that nobody listens to yet.
            let _lock = dir.lock(LOCK_TIMEOUT)?;
            bind(listener.as_raw_fd(), &UnixAddr::new(&dir.short_path(&format!("{id}.sock")))?)?;
            kill_point("node.bound");
            listen(&listener, Backlog::new(4096)?)?;
            kill_point("node.listening");
        }
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        epoll.add(&stop, EpollEvent::new(EpollFlags::EPOLLIN, STOP))?;
        let core = Arc::new(Core {
            members: AtomicUsize::new(1),
            directory: Directory::new(Arc::clone(&dir)),
            hub: Arc::new(Hub::new(Arc::clone(&doorbell))),
            dir,
            id,
            process: ProcessStamp::current(),
            fork_generation,
            doorbell,
            listener,
            epoll,
            stop,
            stopping: AtomicBool::new(false),
            left: AtomicBool::new(false),
            next_token: AtomicU64::new(STOP + 1),
            links: Mutex::default(),
            parties: Mutex::default(),
            kept: Mutex::default(),
            sweeps_left: AtomicUsize::new(0),
        });
        let watched = Arc::clone(&core);
        let watcher =
            std::thread::Builder::new().name("shmrpc-watcher".into()).spawn(move || watched.watch())?;
        Ok(Self { core, watcher: Mutex::new(Some(watcher)) })
    }

    pub(crate) fn id(&self) -> &str {
        &self.core.id
    }

    pub(crate) fn process(&self) -> ProcessStamp {
        self.core.process
    }

    pub(crate) fn doorbell(&self) -> &Arc<Doorbell> {
        &self.core.doorbell
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.core.hub
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.core.directory
    }

    /// Whether this is still the process that joined, not a child of a `fork`.
    pub(crate) fn is_ours(&self) -> bool {
        self.core.is_ours()
    }

    /// Links and messages are offered to this party from now on, for as long as it lives.
    pub(crate) fn add_party(&self, party: Weak<dyn Party>) {
        let mut parties = lock(&self.core.parties);
        parties.retain(|party| party.strong_count() > 0);
        parties.push(party);
    }

    /// Lists an entry in the directory and keeps it there.
    pub(crate) fn publish(&self, entry: Entry) -> io::Result<()> {
        let id = entry.id;
        // First, so that the watcher does not put back what was kept before.
        self.keep(entry.clone())?;
        self.core.directory.publish(&entry).inspect_err(|_| self.keep_not(id))
    }

    /// Lists a new connection in the directory and keeps it there; says which workers of its service are listed.
    pub(crate) fn join_as(&self, entry: Entry) -> io::Result<Vec<Entry>> {
        let id = entry.id;
        self.keep(entry.clone())?;
        self.core.directory.join(&entry).inspect_err(|_| self.keep_not(id))
    }

    /// Keeps an entry listed that has been published already.
    pub(crate) fn keep(&self, entry: Entry) -> io::Result<()> {
        let new = Kept::new(entry)?;
        let mut kept = lock(&self.core.kept);
        kept.retain(|kept| kept.entry.id != new.entry.id);
        kept.push(new);
        Ok(())
    }

    fn keep_not(&self, id: u64) {
        lock(&self.core.kept).retain(|kept| kept.entry.id != id);
    }

    /// Takes an entry off the directory.
    pub(crate) fn withdraw(&self, id: u64) {
        self.keep_not(id);
        if self.is_ours() {
            let _ = self.core.directory.withdraw(vec![id]);
        }
    }

    /// Dials another node; the link belongs to `party`.
    pub(crate) fn dial(&self, node: &str, party: Weak<dyn Party>) -> io::Result<Arc<Link>> {
        let fd = new_socket()?;
        let address = UnixAddr::new(&self.core.dir.short_path(&format!("{node}.sock")))?;
        connect(fd.as_raw_fd(), &address)?;
        kill_point("link.dialled");
        let link = self.core.new_link(fd)?;
        link.give_to(party);
        self.core.watch_link(&link)?;
        Ok(link)
    }
}

impl Node {
    fn stop(&self) {
        self.core.stopping.store(true, Ordering::Release);
        let _ = self.core.stop.write(1);
        if let Some(watcher) = lock(&self.watcher).take()
            && watcher.thread().id() != std::thread::current().id()
        {
            let _ = watcher.join();
        }
        self.core.leave();
    }
}

/// A process that ends in the ordinary way leaves nothing, even if its connections live in statics.
extern "C" fn leave_all() {
    let nodes: Vec<_> = lock(&NODES).iter().filter_map(|(_, _, node)| node.upgrade()).collect();
    for node in nodes {
        if node.core.is_ours() {
            node.core.leave();
        }
        // Threads may still use the node while the process exits: do not run its destructor.
        std::mem::forget(node);
    }
}

fn new_socket() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
}

impl Core {
    fn is_ours(&self) -> bool {
        self.fork_generation == fork_generation()
    }

    fn leave(&self) {
        if self.left.swap(true, Ordering::AcqRel) {
            return;
        }
        let _ = std::fs::remove_file(self.dir.short_path(&format!("{}.sock", self.id)));
        kill_point("node.unbound");
        if self.sweeps_left.load(Ordering::Acquire) > 0 {
            let _ = self.directory.sweep();
        }
        let ids: Vec<u64> = lock(&self.kept).drain(..).map(|kept| kept.entry.id).collect();
        if !ids.is_empty() {
            let _ = self.directory.withdraw(ids);
        }
    }

    fn new_link(&self, fd: OwnedFd) -> io::Result<Arc<Link>> {
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Link::new(fd, token)?))
    }

    fn watch_link(&self, link: &Arc<Link>) -> io::Result<()> {
        lock(&self.links).insert(link.token(), Arc::clone(link));
        // Edge-triggered for writing: flushed once when the socket has room again.
        let events =
            EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET | EpollFlags::EPOLLRDHUP;
        Ok(self.epoll.add(link.fd(), EpollEvent::new(events, link.token()))?)
    }

    fn watch(self: &Arc<Self>) {
        let mut events = [EpollEvent::empty(); 64];
        let mut next_tick = Instant::now() + TICK;
        let mut seen = Seen::default();
        let mut next_sweep = None;
        while !self.stopping.load(Ordering::Acquire) {
            let next = next_sweep.map_or(next_tick, |at| next_tick.min(at));
            let left = next.saturating_duration_since(Instant::now());
            // Rounded up, so that the wait does not end a moment too early again and again.
            let timeout = EpollTimeout::try_from(left + Duration::from_millis(1));
            let count =
                self.epoll.wait(&mut events, timeout.unwrap_or(EpollTimeout::from(1000_u16))).unwrap_or(0);
            for event in &events[..count] {
                match event.data() {
                    LISTENER => self.accept_all(),
                    STOP => return,
                    token => {
                        if !self.serve_link(token, event.events()) {
                            self.sweeps_left.store(SWEEPS.len(), Ordering::Release);
                            next_sweep = Some(Instant::now() + SWEEPS[0]);
                        }
                    }
                }
            }
            if next_sweep.is_some_and(|at| Instant::now() >= at) {
                next_sweep = self.sweep();
            }
            if Instant::now() >= next_tick {
                next_tick = Instant::now() + TICK;
                self.tick(&mut seen);
            }
        }
    }

    /// Removes what killed peers have left; when to look again.
    fn sweep(&self) -> Option<Instant> {
        let _ = self.directory.sweep();
        let left = self.sweeps_left.fetch_sub(1, Ordering::AcqRel) - 1;
        (left > 0).then(|| Instant::now() + SWEEPS[SWEEPS.len() - left])
    }

    fn accept_all(&self) {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        while let Ok(raw) = accept4(self.listener.as_raw_fd(), flags) {
            // A peer of another user, or no memory for it: dropped, which closes the socket.
            if let Ok(link) = self.new_link(crate::shm::adopt_fd(raw)) {
                let _ = self.watch_link(&link);
            }
        }
    }

    /// Serves a link that has something to say; `false` when it has ended.
    fn serve_link(&self, token: u64, events: EpollFlags) -> bool {
        let Some(link) = lock(&self.links).get(&token).cloned() else { return true };
        if events.contains(EpollFlags::EPOLLOUT) {
            link.flush();
        }
        let open = link.pump(|arrival| self.deliver(&link, arrival));
        if open && !link.is_closed() {
            return true;
        }
        lock(&self.links).remove(&token);
        let _ = self.epoll.delete(link.fd());
        link.close();
        if let Some(party) = link.party().and_then(Weak::upgrade) {
            party.closed(&link);
        }
        false
    }

    fn deliver(&self, link: &Arc<Link>, arrival: Arrival) {
        if link.party().is_none() {
            let Arrival::Message(first, _) = &arrival else { return link.close() };
            let parties: Vec<_> = lock(&self.parties).iter().filter_map(Weak::upgrade).collect();
            let Some(party) = parties.iter().find(|party| party.wants(first)) else {
                let reason = "nobody here by that name".into();
                link.send(&Message::Refuse { reason, layout: None }, &[]);
                return link.close();
            };
            link.give_to(Arc::downgrade(party));
        }
        match link.party().and_then(Weak::upgrade) {
            Some(party) => party.arrived(link, arrival),
            None => link.close(),
        }
    }

    /// Puts back what a truncated or lost directory no longer lists, and lets parties look around.
    fn tick(&self, seen: &mut Seen) {
        if seen.must_read(self.directory.look()) {
            let sums = lock(&self.kept).iter().map(|kept| kept.sum).collect();
            let missing = self.directory.missing(sums).unwrap_or_default();
            let is_missing = |kept: &&Kept| missing.contains(&kept.sum);
            let missing: Vec<Entry> =
                lock(&self.kept).iter().filter(is_missing).map(|kept| kept.entry.clone()).collect();
            for entry in missing {
                let _ = self.directory.publish(&entry);
            }
        }
        let parties: Vec<_> = lock(&self.parties).iter().filter_map(Weak::upgrade).collect();
        for party in parties {
            party.tick();
        }
    }
}
