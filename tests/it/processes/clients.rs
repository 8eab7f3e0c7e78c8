//! Clients that fork, and clients that end without letting go of their connection. The program is
//! `tests/programs/odd_client.rs`.

use super::{Scene, pid};

fn run(scene: &Scene, how: &str) {
    let status = scene.command("odd_client").arg(how).status().expect("the client starts");
    assert!(status.success(), "odd_client {how}: {status}");
}

#[test]
fn a_forked_child_is_told_so_and_disturbs_nothing() {
    let scene = Scene::new(2);
    let steady = scene.connect();
    run(&scene, "fork");
    pid(&steady).unwrap();
}

#[test]
fn a_connection_in_a_static_leaves_nothing_when_its_process_ends() {
    let scene = Scene::new(1);
    run(&scene, "static");
    // The only socket left is the worker's own: a client that had left one would keep the folder full.
    let sockets = std::fs::read_dir(&scene.folder).unwrap().flatten();
    let sockets = sockets.filter(|entry| entry.path().extension().is_some_and(|ext| ext == "sock"));
    assert_eq!(sockets.count(), 1);
}
