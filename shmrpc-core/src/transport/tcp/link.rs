//! One live connection of a client: its session, its queue, and the task on the I/O thread that reads,
//! keeps watch over the peer, and ends it.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, sync::Notify};

use super::{
    reader::{FrameReader, Received},
    socket,
    writer::Writer,
};
use crate::{
    error::Status,
    frame::{
        Frame,
        handshake::{Hello, SNAPPY, Welcome},
    },
    method::ServiceDescription,
    transport::session::{FrameSink, Incoming, Session, SessionLimits},
};

/// How often a connection with calls under way is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2500);
/// After so long a silence a peer that owes an answer is asked.
const PING_AFTER: Duration = Duration::from_secs(5);
/// And given up when it has not said anything for so long after that.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

pub(super) struct Link {
    pub(super) session: Arc<Session>,
    pub(super) writer: Arc<Writer>,
    pub(super) service: Arc<ServiceDescription>,
    /// Longest arguments that the server takes.
    pub(super) peer_max_message_bytes: u64,
    stream: Arc<TcpStream>,
    next_id: AtomicU64,
    /// Why the server takes no more calls, once it has said so.
    goodbye: OnceLock<String>,
    /// The task is asleep until there are calls to watch.
    idle: AtomicBool,
    busy: Notify,
}

impl Link {
    /// Takes over a connection whose handshake is done. Runs on the I/O thread.
    pub(super) fn start(
        stream: Arc<TcpStream>,
        reader: FrameReader,
        hello: &Hello,
        welcome: Welcome,
    ) -> Arc<Self> {
        let writer = Writer::new(Arc::clone(&stream));
        if welcome.compression == SNAPPY {
            writer.compress();
        }
        let limits = SessionLimits {
            our_window_bytes: hello.stream_window_bytes,
            peer_window_bytes: welcome.stream_window_bytes,
            peer_max_message_bytes: welcome.max_message_bytes,
        };
        let link = Arc::new(Self {
            session: Session::new(Arc::clone(&writer) as Arc<dyn FrameSink>, limits),
            writer: Arc::clone(&writer),
            service: Arc::new(welcome.service),
            peer_max_message_bytes: welcome.max_message_bytes,
            stream,
            next_id: AtomicU64::new(1),
            goodbye: OnceLock::new(),
            idle: AtomicBool::new(false),
            busy: Notify::new(),
        });
        tokio::spawn(async move { writer.run().await });
        tokio::spawn(Arc::clone(&link).run(reader));
        link
    }

    /// Whether new calls may be given to it, as far as can be known now.
    pub(super) fn is_usable(&self) -> bool {
        if self.going_away() || self.session.ended().is_some() {
            return false;
        }
        // A server that restarted while nothing was under way has closed; the I/O thread may not have
        // read that yet.
        self.session.open_calls() > 0 || !socket::is_closed(&self.stream)
    }

    pub(super) fn going_away(&self) -> bool {
        self.goodbye.get().is_some()
    }

    pub(super) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// A call has been opened: it is to be watched.
    pub(super) fn wake(&self) {
        if self.idle.load(Ordering::Acquire) {
            self.busy.notify_one();
        }
    }

    /// Ends the connection; calls under way fail.
    pub(super) fn close(&self, reason: &str) {
        self.session.end(reason, |label| label.lost(reason));
        self.writer.close();
    }

    async fn run(self: Arc<Self>, mut reader: FrameReader) {
        let mut heard = Instant::now();
        let mut asked = None;
        let reason = loop {
            tokio::select! {
                received = reader.next() => {
                    heard = Instant::now();
                    match received {
                        Ok(Received::Frame(frame)) => {
                            if let Err(reason) = self.on_frame(frame) {
                                break reason;
                            }
                        }
                        Ok(Received::Oversized { header, error }) => {
                            // Only this call is lost: the frame has been skipped.
                            let (id, status, payload) = (header.id, Status::TooLarge, error.to_string().into());
                            let _frame_of_ours = self.on_frame(Frame::Reply { id, status, payload });
                        }
                        Ok(Received::Closed) => {
                            let reason = self.goodbye.get().map(String::as_str);
                            break reason.unwrap_or("the server closed the connection").to_owned();
                        }
                        Err(error) => break error.to_string(),
                    }
                }
                () = self.time_to_look() => {
                    if let Err(reason) = self.look(heard, &mut asked) {
                        break reason;
                    }
                }
            }
            if let Some(reason) = self.goodbye.get()
                && self.session.end_if_idle(reason)
            {
                break reason.clone();
            }
        };
        self.close(&reason);
    }

    fn on_frame(&self, frame: Frame) -> Result<(), String> {
        match self.session.on_frame(frame) {
            Ok(None | Some(Incoming::Pong | Incoming::Notify)) => {}
            Ok(Some(Incoming::Ping(id))) => self.writer.send(Frame::Pong { id }),
            Ok(Some(Incoming::GoAway { reason })) => {
                let _first_counts = self.goodbye.set(reason);
            }
            Ok(Some(Incoming::Call(call))) => {
                let reason = "this side takes no calls".into();
                self.writer.send(Frame::Reply { id: call.id, status: Status::NoSuchMethod, payload: reason });
            }
            Err(violation) => return Err(violation.to_string()),
        }
        Ok(())
    }

    /// Ends when the peer should be looked after: never while nothing is under way.
    async fn time_to_look(&self) {
        if self.session.open_calls() == 0 {
            self.idle.store(true, Ordering::Release);
            if self.session.open_calls() == 0 {
                self.busy.notified().await;
            }
            self.idle.store(false, Ordering::Release);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }

    fn look(&self, heard: Instant, asked: &mut Option<Instant>) -> Result<(), String> {
        if asked.is_some_and(|at| heard > at) || self.session.open_calls() == 0 {
            *asked = None;
        }
        match *asked {
            Some(at) if at.elapsed() >= GIVE_UP_AFTER => {
                return Err("the server gave no sign of life for 15 s".into());
            }
            None if heard.elapsed() >= PING_AFTER && self.session.open_calls() > 0 => {
                *asked = Some(Instant::now());
                self.writer.send(Frame::Ping { id: 1 });
            }
            Some(_) | None => {}
        }
        Ok(())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.writer.close();
    }
}
