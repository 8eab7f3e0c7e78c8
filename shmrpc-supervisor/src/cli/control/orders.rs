//! `shmrpc start`, `stop`, `restart`, `scale`, `reload`, `shutdown`: an order, and the wait until it is carried out.

use std::{
    io::Write,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::json;
use shmrpc_web::{Action, ServiceSnapshot, ServiceStatus, WorkerState};

use super::{Control, http, progress::Progress, status};
use crate::cli::{
    args::{OrderArgs, ReloadArgs, RestartArgs, ScaleArgs, WaitingArgs},
    failure::{Exit, Failure},
    table,
};

const INTERVAL: Duration = Duration::from_millis(50);

/// `start` and `stop`.
pub(in crate::cli) fn order(
    args: &OrderArgs,
    action: Action,
    control: &Control,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    give(&args.services, action, &args.waiting, control, out)
}

pub(in crate::cli) fn restart(
    args: &RestartArgs,
    control: &Control,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    debug_assert!(!(args.rolling && args.at_once));
    let action = if args.at_once { Action::RestartAtOnce } else { Action::Restart };
    give(&args.services, action, &args.waiting, control, out)
}

fn give(
    names: &[String],
    action: Action,
    waiting: &WaitingArgs,
    control: &Control,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut given = Vec::new();
    let mut failure = None;
    for name in names {
        let ordered = control.service(name).and_then(|before| {
            let path = format!("/api/v1/services/{}/{}", http::escaped(name), action.name());
            control.ask("POST", &path, None)?;
            Ok(before)
        });
        match ordered {
            Ok(before) => given.push(before),
            // The others are served all the same.
            Err(error) => failure = tell(failure, error.about(name)),
        }
    }
    let deadline = Instant::now() + waiting.timeout;
    let mut progress = Progress::new();
    for (index, before) in given.iter().enumerate().filter(|_| !waiting.no_wait) {
        let done = wait(control, &before.name, deadline, |now| {
            let count =
                if given.len() > 1 { format!("{} of {}: ", index + 1, given.len()) } else { String::new() };
            progress.say(format!("{count}{}", how_far(action, before, now)));
            look(action, before, now)
        });
        if let Err(error) = done {
            progress.wipe();
            failure = tell(failure, error);
        }
    }
    drop(progress);
    let names: Vec<&str> = given.iter().map(|before| before.name.as_str()).collect();
    show(&names, waiting.json, control, out)?;
    failure.map_or(Ok(()), Err)
}

/// Only the last failure is returned; those before it are told at once.
fn tell(before: Option<Failure>, failure: Failure) -> Option<Failure> {
    if let Some(before) = before {
        eprintln!("shmrpc: {before}");
    }
    Some(failure)
}

/// How far an order has come.
enum Now {
    Done,
    Failed(String),
    OnItsWay,
}

fn look(action: Action, before: &ServiceSnapshot, now: &ServiceSnapshot) -> Now {
    let is_old = |pid: u32| before.workers.iter().any(|worker| worker.pid == pid);
    let has_old = now.workers.iter().any(|worker| is_old(worker.pid));
    match (action, now.status) {
        (Action::Stop, ServiceStatus::Stopped) => Now::Done,
        (Action::Stop, _) => Now::OnItsWay,
        (Action::Start, ServiceStatus::Running | ServiceStatus::Exited) => Now::Done,
        (_, ServiceStatus::Fatal) => Now::Failed(told(now)),
        (Action::Restart, ServiceStatus::Running) if !now.rolling && has_old => {
            Now::Failed(format!("{} keeps old workers: a new one did not get ready; see events", now.name))
        }
        (Action::Restart | Action::RestartAtOnce, ServiceStatus::Running) if !now.rolling && !has_old => {
            Now::Done
        }
        _ => Now::OnItsWay,
    }
}

/// For whoever waits: `echo_serv: 1 of 3 workers replaced`.
fn how_far(action: Action, before: &ServiceSnapshot, now: &ServiceSnapshot) -> String {
    let text = match action {
        Action::Stop => format!("{} workers finish their calls", now.workers.len()),
        Action::Start => match &now.status_detail {
            Some(detail) => format!("{}, {}", now.status, table::plain(detail)),
            None => format!("{}, {} of {} workers serve", now.status, serving(now), now.min_workers),
        },
        Action::Restart | Action::RestartAtOnce => {
            let is_there = |pid: u32| now.workers.iter().any(|worker| worker.pid == pid);
            let gone = before.workers.iter().filter(|worker| !is_there(worker.pid)).count();
            format!("{gone} of {} workers replaced", before.workers.len())
        }
    };
    format!("{}: {text}", table::plain(&now.name))
}

fn serving(service: &ServiceSnapshot) -> usize {
    service.workers.iter().filter(|worker| worker.state == WorkerState::Running).count()
}

fn told(service: &ServiceSnapshot) -> String {
    let detail = service.status_detail.as_ref().map_or_else(String::new, |detail| format!(": {detail}"));
    format!("{} is {}{detail}", service.name, service.status)
}

fn wait(
    control: &Control,
    name: &str,
    deadline: Instant,
    mut look: impl FnMut(&ServiceSnapshot) -> Now,
) -> Result<(), Failure> {
    loop {
        let now = control.service(name)?;
        match look(&now) {
            Now::Done => return Ok(()),
            Now::Failed(text) => return Err(Failure::new(Exit::Other, text)),
            Now::OnItsWay if Instant::now() >= deadline => {
                return Err(Failure::new(Exit::Deadline, format!("not done in time: {}", told(&now))));
            }
            Now::OnItsWay => sleep(INTERVAL),
        }
    }
}

fn show(names: &[&str], json: bool, control: &Control, out: &mut dyn Write) -> Result<(), Failure> {
    let services = control.snapshot()?.services;
    let services: Vec<ServiceSnapshot> =
        services.into_iter().filter(|service| names.contains(&service.name.as_str())).collect();
    if services.is_empty() && !json { Ok(()) } else { status::show(&services, json, out) }
}

pub(in crate::cli) fn scale(args: &ScaleArgs, control: &Control, out: &mut dyn Write) -> Result<(), Failure> {
    args.to.parse::<shmrpc_web::ScaleTo>().map_err(Failure::usage)?;
    let path = format!("/api/v1/services/{}/scale", http::escaped(&args.service));
    let body = json!({ "to": args.to }).to_string();
    let service: ServiceSnapshot = control.json("POST", &path, Some(&body))?;
    if let Some(fixed) = service.fixed_workers.filter(|_| !args.waiting.no_wait)
        && service.status == ServiceStatus::Running
    {
        let deadline = Instant::now() + args.waiting.timeout;
        let mut progress = Progress::new();
        wait(control, &args.service, deadline, |now| {
            progress.say(format!("{}: {} workers serve, {fixed} shall", args.service, serving(now)));
            let is_done = serving(now) == fixed as usize && now.workers.len() == fixed as usize;
            if is_done || now.fixed_workers != Some(fixed) { Now::Done } else { Now::OnItsWay }
        })?;
    }
    show(&[&args.service], args.waiting.json, control, out)
}

pub(in crate::cli) fn reload(
    args: &ReloadArgs,
    control: &Control,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    read_again("reload", args.json, control, out)
}

/// The daemon's own file.
pub(in crate::cli) fn check(json: bool, control: &Control, out: &mut dyn Write) -> Result<(), Failure> {
    read_again("check", json, control, out)
}

/// Has the daemon read its file for that order, and shows what it says.
fn read_again(order: &str, json: bool, control: &Control, out: &mut dyn Write) -> Result<(), Failure> {
    let answer: serde_json::Value = control.json("POST", &format!("/api/v1/{order}"), None)?;
    let text = if json { answer.to_string() } else { answer["done"].as_str().unwrap_or_default().to_owned() };
    writeln!(out, "{}", text.trim_end()).map_err(Failure::output)
}

pub(in crate::cli) fn shutdown(
    args: &WaitingArgs,
    control: &Control,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    end("shutdown", args, control, out)
}

pub(in crate::cli) fn hand_over(
    args: &WaitingArgs,
    control: &Control,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    end("hand-over", args, control, out)
}

/// Has the daemon end in that way, and waits for it.
fn end(order: &str, args: &WaitingArgs, control: &Control, out: &mut dyn Write) -> Result<(), Failure> {
    let pid = control.snapshot()?.pid;
    control.ask("POST", &format!("/api/v1/{order}"), None)?.text()?;
    let deadline = Instant::now() + args.timeout;
    let mut progress = Progress::new();
    // Its socket goes before it does.
    while !args.no_wait && std::path::Path::new(&format!("/proc/{pid}")).exists() {
        let Ok(now) = control.snapshot() else { break };
        let working = now.services.iter().filter(|service| !service.workers.is_empty());
        let names: Vec<String> = working.map(|service| table::plain(&service.name)).collect();
        progress.say(format!("{} services finish their calls: {}", names.len(), names.join(", ")));
        if Instant::now() >= deadline {
            return Err(Failure::new(Exit::Deadline, "the daemon still stops its services"));
        }
        sleep(INTERVAL);
    }
    drop(progress);
    if args.json {
        return writeln!(out, "{}", json!({ "pid": pid })).map_err(Failure::output);
    }
    Ok(())
}
