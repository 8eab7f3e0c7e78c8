//! Clients and servers that do not agree, the description that they compare, and the JSON door.

use serde_json::{Value, json};
use shmrpc::{
    CallError, ConnectError, Connection, Definition, Door, RpcError, Status, in_process, json_method,
    method::{ServiceDescription, Shape},
    service,
};

use super::{Row, RowError};

/// The server's side.
mod server {
    use shmrpc::{bincode_method, json_method, msgpack_method, raw_method, service};

    use super::{Row, RowError};

    pub(super) struct Directory;

    /// A directory of rows.
    ///
    /// Kept in memory.
    #[service(name = "directory", port = 5900, workers = 2)]
    impl Directory {
        /// Finds a row
        /// by its id.
        ///
        /// Slow for large ids.
        #[json_method(deadline = "1m", idempotent, read_only)]
        fn find(&self, id: u64) -> Result<Row, RowError> {
            if id == 7 { Ok(Row::sample()) } else { Err(RowError::NotFound { id }) }
        }

        #[msgpack_method]
        async fn put(&self, row: &super::super::Row, position: Option<std::primitive::usize>) -> (u64, bool) {
            (row.id, position.is_some())
        }

        #[bincode_method]
        fn rename(&self, from: &str, to: std::string::String) -> String {
            format!("{from} is {to}")
        }

        #[json_method]
        fn count(&self) -> u64 {
            1
        }

        #[raw_method]
        fn page(&self, data: &[u8]) -> Vec<u8> {
            data.to_vec()
        }
    }
}

/// A client's idea of it, older or newer than the server.
mod client {
    use shmrpc::{json_method, service};

    use super::{Row, RowError};

    #[service(name = "directory", port = 5900)]
    pub(super) trait Directory {
        // The same.
        #[json_method]
        fn find(&self, id: u64) -> Result<Row, RowError>;
        // Another encoding.
        #[json_method]
        fn put(&self, row: Row, position: Option<usize>) -> (u64, bool);
        // Other types.
        #[json_method]
        fn count(&self, from: u32) -> u64;
        // Unknown.
        #[json_method]
        fn forget(&self, id: u64);
    }
}

#[service(name = "directory", port = 5900)]
trait Part {
    /// A handler may take it as it likes; what travels is the same.
    #[json_method]
    async fn find(&self, number: &u64) -> std::result::Result<crate::derive::Row, RowError>;
}

#[test]
fn a_mismatch_names_the_methods_and_both_sides() {
    let _published = shmrpc::publish(server::Directory);
    let error = client::DirectoryBlockingClient::connect("inproc://").unwrap_err();
    let ConnectError::Mismatch { service, mismatches, .. } = error else { panic!("{error}") };
    assert_eq!(service, "directory");
    let expected = [
        "method put: client has json unary (Row, Option<usize>) -> (u64, bool), \
         server has msgpack unary (Row, Option<usize>) -> (u64, bool)",
        "method count: client has json unary (u32) -> u64, server has json unary () -> u64",
        "method forget is unknown to the server",
    ];
    assert_eq!(mismatches, expected);
    // A client may know less than the server.
    let part = PartBlockingClient::connect("inproc://").unwrap();
    assert_eq!(part.find(7).unwrap(), Row::sample());
}

#[tokio::test]
async fn an_unknown_method_is_an_error_of_the_call() {
    let connection = in_process(std::sync::Arc::new(server::Directory));
    let client = client::DirectoryClient::from_connection(connection);
    match client.forget(3).await {
        Err(CallError::Rpc(RpcError::NoSuchMethod(text))) => assert!(text.contains("forget"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_description_says_everything() {
    let description = ServiceDescription::from(<server::Directory as Definition>::INFO);
    assert_eq!((description.struct_name.as_str(), description.port), ("Directory", 5900));
    assert_eq!((description.max_workers, description.doc.as_str()), (Some(2), "A directory of rows."));
    let find = description.method("find").unwrap();
    assert_eq!(find.doc, "Finds a row by its id.");
    assert_eq!((find.idempotent, find.read_only, find.deadline_ms), (true, true, Some(60_000)));
    assert_eq!((find.signature.as_str(), find.shape), ("(u64) -> Result<Row, RowError>", Shape::Unary));
    assert_eq!(find.returns, "Result<Row, RowError>");
    let put = description.method("put").unwrap();
    assert_eq!(put.params[1], ("position".to_owned(), "Option<usize>".to_owned()));
    assert_eq!(description.method("rename").unwrap().signature, "(String, String) -> String");
    assert_eq!(description.method("page").unwrap().signature, "(Vec<u8>) -> Vec<u8>");
    let text = serde_json::to_string(&description).unwrap();
    assert_eq!(serde_json::from_str::<ServiceDescription>(&text).unwrap(), description);
    // Clients know it as well.
    let of_client = <server::DirectoryBlockingClient as Definition>::INFO;
    assert_eq!(ServiceDescription::from(of_client), description);
}

fn through_json(
    connection: &Connection,
    method: &str,
    arguments: &Value,
) -> Result<(Status, Value), RpcError> {
    let service = connection.service();
    let target = service.method(method).unwrap().into();
    let reply = connection.begin(target, Door::Json, &serde_json::to_vec(arguments).unwrap())?.wait()?;
    Ok((reply.status, serde_json::from_slice(&reply.body).unwrap()))
}

#[test]
fn every_method_that_is_not_raw_has_a_json_door() {
    let connection = in_process(std::sync::Arc::new(server::Directory));
    let row = serde_json::to_value(Row::sample()).unwrap();
    let reply = |method: &str, arguments: Value| through_json(&connection, method, &arguments).unwrap();
    assert_eq!(reply("find", json!([7])), (Status::Ok, row.clone()));
    assert_eq!(reply("find", json!([8])), (Status::ServiceError, json!({"NotFound": {"id": 8}})));
    assert_eq!(reply("put", json!([row, 3])), (Status::Ok, json!([7, true])));
    assert_eq!(reply("put", json!([row, null])), (Status::Ok, json!([7, false])));
    assert_eq!(reply("rename", json!(["a", "b"])), (Status::Ok, json!("a is b")));
    assert_eq!(reply("count", json!([])), (Status::Ok, json!(1)));
    for (method, wrong) in [
        ("find", json!(["seven"])),
        ("find", json!([])),
        ("find", json!([7, 8])),
        ("find", json!(7)),
        ("rename", json!(["a"])),
        ("count", json!([1])),
        ("page", json!([])),
    ] {
        let outcome = through_json(&connection, method, &wrong);
        assert!(matches!(outcome, Err(RpcError::BadArguments(_))), "{method} {wrong}: {outcome:?}");
    }
}
