//! Names of locks: what users write, and the file that stands for it.

use std::{fmt, path::PathBuf};

use super::error::LockError;

/// Where glibc keeps named semaphores and POSIX shared memory.
pub(super) const FOLDER: &str = "/dev/shm";

const LONGEST_BYTES: usize = 200;

/// A name that can be a POSIX semaphore's, kept without the leading slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LockName(String);

impl LockName {
    pub(super) fn parse(text: &str) -> Result<Self, LockError> {
        let bare = text.strip_prefix('/').unwrap_or(text);
        let reason = if bare.is_empty() {
            "it is empty"
        } else if bare.len() > LONGEST_BYTES {
            "it is longer than 200 bytes"
        } else if bare.contains('/') {
            "it has a '/' within"
        } else if bare.contains('\0') {
            "it has a NUL within"
        } else {
            return Ok(Self(bare.to_owned()));
        };
        Err(LockError::InvalidName { name: text.to_owned(), reason })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The file in which glibc looks for the named semaphore.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("{FOLDER}/sem.{}", self.0))
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
