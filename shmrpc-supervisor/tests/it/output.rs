//! What workers print.

use crate::scene::{Scene, eventually};

const WEB: &str = "[web monitor]\nport=0\n[defaults]\nstart_secs=50ms\nlog_dir=here\n";

#[test]
fn both_streams_are_in_the_log_files_under_the_originals_names() {
    let scene = Scene::new(&format!(
        "{WEB}env=WHO=world 'MORE=a b'\n\
         [talks]\nprogram=/bin/sh -c 'echo \"hello $WHO $MORE\"; echo oops >&2; printf last; exec sleep 1000'\n"
    ));
    let mut daemon = scene.start(&[]);
    eventually("stderr", || (scene.read("here/talks/talks_log.stderr") == "oops\n").then_some(()));
    daemon.ready();
    daemon.stop();
    assert_eq!(scene.read("here/talks/talks_log.stdout"), "hello world a b\nlast\n");
}

#[test]
fn a_flood_without_end_of_line_harms_nobody() {
    let scene = Scene::new(&format!(
        "{WEB}[floods]\nprogram=/bin/sh -c 'tr \"\\\\0\" x < /dev/zero'\n[talks]\nprogram=/bin/sh -c 'echo hello; exec sleep 1000'\n"
    ));
    let mut daemon = scene.start(&[]);
    daemon.ready();
    eventually("the other's line", || (scene.read("here/talks/talks_log.stdout") == "hello\n").then_some(()));
    daemon.status("floods", "running");
    let usage = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let rss = usage.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    let kib: u64 = rss.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib < 200_000, "{rss}");
    daemon.stop();
}

#[test]
fn output_that_cannot_be_written_is_counted_and_the_service_runs_on() {
    let scene = Scene::new(&format!("{WEB}[talks]\nprogram=/bin/sh -c 'echo hello; exec sleep 1000'\n"));
    // A file where the folder should be: no log can be opened.
    scene.write("here", "");
    let mut daemon = scene.start(&[]);
    daemon.status("talks", "running");
    daemon.logs("6 bytes of output could not be written to log files");
    eventually("the line on the page all the same", || {
        daemon.request("GET", "/api/v1/logs").1.contains("\"hello\"").then_some(())
    });
    daemon.stop();
}

#[test]
fn lines_go_to_standard_output_if_asked() {
    let scene = Scene::new(
        "[web monitor]\nport=0\n[defaults]\nstart_secs=20ms\n[talker]\n\
         program=/bin/sh -c 'echo hello; echo trouble >&2; trap \"echo bye; exit 0\" TERM; while :; do sleep 0.05; done'\n",
    );
    let mut daemon = scene.start_as(scene.command(&["--log-stdout"], &[]));
    daemon.eventually("both lines", || {
        let out = scene.read("daemon.out");
        (out.contains(" out hello\n") && out.contains(" err trouble\n")).then_some(())
    });
    daemon.stop();
    let out = scene.read("daemon.out");
    assert!(out.contains(" out bye\n") && !out.contains(" *** "), "{out}");
}
