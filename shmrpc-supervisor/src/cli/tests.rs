//! Commands as users type them, against a service in this process.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use clap::Parser;
use shmrpc_core::{
    Encoding, NoError, NoItems, Published, Service, codec,
    error::Status,
    method::{MethodInfo, ParamInfo, ServiceInfo, Shape, method_id},
    publish,
    server::{IncomingCall, glue},
};

use super::{args::Args, execute, failure::Failure};

const fn method(
    name: &'static str,
    encoding: Encoding,
    params: &'static [ParamInfo],
    shape: Shape,
) -> MethodInfo {
    let signature = "(Value) -> Value";
    MethodInfo {
        id: method_id(name, encoding, shape, signature),
        name,
        encoding,
        shape,
        signature,
        params,
        returns: "Value",
        doc: "Gives back what it is given.",
        idempotent: true,
        read_only: false,
        deadline: None,
    }
}

const DATA: &[ParamInfo] = &[ParamInfo { name: "data", ty: "Value" }];

static INFO: ServiceInfo = ServiceInfo {
    struct_name: "CliEcho",
    name: "cli_echo",
    port: 5999,
    max_workers: None,
    doc: "",
    methods: &[
        method("echo_json", Encoding::Json, DATA, Shape::Unary),
        method("echo_raw", Encoding::Raw, DATA, Shape::Unary),
        method("fail", Encoding::Msgpack, &[], Shape::Unary),
        method("sleep", Encoding::Json, &[], Shape::Unary),
        method("count", Encoding::Json, DATA, Shape::Download),
    ],
};

struct CliEcho;

impl Service for CliEcho {
    fn info(&self) -> &'static ServiceInfo {
        &INFO
    }

    fn dispatch(self: Arc<Self>, method: usize, call: IncomingCall<'_>) {
        match method {
            0 => glue::unary::<codec::Json, (serde_json::Value,), serde_json::Value, NoError>(call, |(v,)| {
                Ok(v)
            }),
            1 => glue::raw::<Vec<u8>, NoError>(call, |data| Ok(data.to_vec())),
            2 => glue::unary::<codec::Msgpack, [(); 0], (), String>(call, |_| Err("no milk".into())),
            3 => glue::unary::<codec::Json, [(); 0], (), NoError>(call, |_| {
                std::thread::sleep(Duration::from_millis(200));
                Ok(())
            }),
            4 => glue::stream::<codec::Json, (u32,), u32, NoItems, String, NoError>(
                call,
                |(count,), out, _| {
                    (0..count).take_while(|number| out.send(number).is_ok()).for_each(drop);
                    Ok("done".into())
                },
            ),
            _ => call.into_parts().1.fail(Status::NoSuchMethod, "no"),
        }
    }
}

fn shmrpc(args: &[&str]) -> Result<String, Failure> {
    static PUBLISHED: OnceLock<Published> = OnceLock::new();
    PUBLISHED.get_or_init(|| publish(CliEcho));
    let mut out = Vec::new();
    let args = Args::try_parse_from([&["shmrpc"], args].concat()).expect("arguments are understood");
    execute(&args, &mut out)?;
    Ok(String::from_utf8(out).expect("output is text"))
}

fn failed(args: &[&str], code: u8, parts: &[&str]) {
    let failure = shmrpc(args).unwrap_err();
    let text = failure.to_string();
    assert_eq!(failure.code(), code, "{text}");
    for part in parts {
        assert!(text.contains(part), "{text} lacks {part}");
    }
}

const HERE: &str = "inproc://cli_echo";

#[test]
fn replies_are_printed_as_json() {
    let reply = shmrpc(&["call", HERE, "echo_json", r#"{"b": [1.50, -2], "a": null}"#]).unwrap();
    let value: serde_json::Value = serde_json::from_str(&reply).unwrap();
    assert_eq!(value, serde_json::json!({"b": [1.5, -2], "a": null}));
    assert!(reply.ends_with('\n'));
    assert_eq!(shmrpc(&["call", HERE, "echo_json", "-7"]).unwrap(), "-7\n");
}

#[test]
fn raw_replies_are_the_bytes_alone() {
    let path = std::env::temp_dir().join(format!("shmrpc_cli_raw_{}", std::process::id()));
    std::fs::write(&path, "two\nlines").unwrap();
    let reply = shmrpc(&["call", HERE, "echo_raw", "--raw", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(reply.unwrap(), "two\nlines");
    failed(&["call", HERE, "echo_raw", "--raw", path.to_str().unwrap()], 2, &[path.to_str().unwrap()]);
}

#[test]
fn what_is_wrong_is_named_and_has_its_exit_code() {
    failed(&["call", HERE, "echo_jsn", "1"], 3, &["cli_echo", "echo_jsn", "did you mean echo_json?"]);
    failed(&["call", "inproc://cli_nobody", "echo", "1"], 3, &["cli_nobody"]);
    failed(&["call", "udp://x", "echo", "1"], 2, &["udp://x"]);
    failed(&["call", "shm://", "echo", "1"], 2, &["shm://NAME"]);
    failed(&["call", "tcp://localhost", "echo", "1"], 2, &["tcp://localhost:PORT"]);
    failed(&["call", HERE, "echo_json", "hello"], 2, &["argument 1", "'\"hello\"'"]);
    failed(&["call", HERE, "echo_json"], 2, &["takes 1 argument, not 0", "data: Value"]);
    failed(&["call", HERE, "echo_raw", "1"], 2, &["--raw"]);
    failed(&["call", HERE, "echo_json", "--raw", "-"], 2, &["json method"]);
    failed(&["call", HERE, "count"], 2, &["takes 1 argument"]);
    failed(&["bench", HERE, "count"], 2, &["stream"]);
    failed(&["call", HERE, "fail"], 6, &["cli_echo.fail", "no milk"]);
    failed(&["call", HERE, "sleep", "--deadline", "20ms"], 5, &["sleep", "20ms"]);
    failed(&["bench", HERE, "echo_jsn"], 3, &["did you mean echo_json?"]);
}

#[test]
fn items_are_lines_and_the_reply_is_the_last() {
    assert_eq!(shmrpc(&["call", HERE, "count", "3"]).unwrap(), "0\n1\n2\n\"done\"\n");
}

#[test]
fn methods_are_listed() {
    let table = shmrpc(&["methods", HERE]).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 6, "{table}");
    assert!(lines[0].starts_with("METHOD "), "{table}");
    for part in ["echo_raw", "raw", "unary", "(Value) -> Value", "idempotent", "Gives back what it is given."]
    {
        assert!(lines[2].contains(part), "{table}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&shmrpc(&["methods", HERE, "--json"]).unwrap()).unwrap();
    assert_eq!(json["name"], "cli_echo");
    assert_eq!(json["methods"][4]["shape"], "download");
}

#[test]
fn a_folder_without_services_has_none() {
    let folder = std::env::temp_dir().join(format!("shmrpc_cli_nothing_{}", std::process::id()));
    let json = shmrpc(&["services", "--json", "--runtime-dir", folder.to_str().unwrap()]).unwrap();
    assert_eq!(json, "[]\n");
    assert!(!folder.exists());
}
