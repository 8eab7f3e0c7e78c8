//! A private service in a program: no warning of any kind.
#![deny(warnings)]

use shmrpc::{bincode_method, json_method, msgpack_method, raw_method, service};

struct EchoServer;

struct Private;

#[derive(serde::Serialize, serde::Deserialize)]
struct Row {
    id: u32,
}

#[derive(serde::Serialize, serde::Deserialize, shmrpc::schemars::JsonSchema)]
#[schemars(crate = "shmrpc::schemars")]
struct Telling {
    id: u32,
}

#[service(name = "echo_serv", port = 5555)]
impl EchoServer {
    #[raw_method]
    fn raw(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }

    #[raw_method]
    async fn raw_without_arguments(&self) -> String {
        "text".to_owned()
    }

    #[json_method]
    fn json(&self, row: Row) -> u32 {
        row.id
    }

    #[json_method]
    fn telling(&self, row: Telling) -> Vec<Telling> {
        vec![row]
    }

    #[msgpack_method]
    fn msgpack(&self, _unused: u32, _: bool, mut count: u64) -> Row {
        count += 1;
        Row { id: count as u32 }
    }

    #[bincode_method]
    async fn bincode(&self, r#type: &str) -> Result<String, String> {
        Ok(r#type.to_owned())
    }

    #[json_method]
    #[must_use]
    fn r#match(&self) -> bool {
        true
    }
}

#[service(name = "private", port = 5556)]
impl Private {
    #[shmrpc::json_method]
    fn one(&self) {}
}

fn main() {
    let client = EchoServerBlockingClient::in_process(EchoServer);
    assert_eq!(client.msgpack(1, true, 3).unwrap().id, 4);
    assert_eq!(client.bincode("text").unwrap(), "text");
    assert!(client.r#match().unwrap());
    let info = client.connection().service();
    assert_eq!(info.method("match").unwrap().signature, "() -> bool");
    assert_eq!(info.method("bincode").unwrap().params, [("type".to_owned(), "String".to_owned())]);
    let _ = Private;
}
