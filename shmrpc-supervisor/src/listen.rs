//! The TCP listeners: the dashboard's, and one for each service with `tcp_bind`, bound here once and
//! inherited by all its workers, so that the port stays taken while workers come and go.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
};

use listenfd::ListenFd;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Listeners that a service manager has opened for the daemon (socket activation), found by their addresses.
#[derive(Debug, Default)]
pub struct Inherited(Vec<TcpListener>);

impl Inherited {
    /// Those that the environment announces. Other descriptors than TCP listeners are left alone. Called before there
    /// are threads: the environment is cleaned.
    #[must_use]
    pub fn from_environment() -> Self {
        let mut announced = ListenFd::from_env();
        let listeners =
            (0..announced.len()).filter_map(|index| announced.take_tcp_listener(index).ok().flatten());
        let mut usable: Vec<TcpListener> = listeners.collect();
        // Workers get those that are meant for them, and no other: a port must not outlive the daemon in them.
        let own = |listener: &TcpListener| fcntl(listener, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).is_ok();
        usable.retain(|listener| own(listener) && listener.set_nonblocking(true).is_ok());
        Self(usable)
    }

    /// The one that listens there.
    pub fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let is_there = |listener: &TcpListener| listener.local_addr().is_ok_and(|local| local == address);
        let index = self.0.iter().position(is_there)?;
        Some(self.0.swap_remove(index))
    }

    /// The addresses of those that nobody has taken.
    #[must_use]
    pub fn rest(&self) -> Vec<SocketAddr> {
        self.0.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }
}

/// A port that cannot be listened at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Somebody else has it.
    #[error("port {} on {} for {purpose} is taken{holder}", .address.port(), .address.ip())]
    Taken {
        /// What it was for.
        purpose: String,
        /// The address.
        address: SocketAddr,
        /// Who has it, after ` by `; empty where that is not known.
        holder: String,
    },
    /// Anything else.
    #[error("cannot listen at {address} for {purpose}")]
    Io {
        /// What it was for.
        purpose: String,
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
}

/// Listens. `purpose` says for what: `the dashboard`, `echo_serv`.
///
/// # Errors
/// When the port is taken or the address is not ours.
pub fn listen(address: SocketAddr, purpose: &str) -> Result<TcpListener, ListenError> {
    // The standard library sets SO_REUSEADDR: connections that linger from an earlier daemon do not
    // keep the port.
    let attempt = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    attempt.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => {
            let holder = holder(address).map_or_else(String::new, |holder| format!(" by {holder}"));
            ListenError::Taken { purpose: purpose.into(), address, holder }
        }
        _ => ListenError::Io { purpose: purpose.into(), address, source },
    })
}

/// The process that listens at that port, as far as this user may know.
fn holder(address: SocketAddr) -> Option<String> {
    let entries = procfs::net::tcp().into_iter().chain(procfs::net::tcp6()).flatten();
    let overlaps = |ip: IpAddr| ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified();
    let inode = entries
        .filter(|entry| entry.state == procfs::net::TcpState::Listen)
        .find(|entry| entry.local_address.port() == address.port() && overlaps(entry.local_address.ip()))?
        .inode;
    let holds = |process: &procfs::process::Process| {
        process.fd().is_ok_and(|fds| {
            fds.flatten().any(|fd| matches!(fd.target, procfs::process::FDTarget::Socket(i) if i == inode))
        })
    };
    let process = procfs::process::all_processes().ok()?.flatten().find(holds)?;
    let name = process.stat().map_or_else(|_| "unknown".to_owned(), |stat| stat.comm);
    Some(format!("pid {} ({})", process.pid(), name.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_holder() {
        let first = listen("127.0.0.1:0".parse().unwrap(), "a test").unwrap();
        let address = first.local_addr().unwrap();
        let error = listen(address, "another").unwrap_err().to_string();
        let expected = format!("port {} on 127.0.0.1 for another is taken by pid ", address.port());
        assert!(error.starts_with(&expected), "{error}");
    }

    #[test]
    fn an_address_of_somebody_else_is_named() {
        let error = listen("192.0.2.1:1".parse().unwrap(), "echo").unwrap_err();
        let told = crate::sources::told(&error);
        assert!(told.starts_with("cannot listen at 192.0.2.1:1 for echo: "), "{told}");
    }
}
