//! The threads that wait for TCP sockets: all of them wait at one epoll instance, and the kernel wakes one
//! of them for each socket that has something to say. So a thread that is held up by one socket's business
//! delays no other socket, as long as one thread still waits; [`Poller::in_place`] keeps it so. Nothing here
//! knows what is read or written.

use std::{
    cell::Cell,
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    eventfd::{EfdFlags, EventFd},
};

use super::socket::Socket;

/// What a socket is ready for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Readiness {
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// Its end, or a fault, is there to be read, behind whatever came before it.
    pub(super) hung_up: bool,
}

/// Whose socket it is.
pub(super) trait Ready: Send + Sync {
    /// Called on a thread of the poller, by more than one at a time.
    fn ready(self: Arc<Self>, what: Readiness);
}

/// The token of the wake-up, which is no socket's.
const WAKE: u64 = 0;

pub(super) struct Poller {
    epoll: Epoll,
    wake: EventFd,
    members: Mutex<HashMap<u64, Weak<dyn Ready>>>,
    /// To be called without their sockets having anything to say.
    called: Mutex<Vec<Weak<dyn Ready>>>,
    next_token: AtomicU64,
    threads: AtomicUsize,
    /// Threads that may be gone for long.
    in_place: AtomicUsize,
}

thread_local! {
    static IS_POLLER: Cell<bool> = const { Cell::new(false) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process's poller, with at least so many threads. After `fork` the child, which has none, gets its own.
pub(super) fn poller(threads: usize) -> io::Result<Arc<Poller>> {
    static RUNNING: Mutex<Option<(u32, Arc<Poller>)>> = Mutex::new(None);
    let pid = std::process::id();
    let mut running = lock(&RUNNING);
    let poller = match &*running {
        Some((owner, poller)) if *owner == pid => Arc::clone(poller),
        _ => {
            let poller = Arc::new(Poller::new()?);
            *running = Some((pid, Arc::clone(&poller)));
            poller
        }
    };
    while poller.threads.load(Ordering::Relaxed) < threads {
        let number = poller.threads.load(Ordering::Relaxed);
        let runs = Arc::clone(&poller);
        std::thread::Builder::new().name(format!("shmrpc-tcp-{number}")).spawn(move || runs.run())?;
        poller.threads.fetch_add(1, Ordering::Relaxed);
    }
    Ok(poller)
}

impl Poller {
    fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&wake, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, WAKE))?;
        Ok(Self {
            epoll,
            wake,
            members: Mutex::default(),
            called: Mutex::default(),
            next_token: AtomicU64::new(WAKE + 1),
            threads: AtomicUsize::new(0),
            in_place: AtomicUsize::new(0),
        })
    }

    fn run(&self) {
        IS_POLLER.set(true);
        // One at a time: what waits behind a socket in our hands would wait for its business.
        let mut events = [EpollEvent::empty()];
        loop {
            match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(1) => self.hand_on(events[0]),
                // Interrupted by a signal.
                Ok(_) | Err(nix::Error::EINTR) => {}
                // Cannot be: the descriptor is ours and open. Not worth spinning at.
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(10)),
            }
        }
    }

    fn hand_on(&self, event: EpollEvent) {
        if event.data() == WAKE {
            let called = std::mem::take(&mut *lock(&self.called));
            let what = Readiness { readable: false, writable: false, hung_up: false };
            called.iter().filter_map(Weak::upgrade).for_each(|member| member.ready(what));
            return;
        }
        let member = lock(&self.members).get(&event.data()).and_then(Weak::upgrade);
        let Some(member) = member else { return };
        let has = |flags: EpollFlags| event.events().intersects(flags);
        let hung_up = has(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        let readable = hung_up || has(EpollFlags::EPOLLIN);
        member.ready(Readiness { readable, writable: hung_up || has(EpollFlags::EPOLLOUT), hung_up });
    }

    /// Has a thread of the poller call `member` soon.
    pub(super) fn call(&self, member: Weak<dyn Ready>) {
        let mut called = lock(&self.called);
        called.push(member);
        if called.len() == 1 {
            // Fails only when the counter would overflow: then it wakes anyway.
            let _woken = self.wake.write(1);
        }
    }

    /// Leave for this thread to do something that may take long; `None` if no thread would be left to wait for
    /// sockets, or this one never does.
    pub(super) fn in_place(&self) -> Option<InPlace<'_>> {
        if !IS_POLLER.get() {
            return None;
        }
        let inside = InPlace(&self.in_place);
        let others = self.in_place.fetch_add(1, Ordering::AcqRel);
        (others + 1 < self.threads.load(Ordering::Relaxed)).then_some(inside)
    }
}

/// A thread that may be gone for long.
pub(super) struct InPlace<'a>(&'a AtomicUsize);

impl Drop for InPlace<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A socket at the poller, from whose wait it is taken when this is dropped.
pub(super) struct Registration {
    poller: Arc<Poller>,
    socket: Arc<Socket>,
    token: u64,
    interest: Mutex<Interest>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Interest {
    read: bool,
    write: bool,
}

impl Interest {
    /// Edges, so that a socket wakes one thread once for what it has to say.
    fn flags(self) -> EpollFlags {
        let mut flags = EpollFlags::EPOLLET;
        if self.read {
            flags |= EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
        }
        if self.write {
            flags |= EpollFlags::EPOLLOUT;
        }
        flags
    }
}

impl Registration {
    /// `member` hears of what there is to read from now on.
    pub(super) fn new(poller: Arc<Poller>, socket: Arc<Socket>, member: Weak<dyn Ready>) -> io::Result<Self> {
        let token = poller.next_token.fetch_add(1, Ordering::Relaxed);
        lock(&poller.members).insert(token, member);
        let interest = Interest { read: true, write: false };
        let registration = Self { poller, socket, token, interest: Mutex::new(interest) };
        let event = EpollEvent::new(interest.flags(), token);
        registration.poller.epoll.add(&*registration.socket, event)?;
        Ok(registration)
    }

    pub(super) fn poller(&self) -> &Arc<Poller> {
        &self.poller
    }

    /// Whether the poller reads.
    pub(super) fn reads(&self) -> bool {
        lock(&self.interest).read
    }

    /// Has the poller hear of what there is to read, of that too which is there already; or not.
    pub(super) fn read(&self, read: bool) {
        let mut interest = lock(&self.interest);
        if interest.read || read {
            interest.read = read;
            self.apply(*interest);
        }
    }

    /// The same for room to write.
    pub(super) fn write(&self, write: bool) {
        let mut interest = lock(&self.interest);
        if interest.write || write {
            interest.write = write;
            self.apply(*interest);
        }
    }

    fn apply(&self, interest: Interest) {
        let mut event = EpollEvent::new(interest.flags(), self.token);
        // The socket was added and is open: nothing is left that could fail but memory, which is there.
        let _changed = self.poller.epoll.modify(&*self.socket, &mut event);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let _deleted = self.poller.epoll.delete(&*self.socket);
        lock(&self.poller.members).remove(&self.token);
    }
}
