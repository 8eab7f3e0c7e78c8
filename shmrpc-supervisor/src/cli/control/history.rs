//! `shmrpc history`: time series as a table, a line a point.

use std::io::Write;

use shmrpc_web::{Column, HistoryPage, log::utc};

use super::{Control, http};
use crate::cli::{args::HistoryArgs, failure::Failure, table, units};

pub(in crate::cli) fn history(
    args: &HistoryArgs,
    control: &Control,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut query = vec![
        ("series", args.series.join(",")),
        ("from", format!("-{}", args.since.as_millis())),
        ("points", args.points.to_string()),
    ];
    query.extend(args.worker.map(|pid| ("worker", pid.to_string())));
    let subject = args.service.as_ref().map(|name| format!("/services/{}", http::escaped(name)));
    let path = format!("/api/v1{}/history?{}", subject.unwrap_or_default(), http::query(&query));
    let page: HistoryPage = control.json("GET", &path, None)?;
    if args.json {
        let text = serde_json::to_string(&page).expect("a history is JSON");
        return writeln!(out, "{text}").map_err(Failure::output);
    }
    let names = page.columns.iter().map(|column| column.series.name().to_uppercase());
    let heading: Vec<String> = std::iter::once("TIME".to_owned()).chain(names).collect();
    let rows: Vec<Vec<String>> = (0..page.points).map(|point| row(&page, point)).collect();
    table::write(out, &heading, &rows).map_err(Failure::output)
}

fn row(page: &HistoryPage, point: usize) -> Vec<String> {
    let time = utc(page.from_ms + point as u64 * page.step_ms);
    // To the second: no step is shorter.
    let time = format!("{} {}", &time[..10], &time[11..19]);
    std::iter::once(time).chain(page.columns.iter().map(|column| cell(column, point))).collect()
}

fn cell(column: &Column, point: usize) -> String {
    let Some(value) = column.values.get(point).copied().flatten().map(f64::from) else {
        return units::NOTHING.into();
    };
    match column.unit.as_str() {
        "cpus" => units::share(value),
        "bytes" | "bytes/s" => units::memory(value as u64),
        "ns" => units::time(value as u64),
        _ => units::rate(Some(value)),
    }
}
