//! The real `shmrpc`, against a service in another process: this test program, started again.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use shmrpc::{
    ServeOptions, Serving, StreamReceiver, bincode_method, json_method, msgpack_method, raw_method, service,
};

const PART: &str = "SHMRPC_COMMAND_LINE_TEST_DIR";

struct Wares;

#[service(name = "wares", port = 5990)]
impl Wares {
    /// Bytes in, bytes out.
    #[raw_method]
    fn raw(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }

    #[json_method(read_only)]
    fn json(&self, data: Value) -> Value {
        data
    }

    #[msgpack_method]
    fn add(&self, one: i64, other: i64) -> i64 {
        one + other
    }

    #[bincode_method]
    fn upper(&self, text: String) -> String {
        text.to_uppercase()
    }

    #[json_method]
    fn fail(&self) -> Result<u32, Value> {
        Err(json!({"code": 17}))
    }

    #[json_method]
    fn sleep(&self, millis: u64) {
        std::thread::sleep(Duration::from_millis(millis));
    }

    #[json_method]
    fn die(&self) {
        std::process::abort();
    }

    #[json_method]
    fn sum(&self, items: StreamReceiver<u64>) -> u64 {
        std::iter::from_fn(|| items.recv()).map_while(Result::ok).sum()
    }
}

/// Plays the service in the process that [`Stall`] starts.
#[test]
fn the_service() {
    let Some(dir) = std::env::var_os(PART) else { return };
    let mut options = ServeOptions::default();
    options.runtime_dir = Some(dir.into());
    options.tcp_bind = Some("127.0.0.1:0".parse().unwrap());
    let serving = Serving::start(Arc::new(Wares), options).unwrap();
    println!("\nserving at {}", serving.tcp_addr().unwrap());
    std::io::stdout().flush().unwrap();
    let _closed = std::io::stdin().read(&mut [0]);
    assert_eq!(serving.drain(), 0);
}

/// A service in a folder of its own, ended with the test.
struct Stall {
    folder: tempfile::TempDir,
    service: Child,
    tcp: String,
}

impl Stall {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut service = Command::new(std::env::current_exe().unwrap())
            .args(["command_line::the_service", "--exact", "--nocapture"])
            .env(PART, folder.path().join("run"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(service.stdout.as_mut().unwrap()).lines();
        let address = lines.map(Result::unwrap).find_map(|l| Some(l.strip_prefix("serving at ")?.to_owned()));
        Self { folder, service, tcp: format!("tcp://{}", address.expect("the service ended")) }
    }

    fn run(&self, args: &[&str], input: &[u8]) -> Output {
        let mut process = Command::new(env!("CARGO_BIN_EXE_shmrpc"))
            .args(args)
            .env("SHMRPC_DIR", self.folder.path().join("run"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        process.stdin.take().unwrap().write_all(input).unwrap();
        process.wait_with_output().unwrap()
    }

    fn prints(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.run(args, input);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn call(&self, args: &[&str]) -> String {
        self.call_at("shm://wares", args)
    }

    fn call_at(&self, endpoint: &str, args: &[&str]) -> String {
        let output = self.prints(&[&["call", endpoint], args].concat(), b"");
        String::from_utf8(output).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_slice(&self.prints(args, b"")).unwrap()
    }

    fn fails(&self, args: &[&str], code: i32, parts: &[&str]) {
        let output = self.run(args, b"");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        for part in parts {
            assert!(said.contains(part), "{args:?}: {said} lacks {part}");
        }
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        drop(self.service.stdin.take());
        let _reaped = self.service.wait();
    }
}

#[test]
fn answers_are_the_same_over_shared_memory_and_tcp() {
    let stall = Stall::open();
    let bytes: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
    for endpoint in ["shm://wares", &stall.tcp, &format!("shm://nobody, {}", stall.tcp)] {
        let call = |args: &[&str]| stall.call_at(endpoint, args);
        assert_eq!(call(&["json", r#"{"a":[1,null]}"#]), "{\"a\":[1,null]}\n");
        assert_eq!(call(&["add", "-40", "82"]), "42\n");
        assert_eq!(call(&["sleep", "0"]), "null\n");
        assert!(stall.prints(&["call", endpoint, "raw", "--raw", "-"], &bytes) == bytes);
        assert!(stall.prints(&["call", endpoint, "raw", "--compress", "--raw", "-"], &bytes) == bytes);
        assert_eq!(stall.prints(&["call", endpoint, "sum"], b"1\n\n20\n 300 \n"), b"321\n");
        stall.fails(&["call", endpoint, "fail"], 6, &["wares.fail", r#"{"code":17}"#]);
    }
    // The guarded encoding is for shared memory alone, unless the service's owner allows it.
    assert_eq!(stall.call(&["upper", "\"loud\""]), "\"LOUD\"\n");
    stall.fails(&["call", &stall.tcp, "upper", "\"loud\""], 4, &["upper", "force_insecure_serialisation"]);
}

#[test]
fn failures_name_what_is_at_fault_and_have_their_exit_codes() {
    let stall = Stall::open();
    stall.fails(&["call", "shm://ware", "json", "1"], 3, &["shm://ware", "did you mean wares?"]);
    stall.fails(&["call", "tcp://127.0.0.1:1", "json", "1"], 3, &["127.0.0.1:1"]);
    stall.fails(&["call", "shm://wares", "jsn", "1"], 3, &["did you mean json?"]);
    stall.fails(
        &["call", "shm://wares", "add", "1", "true"],
        2,
        &["add(one: i64, other: i64)", "expected i64"],
    );
    stall.fails(&["call", "shm://wares", "sleep", "400", "--deadline", "30ms"], 5, &["wares.sleep", "30ms"]);
    stall.fails(&["call", "shm://wares", "die"], 7, &["wares", "die"]);
    // The service is dead, and its last client gone: neither has left anything.
    let left: Vec<_> = std::fs::read_dir(stall.folder.path().join("run")).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn services_and_methods_are_listed() {
    let stall = Stall::open();
    stall.call(&["add", "1", "2"]);
    let services = stall.json(&["services", "--json"]);
    assert_eq!(services.as_array().unwrap().len(), 1);
    assert_eq!((&services[0]["name"], &services[0]["struct_name"]), (&json!("wares"), &json!("Wares")));
    assert_eq!(services[0]["pids"], json!([stall.service.id()]));
    assert_eq!((&services[0]["calls"], &services[0]["errors"]), (&json!(1), &json!(0)));
    let table = String::from_utf8(stall.prints(&["services"], b"")).unwrap();
    assert!(table.lines().nth(1).unwrap().starts_with("wares "), "{table}");
    let methods = stall.json(&["methods", "shm://wares", "--json"]);
    assert_eq!(methods["methods"][2]["signature"], "(i64, i64) -> i64");
    let table = String::from_utf8(stall.prints(&["methods", "shm://wares"], b"")).unwrap();
    assert!(table.contains("Bytes in, bytes out."), "{table}");
}

#[test]
fn a_bench_counts_what_its_clients_did() {
    let stall = Stall::open();
    for (method, in_flight) in [("raw", "1"), ("raw", "8"), ("json", "4"), ("upper", "2")] {
        let report = stall.json(&[
            "bench",
            "shm://wares",
            method,
            "--size",
            "100",
            "--in-flight",
            in_flight,
            "--clients",
            "2",
            "--seconds",
            "0.3",
            "--json",
        ]);
        let number = |key: &str| report[key].as_f64().unwrap_or_else(|| panic!("no {key} in {report}"));
        assert!(number("calls") >= 2.0 && number("calls_per_s") > 0.0, "{report}");
        assert!(number("bytes_per_s") >= 200.0 * number("calls_per_s") * 0.99, "{report}");
        assert!(number("p50_ns") <= number("p99_ns") && number("p99_ns") <= number("p999_ns"), "{report}");
        assert!(number("p999_ns") <= number("max_ns") && number("errors") == 0.0, "{report}");
    }
    let report = stall.json(&["bench", "shm://wares", "fail", "--seconds", "0.1", "--json"]);
    assert_eq!(report["calls"], 0);
    assert!(report["errors"].as_u64() > Some(0) && report["first_error"] == r#"{"code":17}"#, "{report}");
    stall.fails(&["bench", "shm://wares", "add"], 2, &["add(one: i64, other: i64)"]);
}
