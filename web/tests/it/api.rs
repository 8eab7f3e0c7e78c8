//! The OpenAPI document held against what is answered: schemathesis makes requests out of it, right and wrong ones.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::server::TestServer;

/// Streams have no end; orders to the daemon would end the test; some methods of the imagined service fail on purpose, and
/// all of them while it is stopped.
const LEFT_OUT: &str = "stream$|shutdown|hand-over|\\{action\\}|\\{method\\}|methods/(die|panic|busy|big|sleep|fail|fail_msgpack|refuse|pour)$";

#[test]
fn the_document_says_all_that_is_answered() {
    let name = "the_document_says_all_that_is_answered";
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/page-tools/python/bin/schemathesis");
    if !program.is_file() {
        let required = std::env::var_os("SHMRPC_REQUIRE_SCHEMATHESIS").is_some_and(|value| value == "1");
        assert!(!required, "{} is required (.ci/deep api)", program.display());
        eprintln!("SKIPPED {name}: no schemathesis (.ci/deep api)");
        return;
    }
    let server = TestServer::start();
    let output = Command::new(program)
        .current_dir(tempfile::tempdir().unwrap().path())
        .args(["run", &format!("http://{}/api/v1/openapi.json", server.address)])
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ])
        .args(["--exclude-path-regex", LEFT_OUT, "--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", "30", "--seed", "1", "--generation-database", "none", "--no-color"])
        .stdin(Stdio::null())
        .output()
        .expect("it can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    eprintln!(
        "{}",
        said.lines().rev().take(12).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    );
}
