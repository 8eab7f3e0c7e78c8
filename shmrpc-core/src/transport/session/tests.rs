//! One session against frames by hand: what a peer may do wrong, and what crosses.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::*;
use crate::stream::StreamClosed;

#[derive(Default)]
struct Sent(Mutex<Vec<Frame>>);

impl FrameSink for Sent {
    fn send(&self, frame: Frame) {
        self.0.lock().unwrap().push(frame);
    }
}

impl Sent {
    fn take(&self) -> Vec<Frame> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

const WINDOW: u64 = 1000;

fn session() -> (Arc<Session>, Arc<Sent>) {
    let sent = Arc::new(Sent::default());
    let limits =
        SessionLimits { our_window_bytes: WINDOW, peer_window_bytes: WINDOW, peer_max_message_bytes: 500 };
    (Session::new(Arc::clone(&sent) as Arc<dyn FrameSink>, limits), sent)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn label() -> Arc<Label> {
    let (service, method) = ("bench".into(), "m".into());
    Arc::new(Label { service, method, deadline: Duration::from_secs(1) })
}

fn item(id: u64, len: usize) -> Frame {
    Frame::StreamItem { id, payload: vec![0; len].into() }
}

#[test]
fn credit_is_kept_by_both_ends() {
    let (session, sent) = session();
    let opened = session.open(1, Shape::Duplex, label(), soon()).unwrap();
    // Ours: 936 of 1000 used, so one more may go, and then none.
    for _ in 0..6 {
        opened.sender.send(vec![0; 92]).unwrap();
    }
    opened.sender.send(vec![0; 400]).unwrap();
    let blocked = Instant::now() + Duration::from_millis(20);
    let outbox_full = session.streams(1).unwrap().1.unwrap().send_until(Bytes::new(), blocked);
    assert_eq!(outbox_full, Err(StreamClosed::DeadlineExceeded));
    assert_eq!(sent.take().len(), 7);
    session.on_frame(Frame::Credit { id: 1, bytes: 1000 }).unwrap();
    opened.sender.send(Bytes::new()).unwrap();

    assert!(session.on_frame(Frame::Credit { id: 1, bytes: u64::MAX }).is_err(), "credit without bounds");

    // Theirs: an item beyond the window breaks the protocol.
    session.on_frame(item(1, 999)).unwrap();
    assert!(session.on_frame(item(1, 0)).is_err());
}

#[test]
fn what_was_taken_is_granted_again() {
    let (session, sent) = session();
    let opened = session.open(1, Shape::Download, label(), soon()).unwrap();
    for _ in 0..100 {
        session.on_frame(item(1, 186)).unwrap();
        assert_eq!(opened.receiver.recv().unwrap().unwrap().len(), 186);
    }
    let granted: u64 = sent
        .take()
        .iter()
        .map(|frame| match frame {
            Frame::Credit { id: 1, bytes } => *bytes,
            other => panic!("{other:?}"),
        })
        .sum();
    assert!((25_000 - WINDOW..=25_000).contains(&granted), "{granted} granted for 25,000");
}

#[test]
fn frames_of_closed_calls_are_ignored() {
    let (session, sent) = session();
    let opened = session.open(1, Shape::Duplex, label(), soon()).unwrap();
    session.cancel(1, &RpcError::Cancelled);
    assert_eq!(sent.take(), [Frame::Cancel { id: 1 }]);
    for frame in [
        item(1, 10),
        Frame::StreamEnd { id: 1, status: Status::Ok, reason: String::new() },
        Frame::StreamStop { id: 1 },
        Frame::Credit { id: 1, bytes: u64::MAX },
        Frame::Cancel { id: 1 },
        Frame::Reply { id: 1, status: Status::Ok, payload: Bytes::new() },
    ] {
        assert!(session.on_frame(frame).unwrap().is_none());
    }
    assert!(matches!(opened.receiver.recv(), Some(Err(RpcError::Cancelled))));
    assert_eq!(opened.sender.send(Bytes::new()), Err(StreamClosed::Cancelled));
    drop(opened);
    assert_eq!(sent.take(), []);
}

#[test]
fn a_peer_that_breaks_the_protocol_is_named() {
    let (session, _sent) = session();
    let _unary = session.open(1, Shape::Unary, label(), soon()).unwrap();
    assert!(session.on_frame(item(1, 1)).is_err(), "items for a call without streams");
    assert!(session.on_frame(Frame::Hello(Bytes::new())).is_err());
    let _accepted = session.accept(5, Shape::Unary, soon()).unwrap();
    assert!(session.accept(5, Shape::Unary, soon()).is_err(), "a call id twice");
    assert!(session.accept(0, Shape::Unary, soon()).is_err(), "no call id");
    let opened = session.open(2, Shape::Download, label(), soon()).unwrap();
    session.on_frame(Frame::StreamEnd { id: 2, status: Status::Ok, reason: String::new() }).unwrap();
    assert!(session.on_frame(item(2, 1)).is_err(), "items after their end");
    assert!(opened.receiver.recv().is_none());
}

#[test]
fn a_cancelled_call_is_not_answered() {
    let (session, sent) = session();
    let accepted = session.accept(1, Shape::Duplex, soon()).unwrap();
    let (hook, told) = std::sync::mpsc::channel();
    session.on_cancel(1, &accepted.cancelled, move || hook.send(()).unwrap());
    session.on_frame(Frame::Cancel { id: 1 }).unwrap();
    told.try_recv().unwrap();
    assert!(accepted.cancelled.load(Ordering::Acquire));
    assert_eq!(accepted.stream.sender.send(Bytes::new()), Err(StreamClosed::Cancelled));
    assert!(matches!(accepted.stream.receiver.recv(), Some(Err(RpcError::Cancelled))));
    session.responder(1).reply(b"late");
    drop(accepted.stream);
    assert_eq!(sent.take(), []);
}

#[test]
fn a_reply_beyond_the_peers_limit_becomes_an_error() {
    let (session, sent) = session();
    session.accept(1, Shape::Unary, soon()).unwrap();
    session.responder(1).reply(&[0; 501]);
    let [Frame::Reply { id: 1, status: Status::TooLarge, .. }] = sent.take()[..] else { panic!() };
    let accepted = session.accept(2, Shape::Download, soon()).unwrap();
    assert!(matches!(accepted.stream.sender.send(vec![0; 501]), Err(StreamClosed::TooLarge { .. })));
    let [Frame::StreamEnd { id: 2, status: Status::TooLarge, .. }] = sent.take()[..] else { panic!() };
}

#[test]
fn the_end_of_a_session_ends_everything() {
    let (session, sent) = session();
    let ours = session.open(1, Shape::Duplex, label(), soon()).unwrap();
    let theirs = session.accept(9, Shape::Duplex, soon()).unwrap();
    session.end("gone", |label| label.lost("gone"));
    assert!(matches!(ours.answer.wait_until(soon()), Some(Err(RpcError::ConnectionLost { .. }))));
    assert!(matches!(ours.receiver.recv(), Some(Err(RpcError::ConnectionLost { .. }))));
    assert!(ours.receiver.recv().is_none(), "an error is said once");
    assert!(matches!(ours.sender.send(Bytes::new()), Err(StreamClosed::Failed(_))));
    assert!(theirs.cancelled.load(Ordering::Acquire));
    assert_eq!(session.open(2, Shape::Unary, label(), soon()).err().as_deref(), Some("gone"));
    assert_eq!(session.open_calls(), 0);
    assert_eq!(sent.take(), []);
}
