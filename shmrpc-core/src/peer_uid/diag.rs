//! One question to the kernel over netlink (`sock_diag`): who owns the socket of exactly this connection.
//! Its cost does not grow with the number of connections.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

const BY_FAMILY: u16 = 20;
const ERROR: u16 = 2;
const REQUEST: u16 = 1;
const HEADER_BYTES: usize = 16;
/// Connected, as far as its own end knows: established, closing, or closed by the other side.
const LIVE_STATES: [u8; 4] = [1, 4, 5, 8];

/// The uid of the live socket at `peer` whose other end is `local`; `None` if there is none.
pub(super) fn ask(peer: SocketAddr, local: SocketAddr) -> io::Result<Option<u32>> {
    let kernel = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    send(kernel.as_raw_fd(), &question(peer, local)?, MsgFlags::empty())?;
    let mut answer = [0; 1024];
    let len = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    read_answer(answer.get(..len).unwrap_or_default(), local.port())
}

/// A netlink header and an `inet_diag_req_v2`.
fn question(peer: SocketAddr, local: SocketAddr) -> io::Result<Vec<u8>> {
    let family = match (peer.ip(), local.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_)) => libc::AF_INET,
        (IpAddr::V6(_), IpAddr::V6(_)) => libc::AF_INET6,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "addresses of two families")),
    };
    let mut body = vec![family as u8, libc::IPPROTO_TCP as u8, 0, 0];
    body.extend_from_slice(&u32::MAX.to_ne_bytes()); // any state
    body.extend_from_slice(&peer.port().to_be_bytes());
    body.extend_from_slice(&local.port().to_be_bytes());
    for end in [peer, local] {
        let mut address = [0; 16];
        match end.ip() {
            IpAddr::V4(ip) => address[..4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => address.copy_from_slice(&ip.octets()),
        }
        body.extend_from_slice(&address);
    }
    body.extend_from_slice(&0_u32.to_ne_bytes()); // any interface
    body.extend_from_slice(&[0xff; 8]); // no cookie
    let len = u32::try_from(HEADER_BYTES + body.len()).unwrap_or(0);
    let mut message = len.to_ne_bytes().to_vec();
    message.extend_from_slice(&BY_FAMILY.to_ne_bytes());
    message.extend_from_slice(&REQUEST.to_ne_bytes());
    message.extend_from_slice(&[0; 8]); // sequence and sender
    message.extend_from_slice(&body);
    Ok(message)
}

/// An error, or an `inet_diag_msg`.
fn read_answer(answer: &[u8], local_port: u16) -> io::Result<Option<u32>> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "an answer of sock_diag is too short");
    let word = |at: usize| -> io::Result<u32> {
        let bytes = answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_ne_bytes).ok_or_else(short)
    };
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    match kind.ok_or_else(short)? {
        BY_FAMILY => {}
        ERROR => {
            let number = word(HEADER_BYTES)?.cast_signed().saturating_neg();
            let error = io::Error::from_raw_os_error(number);
            return if number == libc::ENOENT { Ok(None) } else { Err(error) };
        }
        _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "sock_diag answers something else")),
    }
    let body = HEADER_BYTES;
    let state = *answer.get(body + 1).ok_or_else(short)?;
    let remote_port = answer.get(body + 6..body + 8).ok_or_else(short)?;
    let (uid, inode) = (word(body + 64)?, word(body + 68)?);
    // A listener on the same port is found where the connection itself is gone; its remote port is none.
    let is_it = remote_port == local_port.to_be_bytes() && LIVE_STATES.contains(&state) && inode != 0;
    Ok(is_it.then_some(uid))
}
