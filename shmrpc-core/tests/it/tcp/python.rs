//! The client in another language, against a gateway of ours.

use std::{
    ffi::OsStr,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use super::Tcp;
use crate::suite::{Harness, calls::pattern};

/// Runs the client; `None` where there is no Python.
fn python(server: &Tcp, args: &[&str], stdin: &[u8]) -> Option<Output> {
    python_with(server, args, stdin, "")
}

fn python_with(server: &Tcp, args: &[&str], stdin: &[u8], secret: &str) -> Option<Output> {
    python_by(server, args, stdin, &[("SHMRPC_SECRET", secret.as_ref())])
}

/// The same with that environment.
pub(super) fn python_by(server: &Tcp, args: &[&str], stdin: &[u8], env: &[(&str, &OsStr)]) -> Option<Output> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/python/shmrpc_client.py");
    let child = Command::new("python3")
        .arg(script)
        .arg(server.address().to_string())
        .args(args)
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            println!("not tested: python3 cannot be started: {error}");
            return None;
        }
    };
    // A client that fails at once reads nothing.
    let _closed_early = child.stdin.take().unwrap().write_all(stdin);
    Some(child.wait_with_output().unwrap())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn json_and_raw_methods() {
    let server = Tcp::start();
    let Some(methods) = python(&server, &[], b"") else { return };
    assert!(text(&methods.stdout).contains("echo_json  json unary"), "{methods:?}");

    let value = r#"{"a": [1, 2.5, null], "b": "ü"}"#;
    for (method, value) in
        [("echo_json", value), ("echo_msgpack", r#"{"x": 5, "label": null}"#), ("sleep", "10")]
    {
        let output = python(&server, &[method, value], b"").unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout).trim(), value);
    }
    let data = pattern(3_000_000, 7);
    let output = python(&server, &["echo", "--raw"], &data).unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(output.stdout == data, "three megabytes came back changed");
}

#[test]
fn errors_are_told_clearly() {
    let server = Tcp::with(|options| options.force_insecure_serialisation = false);
    for (args, expected) in [
        (&["nothing"][..], "no such method: bench has no nothing without streams; it has echo"),
        (&["fails", "7"], "ServiceError: {'NotToday': {'code': 7}}"),
        (&["panics"], "panicked: on purpose"),
        (&["sleep", "\"no\""], "bad arguments: json decoding"),
        (&["echo_bincode", "{}"], "refused: bench.echo_bincode uses bincode"),
        (&["echo", "1"], "bad arguments: echo takes bytes"),
        (&["sleep", "{"], "JSONDecodeError"),
    ] {
        let Some(output) = python(&server, args, b"") else { return };
        assert!(!output.status.success());
        let told = text(&output.stderr);
        assert!(told.contains(expected), "{args:?}: {told}");
    }
}

#[test]
fn the_shared_secret_is_proved() {
    const SECRET: &str = "a secret of the tests alone";
    let server = Tcp::with(|options| options.secret = Some(shmrpc_core::Secret::new(SECRET).unwrap()));
    let Some(output) = python_with(&server, &["sleep", "1"], b"", SECRET) else { return };
    assert!(output.status.success(), "{}", text(&output.stderr));
    for (secret, expected) in [("", "asked for"), ("another secret than that", "not the shared secret")] {
        let output = python_with(&server, &["sleep", "1"], b"", secret).unwrap();
        assert!(text(&output.stderr).contains(expected), "{output:?}");
    }
    let output = python_with(&Tcp::start(), &["sleep", "1"], b"", SECRET).unwrap();
    assert!(text(&output.stderr).contains("does not ask for the shared secret"), "{output:?}");
}
