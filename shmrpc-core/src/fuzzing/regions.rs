//! Regions of a peer, filled with arbitrary bytes: taking them over, and what either side then reads and
//! writes. The bytes change while they are used: between steps, where the input says so.

use std::{cell::RefCell, collections::HashMap, os::fd::OwnedFd, rc::Rc, sync::atomic::Ordering};

use super::Script;
use crate::{
    observe::MethodCounters,
    shm::{
        arena::{self, Arenas, Extent},
        board::Board,
        channel::{CallHeader, Channel, Claimed, Claimer, Place, ReplyHeader},
        counters::{Counters, Table},
        doorbell::Doorbell,
        region::Region,
    },
};

/// Bytes at places: `(offset, length, bytes)` again and again. Offsets are in units of eight bytes.
fn scribble(region: &Region, script: &mut Script<'_>, times: usize) {
    for _ in 0..times {
        if script.is_empty() {
            return;
        }
        let offset = usize::from(u16::from_be_bytes([script.byte(), script.byte()])) * 8 % region.len_bytes();
        let word = script.word().to_le_bytes();
        if region.holds(offset, word.len()) {
            region.copy_in(offset, &word);
        }
    }
}

fn dup(region: &Region) -> OwnedFd {
    region.fd().try_clone_to_owned().expect("a descriptor can be copied")
}

thread_local! {
    // One of each a thread, wiped before each input: making one costs more than all that is done with it.
    static CHANNEL: (Channel, Channel, Vec<u8>) = {
        let ours = Channel::create(4).expect("there is memory for a channel");
        let theirs = Channel::attach(dup(ours.region())).expect("our own channel");
        let fresh = contents(ours.region());
        (ours, theirs, fresh)
    };
    static BOARD: (Region, Board, Vec<u8>) = {
        let board = Board::create(1).expect("there is memory for a board");
        let region = board.fd().try_clone_to_owned().expect("a descriptor can be copied");
        let region = Region::attach(region, 1 << 20).expect("our own board");
        let fresh = contents(&region);
        (region, board, fresh)
    };
    static COUNTERS: Region = Region::create("fuzz", 16 << 10).expect("there is memory for counters");
}

fn contents(region: &Region) -> Vec<u8> {
    let mut bytes = Vec::new();
    region.copy_out(0, region.len_bytes(), &mut bytes);
    bytes
}

/// A channel whose words are scribbled over while a worker claims and answers, and while its client looks for
/// replies. Every slot that is named lies inside.
pub(super) fn channel(data: &[u8]) {
    CHANNEL.with(|(ours, theirs, fresh)| {
        ours.region().copy_in(0, fresh);
        use_channel(ours, theirs, Script(data));
    });
}

fn use_channel(ours: &Channel, theirs: &Channel, mut script: Script<'_>) {
    let (me, other) = (Claimer::new(1, 2), Claimer::from_bits(script.byte().into()));
    for index in 0..3 {
        let place = Place { arena: 0, len_bytes: 8, offset: 0 };
        let call = CallHeader { call_id: index.into(), place, ..CallHeader::default() };
        ours.write_call(index, index.into(), &call);
        ours.publish(index.into(), index);
    }
    for _ in 0..8 {
        let step = script.byte();
        scribble(ours.region(), &mut script, usize::from(step >> 5));
        let claimed = if step & 1 == 0 { theirs.try_claim(me) } else { None };
        let claimed = claimed.unwrap_or(Claimed { slot: u16::from(step >> 2), index: u32::from(step) });
        let call = theirs.read_call(claimed);
        let place = call.map_or(Place::default(), |call| call.header.place);
        let (at, len) = (theirs.call_inline(claimed.slot), place.len_bytes as usize % 200);
        assert!(theirs.region().holds(at, len), "arguments of slot {}", claimed.slot);
        let _given_up = theirs.is_cancelled(claimed.slot);
        let _awaited = call.is_ok_and(|call| theirs.awaits(claimed, call.seal));
        if step & 2 == 0 {
            theirs.publish_reply(claimed, ReplyHeader { status: step, place, claimer: me });
        }
        if let Some(Ok(reply)) = ours.reply(claimed.slot, claimed.index) {
            assert!(
                ours.region().holds(ours.reply_inline(claimed.slot), reply.place.len_bytes as usize % 200)
            );
        }
        let _claims = (ours.claimed_by(claimed.slot, claimed.index, other), ours.claimer(claimed.slot, 1));
        let _state = (theirs.has_work(), ours.next_unclaimed());
        theirs.unattend(script.byte().into());
    }
}

/// A board whose tables are scribbled over while workers and clients come, sleep, work and go.
pub(super) fn board(data: &[u8]) {
    BOARD.with(|(region, board, fresh)| {
        region.copy_in(0, fresh);
        use_board(region, board, Script(data));
    });
}

fn use_board(region: &Region, board: &Board, mut script: Script<'_>) {
    scribble(region, &mut script, 6);
    for _ in 0..12 {
        let step = script.byte();
        let (index, number) = (script.byte() % 64, u16::from_be_bytes([step, script.byte()]) % 4096);
        match step & 15 {
            0 => drop(board.join_worker(number.into())),
            1 => board.leave_worker(index, number.into()),
            2 => board.announce_sleep(index, step >> 4),
            3 => drop(board.retract_sleep(index, step >> 4)),
            4 => drop(board.take_sleeper(index, |found| found < 64)),
            5 => drop(board.join_channel(u64::from(number) + 1)),
            6 => board.leave_channel(number, number.into()),
            7 => drop(board.set_ready(number)),
            8 => board.clear_ready(number),
            9 => drop(board.next_ready(number, |found| {
                assert!(found < 4096);
                found % 3 == 0
            })),
            10 => drop((board.sleeps(index), board.anybody_sleeps(), board.owns_channel(number, 1))),
            11 => assert!(board.workers().all(|(worker, nonce)| worker < 64 && nonce != 0)),
            _ => scribble(region, &mut script, 2),
        }
    }
}

/// The sender's side of arenas whose receiver sets any bits. No two extents overlap.
pub(super) fn arena(data: &[u8]) {
    let mut script = Script(data);
    let mut arenas = Arenas::new(256 << 10);
    let mut used: Vec<(Extent, usize)> = Vec::new();
    for _ in 0..32 {
        if script.is_empty() {
            return;
        }
        let step = script.byte();
        match step & 3 {
            0 | 1 => {
                let len = usize::from(script.byte()) << (step >> 4);
                let Ok(new) = arenas.allocate(len) else { continue };
                assert!(new.region.holds(new.extent.offset as usize, len), "{:?} of {len}", new.extent);
                used.retain(|(extent, _)| !new.dropped.contains(&extent.arena));
                used.push((new.extent, len));
            }
            2 => {
                if let Some((extent, _)) = used.pop() {
                    arenas.free(extent);
                }
            }
            _ => {
                let regions: Vec<_> = arenas.regions().map(|(_, region)| region.clone()).collect();
                if let Some(region) = regions.get(usize::from(step >> 2) % regions.len().max(1)) {
                    scribble(region, &mut script, 2);
                    arena::release(region, script.word());
                }
            }
        }
    }
}

/// A table of counters with any numbers in it: read, added to another, shown.
pub(super) fn counters(data: &[u8]) {
    COUNTERS.with(|region| use_counters(region, Script(data)));
}

fn use_counters(region: &Region, mut script: Script<'_>) {
    region.word64(0).store(u64::from(script.byte() % 12), Ordering::Release);
    region.word64(8).store(u64::from(script.byte() % 3), Ordering::Release);
    let dense = script.0.len().min(region.len_bytes() - 128);
    let rest = vec![0; region.len_bytes() - 128 - dense];
    region.copy_in(128, &[&script.0[..dense], &rest].concat());
    let Ok(counters) = Counters::attach(dup(region)) else { return };
    let method = usize::from(script.byte());
    counters.count(Table::COMMON, method, true, u64::MAX, u64::MAX);
    counters.count_time(Table::COMMON, method, u64::MAX);
    let mut sum = MethodCounters::default();
    for method in counters.read() {
        sum.add(&method);
        sum.add(&method);
        let _shown = (method.mean(), sum.mean(), method.latency.quantile(0.5), sum.latency.quantile(0.999));
    }
}

/// Regions of any length with any beginning, taken over as each kind in turn.
pub(super) fn attach(data: &[u8]) {
    let mut script = Script(data);
    let len_bytes = match script.byte() {
        small @ 0..=127 => usize::from(small) + 1,
        pages => (usize::from(pages) - 127) * 512,
    };
    let Some(region) = region_of(len_bytes) else { return };
    let dense = script.0.len().min(len_bytes);
    region.copy_in(0, &[&script.0[..dense], &vec![0; len_bytes - dense]].concat());
    if let Ok(channel) = Channel::attach(dup(&region)) {
        for slot in 0..16 {
            assert!(channel.region().holds(channel.reply_inline(slot), 8));
            let _call = (channel.read_call(Claimed { slot, index: 0 }), channel.reply(slot, 0));
        }
        let _claimed = channel.try_claim(Claimer::new(3, 3));
    }
    if let Ok(board) = Board::attach(dup(&region)) {
        let _work = (board.next_ready(0, |_| false), board.workers().count());
    }
    if let Ok(counters) = Counters::attach(dup(&region)) {
        let _read = counters.read();
    }
    if let Ok(doorbell) = Doorbell::attach(dup(&region)) {
        for bell in [0, 7, 255] {
            doorbell.post(bell);
            let _posted = doorbell.try_wait(bell);
        }
    }
}

/// One region of each length a thread.
fn region_of(len_bytes: usize) -> Option<Rc<Region>> {
    thread_local! {
        static REGIONS: RefCell<HashMap<usize, Rc<Region>>> = RefCell::default();
    }
    REGIONS.with_borrow_mut(|regions| {
        if let Some(region) = regions.get(&len_bytes) {
            return Some(Rc::clone(region));
        }
        let region = Rc::new(Region::create("fuzz", len_bytes).ok()?);
        regions.insert(len_bytes, Rc::clone(&region));
        Some(region)
    })
}

/// `count` steps of that kind, each followed by numbers.
fn steps(count: u8, mut step: impl FnMut(u8) -> u8) -> Vec<u8> {
    (0..count).flat_map(|n| [step(n), n, n.wrapping_mul(37)]).collect()
}

pub(super) fn channel_seeds() -> Vec<Vec<u8>> {
    vec![vec![0; 20], steps(40, |n| n), steps(60, |n| 0x60 | n & 3)]
}

pub(super) fn board_seeds() -> Vec<Vec<u8>> {
    let scribbled = steps(20, |n| n.wrapping_mul(11));
    vec![[scribbled, steps(12, |n| n)].concat(), [vec![0; 60], steps(12, |n| 11 - n)].concat()]
}

pub(super) fn arena_seeds() -> Vec<Vec<u8>> {
    vec![steps(32, |n| n << 4 | n & 3), steps(32, |n| n & 3), steps(50, |n| 0x80 | n & 1)]
}

pub(super) fn counters_seeds() -> Vec<Vec<u8>> {
    let numbers: Vec<u8> = (0..300_u64).flat_map(|n| (n * n).to_le_bytes()).collect();
    vec![[&[2][..], &numbers].concat(), [&[1][..], &[0xff; 400]].concat()]
}

pub(super) fn attach_seeds() -> Vec<Vec<u8>> {
    let copy = |region: &Region, choice: u8| {
        let mut bytes = vec![choice];
        region.copy_out(0, region.len_bytes().min(4096), &mut bytes);
        bytes
    };
    let channel = Channel::create(4).expect("there is memory for a channel");
    let board =
        BOARD.with(|(_, board, _)| board.fd().try_clone_to_owned().expect("a descriptor can be copied"));
    let board = Region::attach(board, 1 << 20).expect("our own board");
    // As long as the region that each was copied from.
    let choice = |len_bytes: usize| u8::try_from(127 + len_bytes / 512).unwrap_or(255);
    let (channel_len, board_len) = (channel.region().len_bytes(), board.len_bytes());
    let mut counters = vec![136, 3];
    counters.resize(200, 0);
    vec![copy(channel.region(), choice(channel_len)), copy(&board, choice(board_len)), counters, vec![31; 40]]
}
