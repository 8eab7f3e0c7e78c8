//! `shmrpc logs` and `shmrpc events`: lines that are there, and with `-f` those that come.

use std::{
    io::{BufRead, BufReader, Write},
    time::Duration,
};

use shmrpc_web::{LogLine, LogPage, LogStream, log::utc};

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
    let chosen = [
        ("service", &args.service),
        ("text", &args.grep),
        ("stream", &args.stream),
        ("level", &args.level),
        ("pid", &pid),
    ];
    query.extend(chosen.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))));
    query.extend(args.since.map(since));
    let query = http::query(&query);
    run(&format!("logs?{query}"), &query, args.follow, args.json, control, out)
}

pub(in crate::cli) fn events(
    args: &EventsArgs,
    control: &Control,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut query = vec![("limit", args.lines.to_string())];
    if let Some(service) = &args.service {
        control.service(service)?;
        query.push(("service", service.clone()));
    }
    let kept: Vec<_> = query.iter().cloned().chain(args.since.map(since)).collect();
    // Those of earlier daemons are kept apart from the log; new ones are lines of it.
    query.push(("stream", "daemon".to_owned()));
    run(&format!("events?{}", http::query(&kept)), &http::query(&query), args.follow, args.json, control, out)
}

fn since(time: Duration) -> (&'static str, String) {
    ("from", format!("-{}", time.as_millis()))
}

/// Prints the page `kept`, and then, if they are followed, the lines that `coming` chooses.
fn run(
    kept: &str,
    coming: &str,
    follow: bool,
    json: bool,
    control: &Control,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let page: LogPage = control.json("GET", &format!("/api/v1/{kept}"), None)?;
    for line in &page.lines {
        print(line, json, out)?;
    }
    if !follow {
        return Ok(());
    }
    out.flush().map_err(Failure::output)?;
    // Without a line yet, the stream begins with the newest: with those that come between the two requests.
    let after = page.lines.last().map_or_else(String::new, |line| format!("&after={}", line.cursor));
    let stream = control.ask("GET", &format!("/api/v1/logs/stream?{coming}{after}"), None)?;
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
    let text = if json { serde_json::to_string(line).expect("a line is JSON") } else { shown_line(line) };
    writeln!(out, "{text}").map_err(Failure::output)
}

/// A line for a terminal.
pub(crate) fn shown_line(line: &LogLine) -> String {
    let stream = match line.stream {
        LogStream::Stdout => "out",
        LogStream::Stderr => "err",
        LogStream::Log => "log",
        LogStream::Daemon => "***",
    };
    let service = if line.service.is_empty() { "shmrpc-service" } else { line.service.as_str() };
    let pid = line.pid.map_or_else(String::new, |pid| format!("[{pid}]"));
    let service = table::plain(service);
    format!("{} {service}{pid} {stream} {}", utc(line.time_ms), table::plain(&line.text))
}
