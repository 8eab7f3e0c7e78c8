//! Workers that are stopped, join late, or start at the same instant.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use shmrpc::{Door, RpcError};

use super::{PATIENCE, Scene, call, pid};

#[test]
fn a_stopped_worker_costs_its_own_call_alone() {
    let mut scene = Scene::new(1);
    let stopped = scene.pids()[0];
    let client = scene.connect();
    assert_eq!(pid(&client).unwrap(), stopped);
    let hanging = {
        let client = client.with_deadline(Duration::from_millis(700));
        std::thread::spawn(move || call(&client, "hang", Door::Json, b"[300]"))
    };
    std::thread::sleep(Duration::from_millis(100));
    Scene::freeze(stopped);
    let other = scene.start_worker();
    for _ in 0..200 {
        assert_eq!(pid(&client).unwrap(), other);
    }
    let error = hanging.join().unwrap().unwrap_err();
    assert!(matches!(error, RpcError::DeadlineExceeded { .. }), "{error}");
    Scene::signal(stopped, Signal::SIGCONT);
    // Its late answer harms nobody, and it serves again.
    let until = Instant::now() + PATIENCE;
    let mut served = BTreeSet::new();
    while served.len() < 2 && Instant::now() < until {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let client = client.clone();
                std::thread::spawn(move || {
                    call(&client, "hang", Door::Json, b"[5]")
                        .map(|body| serde_json::from_slice(&body).unwrap())
                })
            })
            .collect();
        served.extend(callers.into_iter().map(|caller| -> u32 { caller.join().unwrap().unwrap() }));
    }
    assert_eq!(served, BTreeSet::from([stopped, other]));
}

#[test]
fn a_worker_joins_while_calls_are_under_way() {
    let mut scene = Scene::new(1);
    let client = scene.connect().with_deadline(PATIENCE);
    // More than one worker has threads for, so that some wait on the ring, arguments in arenas.
    let callers: Vec<_> = (0..40_u8)
        .map(|n| {
            let client = client.clone();
            std::thread::spawn(move || {
                let data = vec![n; 20_000];
                assert!(call(&client, "echo_raw", Door::Native, &data).unwrap() == data);
                let body = call(&client, "hang", Door::Json, b"[150]").unwrap();
                serde_json::from_slice::<u32>(&body).unwrap()
            })
        })
        .collect();
    let late = scene.start_worker();
    let served: BTreeSet<u32> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
    assert!(served.is_subset(&scene.pids().into_iter().collect()));
    let first = scene.pids()[0];
    scene.kill(first);
    assert_eq!(pid(&client).unwrap(), late);
}

#[test]
fn workers_that_start_at_the_same_instant_serve_the_same_clients() {
    let mut scene = Scene::new(0);
    let pids: Vec<u32> = (0..3).map(|_| scene.spawn_worker()).collect();
    pids.iter().for_each(|&pid| scene.await_worker(pid));
    let client = scene.connect();
    // Each alone is found by the client, whichever of them made the board.
    for alone in pids {
        for &other in scene.pids().iter().filter(|&&other| other != alone) {
            Scene::freeze(other);
        }
        let answered = pid(&client).unwrap();
        for &other in scene.pids().iter().filter(|&&other| other != alone) {
            Scene::signal(other, Signal::SIGCONT);
        }
        assert_eq!(answered, alone);
    }
}
