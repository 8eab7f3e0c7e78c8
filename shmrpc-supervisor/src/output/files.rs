//! The log files, written by one thread of their own: a slow or full disk holds up that thread, and what
//! then does not fit into its queue is dropped and counted. Files are bounded: at the limit `FILE` becomes
//! `FILE.1`, and the one before is gone.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File},
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

/// Pieces, of at most a chunk each, that wait for the disk.
const QUEUE_PIECES: usize = 128;
/// The size at which a file is put aside.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// After a failure a file is left alone for so long.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A handle to the writing thread, which ends when the last handle is gone.
#[derive(Clone, Debug)]
pub struct LogFiles {
    queue: mpsc::SyncSender<Piece>,
    dropped_bytes: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Piece {
    Bytes(PathBuf, Vec<u8>),
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
        let dropped = Arc::clone(&dropped_bytes);
        let work = move || write_all(&pieces, &dropped);
        thread::Builder::new().name("shmrpc-logs".into()).spawn(work)?;
        Ok(Self { queue, dropped_bytes })
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

struct Open {
    file: File,
    len_bytes: u64,
}

fn write_all(pieces: &mpsc::Receiver<Piece>, dropped: &AtomicU64) {
    let mut open: HashMap<PathBuf, Result<Open, Instant>> = HashMap::new();
    for piece in pieces {
        let (path, bytes) = match piece {
            Piece::Bytes(path, bytes) => (path, bytes),
            Piece::Flush(done) => {
                let _nobody_waits = done.send(());
                continue;
            }
        };
        let entry = open.entry(path.clone()).or_insert_with(|| Err(Instant::now()));
        if let Err(error) = write(&path, entry, &bytes) {
            dropped.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            if let Some(error) = error {
                tracing::warn!(file = %path.display(), %error, "log lines are dropped");
                *entry = Err(Instant::now() + RETRY_AFTER);
            }
        }
    }
}

/// Writes to a file, opening it if need be. The error is `None` while the file is left alone.
fn write(path: &Path, entry: &mut Result<Open, Instant>, bytes: &[u8]) -> Result<(), Option<io::Error>> {
    if let Ok(open) = entry
        && open.len_bytes >= MAX_FILE_BYTES
    {
        put_aside(path).map_err(Some)?;
        *entry = Err(Instant::now());
    }
    let open = match entry {
        Ok(open) => open,
        Err(not_before) if Instant::now() < *not_before => return Err(None),
        Err(_) => {
            *entry = Ok(open_log(path).map_err(Some)?);
            let Ok(open) = entry else { return Err(None) };
            open
        }
    };
    open.file.write_all(bytes).map_err(Some)?;
    open.len_bytes += bytes.len() as u64;
    Ok(())
}

fn open_log(path: &Path) -> io::Result<Open> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let file = File::options().append(true).create(true).mode(0o600).open(path)?;
    let len_bytes = file.metadata()?.len();
    Ok(Open { file, len_bytes })
}

fn put_aside(path: &Path) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".1");
    fs::rename(path, aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_is_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("echo/echo_log.stdout");
        let files = LogFiles::start().unwrap();
        files.append(&path, b"one\n".to_vec());
        files.append(&path, b"two\n".to_vec());
        files.flush(Duration::from_secs(10));
        assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
        assert_eq!(files.dropped_bytes(), 0);
    }

    #[test]
    fn a_full_disk_drops_and_counts() {
        let files = LogFiles::start().unwrap();
        files.append(Path::new("/dev/full"), b"lost\n".to_vec());
        files.append(Path::new("/dev/full"), b"lost\n".to_vec());
        files.append(Path::new("/proc/no/such/folder/file"), b"lost\n".to_vec());
        files.flush(Duration::from_secs(10));
        assert_eq!(files.dropped_bytes(), 15);
    }

    #[test]
    fn a_file_at_its_limit_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        File::create(&path).unwrap().set_len(MAX_FILE_BYTES).unwrap();
        let files = LogFiles::start().unwrap();
        files.append(&path, b"new\n".to_vec());
        files.append(&path, b"newer\n".to_vec());
        files.flush(Duration::from_secs(10));
        assert_eq!(fs::read(&path).unwrap(), b"newer\n");
        assert!(folder.path().join("log.1").exists());
    }
}
