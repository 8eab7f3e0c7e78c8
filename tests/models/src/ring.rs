//! The ring: calls that a client publishes are claimed once each, whole, by one of two workers; their answers arrive
//! whole; and of a worker that dies anywhere on its way it can be told exactly which calls it had claimed.

use loom::{sync::Arc, thread};

use crate::{
    Model,
    channel::{Channel, Claimed, Claimer, ReplyHeader},
    kill_point::until_death,
};

pub(crate) const MODELS: &[Model] = &[
    ("ring: two workers beside a client that publishes", Some(2), two_workers),
    ("ring: a worker dies before it has claimed", Some(3), || death("claim.last_noted")),
    ("ring: a worker dies between its claim and its note", Some(3), || death("claim.won")),
    ("ring: a worker dies after its note", Some(3), || death("claim.noted")),
    ("ring: a worker dies before it has stamped its reply", Some(3), || death("reply.placed")),
    ("ring: a worker dies after it has stamped its reply", Some(3), || death("reply.stamped")),
    ("ring: one thread of a worker dies a moment before the other", Some(3), threads_of_one),
    ("ring: the connection claims what it gives up", Some(3), gives_up),
];

const SLOTS: usize = 4;
const CALLS: u32 = 2;
const STATUS: u8 = 7;

fn worker(number: u8) -> Claimer {
    Claimer::new(number, u64::from(number) + 1)
}

fn argument(index: u32) -> u64 {
    1000 + u64::from(index)
}

fn answer(index: u32, who: Claimer) -> u64 {
    argument(index) << 32 | u64::from(who.bits())
}

/// As `Rings::publish` does it with a small argument. The slot of the call's own number is free here.
fn publish(channel: &Channel, index: u32) {
    let slot = channel.natural_slot(index);
    channel.put_call(slot, &argument(index).to_le_bytes());
    channel.publish(index, slot);
}

/// Claims and answers as long as there is something, at most `most` calls; which.
fn serve(channel: &Channel, me: Claimer, most: usize) -> Vec<u32> {
    let mut served = Vec::new();
    while served.len() < most {
        let Some(claimed) = channel.try_claim(me) else { break };
        let Claimed { slot, index } = claimed;
        served.push(index);
        let found = channel.region().take(channel.call_inline(slot));
        assert_eq!(found, argument(index), "an argument that is torn or another call's");
        channel.put_reply(slot, &answer(index, me).to_le_bytes());
        let place = crate::channel::Place { arena: 0, len_bytes: 8, offset: 0 };
        channel.publish_reply(claimed, ReplyHeader { status: STATUS, place, ..ReplyHeader::default() });
    }
    served
}

/// The answer to a call, if it is there: who gave it. It must be whole.
fn answered(channel: &Channel, index: u32) -> Option<u32> {
    let slot = channel.natural_slot(index);
    let header = channel.reply(slot, index)?.expect("nobody else writes here");
    assert_eq!((header.status, header.place.len_bytes), (STATUS, 8));
    let found = channel.region().take(channel.reply_inline(slot));
    assert_eq!(found >> 32, argument(index), "an answer that is torn or another call's");
    Some(found as u32)
}

fn two_workers() {
    let channel = Arc::new(Channel::create(SLOTS).unwrap());
    let workers: Vec<_> = (0..2)
        .map(|number| {
            let channel = Arc::clone(&channel);
            thread::spawn(move || serve(&channel, worker(number), 2))
        })
        .collect();
    for index in 0..CALLS {
        publish(&channel, index);
    }
    let _early = answered(&channel, 0);
    let mut served: Vec<Vec<u32>> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
    // What came too late for both.
    served.push(serve(&channel, worker(2), CALLS as usize));
    let mut all = served.concat();
    all.sort_unstable();
    assert_eq!(all, (0..CALLS).collect::<Vec<_>>(), "each call is claimed once");
    for (number, indices) in served.iter().enumerate() {
        let who = worker(number as u8);
        for &index in indices {
            assert_eq!(answered(&channel, index), Some(who.bits()));
            assert!(channel.claimed_by(channel.natural_slot(index), index, who), "its claim is noted");
        }
    }
}

/// One worker dies there, the other goes on; the client looks after the end of the first one's link, while the other
/// may still be at it.
fn death(window: &'static str) {
    let channel = Arc::new(Channel::create(SLOTS).unwrap());
    (0..CALLS).for_each(|index| publish(&channel, index));
    let mortal = {
        let channel = Arc::clone(&channel);
        thread::spawn(move || drop(until_death(window, || serve(&channel, worker(0), 2))))
    };
    let other = {
        let channel = Arc::clone(&channel);
        thread::spawn(move || serve(&channel, worker(1), 2))
    };
    mortal.join().unwrap();
    let dead = worker(0);
    let lost: Vec<u32> =
        (0..CALLS).filter(|&at| channel.claimed_by(channel.natural_slot(at), at, dead)).collect();
    let served = other.join().unwrap();
    let left = serve(&channel, worker(2), CALLS as usize);
    let again: Vec<u32> =
        (0..CALLS).filter(|&at| channel.claimed_by(channel.natural_slot(at), at, dead)).collect();
    assert_eq!(lost, again, "what the dead had claimed does not change");
    let mut all = [lost.clone(), served, left].concat();
    all.sort_unstable();
    assert_eq!(all, (0..CALLS).collect::<Vec<_>>(), "each call is somebody's, and one's alone");
    for index in (0..CALLS).filter(|index| !lost.contains(index)) {
        assert!(answered(&channel, index).is_some_and(|who| who != dead.bits()));
    }
}

/// Two threads of one worker bear one name; it is dead when both have come to their end.
fn threads_of_one() {
    let channel = Arc::new(Channel::create(SLOTS).unwrap());
    (0..CALLS).for_each(|index| publish(&channel, index));
    let threads: Vec<_> = ["claim.won", "claim.noted"]
        .into_iter()
        .map(|window| {
            let channel = Arc::clone(&channel);
            thread::spawn(move || drop(until_death(window, || serve(&channel, worker(0), 1))))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let left = serve(&channel, worker(2), CALLS as usize);
    for index in (0..CALLS).filter(|index| !left.contains(index)) {
        let slot = channel.natural_slot(index);
        assert!(
            channel.claimed_by(slot, index, worker(0)),
            "call {index} is nobody's, and nobody will claim it"
        );
    }
}

/// The client gives up what nobody has claimed, beside a worker that is about to.
fn gives_up() {
    let channel = Arc::new(Channel::create(SLOTS).unwrap());
    publish(&channel, 0);
    let late = {
        let channel = Arc::clone(&channel);
        thread::spawn(move || serve(&channel, worker(0), 2))
    };
    publish(&channel, 1);
    let given_up: Vec<u32> =
        std::iter::from_fn(|| channel.try_claim(Claimer::CLIENT).map(|claimed| claimed.index)).collect();
    let mut all = [given_up, late.join().unwrap()].concat();
    all.sort_unstable();
    assert_eq!(all, [0, 1]);
}
