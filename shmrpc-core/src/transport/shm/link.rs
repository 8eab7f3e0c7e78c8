//! A link: the Unix socket between two processes. It carries messages and descriptors, says who the peer is,
//! and its end is the peer's death notice.
//!
//! Sending never blocks: what the socket does not take is queued and sent by the watcher. Receiving is
//! done by the watcher, or by a thread that needs a descriptor which must have been sent already.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::{
        Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, getsockopt, recvmsg, sendmsg, sockopt::PeerCredentials,
};

use super::{message::Message, node::Party};
use crate::shm::kill_point::kill_point;

const PACKET_BYTES: usize = 32 * 1024;
const MORE: u8 = 1;
const FRAME: u8 = 2;
/// Longest message; a longer one ends the link.
const MAX_MESSAGE_BYTES: usize = 64 << 20;
const MAX_FDS: usize = 4;
/// What may wait to be sent before the link is given up: a peer that never reads.
const MAX_QUEUED_BYTES: usize = 256 << 20;

/// What arrives on a link.
pub(crate) enum Arrival {
    Message(Message, Vec<OwnedFd>),
    /// A stream frame, in the format that TCP uses too.
    Frame(Vec<u8>),
}

pub(crate) struct Link {
    fd: OwnedFd,
    token: u64,
    party: OnceLock<Weak<dyn Party>>,
    receiver: Mutex<Receiver>,
    sender: Mutex<Sender>,
    closed: AtomicBool,
}

#[derive(Default)]
struct Receiver {
    partial: Vec<u8>,
    fds: Vec<OwnedFd>,
}

#[derive(Default)]
struct Sender {
    queue: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    queued_bytes: usize,
}

impl Link {
    /// Takes over a connected socket; refuses a peer of another user.
    pub(crate) fn new(fd: OwnedFd, token: u64) -> io::Result<Self> {
        let peer = getsockopt(&fd, PeerCredentials)?;
        if peer.uid() != nix::unistd::geteuid().as_raw() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("peer belongs to uid {}", peer.uid()),
            ));
        }
        Ok(Self {
            fd,
            token,
            party: OnceLock::new(),
            receiver: Mutex::default(),
            sender: Mutex::default(),
            closed: AtomicBool::new(false),
        })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn token(&self) -> u64 {
        self.token
    }

    /// The process at the other end, if it has a number here.
    pub(crate) fn peer_pid(&self) -> Option<u32> {
        let peer = getsockopt(&self.fd, PeerCredentials).ok()?;
        u32::try_from(peer.pid()).ok().filter(|&pid| pid != 0)
    }

    /// Who in this process the link belongs to; set once.
    pub(crate) fn give_to(&self, party: Weak<dyn Party>) {
        let _ = self.party.set(party);
    }

    pub(crate) fn party(&self) -> Option<&Weak<dyn Party>> {
        self.party.get()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends the link; the watcher of either side then finds its end.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let _ = nix::sys::socket::shutdown(self.fd.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    }

    /// Sends a message with descriptors; `false` when the link has ended.
    pub(crate) fn send(&self, message: &Message, fds: &[BorrowedFd<'_>]) -> bool {
        let text = serde_json::to_vec(message).expect("messages have only fields that JSON can hold");
        self.send_packets(&text, 0, fds)
    }

    /// Sends a stream frame.
    pub(crate) fn send_frame(&self, frame: &[u8]) -> bool {
        self.send_packets(frame, FRAME, &[])
    }

    fn send_packets(&self, bytes: &[u8], flags: u8, fds: &[BorrowedFd<'_>]) -> bool {
        if self.is_closed() {
            return false;
        }
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chunks = bytes.chunks(PACKET_BYTES - 1).peekable();
        let mut fds = fds;
        let mut first = true;
        while first || chunks.peek().is_some() {
            first = false;
            let chunk = chunks.next().unwrap_or(&[]);
            let more = if chunks.peek().is_some() { MORE } else { 0 };
            let mut packet = Vec::with_capacity(chunk.len() + 1);
            packet.push(flags | more);
            packet.extend_from_slice(chunk);
            if sender.queue.is_empty() {
                match send_now(self.fd.as_fd(), &packet, fds) {
                    Ok(()) => {
                        if more != 0 {
                            kill_point("link.half_sent");
                        }
                        fds = &[];
                        continue;
                    }
                    Err(nix::Error::EAGAIN) => {}
                    Err(_) => return self.fail(),
                }
            }
            let Ok(owned) = fds.iter().map(BorrowedFd::try_clone_to_owned).collect() else {
                return self.fail();
            };
            sender.queued_bytes += packet.len();
            if sender.queued_bytes > MAX_QUEUED_BYTES {
                return self.fail();
            }
            sender.queue.push_back((packet, owned));
            fds = &[];
        }
        true
    }

    fn fail(&self) -> bool {
        self.close();
        false
    }

    /// Whether the socket has taken all that was sent.
    pub(crate) fn is_flushed(&self) -> bool {
        self.is_closed() || self.sender.lock().unwrap_or_else(PoisonError::into_inner).queue.is_empty()
    }

    /// Sends what is queued, as far as the socket takes it. Called by the watcher.
    pub(crate) fn flush(&self) {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((packet, owned)) = sender.queue.front() {
            let fds: Vec<BorrowedFd<'_>> = owned.iter().map(AsFd::as_fd).collect();
            match send_now(self.fd.as_fd(), packet, &fds) {
                Ok(()) => {
                    let len = packet.len();
                    sender.queued_bytes -= len;
                    sender.queue.pop_front();
                }
                Err(nix::Error::EAGAIN) => return,
                Err(_) => {
                    self.close();
                    return;
                }
            }
        }
    }

    /// Receives all that has arrived and hands each message over, in order and never concurrently;
    /// `false` at the end of the link.
    pub(crate) fn pump(&self, mut arrived: impl FnMut(Arrival)) -> bool {
        let mut receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        let mut packet = vec![0_u8; PACKET_BYTES];
        loop {
            match receive_now(self.fd.as_fd(), &mut packet, &mut receiver.fds) {
                Ok(0) => return false,
                Ok(len) => {
                    if receiver.partial.len() + len > MAX_MESSAGE_BYTES {
                        return self.fail();
                    }
                    receiver.partial.extend_from_slice(&packet[1..len]);
                    if packet[0] & MORE != 0 {
                        continue;
                    }
                    let bytes = std::mem::take(&mut receiver.partial);
                    let fds = std::mem::take(&mut receiver.fds);
                    if packet[0] & FRAME != 0 {
                        arrived(Arrival::Frame(bytes));
                    } else if let Ok(message) = Message::from_bytes(&bytes) {
                        arrived(Arrival::Message(message, fds));
                    } else {
                        return self.fail();
                    }
                }
                Err(nix::Error::EAGAIN) => return true,
                Err(nix::Error::EINTR) => {}
                Err(_) => return self.fail(),
            }
        }
    }
}

fn send_now(socket: BorrowedFd<'_>, packet: &[u8], fds: &[BorrowedFd<'_>]) -> nix::Result<()> {
    let raw: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &rights[..0] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(packet)], control, flags, None).map(|_sent| ())
}

fn receive_now(socket: BorrowedFd<'_>, packet: &mut [u8], fds: &mut Vec<OwnedFd>) -> nix::Result<usize> {
    let mut space = nix::cmsg_space!([i32; MAX_FDS]);
    let mut slices = [IoSliceMut::new(packet)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
    for control in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            for fd in raw {
                fds.push(crate::shm::adopt_fd(fd));
            }
        }
    }
    if received.flags.contains(MsgFlags::MSG_TRUNC) || fds.len() > MAX_FDS {
        return Err(nix::Error::EPROTO);
    }
    Ok(received.bytes)
}
