//! The secret that a TCP server and its clients share, and where it is read from. How it is proved is
//! `frame::proof`'s business.

use std::{
    fmt, fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A shared secret: at least sixteen bytes, better thirty-two random ones (`openssl rand -hex 32`).
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

/// A secret that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Too easily guessed.
    #[error("a shared secret of {len_bytes} bytes: at least {least} are needed", least = Secret::LEAST_BYTES)]
    TooShort {
        /// Its length.
        len_bytes: usize,
    },
    /// The file cannot be read.
    #[error("reading the shared secret in {path}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Other users of the machine can read or change the file.
    #[error("the shared secret in {path} is open to other users (mode {mode:03o}): chmod 600", path = .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

impl Secret {
    /// Shorter ones are refused.
    pub const LEAST_BYTES: usize = 16;
    /// More of a file is not read.
    const MOST_BYTES: u64 = 64 << 10;
    /// The environment variable that clients look at when they are given no secret.
    pub const VARIABLE: &'static str = "SHMRPC_SECRET";
    /// The same for a file that holds it.
    pub const FILE_VARIABLE: &'static str = "SHMRPC_SECRET_FILE";

    /// A secret of these bytes.
    ///
    /// # Errors
    /// When they are too few.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, SecretError> {
        let bytes = bytes.as_ref();
        if bytes.len() < Self::LEAST_BYTES {
            return Err(SecretError::TooShort { len_bytes: bytes.len() });
        }
        Ok(Self(bytes.into()))
    }

    /// The secret in a file, without blanks and line ends around it. Nobody but the file's owner may have any
    /// rights to it.
    ///
    /// # Errors
    /// When it cannot be read, is open to others, or too short.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, SecretError> {
        let path = path.as_ref();
        let fail = |source| SecretError::Io { path: path.to_owned(), source };
        let file = fs::File::open(path).map_err(fail)?;
        let mode = file.metadata().map_err(fail)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SecretError::Open { path: path.to_owned(), mode });
        }
        let mut bytes = Vec::new();
        file.take(Self::MOST_BYTES).read_to_end(&mut bytes).map_err(fail)?;
        Self::new(bytes.trim_ascii())
    }

    /// The secret of the environment: that of [`Self::FILE_VARIABLE`], else of [`Self::VARIABLE`].
    ///
    /// # Errors
    /// As [`Self::from_file`] and [`Self::new`].
    pub fn from_env() -> Result<Option<Self>, SecretError> {
        let value = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(path) = value(Self::FILE_VARIABLE) {
            return Self::from_file(PathBuf::from(path)).map(Some);
        }
        value(Self::VARIABLE).map(|text| Self::new(text.as_encoded_bytes())).transpose()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Never shows it.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_long_private_and_never_shown() {
        assert!(matches!(Secret::new("short"), Err(SecretError::TooShort { len_bytes: 5 })));
        let secret = Secret::new("0123456789abcdef").unwrap();
        assert!(!format!("{secret:?}").contains("0123"));
        let path = std::env::temp_dir().join(format!("shmrpc-secret-{}", std::process::id()));
        fs::write(&path, "0123456789abcdef\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Secret::from_file(&path), Err(SecretError::Open { mode: 0o640, .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(Secret::from_file(&path).unwrap(), secret);
        fs::remove_file(&path).unwrap();
        assert!(matches!(Secret::from_file(&path), Err(SecretError::Io { .. })));
    }
}
