//! The console log, page by page; [`super::streams`] has it live.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    extract::{Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use shmrpc_core::server::Level;

use super::services::NO_STORE;
use crate::{
    daemon::Daemon,
    log::{LogLine, LogPage, LogStream},
    page,
    plain_json::PlainJson,
    problem::Problem,
    server::Shared,
};

/// Lines sent when the request does not say how many.
pub(super) const DEFAULT_LINES: usize = 1000;
/// Lines sent at most.
pub(super) const MAX_LINES: usize = 10_000;

/// Which lines.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Those after this cursor; without it the newest.
    pub(super) after: Option<u64>,
    /// At most so many.
    pub(super) limit: Option<usize>,
    /// Those of that service; empty: the daemon's own.
    pub(super) service: Option<String>,
    /// Those that came from there; `daemon`: events.
    pub(super) stream: Option<LogStream>,
    /// Those of a service's own log that matter as much, or more.
    pub(super) level: Option<String>,
    /// Those of that process.
    pub(super) pid: Option<u32>,
    /// Those that contain that.
    pub(super) text: Option<String>,
    /// Those that came at that time or later, in ms since 1970, or before now if it is negative.
    pub(super) from: Option<i64>,
    /// Those that came at that time or before.
    pub(super) to: Option<i64>,
    /// How they are sent.
    #[serde(default)]
    format: Format,
}

/// How lines are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// As a document of the API.
    #[default]
    Json,
    /// As a file of text, made harmless.
    Text,
}

impl Wanted {
    /// A service that is not there is a mistake, not a silence; so is a level.
    pub(super) fn check(&self, daemon: &dyn Daemon) -> Result<(), Problem> {
        if let Some(level) = self.level.as_ref().filter(|level| Level::from_name(level).is_none()) {
            let detail = format!("no level {level:?}; accepted: debug, info, warning, error, critical");
            return Err(Problem::bad_request("bad-request", detail));
        }
        let unknown = |name: &&String| !name.is_empty() && daemon.snapshot().service(name).is_none();
        self.service.as_ref().filter(unknown).map_or(Ok(()), |name| Err(Problem::no_such_service(name)))
    }

    fn least_level(&self) -> Option<Level> {
        self.level.as_deref().and_then(Level::from_name)
    }

    /// Whether lines are chosen by more than their place.
    fn chooses(&self) -> bool {
        self.service.is_some()
            || self.stream.is_some()
            || self.level.is_some()
            || self.pid.is_some()
            || self.text.is_some()
            || self.from.is_some()
            || self.to.is_some()
    }

    /// Whether that line is one of them.
    pub(super) fn keeps(&self, line: &LogLine) -> bool {
        self.service.as_ref().is_none_or(|service| line.service == *service)
            && self.stream.is_none_or(|stream| line.stream == stream)
            && self.least_level().is_none_or(|least| line.level() >= Some(least))
            && self.pid.is_none_or(|pid| line.pid == Some(pid))
            && self.text.as_ref().is_none_or(|text| line.text.contains(text.as_str()))
    }

    /// Lines from a cursor on, the newest without one, at most so many.
    pub(super) fn page(&self, daemon: &dyn Daemon, after: Option<u64>, limit: usize) -> LogPage {
        if !self.chooses() {
            return daemon.log_since(after, limit);
        }
        // All that are kept: there may be few among many.
        let mut page = daemon.log_since(after, usize::MAX);
        let now_ms = now_ms();
        let from_ms = self.from.map_or(0, |from| absolute(from, now_ms));
        let to_ms = self.to.map_or(u64::MAX, |to| absolute(to, now_ms));
        page.lines.retain(|line| (from_ms..=to_ms).contains(&line.time_ms) && self.keeps(line));
        page.cut(after, limit);
        page
    }
}

/// A time of a request: since 1970, or before now if it is negative.
pub(super) fn absolute(time_ms: i64, now_ms: u64) -> u64 {
    u64::try_from(time_ms).unwrap_or_else(|_| now_ms.saturating_sub(time_ms.unsigned_abs()))
}

pub(super) fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// Lines with their cursors; the last one's is the next request's `after`.
pub(super) async fn lines(
    State(shared): State<Arc<Shared>>,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(wanted) = wanted.map_err(|error| Problem::bad_request("bad-request", error.body_text()))?;
    wanted.check(&*shared.daemon)?;
    let limit = wanted.limit.unwrap_or(DEFAULT_LINES).min(MAX_LINES);
    let page = wanted.page(&*shared.daemon, wanted.after, limit);
    if wanted.format == Format::Text {
        let headers = [
            (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
            (header::CONTENT_DISPOSITION, "attachment; filename=\"shmrpc.log\""),
        ];
        return Ok((NO_STORE, headers, page::as_text(&page)).into_response());
    }
    Ok((NO_STORE, PlainJson(page)).into_response())
}
