//! Event streams (`text/event-stream`): the snapshot once a second, the console log line by line, and
//! both together, ready for display, for the page itself.
//!
//! One stream a page, since browsers allow six connections to a host. Streams pull: a slow reader is
//! simply served later, with the newest state and whatever lines are still kept.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderName},
    response::sse::{Event, KeepAlive, Sse},
};
use futures_core::Stream;
use futures_util::stream;
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior},
};

use super::logs::{DEFAULT_LINES, Wanted};
use crate::{assets, daemon::Daemon, log::LogPage, page, plain_json, problem::Problem, server::Shared};

/// Between two deliveries of lines: those that arrive meanwhile travel together.
const GATHER: Duration = Duration::from_millis(80);
/// Lines in one event of the page's stream.
const LINES_AT_ONCE: usize = 500;
/// A comment goes out when nothing else does, so that a dead connection is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

type Events<S> = Sse<axum::response::sse::KeepAliveStream<S>>;

/// `snapshot` events, the first at once.
pub(super) async fn snapshots(
    State(shared): State<Arc<Shared>>,
) -> Events<impl Stream<Item = Result<Event, Infallible>>> {
    let source = (ticks(&shared), shared.is_closing.clone(), shared);
    let events = stream::unfold(source, async |(mut ticks, mut is_closing, shared)| {
        tokio::select! {
            _ = is_closing.wait_for(|&is_closing| is_closing) => return None,
            _ = ticks.tick() => {}
        }
        let event = json_event("snapshot", &*shared.daemon.snapshot());
        Some((Ok(event), (ticks, is_closing, shared)))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// `log` events, one a line, each with its cursor as id; `missed` says how many lines were lost in
/// between. Begins after `Last-Event-ID` or `?after=`, otherwise with the newest lines.
pub(super) async fn log_lines(
    State(shared): State<Arc<Shared>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Events<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let feed = LogFeed::new(&shared, wanted, &headers, DEFAULT_LINES)?;
    let source = (feed, Vec::new().into_iter(), shared.is_closing.clone());
    let events = stream::unfold(source, async |(mut feed, mut ready, mut is_closing)| {
        loop {
            if let Some(event) = ready.next() {
                return Some((Ok(event), (feed, ready, is_closing)));
            }
            let page = tokio::select! {
                _ = is_closing.wait_for(|&is_closing| is_closing) => return None,
                page = feed.next() => page,
            };
            let missed = (page.missed_lines > 0).then(|| json_event("missed", &page.missed_lines));
            let lines = page.lines.iter().map(|line| json_event("log", line).id(line.cursor.to_string()));
            ready = missed.into_iter().chain(lines).collect::<Vec<_>>().into_iter();
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// The page's stream: `version` first (another one than the page's own: it reloads), then `tables` with
/// markup once a second and `log` with lines ready for display as they come.
pub(crate) async fn live(
    State(shared): State<Arc<Shared>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Events<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let feed = LogFeed::new(&shared, wanted, &headers, LINES_AT_ONCE)?;
    let source = (false, feed, ticks(&shared), shared.is_closing.clone(), shared);
    let events = stream::unfold(source, async |(is_greeted, mut feed, mut ticks, mut is_closing, shared)| {
        if !is_greeted {
            let version = Event::default().event("version").data(assets::hash());
            return Some((Ok(version), (true, feed, ticks, is_closing, shared)));
        }
        let event = tokio::select! {
            _ = is_closing.wait_for(|&is_closing| is_closing) => return None,
            page = feed.next() => log_event(&shared, &page),
            _ = ticks.tick() => {
                let tables = page::tables(&shared.daemon.snapshot(), shared.rules.page_token()).into_string();
                Event::default().event("tables").data(tables.replace('\r', " "))
            }
        };
        Some((Ok(event), (true, feed, ticks, is_closing, shared)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn log_event(shared: &Shared, page: &LogPage) -> Event {
    let id = page.lines.last().map(|line| line.cursor.to_string());
    let event = json_event("log", &page::shown_log(&shared.daemon.snapshot(), page));
    match id {
        Some(id) => event.id(id),
        None => event,
    }
}

fn json_event(name: &str, value: &impl serde::Serialize) -> Event {
    // Plain data with string keys always has a JSON form.
    Event::default().event(name).data(plain_json::text(value).unwrap_or_default())
}

fn ticks(shared: &Shared) -> Interval {
    let mut ticks = tokio::time::interval(shared.options.refresh_interval.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The console log from a cursor on.
struct LogFeed {
    daemon: Arc<dyn Daemon>,
    changes: watch::Receiver<u64>,
    wanted: Wanted,
    cursor: Option<u64>,
    lines_at_once: usize,
    not_before: Instant,
}

impl LogFeed {
    fn new(
        shared: &Shared,
        wanted: Result<Query<Wanted>, QueryRejection>,
        headers: &HeaderMap,
        lines_at_once: usize,
    ) -> Result<Self, Problem> {
        let Query(wanted) = wanted.map_err(|error| Problem::bad_request("bad-request", error.body_text()))?;
        wanted.check(&*shared.daemon)?;
        let last_id = match headers.get(LAST_EVENT_ID) {
            None => None,
            Some(value) => Some(value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
                Problem::bad_request("bad-request", "Last-Event-ID is no cursor of this log")
            })?),
        };
        Ok(Self {
            daemon: Arc::clone(&shared.daemon),
            changes: shared.daemon.log_changes(),
            cursor: last_id.or(wanted.after),
            lines_at_once: wanted.limit.map_or(lines_at_once, |limit| limit.clamp(1, lines_at_once)),
            wanted,
            not_before: Instant::now(),
        })
    }

    /// The next lines, at least one; waits for them. May be dropped while it waits.
    async fn next(&mut self) -> LogPage {
        loop {
            tokio::time::sleep_until(self.not_before).await;
            let newest = *self.changes.borrow_and_update();
            let page = self.wanted.page(&*self.daemon, self.cursor, self.lines_at_once);
            match page.lines.last() {
                Some(last) => {
                    self.cursor = Some(last.cursor);
                    self.not_before = Instant::now() + GATHER;
                    return page;
                }
                // Nothing that is wanted up to there.
                None => self.cursor = self.cursor.max(Some(newest)),
            }
            if self.changes.changed().await.is_err() {
                // The log's owner is gone: there will be no more lines.
                std::future::pending::<()>().await;
            }
        }
    }
}
