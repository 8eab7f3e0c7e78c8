//! Completions and manual pages: made by both programs, and judged by those that will read them where they are there.

use std::process::{Command, Stdio};

use crate::scene::Scene;

const PROGRAMS: [(&str, &str); 2] =
    [("shmrpc", env!("CARGO_BIN_EXE_shmrpc")), ("shmrpc-service", env!("CARGO_BIN_EXE_shmrpc-service"))];

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn shells_understand_their_completions() {
    let scene = Scene::new("");
    for (name, program) in PROGRAMS {
        for shell in ["bash", "zsh", "fish"] {
            let args = if name == "shmrpc" { ["completions", shell] } else { ["--completions", shell] };
            let script = output(program, &args);
            assert!(script.contains("runtime-dir"), "{name} {shell}");
            let path = scene.write(&format!("{name}.{shell}"), &script);
            // Where a shell is not installed, nobody can ask it.
            if let Ok(judged) = Command::new(shell).arg("-n").arg(&path).output() {
                let told = String::from_utf8_lossy(&judged.stderr).into_owned();
                assert!(judged.status.success() && told.is_empty(), "{name} {shell}: {told}");
            }
        }
    }
    // What a shell would offer after `shmrpc st`.
    let ask = format!(
        "source {}; COMP_WORDS=(shmrpc st); COMP_CWORD=1; _shmrpc shmrpc st shmrpc; echo ${{COMPREPLY[*]}}",
        scene.path().join("shmrpc.bash").display()
    );
    assert_eq!(output("bash", &["-c", &ask]).trim(), "status start stop");
}

/// Without what makes letters bold on a printer: the same letter struck twice.
fn plain(printed: &[u8]) -> String {
    let mut text = String::new();
    for c in String::from_utf8_lossy(printed).chars() {
        if c == '\u{8}' {
            text.pop();
        } else {
            text.push(c);
        }
    }
    text
}

#[test]
fn manual_pages_are_read_without_a_complaint() {
    let scene = Scene::new("");
    let pages = [
        (PROGRAMS[0].1, &["man"][..], "SHMRPC"),
        (PROGRAMS[0].1, &["man", "restart"], "rolling"),
        (PROGRAMS[1].1, &["--man"], "replace"),
    ];
    for (program, args, part) in pages {
        let page = output(program, args);
        assert!(page.starts_with(".ie") || page.starts_with(".TH"), "{page}");
        let path = scene.write("page.1", &page);
        let mut man = Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8"])
            .arg(&path)
            .env("MANPAGER", "cat")
            .stdin(Stdio::null());
        let Ok(read) = man.output() else {
            println!("SKIPPED: man is not installed");
            continue;
        };
        let (text, told) = (plain(&read.stdout), String::from_utf8_lossy(&read.stderr));
        assert!(read.status.success() && told.is_empty(), "{args:?}: {told}");
        assert!(text.to_lowercase().contains(&part.to_lowercase()), "{text}");
    }
    let wrong = Command::new(PROGRAMS[0].1).args(["man", "restrat"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("did you mean restart?"));
}
