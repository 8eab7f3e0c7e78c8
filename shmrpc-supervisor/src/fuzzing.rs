//! Whatever here parses bytes of others, as functions of bytes; see `shmrpc_core::fuzzing`. Only built with the
//! feature `fuzzing`; no part of the interface.

use std::path::Path;

pub use shmrpc_core::fuzzing::Target;

use crate::{
    config::{Diagnostics, Settings},
    output::{cut, journal},
    program::read_description,
};

/// The targets of this crate.
pub const TARGETS: &[Target] = &[
    Target { name: "ini", run: ini, seeds: ini_seeds },
    Target { name: "output_lines", run: output_lines, seeds: output_seeds },
    Target { name: "describe", run: describe, seeds: describe_seeds },
];

/// All targets of the workspace.
#[must_use]
pub fn every_target() -> Vec<Target> {
    [shmrpc_core::fuzzing::TARGETS, shmrpc_web::fuzzing::TARGETS, TARGETS].concat()
}

/// An ini file. Every fault names a line of it, on one line of its own; without a fault something is to be
/// run.
fn ini(data: &[u8]) {
    let mut faults = Diagnostics::new("fuzz.ini");
    let settings = Settings::parse(data, Path::new("/base"), &mut faults);
    let lines = data.split(|&byte| byte == b'\n').count();
    for fault in faults.sorted() {
        assert!(fault.line <= lines, "line {} of {lines}", fault.line);
        let text = fault.to_string();
        assert!(!text.contains(|c: char| c.is_control() && c != '\t'), "{text:?}");
    }
    assert!(!faults.is_empty() || !settings.services.is_empty());
}

/// A stream of a worker in pieces, whose lengths are in the first bytes. The file gets every byte, and an end
/// of line at the end; lines are short; and pieces make no difference to it.
fn output_lines(data: &[u8]) {
    let (lengths, mut rest) = data.split_at(data.len().min(8));
    let mut pieces = Vec::new();
    for &length in lengths {
        let (piece, after) = rest.split_at(rest.len().min(usize::from(length)));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    let (texts, file) = cut(&pieces);
    let whole: Vec<u8> = pieces.concat();
    assert!(file.strip_prefix(&whole[..]).is_some_and(|end| end.is_empty() || end == b"\n"));
    for text in texts {
        // Each byte of a line may have become a replacement character of three.
        assert!(text.len() < 3 * (16 << 10) + 16, "{} bytes", text.len());
        let (_pid, _shown) = journal::shown(text);
    }
}

/// What a program says of itself.
fn describe(data: &[u8]) {
    let Ok(services) = read_description(data) else { return };
    for service in services {
        let _hash = service.description.table_hash();
    }
}

fn ini_seeds() -> Vec<Vec<u8>> {
    [
        "[web monitor]\nport=0\nhost=::1\nallow_hosts=a.b, c\n[defaults]\nlog_dir=logs\nbind_tcp=127.0.0.1\n\
         min_proc_num=2\nstart_timeout=1m 5s\n[Echo]\nimport_from=echo\nenv=A=1 'B=x y'\n[Echo:eu]\nimport_from=echo\n\
         port=7\nmin_proc_num=1\ntcp_bind=none\nmax_proc_mem_bytes=2 GiB\n[front end]\nprogram=sh -c 'sleep 5'\n",
        "[defaults]\nlogdir=x\nstart_timeout=fast\n[Echo]\nimport_from=a\nprogram=b\n[default]\nthreads=0\n[A:]\n\
         import_from=a\n[C]\nmin_proc_num=3\nmax_proc_num=2\ntcp_bind=127.0.0.1:80\nhost=1\n[web monitor]\nport=http\n",
        "\u{feff}# c\r\n[a b]\r\n Key = x = y # kept \r\n;c\n[c]\nempty=\nx=1\n[a b]\nno equals\n=v\n[broken\n[]\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn output_seeds() -> Vec<Vec<u8>> {
    let log = br#"{"t":1,"level":"info","pid":7,"port":1,"svc":"s","msg":"hello \u001b[31m"}"#;
    vec![
        b"\x03\x01\x05\x00\x09\x02\x02\x02one\ntwo\r\nthree \xff\xfe\nno end".to_vec(),
        [&[200; 8][..], log, b"\n", log].concat(),
        [&[255; 8][..], &[b'x'; 2100]].concat(),
    ]
}

fn describe_seeds() -> Vec<Vec<u8>> {
    let method = r#"{"id":"00000000000000ff","name":"echo","encoding":"json","shape":"unary","signature":"(V) -> V",
        "params":[["data","V"]],"returns":"V","doc":"d","idempotent":true,"read_only":false,"deadline_ms":null}"#;
    let service = format!(
        r#"[{{"struct_name":"E","name":"echo","port":5555,"max_workers":2,"doc":"x","methods":[{method}]}}]"#
    );
    let schemas = r##","schemas":{"methods":{"echo":{"arguments":[{"$ref":"#/$defs/V"},null],"reply":{}}},
        "taken":{"V":{"type":"object"}},"given":{}}}]"##;
    let telling = format!("{}{schemas}", service.strip_suffix("}]").expect("it ends so"));
    vec![service.into_bytes(), b"[]".to_vec(), telling.into_bytes()]
}
