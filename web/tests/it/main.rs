//! The crate from outside: over real sockets against an imagined daemon, and in a real browser.

mod admission;
mod api;
mod browser;
#[allow(dead_code, reason = "some of it is for examples/demo.rs")]
mod fake;
mod figures;
mod history;
mod http;
mod keyboard;
mod limits;
mod log_viewer;
mod metrics;
mod pages;
mod rest;
mod schemathesis;
mod server;
mod steps;
mod streams;
mod webdriver;
