//! Where the pool of a worker sleeps. Each thread has a bell of its own as far as there are bells, so that the same
//! thread is woken each time while calls come one by one; those beyond share the last, and whoever is woken there
//! announces those that sleep on.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::shm::{
    board::{Board, MAX_BELLS},
    doorbell::Doorbell,
    kill_point::kill_point,
    region::RegionError,
};

pub(super) struct Bells {
    doorbell: Doorbell,
    /// The worker's index on its board.
    index: u8,
    /// How many threads are about to sleep, or do, at each bell.
    asleep: [AtomicU32; MAX_BELLS],
}

impl Bells {
    pub(super) fn create(index: u8, threads: usize) -> Result<Self, RegionError> {
        let doorbell = Doorbell::create(threads.clamp(1, MAX_BELLS))?;
        Ok(Self { doorbell, index, asleep: Default::default() })
    }

    pub(super) fn doorbell(&self) -> &Doorbell {
        &self.doorbell
    }

    /// Announces that a thread is about to sleep. It looks at everything once more, and then waits or gets up.
    pub(super) fn announce(&self, thread: usize, board: &Board) {
        let bell = bell_of(thread);
        // Relaxed, here and below: what has to be ordered is what the board says.
        self.asleep[usize::from(bell)].fetch_add(1, Ordering::Relaxed);
        board.announce_sleep(self.index, bell);
    }

    /// Sleeps until somebody rings or the time is over; whether somebody rang.
    pub(super) fn wait(&self, thread: usize, at_most: Duration) -> bool {
        self.doorbell.wait(bell_of(thread), at_most)
    }

    /// A thread that had announced itself sleeps no more. If it was not rung for, somebody may be about to: it is not
    /// waited for, since it may have been stopped. Its post wakes a thread once too often.
    pub(super) fn get_up(&self, thread: usize, board: &Board, rung: bool) {
        let bell = bell_of(thread);
        let asleep = &self.asleep[usize::from(bell)];
        let others = asleep.fetch_sub(1, Ordering::Relaxed) > 1;
        if !others && !rung {
            board.retract_sleep(self.index, bell);
        }
        // One that has come meanwhile has perhaps been taken back with us.
        if others && rung || asleep.load(Ordering::Relaxed) > 0 {
            board.announce_sleep(self.index, bell);
        }
    }

    /// Wakes one thread, if one sleeps.
    pub(super) fn wake_one(&self, board: &Board) {
        if let Some(bell) = board.take_bell(self.index) {
            kill_point("seat.sleeper_taken");
            self.doorbell.post(bell);
        }
    }

    /// Announces once more who sleeps: a client that was about to ring may have died over it. One that has got up
    /// meanwhile is announced too; who rings for it finds after a while that it has to ring for another.
    pub(super) fn announce_again(&self, board: &Board) {
        for (bell, asleep) in self.asleep.iter().enumerate() {
            if asleep.load(Ordering::Relaxed) > 0 {
                board.announce_sleep(self.index, bell as u8);
            }
        }
    }

    /// Wakes as many threads as there are, at whichever bells they are.
    pub(super) fn wake_all(&self, threads: usize) {
        (0..threads).for_each(|thread| self.doorbell.post(bell_of(thread)));
    }
}

fn bell_of(thread: usize) -> u8 {
    thread.min(MAX_BELLS - 1) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_shares_a_bell_is_announced_again() {
        let board = Board::create(1).unwrap();
        let index = board.join_worker(1).unwrap();
        let bells = Bells::create(index, 10).unwrap();
        for thread in [3, 8, 9] {
            bells.announce(thread, &board);
        }
        assert_eq!(board.take_bell(index), Some(3));
        bells.get_up(3, &board, true);
        assert_eq!(board.take_bell(index), Some(7));
        assert_eq!(board.take_bell(index), None, "until the one that is rung for is up");
        bells.get_up(9, &board, true);
        assert_eq!(board.take_bell(index), Some(7));
        bells.get_up(8, &board, true);
        assert_eq!(board.take_bell(index), None);
    }

    #[test]
    fn who_sleeps_is_announced_after_a_waker_has_died() {
        let board = Board::create(1).unwrap();
        let index = board.join_worker(1).unwrap();
        let bells = Bells::create(index, 2).unwrap();
        bells.announce(1, &board);
        assert_eq!(board.take_bell(index), Some(1));
        assert!(!board.sleeps(index));
        bells.announce_again(&board);
        assert_eq!(board.take_bell(index), Some(1), "and nobody else");
        assert_eq!(board.take_bell(index), None);
    }

    #[test]
    fn who_gets_up_unasked_is_not_announced_any_more() {
        let board = Board::create(1).unwrap();
        let index = board.join_worker(1).unwrap();
        let bells = Bells::create(index, 9).unwrap();
        bells.announce(0, &board);
        bells.get_up(0, &board, false);
        assert!(!board.sleeps(index));
        bells.announce(7, &board);
        bells.announce(8, &board);
        bells.get_up(7, &board, false);
        assert!(board.sleeps(index), "the other sleeps on");
        bells.wake_one(&board);
        assert!(bells.wait(8, Duration::from_secs(30)));
    }
}
