//! The terminal programs as a person uses them: in tmux, by keys, looked at on the screen. Without tmux these tests are
//! skipped; `SHMRPC_REQUIRE_TMUX=1` makes that a failure.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use serde_json::json;

use crate::{
    probe::{self, call, connect, end},
    scene::{PATIENCE, Scene},
};

/// A terminal of 80 columns and 24 lines in a tmux server of its own; gone when dropped.
struct Tmux<'a> {
    scene: &'a Scene,
}

impl<'a> Tmux<'a> {
    /// A shell in the scene's folder; `None`, said, where there is no tmux.
    fn start(scene: &'a Scene) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            assert!(std::env::var_os("SHMRPC_REQUIRE_TMUX").is_none(), "tmux is not installed");
            println!("SKIPPED: tmux is not installed");
            return None;
        }
        let tmux = Self { scene };
        // Read by every interactive sh; a prompt in the environment is not, if it is root's.
        let profile = scene.write("profile", "PS1='sh$ '\n");
        let made = tmux
            .command(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "sh"])
            .env("SHMRPC_DIR", scene.path().join("run"))
            .env("SHMRPC_HISTORY", tmux.history())
            .env("ENV", profile)
            .env("PATH", path())
            .current_dir(scene.path())
            .output();
        let made = made.unwrap();
        assert!(made.status.success(), "{made:?}");
        tmux.sees("sh$");
        Some(tmux)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command
            .arg("-S")
            .arg(self.scene.path().join("tmux"))
            .args(args)
            .stdin(Stdio::null())
            .env_remove("TMUX");
        command
    }

    fn tmux(&self, args: &[&str]) -> Output {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        output
    }

    fn history(&self) -> PathBuf {
        self.scene.path().join("state/history")
    }

    /// Types a text as it stands, without Enter.
    fn types(&self, text: &str) {
        self.tmux(&["send-keys", "-l", "--", text]);
    }

    /// Presses keys by their names.
    fn presses(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types a line and Enter.
    fn enters(&self, line: &str) {
        self.types(line);
        self.presses(&["Enter"]);
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.tmux(&["capture-pane", "-p"]).stdout).into_owned()
    }

    /// Waits until the screen is so, and returns it.
    fn sees_that(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if is_so(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "no {what} on the screen:\n{screen}");
            sleep(Duration::from_millis(20));
        }
    }

    fn sees(&self, part: &str) -> String {
        self.sees_that(part, |screen| screen.contains(part))
    }

    /// Waits for a last line that is that prompt and nothing else.
    fn sees_prompt(&self, prompt: &str) -> String {
        self.sees_that(prompt, |screen| {
            screen.trim_end().lines().last().is_some_and(|line| line.trim() == prompt)
        })
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        let _gone = self.command(&["kill-server"]).output();
    }
}

/// The folder of our programs first.
fn path() -> std::ffi::OsString {
    let own = PathBuf::from(env!("CARGO_BIN_EXE_shmrpc"));
    let others = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(own.parent().unwrap().to_owned()).chain(std::env::split_paths(&others));
    std::env::join_paths(all).unwrap()
}

#[test]
fn the_prompt_completes_remembers_and_is_left() {
    let scene = probe::scene("[steady]\nprogram=/bin/sleep 1000\nstart_secs=50ms\n");
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let Some(tmux) = Tmux::start(&scene) else { return daemon.stop() };
    tmux.enters("shmrpc");
    tmux.sees("2 of 2 services run.");
    tmux.sees_prompt("shmrpc>");
    // A command, a service, and a method by a few letters each.
    tmux.types("stat");
    tmux.presses(&["Tab", "Enter"]);
    tmux.sees("steady ");
    tmux.sees_prompt("shmrpc>");
    tmux.types("call shm://pr");
    tmux.presses(&["Tab"]);
    tmux.types("ad");
    tmux.presses(&["Tab", "Tab"]);
    tmux.sees("add_guarded");
    tmux.types(" 20 22");
    tmux.presses(&["Enter"]);
    tmux.sees_that("the sum", |screen| screen.lines().any(|line| line == "42"));
    // What is wrong is said, and the prompt is there again.
    tmux.enters("sttaus");
    tmux.sees("unrecognized subcommand 'sttaus'");
    tmux.enters("status nobody");
    tmux.sees("no service \"nobody\"");
    tmux.enters("help scale");
    tmux.sees("Usage: scale");
    // The line before the one before; ^C forgets a line that has been begun.
    tmux.presses(&["Up", "Up"]);
    tmux.sees("shmrpc> status nobody");
    tmux.presses(&["C-c"]);
    tmux.sees_prompt("shmrpc>");
    tmux.presses(&["C-d"]);
    tmux.sees_prompt("sh$");

    let kept = tmux.history();
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(kept.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    tmux.enters("clear; shmrpc");
    tmux.sees_prompt("shmrpc>");
    tmux.presses(&["Up"]);
    tmux.sees("shmrpc> help scale");
    tmux.presses(&["C-u"]);
    tmux.enters("exit");
    tmux.sees_prompt("sh$");
    daemon.stop();
}

#[test]
fn logs_are_followed_until_interrupted() {
    let scene = probe::scene("");
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let Some(tmux) = Tmux::start(&scene) else { return daemon.stop() };
    let connection = connect(&scene);
    tmux.enters("shmrpc");
    tmux.sees_prompt("shmrpc>");
    tmux.enters("logs -f probe --stream stdout");
    for line in ["the first line", "the second line"] {
        call(&connection, "say", &json!([line])).unwrap();
        tmux.sees(&format!("out {line}"));
    }
    tmux.presses(&["C-c"]);
    tmux.sees_prompt("shmrpc>");
    // It is the prompt that takes what follows.
    tmux.enters("status --running");
    tmux.sees("SERVICE ");
    tmux.sees_prompt("shmrpc>");
    tmux.enters("logs -f");
    tmux.sees("the second line");
    call(&connection, "say", &json!(["the third line"])).unwrap();
    tmux.sees("the third line");
    tmux.presses(&["C-c"]);
    tmux.sees_prompt("shmrpc>");
    tmux.presses(&["C-d"]);
    tmux.sees_prompt("sh$");
    drop(connection);
    daemon.stop();
}

#[test]
fn top_shows_sorts_enters_resizes_and_gives_the_terminal_back() {
    let scene = probe::scene("[steady]\nprogram=/bin/sleep 1000\nstart_secs=50ms\n");
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let Some(tmux) = Tmux::start(&scene) else { return daemon.stop() };
    let connection = connect(&scene);
    tmux.enters("stty -g > before; shmrpc top --interval 200ms; stty -g > after");
    tmux.sees("2 of 2 services run, 2 workers");
    let rows = |screen: &str| {
        let begins = |name: &str| screen.lines().position(|line| line.starts_with(name));
        Some((begins("probe ")?, begins("steady ")?))
    };
    tmux.sees_that("probe before steady", |screen| {
        rows(screen).is_some_and(|(probe, steady)| probe < steady)
    });
    let working = |screen: &str| {
        call(&connection, "burn", &json!([5])).unwrap();
        let row = screen.lines().find(|line| line.starts_with("probe ")).unwrap_or_default().to_owned();
        row.split_whitespace().nth(3).is_some_and(|calls| calls != "0" && calls != "-") && row.contains("ms")
    };
    tmux.sees_that("calls and times of probe", working);
    tmux.presses(&["n", "n"]);
    tmux.sees_that("steady first", |screen| rows(screen).is_some_and(|(probe, steady)| steady < probe));
    tmux.presses(&["End", "Enter"]);
    let screen = tmux.sees("probe is running");
    assert!(
        screen.contains(&daemon.pids("probe")[0].to_string()) && screen.contains("add_guarded"),
        "{screen}"
    );
    tmux.presses(&["Escape"]);
    tmux.sees("steady ");
    tmux.tmux(&["resize-window", "-x", "60", "-y", "12"]);
    tmux.sees_that("fewer columns", |screen| screen.contains("CALLS/S") && !screen.contains("P50"));
    tmux.tmux(&["resize-window", "-x", "80", "-y", "24"]);
    tmux.sees("P50");
    tmux.presses(&["q"]);
    let screen = tmux.sees_prompt("sh$");
    assert!(screen.contains("shmrpc top --interval"), "the screen is as it was before: {screen}");
    assert!(!scene.read("before").is_empty());
    assert_eq!(scene.read("before"), scene.read("after"), "and so is the terminal");
    drop(connection);
    daemon.stop();
}

#[test]
fn top_outlives_the_daemon_and_ends_on_a_signal() {
    let scene = probe::scene("");
    let first = scene.start(&[]);
    first.ready();
    let Some(tmux) = Tmux::start(&scene) else { return };
    tmux.enters("sh -c 'echo $$ > pid; exec shmrpc top --interval 200ms'; echo left with $?");
    tmux.sees("1 of 1 services run");
    end(first.pid());
    tmux.sees("no shmrpc-service runs in");
    drop(first);
    let mut second = scene.start(&[]);
    second.ready();
    let screen = tmux.sees("another daemon since");
    assert!(screen.contains(&format!("pid {}", second.pid())), "{screen}");
    let pid: u32 = scene.read("pid").trim().parse().unwrap();
    signal::kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM).unwrap();
    tmux.sees("left with 0");
    second.stop();
}

#[test]
fn commands_from_a_pipe_are_done_up_to_the_first_that_fails() {
    let scene = probe::scene("");
    let mut daemon = scene.start(&[]);
    daemon.ready();
    let run = |lines: &str| {
        let input = scene.write("lines", lines);
        let output = Command::new(env!("CARGO_BIN_EXE_shmrpc"))
            .env("SHMRPC_DIR", scene.path().join("run"))
            .stdin(fs::File::open(input).unwrap())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, out, err) = run("# two sums\ncall shm://probe add 1 2\n\ncall shm://probe add 3 4\n");
    assert_eq!((code, out.as_str(), err.as_str()), (0, "3\n7\n", ""));
    let (code, out, err) = run("call shm://probe add 1 2\nstatus nobody\ncall shm://probe add 3 4\n");
    assert_eq!((code, out.as_str()), (3, "3\n"));
    assert!(err.contains("no service \"nobody\"") && err.contains("line 2 failed with code 3"), "{err}");
    assert_eq!(run("frobnicate\n").0, 2);
    assert_eq!(run("exit\nfrobnicate\n").0, 0);
    daemon.stop();
}
