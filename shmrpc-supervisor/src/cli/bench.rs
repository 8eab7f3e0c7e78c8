//! `shmrpc bench`: client processes call one method for a while; their latencies are added up.
//!
//! This program starts itself once a client ([`client`]), waits until all are connected, lets them go at
//! once and reads one JSON line from each.

mod client;
mod report;

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Command, Stdio},
};

use self::report::{ClientReport, Report};
use super::{
    args::{BenchArgs, Reach},
    failure::{Exit, Failure},
    target,
};

/// What a client says when it is connected; then it waits for a line.
const READY: &str = "ready";

/// Measures, or is one of the clients that are measured.
pub(super) fn run(args: &BenchArgs, reach: &Reach, out: &mut dyn Write) -> Result<(), Failure> {
    if args.as_client {
        return client::run(args, reach, out);
    }
    // Says what is wrong once, and not once a client.
    let connection = target::connect(&args.endpoint, reach, None, false)?;
    client::payload(target::method(&connection.service(), &args.method)?, args.size)?;
    drop(connection);

    let mut clients = Vec::new();
    for _ in 0..args.clients {
        clients.push(Client::start(args, reach)?);
    }
    for client in &mut clients {
        client.until_ready()?;
    }
    for client in &mut clients {
        client.go()?;
    }
    let mut report = Report::default();
    for client in clients {
        report.add(client.finish()?);
    }
    let text = if args.json { report.to_json() } else { report.to_text() };
    writeln!(out, "{text}").map_err(Failure::output)
}

/// One client process, killed if the bench ends early.
struct Client {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl Client {
    fn start(args: &BenchArgs, reach: &Reach) -> Result<Self, Failure> {
        let fail = |error| Failure::new(Exit::Other, format!("starting a client process: {error}"));
        let mut command = Command::new(std::env::current_exe().map_err(fail)?);
        command.arg("bench").arg(&args.endpoint).arg(&args.method).arg("--as-client");
        command.args(["--size", &args.size.to_string(), "--in-flight", &args.in_flight.to_string()]);
        command.args(["--seconds", &args.seconds.as_secs_f64().to_string()]);
        command.args(reach.to_args());
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(fail)?;
        let said = BufReader::new(process.stdout.take().expect("stdout is piped"));
        Ok(Self { process, said })
    }

    fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        match self.said.read_line(&mut line) {
            Ok(read) if read > 0 => Ok(line),
            _ => Err(self.ended_early()),
        }
    }

    /// The client has said on stderr what is wrong; its exit code is passed on.
    fn ended_early(&mut self) -> Failure {
        let code = self.process.wait().ok().and_then(|status| status.code()).unwrap_or(1);
        Failure::with_code(u8::try_from(code).unwrap_or(1).max(1), "a client process ended early")
    }

    fn until_ready(&mut self) -> Result<(), Failure> {
        match self.line()?.trim_end() {
            READY => Ok(()),
            other => Err(Failure::new(Exit::Other, format!("a client process said {other:?}"))),
        }
    }

    fn go(&mut self) -> Result<(), Failure> {
        let stdin = self.process.stdin.as_mut().expect("stdin is piped");
        if stdin.write_all(b"go\n").is_ok() { Ok(()) } else { Err(self.ended_early()) }
    }

    fn finish(mut self) -> Result<ClientReport, Failure> {
        let line = self.line()?;
        let report = serde_json::from_str(&line)
            .map_err(|error| Failure::new(Exit::Other, format!("a client process's report: {error}")))?;
        let _its_report_says_all = self.process.wait();
        Ok(report)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _reaped_already = self.process.wait();
    }
}
