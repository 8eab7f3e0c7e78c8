//! Methods that are quick are run by the thread that reads: what that must not change.

use std::{sync::Arc, thread, time::Duration};

use serde_json::{Value, json};
use shmrpc_core::{
    CallError, ConnectOptions, Connection, Door, NoError, RpcError, ServeOptions, Service, Serving,
    client::Target, codec::Json,
};

use crate::{
    service::{Bench, ECHO, PANICS, SLEEP},
    shm::Folder,
};

/// A service with its own TCP door, and a client of it.
fn serve(folder: &Folder) -> (Arc<Bench>, Serving, Connection) {
    let service = Arc::new(Bench::default());
    let mut options = ServeOptions::default();
    options.runtime_dir = Some(folder.path().to_owned());
    // One more than the calls that are slow.
    options.threads = 4;
    options.tcp_bind = Some(([127, 0, 0, 1], 0).into());
    let serving = Serving::start(Arc::clone(&service) as Arc<dyn Service>, options).unwrap();
    let endpoint = format!("tcp://{}", serving.tcp_addr().unwrap());
    let client = Connection::connect_any(endpoint, &ConnectOptions::default()).unwrap();
    (service, serving, client)
}

fn sleep(client: &Connection, ms: u64) -> Result<Value, CallError> {
    client.call_blocking::<Json, _, Value, NoError>(SLEEP, &(ms,))
}

/// A method that has always been quick sleeps for once: the calls behind it, in the same connection and in
/// others, do not wait for it.
#[test]
fn a_quick_method_that_is_slow_for_once_holds_nobody_up() {
    let folder = Folder::new();
    let (_, serving, client) = serve(&folder);
    let other =
        Connection::connect_any(format!("tcp://{}", serving.tcp_addr().unwrap()), &ConnectOptions::default())
            .unwrap();
    for _ in 0..200 {
        assert_eq!(sleep(&client, 0).unwrap(), json!(0));
    }
    let slow: Vec<_> =
        (0..3).map(|_| client.begin(Target::from(SLEEP), Door::Native, b"[4000]").unwrap()).collect();
    let hasty = |client: &Connection| client.with_deadline(Duration::from_secs(3));
    for client in [hasty(&client), hasty(&other)] {
        for n in 0..20_u8 {
            assert_eq!(client.call_raw_blocking::<NoError>(ECHO, &[n]).unwrap(), [n]);
        }
    }
    for call in slow {
        assert_eq!(call.wait().unwrap().body, b"4000");
    }
    drop((client, other));
    let _cut_off = serving.drain();
}

#[test]
fn many_at_once_are_answered_each_with_its_own() {
    let folder = Folder::new();
    let (service, serving, client) = serve(&folder);
    thread::scope(|scope| {
        for thread in 0..4_u32 {
            let client = &client;
            scope.spawn(move || {
                for round in 0..50_u32 {
                    let calls: Vec<_> = (0..64_u32)
                        .map(|n| {
                            let data = [thread.to_le_bytes(), (round * 64 + n).to_le_bytes()].concat();
                            (client.begin(Target::from(ECHO), Door::Native, &data).unwrap(), data)
                        })
                        .collect();
                    for (call, data) in calls {
                        assert_eq!(call.wait().unwrap().body, data);
                    }
                }
            });
        }
    });
    assert_eq!(service.calls.load(std::sync::atomic::Ordering::Relaxed), 4 * 50 * 64);
    drop(client);
    assert_eq!(serving.drain(), 0);
}

/// Nobody waits for these when they are begun; they are sent all the same.
#[test]
fn calls_that_nobody_waits_for_are_sent() {
    let folder = Folder::new();
    let (service, serving, client) = serve(&folder);
    let begun: Vec<_> =
        (0..5).map(|_| client.begin(Target::from(ECHO), Door::Native, b"x").unwrap()).collect();
    crate::service::eventually("all five have been run", || {
        service.calls.load(std::sync::atomic::Ordering::Relaxed) == 5
    });
    drop((begun, client));
    assert_eq!(serving.drain(), 0);
}

#[test]
fn a_panic_in_place_is_answered() {
    let folder = Folder::new();
    let (_, serving, client) = serve(&folder);
    for _ in 0..30 {
        let error = client.call_blocking::<Json, [(); 0], (), NoError>(PANICS, &[]).unwrap_err();
        assert!(matches!(&error, CallError::Rpc(RpcError::Panicked(_))), "{error:?}");
    }
    drop(client);
    assert_eq!(serving.drain(), 0);
}
