//! Calls that stream items.

use std::{sync::atomic::Ordering, thread, time::Duration};

use shmrpc_core::{
    BlockingStreamCall, CallError, Connection, Door, NoError, NoItems, RpcError, StreamCall, StreamClosed,
    client::Target,
    codec::{Json, Msgpack, Raw},
};

use super::{Harness, calls::pattern};
use crate::service::{
    CHUNKS, COUNT, DOUBLE, DOUBLE_ASYNC, ENDLESS, SUM, TAKE_TWO, THREE_THEN_ERROR, THREE_THEN_PANIC,
    TestError, eventually,
};

type Download<T, R, E = NoError> = BlockingStreamCall<NoItems, T, R, E>;
type Upload<T, R> = BlockingStreamCall<T, NoItems, R, NoError>;
type Duplex = BlockingStreamCall<u64, u64, usize, NoError>;

const NO_ARGS: [(); 0] = [];

fn count(client: &Connection, n: u64) -> Download<u64, u64> {
    client.stream_blocking::<Json, _, _, _, _, _>(COUNT, &(n,)).unwrap()
}

fn endless(client: &Connection, len: usize) -> Download<String, ()> {
    client.stream_blocking::<Json, _, _, _, _, _>(ENDLESS, &(len,)).unwrap()
}

pub(crate) fn download(harness: &impl Harness) {
    let client = harness.connect();
    for n in [0, 1, 10, 20_000] {
        let call = count(&client, n);
        let items: Vec<u64> = call.items().map(Result::unwrap).collect();
        assert_eq!(items, (0..n).collect::<Vec<_>>());
        assert_eq!(call.finish().unwrap(), n);
    }
}

pub(crate) fn upload(harness: &impl Harness) {
    let client = harness.connect();
    for n in [0, 1, 10, 20_000_u64] {
        let call: Upload<u64, u64> = client.stream_blocking::<Msgpack, _, _, _, _, _>(SUM, &NO_ARGS).unwrap();
        (0..n).for_each(|i| call.send(&i).unwrap());
        assert_eq!(call.finish().unwrap(), (0..n).sum::<u64>());
    }
}

pub(crate) fn duplex(harness: &impl Harness) {
    let client = harness.connect();
    let call: Duplex = client.stream_blocking::<Json, _, _, _, _, _>(DOUBLE, &NO_ARGS).unwrap();
    // In step: every item is answered before the next one is sent.
    for n in 0..100 {
        call.send(&n).unwrap();
        assert_eq!(call.recv().unwrap().unwrap(), 2 * n);
    }
    // And at full speed, one thread a direction, far beyond a window.
    thread::scope(|scope| {
        scope.spawn(|| {
            (0..20_000).for_each(|n| call.send(&n).unwrap());
            call.close_send();
        });
        let items: Vec<u64> = call.items().map(Result::unwrap).collect();
        assert_eq!(items, (0..20_000).map(|n| 2 * n).collect::<Vec<_>>());
    });
    assert_eq!(call.send(&1), Err(StreamClosed::Finished));
    assert_eq!(call.finish().unwrap(), 20_100);
}

pub(crate) fn duplex_async_both_sides(harness: &impl Harness) {
    let client = harness.connect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let call: StreamCall<u64, u64, usize, NoError> =
            client.stream::<Json, _, _, _, _, _>(DOUBLE_ASYNC, &NO_ARGS).await.unwrap();
        let sending = async {
            for n in 0..10_000 {
                call.send(&n).await.unwrap();
            }
            call.close_send();
        };
        let receiving = async {
            let mut items = Vec::new();
            while let Some(item) = call.recv().await {
                items.push(item.unwrap());
            }
            items
        };
        let ((), items) = tokio::join!(sending, receiving);
        assert_eq!(items, (0..10_000).map(|n| 2 * n).collect::<Vec<_>>());
        assert_eq!(call.finish().await.unwrap(), 10_000);
    });
}

pub(crate) fn raw_duplex(harness: &impl Harness) {
    let client = harness.connect();
    let call: BlockingStreamCall<Vec<u8>, Vec<u8>, Vec<u8>, NoError> =
        client.stream_blocking::<Raw, _, _, _, _, _>(CHUNKS, b"args".as_slice()).unwrap();
    for len in [0, 1, 1000, 100_000, 1_000_000] {
        let chunk = pattern(len, len);
        call.send(&chunk).unwrap();
        assert!(call.recv().unwrap().unwrap() == chunk, "a chunk of {len} bytes came back changed");
    }
    call.close_send();
    assert!(call.recv().is_none());
    assert_eq!(call.finish().unwrap(), b"args:1101001");
}

pub(crate) fn without_items(harness: &impl Harness) {
    let client = harness.connect();
    let call: Duplex = client.stream_blocking::<Json, _, _, _, _, _>(DOUBLE, &NO_ARGS).unwrap();
    assert_eq!(call.finish().unwrap(), 0);
}

pub(crate) fn slow_consumer_holds_the_server_back(harness: &impl Harness) {
    let client = harness.connect();
    let call = endless(&client, 10_000);
    let sent = || harness.service().items_sent.load(Ordering::Relaxed);
    eventually("the server has filled the window", || sent() >= 10);
    thread::sleep(Duration::from_millis(300));
    // A window is 256 KiB; a gateway in between has one of its own on either side.
    assert!(sent() <= 100, "{} items of 10 kB were sent to a client that takes none", sent());
    for _ in 0..300 {
        assert_eq!(call.recv().unwrap().unwrap().len(), 10_000);
    }
    eventually("the server has counted what it sent", || sent() >= 300);
    call.finish().unwrap();
}

pub(crate) fn slow_server_holds_the_client_back(harness: &impl Harness) {
    let client = harness.connect();
    // The handler doubles, and blocks on its own output, which nobody takes: so it takes no more input.
    let call: Duplex = client.stream_blocking::<Json, _, _, _, _, _>(DOUBLE, &NO_ARGS).unwrap();
    let sent = std::sync::atomic::AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..100_000 {
                call.send(&n).unwrap();
                sent.fetch_add(1, Ordering::Relaxed);
            }
            call.close_send();
        });
        eventually("something was sent", || sent.load(Ordering::Relaxed) > 1000);
        thread::sleep(Duration::from_millis(300));
        let stalled = sent.load(Ordering::Relaxed);
        assert!(stalled < 50_000, "{stalled} items were sent to a server that takes none");
        assert_eq!(call.items().map(Result::unwrap).count(), 100_000);
    });
    assert_eq!(call.finish().unwrap(), 100_000);
}

pub(crate) fn cancelled_by_drop(harness: &impl Harness) {
    let client = harness.connect();
    let call = endless(&client, 100);
    assert!(call.recv().unwrap().is_ok());
    drop(call);
    let closed = || harness.service().streams_closed.load(Ordering::Relaxed);
    eventually("the handler has noticed", || closed() == 1);
}

pub(crate) fn stopped_by_finish(harness: &impl Harness) {
    let client = harness.connect();
    let call = endless(&client, 100);
    assert!(call.recv().unwrap().is_ok());
    call.finish().unwrap();
    assert_eq!(harness.service().streams_closed.load(Ordering::Relaxed), 1);
}

pub(crate) fn typed_error_after_items(harness: &impl Harness) {
    let client = harness.connect();
    let call: Download<u64, (), TestError> =
        client.stream_blocking::<Json, _, _, _, _, _>(THREE_THEN_ERROR, &NO_ARGS).unwrap();
    assert_eq!(call.items().map(Result::unwrap).collect::<Vec<_>>(), [0, 1, 2]);
    let CallError::Service(error) = call.finish().unwrap_err() else { panic!("no typed error") };
    assert_eq!(error, TestError::NotToday { code: 3 });
}

pub(crate) fn panic_after_items(harness: &impl Harness) {
    let client = harness.connect();
    let call: Download<u64, ()> =
        client.stream_blocking::<Json, _, _, _, _, _>(THREE_THEN_PANIC, &NO_ARGS).unwrap();
    let items: Vec<_> = call.items().collect();
    assert_eq!(items.iter().flatten().copied().collect::<Vec<_>>(), [0, 1, 2]);
    assert!(items.last().unwrap().is_err(), "the broken stream looked complete");
    let error = call.finish().unwrap_err();
    assert!(matches!(error, CallError::Rpc(RpcError::Panicked(_))), "{error:?}");
}

pub(crate) fn server_takes_two_only(harness: &impl Harness) {
    let client = harness.connect();
    let call: Upload<Vec<u64>, u64> =
        client.stream_blocking::<Json, _, _, _, _, _>(TAKE_TWO, &NO_ARGS).unwrap();
    let item = vec![1_u64; 1000];
    let refused = (0..100_000).find_map(|_| call.send(&item).err());
    assert_eq!(refused, Some(StreamClosed::ByPeer));
    assert_eq!(call.finish().unwrap(), 2000);
}

pub(crate) fn deadline_of_a_stream(harness: &impl Harness) {
    let client = harness.connect().with_deadline(Duration::from_millis(150));
    let call: Duplex = client.stream_blocking::<Json, _, _, _, _, _>(DOUBLE, &NO_ARGS).unwrap();
    let error = call.recv().unwrap().unwrap_err();
    assert!(matches!(error, RpcError::DeadlineExceeded { .. }), "{error:?}");
    // The handler, too, sees the deadline and ends; its reply may or may not have come by now.
    match call.finish() {
        Ok(0) | Err(CallError::Rpc(RpcError::DeadlineExceeded { .. })) => {}
        other => panic!("{other:?}"),
    }
}

pub(crate) fn many_streams_at_once(harness: &impl Harness) {
    let client = harness.connect();
    thread::scope(|scope| {
        for n in 0..16 {
            let client = &client;
            scope.spawn(move || {
                let call = count(client, 500 * n);
                assert_eq!(call.items().map(Result::unwrap).sum::<u64>(), (0..500 * n).sum::<u64>());
                assert_eq!(call.finish().unwrap(), 500 * n);
            });
        }
    });
}

pub(crate) fn a_stream_is_no_plain_call(harness: &impl Harness) {
    let client = harness.connect();
    let error = client.call_bytes_blocking(Target::from(COUNT), Door::Native, b"[1]").unwrap_err();
    assert!(matches!(error, RpcError::BadArguments(_)), "{error:?}");
}
