//! The runtime folder: where the processes of one user meet. It holds a socket for each process that
//! takes part and the link to the service directory, where it is a mount the directory itself, nothing else; when the last process has left it is
//! empty. Only its owner may enter (0700), which is checked every time.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::fcntl::{Flock, FlockArg, OFlag, open};

/// An open, checked runtime folder.
#[derive(Debug)]
pub struct RuntimeDir {
    path: PathBuf,
    fd: OwnedFd,
    inode: u64,
    is_mount: bool,
}

/// A runtime folder that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeDirError {
    /// The operating system refused.
    #[error("runtime folder {path}: {doing}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// It belongs to somebody else, or others may enter.
    #[error("runtime folder {path} is not private: {reason}")]
    NotPrivate {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl RuntimeDir {
    /// Where the folder is unless somebody says otherwise: `$SHMRPC_DIR`, else
    /// `$XDG_RUNTIME_DIR/shmrpc`, else `/tmp/shmrpc-UID`.
    #[must_use]
    pub fn default_path() -> PathBuf {
        if let Some(path) = std::env::var_os("SHMRPC_DIR").filter(|path| !path.is_empty()) {
            return path.into();
        }
        match std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty()) {
            Some(base) => Path::new(&base).join("shmrpc"),
            None => format!("/tmp/shmrpc-{}", nix::unistd::geteuid()).into(),
        }
    }

    /// Opens the folder, making it (0700) if it does not exist.
    ///
    /// # Errors
    /// When it cannot be made or opened, belongs to another user, or is open to others.
    pub fn open(path: &Path) -> Result<Self, RuntimeDirError> {
        let fail = |doing| move |source| RuntimeDirError::Io { path: path.into(), doing, source };
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(fail("making it")(error));
            }
            _ => {}
        }
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let fd =
            open(path, flags, nix::sys::stat::Mode::empty()).map_err(|e| fail("opening it")(e.into()))?;
        // Of the opened folder, not of the name: the name may be changed in between.
        let meta = fs::File::from(fd.try_clone().map_err(fail("opening it"))?).metadata();
        let meta = meta.map_err(fail("looking at it"))?;
        let refuse = |reason| Err(RuntimeDirError::NotPrivate { path: path.into(), reason });
        if meta.uid() != nix::unistd::geteuid().as_raw() {
            return refuse(format!("it belongs to uid {}", meta.uid()));
        }
        if meta.mode() & 0o077 != 0 {
            return refuse(format!("its mode is {:o}, not 700", meta.mode() & 0o7777));
        }
        // `..` of a folder on which something is mounted is in the other file system.
        let above = fs::metadata(format!("/proc/self/fd/{}/..", fd.as_raw_fd()));
        let is_mount = above.is_ok_and(|above| above.dev() != meta.dev());
        Ok(Self { path: path.into(), fd, inode: meta.ino(), is_mount })
    }

    /// Its path, as given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A number that no other folder of this machine has while it exists.
    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }

    /// Whether it is a file system of its own, as a volume is that containers share.
    pub(crate) fn is_mount(&self) -> bool {
        self.is_mount
    }

    /// The path of something in it, short enough for a socket address however long the folder's own is.
    pub(crate) fn short_path(&self, name: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{name}", self.fd.as_raw_fd()).into()
    }

    /// Waits until this thread alone may change the folder; the kernel ends the lock if we die.
    pub(crate) fn lock(&self, at_most: Duration) -> io::Result<Flock<OwnedFd>> {
        let until = Instant::now() + at_most;
        // An open file of its own, so that threads exclude each other too.
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut fd = open(&self.short_path("."), flags, nix::sys::stat::Mode::empty())?;
        loop {
            match Flock::lock(fd, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((back, nix::Error::EWOULDBLOCK)) if Instant::now() < until => {
                    fd = back;
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err((_, nix::Error::EWOULDBLOCK)) => return Err(self.kept_locked(at_most)),
                Err((_, error)) => return Err(error.into()),
            }
        }
    }

    /// Perhaps nobody has held it for all that time: named is who has it now.
    fn kept_locked(&self, at_most: Duration) -> io::Error {
        let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
        let holder = match lock_holder(&locks, self.inode) {
            Some(pid) => format!("process {pid} (which may have been stopped)"),
            None => "another process".to_owned(),
        };
        let text = format!("{} was not free within {at_most:?}: {holder} has it locked", self.path.display());
        io::Error::new(io::ErrorKind::TimedOut, text)
    }
}

/// Whoever has a file locked, out of the kernel's table (proc_locks(5)): `1: FLOCK ADVISORY WRITE pid major:minor:inode
/// …`. `None` if it cannot be told: files of several systems may have the number, a layered one may tell another number,
/// and processes of a PID namespace that is not ours or inside of it are not in the table.
fn lock_holder(locks: &str, inode: u64) -> Option<u32> {
    let mut holders = locks.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (kind, pid, file) = (fields.next()?, fields.nth(2)?, fields.next()?);
        let is_it = kind == "FLOCK" && file.rsplit(':').next()?.parse() == Ok(inode);
        is_it.then(|| pid.parse().ok()).flatten()
    });
    holders.next().filter(|_| holders.next().is_none())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("shmrpc-test-{}-{name}", std::process::id()))
    }

    #[test]
    fn it_is_made_private_and_refused_when_it_is_not() {
        let path = scratch("runtime");
        RuntimeDir::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        let error = RuntimeDir::open(&path).unwrap_err();
        assert!(matches!(error, RuntimeDirError::NotPrivate { .. }), "{error}");
        fs::remove_dir(&path).unwrap();
    }

    #[test]
    fn the_lock_excludes_threads() {
        let path = scratch("lock");
        let dir = RuntimeDir::open(&path).unwrap();
        let held = dir.lock(Duration::from_secs(1)).unwrap();
        let error = dir.lock(Duration::from_millis(5)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        for part in [&*path.display().to_string(), "5ms", "process"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        drop(held);
        drop(dir.lock(Duration::from_secs(10)).unwrap());
        fs::remove_dir(&path).unwrap();
    }

    #[test]
    fn a_lock_has_one_holder_in_the_kernels_table() {
        let table = "1: POSIX  ADVISORY  WRITE 11 fe:00:70 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 22 fe:00:71 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 23 fe:00:71 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 33 00:1f:72 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 44 fe:00:72 0 EOF\n";
        assert_eq!(lock_holder(table, 71), Some(22), "who waits is no holder");
        assert_eq!(lock_holder(table, 70), None, "a lock of another kind");
        assert_eq!(lock_holder(table, 72), None, "files of two systems");
        assert_eq!(lock_holder(table, 7), None);
    }
}
