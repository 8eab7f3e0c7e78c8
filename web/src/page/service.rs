//! The page of one service: its state and orders, its methods and workers (live), its part of the ini file.

use maud::{Markup, html};

use super::{
    format::{self, NOTHING},
    parts::{self, Heading, Order, RARER},
    trends::Trend,
};
use crate::{
    daemon::Action,
    snapshot::{MethodSnapshot, ServiceSnapshot, WorkerSnapshot},
};

/// The part that stands above the charts.
pub(super) fn head(service: &ServiceSnapshot, trend: &Trend, token: &str) -> Markup {
    let back = format!("&next={}", parts::url_part(&service.name));
    html! {
        div.service-head data-key="head" data-service=(service.name) data-status=(service.status) {
            div.title {
                h1 { (service.name) }
                p.state { (parts::status(service)) }
                @if !service.doc.is_empty() { p.doc { (service.doc) } }
            }
            div.actions role="group" aria-label="Orders" {
                (parts::toggle(service, token, &back))
                (parts::button(service, Order::Do(Action::Restart), "restart", token, &back))
                @for (key, order) in RARER { (parts::button(service, order, key, token, &back)) }
            }
        }
        (facts(service, trend))
    }
}

fn facts(service: &ServiceSnapshot, trend: &Trend) -> Markup {
    let size = match service.fixed_workers {
        Some(fixed) => format!("fixed at {fixed}"),
        None => format!("{} to {}", service.min_workers, service.max_workers),
    };
    let time = |ns: Option<f32>| parts::or_nothing(ns.map(|ns| format::nanos(ns as u64)));
    let queued =
        service.queued_calls.filter(|&queued| queued > 0.0).map(|queued| format::rate(queued as f32));
    html! {
        dl.summary data-key="facts" aria-label="Summary" {
            div { dt { "Workers" } dd { (service.workers.len()) span.of { " · " (size) } } }
            div { dt { "Calls" } dd { (parts::or_nothing(trend.calls_per_s.map(format::rate))) span.of { " /s" } } }
            div {
                dt { "Errors" }
                dd data-bad=[trend.errors_per_s.filter(|&errors| errors > 0.0).map(|_| "true")] {
                    (parts::or_nothing(trend.errors_per_s.map(format::rate))) span.of { " /s" }
                }
            }
            div { dt { "p50" } dd { (time(trend.p50_ns)) } }
            div { dt { "p99" } dd { (time(trend.p99_ns)) } }
            div {
                dt { "Busy" }
                dd { (parts::or_nothing(service.busy_share.map(format::share)))
                    @if let Some(queued) = queued { span.of { " · " (queued) " wait" } } }
            }
            div { dt { "CPU" } dd { (format::share(service.usage.cpu_share)) } }
            div { dt { "Memory" } dd { (format::bytes(parts::memory_bytes(&service.usage))) } }
            div { dt { "Up" } dd title=(restarts(service.restarts)) {
                (parts::or_nothing(service.uptime_ms.map(format::millis)))
                @if service.restarts > 0 { span.of { " · ↻ " (format::count(service.restarts)) } }
            } }
        }
    }
}

fn restarts(restarts: u64) -> String {
    match restarts {
        0 => "no restarts".into(),
        1 => "1 restart".into(),
        more => format!("{} restarts", format::count(more)),
    }
}

/// The part that stands beneath them: methods and workers.
pub(super) fn tables(service: &ServiceSnapshot) -> Markup {
    html! { (methods(service)) (workers(service)) }
}

const METHOD_HEADINGS: [Heading; 11] = [
    Heading::text("Method", "name"),
    Heading::text("Encoding", "encoding"),
    Heading::number("Calls", "calls", ""),
    Heading::number("Total", "total", "time in the handler"),
    Heading::number("Mean", "mean", ""),
    Heading::number("p50", "p50", "half of the calls took no longer"),
    Heading::number("p90", "p90", "9 of 10 calls took no longer"),
    Heading::number("p99", "p99", "99 of 100 calls took no longer"),
    Heading::number("Errors", "errors", "calls answered with anything but success"),
    Heading::number("In", "in", "bytes of arguments"),
    Heading::number("Out", "out", "bytes of replies"),
];

fn methods(service: &ServiceSnapshot) -> Markup {
    let mut methods: Vec<_> = service.methods.iter().collect();
    // Most expensive first; a stable sort keeps the order of the source among those never called.
    methods.sort_by_key(|method| std::cmp::Reverse((method.calls.total_ns, method.calls.count)));
    html! {
        section #methods data-key="methods" aria-labelledby="methods-heading" {
            h2 #methods-heading { "Methods" span.of { " since the daemon started, the largest total time first" } }
            @if methods.is_empty() {
                p.empty { "No methods are known: they appear when the service has started, and a plain program has none." }
            } @else {
                table.methods role="table" aria-labelledby="methods-heading" {
                    caption.visually-hidden { "Calls per method" }
                    thead role="rowgroup" { tr role="row" { @for heading in &METHOD_HEADINGS { (heading) } } }
                    tbody role="rowgroup" { @for method in methods { (method_row(service, method)) } }
                }
            }
        }
    }
}

fn method_row(service: &ServiceSnapshot, method: &MethodSnapshot) -> Markup {
    let (what, calls) = (&method.description, &method.calls);
    let time = |label: &str, value: Option<u64>| {
        parts::number(label, value.map(|ns| ns as f64), parts::or_nothing(value.map(format::nanos)))
    };
    let count = |label: &str, count: u64| parts::number(label, Some(count as f64), format::count(count));
    let size =
        |label: &str, len_bytes: u64| parts::number(label, Some(len_bytes as f64), format::bytes(len_bytes));
    html! {
        tr role="row" data-key=(format!("{}.{}", service.name, what.name))
            data-idle=[(calls.count == 0).then_some("true")] {
            th.name scope="row" role="rowheader" data-value=(what.name) title=(what.doc) {
                a.title href="#try" data-method=(what.name) { (what.name) } " " span.of { (what.signature) }
            }
            td role="cell" data-label="Encoding" data-value=(what.encoding) { span.encoding { (what.encoding) } }
            (count("Calls", calls.count))
            (time("Total", (calls.count > 0).then_some(calls.total_ns)))
            (time("Mean", calls.mean_ns))
            (time("p50", calls.p50_ns))
            (time("p90", calls.p90_ns))
            (time("p99", calls.p99_ns))
            (parts::errors("Errors", Some(calls.errors as f64), format::count(calls.errors)))
            (size("In", calls.bytes_in))
            (size("Out", calls.bytes_out))
        }
    }
}

const WORKER_HEADINGS: [Heading; 10] = [
    Heading::text("Process", "pid"),
    Heading::text("State", "state"),
    Heading::number("Calls", "calls", ""),
    Heading::number("Errors", "errors", ""),
    Heading::number("CPU", "cpu", ""),
    Heading::number("Memory", "memory", "shared pages count by each process's share"),
    Heading::number("Resident", "resident", ""),
    Heading::number("Read", "read", "from storage"),
    Heading::number("Written", "written", "to storage"),
    Heading::number("Up", "up", ""),
];

fn workers(service: &ServiceSnapshot) -> Markup {
    html! {
        section #workers data-key="workers" aria-labelledby="workers-heading" {
            h2 #workers-heading { "Workers" }
            @if service.workers.is_empty() {
                p.empty { "No worker runs." }
            } @else {
                table.workers role="table" aria-labelledby="workers-heading" {
                    caption.visually-hidden { "Worker processes and what they use" }
                    thead role="rowgroup" { tr role="row" { @for heading in &WORKER_HEADINGS { (heading) } } }
                    tbody role="rowgroup" { @for worker in &service.workers { (worker_row(worker)) } }
                }
            }
        }
    }
}

fn worker_row(worker: &WorkerSnapshot) -> Markup {
    let usage = &worker.usage;
    let size =
        |label: &str, len_bytes: u64| parts::number(label, Some(len_bytes as f64), format::bytes(len_bytes));
    html! {
        tr role="row" data-key=(worker.pid) {
            th.name scope="row" role="rowheader" data-value=(worker.pid) { span.title { (worker.pid) } }
            td role="cell" data-label="State" data-value=(worker.state.name()) { (worker.state.name()) }
            (parts::number("Calls", Some(worker.calls as f64), format::count(worker.calls)))
            (parts::errors("Errors", Some(worker.errors as f64), format::count(worker.errors)))
            (parts::number("CPU", Some(usage.cpu_share), format::share(usage.cpu_share)))
            (size("Memory", parts::memory_bytes(usage)))
            (size("Resident", usage.rss_bytes))
            (size("Read", usage.read_bytes))
            (size("Written", usage.written_bytes))
            (parts::number("Up", Some(worker.uptime_ms as f64), format::millis(worker.uptime_ms)))
        }
    }
}

/// Where a method can be tried; its script fills it.
pub(super) fn try_it(service: &ServiceSnapshot) -> Markup {
    html! {
        section #try data-service=(service.name) aria-labelledby="try-heading" {
            h2 #try-heading { "Try a method" }
            @if service.methods.is_empty() {
                p.empty { "No methods are known." }
            } @else {
                noscript { p.empty { "Trying a method takes scripts; curl does it too, see " a href="/api" { "the API" } "." } }
                form #try-form .panel hidden {
                    div.fields {
                        div.field {
                            label for="try-method" { "Method" }
                            select #try-method { @for method in &service.methods { option { (method.description.name) } } }
                        }
                        div.field {
                            label for="try-deadline" { "Deadline in ms" }
                            input #try-deadline type="number" min="1" inputmode="numeric" placeholder="the method's own";
                        }
                    }
                    p #try-about .about {}
                    div #try-json .field {
                        label for="try-arguments" { "Arguments, a JSON array" }
                        textarea #try-arguments rows="5" spellcheck="false" autocomplete="off" aria-describedby="try-about" { "[]" }
                        details #try-schema { summary { "Their schema" } pre tabindex="0" {} }
                        div #try-stream .field hidden {
                            label for="try-items" { "Items, one JSON value a line" }
                            textarea #try-items rows="5" spellcheck="false" {}
                        }
                    }
                    div #try-bytes .fields hidden {
                        div.field { label for="try-text" { "Bytes, as text" } textarea #try-text rows="3" spellcheck="false" {} }
                        div.field { label for="try-file" { "or a file" } input #try-file type="file"; }
                    }
                    div.send {
                        button.primary #try-call type="submit" { "Call" }
                        button #try-cancel type="button" hidden { "Cancel" }
                        p #try-outcome .outcome role="status" {}
                    }
                    div #try-result .result hidden {
                        h3 { "Reply" }
                        pre #try-reply tabindex="0" {}
                        a #try-save .button hidden download="reply.bin" { "Save the bytes" }
                    }
                }
            }
        }
    }
}

/// What the ini file says of it, and where it is reached.
pub(super) fn configuration(service: &ServiceSnapshot) -> Markup {
    let port = service.port.map_or_else(|| NOTHING.into(), |port| port.to_string());
    html! {
        section #configuration aria-labelledby="configuration-heading" {
            h2 #configuration-heading { "Configuration" }
            dl.facts {
                div { dt { "Program" } dd { (service.struct_name) } }
                div { dt { "Port" } dd { (port) } }
                div { dt { "TCP" } dd { (service.tcp_bind.as_deref().unwrap_or("off")) } }
                div { dt { "Guarded encodings" } dd {
                    @if service.force_insecure_serialisation { "allowed over TCP and REST" } @else { "refused over TCP and REST" }
                } }
            }
            @if !service.ini_section.is_empty() {
                pre.ini tabindex="0" role="region" aria-label="Its section of the ini file" { (service.ini_section) }
            }
        }
    }
}
