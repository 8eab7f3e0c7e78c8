//! Servers that end while clients live: in peace, in the middle of calls, and again and again on the same
//! port.

use std::{
    io::Read,
    net::{SocketAddr, TcpListener},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use shmrpc_core::{
    BlockingStreamCall, CallError, Connection, Door, NoError, NoItems, RpcError, StreamCall, client::Target,
    codec::Json,
};

use super::Tcp;
use crate::{
    service::{COUNT, ECHO_JSON, ENDLESS, SLEEP_ASYNC, eventually},
    suite::Harness,
};

fn echo(client: &Connection, n: u64) -> Result<Value, CallError> {
    client.call_blocking::<Json, _, _, _>(ECHO_JSON, &(n,))
}

/// A listener on a port that was served a moment ago.
fn listen_again(address: SocketAddr) -> TcpListener {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(error) => assert!(Instant::now() < until, "{address} cannot be had again: {error}"),
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn two_hundred_restarts_with_old_clients() {
    let mut server = Tcp::start();
    let address = server.address();
    let clients: Vec<Connection> = (0..3).map(|_| server.connect()).collect();
    for round in 0..200 {
        // In turn: drained, or gone without a word.
        if round % 2 == 0 {
            server.drain();
        } else {
            drop(server);
        }
        server = Tcp::on(listen_again(address), |_| {});
        for client in &clients {
            assert_eq!(echo(client, round).unwrap(), json!(round), "in round {round}");
        }
    }
}

#[test]
fn a_drain_loses_no_call() {
    let mut server = Tcp::start();
    let address = server.address();
    let clients: Vec<Connection> = (0..3).map(|_| server.connect()).collect();
    let stop = AtomicBool::new(false);
    let answered = [const { AtomicU64::new(0) }; 3];
    let _last_server = thread::scope(|scope| {
        for (client, answered) in clients.iter().zip(&answered) {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    let n = answered.load(Relaxed);
                    assert_eq!(echo(client, n).unwrap(), json!(n));
                    answered.store(n + 1, Relaxed);
                }
            });
        }
        for _ in 0..20 {
            // Amid calls: each client has had one answered since the last time.
            let before = answered.each_ref().map(|answered| answered.load(Relaxed));
            thread::sleep(Duration::from_millis(15));
            eventually("an answer for each client", || {
                answered.iter().zip(before).all(|(answered, before)| answered.load(Relaxed) > before)
            });
            server.drain();
            server = Tcp::on(listen_again(address), |_| {});
        }
        stop.store(true, Relaxed);
        server
    });
}

#[test]
fn a_drain_waits_for_calls_under_way() {
    let server = Tcp::start();
    let client = server.connect();
    let slow = client.begin(Target::from(SLEEP_ASYNC), Door::Native, b"[300]").unwrap();
    thread::sleep(Duration::from_millis(50));
    server.drain();
    assert_eq!(slow.wait().unwrap().body, b"300");
}

#[test]
fn a_call_under_way_is_lost_and_the_next_one_waits() {
    let server = Tcp::start();
    let address = server.address();
    let client = server.connect();
    let slow = client.begin(Target::from(SLEEP_ASYNC), Door::Native, b"[2000]").unwrap();
    let stream: BlockingStreamCall<NoItems, String, (), NoError> =
        client.stream_blocking::<Json, _, _, _, _, _>(ENDLESS, &(10,)).unwrap();
    assert!(stream.recv().unwrap().is_ok());
    thread::sleep(Duration::from_millis(50));
    drop(server);
    let error = slow.wait().unwrap_err();
    assert!(matches!(error, RpcError::ConnectionLost { .. }), "{error:?}");
    let end = stream.items().find_map(Result::err).unwrap();
    assert!(matches!(end, RpcError::ConnectionLost { .. }), "{end:?}");

    // The next call waits for the server to come back.
    thread::scope(|scope| {
        let next = scope.spawn(|| echo(&client, 1));
        thread::sleep(Duration::from_millis(200));
        let server = Tcp::on(listen_again(address), |_| {});
        assert_eq!(next.join().unwrap().unwrap(), json!(1));
        drop(server);
    });
}

/// A task that starts a stream while the server is away does not hold up the others of its thread.
#[test]
fn an_async_stream_waits_for_the_server_without_blocking() {
    let server = Tcp::start();
    let address = server.address();
    let client = server.connect();
    drop(server);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let items = runtime.block_on(async {
        let streaming = async {
            let call: StreamCall<NoItems, u64, u64, NoError> =
                client.stream::<Json, _, _, _, _, _>(COUNT, &(3,)).await.unwrap();
            let mut items = Vec::new();
            while let Some(item) = call.recv().await {
                items.push(item.unwrap());
            }
            call.finish().await.unwrap();
            items
        };
        let restarting = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Tcp::on(listen_again(address), |_| {})
        };
        let (items, _server) = tokio::join!(streaming, restarting);
        items
    });
    assert_eq!(items, [0, 1, 2]);
}

#[test]
fn an_idempotent_call_is_tried_again_once() {
    let server = Tcp::start();
    let address = server.address();
    let client = server.connect();
    let target = Target { idempotent: true, ..Target::from(SLEEP_ASYNC) };
    let slow = client.begin(target, Door::Native, b"[300]").unwrap();
    thread::sleep(Duration::from_millis(50));
    drop(server);
    let _server = Tcp::on(listen_again(address), |_| {});
    assert_eq!(slow.wait().unwrap().body, b"300");
}

#[test]
fn without_a_server_a_call_gives_up_in_time() {
    let server = Tcp::start();
    let client = server.connect_with(|options| options.reconnect_timeout = Duration::from_millis(150));
    drop(server);
    eventually("the server is missed", || {
        matches!(echo(&client, 1), Err(CallError::Rpc(RpcError::Unavailable { .. })))
    });
    let hasty = client.with_deadline(Duration::from_millis(50));
    let error = echo(&hasty, 1).unwrap_err();
    assert!(
        matches!(error, CallError::Rpc(RpcError::DeadlineExceeded { .. } | RpcError::Unavailable { .. })),
        "{error:?}"
    );
}

/// A server that is connected and says nothing: the kernel finds it alive, we do not.
#[test]
fn a_silent_server_is_given_up() {
    let server = Tcp::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let behind = server.address();
    // Passes the handshake on, then swallows everything.
    let proxy = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let upstream = std::net::TcpStream::connect(behind).unwrap();
        for (from, to) in [(0, 1), (1, 0)] {
            let ends = [&client, &upstream];
            let mut header = [0; 16];
            (&mut &*ends[from]).read_exact(&mut header).unwrap();
            let len = u32::from_le_bytes(header[..4].try_into().unwrap());
            let mut frame = header.to_vec();
            frame.resize(16 + len as usize, 0);
            (&mut &*ends[from]).read_exact(&mut frame[16..]).unwrap();
            std::io::Write::write_all(&mut &*ends[to], &frame).unwrap();
        }
        let _ended = std::io::copy(&mut client, &mut std::io::sink());
        drop(upstream);
    });
    let client =
        Connection::connect_any(format!("tcp://{address}"), &shmrpc_core::ConnectOptions::default()).unwrap();
    let error = echo(&client.with_deadline(Duration::from_secs(120)), 1).unwrap_err();
    assert!(
        matches!(&error, CallError::Rpc(RpcError::ConnectionLost { reason, .. }) if reason.contains("sign of life")),
        "{error:?}"
    );
    drop(client);
    proxy.join().unwrap();
}
