//! The service that the suite calls, with one method for each thing that a transport must carry. Written
//! by hand as the macro would write it: the macro lives in another crate.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shmrpc_core::{
    Encoding, NoError, NoItems, Service, StreamReceiver, StreamSender,
    codec::{Bincode, Json, Msgpack},
    method::{MethodInfo, ServiceInfo, Shape, method_id},
    server::{IncomingCall, glue},
};

/// Counts what its handlers saw.
#[derive(Default)]
pub(crate) struct Bench {
    pub(crate) calls: AtomicU64,
    pub(crate) items_sent: AtomicU64,
    pub(crate) streams_closed: AtomicU64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) x: i64,
    pub(crate) label: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum TestError {
    NotToday { code: u32 },
}

const fn method(name: &'static str, encoding: Encoding, shape: Shape, signature: &'static str) -> MethodInfo {
    MethodInfo {
        id: method_id(name, encoding, shape, signature),
        name,
        encoding,
        shape,
        signature,
        params: &[],
        returns: "",
        doc: "",
        idempotent: false,
        read_only: false,
        deadline: None,
    }
}

pub(crate) static ECHO: &MethodInfo = &METHODS[0];
pub(crate) static ECHO_JSON: &MethodInfo = &METHODS[1];
pub(crate) static ECHO_MSGPACK: &MethodInfo = &METHODS[2];
pub(crate) static ECHO_BINCODE: &MethodInfo = &METHODS[3];
pub(crate) static SLEEP: &MethodInfo = &METHODS[4];
pub(crate) static SLEEP_ASYNC: &MethodInfo = &METHODS[5];
pub(crate) static PANICS: &MethodInfo = &METHODS[6];
pub(crate) static FAILS: &MethodInfo = &METHODS[7];
pub(crate) static COUNT: &MethodInfo = &METHODS[8];
pub(crate) static SUM: &MethodInfo = &METHODS[9];
pub(crate) static DOUBLE: &MethodInfo = &METHODS[10];
pub(crate) static ENDLESS: &MethodInfo = &METHODS[11];
pub(crate) static THREE_THEN_ERROR: &MethodInfo = &METHODS[12];
pub(crate) static THREE_THEN_PANIC: &MethodInfo = &METHODS[13];
pub(crate) static TAKE_TWO: &MethodInfo = &METHODS[14];
pub(crate) static CHUNKS: &MethodInfo = &METHODS[15];
pub(crate) static DOUBLE_ASYNC: &MethodInfo = &METHODS[16];
pub(crate) static FILL: &MethodInfo = &METHODS[17];
/// Known to no server.
pub(crate) static UNKNOWN: MethodInfo = method("unknown", Encoding::Json, Shape::Unary, "()");

pub(crate) static METHODS: [MethodInfo; 18] = [
    method("echo", Encoding::Raw, Shape::Unary, "(&[u8])->Vec<u8>"),
    method("echo_json", Encoding::Json, Shape::Unary, "(Value)->Value"),
    method("echo_msgpack", Encoding::Msgpack, Shape::Unary, "(Point)->Point"),
    method("echo_bincode", Encoding::Bincode, Shape::Unary, "(Point)->Point"),
    method("sleep", Encoding::Json, Shape::Unary, "(u64)->u64"),
    method("sleep_async", Encoding::Json, Shape::Unary, "(u64)->u64"),
    method("panics", Encoding::Json, Shape::Unary, "()"),
    method("fails", Encoding::Json, Shape::Unary, "(u32)->Result<(),TestError>"),
    method("count", Encoding::Json, Shape::Download, "(u64,StreamSender<u64>)->u64"),
    method("sum", Encoding::Msgpack, Shape::Upload, "(StreamReceiver<u64>)->u64"),
    method("double", Encoding::Json, Shape::Duplex, "(StreamSender<u64>,StreamReceiver<u64>)->u64"),
    method("endless", Encoding::Json, Shape::Download, "(usize,StreamSender<String>)"),
    method("three_then_error", Encoding::Json, Shape::Download, "(StreamSender<u64>)->Result<(),TestError>"),
    method("three_then_panic", Encoding::Json, Shape::Download, "(StreamSender<u64>)"),
    method("take_two", Encoding::Json, Shape::Upload, "(StreamReceiver<Vec<u64>>)->u64"),
    method("chunks", Encoding::Raw, Shape::Duplex, "(&[u8],StreamSender<Vec<u8>>,StreamReceiver<Vec<u8>>)"),
    method("double_async", Encoding::Json, Shape::Duplex, "(StreamSender<u64>,StreamReceiver<u64>)->u64"),
    method("fill", Encoding::Raw, Shape::Unary, "(&[u8])->Vec<u8>"),
];

pub(crate) static INFO: ServiceInfo = ServiceInfo {
    struct_name: "Bench",
    name: "bench",
    port: 5599,
    max_workers: None,
    doc: "What the transport suite calls.",
    methods: &METHODS,
};

impl Service for Bench {
    fn info(&self) -> &'static ServiceInfo {
        &INFO
    }

    fn dispatch(self: Arc<Self>, index: usize, call: IncomingCall<'_>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        match METHODS[index].name {
            "echo" => glue::raw(call, |data| Ok::<_, NoError>(data.to_vec())),
            "echo_json" => glue::unary::<Json, _, _, _>(call, |(value,): (Value,)| Ok::<_, NoError>(value)),
            "echo_msgpack" => glue::unary::<Msgpack, _, _, _>(call, |(p,): (Point,)| Ok::<_, NoError>(p)),
            "echo_bincode" => glue::unary::<Bincode, _, _, _>(call, |(p,): (Point,)| Ok::<_, NoError>(p)),
            "sleep" => glue::unary::<Json, _, _, _>(call, |(ms,): (u64,)| {
                thread::sleep(Duration::from_millis(ms));
                Ok::<_, NoError>(ms)
            }),
            "sleep_async" => glue::unary_async::<Json, _, _, _, _>(call, |(ms,): (u64,)| async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok::<_, NoError>(ms)
            }),
            "panics" => glue::unary::<Json, _, _, _>(call, |_: [(); 0]| -> Result<(), NoError> {
                panic!("on purpose");
            }),
            "fails" => glue::unary::<Json, _, _, _>(call, |(code,): (u32,)| {
                Err::<(), _>(TestError::NotToday { code })
            }),
            "fill" => glue::raw(call, |data| {
                let len = std::str::from_utf8(data).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
                Ok::<_, NoError>(vec![b'f'; len])
            }),
            name => self.dispatch_stream(name, call),
        }
    }
}

impl Bench {
    fn dispatch_stream(&self, name: &str, call: IncomingCall<'_>) {
        match name {
            "count" => glue::stream::<Json, _, u64, NoItems, _, _>(call, |(n,): (u64,), out, _| {
                (0..n).try_for_each(|i| out.send(&i)).map_err(|_closed| ()).ok();
                Ok::<_, NoError>(n)
            }),
            "sum" => glue::stream::<Msgpack, _, NoItems, u64, _, _>(call, |_: [(); 0], _, input| {
                Ok::<u64, NoError>(input.map_while(Result::ok).sum())
            }),
            "double" => glue::stream::<Json, _, _, _, _, _>(
                call,
                |_: [(); 0], out: StreamSender<u64>, input: StreamReceiver<u64>| {
                    let doubled = input.map_while(Result::ok).map(|n| out.send(&(2 * n)));
                    Ok::<_, NoError>(doubled.take_while(Result::is_ok).count())
                },
            ),
            "double_async" => glue::stream_async::<Json, _, _, _, _, _, _>(
                call,
                |_: [(); 0], out: StreamSender<u64>, input: StreamReceiver<u64>| async move {
                    let mut count = 0_usize;
                    while let Some(Ok(n)) = input.recv_async().await {
                        if out.send_async(&(2 * n)).await.is_err() {
                            break;
                        }
                        count += 1;
                    }
                    Ok::<_, NoError>(count)
                },
            ),
            "endless" => glue::stream::<Json, _, String, NoItems, _, _>(call, |(len,): (usize,), out, _| {
                let item = "x".repeat(len);
                while out.send(&item).is_ok() {
                    self.items_sent.fetch_add(1, Ordering::Relaxed);
                }
                self.streams_closed.fetch_add(1, Ordering::Relaxed);
                Ok::<_, NoError>(())
            }),
            "three_then_error" => glue::stream::<Json, _, u64, NoItems, _, _>(call, |_: [(); 0], out, _| {
                (0..3).for_each(|i| out.send(&i).unwrap());
                Err::<(), _>(TestError::NotToday { code: 3 })
            }),
            "three_then_panic" => glue::stream::<Json, _, u64, NoItems, _, _>(
                call,
                |_: [(); 0], out, _| -> Result<(), NoError> {
                    (0..3).for_each(|i| out.send(&i).unwrap());
                    panic!("after three items");
                },
            ),
            "take_two" => glue::stream::<Json, _, NoItems, Vec<u64>, _, _>(call, |_: [(); 0], _, input| {
                Ok::<u64, NoError>(input.take(2).map_while(Result::ok).flatten().sum())
            }),
            "chunks" => glue::raw_stream(call, |args, out, input| {
                let total: usize = input
                    .map_while(Result::ok)
                    .map_while(|chunk| out.send(&chunk).ok().map(|()| chunk.len()))
                    .sum();
                Ok::<_, NoError>(format!("{}:{total}", String::from_utf8_lossy(args)))
            }),
            other => unreachable!("{other} is not in the table"),
        }
    }
}

/// Waits until something holds; every wait of the suite has a deadline.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < until, "still not: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
