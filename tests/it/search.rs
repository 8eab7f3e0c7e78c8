//! The search example as its users run it: one service with the index, a front end of two processes, HTTP.

// The index's own tests run here: an example that has tests is not built as a program by `cargo test`.
#[path = "../../examples/search_server/api.rs"]
#[allow(dead_code, reason = "the index needs one type of it")]
mod api;
#[path = "../../examples/search_server/index.rs"]
#[allow(dead_code, reason = "its tests are what is wanted")]
mod index;

use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::cargo::cargo;

const PATIENCE: Duration = Duration::from_secs(30);

/// A folder of this test's own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("shmrpc_search_{}", std::process::id()));
        fs::create_dir_all(path.join("texts")).unwrap();
        fs::write(path.join("texts/ring.txt"), "first line\nA ring of slots.\n").unwrap();
        fs::write(path.join("texts/lock.txt"), "A lock between processes.\n").unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left_for_the_system = fs::remove_dir_all(&self.0);
    }
}

/// Where an example is. `cargo test` builds examples, `cargo test --test it` does not.
fn program(name: &str) -> PathBuf {
    let me = std::env::current_exe().unwrap();
    let program = me.ancestors().nth(2).unwrap().join("examples").join(name);
    if !program.exists() {
        let mut build = cargo();
        build.args(["build", "--workspace", "--example", name]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success());
    }
    program
}

/// An example program; asked to stop at the end.
struct Program(Child);

impl Program {
    fn start(name: &str, args: &[&str], folder: &Folder) -> Self {
        let program = program(name);
        let child = Command::new(&program)
            .args(args)
            .env("SHMRPC_DIR", folder.0.join("run"))
            .env("SEARCH_FOLDER", folder.0.join("texts"))
            .stdout(Stdio::piped())
            .spawn();
        Self(child.unwrap_or_else(|error| panic!("{}: {error}", program.display())))
    }

    /// The rest of the first line that has this text.
    fn said(&mut self, text: &str) -> String {
        let lines = BufReader::new(self.0.stdout.as_mut().unwrap()).lines();
        let line = lines.map(Result::unwrap).find_map(|line| Some(line.split_once(text)?.1.to_owned()));
        line.unwrap_or_else(|| panic!("it never said {text:?}"))
    }

    fn stop(mut self) {
        self.terminate();
        assert!(self.0.wait().unwrap().success());
    }

    fn terminate(&self) {
        let pid = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        let _ended_already = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.terminate();
            let _reaped = self.0.wait();
        }
    }
}

fn http(address: &str, path: &str) -> Value {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (_, body) = reply.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {reply}"))
}

#[test]
fn several_front_ends_share_one_index() {
    let folder = Folder::new();
    let mut server = Program::start("search_server", &["--serve"], &folder);
    assert!(server.said("indexed ").starts_with("2 files"));
    let mut front = Program::start("search_front", &["--port", "0"], &folder);
    let address = front.said("http://").split('/').next().unwrap().to_owned();

    let until = Instant::now() + PATIENCE;
    let (mut fronts, mut indexes) = (HashSet::new(), HashSet::new());
    // Which process takes a connection is the kernel's choice.
    while fronts.len() < 2 {
        assert!(Instant::now() < until, "only {fronts:?} answered");
        let stats = http(&address, "/stats");
        fronts.insert(stats["front_pid"].as_u64().unwrap());
        indexes.insert(stats["index"]["pid"].as_u64().unwrap());
    }
    assert_eq!(indexes, HashSet::from([u64::from(server.0.id())]));

    let answer = http(&address, "/search?q=slots%20RING&limit=5");
    let hits = answer["hits"].as_array().unwrap();
    assert_eq!(hits.len(), 1, "{answer}");
    assert_eq!((&hits[0]["path"], &hits[0]["line"]), (&"ring.txt".into(), &2.into()));
    assert_eq!(hits[0]["snippet"], "A ring of slots.");
    assert_eq!(http(&address, "/search?q=nothing")["hits"], Value::Array(Vec::new()));

    front.stop();
    server.stop();
}
