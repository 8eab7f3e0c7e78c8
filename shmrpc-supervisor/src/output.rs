//! What workers print: read from their pipes, written to their service's log files, and the newest lines
//! kept for the page. Bytes are untrusted: they go to the file as they came, and to the page as text that
//! it has to escape. Who prints without end is slowed down by its own full pipe, nobody else.

mod files;
pub(crate) mod journal;
mod lines;
mod rotation;

use std::{path::PathBuf, sync::Arc, time::Duration};

use shmrpc_web::{LogStream, LogTail};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use self::lines::Lines;
pub use self::{files::LogFiles, journal::Journal};

/// Read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// The stretch of time for which the limits below hold.
const WINDOW: Duration = Duration::from_millis(100);
/// Read in one window from one stream; its writer waits for the next.
const WINDOW_BYTES: usize = 2 << 20;
/// Lines of one window of one stream that the page gets; the file gets all.
const WINDOW_LINES: usize = 2000;

/// The lines of a stream that comes in those pieces: what is shown, and what the file gets. For the fuzzer.
#[cfg(feature = "fuzzing")]
pub(crate) fn cut(pieces: &[&[u8]]) -> (Vec<String>, Vec<u8>) {
    let (mut texts, mut file, mut lines) = (Vec::new(), Vec::new(), Lines::default());
    for piece in pieces {
        file.extend(lines.push(piece, |text| texts.push(text)));
    }
    file.extend(lines.finish(|text| texts.push(text)));
    (texts, file)
}

/// Where a stream's bytes go.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The service.
    pub service: String,
    /// The process.
    pub pid: u32,
    /// Which of its streams.
    pub stream: LogStream,
    /// The log file.
    pub file: PathBuf,
}

/// Reads a stream to its end.
pub fn follow(pipe: pipe::Receiver, to: Destination, files: LogFiles, tail: Arc<LogTail>) -> JoinHandle<()> {
    tokio::spawn(async move { read_to_end(pipe, &to, &files, &tail).await })
}

async fn read_to_end(mut pipe: pipe::Receiver, to: &Destination, files: &LogFiles, tail: &LogTail) {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut lines = Lines::default();
    let mut window = Window::new();
    loop {
        let count = match pipe.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        window.turn(to, tail);
        let shown = &mut window.lines;
        let unshown = &mut window.unshown_lines;
        let whole = lines.push(&chunk[..count], |line| {
            if *shown < WINDOW_LINES {
                *shown += 1;
                tail.push(&to.service, Some(to.pid), to.stream, line);
            } else {
                *unshown += 1;
            }
        });
        files.append(&to.file, whole);
        window.bytes += count;
        if window.bytes >= WINDOW_BYTES {
            sleep_until(window.start + WINDOW).await;
        }
    }
    let rest = lines.finish(|line| tail.push(&to.service, Some(to.pid), to.stream, line));
    files.append(&to.file, rest);
    window.close(to, tail);
}

/// What has passed in the present stretch of time.
struct Window {
    start: Instant,
    bytes: usize,
    lines: usize,
    unshown_lines: usize,
}

impl Window {
    fn new() -> Self {
        Self { start: Instant::now(), bytes: 0, lines: 0, unshown_lines: 0 }
    }

    /// Begins the next stretch if this one is over.
    fn turn(&mut self, to: &Destination, tail: &LogTail) {
        if self.start.elapsed() >= WINDOW {
            self.close(to, tail);
            *self = Self::new();
        }
    }

    fn close(&self, to: &Destination, tail: &LogTail) {
        if self.unshown_lines > 0 {
            let text = format!("{} lines more, in {}", self.unshown_lines, to.file.display());
            tail.push(&to.service, Some(to.pid), LogStream::Daemon, text);
        }
    }
}
