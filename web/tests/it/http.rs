//! A small blocking HTTP client that sends exactly what a test writes, wrong hosts and broken requests
//! included. Every wait has a deadline.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Far beyond what anything here takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("the body is text")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Sends a request on a connection of its own. `Host` and `Content-Length` are added where missing.
pub(crate) fn send(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    read_answer(&mut request(address, method, target, headers, body), method == "HEAD")
}

/// Asks for something whose body may have no end, and is not read.
pub(crate) fn answer_head(address: SocketAddr, method: &str, target: &str) -> Answer {
    read_head(&mut request(address, method, target, &[], b""))
}

fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> BufReader<TcpStream> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n");
    let has = |name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    if !has("host") {
        head += &format!("host: {address}\r\n");
    }
    if !has("content-length") && (!body.is_empty() || method == "POST") {
        head += &format!("content-length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    let mut stream = connect(address);
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    // The server may have refused by now and read no further.
    let _ = stream.write_all(body);
    BufReader::new(stream)
}

pub(crate) fn get(address: SocketAddr, target: &str) -> Answer {
    send(address, "GET", target, &[], b"")
}

pub(crate) fn post(address: SocketAddr, target: &str, content_type: &str, body: &[u8]) -> Answer {
    send(address, "POST", target, &[("content-type", content_type)], body)
}

/// Status and headers, up to the empty line.
pub(crate) fn read_head(reader: &mut impl BufRead) -> Answer {
    let mut line = String::new();
    reader.read_line(&mut line).expect("a status line");
    let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.unwrap_or_else(|| panic!("{line:?} is no status line"));
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).expect("a header");
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Answer { status, headers, body: Vec::new() }
}

pub(crate) fn read_answer(reader: &mut impl BufRead, is_head: bool) -> Answer {
    let mut answer = read_head(reader);
    if is_head {
        return answer;
    }
    if answer.header("transfer-encoding") == Some("chunked") {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).expect("a chunk's size");
            let size = usize::from_str_radix(size.trim(), 16).expect("a size in hexadecimal");
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).expect("a chunk");
            answer.body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                return answer;
            }
        }
    }
    match answer.header("content-length").map(|text| text.parse().expect("a length")) {
        Some(len_bytes) => {
            answer.body.resize(len_bytes, 0);
            reader.read_exact(&mut answer.body).expect("the whole body");
        }
        None => {
            reader.read_to_end(&mut answer.body).expect("a body");
        }
    }
    answer
}
