//! The history: what was measured once a second, and what the daemon has done, kept on disk. [`History`] is how the
//! loop and the dashboard reach it; a thread of its own does all the work, so that a slow disk holds nobody up.
//!
//! ```text
//! loop → samples, events → thread → recorder (a minute in memory, and in a tail) → store (redb) → pages for REST
//! ```
//!
//! A process that is killed loses the last two seconds; a loss of power, the minute that was under way.

mod block;
mod point;
mod recorder;
mod store;
mod tail;
#[cfg(test)]
mod tests;
mod tier;

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use shmrpc_web::{EventQuery, HistoryPage, HistoryQuery, LogLine, LogPage};
use tokio::sync::oneshot;

pub(crate) use self::{point::Point, store::Subject};
use self::{
    recorder::Recorder,
    store::{Store, Unusable},
    tail::Tail,
};
use crate::config::HistorySettings;

/// Events wait so long for others before they are written.
const EVENTS_TOGETHER: Duration = Duration::from_secs(2);
/// What the thread has yet to do; what comes beyond that is lost, and said.
const QUEUE: usize = 1024;
/// A history that cannot be on disk keeps so much.
const MEMORY_BYTES: u64 = 8 << 20;

enum Message {
    /// All samples of a moment.
    Samples(u64, Vec<(Subject, Point)>),
    Event(LogLine),
    History(HistoryQuery, oneshot::Sender<HistoryPage>),
    Events(EventQuery, oneshot::Sender<LogPage>),
    Close,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct History {
    messages: SyncSender<Message>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl History {
    /// Begins to keep history.
    ///
    /// # Errors
    /// When no thread can be started. A folder that cannot be used is no error: the history is kept in memory then,
    /// and the log says so.
    pub(crate) fn start(settings: HistorySettings) -> io::Result<Self> {
        let (messages, inbox) = sync_channel(QUEUE);
        let keep = move || {
            if let Some(recorder) = open(&settings) {
                Keeper { recorder, is_on_disk: settings.dir.is_some() }.run(&inbox);
            }
        };
        let thread = thread::Builder::new().name("shmrpc-history".into()).spawn(keep)?;
        Ok(Self { messages, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Takes what has just been measured. Does not block.
    pub(crate) fn record(&self, points: Vec<(Subject, Point)>) {
        if self.messages.try_send(Message::Samples(now_ms(), points)).is_err() {
            tracing::debug!("a sample is lost: the history's disk is slow");
        }
    }

    /// Takes an event. Does not block.
    pub(crate) fn note(&self, event: LogLine) {
        if self.messages.try_send(Message::Event(event)).is_err() {
            tracing::warn!("an event is not kept: the history's disk is slow");
        }
    }

    /// Time series; all holes if nobody can tell.
    pub(crate) async fn history(&self, query: HistoryQuery) -> HistoryPage {
        let (answer, answered) = oneshot::channel();
        let nothing = query.grid(1000);
        if self.messages.try_send(Message::History(query, answer)).is_err() {
            return nothing;
        }
        answered.await.unwrap_or(nothing)
    }

    /// Events; `None` if nobody can tell.
    pub(crate) async fn events(&self, query: EventQuery) -> Option<LogPage> {
        let (answer, answered) = oneshot::channel();
        self.messages.try_send(Message::Events(query, answer)).ok()?;
        answered.await.ok()
    }

    /// Writes what is there and lets go of the file. Blocks until that is done.
    pub(crate) fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _thread_is_gone = self.messages.send(Message::Close);
            let _has_panicked = thread.join();
        }
    }
}

/// A recorder with the store that the settings ask for, or one in memory.
fn open(settings: &HistorySettings) -> Option<Recorder> {
    if let Some(dir) = &settings.dir {
        match on_disk(dir, settings.max_bytes) {
            Ok(recorder) => return Some(recorder),
            Err(error) => {
                tracing::warn!(dir = %dir.display(), "the history is kept in memory only: {error}");
            }
        }
    }
    in_memory().map(Recorder::new)
}

fn on_disk(dir: &Path, max_bytes: u64) -> Result<Recorder, Unusable> {
    let (store, damage) = Store::open(dir, max_bytes)?;
    if let Some(reason) = damage {
        let file = dir.join(store::DAMAGED);
        tracing::warn!(file = %file.display(), "the history is begun anew, the old file is set aside: {reason}");
    }
    let mut recorder = Recorder::new(store);
    let tail = Tail::open(dir).map_err(redb::Error::Io);
    if let Err(error) = tail.and_then(|(tail, stretches)| recorder.resume(tail, stretches)) {
        tracing::warn!("what a crash has left of the history is lost: {error}");
    }
    Ok(recorder)
}

fn in_memory() -> Option<Store> {
    Store::in_memory(MEMORY_BYTES).map_err(|error| tracing::error!("no history: {error}")).ok()
}

/// The thread's own.
struct Keeper {
    recorder: Recorder,
    is_on_disk: bool,
}

impl Keeper {
    fn run(mut self, inbox: &Receiver<Message>) {
        let mut write_at: Option<Instant> = None;
        loop {
            let received = match write_at {
                Some(at) => inbox.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => inbox.recv().map_err(RecvTimeoutError::from),
            };
            let result = match received {
                Ok(Message::Samples(time_ms, points)) => self.recorder.record(time_ms, &points),
                Ok(Message::Event(event)) => {
                    self.recorder.note(event);
                    write_at = write_at.or_else(|| Some(Instant::now() + EVENTS_TOGETHER));
                    Ok(())
                }
                Ok(Message::History(query, answer)) => {
                    let page = self.recorder.history(&query, now_ms());
                    page.map(|page| drop(answer.send(page)))
                }
                Ok(Message::Events(query, answer)) => {
                    let page = self.recorder.events(&query);
                    page.map(|page| drop(answer.send(page)))
                }
                Err(RecvTimeoutError::Timeout) => {
                    write_at = None;
                    if self.recorder.has_events() { self.recorder.write_events() } else { Ok(()) }
                }
                Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => {
                    if let Err(error) = self.recorder.write() {
                        tracing::warn!("the last minute of the history is lost: {error}");
                    }
                    return;
                }
            };
            if let Err(error) = result {
                self.leave_disk(&error);
            }
        }
    }

    /// A disk that has failed once is not trusted again before the next start.
    fn leave_disk(&mut self, error: &redb::Error) {
        if !self.is_on_disk {
            tracing::warn!("the history lost something: {error}");
            return;
        }
        tracing::warn!("the history goes on in memory only: {error}");
        if let Some(store) = in_memory() {
            self.recorder.replace_store(store);
            self.is_on_disk = false;
        }
    }
}

fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
