//! Calls with one reply.

use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use shmrpc_core::{
    CallError, Connection, Door, NoError, RpcError, Status,
    client::Target,
    codec::{Bincode, Decode, DecodeLimit, Json, Msgpack},
};

use super::Harness;
use crate::service::{
    ECHO, ECHO_BINCODE, ECHO_JSON, ECHO_MSGPACK, FAILS, PANICS, Point, SLEEP, SLEEP_ASYNC, TestError,
    UNKNOWN, eventually,
};

/// Bytes whose every position tells.
pub(crate) fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(31) ^ (i >> 8) ^ seed.wrapping_mul(97)) as u8).collect()
}

fn echo(client: &Connection, data: &[u8]) -> Vec<u8> {
    client.call_raw_blocking::<NoError>(ECHO, data).unwrap()
}

fn echo_json(client: &Connection, value: &Value) -> Result<Value, CallError> {
    client.call_blocking::<Json, _, _, _>(ECHO_JSON, &(value,))
}

fn sleep(client: &Connection, ms: u64) -> Result<u64, CallError> {
    client.call_blocking::<Json, _, _, _>(SLEEP, &(ms,))
}

pub(crate) fn sizes(harness: &impl Harness) {
    let client = harness.connect();
    for len in [0, 1, 2, 63, 64, 65, 511, 512, 513, 1023, 4095, 4096, 4097, 32_768, 65_535, 65_536, 1] {
        let data = pattern(len, len);
        assert!(echo(&client, &data) == data, "{len} bytes came back changed");
    }
}

pub(crate) fn every_encoding(harness: &impl Harness) {
    let client = harness.connect();
    let point = Point { x: -3, label: Some("p".into()) };
    let value = json!({"a": [1, 2.5, null], "b": "ü"});
    assert_eq!(echo_json(&client, &value).unwrap(), value);
    let back = client.call_blocking::<Msgpack, _, Point, NoError>(ECHO_MSGPACK, &(&point,));
    assert_eq!(back.unwrap(), point);
    let back = client.call_blocking::<Bincode, _, Point, NoError>(ECHO_BINCODE, &(&point,));
    assert_eq!(back.unwrap(), point);
}

pub(crate) fn json_door(harness: &impl Harness) {
    let client = harness.connect();
    let args = br#"[{"x": 5, "label": null}]"#;
    let reply = client.call_bytes_blocking(Target::from(ECHO_MSGPACK), Door::Json, args).unwrap();
    assert_eq!(reply.status, Status::Ok);
    assert_eq!(serde_json::from_slice::<Value>(&reply.body).unwrap(), json!({"x": 5, "label": null}));
    let refused = client.call_bytes_blocking(Target::from(ECHO), Door::Json, b"[]");
    assert!(matches!(refused, Err(RpcError::BadArguments(_))), "{refused:?}");
}

pub(crate) fn many_threads(harness: &impl Harness) {
    let client = harness.connect();
    thread::scope(|scope| {
        for thread in 0..8 {
            let client = &client;
            scope.spawn(move || {
                for n in 0..100 {
                    let data = pattern((thread * 977 + n * 131) % 40_000, n);
                    assert!(echo(client, &data) == data);
                }
            });
        }
    });
}

pub(crate) fn many_tasks(harness: &impl Harness) {
    let client = harness.connect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let calls = (0..400_u64).map(|n| {
            let client = client.clone();
            tokio::spawn(async move {
                let value = json!({ "n": n });
                let back: Value = client.call::<Json, _, _, NoError>(ECHO_JSON, &(&value,)).await.unwrap();
                assert_eq!(back, value);
            })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap();
        }
    });
}

pub(crate) fn out_of_order(harness: &impl Harness) {
    let client = harness.connect();
    let slow = client.begin(Target::from(SLEEP_ASYNC), Door::Native, b"[400]").unwrap();
    let started = Instant::now();
    for n in 0..50 {
        assert_eq!(echo_json(&client, &json!(n)).unwrap(), json!(n));
    }
    let quick = started.elapsed();
    let reply = slow.wait().unwrap();
    assert_eq!(reply.body, b"400");
    // Not how quick, but that the fifty did not wait for the slow one each.
    assert!(quick < Duration::from_secs(10), "fifty quick calls took {quick:?} behind one slow one");
}

pub(crate) fn deadline(harness: &impl Harness) {
    let client = harness.connect();
    let hasty = client.with_deadline(Duration::from_millis(60));
    for _ in 0..3 {
        let error = sleep(&hasty, 400).unwrap_err();
        let CallError::Rpc(RpcError::DeadlineExceeded { service, method, after }) = error else {
            panic!("{error:?}");
        };
        assert_eq!((service.as_str(), method.as_str()), ("bench", "sleep"));
        assert_eq!(after, Duration::from_millis(60));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(hasty.call::<Json, _, u64, NoError>(SLEEP, &(400,))).unwrap_err();
    assert!(matches!(error, CallError::Rpc(RpcError::DeadlineExceeded { .. })), "{error:?}");
    assert_eq!(sleep(&client, 1).unwrap(), 1, "the connection is unusable after a deadline");
}

pub(crate) fn cancel_by_drop(harness: &impl Harness) {
    let client = harness.connect();
    for _ in 0..20 {
        drop(client.begin(Target::from(SLEEP_ASYNC), Door::Native, b"[30]").unwrap());
    }
    let data = pattern(1000, 1);
    assert_eq!(echo(&client, &data), data);
}

pub(crate) fn panic_is_an_error(harness: &impl Harness) {
    let client = harness.connect();
    for _ in 0..3 {
        let error = client.call_blocking::<Json, _, (), NoError>(PANICS, &[(); 0]).unwrap_err();
        let CallError::Rpc(RpcError::Panicked(text)) = error else { panic!("{error:?}") };
        assert_eq!(text, "on purpose");
    }
    assert_eq!(sleep(&client, 0).unwrap(), 0);
}

pub(crate) fn typed_error(harness: &impl Harness) {
    let client = harness.connect();
    let error = client.call_blocking::<Json, _, (), TestError>(FAILS, &(7,)).unwrap_err();
    let CallError::Service(error) = error else { panic!("{error:?}") };
    assert_eq!(error, TestError::NotToday { code: 7 });
}

pub(crate) fn unknown_method(harness: &impl Harness) {
    let client = harness.connect();
    let error = client.call_bytes_blocking(Target::from(&UNKNOWN), Door::Native, b"[]").unwrap_err();
    assert!(matches!(error, RpcError::NoSuchMethod(_)), "{error:?}");
    assert!(error.to_string().contains("unknown"), "{error}");
}

pub(crate) fn bad_arguments(harness: &impl Harness) {
    let client = harness.connect();
    let error = client.call_bytes_blocking(Target::from(SLEEP), Door::Native, b"[\"no\"]").unwrap_err();
    assert!(matches!(error, RpcError::BadArguments(_)), "{error:?}");
}

/// The error says which limit, the connection is usable, and a reply beyond it is told from arguments.
pub(crate) fn decode_limit(harness: &impl Harness) {
    let client = harness.connect();
    let deep = "[".repeat(1000);
    let error =
        client.call_bytes_blocking(Target::from(ECHO_JSON), Door::Native, deep.as_bytes()).unwrap_err();
    let is_deep = |error: &RpcError, whose| matches!(error, RpcError::DecodeLimit { what, limit: DecodeLimit::Depth } if *what == whose);
    assert!(is_deep(&error, "arguments"), "{error:?}");
    let error = RpcError::from(<Json as Decode<Value>>::decode(deep.as_bytes()).unwrap_err());
    assert!(is_deep(&error, "reply"), "{error:?}");
    assert_eq!(echo_json(&client, &json!([[1]])).unwrap(), json!([[1]]));
}

pub(crate) fn many_clients(harness: &impl Harness) {
    thread::scope(|scope| {
        for number in 0..12 {
            scope.spawn(move || {
                let client = harness.connect();
                for n in 0..20 {
                    let data = pattern(number * 100 + n, n);
                    assert_eq!(echo(&client, &data), data);
                }
            });
        }
    });
    eventually("every call was counted", || harness.service().calls.load(Ordering::Relaxed) == 240);
}
