//! Targets for what arrives on links and for entries of the directory; see [`crate::fuzzing`].

use super::{
    directory::{self, Entry, Role},
    message::{Caller, LAYOUT_VERSION, Message},
    streams,
};
use crate::{
    frame::{Frame, encode},
    process::ProcessStamp,
};

const STAMP: ProcessStamp =
    ProcessStamp { pid: 4711, start_ticks: 1234, boot: 0x1122_3344_5566_7788, namespace: 0 };

/// The first byte says whether it is a message or a frame of a stream.
pub(crate) fn link_message(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    if choice & 1 == 0 {
        if let Ok(message) = Message::from_bytes(bytes) {
            let again = serde_json::to_vec(&message).expect("a message is JSON");
            assert!(Message::from_bytes(&again).is_ok(), "our own message: {message:?}");
        }
    } else {
        let _frame = streams::parse(bytes.to_vec());
    }
}

/// Slots of the directory. An entry that is read has a right checksum, and is written to the same one again.
pub(crate) fn directory(data: &[u8]) {
    for slot in data.chunks_exact(directory::ENTRY_BYTES) {
        if let Some(entry) = directory::decode(slot)
            && let Ok(again) = directory::encode(&entry)
        {
            assert_eq!(directory::decode(&again).as_ref(), Some(&entry));
        }
    }
    // The checksum keeps a fuzzer out: the text alone, too.
    let _entry = serde_json::from_slice::<Entry>(data);
}

pub(crate) fn link_seeds() -> Vec<Vec<u8>> {
    let (service, node) = ("echo_serv".to_owned(), "0f".repeat(16));
    let messages = [
        Message::Hello {
            version: LAYOUT_VERSION,
            caller: Caller::Client,
            service: service.clone(),
            id: 7,
            node,
            process: STAMP,
        },
        Message::Refuse { reason: "no".into(), layout: None },
        Message::Damaged { reason: "no".into() },
        Message::Invite { version: LAYOUT_VERSION, service, id: 1, worker: 2 },
        Message::Attach { channel: 3, number: 4 },
        Message::Arena { id: 5 },
        Message::DropArena { id: 5 },
        Message::Goodbye,
    ];
    let text = |message| serde_json::to_vec(message).expect("a message is JSON");
    let mut seeds: Vec<Vec<u8>> = messages.iter().map(|message| [vec![0], text(message)].concat()).collect();
    let frame = encode(Frame::StreamItem { id: 1, payload: vec![1; 40].into() }, false);
    seeds.push([&[1][..], &frame.head, &frame.payload].concat());
    seeds
}

pub(crate) fn directory_seeds() -> Vec<Vec<u8>> {
    let entry = |role, service: &str| Entry {
        role,
        service: service.into(),
        id: 99,
        node: "ab".repeat(16),
        process: STAMP,
        board: 1,
    };
    let slot = |entry: &Entry| directory::encode(entry).expect("it fits").to_vec();
    let (worker, observer) = (entry(Role::Worker, "echo_serv"), entry(Role::Observer, ""));
    let text = serde_json::to_vec(&worker).expect("an entry is JSON");
    vec![[slot(&worker), slot(&observer)].concat(), vec![0; 1024], text]
}
