//! How entries lie in the directory's file: one in 512 bytes, as JSON behind its length and its sum. A slot that is free or torn
//! has no entry. Who is in the file, and when, is `directory`'s business.

use std::{fs::File, io, os::unix::fs::FileExt};

use super::{Entry, MAX_BYTES, Role};
use crate::shm::kill_point::kill_point;

pub(in crate::transport::shm) const ENTRY_BYTES: usize = 512;

pub(super) fn read_bytes(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len().min(MAX_BYTES)).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

pub(super) fn read_slots(file: &File) -> io::Result<Vec<Option<Entry>>> {
    Ok(read_bytes(file)?.chunks_exact(ENTRY_BYTES).map(decode).collect())
}

pub(super) fn write_slot(file: &File, slot: usize, entry: Option<&Entry>) -> io::Result<()> {
    let bytes = entry.map_or(Ok([0; ENTRY_BYTES]), encode)?;
    if cfg!(feature = "kill-points") {
        // The system writes an entry in one piece; torn it must be taken for a free slot all the same.
        file.write_all_at(&bytes[..ENTRY_BYTES / 8], (slot * ENTRY_BYTES) as u64)?;
        kill_point("directory.entry_torn");
    }
    file.write_all_at(&bytes, (slot * ENTRY_BYTES) as u64)
}

pub(in crate::transport::shm) fn encode(entry: &Entry) -> io::Result<[u8; ENTRY_BYTES]> {
    let text = serde_json::to_vec(entry)?;
    if text.len() > ENTRY_BYTES - 12 {
        return Err(io::Error::other("directory entry of more than 500 bytes"));
    }
    let mut bytes = [0; ENTRY_BYTES];
    bytes[..4].copy_from_slice(&(text.len() as u32).to_le_bytes());
    bytes[4..12].copy_from_slice(&crate::method::fnv1a_64(&text).to_le_bytes());
    bytes[12..12 + text.len()].copy_from_slice(&text);
    Ok(bytes)
}

/// The sum that a slot says it has.
pub(super) fn sum_of(slot: &[u8]) -> u64 {
    u64::from_le_bytes(slot[4..12].try_into().expect("eight bytes"))
}

/// The text in a slot, unless the slot is free or was torn by the death of its writer.
pub(super) fn text_of(slot: &[u8]) -> Option<&[u8]> {
    let len = u32::from_le_bytes(slot[..4].try_into().ok()?) as usize;
    let text = slot.get(12..12 + len).filter(|text| !text.is_empty())?;
    (crate::method::fnv1a_64(text) == sum_of(slot)).then_some(text)
}

/// Whether nothing has been written to a slot, or its entry has been removed. One that is torn is free as well, but not
/// for who asks this.
pub(super) fn is_free(slot: &[u8]) -> bool {
    slot[..12] == [0; 12]
}

/// Whether a slot may hold an entry of that role: most that do not are told without decoding them.
pub(super) fn may_be(slot: &[u8], role: Role) -> bool {
    let word: &[u8] = match role {
        Role::Worker => b"\"worker\"",
        Role::Client => b"\"client\"",
        Role::Observer => b"\"observer\"",
    };
    slot.windows(word.len()).any(|window| window == word)
}

pub(in crate::transport::shm) fn decode(slot: &[u8]) -> Option<Entry> {
    serde_json::from_slice(text_of(slot)?).ok()
}

/// An entry that somebody keeps listed.
pub(crate) struct Kept {
    pub(crate) entry: Entry,
    /// As it stands in its slot.
    pub(crate) sum: u64,
}

impl Kept {
    pub(crate) fn new(entry: Entry) -> io::Result<Self> {
        let sum = crate::method::fnv1a_64(&serde_json::to_vec(&entry)?);
        Ok(Self { entry, sum })
    }
}
