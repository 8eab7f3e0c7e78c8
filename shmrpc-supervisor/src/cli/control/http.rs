//! As much of HTTP as the control socket takes: one request a connection, an answer of known length, in chunks, or
//! up to the end.

use std::{
    fmt::Write as _,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use super::Control;
use crate::{
    cli::failure::{Exit, Failure},
    control,
};

/// The longest line of an answer's head.
const MAX_LINE_BYTES: u64 = 16 << 10;

/// A successful answer.
pub(super) struct Answer {
    body: Body,
}

enum Body {
    Sized(io::Take<BufReader<UnixStream>>),
    Chunked(Chunked),
}

impl Answer {
    /// All of it.
    pub(super) fn text(mut self) -> Result<String, Failure> {
        let mut text = String::new();
        self.read_to_string(&mut text).map_err(|error| lost(&error))?;
        Ok(text)
    }
}

impl Read for Answer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.body {
            Body::Sized(body) => body.read(buffer),
            Body::Chunked(body) => body.read(buffer),
        }
    }
}

/// A body in chunks, each with its length before it.
struct Chunked {
    stream: BufReader<UnixStream>,
    left: u64,
    ended: bool,
}

impl Read for Chunked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 && !self.ended {
            let text = line(&mut self.stream)?;
            if text.is_empty() {
                // The end of the chunk before.
                continue;
            }
            let digits = text.split(';').next().unwrap_or_default().trim();
            self.left = u64::from_str_radix(digits, 16).map_err(io::Error::other)?;
            self.ended = self.left == 0;
        }
        if self.ended {
            return Ok(0);
        }
        let count = (&mut self.stream).take(self.left).read(buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// A line of the head, without its end.
fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    let count = stream.take(MAX_LINE_BYTES).read_line(&mut text)?;
    if count == 0 || !text.ends_with('\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(text.trim_end().to_owned())
}

/// Asks the daemon of a folder; anything but success is a failure with the daemon's own words.
pub(super) fn request(
    daemon: &Control,
    method: &str,
    path: &str,
    body: Option<&str>,
) -> Result<Answer, Failure> {
    let Control { runtime_dir, patience } = daemon;
    let stream = control::connect(runtime_dir).map_err(|error| absent(runtime_dir, &error))?;
    let exchanged = stream
        .set_read_timeout(Some(*patience))
        .and_then(|()| stream.set_write_timeout(Some(*patience)))
        .and_then(|()| exchange(stream, method, path, body));
    let (status, mut answer) = exchanged.map_err(|error| lost(&error))?;
    if (200..300).contains(&status) {
        return Ok(answer);
    }
    let mut text = String::new();
    let _whatever_came = answer.read_to_string(&mut text);
    let problem: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let detail = problem["detail"].as_str().map_or_else(|| format!("status {status}"), str::to_owned);
    let exit = match status {
        400 => Exit::Usage,
        404 => Exit::NotFound,
        401 | 403 | 409 | 422 => Exit::Refused,
        _ => Exit::Other,
    };
    Err(Failure::new(exit, detail))
}

fn exchange(
    mut stream: UnixStream,
    method: &str,
    path: &str,
    body: Option<&str>,
) -> io::Result<(u16, Answer)> {
    let body = body.unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: application/json\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    let mut stream = BufReader::new(stream);
    let first = line(&mut stream)?;
    let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("{first:?} is no answer")))?;
    let (mut len_bytes, mut is_chunked) = (u64::MAX, false);
    loop {
        let text = line(&mut stream)?.to_ascii_lowercase();
        match text.split_once(':') {
            Some(("content-length", value)) => len_bytes = value.trim().parse().map_err(io::Error::other)?,
            Some(("transfer-encoding", value)) => is_chunked = value.trim() == "chunked",
            None if text.is_empty() => break,
            _ => {}
        }
    }
    let body = if is_chunked {
        Body::Chunked(Chunked { stream, left: 0, ended: false })
    } else {
        Body::Sized(stream.take(len_bytes))
    };
    Ok((status, Answer { body }))
}

/// Text as a part of a path or query.
pub(super) fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut path, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~') {
            path.push(char::from(byte));
        } else {
            let _infallible = write!(path, "%{byte:02X}");
        }
        path
    })
}

/// Names and values as the query of an address.
pub(super) fn query(pairs: &[(&str, String)]) -> String {
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={}", escaped(value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn absent(runtime_dir: &Path, error: &io::Error) -> Failure {
    let folder = runtime_dir.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            Failure::new(Exit::NotFound, format!("no shmrpc-service runs in {folder}"))
        }
        io::ErrorKind::PermissionDenied => Failure::new(Exit::Refused, format!("{folder}: {error}")),
        _ => Failure::new(Exit::Other, format!("the daemon of {folder}: {error}")),
    }
}

pub(super) fn lost(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            Failure::new(Exit::Deadline, "the daemon does not answer")
        }
        _ => Failure::new(Exit::Lost, format!("the daemon is gone: {error}")),
    }
}
