//! The service that is killed, stopped and starved, and the processes that serve and call it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use shmrpc::{
    ConnectOptions, Connection, Door, RpcError, ServeOptions, Serving, client::Reply, json_method,
    raw_method, service,
};

/// Suffers.
#[derive(Default)]
pub(crate) struct Victim;

#[service(name = "victim", port = 5604)]
impl Victim {
    /// Bytes in, bytes out.
    #[raw_method]
    fn echo(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }

    /// Says that it has begun, and never ends.
    #[json_method]
    fn hang(&self) {
        println!("in");
        thread::sleep(Duration::from_secs(3600));
    }
}

pub(crate) const SMALL: &str = "serve-small";
pub(crate) const LARGE: &str = "serve-large";
pub(crate) const HUGE: &str = "serve-huge";
pub(crate) const CLIENT: &str = "call-for-ever";

/// How long a process may take to end when it is told to.
const LONGEST_END: Duration = Duration::from_secs(10);

/// What a process of that role does; it does not return.
pub(crate) fn role(name: &str) -> Option<fn(&Path) -> !> {
    match name {
        SMALL => Some(|folder| serve(folder, 0)),
        LARGE => Some(|folder| serve(folder, 100 << 20)),
        HUGE => Some(|folder| serve(folder, 2 << 30)),
        CLIENT => Some(call_for_ever),
        _ => None,
    }
}

fn serve(folder: &Path, resident_bytes: usize) -> ! {
    // Touched page by page, and kept.
    let resident = std::hint::black_box(vec![1_u8; resident_bytes]);
    let mut options = ServeOptions::default();
    options.runtime_dir = Some(folder.join("run"));
    options.tcp_bind = Some(([127, 0, 0, 1], 0).into());
    let serving = Serving::start(Arc::new(Victim), options).expect("the service starts");
    println!("{}", serving.tcp_addr().expect("TCP was asked for").port());
    // Until the measuring process is gone, at the latest.
    let _end = std::io::stdin().read(&mut [0]);
    drop(serving);
    drop(resident);
    std::process::exit(0);
}

fn call_for_ever(folder: &Path) -> ! {
    let connection = connect(folder);
    let data = vec![7; 64 << 10];
    echo(&connection, &data).expect("an answer");
    println!("calling");
    let input = thread::spawn(|| std::io::stdin().read(&mut [0]));
    while !input.is_finished() {
        let _until_killed = echo(&connection, &data);
    }
    drop(connection);
    std::process::exit(0);
}

/// A process of ours in a role. When dropped it is told to end, so that it leaves its folder as it should: whoever is
/// killed leaves that to the next in the same folder, and there may be none. Killed if it does not.
pub(crate) struct Actor {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Actor {
    /// Starts it and waits for its first line.
    pub(crate) fn start(role: &str, folder: &Path) -> (Self, String) {
        let mut command = Command::new(std::env::current_exe().expect("a program has a path"));
        command.arg(role).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a process");
        let lines = BufReader::new(child.stdout.take().expect("it was asked for"));
        let mut actor = Self { child, lines };
        let line = actor.line();
        (actor, line)
    }

    /// Its next line.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it lives");
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && begun.elapsed() < LONGEST_END {
            thread::sleep(Duration::from_millis(1));
        }
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

pub(crate) fn connect(folder: &Path) -> Connection {
    let mut options = ConnectOptions::default();
    options.runtime_dir = Some(folder.join("run"));
    Connection::connect_any("shm://victim", &options).expect("a connection")
}

pub(crate) fn echo(connection: &Connection, data: &[u8]) -> Result<Reply, RpcError> {
    let service = connection.service();
    let method = service.method("echo").expect("it has one");
    connection.call_bytes_blocking(method.into(), Door::Native, data)
}

pub(crate) fn hang(connection: &Connection) -> Result<Reply, RpcError> {
    let service = connection.service();
    let method = service.method("hang").expect("it has one");
    connection.call_bytes_blocking(method.into(), Door::Json, b"[]")
}

/// The table is seen while it grows.
pub(crate) fn flush() {
    let _closed = std::io::stdout().flush();
}
