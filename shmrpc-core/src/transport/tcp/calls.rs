//! The unary calls that are open in one connection of a client: a table of slots, in which answers are put by
//! whoever reads the socket and from which they are taken by whoever waits. No I/O.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    thread::Thread,
    time::Instant,
};

use crate::error::Status;

/// A call's id is its slot in the low bits and above them a number that no other call has.
const SLOT_BITS: u32 = 20;
/// The slot of calls that are not in this table, those that stream.
const ELSEWHERE: u64 = (1 << SLOT_BITS) - 1;
/// The highest bit of an id is not ours to set.
const LAST_NUMBER: u64 = (1 << (63 - SLOT_BITS)) - 1;

/// How a call has ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Reply(Status, Vec<u8>),
    /// The connection has ended, and why.
    Lost(String),
}

/// Whom an answer wakes.
pub(super) enum Waiter {
    Nobody,
    Thread(Thread),
    Task(Waker),
}

impl Waiter {
    pub(super) fn wake(self) {
        match self {
            Self::Nobody => {}
            Self::Thread(thread) => thread.unpark(),
            Self::Task(waker) => waker.wake(),
        }
    }
}

struct Slot {
    /// The call's id; zero if the slot is free.
    id: u64,
    until: Instant,
    answer: Option<Outcome>,
    waiter: Waiter,
}

#[derive(Default)]
pub(super) struct Calls {
    table: Mutex<Table>,
}

/// The table, locked; for whoever has many answers at once.
#[derive(Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    free: Vec<usize>,
    open: usize,
    threads: usize,
    tasks: usize,
    number: u64,
    ended: Option<String>,
}

/// A call that was opened.
pub(super) struct Opened {
    pub(super) id: u64,
    /// Calls that were open before.
    pub(super) others: usize,
}

impl Calls {
    pub(super) fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a call's outcome, if it is there.
    pub(super) fn take(&self, id: u64) -> Option<Outcome> {
        self.lock().take(id)
    }

    /// The outcome, or this thread is woken when it comes.
    pub(super) fn take_or_follow(&self, id: u64, thread: &Thread) -> Option<Outcome> {
        let mut table = self.lock();
        let outcome = table.take(id);
        if outcome.is_none() {
            table.wait(id, Waiter::Thread(thread.clone()));
        }
        outcome
    }

    /// The outcome, or the task is woken when it comes.
    pub(super) fn poll(&self, id: u64, cx: &Context<'_>) -> Poll<Outcome> {
        let mut table = self.lock();
        match table.take(id) {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                table.wait(id, Waiter::Task(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl Table {
    /// Opens a call; the error is why no more can be opened.
    pub(super) fn open(&mut self, until: Instant) -> Result<Opened, String> {
        if let Some(reason) = &self.ended {
            return Err(reason.clone());
        }
        if self.free.is_empty() && self.slots.len() as u64 >= ELSEWHERE {
            return Err("too many calls are under way in one connection".into());
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { id: 0, until, answer: None, waiter: Waiter::Nobody });
            self.slots.len() - 1
        });
        let id = (self.next_number() << SLOT_BITS) | at as u64;
        let slot = &mut self.slots[at];
        (slot.id, slot.until) = (id, until);
        self.open += 1;
        Ok(Opened { id, others: self.open - 1 })
    }

    /// An id for a call that is kept elsewhere.
    pub(super) fn id_elsewhere(&mut self) -> u64 {
        (self.next_number() << SLOT_BITS) | ELSEWHERE
    }

    fn next_number(&mut self) -> u64 {
        self.number = self.number % LAST_NUMBER + 1;
        self.number
    }

    /// How many calls have been opened until now.
    pub(super) fn opened(&self) -> u64 {
        self.number
    }

    pub(super) fn is_elsewhere(id: u64) -> bool {
        id & ELSEWHERE == ELSEWHERE
    }

    fn slot(&mut self, id: u64) -> Option<&mut Slot> {
        let slot = self.slots.get_mut((id & ELSEWHERE) as usize)?;
        (slot.id == id && id != 0).then_some(slot)
    }

    pub(super) fn take(&mut self, id: u64) -> Option<Outcome> {
        let outcome = self.slot(id)?.answer.take()?;
        self.release(id);
        Some(outcome)
    }

    fn release(&mut self, id: u64) {
        let at = (id & ELSEWHERE) as usize;
        self.slots[at].id = 0;
        self.slots[at].answer = None;
        self.set_waiter(at, Waiter::Nobody);
        self.free.push(at);
        self.open -= 1;
    }

    fn set_waiter(&mut self, at: usize, waiter: Waiter) -> Waiter {
        match &waiter {
            Waiter::Nobody => {}
            Waiter::Thread(_) => self.threads += 1,
            Waiter::Task(_) => self.tasks += 1,
        }
        let before = std::mem::replace(&mut self.slots[at].waiter, waiter);
        match &before {
            Waiter::Nobody => {}
            Waiter::Thread(_) => self.threads -= 1,
            Waiter::Task(_) => self.tasks -= 1,
        }
        before
    }

    fn wait(&mut self, id: u64, waiter: Waiter) {
        if self.slot(id).is_some() {
            self.set_waiter((id & ELSEWHERE) as usize, waiter);
        }
    }

    /// Whoever waited for this call by a thread does so no more.
    pub(super) fn unfollow(&mut self, id: u64) {
        self.wait(id, Waiter::Nobody);
    }

    /// Puts an answer in; says whom to wake. Answers of calls that are not open are dropped.
    pub(super) fn deliver(&mut self, id: u64, outcome: Outcome) -> Waiter {
        match self.slot(id) {
            Some(slot) if slot.answer.is_none() => {
                slot.answer = Some(outcome);
                self.set_waiter((id & ELSEWHERE) as usize, Waiter::Nobody)
            }
            _ => Waiter::Nobody,
        }
    }

    /// Gives a call up. Whether the server has still to be told.
    pub(super) fn give_up(&mut self, id: u64) -> bool {
        match self.slot(id) {
            Some(slot) => {
                let unanswered = slot.answer.is_none();
                self.release(id);
                unanswered && self.ended.is_none()
            }
            None => false,
        }
    }

    /// Calls whose outcome has not been taken.
    pub(super) fn open_calls(&self) -> usize {
        self.open
    }

    pub(super) fn tasks(&self) -> usize {
        self.tasks
    }

    /// A thread that waits for its answer and may read the socket in the meantime.
    pub(super) fn follower(&self) -> Option<Thread> {
        if self.threads == 0 {
            return None;
        }
        self.slots.iter().find_map(|slot| match &slot.waiter {
            Waiter::Thread(thread) => Some(thread.clone()),
            Waiter::Nobody | Waiter::Task(_) => None,
        })
    }

    pub(super) fn ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    /// Opens nothing more if nothing is open; whether that is so now.
    pub(super) fn end_if_idle(&mut self, reason: &str) -> bool {
        if self.open == 0 {
            self.ended.get_or_insert_with(|| reason.into());
        }
        self.ended.is_some()
    }

    /// The connection has ended: every call that has no answer is lost. Says whom to wake.
    pub(super) fn end(&mut self, reason: &str) -> Vec<Waiter> {
        self.ended.get_or_insert_with(|| reason.into());
        let open: Vec<u64> = self.slots.iter().map(|slot| slot.id).filter(|&id| id != 0).collect();
        open.into_iter().map(|id| self.deliver(id, Outcome::Lost(reason.into()))).collect()
    }

    /// Takes the waiters of tasks whose deadline has passed: they look for themselves.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<Waiter> {
        let overdue: Vec<usize> = (0..self.slots.len())
            .filter(|&at| matches!(self.slots[at].waiter, Waiter::Task(_)) && self.slots[at].until <= now)
            .collect();
        overdue.into_iter().map(|at| self.set_waiter(at, Waiter::Nobody)).collect()
    }

    /// The earliest deadline of a task.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let tasks = self.slots.iter().filter(|slot| matches!(slot.waiter, Waiter::Task(_)));
        tasks.map(|slot| slot.until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_finds_its_call_and_no_other() {
        let calls = Calls::default();
        let until = Instant::now();
        let open = || calls.lock().open(until).unwrap().id;
        let (first, second) = (open(), open());
        calls.lock().deliver(second, Outcome::Reply(Status::Ok, vec![2]));
        assert!(calls.take(first).is_none());
        assert!(matches!(calls.take(second), Some(Outcome::Reply(Status::Ok, body)) if body == [2]));
        // The slot is used anew, under another id; a late answer to the old one is nobody's.
        let third = calls.lock().open(until).unwrap();
        assert!(third.id != second && third.others == 1);
        calls.lock().deliver(second, Outcome::Reply(Status::Ok, vec![9]));
        assert!(calls.take(third.id).is_none());
        assert!(calls.lock().give_up(third.id));
        assert!(!calls.lock().give_up(third.id));
        assert!(matches!(calls.lock().end("gone").as_slice(), [Waiter::Nobody]));
        assert!(matches!(calls.take(first), Some(Outcome::Lost(reason)) if reason == "gone"));
        assert_eq!(calls.lock().open(until).err().as_deref(), Some("gone"));
        assert_eq!(calls.lock().open_calls(), 0);
    }

    #[test]
    fn followers_are_counted_as_they_come_and_go() {
        let calls = Calls::default();
        let id = calls.lock().open(Instant::now()).unwrap().id;
        let thread = std::thread::current();
        assert!(calls.take_or_follow(id, &thread).is_none());
        assert!(calls.lock().follower().is_some());
        assert!(matches!(calls.lock().deliver(id, Outcome::Lost(String::new())), Waiter::Thread(_)));
        assert!(calls.lock().follower().is_none());
        assert!(calls.take_or_follow(id, &thread).is_some());
    }
}
