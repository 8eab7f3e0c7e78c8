//! How the dashboard is served: limits, and who may come in. The supervisor fills [`WebOptions`] from the
//! ini file; nothing here reads a file.

use std::time::Duration;

/// The dashboard's configuration.
#[derive(Clone, Debug)]
pub struct WebOptions {
    /// Names under which the page may be asked for, beside the loopback names with the listener's port:
    /// the configured host, or what a reverse proxy passes on. `name` allows any port, `name:port` that
    /// one. A request with another `Host` is refused, whoever sent it.
    pub allowed_hosts: Vec<String>,
    /// Users whose processes may come in over loopback without the token: the daemon's own uid by
    /// default, and whatever `allow_users` adds.
    pub allowed_uids: Vec<u32>,
    /// The secret that lets everybody else in (`Authorization: Bearer TOKEN`, or as the password of the
    /// browser's own prompt). Random, kept by the daemon in a file that only its user reads. Without one
    /// nobody else comes in.
    pub token: Option<String>,
    /// The longest request body; longer ones are refused with 413 before they are read.
    pub max_body_bytes: usize,
    /// How long a client may take to send a request's head; slower ones are cut off.
    pub header_timeout: Duration,
    /// How long a client may take to send a request's body.
    pub body_timeout: Duration,
    /// Connections served at once; further ones wait in the listener's queue.
    pub max_connections: usize,
    /// How often an open page hears how things are.
    pub refresh_interval: Duration,
}

impl Default for WebOptions {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            allowed_uids: vec![nix::unistd::geteuid().as_raw()],
            token: None,
            max_body_bytes: 16 << 20,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            max_connections: 1024,
            refresh_interval: Duration::from_secs(1),
        }
    }
}
