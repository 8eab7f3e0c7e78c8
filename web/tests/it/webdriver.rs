//! A headless Chromium, driven over the WebDriver protocol by the `chromedriver` that comes with it.
//! Both end with the [`Browser`].

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http;

/// Chromium must not talk to anybody but the page.
const ARGUMENTS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1280,1000",
];

/// How often a driver is started at most until one finds a port.
const DRIVER_STARTS: usize = 5;

/// How long a browser that has ended may go on writing files.
const PATIENCE_WITH_FILES: Duration = Duration::from_secs(10);

/// A browser with one window.
pub(crate) struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    /// Where both keep their files.
    folder: TempDir,
}

impl Browser {
    /// Starts one, unless this machine has none: then the test is skipped, and says so, or fails where
    /// `SHMRPC_REQUIRE_BROWSER=1` demands it.
    pub(crate) fn start(test: &str) -> Option<Self> {
        let chromium = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
        let found = chromium.into_iter().find_map(on_path).zip(on_path("chromedriver"));
        let Some((chromium, driver)) = found else {
            let required = std::env::var_os("SHMRPC_REQUIRE_BROWSER").is_some_and(|value| value == "1");
            assert!(!required, "{test}: Chromium and chromedriver are required, and not on PATH");
            // Past the capture of test output: whoever runs the tests is to see it.
            let notice =
                format!("SKIPPED {test}: no Chromium with chromedriver on PATH (.ci/install-chromium)\n");
            let _ = std::io::Write::write_all(&mut std::io::stderr(), notice.as_bytes());
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder for the browser");
        let (driver, address) = start_driver(&driver, folder.path());
        let mut browser = Self { driver, address, session: String::new(), folder };
        let options = json!({"binary": chromium, "args": ARGUMENTS});
        let wanted = json!({"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}});
        let made = browser.command("POST", "", &json!({"capabilities": {"alwaysMatch": wanted}}));
        browser.session = format!("/{}", made["sessionId"].as_str().expect("a session id"));
        Some(browser)
    }

    /// Sends a command of the session and returns its `value`.
    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let target = format!("/session{}{path}", self.session);
        let headers = [("content-type", "application/json; charset=utf-8")];
        let answer = http::send(self.address, method, &target, &headers, body.as_bytes());
        let value = answer.json()["value"].clone();
        assert_eq!(answer.status, 200, "{method} {target}: {value}");
        value
    }

    pub(crate) fn open(&self, url: &str) {
        self.command("POST", "/url", &json!({"url": url}));
    }

    /// Runs a script, the body of a function, and returns what it returns.
    pub(crate) fn run(&self, script: &str, arguments: &[Value]) -> Value {
        self.command("POST", "/execute/sync", &json!({"script": script, "args": arguments}))
    }

    /// Clicks as a user does: the element must be there, visible and not covered.
    pub(crate) fn click(&self, selector: &str) {
        let found = self.command("POST", "/element", &json!({"using": "css selector", "value": selector}));
        let id =
            found.as_object().and_then(|object| object.values().next()?.as_str()).expect("an element id");
        self.command("POST", &format!("/element/{id}/click"), &json!({}));
    }

    /// Presses keys, wherever the focus is.
    pub(crate) fn keys(&self, text: &str) {
        let press =
            |key: char| [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})];
        let actions: Vec<Value> = text.chars().flat_map(press).collect();
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": actions});
        self.command("POST", "/actions", &json!({"actions": [keyboard]}));
    }

    /// Shows pages as to a reader who prefers `light` or `dark`.
    pub(crate) fn prefer(&self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.cdp("Emulation.setEmulatedMedia", &json!({"features": features}));
    }

    /// Gives pages so many pixels to the side.
    pub(crate) fn widen(&self, width: u32) {
        let screen = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.cdp("Emulation.setDeviceMetricsOverride", &screen);
    }

    /// Waits until the script returns true.
    pub(crate) fn wait_until(&self, what: &str, within: Duration, script: &str, arguments: &[Value]) {
        assert!(self.is_within(within, script, arguments), "not within {within:?}: {what}\n{}", self.state());
    }

    /// Whether the script returns true within that time.
    pub(crate) fn is_within(&self, within: Duration, script: &str, arguments: &[Value]) -> bool {
        let deadline = Instant::now() + within;
        loop {
            if self.run(script, arguments) == json!(true) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    /// Opens another tab and shows it, which hides this one; returns what [`show`](Self::show) takes.
    pub(crate) fn cover(&self) -> Value {
        let covered = self.command("GET", "/window", &json!({}));
        let made = self.command("POST", "/window/new", &json!({"type": "tab"}));
        self.show(&made["handle"]);
        covered
    }

    /// Shows a tab.
    pub(crate) fn show(&self, tab: &Value) {
        self.command("POST", "/window", &json!({"handle": tab}));
        self.cdp("Page.bringToFront", &json!({}));
    }

    /// A command of the browser's own protocol.
    pub(crate) fn cdp(&self, command: &str, parameters: &Value) -> Value {
        self.command("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// What the browser complained about: script errors, blocked content, failed requests.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let entries = self.command("POST", "/se/log", &json!({"type": "browser"}));
        let entries = entries.as_array().cloned().unwrap_or_default();
        let severe = entries.iter().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// For messages of failed tests.
    fn state(&self) -> String {
        let text = self.run("return document.body.innerText.slice(0, 3000)", &[]);
        format!("{}\n{:?}", text.as_str().unwrap_or_default(), self.complaints())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // Ends Chromium; without an answer, ending the driver is what is left.
            let (address, target) = (self.address, format!("/session{}", self.session));
            let _ = std::thread::spawn(move || http::send(address, "DELETE", &target, &[], b"")).join();
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        // Processes of Chromium's may outlive it for a moment, in which they write files.
        let until = Instant::now() + PATIENCE_WITH_FILES;
        while std::fs::remove_dir_all(self.folder.path()).is_err() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// On a port of its own choice. It takes one of IPv4 and then needs the same of IPv6; where somebody has that, it ends.
fn start_driver(program: &Path, folder: &Path) -> (Child, SocketAddr) {
    for _ in 0..DRIVER_STARTS {
        let mut driver = Command::new(program)
            .env("TMPDIR", folder)
            .args(["--port=0", "--log-level=WARNING"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver can be started");
        match announced_port(&mut driver) {
            Ok(port) => return (driver, SocketAddr::from(([127, 0, 0, 1], port))),
            Err(RecvTimeoutError::Disconnected) => drop(driver.wait()),
            Err(RecvTimeoutError::Timeout) => panic!("chromedriver does not tell its port"),
        }
    }
    panic!("chromedriver has ended {DRIVER_STARTS} times before it told its port");
}

/// `ChromeDriver was started successfully on port 40123.`
fn announced_port(driver: &mut Child) -> Result<u16, RecvTimeoutError> {
    let output = BufReader::new(driver.stdout.take().expect("its output is piped"));
    let (found, port) = mpsc::channel();
    // Goes on reading, so that the driver never writes into a broken pipe.
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            let port = line
                .rsplit_once("successfully on port ")
                .and_then(|(_, port)| port.trim_end_matches('.').parse().ok());
            if let Some(port) = port {
                let _ = found.send(port);
            }
        }
    });
    port.recv_timeout(http::DEADLINE)
}
