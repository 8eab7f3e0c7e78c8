//! Workers that offer other methods take the place of those that serve.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use shmrpc_core::{Door, RpcError, Service, client::Target, method::ServiceInfo, server::IncomingCall};

use super::{Folder, connect, serve};
use crate::service::{Bench, ECHO, FILL, INFO, METHODS};

const PATIENCE: Duration = Duration::from_secs(60);

/// The same service with `echo` alone.
struct Few(Arc<Bench>);

static FEW: ServiceInfo = ServiceInfo {
    struct_name: INFO.struct_name,
    name: INFO.name,
    port: INFO.port,
    max_workers: None,
    doc: "An older version.",
    methods: METHODS.split_at(1).0,
};

impl Service for Few {
    fn info(&self) -> &'static ServiceInfo {
        &FEW
    }

    fn dispatch(self: Arc<Self>, index: usize, call: IncomingCall<'_>) {
        Arc::clone(&self.0).dispatch(index, call);
    }
}

#[test]
fn an_added_and_a_removed_method_move_clients_without_a_lost_call() {
    let folder = Folder::new();
    let few = || serve(&folder, Arc::new(Few(Arc::default())), 2);
    let first = few();
    let client = connect(&folder, INFO.name).with_deadline(PATIENCE);
    let fill = || client.call_bytes_blocking(Target::from(FILL), Door::Native, b"3");
    let is_missing = || matches!(fill(), Err(RpcError::NoSuchMethod(_)));
    assert!(is_missing());
    let until = Instant::now() + PATIENCE;
    let wait_for = |wanted: &dyn Fn() -> bool| {
        while !wanted() {
            assert!(Instant::now() < until, "waited for too long");
            thread::sleep(Duration::from_millis(1));
        }
    };
    let (calls, ends) = (AtomicU64::new(0), AtomicBool::new(false));
    let goes_on = || {
        let before = calls.load(Ordering::Relaxed);
        wait_for(&|| calls.load(Ordering::Relaxed) > before + 100);
    };
    let third = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let client = connect(&folder, INFO.name).with_deadline(PATIENCE);
                while !ends.load(Ordering::Relaxed) && Instant::now() < until {
                    let reply = client.call_bytes_blocking(Target::from(ECHO), Door::Native, b"as ever");
                    assert_eq!(reply.unwrap().body, b"as ever");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        goes_on();
        let second = serve(&folder, Arc::new(Bench::default()), 2);
        assert_eq!(first.drain(), 0);
        wait_for(&|| fill().is_ok_and(|reply| reply.body == b"fff"));
        goes_on();
        let third = few();
        assert_eq!(second.drain(), 0);
        wait_for(&is_missing);
        goes_on();
        ends.store(true, Ordering::Relaxed);
        third
    });
    assert_eq!(third.drain(), 0);
}
