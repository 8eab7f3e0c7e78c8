//! The second form: a service defined as a trait, for clients that do not link the server's code.

use std::sync::atomic::{AtomicU64, Ordering};

use shmrpc::{Definition, bincode_method, json_method, msgpack_method, raw_method, service};

use super::{Row, RowError};

/// A counter that is shared.
#[service(name = "counter", port = 5600)]
trait Counter {
    /// Adds and answers the new total.
    #[json_method]
    fn add(&self, amount: u64) -> u64;

    #[msgpack_method(idempotent, read_only)]
    async fn total(&self, label: &str) -> Result<(String, u64), RowError>;

    #[bincode_method]
    async fn row(&self, row: &Row) -> Row {
        let doubled = row.id * 2;
        Row { id: doubled, ..row.clone() }
    }

    #[raw_method]
    fn reverse(&self, data: &[u8]) -> Vec<u8> {
        data.iter().rev().copied().collect()
    }

    fn not_offered(&self) -> &str {
        "plain"
    }
}

#[derive(Default)]
struct Atomic {
    total: AtomicU64,
}

impl Counter for Atomic {
    fn add(&self, amount: u64) -> u64 {
        self.total.fetch_add(amount, Ordering::Relaxed) + amount
    }

    async fn total(&self, label: &str) -> Result<(String, u64), RowError> {
        tokio::task::yield_now().await;
        if label.is_empty() {
            return Err(RowError::Refused("no label".into()));
        }
        Ok((label.to_owned(), self.total.load(Ordering::Relaxed)))
    }
}

#[test]
fn any_implementation_is_served() {
    let client = CounterBlockingClient::in_process(Atomic::default());
    assert_eq!(client.add(3).unwrap(), 3);
    assert_eq!(client.add(4).unwrap(), 7);
    assert_eq!(client.total("now").unwrap(), ("now".into(), 7));
    assert!(client.total("").is_err());
    assert_eq!(client.row(&Row::sample()).unwrap().id, 14);
    assert_eq!(client.reverse(b"abc").unwrap(), b"cba");
    assert_eq!(Atomic::default().not_offered(), "plain");
}

#[tokio::test]
async fn the_wrapper_is_a_service() {
    let _published = shmrpc::publish(CounterService::new(Atomic::default()));
    let client = CounterClient::connect("inproc://").await.unwrap();
    assert_eq!(client.add(1).await.unwrap(), 1);
    assert_eq!(client.row(&Row::sample()).await.unwrap().id, 14);
    let info = <CounterService<Atomic> as Definition>::INFO;
    assert_eq!((info.struct_name, info.name, info.port), ("Counter", "counter", 5600));
    assert_eq!(info.doc, "A counter that is shared.");
    assert_eq!(info.methods[1].signature, "(String) -> Result<(String, u64), RowError>");
}
