//! The page in headless Chromium, in front of the imagined daemon.

use std::{net::TcpListener, sync::Arc, time::Duration};

use serde_json::json;
use shmrpc_web::{LogStream, WebOptions};

use crate::{
    fake::FakeDaemon,
    server::TestServer,
    steps::{self, LINE_IS_THERE, Scene},
    webdriver::Browser,
};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn the_page_works_in_a_browser() {
    let Some(browser) = Browser::start("the_page_works_in_a_browser") else { return };
    let server = TestServer::start();
    let print = |line: &str| {
        let body = json!([line]).to_string();
        let target = "/api/v1/services/echo_serv/methods/print";
        let answer = crate::http::post(server.address, target, "application/json", body.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let scene = Scene { url: format!("http://{}", server.address), service: "echo_serv", print: &print };
    steps::use_the_page(&browser, &scene);
}

#[test]
fn the_console_log_in_a_browser() {
    let Some(browser) = Browser::start("the_console_log_in_a_browser") else { return };
    let server = TestServer::start();
    let print = |service: &str, text: &str| {
        server.daemon.log.push(service, Some(1), LogStream::Stdout, text.into());
    };
    browser.open(&format!("http://{}", server.address));
    steps::wait_until_live(&browser);

    // Markup stays text.
    print("echo_serv", "<img src=x onerror=\"document.title='taken over'\"> plain");
    browser.wait_until("markup is shown as text", PATIENCE, LINE_IS_THERE, &[json!("<img src=x")]);
    assert_eq!(browser.run("return document.querySelectorAll('#log img').length", &[]), 0);
    assert_ne!(browser.run("return document.title", &[]), "taken over");

    // The filters hide what does not match, and what comes later too.
    let choose = "const [id, value, kind] = arguments; const field = document.getElementById(id);
        field.value = value; field.dispatchEvent(new Event(kind, {bubbles: true}))";
    browser.run(choose, &[json!("log-text"), json!("NEEDLE"), json!("input")]);
    print("echo_serv", "hay");
    print("reports", "a needle");
    browser.wait_until("a match is shown", PATIENCE, LINE_IS_THERE, &[json!("a needle")]);
    assert_eq!(browser.run(LINE_IS_THERE, &[json!("hay")]), false);
    browser.run(choose, &[json!("log-service"), json!("echo_serv"), json!("change")]);
    assert_eq!(browser.run(LINE_IS_THERE, &[json!("a needle")]), false);
    browser.run(choose, &[json!("log-service"), json!(""), json!("change")]);
    browser.run(choose, &[json!("log-text"), json!(""), json!("input")]);
    assert_eq!(browser.run(LINE_IS_THERE, &[json!("hay")]), true);

    // Paused, nothing moves; resumed, nothing is missing.
    browser.click("#log-pause");
    print("echo_serv", "while paused");
    let is_counted = "return document.getElementById('log-pause').textContent.includes('1 new')";
    browser.wait_until("the waiting line is counted", PATIENCE, is_counted, &[]);
    assert_eq!(browser.run(LINE_IS_THERE, &[json!("while paused")]), false);
    browser.click("#log-pause");
    assert_eq!(browser.run(LINE_IS_THERE, &[json!("while paused")]), true);

    // Bounded, and at the end unless the reader has scrolled up.
    for i in 0..3000 {
        print("echo_serv", &format!("flood {i}"));
    }
    browser.wait_until("the last line is there", PATIENCE, LINE_IS_THERE, &[json!("flood 2999")]);
    let kept = browser.run("return document.querySelectorAll('#log-lines .line').length", &[]);
    assert!(kept.as_u64().is_some_and(|kept| kept <= 2000), "{kept} lines in the page");
    let is_at_end = "const log = document.getElementById('log-lines');
        return log.scrollHeight - log.scrollTop - log.clientHeight < 2";
    browser.wait_until("the newest lines are in view", PATIENCE, is_at_end, &[]);
    browser.run("document.getElementById('log-lines').scrollTop = 0", &[]);
    let can_return = "return !document.getElementById('log-newest').hidden";
    browser.wait_until("the way back is offered", PATIENCE, can_return, &[]);
    print("echo_serv", "after scrolling up");
    browser.wait_until("the line is added", PATIENCE, LINE_IS_THERE, &[json!("after scrolling up")]);
    assert_eq!(browser.run(is_at_end, &[]), false, "the reader was carried away");
    browser.click("#log-newest");
    browser.wait_until("the newest lines are in view again", PATIENCE, is_at_end, &[]);
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn the_page_recovers_by_itself() {
    let Some(browser) = Browser::start("the_page_recovers_by_itself") else { return };
    let daemon = FakeDaemon::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = TestServer::on(listener, Arc::clone(&daemon), WebOptions::default());
    browser.open(&format!("http://{address}"));
    steps::wait_until_live(&browser);
    drop(server);
    let is_lost = "return document.getElementById('connection').innerText.includes('connection lost')";
    browser.wait_until("the loss is shown", PATIENCE, is_lost, &[]);
    daemon.log.push("echo_serv", None, LogStream::Stdout, "printed in between".into());
    let listener = TcpListener::bind(address).expect("the port is free again");
    let _server = TestServer::on(listener, daemon, WebOptions::default());
    steps::wait_until_live(&browser);
    browser.wait_until("nothing is missing", PATIENCE, LINE_IS_THERE, &[json!("printed in between")]);
}

#[test]
fn a_buttons_focus_and_an_opened_part_survive_the_updates() {
    let Some(browser) = Browser::start("a_buttons_focus_and_an_opened_part_survive_the_updates") else {
        return;
    };
    let options = WebOptions { refresh_interval: Duration::from_millis(50), ..WebOptions::default() };
    let server = TestServer::with(options);
    browser.open(&format!("http://{}", server.address));
    steps::wait_until_live(&browser);
    let prepare = "document.querySelector('button[data-service=echo_serv]').focus();
        document.querySelector('tr[data-key=reports] details').open = true";
    browser.run(prepare, &[]);
    let updates = server.daemon.snapshots_taken();
    while server.daemon.snapshots_taken() < updates + 10 {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(browser.run("return document.querySelector('tr[data-key=reports] details').open", &[]), true);
    browser.run("document.activeElement.click()", &[]);
    browser.click("#question-yes");
    steps::wait_for_status(&browser, "echo_serv", "stopped");
    let focus = "return document.activeElement.dataset.service + ' ' + document.activeElement.dataset.action";
    assert_eq!(browser.run(focus, &[]), "echo_serv start");
    let spoken = "return document.getElementById('notices').textContent.includes('echo_serv: stopped')";
    browser.wait_until("the change is told", PATIENCE, spoken, &[]);
}

#[test]
fn a_hidden_page_asks_for_nothing() {
    let Some(browser) = Browser::start("a_hidden_page_asks_for_nothing") else { return };
    let options = WebOptions { refresh_interval: Duration::from_millis(50), ..WebOptions::default() };
    let server = TestServer::with(options);
    browser.open(&format!("http://{}", server.address));
    steps::wait_until_live(&browser);
    let note = "window.states = [];
        new MutationObserver(() => window.states.push(document.getElementById('connection').dataset.state))
            .observe(document.getElementById('connection'), {attributes: true})";
    browser.run(note, &[]);
    let page = browser.cover();
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let asked = server.daemon.snapshots_taken();
        std::thread::sleep(Duration::from_millis(500));
        if server.daemon.snapshots_taken() == asked {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the hidden page still listens");
    }
    server.daemon.log.push("echo_serv", None, LogStream::Stdout, "printed meanwhile".into());
    browser.show(&page);
    steps::wait_until_live(&browser);
    browser.wait_until("nothing is missing", PATIENCE, LINE_IS_THERE, &[json!("printed meanwhile")]);
    assert_eq!(browser.run("return window.states.includes('paused')", &[]), true);
}
