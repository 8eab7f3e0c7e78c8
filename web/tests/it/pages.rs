//! Each page in headless Chromium: what it shows and does, and that a checker of accessibility (axe-core) finds nothing.

use std::{path::Path, sync::Arc, time::Duration};

use serde_json::json;
use shmrpc_web::{LogStream, WebOptions};

use crate::{
    fake::FakeDaemon,
    server::TestServer,
    steps::{self, LINE_IS_THERE},
    webdriver::Browser,
};

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const CHARTS_ARE_DRAWN: &str = "document.getElementById('charts').scrollIntoView();
    return Number(document.getElementById('charts').dataset.drawn ?? 0) > 0";

#[test]
fn the_page_of_a_service() {
    let Some(browser) = Browser::start("the_page_of_a_service") else { return };
    let server = TestServer::start();
    browser.open(&format!("http://{}/services/echo_serv", server.address));
    steps::wait_until_live(&browser);
    browser.wait_until("the charts are drawn", PATIENCE, CHARTS_ARE_DRAWN, &[]);

    // A range is chosen without loading the page, and its tables follow.
    browser.click("a[data-seconds='86400']");
    let steps_of_a_day =
        "const times = [...document.querySelectorAll('#charts figure table')][0].querySelectorAll('time');
        return Date.parse(times[1].dateTime) - Date.parse(times[0].dateTime) === 7200000";
    browser.wait_until("the tables are of a day", PATIENCE, steps_of_a_day, &[]);
    assert_eq!(browser.run("return location.search", &[]), "?range=1d");
    let drawn = "return Number(document.getElementById('charts').dataset.drawn)";
    let before = browser.run(drawn, &[]);
    browser.click("button[data-zoom=in]");
    browser.wait_until("the charts are zoomed", PATIENCE, &format!("{drawn} > arguments[0]"), &[before]);
    let can_return = "return document.getElementById('charts-whole').getAttribute('aria-disabled')";
    assert_eq!(browser.run(can_return, &[]), "false");

    // A method is tried: a reply, an error of the service, bad JSON, bytes, a stream.
    let outcome = "return document.getElementById('try-outcome').dataset.kind === arguments[0]
        && document.getElementById('try-reply').textContent.includes(arguments[1])";
    for (method, arguments, kind, reply) in [
        ("echo_json", "[{\"a\": 1}]", "good", "\"a\": 1"),
        ("fail", "[]", "bad", "service-error"),
        ("ticks", "[7]", "good", "{\"item\":3}\n{\"reply\":[7]}"),
    ] {
        try_method(&browser, method, "try-arguments", arguments);
        browser.wait_until(
            &format!("{method} has answered"),
            PATIENCE,
            outcome,
            &[json!(kind), json!(reply)],
        );
    }
    try_method(&browser, "echo_json", "try-arguments", "{");
    browser.wait_until("bad JSON is told", PATIENCE, outcome, &[json!("bad"), json!("")]);
    try_method(&browser, "echo_raw", "try-text", "<b>bytes</b>");
    browser.wait_until("bytes come back", PATIENCE, outcome, &[json!("good"), json!("<b>bytes</b>")]);

    // Its own lines alone, the least of them hidden on demand.
    server.daemon.log.push("reports", Some(1), LogStream::Stdout, "of another service".into());
    server.daemon.log.push("echo_serv", Some(1), LogStream::Log, "debug: detail".into());
    server.daemon.log.push("echo_serv", Some(1), LogStream::Log, "error: \u{1b}[1;31mloud\u{1b}[0m".into());
    browser.wait_until("its line is there", PATIENCE, LINE_IS_THERE, &[json!("loud")]);
    assert_eq!(browser.run(LINE_IS_THERE, &[json!("of another service")]), false);
    assert_eq!(browser.run("return document.querySelector('.f1.bold')?.textContent", &[]), "loud");
    let choose = "const level = document.getElementById('log-level'); level.value = '2';
        level.dispatchEvent(new Event('change'))";
    browser.run(choose, &[]);
    assert_eq!(browser.run(LINE_IS_THERE, &[json!("debug: detail")]), false);
    assert_eq!(browser.run(LINE_IS_THERE, &[json!("loud")]), true);
    let expected_failures = |complaint: &&String| !complaint.contains("/methods/fail");
    let complaints = browser.complaints();
    assert_eq!(complaints.iter().filter(expected_failures).collect::<Vec<_>>(), [""; 0]);
}

/// The form begins with a value of the method's own types.
#[test]
fn a_struct_is_filled_in_by_its_schema() {
    let Some(browser) = Browser::start("a_struct_is_filled_in_by_its_schema") else { return };
    let server = TestServer::start();
    browser.open(&format!("http://{}/services/echo_serv", server.address));
    steps::wait_until_live(&browser);
    let choose = "if (document.getElementById('try-form').hidden) return false;
        const choice = document.getElementById('try-method');
        choice.value = 'send'; choice.dispatchEvent(new Event('change'));
        return true";
    browser.wait_until("the form is there", PATIENCE, choose, &[]);
    let filled = browser.run("return document.getElementById('try-arguments').value", &[]);
    let filled: serde_json::Value = serde_json::from_str(filled.as_str().unwrap()).unwrap();
    let expected = json!([{
        "id": 1, "to": {"kind": "house", "street": ""}, "express": true, "tags": [], "note": "", "inner": null
    }, 0]);
    assert_eq!(filled, expected);
    // The types that the schema names stand beneath it.
    let schema = browser.run("return document.querySelector('#try-schema pre').textContent", &[]);
    let schema: serde_json::Value = serde_json::from_str(schema.as_str().unwrap()).unwrap();
    let reference = schema["prefixItems"][0]["$ref"].as_str().unwrap();
    assert_eq!(schema.pointer(&reference[1..]).unwrap()["properties"]["express"]["default"], true);
    assert!(schema.pointer("/components/schemas/echo_serv.Address").is_some(), "{schema}");
    // What was filled in can be sent.
    browser.run("document.getElementById('try-form').requestSubmit()", &[]);
    let outcome = "return document.getElementById('try-outcome').dataset.kind === 'good'
        && document.getElementById('try-reply').textContent.includes('house')";
    browser.wait_until("send has answered", PATIENCE, outcome, &[]);
    // Of a method that takes a stream, its first line and its items.
    browser.run(&choose.replace("'send'", "'swap'"), &[]);
    let filled = browser.run("return document.getElementById('try-arguments').value", &[]);
    assert_eq!(filled.as_str(), Some("[null]"));
    let schema = browser.run("return document.querySelector('#try-schema pre').textContent", &[]);
    let schema: serde_json::Value = serde_json::from_str(schema.as_str().unwrap()).unwrap();
    assert_eq!(schema["arguments"]["prefixItems"][0]["title"], "data: Value");
    assert_eq!(schema["item"]["$ref"], "#/components/schemas/echo_serv.Parcel");
    assert_eq!(browser.complaints(), [""; 0]);
}

fn try_method(browser: &Browser, method: &str, field: &str, text: &str) {
    let fill =
        "const [method, field, text] = arguments; const choice = document.getElementById('try-method');
        if (document.getElementById('try-form').hidden) return false;
        choice.value = method; choice.dispatchEvent(new Event('change'));
        document.getElementById(field).value = text;
        document.getElementById('try-form').requestSubmit();
        return true";
    browser.wait_until("the form is there", PATIENCE, fill, &[json!(method), json!(field), json!(text)]);
}

/// It says so, asks for nothing that is not there, and is back when the service is.
#[test]
fn the_page_of_a_service_that_is_removed() {
    let Some(browser) = Browser::start("the_page_of_a_service_that_is_removed") else { return };
    let options = WebOptions { refresh_interval: Duration::from_millis(50), ..WebOptions::default() };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = TestServer::on(listener, FakeDaemon::new(), options.clone());
    let daemon = Arc::clone(&server.daemon);
    browser.open(&format!("http://{address}/services/echo_serv"));
    steps::wait_until_live(&browser);
    browser.wait_until("the charts are drawn", PATIENCE, CHARTS_ARE_DRAWN, &[]);
    let removed = daemon.state().services.remove(0);
    let is_gone = "return document.querySelector('.gone')?.innerText.includes('no longer in the daemon')
        && ['charts', 'try', 'configuration'].every((id) => !document.getElementById(id).checkVisibility())
        && document.getElementById('notices').textContent.includes('echo_serv: gone')";
    browser.wait_until("it is told", PATIENCE, is_gone, &[]);

    // A daemon that starts without it is told of in the same way, and the page does not take it for a broken connection.
    drop(server);
    let is_lost = "return document.getElementById('connection').innerText.includes('connection lost')";
    browser.wait_until("the loss is shown", PATIENCE, is_lost, &[]);
    let listener = std::net::TcpListener::bind(address).expect("the port is free again");
    let _server = TestServer::on(listener, Arc::clone(&daemon), options);
    steps::wait_until_live(&browser);
    browser.wait_until("it is still told", PATIENCE, is_gone, &[]);
    browser.complaints();
    let updates = daemon.snapshots_taken();
    while daemon.snapshots_taken() < updates + 20 {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(browser.complaints(), [""; 0]);

    daemon.state().services.insert(0, removed);
    let is_back =
        "return !document.querySelector('.gone') && document.getElementById('charts').checkVisibility()
        && document.querySelector('.service-head h1').textContent === 'echo_serv'";
    browser.wait_until("it is there again", PATIENCE, is_back, &[]);
    daemon.state().services.remove(0);
    browser.wait_until("it is gone again", PATIENCE, "return !!document.querySelector('.gone')", &[]);
    browser.click(".gone a");
    browser.wait_until("the overview", PATIENCE, "return location.pathname === '/'", &[]);
    steps::wait_until_live(&browser);
}

#[test]
fn services_are_sorted_and_found() {
    let Some(browser) = Browser::start("services_are_sorted_and_found") else { return };
    let options = WebOptions { refresh_interval: Duration::from_millis(50), ..WebOptions::default() };
    let server = TestServer::with(options);
    browser.open(&format!("http://{}", server.address));
    steps::wait_until_live(&browser);
    let names = "return [...document.querySelectorAll('table.services tbody tr:not([hidden])')].map((row) => row.dataset.key).join()";
    assert_eq!(browser.run(names, &[]), "echo_serv,reports");
    browser.click("th[data-sort=workers] button");
    assert_eq!(browser.run(names, &[]), "echo_serv,reports");
    browser.click("th[data-sort=workers] button");
    assert_eq!(browser.run(names, &[]), "reports,echo_serv");
    let sorted = "return document.querySelector('th[data-sort=workers]').getAttribute('aria-sort')";
    assert_eq!(browser.run(sorted, &[]), "ascending");
    // The order survives updates.
    let updates = server.daemon.snapshots_taken();
    while server.daemon.snapshots_taken() < updates + 10 {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(browser.run(names, &[]), "reports,echo_serv");
    browser.keys("/");
    browser.keys("echo");
    browser.wait_until("one service is found", PATIENCE, &format!("{names} === 'echo_serv'"), &[]);
    assert_eq!(browser.complaints(), [""; 0]);
}

/// Whatever the width, nothing stands out of the page sideways.
#[test]
fn pages_fit_into_any_width() {
    let Some(browser) = Browser::start("pages_fit_into_any_width") else { return };
    let server = TestServer::start();
    for path in ["/", "/services/echo_serv", "/events"] {
        browser.open(&format!("http://{}{path}", server.address));
        steps::wait_until_live(&browser);
        for width in [360, 700, 920, 1100, 1300, 1900, 2600] {
            browser.widen(width);
            let fits = "return document.documentElement.scrollWidth === document.documentElement.clientWidth";
            // Charts follow the width when they are drawn again.
            browser.wait_until(&format!("{path} fits {width} pixels"), PATIENCE, fits, &[]);
        }
    }
}

#[test]
fn the_events_are_a_timeline() {
    let Some(browser) = Browser::start("the_events_are_a_timeline") else { return };
    let server = TestServer::start();
    browser.open(&format!("http://{}/events", server.address));
    steps::wait_until_live(&browser);
    server.daemon.log.push("echo_serv", None, LogStream::Stdout, "printed".into());
    server.daemon.log.push("echo_serv", None, LogStream::Daemon, "2 → 3 workers: busy 0.9 for 20 s".into());
    browser.wait_until("the event is there", PATIENCE, LINE_IS_THERE, &[json!("2 → 3 workers")]);
    assert_eq!(browser.run(LINE_IS_THERE, &[json!("printed")]), false);
    assert_eq!(browser.run(LINE_IS_THERE, &[json!("2 services configured")]), true);
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn what_a_hostile_worker_prints_is_harmless() {
    let Some(browser) = Browser::start("what_a_hostile_worker_prints_is_harmless") else { return };
    let server = TestServer::start();
    browser.open(&format!("http://{}/services/echo_serv", server.address));
    steps::wait_until_live(&browser);
    let print = |line: &[u8]| {
        let text = String::from_utf8_lossy(line).into_owned();
        server.daemon.log.push("echo_serv", Some(1), LogStream::Stdout, text);
    };
    steps::hostile_lines(&browser, &print);
    assert_eq!(browser.complaints(), [""; 0]);
}

/// The API's page is judged by its frame alone: what its library draws is not ours to mend.
#[test]
fn axe_finds_nothing_on_any_page() {
    let name = "axe_finds_nothing_on_any_page";
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/page-tools/node_modules/axe-core/axe.min.js");
    let Ok(axe) = std::fs::read_to_string(&file) else {
        let required = std::env::var_os("SHMRPC_REQUIRE_AXE").is_some_and(|value| value == "1");
        assert!(!required, "{} is required (.ci/install-page-tools)", file.display());
        eprintln!("SKIPPED {name}: no axe-core (.ci/install-page-tools)");
        return;
    };
    let Some(browser) = Browser::start(name) else { return };
    let server = TestServer::start();
    let mut all = Vec::new();
    for (path, scheme) in [
        ("/", "light"),
        ("/", "dark"),
        ("/services/echo_serv", "light"),
        ("/services/echo_serv", "dark"),
        ("/services/reports", "light"),
        ("/events", "light"),
        ("/events", "dark"),
        ("/api", "light"),
    ] {
        browser.prefer(scheme);
        browser.open(&format!("http://{}{path}", server.address));
        match path {
            "/api" => browser.wait_until(
                "the API is shown",
                PATIENCE,
                "return !!document.querySelector('.opblock')",
                &[],
            ),
            _ => steps::wait_until_live(&browser),
        }
        if path.starts_with("/services") {
            browser.wait_until("the charts are drawn", PATIENCE, CHARTS_ARE_DRAWN, &[]);
        }
        browser.run(&axe, &[]);
        let begin = "window.found = null; const context = {exclude: [['#swagger']]};
            axe.run(context).then((result) => window.found = result.violations.map((violation) =>
                `${violation.id}: ${violation.help}: ${violation.nodes.slice(0, 5).map((node) => node.html + ' ' + node.failureSummary).join(' | ')}`))";
        browser.run(begin, &[]);
        browser.wait_until("axe has judged", PATIENCE, "return window.found !== null", &[]);
        let found = browser.run("return window.found", &[]);
        if found != json!([]) {
            all.push(format!("{path} in {scheme}: {found:#}"));
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}
