//! Connections with several endpoints: the suite, and moves from one endpoint to the next.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use shmrpc_core::{
    ConnectOptions, Connection, Door, NoError, RpcError, Service, Serving, ShmBytes, client::Target,
};

use crate::{
    service::{Bench, COUNT, ECHO, ECHO_JSON, INFO},
    shm::{Folder, serve},
    suite::{Harness, conformance},
    tcp::Tcp,
};

const PATIENCE: Duration = Duration::from_secs(60);

// Fields are dropped in this order: the server first, the folder last.
struct Several {
    service: Arc<Bench>,
    _serving: Serving,
    tcp: Tcp,
    folder: Folder,
}

fn connect(folder: &Folder, tcp: &Tcp, change: impl FnOnce(&mut ConnectOptions)) -> Connection {
    let mut options = ConnectOptions::default();
    options.runtime_dir = Some(folder.path().to_owned());
    change(&mut options);
    Connection::connect_any(format!("shm://{}, tcp://{}", INFO.name, tcp.address()), &options).unwrap()
}

impl Harness for Several {
    fn start() -> Self {
        let (folder, tcp) = (Folder::new(), Tcp::start());
        let service = Arc::new(Bench::default());
        let serving = serve(&folder, Arc::clone(&service) as Arc<dyn Service>, 8);
        Self { service, _serving: serving, tcp, folder }
    }

    fn service(&self) -> &Arc<Bench> {
        &self.service
    }

    fn connect(&self) -> Connection {
        connect(&self.folder, &self.tcp, |_| {})
    }
}

conformance!(Several);

type Call = fn(&Connection, u64) -> Result<(), RpcError>;

fn blocking(client: &Connection, n: u64) -> Result<(), RpcError> {
    let argument = json!([n]).to_string();
    let reply = client.call_bytes_blocking(Target::from(ECHO_JSON), Door::Native, argument.as_bytes())?;
    assert_eq!(reply.body, n.to_string().as_bytes());
    Ok(())
}

fn pending(client: &Connection, n: u64) -> Result<(), RpcError> {
    let argument = n.to_le_bytes();
    let begin = || client.begin(Target::from(ECHO), Door::Native, &argument);
    let (first, second) = (begin()?, begin()?);
    assert_eq!(second.wait()?.body, argument);
    assert_eq!(first.wait()?.body, argument);
    Ok(())
}

fn awaited(client: &Connection, n: u64) -> Result<(), RpcError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let argument = n.to_le_bytes();
    let reply = runtime.block_on(client.call_bytes(Target::from(ECHO), Door::Native, &argument))?;
    assert_eq!(reply.body, argument);
    Ok(())
}

fn in_place(client: &Connection, n: u64) -> Result<(), RpcError> {
    let data = vec![n as u8; 1000];
    let write = |loan: shmrpc_core::Loan<'_>| loan.copy_from(&data);
    let echoed =
        client.call_raw_in_place_blocking::<NoError, _>(ECHO, write, |reply: ShmBytes<'_>| reply.to_vec());
    match echoed {
        Ok(echoed) => assert!(echoed == data),
        Err(shmrpc_core::CallError::Rpc(error)) => return Err(error),
        Err(other) => panic!("nobody's own error: {other:?}"),
    }
    Ok(())
}

fn begun_stream(client: &Connection, _n: u64) -> Result<(), RpcError> {
    // One that is under way when its worker goes is lost, as ever; that it begins is what is asked for here.
    client.begin_stream(Target::from(COUNT), Door::Native, b"[1]").map(drop)
}

/// Somebody calls in each way while the endpoint in use is deserted, and nobody notices; and so back again.
#[test]
fn calls_go_on_at_the_next_endpoint_when_nobody_serves_at_the_first() {
    let (folder, tcp) = (Folder::new(), Tcp::start());
    let service = Arc::new(Bench::default());
    let first = serve(&folder, Arc::clone(&service) as Arc<dyn Service>, 4);
    let client = connect(&folder, &tcp, |options| options.reconnect_timeout = Duration::from_millis(100));
    let ways: [Call; 5] = [blocking, pending, awaited, in_place, begun_stream];
    let counts = ways.map(|_| AtomicU64::new(0));
    let (ends, until) = (AtomicBool::new(false), Instant::now() + PATIENCE);
    let all_go_on = || {
        let before = counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        while counts.iter().zip(before).any(|(count, before)| count.load(Ordering::Relaxed) < before + 20) {
            assert!(Instant::now() < until, "waited for too long");
            thread::sleep(Duration::from_millis(1));
        }
    };
    let second = thread::scope(|scope| {
        for (way, count) in ways.into_iter().zip(&counts) {
            let (client, ends) = (&client, &ends);
            scope.spawn(move || {
                while !ends.load(Ordering::Relaxed) && Instant::now() < until {
                    way(client, count.fetch_add(1, Ordering::Relaxed)).unwrap();
                }
            });
        }
        all_go_on();
        assert_eq!(tcp.service().calls.load(Ordering::Relaxed), 0);
        assert_eq!(first.drain(), 0);
        all_go_on();
        assert!(tcp.service().calls.load(Ordering::Relaxed) >= 60);
        // And back, to workers that have come meanwhile.
        let second = serve(&folder, Arc::new(Bench::default()), 4);
        tcp.drain();
        all_go_on();
        ends.store(true, Ordering::Relaxed);
        second
    });
    drop(client);
    drop(second);
}

#[test]
fn where_nobody_serves_anywhere_all_reasons_are_told_in_time() {
    let (folder, tcp) = (Folder::new(), Tcp::start());
    let first = serve(&folder, Arc::new(Bench::default()), 1);
    let client = connect(&folder, &tcp, |options| options.reconnect_timeout = Duration::from_millis(100));
    blocking(&client, 1).unwrap();
    assert_eq!(first.drain(), 0);
    tcp.drain();
    for call in [blocking as Call, pending, awaited, begun_stream] {
        let error = call(&client, 1).unwrap_err();
        let RpcError::Unavailable { reason, .. } = &error else { panic!("{error:?}") };
        assert!(reason.contains("no worker for 100ms; ") && reason.contains("tcp://"), "{reason}");
    }
    let hasty = client.with_deadline(Duration::from_millis(20));
    let error = blocking(&hasty, 1).unwrap_err();
    assert!(matches!(error, RpcError::DeadlineExceeded { .. } | RpcError::Unavailable { .. }), "{error:?}");
}
