//! One 64-byte echo at a time between two processes: shmrpc over shared memory and over TCP, against a bare
//! Unix socket in the same run. `cargo bench` prints a table of medians and ratios; absolute figures hold
//! for the machine and the hour only.
//!
//! Rounds are interleaved, so that a machine that is slow for a while is slow for all.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use shmrpc::{ConnectOptions, ServeOptions, Serving, raw_method, service};

struct Echo;

#[service(name = "bench_echo", port = 5598)]
impl Echo {
    #[raw_method]
    fn echo(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }
}

const SERVER: &str = "SHMRPC_BENCH_SERVER";
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(400);
const MESSAGE: [u8; 64] = [7; 64];

fn main() {
    match std::env::var_os(SERVER) {
        Some(folder) => serve(Path::new(&folder)),
        None => measure(),
    }
}

/// The other process: answers on a Unix socket, over TCP and over shared memory, until it is killed.
fn serve(folder: &Path) {
    let listener = UnixListener::bind(folder.join("bare.sock")).expect("a socket in a fresh folder");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut message = [0; 64];
            while stream.read_exact(&mut message).is_ok() && stream.write_all(&message).is_ok() {}
        }
    });
    let mut options = ServeOptions::default();
    options.runtime_dir = Some(folder.join("run"));
    options.threads = 1;
    options.tcp_bind = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let serving = Serving::start(std::sync::Arc::new(Echo), options).expect("the service starts");
    println!("{}", serving.tcp_addr().expect("TCP was asked for").port());
    loop {
        std::thread::park();
    }
}

/// Ends the other process, and removes what it served in.
struct Server {
    child: Child,
    folder: std::path::PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What the kill has left: the next observer of the folder sweeps it.
        let role = shmrpc::observe::ObserverRole::Spectator;
        drop(shmrpc::observe::Observer::join(&self.folder.join("run"), role));
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn measure() {
    let folder = std::env::temp_dir().join(format!("shmrpc-bench-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a fresh folder");
    let program = std::env::current_exe().expect("a bench has a path");
    let mut command = Command::new(program);
    command.env(SERVER, &folder).stdout(Stdio::piped());
    let mut server = Server { child: command.spawn().expect("the server starts"), folder };
    let mut port = String::new();
    let mut output = std::io::BufReader::new(server.child.stdout.take().expect("it is piped"));
    std::io::BufRead::read_line(&mut output, &mut port).expect("the server says its port");

    let mut options = ConnectOptions::default();
    options.runtime_dir = Some(server.folder.join("run"));
    let shm = EchoBlockingClient::connect_with("shm://", &options).expect("shared memory");
    let tcp = format!("tcp://127.0.0.1:{}", port.trim());
    let tcp = EchoBlockingClient::connect_with(tcp.as_str(), &options).expect("TCP");
    let mut bare = UnixStream::connect(server.folder.join("bare.sock")).expect("the bare socket");

    let mut means = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        means[0].push(round(|| {
            let mut reply = [0; 64];
            bare.write_all(&MESSAGE).expect("sent");
            bare.read_exact(&mut reply).expect("answered");
        }));
        means[1].push(round(|| drop(shm.echo(&MESSAGE).expect("answered"))));
        means[2].push(round(|| drop(tcp.echo(&MESSAGE).expect("answered"))));
    }
    let [bare, shm, tcp] = means.map(median);
    println!("| 64 B echo, one at a time, two processes | mean ns | of a bare Unix socket |");
    println!("|---|--:|--:|");
    for (name, mean) in [("bare Unix socket", bare), ("shmrpc, shared memory", shm), ("shmrpc, TCP", tcp)] {
        println!("| {name} | {mean:.0} | {:.3} |", mean / bare);
    }
}

/// The mean time of a call over one round, after a tenth of it as warm-up; no clock within.
fn round(mut call: impl FnMut()) -> f64 {
    let warm = Instant::now();
    while warm.elapsed() < ROUND / 10 {
        call();
    }
    let (mut calls, began) = (0_u32, Instant::now());
    while began.elapsed() < ROUND {
        for _ in 0..100 {
            call();
        }
        calls += 100;
    }
    began.elapsed().as_nanos() as f64 / f64::from(calls)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
