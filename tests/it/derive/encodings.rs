//! Every encoding, with every kind of argument and reply, through both clients.

use serde_json::{Value, json};
use shmrpc::{CallError, bincode_method, json_method, msgpack_method, raw_method, service};

use super::{Row, RowError};

pub(crate) struct EchoServer;

/// Echoes things,
/// in two lines.
///
/// And a second paragraph.
#[service(name = "echo_serv", port = 5555, workers = 1)]
impl EchoServer {
    pub(crate) fn new() -> Self {
        Self
    }

    /// Bytes in, bytes out.
    #[raw_method]
    fn echo_raw(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }

    #[raw_method]
    fn echo_raw_owned(&self, data: Vec<u8>) -> Vec<u8> {
        data
    }

    #[raw_method]
    async fn echo_raw_async(&self, data: &[u8]) -> Result<Vec<u8>, RowError> {
        if data.is_empty() { Err(RowError::Refused("nothing".into())) } else { Ok(data.to_vec()) }
    }

    #[raw_method(read_only)]
    fn greeting(&self) -> &'static str {
        "hello"
    }

    #[raw_method]
    fn swallow(&self, data: &[u8]) {
        assert_ne!(data, b"poison");
    }

    #[json_method(deadline = "2s", idempotent)]
    fn echo_json(&self, data: Value) -> Value {
        data
    }

    #[json_method]
    async fn find_json(&self, id: u64, name: &str) -> Result<Row, RowError> {
        if id == 0 {
            Err(RowError::NotFound { id })
        } else {
            Ok(Row { id, name: name.into(), ..Row::sample() })
        }
    }

    #[msgpack_method]
    fn find_msgpack(&self, id: u64, name: String) -> Result<Row, RowError> {
        if id == 0 { Err(RowError::NotFound { id }) } else { Ok(Row { id, name, ..Row::sample() }) }
    }

    #[bincode_method]
    async fn find_bincode(&self, id: u64, name: &str) -> Result<Row, RowError> {
        if id == 0 {
            Err(RowError::NotFound { id })
        } else {
            Ok(Row { id, name: name.into(), ..Row::sample() })
        }
    }

    #[msgpack_method]
    fn total(&self, rows: &[Row], factor: f64, negate: bool) -> f64 {
        let sum: u64 = rows.iter().map(|row| row.id).sum();
        if negate { -(sum as f64) * factor } else { sum as f64 * factor }
    }

    #[bincode_method]
    fn pair(&self, pair: (u8, String), row: &Row, maybe: Option<Row>) -> (Row, Option<Row>, (String, u8)) {
        (row.clone(), maybe, (pair.1, pair.0))
    }

    #[json_method]
    fn nothing(&self) {}

    #[bincode_method]
    fn nothing_in_bincode(&self) -> Result<(), RowError> {
        Ok(())
    }

    #[msgpack_method]
    async fn nothing_async(&self) -> u8 {
        1
    }

    fn _plain(&mut self) {}
}

fn refused<T>(id: u64) -> Result<T, RowError> {
    Err(RowError::NotFound { id })
}

/// The service's own outcome, whatever the transport says.
fn served<T, E: std::fmt::Debug>(outcome: Result<T, CallError<E>>) -> Result<T, E> {
    match outcome {
        Ok(value) => Ok(value),
        Err(CallError::Service(error)) => Err(error),
        Err(CallError::Rpc(error)) => panic!("{error}"),
    }
}

#[test]
fn blocking_client() {
    let client = EchoServerBlockingClient::in_process(EchoServer::new());
    assert_eq!(client.echo_raw(b"abc").unwrap(), b"abc");
    assert_eq!(client.echo_raw_owned(b"abc").unwrap(), b"abc");
    assert_eq!(client.echo_raw_async(b"abc").unwrap(), b"abc");
    assert_eq!(served(client.echo_raw_async(b"")), Err(RowError::Refused("nothing".into())));
    assert_eq!(client.greeting().unwrap(), b"hello");
    client.swallow(b"food").unwrap();
    let value = json!({"a": [1, null, "ü"]});
    assert_eq!(client.echo_json(&value).unwrap(), value);
    let row = Row { id: 3, name: "n".into(), ..Row::sample() };
    assert_eq!(client.find_json(3, "n").unwrap(), row);
    assert_eq!(client.find_msgpack(3, "n").unwrap(), row);
    assert_eq!(client.find_bincode(3, "n").unwrap(), row);
    assert_eq!(served(client.find_json(0, "n")), refused(0));
    assert_eq!(served(client.find_msgpack(0, "n")), refused(0));
    assert_eq!(served(client.find_bincode(0, "n")), refused(0));
    assert_eq!(client.total(&[row.clone(), Row::sample()], 0.5, true).unwrap(), -5.0);
    let reply = client.pair(&(1, "one".into()), &row, &None).unwrap();
    assert_eq!(reply, (row.clone(), None, ("one".into(), 1)));
    client.nothing().unwrap();
    client.nothing_in_bincode().unwrap();
    assert_eq!(client.nothing_async().unwrap(), 1);
}

#[tokio::test]
async fn async_client() {
    let client = EchoServerClient::in_process(EchoServer::new());
    assert_eq!(client.echo_raw(b"abc").await.unwrap(), b"abc");
    assert_eq!(client.echo_raw_owned(b"abc").await.unwrap(), b"abc");
    assert_eq!(client.echo_raw_async(b"abc").await.unwrap(), b"abc");
    assert_eq!(served(client.echo_raw_async(b"").await), Err(RowError::Refused("nothing".into())));
    assert_eq!(client.greeting().await.unwrap(), b"hello");
    client.swallow(b"food").await.unwrap();
    let value = json!({"a": [1, null, "ü"]});
    assert_eq!(client.echo_json(&value).await.unwrap(), value);
    let row = Row { id: 3, name: "n".into(), ..Row::sample() };
    assert_eq!(client.find_json(3, "n").await.unwrap(), row);
    assert_eq!(client.find_msgpack(3, "n").await.unwrap(), row);
    assert_eq!(client.find_bincode(3, "n").await.unwrap(), row);
    assert_eq!(served(client.find_json(0, "n").await), refused(0));
    assert_eq!(served(client.find_msgpack(0, "n").await), refused(0));
    assert_eq!(served(client.find_bincode(0, "n").await), refused(0));
    assert_eq!(client.total(std::slice::from_ref(&row), 2.0, false).await.unwrap(), 6.0);
    let reply = client.pair(&(1, "one".into()), &row, &Some(row.clone())).await.unwrap();
    assert_eq!(reply, (row.clone(), Some(row), ("one".into(), 1)));
    client.nothing().await.unwrap();
    client.nothing_in_bincode().await.unwrap();
    assert_eq!(client.nothing_async().await.unwrap(), 1);
}

#[tokio::test]
async fn many_calls_are_in_flight_on_one_client() {
    let client = EchoServerClient::in_process(EchoServer::new());
    let calls: Vec<_> = (0..200u64)
        .map(|id| {
            let client = client.clone();
            tokio::spawn(async move { client.find_json(id + 1, "x").await.unwrap().id })
        })
        .collect();
    for (id, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap(), id as u64 + 1);
    }
}
