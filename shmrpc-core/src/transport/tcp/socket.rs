//! Options of a TCP socket that both sides set, and looking at it without reading.

use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use tokio::net::TcpStream;

/// A peer whose machine is gone is noticed within fifteen seconds, by the kernel: asleep connections cost
/// no CPU of ours.
const PROBE_AFTER_S: u32 = 5;
const PROBE_EVERY_S: u32 = 5;
const PROBES: u32 = 2;
const UNACKNOWLEDGED_MS: u32 = 15_000;

/// Sends at once, and lets the kernel watch the peer.
pub(super) fn prepare(stream: &TcpStream) {
    // Each of these makes a connection better, none is needed for it to work.
    let _best_effort = stream.set_nodelay(true);
    let fd = stream.as_fd();
    let _best_effort = setsockopt(&fd, sockopt::KeepAlive, &true);
    let _best_effort = setsockopt(&fd, sockopt::TcpKeepIdle, &PROBE_AFTER_S);
    let _best_effort = setsockopt(&fd, sockopt::TcpKeepInterval, &PROBE_EVERY_S);
    let _best_effort = setsockopt(&fd, sockopt::TcpKeepCount, &PROBES);
    let _best_effort = setsockopt(&fd, sockopt::TcpUserTimeout, &UNACKNOWLEDGED_MS);
}

/// Whether the peer has closed or broken the connection, as far as the kernel knows now.
pub(super) fn is_closed(stream: &TcpStream) -> bool {
    let mut byte = [0];
    match recv(stream.as_raw_fd(), &mut byte, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
        Ok(0) => true,
        Ok(_) | Err(nix::Error::EAGAIN | nix::Error::EINTR) => false,
        Err(_) => true,
    }
}
