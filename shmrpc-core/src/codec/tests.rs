//! What every codec keeps: values come back, nothing trails, limits hold.

use std::{
    collections::{BTreeMap, HashMap},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    x: i32,
    label: Option<String>,
}

fn round_trip<C: Encode<(Point, u8)> + Decode<(Point, u8)>>() {
    let value = (Point { x: -3, label: Some("p".into()) }, 7);
    let mut bytes = Vec::new();
    C::encode(&value, &mut bytes).unwrap();
    assert_eq!(C::decode(&bytes).unwrap(), value);
    bytes.push(0);
    assert!(C::decode(&bytes).is_err(), "{} accepts trailing bytes", C::ENCODING);
    assert!(C::decode(&bytes[..1]).is_err());
}

#[test]
fn values_come_back() {
    round_trip::<Json>();
    round_trip::<Msgpack>();
    round_trip::<Bincode>();
}

#[test]
fn no_arguments_are_an_empty_array() {
    let mut bytes = Vec::new();
    <Json as Encode<[(); 0]>>::encode(&[], &mut bytes).unwrap();
    assert_eq!(bytes, b"[]");
    bytes.clear();
    <Msgpack as Encode<[(); 0]>>::encode(&[], &mut bytes).unwrap();
    assert_eq!(bytes, [0x90]);
}

/// Recursive in every way that serde knows.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Next(Box<Tree>),
    Many(Vec<Tree>),
    Named { inner: Option<Box<Tree>> },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Chain(Option<Box<Chain>>);

fn limit<T, C: Decode<T>>(bytes: &[u8]) -> Option<DecodeLimit> {
    let Err(error) = C::decode(bytes) else { panic!("{} takes it", C::ENCODING) };
    error.limit
}

fn memory(limit: Option<DecodeLimit>) -> bool {
    matches!(limit, Some(DecodeLimit::Memory { .. }))
}

/// The row of the fault matrix, under a deadline for all of it together in a build that is not optimised.
#[test]
fn deep_or_huge_values() {
    let (done, told) = mpsc::channel();
    let checks = thread::spawn(move || {
        refuse_deep_values();
        refuse_huge_values();
        done.send(()).unwrap();
    });
    if let Err(mpsc::RecvTimeoutError::Timeout) = told.recv_timeout(Duration::from_secs(60)) {
        panic!("a value is read without end");
    }
    checks.join().unwrap();
}

fn refuse_deep_values() {
    let depth = Some(DecodeLimit::Depth);
    let nested = |open: &str, close: &str| open.repeat(100_000) + &close.repeat(100_000);
    assert_eq!(limit::<Value, Json>(nested("[", "]").as_bytes()), depth);
    assert_eq!(limit::<Value, Json>(nested("{\"a\":", "}").as_bytes()), depth);
    assert_eq!(limit::<Tree, Json>(nested("{\"Next\":", "}").as_bytes()), depth);
    assert_eq!(limit::<Value, Msgpack>(&[0x91; 100_000]), depth);
    assert_eq!(limit::<Tree, Msgpack>(&b"\x81\xa4Next".repeat(100_000)), depth);
    assert_eq!(limit::<Tree, Msgpack>(&b"\x81\xa4Many\x91".repeat(100_000)), depth);
    assert_eq!(limit::<Tree, Bincode>(&[1; 100_000]), depth);
    assert_eq!(limit::<Tree, Bincode>(&[2, 1].repeat(100_000)), depth);
    assert_eq!(limit::<Tree, Bincode>(&[3, 1].repeat(100_000)), depth);
    assert_eq!(limit::<Chain, Bincode>(&[1; 100_000]), depth);
}

fn refuse_huge_values() {
    // 2^33 elements of nothing, in ten bytes.
    let many = [253, 0, 0, 0, 0, 2, 0, 0, 0];
    assert_eq!(limit::<Vec<()>, Bincode>(&many), Some(DecodeLimit::EmptyElements));
    assert_eq!(limit::<Vec<[u8; 0]>, Bincode>(&many), Some(DecodeLimit::EmptyElements));
    assert_eq!(limit::<HashMap<(), ()>, Bincode>(&many), Some(DecodeLimit::EmptyElements));
    for claim in [&many[..], &[252, 255, 255, 255, 127]] {
        assert!(<Bincode as Decode<Vec<u64>>>::decode(claim).is_err());
        assert!(<Bincode as Decode<String>>::decode(claim).is_err());
        assert!(<Bincode as Decode<BTreeMap<String, Vec<u8>>>>::decode(claim).is_err());
    }
    for claim in [&b"\xdd\xff\xff\xff\xff\xc0"[..], b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"] {
        assert!(<Msgpack as Decode<Vec<()>>>::decode(claim).is_err());
        assert!(<Msgpack as Decode<Value>>::decode(claim).is_err());
        assert!(<Msgpack as Decode<String>>::decode(claim).is_err());
    }
}

/// Sixteen mebibytes that would become 256 or more.
#[test]
fn values_that_grow_beyond_the_budget_are_refused() {
    let numbers = format!("[{}0]", "0,".repeat(8 << 20));
    assert!(memory(limit::<Value, Json>(numbers.as_bytes())));
    let maps = format!("[{}0]", "{\"\":0},".repeat(1 << 20));
    assert!(memory(limit::<Value, Json>(maps.as_bytes())));
    let mut packed = vec![0xdd, 1, 0, 0, 0];
    packed.resize(5 + (1 << 24), 0x90);
    assert!(memory(limit::<Vec<Value>, Msgpack>(&packed)));
}

#[test]
fn values_within_the_budget_pass() {
    let deep = "[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH);
    assert!(<Json as Decode<Value>>::decode(deep.as_bytes()).is_ok());
    let deeper = format!("[{deep}]");
    assert_eq!(limit::<Value, Json>(deeper.as_bytes()), Some(DecodeLimit::Depth));
    let numbers: Vec<u64> = vec![7; 1 << 20];
    let mut bytes = Vec::new();
    Bincode::encode(&numbers, &mut bytes).unwrap();
    assert_eq!(<Bincode as Decode<Vec<u64>>>::decode(&bytes).unwrap(), numbers);
    bytes.clear();
    Bincode::encode(&[(); 1000].to_vec(), &mut bytes).unwrap();
    assert_eq!(<Bincode as Decode<Vec<()>>>::decode(&bytes).unwrap().len(), 1000);
    let text = "x".repeat(20 << 20);
    bytes.clear();
    Msgpack::encode(&text, &mut bytes).unwrap();
    assert_eq!(<Msgpack as Decode<String>>::decode(&bytes).unwrap(), text);
}

#[test]
fn an_error_names_the_limit() {
    let deep = "[".repeat(1000);
    let error = <Json as Decode<Value>>::decode(deep.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "json decoding: nested deeper than 128 levels");
    for limit in [DecodeLimit::Depth, DecodeLimit::Memory { budget_bytes: 77 }, DecodeLimit::EmptyElements] {
        assert_eq!(DecodeLimit::from_text(&limit.to_text()), Some(limit));
    }
    for other in ["", "depth", "width: of another version", "memory much: no number"] {
        assert_eq!(DecodeLimit::from_text(other), None);
    }
}
