//! `shmrpc logs` and `shmrpc events`: lines that are there, and with `-f` those that come.

use std::io::{BufRead, BufReader, Write};

use shmrpc_web::{LogLine, LogPage, LogStream};

use super::{Control, http};
use crate::cli::{
    args::{EventsArgs, LogsArgs},
    failure::Failure,
    table,
};

pub(in crate::cli) fn logs(args: &LogsArgs, control: &Control, out: &mut dyn Write) -> Result<(), Failure> {
    let mut query = vec![("limit", args.lines.to_string())];
    if let Some(service) = &args.service {
        // A name that is not there is a mistake, not a silence.
        control.service(service)?;
    }
    let pid = args.pid.map(|pid| pid.to_string());
    let chosen = [("service", &args.service), ("text", &args.grep), ("stream", &args.stream), ("pid", &pid)];
    query.extend(chosen.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))));
    run(&query, args.follow, args.json, control, out)
}

pub(in crate::cli) fn events(
    args: &EventsArgs,
    control: &Control,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut query = vec![("limit", args.lines.to_string()), ("stream", "daemon".to_owned())];
    if let Some(service) = &args.service {
        control.service(service)?;
        query.push(("service", service.clone()));
    }
    run(&query, args.follow, args.json, control, out)
}

fn run(
    query: &[(&str, String)],
    follow: bool,
    json: bool,
    control: &Control,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let query: Vec<String> =
        query.iter().map(|(key, value)| format!("{key}={}", http::escaped(value))).collect();
    let query = query.join("&");
    let page: LogPage = control.json("GET", &format!("/api/v1/logs?{query}"), None)?;
    for line in &page.lines {
        print(line, json, out)?;
    }
    if !follow {
        return Ok(());
    }
    out.flush().map_err(Failure::output)?;
    // Without a line yet, the stream begins with the newest: with those that come between the two requests.
    let after = page.lines.last().map_or_else(String::new, |line| format!("&after={}", line.cursor));
    let stream = control.ask("GET", &format!("/api/v1/logs/stream?{query}{after}"), None)?;
    let (mut kind, mut text) = (String::new(), String::new());
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(|error| http::lost(&error))?;
        if let Some(name) = line.strip_prefix("event:") {
            name.trim().clone_into(&mut kind);
        } else if let Some(data) = line.strip_prefix("data:") {
            text.push_str(data.trim_start());
        } else if line.is_empty() && !text.is_empty() {
            match kind.as_str() {
                "log" => {
                    if let Ok(line) = serde_json::from_str(&text) {
                        print(&line, json, out)?;
                        out.flush().map_err(Failure::output)?;
                    }
                }
                "missed" => eprintln!("shmrpc: {text} lines were lost in between"),
                _ => {}
            }
            text.clear();
        }
    }
    Ok(())
}

fn print(line: &LogLine, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let text = if json {
        serde_json::to_string(line).expect("a line is JSON")
    } else {
        let stream = match line.stream {
            LogStream::Stdout => "out",
            LogStream::Stderr => "err",
            LogStream::Log => "log",
            LogStream::Daemon => "***",
        };
        let service = if line.service.is_empty() { "shmrpc-service" } else { line.service.as_str() };
        let pid = line.pid.map_or_else(String::new, |pid| format!("[{pid}]"));
        let service = table::plain(service);
        format!("{} {service}{pid} {stream} {}", time(line.time_ms), table::plain(&line.text))
    };
    writeln!(out, "{text}").map_err(Failure::output)
}

/// `2026-11-22T07:21:10.123Z`.
fn time(since_1970_ms: u64) -> String {
    let (days, ms) = (since_1970_ms / 86_400_000, since_1970_ms % 86_400_000);
    // Counted from the first of March of the year 0: a leap day is then the last of its year.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, year) } else { (month - 9, year + 1) };
    let (year, s) = (year + era * 400, ms / 1000);
    let (hour, minute, second, ms) = (s / 3600, s / 60 % 60, s % 60, ms % 1000);
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_704_067_199_001, "2023-12-31T23:59:59.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(time(ms), text);
        }
    }
}
