//! The rows of the fault matrix that a TCP peer can cause, by their names. Silence of a server is in
//! `restarts`, what is merely malformed in `hostile`.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use shmrpc_core::{
    ConnectOptions, Connection, NoError, Status,
    frame::{Frame, Header, Kind, flags, handshake::Hello},
};

use super::{Tcp, hostile::Raw};
use crate::{
    service::{ECHO, eventually},
    suite::Harness,
};

fn echo(client: &Connection) {
    assert_eq!(client.call_raw_blocking::<NoError>(ECHO, b"alive").unwrap(), b"alive");
}

/// The ends of a connection that the kernel keeps watch over, out of /proc/net/tcp.
fn watched_ends(a: SocketAddr, b: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ports = [format!(":{:04X}", a.port()), format!(":{:04X}", b.port())];
    let is_ours = |fields: &[&str]| {
        ports.iter().any(|port| fields[1].ends_with(port))
            && ports.iter().any(|port| fields[2].ends_with(port))
    };
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.len() > 5 && is_ours(fields))
        // The timer that runs: 2 is that of keep-alive.
        .filter(|fields| fields[5].starts_with("02:"))
        .count()
}

/// A peer whose machine is gone says nothing, not even goodbye. No packet can be lost over loopback, so what
/// is looked at is that the kernel asks, at the server's end of a client that does not.
#[test]
fn half_open_tcp_peer() {
    let server = Tcp::start();
    let raw = Raw::introduced(&server);
    let (from, to) = (raw.0.local_addr().unwrap(), raw.0.peer_addr().unwrap());
    eventually("the server's end is watched", || watched_ends(from, to) == 1);
}

/// Says to a child process that it is the server of [`ten_thousand_idle_tcp_connections`], and of how many.
const PART: &str = "SHMRPC_TEST_IDLE_CONNECTIONS";
/// What ten thousand of them may cost the server.
const MOST_BYTES: u64 = 200 << 20;

/// Has this process open so many files, or as many as it may.
fn raise_descriptors(wanted: u64) -> u64 {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let most = hard.min(wanted).max(soft);
    setrlimit(Resource::RLIMIT_NOFILE, most, hard).unwrap();
    most
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

/// Plays the server in a process that nothing else happens in, so that its memory tells of the connections alone.
/// Answers each line of its input with how many connections there are, and its memory.
#[test]
fn the_server_of_idle_connections() {
    let Some(count) = std::env::var(PART).ok().and_then(|count| count.parse::<usize>().ok()) else { return };
    raise_descriptors(count as u64 + 2000);
    let server = Tcp::with(|options| options.max_connections = count + 1);
    echo(&server.connect());
    println!("\nserving at {}", server.address());
    for _line in std::io::stdin().lines().map_while(Result::ok) {
        println!("has {} {}", server.connections(), resident_bytes());
    }
}

struct Server {
    process: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Server {
    fn start(count: usize) -> (Self, SocketAddr) {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["tcp::faults::the_server_of_idle_connections", "--exact", "--nocapture"])
            .env(PART, count.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut server = Self { process, said };
        let address = server.hear("serving at ").parse().unwrap();
        (server, address)
    }

    /// The rest of the next line that begins so.
    fn hear(&mut self, beginning: &str) -> String {
        let mut lines = self.said.by_ref().map(Result::unwrap);
        lines.find_map(|line| Some(line.strip_prefix(beginning)?.to_owned())).expect("the server ended")
    }

    /// How many connections it has, and how much memory.
    fn has(&mut self) -> (usize, u64) {
        self.process.stdin.as_mut().unwrap().write_all(b"?\n").unwrap();
        let answer = self.hear("has ");
        let (connections, bytes) = answer.split_once(' ').unwrap();
        (connections.parse().unwrap(), bytes.parse().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone_already = self.process.kill();
        let _status = self.process.wait();
    }
}

/// The server's ends are in a process of their own, the clients' in this one: as many as the limits on descriptors
/// allow. How long calls beside them take is for `benches/faults`.
#[test]
fn ten_thousand_idle_tcp_connections() {
    let wanted = 10_000;
    let most = raise_descriptors(2 * wanted + 4000);
    let count = usize::try_from(wanted.min(most.saturating_sub(2000))).unwrap();
    if (count as u64) < wanted {
        println!("{count} connections only: the limit on descriptors is {most}");
    }
    let (mut server, address) = Server::start(count);
    eventually("its own client has gone", || server.has().0 == 0);
    let (_, before_bytes) = server.has();
    let connect = || Connection::connect_any(format!("tcp://{address}"), &ConnectOptions::default());
    let client = connect().unwrap();
    let mut idle = Vec::with_capacity(count);
    thread::scope(|scope| {
        let opened: Vec<_> = (0..8)
            .map(|part| {
                let share = count / 8 + usize::from(part < count % 8);
                scope.spawn(move || (0..share).map(|_| Raw::introduced_at(address)).collect::<Vec<_>>())
            })
            .collect();
        opened.into_iter().for_each(|part| idle.extend(part.join().unwrap()));
    });
    let (connections, bytes) = server.has();
    assert_eq!(connections, count + 1);
    println!(
        "{count} idle connections: {} KiB each",
        (bytes.saturating_sub(before_bytes) >> 10) / count as u64
    );
    assert!(bytes < MOST_BYTES, "{count} idle connections and {bytes} bytes resident");
    (0..100).for_each(|_| echo(&client));
    // One more is told why not.
    let mut refused = Raw::connect_at(address);
    assert!(matches!(refused.recv(), Some(Frame::Refuse { status: Status::Busy, .. })));
    // The idle ones are served as soon as they are not.
    for raw in idle.iter_mut().step_by(997) {
        raw.call(1, ECHO.id(), b"x");
        assert_eq!(raw.reply().1, Status::Ok);
    }
    drop(idle);
    eventually("they are forgotten", || server.has().0 == 1);
    echo(&client);
}

/// Peers that send a byte now and then hold nobody else up, and are sent away.
#[test]
fn slowloris_frames() {
    let server = Tcp::with(|options| options.frame_timeout = Duration::from_millis(300));
    let client = server.connect();
    thread::scope(|scope| {
        for _ in 0..20 {
            let server = &server;
            scope.spawn(move || {
                let mut raw = Raw::introduced(server);
                let header = Header { body_bytes: 60_000, kind: Kind::Call, flags: 0, code: 0, id: 1 };
                let bytes = [&header.encode()[..], &[0; 60_000]].concat();
                // It ends long before all of them are sent: at one each ten milliseconds in ten minutes.
                for byte in &bytes {
                    if raw.0.write_all(&[*byte]).is_err() {
                        break;
                    }
                    thread::sleep(Duration::from_millis(10));
                    if server.connections() == 1 {
                        break;
                    }
                }
                let last = raw.recv();
                assert!(
                    matches!(last, None | Some(Frame::GoAway { status: Status::Protocol, .. })),
                    "{last:?} in place of the end"
                );
            });
        }
        for _ in 0..50 {
            echo(&client);
            thread::sleep(Duration::from_millis(10));
        }
    });
    eventually("they are forgotten", || server.connections() == 1);
}

#[test]
fn frame_over_the_limit() {
    let server = Tcp::start();
    let mut raw = Raw::introduced(&server);
    // What can be told from the header ends the connection or skips the body; nothing is kept of either.
    let body_bytes = 17 << 20;
    let header = Header { body_bytes, kind: Kind::Call, flags: 0, code: 0, id: 1 };
    raw.0.write_all(&header.encode()).unwrap();
    for _ in 0..17 {
        raw.0.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let (id, status, text) = raw.reply();
    assert_eq!((id, status), (1, Status::TooLarge), "{text:?}");
    raw.call(2, ECHO.id(), b"on");
    assert_eq!(raw.reply().1, Status::Ok);
    let header = Header { body_bytes: u32::MAX, kind: Kind::Cancel, flags: 0, code: 0, id: 1 };
    raw.0.write_all(&header.encode()).unwrap();
    drop(raw);
    echo(&server.connect());
}

/// Six bytes that claim four gibibytes: the claim is compared with the limit, and that call alone fails.
#[test]
fn decompression_bomb() {
    let server = Tcp::start();
    let mut raw = Raw::connect(&server);
    let mut hello = Hello::new(None);
    hello.compression.push("snappy".into());
    raw.send(Frame::Hello(serde_json::to_vec(&hello).unwrap().into()));
    assert!(matches!(raw.recv(), Some(Frame::Welcome(_))));
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    for id in 1..=100 {
        let header = Header { body_bytes: 26, kind: Kind::Call, flags: flags::COMPRESSED, code: 0, id };
        let mut bytes = header.encode().to_vec();
        bytes.extend_from_slice(&ECHO.id().0.to_le_bytes());
        bytes.extend_from_slice(&[0; 12]);
        bytes.extend_from_slice(&bomb);
        raw.0.write_all(&bytes).unwrap();
        let (answered, status, text) = raw.reply();
        assert_eq!((answered, status), (id, Status::TooLarge), "{text:?}");
    }
    let options = ConnectOptions::default();
    echo(&Connection::connect_any(format!("tcp://{}", server.address()), &options).unwrap());
}
