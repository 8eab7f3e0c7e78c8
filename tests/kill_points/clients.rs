//! Clients that die: in the midst of calls and streams, coming and going, and while they get over the death of a
//! worker. Workers serve the others on, and keep nothing of the dead.

use std::{
    io::{BufRead, BufReader},
    process::Child,
    time::{Duration, Instant},
};

use crate::{
    HANG, board,
    board::Held,
    kills_per_window,
    scene::{Scene, await_death, dies, eventually},
    service::VictimBlockingClient,
    tally::Tally,
    windows::{self, Part, Repair, Window},
};

pub(crate) fn kill_in_every_window() {
    let mut tally = Tally::default();
    let mut scene = Scene::new();
    let worker = scene.start_worker();
    let steady = scene.connect();
    for window in windows::of(&[Part::Calls, Part::Crowd]) {
        for round in 0..kills_per_window() {
            scene.probe(&steady);
            let before = Held::by(worker);
            let how = if window.part == Part::Crowd { "crowd" } else { "calls" };
            let pass = pass(window, round);
            let mut victim = scene.client(&[how], Some((window, pass)));
            await_death(&mut victim, window, pass);
            recovered(&mut scene, &steady, window, &mut tally);
            let until = Instant::now() + HANG;
            while !Held::by(worker).at_most(before) {
                let now = Held::by(worker);
                assert!(Instant::now() < until, "{}: the worker held {before:?}, now {now:?}", window.name);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    for window in windows::of(&[Part::Bereaved, Part::Forsaken]) {
        for round in 0..kills_per_window() {
            lose_worker(&mut scene, &steady, window, round, &mut tally);
        }
    }
    // Numbers that nobody was told of take two ticks; those of the steady connection stay.
    let last = scene.start_worker();
    eventually("free indices and numbers", || {
        let (workers, channels) = board::taken_on_board(last);
        (workers == 2 && channels <= 2).then_some(())
    });
    tally.print("a client");
}

fn pass(window: &Window, round: u32) -> u32 {
    1 + round * 7 % window.passes
}

/// Others are served, and nothing of the dead is left.
fn recovered(scene: &mut Scene, steady: &VictimBlockingClient, window: &'static Window, tally: &mut Tally) {
    let began = Instant::now();
    scene.probe(steady);
    tally.note(window, began.elapsed(), 0, 0);
    if window.repair == Repair::NextJoin {
        let next = scene.start_worker();
        scene.stop_worker(next);
    }
    scene.assert_swept(&format!("{} in {:?}", window.name, window.part));
}

/// A client whose worker is killed, and that dies over it. There are two workers; the one stays for the others, stopped
/// for as long as the call must not go to it.
fn lose_worker(
    scene: &mut Scene,
    steady: &VictimBlockingClient,
    window: &'static Window,
    round: u32,
    tally: &mut Tally,
) {
    let pass = pass(window, round);
    let how = if window.part == Part::Forsaken { "forsaken" } else { "bereaved" };
    for attempt in 1.. {
        let doomed: Vec<u32> = scene.workers().collect();
        let mut victim = scene.client(&[how], Some((window, pass)));
        await_line(&mut victim, "calling");
        // It is in its call by now, or soon.
        std::thread::sleep(Duration::from_millis(30));
        doomed.into_iter().for_each(|worker| scene.kill_worker(worker));
        let died = dies(&mut victim, window, pass);
        scene.start_worker();
        if died {
            break;
        }
        // The thread that ran its call may have taken it from another, and not have attended its ring.
        assert!(attempt < 10, "{}:{pass} in {:?} is not passed", window.name, window.part);
    }
    recovered(scene, steady, window, tally);
}

/// Reads what a victim says up to a line.
pub(crate) fn await_line(victim: &mut Child, line: &str) {
    let stdout = victim.stdout.as_mut().expect("its output is ours");
    let said = BufReader::new(stdout).lines().map_while(Result::ok).any(|said| said == line);
    assert!(said, "a victim has not come as far as {line:?}");
}

/// The first of two greetings makes a connection; the other may arrive when it is over already, and must not have numbers
/// taken for its rings that nobody would give back while this process lives.
pub(crate) fn drop_at_once() {
    let mut scene = Scene::new();
    let workers = [scene.start_worker(), scene.start_worker()];
    for _ in 0..300 {
        drop(scene.connect());
    }
    for worker in workers {
        eventually("free numbers", || board::channels_on_board(worker).is_empty().then_some(()));
    }
}
