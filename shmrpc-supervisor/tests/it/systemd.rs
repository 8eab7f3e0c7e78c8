//! The daemon under a service manager: what it says at a real socket, listeners that it is given, and the unit file.

use std::{
    fs,
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::MetadataExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    path::Path,
    process::{Command, Stdio},
};

use command_fds::{CommandFdExt, FdMapping};
use nix::sys::signal::Signal;

use crate::{
    probe::{self, call},
    scene::{PATIENCE, Scene},
};

const INI: &str = "[web monitor]\nport=0\n[a]\nprogram=/bin/sleep 1000\nstart_secs=50ms\n";

/// What a manager hears, until something that begins so.
fn expect(manager: &UnixDatagram, start: &str) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let mut buffer = [0; 1024];
        let count =
            manager.recv(&mut buffer).unwrap_or_else(|error| panic!("no {start}: {error}; {heard:?}"));
        heard.push(String::from_utf8(buffer[..count].to_vec()).unwrap());
        if heard.last().unwrap().starts_with(start) {
            return heard;
        }
    }
}

fn manager(address: &SocketAddr) -> UnixDatagram {
    let socket = UnixDatagram::bind_addr(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[test]
fn a_manager_hears_that_it_is_ready_reloads_runs_and_stops() {
    let scene = Scene::new(INI);
    let path = scene.path().join("notify");
    let manager = manager(&SocketAddr::from_pathname(&path).unwrap());
    let mut command = scene.command(&[], &[]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    let mut daemon = scene.start_as(command);
    expect(&manager, "READY=1");
    daemon.ready();
    expect(&manager, "WATCHDOG=1");
    expect(&manager, "WATCHDOG=1");
    // What it starts does not speak for it.
    let environment = fs::read(format!("/proc/{}/environ", daemon.pids("a")[0])).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    assert!(!environment.contains("NOTIFY_SOCKET") && !environment.contains("WATCHDOG"), "{environment}");
    daemon.signal(Signal::SIGHUP);
    let reloading = expect(&manager, "RELOADING=1").pop().unwrap();
    let (_, at_us) = reloading.split_once("\nMONOTONIC_USEC=").unwrap();
    assert!(at_us.parse::<u64>().unwrap() > 0);
    expect(&manager, "READY=1");
    daemon.request("POST", "/api/v1/services/a/stop");
    expect(&manager, "STATUS=0 of 1 services run");
    daemon.signal(Signal::SIGTERM);
    expect(&manager, "STOPPING=1");
    assert_eq!(daemon.wait().code(), Some(0));
}

/// Starting, and a drain, take longer than the manager would wait: it is asked for more time, second by second.
#[test]
fn a_manager_is_asked_for_time_while_a_start_or_a_drain_goes_on() {
    let ini = INI
        .replace("/bin/sleep 1000", "/bin/sh -c 'trap \"sleep 2; exit\" TERM; while :; do sleep 0.1; done'");
    let scene = Scene::new(&ini.replace("50ms", "2s"));
    let path = scene.path().join("notify");
    let manager = manager(&SocketAddr::from_pathname(&path).unwrap());
    let mut command = scene.command(&[], &[]);
    command.env("NOTIFY_SOCKET", &path);
    let mut daemon = scene.start_as(command);
    let asks = "EXTEND_TIMEOUT_USEC=30000000";
    let starting = expect(&manager, "READY=1");
    assert!(starting.iter().filter(|text| *text == asks).count() >= 2, "{starting:?}");
    let reload = || {
        daemon.signal(Signal::SIGHUP);
        expect(&manager, "READY=1")
    };
    assert!(!reload().iter().any(|text| text == asks), "nothing takes long now");
    daemon.signal(Signal::SIGTERM);
    expect(&manager, "STOPPING=1");
    expect(&manager, asks);
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn lines_for_the_journal_have_a_priority_and_no_time() {
    let scene = Scene::new(&INI.replace("[a]", "[dead]\nprogram=/bin/sh -c 'exit 3'\nstart_limit=1\n[a]"));
    // The stream that the manager names is the one that the daemon is given.
    let log = fs::metadata(scene.write("daemon.log", "")).unwrap();
    let mut command = scene.command(&[], &[]);
    command.env("JOURNAL_STREAM", format!("{}:{}", log.dev(), log.ino()));
    let mut daemon = scene.start_as(command);
    daemon.ready();
    daemon.logs("given up");
    daemon.stop();
    let log = daemon.log();
    assert!(log.lines().all(|line| line.starts_with("<6>") || line.starts_with("<4>")), "{log}");
    assert!(log.contains("<6>dashboard at http://") && !log.contains("INFO"), "{log}");

    let mut command = scene.command(&[], &[]);
    command.env("JOURNAL_STREAM", "1:1");
    let mut daemon = scene.start_as(command);
    daemon.ready();
    daemon.stop();
    assert!(!daemon.log().contains("<6>"), "somebody else's stream is none");
}

#[test]
fn a_manager_in_the_abstract_namespace_is_told_and_somebody_elses_watchdog_is_not_fed() {
    let scene = Scene::new(INI);
    let name = format!("shmrpc-test-{}", std::process::id());
    let manager = manager(&SocketAddr::from_abstract_name(&name).unwrap());
    let mut command = scene.command(&[], &[]);
    command.env("NOTIFY_SOCKET", format!("@{name}")).env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    let mut daemon = scene.start_as(command);
    let heard = expect(&manager, "READY=1");
    assert!(heard.iter().any(|text| text == "STATUS=1 of 1 services run"), "{heard:?}");
    assert!(!heard.iter().any(|text| text == "WATCHDOG=1"), "{heard:?}");
    daemon.stop();
}

#[test]
fn listeners_that_it_is_given_serve() {
    let [web, tcp, other] = [0; 3].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    let port_of = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let (web_port, tcp_port) = (port_of(&web), port_of(&tcp));
    let scene = probe::scene(&format!("tcp_bind=127.0.0.1\nport={tcp_port}\n"));
    let ini = scene.read("service.ini").replace("port=0", &format!("port={web_port}"));
    scene.write("service.ini", &ini);
    // The number of the process that is to take them is known to itself alone.
    let mut command = Command::new("/bin/sh");
    let daemon = env!("CARGO_BIN_EXE_shmrpc-service");
    command.args(["-c", "export LISTEN_PID=$$; exec \"$0\" service.ini", daemon]).env("LISTEN_FDS", "3");
    command.current_dir(scene.path()).env("SHMRPC_DIR", scene.path().join("run")).stdin(Stdio::null());
    let mappings = [(web, 3), (tcp, 4), (other, 5)]
        .map(|(listener, child_fd)| FdMapping { parent_fd: listener.into(), child_fd });
    command.fd_mappings(mappings.into()).unwrap();
    let mut daemon = scene.start_as(command);
    daemon.ready();
    assert_eq!(daemon.address(), format!("127.0.0.1:{web_port}"));
    assert_eq!(daemon.pids("probe").len(), 1);
    let endpoint = format!("tcp://127.0.0.1:{tcp_port}");
    let connection = shmrpc::Connection::connect_any(endpoint, &shmrpc::ConnectOptions::default()).unwrap();
    assert_eq!(call(&connection, "add", &serde_json::json!([2, 3])).unwrap(), 5);
    daemon.logs("an inherited listener that nothing of the ini file asks for is closed");
    drop(connection);
    daemon.stop();
}

/// Where systemd is installed, it judges the units itself.
#[test]
fn systemd_accepts_the_units() {
    let scene = Scene::new(INI);
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging");
    for name in ["shmrpc.service", "shmrpc.socket"] {
        let unit = fs::read_to_string(packaging.join(name)).unwrap();
        // The program is not installed here.
        scene.write(name, &unit.replace("/usr/bin/shmrpc-service", env!("CARGO_BIN_EXE_shmrpc-service")));
    }
    let mut verify = Command::new("systemd-analyze");
    verify
        .args(["verify", "--man=no"])
        .args(["shmrpc.service", "shmrpc.socket"].map(|name| scene.path().join(name)));
    let Ok(output) = verify.output() else {
        println!("SKIPPED: systemd-analyze is not installed");
        return;
    };
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let about_us: Vec<&str> = told.lines().filter(|line| line.contains("shmrpc")).collect();
    assert!(about_us.is_empty(), "{told}");
}
