//! SIGHUP.

use nix::sys::signal::Signal;

use crate::scene::{Scene, eventually, lives};

const WEB: &str = "[web monitor]\nport=0\n[defaults]\nstart_secs=50ms\n";

#[test]
fn a_reload_does_only_what_the_difference_asks() {
    let scene = Scene::new(&format!(
        "{WEB}[same]\nprogram=/bin/sleep 1000\n[changes]\nprogram=/bin/sleep 1001\n[goes]\nprogram=/bin/sleep 1002\n\
         [grows]\nprogram=/bin/sleep 1003\n"
    ));
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let [same, changes, goes, grows] = ["same", "changes", "goes", "grows"].map(|name| daemon.pids(name)[0]);
    scene.write(
        "service.ini",
        &format!(
            "{WEB}[comes]\nprogram=/bin/sleep 1004\n[grows]\nprogram=/bin/sleep 1003\nmin_proc_num=2\n\
             max_proc_num=2\n[changes]\nprogram=/bin/sleep 2000\n[same]\nprogram=/bin/sleep 1000\n"
        ),
    );
    daemon.signal(Signal::SIGHUP);
    eventually("the removed service's end", || daemon.service("goes").is_none().then_some(()));
    daemon.status("comes", "running");
    let changed = eventually("the changed service's new worker", || {
        daemon.pids("changes").first().copied().filter(|&pid| pid != changes)
    });
    eventually("the grown pool", || (daemon.pids("grows").len() == 2).then_some(()));
    assert!(!lives(changes) && !lives(goes));
    assert!(daemon.pids("grows").contains(&grows));
    assert_eq!(daemon.pids("same"), [same]);
    daemon.status("changes", "running");
    daemon.stop();
    assert!(![same, changed, grows].into_iter().any(lives));
}

#[test]
fn a_change_that_is_taken_back_in_time_leaves_the_old_configuration() {
    // It takes a while to stop, so that the second reload meets a service on its way.
    let program =
        "program=/bin/sh -c 'trap \"sleep 2; exit\" TERM; echo up > up; while :; do sleep 0.05; done'\n";
    let scene = Scene::new(&format!("{WEB}[slow]\n{program}"));
    let mut daemon = scene.start(&[]);
    daemon.ready();
    eventually("the trap", || (!scene.read("up").is_empty()).then_some(()));
    let old = daemon.pids("slow")[0];
    scene.write("service.ini", &format!("{WEB}[slow]\nenv=A=1\n{program}"));
    daemon.signal(Signal::SIGHUP);
    daemon.logs("changed: its workers are replaced");
    scene.write("service.ini", &format!("{WEB}[slow]\n{program}"));
    daemon.signal(Signal::SIGHUP);
    eventually("a new worker with the old environment", || {
        let new = daemon.pids("slow").first().copied().filter(|&pid| pid != old)?;
        let environment = std::fs::read(format!("/proc/{new}/environ")).ok()?;
        (!environment.split(|&byte| byte == 0).any(|entry| entry == b"A=1")).then_some(())
    });
    daemon.status("slow", "running");
    daemon.stop();
}
