//! What is said over TLS once the handshake is done: bytes of frames in and out, cipher text at the socket. No call
//! here blocks; one lock keeps a reader and a writer apart for as long as one of them encrypts or decrypts.

use std::{
    io::{self, BufRead, ErrorKind, IoSlice, Write},
    net::TcpStream,
    os::fd::AsRawFd,
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::sys::socket::{MsgFlags, sendmsg};
use rustix::{io::Errno, net::RecvFlags};

use super::records::Records;
use crate::transport::tcp::socket::{Fill, Sink};

/// How much cipher text is asked of the socket at once.
const CHUNK_BYTES: usize = 64 << 10;

pub(in super::super) struct Session(Mutex<State>);

struct State {
    connection: rustls::Connection,
    /// Cipher text that was read and not yet looked at, from `at` on.
    incoming: Vec<u8>,
    at: usize,
    records: Records,
    /// The last byte that was encrypted has not been reported as written: cipher text is left.
    held_back: bool,
    /// Why nothing more can be read.
    broken: Option<rustls::Error>,
}

impl Session {
    pub(super) fn new(connection: rustls::Connection) -> Self {
        Self(Mutex::new(State {
            connection,
            incoming: Vec::new(),
            at: 0,
            records: Records::default(),
            held_back: false,
            broken: None,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is there, without waiting.
    pub(in super::super) fn read(&self, stream: &TcpStream, into: &mut impl Sink) -> io::Result<Fill> {
        self.lock().read(stream, into)
    }

    /// Encrypts and writes. What is reported as written is with the kernel; `None`: it takes nothing now.
    pub(in super::super) fn write(
        &self,
        stream: &TcpStream,
        slices: &[IoSlice<'_>],
    ) -> io::Result<Option<usize>> {
        self.lock().write(stream, slices)
    }

    /// Says that nothing more will be sent, as far as the kernel takes it.
    pub(in super::super) fn finish(&self, stream: &TcpStream) {
        let mut state = self.lock();
        state.connection.send_close_notify();
        // A peer that does not hear it sees the end of the stream, between two frames.
        let _best_effort = state.flush(stream);
    }

    /// Whether a record is under way, of which nothing is to be seen yet.
    pub(in super::super) fn is_inside_record(&self) -> bool {
        self.lock().records.is_inside()
    }
}

impl State {
    fn read(&mut self, stream: &TcpStream, into: &mut impl Sink) -> io::Result<Fill> {
        let mut got_some = false;
        let mut drained = false;
        loop {
            match self.take(into) {
                Taken::Some => got_some = true,
                Taken::Nothing => {}
                // What came before it is dealt with first.
                Taken::End => return Ok(if got_some { Fill::Some } else { Fill::Closed }),
            }
            if into.room() == 0 {
                return Ok(Fill::Some);
            }
            if let Some(error) = &self.broken {
                return if got_some { Ok(Fill::Some) } else { Err(invalid(error)) };
            }
            if self.at == self.incoming.len() {
                if drained {
                    return Ok(if got_some { Fill::Last } else { Fill::Nothing });
                }
                drained = self.receive(stream)?;
            }
            self.decrypt(stream)?;
        }
    }

    /// Hands out what has been decrypted.
    fn take(&mut self, into: &mut impl Sink) -> Taken {
        let mut taken = Taken::Nothing;
        while into.room() > 0 {
            let mut reader = self.connection.reader();
            match reader.fill_buf() {
                // Said goodbye, or ended without: frames know where they end.
                Ok([]) => return if matches!(taken, Taken::Some) { taken } else { Taken::End },
                Ok(bytes) => {
                    let len = bytes.len().min(into.room());
                    into.put(&bytes[..len]);
                    reader.consume(len);
                    taken = Taken::Some;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return if matches!(taken, Taken::Some) { taken } else { Taken::End },
            }
        }
        taken
    }

    /// Reads cipher text once; whether the socket has no more.
    fn receive(&mut self, stream: &TcpStream) -> io::Result<bool> {
        self.incoming.clear();
        self.at = 0;
        self.incoming.reserve(CHUNK_BYTES);
        let room = self.incoming.capacity();
        loop {
            let into = rustix::buffer::spare_capacity(&mut self.incoming);
            match rustix::net::recv(stream, into, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => {
                    // rustls is told of the end, and tells us after what came before.
                    self.connection.read_tls(&mut io::empty())?;
                    self.incoming = Vec::new();
                    return Ok(true);
                }
                Ok((_, read)) => return Ok(read < room),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.incoming = Vec::new();
                    return Ok(true);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Decrypts some of what was read; all of it comes in turns, as rustls holds little.
    fn decrypt(&mut self, stream: &TcpStream) -> io::Result<()> {
        if self.at == self.incoming.len() {
            return Ok(());
        }
        let mut unread = &self.incoming[self.at..];
        let read = self.connection.read_tls(&mut unread)?;
        self.records.follow(&self.incoming[self.at..self.at + read]);
        self.at = if read == 0 { self.incoming.len() } else { self.at + read };
        if self.at == self.incoming.len() {
            // Nothing is kept while a connection is at rest.
            (self.incoming, self.at) = (Vec::new(), 0);
        }
        if let Err(error) = self.connection.process_new_packets() {
            self.broken = Some(error);
        }
        if self.connection.wants_write() {
            // An answer to a change of keys, or an alert: what is not taken now goes with the next frame.
            let _later = self.flush(stream);
        }
        Ok(())
    }

    fn write(&mut self, stream: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        if !self.flush(stream)? {
            return Ok(None);
        }
        if std::mem::take(&mut self.held_back) {
            return Ok(Some(1));
        }
        let accepted = self.connection.writer().write_vectored(slices)?;
        self.held_back = accepted > 0 && !self.flush(stream)?;
        // The writer comes again as long as there is something left: with the byte held back it is.
        let written = accepted - usize::from(self.held_back);
        Ok((written > 0).then_some(written))
    }

    /// Hands cipher text to the kernel; whether it has taken all.
    fn flush(&mut self, stream: &TcpStream) -> io::Result<bool> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Sending(stream)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

enum Taken {
    Some,
    Nothing,
    End,
}

fn invalid(error: &rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error.clone())
}

/// Writes without waiting, and without a signal when the peer is gone.
struct Sending<'a>(&'a TcpStream);

impl Write for Sending<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        Ok(sendmsg::<()>(self.0.as_raw_fd(), slices, &[], flags, None)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
