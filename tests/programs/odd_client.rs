//! A client program for the process tests: `fork` calls before, in and after a forked child; `static` keeps
//! its connection in a static and ends without dropping it.
#![expect(unsafe_code, reason = "forking a process that has threads")]

use std::{process::ExitCode, sync::OnceLock};

use nix::{
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, fork},
};
use shmrpc::{ConnectOptions, Connection, Door, RpcError, client::Target};

static CLIENT: OnceLock<Connection> = OnceLock::new();

fn connect() -> Connection {
    Connection::connect_any("shm://torture", &ConnectOptions::default()).expect("connected")
}

fn echo(client: &Connection, data: &[u8]) -> Result<Vec<u8>, RpcError> {
    let service = client.service();
    let target = Target::from(service.method("echo_raw").expect("the service has it"));
    client.call_bytes_blocking(target, Door::Native, data).map(|reply| reply.body)
}

fn keep() {
    let client = CLIENT.get_or_init(connect);
    assert_eq!(echo(client, b"kept").expect("answered"), b"kept");
}

fn fork_and_call() {
    let client = connect();
    assert_eq!(echo(&client, b"before").expect("answered"), b"before");
    let service = client.service();
    let hang = Target::from(service.method("hang").expect("the service has it"));
    let pending = client.begin(hang, Door::Json, b"[300]").expect("begun");
    // SAFETY: the child only looks at memory, makes system calls, and ends; no lock of the client is held by
    // another thread of this program, which makes no call at this moment.
    match unsafe { fork() }.expect("forked") {
        ForkResult::Child => {
            let begun = echo(&client, b"child");
            let waited = pending.wait();
            drop(client);
            let told = |error: &RpcError| matches!(error, RpcError::Forked { .. });
            let right = begun.is_err_and(|e| told(&e)) && waited.is_err_and(|e| told(&e));
            // In the ordinary way, so that what runs at exit is tried too.
            std::process::exit(if right { 0 } else { 3 });
        }
        ForkResult::Parent { child } => {
            for round in 0..500_u32 {
                assert_eq!(echo(&client, &round.to_le_bytes()).expect("answered"), round.to_le_bytes());
            }
            assert_eq!(waitpid(child, None).expect("our child"), WaitStatus::Exited(child, 0));
            assert_eq!(echo(&client, b"after").expect("answered"), b"after");
            pending.wait().expect("the call that was under way");
        }
    }
}

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("fork") => fork_and_call(),
        Some("static") => keep(),
        _ => {
            eprintln!("usage: odd_client fork|static");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
