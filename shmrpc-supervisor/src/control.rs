//! The control socket: where it lies in the runtime folder, how the daemon listens there and how the command line
//! connects. What is said over it is the REST API, served by the web crate.

use std::{
    fs::{self, File, Permissions},
    io,
    os::{
        fd::AsRawFd,
        unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

/// Its name in the runtime folder.
pub const NAME: &str = "control";

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
