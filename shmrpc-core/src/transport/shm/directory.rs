//! The service directory: who takes part in the runtime folder. One named segment, made with the
//! `shared_memory` crate under a random name that the folder's link `directory` gives; an entry is 512
//! bytes with a checksum. In a folder that is a mount of its own, as containers share one, the link leads to a file
//! beside it instead: whoever shares the folder need not share `/dev/shm`.
//!
//! It is changed under the folder's lock and read by copy: nobody keeps it mapped, so a peer that truncates
//! it costs the others nothing. An entry that is lost is published again by its owner's watcher; one whose
//! process is dead is removed by whoever notices. The last to leave removes the segment.

mod slots;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::Path,
    sync::Arc,
    time::Duration,
};

use nix::{fcntl::OFlag, sys::mman, sys::stat::Mode};
use serde::{Deserialize, Serialize};

pub(crate) use self::slots::Kept;
#[cfg(feature = "fuzzing")]
pub(super) use self::slots::encode;
pub(super) use self::slots::{ENTRY_BYTES, decode};
use self::slots::{is_free, may_be, read_bytes, read_slots, sum_of, text_of, write_slot};
use crate::{
    process::{ProcessStamp, random_u64},
    runtime_dir::RuntimeDir,
    shm::kill_point::kill_point,
};

const LINK: &str = "directory";
/// How the names of files begin that take the place of segments.
const IN_FOLDER: &str = "entries.";
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

    /// What the directory looked like, to tell later whether somebody has changed it; `None` without one. What is written
    /// through a mapping does not show.
    pub(crate) fn look(&self) -> Option<Look> {
        let meta = self.open_segment().ok()??.metadata().ok()?;
        Some(Look { inode: meta.ino(), len_bytes: meta.len(), changed: (meta.mtime(), meta.mtime_nsec()) })
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
                // Of the others' entries no sum is computed.
                if sums.contains(&sum_of(slot)) && text_of(slot).is_some() {
                    sums.remove(&sum_of(slot));
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

    /// Adds the entry of somebody who was not listed before, and says which workers of the same service are listed now.
    pub(crate) fn join(&self, entry: &Entry) -> io::Result<Vec<Entry>> {
        let is_wanted = |other: &Entry| other.role == Role::Worker && other.service == entry.service;
        if let Some(workers) = self.join_where_free(entry, is_wanted)? {
            return Ok(workers);
        }
        self.edit(|present| {
            let workers = present.iter().filter(|other| is_wanted(other)).cloned().collect();
            (Edit { add: vec![entry.clone()], remove: Vec::new() }, workers)
        })
    }

    /// The short way, if a slot is free: of those who are no workers, and may be thousands, nothing is decoded.
    fn join_where_free(
        &self,
        entry: &Entry,
        is_wanted: impl Fn(&Entry) -> bool,
    ) -> io::Result<Option<Vec<Entry>>> {
        let _lock = self.dir.lock(LOCK_TIMEOUT)?;
        kill_point("directory.locked");
        let Some(file) = self.open_segment()? else { return Ok(None) };
        let bytes = read_bytes(&file)?;
        let slots = || bytes.chunks_exact(ENTRY_BYTES);
        let Some(free) = slots().position(is_free) else { return Ok(None) };
        let workers = slots().filter(|slot| may_be(slot, Role::Worker)).filter_map(decode).filter(is_wanted);
        write_slot(&file, free, Some(entry))?;
        kill_point("directory.entry_written");
        Ok(Some(workers.collect()))
    }

    /// Removes entries by id. Where only the dead remain, nobody would remove what they left: it goes too.
    pub(crate) fn withdraw(&self, ids: Vec<u64>) -> io::Result<()> {
        let is_deserted = self.edit(|present| {
            let mut others = present.iter().filter(|entry| !ids.contains(&entry.id)).peekable();
            let is_deserted =
                others.peek().is_some() && others.all(|entry| !self.is_alive(&entry.process, &entry.node));
            (Edit { add: Vec::new(), remove: ids.clone() }, is_deserted)
        })?;
        if is_deserted { self.sweep() } else { Ok(()) }
    }

    /// Removes what processes that were killed have left: their entries and sockets, and segments that
    /// they made but did not live to link. Sockets appear under the folder's lock, so that one which
    /// nobody lists yet is not taken for one that nobody listens to.
    pub(crate) fn sweep(&self) -> io::Result<()> {
        self.edit(|present| {
            // A process may have thousands of connections, and is asked for once.
            let mut known = HashMap::new();
            let (alive, dead): (Vec<_>, Vec<_>) = present.iter().partition(|entry| {
                let is_alive = || self.is_alive(&entry.process, &entry.node);
                *known.entry((entry.process, &entry.node)).or_insert_with(is_alive)
            });
            self.sweep_segments();
            let linked = self.segment_name();
            for name in file_names(&self.dir.short_path(".")) {
                let listed = |among: &[&Entry], node: &str| among.iter().any(|entry| entry.node == node);
                let stale = match name.strip_suffix(".sock") {
                    Some(node) if listed(&alive, node) => false,
                    // One that is dying may not have closed it yet, and its last neighbour comes by only once.
                    Some(node) => listed(&dead, node) || nobody_listens(&self.dir.short_path(&name)),
                    None if name.starts_with(IN_FOLDER) => linked.as_ref() != Some(&name),
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

    /// Whether a process runs. Of one in another pid namespace only its socket tells: one that is stopped lives, and one
    /// that has died while a child of its `fork` still has the socket seems to. Never blocks, and is never heard there.
    pub(super) fn is_alive(&self, process: &ProcessStamp, node: &str) -> bool {
        if !process.is_foreign() {
            return process.is_alive();
        }
        let socket = self.dir.short_path(&format!("{node}.sock"));
        process.is_alive() && !matches!(knock(&socket), Some(nix::Error::ECONNREFUSED | nix::Error::ENOENT))
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
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = if name.starts_with(IN_FOLDER) {
            nix::fcntl::open(&self.dir.short_path(&name), flags, Mode::empty())
        } else {
            mman::shm_open(name.as_str(), flags, Mode::empty())
        };
        let file = match opened {
            Ok(fd) => File::from(fd),
            Err(nix::Error::ENOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let meta = file.metadata()?;
        let ours = meta.uid() == nix::unistd::geteuid().as_raw();
        let whole = meta.len() >= ENTRY_BYTES as u64 && meta.len() <= MAX_BYTES;
        Ok((ours && whole).then_some(file))
    }

    /// Makes a new segment with twice the room and what is known copied in, and removes the old one.
    fn grow(&self, slots: &[Option<Entry>]) -> io::Result<File> {
        let old = self.segment_name();
        let len = (slots.len() * 2).max(FIRST_ENTRIES) * ENTRY_BYTES;
        // Who joins from where the folder is none goes on with the file: the others may not see his /dev/shm.
        let is_shared = self.dir.is_mount() || old.as_ref().is_some_and(|old| old.starts_with(IN_FOLDER));
        let (name, file) = if is_shared { self.make_in_folder(len)? } else { self.make_segment(len)? };
        kill_point("directory.segment_reserved");
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
            self.unlink(&old);
        }
        Ok(file)
    }

    /// A new segment of that length, reserved.
    fn make_segment(&self, len: usize) -> io::Result<(String, File)> {
        let name = format!("{}{:016x}{:016x}", self.name_prefix(), random_u64(), random_u64());
        let made = shared_memory::ShmemConf::new().size(len).os_id(&name).create();
        let mut segment = made.map_err(io::Error::other)?;
        // It must outlive this process; the last to leave removes it.
        segment.set_owner(false);
        drop(segment);
        kill_point("directory.segment_made");
        let fd: OwnedFd = mman::shm_open(name.as_str(), OFlag::O_RDWR, Mode::empty())?;
        let file = File::from(fd);
        reserve(&file, len, "/dev/shm").inspect_err(|_| self.unlink(&name))?;
        Ok((name, file))
    }

    /// A new file of that length in the folder itself, reserved. One whose maker dies is swept like a socket.
    fn make_in_folder(&self, len: usize) -> io::Result<(String, File)> {
        let name = format!("{IN_FOLDER}{:016x}{:016x}", random_u64(), random_u64());
        let mut options = File::options();
        options.read(true).write(true).create_new(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(self.dir.short_path(&name))?;
        kill_point("directory.segment_made");
        reserve(&file, len, "the runtime folder").inspect_err(|_| self.unlink(&name))?;
        Ok((name, file))
    }

    fn unlink(&self, name: &str) {
        let _ = if name.starts_with(IN_FOLDER) {
            std::fs::remove_file(self.dir.short_path(name)).is_ok()
        } else {
            mman::shm_unlink(name).is_ok()
        };
    }

    fn remove_segment(&self) {
        if let Some(name) = self.segment_name() {
            self.unlink(&name);
        }
        kill_point("directory.segment_unlinked");
        let _ = std::fs::remove_file(self.dir.short_path(LINK));
    }
}

/// See [`Directory::look`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    inode: u64,
    len_bytes: u64,
    changed: (i64, i64),
}

/// What a change adds and removes; removals come first.
#[derive(Default)]
pub(crate) struct Edit {
    pub(crate) add: Vec<Entry>,
    pub(crate) remove: Vec<u64>,
}

/// Room is taken at once: a full file system is an error here, and not when an entry is written.
fn reserve(file: &File, len: usize, place: &str) -> io::Result<()> {
    nix::fcntl::posix_fallocate(file, 0, len as i64).map_err(|error| {
        let text = format!("no room in {place} for a directory of {len} bytes: {error}");
        io::Error::new(io::Error::from(error).kind(), text)
    })
}

fn file_names(folder: &Path) -> impl Iterator<Item = String> {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().into_string().ok())
}

/// Whether a socket is one that no process has open any more. Only a refusal proves it.
fn nobody_listens(path: &Path) -> bool {
    knock(path) == Some(nix::Error::ECONNREFUSED)
}

/// Why a socket takes no connection from a socket of another type: that somebody has it (`EPROTOTYPE`), or nobody. So
/// whoever has it does not notice, and has nothing to sweep up after us.
fn knock(path: &Path) -> Option<nix::Error> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let probe = socket(AddressFamily::Unix, SockType::Stream, flags, None).ok()?;
    let address = UnixAddr::new(path).ok()?;
    connect(std::os::fd::AsRawFd::as_raw_fd(&probe), &address).err()
}
