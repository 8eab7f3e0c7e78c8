//! The service directory: who takes part in the runtime folder. One named segment, made with the
//! `shared_memory` crate under a random name that the folder's link `directory` gives; an entry is 512
//! bytes with a checksum.
//!
//! It is changed under the folder's lock and read by copy: nobody keeps it mapped, so a peer that truncates
//! it costs the others nothing. An entry that is lost is published again by its owner's watcher; one whose
//! process is dead is removed by whoever notices. The last to leave removes the segment.

use std::{
    collections::HashSet,
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::Path,
    sync::Arc,
    time::Duration,
};

use nix::{fcntl::OFlag, sys::mman, sys::stat::Mode};
use serde::{Deserialize, Serialize};

use crate::{
    process::{ProcessStamp, random_u64},
    runtime_dir::RuntimeDir,
    shm::kill_point::kill_point,
};

const LINK: &str = "directory";
pub(super) const ENTRY_BYTES: usize = 512;
const FIRST_ENTRIES: usize = 64;
const MAX_BYTES: u64 = 64 << 20;
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// As what a process takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Worker,
    Client,
    Observer,
}

/// One participation of one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) role: Role,
    /// The service's name; empty for observers, who watch all.
    pub(crate) service: String,
    /// Unique: a worker's nonce, a connection's or observer's id.
    pub(crate) id: u64,
    /// The process's socket is `NODE.sock`.
    pub(crate) node: String,
    pub(crate) process: ProcessStamp,
    /// The board that a worker serves; 0 while it looks for one.
    pub(crate) board: u64,
}

/// The directory of one runtime folder.
pub(crate) struct Directory {
    dir: Arc<RuntimeDir>,
}

impl Directory {
    pub(crate) fn new(dir: Arc<RuntimeDir>) -> Self {
        Self { dir }
    }

    /// Everybody who is listed now, dead processes included.
    pub(crate) fn entries(&self) -> io::Result<Vec<Entry>> {
        let _lock = self.dir.lock(LOCK_TIMEOUT)?;
        match self.open_segment() {
            Ok(Some(file)) => Ok(read_slots(&file)?.into_iter().flatten().collect()),
            Ok(None) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Those of the entries with these sums that are not listed, or not rightly. Everybody asks now and then for his
    /// own: nothing is encoded or decoded for it.
    pub(crate) fn missing(&self, mut sums: HashSet<u64>) -> io::Result<HashSet<u64>> {
        if sums.is_empty() {
            return Ok(sums);
        }
        let _lock = self.dir.lock(LOCK_TIMEOUT)?;
        if let Some(file) = self.open_segment()? {
            for slot in read_bytes(&file)?.chunks_exact(ENTRY_BYTES) {
                if let Some((_, sum)) = text_of(slot) {
                    sums.remove(&sum);
                }
            }
        }
        Ok(sums)
    }

    /// Changes the directory with nobody else at it: `change` sees all entries and says which to add and
    /// which to remove.
    pub(crate) fn edit<T>(&self, change: impl FnOnce(&[Entry]) -> (Edit, T)) -> io::Result<T> {
        let _lock = self.dir.lock(LOCK_TIMEOUT)?;
        kill_point("directory.locked");
        let mut file = self.open_segment()?;
        let mut slots = file.as_ref().map_or(Ok(Vec::new()), read_slots)?;
        let present: Vec<Entry> = slots.iter().flatten().cloned().collect();
        let (edit, result) = change(&present);
        for (slot, entry) in slots.iter_mut().enumerate() {
            if entry.as_ref().is_some_and(|entry| edit.remove.contains(&entry.id)) {
                *entry = None;
                write_slot(file.as_ref().expect("slots come from a file"), slot, None)?;
                kill_point("directory.entry_removed");
            }
        }
        for entry in edit.add {
            let slot = match slots.iter().position(Option::is_none) {
                Some(slot) => slot,
                None => {
                    file = Some(self.grow(&slots)?);
                    slots.resize((slots.len() * 2).max(FIRST_ENTRIES), None);
                    slots.iter().position(Option::is_none).expect("it has just grown")
                }
            };
            write_slot(file.as_ref().expect("there is a file by now"), slot, Some(&entry))?;
            kill_point("directory.entry_written");
            slots[slot] = Some(entry);
        }
        if file.is_some() && slots.iter().all(Option::is_none) {
            self.remove_segment();
        }
        Ok(result)
    }

    /// Adds an entry.
    pub(crate) fn publish(&self, entry: &Entry) -> io::Result<()> {
        self.edit(|_| (Edit { add: vec![entry.clone()], remove: vec![entry.id] }, ()))
    }

    /// Removes entries by id. Where only the dead remain, nobody would remove what they left: it goes too.
    pub(crate) fn withdraw(&self, ids: Vec<u64>) -> io::Result<()> {
        let is_deserted = self.edit(|present| {
            let mut others = present.iter().filter(|entry| !ids.contains(&entry.id)).peekable();
            let is_deserted = others.peek().is_some() && others.all(|entry| !entry.process.is_alive());
            (Edit { add: Vec::new(), remove: ids.clone() }, is_deserted)
        })?;
        if is_deserted { self.sweep() } else { Ok(()) }
    }

    /// Removes what processes that were killed have left: their entries and sockets, and segments that
    /// they made but did not live to link. Sockets appear under the folder's lock, so that one which
    /// nobody lists yet is not taken for one that nobody listens to.
    pub(crate) fn sweep(&self) -> io::Result<()> {
        self.edit(|present| {
            let (alive, dead): (Vec<_>, Vec<_>) = present.iter().partition(|e| e.process.is_alive());
            self.sweep_segments();
            for name in file_names(&self.dir.short_path(".")) {
                let listed = |node: &str| alive.iter().any(|entry| entry.node == node);
                let stale = match name.strip_suffix(".sock") {
                    Some(node) => !listed(node) && nobody_listens(&self.dir.short_path(&name)),
                    None => name.starts_with("directory."),
                };
                if stale {
                    let _ = std::fs::remove_file(self.dir.short_path(&name));
                    kill_point("sweep.file_removed");
                }
            }
            (Edit { add: Vec::new(), remove: dead.iter().map(|e| e.id).collect() }, ())
        })
    }

    fn sweep_segments(&self) {
        let (prefix, linked) = (self.name_prefix(), self.segment_name());
        for name in file_names(Path::new("/dev/shm")).filter(|name| name.starts_with(&prefix)) {
            if linked.as_ref() != Some(&name) {
                let _ = mman::shm_unlink(name.as_str());
                kill_point("sweep.segment_removed");
            }
        }
    }

    /// Segments of this folder have names that begin so; those of another folder do not.
    fn name_prefix(&self) -> String {
        format!("shmrpc-directory-{:016x}-", self.dir.inode())
    }

    fn segment_name(&self) -> Option<String> {
        let target = std::fs::read_link(self.dir.short_path(LINK)).ok()?;
        target.to_str().map(str::to_owned)
    }

    /// The segment, opened for reading and writing by copy; `None` when there is none, or none that is
    /// ours and whole.
    fn open_segment(&self) -> io::Result<Option<File>> {
        let Some(name) = self.segment_name() else { return Ok(None) };
        let opened = mman::shm_open(name.as_str(), OFlag::O_RDWR | OFlag::O_NOFOLLOW, Mode::empty());
        let file = match opened {
            Ok(fd) => File::from(fd),
            Err(nix::Error::ENOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let meta = file.metadata()?;
        let ours = std::os::unix::fs::MetadataExt::uid(&meta) == nix::unistd::geteuid().as_raw();
        let whole = meta.len() >= ENTRY_BYTES as u64 && meta.len() <= MAX_BYTES;
        Ok((ours && whole).then_some(file))
    }

    /// Makes a new segment with twice the room and what is known copied in, and removes the old one.
    fn grow(&self, slots: &[Option<Entry>]) -> io::Result<File> {
        let old = self.segment_name();
        let len = (slots.len() * 2).max(FIRST_ENTRIES) * ENTRY_BYTES;
        let name = format!("{}{:016x}{:016x}", self.name_prefix(), random_u64(), random_u64());
        let made = shared_memory::ShmemConf::new().size(len).os_id(&name).create();
        let mut segment = made.map_err(io::Error::other)?;
        // It must outlive this process; the last to leave removes it.
        segment.set_owner(false);
        drop(segment);
        kill_point("directory.segment_made");
        let fd: OwnedFd = mman::shm_open(name.as_str(), OFlag::O_RDWR, Mode::empty())?;
        // Reserved now, so that a full /dev/shm is an error here and never a SIGBUS.
        let reserved = nix::fcntl::posix_fallocate(&fd, 0, len as i64);
        if let Err(error) = reserved {
            let _ = mman::shm_unlink(name.as_str());
            let text = format!("no room in /dev/shm for a directory of {len} bytes: {error}");
            return Err(io::Error::new(io::Error::from(error).kind(), text));
        }
        kill_point("directory.segment_reserved");
        let file = File::from(fd);
        for (slot, entry) in slots.iter().enumerate() {
            write_slot(&file, slot, entry.as_ref())?;
        }
        let temporary = self.dir.short_path(&format!("{LINK}.{:016x}", random_u64()));
        kill_point("directory.segment_filled");
        std::os::unix::fs::symlink(&name, &temporary)?;
        kill_point("directory.link_made");
        std::fs::rename(&temporary, self.dir.short_path(LINK))?;
        kill_point("directory.linked");
        if let Some(old) = old {
            let _ = mman::shm_unlink(old.as_str());
        }
        Ok(file)
    }

    fn remove_segment(&self) {
        if let Some(name) = self.segment_name() {
            let _ = mman::shm_unlink(name.as_str());
        }
        kill_point("directory.segment_unlinked");
        let _ = std::fs::remove_file(self.dir.short_path(LINK));
    }
}

/// What a change adds and removes; removals come first.
#[derive(Default)]
pub(crate) struct Edit {
    pub(crate) add: Vec<Entry>,
    pub(crate) remove: Vec<u64>,
}

fn file_names(folder: &Path) -> impl Iterator<Item = String> {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().into_string().ok())
}

/// Whether a socket is one that no process has open any more. Only a refusal proves it.
fn nobody_listens(path: &Path) -> bool {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let Ok(probe) = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None) else { return false };
    let Ok(address) = UnixAddr::new(path) else { return false };
    connect(std::os::fd::AsRawFd::as_raw_fd(&probe), &address) == Err(nix::Error::ECONNREFUSED)
}

fn read_bytes(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len().min(MAX_BYTES)).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn read_slots(file: &File) -> io::Result<Vec<Option<Entry>>> {
    Ok(read_bytes(file)?.chunks_exact(ENTRY_BYTES).map(decode).collect())
}

fn write_slot(file: &File, slot: usize, entry: Option<&Entry>) -> io::Result<()> {
    let bytes = entry.map_or(Ok([0; ENTRY_BYTES]), encode)?;
    if cfg!(feature = "kill-points") {
        // The system writes an entry in one piece; torn it must be taken for a free slot all the same.
        file.write_all_at(&bytes[..ENTRY_BYTES / 8], (slot * ENTRY_BYTES) as u64)?;
        kill_point("directory.entry_torn");
    }
    file.write_all_at(&bytes, (slot * ENTRY_BYTES) as u64)
}

pub(super) fn encode(entry: &Entry) -> io::Result<[u8; ENTRY_BYTES]> {
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

/// The text in a slot and its sum, unless the slot is free or was torn by the death of its writer.
fn text_of(slot: &[u8]) -> Option<(&[u8], u64)> {
    let len = u32::from_le_bytes(slot[..4].try_into().ok()?) as usize;
    let text = slot.get(12..12 + len).filter(|text| !text.is_empty())?;
    let sum = u64::from_le_bytes(slot[4..12].try_into().ok()?);
    (crate::method::fnv1a_64(text) == sum).then_some((text, sum))
}

pub(super) fn decode(slot: &[u8]) -> Option<Entry> {
    text_of(slot).and_then(|(text, _)| serde_json::from_slice(text).ok())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> (std::path::PathBuf, Directory) {
        let path = std::env::temp_dir().join(format!("shmrpc-test-{}-{name}", std::process::id()));
        let dir = Arc::new(RuntimeDir::open(&path).unwrap());
        (path, Directory::new(dir))
    }

    fn entry(id: u64) -> Entry {
        Entry {
            role: Role::Client,
            service: "echo_serv".into(),
            id,
            node: format!("{id:032x}"),
            process: ProcessStamp::current(),
            board: 0,
        }
    }

    #[test]
    fn it_grows_and_leaves_nothing() {
        let (path, directory) = scratch("grows");
        for id in 1..=150 {
            directory.publish(&entry(id)).unwrap();
        }
        assert_eq!(directory.entries().unwrap().len(), 150);
        let segment = directory.segment_name().unwrap();
        directory.withdraw((1..=150).collect()).unwrap();
        assert!(directory.entries().unwrap().is_empty());
        assert!(!std::path::Path::new("/dev/shm").join(segment).exists());
        std::fs::remove_dir(&path).unwrap();
    }

    #[test]
    fn who_is_not_listed_rightly_is_missing() {
        let (path, directory) = scratch("missing");
        let sum = |entry: &Entry| Kept::new(entry.clone()).unwrap().sum;
        let missing = |entries: &[Entry]| directory.missing(entries.iter().map(sum).collect()).unwrap();
        assert_eq!(missing(&[entry(1)]), HashSet::from([sum(&entry(1))]));
        directory.publish(&entry(1)).unwrap();
        directory.publish(&entry(2)).unwrap();
        assert_eq!(missing(&[entry(1), entry(3)]), HashSet::from([sum(&entry(3))]));
        let changed = Entry { board: 5, ..entry(2) };
        assert_eq!(missing(std::slice::from_ref(&changed)), HashSet::from([sum(&changed)]));
        directory.withdraw(vec![1, 2]).unwrap();
        std::fs::remove_dir(&path).unwrap();
    }

    #[test]
    fn a_truncated_segment_is_made_anew() {
        let (path, directory) = scratch("truncated");
        directory.publish(&entry(1)).unwrap();
        let segment = std::path::Path::new("/dev/shm").join(directory.segment_name().unwrap());
        File::options().write(true).open(&segment).unwrap().set_len(0).unwrap();
        assert!(directory.entries().unwrap().is_empty());
        directory.publish(&entry(2)).unwrap();
        assert_eq!(directory.entries().unwrap(), [entry(2)]);
        directory.withdraw(vec![2]).unwrap();
        std::fs::remove_dir(&path).unwrap();
    }

    #[test]
    fn the_dead_are_swept() {
        let (path, directory) = scratch("swept");
        let mut dead = entry(7);
        dead.process.start_ticks += 1;
        directory.publish(&dead).unwrap();
        directory.publish(&entry(8)).unwrap();
        directory.sweep().unwrap();
        assert_eq!(directory.entries().unwrap(), [entry(8)]);
        directory.withdraw(vec![8]).unwrap();
        std::fs::remove_dir(&path).unwrap();
    }
}
