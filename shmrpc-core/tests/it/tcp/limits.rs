//! Sizes up to the limit and beyond it, and what else a gateway bounds.

use std::{thread, time::Duration};

use serde_json::Value;
use shmrpc_core::{
    BlockingStreamCall, CallError, ConnectError, ConnectOptions, Connection, Door, NoError, RpcError,
    StreamClosed,
    client::Target,
    codec::{Json, Raw},
};

use super::Tcp;
use crate::{
    service::{CHUNKS, ECHO, ECHO_BINCODE, ECHO_JSON, ECHO_MSGPACK, FILL, INFO, SLEEP_ASYNC, eventually},
    suite::{Harness, calls::pattern},
};

const MIB: usize = 1 << 20;

fn echo(client: &Connection, data: &[u8]) -> Result<Vec<u8>, CallError> {
    client.call_raw_blocking::<NoError>(ECHO, data)
}

#[test]
fn up_to_the_limit_and_beyond_it() {
    let server = Tcp::start();
    let client = server.connect();
    for len in [64, MIB, 16 * MIB - 1, 16 * MIB, 64] {
        let data = pattern(len, len);
        assert!(echo(&client, &data).unwrap() == data, "{len} bytes came back changed");
    }
    let error = echo(&client, &pattern(16 * MIB + 1, 1)).unwrap_err();
    let CallError::Rpc(RpcError::TooLarge { what: "arguments", len_bytes, limit_bytes }) = error else {
        panic!("{error:?}");
    };
    assert_eq!((len_bytes, limit_bytes), (16 * MIB as u64 + 1, 16 * MIB as u64));

    let fill = |len: usize| client.call_raw_blocking::<NoError>(FILL, len.to_string().as_bytes());
    assert_eq!(fill(16 * MIB).unwrap().len(), 16 * MIB);
    let error = fill(16 * MIB + 1).unwrap_err();
    assert!(matches!(&error, CallError::Rpc(RpcError::TooLargeAtServer(text)) if text.contains("16777217")));
    assert_eq!(echo(&client, b"still here").unwrap(), b"still here");
}

#[test]
fn either_side_may_want_less() {
    let server = Tcp::with(|options| options.max_message_bytes = 10_000);
    let client = server.connect();
    assert!(echo(&client, &[0; 10_000]).is_ok());
    assert!(matches!(echo(&client, &[0; 10_001]), Err(CallError::Rpc(RpcError::TooLarge { .. }))));

    let server = Tcp::start();
    let client = server.connect_with(|options| options.max_message_bytes = Some(5_000));
    assert!(matches!(echo(&client, &[0; 5_001]), Err(CallError::Rpc(RpcError::TooLarge { .. }))));
    let reply = client.call_raw_blocking::<NoError>(FILL, b"5001");
    assert!(matches!(reply, Err(CallError::Rpc(RpcError::TooLargeAtServer(_)))), "{reply:?}");
    assert!(echo(&client, &[0; 5_000]).is_ok());
}

#[test]
fn an_item_beyond_the_limit_ends_its_stream_alone() {
    let server = Tcp::with(|options| options.max_message_bytes = 10_000);
    let client = server.connect();
    let call: BlockingStreamCall<Vec<u8>, Vec<u8>, Vec<u8>, NoError> =
        client.stream_blocking::<Raw, _, _, _, _, _>(CHUNKS, b"".as_slice()).unwrap();
    call.send(&vec![1; 10_000]).unwrap();
    assert_eq!(call.recv().unwrap().unwrap().len(), 10_000);
    let closed = call.send(&vec![1; 10_001]).unwrap_err();
    assert_eq!(closed, StreamClosed::TooLarge { len_bytes: 10_001, limit_bytes: 10_000 });
    assert_eq!(call.finish().unwrap(), b":10000");
    assert!(echo(&client, b"x").is_ok());
}

#[test]
fn sixteen_large_messages_at_once() {
    let server = Tcp::start();
    let client = server.connect();
    thread::scope(|scope| {
        for n in 0..16 {
            let client = &client;
            scope.spawn(move || {
                let data = pattern(8 * MIB, n);
                assert!(echo(client, &data).unwrap() == data);
            });
        }
    });
}

#[test]
fn guarded_encodings_are_refused_unless_forced() {
    let server = Tcp::with(|options| options.force_insecure_serialisation = false);
    let client = server.connect();
    let target = Target::from(ECHO_BINCODE);
    for door in [Door::Native, Door::Json] {
        let error = client.call_bytes_blocking(target, door, b"[]").unwrap_err();
        assert!(matches!(&error, RpcError::Refused(text) if text.contains("force_insecure")), "{error:?}");
    }
    let args = br#"[{"x":1,"label":null}]"#;
    assert!(client.call_bytes_blocking(Target::from(ECHO_MSGPACK), Door::Json, args).is_ok());
}

#[test]
fn calls_beyond_the_limit_are_busy() {
    let server = Tcp::with(|options| options.max_in_flight = 4);
    let client = server.connect();
    let slow: Vec<_> =
        (0..4).map(|_| client.begin(Target::from(SLEEP_ASYNC), Door::Native, b"[300]").unwrap()).collect();
    let error = client.call_blocking::<Json, _, Value, NoError>(ECHO_JSON, &(1,)).unwrap_err();
    assert!(matches!(error, CallError::Rpc(RpcError::Busy(_))), "{error:?}");
    for call in slow {
        call.wait().unwrap();
    }
    client.call_blocking::<Json, _, Value, NoError>(ECHO_JSON, &(1,)).unwrap();
}

#[test]
fn connections_beyond_the_limit_are_told() {
    let server = Tcp::with(|options| options.max_connections = 2);
    let (first, _second) = (server.connect(), server.connect());
    let options = ConnectOptions::default();
    let third = Connection::connect_any(format!("tcp://{}", server.address()), &options);
    let Err(ConnectError::Refused { reason, .. }) = third else { panic!("a third connection was let in") };
    assert!(reason.contains("limit of 2"), "{reason}");
    assert!(echo(&first, b"x").is_ok());
    drop(first);
    eventually("there is room again", || {
        Connection::connect_any(format!("tcp://{}", server.address()), &options).is_ok()
    });
}

#[test]
fn another_service_is_not_mistaken() {
    let server = Tcp::start();
    let endpoint = format!("tcp://{}", server.address());
    static OTHER: shmrpc_core::method::ServiceInfo =
        shmrpc_core::method::ServiceInfo { name: "other", methods: &[], ..INFO_COPY };
    const INFO_COPY: shmrpc_core::method::ServiceInfo = shmrpc_core::method::ServiceInfo {
        struct_name: "Other",
        name: "",
        port: 1,
        max_workers: None,
        doc: "",
        methods: &[],
    };
    let error = Connection::connect_blocking(&endpoint, &OTHER, &ConnectOptions::default()).err().unwrap();
    assert!(error.to_string().contains("other is not served here, bench is"), "{error}");
    Connection::connect_blocking(&endpoint, &INFO, &ConnectOptions::default()).unwrap();
}

#[test]
fn nobody_there_is_said_at_once() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = Connection::connect_any(format!("tcp://127.0.0.1:{port}"), &ConnectOptions::default());
    assert!(matches!(error.err().unwrap(), ConnectError::Io { .. }));
    let mut options = ConnectOptions::default();
    options.timeout = Duration::from_millis(200);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", silent.local_addr().unwrap());
    let error = Connection::connect_any(endpoint, &options).err().unwrap();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error:?}");
}

/// Beyond what all connections may hold together nothing is lost: they wait for each other.
#[test]
fn connections_share_what_they_may_hold_in_all() {
    let server = Tcp::with(|options| options.max_all_arguments_bytes = MIB);
    thread::scope(|scope| {
        for n in 0..6 {
            let server = &server;
            scope.spawn(move || {
                let client = server.connect();
                for round in 0..4 {
                    let data = pattern(2 * MIB, n * 10 + round);
                    assert!(echo(&client, &data).unwrap() == data);
                }
            });
        }
    });
}
