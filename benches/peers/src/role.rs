//! What a process that the orchestrator has spawned does: serve, call, compute beside others, or hold connections. It
//! says on standard output when it is ready, waits on standard input for the word, and prints what it found.

use std::io::{self, BufRead, Read, Write};

use crate::{
    idle,
    job::{Carrier, Job, ServerReady},
    memory::{die_with_parent, pin, processors, raise_file_limit},
    peer,
};

/// Runs a role by its name, if it is one.
pub fn run(role: &str, job: &str) {
    die_with_parent();
    if role == "neighbour" {
        compute();
    }
    let job: Job = serde_json::from_str(job).expect("the orchestrator sends jobs");
    raise_file_limit();
    match role {
        "server" => {
            place(&job, true);
            // shmrpc's server leaves in good order; the others just end.
            if !matches!(job.carrier, Carrier::Shmrpc(_)) {
                std::thread::spawn(|| {
                    let _ = io::stdin().read(&mut [0]);
                    std::process::exit(0);
                });
            }
            peer::serve(&job)
        }
        "client" => {
            place(&job, false);
            let figures = peer::client(&job, go);
            say(&figures);
        }
        "holder" => idle::hold(&job),
        "newcomer" => idle::newcomer(&job),
        other => panic!("no role {other}"),
    }
}

fn place(job: &Job, server: bool) {
    let processors = processors();
    if job.pinned {
        pin(processors[if server { processors.len() - 1 } else { 0 }]);
    }
}

/// A server can be called.
pub fn ready(addresses: Vec<String>) {
    say(&ServerReady { pid: std::process::id(), addresses });
}

/// Prints one line.
pub fn say(what: &impl serde::Serialize) {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, what).expect("printed");
    out.write_all(b"\n").expect("printed");
    out.flush().expect("printed");
}

/// Says that this client is warm, and waits for the word that all are.
pub fn go() {
    say(&"warm");
    let mut word = String::new();
    let read = io::stdin().lock().read_line(&mut word);
    if !matches!(read, Ok(1..)) {
        std::process::exit(1);
    }
}

/// A neighbour: uses a processor for ever.
fn compute() -> ! {
    let mut number = 1_u64;
    loop {
        number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}
