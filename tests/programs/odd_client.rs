//! A client program for the process tests: `fork` calls before, in and after a forked child; `static` keeps
//! its connection in a static and ends without dropping it; `sleep` waits for slow answers; `crowded` has little memory; `clock` looks at how long
//! things take while its clock is moved.
#![expect(unsafe_code, reason = "forking a process that has threads")]

use std::{
    process::ExitCode,
    sync::OnceLock,
    time::{Duration, Instant, SystemTime},
};

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

/// No file may be as large as what is asked for: regions are files.
fn crowded() {
    let client = connect();
    assert_eq!(echo(&client, &[1; 60_000]).expect("answered"), [1; 60_000]);
    for _ in 0..10 {
        let error = echo(&client, &[2; 4 << 20]).expect_err("there is no room for it");
        let RpcError::NoSpace(text) = &error else { panic!("{error}") };
        assert!(text.contains("8388608 bytes"), "it says how much: {text}");
        assert_eq!(echo(&client, &[3; 60_000]).expect("answered"), [3; 60_000]);
    }
}

/// Ten times what a deadline may be late.
const LATE: Duration = Duration::from_millis(200);

fn clock() {
    let (clock, began) = (SystemTime::now(), Instant::now());
    let moved = (0..10).map(|_| SystemTime::now()).any(|now| match now.duration_since(clock) {
        Ok(later) => later > Duration::from_secs(3600),
        Err(earlier) => earlier.duration() > Duration::from_secs(3600),
    });
    assert!(moved && began.elapsed() < Duration::from_secs(60), "this test needs a clock that moves");
    let client = connect();
    let service = client.service();
    let hang = Target::from(service.method("hang").expect("the service has it"));
    for round in 0..5 {
        let began = Instant::now();
        let answered = client.with_deadline(Duration::from_secs(20));
        answered.call_bytes_blocking(hang, Door::Json, b"[50]").expect("answered, not timed out early");
        assert!(began.elapsed() >= Duration::from_millis(50));
        let (began, after) = (Instant::now(), Duration::from_millis(100 + 30 * round));
        let error = client.with_deadline(after).call_bytes_blocking(hang, Door::Json, b"[1000]");
        assert!(matches!(error, Err(RpcError::DeadlineExceeded { .. })), "{:?}", error.map(|_| "answered"));
        let took = began.elapsed();
        assert!(took >= after && took < after + LATE, "a deadline of {after:?} after {took:?}");
    }
}

/// Sleeps over its calls, and lets the worker sleep.
fn sleep() {
    let client = connect();
    let service = client.service();
    let hang = Target::from(service.method("hang").expect("the service has it"));
    for _ in 0..2 {
        client.call_bytes_blocking(hang, Door::Json, b"[600]").expect("answered");
    }
}

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("fork") => fork_and_call(),
        Some("static") => keep(),
        Some("sleep") => sleep(),
        Some("crowded") => crowded(),
        Some("clock") => clock(),
        _ => {
            eprintln!("usage: odd_client fork|static|sleep|crowded|clock");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
