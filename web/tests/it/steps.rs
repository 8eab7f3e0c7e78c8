//! What a user does with the page, in a real browser: written against an address alone, so that the same
//! steps run against the imagined daemon and the real one.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::webdriver::Browser;

/// For everything that is not promised to be quick.
const PATIENCE: Duration = Duration::from_secs(30);
/// A printed line is promised to be on the page so soon.
const LINE_WITHIN: Duration = Duration::from_secs(2);

/// What the steps need to know of the daemon.
pub(crate) struct Scene<'a> {
    /// `http://127.0.0.1:5155`.
    pub(crate) url: String,
    /// A service that runs, may be stopped and has methods.
    pub(crate) service: &'a str,
    /// Makes that service print a line.
    pub(crate) print: &'a dyn Fn(&str),
}

/// The tables fill, stop and start work by clicking, a printed line appears within two seconds, the service's own page shows
/// its methods, draws its charts and calls a method, and the browser has nothing to complain about.
pub(crate) fn use_the_page(browser: &Browser, scene: &Scene<'_>) {
    browser.open(&scene.url);
    wait_until_live(browser);
    tables_fill(browser, scene);
    stop_and_start(browser, scene);
    printed_line_appears(browser, scene);
    its_own_page(browser, scene);
    assert_eq!(browser.complaints(), [""; 0]);
}

pub(crate) fn wait_until_live(browser: &Browser) {
    let script = "return document.getElementById('connection')?.dataset.state === 'live'";
    browser.wait_until("the page is live", PATIENCE, script, &[]);
}

fn tables_fill(browser: &Browser, scene: &Scene<'_>) {
    wait_for_status(browser, scene.service, "running");
    have_captions(browser);
}

fn have_captions(browser: &Browser) {
    let script = "return [...document.querySelectorAll('table')].every((table) =>
        table.caption?.textContent && table.querySelectorAll('thead th[scope=col]').length > 1)";
    browser.wait_until("the tables have captions and headings", PATIENCE, script, &[]);
}

fn its_own_page(browser: &Browser, scene: &Scene<'_>) {
    browser.click(&format!("tr[data-key='{}'] a.title", scene.service));
    browser.wait_until(
        "the service's page is there",
        PATIENCE,
        "return !!document.querySelector('.service-head')",
        &[],
    );
    wait_until_live(browser);
    let script = "return document.querySelectorAll(
        `table.methods tbody tr[data-key^=\"${CSS.escape(arguments[0])}.\"]`).length > 0";
    browser.wait_until("the service's methods are listed", PATIENCE, script, &[json!(scene.service)]);
    have_captions(browser);
    let drawn = "document.getElementById('charts').scrollIntoView();
        return document.querySelectorAll('#charts .plot svg.main-svg').length >= 8";
    browser.wait_until("the charts are drawn", PATIENCE, drawn, &[]);
    let configured = "return document.querySelector('pre.ini')?.textContent.includes('import_from')";
    browser.wait_until("its part of the ini is shown", PATIENCE, configured, &[]);
}

fn stop_and_start(browser: &Browser, scene: &Scene<'_>) {
    let button = |action: &str| format!("button[data-action={action}][data-service='{}']", scene.service);
    browser.click(&button("stop"));
    browser.click("#question-no");
    browser.click(&button("stop"));
    browser.click("#question-yes");
    wait_for_status(browser, scene.service, "stopped");
    browser.click(&button("start"));
    wait_for_status(browser, scene.service, "running");
}

pub(crate) fn wait_for_status(browser: &Browser, service: &str, status: &str) {
    let script = "const row = document.querySelector(
        `table.services tr[data-key=\"${CSS.escape(arguments[0])}\"]`);
        return row?.dataset.status === arguments[1]
            && row.querySelector('.status').textContent === arguments[1]";
    let arguments = [json!(service), json!(status)];
    browser.wait_until(&format!("{service} is shown as {status}"), PATIENCE, script, &arguments);
}

/// Three tries: a machine that is busy with something else may hold up one of them.
fn printed_line_appears(browser: &Browser, scene: &Scene<'_>) {
    for attempt in 1..=3 {
        let line = format!("a line printed for the browser, attempt {attempt}");
        let printed = Instant::now();
        (scene.print)(&line);
        if browser.is_within(LINE_WITHIN, LINE_IS_THERE, &[json!(line)]) {
            eprintln!("a printed line was on the page after {:?}", printed.elapsed());
            return;
        }
    }
    panic!("no printed line was on the page within {LINE_WITHIN:?}");
}

/// Lines that try to act are shown as text: markup, escapes of terminals, bytes that are no UTF-8, a megabyte. The page of the
/// service that prints them is open.
pub(crate) fn hostile_lines(browser: &Browser, print: &dyn Fn(&[u8])) {
    print(
        b"<script>document.title = 'taken over'</script><img src=x onerror=\"document.title='taken over'\">",
    );
    print(b"\x1b]0;taken over\x07\x1b[2J\x1b[31;999;1m<b>red</b>");
    print(b"not \xff\xfe\xc3 UTF-8");
    print(&[b'y'; 1 << 20]);
    print(b"the last line");
    browser.wait_until("all of it is there", PATIENCE, LINE_IS_THERE, &[json!("the last line")]);
    for shown in ["<script>document", "<b>red</b>", "not \u{fffd}\u{fffd}\u{fffd} UTF-8", "characters more"] {
        assert_eq!(browser.run(LINE_IS_THERE, &[json!(shown)]), true, "{shown}");
    }
    let made = "return document.querySelectorAll('#log img, #log script, #log b').length";
    assert_eq!(browser.run(made, &[]), 0);
    assert_eq!(browser.run("return document.title.includes('taken over')", &[]), false);
    let longest = "return Math.max(...[...document.querySelectorAll('#log .text')].map((text) => text.textContent.length))";
    assert!(browser.run(longest, &[]).as_u64().is_some_and(|longest| longest < 5000));
}

/// Whether a visible line of the console log contains the text.
pub(crate) const LINE_IS_THERE: &str =
    "return [...document.querySelectorAll('#log-lines .line:not([hidden]) .text')]
    .some((text) => text.textContent.includes(arguments[0]))";
