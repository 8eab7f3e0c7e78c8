//! Workers that die: beside another one or alone, while they serve, come or go. The clients that call meanwhile are
//! threads of this process.

use std::{
    collections::HashSet,
    fs::File,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use shmrpc::RpcError;

use crate::{
    HANG, PATIENCE, board,
    board::Held,
    kills_per_window, load,
    scene::{Scene, await_death, end, eventually},
    service::VictimBlockingClient,
    tally::Tally,
    windows::{self, Part, Repair, Window},
};

const LANES: usize = 4;
/// How often workers look for what they could not free at once.
const TICK: Duration = Duration::from_secs(5);

/// Clients that call all the time, and what they say.
struct Lanes<'a> {
    folder: &'a Path,
    /// Connections that outlive every victim.
    steady: &'a [VictimBlockingClient],
    victim: AtomicU32,
    /// Between two victims there may be no worker at all.
    alone: bool,
    stop: AtomicBool,
    /// Rises with the death; each lane notes with which number it has last begun what is done now.
    epoch: AtomicU64,
    done: [AtomicU64; LANES],
    died: AtomicU64,
    right: AtomicU64,
}

impl<'a> Lanes<'a> {
    fn new(folder: &'a Path, steady: &'a [VictimBlockingClient], alone: bool) -> Self {
        Self {
            folder,
            steady,
            victim: AtomicU32::new(0),
            alone,
            stop: AtomicBool::new(false),
            epoch: AtomicU64::new(1),
            done: Default::default(),
            died: AtomicU64::new(0),
            right: AtomicU64::new(0),
        }
    }

    fn run(&self, lane: usize) {
        for round in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let epoch = self.epoch.load(Ordering::SeqCst);
            match lane {
                0 => (0..4).for_each(|n| self.judge(load::small(&self.steady[0], round + n))),
                1 => {
                    self.judge(load::large(&self.steady[1], round));
                    self.judge(load::slow(&self.steady[1]));
                }
                2 => {
                    load::many(&self.steady[2], round).into_iter().for_each(|outcome| self.judge(outcome));
                    load::again(&self.steady[2]).expect("an idempotent call is run once more");
                }
                _ => self.come_and_go(round),
            }
            self.done[lane].store(epoch, Ordering::SeqCst);
            // Short enough to keep workers awake, and long enough now and then for them to fall asleep.
            std::thread::sleep(Duration::from_micros(if round % 8 == 0 { 2000 } else { 100 }));
        }
    }

    fn come_and_go(&self, round: usize) {
        let client = match load::connect(Some(self.folder)) {
            Ok(client) => client,
            Err(error) if !self.alone => panic!("beside a healthy worker: {error}"),
            Err(_nobody_was_there) => return,
        };
        self.judge(load::streamed(&client, round));
        self.judge(load::small(&client, round));
    }

    /// A call may fail in one way: the worker that ran it has died, and is named.
    fn judge(&self, outcome: Result<(), RpcError>) {
        match outcome {
            Ok(()) => self.right.fetch_add(1, Ordering::Relaxed),
            Err(RpcError::WorkerDied { service, worker, .. }) => {
                assert_eq!(service, "victim");
                assert_eq!(worker, format!("pid {}", self.victim.load(Ordering::SeqCst)));
                self.died.fetch_add(1, Ordering::Relaxed)
            }
            Err(error) => panic!("a call failed with {error}"),
        };
    }

    /// Waits until each lane has got on by calls that were begun after the death.
    fn await_progress(&self, what: &str) -> Duration {
        let began = Instant::now();
        let epoch = self.epoch.fetch_add(1, Ordering::SeqCst) + 1;
        while self.done.iter().any(|done| done.load(Ordering::SeqCst) < epoch) {
            let stuck: Vec<_> = self.done.iter().map(|done| done.load(Ordering::SeqCst) < epoch).collect();
            assert!(began.elapsed() < HANG, "{what}: calls hang, or a check has failed: {stuck:?}");
            std::thread::sleep(Duration::from_micros(200));
        }
        began.elapsed()
    }
}

/// Has the lanes stop, also when the check panics.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(crate) fn kill_in_every_window() {
    let mut tally = Tally::default();
    beside_others(&mut tally);
    for window in windows::of(&[Part::First, Part::Last]) {
        for round in 0..kills_per_window() {
            by_itself(window, round, &mut tally);
        }
    }
    for window in windows::of(&[Part::Sweeps]) {
        sweeps(window, &mut tally);
    }
    for window in windows::of(&[Part::Mourns]) {
        for round in 0..kills_per_window() {
            mourns(window, round, &mut tally);
        }
    }
    tally.print("a worker");
}

/// Beside a healthy worker, which stays; and by turns alone, where it is stopped before and replaced after.
fn beside_others(tally: &mut Tally) {
    let mut scene = Scene::new();
    let mut colleague = scene.start_worker();
    let steady: Vec<_> = (0..LANES).map(|_| scene.connect()).collect();
    for window in windows::of(&[Part::Serves, Part::Joins, Part::Drains]) {
        for round in 0..kills_per_window() {
            steady.iter().for_each(|client| scene.probe(client));
            let before = (Held::by(std::process::id()), Held::by(colleague));
            let alone = window.part == Part::Serves && round % 2 == 1;
            if alone {
                scene.stop_worker(colleague);
            }
            let (held_up, died, right) = kill_once(&mut scene, &steady, window, round, alone, &mut colleague);
            tally.note(window, held_up, died, right);
            if window.repair == Repair::NextJoin {
                let next = scene.start_worker();
                scene.stop_worker(next);
            }
            let what = format!("{} in {:?}, round {round}", window.name, window.part);
            scene.assert_swept(&what);
            await_released(&what, std::process::id(), before.0);
            if !alone {
                await_released(&what, colleague, before.1);
            }
        }
    }
    // A colleague that comes frees the indices of the dead; numbers that nobody has told of, two ticks.
    let last = scene.start_worker();
    eventually("free indices and numbers", || {
        let (workers, channels) = board::taken_on_board(last);
        // Of each steady connection there are two rings.
        (workers == 2 && channels <= 2 * LANES).then_some(())
    });
}

fn await_released(what: &str, pid: u32, before: Held) {
    let until = Instant::now() + HANG;
    while !Held::by(pid).at_most(before) {
        let now = Held::by(pid);
        assert!(Instant::now() < until, "{what}: pid {pid} held {before:?}, and now {now:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn kill_once(
    scene: &mut Scene,
    steady: &[VictimBlockingClient],
    window: &'static Window,
    round: u32,
    alone: bool,
    colleague: &mut u32,
) -> (Duration, u64, u64) {
    let pass = 1 + round * 7 % window.passes;
    let folder = scene.folder.clone();
    let lanes = Lanes::new(&folder, steady, alone);
    std::thread::scope(|scope| {
        let _stops = Stops(&lanes.stop);
        let mut victim = scene.victim_worker(window, pass);
        lanes.victim.store(victim.id(), Ordering::SeqCst);
        (0..LANES).for_each(|lane| {
            drop(scope.spawn({
                let lanes = &lanes;
                move || lanes.run(lane)
            }))
        });
        if window.part == Part::Drains {
            scene.ask_victim_to_leave(&mut victim);
        }
        await_death(&mut victim, window, pass);
        if alone {
            *colleague = scene.start_worker();
        }
        let held_up = lanes.await_progress(window.name);
        (held_up, lanes.died.load(Ordering::Relaxed), lanes.right.load(Ordering::Relaxed))
    })
}

/// Where others have left something lying about; whoever else sweeps may be quicker, and then it is tried again.
fn sweeps(window: &'static Window, tally: &mut Tally) {
    let mut scene = Scene::new();
    scene.start_worker();
    let client = scene.connect();
    let (mut kills, until) = (0, Instant::now() + PATIENCE * kills_per_window());
    while kills < kills_per_window() {
        assert!(Instant::now() < until, "{}: somebody else always sweeps first", window.name);
        leave_litter(&scene.folder);
        let mut victim = scene.victim_worker(window, 1);
        if scene.outlives_joining(&mut victim) {
            end(victim);
            continue;
        }
        await_death(&mut victim, window, 1);
        let began = Instant::now();
        scene.probe(&client);
        tally.note(window, began.elapsed(), 0, 0);
        kills += 1;
        let next = scene.start_worker();
        scene.stop_worker(next);
        scene.assert_swept(window.name);
    }
}

/// As a process leaves it that dies before it has linked a segment, or before anybody has heard of its link.
fn leave_litter(folder: &Path) {
    let segment = format!("{}dead", board::segment_prefix(folder));
    File::create(Path::new("/dev/shm").join(segment)).expect("a segment of the dead");
    File::create(folder.join("directory.dead")).expect("a link of the dead");
}

/// The first in its folder, and the last: whoever comes next serves as if nothing had been.
fn by_itself(window: &'static Window, round: u32, tally: &mut Tally) {
    let mut scene = Scene::new();
    let pass = 1 + round * 7 % window.passes;
    let mut victim = scene.victim_worker(window, pass);
    if window.part == Part::Last {
        scene.ask_victim_to_leave(&mut victim);
    }
    await_death(&mut victim, window, pass);
    let began = Instant::now();
    scene.start_worker();
    let client = scene.connect();
    scene.probe(&client);
    tally.note(window, began.elapsed(), 0, 0);
    scene.assert_swept(window.name);
}

/// A client is killed, and then the worker that clears up after it; its colleague goes on with that. A victim that had
/// not been told of the client's rings has nothing to clear up: then another client is killed.
fn mourns(window: &'static Window, round: u32, tally: &mut Tally) {
    let mut scene = Scene::new();
    let colleague = scene.start_worker();
    let pass = 1 + round * 7 % window.passes;
    let mut victim = scene.victim_worker(window, pass);
    scene.await_worker(victim.id());
    let client = scene.connect();
    scene.probe(&client);
    let mut doomed_rings = HashSet::new();
    let until = Instant::now() + PATIENCE;
    loop {
        let before = board::channels_on_board(colleague);
        let doomed = scene.client(&["calls"], None);
        // The connection that stays is idle meanwhile.
        let rings =
            || board::channels_on_board(colleague).difference(&before).copied().collect::<HashSet<_>>();
        eventually("a client's numbers", || (!rings().is_empty()).then_some(()));
        std::thread::sleep(Duration::from_millis(50));
        doomed_rings.extend(rings());
        end(doomed);
        // A tick later at the latest.
        let ticked = Instant::now() + TICK + Duration::from_secs(1);
        let died = eventually("a death, or a tick", || {
            let died = victim.try_wait().expect("our child").is_some();
            (died || Instant::now() > ticked).then_some(died)
        });
        if died {
            break;
        }
        assert!(Instant::now() < until, "{}:{pass} is not passed", window.name);
    }
    await_death(&mut victim, window, pass);
    let began = Instant::now();
    scene.probe(&client);
    tally.note(window, began.elapsed(), 0, 0);
    scene.assert_swept(window.name);
    eventually("free numbers", || {
        board::channels_on_board(colleague).is_disjoint(&doomed_rings).then_some(())
    });
}
