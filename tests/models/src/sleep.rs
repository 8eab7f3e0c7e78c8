//! Who sleeps is woken: clients that publish and workers that look, attend, withdraw and fall asleep, with doorbells at
//! which one sleeps for ever. In the library all sleeps end after half a second; here a wake-up that is lost is a
//! deadlock, which loom reports.
//!
//! Board and channel are the real ones. Around them this mirrors, line by line as far as the protocol goes,
//! `Rings::publish` and `wake_one`, `Hub::lead`, and of the pool `work`, `serve_other`, `withdraw_ready`, `unattend`,
//! `tell` and `sleep`, and `Bells`.

use loom::{
    sync::{Arc, Condvar, Mutex},
    thread,
};

use crate::{
    Model,
    board::{Board, fence_after_publish},
    channel::{Channel, Claimer, Place, ReplyHeader},
    sync::{AtomicU32, Ordering, fence},
};

pub(crate) const MODELS: &[Model] = &[
    ("sleep: one call, then another, one thread", Some(3), || scene(1, &[1, 1])),
    ("sleep: two calls at once, one thread", Some(3), || scene(1, &[2])),
    ("sleep: one call, two threads", Some(1), || scene(2, &[1])),
    ("sleep: two calls at once, two threads", Some(1), || scene(2, &[2])),
];

/// A semaphore without a time limit.
#[derive(Default)]
struct Doorbell {
    posts: Mutex<u32>,
    posted: Condvar,
}

impl Doorbell {
    fn post(&self) {
        *self.posts.lock().unwrap() += 1;
        self.posted.notify_one();
    }

    fn wait(&self) {
        let mut posts = self.posts.lock().unwrap();
        while *posts == 0 {
            posts = self.posted.wait(posts).unwrap();
        }
        *posts -= 1;
    }
}

struct Scene {
    board: Board,
    channel: Channel,
    number: u16,
    nonce: u64,
    index: u8,
    /// One for each thread of the pool.
    bells: Vec<Doorbell>,
    client: Doorbell,
    draining: AtomicU32,
}

impl Scene {
    // The client.

    fn publish(&self, index: u32, alone: bool) {
        let channel = &self.channel;
        channel.publish(index, channel.natural_slot(index));
        fence_after_publish();
        let attended = channel.attended().load(Ordering::Relaxed);
        let told = (attended == 0 || !alone) && self.board.set_ready(self.number);
        if told
            && attended == 0
            && let Some((_us, bell)) = self.board.take_sleeper(0, |index| index == self.index)
        {
            self.bells[usize::from(bell)].post();
        }
    }

    fn is_answered(&self, index: u32) -> bool {
        self.channel.is_answered(self.channel.natural_slot(index), index)
    }

    fn await_answer(&self, index: u32) {
        while !self.is_answered(index) {
            self.channel.sleeping().store(1, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if self.is_answered(index) {
                break;
            }
            self.client.wait();
        }
        self.channel.sleeping().store(0, Ordering::Relaxed);
    }

    // A thread of the pool.

    fn run(&self, thread: u8) {
        let mark = (u64::from(self.index) + 1) | (u64::from(thread) << 32);
        let me = Claimer::new(self.index, 1);
        loop {
            let mut attends = false;
            while self.serve_one(&mut attends, me, mark) {}
            if attends {
                self.board.clear_ready(self.number);
                self.channel.unattend(mark);
                if self.channel.has_work() {
                    self.board.set_ready(self.number);
                }
            }
            self.board.announce_sleep(self.index, thread);
            let is_over = self.draining.load(Ordering::Acquire) != 0;
            if is_over || self.next_ready() {
                self.board.retract_sleep(self.index, thread);
                if is_over {
                    return;
                }
                continue;
            }
            self.bells[usize::from(thread)].wait();
        }
    }

    fn next_ready(&self) -> bool {
        let wanted = |number| {
            self.board.owns_channel(number, self.nonce)
                && self.channel.attended().load(Ordering::Relaxed) == 0
        };
        self.board.next_ready(0, wanted).is_some()
    }

    fn serve_one(&self, attends: &mut bool, me: Claimer, mark: u64) -> bool {
        if !*attends && !self.next_ready() {
            return false;
        }
        let Some(claimed) = self.channel.try_claim(me) else {
            if !*attends && self.channel.attended().load(Ordering::Relaxed) == 0 {
                self.board.clear_ready(self.number);
                fence(Ordering::SeqCst);
                if self.channel.has_work() {
                    self.board.set_ready(self.number);
                }
            }
            return false;
        };
        if !*attends {
            *attends = self.channel.attend(mark);
        }
        let place = Place { arena: 0, len_bytes: 0, offset: 0 };
        self.channel.publish_reply(claimed, ReplyHeader { place, ..ReplyHeader::default() });
        // The next claim would be as good a barrier; here it is always the fence.
        fence(Ordering::SeqCst);
        let sleeping = self.channel.sleeping();
        if sleeping.load(Ordering::Relaxed) != 0 && sleeping.swap(0, Ordering::AcqRel) != 0 {
            self.client.post();
        }
        true
    }
}

/// A client that publishes so many calls at once, waits for them, and goes on with the next; so many threads.
fn scene(threads: u8, calls: &[u32]) {
    let board = Board::create(1).unwrap();
    let nonce = 5;
    let (index, number) = (board.join_worker(9).unwrap(), board.join_channel(nonce).unwrap());
    let scene = Arc::new(Scene {
        board,
        channel: Channel::create(4).unwrap(),
        number,
        nonce,
        index,
        bells: (0..threads).map(|_| Doorbell::default()).collect(),
        client: Doorbell::default(),
        draining: AtomicU32::new(0),
    });
    let pool: Vec<_> = (0..threads)
        .map(|number| {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.run(number))
        })
        .collect();
    let mut next = 0;
    for &count in calls {
        let begun = next..next + count;
        next += count;
        for index in begun.clone() {
            scene.publish(index, index == begun.start);
        }
        begun.for_each(|index| scene.await_answer(index));
    }
    // As a worker that drains wakes its threads.
    scene.draining.store(1, Ordering::SeqCst);
    scene.bells.iter().for_each(Doorbell::post);
    pool.into_iter().for_each(|thread| thread.join().unwrap());
}
