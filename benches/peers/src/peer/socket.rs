//! Plain sockets that block: what one gets without a library. A thread for each client, four bytes of length before
//! each message, as much as there is in one write.

use std::{
    io::{BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    thread,
};

use crate::{
    job::{Carrier, Figures, Job},
    measure::{self, Caller, Echo},
    role,
};

/// Bytes that are read or written at once.
const BUFFER_BYTES: usize = 64 * 1024;

pub fn serve(job: &Job) -> ! {
    match job.carrier {
        Carrier::UnixSocket => {
            let path = job.folder.join("socket");
            let listener = UnixListener::bind(&path).expect("a socket in a fresh folder");
            role::ready(vec![path.to_str().expect("a plain path").to_owned()]);
            loop {
                let (stream, _) = listener.accept().expect("a client");
                let writer = stream.try_clone().expect("a second handle");
                thread::spawn(move || answer(stream, writer));
            }
        }
        _ => {
            let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
            role::ready(vec![listener.local_addr().expect("a port").to_string()]);
            loop {
                let (stream, _) = listener.accept().expect("a client");
                stream.set_nodelay(true).expect("no delay");
                let writer = stream.try_clone().expect("a second handle");
                thread::spawn(move || answer(stream, writer));
            }
        }
    }
}

/// Echoes until the client is gone. What came together goes back together.
fn answer(stream: impl Read, mut writer: impl Write) {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, stream);
    let mut out = Vec::new();
    let mut head = [0; 4];
    while reader.read_exact(&mut head).is_ok() {
        let len = u32::from_ne_bytes(head) as usize;
        let at = out.len();
        out.extend_from_slice(&head);
        out.resize(at + 4 + len, 0);
        if reader.read_exact(&mut out[at + 4..]).is_err() {
            return;
        }
        if reader.buffer().len() < 4 || out.len() >= BUFFER_BYTES {
            if writer.write_all(&out).is_err() {
                return;
            }
            out.clear();
        }
    }
}

pub fn client(job: &Job, go: impl FnOnce()) -> Figures {
    let address = &job.servers[0].addresses[0];
    if job.carrier == Carrier::UnixSocket {
        let stream = UnixStream::connect(address).expect("the server listens");
        let writer = stream.try_clone().expect("a second handle");
        return measure::blocking(Socket::new(stream, writer, job), job, go);
    }
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("no delay");
    let writer = stream.try_clone().expect("a second handle");
    measure::blocking(Socket::new(stream, writer, job), job, go)
}

struct Socket<R, W> {
    reader: BufReader<R>,
    writer: W,
    out: Vec<u8>,
    reply: Vec<u8>,
}

impl<R: Read, W: Write> Socket<R, W> {
    fn new(reader: R, writer: W, job: &Job) -> Self {
        let reader = BufReader::with_capacity(BUFFER_BYTES, reader);
        Self { reader, writer, out: Vec::new(), reply: vec![0; job.size_bytes] }
    }
}

impl<R: Read, W: Write> Caller for Socket<R, W> {
    fn send(&mut self, echo: &mut Echo) {
        self.out.extend_from_slice(&(echo.len() as u32).to_ne_bytes());
        self.out.extend_from_slice(echo.next());
    }

    fn flush(&mut self) {
        self.writer.write_all(&self.out).expect("sent");
        self.out.clear();
    }

    fn receive(&mut self, echo: &mut Echo) {
        let mut head = [0; 4];
        self.reader.read_exact(&mut head).expect("answered");
        let len = u32::from_ne_bytes(head) as usize;
        self.reader.read_exact(&mut self.reply[..len]).expect("answered");
        echo.check(&self.reply[..len]);
    }
}
