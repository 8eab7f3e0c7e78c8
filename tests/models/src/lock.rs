//! The word of a [`HybridLock`](../../../shmrpc-core/src/shm/lock.rs): one holder at a time, nobody sleeps for ever, and
//! a holder, waiter or heir that dies anywhere is got over. `wait.rs` is the real one; the page and the proof of death
//! are here in small.

mod owner;
mod page;
#[allow(dead_code, clippy::all)]
#[rustfmt::skip]
#[path = "../../../shmrpc-core/src/shm/lock/wait.rs"]
mod wait;

use std::time::Duration;

use loom::{cell::UnsafeCell, sync::Arc, thread};

use self::{
    owner::Owner,
    page::LockPage,
    wait::{Spin, Wait, release},
};
use crate::{Model, kill_point::until_death};

pub(crate) const MODELS: &[Model] = &[
    ("lock: two processes, twice each", Some(3), || exclude(2, 2)),
    ("lock: three processes", Some(2), || exclude(3, 1)),
    ("lock: the holder dies", Some(3), || death("lock.taken")),
    ("lock: who releases dies before it wakes", Some(3), || death("lock.released")),
    ("lock: a waiter dies before it sleeps", Some(3), || death("lock.waiting")),
    ("lock: a waiter dies of its wake-up", Some(3), || death("lock.woken")),
    ("lock: the heir of a dead holder dies", Some(2), heir),
    ("lock: a signal's posts are had once each", Some(3), signal),
];

/// How a lock was got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Acquired {
    Clean,
    Recovered,
}

/// A lock, and what it guards: loom finds two that are at it at once.
struct Guarded {
    page: LockPage,
    value: UnsafeCell<u32>,
}

impl Guarded {
    fn new(is_signal: bool) -> Arc<Self> {
        Arc::new(Self { page: LockPage::new(is_signal), value: UnsafeCell::new(0) })
    }

    fn acquire(&self, me: Owner) -> Acquired {
        // Spinning asks the clock; that it is left out changes nothing that others can see.
        let acquired = Wait::new(&self.page, me, None).acquire(&Spin::new(Duration::ZERO));
        acquired.expect("nobody replaces it").expect("it waits for ever")
    }

    /// Takes it, changes what it guards, and gives it back.
    fn once(&self, me: Owner) -> Acquired {
        let how = self.acquire(me);
        self.value.with_mut(|value| unsafe { *value += 1 });
        release(&self.page, me).expect("it is ours");
        how
    }
}

fn exclude(processes: u64, times: u32) {
    let lock = Guarded::new(false);
    let others: Vec<_> = (1..processes)
        .map(|number| {
            let lock = Arc::clone(&lock);
            thread::spawn(move || {
                (0..times).for_each(|_| assert_eq!(lock.once(Owner::of(number)), Acquired::Clean))
            })
        })
        .collect();
    (0..times).for_each(|_| assert_eq!(lock.once(Owner::of(processes)), Acquired::Clean));
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!(lock.value.with(|value| unsafe { *value }), processes as u32 * times);
}

/// One of three dies there; the others get on, and never beside it.
fn death(window: &'static str) {
    let lock = Guarded::new(false);
    let mortal = {
        let lock = Arc::clone(&lock);
        thread::spawn(move || mortal(&lock, Owner::of(1), window))
    };
    let other = {
        let lock = Arc::clone(&lock);
        thread::spawn(move || lock.once(Owner::of(2)))
    };
    lock.once(Owner::of(3));
    mortal.join().unwrap();
    let _how = other.join().unwrap();
}

fn mortal(lock: &Guarded, me: Owner, window: &'static str) {
    let lived = until_death(window, || lock.once(me));
    if lived.is_none() {
        lock.page.dies(me);
    }
}

/// The holder is dead already; of two that come for it one dies as soon as it has it.
fn heir() {
    let lock = Guarded::new(false);
    mortal(&lock, Owner::of(1), "lock.taken");
    let heir = {
        let lock = Arc::clone(&lock);
        thread::spawn(move || mortal(&lock, Owner::of(2), "lock.recovered"))
    };
    assert_eq!(lock.acquire(Owner::of(3)), Acquired::Recovered);
    release(&lock.page, Owner::of(3)).expect("it is ours");
    heir.join().unwrap();
}

fn signal() {
    let signal = Guarded::new(true);
    let waiters: Vec<_> = (1..3)
        .map(|number| {
            let signal = Arc::clone(&signal);
            thread::spawn(move || signal.acquire(Owner::of(number)))
        })
        .collect();
    (0..2).for_each(|_| release(&signal.page, Owner::of(3)).expect("room for posts"));
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), Acquired::Clean);
    }
}
