//! Everything that the pages offer, done with keys alone: the tabulator leads there, Enter, the space bar, arrows and letters do it.

use std::{path::Path, time::Duration};

use serde_json::json;
use shmrpc_web::LogStream;

use crate::{
    pages::CHARTS_ARE_DRAWN,
    server::TestServer,
    steps::{self, LINE_IS_THERE},
    webdriver::Browser,
};

const PATIENCE: Duration = Duration::from_secs(30);

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const SPACE: &str = " ";
const PAGE_UP: &str = "\u{e00e}";
const UP: &str = "\u{e013}";
/// Backspace and delete.
const DELETE_ALL: &str = "\u{e003}\u{e017}";
const DOWN: &str = "\u{e015}";

/// A reader without a pointer.
struct Typist<'a> {
    browser: &'a Browser,
}

impl Typist<'_> {
    /// Goes on by the tabulator until the focus is there, and presses keys.
    fn at(&self, selector: &str, keys: &str) {
        let has_focus = "return document.activeElement.matches(arguments[0])";
        for _ in 0..150 {
            if self.browser.run(has_focus, &[json!(selector)]) == true {
                self.browser.keys(keys);
                return;
            }
            self.browser.keys(TAB);
        }
        panic!("{selector} is not reached by keyboard");
    }

    fn sees(&self, what: &str, condition: &str) {
        self.browser.wait_until(what, PATIENCE, &format!("return {condition}"), &[]);
    }

    fn sees_line(&self, text: &str, is_there: bool) {
        let script = format!("{LINE_IS_THERE} === arguments[1]");
        self.browser.wait_until(text, PATIENCE, &script, &[json!(text), json!(is_there)]);
    }

    /// A question has the focus; it is answered with yes.
    fn agrees(&self) {
        self.sees("it is asked", "document.getElementById('question').open");
        self.at("#question-yes", SPACE);
    }
}

#[test]
fn the_overview_by_keyboard_alone() {
    let Some(browser) = Browser::start("the_overview_by_keyboard_alone") else { return };
    let server = TestServer::start();
    let typist = Typist { browser: &browser };
    browser.open(&format!("http://{}", server.address));
    steps::wait_until_live(&browser);

    services_are_found_and_sorted(&typist);
    orders_of_the_overview(&typist, &server);
    log_of_all(&typist, &server);

    typist.at("nav a[href='/events']", ENTER);
    typist.sees("the events", "location.pathname === '/events'");
    steps::wait_until_live(&browser);
    typist.sees_line("echo_serv: stop ordered", true);
    typist.at("#log-text", "restart");
    typist.sees_line("echo_serv: stop ordered", false);
    typist.sees_line("echo_serv: restart-at-once ordered", true);
    assert_eq!(browser.complaints(), [""; 0]);
}

fn services_are_found_and_sorted(typist: &Typist<'_>) {
    let names = |expected: &str| {
        let names = "[...document.querySelectorAll('table.services tbody tr:not([hidden])')].map((row) => row.dataset.key).join()";
        typist.sees(expected, &format!("{names} === '{expected}'"));
    };
    names("echo_serv,reports");
    typist.at("#show", DOWN);
    names("echo_serv");
    typist.browser.keys(UP);
    typist.at("th[data-sort=workers] button", ENTER);
    typist.browser.keys(SPACE);
    names("reports,echo_serv");
}

fn orders_of_the_overview(typist: &Typist<'_>, server: &TestServer) {
    // A question has the focus, and Escape leaves everything as it was.
    let stop = "button[data-action=stop][data-service=echo_serv]";
    typist.at(stop, ENTER);
    typist.sees("it is asked", "document.getElementById('question').open");
    typist.browser.keys(ESCAPE);
    typist.sees("nothing is asked", "!document.getElementById('question').open");
    steps::wait_for_status(typist.browser, "echo_serv", "running");
    typist.at(stop, SPACE);
    typist.agrees();
    steps::wait_for_status(typist.browser, "echo_serv", "stopped");
    typist.at(".undo", ENTER);
    steps::wait_for_status(typist.browser, "echo_serv", "running");
    typist.at(stop, ENTER);
    typist.agrees();
    steps::wait_for_status(typist.browser, "echo_serv", "stopped");
    typist.at("button[data-action=start][data-service=echo_serv]", ENTER);
    steps::wait_for_status(typist.browser, "echo_serv", "running");

    // The menu of rarer orders, open and closed.
    typist.at("tr[data-key=echo_serv] summary", ENTER);
    typist.at("tr[data-key=echo_serv] button[data-action=scale]", ESCAPE);
    typist.sees(
        "the menu is closed",
        "!document.querySelector('tr[data-key=echo_serv] details').open
            && document.activeElement.matches('tr[data-key=echo_serv] summary')",
    );
    let pids = || -> Vec<u32> {
        server.daemon.state().services[0].workers.iter().map(|worker| worker.pid).collect()
    };
    let before = pids();
    typist.browser.keys(SPACE);
    typist.at("tr[data-key=echo_serv] button[data-action=restart-at-once]", ENTER);
    typist.agrees();
    let deadline = std::time::Instant::now() + PATIENCE;
    while pids().first().is_none_or(|pid| before.contains(pid)) {
        assert!(std::time::Instant::now() < deadline, "it is not restarted");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A text, a service; paused and cleared.
fn log_of_all(typist: &Typist<'_>, server: &TestServer) {
    let print = |text: &str| server.daemon.log.push("echo_serv", Some(1), LogStream::Stdout, text.into());
    print("hay");
    print("a needle");
    typist.at("#log-text", "needle");
    typist.sees_line("hay", false);
    typist.sees_line("a needle", true);
    typist.at("#log-pause", SPACE);
    print("another needle");
    typist.sees("it is counted", "document.getElementById('log-pause').textContent.includes('1 new')");
    typist.browser.keys(SPACE);
    typist.sees_line("another needle", true);
    typist.at("#log-clear", ENTER);
    typist.sees_line("another needle", false);
    typist.at("#log-service", DOWN);
    print("a needle of the service");
    typist.sees(
        "another service's lines are hidden",
        "document.getElementById('log-service').value === 'daemon'",
    );
    typist.sees_line("a needle of the service", false);
}

#[test]
fn the_page_of_a_service_by_keyboard_alone() {
    let Some(browser) = Browser::start("the_page_of_a_service_by_keyboard_alone") else { return };
    let server = TestServer::start();
    let typist = Typist { browser: &browser };
    browser.open(&format!("http://{}", server.address));
    steps::wait_until_live(&browser);
    typist.at("tr[data-key=echo_serv] a.title", ENTER);
    typist.sees("the service's page", "location.pathname === '/services/echo_serv'");
    steps::wait_until_live(&browser);

    orders(&typist);
    browser.wait_until("the charts are drawn", PATIENCE, CHARTS_ARE_DRAWN, &[]);
    charts(&typist);
    attempts(&typist);
    for number in 0..200 {
        server.daemon.log.push("echo_serv", Some(1), LogStream::Stdout, format!("line {number}"));
    }
    server.daemon.log.push("echo_serv", Some(1), LogStream::Log, "error: loud".into());
    log(&typist);
    assert_eq!(browser.complaints(), [""; 0]);
}

fn orders(typist: &Typist<'_>) {
    let head = |status: &str| {
        typist
            .sees(status, &format!("document.querySelector('.service-head').dataset.status === '{status}'"));
    };
    let workers = |count: usize| {
        typist.sees(
            "as many workers",
            &format!("document.querySelectorAll('#workers tbody tr').length === {count}"),
        )
    };
    typist.at("button[data-action=stop]", ENTER);
    typist.agrees();
    head("stopped");
    typist.at("button[data-action=start]", SPACE);
    head("running");
    workers(2);
    typist.at("[data-key=more] button", ENTER);
    workers(3);
    typist.at("[data-key=fewer] button", SPACE);
    workers(2);
    typist.at("[data-key=auto] button", ENTER);
    typist.sees(
        "the size is the load's",
        "document.querySelector('[data-key=auto] button').getAttribute('aria-disabled') === 'true'",
    );
    typist.at("button[data-action=restart]", ENTER);
    typist.sees(
        "it is told",
        "document.getElementById('notices').textContent.includes('Restart echo_serv: ordered')",
    );
    head("running");
}

fn charts(typist: &Typist<'_>) {
    let drawn = "Number(document.getElementById('charts').dataset.drawn)";
    let is_whole = "document.getElementById('charts-whole').getAttribute('aria-disabled') === 'true'";
    typist.at("a[data-seconds='3600']", ENTER);
    typist.sees("the range", "location.search === '?range=1h'");
    typist.sees(
        "the range's tables",
        "(([first, second]) => Date.parse(second.dateTime) - Date.parse(first.dateTime) === 300000)
            (document.querySelectorAll('#charts figure table time'))",
    );
    let (from, span) = (
        "document.querySelector('#charts .plot').layout.xaxis.range.map((at) => new Date(at).getTime())",
        "(([from, to]) => to - from)",
    );
    typist.at("button[data-zoom=in]", SPACE);
    typist.sees("half an hour", &format!("Math.abs({span}({from}) / 60000 - 30) < 2 && {drawn} > 1"));
    for zoom in ["earlier", "later"] {
        typist.at(&format!("button[data-zoom={zoom}]"), ENTER);
        typist.sees("still a part", &format!("!({is_whole})"));
    }
    typist.at("#charts-whole", ENTER);
    typist.sees("the whole range", is_whole);
    typist.sees("an hour again", &format!("Math.abs({span}({from}) / 60000 - 60) < 2"));
    typist.at("#charts figure summary", ENTER);
    typist.sees("the figures as a table", "document.querySelector('#charts figure details').open");
    typist.at("#methods th[data-sort=name] button", ENTER);
    typist.sees(
        "the methods in order",
        "document.querySelector('#methods th[data-sort=name]').getAttribute('aria-sort') !== null",
    );
}

fn attempts(typist: &Typist<'_>) {
    let answered = |kind: &str, reply: &str| {
        let condition = format!(
            "document.getElementById('try-outcome').dataset.kind === '{kind}'
                && document.getElementById('try-reply').textContent.includes('{reply}')"
        );
        typist.sees(reply, &condition);
    };
    // From the table of methods to the form.
    typist.sees("the form is there", "!document.getElementById('try-form').hidden");
    typist.at("a[data-method=echo_raw]", ENTER);
    typist.sees("the form has the focus", "document.activeElement.id === 'try-method'");
    typist.at("#try-text", "bytes");
    typist.at("#try-call", SPACE);
    answered("good", "bytes");
    typist.at("#try-method", DOWN);
    typist.sees("the next method", "document.getElementById('try-method').value === 'echo_json'");
    // Wherever the caret stands in what was there.
    let (rest, arguments) = (DELETE_ALL.repeat("[null]".len()), "[{\"a\": 1}]");
    typist.at("#try-arguments", &format!("{rest}{arguments}"));
    typist.at("#try-schema summary", ENTER);
    typist.sees("the schema", "document.getElementById('try-schema').open");
    typist.at("#try-call", ENTER);
    answered("good", "\"a\": 1");
    // A method that takes a stream gets the lines.
    typist.at("a[data-method=pour]", ENTER);
    typist.sees("the form has the focus", "document.activeElement.id === 'try-method'");
    typist.at("#try-items", &format!("\"one\"{ENTER}\"two\""));
    typist.at("#try-call", SPACE);
    answered("good", "\"one\"\"two\"");
}

fn log(typist: &Typist<'_>) {
    let folder = tempfile::tempdir().unwrap();
    let to = json!({"behavior": "allow", "downloadPath": folder.path()});
    typist.browser.cdp("Browser.setDownloadBehavior", &to);
    typist.sees_line("error: loud", true);
    typist.at("#log-level", &DOWN.repeat(3));
    typist.sees_line("line 199", false);
    typist.sees_line("error: loud", true);
    typist.browser.keys(&UP.repeat(3));
    typist.at("#log-text", "line 19");
    typist.sees_line("line 18", false);
    typist.sees_line("line 199", true);
    typist.browser.keys(ESCAPE);
    typist.at("#log a[download]", ENTER);
    assert!(arrives(folder.path(), "line 199"), "no file of the log");
    typist.at("#log-lines", PAGE_UP);
    typist.at("#log-newest", ENTER);
    typist.sees("the newest lines", "document.getElementById('log-newest').hidden");
}

/// Whether a file with that text is there in time.
fn arrives(folder: &Path, text: &str) -> bool {
    let deadline = std::time::Instant::now() + PATIENCE;
    while std::time::Instant::now() < deadline {
        let mut files = std::fs::read_dir(folder).unwrap().flatten();
        if files.any(|file| std::fs::read_to_string(file.path()).is_ok_and(|read| read.contains(text))) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}
