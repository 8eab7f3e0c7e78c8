//! The page in a real browser, in front of the real daemon with real workers: the same steps that
//! `shmrpc-web` runs against its imagined one.
//!
//! This program is its own worker: the daemon starts it again, and then it serves. That takes a `main` of
//! its own, so there is no test harness here; names on the command line choose as they do elsewhere.

#[path = "../../../web/tests/it/http.rs"]
#[allow(dead_code, reason = "shared with shmrpc-web's tests, which use more of it")]
mod http;
#[path = "../it/scene.rs"]
#[allow(dead_code, reason = "shared with the tests of processes, which use more of it")]
mod scene;
#[path = "../../../web/tests/it/steps.rs"]
mod steps;
#[path = "../../../web/tests/it/webdriver.rs"]
#[allow(dead_code, reason = "shared with shmrpc-web's tests, which use more of it")]
mod webdriver;

use std::{io::Write as _, process::ExitCode, time::Duration};

use nix::sys::signal::Signal;
use serde_json::json;
use shmrpc::{
    json_method, raw_method,
    server::{Offered, WorkerConfig, worker_program},
    service,
};

const NAME: &str = "the_page_of_the_real_daemon";

/// Says what it is told to.
#[derive(Default)]
pub struct Talker;

/// Says what it is told to.
#[service(name = "talker", port = 5601)]
impl Talker {
    /// Prints a line.
    #[json_method]
    fn say(&self, line: String) {
        println!("{line}");
    }

    /// Prints bytes, whatever they are, as a line.
    #[raw_method]
    fn blurt(&self, line: &[u8]) -> Vec<u8> {
        let printed = std::io::stdout().lock().write_all(&[line, b"\n"].concat());
        format!("{printed:?}").into_bytes()
    }

    /// Bytes in, bytes out.
    #[raw_method]
    fn echo(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|a| a == "--describe") || std::env::var_os(WorkerConfig::VARIABLE).is_some() {
        return worker_program(&[Offered::new::<Talker>(Talker::default)]);
    }
    if arguments.iter().any(|argument| argument == "--list") {
        println!("{NAME}: test");
        return ExitCode::SUCCESS;
    }
    let mut names = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
    let is_chosen = names.peek().is_none() || names.any(|name| NAME.contains(name.as_str()));
    if is_chosen {
        the_page_of_the_real_daemon();
    }
    println!("test result: ok. {} passed; 0 failed; {NAME}", u8::from(is_chosen));
    ExitCode::SUCCESS
}

/// A failure panics, which ends the program with a code that cargo understands.
fn the_page_of_the_real_daemon() {
    let Some(browser) = webdriver::Browser::start(NAME) else { return };
    let this = std::env::current_exe().expect("this program has a path");
    // The same port before and after a restart.
    let port = scene::free_port();
    let ini = format!(
        "[web monitor]\nhost = 127.0.0.1\nport = {port}\n\n[defaults]\nlog_dir = logs\n\n\
         [Talker]\nimport_from = {}\nmin_proc_num = 2\n",
        this.display()
    );
    let scene = scene::Scene::new(&ini);
    let daemon = scene.start(&[]);
    daemon.status("talker", "running");
    let address = daemon.address().parse().expect("an address");
    let print = |line: &str| {
        let target = "/api/v1/services/talker/methods/say";
        let answer = http::post(address, target, "application/json", json!([line]).to_string().as_bytes());
        assert_eq!((answer.status, answer.text().as_str()), (200, "null"), "{}", daemon.log());
    };
    let page = steps::Scene { url: format!("http://{address}"), service: "talker", print: &print };
    steps::use_the_page(&browser, &page);
    assert_counted(address);
    let print = |line: &[u8]| {
        let target = "/api/v1/services/talker/methods/blurt";
        let answer = http::post(address, target, "application/octet-stream", line);
        assert_eq!((answer.status, answer.text().as_str()), (200, "Ok(())"), "{}", daemon.log());
    };
    steps::hostile_lines(&browser, &print);
    the_daemon_dies_under_the_page(&browser, &scene, daemon);
}

/// The moments, in ms since 1970, of the points of a chart's first line.
const POINTS: &str =
    "const {x, y} = document.querySelector('#charts figure[data-series^=pss] .plot').data[1];
    return x.map((time) => new Date(time).getTime()).filter((_, i) => y[i] !== null)";

/// The chart goes up to the kill, but for two seconds, and on after the restart; there is no hole but that.
fn the_chart_is_whole(browser: &webdriver::Browser, before: &[u64]) {
    let last_ms = before.last().copied().expect("something was measured");
    scene::eventually("the chart goes on", || {
        let points: Vec<u64> = serde_json::from_value(browser.run(POINTS, &[])).expect("times");
        (points.last() > Some(&(last_ms + 5000))).then_some(())
    });
    let points: Vec<u64> = serde_json::from_value(browser.run(POINTS, &[])).expect("times");
    let certain = &before[..before.len() - 2];
    // What was at the left end has gone out of view meanwhile.
    let missing: Vec<&u64> =
        certain.iter().filter(|time| **time >= points[0] && !points.contains(time)).collect();
    assert!(missing.is_empty(), "{missing:?} of {before:?} are not in {points:?}");
    let holes = points.windows(2).filter(|pair| pair[1] - pair[0] > 1000);
    let holes: Vec<_> = holes.filter(|pair| pair[0] + 2000 < last_ms || pair[0] > last_ms + 1000).collect();
    assert!(holes.is_empty(), "{holes:?} besides the outage after {last_ms} in {points:?}");
}

/// The page says so, and comes back by itself; the workers have served on, and so their processes are the same.
fn the_daemon_dies_under_the_page(
    browser: &webdriver::Browser,
    scene: &scene::Scene,
    mut daemon: scene::Daemon<'_>,
) {
    const PATIENCE: Duration = Duration::from_secs(30);
    let workers = "return [...document.querySelectorAll('#workers tbody tr')].map((row) => row.dataset.key).sort().join()";
    let before = browser.run(workers, &[]);
    browser.complaints();
    let points = scene::eventually("some points", || {
        let points: Vec<u64> = serde_json::from_value(browser.run(POINTS, &[])).expect("times");
        (points.len() > 5).then_some(points)
    });
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    let is_lost = "return document.getElementById('connection').innerText.includes('connection lost')";
    browser.wait_until("the loss is shown", PATIENCE, is_lost, &[]);
    let mut daemon = scene.start(&[]);
    steps::wait_until_live(browser);
    let are_back = format!("{} === arguments[0]", workers);
    browser.wait_until("the same workers are shown", PATIENCE, &are_back, &[before]);
    // The page is let in by the new daemon too.
    let call = "document.getElementById('try-method').value = 'say';
        document.getElementById('try-method').dispatchEvent(new Event('change'));
        document.getElementById('try-arguments').value = '[\"again\"]';
        document.getElementById('try-form').requestSubmit()";
    browser.run(call, &[]);
    let is_answered = "return document.getElementById('try-outcome').dataset.kind === 'good'";
    browser.wait_until("the method has answered", PATIENCE, is_answered, &[]);
    the_chart_is_whole(browser, &points);
    daemon.stop();
}

/// The calls that printed are in the table of methods: counted in the workers, read by the daemon.
fn assert_counted(address: std::net::SocketAddr) {
    scene::eventually("the calls are counted", || {
        let service = http::get(address, "/api/v1/services/talker").json();
        let methods = service["methods"].as_array()?.clone();
        let say = methods.iter().find(|method| method["name"] == "say")?.clone();
        (say["count"].as_u64()? > 0 && say["errors"] == 0).then_some(())
    });
}
