//! Follows a service's own log, `NAME_log.log.json`, which its workers write: one JSON object a line,
//! `{t, level, pid, port, svc, msg}`. New lines go to the page; a file that has had its time is put aside, and whoever
//! writes begins a new one.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
};

use serde::Deserialize;
use shmrpc_web::{LogStream, LogTail};

use super::{
    lines::Lines,
    rotation::{self, Compressor},
};
use crate::config::Rotation;

/// Read at once; what is more comes with the next look.
const MAX_LOOK_BYTES: u64 = 1 << 20;

/// One file, and how far it has been read.
#[derive(Debug)]
pub struct Journal {
    service: String,
    path: PathBuf,
    /// `None`: not looked at yet; what is there already is not new.
    offset: Option<u64>,
    lines: Lines,
}

#[derive(Deserialize)]
struct Entry {
    level: String,
    msg: String,
    pid: Option<u32>,
}

impl Journal {
    /// The log of a service. `path` need not exist yet.
    #[must_use]
    pub fn new(service: String, path: PathBuf) -> Self {
        let offset = if path.exists() { None } else { Some(0) };
        Self { service, path, offset, lines: Lines::default() }
    }

    /// Passes on what is new, and puts the file aside if it is due. A file that cannot be read has nothing new.
    pub(crate) fn look(&mut self, tail: &LogTail, rules: &Rotation, compressor: &Compressor) {
        let Ok((file, meta)) =
            File::open(&self.path).and_then(|file| file.metadata().map(|meta| (file, meta)))
        else {
            return;
        };
        self.pass_on(&file, meta.len(), tail);
        let is_old = rules.max_age.is_some_and(|most| rotation::age(&meta) >= most);
        // Not before all of it has been read: the name leads elsewhere then.
        let is_read = self.offset == Some(meta.len());
        if is_read && (meta.len() >= rules.max_file_bytes || (is_old && meta.len() > 0)) {
            match rotation::put_aside(&self.path, rules, compressor) {
                // What was written until just now.
                Ok(_) => {
                    self.pass_on(&file, file.metadata().map_or(0, |meta| meta.len()), tail);
                    (self.offset, self.lines) = (Some(0), Lines::default());
                }
                Err(error) => {
                    tracing::warn!(file = %self.path.display(), %error, "a log file cannot be put aside")
                }
            }
        }
    }

    fn pass_on(&mut self, file: &File, len: u64, tail: &LogTail) {
        let Ok(bytes) = self.read(file, len) else { return };
        let service = &self.service;
        let _whole = self.lines.push(&bytes, |line| {
            let (pid, text) = shown(line);
            tail.push(service, pid, LogStream::Log, text);
        });
    }

    fn read(&mut self, mut file: &File, len: u64) -> io::Result<Vec<u8>> {
        let mut offset = self.offset.unwrap_or(len);
        if len < offset {
            // Cut or replaced: it begins anew.
            offset = 0;
            self.lines = Lines::default();
        }
        let mut bytes = Vec::new();
        if len > offset {
            file.seek(SeekFrom::Start(offset))?;
            file.take(MAX_LOOK_BYTES).read_to_end(&mut bytes)?;
        }
        self.offset = Some(offset + bytes.len() as u64);
        Ok(bytes)
    }
}

/// What the page gets of a line: its level and message, if it is one of ours, with the process.
pub(crate) fn shown(line: String) -> (Option<u32>, String) {
    match serde_json::from_str::<Entry>(&line) {
        Ok(Entry { level, msg, pid }) => (pid, format!("{level}: {msg}")),
        Err(_) => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    #[test]
    fn new_lines_are_passed_on_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "old\n").unwrap();
        let tail = LogTail::default();
        let compressor = Compressor::start().unwrap();
        let mut journal = Journal::new("echo".into(), path.clone());
        journal.look(&tail, &Rotation::default(), &compressor);
        let mut file = File::options().append(true).open(&path).unwrap();
        write!(file, "{{\"t\":1,\"level\":\"info\",\"pid\":7,\"msg\":\"hello\"}}\nplain\nunfin").unwrap();
        journal.look(&tail, &Rotation::default(), &compressor);
        journal.look(&tail, &Rotation::default(), &compressor);
        let texts = |tail: &LogTail| -> Vec<String> {
            tail.since(None, 10).lines.into_iter().map(|line| line.text).collect()
        };
        assert_eq!(texts(&tail), ["info: hello", "plain"]);
        fs::write(&path, "anew\n").unwrap();
        journal.look(&tail, &Rotation::default(), &compressor);
        assert_eq!(texts(&tail), ["info: hello", "plain", "anew"]);

        let rules = Rotation { max_file_bytes: 5, compress: false, ..Rotation::default() };
        journal.look(&tail, &rules, &compressor);
        assert!(!path.exists());
        fs::write(&path, "next\n").unwrap();
        journal.look(&tail, &Rotation::default(), &compressor);
        assert_eq!(texts(&tail)[3..], ["next"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
