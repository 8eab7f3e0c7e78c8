//! The live part of the overview: the summary and the services. Every row has a key, by which the page's scripts find what
//! has changed, and values by which they sort.

use maud::{Markup, html};

use super::{
    format::{self, NOTHING},
    parts::{self, Heading, Order, RARER},
    trends::{Trend, Trends},
};
use crate::{
    daemon::Action,
    snapshot::{ServiceSnapshot, ServiceStatus, Snapshot, Usage},
};

/// The whole machine in a few figures.
pub(super) fn summary(snapshot: &Snapshot, trends: &Trends) -> Markup {
    let usage: Usage = snapshot.services.iter().map(|service| &service.usage).sum();
    let running = snapshot.services.iter().filter(|s| s.status == ServiceStatus::Running).count();
    let failing = snapshot.services.iter().filter(|s| is_failing(s)).count();
    let workers: usize = snapshot.services.iter().map(|service| service.workers.len()).sum();
    let total = |figure: fn(&Trend) -> Option<f32>| trends.values().filter_map(figure).sum::<f32>();
    let (calls, errors) = (total(|trend| trend.calls_per_s), total(|trend| trend.errors_per_s));
    html! {
        dl.summary data-key="summary" aria-label="Summary" {
            div {
                dt { "Running" }
                dd { (running) span.of { " of " (snapshot.services.len()) }
                    @if failing > 0 { span.failing { " · " (failing) " failing" } } }
            }
            div { dt { "Workers" } dd { (workers) } }
            div { dt { "Calls" } dd { (format::rate(calls)) span.of { " /s" } } }
            div { dt { "Errors" } dd data-bad=[(errors > 0.0).then_some("true")] { (format::rate(errors)) span.of { " /s" } } }
            div {
                dt { "CPU" }
                dd title=(format!("of {} CPUs, 100 % each", snapshot.cpus)) { (format::share(usage.cpu_share)) }
            }
            div { dt { "Memory" } dd { (format::bytes(parts::memory_bytes(&usage))) } }
            div { dt { "Up" } dd { (format::millis(snapshot.uptime_ms)) } }
        }
    }
}

fn is_failing(service: &ServiceSnapshot) -> bool {
    matches!(service.status, ServiceStatus::Fatal | ServiceStatus::Backoff)
}

const HEADINGS: [Heading; 10] = [
    Heading::text("Service", "name"),
    Heading::text("Status", "status"),
    Heading::number("Workers", "workers", "running workers, a bar of CPU for each"),
    Heading::number("Calls/s", "calls", "over the last seconds; the line shows five minutes"),
    Heading::number("Errors/s", "errors", "calls answered with anything but success"),
    Heading::number("p50", "p50", "half of the last calls took no longer in the handler"),
    Heading::number("p99", "p99", "99 of 100 of the last calls took no longer in the handler"),
    Heading::number("CPU", "cpu", "100 % is one CPU kept busy"),
    Heading::number("Memory", "memory", "shared pages count by each process's share"),
    Heading::number("Up", "up", ""),
];

/// The services. `token` is what the page shows with every order.
pub(super) fn services(snapshot: &Snapshot, trends: &Trends, token: &str) -> Markup {
    let unknown = Trend::default();
    html! {
        section #services data-key="services" aria-labelledby="services-heading" {
            h2.visually-hidden #services-heading { "Services" }
            @if snapshot.services.is_empty() {
                p.empty { "No services are configured. Each section of the ini file becomes one." }
            } @else {
                table.services role="table" aria-labelledby="services-heading" {
                    caption.visually-hidden { "Services with their state, their calls and what they use" }
                    thead role="rowgroup" {
                        tr role="row" {
                            @for heading in &HEADINGS { (heading) }
                            th scope="col" role="columnheader" { span.visually-hidden { "Orders" } }
                        }
                    }
                    tbody role="rowgroup" {
                        @for service in &snapshot.services {
                            (row(service, trends.get(&service.name).unwrap_or(&unknown), token))
                        }
                    }
                }
                p.empty #services-none hidden { "No service matches." }
            }
        }
    }
}

fn row(service: &ServiceSnapshot, trend: &Trend, token: &str) -> Markup {
    let is_live = !service.workers.is_empty();
    let usage = |text: String| if is_live { text } else { NOTHING.into() };
    let calls_label = format!("calls a second over the last five minutes, {}", rate(trend.calls_per_s));
    html! {
        tr role="row" data-key=(service.name) data-status=(service.status) data-failing=[is_failing(service).then_some("true")] {
            th.name scope="row" role="rowheader" data-value=(service.name) {
                a.title href=(parts::service_address(&service.name)) { (service.name) }
                @if !service.doc.is_empty() { span.doc title=(service.doc) { (service.doc) } }
            }
            td.state role="cell" data-label="Status" data-value=(service.status) { (parts::status(service)) }
            td.number.pool role="cell" data-label="Workers" data-value=(service.workers.len()) title=(pool_bounds(service)) {
                (parts::bars(service)) " " span.count { (service.workers.len()) span.of { " / " (service.max_workers) } }
            }
            td.number.calls role="cell" data-label="Calls/s" data-value=[trend.calls_per_s] {
                (parts::sparkline(&trend.calls, &calls_label)) " " span.count { (rate(trend.calls_per_s)) }
            }
            (parts::errors("Errors/s", trend.errors_per_s.map(f64::from), rate(trend.errors_per_s)))
            (parts::number("p50", trend.p50_ns.map(f64::from), time(trend.p50_ns)))
            (parts::number("p99", trend.p99_ns.map(f64::from), time(trend.p99_ns)))
            (parts::number("CPU", Some(service.usage.cpu_share), usage(format::share(service.usage.cpu_share))))
            (parts::number("Memory", Some(parts::memory_bytes(&service.usage) as f64),
                usage(format::bytes(parts::memory_bytes(&service.usage)))))
            (parts::number("Up", service.uptime_ms.map(|up| up as f64), parts::or_nothing(service.uptime_ms.map(format::millis))))
            td.actions role="cell" {
                (parts::toggle(service, token, ""))
                details.menu data-key="menu" {
                    summary aria-label=(format!("More orders for {}", service.name)) { "⋯" }
                    div {
                        (parts::button(service, Order::Do(Action::Restart), "restart", token, ""))
                        @for (key, order) in RARER { (parts::button(service, order, key, token, "")) }
                    }
                }
            }
        }
    }
}

fn rate(value: Option<f32>) -> String {
    parts::or_nothing(value.map(format::rate))
}

fn time(value_ns: Option<f32>) -> String {
    parts::or_nothing(value_ns.map(|ns| format::nanos(ns as u64)))
}

fn pool_bounds(service: &ServiceSnapshot) -> String {
    let rule = match service.fixed_workers {
        Some(fixed) => format!("fixed at {fixed}"),
        None => format!("{} to {} wanted", service.min_workers, service.max_workers),
    };
    format!("{} running, {rule}", service.workers.len())
}
