//! The test vectors of docs/wire-format.md, which were made from that document and not by this code:
//! both must agree.

use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};
use shmrpc_core::{
    Door, Encoding,
    codec::{Bincode, Decode, Encode, Json, Msgpack},
    frame::{
        DEFAULT_MAX_MESSAGE_BYTES, Frame, HEADER_BYTES, Header, MAGIC, decode, encode, flags,
        handshake::Hello,
        proof::{Transcript, from_hex},
    },
    method::{Shape, method_id},
};

use crate::service::{ECHO, Point, TestError};

fn vectors(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vectors").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn hex(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn to_hex(bytes: &[u8]) -> Value {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// The frame, its header, or why it is none.
fn read(bytes: &[u8]) -> Result<(Header, Frame), String> {
    let header = Header::decode(bytes[..HEADER_BYTES].try_into().unwrap()).map_err(|e| e.to_string())?;
    header.check(DEFAULT_MAX_MESSAGE_BYTES).map_err(|e| e.to_string())?;
    let body = Bytes::copy_from_slice(&bytes[HEADER_BYTES..]);
    Ok((header, decode(header, body, DEFAULT_MAX_MESSAGE_BYTES).map_err(|e| e.to_string())?))
}

/// A frame as the files describe it.
fn described(frame: &Frame) -> Value {
    let text = |bytes: &Bytes| std::str::from_utf8(bytes).unwrap().to_owned();
    match frame {
        Frame::Hello(body) => json!({"text": text(body)}),
        Frame::Welcome(body) => json!({"text": text(body)}),
        Frame::Challenge(body) | Frame::Proof(body) => json!({"body": to_hex(body)}),
        Frame::Refuse { status, reason } | Frame::GoAway { status, reason } => {
            json!({"status": *status as u16, "text": reason})
        }
        Frame::Call(call) => json!({
            "id": call.id, "method": call.method.to_string(), "timeout_ns": call.timeout_ns,
            "metadata": to_hex(&call.metadata), "payload": to_hex(&call.payload),
            "json_door": call.door == Door::Json, "idempotent": call.idempotent,
        }),
        Frame::Reply { id, status, payload } => {
            json!({"id": id, "status": *status as u16, "payload": to_hex(payload)})
        }
        Frame::StreamItem { id, payload } => json!({"id": id, "payload": to_hex(payload)}),
        Frame::StreamEnd { id, status, reason } => {
            json!({"id": id, "status": *status as u16, "text": reason})
        }
        Frame::Credit { id, bytes } => json!({"id": id, "bytes": bytes}),
        Frame::Notify { id, code, payload } => json!({"id": id, "code": code, "payload": to_hex(payload)}),
        Frame::StreamStop { id } | Frame::Cancel { id } | Frame::Ping { id } | Frame::Pong { id } => {
            json!({"id": id})
        }
    }
}

#[test]
fn frames() {
    let file = vectors("frames.json");
    for vector in file["frames"].as_array().unwrap() {
        let name = &vector["name"];
        let bytes = hex(&vector["hex"]);
        let (header, frame) = read(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut expected = vector.as_object().unwrap().clone();
        for key in ["name", "hex", "kind"] {
            expected.remove(key);
        }
        assert_eq!(format!("{:?}", header.kind), vector["kind"], "{name}");
        assert_eq!(described(&frame), Value::Object(expected), "{name}");
        if header.flags & flags::COMPRESSED == 0 {
            let ours = encode(frame, false);
            assert_eq!([ours.head, ours.payload].concat(), bytes, "{name}");
        }
    }
}

#[test]
fn bad_frames() {
    let file = vectors("bad_frames.json");
    for vector in file["frames"].as_array().unwrap() {
        assert!(read(&hex(&vector["hex"])).is_err(), "accepted: {}", vector["name"]);
    }
}

#[test]
fn method_ids() {
    for vector in vectors("method_ids.json").as_array().unwrap() {
        let text = |key: &str| -> &'static str { vector[key].as_str().unwrap().to_owned().leak() };
        let encoding = serde_json::from_value::<Encoding>(vector["encoding"].clone()).unwrap();
        let shape = serde_json::from_value::<Shape>(vector["shape"].clone()).unwrap();
        let id = method_id(text("name"), encoding, shape, text("signature"));
        assert_eq!(id.to_string(), vector["id"], "{}", vector["name"]);
    }
}

#[test]
fn encodings() {
    fn agree<C: Encode<T> + Decode<T>, T: PartialEq + std::fmt::Debug>(value: &T, expected: Vec<u8>) {
        let mut bytes = Vec::new();
        C::encode(value, &mut bytes).unwrap();
        assert_eq!(bytes, expected, "{} of {value:?}", C::ENCODING);
        assert_eq!(C::decode(&expected).unwrap(), *value);
    }
    fn all<T>(value: &T, vector: &Value)
    where
        T: PartialEq + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
    {
        agree::<Json, T>(value, vector["json"].as_str().unwrap().as_bytes().to_vec());
        agree::<Msgpack, T>(value, hex(&vector["msgpack"]));
        agree::<Bincode, T>(value, hex(&vector["bincode"]));
    }
    let file = vectors("encodings.json");
    let values = &file["values"];
    all::<[(); 0]>(&[], &values[0]);
    all(&(Point { x: -3, label: Some("p".into()) },), &values[1]);
    all(&(Point { x: 300, label: None },), &values[2]);
    all(&TestError::NotToday { code: 7 }, &values[3]);
}

#[test]
fn conversation() {
    let file = vectors("conversation.json");
    let (header, _) = read(&hex(&file["hello"])).unwrap();
    assert_eq!(header.id, MAGIC);
    let (_, Frame::Call(call)) = read(&hex(&file["call"])).unwrap() else { panic!("no call") };
    assert_eq!((call.method, &call.payload[..]), (ECHO.id(), &b"hi"[..]));
    let (_, Frame::Reply { id, payload, .. }) = read(&hex(&file["reply"])).unwrap() else {
        panic!("no reply")
    };
    assert_eq!((id, &payload[..]), (call.id, &b"hi"[..]));
}

#[test]
fn proof() {
    let file = vectors("proof.json");
    let secret = file["secret"].as_str().unwrap().as_bytes();
    let frame = |name: &str| read(&hex(&file[name])).unwrap().1;
    let (Frame::Hello(hello), Frame::Welcome(welcome)) = (frame("hello"), frame("welcome")) else {
        panic!("other frames")
    };
    let Frame::Challenge(nonce) = frame("challenge") else { panic!("no challenge") };
    let (Frame::Proof(client), Frame::Proof(server)) = (frame("client_proof"), frame("server_proof")) else {
        panic!("no proofs")
    };
    let auth = serde_json::from_slice::<Hello>(&hello).unwrap().auth.unwrap();
    let client_nonce = from_hex(&auth.nonce).unwrap();
    let said = Transcript { client_nonce, server_nonce: nonce[..].try_into().unwrap(), hello: &hello };
    assert_eq!(said.client_proof(secret)[..], client[..]);
    assert_eq!(said.server_proof(secret, &welcome)[..], server[..]);
}
