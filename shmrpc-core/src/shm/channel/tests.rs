//! Claiming, answering and numbering, by two mappings of one channel.

use super::*;

fn pair(slots: usize) -> (Channel, Channel) {
    let client = Channel::create(slots).unwrap();
    let worker = Channel::attach(client.fd().try_clone_to_owned().unwrap()).unwrap();
    (client, worker)
}

#[test]
fn a_call_goes_there_and_back() {
    let (client, worker) = pair(4);
    let me = Claimer::new(3, 77);
    assert!(worker.try_claim(me).is_none());
    let call = CallHeader {
        call_id: 9,
        method: 1,
        deadline_ns: 5,
        place: Place { arena: 2, len_bytes: 10, offset: 64 },
        door: 1,
        cancelled: false,
    };
    client.write_call(2, 0, &call);
    client.publish(0, 2);
    assert!(worker.has_work());
    let claimed = worker.try_claim(me).unwrap();
    assert_eq!(claimed, Claimed { slot: 2, index: 0 });
    let read = worker.read_call(claimed).unwrap();
    assert_eq!(read.header, call);
    assert!(worker.awaits(claimed, read.seal));
    assert!(worker.try_claim(me).is_none());
    assert!(client.reply(2, 0).is_none());
    let place = Place { arena: 1, len_bytes: 3, offset: 16 };
    let reply = ReplyHeader { status: 4, place, claimer: me };
    worker.publish_reply(claimed, reply);
    assert_eq!(client.reply(2, 0), Some(Ok(reply)));
    assert!(!worker.awaits(claimed, read.seal), "it has its answer");
    assert_eq!(client.claimer(2, 0), Some(me));
}

#[test]
fn every_call_is_claimed_once_by_many() {
    let (client, worker) = pair(128);
    let worker = std::sync::Arc::new(worker);
    let rounds = 200_u32;
    let threads: Vec<_> = (1..=3)
        .map(|n| {
            let worker = std::sync::Arc::clone(&worker);
            std::thread::spawn(move || {
                let me = Claimer::new(n, u64::from(n));
                let mut mine = Vec::new();
                while worker.next_unclaimed() < rounds * 64 {
                    match worker.try_claim(me) {
                        Some(claimed) => {
                            worker.publish_reply(claimed, ReplyHeader::default());
                            mine.push(claimed.index);
                        }
                        None => std::thread::yield_now(),
                    }
                }
                mine
            })
        })
        .collect();
    for round in 0..rounds {
        for slot in 0..64 {
            client.publish(round * 64 + u32::from(slot), slot);
        }
        for slot in 0..64 {
            while client.reply(slot, round * 64 + u32::from(slot)).is_none() {
                std::thread::yield_now();
            }
        }
    }
    let mut all: Vec<u32> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..rounds * 64).collect::<Vec<_>>());
}

#[test]
fn a_dead_workers_claim_is_found_though_it_was_never_noted() {
    let (client, worker) = pair(4);
    let (dead, other) = (Claimer::new(0, 5), Claimer::new(1, 6));
    client.publish(0, 3);
    client.publish(1, 1);
    // The dead worker won the compare-and-swap and stopped at that very point.
    let head = u64::from(dead.bits()) << 32 | 1;
    worker.head().store(head, Ordering::Release);
    assert!(client.claimed_by(3, 0, dead));
    assert!(!client.claimed_by(1, 1, dead));
    assert_eq!(worker.try_claim(other).unwrap().index, 1);
    assert!(client.claimed_by(3, 0, dead), "the next claimer leaves the note as it is");
}

#[test]
fn small_payloads_and_the_words_about_them_do_not_overlap() {
    let (client, worker) = pair(2);
    let bytes = |len: usize| (0..len).map(|at| (at * 7) as u8 | 1).collect::<Vec<u8>>();
    let (args, reply) = (bytes(CALL_INLINE_BYTES), bytes(REPLY_INLINE_BYTES));
    let place = Place { arena: 0, len_bytes: args.len() as u32, offset: 0 };
    let call = CallHeader { call_id: 1, method: 2, deadline_ns: 3, place, door: 1, cancelled: false };
    for slot in [1, 0] {
        client.put_call(slot, &args);
        client.write_call(slot, u32::from(slot == 0), &call);
    }
    client.publish(0, 1);
    let claimed = worker.try_claim(Claimer::new(0, 1)).unwrap();
    worker.put_reply(claimed.slot, &reply);
    let place = Place { len_bytes: reply.len() as u32, ..place };
    let header = ReplyHeader { status: 9, place, ..ReplyHeader::default() };
    worker.publish_reply(claimed, header);
    client.cancel(1);
    for slot in [0, 1] {
        let mut copy = Vec::new();
        worker.region().copy_out(worker.call_inline(slot), args.len(), &mut copy);
        let claimed = Claimed { slot, index: u32::from(slot == 0) };
        let read = worker.read_call(claimed).unwrap().header;
        assert!(copy == args && read == CallHeader { cancelled: slot == 1, ..call });
    }
    let mut copy = Vec::new();
    client.region().copy_out(client.reply_inline(1), reply.len(), &mut copy);
    assert!(copy == reply && client.reply(1, 0) == Some(Ok(header)) && client.is_answered(1, 0));
}

#[test]
fn numbers_wrap_around() {
    let (client, worker) = pair(4);
    let me = Claimer::new(0, 1);
    let start = u32::MAX - 2;
    worker.head().store(u64::from(start), Ordering::Relaxed);
    for step in 0..8_u32 {
        let index = start.wrapping_add(step);
        client.publish(index, (step % 4) as u16);
        let claimed = worker.try_claim(me).unwrap();
        assert_eq!(claimed.index, index);
        worker.publish_reply(claimed, ReplyHeader { status: 1, ..ReplyHeader::default() });
        assert!(client.reply(claimed.slot, index).is_some());
    }
}

/// What a faulty process may write, one word at a time: where it counts, the seals tell.
#[test]
fn words_that_were_changed_are_not_believed() {
    let (client, worker) = pair(4);
    let me = Claimer::new(3, 77);
    let place = Place { arena: 2, len_bytes: 10, offset: 64 };
    let call = CallHeader { call_id: 9, method: 1, deadline_ns: 5, place, door: 1, cancelled: false };
    client.write_call(2, 0, &call);
    client.publish(0, 2);
    let claimed = worker.try_claim(me).unwrap();
    for word in [METHOD, DEADLINE, PLACE, FLAGS, CALL_ID, CALL_INLINE] {
        let word = &client.slot(2)[word];
        let before = word.fetch_add(1 << 40, Ordering::Relaxed);
        assert_eq!(worker.read_call(claimed), Err(Damaged));
        word.store(before, Ordering::Relaxed);
    }
    let seal = worker.read_call(claimed).unwrap().seal;
    assert_eq!(worker.read_call(Claimed { index: 4, ..claimed }), Err(Damaged), "its number was changed");
    assert_eq!(worker.read_call(Claimed { slot: 1, ..claimed }), Err(Damaged), "its slot was changed");
    worker.publish_reply(claimed, ReplyHeader { status: 0, place, claimer: me });
    for word in [REPLY, REPLY_PLACE, REPLY_INLINE] {
        let word = &client.slot(2)[word];
        let before = word.fetch_xor(1 << 20, Ordering::Relaxed);
        assert_eq!(client.reply(2, 0), Some(Err(Damaged)));
        word.store(before, Ordering::Relaxed);
    }
    // The slot's next use, under a worker that still runs the first.
    client.write_call(2, 4, &call);
    assert!(!worker.awaits(claimed, seal));
    assert_eq!(client.renumber(2, 3, 5), Err(Damaged));
    client.renumber(2, 4, 5).unwrap();
    assert_eq!(worker.read_call(Claimed { slot: 2, index: 5 }).unwrap().header, call);
}
