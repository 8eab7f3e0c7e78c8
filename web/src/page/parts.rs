//! What several pages show: cells of tables, words of states, small drawings, buttons that give orders.

use maud::{Markup, Render, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::format::{self, NOTHING};
use crate::{
    admission::PAGE_TOKEN,
    daemon::{Action, ScaleTo},
    snapshot::{ServiceSnapshot, ServiceStatus, Usage, WorkerState},
};

/// A column's heading: the word, the name by which scripts sort (empty: not sorted), a hint for those who point at it.
pub(super) struct Heading {
    pub(super) word: &'static str,
    pub(super) sort: &'static str,
    pub(super) hint: &'static str,
    pub(super) is_number: bool,
}

impl Heading {
    pub(super) const fn text(word: &'static str, sort: &'static str) -> Self {
        Self { word, sort, hint: "", is_number: false }
    }

    pub(super) const fn number(word: &'static str, sort: &'static str, hint: &'static str) -> Self {
        Self { word, sort, hint, is_number: true }
    }
}

impl Render for Heading {
    fn render(&self) -> Markup {
        html! {
            th scope="col" role="columnheader" class=[self.is_number.then_some("number")]
                data-sort=[(!self.sort.is_empty()).then_some(self.sort)] {
                @if self.hint.is_empty() { (self.word) } @else { abbr title=(self.hint) { (self.word) } }
            }
        }
    }
}

/// A number with the heading that stands beside it where there are no columns, and the value to sort by.
pub(super) fn number(label: &str, value: Option<f64>, text: impl Render) -> Markup {
    html! { td.number role="cell" data-label=(label) data-value=[value] { (text) } }
}

/// The same; a value above zero is marked as bad.
pub(super) fn errors(label: &str, value: Option<f64>, text: impl Render) -> Markup {
    let is_bad = value.is_some_and(|value| value > 0.0);
    html! {
        td.number role="cell" data-label=(label) data-value=[value] data-bad=[is_bad.then_some("true")] { (text) }
    }
}

/// A text, or the sign for nothing.
pub(super) fn or_nothing(text: Option<String>) -> String {
    text.unwrap_or_else(|| NOTHING.into())
}

/// A service's state: a dot and a word.
pub(super) fn status(service: &ServiceSnapshot) -> Markup {
    html! {
        span.status data-status=(service.status) { span.dot {} (service.status) }
        @if service.rolling { " " span.status data-status="starting" { span.dot {} "rolling" } }
        @if let Some(detail) = &service.status_detail { span.detail { (detail) } }
    }
}

/// Proportional where known, resident otherwise.
pub(super) fn memory_bytes(usage: &Usage) -> u64 {
    usage.pss_bytes.unwrap_or(usage.rss_bytes)
}

/// The workers of a pool as bars as high as their CPU, with empty places up to its largest size.
pub(super) fn bars(service: &ServiceSnapshot) -> Markup {
    const WIDTH: u32 = 5;
    const STEP: u32 = 7;
    const HEIGHT: u32 = 18;
    /// More would be a wall.
    const MAX_BARS: usize = 24;
    let workers = &service.workers[..service.workers.len().min(MAX_BARS)];
    let places = (service.max_workers as usize).clamp(workers.len(), MAX_BARS).max(1) as u32;
    let spoken =
        workers.iter().map(|worker| format::share(worker.usage.cpu_share)).collect::<Vec<_>>().join(", ");
    let label = match workers.len() {
        0 => "no worker".to_owned(),
        _ => format!("CPU of each worker: {spoken}"),
    };
    html! {
        svg.bars role="img" aria-label=(label) viewBox=(format!("0 0 {} {HEIGHT}", places * STEP))
            width=(places * STEP) height=(HEIGHT) {
            @for place in 0..places {
                rect.place x=(place * STEP) y="0" width=(WIDTH) height=(HEIGHT) rx="1.5" {}
            }
            @for (place, worker) in (0_u32..).zip(workers) {
                @let filled = (worker.usage.cpu_share.clamp(0.0, 1.0) * f64::from(HEIGHT)).max(2.0);
                rect .(worker_class(worker.state)) x=(place * STEP) y=(format!("{:.1}", f64::from(HEIGHT) - filled))
                    width=(WIDTH) height=(format!("{filled:.1}")) rx="1.5" {}
            }
        }
    }
}

fn worker_class(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Running => "bar",
        WorkerState::Starting | WorkerState::Draining => "bar passing",
    }
}

/// The last minutes of a quantity as a line; holes stay holes.
pub(super) fn sparkline(values: &[Option<f32>], label: &str) -> Markup {
    const WIDTH: f32 = 84.0;
    const HEIGHT: f32 = 22.0;
    let top = values.iter().flatten().copied().filter(|v| v.is_finite()).fold(0.0_f32, f32::max);
    let mut path = String::new();
    let mut is_drawing = false;
    for (i, value) in values.iter().enumerate() {
        let Some(value) = value.filter(|value| value.is_finite()) else {
            is_drawing = false;
            continue;
        };
        let x = i as f32 * WIDTH / (values.len().max(2) - 1) as f32;
        let share = if top > 0.0 { (value / top).clamp(0.0, 1.0) } else { 0.0 };
        let y = HEIGHT - 1.5 - share * (HEIGHT - 3.0);
        path += &format!("{}{x:.1} {y:.1}", if is_drawing { "L" } else { "M" });
        is_drawing = true;
    }
    html! {
        svg.spark role="img" aria-label=(label) viewBox=(format!("0 0 {WIDTH} {HEIGHT}"))
            width=(WIDTH) height=(HEIGHT) { path d=(path) {} }
    }
}

/// Something that can be ordered of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Do(Action),
    Scale(ScaleTo),
}

impl Order {
    /// The last part of its address, and what names it among a row's buttons.
    fn name(self) -> &'static str {
        match self {
            Self::Do(action) => action.name(),
            Self::Scale(_) => "scale",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Do(Action::Start) => "Start",
            Self::Do(Action::Stop) => "Stop",
            Self::Do(Action::Restart) => "Restart",
            Self::Do(Action::RestartAtOnce) => "Restart at once",
            Self::Scale(ScaleTo::More(_)) => "Add a worker",
            Self::Scale(ScaleTo::Fewer(_)) => "Remove a worker",
            Self::Scale(ScaleTo::Workers(_)) => "Fix the size",
            Self::Scale(ScaleTo::Auto) => "Follow the load",
        }
    }

    fn hint(self) -> Option<&'static str> {
        match self {
            Self::Do(Action::Restart) => Some("one worker after the other; calls go on"),
            Self::Do(Action::RestartAtOnce) => {
                Some("all workers at the same time; for a moment nobody serves")
            }
            Self::Scale(ScaleTo::Auto) => Some("the pool grows and shrinks by itself again"),
            _ => None,
        }
    }

    fn address(self, service: &ServiceSnapshot, token: &str) -> String {
        let name = url_part(&service.name);
        let to = match self {
            Self::Do(_) => String::new(),
            Self::Scale(to) => format!("&to={}", url_part(&to.to_string())),
        };
        format!("/api/v1/services/{name}/{}?{PAGE_TOKEN}={token}{to}", self.name())
    }

    /// Whether it makes sense now.
    fn is_possible(self, service: &ServiceSnapshot) -> bool {
        let status = service.status;
        let workers = service.fixed_workers.unwrap_or(service.workers.len() as u32);
        match self {
            Self::Do(Action::Start) => status.can_start(),
            Self::Do(Action::Stop | Action::Restart | Action::RestartAtOnce) => status.can_stop(),
            Self::Scale(ScaleTo::More(_)) => status.can_stop() && workers < service.max_workers,
            Self::Scale(ScaleTo::Fewer(_)) => status.can_stop() && workers > 1,
            Self::Scale(ScaleTo::Auto) => service.fixed_workers.is_some(),
            Self::Scale(ScaleTo::Workers(_)) => true,
        }
    }

    /// What is asked before an order that interrupts.
    fn question(self, service: &ServiceSnapshot) -> Option<String> {
        let name = &service.name;
        match self {
            Self::Do(Action::Stop) => Some(format!(
                "Stop {name}? Its workers finish the calls that they have; new calls fail until it is started again."
            )),
            Self::Do(Action::RestartAtOnce) => Some(format!(
                "Restart all workers of {name} at the same time? Calls wait or fail until a new one is ready."
            )),
            _ => None,
        }
    }

    /// The order that takes it back, if there is one.
    fn undoing(self, service: &ServiceSnapshot) -> Option<Self> {
        match self {
            Self::Do(Action::Start) => Some(Self::Do(Action::Stop)),
            Self::Do(Action::Stop) => Some(Self::Do(Action::Start)),
            Self::Do(Action::Restart | Action::RestartAtOnce) => None,
            Self::Scale(_) => {
                Some(Self::Scale(service.fixed_workers.map_or(ScaleTo::Auto, ScaleTo::Workers)))
            }
        }
    }
}

/// A button that gives an order, in a form that works without scripts. What makes no sense now is marked rather than
/// disabled, so that the keyboard's focus stays where it is. `key` tells the button from its neighbours whatever it does.
pub(super) fn button(
    service: &ServiceSnapshot,
    order: Order,
    key: &str,
    token: &str,
    leads_to: &str,
) -> Markup {
    let undoing = order.undoing(service);
    html! {
        form method="post" action=(format!("{}{leads_to}", order.address(service, token))) data-key=(key) {
            button data-action=(order.name()) data-service=(service.name) title=[order.hint()]
                data-question=[order.question(service)]
                data-undo=[undoing.map(|undoing| undoing.address(service, token))]
                aria-disabled=[(!order.is_possible(service)).then_some("true")] {
                (order.word()) span.visually-hidden { " " (service.name) }
            }
        }
    }
}

/// One button that starts or stops, always in the same place.
pub(super) fn toggle(service: &ServiceSnapshot, token: &str, leads_to: &str) -> Markup {
    let is_on = service.status.can_stop() && service.status != ServiceStatus::Backoff;
    let action =
        if is_on || service.status == ServiceStatus::Stopping { Action::Stop } else { Action::Start };
    button(service, Order::Do(action), "toggle", token, leads_to)
}

/// The rarer orders.
pub(super) const RARER: [(&str, Order); 4] = [
    ("at-once", Order::Do(Action::RestartAtOnce)),
    ("more", Order::Scale(ScaleTo::More(1))),
    ("fewer", Order::Scale(ScaleTo::Fewer(1))),
    ("auto", Order::Scale(ScaleTo::Auto)),
];

/// All but what may stand in an address unchanged.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A name as one part of an address.
pub(super) fn url_part(name: &str) -> String {
    utf8_percent_encode(name, RESERVED).to_string()
}

/// Where REST calls a method.
pub(crate) fn method_address(service: &str, method: &str) -> String {
    format!("/api/v1/services/{}/methods/{}", url_part(service), url_part(method))
}

/// The page of a service.
pub(crate) fn service_address(name: &str) -> String {
    format!("/services/{}", url_part(name))
}
