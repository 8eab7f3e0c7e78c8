//! The pages: rendered here in full, so that they can be read with scripts off, then kept fresh by their
//! scripts with pieces that are rendered here too. Numbers are formatted in one place, [`format`].
//!
//! ```text
//! Snapshot, Trends, HistoryPage, LogPage → markup (overview, service, charts), display lines (log) → browser
//! ```

mod charts;
pub mod format;
mod log;
mod overview;
mod parts;
mod service;
mod trends;

use std::sync::Arc;

use axum::{
    extract::{Path, Query, State},
    http::header,
    response::{Html, IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;

#[cfg(feature = "fuzzing")]
pub(crate) use self::log::rendered_lines;
pub(crate) use self::{
    log::{as_text, shown_log},
    parts::{method_address, service_address},
    trends::{TrendWatch, Trends},
};
use crate::{
    assets, history::EventQuery, log::LogPage, problem::Problem, server::Shared, snapshot::Snapshot,
};

/// Lines of the console log in a page as it is first sent.
const FIRST_LINES: usize = 300;
/// Events in theirs.
const FIRST_EVENTS: usize = 1000;
/// Lines among which a service's own are looked for.
const SEARCHED_LINES: usize = 10_000;
/// How often a page without scripts is loaded anew.
const RELOAD_S: u32 = 5;

/// Which page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Overview,
    /// A service, by its name.
    Service(String),
    Events,
}

impl View {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Service(_) => "service",
            Self::Events => "events",
        }
    }
}

/// `GET /`.
pub(crate) async fn overview(State(shared): State<Arc<Shared>>) -> Response {
    let snapshot = shared.daemon.snapshot();
    let trends = shared.trends.now(&*shared.daemon, &snapshot).await;
    let log = shared.daemon.log_since(None, FIRST_LINES);
    send(render(&snapshot, &trends, &log, shared.rules.page_token()))
}

/// What a service's page is asked for with.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    range: Option<String>,
}

/// `GET /services/{name}`.
pub(crate) async fn service(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let snapshot = shared.daemon.snapshot();
    let service = snapshot.service(&name).ok_or_else(|| Problem::no_such_service(&name))?;
    let view = View::Service(name.clone());
    let live = live(&shared, &view, &snapshot).await;
    let range = charts::range(asked.range.as_deref());
    let charts = charts::section(&*shared.daemon, &name, range, snapshot.time_ms).await;
    let mut log = shared.daemon.log_since(None, SEARCHED_LINES);
    log.lines.retain(|line| line.service == name);
    log.cut(None, FIRST_LINES);
    let main = html! {
        main #content {
            div #head data-part="head" { (live.head) }
            (charts)
            div #tables data-part="tables" { (live.tables) }
            (service::try_it(service))
            (log::section(&snapshot, &view, &log))
            (service::configuration(service))
        }
    };
    Ok(send(frame(&snapshot, &view, &format!("{name} · {}", snapshot.host), &main)))
}

/// `GET /events`.
pub(crate) async fn events(State(shared): State<Arc<Shared>>) -> Response {
    let snapshot = shared.daemon.snapshot();
    let all = EventQuery { after: None, service: None, from_ms: 0, to_ms: u64::MAX, limit: FIRST_EVENTS };
    let events = shared.daemon.events(all).await;
    let main = html! { main #content { h1.visually-hidden { "Events" } (log::section(&snapshot, &View::Events, &events)) } };
    send(frame(&snapshot, &View::Events, &format!("Events · {}", snapshot.host), &main))
}

/// `GET /api`: the API's description, to be read and tried.
pub(crate) async fn api(State(shared): State<Arc<Shared>>) -> Response {
    let snapshot = shared.daemon.snapshot();
    let body = html! {
        main #content .api {
            h1.visually-hidden { "API" }
            noscript { p.empty { "Without scripts, read " a href="/api/v1/openapi.json" { "the OpenAPI document" } " itself." } }
            div #swagger data-document="/api/v1/openapi.json" data-token=(shared.rules.page_token()) {}
        }
    };
    let head = html! {
        link rel="stylesheet" href=(assets::address("swagger-ui.css"));
        script src=(assets::address("swagger-ui-bundle.js")) defer {}
        script type="module" src=(assets::address("api.js")) {}
    };
    let body = html! { (top(&snapshot, "api")) (body) };
    send(shell(&format!("API · {}", snapshot.host), "api", &head, &body))
}

/// The parts of a page that change all the time.
pub(crate) struct LiveParts {
    head: Markup,
    tables: Markup,
}

impl LiveParts {
    /// Each with the name of its place.
    pub(crate) fn into_pairs(self) -> [(&'static str, String); 2] {
        [("head", self.head.into_string()), ("tables", self.tables.into_string())]
    }
}

/// What stands in those parts now.
pub(crate) async fn live(shared: &Shared, view: &View, snapshot: &Snapshot) -> LiveParts {
    let token = shared.rules.page_token();
    match view {
        View::Overview => {
            let trends = shared.trends.now(&*shared.daemon, snapshot).await;
            LiveParts {
                head: overview::summary(snapshot, &trends),
                tables: overview::services(snapshot, &trends, token),
            }
        }
        View::Service(name) => {
            let trends = shared.trends.now(&*shared.daemon, snapshot).await;
            let trend = trends.get(name).cloned().unwrap_or_default();
            match snapshot.service(name) {
                Some(service) => LiveParts {
                    head: service::head(service, &trend, token),
                    tables: service::tables(service),
                },
                None => LiveParts { head: gone(name), tables: Markup::default() },
            }
        }
        View::Events => LiveParts { head: Markup::default(), tables: Markup::default() },
    }
}

/// In place of a service that is no longer configured; the style sheet hides what needs one.
fn gone(name: &str) -> Markup {
    html! {
        div.gone.empty data-key="gone" data-service=(name) data-status="gone" {
            h1 { (name) }
            p { "This service is no longer in the daemon's configuration. Should it come back, so will this page." }
            p { a.button href="/" { "To the overview" } }
        }
    }
}

/// The overview. `token` is what the page shows with every order.
pub(crate) fn render(snapshot: &Snapshot, trends: &Trends, log: &LogPage, token: &str) -> Markup {
    let main = html! {
        main #content {
            h1.visually-hidden { "Overview of " (snapshot.host) }
            div #head data-part="head" { (overview::summary(snapshot, trends)) }
            div.bar.finder hidden {
                label.visually-hidden for="find" { "Find services" }
                input #find type="search" placeholder="Find services   /" autocomplete="off" spellcheck="false";
                label.visually-hidden for="show" { "Show" }
                select #show {
                    option value="" { "All states" }
                    option value="running" { "Running" }
                    option value="failing" { "Failing" }
                    option value="stopped" { "Stopped" }
                }
            }
            div #tables data-part="tables" { (overview::services(snapshot, trends, token)) }
            (log::section(snapshot, &View::Overview, log))
        }
    };
    frame(snapshot, &View::Overview, &snapshot.host, &main)
}

/// The page of one service without its surroundings, for the fuzzer.
#[cfg(feature = "fuzzing")]
pub(crate) fn render_service(service: &crate::snapshot::ServiceSnapshot, token: &str) -> Markup {
    html! {
        (service::head(service, &trends::Trend::default(), token))
        (service::tables(service)) (service::try_it(service)) (service::configuration(service))
    }
}

/// A small page that says what went wrong.
pub(crate) fn problem(status: u16, title: &str, detail: &str) -> Markup {
    let body = html! {
        main.problem {
            p.status { (status) }
            h1 { (title) }
            p { (detail) }
            p { a href="/" { "To the dashboard" } }
        }
    };
    shell(title, "problem", &html! {}, &body)
}

fn send(page: Markup) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Html(page.into_string())).into_response()
}

/// A live page: what all of them have around `main`.
fn frame(snapshot: &Snapshot, view: &View, title: &str, main: &Markup) -> Markup {
    let body = html! {
        (top(snapshot, view.name()))
        (main)
        footer { "shmrpc-service " (snapshot.version) " · pid " (snapshot.pid) " · " (snapshot.host)
            noscript { " · Scripts are off: the page is loaded anew every few seconds." } }
        div #notices .notices role="status" aria-live="polite" {}
        dialog #question aria-labelledby="question-text" {
            p #question-text {}
            form method="dialog" { button #question-no value="no" { "Cancel" } button.danger #question-yes value="yes" { "Yes" } }
        }
    };
    let head = html! {
        noscript { meta http-equiv="refresh" content=(RELOAD_S); }
        script type="module" src=(assets::address("page.js")) {}
    };
    shell(title, view.name(), &head, &body)
}

fn top(snapshot: &Snapshot, view: &str) -> Markup {
    let link = |address: &str, name: &str, word: &str| {
        html! { a href=(address) aria-current=[(view == name).then_some("page")] { (word) } }
    };
    html! {
        a.skip href="#content" { "Skip to the content" }
        header.top {
            a.brand href="/" { (mark()) "shmrpc" span.host { (snapshot.host) } }
            nav aria-label="Pages" {
                (link("/", "overview", "Overview"))
                (link("/events", "events", "Events"))
                (link("/api", "api", "API"))
            }
            @if view != "api" {
                p #connection .connection role="status" data-state="still" { span.dot {} span.word { "as loaded" } }
            }
        }
    }
}

fn shell(title: &str, view: &str, head: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" data-version=(assets::hash()) data-view=(view) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · shmrpc" }
                link rel="icon" type="image/svg+xml" href=(assets::address("icon.svg"));
                // The charts' library adds its rules to the sheet of that name; a new one of its own would be refused.
                link id="plotly.js-style-global" rel="stylesheet" href=(assets::address("style.css"));
                (head)
            }
            body { (body) }
        }
    }
}

/// The mark beside the name: two processes and the ring between them.
fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 32 32" width="26" height="26" aria-hidden="true" {
            circle.ring cx="16" cy="16" r="9" fill="none" stroke-width="3.5" stroke-dasharray="10.5 3.64" {}
            circle.end cx="5" cy="16" r="4" {}
            circle.end cx="27" cy="16" r="4" {}
        }
    }
}
