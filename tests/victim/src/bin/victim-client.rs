//! A client that dies in the window that `SHMRPC_KILL_AT` names, doing what its argument says. It is to be killed:
//! that it comes to an end is a failure.

use std::{process::ExitCode, time::Duration};

use shmrpc::{Acquired, CallError, ConnectOptions, HybridLock, LockMode, RpcError};
use shmrpc_victim::{load, service::VictimBlockingClient};

/// All that a connection can do, over and over; every second round over a new one.
fn calls() {
    let mut client = load::connect(None).expect("connected");
    for round in 0.. {
        load::large(&client, round).expect("answered");
        (0..3).for_each(|n| load::small(&client, round + n).expect("answered"));
        load::slow(&client).expect("answered");
        load::many(&client, round).into_iter().for_each(|outcome| outcome.expect("answered"));
        load::streamed(&client, round).expect("answered");
        load::cancelled(&client);
        if round % 2 == 0 {
            client = load::connect(None).expect("connected");
        }
        // Long enough for everybody to fall asleep.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// More calls than the workers have threads for, and a caller that sleeps over them.
fn crowd() {
    let client = load::connect(None).expect("connected");
    let callers: Vec<_> = (0..12)
        .map(|_| {
            let client = client.clone();
            std::thread::spawn(move || (0..50).for_each(|_| assert_ne!(client.nap(50).expect("answered"), 0)))
        })
        .collect();
    callers.into_iter().for_each(|caller| caller.join().expect("no panic"));
}

/// A call that is under way when its worker is killed by others; it may be run again.
fn bereaved() {
    let client = load::connect(None).expect("connected");
    load::small(&client, 1).expect("answered");
    println!("calling");
    let _outcome = client.nap_again(60_000);
}

/// A call for which no worker comes.
fn forsaken() {
    let mut options = ConnectOptions::default();
    options.reconnect_timeout = Duration::from_millis(100);
    let client = VictimBlockingClient::connect_with("shm://", &options).expect("connected");
    println!("calling");
    for _ in 0..100 {
        match client.pid() {
            Ok(_) | Err(CallError::Rpc(RpcError::Unavailable { .. })) => {}
            Err(other) => panic!("{other}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Makes the lock anew, takes it and gives it back, over and over.
fn locks(name: &str) {
    loop {
        let lock = HybridLock::new(name, LockMode::CREATE_NEW_OVERWRITE, 1, 0o600).expect("a lock");
        for _ in 0..3 {
            lock.lock(Duration::from_secs(10)).expect("locked");
            lock.unlock().expect("unlocked");
        }
    }
}

/// Waits for a lock that others hold, takes it, and gives it back.
fn waits(name: &str) {
    let lock = HybridLock::new(name, LockMode::CONNECT_TO_EXISTING, 1, 0o600).expect("the lock");
    println!("waiting");
    loop {
        let _how: Acquired = lock.lock(Duration::from_secs(60)).expect("locked");
        lock.unlock().expect("unlocked");
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (how, name) = (args.next().unwrap_or_default(), args.next().unwrap_or_default());
    match how.as_str() {
        "calls" => calls(),
        "crowd" => crowd(),
        "bereaved" => bereaved(),
        "forsaken" => forsaken(),
        "locks" => locks(&name),
        "waits" => waits(&name),
        _ => eprintln!("usage: victim-client calls|crowd|bereaved|forsaken|(locks|waits NAME)"),
    }
    ExitCode::FAILURE
}
