//! In place of the page in shared memory: the word, and a semaphore at which one sleeps until there is a post, or, once
//! somebody has died, no longer than a slice.

use std::time::Duration;

use loom::{
    sync::{Condvar, Mutex},
    thread,
};

use super::owner::Owner;
use crate::sync::AtomicU64;

pub(super) struct LockPage {
    word: AtomicU64,
    is_signal: bool,
    semaphore: Mutex<Semaphore>,
    changed: Condvar,
}

#[derive(Default)]
struct Semaphore {
    posts: u32,
    /// Slices end: somebody has died, and what it owed to others comes by itself.
    slices: bool,
}

impl LockPage {
    pub(super) fn new(is_signal: bool) -> Self {
        Self { word: AtomicU64::new(0), is_signal, semaphore: Mutex::default(), changed: Condvar::new() }
    }

    pub(super) fn word(&self) -> &AtomicU64 {
        &self.word
    }

    pub(super) fn is_signal(&self) -> bool {
        self.is_signal
    }

    pub(super) fn is_replaced(&self) -> bool {
        false
    }

    pub(super) fn wake(&self) {
        let mut semaphore = self.semaphore.lock().unwrap();
        if semaphore.posts == 0 {
            semaphore.posts = 1;
            self.changed.notify_one();
        }
    }

    pub(super) fn sleep(&self, _longest: Duration) -> bool {
        let mut semaphore = self.semaphore.lock().unwrap();
        while semaphore.posts == 0 {
            if semaphore.slices {
                drop(semaphore);
                thread::yield_now();
                return false;
            }
            semaphore = self.changed.wait(semaphore).unwrap();
        }
        semaphore.posts -= 1;
        true
    }

    /// A process ends; whoever sleeps finds out at the end of its slice.
    pub(super) fn dies(&self, who: Owner) {
        who.has_died();
        self.semaphore.lock().unwrap().slices = true;
        self.changed.notify_all();
    }
}
