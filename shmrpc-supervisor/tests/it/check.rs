//! `--check` and faulty ini files.

use crate::scene::{Scene, texts};

const DESCRIBES: &str = r#"#!/bin/sh
cat <<'END'
[{"struct_name":"EchoServer","name":"echo_serv","port":5555,"max_workers":2,"doc":"","methods":[]}]
END
"#;

/// A row of the fault matrix: everything at once, and nothing is started.
#[test]
fn ini_typo_unknown_key_bad_value() {
    let scene = Scene::new(
        "[web monitor]\nport=0\n\
         [defaults]\nmax_proc_nun=3\n\
         [EchoServer]\nimport_from=echo_server\nmin_proc_num=two\n\
         [starts]\nprogram=/bin/sh -c 'touch started'\n\
         [starts]\nprogram=/bin/true\n\
         [no equals]\nthis line has none\n\
         [Gone]\nimport_from=no_such_program\n\
         [EcoServer]\nimport_from=echo_server\n\
         [EchoServer:eu]\nimport_from=echo_server\nport=5556\nmin_proc_num=3\n",
    );
    scene.script("echo_server", DESCRIBES);
    for before in [&["--check"][..], &[]] {
        let output = scene.run(before, &[]);
        let (stdout, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert_eq!(stdout, "");
        let expected = [
            "service.ini:4: [defaults] max_proc_nun: unknown key; did you mean max_proc_num?",
            "service.ini:7: [EchoServer] min_proc_num: \"two\" is not accepted; accepted: a whole number from 1 to",
            "service.ini:10: [starts] duplicate section, first at line 8",
            "service.ini:12: [no equals] names no program; accepted: import_from",
            "service.ini:13: [no equals] \"this line has none\" has no '='; accepted: key = value",
            "service.ini:15: [Gone] import_from: no program \"no_such_program\": looked for",
            "EcoServer; did you mean EchoServer?; accepted: EchoServer",
            "service.ini:21: [EchoServer:eu] min_proc_num: min_proc_num 3 exceeds the 2 that EchoServer allows",
        ];
        let lines: Vec<&str> = stderr.lines().collect();
        assert_eq!(lines.len(), expected.len(), "{stderr}");
        for (line, part) in lines.iter().zip(expected) {
            assert!(line.contains(part), "{line}\nshould contain\n{part}");
        }
    }
    assert!(!scene.path().join("started").exists());
    assert!(!scene.path().join("run").exists());
    assert!(!scene.path().join("logs").exists());
}

#[test]
fn check_says_what_would_run() {
    let scene = Scene::new(
        "[defaults]\nlog_dir=here\nbind_tcp=127.0.0.1\nthreads=4\n\
         [EchoServer]\nimport_from=echo_server\n\
         [EchoServer:eu]\nimport_from=./echo_server\nport=5556\n\
         [search front]\nprogram=sh -c 'sleep 1'\n\
         [EchoServer:far]\nimport_from=./echo_server\nport=5557\ntcp_bind=0.0.0.0\ntcp_allow_remote=True\n",
    );
    scene.script("echo_server", DESCRIBES);
    let output = scene.run(&["--check"], &[]);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    for part in [
        "service.ini:3: note: bind_tcp is read as tcp_bind",
        "4 services, no faults",
        "service.ini:12: note: [EchoServer:far] lets other machines in at 0.0.0.0, port 5557",
        "dashboard  http://127.0.0.1:5155/",
        "echo_serv [EchoServer]",
        "eu.echo_serv [EchoServer:eu]",
        "search_front [search front]",
        "/echo_server\n",
        "127.0.0.1, port 5556",
        "methods  0",
        "1 to 2, 4 threads each",
        "sh -c 'sleep 1'",
        "/here/eu.echo_serv",
    ] {
        assert!(stdout.contains(part), "no {part:?} in\n{stdout}");
    }
    let output = scene.run(&["--check"], &["eu.echo_serv", "search front"]);
    let (stdout, _) = texts(&output);
    assert!(stdout.contains("2 services") && !stdout.contains("[EchoServer]"), "{stdout}");
}

#[test]
fn a_misspelt_service_on_the_command_line_is_a_fault() {
    let scene = Scene::new("[a service]\nprogram=/bin/sleep 100\n");
    let output = scene.run(&[], &["a_servis"]);
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("no service \"a_servis\"; did you mean a_service?"), "{stderr}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let scene = Scene::new("");
    std::fs::remove_file(scene.path().join("service.ini")).unwrap();
    let output = scene.run(&[], &[]);
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.starts_with("service.ini: cannot be read: No such file"), "{stderr}");
}
