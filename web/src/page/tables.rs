//! The live part of the page: the summary, the services, the workers and the calls per method. Every row
//! has a key, by which the page's scripts find what has changed.

use maud::{Markup, Render, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::format::{self, NOTHING};
use crate::{
    admission::PAGE_TOKEN,
    daemon::Action,
    snapshot::{MethodSnapshot, ServiceSnapshot, ServiceStatus, Snapshot, Usage},
};

/// All of it. `token` is what the page shows with every order.
pub(crate) fn tables(snapshot: &Snapshot, token: &str) -> Markup {
    html! {
        (summary(snapshot))
        (services(snapshot, token))
        (methods(snapshot))
        (workers(snapshot))
    }
}

fn summary(snapshot: &Snapshot) -> Markup {
    let usage: Usage = snapshot.services.iter().map(|service| &service.usage).sum();
    let running = snapshot.services.iter().filter(|s| s.status == ServiceStatus::Running).count();
    let workers: usize = snapshot.services.iter().map(|service| service.workers.len()).sum();
    // Workers write these numbers; a faulty one may write any.
    let counts = each_method(snapshot).map(|(_, method)| method.calls.count);
    let calls = counts.fold(0_u64, u64::saturating_add);
    html! {
        dl.summary data-key="summary" aria-label="Summary" {
            div { dt { "Running" } dd { (running) span.of { " of " (snapshot.services.len()) } } }
            div { dt { "Workers" } dd { (workers) } }
            div {
                dt { "CPU" }
                dd title=(format!("of {} CPUs, 100 % each", snapshot.cpus)) { (format::share(usage.cpu_share)) }
            }
            div { dt { "Memory" } dd { (memory(&usage)) } }
            div { dt { "Calls" } dd { (format::count(calls)) } }
            div { dt { "Up" } dd title=(format!("shmrpc-service {}, pid {}", snapshot.version, snapshot.pid)) {
                (format::millis(snapshot.uptime_ms))
            } }
        }
    }
}

fn services(snapshot: &Snapshot, token: &str) -> Markup {
    html! {
        section #services data-key="services" aria-labelledby="services-heading" {
            h2 #services-heading { "Services" }
            @if snapshot.services.is_empty() {
                p.empty { "No services are configured. Each section of the ini file becomes one." }
            } @else {
                table.services role="table" aria-labelledby="services-heading" {
                    caption.visually-hidden { "Services with their state and what they use" }
                    thead role="rowgroup" {
                        tr role="row" {
                            (heading("Service"))
                            (heading("Status"))
                            (number_heading("Port", ""))
                            (heading("TCP"))
                            (number_heading("Memory", ""))
                            (number_heading("CPU", ""))
                            (number_heading("Workers", ""))
                            (number_heading("Up", ""))
                            th scope="col" role="columnheader" { span.visually-hidden { "Start and stop" } }
                        }
                    }
                    tbody role="rowgroup" { @for service in &snapshot.services { (service_row(service, token)) } }
                }
            }
        }
    }
}

fn service_row(service: &ServiceSnapshot, token: &str) -> Markup {
    let is_live = !service.workers.is_empty();
    let usage = |text: String| if is_live { text } else { NOTHING.into() };
    let restarts = match service.restarts {
        0 => "no restarts".into(),
        1 => "1 restart".into(),
        more => format!("{} restarts", format::count(more)),
    };
    let memory_detail = format!(
        "resident {}, virtual {}",
        format::bytes(service.usage.rss_bytes),
        format::bytes(service.usage.virtual_bytes)
    );
    html! {
        tr role="row" data-key=(service.name) data-status=(service.status) {
            th.name scope="row" role="rowheader" {
                span.title { (service.name) }
                @if !service.doc.is_empty() { span.doc title=(service.doc) { (service.doc) } }
            }
            td.state role="cell" data-label="Status" {
                span.status data-status=(service.status) { span.dot {} (service.status) }
                @if let Some(detail) = &service.status_detail { span.detail { (detail) } }
            }
            td.number role="cell" data-label="Port" { @match service.port { Some(port) => (port), None => (NOTHING) } }
            td role="cell" data-label="TCP" {
                @match &service.tcp_bind { Some(bind) => span.bind { (bind) }, None => span.off { "off" } }
            }
            td.number role="cell" data-label="Memory" title=[is_live.then_some(memory_detail)] {
                (usage(memory(&service.usage)))
            }
            (number("CPU", usage(format::share(service.usage.cpu_share))))
            td.number role="cell" data-label="Workers" title=(pool_bounds(service)) {
                (service.workers.len()) span.of { " / " (service.max_workers) }
            }
            td.number role="cell" data-label="Up" title=(restarts) {
                (service.uptime_ms.map_or_else(|| NOTHING.into(), format::millis))
            }
            td.actions role="cell" { (buttons(service, token)) }
        }
    }
}

fn pool_bounds(service: &ServiceSnapshot) -> String {
    format!("{} running, {} to {} wanted", service.workers.len(), service.min_workers, service.max_workers)
}

/// One button that starts or stops, always in the same place, and one that restarts. What makes no sense
/// now is marked rather than disabled, so that the keyboard's focus stays where it is.
fn buttons(service: &ServiceSnapshot, token: &str) -> Markup {
    let status = service.status;
    let toggle =
        if status.can_stop() || status == ServiceStatus::Stopping { Action::Stop } else { Action::Start };
    let is_possible = status.can_stop() || status.can_start();
    html! {
        (button(service, toggle, is_possible, "toggle", token))
        (button(service, Action::Restart, status.can_stop(), "restart", token))
    }
}

fn button(service: &ServiceSnapshot, action: Action, is_possible: bool, key: &str, token: &str) -> Markup {
    let word = match action {
        Action::Start => "Start",
        Action::Stop => "Stop",
        Action::Restart | Action::RestartAtOnce => "Restart",
    };
    let (name, order) = (url_part(&service.name), action.name());
    let address = format!("/api/v1/services/{name}/{order}?{PAGE_TOKEN}={token}");
    html! {
        form method="post" action=(address) data-key=(key) {
            button data-action=(action.name()) data-service=(service.name)
                aria-disabled=[(!is_possible).then_some("true")] {
                (word) span.visually-hidden { " " (service.name) }
            }
        }
    }
}

fn each_method(snapshot: &Snapshot) -> impl Iterator<Item = (&ServiceSnapshot, &MethodSnapshot)> {
    snapshot.services.iter().flat_map(|service| service.methods.iter().map(move |method| (service, method)))
}

fn methods(snapshot: &Snapshot) -> Markup {
    let mut methods: Vec<_> = each_method(snapshot).collect();
    // Most expensive first; a stable sort keeps the order of the source among those never called.
    methods.sort_by_key(|(_, method)| std::cmp::Reverse((method.calls.total_ns, method.calls.count)));
    html! {
        section #methods data-key="methods" aria-labelledby="methods-heading" {
            h2 #methods-heading { "Calls per method" }
            @if methods.is_empty() {
                p.empty { "No methods are known yet: they appear when a service has started." }
            } @else {
                table.methods role="table" aria-labelledby="methods-heading" {
                    caption.visually-hidden { "Calls per method, the largest total time first" }
                    thead role="rowgroup" {
                        tr role="row" {
                            (heading("Method"))
                            (heading("Encoding"))
                            (number_heading("Calls", ""))
                            th.number scope="col" role="columnheader" aria-sort="descending" { "Total" }
                            (number_heading("Mean", ""))
                            (number_heading("p50", "half of the calls took no longer"))
                            (number_heading("p99", "99 of 100 calls took no longer"))
                            (number_heading("Errors", ""))
                        }
                    }
                    tbody role="rowgroup" { @for (service, method) in methods { (method_row(service, method)) } }
                }
            }
        }
    }
}

fn method_row(service: &ServiceSnapshot, method: &MethodSnapshot) -> Markup {
    let (what, calls) = (&method.description, &method.calls);
    let time = |value: Option<u64>| value.map_or_else(|| NOTHING.into(), format::nanos);
    let hint = match what.doc.as_str() {
        "" => what.signature.clone(),
        doc => format!("{}\n{doc}", what.signature),
    };
    html! {
        tr role="row" data-key=(format!("{}.{}", service.name, what.name))
            data-idle=[(calls.count == 0).then_some("true")] {
            th.name scope="row" role="rowheader" title=(hint) {
                span.of { (service.name) "." } span.title { (what.name) }
            }
            td role="cell" data-label="Encoding" { span.encoding { (what.encoding) } }
            (number("Calls", format::count(calls.count)))
            (number("Total", time((calls.count > 0).then_some(calls.total_ns))))
            (number("Mean", time(calls.mean_ns)))
            (number("p50", time(calls.p50_ns)))
            (number("p99", time(calls.p99_ns)))
            td.number role="cell" data-label="Errors" data-bad=[(calls.errors > 0).then_some("true")] {
                (format::count(calls.errors))
            }
        }
    }
}

fn workers(snapshot: &Snapshot) -> Markup {
    let rows: Vec<_> =
        snapshot.services.iter().flat_map(|s| s.workers.iter().map(move |worker| (s, worker))).collect();
    html! {
        section #workers data-key="workers" aria-labelledby="workers-heading" {
            details {
                summary { h2 #workers-heading { "Worker processes " span.of { (rows.len()) } } }
                @if rows.is_empty() {
                    p.empty { "No worker runs." }
                } @else {
                    table.workers role="table" aria-labelledby="workers-heading" {
                        caption.visually-hidden { "Worker processes and what they use" }
                        thead role="rowgroup" {
                            tr role="row" {
                                (heading("Process"))
                                (heading("State"))
                                (number_heading("CPU", ""))
                                (number_heading("Memory", "shared pages count by each process's share"))
                                (number_heading("Resident", ""))
                                (number_heading("Virtual", ""))
                                (number_heading("Read", ""))
                                (number_heading("Written", ""))
                                (number_heading("Up", ""))
                            }
                        }
                        tbody role="rowgroup" {
                            @for (service, worker) in rows {
                                tr role="row" data-key=(worker.pid) {
                                    th.name scope="row" role="rowheader" {
                                        span.of { (service.name) " " } span.title { (worker.pid) }
                                    }
                                    td role="cell" data-label="State" { (worker.state.name()) }
                                    (number("CPU", format::share(worker.usage.cpu_share)))
                                    (number("Memory", memory(&worker.usage)))
                                    (number("Resident", format::bytes(worker.usage.rss_bytes)))
                                    (number("Virtual", format::bytes(worker.usage.virtual_bytes)))
                                    (number("Read", format::bytes(worker.usage.read_bytes)))
                                    (number("Written", format::bytes(worker.usage.written_bytes)))
                                    (number("Up", format::millis(worker.uptime_ms)))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn heading(word: &str) -> Markup {
    html! { th scope="col" role="columnheader" { (word) } }
}

/// The heading of a column of numbers, with a hint for those who point at it.
fn number_heading(word: &str, hint: &str) -> Markup {
    html! {
        th.number scope="col" role="columnheader" {
            @if hint.is_empty() { (word) } @else { abbr title=(hint) { (word) } }
        }
    }
}

/// A number with the heading that stands beside it where there are no columns.
fn number(label: &str, text: impl Render) -> Markup {
    html! { td.number role="cell" data-label=(label) { (text) } }
}

/// Proportional where known, resident otherwise.
fn memory(usage: &Usage) -> String {
    format::bytes(usage.pss_bytes.unwrap_or(usage.rss_bytes))
}

/// All but what may stand in an address unchanged.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A name as one part of an address.
fn url_part(name: &str) -> String {
    utf8_percent_encode(name, RESERVED).to_string()
}
