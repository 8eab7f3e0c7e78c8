//! The daemon's hold on the runtime folder: one daemon a folder, and the token that lets others than its
//! own user into the dashboard. Both files are gone when it ends.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use shmrpc_core::{RuntimeDir, RuntimeDirError};

use crate::control;

/// A runtime folder that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// Another daemon has it.
    #[error("another shmrpc-service{holder} runs on {path}; choose another folder with --runtime-dir")]
    Taken {
        /// The folder.
        path: PathBuf,
        /// ` (pid 1234)`, or nothing.
        holder: String,
    },
    /// It cannot be made, or others may come in.
    #[error(transparent)]
    Unusable(#[from] RuntimeDirError),
    /// The operating system refused something.
    #[error("runtime folder {path}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The folder, held until dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    lock: File,
}

const LOCK: &str = "supervisor.lock";
const TOKEN: &str = "token";

impl Folder {
    /// Takes the folder, making it if need be.
    ///
    /// # Errors
    /// When it cannot be made, others may enter it, or another daemon has it.
    pub fn take(path: &Path) -> Result<Self, FolderError> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let fail = |source| FolderError::Io { path: path.clone(), source };
        RuntimeDir::open(&path)?;
        let file = path.join(LOCK);
        loop {
            let mut options = File::options();
            let mut lock =
                options.read(true).append(true).create(true).mode(0o600).open(&file).map_err(fail)?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut pid = String::new();
                    let _unknown = lock.take(32).read_to_string(&mut pid);
                    let pid = pid.trim();
                    let holder = if pid.is_empty() { String::new() } else { format!(" (pid {pid})") };
                    return Err(FolderError::Taken { path, holder });
                }
                Err(TryLockError::Error(source)) => return Err(fail(source)),
            }
            // The one before us removes its file when it ends: ours must be the one that is there.
            if fs::metadata(&file)
                .is_ok_and(|there| lock.metadata().is_ok_and(|ours| there.ino() == ours.ino()))
            {
                lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(fail)?;
                return Ok(Self { path, lock });
            }
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a new token and writes it where only its user can read it.
    ///
    /// # Errors
    /// When there is no randomness or no space.
    pub fn new_token(&self) -> io::Result<String> {
        let mut random = [0_u8; 16];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        let token = format!("{:032x}", u128::from_ne_bytes(random));
        let path = self.path.join(TOKEN);
        let _absent = fs::remove_file(&path);
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(token.as_bytes())?;
        Ok(token)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _absent = fs::remove_file(self.path.join(TOKEN));
        let _absent = fs::remove_file(self.path.join(control::NAME));
        // Under the lock: whoever waits for it looks whether the file is still there.
        let _absent = fs::remove_file(self.path.join(LOCK));
        let _closing = self.lock.unlock();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_daemon_a_folder_and_nothing_left_behind() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("run");
        let folder = Folder::take(&path).unwrap();
        assert_eq!(folder.new_token().unwrap().len(), 32);
        let error = Folder::take(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");
        drop(folder);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        drop(Folder::take(&path).unwrap());
    }

    #[test]
    fn a_folder_that_others_may_enter_is_refused() {
        let base = tempfile::tempdir().unwrap();
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let error = Folder::take(base.path()).unwrap_err().to_string();
        assert!(error.contains("is not private: its mode is 755"), "{error}");
    }
}
