//! The orchestrator: takes the rounds of all rows in turn, watches the machine around each, takes a round again that was
//! disturbed, and has the document written.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    args::Args,
    idle::{self, Rest},
    job::Figures,
    limit::canary,
    machine::{Usage, description, load_average, versions},
    memory::processors,
    peer,
    rows::{self, Row},
    spawn,
    statistics::{median, medians, together},
    table,
};

/// What others may use of one processor during a round.
const FOREIGN_PC: f64 = 10.0;
/// What they may use just before one begins; it waits for so long for that.
const QUIET_PC: f64 = 30.0;
const QUIET_WITHIN: Duration = Duration::from_secs(2);
/// How far the canary may be off the run's median.
const CANARY_OFF: f64 = 1.6;

/// One round of a row.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Round {
    pub figures: Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rest: Option<Rest>,
    pub canary_ns: f64,
    pub foreign_pc: f64,
    pub disturbed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Everything that a run found, by the rows' names.
#[derive(Debug, Default, Serialize)]
pub struct Results {
    pub conditions: Vec<(String, String)>,
    pub rows: BTreeMap<String, Vec<Round>>,
}

impl Results {
    /// The rounds that count: the undisturbed ones, or all if there is none.
    fn counting(&self, name: &str) -> Vec<&Round> {
        let rounds = self.rows.get(name).map_or(&[][..], Vec::as_slice);
        let good: Vec<_> = rounds.iter().filter(|round| round.error.is_none()).collect();
        let clean: Vec<_> = good.iter().copied().filter(|round| !round.disturbed).collect();
        if clean.is_empty() { good } else { clean }
    }

    /// Whether nothing but disturbed rounds stands behind a row.
    pub fn is_disturbed(&self, name: &str) -> bool {
        let rounds = self.counting(name);
        !rounds.is_empty() && rounds.iter().all(|round| round.disturbed)
    }

    /// The medians of a row; absent if it was not measured.
    pub fn figures(&self, name: &str) -> Option<Figures> {
        let rounds = self.counting(name);
        let figures: Vec<_> = rounds.iter().map(|round| &round.figures).collect();
        (!figures.is_empty()).then(|| medians(&figures))
    }

    /// The rounds of a row at rest.
    pub fn rests(&self, name: &str) -> Vec<&Rest> {
        self.counting(name).into_iter().filter_map(|round| round.rest.as_ref()).collect()
    }
}

/// Measures what the arguments ask for.
pub fn run(args: &Args) -> Result<(), String> {
    let rows: Vec<Row> = rows::all(args.quick).into_iter().filter(|row| args.wants(&row.name)).collect();
    if args.list {
        rows.iter().for_each(|row| println!("{}", row.name));
        return Ok(());
    }
    let folder = tempfile::Builder::new().prefix("bench-").tempdir().map_err(|e| e.to_string())?;
    let processors = processors();
    let mut canaries: Vec<f64> = (0..15).map(|_| canary::measure(&processors)).collect();
    let mut results = Results::default();
    let (began, load_before) = (Instant::now(), load_average());
    let stopped = stop_on_signals();
    'rounds: for round in 1..=args.rounds {
        for (index, row) in rows.iter().enumerate() {
            if stopped.load(Ordering::Relaxed) {
                eprintln!("stopped; what was measured until now is written");
                break 'rounds;
            }
            eprintln!("round {round} of {}, row {} of {}: {}", args.rounds, index + 1, rows.len(), row.name);
            // Short: paths of sockets have little room. iceoryx2 takes the first part for a prefix.
            let folder = folder.path().join(format!("{}-{round}-{index}", std::process::id()));
            let taken = take(row, &folder, args, &processors, &mut canaries);
            if let Some(error) = &taken.error {
                eprintln!("  {error}");
            }
            results.rows.entry(row.name.clone()).or_default().push(taken);
        }
    }
    results.conditions = conditions(args, &results, &canaries, began.elapsed(), &load_before);
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&results).map_err(|e| e.to_string())?;
        fs::write(path, json).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let document = table::document(&results);
    match &args.markdown {
        Some(path) => fs::write(path, document).map_err(|e| format!("{}: {e}", path.display()))?,
        None => print!("{document}"),
    }
    let failed = results.rows.values().flatten().filter(|round| round.error.is_some()).count();
    if failed > 0 { Err(format!("{failed} rounds failed")) } else { Ok(()) }
}

/// Set when the user wants no more: the row that is being measured ends first, so that nothing is left behind.
fn stop_on_signals() -> Arc<AtomicBool> {
    let stopped = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stopped);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate()).expect("signals can be listened for");
            let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be listened for");
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        told.store(true, Ordering::Relaxed);
    });
    stopped
}

/// One round of one row, taken again while it is disturbed.
fn take(
    row: &Row,
    folder: &std::path::Path,
    args: &Args,
    processors: &[usize],
    canaries: &mut Vec<f64>,
) -> Round {
    let mut round = Round::default();
    for attempt in 0..=args.retries {
        if args.retries > 0 {
            wait_for_quiet();
        }
        let folder = folder.with_extension(attempt.to_string());
        let near_ns = median(canaries.iter().copied()).unwrap_or(f64::INFINITY);
        let before = canary::measure(processors);
        let (usage, began) = (Usage::now(), Instant::now());
        round = measure(row, &folder, args.quick);
        round.foreign_pc = Usage::now().foreign_pc(usage, began.elapsed());
        let after = canary::measure(processors);
        canaries.extend([before, after]);
        round.canary_ns = before.max(after);
        round.disturbed = round.canary_ns > CANARY_OFF * near_ns || round.foreign_pc >= FOREIGN_PC;
        if !round.disturbed {
            break;
        }
    }
    round
}

fn measure(row: &Row, folder: &std::path::Path, quick: bool) -> Round {
    let job = row.job(folder, quick);
    if let Err(error) = fs::create_dir(folder) {
        return Round { error: Some(format!("{}: {error}", folder.display())), ..Round::default() };
    }
    let mut round = Round::default();
    if row.is_idle() {
        match idle::run(job.clone()) {
            Ok(rest) => round.rest = Some(rest),
            Err(error) => round.error = Some(error),
        }
    } else {
        match spawn::run(job.clone()) {
            Ok(clients) => round.figures = together(&clients),
            Err(error) => round.error = Some(error),
        }
    }
    peer::sweep(&job);
    let _ = fs::remove_dir_all(folder);
    round
}

/// Waits, for a while, until others leave the machine alone.
fn wait_for_quiet() {
    let until = Instant::now() + QUIET_WITHIN;
    while Instant::now() < until {
        let (usage, began) = (Usage::now(), Instant::now());
        thread::sleep(Duration::from_millis(60));
        if Usage::now().foreign_pc(usage, began.elapsed()) < QUIET_PC {
            return;
        }
    }
}

fn conditions(
    args: &Args,
    results: &Results,
    canaries: &[f64],
    took: Duration,
    load_before: &str,
) -> Vec<(String, String)> {
    let rounds = || results.rows.values().flatten();
    let foreign = median(rounds().map(|round| round.foreign_pc)).unwrap_or_default();
    let worst = rounds().map(|round| round.foreign_pc).fold(0.0, f64::max);
    let (disturbed, all) = (rounds().filter(|round| round.disturbed).count(), rounds().count());
    let canary = median(canaries.iter().copied()).unwrap_or_default();
    let highest = canaries.iter().copied().fold(0.0, f64::max);
    let kind = if args.quick { "quick: shows that everything runs, not how fast" } else { "full" };
    [
        ("Run", format!("{kind}; {} rounds, {:.0} s", args.rounds, took.as_secs_f64())),
        ("Machine", description()),
        ("Versions", versions()),
        ("Load average", format!("{load_before} before, {} after", load_average())),
        ("Others' processor time", format!("median {foreign:.1} %, at most {worst:.1} % of one processor")),
        ("Canary", format!("cache line {canary:.0} ns there and back, at most {highest:.0} ns")),
        ("Disturbed rounds", format!("{disturbed} of {all}, after {} retries each", args.retries)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}
