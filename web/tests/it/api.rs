//! The OpenAPI document held against what is answered in front of the imagined daemon, whose methods take every form;
//! shmrpc-supervisor's tests do the same to the real one.

use crate::{schemathesis, server::TestServer};

/// Streams have no end; orders to the daemon would end the test; some methods of the imagined service fail on purpose, and
/// all of them while it is stopped; bodies of lines are none that the tool can write.
const LEFT_OUT: &str = "stream$|shutdown|hand-over|\\{action\\}|\\{method\\}|methods/(die|panic|busy|big|sleep|fail|fail_msgpack|refuse|pour|swap)$";

#[test]
fn the_document_says_all_that_is_answered() {
    let Some(program) = schemathesis::program("the_document_says_all_that_is_answered") else { return };
    let server = TestServer::start();
    let arguments = ["--exclude-path-regex", LEFT_OUT, "--max-examples", "30"];
    schemathesis::run(&program, server.address, "", &arguments);
}
