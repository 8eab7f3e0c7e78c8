//! What the encodings carry: a struct of ten fields, and the original's two small messages; and what encoding and decoding
//! that struct costs alone, in one process, with the crates and settings that shmrpc uses.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shmrpc::CallError;

use super::ServerBlockingClient;
use crate::{
    job::{Figures, Job, Method},
    measure,
};

/// Ten fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub number: u64,
    pub name: String,
    pub price: f64,
    pub quantity: u32,
    pub active: bool,
    pub kind: Kind,
    pub tags: Vec<String>,
    pub position: (f32, f32),
    pub parent: Option<u64>,
    pub delta: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Order,
    Refund,
}

impl Record {
    pub fn example() -> Self {
        Self {
            number: 1_000_000,
            name: "lorem ipsum".into(),
            price: 12.5,
            quantity: 3,
            active: true,
            kind: Kind::Order,
            tags: vec!["dolor".into(), "sit".into()],
            position: (1.5, -2.25),
            parent: Some(7),
            delta: -42,
        }
    }
}

/// As small as a message that the original was measured with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Small {
    pub id: u32,
    pub name: String,
    pub value: f64,
}

impl Small {
    pub fn example() -> Self {
        Self { id: 7, name: "lorem".into(), value: 1.5 }
    }
}

/// About 70 bytes of JSON.
pub fn small_json() -> Value {
    json!({"id": 12345, "name": "lorem ipsum", "values": [1, 2, 3, 4, 5], "ok": true, "x": null})
}

/// Calls with another number each time, and checks that it is that number's answer.
pub(super) fn check<E: std::fmt::Debug>(
    record: &mut Record,
    client: &ServerBlockingClient,
    call: impl Fn(&ServerBlockingClient, &Record) -> Result<Record, CallError<E>>,
) {
    record.number += 1;
    assert_eq!(call(client, record).expect("answered").number, record.number);
}

/// Encoding and decoding the arguments, then the reply, with no call in between. Arguments travel as a sequence, here of one.
pub(super) fn alone(job: &Job, method: Method, go: impl FnOnce()) -> Figures {
    let mut record = Record::example();
    match method {
        Method::JsonAlone => measure::one(
            &mut || {
                record.number += 1;
                let bytes = serde_json::to_vec(&(&record,)).expect("encodes");
                let (arrived,): (Record,) = serde_json::from_slice(&bytes).expect("decodes");
                let bytes = serde_json::to_vec(&arrived).expect("encodes");
                let reply: Record = serde_json::from_slice(&bytes).expect("decodes");
                assert_eq!(reply.number, record.number);
            },
            job,
            go,
        ),
        Method::MsgpackAlone => measure::one(
            &mut || {
                record.number += 1;
                let bytes = rmp_serde::to_vec_named(&(&record,)).expect("encodes");
                let (arrived,): (Record,) = rmp_serde::from_slice(&bytes).expect("decodes");
                let bytes = rmp_serde::to_vec_named(&arrived).expect("encodes");
                let reply: Record = rmp_serde::from_slice(&bytes).expect("decodes");
                assert_eq!(reply.number, record.number);
            },
            job,
            go,
        ),
        Method::BincodeAlone => {
            let config = bincode::config::standard();
            let decode = bincode::serde::decode_from_slice::<Record, _>;
            measure::one(
                &mut || {
                    record.number += 1;
                    let bytes = bincode::serde::encode_to_vec((&record,), config).expect("encodes");
                    let ((arrived,), _) =
                        bincode::serde::decode_from_slice::<(Record,), _>(&bytes, config).expect("decodes");
                    let bytes = bincode::serde::encode_to_vec(&arrived, config).expect("encodes");
                    let (reply, _) = decode(&bytes, config).expect("decodes");
                    assert_eq!(reply.number, record.number);
                },
                job,
                go,
            )
        }
        _ => unreachable!("it is a call"),
    }
}
