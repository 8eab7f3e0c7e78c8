//! A lane's slots, given back by callers without the connection's lock: who publishes finds a free one whenever the
//! counts say that there is one, and has it only after its last reader.
//!
//! This mirrors `Lane::finish`, `Ring::in_flight`, `has_room`, `take_slot` and `call` of `client/ring.rs`, which stand
//! among things that loom cannot run.

use loom::{
    cell::UnsafeCell,
    sync::{Arc, Mutex},
    thread,
};

use crate::{
    Model,
    sync::{AtomicU32, AtomicU64, Ordering},
};

pub(crate) const MODELS: &[Model] =
    &[("lane: slots are given back beside who publishes", None, slots_are_given_back)];

const SLOTS: usize = 4;

struct Lane {
    busy: [AtomicU64; SLOTS],
    finished: AtomicU32,
    /// What a reply in the slot stands for: read by its caller, overwritten for the next call.
    slots: [UnsafeCell<u64>; SLOTS],
}

impl Lane {
    fn finish(&self, slot: usize) {
        self.busy[slot].store(0, Ordering::Release);
        self.finished.fetch_add(1, Ordering::Release);
    }
}

/// Behind the connection's lock.
#[derive(Default)]
struct Ring {
    serials: [u64; SLOTS],
    next: usize,
    begun: u32,
}

impl Ring {
    fn in_flight(&self, lane: &Lane) -> usize {
        self.begun.wrapping_sub(lane.finished.load(Ordering::Acquire)) as usize
    }

    fn publish(&mut self, lane: &Lane, serial: u64) -> Option<usize> {
        if self.in_flight(lane) >= SLOTS - 1 {
            return None;
        }
        let natural = self.next % SLOTS;
        let mut slots = (0..SLOTS).map(|step| (natural + step) % SLOTS);
        let free = |&slot: &usize| lane.busy[slot].load(Ordering::Acquire) == 0;
        let slot = slots.find(free).expect("the ring was chosen for its room");
        lane.busy[slot].store(serial, Ordering::Relaxed);
        self.begun += 1;
        self.next += 1;
        lane.slots[slot].with_mut(|call| unsafe { *call = serial });
        self.serials[slot] = serial;
        Some(slot)
    }

    /// Whether a slot is that call's still.
    fn has(&self, lane: &Lane, slot: usize, serial: u64) -> bool {
        let busy = lane.busy[slot].load(Ordering::Acquire);
        busy != 0 && self.serials[slot] == busy && busy == serial
    }
}

fn slots_are_given_back() {
    let lane = Arc::new(Lane {
        busy: std::array::from_fn(|_| AtomicU64::new(0)),
        finished: AtomicU32::new(0),
        slots: std::array::from_fn(|_| UnsafeCell::new(0)),
    });
    let ring = Arc::new(Mutex::new(Ring::default()));
    let begun: Vec<(u64, usize)> =
        (1..=3).map(|serial| (serial, ring.lock().unwrap().publish(&lane, serial).unwrap())).collect();
    assert!(ring.lock().unwrap().publish(&lane, 9).is_none(), "one slot less than there are");
    let callers: Vec<_> = begun[..2]
        .iter()
        .map(|&(serial, slot)| {
            let (lane, ring) = (Arc::clone(&lane), Arc::clone(&ring));
            thread::spawn(move || {
                assert!(ring.lock().unwrap().has(&lane, slot, serial));
                assert_eq!(lane.slots[slot].with(|reply| unsafe { *reply }), serial, "another's reply");
                lane.finish(slot);
                assert!(!ring.lock().unwrap().has(&lane, slot, serial), "given back is given back");
            })
        })
        .collect();
    let taken: Vec<_> = (4..6).filter_map(|serial| ring.lock().unwrap().publish(&lane, serial)).collect();
    assert!(!taken.contains(&begun[2].1), "a call that is under way keeps its slot");
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    assert_eq!(ring.lock().unwrap().in_flight(&lane), 1 + taken.len());
}
