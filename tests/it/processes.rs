//! Real processes over shared memory: workers that are killed, start late or take long; clients that keep
//! going; and nothing left behind. The worker is `tests/programs/torture_service.rs`.

mod clients;
mod faults;
mod memory;
mod mutations;
mod resources;
mod scene;
mod signals;

use std::{
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use shmrpc::{ConnectOptions, Connection, Door, RpcError, client::Reply, client::Target};

use self::scene::Scene;

/// Everything that is waited for comes long before this.
const PATIENCE: Duration = Duration::from_secs(60);

fn call(client: &Connection, method: &str, door: Door, args: &[u8]) -> Result<Vec<u8>, RpcError> {
    let service = client.service();
    let method = service.method(method).expect("the service has the method");
    let Reply { body, .. } = client.call_bytes_blocking(Target::from(method), door, args)?;
    Ok(body)
}

fn pid(client: &Connection) -> Result<u32, RpcError> {
    let body = call(client, "pid", Door::Json, b"[]")?;
    Ok(serde_json::from_slice(&body).expect("a number"))
}

#[test]
fn one_connection_carries_every_size_in_turn() {
    let scene = Scene::new(1);
    let client = scene.connect().with_deadline(PATIENCE);
    let mib = 1 << 20;
    for len in [0, 1, 64, 4095, 4096, 4097, mib, 16 * mib, 64 * mib, 64] {
        let data: Vec<u8> = (0..len).map(|i: usize| (i.wrapping_mul(31) ^ (i >> 11)) as u8).collect();
        assert!(
            call(&client, "echo_raw", Door::Native, &data).unwrap() == data,
            "{len} bytes came back changed"
        );
    }
}

/// The figure is 100,000 calls each: `SHMRPC_TORTURE_CALLS=100000`.
#[test]
fn eight_clients_and_three_workers_mix_nothing_up() {
    let calls = std::env::var("SHMRPC_TORTURE_CALLS").unwrap_or_else(|_| "2000".into());
    let scene = Scene::new(3);
    let clients: Vec<Child> = (1..=8)
        .map(|seed: u32| {
            let mut command = scene.command("torture_client");
            command.args([&calls, &seed.to_string()]).stdout(Stdio::piped());
            command.spawn().expect("a client starts")
        })
        .collect();
    let mut served = std::collections::BTreeSet::new();
    for client in clients {
        let output = client.wait_with_output().expect("a client ends");
        assert!(output.status.success(), "a client failed: {}", output.status);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
        served.extend(report["workers"].as_object().expect("workers").keys().cloned());
    }
    let workers = scene.pids().iter().map(u32::to_string).collect();
    assert_eq!(served, workers, "each worker served some");
}

#[test]
fn a_slow_call_delays_no_other() {
    let scene = Scene::new(2);
    let client = scene.connect();
    let slow = {
        let (client, data) = (client.clone(), vec![1_u8; 4 << 20]);
        std::thread::spawn(move || call(&client, "slow", Door::Native, &data).map(|_| Instant::now()))
    };
    // One call a worker would be enough to block both if the slow one took more than its own.
    let began = Instant::now();
    for round in 0..10_000_u32 {
        let data = round.to_le_bytes();
        assert_eq!(call(&client, "echo_raw", Door::Native, &data).unwrap(), data);
    }
    let quick_done = Instant::now();
    let slow_done = slow.join().unwrap().unwrap();
    // On a machine too busy for 10,000 calls in two seconds the order says nothing.
    if quick_done - began < Duration::from_millis(1900) {
        assert!(quick_done < slow_done, "the quick calls waited for the slow one");
    }
}

#[test]
fn a_late_worker_serves_an_idle_client() {
    let mut scene = Scene::new(1);
    let first = scene.pids()[0];
    let client = scene.connect();
    assert_eq!(pid(&client).unwrap(), first);
    let late = scene.start_worker();
    scene.kill(first);
    assert_eq!(pid(&client).unwrap(), late);
}

#[test]
fn old_clients_survive_restarts_of_the_service() {
    let mut scene = Scene::new(1);
    let clients: Vec<Connection> = (0..4).map(|_| scene.connect()).collect();
    // The figure is 200: `SHMRPC_TORTURE_RESTARTS=200`.
    let restarts = std::env::var("SHMRPC_TORTURE_RESTARTS").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    for round in 0..restarts {
        let old = scene.pids()[0];
        if round % 2 == 0 {
            scene.kill(old)
        } else {
            scene.stop(old)
        }
        let new = scene.start_worker();
        for client in &clients {
            assert_eq!(pid(client).unwrap(), new, "restart {round}");
        }
    }
}

#[test]
fn a_killed_worker_is_an_error_that_names_it() {
    let mut scene = Scene::new(1);
    let (client, victim) = (scene.connect(), scene.pids()[0]);
    let hanging = {
        let client = client.clone();
        std::thread::spawn(move || call(&client, "hang", Door::Json, b"[60000]"))
    };
    std::thread::sleep(Duration::from_millis(200));
    scene.kill(victim);
    match hanging.join().unwrap() {
        Err(RpcError::WorkerDied { service, method, worker }) => {
            assert_eq!((service.as_str(), method.as_str()), ("torture", "hang"));
            assert_eq!(worker, format!("pid {victim}"));
        }
        other => panic!("{other:?}"),
    }
    let new = scene.start_worker();
    assert_eq!(pid(&client).unwrap(), new);
}

#[test]
fn an_idempotent_call_is_run_once_more_and_never_a_third_time() {
    let mut scene = Scene::new(2);
    let client = scene.connect();
    let tally = scene.folder.with_extension("tally");
    let begun = || std::fs::metadata(&tally).map_or(0, |meta| meta.len());
    let args = serde_json::to_vec(&(60_000, &tally)).unwrap();
    let hanging = {
        let client = client.clone();
        std::thread::spawn(move || call(&client, "hang_idempotent", Door::Json, &args))
    };
    let until = Instant::now() + PATIENCE;
    for attempt in 1..=2 {
        while begun() < attempt && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(begun(), attempt);
        // Which worker runs it? The one that does not answer is not asked: kill both, start one. Both are
        // stopped first, or the second might claim the retry and die before it has begun.
        scene.pids().into_iter().for_each(Scene::freeze);
        for pid in scene.pids() {
            scene.kill(pid);
        }
        if attempt == 1 {
            scene.start_worker();
        }
    }
    let error = hanging.join().unwrap().unwrap_err();
    assert!(matches!(error, RpcError::WorkerDied { .. }), "{error}");
    let _ = std::fs::remove_file(&tally);
    scene.start_worker();
    pid(&client).unwrap();
}

#[test]
fn a_request_that_kills_its_worker_is_not_run_by_the_others() {
    let mut scene = Scene::new(3);
    let client = scene.connect();
    let error = call(&client, "die", Door::Json, b"[]").unwrap_err();
    assert!(matches!(error, RpcError::WorkerDied { .. }), "{error}");
    pid(&client).unwrap();
    // The end of its socket is known a moment before the end of the process.
    let until = Instant::now() + PATIENCE;
    while scene.workers.len() == 3 && Instant::now() < until {
        scene.workers.retain_mut(|child| child.try_wait().expect("our child").is_none());
    }
    assert_eq!(scene.workers.len(), 2, "one worker has died, and no other");
}

#[test]
fn calls_without_a_worker_wait_for_one_and_then_give_up() {
    let mut scene = Scene::new(1);
    let mut options = ConnectOptions::default();
    options.runtime_dir = Some(scene.folder.clone());
    options.reconnect_timeout = Duration::from_millis(300);
    let client = Connection::connect_any("shm://torture", &options).unwrap();
    let only = scene.pids()[0];
    scene.kill(only);
    let error = pid(&client).unwrap_err();
    assert!(matches!(error, RpcError::Unavailable { .. }), "{error}");
    let new = scene.start_worker();
    // It serves before it has met every client that was there.
    let until = Instant::now() + PATIENCE;
    let met = loop {
        match pid(&client) {
            Err(RpcError::Unavailable { .. }) if Instant::now() < until => {}
            outcome => break outcome,
        }
    };
    assert_eq!(met.unwrap(), new);
}

#[test]
fn killing_everything_leaves_nothing_after_one_start_and_stop() {
    let mut scene = Scene::new(3);
    let mut client = scene.command("torture_client");
    // It says that its worker died, if it lives long enough.
    let mut client = client.args(["100000000", "7"]).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    for pid in scene.pids() {
        scene.kill(pid);
    }
    client.kill().unwrap();
    client.wait().unwrap();
    // What the kills have left is swept by the next worker; the scene checks that nothing remains.
    scene.start_worker();
}

#[test]
fn a_killed_client_leaves_nothing_and_disturbs_nobody() {
    let scene = Scene::new(2);
    let steady = scene.connect();
    for _ in 0..10 {
        let mut client = scene.command("torture_client").args(["100000000", "7"]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(60));
        client.kill().unwrap();
        client.wait().unwrap();
        pid(&steady).unwrap();
    }
}
