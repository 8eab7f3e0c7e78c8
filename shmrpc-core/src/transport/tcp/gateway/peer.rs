//! One connection of a gateway: who it is, the handshake, and its frames until the end.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};

use super::{Phase, Shared, forward::Forward};
use crate::{
    error::Status,
    frame::{
        Call, DEFAULT_WINDOW_BYTES, Frame, FrameError, Header, Kind, MAX_CONTROL_BYTES, MAX_WINDOW_BYTES,
        VERSION,
        handshake::{Hello, NONE, SNAPPY, Welcome},
    },
    peer_uid,
    transport::{
        session::{FrameSink, Incoming, Session, SessionLimits},
        tcp::{
            reader::{FrameReader, ReadError, Received},
            socket,
            writer::Writer,
        },
    },
};

/// Arguments of calls under way in one connection, before no more are read from it.
const ARGUMENTS_LIMIT_KIB: u32 = 64 << 10;
/// How long a peer that is turned away has to hear why.
const LAST_WORDS: Duration = Duration::from_secs(2);

pub(super) struct Peer {
    shared: Arc<Shared>,
    stream: Arc<TcpStream>,
    writer: Arc<Writer>,
    from: SocketAddr,
    /// Last, so that it is dropped last.
    phase: watch::Receiver<Phase>,
}

/// Why a connection is declined.
struct Declined(Status, String);

/// Tells a peer that it is not served, and closes.
pub(super) async fn turn_away(stream: TcpStream, status: Status, reason: String) {
    let stream = Arc::new(stream);
    let writer = Writer::new(Arc::clone(&stream));
    writer.send(Frame::Refuse { status, reason });
    say_goodbye(&writer, &stream).await;
}

/// Lets the peer read our last frame before the connection is closed: what it has sent is read and
/// dropped, as unread bytes would make the kernel take our words back.
async fn say_goodbye(writer: &Arc<Writer>, stream: &TcpStream) {
    let until_read = async {
        let running = tokio::spawn({
            let writer = Arc::clone(writer);
            async move { writer.run().await }
        });
        writer.flushed().await;
        let write_side = nix::sys::socket::Shutdown::Write;
        let _closed = nix::sys::socket::shutdown(std::os::fd::AsRawFd::as_raw_fd(stream), write_side);
        let mut dropped = [0; 4096];
        while stream.readable().await.is_ok() {
            match stream.try_read(&mut dropped) {
                Ok(0) => break,
                Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => break,
                Ok(_) | Err(_) => {}
            }
        }
        running.abort();
    };
    let _time_is_over = timeout(LAST_WORDS, until_read).await;
    writer.close();
}

impl Peer {
    pub(super) fn new(
        shared: Arc<Shared>,
        stream: TcpStream,
        from: SocketAddr,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        socket::prepare(&stream);
        let stream = Arc::new(stream);
        let writer = Writer::new(Arc::clone(&stream));
        Self { shared, stream, writer, from, phase }
    }

    pub(super) fn writer(&self) -> &Arc<Writer> {
        &self.writer
    }

    pub(super) async fn serve(self) {
        let options = &self.shared.options;
        // Until it has introduced itself a peer may send no long frame.
        let mut reader =
            FrameReader::new(Arc::clone(&self.stream), MAX_CONTROL_BYTES as u64, options.handshake_timeout);
        let introduced = async {
            self.admit().await?;
            self.handshake(&mut reader).await
        };
        let too_slow = || Declined(Status::DeadlineExceeded, "no handshake came in time".into());
        match timeout(options.handshake_timeout, introduced).await.unwrap_or_else(|_| Err(too_slow())) {
            Ok(limits) => {
                reader.set_limits(options.message_limit_bytes(), options.frame_timeout);
                self.talk(reader, limits).await;
            }
            Err(Declined(status, reason)) => {
                self.writer.send(Frame::Refuse { status, reason });
                say_goodbye(&self.writer, &self.stream).await;
            }
        }
    }

    /// Whether this peer may come in at all.
    async fn admit(&self) -> Result<(), Declined> {
        let options = &self.shared.options;
        if !self.from.ip().to_canonical().is_loopback() {
            let reason = "peers on other machines are not allowed here";
            return if options.allow_remote { Ok(()) } else { Err(Declined(Status::Refused, reason.into())) };
        }
        if options.allow_any_local_user {
            return Ok(());
        }
        let local =
            self.stream.local_addr().map_err(|error| Declined(Status::Internal, error.to_string()))?;
        let from = self.from;
        let found = tokio::task::spawn_blocking(move || peer_uid::of_connection(from, local)).await;
        let uid = match found {
            Ok(Ok(Some(uid))) => uid,
            _ => return Err(Declined(Status::Refused, "your user id cannot be determined".into())),
        };
        if uid == 0 || uid == nix::unistd::geteuid().as_raw() || options.allow_uids.contains(&uid) {
            return Ok(());
        }
        Err(Declined(Status::Refused, format!("user id {uid} is not allowed here")))
    }

    async fn handshake(&self, reader: &mut FrameReader) -> Result<SessionLimits, Declined> {
        let protocol = |reason: String| Declined(Status::Protocol, reason);
        let received = reader.next().await.map_err(|error| protocol(error.to_string()))?;
        let Received::Frame(Frame::Hello(body)) = received else {
            return Err(protocol("the first frame must be a Hello".into()));
        };
        let hello: Hello = serde_json::from_slice(&body)
            .map_err(|error| protocol(format!("your Hello cannot be understood: {error}")))?;
        if hello.version != VERSION {
            let theirs = hello.version;
            return Err(protocol(format!("version {theirs} is not spoken here, version {VERSION} is")));
        }
        if hello.stream_window_bytes > MAX_WINDOW_BYTES {
            return Err(protocol(format!("stream_window_bytes may be {MAX_WINDOW_BYTES} at most")));
        }
        let options = &self.shared.options;
        let service = self.shared.upstream.service();
        if let Some(wanted) = &hello.service
            && *wanted != service.name
            && Some(wanted) != options.service.as_ref()
        {
            let reason = format!("{wanted} is not served here, {} is", service.name);
            return Err(Declined(Status::NoSuchMethod, reason));
        }
        let snappy = options.compress && hello.compression.iter().any(|kind| kind == SNAPPY);
        let welcome = Welcome {
            version: VERSION,
            service: service.as_ref().clone(),
            max_message_bytes: options.message_limit_bytes(),
            stream_window_bytes: DEFAULT_WINDOW_BYTES,
            max_in_flight: options.max_in_flight,
            compression: if snappy { SNAPPY } else { NONE }.into(),
        };
        let body =
            serde_json::to_vec(&welcome).map_err(|error| Declined(Status::Internal, error.to_string()))?;
        self.writer.send(Frame::Welcome(body.into()));
        if snappy {
            self.writer.compress();
        }
        Ok(SessionLimits {
            our_window_bytes: DEFAULT_WINDOW_BYTES,
            peer_window_bytes: hello.stream_window_bytes,
            peer_max_message_bytes: hello.max_message_bytes.min(options.message_limit_bytes()),
        })
    }

    /// Frames until the end, whoever makes it.
    async fn talk(self, mut reader: FrameReader, limits: SessionLimits) {
        let session = Session::new(Arc::clone(&self.writer) as Arc<dyn FrameSink>, limits);
        let writing = tokio::spawn({
            let writer = Arc::clone(&self.writer);
            async move { writer.run().await }
        });
        let room = Arc::new(Semaphore::new(ARGUMENTS_LIMIT_KIB as usize));
        let mut phase = self.phase.clone();
        let mut draining = false;
        let ended = loop {
            // A client that does not take what it is sent is not read from until it does.
            self.writer.room().await;
            let received = tokio::select! {
                received = reader.next() => received,
                changed = phase.changed() => match *phase.borrow_and_update() {
                    Phase::Draining if changed.is_ok() && !draining => {
                        draining = true;
                        let reason = "the server is going away".into();
                        self.writer.send(Frame::GoAway { status: Status::Unavailable, reason });
                        continue;
                    }
                    Phase::Draining if changed.is_ok() => continue,
                    _ => break None,
                },
            };
            match received {
                Ok(Received::Closed) => break None,
                Ok(Received::Frame(frame)) => {
                    if let Err(violation) = self.on_frame(&session, &room, frame, draining).await {
                        break Some(violation);
                    }
                }
                Ok(Received::Oversized { header, error }) => {
                    if let Err(violation) = refuse_oversized(&session, &self.writer, header, &error) {
                        break Some(violation);
                    }
                }
                Err(ReadError::Io(_)) => break None,
                Err(error) => break Some(error.to_string()),
            }
        };
        session.end("the client has gone", |label| label.lost("the client has gone"));
        if let Some(reason) = ended {
            self.writer.send(Frame::GoAway { status: Status::Protocol, reason });
            say_goodbye(&self.writer, &self.stream).await;
        }
        self.writer.close();
        writing.abort();
    }

    async fn on_frame(
        &self,
        session: &Arc<Session>,
        room: &Arc<Semaphore>,
        frame: Frame,
        draining: bool,
    ) -> Result<(), String> {
        match session.on_frame(frame) {
            Ok(None | Some(Incoming::Pong | Incoming::Notify | Incoming::GoAway { .. })) => Ok(()),
            Ok(Some(Incoming::Ping(id))) => {
                self.writer.send(Frame::Pong { id });
                Ok(())
            }
            Ok(Some(Incoming::Call(call))) => {
                let held = hold(room, &call).await;
                let forward = Forward {
                    shared: Arc::clone(&self.shared),
                    session: Arc::clone(session),
                    writer: Arc::clone(&self.writer),
                    draining,
                    _phase: self.phase.clone(),
                };
                forward.start(call, held).map_err(|violation| violation.to_string())
            }
            Err(violation) => Err(violation.to_string()),
        }
    }
}

/// Room for a call's arguments: while there is none, no more is read from the client.
async fn hold(room: &Arc<Semaphore>, call: &Call) -> Option<OwnedSemaphorePermit> {
    let kib = u32::try_from(call.payload.len() >> 10).unwrap_or(u32::MAX).min(ARGUMENTS_LIMIT_KIB);
    Arc::clone(room).acquire_many_owned(kib).await.ok()
}

/// A frame beyond the limit has been skipped: what it belongs to fails, the connection lives.
fn refuse_oversized(
    session: &Arc<Session>,
    writer: &Arc<Writer>,
    header: Header,
    error: &FrameError,
) -> Result<(), String> {
    let id = header.id;
    match header.kind {
        Kind::Call => {
            let payload = error.to_string().into();
            writer.send(Frame::Reply { id, status: Status::TooLarge, payload });
        }
        Kind::StreamItem => {
            let reason = error.to_string();
            let _known = session.on_frame(Frame::StreamEnd { id, status: Status::TooLarge, reason });
            writer.send(Frame::StreamStop { id });
        }
        _ => return Err(error.to_string()),
    }
    Ok(())
}

/// When the caller of a gateway's call stops waiting, for what needs an instant.
pub(super) fn until(timeout_ns: u64) -> Instant {
    let most = crate::transport::io::NO_DEADLINE;
    let after = if timeout_ns == 0 { most } else { Duration::from_nanos(timeout_ns).min(most) };
    Instant::now() + after
}
