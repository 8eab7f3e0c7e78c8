//! Memory for large messages is used again, also when nobody takes the answers.

use std::time::Duration;

use shmrpc::{Door, client::Target};

use super::{PATIENCE, Scene, call};

/// How much a process has mapped of everybody's arenas.
fn arena_bytes(pid: u32) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("a living process");
    let arenas = maps.lines().filter(|line| line.contains("memfd:shmrpc-arena"));
    arenas
        .map(|line| {
            let range = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
            let number = |hex| usize::from_str_radix(hex, 16).expect("an address");
            number(range.1) - number(range.0)
        })
        .sum()
}

#[test]
fn ten_thousand_large_messages_go_through_the_same_memory() {
    let scene = Scene::new(1);
    let client = scene.connect().with_deadline(PATIENCE);
    let mut after_a_thousand = 0;
    for round in 0..10_000_u32 {
        let data = vec![round as u8; 10_000 + (round as usize * 37) % 50_000];
        assert!(call(&client, "echo_raw", Door::Native, &data).unwrap() == data);
        if round == 1000 {
            after_a_thousand = arena_bytes(scene.pids()[0]);
        }
    }
    assert!(after_a_thousand > 0);
    assert_eq!(arena_bytes(scene.pids()[0]), after_a_thousand);
}

#[test]
fn answers_that_nobody_takes_are_released() {
    let scene = Scene::new(1);
    let client = scene.connect().with_deadline(PATIENCE);
    let service = client.service();
    let target = Target::from(service.method("echo_raw").unwrap());
    let data = vec![1; 1 << 20];
    for round in 0..200 {
        let given_up = client.begin(target, Door::Native, &data).unwrap();
        if round % 2 == 0 {
            // Dropped before the answer is there, and after.
            std::thread::sleep(Duration::from_millis(3));
        }
        drop(given_up);
        call(&client, "pid", Door::Json, b"[]").unwrap();
    }
    let mapped = arena_bytes(scene.pids()[0]);
    assert!(mapped < 64 << 20, "{mapped} bytes of arenas for messages of 1 MiB");
}
