//! The macro's server and clients over shared memory, within one process: what is made is the same whatever
//! carries it.

use std::sync::Arc;

use shmrpc::{
    CallError, ConnectOptions, Loan, LoanError, RpcError, ServeOptions, Serving, ShmBytes, StreamReceiver,
    StreamSender, bincode_method, json_method, msgpack_method, raw_method, service,
};

use super::{Row, RowError};

struct Store;

#[service(name = "derive_store", port = 6100)]
impl Store {
    #[raw_method]
    fn echo(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }

    #[raw_method]
    fn echo_in_place(&self, data: ShmBytes<'_>, reply: Loan<'_>) -> Result<(), LoanError> {
        reply.copy_from(data)
    }

    #[raw_method]
    fn middle(&self, data: ShmBytes<'_>, mut reply: Loan<'_>) -> Result<(), RowError> {
        let refused = |error: LoanError| RowError::Refused(error.to_string());
        reply.reserve(data.len() / 2).map_err(refused)?;
        let (from, to) = (data.len() / 4, data.len() * 3 / 4);
        for start in (from..to).step_by(1000) {
            reply.write(&data.read(start..to.min(start + 1000))).map_err(refused)?;
        }
        match data.read(..1)[..] {
            [0xee] => Err(RowError::Refused("after writing".into())),
            [0xff] => panic!("after writing"),
            _ => Ok(()),
        }
    }

    #[json_method]
    fn find(&self, id: u64) -> Result<Row, RowError> {
        if id == 0 { Err(RowError::NotFound { id }) } else { Ok(Row { id, ..Row::sample() }) }
    }

    #[msgpack_method]
    async fn find_later(&self, id: u64, name: &str) -> Row {
        tokio::task::yield_now().await;
        Row { id, name: name.to_owned(), ..Row::sample() }
    }

    #[bincode_method]
    fn panics(&self, row: &Row) -> u64 {
        panic!("row {}", row.id)
    }

    #[msgpack_method]
    async fn double(&self, rows: StreamReceiver<Row>, out: StreamSender<u64>) -> u64 {
        let mut count = 0;
        while let Some(Ok(row)) = rows.recv_async().await {
            count += 1;
            if out.send_async(&(row.id * 2)).await.is_err() {
                break;
            }
        }
        count
    }
}

/// A served store in a runtime folder of its own.
struct Scene {
    options: ConnectOptions,
    // In this order: the service ends before its folder goes.
    _serving: Serving,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime_dir = Some(folder.path().join("run"));
        let mut serve = ServeOptions::default();
        serve.runtime_dir.clone_from(&runtime_dir);
        let serving = Serving::start(Arc::new(Store), serve).unwrap();
        let mut options = ConnectOptions::default();
        options.runtime_dir = runtime_dir;
        Self { options, _serving: serving, _folder: folder }
    }
}

#[test]
fn blocking_client() {
    let scene = Scene::new();
    let client = StoreBlockingClient::connect_with("shm://", &scene.options).unwrap();
    for len_bytes in [0, 1, 64, 4095, 4097, 1 << 20, 64] {
        let data: Vec<u8> = (0..len_bytes).map(|i: u32| i as u8).collect();
        assert_eq!(client.echo(&data).unwrap(), data, "{len_bytes} bytes");
        assert_eq!(client.echo_in_place(&data).unwrap(), data, "{len_bytes} bytes in place");
    }
    assert_eq!(client.find(3).unwrap().id, 3);
    assert!(matches!(client.find(0), Err(CallError::Service(RowError::NotFound { id: 0 }))));
    assert_eq!(client.find_later(4, "four").unwrap().name, "four");
    match client.panics(&Row::sample()) {
        Err(CallError::Rpc(RpcError::Panicked(text))) => assert_eq!(text, "row 7"),
        other => panic!("{other:?}"),
    }
    let call = client.double().unwrap();
    call.send(&Row::sample()).unwrap();
    assert_eq!(call.recv().unwrap().unwrap(), 14);
    assert_eq!(call.finish().unwrap(), 1);
}

#[tokio::test]
async fn async_client() {
    let scene = Scene::new();
    let client = StoreClient::connect_with("shm://derive_store", &scene.options).await.unwrap();
    assert_eq!(client.echo(b"abc").await.unwrap(), b"abc");
    let calls: Vec<_> = (1..=100u64)
        .map(|id| {
            let client = client.clone();
            tokio::spawn(async move { client.find_later(id, "x").await.unwrap().id })
        })
        .collect();
    for (index, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap(), index as u64 + 1);
    }
    assert!(matches!(client.find(0).await, Err(CallError::Service(_))));
    let call = client.double().await.unwrap();
    for id in 1..=3 {
        call.send(&Row { id, ..Row::sample() }).await.unwrap();
        assert_eq!(call.recv().await.unwrap().unwrap(), id * 2);
    }
    assert_eq!(call.finish().await.unwrap(), 3);
}

#[test]
fn in_place() {
    let scene = Scene::new();
    let client = StoreBlockingClient::connect_with("shm://", &scene.options).unwrap();
    for len in [4usize, 400, 4096, 100_000, 5 << 20, 8] {
        let mut data: Vec<u8> = (0..len).map(|i| (i % 200) as u8).collect();
        assert_eq!(client.middle(&data).unwrap(), data[len / 4..len * 3 / 4], "{len} bytes");
        // A reply that was begun and then given up leaves its place to others.
        data[0] = 0xee;
        assert!(matches!(client.middle(&data), Err(CallError::Service(RowError::Refused(_)))));
        data[0] = 0xff;
        assert!(matches!(client.middle(&data), Err(CallError::Rpc(RpcError::Panicked(_)))));
    }
    let data = vec![7; 1 << 20];
    for _ in 0..200 {
        assert_eq!(client.echo_in_place(&data).unwrap().len(), data.len());
    }
}
