//! Connections in which nothing happens for longer than they may.

use std::{thread, time::Duration};

use serde_json::{Value, json};
use shmrpc_core::{NoError, Status, codec::Json, frame::Frame};

use super::{Tcp, hostile::Raw};
use crate::{
    service::{ECHO, SLEEP, eventually},
    suite::Harness,
};

fn impatient() -> Tcp {
    Tcp::with(|options| options.idle_timeout = Some(Duration::from_millis(200)))
}

#[test]
fn an_idle_connection_is_told_to_go_and_closed() {
    let server = impatient();
    let mut raw = Raw::introduced(&server);
    let Some(Frame::GoAway { status: Status::Unavailable, reason }) = raw.recv() else { panic!("no word") };
    assert!(reason.contains("nothing was under way"), "{reason}");
    assert!(raw.recv().is_none());
    eventually("it is forgotten", || server.connections() == 0);
}

#[test]
fn a_client_comes_back_with_its_next_call() {
    let server = impatient();
    let client = server.connect();
    for n in 0..3_u8 {
        assert_eq!(client.call_raw_blocking::<NoError>(ECHO, &[n]).unwrap(), [n]);
        eventually("it has gone", || server.connections() == 0);
    }
}

/// Calls that take their time are no idleness, and neither are calls now and then.
#[test]
fn a_connection_in_use_stays() {
    let server = impatient();
    let client = server.connect();
    let slept = client.call_blocking::<Json, _, Value, NoError>(SLEEP, &(1000,)).unwrap();
    assert_eq!(slept, json!(1000));
    let mut raw = Raw::introduced(&server);
    for id in 1..=30 {
        raw.call(id, ECHO.id(), b"x");
        assert_eq!(raw.reply().1, Status::Ok);
        thread::sleep(Duration::from_millis(20));
    }
}
