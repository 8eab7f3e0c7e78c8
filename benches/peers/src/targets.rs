//! What shmrpc aims at, as ratios of two rows of the same run, and whether this run held them. The same statistic stands
//! on both sides of a ratio.

use crate::{
    job::Figures,
    original::CASES,
    rows::{PEERS, title},
    run::Results,
    statistics::median,
};

type Of = fn(&Figures) -> Option<f64>;

const MEAN: Of = |f| f.mean_ns;
const P50: Of = |f| f.p50_ns;
const P99: Of = |f| f.p99_ns;
const WORST: Of = |f| f.worst_ns;
const CALLS: Of = |f| f.calls_per_s;
const CPU: Of = |f| Some(f.client_cpu_pc? + f.server_cpu_pc?);

/// Which side of the bound is good.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    AtMost,
    AtLeast,
}

struct Sheet<'a> {
    results: &'a Results,
    lines: Vec<String>,
    held: usize,
    /// Lines without a figure on one side.
    open: Vec<String>,
}

/// The section of the document.
pub fn section(results: &Results) -> Option<String> {
    let mut sheet = Sheet { results, lines: Vec::new(), held: 0, open: Vec::new() };
    sheet.awake();
    sheet.paced();
    sheet.in_flight();
    sheet.large();
    sheet.encodings();
    sheet.asynchronous();
    sheet.tcp();
    sheet.busy();
    sheet.rest();
    sheet.original();
    if sheet.lines.is_empty() {
        return None;
    }
    let open = match sheet.open.len() {
        0 => String::new(),
        few @ 1..=12 => format!("\nNot measured in this run, {few}: {}.\n", sheet.open.join("; ")),
        many => format!("\n{many} more were not measured in this run.\n"),
    };
    let disturbed = results.rows.keys().filter(|name| results.is_disturbed(name)).count();
    let care = match disturbed {
        0 => String::new(),
        rows => {
            format!(" {rows} rows have disturbed rounds alone: a line that stands on one proves nothing.")
        }
    };
    Some(format!(
        "### Targets\n\n{} of {} that were measured are held. Medians of the rounds, ratios within the run.{care}\n\n\
         | | target | bound | found | |\n|---|---|--:|--:|---|\n{}\n{open}",
        sheet.held,
        sheet.lines.len(),
        sheet.lines.join("\n")
    ))
}

impl Sheet<'_> {
    fn of(&self, row: &str, of: Of) -> Option<f64> {
        self.results.figures(row).and_then(|figures| of(&figures))
    }

    fn ratio(&self, ours: &str, theirs: &str, of: Of) -> Option<f64> {
        Some(self.of(ours, of)? / self.of(theirs, of)?)
    }

    /// The best of the peers' figures in rows that end like this.
    fn best_peer(&self, rest: &str, side: Side, of: Of) -> Option<f64> {
        let figures = PEERS.iter().filter_map(|&peer| self.of(&format!("{}/{rest}", title(peer)), of));
        figures.reduce(if side == Side::AtMost { f64::min } else { f64::max })
    }

    fn line(&mut self, number: &str, what: &str, side: Side, bound: f64, found: Option<f64>) {
        let Some(found) = found else {
            self.open.push(format!("{number}, {what}"));
            return;
        };
        let (sign, held) = match side {
            Side::AtMost => ("≤", found <= bound),
            Side::AtLeast => ("≥", found >= bound),
        };
        let verdict = if held { "held" } else { "**not held**" };
        self.held += usize::from(held);
        self.lines.push(format!("| {number} | {what} | {sign} {bound} | {found:.2} | {verdict} |"));
    }

    fn awake(&mut self) {
        for place in ["pinned", "free"] {
            let row = |carrier: &str| format!("{carrier}/one/64/{place}");
            let line = self.ratio(&row("shmrpc"), &row("cache line"), MEAN);
            self.line(
                "1",
                &format!("64 B, awake, {place}: mean / the cache line's"),
                Side::AtMost,
                2.0,
                line,
            );
            let iceoryx = self.ratio(&row("iceoryx2 polling"), &row("shmrpc"), MEAN);
            let what = format!("64 B, awake, {place}: iceoryx2 polling's mean / ours");
            self.line("1", &what, Side::AtLeast, 4.0, iceoryx);
        }
    }

    fn paced(&mut self) {
        for (workers, rest) in [("one worker", ""), ("two workers", "/2w"), ("four workers", "/4w")] {
            let (ours, theirs) = (format!("shmrpc/paced/64/free{rest}"), "semaphores/paced/64/free");
            for (name, of) in [("p50", P50), ("p99", P99)] {
                let what = format!("paced, {workers}: {name} / the semaphores'");
                let found = self.ratio(&ours, theirs, of);
                self.line("2", &what, Side::AtMost, 1.25, found);
            }
            let cpu = self.of(&ours, CPU);
            self.line(
                "2",
                &format!("paced, {workers}: both sides, % of a processor"),
                Side::AtMost,
                3.0,
                cpu,
            );
            let task = self.ratio(&format!("shmrpc async/paced/64/free{rest}"), &ours, P50);
            self.line("2", &format!("paced, {workers}: async p50 / blocking"), Side::AtMost, 1.5, task);
        }
    }

    fn in_flight(&mut self) {
        let one = "shmrpc/flight64/64/free";
        for (workers, row) in [("one worker", one), ("two workers", "shmrpc/flight64/64/free/2w")] {
            let found = self.ratio(row, "bare ring/flight64/64/free", CALLS);
            self.line(
                "3",
                &format!("64 in flight, {workers}: calls/s / the bare ring's"),
                Side::AtLeast,
                0.6,
                found,
            );
            let best = self.best_peer("flight64/64/free", Side::AtLeast, CALLS);
            let found = self.of(row, CALLS).zip(best).map(|(ours, best)| ours / best);
            self.line(
                "3",
                &format!("64 in flight, {workers}: calls/s / the best peer's"),
                Side::AtLeast,
                4.0,
                found,
            );
        }
        let four = "shmrpc/flight16/64/free/2w/4c";
        let best = self.best_peer("flight16/64/free/4c", Side::AtLeast, CALLS);
        let found = self.of(four, CALLS).zip(best).map(|(ours, best)| ours / best);
        self.line("3", "four clients, two workers: calls/s / the best peer's", Side::AtLeast, 4.0, found);
        let fairness = self.of(four, |f| f.fairness);
        self.line("3", "four clients, two workers: slowest client / mean", Side::AtLeast, 0.5, fairness);
    }

    fn large(&mut self) {
        for (title, size) in [("1 MiB", 1 << 20), ("16 MiB", 16 << 20)] {
            let found = self.ratio(
                &format!("shmrpc/one/{size}/pinned"),
                &format!("bare ring/one/{size}/pinned"),
                P50,
            );
            self.line(
                "4",
                &format!("copying echo of {title}: p50 / the bare ring's"),
                Side::AtMost,
                1.15,
                found,
            );
        }
        let in_place = |size: usize| format!("shmrpc in place/one/{size}/pinned");
        let found = self.ratio(&in_place(16 << 20), &in_place(64), P50);
        self.line("4", "in place, touching 8 bytes: p50 of 16 MiB / of 64 B", Side::AtMost, 1.5, found);
    }

    fn encodings(&mut self) {
        for encoding in ["json", "msgpack", "bincode"] {
            let call = self.of(&format!("shmrpc {encoding}/one/64/pinned"), MEAN);
            let alone = self.of(&format!("shmrpc {encoding} alone/one/64/pinned"), MEAN);
            let raw = self.of("shmrpc/one/64/pinned", MEAN);
            let found = call.zip(alone).zip(raw).map(|((call, alone), raw)| (call - alone) / raw);
            let what = format!("{encoding}, 10 fields: what the call adds / the raw call");
            self.line("5", &what, Side::AtMost, 1.3, found);
        }
    }

    fn asynchronous(&mut self) {
        for place in ["pinned", "free"] {
            let row = |carrier: &str| format!("{carrier}/one/64/{place}");
            let found = self.ratio(&row("shmrpc async"), &row("shmrpc"), MEAN);
            self.line("6", &format!("async, awake, {place}: mean / blocking"), Side::AtMost, 1.6, found);
        }
        let found = self.ratio("shmrpc async/flight64/64/free", "shmrpc/flight64/64/free", CALLS);
        self.line("6", "64 tasks: calls/s / blocking, 64 in flight", Side::AtLeast, 0.6, found);
        let best = self.best_peer("flight64/64/free", Side::AtLeast, CALLS);
        let found = self.of("shmrpc async/flight64/64/free", CALLS).zip(best).map(|(ours, best)| ours / best);
        self.line("6", "64 tasks: calls/s / the best peer's", Side::AtLeast, 1.0, found);
    }

    fn tcp(&mut self) {
        for (name, of) in [("mean", MEAN), ("p50", P50)] {
            let found = self.ratio("shmrpc TCP/one/64/pinned", "TCP socket/one/64/pinned", of);
            self.line("7", &format!("TCP, 64 B: {name} / a bare TCP socket's"), Side::AtMost, 1.25, found);
        }
        for (peer, bound) in [("tarpc TCP", 2.0), ("tonic", 5.0)] {
            let found = self.ratio("shmrpc TCP/flight64/64/free", &format!("{peer}/flight64/64/free"), CALLS);
            let what = format!("TCP, 64 in flight: calls/s / {peer}'s");
            self.line("7", &what, Side::AtLeast, bound, found);
        }
    }

    fn busy(&mut self) {
        let ours = "shmrpc/one/64/free/busy";
        let found = self.ratio(ours, "semaphores/one/64/free/busy", CALLS);
        self.line("8", "busy neighbours: calls/s / the semaphores'", Side::AtLeast, 5.0, found);
        let best = self.best_peer("one/64/free/busy", Side::AtLeast, CALLS);
        let found = self.of(ours, CALLS).zip(best).map(|(ours, best)| ours / best);
        self.line("8", "busy neighbours: calls/s / the best peer's", Side::AtLeast, 1.0, found);
        let found = self.ratio(ours, "Unix socket/one/64/free/busy", WORST);
        self.line("8", "busy neighbours: worst call / the Unix socket's", Side::AtMost, 2.0, found);
        let found = self.ratio("shmrpc/paced/64/free/busy", "semaphores/paced/64/free/busy", P50);
        self.line("8", "busy neighbours, paced: p50 / the semaphores'", Side::AtMost, 1.1, found);
    }

    fn rest(&mut self) {
        let name = self.results.rows.keys().find(|name| name.contains("/idle")).cloned().unwrap_or_default();
        let rests = self.results.rests(&name);
        let of = |value: fn(&crate::idle::Rest) -> f64| median(rests.iter().map(|rest| value(rest)));
        let ticks = of(|rest| rest.ticks as f64);
        let kib = of(|rest| rest.bytes_a_connection / 1024.0);
        let first_ms = of(|rest| rest.first_call_ns / 1e6);
        self.line("9", "at rest, all connections: processor ticks", Side::AtMost, 0.0, ticks);
        self.line("9", "at rest: KiB a connection before its first call", Side::AtMost, 24.0, kib);
        self.line(
            "9",
            "`connect` to the end of the first call, new process: ms",
            Side::AtMost,
            5.0,
            first_ms,
        );
    }

    fn original(&mut self) {
        for case in &CASES {
            let Some(wanted) = case.wanted else { continue };
            let ours = self.of(case.shm_row, P50).map(|ns| ns / 1000.0);
            let found = ours.map(|ours| case.shm_us[1] / ours);
            let what = format!("{}: the original's newest p50 / ours (absolute: only reported)", case.title);
            self.line("10", &what, Side::AtLeast, wanted, found);
        }
    }
}
