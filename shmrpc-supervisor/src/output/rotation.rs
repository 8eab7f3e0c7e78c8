//! Log files that have had their time: put aside under the moment at which that was done, `FILE.20260131T140359.042Z`,
//! compressed by a thread of their own (`….gz`), and thrown away when there are too many.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, SystemTime},
};

use flate2::{Compression, write::GzEncoder};

use crate::config::Rotation;

/// Files that wait to be compressed; those beyond that stay as they are.
const QUEUE: usize = 16;
/// Compressing is for whenever nobody else wants the processor.
const NICENESS: i32 = 19;
const COMPRESSED: &str = ".gz";
const UNFINISHED: &str = ".part";

/// How long ago a file began; where the file system does not know, how long ago its last line was written.
pub(super) fn age(meta: &fs::Metadata) -> Duration {
    let began = meta.created().or_else(|_| meta.modified());
    began.ok().and_then(|began| SystemTime::now().duration_since(began).ok()).unwrap_or_default()
}

/// Puts a file aside, and throws away the oldest of those that were put aside before.
///
/// # Errors
/// When it cannot be renamed; it is where it was then.
pub(super) fn put_aside(path: &Path, rotation: &Rotation, compressor: &Compressor) -> io::Result<PathBuf> {
    let stamp = humantime::format_rfc3339_millis(SystemTime::now()).to_string().replace(['-', ':'], "");
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{stamp}"));
    let aside = PathBuf::from(name);
    fs::rename(path, &aside)?;
    for old in surplus(path, rotation.max_files)? {
        if let Err(error) = fs::remove_file(&old) {
            tracing::warn!(file = %old.display(), %error, "an old log file stays");
        }
    }
    if rotation.compress {
        compressor.compress(aside.clone());
    }
    Ok(aside)
}

/// The files beyond the number that is kept. One that is compressed, or about to be, is still one file.
fn surplus(path: &Path, keep: usize) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Vec::new()) };
    let mut found: Vec<(String, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if let Some(stamp) = path.file_name().and_then(|other| stamp_of(other, name)) {
            found.push((stamp, path));
        }
    }
    let mut stamps: Vec<String> = found.iter().map(|(stamp, _)| stamp.clone()).collect();
    stamps.sort_unstable();
    stamps.dedup();
    let gone = stamps.len().saturating_sub(keep);
    let is_gone = |stamp: &String| stamps[..gone].contains(stamp);
    Ok(found.into_iter().filter(|(stamp, _)| is_gone(stamp)).map(|(_, path)| path).collect())
}

/// The moment in the name of a file that was put aside; `None` for any other file.
fn stamp_of(other: &OsStr, name: &OsStr) -> Option<String> {
    let rest = other.to_str()?.strip_prefix(name.to_str()?)?.strip_prefix('.')?;
    let rest = rest.strip_suffix(UNFINISHED).unwrap_or(rest);
    let stamp = rest.strip_suffix(COMPRESSED).unwrap_or(rest);
    let is_digit = |at: usize| stamp.as_bytes()[at].is_ascii_digit();
    let is_stamp = stamp.len() == 20 && stamp.as_bytes()[8] == b'T' && stamp.ends_with('Z');
    (is_stamp && (0..8).chain(9..15).chain(16..19).all(is_digit)).then(|| stamp.to_owned())
}

/// The thread that compresses, one file after the other. It ends with its last handle.
#[derive(Clone, Debug)]
pub(crate) struct Compressor(mpsc::SyncSender<PathBuf>);

impl Compressor {
    /// Starts it.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(super) fn start() -> io::Result<Self> {
        let (queue, files) = mpsc::sync_channel::<PathBuf>(QUEUE);
        let work = move || {
            let _at_full_speed =
                rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
            for file in files {
                if let Err(error) = compress(&file) {
                    tracing::warn!(file = %file.display(), %error, "an old log file stays uncompressed");
                }
            }
        };
        thread::Builder::new().name("shmrpc-gzip".into()).spawn(work)?;
        Ok(Self(queue))
    }

    /// Has a file compressed, sooner or later, or left as it is if too many wait.
    pub(super) fn compress(&self, file: PathBuf) {
        let _too_many = self.0.try_send(file);
    }
}

fn compress(file: &Path) -> io::Result<()> {
    let named = |suffix: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let (unfinished, compressed) = (named(".gz.part"), named(COMPRESSED));
    let mut source = match File::open(file) {
        // It was thrown away meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        source => source?,
    };
    let target = File::options().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    let written = (|| {
        let mut encoder = GzEncoder::new(target, Compression::fast());
        io::copy(&mut source, &mut encoder)?;
        encoder.finish()?;
        fs::rename(&unfinished, &compressed)
    })();
    match written {
        Ok(()) => fs::remove_file(file),
        Err(error) => {
            let _never_made = fs::remove_file(&unfinished);
            Err(error)
        }
    }
}
