//! What a service manager such as systemd is told: ready, reloading, stopping, how things are, and that the daemon
//! runs. One datagram each, to the socket that the manager names in the environment; without one, nothing.

use std::{
    env,
    ffi::OsString,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};

/// Variables that are meant for the daemon alone: what it starts must not speak for it.
pub const VARIABLES: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// For so long from now the manager is to be patient; it is told so again and again.
const GOING_ON: Duration = Duration::from_secs(30);

/// The manager, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    status: String,
}

impl Notifier {
    /// The manager that the environment names. One that cannot be reached is told about and done without.
    #[must_use]
    pub fn from_environment() -> Self {
        let Some(address) = env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return Self::default();
        };
        let socket = match connect(&address) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(?address, %error, "the service manager cannot be told anything");
                None
            }
        };
        let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
        let is_for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|us| *us > 0 && is_for_us && socket.is_some());
        Self { socket, watchdog: watchdog.map(Duration::from_micros), status: String::new() }
    }

    /// How often the manager wants to hear that we run: it waits twice as long.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|time| time / 2)
    }

    /// All services are started, or have failed; or a reload is done.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// The configuration is being read again.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
    }

    /// The services are being stopped.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Starting or stopping goes on, and every part of it has a limit of its own: the manager's must not cut in.
    pub fn going_on(&self) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}", GOING_ON.as_micros()));
    }

    /// The daemon's loop runs.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// How things are, in a few words; told when they have changed.
    pub fn status(&mut self, status: String) {
        if self.socket.is_some() && status != self.status {
            self.send(&format!("STATUS={status}"));
            self.status = status;
        }
    }

    fn send(&self, text: &str) {
        if let Some(socket) = &self.socket {
            // A manager that does not listen is none of our business.
            let _unheard = socket.send(text.as_bytes());
        }
    }
}

/// A path, or after `@` a name in the abstract namespace.
fn connect(address: &OsString) -> io::Result<UnixDatagram> {
    let bytes = address.as_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A full queue must not stop the daemon.
    socket.set_nonblocking(true)?;
    Ok(socket)
}
