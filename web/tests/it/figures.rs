//! Figures of the page, printed: `.ci/deep page` runs them. Twenty services with eight workers each.

use std::time::{Duration, Instant};

use serde_json::json;
use shmrpc_web::{LogStream, ServiceStatus, WebOptions};

use crate::{fake, server::TestServer, steps, webdriver::Browser};

/// Updates of an hour, at one a second.
const UPDATES: u64 = 3600;

fn crowded(refresh_interval: Duration) -> TestServer {
    let server = TestServer::with(WebOptions { refresh_interval, ..WebOptions::default() });
    {
        let mut state = server.daemon.state();
        for number in 0..18 {
            let name = format!("service_{number}");
            let mut service = fake::service(&name, &name, "One of many.", Some(6000 + number));
            (service.min_workers, service.max_workers) = (8, 8);
            state.services.push(service);
            state.settle(&name, ServiceStatus::Running);
        }
    }
    server
}

#[test]
#[ignore = "prints a figure: .ci/deep page"]
fn first_useful_paint_with_slow_scripts() {
    let Some(browser) = Browser::start("first_useful_paint_with_slow_scripts") else { return };
    let server = crowded(Duration::from_secs(1));
    for path in ["/", "/services/echo_serv"] {
        let mut paints: Vec<f64> = (0..5)
            .map(|_| {
                browser.open("about:blank");
                browser.cdp("Network.clearBrowserCache", &json!({}));
                browser.cdp("Emulation.setCPUThrottlingRate", &json!({"rate": 4}));
                browser.open(&format!("http://{}{path}", server.address));
                steps::wait_until_live(&browser);
                let paint = "return performance.getEntriesByName('first-contentful-paint')[0].startTime";
                browser.run(paint, &[]).as_f64().unwrap()
            })
            .collect();
        paints.sort_by(f64::total_cmp);
        let size = crate::http::get(server.address, path).body.len();
        eprintln!(
            "{path}: first paint after {:.0} ms (median of 5; {:.0} to {:.0}), page of {size} bytes",
            paints[2], paints[0], paints[4]
        );
    }
    browser.cdp("Emulation.setCPUThrottlingRate", &json!({"rate": 1}));
}

/// The heap after the garbage is gone.
fn heap_bytes(browser: &Browser) -> u64 {
    browser.cdp("HeapProfiler.collectGarbage", &json!({}));
    browser.cdp("Runtime.getHeapUsage", &json!({}))["usedSize"].as_f64().unwrap_or_default() as u64
}

/// What changes with each update: the load of every worker, and a line of the log.
fn go_on(server: &TestServer, number: u64) {
    {
        let mut state = server.daemon.state();
        for worker in state.services.iter_mut().flat_map(|service| &mut service.workers) {
            worker.usage.cpu_share = (worker.usage.cpu_share + 0.07) % 1.0;
        }
    }
    server.daemon.log.push(
        "echo_serv",
        Some(1),
        LogStream::Stdout,
        format!("line {number} of a busy service"),
    );
}

/// Flat: what there is after an hour is what there was after a quarter of it, give or take what is garbage tomorrow.
#[test]
#[ignore = "takes minutes: .ci/deep page"]
fn memory_of_a_page_over_an_hour_of_updates() {
    let Some(browser) = Browser::start("memory_of_a_page_over_an_hour_of_updates") else { return };
    // As fast as a page on a busy machine can follow: one that is always behind answers nobody.
    let server = crowded(Duration::from_millis(50));
    // As many lines as the page keeps.
    (0..3000).for_each(|number| go_on(&server, number));
    for path in ["/", "/services/echo_serv"] {
        browser.open(&format!("http://{}{path}", server.address));
        steps::wait_until_live(&browser);
        browser.run("document.getElementById('charts')?.scrollIntoView()", &[]);
        let count = "window.updates = 0; new MutationObserver(() => window.updates += 1)
            .observe(document.getElementById('tables'), {subtree: true, childList: true, characterData: true, attributes: true})";
        browser.run(count, &[]);
        // The charts are drawn anew every two seconds: their clock goes faster.
        let hasten = "const real = window.setTimeout;
            window.setTimeout = (run, ms, ...rest) => real(run, ms === 2000 ? 20 : ms, ...rest)";
        browser.run(hasten, &[]);
        let is_done = "return window.updates >= arguments[0]
            && Number(document.getElementById('charts')?.dataset.drawn ?? arguments[1]) >= arguments[1]";
        let began = Instant::now();
        let mut heaps = Vec::new();
        for quarter in 1..=4_u64 {
            let updates = UPDATES * quarter / 4;
            let wanted = [json!(updates), json!(updates / 2)];
            while browser.run(is_done, &wanted) != true {
                assert!(began.elapsed() < Duration::from_secs(1800), "too few updates of {path}");
                for number in 0..25 {
                    go_on(&server, number);
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            heaps.push(heap_bytes(&browser) / 1024);
            let took = began.elapsed().as_secs_f64();
            eprintln!("{path}: {} KiB after {updates} updates, {took:.0} s", heaps[heaps.len() - 1]);
        }
        assert!(heaps[3] < heaps[0] + heaps[0] / 4, "{path} grows: {heaps:?} KiB");
    }
}
