//! The TCP listeners: the dashboard's, and one for each service with `tcp_bind`, bound here once and
//! inherited by all its workers, so that the port stays taken while workers come and go.

use std::{
    collections::HashSet,
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    os::fd::AsRawFd,
};

use listenfd::ListenFd;
use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen as listen_at, setsockopt,
        socket, sockopt,
    },
};
use procfs::process::Process;

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

/// Listens. `purpose` says for what: `the dashboard`, `echo_serv`. Workers of ours that have the port from an
/// earlier daemon keep it, and share it: `ours` are their process ids. What is shared is [`open`]ed when there is
/// a worker to accept at it: until then all connections are to come to those.
///
/// # Errors
/// When the port is taken or the address is not ours.
pub fn listen(address: SocketAddr, purpose: &str, ours: &HashSet<u32>) -> Result<TcpListener, ListenError> {
    let taken = |holder: Option<Process>| {
        let holder = holder.map_or_else(String::new, |process| format!(" by {}", named(&process)));
        ListenError::Taken { purpose: purpose.into(), address, holder }
    };
    // The kernel would let us share with any process of our user.
    let shared = listening_inode(address);
    if let Some(inode) = shared {
        let holds_it =
            |pid: &u32| Process::new(pid.cast_signed()).is_ok_and(|process| holds(&process, inode));
        if !ours.iter().any(holds_it) {
            return Err(taken(holder(inode)));
        }
    }
    let bound = bind_shareable(address).and_then(|listener| {
        if shared.is_none() {
            open(&listener)?;
        }
        Ok(listener)
    });
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => taken(listening_inode(address).and_then(holder)),
        _ => ListenError::Io { purpose: purpose.into(), address, source },
    })
}

/// Has connections come to a listener, from now on if they have not yet.
///
/// # Errors
/// When somebody else has taken the port meanwhile.
pub fn open(listener: &TcpListener) -> io::Result<()> {
    Ok(listen_at(listener, Backlog::MAXCONN)?)
}

/// A socket beside which the next daemon may have one of its own, while workers still hold this one.
fn bind_shareable(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Stream, flags, None)?;
    // Connections that linger from an earlier daemon do not keep the port.
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    setsockopt(&socket, sockopt::ReusePort, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(socket.into())
}

/// The socket that listens there, on any address that overlaps.
fn listening_inode(address: SocketAddr) -> Option<u64> {
    if address.port() == 0 {
        return None;
    }
    let entries = procfs::net::tcp().into_iter().chain(procfs::net::tcp6()).flatten();
    let overlaps = |ip: IpAddr| ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified();
    let mut listening = entries.filter(|entry| entry.state == procfs::net::TcpState::Listen);
    let found = listening
        .find(|entry| entry.local_address.port() == address.port() && overlaps(entry.local_address.ip()));
    found.map(|entry| entry.inode)
}

fn holds(process: &Process, inode: u64) -> bool {
    process.fd().is_ok_and(|fds| {
        fds.flatten().any(|fd| matches!(fd.target, procfs::process::FDTarget::Socket(i) if i == inode))
    })
}

/// The process that has that socket, as far as this user may know.
fn holder(inode: u64) -> Option<Process> {
    procfs::process::all_processes().ok()?.flatten().find(|process| holds(process, inode))
}

fn named(process: &Process) -> String {
    let name = process.stat().map_or_else(|_| "unknown".to_owned(), |stat| stat.comm);
    format!("pid {} ({})", process.pid(), name.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_holder() {
        let first = listen("127.0.0.1:0".parse().unwrap(), "a test", &HashSet::new()).unwrap();
        let address = first.local_addr().unwrap();
        let error = listen(address, "another", &HashSet::new()).unwrap_err().to_string();
        let expected = format!("port {} on 127.0.0.1 for another is taken by pid ", address.port());
        assert!(error.starts_with(&expected), "{error}");
    }

    #[test]
    fn a_port_is_shared_with_workers_of_an_earlier_daemon_alone() {
        let first = listen("127.0.0.1:0".parse().unwrap(), "a test", &HashSet::new()).unwrap();
        let address = first.local_addr().unwrap();
        let second = listen(address, "another", &HashSet::from([std::process::id()])).unwrap();
        assert_eq!(second.local_addr().unwrap(), address);
        drop((first, second));
        drop(listen(address, "a third", &HashSet::new()).unwrap());
    }

    #[test]
    fn an_address_of_somebody_else_is_named() {
        let error = listen("192.0.2.1:1".parse().unwrap(), "echo", &HashSet::new()).unwrap_err();
        let told = crate::sources::told(&error);
        assert!(told.starts_with("cannot listen at 192.0.2.1:1 for echo: "), "{told}");
    }
}
