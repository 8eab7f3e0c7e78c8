//! Streams over shared memory: their frames travel on the link between the client and the one worker that
//! runs the call, in the format and by the session that TCP uses too. Calls with one reply never come
//! this way.

use std::sync::Arc;

use bytes::Bytes;

use super::link::Link;
use crate::{
    frame::{DEFAULT_WINDOW_BYTES, Frame, HEADER_BYTES, Header, decode, encode},
    transport::session::{FrameSink, Incoming, Session, SessionLimits},
};

/// Longest item, argument and reply of a streaming call.
pub(super) const MAX_STREAM_MESSAGE_BYTES: u64 = 32 << 20;

/// The session of a link. It keeps the link, not the other way round.
pub(super) fn session(link: &Arc<Link>) -> Arc<Session> {
    let limits = SessionLimits {
        our_window_bytes: DEFAULT_WINDOW_BYTES,
        peer_window_bytes: DEFAULT_WINDOW_BYTES,
        peer_max_message_bytes: MAX_STREAM_MESSAGE_BYTES,
    };
    Session::new(Arc::new(LinkSink { link: Arc::clone(link) }), limits)
}

struct LinkSink {
    link: Arc<Link>,
}

impl FrameSink for LinkSink {
    fn send(&self, frame: Frame) {
        send(&self.link, frame);
    }
}

/// Sends a frame that is not the session's own.
pub(super) fn send(link: &Link, frame: Frame) {
    let encoded = encode(frame, false);
    if encoded.payload.is_empty() {
        link.send_frame(&encoded.head);
    } else {
        let mut whole = Vec::with_capacity(encoded.len_bytes());
        whole.extend_from_slice(&encoded.head);
        whole.extend_from_slice(&encoded.payload);
        link.send_frame(&whole);
    }
}

/// Hands what arrived to the session; a peer that breaks the protocol loses the link.
pub(super) fn on_frame(link: &Link, session: &Session, bytes: Vec<u8>) -> Option<Incoming> {
    let frame = parse(bytes).and_then(|frame| session.on_frame(frame).map_err(|e| e.to_string()));
    match frame {
        Ok(Some(Incoming::Ping(id))) => {
            send(link, Frame::Pong { id });
            None
        }
        Ok(incoming) => incoming,
        Err(_violation) => {
            link.close();
            None
        }
    }
}

pub(super) fn parse(bytes: Vec<u8>) -> Result<Frame, String> {
    let bytes = Bytes::from(bytes);
    let head = bytes.get(..HEADER_BYTES).and_then(|head| head.try_into().ok()).ok_or("a frame too short")?;
    let header = Header::decode(head).map_err(|e| e.to_string())?;
    decode(header, bytes.slice(HEADER_BYTES..), MAX_STREAM_MESSAGE_BYTES).map_err(|e| e.to_string())
}
