//! Keys on how long log files are kept, and how → [`Rotation`].

use std::time::Duration;

use super::{reader::Reader, value};

/// When a log file is put aside, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// It is put aside when it is as long.
    pub max_file_bytes: u64,
    /// It is put aside when it is as old; `None`: whatever its age.
    pub max_age: Option<Duration>,
    /// So many of those that were put aside are kept, the newest.
    pub max_files: usize,
    /// They are compressed.
    pub compress: bool,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { max_file_bytes: 64 << 20, max_age: None, max_files: 5, compress: true }
    }
}

pub(super) fn rotation(reader: &mut Reader<'_>) -> Rotation {
    let standard = Rotation::default();
    let size = |text: &str| value::size_bytes(text).filter(|bytes| (64 << 10..=64 << 30).contains(bytes));
    let age = |text: &str| match text.to_ascii_lowercase().as_str() {
        "never" => Some(None),
        _ => value::duration(text).filter(|age| *age >= Duration::from_secs(1)).map(Some),
    };
    Rotation {
        max_file_bytes: reader
            .read("log_max_file_bytes", "a size from 64K to 64G", size)
            .unwrap_or(standard.max_file_bytes),
        max_age: reader
            .read("log_max_file_age", "a time of a second or more, such as 24h, or never", age)
            .unwrap_or(standard.max_age),
        max_files: reader.number("log_max_files", 0, 1000).unwrap_or(standard.max_files),
        compress: reader
            .read("log_compress", value::ACCEPTED_BOOLEAN, value::boolean)
            .unwrap_or(standard.compress),
    }
}
