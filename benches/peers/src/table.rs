//! The document: tables of medians, in Markdown. `targets` adds what was aimed at. A row that was not measured has a
//! dash, one with disturbed rounds alone a dagger.

use crate::{
    job::{Carrier, Figures, Manner, Method},
    original::{CASES, Case},
    rows::{LARGE, OURS, PEERS, RAW, title},
    run::Results,
    statistics::median,
    targets,
};

const BARE: [Carrier; 4] = [Carrier::Ring, Carrier::SleepingRing, Carrier::UnixSocket, Carrier::TcpSocket];
const NONE: &str = "–";

/// The whole document of a run.
pub fn document(results: &Results) -> String {
    let sections = [
        conditions(results),
        one_at_a_time(results),
        sizes(results),
        encodings(results),
        in_flight(results),
        paced(results),
        busy(results),
        rest(results),
        original(results),
        targets::section(results),
        failures(results),
    ];
    sections.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

/// A section, or nothing where nothing was measured.
fn section(heading: &str, note: &str, header: &[&str], lines: Vec<Vec<String>>) -> Option<String> {
    if lines.iter().all(|cells| cells[1..].iter().all(|cell| cell == NONE)) {
        return None;
    }
    let mut text = format!("### {heading}\n\n{note}\n\n| {} |\n|---|", header.join(" | "));
    text += &"--:|".repeat(header.len() - 1);
    text.push('\n');
    for cells in lines.iter().filter(|cells| cells[1..].iter().any(|cell| cell != NONE)) {
        text += &format!("| {} |\n", cells.join(" | "));
    }
    Some(text)
}

/// One cell: a figure of a row, written down by `write`.
fn cell(results: &Results, row: &str, of: fn(&Figures) -> Option<f64>, write: fn(f64) -> String) -> String {
    let figure = results.figures(row).and_then(|figures| of(&figures));
    let mark = if results.is_disturbed(row) { " †" } else { "" };
    figure.map_or_else(|| NONE.to_owned(), |value| write(value) + mark)
}

/// Microseconds, with three digits that count.
pub fn us(value_ns: f64) -> String {
    let value_us = value_ns / 1000.0;
    match value_us {
        0.0..1.0 => format!("{value_us:.3}"),
        1.0..10.0 => format!("{value_us:.2}"),
        10.0..100.0 => format!("{value_us:.1}"),
        _ => format!("{value_us:.0}"),
    }
}

/// Calls a second.
fn calls(value: f64) -> String {
    match value {
        1e6.. => format!("{:.2} M", value / 1e6),
        1e4.. => format!("{:.0} k", value / 1e3),
        _ => format!("{:.1} k", value / 1e3),
    }
}

fn conditions(results: &Results) -> Option<String> {
    let mut text = String::from("### Conditions\n\n| | |\n|---|---|\n");
    for (name, value) in &results.conditions {
        text += &format!("| {name} | {value} |\n");
    }
    Some(text)
}

fn one_at_a_time(results: &Results) -> Option<String> {
    let line = results.figures("cache line/one/64/pinned").and_then(|figures| figures.mean_ns);
    let limits = [Carrier::Line, Carrier::Semaphores, Carrier::Futexes];
    let carriers = limits.into_iter().chain(BARE).chain(OURS).chain(PEERS);
    let lines = carriers.map(|carrier| {
        let name = title(carrier);
        let (pinned, free) = (format!("{name}/one/64/pinned"), format!("{name}/one/64/free"));
        let mean = results.figures(&pinned).and_then(|figures| figures.mean_ns);
        let times = line.zip(mean).map_or_else(|| NONE.into(), |(line, mean)| format!("{:.1}", mean / line));
        vec![
            name,
            cell(results, &pinned, |f| f.mean_ns, us),
            times,
            cell(results, &pinned, |f| f.p50_ns, us),
            cell(results, &pinned, |f| f.p99_ns, us),
            cell(results, &pinned, |f| f.p999_ns, us),
            cell(results, &free, |f| f.mean_ns, us),
            cell(results, &free, |f| f.p50_ns, us),
            cell(results, &free, |f| f.p999_ns, us),
        ]
    });
    let header = ["64 B, µs", "mean", "× cache line", "p50", "p99", "p99.9", "free: mean", "p50", "p99.9"];
    let note = "One call after the other, pinned to two processors, then free. Means have no clock in the loop, \
        percentiles one reading a call.";
    section("One at a time", note, &header, lines.collect())
}

fn sizes(results: &Results) -> Option<String> {
    let in_place = Carrier::Shmrpc(Manner { over_tcp: false, asynchronous: false, method: Method::InPlace });
    let carriers = [Carrier::Memcpy].into_iter().chain(BARE).chain(OURS).chain([in_place]).chain(PEERS);
    let lines = carriers.map(|carrier| {
        let name = title(carrier);
        let sizes = [64].into_iter().chain(LARGE);
        let cells = sizes.map(|size| cell(results, &format!("{name}/one/{size}/pinned"), |f| f.p50_ns, us));
        [name.clone()].into_iter().chain(cells).collect()
    });
    let header = ["p50, µs", "64 B", "4 KiB", "64 KiB", "1 MiB", "16 MiB"];
    let note = "One call after the other, pinned. Copied in, echoed by copy, copied out; *in place* touches eight \
        bytes of the message.";
    section("Sizes", note, &header, lines.collect())
}

fn encodings(results: &Results) -> Option<String> {
    let row = |title: &str| format!("shmrpc{title}/one/64/pinned");
    let mut lines = vec![vec![
        "raw, 64 B".to_owned(),
        cell(results, &row(""), |f| f.mean_ns, us),
        NONE.into(),
        NONE.into(),
    ]];
    lines.push(vec![
        "raw, 256 B".to_owned(),
        cell(results, "shmrpc/one/256/pinned", |f| f.mean_ns, us),
        NONE.into(),
        NONE.into(),
    ]);
    for encoding in ["json", "msgpack", "bincode"] {
        let (call, alone) = (row(&format!(" {encoding}")), row(&format!(" {encoding} alone")));
        let mean = |name: &str| results.figures(name).and_then(|figures| figures.mean_ns);
        let adds =
            mean(&call).zip(mean(&alone)).map_or_else(|| NONE.into(), |(call, alone)| us(call - alone));
        lines.push(vec![
            encoding.to_owned(),
            cell(results, &call, |f| f.mean_ns, us),
            cell(results, &alone, |f| f.mean_ns, us),
            adds,
        ]);
    }
    let asynchronous = cell(results, "shmrpc async json/one/64/pinned", |f| f.mean_ns, us);
    lines.push(vec!["json, async".to_owned(), asynchronous, NONE.into(), NONE.into()]);
    let note = "A struct of ten fields, there and back, pinned; *alone* is encoding and decoding it twice in one \
        process, with the bare crates.";
    let header = ["mean, µs", "call", "encoding + decoding alone", "what the call adds"];
    section("Encodings", note, &header, lines)
}

fn in_flight(results: &Results) -> Option<String> {
    let lines = BARE.into_iter().chain(OURS).chain(PEERS).map(|carrier| {
        let name = title(carrier);
        let ours = carrier == RAW || name == "shmrpc async";
        let four = format!("{name}/flight16/64/free{}/4c", if ours { "/2w" } else { "" });
        let of = |row: &str| cell(results, row, |f| f.calls_per_s, calls);
        vec![
            name.clone(),
            of(&format!("{name}/flight64/64/pinned")),
            of(&format!("{name}/flight64/64/free")),
            of(&format!("{name}/flight64/64/free/2w")),
            of(&four),
            cell(results, &four, |f| f.fairness, |value| format!("{value:.2}")),
        ]
    });
    let header =
        ["64 B, calls/s", "64 in flight, pinned", "free", "two workers", "4 clients × 16", "slowest / mean"];
    let note = "Clients that block send 32 and drain 32, so that 32 to 64 are in flight; async ones run 64 tasks. \
        Four clients meet two workers of shmrpc, or one server of the others (with a thread a client where it has one).";
    section("In flight", note, &header, lines.collect())
}

fn paced(results: &Results) -> Option<String> {
    let mut rows = vec!["semaphores/paced/64/free".to_owned()];
    for name in ["shmrpc", "shmrpc async"] {
        rows.extend(["", "/2w", "/4w"].map(|workers| format!("{name}/paced/64/free{workers}")));
    }
    rows.push("shmrpc TCP/paced/64/free".into());
    let others = [Carrier::SleepingRing, Carrier::UnixSocket, Carrier::TcpSocket].into_iter().chain(PEERS);
    rows.extend(others.map(|carrier| format!("{}/paced/64/free", title(carrier))));
    let lines = rows.into_iter().map(|row| {
        let name = match (row.split('/').next(), row.split('/').nth(4)) {
            (Some(name), Some(workers)) => format!("{name}, {} workers", &workers[..1]),
            (name, _) => name.unwrap_or_default().to_owned(),
        };
        let cpu = |f: &Figures| Some(f.client_cpu_pc? + f.server_cpu_pc?);
        vec![
            name,
            cell(results, &row, |f| f.p50_ns, us),
            cell(results, &row, |f| f.p99_ns, us),
            cell(results, &row, cpu, |value| format!("{value:.1}")),
        ]
    });
    let header = ["64 B, µs", "p50", "p99", "both sides' share of a processor, %"];
    let note = "One call each millisecond, free; the clock starts after the pause.";
    section("Paced", note, &header, lines.collect())
}

fn busy(results: &Results) -> Option<String> {
    let first = [Carrier::Semaphores, RAW, OURS[1], Carrier::SleepingRing, Carrier::UnixSocket];
    let lines = first.into_iter().chain([Carrier::TcpSocket]).chain(PEERS).map(|carrier| {
        let name = title(carrier);
        let (one, paced) = (format!("{name}/one/64/free/busy"), format!("{name}/paced/64/free/busy"));
        vec![
            name,
            cell(results, &one, |f| f.calls_per_s, calls),
            cell(results, &one, |f| f.worst_ns, us),
            cell(results, &one, |f| f.p50_ns, us),
            cell(results, &paced, |f| f.p50_ns, us),
            cell(results, &paced, |f| f.p99_ns, us),
        ]
    });
    let header = ["64 B, µs", "calls/s", "worst", "p50", "paced: p50", "p99"];
    let note = "Beside two processes that compute for ever, free. The worst call is the median of the rounds' worst.";
    section("Two busy neighbours", note, &header, lines.collect())
}

fn rest(results: &Results) -> Option<String> {
    let name = results.rows.keys().find(|name| name.contains("/idle"))?;
    let rests = results.rests(name);
    let of = |value: fn(&crate::idle::Rest) -> f64| median(rests.iter().map(|rest| value(rest)));
    let kib = |bytes: f64| format!("{:.1} KiB", bytes / 1024.0);
    let window = of(|rest| rest.window_s)?;
    let figures = [
        ("Connections", format!("{:.0}", of(|rest| rest.connections as f64)?)),
        ("Processor time of all", format!("{:.0} ticks in {window:.0} s", of(|rest| rest.ticks as f64)?)),
        ("The same by the precise clock", format!("{:.2} ms", of(|rest| rest.cpu_ms)?)),
        ("Memory a connection", kib(of(|rest| rest.bytes_a_connection)?)),
        ("… of it Shmem", kib(of(|rest| rest.shmem_bytes)?)),
        ("… Slab", kib(of(|rest| rest.slab_bytes)?)),
        ("… the server's PSS", kib(of(|rest| rest.server_pss_bytes)?)),
        ("… the clients' PSS", kib(of(|rest| rest.clients_pss_bytes)?)),
        ("connect to first reply, a new process", format!("{} µs", us(of(|rest| rest.first_call_ns)?))),
        ("… the same process again", format!("{} µs", us(of(|rest| rest.next_call_ns)?))),
        ("… the worst of twenty", format!("{} µs", us(of(|rest| rest.next_call_worst_ns)?))),
    ];
    let lines = figures.map(|(name, value)| vec![name.to_owned(), value]).to_vec();
    let note = "One service, held by four processes; nobody calls. Memory is the growth of Shmem + Slab + both sides' \
        PSS, over the connections, before the first call; a page that is mapped counts in Shmem and in PSS.";
    section("At rest", note, &["shmrpc", "median"], lines)
}

fn original(results: &Results) -> Option<String> {
    let lines = CASES.iter().map(|case| {
        let Case { title, shm_us, tcp_us, .. } = case;
        let p50 = |row: &str| results.figures(row).and_then(|figures| figures.p50_ns).map(|ns| ns / 1000.0);
        let times = |theirs: Option<f64>, ours: Option<f64>| {
            theirs.zip(ours).map_or_else(|| NONE.into(), |(theirs, ours)| format!("{:.1} ×", theirs / ours))
        };
        let (shm, tcp) = (p50(case.shm_row), p50(case.tcp_row));
        vec![
            (*title).to_owned(),
            cell(results, case.shm_row, |f| f.p50_ns, us),
            times(Some(shm_us[0]), shm),
            times(Some(shm_us[1]), shm),
            times(case.pipe_us, shm),
            cell(results, case.tcp_row, |f| f.p50_ns, us),
            times(Some(tcp_us[0]), tcp),
            times(Some(tcp_us[1]), tcp),
        ]
    });
    let header = [
        "case",
        "shm p50, µs",
        "than where we began",
        "than its newest",
        "than a Python pipe",
        "TCP p50, µs",
        "than where we began",
        "than its newest",
    ];
    let note = "How many times faster than the Python original, by p50, on the same kind of machine at another hour.";
    section("The original", note, &header, lines.collect())
}

fn failures(results: &Results) -> Option<String> {
    let mut text = String::from("### Without figures\n\n");
    let before = text.len();
    for (name, rounds) in &results.rows {
        for error in rounds.iter().filter_map(|round| round.error.as_ref()) {
            text += &format!("- {name}: {error}\n");
        }
    }
    (text.len() > before).then_some(text)
}
