//! Charts of a service: a place of fixed size for each, which scripts draw into, and a table of the same figures for those
//! who do not see the drawing or have scripts off.

use maud::{Markup, html};

use super::{format, parts};
use crate::{
    daemon::Daemon,
    history::{Column, HistoryPage, HistoryQuery, Series},
    log::utc,
};

/// Rows of a table.
const ROWS: usize = 12;

/// How far back charts can look: what stands in the address, its length in seconds, and the words.
const RANGES: [(&str, u64, &str); 8] = [
    ("5m", 300, "5 min"),
    ("1h", 3600, "1 h"),
    ("6h", 21_600, "6 h"),
    ("1d", 86_400, "1 day"),
    ("7d", 604_800, "7 days"),
    ("30d", 2_592_000, "30 days"),
    ("90d", 7_776_000, "90 days"),
    ("1y", 31_536_000, "1 year"),
];

/// The first of them that a page shows.
const FIRST_RANGE: &str = "5m";

struct Chart {
    key: &'static str,
    title: &'static str,
    series: &'static [(Series, &'static str)],
}

const CHARTS: [Chart; 8] = [
    Chart { key: "calls", title: "Calls per second", series: &[(Series::Calls, "calls")] },
    Chart {
        key: "latency",
        title: "Time in the handler",
        series: &[(Series::P50, "p50"), (Series::P90, "p90"), (Series::P99, "p99")],
    },
    Chart { key: "errors", title: "Errors per second", series: &[(Series::Errors, "errors")] },
    Chart { key: "wait", title: "Wait for a worker", series: &[(Series::Wait, "wait")] },
    Chart { key: "cpu", title: "CPU", series: &[(Series::Cpu, "CPU")] },
    Chart {
        key: "memory",
        title: "Memory",
        series: &[(Series::Pss, "proportional"), (Series::Rss, "resident")],
    },
    Chart {
        key: "io",
        title: "Storage per second",
        series: &[(Series::Read, "read"), (Series::Written, "written")],
    },
    Chart { key: "workers", title: "Workers", series: &[(Series::Workers, "workers")] },
];

/// The range of that word, or the first.
pub(super) fn range(word: Option<&str>) -> &'static str {
    let known = RANGES.iter().map(|(known, ..)| *known);
    known.into_iter().find(|known| Some(*known) == word).unwrap_or(FIRST_RANGE)
}

fn span_ms(range: &str) -> u64 {
    RANGES.iter().find(|(word, ..)| *word == range).map_or(300, |(_, seconds, _)| *seconds) * 1000
}

/// The section, with the figures of that range.
pub(super) async fn section(daemon: &dyn Daemon, service: &str, range: &str, now_ms: u64) -> Markup {
    let from_ms = now_ms.saturating_sub(span_ms(range));
    let query = HistoryQuery {
        service: service.to_owned(),
        worker: None,
        series: CHARTS.iter().flat_map(|chart| chart.series.iter().map(|(series, _)| *series)).collect(),
        from_ms,
        to_ms: now_ms.max(from_ms + 1),
        points: ROWS,
    };
    let page = daemon.history(query).await;
    html! {
        section #charts aria-labelledby="charts-heading" data-service=(service) data-range=(range)
            data-script=(crate::assets::address("plotly.js")) {
            div.bar {
                h2 #charts-heading { "Over time" }
                nav.ranges aria-label="Range of the charts" {
                    @for (word, seconds, words) in RANGES {
                        a href=(format!("{}?range={word}#charts", parts::service_address(service)))
                            data-seconds=(seconds) aria-current=[(word == range).then_some("true")] { (words) }
                    }
                }
                div.zoom role="group" aria-label="Zoom of the charts" hidden {
                    button type="button" data-zoom="earlier" { "Earlier" }
                    button type="button" data-zoom="later" { "Later" }
                    button type="button" data-zoom="in" { "Closer" }
                    button #charts-whole type="button" data-zoom="whole" aria-disabled="true" { "Whole range" }
                }
            }
            div.grid { @for chart in &CHARTS { (figure(chart, &page)) } }
        }
    }
}

fn figure(chart: &Chart, page: &HistoryPage) -> Markup {
    let names =
        chart.series.iter().map(|(series, word)| format!("{}:{word}", series.name())).collect::<Vec<_>>();
    let id = format!("chart-{}", chart.key);
    html! {
        figure.chart data-series=(names.join(",")) data-unit=(chart.series[0].0.unit()) aria-labelledby=(id) {
            figcaption #(id) { (chart.title) }
            div.plot aria-hidden="true" {}
            details {
                summary { "As a table" span.visually-hidden { ": " (chart.title) } }
                (numbers(chart, page))
            }
        }
    }
}

fn numbers(chart: &Chart, page: &HistoryPage) -> Markup {
    let columns: Vec<_> = chart
        .series
        .iter()
        .map(|(series, word)| (*word, page.columns.iter().find(|column| column.series == *series)))
        .collect();
    html! {
        table.figures {
            caption.visually-hidden { (chart.title) ", times in UTC" }
            thead { tr {
                th scope="col" { "From" }
                @for (word, _) in &columns { th.number scope="col" { (word) } }
            } }
            tbody {
                @for point in 0..page.points {
                    @let whole = utc(page.from_ms + point as u64 * page.step_ms);
                    tr {
                        th scope="row" { time datetime=(&whole) { (&whole[..10]) " " (&whole[11..19]) } }
                        @for (_, column) in &columns { td.number { (value(*column, point)) } }
                    }
                }
            }
        }
    }
}

fn value(column: Option<&Column>, point: usize) -> String {
    let value = column.and_then(|column| Some((column.values.get(point).copied()??, column.unit.as_str())));
    parts::or_nothing(value.map(|(value, unit)| match unit {
        "cpus" => format::share(f64::from(value)),
        "bytes" => format::bytes(value as u64),
        "bytes/s" => format!("{}/s", format::bytes(value as u64)),
        "ns" => format::nanos(value as u64),
        _ => format::rate(value),
    }))
}
