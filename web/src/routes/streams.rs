//! Event streams (`text/event-stream`): the snapshot once a second, the console log line by line, and
//! both together, ready for display, for the pages themselves.
//!
//! One stream a page, since browsers allow six connections to a host. Streams pull: a slow reader is
//! simply served later, with the newest state and whatever lines are still kept.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Path, Query, State, rejection::QueryRejection},
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
use crate::{
    assets,
    daemon::Daemon,
    history::EventQuery,
    log::LogPage,
    page::{self, View},
    plain_json,
    problem::Problem,
    server::Shared,
};

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

/// The overview's stream: `version` first (another one than the page's own: it reloads), then `parts` with markup once a
/// second, as far as it has changed, and `log` with lines ready for display as they come.
pub(crate) async fn live_overview(
    State(shared): State<Arc<Shared>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Events<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    live(shared, View::Overview, wanted, &headers)
}

/// The same for the page of a service. That one is not there is what the parts say: a page that was open when it went is
/// to learn it, and to learn when it is there again.
pub(crate) async fn live_service(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Events<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    live(shared, View::Service(name), wanted, &headers)
}

/// The same for the page of events.
pub(crate) async fn live_events(
    State(shared): State<Arc<Shared>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Events<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    live(shared, View::Events, wanted, &headers)
}

fn live(
    shared: Arc<Shared>,
    view: View,
    wanted: Result<Query<Wanted>, QueryRejection>,
    headers: &HeaderMap,
) -> Result<Events<impl Stream<Item = Result<Event, Infallible>> + use<>>, Problem> {
    let mut feed = LogFeed::new(&shared, wanted, headers, LINES_AT_ONCE)?;
    match &view {
        View::Overview => {}
        View::Service(name) => feed.wanted.service = Some(name.clone()),
        View::Events => feed.keeps_events = true,
    }
    let watch = LiveWatch {
        ticks: ticks(&shared),
        is_closing: shared.is_closing.clone(),
        shared,
        view,
        feed,
        sent: None,
    };
    let events = stream::unfold(watch, async |mut watch| Some((Ok(watch.next().await?), watch)));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// One open page.
struct LiveWatch {
    shared: Arc<Shared>,
    view: View,
    feed: LogFeed,
    ticks: Interval,
    is_closing: watch::Receiver<bool>,
    /// The parts as the page has them; `None`: it has not even been greeted.
    sent: Option<[(&'static str, String); 2]>,
}

impl LiveWatch {
    async fn next(&mut self) -> Option<Event> {
        let Some(sent) = &mut self.sent else {
            self.sent = Some(Default::default());
            return Some(Event::default().event("version").data(assets::hash()));
        };
        let news = tokio::select! {
            _ = self.is_closing.wait_for(|&is_closing| is_closing) => return None,
            page = self.feed.next() => Some(page),
            _ = self.ticks.tick() => None,
        };
        if let Some(page) = news {
            return Some(log_event(&self.shared, &page));
        }
        let snapshot = self.shared.daemon.snapshot();
        let now = page::live(&self.shared, &self.view, &snapshot).await.into_pairs();
        let changed = now.iter().zip(&*sent).filter(|(now, sent)| now != sent);
        let changed: BTreeMap<_, _> = changed.map(|((name, markup), _)| (name, markup)).collect();
        let event = json_event("parts", &changed);
        *sent = now;
        Some(event)
    }
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
    /// Events, also those of daemons before this one, in place of what is printed.
    keeps_events: bool,
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
            keeps_events: false,
            not_before: Instant::now(),
        })
    }

    async fn page(&self) -> LogPage {
        if !self.keeps_events {
            return self.wanted.page(&*self.daemon, self.cursor, self.lines_at_once);
        }
        let (after, limit) = (self.cursor, self.lines_at_once);
        self.daemon.events(EventQuery { after, service: None, from_ms: 0, to_ms: u64::MAX, limit }).await
    }

    /// The next lines, at least one; waits for them. May be dropped while it waits.
    async fn next(&mut self) -> LogPage {
        loop {
            tokio::time::sleep_until(self.not_before).await;
            let newest = *self.changes.borrow_and_update();
            let page = self.page().await;
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
