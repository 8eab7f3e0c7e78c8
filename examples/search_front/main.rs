//! `search_front`: a small web front end of several processes that all ask one search service over shared
//! memory. One index in memory, however many front ends there are.
//!
//! The first process binds the port and starts the others, which take the listener as their standard input;
//! it ends when one of them does, so that whoever supervises it starts all anew.

#[path = "../search_server/api.rs"]
mod api;
mod web;

use std::{
    io,
    net::TcpListener,
    os::fd::{AsFd, OwnedFd},
    process::Stdio,
    time::Duration,
};

use clap::Parser;
use tokio::process::{Child, Command};

/// A web page that searches.
#[derive(Parser)]
struct Args {
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// The port; 0 takes a free one.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Front end processes.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    processes: u8,
    /// Where the search service is.
    #[arg(long, default_value = "shm://")]
    endpoint: String,
    /// Set in the processes that this program starts.
    #[arg(long, hide = true)]
    inherited: bool,
}

#[tokio::main]
async fn main() -> Result<(), String> {
    let args = Args::parse();
    if args.inherited {
        let listener = io::stdin().as_fd().try_clone_to_owned().map(TcpListener::from);
        return match listener {
            Ok(listener) => web::serve(listener, args.endpoint).await.map_err(|error| error.to_string()),
            Err(error) => Err(format!("no listener was inherited: {error}")),
        };
    }
    let address = format!("{}:{}", args.host, args.port);
    let listener =
        TcpListener::bind(&address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
    if let Ok(address) = listener.local_addr() {
        println!("search front end on http://{address}/ ({} processes)", args.processes);
    }
    let mut children = Vec::new();
    for _ in 0..args.processes {
        children
            .push(start(&listener, &args.endpoint).map_err(|error| format!("starting a process: {error}"))?);
    }
    drop(listener);
    supervise(children).await
}

fn start(listener: &TcpListener, endpoint: &str) -> io::Result<Child> {
    let listener = OwnedFd::from(listener.try_clone()?);
    Command::new(std::env::current_exe()?)
        .args(["--inherited", "--endpoint", endpoint])
        .stdin(Stdio::from(listener))
        .kill_on_drop(true)
        .spawn()
}

/// Waits until told to stop, or until a child ends by itself; then stops all.
async fn supervise(mut children: Vec<Child>) -> Result<(), String> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|error| format!("installing a handler for SIGTERM: {error}"))?;
    let ended = {
        let waits = children.iter_mut().map(|child| Box::pin(child.wait()));
        tokio::select! {
            _ = terminate.recv() => None,
            _ = tokio::signal::ctrl_c() => None,
            status = first(waits.collect()) => Some(status),
        }
    };
    for child in &children {
        if let Some(pid) = child.id() {
            // It may have ended in this moment, which is what is wanted.
            let _gone = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid.cast_signed()),
                nix::sys::signal::Signal::SIGTERM,
            );
        }
    }
    for child in &mut children {
        // Who does not stop in time is killed when dropped.
        let _stopped = tokio::time::timeout(Duration::from_secs(3), child.wait()).await;
    }
    match ended {
        None => Ok(()),
        Some(Ok(status)) => Err(format!("a front end process ended with {status}")),
        Some(Err(error)) => Err(format!("waiting for a front end process: {error}")),
    }
}

/// The first of several futures to end.
async fn first<F: Future + Unpin>(mut futures: Vec<F>) -> F::Output {
    std::future::poll_fn(move |cx| {
        for future in &mut futures {
            if let std::task::Poll::Ready(value) = std::pin::Pin::new(future).poll(cx) {
                return std::task::Poll::Ready(value);
            }
        }
        std::task::Poll::Pending
    })
    .await
}
