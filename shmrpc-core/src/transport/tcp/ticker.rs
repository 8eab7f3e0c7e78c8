//! A thread that looks after what should not take longer than a moment: calls that were gathered to be sent
//! together, methods that were thought to be quick. It sleeps for good while there is nothing of the kind.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

const EVERY: Duration = Duration::from_millis(1);

/// What is looked after.
pub(super) trait Tick: Send + Sync {
    /// One look, a moment after the last one. `false`: no more.
    fn tick(self: Arc<Self>) -> bool;
}

struct Ticker {
    watched: Mutex<Vec<Weak<dyn Tick>>>,
    added: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks after something until it says that it is enough. To be called once until then.
pub(super) fn watch(what: Weak<dyn Tick>) {
    static RUNNING: Mutex<Option<(u32, Arc<Ticker>)>> = Mutex::new(None);
    let pid = std::process::id();
    let mut running = lock(&RUNNING);
    let ticker = match &*running {
        // After `fork` the child has no such thread.
        Some((owner, ticker)) if *owner == pid => Arc::clone(ticker),
        _ => {
            let ticker = Arc::new(Ticker { watched: Mutex::default(), added: Condvar::new() });
            let runs = Arc::clone(&ticker);
            std::thread::Builder::new()
                .name("shmrpc-tick".into())
                .spawn(move || runs.run())
                .expect("a thread can be started");
            *running = Some((pid, Arc::clone(&ticker)));
            ticker
        }
    };
    drop(running);
    lock(&ticker.watched).push(what);
    ticker.added.notify_one();
}

impl Ticker {
    fn run(&self) {
        loop {
            let mut watched = lock(&self.watched);
            while watched.is_empty() {
                watched = self.added.wait(watched).unwrap_or_else(PoisonError::into_inner);
            }
            drop(watched);
            std::thread::sleep(EVERY);
            let looked_at = std::mem::take(&mut *lock(&self.watched));
            let keep = |what: &Weak<dyn Tick>| what.upgrade().is_some_and(Tick::tick);
            let kept: Vec<Weak<dyn Tick>> = looked_at.into_iter().filter(keep).collect();
            lock(&self.watched).extend(kept);
        }
    }
}
