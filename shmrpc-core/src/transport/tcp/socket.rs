//! A connected TCP socket that any thread may read, write, wait for and close, in the clear or over TLS; nothing
//! here knows frames. It blocks only where that is asked for, and never for long.

use std::{
    io::{self, IoSlice},
    net::{Shutdown, TcpStream},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        socket::{MsgFlags, sendmsg, setsockopt, sockopt},
        time::TimeSpec,
    },
};
use rustix::{io::Errno, net::RecvFlags};

use super::tls;

/// A peer whose machine is gone is noticed within fifteen seconds, by the kernel: asleep connections cost
/// no CPU of ours.
const PROBE_AFTER_S: u32 = 5;
const PROBE_EVERY_S: u32 = 5;
const PROBES: u32 = 2;
const UNACKNOWLEDGED_MS: u32 = 15_000;

/// No wait is longer.
pub(super) const SLICE: Duration = Duration::from_millis(500);

/// Whether reading may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    No,
    /// Until something is there, for [`SLICE`] at most.
    Slice,
}

pub(super) struct Socket {
    stream: TcpStream,
    /// `None`: in the clear.
    tls: Option<Box<tls::Session>>,
}

/// Where plain text goes that has been decrypted.
pub(super) trait Sink {
    /// How much more it takes.
    fn room(&self) -> usize;
    /// Takes some, no more than it has room for.
    fn put(&mut self, bytes: &[u8]);
}

/// What reading has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// Bytes, and there may be more.
    Some,
    /// Bytes, and there were no more.
    Last,
    /// Nothing is there now.
    Nothing,
    /// The peer will send nothing more.
    Closed,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        // What must not block says so each time; what may has an end.
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(SLICE))?;
        Ok(Self { stream, tls: None })
    }

    /// A socket whose TLS handshake is done.
    pub(super) fn over_tls(stream: TcpStream, session: tls::Session) -> io::Result<Self> {
        Ok(Self { tls: Some(Box::new(session)), ..Self::new(stream)? })
    }

    /// Whether bytes may be here that the poller does not hear of: they came with the handshake.
    pub(super) fn may_have_more(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether the peer has begun something of which nothing can be seen before it is whole.
    pub(super) fn is_inside_record(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_inside_record())
    }

    /// Reads once.
    pub(super) fn read(&self, into: &mut [u8], wait: Wait) -> io::Result<(Fill, usize)> {
        let room = into.len();
        if let Some(tls) = &self.tls {
            let mut left = into;
            let fill = self.decrypt(tls, &mut left, wait)?;
            return Ok((fill, room - left.len()));
        }
        let read = self.receive(into, wait)?;
        Ok(read.map_or((Fill::Nothing, 0), |read| (fill(read, room), read)))
    }

    /// Reads once, into what a vector has room for; the room need not be cleared before.
    pub(super) fn read_into(&self, into: &mut Vec<u8>, wait: Wait) -> io::Result<Fill> {
        if let Some(tls) = &self.tls {
            return self.decrypt(tls, &mut &mut *into, wait);
        }
        let room = into.capacity() - into.len();
        let before = into.len();
        match self.receive(rustix::buffer::spare_capacity(into), wait)? {
            Some(_) => Ok(fill(into.len() - before, room)),
            None => Ok(Fill::Nothing),
        }
    }

    fn decrypt(&self, tls: &tls::Session, into: &mut impl Sink, wait: Wait) -> io::Result<Fill> {
        let fill = tls.read(&self.stream, into)?;
        if fill != Fill::Nothing || wait == Wait::No {
            return Ok(fill);
        }
        // Not while reading: whoever writes needs the session.
        self.wait_readable(SLICE);
        tls.read(&self.stream, into)
    }

    fn receive<B: rustix::buffer::Buffer<u8>>(&self, into: B, wait: Wait) -> io::Result<Option<usize>> {
        let flags = match wait {
            Wait::No => RecvFlags::DONTWAIT,
            Wait::Slice => RecvFlags::empty(),
        };
        match rustix::net::recv(&self.stream, into, flags) {
            Ok((_, read)) => Ok(Some(read)),
            Err(Errno::INTR | Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes once. `None`: the kernel takes nothing now.
    pub(super) fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        if let Some(tls) = &self.tls {
            return tls.write(&self.stream, slices);
        }
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        loop {
            return match sendmsg::<()>(self.stream.as_raw_fd(), slices, &[], flags, None) {
                Ok(written) => Ok(Some(written)),
                Err(nix::Error::EINTR) => continue,
                Err(nix::Error::EAGAIN) => Ok(None),
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Blocks the thread until there is something to read, at most for so long.
    pub(super) fn wait_readable(&self, at_most: Duration) {
        let mut polled = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
        // Whatever it says, the next read knows better.
        let _ready = ppoll(&mut polled, Some(TimeSpec::from(at_most)), None);
    }

    /// Ends the connection for both sides, whoever reads or writes it now.
    pub(super) fn close(&self) {
        self.say_goodbye();
        // Fails if the peer has closed already, which is as good.
        let _closed = self.stream.shutdown(Shutdown::Both);
    }

    /// Sends nothing more; the peer may.
    pub(super) fn finish(&self) {
        self.say_goodbye();
        let _closed = self.stream.shutdown(Shutdown::Write);
    }

    fn say_goodbye(&self) {
        if let Some(tls) = &self.tls {
            tls.finish(&self.stream);
        }
    }
}

fn fill(read: usize, room: usize) -> Fill {
    match read {
        0 => Fill::Closed,
        _ if read < room => Fill::Last,
        _ => Fill::Some,
    }
}

impl Sink for &mut [u8] {
    fn room(&self) -> usize {
        self.len()
    }

    fn put(&mut self, bytes: &[u8]) {
        let (here, rest) = std::mem::take(self).split_at_mut(bytes.len());
        here.copy_from_slice(bytes);
        *self = rest;
    }
}

/// As much as there is capacity for.
impl Sink for &mut Vec<u8> {
    fn room(&self) -> usize {
        self.capacity() - self.len()
    }

    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Sends at once, and lets the kernel watch the peer.
pub(super) fn prepare(stream: &impl AsFd) {
    // Each of these makes a connection better, none is needed for it to work.
    let fd = stream.as_fd();
    let _best_effort = setsockopt(&fd, sockopt::TcpNoDelay, &true);
    let _best_effort = setsockopt(&fd, sockopt::KeepAlive, &true);
    let _best_effort = setsockopt(&fd, sockopt::TcpKeepIdle, &PROBE_AFTER_S);
    let _best_effort = setsockopt(&fd, sockopt::TcpKeepInterval, &PROBE_EVERY_S);
    let _best_effort = setsockopt(&fd, sockopt::TcpKeepCount, &PROBES);
    let _best_effort = setsockopt(&fd, sockopt::TcpUserTimeout, &UNACKNOWLEDGED_MS);
}
