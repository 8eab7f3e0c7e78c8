//! The control socket: where it lies in the runtime folder, how the daemon listens there and how the command line
//! connects. What is said over it is the REST API, served by the web crate.

use std::{
    fs::{self, File, Permissions},
    io::{self, Read, Write},
    os::{
        fd::AsRawFd,
        unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

/// Its name in the runtime folder.
pub const NAME: &str = "control";

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// A path that is short enough for a socket's address, whatever the folder's is; good while the folder is open.
fn short(folder: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()))
}

/// Listens. Who holds the folder is its only daemon, so a socket that is there is a dead one's.
///
/// # Errors
/// When the system refuses.
pub fn listen(runtime_dir: &Path) -> io::Result<UnixListener> {
    let folder = File::open(runtime_dir)?;
    let path = short(&folder);
    let _absent = fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    // The folder lets nobody else in; this says it once more.
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Connects to the daemon of a runtime folder.
///
/// # Errors
/// When none listens.
pub fn connect(runtime_dir: &Path) -> io::Result<UnixStream> {
    let folder = File::open(runtime_dir)?;
    UnixStream::connect(short(&folder))
}

/// Has the daemon of a runtime folder end and leave its workers to the next one. None there is as good.
///
/// # Errors
/// When it does not take the order.
pub fn hand_over(runtime_dir: &Path) -> io::Result<()> {
    let mut stream = match connect(runtime_dir) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(
        b"POST /api/v1/hand-over HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    )?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 202 ") {
        return Ok(());
    }
    Err(io::Error::other(answer.lines().next().unwrap_or("no answer").to_owned()))
}
