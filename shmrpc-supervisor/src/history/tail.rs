//! [`Tail`]: the seconds that are not in the store yet, appended to a file beside it. Nothing waits for the disk: what is
//! there outlives the process at whatever moment it is killed, but not a loss of power. It is emptied whenever the store
//! has the minute, and taken up again by the next start.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
};

use flate2::Crc;

use super::{
    block::{Block, put, take},
    store::Subject,
    tier::TIERS,
};

/// The file in the history's folder.
const FILE: &str = "history.tail";
/// A minute of more is not kept to its end.
const MAX_BYTES: u64 = 8 << 20;
/// A minute has so many seconds.
const PLACES: usize = (TIERS[0].block_ms / TIERS[0].step_ms) as usize;
/// Of what comes next: its length and its checksum.
const HEAD_BYTES: usize = 8;

/// Some seconds of a minute, of all subjects.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Stretch {
    /// When the minute began.
    pub(super) minute_ms: u64,
    /// Which of its seconds is the first of each block.
    pub(super) first_place: usize,
    pub(super) blocks: Vec<(Subject, Block)>,
}

impl Stretch {
    fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put(&mut body, self.minute_ms);
        put(&mut body, self.first_place as u64);
        for (subject, block) in &self.blocks {
            put_bytes(&mut body, subject.service.as_bytes());
            put(&mut body, subject.pid.into());
            put_bytes(&mut body, &block.to_bytes());
        }
        let len_bytes = u32::try_from(body.len()).unwrap_or(u32::MAX);
        [&len_bytes.to_le_bytes(), &checksum(&body).to_le_bytes(), body.as_slice()].concat()
    }

    /// The next one of those bytes; `None` at their end, and where they are no stretch.
    fn take(rest: &mut &[u8]) -> Option<Self> {
        let (head, after) = rest.split_first_chunk::<HEAD_BYTES>()?;
        let (len_bytes, sum) = head.split_first_chunk::<4>()?;
        let (mut body, after) = after.split_at_checked(u32::from_le_bytes(*len_bytes) as usize)?;
        if checksum(body).to_le_bytes() != sum {
            return None;
        }
        let body = &mut body;
        let (minute_ms, first_place) = (take(body)?, usize::try_from(take(body)?).ok()?);
        let mut stretch = Self { minute_ms, first_place, blocks: Vec::new() };
        while !body.is_empty() {
            let service = String::from_utf8(take_bytes(body)?.to_vec()).ok()?;
            let pid = u32::try_from(take(body)?).ok()?;
            let block = Block::from_bytes(take_bytes(body)?)?;
            if first_place.checked_add(block.points.len())? > PLACES {
                return None;
            }
            stretch.blocks.push((Subject { service, pid }, block));
        }
        *rest = after;
        Some(stretch)
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend(bytes);
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len_bytes = usize::try_from(take(rest)?).ok()?;
    let (bytes, after) = rest.split_at_checked(len_bytes)?;
    *rest = after;
    Some(bytes)
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tail {
    file: File,
    len_bytes: u64,
}

impl Tail {
    /// The tail in a folder, and what an earlier daemon has left in it. Bytes that are no stretch, and all behind them, go.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Vec<Stretch>)> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(folder.join(FILE))?;
        let mut bytes = Vec::new();
        (&mut file).take(MAX_BYTES).read_to_end(&mut bytes)?;
        let mut rest = bytes.as_slice();
        let stretches: Vec<Stretch> = std::iter::from_fn(|| Stretch::take(&mut rest)).collect();
        let mut tail = Self { file, len_bytes: 0 };
        tail.cut((bytes.len() - rest.len()) as u64)?;
        Ok((tail, stretches))
    }

    /// Adds some seconds, unless there is too much already. Does not wait for the disk.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn append(&mut self, stretch: &Stretch) -> io::Result<()> {
        let bytes = stretch.to_bytes();
        let len_bytes = self.len_bytes + bytes.len() as u64;
        if len_bytes <= MAX_BYTES {
            self.file.write_all(&bytes)?;
            self.len_bytes = len_bytes;
        }
        Ok(())
    }

    /// Empties it: the store has everything.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.cut(0)
    }

    fn cut(&mut self, len_bytes: u64) -> io::Result<()> {
        self.file.set_len(len_bytes)?;
        self.file.seek(SeekFrom::Start(len_bytes))?;
        self.len_bytes = len_bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use shmrpc_web::Series;

    use super::*;
    use crate::history::Point;

    fn stretch(first_place: usize) -> Stretch {
        let block = |cpu: f64| {
            let mut block = Block::default();
            for place in 0..3 {
                *block.at(place) = Point::of_second();
                block.at(place).set(Series::Cpu, cpu + place as f64);
            }
            block
        };
        let subject = |pid| Subject { service: "écho".into(), pid };
        let blocks = vec![(subject(0), block(1.0)), (subject(77), block(2.0))];
        Stretch { minute_ms: 1_700_000_040_000, first_place, blocks }
    }

    #[test]
    fn what_was_appended_is_found_until_it_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let (mut tail, found) = Tail::open(folder.path()).unwrap();
        assert_eq!(found, []);
        tail.append(&stretch(0)).unwrap();
        tail.append(&stretch(3)).unwrap();
        drop(tail);
        let (mut tail, found) = Tail::open(folder.path()).unwrap();
        assert_eq!(found, [stretch(0), stretch(3)]);
        tail.append(&stretch(6)).unwrap();
        assert_eq!(Tail::open(folder.path()).unwrap().1.len(), 3);
        tail.clear().unwrap();
        tail.append(&stretch(9)).unwrap();
        assert_eq!(Tail::open(folder.path()).unwrap().1, [stretch(9)]);
    }

    #[test]
    fn a_torn_or_damaged_end_costs_itself_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        let (first, second) = (stretch(0).to_bytes(), stretch(3).to_bytes());
        let whole = [first.clone(), second].concat();
        for at in first.len()..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            for bytes in [&whole[..at], &damaged] {
                fs::write(&file, bytes).unwrap();
                let (mut tail, found) = Tail::open(folder.path()).unwrap();
                assert_eq!(found, [stretch(0)], "{at}");
                tail.append(&stretch(6)).unwrap();
                assert_eq!(Tail::open(folder.path()).unwrap().1, [stretch(0), stretch(6)], "{at}");
            }
        }
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let (mut tail, _) = Tail::open(folder.path()).unwrap();
        tail.len_bytes = MAX_BYTES;
        tail.append(&stretch(0)).unwrap();
        assert_eq!(fs::metadata(folder.path().join(FILE)).unwrap().len(), 0);
    }
}
