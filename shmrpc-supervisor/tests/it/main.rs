//! The real `shmrpc-service`, run as a process in a folder of its own, with ephemeral ports. Every wait
//! has a deadline; what a test starts, it ends.

mod api;
#[path = "../../../tests/support/cargo.rs"]
mod cargo;
mod check;
mod command_line;
mod control;
mod daemon_faults;
mod faults;
mod history;
mod layout;
mod lifecycle;
mod manual;
mod misbehaviour;
mod namespaces;
mod output;
mod pool;
mod probe;
mod reload;
mod replace;
mod rest;
mod scaling;
mod scene;
#[path = "../../../web/tests/it/schemathesis.rs"]
mod schemathesis;
mod systemd;
mod terminal;
mod tls;
mod users;
mod worker;
