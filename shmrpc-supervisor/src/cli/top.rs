//! `shmrpc top`: services as they work, on a terminal until somebody leaves, elsewhere one frame.
//!
//! ```text
//! control socket → snapshots (a thread) → window → frame → state (keys) → view (ratatui)
//! ```
//!
//! A daemon that goes away is said so, and looked for again; what was seen last stays on the screen.

mod frame;
mod state;
mod view;

use std::{
    io::{IsTerminal, Write, stdin, stdout},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event},
};
use shmrpc_web::Snapshot;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::{
    frame::Window,
    state::{Next, State},
};
use super::{
    args::TopArgs,
    control::Control,
    failure::{Exit, Failure},
    table,
};

/// The daemon takes its samples once a second: between two frames that is the least that tells anything.
const SAMPLE: Duration = Duration::from_secs(1);
/// How soon news and signals are seen; keys are seen at once.
const TICK: Duration = Duration::from_millis(100);
/// A daemon that does not answer for so long is said to be stuck.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn run(args: &TopArgs, runtime_dir: Option<&Path>, out: &mut dyn Write) -> Result<(), Failure> {
    let control = Control::new(runtime_dir).with_patience(PATIENCE);
    if args.once || args.json || !stdin().is_terminal() || !stdout().is_terminal() {
        return once(args, &control, out);
    }
    live(args, control)
}

/// One frame, over the time between two looks.
fn once(args: &TopArgs, control: &Control, out: &mut dyn Write) -> Result<(), Failure> {
    let mut window = Window::default();
    window.push(control.snapshot()?);
    thread::sleep(args.interval.max(SAMPLE));
    window.push(control.snapshot()?);
    let frame = window.frame().expect("there are two snapshots");
    if args.json {
        let text = serde_json::to_string_pretty(&frame).expect("a frame is JSON");
        return writeln!(out, "{text}").map_err(Failure::output);
    }
    let rows: Vec<_> = frame.services.iter().map(view::cells).collect();
    table::write(out, &view::HEADING, &rows).map_err(Failure::output)
}

fn live(args: &TopArgs, control: Control) -> Result<(), Failure> {
    let told_to_end = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&told_to_end)).map_err(no_terminal)?;
    }
    let news = watch(control, args.interval);
    // From here on a panic gives the terminal back too.
    let mut terminal = ratatui::try_init().map_err(no_terminal)?;
    let shown = show(&mut terminal, &news, &told_to_end);
    ratatui::restore();
    shown.map_err(no_terminal)
}

fn no_terminal(error: std::io::Error) -> Failure {
    Failure::new(Exit::Other, format!("the terminal cannot be used: {error}"))
}

/// Looks again and again, on a thread of its own: a stuck daemon does not make the keys stick.
fn watch(control: Control, interval: Duration) -> Receiver<Result<Snapshot, Failure>> {
    let (sender, news) = mpsc::sync_channel(1);
    thread::spawn(move || {
        while sender.send(control.snapshot()).is_ok() {
            thread::sleep(interval);
        }
    });
    news
}

fn show(
    terminal: &mut DefaultTerminal,
    news: &Receiver<Result<Snapshot, Failure>>,
    told_to_end: &AtomicBool,
) -> std::io::Result<()> {
    let mut state = State::default();
    while !told_to_end.load(Ordering::Relaxed) {
        while let Ok(news) = news.try_recv() {
            state.hear(news);
        }
        terminal.draw(|frame| view::draw(frame, &mut state))?;
        if event::poll(TICK)?
            && let Event::Key(key) = event::read()?
            && state.press(key) == Next::Leave
        {
            break;
        }
    }
    Ok(())
}
