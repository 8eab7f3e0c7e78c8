//! Requests made out of a daemon's OpenAPI document by schemathesis, right and wrong ones; each answer is held against it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const CHECKS: &str =
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

/// The program; where there is none the test is skipped, and says so, or fails if `SHMRPC_REQUIRE_SCHEMATHESIS=1`.
pub(crate) fn program(test: &str) -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/page-tools/python/bin/schemathesis");
    if program.is_file() {
        return Some(program);
    }
    let required = std::env::var_os("SHMRPC_REQUIRE_SCHEMATHESIS").is_some_and(|value| value == "1");
    assert!(!required, "{} is required (.ci/deep api)", program.display());
    eprintln!("SKIPPED {test}: no schemathesis (.ci/deep api)");
    None
}

/// Tries the addresses that arguments choose; `settings` are those of its own file. Panics with what it says if any
/// answer is not as the document has it.
pub(crate) fn run(program: &Path, address: SocketAddr, settings: &str, arguments: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("schemathesis.toml"), settings).unwrap();
    let output = Command::new(program)
        .current_dir(folder.path())
        .args(["run", &format!("http://{address}/api/v1/openapi.json"), "--checks", CHECKS])
        .args(["--phases", "examples,coverage,fuzzing", "--seed", "1", "--no-color"])
        .args(["--generation-database", "none"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("it can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = said.lines().collect();
    eprintln!("{}", lines[lines.len().saturating_sub(12)..].join("\n"));
}
