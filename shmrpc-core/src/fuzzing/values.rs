//! The codecs, each with several types of arguments. The first byte chooses the type. A value that could be
//! read can be written and read again. (Not so an `f32` in JSON: a number beyond its range is read as infinity, and
//! that is written as null.)

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::codec::{Bincode, Codec, Decode, Encode, Json, Msgpack, Raw};

/// Recursive in the ways that serde knows, and with fields of every kind.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Order {
    id: u64,
    price: f64,
    name: String,
    kind: Kind,
    tags: Vec<String>,
    parts: Vec<Order>,
    parent: Option<Box<Order>>,
    extra: BTreeMap<String, i32>,
    pair: (u8, char),
    nothing: (),
}

#[derive(Debug, Default, Serialize, Deserialize)]
enum Kind {
    #[default]
    Plain,
    Count(u32),
    Both(i8, String),
    Named {
        inner: Option<Box<Kind>>,
    },
    Chain(Box<Kind>),
}

/// Buffered by serde before it knows the variant.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Loose {
    Number(i64),
    Text(String),
    Many(Vec<Loose>),
    Map(HashMap<String, Loose>),
}

fn try_one<C: Encode<T> + Decode<T>, T>(bytes: &[u8]) {
    let Ok(value) = C::decode(bytes) else { return };
    let mut again = Vec::new();
    // A map with keys that JSON does not have, a float that is no number: written by one encoding alone.
    if C::encode(&value, &mut again).is_ok() {
        let same = C::decode(&again);
        assert!(same.is_ok(), "{}: {:?} read, written, and refused", C::ENCODING, same.err());
    }
}

fn try_owned<C>(data: &[u8])
where
    C: Codec
        + Encode<(u64, String)>
        + Decode<(u64, String)>
        + Encode<Vec<u8>>
        + Decode<Vec<u8>>
        + Encode<Vec<Vec<Option<i32>>>>
        + Decode<Vec<Vec<Option<i32>>>>
        + Encode<Order>
        + Decode<Order>
        + Encode<HashMap<String, Vec<f64>>>
        + Decode<HashMap<String, Vec<f64>>>
        + Encode<Vec<()>>
        + Decode<Vec<()>>
        + Encode<[Vec<u16>; 3]>
        + Decode<[Vec<u16>; 3]>
        + Encode<(Kind, Kind)>
        + Decode<(Kind, Kind)>,
{
    let Some((&choice, bytes)) = data.split_first() else { return };
    match choice & 7 {
        0 => try_one::<C, (u64, String)>(bytes),
        1 => try_one::<C, Vec<u8>>(bytes),
        2 => try_one::<C, Vec<Vec<Option<i32>>>>(bytes),
        3 => try_one::<C, Order>(bytes),
        4 => try_one::<C, HashMap<String, Vec<f64>>>(bytes),
        5 => try_one::<C, Vec<()>>(bytes),
        6 => try_one::<C, [Vec<u16>; 3]>(bytes),
        _ => try_one::<C, (Kind, Kind)>(bytes),
    }
}

fn try_loose<C>(data: &[u8])
where
    C: Encode<Value> + Decode<Value> + Encode<Loose> + Decode<Loose>,
{
    match data.split_first() {
        Some((choice, bytes)) if choice & 0x10 == 0 => try_one::<C, Value>(bytes),
        Some((_, bytes)) => try_one::<C, Loose>(bytes),
        None => {}
    }
}

pub(super) fn json(data: &[u8]) {
    if data.first().is_some_and(|choice| choice & 8 == 0) {
        try_owned::<Json>(data)
    } else {
        try_loose::<Json>(data)
    }
}

pub(super) fn msgpack(data: &[u8]) {
    if data.first().is_some_and(|choice| choice & 8 == 0) {
        try_owned::<Msgpack>(data);
    } else {
        try_loose::<Msgpack>(data);
    }
}

pub(super) fn bincode(data: &[u8]) {
    try_owned::<Bincode>(data);
}

pub(super) fn raw(data: &[u8]) {
    assert_eq!(<Raw as Decode<Vec<u8>>>::decode(data).expect("bytes are bytes"), data);
}

fn order() -> Order {
    let part = |id| Order { id, name: "bolt".into(), kind: Kind::Count(7), ..Order::default() };
    Order {
        id: 300,
        price: 1.5,
        name: "engine, größer".into(),
        kind: Kind::Named { inner: Some(Box::new(Kind::Both(-1, "x".into()))) },
        tags: vec!["a".into(), "b".repeat(40)],
        parts: vec![part(1), part(70_000)],
        parent: Some(Box::new(Order::default())),
        extra: BTreeMap::from([("k".into(), -5), ("l".into(), 1 << 20)]),
        pair: (9, 'é'),
        nothing: (),
    }
}

fn seed<C: Encode<T>, T>(choice: u8, value: &T) -> Vec<u8> {
    let mut bytes = vec![choice];
    C::encode(value, &mut bytes).expect("a seed can be written");
    bytes
}

fn owned_seeds<C>() -> Vec<Vec<u8>>
where
    C: Encode<(u64, String)>
        + Encode<Vec<u8>>
        + Encode<Vec<Vec<Option<i32>>>>
        + Encode<Order>
        + Encode<HashMap<String, Vec<f64>>>
        + Encode<Vec<()>>
        + Encode<[Vec<u16>; 3]>
        + Encode<(Kind, Kind)>,
{
    let chain = (0..30).fold(Kind::Plain, |inner, _| Kind::Chain(Box::new(inner)));
    vec![
        seed::<C, _>(0, &(1_u64 << 40, "hello".to_owned())),
        seed::<C, _>(1, &vec![7_u8; 60]),
        seed::<C, _>(2, &vec![vec![Some(1), None], vec![], vec![Some(-70_000)]]),
        seed::<C, _>(3, &order()),
        seed::<C, _>(4, &HashMap::from([("a".to_owned(), vec![1.5_f64, 2.0])])),
        seed::<C, _>(5, &vec![(); 9]),
        seed::<C, _>(6, &[vec![1_u16, 2, 3], vec![], vec![60_000]]),
        seed::<C, _>(7, &(chain, Kind::Both(3, "both".into()))),
    ]
}

fn loose_seeds<C: Encode<Value>>() -> Vec<Vec<u8>> {
    let value = serde_json::json!([
        {"a": [1, -2, 3.5, null, true], "b": {"c": {"d": "e\u{1F642}\n"}}},
        "text", [[[[[[[[0]]]]]]]], 18_446_744_073_709_551_615_u64
    ]);
    let plain = serde_json::json!({"a": [1, 2], "b": "c", "d": {"e": -1}});
    vec![seed::<C, _>(8, &value), seed::<C, _>(0x18, &plain)]
}

pub(super) fn json_seeds() -> Vec<Vec<u8>> {
    [owned_seeds::<Json>(), loose_seeds::<Json>()].concat()
}

pub(super) fn msgpack_seeds() -> Vec<Vec<u8>> {
    [owned_seeds::<Msgpack>(), loose_seeds::<Msgpack>()].concat()
}

pub(super) fn bincode_seeds() -> Vec<Vec<u8>> {
    owned_seeds::<Bincode>()
}

pub(super) fn raw_seeds() -> Vec<Vec<u8>> {
    vec![b"bytes".to_vec(), vec![0; 100]]
}
