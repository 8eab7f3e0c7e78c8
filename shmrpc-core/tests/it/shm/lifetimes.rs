//! What becomes of calls when workers and connections come and go in the midst of them, and of connections
//! that share a process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use shmrpc_core::{
    ConnectOptions, Connection, Door, RpcError, Service, Serving,
    client::Target,
    method::ServiceInfo,
    server::{IncomingCall, ServeOptions},
};

use super::{Folder, connect, serve};
use crate::service::{Bench, ECHO, INFO, METHODS, SLEEP, SLEEP_ASYNC};

const PATIENCE: Duration = Duration::from_secs(60);

fn echo(client: &Connection, data: &[u8]) -> Result<Vec<u8>, RpcError> {
    Ok(client.call_bytes_blocking(Target::from(ECHO), Door::Native, data)?.body)
}

fn bench(folder: &Folder, threads: usize) -> (Arc<Bench>, Serving) {
    let service = Arc::new(Bench::default());
    (Arc::clone(&service), serve(folder, service, threads))
}

#[test]
fn calls_that_were_given_up_are_never_run_and_leave_the_ring_sound() {
    let folder = Folder::new();
    let (_, first) = bench(&folder, 1);
    let mut options = ConnectOptions::default();
    options.runtime_dir = Some(folder.path().to_owned());
    options.reconnect_timeout = Duration::from_millis(5);
    let client = Connection::connect_any("shm://bench", &options).unwrap();
    echo(&client, b"one").unwrap();
    drop(first);
    // More than the first ring has numbers for.
    for round in 0..100_u32 {
        let error = echo(&client, &round.to_le_bytes()).unwrap_err();
        assert!(matches!(error, RpcError::Unavailable { .. }), "{error}");
    }
    let (service, _second) = bench(&folder, 1);
    let client = client.with_deadline(PATIENCE);
    // Until the new worker has found us, calls may still be given up.
    let until = Instant::now() + PATIENCE;
    let answer = std::iter::repeat_with(|| {
        std::thread::sleep(Duration::from_millis(1));
        echo(&client, b"two").ok()
    });
    let answer = answer.take_while(|_| Instant::now() < until).flatten().next();
    assert_eq!(answer.as_deref(), Some(&b"two"[..]));
    for round in 0..100_u32 {
        assert_eq!(echo(&client, &round.to_le_bytes()).unwrap(), round.to_le_bytes());
    }
    assert_eq!(service.calls.load(Ordering::Relaxed), 101, "nothing that was given up has been run");
}

#[test]
fn a_worker_that_was_cut_off_disturbs_no_later_call() {
    let folder = Folder::new();
    let mut options = ServeOptions::default();
    options.runtime_dir = Some(folder.path().to_owned());
    options.threads = 1;
    options.drain_timeout = Duration::ZERO;
    let first = Serving::start(Arc::new(Bench::default()), options).unwrap();
    let client = connect(&folder, "bench").with_deadline(PATIENCE);
    let cut_off = client.begin(Target::from(SLEEP), Door::Native, b"[400]").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(first.drain(), 1);
    let error = cut_off.wait().unwrap_err();
    assert!(matches!(error, RpcError::WorkerDied { .. }), "{error}");
    // Its thread sleeps on, and wants to answer in a slot that now belongs to other calls.
    let (_, _second) = bench(&folder, 1);
    let answered = client.begin(Target::from(ECHO), Door::Native, b"answered").unwrap();
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(answered.wait().unwrap().body, b"answered");
}

#[test]
fn a_call_outlives_the_connection_that_made_it() {
    let folder = Folder::new();
    let (_, _serving) = bench(&folder, 2);
    let client = connect(&folder, "bench");
    let large = vec![7; 300_000];
    let pending = [
        client.begin(Target::from(SLEEP), Door::Native, b"[100]").unwrap(),
        client.begin(Target::from(ECHO), Door::Native, &large).unwrap(),
    ];
    drop(client);
    let [slow, quick] = pending.map(|pending| pending.wait().unwrap().body);
    assert_eq!(slow, b"100");
    assert!(quick == large);
}

#[test]
fn five_thousand_calls_are_under_way_at_once_and_no_more_than_fit() {
    let folder = Folder::new();
    let (service, _serving) = bench(&folder, 2);
    let client = connect(&folder, "bench").with_deadline(PATIENCE);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let target = Target::from(SLEEP_ASYNC);
    let mut tasks = Vec::new();
    let refused = loop {
        match client.begin(target, Door::Native, b"[4000]") {
            Ok(pending) => tasks.push(runtime.spawn(pending)),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, RpcError::Busy { .. }), "{refused}");
    assert!(tasks.len() >= 5000, "{} calls were under way", tasks.len());
    let under_way = tasks.len() as u64;
    runtime.block_on(async {
        for task in tasks {
            assert_eq!(task.await.unwrap().unwrap().body, b"4000");
        }
    });
    assert_eq!(service.calls.load(Ordering::Relaxed), under_way);
    assert_eq!(echo(&client, b"room again").unwrap(), b"room again");
}

/// The same service under another name, whose `sleep` lasts until it is cancelled.
struct Other(Arc<Bench>);

static OTHER: ServiceInfo = ServiceInfo {
    struct_name: "Other",
    name: "other",
    port: 5598,
    max_workers: None,
    doc: "A second service in the process.",
    methods: &METHODS,
};

impl Service for Other {
    fn info(&self) -> &'static ServiceInfo {
        &OTHER
    }

    fn dispatch(self: Arc<Self>, index: usize, call: IncomingCall<'_>) {
        if METHODS[index].name == SLEEP.name {
            self.0.calls.fetch_add(1, Ordering::Relaxed);
            let until = Instant::now() + PATIENCE;
            while !call.context().is_cancelled() {
                assert!(Instant::now() < until, "never told");
                std::thread::sleep(Duration::from_millis(1));
            }
            self.0.items_sent.fetch_add(1, Ordering::Relaxed);
        }
        Arc::clone(&self.0).dispatch(index, call);
    }
}

#[test]
fn a_handler_learns_that_its_call_was_cancelled_or_its_client_is_gone() {
    let folder = Folder::new();
    let bench = Arc::new(Bench::default());
    let _serving = serve(&folder, Arc::new(Other(Arc::clone(&bench))), 2);
    let client = connect(&folder, OTHER.name);
    let until = Instant::now() + PATIENCE;
    let wait_for = |count: &AtomicU64, wanted| {
        while count.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < until, "{wanted} were waited for");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let kept = client.begin(Target::from(SLEEP), Door::Native, b"[1]").unwrap();
    wait_for(&bench.calls, 1);
    let dropped = client.begin(Target::from(SLEEP), Door::Native, b"[1]").unwrap();
    wait_for(&bench.calls, 2);
    drop(dropped);
    wait_for(&bench.items_sent, 1);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(bench.items_sent.load(Ordering::Relaxed), 1, "the other call goes on");
    drop(client);
    drop(kept);
    wait_for(&bench.items_sent, 2);
}

#[test]
fn one_process_serves_two_services_and_calls_both_over_several_connections() {
    let folder = Folder::new();
    let (bench, _serving) = bench(&folder, 2);
    let other = Arc::new(Bench::default());
    let _other = serve(&folder, Arc::new(Other(Arc::clone(&other))), 2);
    let threads: Vec<_> = [INFO.name, OTHER.name, INFO.name, OTHER.name]
        .into_iter()
        .map(|name| {
            let client = connect(&folder, name);
            std::thread::spawn(move || {
                for round in 0..500_u32 {
                    // Every tenth is too large for a slot.
                    let data = vec![round as u8; if round % 10 == 0 { 5000 } else { 50 }];
                    assert!(echo(&client, &data).unwrap() == data);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(bench.calls.load(Ordering::Relaxed), 1000);
    assert_eq!(other.calls.load(Ordering::Relaxed), 1000);
}
