//! The daemon: one loop that owns every service and joins state machines, processes, measurements and the
//! dashboard. It is the only place where workers are started, signalled and reaped, so that nothing of
//! that happens in between. Files are read, and the kernel is asked for numbers, off the loop.
//!
//! It is not in the path of any call: killed, its workers serve on.

mod doors;
mod echo;
mod estranged;
mod event_loop;
mod measures;
mod orders;
mod pool;
mod reload;
mod round;
mod startup;
mod supervised;
mod watchdog;

use std::{
    collections::{HashMap, HashSet},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use shmrpc_core::{
    ConnectError,
    observe::{Observer, ObserverEvent, ObserverRole},
};
use shmrpc_web::{ControlError, LogTail, Usage, WebOptions};
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::supervised::Supervised;
use self::{
    doors::Doors,
    echo::Echo,
    event_loop::{Loop, Signals},
    measures::Measures,
    round::Rounds,
    supervised::Surroundings,
};
use crate::{
    config::Diagnostics,
    control,
    folder::{Folder, FolderError},
    handle::Handle,
    history::History,
    listen::{Inherited, ListenError, listen},
    machine::WorkerId,
    notify::Notifier,
    output::LogFiles,
    plan::{Plan, ServicePlan},
    process,
    report::Host,
    sources,
    strays::Leftovers,
};

/// How long workers of an earlier daemon have to be adopted before new ones are started in their place.
const ADOPTION_TIME: Duration = Duration::from_secs(5);
/// How long programs of an earlier daemon have to end before they are killed.
const LEFTOVERS_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the daemon that is replaced may take: its plain programs end before it does.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(60);
/// Messages that wait for the loop; who sends more waits.
const QUEUE: usize = 256;

/// What the daemon is to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The ini file, for reloads.
    pub file: PathBuf,
    /// The services to run; empty: all.
    pub wanted: Vec<String>,
    /// The runtime folder.
    pub runtime_dir: PathBuf,
    /// A daemon that runs there hands over to this one.
    pub replaces: bool,
    /// What services print goes to the daemon's standard output too.
    pub echoes: bool,
}

/// A daemon that cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// The runtime folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Ports are taken.
    #[error("{}", .0.iter().map(|error| sources::told(error)).collect::<Vec<_>>().join("\n"))]
    Listen(Vec<ListenError>),
    /// Workers cannot be watched.
    #[error("cannot watch services")]
    Observe(#[from] ConnectError),
    /// The daemon that is to be replaced does not let go.
    #[error("{0}")]
    NotReplaced(String),
    /// The operating system refused something.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

/// Where an order's answer goes.
pub(crate) type OrderAnswer = oneshot::Sender<Result<String, ControlError>>;

/// What somebody may want of the daemon.
pub(crate) enum Order {
    /// Something of one service.
    Service(String, shmrpc_web::Action),
    /// A size for its pool.
    Scale(String, shmrpc_web::ScaleTo),
    /// The configuration read again.
    Reload,
    /// The configuration read, and nothing changed.
    Check,
    /// The end, but not of the workers: the next daemon adopts them.
    HandOver,
    /// The end.
    Shutdown,
}

/// What the loop hears.
pub(crate) enum Message {
    /// Somebody at the dashboard or the control socket wants something.
    Order {
        /// What.
        order: Order,
        /// Whether it is accepted, and what was done if that takes no time.
        answer: OrderAnswer,
    },
    /// A process has ended.
    Exited {
        /// The service.
        service: String,
        /// Its number.
        worker: WorkerId,
    },
    /// A worker came or went.
    Sighted(ObserverEvent),
    /// A round is done.
    Looked(Box<Rounds>, HashMap<u32, Usage>),
    /// The ini file has been read again.
    Reloaded(Result<Plan, Diagnostics>),
    /// It has been read for somebody who wanted to know what it says.
    Checked,
}

/// Runs what a plan says until SIGTERM or SIGINT. Listeners that were inherited are used where their address is wanted.
///
/// # Errors
/// When it cannot begin: nothing has been started then.
pub async fn run(plan: Plan, options: Options, inherited: Inherited) -> Result<(), DaemonError> {
    let fail = |doing| move |source| DaemonError::Io { doing, source };
    let folder =
        if options.replaces { replace(&options).await? } else { Folder::take(&options.runtime_dir)? };
    let leftovers = find_leftovers(folder.path()).await;
    let expected: HashSet<u32> = leftovers.workers.iter().copied().collect();
    let (web, services) = bind(&plan, inherited, &expected)?;
    let address = web.local_addr().map_err(fail("cannot ask for the dashboard's address"))?;
    let web = tokio::net::TcpListener::from_std(web).map_err(fail("cannot watch the dashboard's port"))?;
    let token = folder.new_token().map_err(fail("cannot make the dashboard's token"))?;
    let control = control::listen(folder.path()).and_then(tokio::net::UnixListener::from_std);
    let control = control.map_err(fail("cannot make the control socket"))?;
    let signals = Signals::new().map_err(fail("cannot take signals"))?;
    process::become_subreaper();
    end_others(leftovers).await;

    let (messages, inbox) = mpsc::channel(QUEUE);
    let tail = Arc::new(LogTail::default());
    let files = LogFiles::start().map_err(fail("cannot start the log thread"))?;
    let history =
        History::start(plan.web.history.clone()).map_err(fail("cannot start the history's thread"))?;
    let rounds = Rounds::new().map_err(fail("cannot measure processes"))?;
    let _observer = observe(&folder, &messages)?;
    let runtime_dir = folder.path().to_owned();
    let handle = Handle::new(messages.clone(), Arc::clone(&tail), history.clone(), runtime_dir.clone());

    let mut daemon = Loop {
        startup: services.iter().map(|service| service.name().to_owned()).collect(),
        services,
        around: Surroundings { runtime_dir, files: files.clone(), tail, history: history.clone(), messages },
        handle: handle.clone(),
        host: Host::new(),
        address,
        options,
        manager: Notifier::from_environment(),
        starting: None,
        announced: false,
        held_until: Instant::now() + ADOPTION_TIME,
        expected,
        strangers: Vec::new(),
        outdated: Vec::new(),
        ending: None,
        reloading: false,
        reload_askers: [Vec::new(), Vec::new()],
        reload_again: false,
        told_dropped_bytes: 0,
        checking: 0,
        bereft: Vec::new(),
        rounds: Some(Box::new(rounds)),
        measures: Measures::default(),
        next_id: 1 << 32,
    };
    daemon.publish();
    tracing::info!("dashboard at http://{address}/");
    let doors = Doors::open(web, control, handle, web_options(&plan, token));

    let echo = daemon.options.echoes.then(|| Echo::start(Arc::clone(&daemon.around.tail)));
    daemon.run(inbox, signals).await;
    if !daemon.has_handed_over() {
        daemon.end_strays().await;
    }
    daemon.services.iter_mut().for_each(Supervised::leave_group);
    doors.close().await;
    // The folder is still ours: a daemon that takes over finds the history's file free.
    let flushing = tokio::task::spawn_blocking(move || {
        history.close();
        files.flush(Duration::from_secs(2));
    });
    let _late = flushing.await;
    if let Some(echo) = echo {
        echo.close().await;
    }
    Ok(())
}

/// Has the daemon of the folder hand over, if there is one, and takes the folder.
async fn replace(options: &Options) -> Result<Folder, DaemonError> {
    let runtime_dir = options.runtime_dir.clone();
    let asking = tokio::task::spawn_blocking(move || control::hand_over(&runtime_dir));
    let asked = asking.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    asked
        .map_err(|error| DaemonError::NotReplaced(format!("the other daemon does not hand over: {error}")))?;
    let until = Instant::now() + HAND_OVER_TIMEOUT;
    loop {
        match Folder::take(&options.runtime_dir) {
            Err(FolderError::Taken { .. }) if Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            taken => return Ok(taken?),
        }
    }
}

/// Finds what a daemon that was killed, or has handed over, has left behind.
async fn find_leftovers(runtime_dir: &Path) -> Leftovers {
    let runtime_dir = runtime_dir.to_owned();
    let finding = move || Leftovers::find(&runtime_dir);
    tokio::task::spawn_blocking(finding).await.unwrap_or_default()
}

/// Ends plain programs that were left behind, before their successors need their ports.
async fn end_others(leftovers: Leftovers) {
    if leftovers.others.is_empty() {
        return;
    }
    let pids = leftovers.others.clone();
    let _panicked = tokio::task::spawn_blocking(move || leftovers.end_others(LEFTOVERS_TIMEOUT)).await;
    tracing::warn!(?pids, "ended what an earlier daemon had left behind");
}

/// Binds all ports, or says everything that is taken.
fn bind(
    plan: &Plan,
    mut inherited: Inherited,
    ours: &HashSet<u32>,
) -> Result<(std::net::TcpListener, Vec<Supervised>), DaemonError> {
    let mut errors = Vec::new();
    let mut web = inherited.take(plan.web.address);
    if web.is_none() {
        web = listen(plan.web.address, "the dashboard", ours).map_err(|error| errors.push(error)).ok();
    }
    let mut services = Vec::new();
    for (index, service) in plan.services.iter().enumerate() {
        let address = service.tcp_address().map(SocketAddr::from);
        let given = address.and_then(|address| inherited.take(address));
        let listener = given.map_or_else(|| bind_service(service, ours), |listener| Ok(Some(listener)));
        match listener {
            Ok(listener) => {
                let first_id = (index as u64 + 1) << 40;
                services.push(Supervised::new(service.clone(), listener, first_id));
            }
            Err(error) => errors.push(error),
        }
    }
    for address in inherited.rest() {
        tracing::warn!(%address, "an inherited listener that nothing of the ini file asks for is closed");
    }
    match web {
        Some(web) if errors.is_empty() => Ok((web, services)),
        _ => Err(DaemonError::Listen(errors)),
    }
}

fn bind_service(
    plan: &ServicePlan,
    ours: &HashSet<u32>,
) -> Result<Option<std::net::TcpListener>, ListenError> {
    plan.tcp_address().map(|address| listen(SocketAddr::from(address), &plan.name, ours)).transpose()
}

fn web_options(plan: &Plan, token: String) -> WebOptions {
    let mut options = WebOptions { token: Some(token), ..WebOptions::default() };
    options.allowed_hosts.extend(plan.web.allow_hosts.iter().cloned());
    options.allowed_uids.extend(&plan.web.allow_users);
    options
}

/// Joins the runtime folder as its supervisor; what is seen comes to the loop.
fn observe(folder: &Folder, messages: &mpsc::Sender<Message>) -> Result<Observer, DaemonError> {
    let (observer, events) = Observer::join(folder.path(), ObserverRole::Supervisor)?;
    let messages = messages.clone();
    let forward = move || {
        for event in events {
            if messages.blocking_send(Message::Sighted(event)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("shmrpc-sightings".into())
        .spawn(forward)
        .map_err(|source| DaemonError::Io { doing: "cannot start a thread", source })?;
    Ok(observer)
}
