//! The page: rendered here in full, so that it can be read with scripts off, then kept fresh by its
//! scripts with pieces that are rendered here too. Numbers are formatted in one place, [`format`].
//!
//! ```text
//! Snapshot, LogPage → markup (page, tables), display lines (log) → browser
//! ```

pub mod format;
mod log;
mod tables;

use std::sync::Arc;

use axum::{
    extract::State,
    http::header,
    response::{Html, IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, html};

#[cfg(feature = "fuzzing")]
pub(crate) use self::log::rendered_lines;
pub(crate) use self::log::shown_log;
pub(crate) use self::tables::tables;
use crate::{assets, log::LogPage, server::Shared, snapshot::Snapshot};

/// Lines of the console log in the page as it is first sent.
const FIRST_LINES: usize = 300;
/// How often a page without scripts is loaded anew.
const RELOAD_S: u32 = 5;

/// `GET /`.
pub(crate) async fn index(State(shared): State<Arc<Shared>>) -> Response {
    let snapshot = shared.daemon.snapshot();
    let log = shared.daemon.log_since(None, FIRST_LINES);
    let page = Html(render(&snapshot, &log, shared.rules.page_token()).into_string());
    ([(header::CACHE_CONTROL, "no-store")], page).into_response()
}

/// `token` is what the page shows with every order.
pub(crate) fn render(snapshot: &Snapshot, log: &LogPage, token: &str) -> Markup {
    let title = format!("{} · shmrpc", snapshot.host);
    let body = html! {
        a.skip href="#services" { "Skip to the services" }
        header.top {
            h1 { (mark()) "shmrpc" span.host { (snapshot.host) } }
            p #connection .connection role="status" data-state="still" { span.dot {} span.word { "as loaded" } }
        }
        main {
            div #tables { (tables(snapshot, token)) }
            (log::section(snapshot, log))
        }
        div #notices .notices role="status" aria-live="polite" {}
        noscript { p.noscript { "Scripts are off: the page is loaded anew every few seconds." } }
    };
    let head = html! {
        noscript { meta http-equiv="refresh" content=(RELOAD_S); }
        script type="module" src=(assets::address("page.js")) {}
    };
    shell(&title, &head, &body)
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
    shell(title, &html! {}, &body)
}

fn shell(title: &str, head: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" data-version=(assets::hash()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" type="image/svg+xml" href=(assets::address("icon.svg"));
                link rel="stylesheet" href=(assets::address("style.css"));
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
