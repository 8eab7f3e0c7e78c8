//! What happens in the run: an endless list of deeds drawn from the seed, carried out one after the other.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use rustix::process::Signal;

use crate::{
    cast::{Actor, Cast},
    client::{GO, REST},
    ledger::{self, Sums},
    random::Random,
    scene::eventually,
    verdict,
};

const WORKERS: usize = 3;
const STEADY_CLIENTS: usize = 2;
const MORTAL_CLIENTS: usize = 2;
/// Between two deeds, on average, unless a number of kills is asked for.
const PACE: Duration = Duration::from_millis(110);
/// Whoever is stopped goes on after this at the latest.
const LONGEST_STOP: Duration = Duration::from_millis(900);
const LONGEST_WITHOUT_DAEMON: Duration = Duration::from_millis(1500);
/// So long a kill waits for those before it to be made good.
const RECOVERY: Duration = Duration::from_secs(2);
/// Before the first deed, so that everybody has what it needs.
const WARM_UP: Duration = Duration::from_secs(2);

/// Which run.
pub(crate) struct Settings {
    time: Duration,
    kills: Option<u64>,
    seed: u64,
}

impl Settings {
    pub(crate) fn from_environment() -> Self {
        let number = |name: &str| {
            let text = std::env::var(name).ok()?;
            Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
        };
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            time: Duration::from_secs(number("SHMRPC_CHAOS_SECONDS").unwrap_or(20)),
            kills: number("SHMRPC_CHAOS_KILLS"),
            seed: number("SHMRPC_CHAOS_SEED").unwrap_or(clock.as_nanos() as u64 >> 10),
        }
    }
}

/// What is done to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    KillWorker,
    KillAllWorkers,
    KillClient,
    KillDaemon,
    KillEverybodyButSteady,
    StopWorker,
    StopClient,
    StopDaemon,
    KillStoppedWorker,
    EndWorker,
    EndClient,
}

impl Deed {
    fn draw(random: &mut Random) -> Self {
        match random.below(100) {
            0..=38 => Self::KillWorker,
            39..=42 => Self::KillAllWorkers,
            43..=63 => Self::KillClient,
            64..=68 => Self::KillDaemon,
            69 => Self::KillEverybodyButSteady,
            70..=79 => Self::StopWorker,
            80..=83 => Self::StopClient,
            84..=86 => Self::StopDaemon,
            87..=89 => Self::KillStoppedWorker,
            90..=97 => Self::EndWorker,
            _ => Self::EndClient,
        }
    }
}

struct Play {
    cast: Cast,
    random: Random,
    deeds: BTreeMap<Deed, u64>,
    kills: u64,
    stops: u64,
    /// Who is stopped, and until when.
    stopped: Vec<(Instant, Actor)>,
    daemon_back_at: Option<Instant>,
    began: Instant,
    /// Says each deed.
    traces: bool,
}

pub(crate) fn run(settings: &Settings) {
    println!("chaos: SHMRPC_CHAOS_SEED={} for {:?}", settings.seed, settings.time);
    let mut play = Play {
        cast: Cast::new(WORKERS, settings.seed),
        random: Random::new(settings.seed),
        deeds: BTreeMap::new(),
        kills: 0,
        stops: 0,
        stopped: Vec::new(),
        daemon_back_at: None,
        began: Instant::now(),
        traces: std::env::var_os("SHMRPC_CHAOS_TRACE").is_some(),
    };
    play.begin();
    let began = Instant::now();
    let pace = settings.kills.map_or(PACE, |kills| {
        // Not every deed kills, and some kill several.
        settings.time.div_f64(kills.max(1) as f64).min(PACE)
    });
    let goes_on = |play: &Play| match settings.kills {
        Some(kills) => play.kills < kills && began.elapsed() < settings.time * 3,
        None => began.elapsed() < settings.time,
    };
    while goes_on(&play) {
        let pause = play.random.duration(pace * 2);
        play.wait(pause);
        let deed = Deed::draw(&mut play.random);
        play.act(deed);
    }
    let took = began.elapsed();
    play.end();
    let Play { cast, kills, stops, .. } = &play;
    println!("chaos: {kills} kills, {stops} stops, {} starts by hand in {took:.1?}", cast.starts);
    println!("chaos: {:?}", play.deeds);
    verdict::give(cast, settings.seed);
}

impl Play {
    fn begin(&mut self) {
        self.cast.start_daemon();
        let cast = &mut self.cast;
        eventually("the first workers", || (cast.workers().len() == WORKERS).then_some(()));
        for _ in 0..STEADY_CLIENTS {
            let client = cast.start_client();
            cast.steady.push(client);
        }
        for _ in 0..MORTAL_CLIENTS {
            let client = cast.start_client();
            cast.mortal.push(client);
        }
        std::thread::sleep(WARM_UP);
        self.rest(1);
        self.cast.steady.iter_mut().for_each(|client| client.tell(GO));
    }

    /// Has the steady clients rest and say what they hold, for the nth time.
    fn rest(&mut self, time: usize) {
        self.cast.steady.iter_mut().for_each(|client| client.tell(REST));
        let pids: Vec<u64> = self.cast.steady.iter().map(|client| u64::from(client.pid())).collect();
        let folder = self.cast.folder().to_owned();
        eventually("the clients' rest", || {
            let wrongs = ledger::wrongs(&folder);
            assert!(wrongs.is_empty(), "{wrongs}");
            let sums = Sums::read(&folder);
            pids.iter().all(|pid| sums.at_rest.get(pid).is_some_and(|said| said.len() >= time)).then_some(())
        });
    }

    /// Lets time pass: whoever has been stopped long enough goes on, a killed daemon has its successor.
    fn wait(&mut self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            let now = Instant::now();
            self.stopped.retain(|(until, actor)| {
                let goes_on = *until <= now;
                if goes_on {
                    actor.signal(Signal::CONT);
                }
                !goes_on
            });
            if self.daemon_back_at.is_some_and(|at| at <= now) {
                self.daemon_back_at = None;
                self.cast.start_daemon();
            }
            let wrongs = ledger::wrongs(self.cast.folder());
            assert!(wrongs.is_empty(), "{wrongs}{}", self.cast.scene.read("daemon.log"));
            self.cast.see_off();
            let Some(left) = until.checked_duration_since(now) else { return };
            std::thread::sleep(left.min(Duration::from_millis(5)));
        }
    }

    fn act(&mut self, deed: Deed) {
        *self.deeds.entry(deed).or_default() += 1;
        if self.traces {
            let workers: Vec<u32> = self.cast.workers().iter().map(|worker| worker.pid).collect();
            println!("chaos: at {:?} {deed:?}, workers {workers:?}", self.began.elapsed());
        }
        match deed {
            Deed::KillWorker => self.kill_worker(),
            Deed::KillAllWorkers => self.kill_workers(),
            Deed::KillClient => self.kill_client(),
            Deed::KillDaemon => self.kill_daemon(),
            Deed::KillEverybodyButSteady => {
                self.kill_daemon();
                self.kill_workers();
                (0..MORTAL_CLIENTS).for_each(|_| self.kill_client());
            }
            Deed::StopWorker => self.stop_worker(Signal::CONT),
            Deed::KillStoppedWorker => self.stop_worker(Signal::KILL),
            Deed::StopClient => {
                let mut clients: Vec<u32> = self.cast.steady.iter().map(|client| client.pid()).collect();
                clients.extend(self.cast.mortal.iter().map(|client| client.pid()));
                let pid = clients[self.random.below(clients.len() as u64) as usize];
                self.stop(pid);
            }
            Deed::StopDaemon => {
                if let Some(pid) = self.cast.daemon.as_ref().map(std::process::Child::id) {
                    self.stop(pid);
                }
            }
            Deed::EndWorker => {
                if let Some(worker) = self.some_worker() {
                    worker.signal(Signal::TERM);
                }
            }
            Deed::EndClient => {
                let at = self.random.below(MORTAL_CLIENTS as u64) as usize;
                let client = self.cast.mortal.swap_remove(at);
                self.cast.end_client(client);
                self.fill();
            }
        }
    }

    fn some_worker(&mut self) -> Option<Actor> {
        let mut workers = self.cast.workers();
        let at = self.random.below(workers.len() as u64) as usize;
        (at < workers.len()).then(|| workers.swap_remove(at))
    }

    fn kill(&mut self, actor: &Actor) {
        self.cast.killed.insert(actor.pid);
        actor.signal(Signal::KILL);
        self.kills += 1;
    }

    /// On a machine with more to do than it can, workers would be killed before they ever serve.
    fn let_recover(&mut self) {
        let until = Instant::now() + RECOVERY;
        while self.cast.workers().len() < WORKERS && Instant::now() < until {
            self.wait(Duration::from_millis(10));
        }
    }

    fn kill_worker(&mut self) {
        self.let_recover();
        if let Some(worker) = self.some_worker() {
            self.kill(&worker);
        }
    }

    fn kill_workers(&mut self) {
        self.let_recover();
        for worker in self.cast.workers() {
            self.kill(&worker);
        }
    }

    fn kill_client(&mut self) {
        let at = self.random.below(MORTAL_CLIENTS as u64) as usize;
        let client = self.cast.mortal.swap_remove(at);
        self.cast.kill_client(client);
        self.kills += 1;
        self.fill();
    }

    /// Mortal clients have successors at once.
    fn fill(&mut self) {
        while self.cast.mortal.len() < MORTAL_CLIENTS {
            let client = self.cast.start_client();
            self.cast.mortal.push(client);
        }
    }

    fn kill_daemon(&mut self) {
        let back_in = self.random.duration(LONGEST_WITHOUT_DAEMON);
        if self.cast.daemon.is_some() {
            self.cast.kill_daemon();
            self.kills += 1;
            self.daemon_back_at = Some(Instant::now() + back_in);
        }
    }

    fn stop(&mut self, pid: u32) {
        let time = self.random.duration(LONGEST_STOP);
        if let Some(actor) = self.cast.actor(pid) {
            actor.signal(Signal::STOP);
            self.stops += 1;
            self.stopped.push((Instant::now() + time, actor));
        }
    }

    /// Stops a worker, and has it go on or die later.
    fn stop_worker(&mut self, then: Signal) {
        let Some(worker) = self.some_worker() else { return };
        self.stop(worker.pid);
        if then == Signal::KILL {
            let pause = self.random.duration(Duration::from_millis(100));
            self.wait(pause);
            self.kill(&worker);
        }
    }

    fn end(&mut self) {
        self.wait(LONGEST_STOP.max(LONGEST_WITHOUT_DAEMON));
        self.rest(2);
        for client in
            std::mem::take(&mut self.cast.steady).into_iter().chain(std::mem::take(&mut self.cast.mortal))
        {
            self.cast.end_client(client);
        }
        while !self.cast.leaving.is_empty() {
            self.wait(Duration::from_millis(10));
        }
        self.cast.end_daemon();
    }
}
