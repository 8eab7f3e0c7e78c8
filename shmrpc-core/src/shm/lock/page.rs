//! The page in which a lock lies: the semaphore first, where glibc's `sem_open` finds it, then the words
//! of this library. Made complete and without a name, then linked; replaced by exchanging names: nobody
//! ever sees half a lock, and a kill while one is made leaves at most a name for the next to sweep ([`aside`]).
//!
//! Whether somebody may have the lock is decided in [`wait`](super::wait).

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    mem::{align_of, offset_of, size_of},
    num::NonZeroUsize,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, RenameFlags, posix_fallocate, renameat2},
    sys::mman::{MapFlags, ProtFlags, mmap, munmap},
    unistd::linkat,
};

use super::super::kill_point::kill_point;
use super::{
    LockMode, aside,
    error::LockError,
    name::{FOLDER, LockName},
    semaphore::Semaphore,
};

/// One page, on every machine with 4 KiB pages and enough on all others.
pub(super) const PAGE_BYTES: usize = 4096;
/// `shmlock1`: the layout below.
const MAGIC: u64 = u64::from_le_bytes(*b"shmlock1");

/// The layout. Everything is atomic: peers write at any time.
#[repr(C, align(64))]
pub(super) struct LockPage {
    semaphore: Semaphore,
    magic: AtomicU64,
    /// 1: a lock with an owner; 0: a signal.
    initial_value: AtomicU32,
    replaced: AtomicU32,
    origin: [AtomicU64; ORIGIN_WORDS],
    word: Line,
}

/// A cache line of its own for the word on which others spin.
#[repr(C, align(64))]
struct Line(AtomicU64);

const _: () = {
    assert!(offset_of!(LockPage, semaphore) == 0 && size_of::<Semaphore>() == 32);
    assert!(offset_of!(LockPage, magic) == 32 && offset_of!(LockPage, origin) == 48);
    assert!(offset_of!(LockPage, word) == 128 && align_of::<LockPage>() == 64);
    assert!(size_of::<LockPage>() == 192 && size_of::<LockPage>() <= PAGE_BYTES);
};

impl LockPage {
    /// Whose lock it is, or how many posts are open; see [`wait`](super::wait).
    pub(super) fn word(&self) -> &AtomicU64 {
        &self.word.0
    }

    pub(super) fn is_signal(&self) -> bool {
        self.initial_value.load(Ordering::Relaxed) == 0
    }

    /// Whether another lock has taken this one's name.
    pub(super) fn is_replaced(&self) -> bool {
        // Pairs with the Release store in `replace`.
        self.replaced.load(Ordering::Acquire) != 0
    }

    /// Wakes one sleeper, unless a wake-up that nobody has taken yet is there already.
    pub(super) fn wake(&self) {
        self.semaphore.wake();
    }

    /// Sleeps until woken or until the time has passed; says whether it was woken. A signal handler wakes
    /// too, and whoever is woken looks at the word again.
    pub(super) fn sleep(&self, longest: Duration) -> bool {
        self.semaphore.sleep(longest)
    }
}

/// A mapped page, unmapped when dropped. The file's identity tells a lock from a later one of that name.
pub(super) struct Mapping {
    page: NonNull<LockPage>,
    inode: u64,
}

// SAFETY: the page is shared between processes; every access to it is atomic.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(super) fn page(&self) -> &LockPage {
        // SAFETY: mapped, aligned and initialised for as long as `self` lives; all fields allow shared change.
        unsafe { self.page.as_ref() }
    }

    fn new(file: &File) -> io::Result<Self> {
        let length = NonZeroUsize::new(PAGE_BYTES).expect("a page has bytes");
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping of a file of that length; no address is asked for.
        let page = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, file, 0) }?;
        Ok(Self { page: page.cast(), inode: file.metadata()?.ino() })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; no reference outlives `self`. Its only failure is a bad range.
        let _unmapped = unsafe { munmap(self.page.cast(), PAGE_BYTES) };
    }
}

/// Opens or makes the lock as the mode says.
pub(super) fn open(
    name: &LockName,
    mode: LockMode,
    initial_value: u32,
    permissions: u32,
) -> Result<Mapping, LockError> {
    match mode {
        LockMode::ConnectToExisting => connect(name),
        LockMode::CreateNewExclusive => create(name, initial_value, permissions, publish),
        LockMode::CreateNewOverwrite => create(name, initial_value, permissions, replace),
        LockMode::ConnectOrCreate => loop {
            match connect(name) {
                Err(LockError::NoSuchSemaphore { .. }) => {}
                other => return other,
            }
            match create(name, initial_value, permissions, publish) {
                Err(LockError::SemaphoreExists { .. }) => {} // somebody was quicker: take theirs
                other => return other,
            }
        },
    }
}

fn connect(name: &LockName) -> Result<Mapping, LockError> {
    let mapping = map_existing(&name.path(), name)?;
    let page = mapping.page();
    let stored = page.origin.each_ref().map(|word| word.load(Ordering::Relaxed));
    if stored != origin(name)? {
        return Err(LockError::OtherNamespace { name: name.to_string() });
    }
    Ok(mapping)
}

fn map_existing(path: &Path, name: &LockName) -> Result<Mapping, LockError> {
    let not_a_lock = |reason| LockError::NotALock { name: name.to_string(), reason };
    let fail = |doing| move |source| LockError::from_io(name.as_str(), doing, source);
    let opened = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path);
    let file = match opened {
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err(not_a_lock("it is a symbolic link"));
        }
        other => other.map_err(fail("opening it"))?,
    };
    let metadata = file.metadata().map_err(fail("reading its size"))?;
    if !metadata.is_file() || metadata.len() != PAGE_BYTES as u64 {
        return Err(not_a_lock("it is a plain semaphore, or something else, of another program"));
    }
    let mapping = Mapping::new(&file).map_err(fail("mapping it"))?;
    match mapping.page().magic.load(Ordering::Relaxed) {
        MAGIC => Ok(mapping),
        _ => Err(not_a_lock("its layout is another version's or another program's")),
    }
}

type Publish = fn(&File, &LockName) -> io::Result<()>;

/// Makes a complete lock without a name, then publishes it.
fn create(
    name: &LockName,
    initial_value: u32,
    permissions: u32,
    publish: Publish,
) -> Result<Mapping, LockError> {
    let fail = |doing| move |source: io::Error| LockError::Io { name: name.to_string(), doing, source };
    aside::sweep(|path| retire(path, name));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_TMPFILE)
        .open(FOLDER)
        .map_err(fail("making a file in /dev/shm"))?;
    // Reserved, so that a full /dev/shm is an error here and not a SIGBUS later.
    posix_fallocate(&file, 0, PAGE_BYTES as i64)
        .map_err(|errno| fail("reserving a page in /dev/shm")(errno.into()))?;
    // The mode given to `open` is cut by the umask; this one is not.
    file.set_permissions(Permissions::from_mode(permissions)).map_err(fail("setting its permissions"))?;
    let mapping = Mapping::new(&file).map_err(fail("mapping it"))?;
    let page = mapping.page();
    page.semaphore.initialise().map_err(fail("initialising its semaphore"))?;
    page.initial_value.store(initial_value, Ordering::Relaxed);
    for (cell, value) in page.origin.iter().zip(origin(name)?) {
        cell.store(value, Ordering::Relaxed);
    }
    page.magic.store(MAGIC, Ordering::Relaxed); // the link below orders all of it for others
    kill_point("lock.made");
    publish(&file, name).map_err(|source| LockError::from_io(name.as_str(), "publishing it", source))?;
    Ok(mapping)
}

/// Gives the file its name, unless the name is taken.
fn publish(file: &File, name: &LockName) -> io::Result<()> {
    link(file, &name.path())
}

fn link(file: &File, path: &Path) -> io::Result<()> {
    let nameless = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    linkat(AT_FDCWD, &nameless, AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW).map_err(io::Error::from)
}

/// Gives the file its name; what had the name before loses it, and is told so if it is a lock.
fn replace(file: &File, name: &LockName) -> io::Result<()> {
    let path = name.path();
    match link(file, &path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => return other,
    }
    let aside = aside::path(name)?;
    link(file, &aside)?;
    kill_point("lock.aside");
    let outcome = exchange(&aside, name);
    // The old one, or ours if that has failed.
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => outcome,
    }
}

/// Gives what lies aside the lock's name, and what had it before the name aside.
fn exchange(aside: &Path, name: &LockName) -> io::Result<()> {
    let path = name.path();
    let rename = |how| renameat2(AT_FDCWD, aside, AT_FDCWD, &path, how);
    loop {
        match rename(RenameFlags::RENAME_EXCHANGE) {
            Ok(()) => break,
            // The old one went away meanwhile. Ours must keep its one name: a file without any is never linked again.
            Err(Errno::ENOENT) => match rename(RenameFlags::RENAME_NOREPLACE) {
                Err(Errno::EEXIST) => {}
                other => return other.map_err(io::Error::from),
            },
            Err(error) => return Err(error.into()),
        }
    }
    kill_point("lock.exchanged");
    retire(aside, name);
    Ok(())
}

/// Tells whoever still uses a lock that it has lost its name.
fn retire(aside: &Path, name: &LockName) {
    if let Ok(old) = map_existing(aside, name) {
        // Pairs with the Acquire load in `is_replaced`. One post: whoever wakes passes it on.
        old.page().replaced.store(1, Ordering::Release);
        kill_point("lock.replaced");
        old.page().wake();
    }
}

/// Removes the name.
pub(super) fn unlink(name: &LockName) -> Result<(), LockError> {
    fs::remove_file(name.path())
        .map_err(|source| LockError::from_io(name.as_str(), "removing its name", source))
}

/// Removes the name if it stands for this lock.
pub(super) fn unlink_this(name: &LockName, mapping: &Mapping) -> Result<(), LockError> {
    let current = fs::symlink_metadata(name.path())
        .map_err(|source| LockError::from_io(name.as_str(), "looking for its name", source))?;
    if current.ino() != mapping.inode {
        return Err(LockError::NoSuchSemaphore { name: name.to_string() });
    }
    unlink(name)
}

const ORIGIN_WORDS: usize = 4;

/// Boot and namespaces in which pids and start times mean what they mean here.
fn origin(name: &LockName) -> Result<[u64; ORIGIN_WORDS], LockError> {
    let fail = |doing| move |source| LockError::Io { name: name.to_string(), doing, source };
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(fail("reading the boot id"))?;
    let boot = u128::from_str_radix(&boot.trim().replace('-', ""), 16)
        .map_err(|_| fail("understanding the boot id")(io::ErrorKind::InvalidData.into()))?;
    let pid = fs::metadata("/proc/self/ns/pid").map_err(fail("reading the pid namespace"))?.ino();
    // Kernels before 5.6 have no time namespaces.
    let time = fs::metadata("/proc/self/ns/time").map_or(0, |metadata| metadata.ino());
    Ok([(boot >> 64) as u64, boot as u64, pid, time])
}
