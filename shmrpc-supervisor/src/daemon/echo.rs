//! What services print, on the daemon's own standard output: where a container's runtime collects it. Events are in the
//! daemon's log already, on standard error. A slow reader holds nobody up: it hears how many lines it has missed.

use std::{
    fmt::Write as _,
    io::{Write as _, stdout},
    sync::Arc,
    time::Duration,
};

use shmrpc_web::{LogStream, LogTail};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::cli::shown_line;

/// Lines written at once.
const LINES_AT_ONCE: usize = 1000;
/// Between two writes: what comes meanwhile goes together.
const GATHER: Duration = Duration::from_millis(100);
/// How long the last lines may take.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// The task that writes.
pub(super) struct Echo {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Echo {
    /// Begins with the first line that is kept.
    pub(super) fn start(tail: Arc<LogTail>) -> Self {
        let (end, ends) = oneshot::channel();
        Self { end, task: tokio::spawn(write(tail, ends)) }
    }

    /// Writes the last lines, unless nobody takes them.
    pub(super) async fn close(self) {
        let _has_ended = self.end.send(());
        let _late = tokio::time::timeout(END_TIMEOUT, self.task).await;
    }
}

async fn write(tail: Arc<LogTail>, mut ends: oneshot::Receiver<()>) {
    let mut changes = tail.changes();
    let mut cursor = 0;
    let mut is_ending = false;
    loop {
        changes.mark_unchanged();
        let page = tail.since(Some(cursor), LINES_AT_ONCE);
        if let Some(last) = page.lines.last() {
            cursor = last.cursor;
            let mut text = String::new();
            if page.missed_lines > 0 {
                let _infallible = writeln!(text, "{} lines were lost in between", page.missed_lines);
            }
            for line in page.lines.iter().filter(|line| line.stream != LogStream::Daemon) {
                text.push_str(&shown_line(line));
                text.push('\n');
            }
            let written = tokio::task::spawn_blocking(move || {
                stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush())
            });
            if !matches!(written.await, Ok(Ok(()))) {
                // Nobody is there to read it.
                return;
            }
        } else if is_ending {
            return;
        }
        if is_ending {
            continue;
        }
        tokio::select! {
            _ = &mut ends => is_ending = true,
            _ = changes.changed() => tokio::time::sleep(GATHER).await,
        }
    }
}
