//! The log files, written by one thread of their own: a slow or full disk holds up that thread, and what
//! then does not fit into its queue is dropped and counted. Files are bounded: [`super::rotation`] puts them aside.

use std::{
    collections::HashMap,
    fs::{DirBuilder, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use super::rotation::{self, Compressor};
use crate::config::Rotation;

/// Pieces, of at most a chunk each, that wait for the disk.
const QUEUE_PIECES: usize = 128;
/// After a failure a file is left alone for so long.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A handle to the writing thread, which ends when the last handle is gone.
#[derive(Clone, Debug)]
pub struct LogFiles {
    queue: mpsc::SyncSender<Piece>,
    dropped_bytes: Arc<AtomicU64>,
    compressor: Compressor,
}

#[derive(Debug)]
enum Piece {
    Bytes(PathBuf, Vec<u8>),
    Rules(PathBuf, Rotation),
    Flush(mpsc::Sender<()>),
}

impl LogFiles {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn start() -> io::Result<Self> {
        let (queue, pieces) = mpsc::sync_channel(QUEUE_PIECES);
        let dropped_bytes = Arc::new(AtomicU64::new(0));
        let compressor = Compressor::start()?;
        let mut writer = Writer {
            files: HashMap::new(),
            dropped_bytes: Arc::clone(&dropped_bytes),
            compressor: compressor.clone(),
        };
        let work = move || pieces.into_iter().for_each(|piece| writer.take(piece));
        thread::Builder::new().name("shmrpc-logs".into()).spawn(work)?;
        Ok(Self { queue, dropped_bytes, compressor })
    }

    /// Appends to a file, or drops the bytes and counts them. Never blocks.
    pub fn append(&self, file: &Path, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let len = bytes.len() as u64;
        if self.queue.try_send(Piece::Bytes(file.to_owned(), bytes)).is_err() {
            // Relaxed: a count that orders nothing.
            self.dropped_bytes.fetch_add(len, Ordering::Relaxed);
        }
    }

    /// Says by what rules a file is put aside from now on. While the disk stands still the old ones hold.
    pub fn rotate(&self, file: &Path, rules: Rotation) {
        let _disk_stands_still = self.queue.try_send(Piece::Rules(file.to_owned(), rules));
    }

    /// What compresses files that were put aside.
    pub(crate) fn compressor(&self) -> &Compressor {
        &self.compressor
    }

    /// Bytes that could not be written.
    #[must_use]
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes.load(Ordering::Relaxed)
    }

    /// Waits until what has been appended is written, at most for so long.
    pub fn flush(&self, timeout: Duration) {
        let (done, told) = mpsc::channel();
        if self.queue.try_send(Piece::Flush(done)).is_ok() {
            let _late = told.recv_timeout(timeout);
        }
    }
}

/// The thread's own.
struct Writer {
    files: HashMap<PathBuf, Log>,
    dropped_bytes: Arc<AtomicU64>,
    compressor: Compressor,
}

/// One file.
#[derive(Default)]
struct Log {
    open: Option<Open>,
    rules: Rotation,
    /// After a failure.
    not_before: Option<Instant>,
}

struct Open {
    file: File,
    len_bytes: u64,
    /// When it will be too old.
    until: Option<Instant>,
}

impl Writer {
    fn take(&mut self, piece: Piece) {
        match piece {
            Piece::Bytes(path, bytes) => self.write(&path, &bytes),
            Piece::Rules(path, rules) => {
                let log = self.files.entry(path).or_default();
                if log.rules != rules {
                    // Opened anew it is known how old it is.
                    (log.rules, log.open) = (rules, None);
                }
            }
            Piece::Flush(done) => {
                let _nobody_waits = done.send(());
            }
        }
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) {
        let log = self.files.entry(path.to_owned()).or_default();
        if log.not_before.is_none_or(|time| Instant::now() >= time) {
            match log.write(path, bytes, &self.compressor) {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "log lines are dropped");
                    (log.open, log.not_before) = (None, Some(Instant::now() + RETRY_AFTER));
                }
            }
        }
        self.dropped_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
}

impl Log {
    fn write(&mut self, path: &Path, bytes: &[u8], compressor: &Compressor) -> io::Result<()> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => Open::new(path, &self.rules)?,
        };
        if open.is_due(&self.rules) {
            rotation::put_aside(path, &self.rules, compressor)?;
            open = Open::new(path, &self.rules)?;
        }
        open.file.write_all(bytes)?;
        open.len_bytes += bytes.len() as u64;
        self.open = Some(open);
        Ok(())
    }
}

impl Open {
    fn new(path: &Path, rules: &Rotation) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let file = File::options().append(true).create(true).mode(0o600).open(path)?;
        let meta = file.metadata()?;
        let left = |most: Duration| most.saturating_sub(rotation::age(&meta));
        let until = rules.max_age.and_then(|most| Instant::now().checked_add(left(most)));
        Ok(Self { len_bytes: meta.len(), file, until })
    }

    fn is_due(&self, rules: &Rotation) -> bool {
        let is_old = self.until.is_some_and(|until| Instant::now() >= until);
        self.len_bytes >= rules.max_file_bytes || (is_old && self.len_bytes > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// What is in a folder, sorted.
    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Waits until the folder has such files.
    fn eventually(folder: &Path, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let names = names(folder);
            if wanted(&names) {
                return names;
            }
            assert!(Instant::now() < deadline, "{names:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn what_is_appended_is_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("echo/echo_log.stdout");
        let files = LogFiles::start().unwrap();
        files.append(&path, b"one\n".to_vec());
        files.append(&path, b"two\n".to_vec());
        files.flush(PATIENCE);
        assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
        assert_eq!(files.dropped_bytes(), 0);
    }

    #[test]
    fn a_full_disk_drops_and_counts() {
        let files = LogFiles::start().unwrap();
        files.append(Path::new("/dev/full"), b"lost\n".to_vec());
        files.append(Path::new("/dev/full"), b"lost\n".to_vec());
        files.append(Path::new("/proc/no/such/folder/file"), b"lost\n".to_vec());
        files.flush(PATIENCE);
        assert_eq!(files.dropped_bytes(), 15);
    }

    #[test]
    fn long_files_are_put_aside_compressed_and_thrown_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let rules = Rotation { max_file_bytes: 1000, max_files: 2, ..Rotation::default() };
        fs::write(folder.path().join("log.notes"), "somebody else's").unwrap();
        let files = LogFiles::start().unwrap();
        files.rotate(&path, rules);
        for round in 0..5 {
            files.append(&path, vec![b'0' + round; 1000]);
            files.flush(PATIENCE);
            // Two in one millisecond would be one.
            thread::sleep(Duration::from_millis(3));
        }
        let is_done = |names: &[String]| {
            names.len() == 4 && names.iter().filter(|name| name.ends_with("Z.gz")).count() == 2
        };
        let names = eventually(folder.path(), is_done);
        assert_eq!((names[0].as_str(), names[3].as_str()), ("log", "log.notes"));
        assert_eq!(fs::read(&path).unwrap(), vec![b'4'; 1000]);
        for (name, round) in names[1..3].iter().zip([b'2', b'3']) {
            let mut bytes = Vec::new();
            let file = File::open(folder.path().join(name)).unwrap();
            flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, vec![round; 1000]);
        }
    }

    #[test]
    fn old_files_are_put_aside_when_the_next_line_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let rules =
            Rotation { max_age: Some(Duration::from_millis(1)), compress: false, ..Rotation::default() };
        let files = LogFiles::start().unwrap();
        files.append(&path, b"old\n".to_vec());
        files.flush(PATIENCE);
        thread::sleep(Duration::from_millis(20));
        files.rotate(&path, rules);
        files.append(&path, b"new\n".to_vec());
        files.flush(PATIENCE);
        let names = names(folder.path());
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(fs::read(folder.path().join(&names[1])).unwrap(), b"old\n");
        assert_eq!(fs::read(&path).unwrap(), b"new\n");
    }

    #[test]
    fn a_file_that_is_not_kept_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let files = LogFiles::start().unwrap();
        files.rotate(&path, Rotation { max_file_bytes: 4, max_files: 0, ..Rotation::default() });
        files.append(&path, b"old\n".to_vec());
        files.append(&path, b"new\n".to_vec());
        files.flush(PATIENCE);
        assert_eq!(fs::read(&path).unwrap(), b"new\n");
        eventually(folder.path(), |names| names == ["log"]);
    }
}
