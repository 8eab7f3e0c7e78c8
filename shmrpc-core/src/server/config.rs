//! What the supervisor tells a worker: one JSON object in the environment variable
//! [`WorkerConfig::VARIABLE`]. A worker program that is started without it answers `--describe` or says
//! how it is meant to be started.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::transport::tcp::gateway::TcpOptions;

/// A worker's configuration. Descriptors are numbers of inherited, open files.
///
/// Daemon and workers may be of different ages: fields that this version does not know are ignored, and one
/// that is added gets a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerConfig {
    /// Which of the program's services to run: the struct's name, as in the ini section.
    pub struct_name: String,
    /// The service's name in directory, logs and endpoints: its own, or `PREFIX.NAME`.
    pub service: String,
    /// The service's port, unless the ini says otherwise the struct's own.
    pub port: u16,
    /// The runtime folder.
    pub runtime_dir: PathBuf,
    /// Where the service's log goes: `LOG_DIR/NAME/NAME_log.log.json`. `None`: to stderr.
    pub log_dir: Option<PathBuf>,
    /// Threads that run `fn` handlers.
    pub threads: usize,
    /// A listening TCP socket to accept from, shared by all workers of the service.
    pub tcp_listener_fd: Option<i32>,
    /// Read ends of the pipes that are this worker's stdout and stderr. The worker keeps them open, and
    /// drains them itself while no supervisor does, so that printing never fails or blocks for ever.
    pub output_read_fds: Option<(i32, i32)>,
    /// Allow guarded encodings over TCP.
    pub force_insecure_serialisation: bool,
    /// The file of the secret that TCP clients must prove.
    #[serde(default)]
    pub tcp_secret_file: Option<PathBuf>,
    /// Let TCP peers on other machines in, though nothing authenticates them.
    #[serde(default)]
    pub tcp_allow_remote: bool,
    /// The certificates with which TCP is encrypted.
    #[serde(default)]
    pub tcp_tls: TlsFiles,
    /// How much is taken of TCP clients.
    #[serde(default)]
    pub tcp_limits: TcpLimits,
    /// Without a supervisor for so long, drain and exit; `None`: never.
    pub orphan_timeout: Option<Duration>,
    /// How long a drain may take before the worker exits anyway.
    pub drain_timeout: Duration,
}

/// Where a server's certificate is; see [`ServerTls`](crate::ServerTls). With none of them there is no TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsFiles {
    /// The certificate, PEM.
    pub certificate_file: Option<PathBuf>,
    /// Its private key, PEM.
    pub key_file: Option<PathBuf>,
    /// The authorities whose clients are let in, and nobody else.
    pub client_ca_file: Option<PathBuf>,
}

/// Limits of a service's TCP clients; those that are not set are those of [`TcpOptions`]'s default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TcpLimits {
    /// See [`TcpOptions::max_connections`].
    pub max_connections: Option<usize>,
    /// See [`TcpOptions::max_in_flight`].
    pub max_in_flight: Option<u32>,
    /// See [`TcpOptions::max_message_bytes`].
    pub max_message_bytes: Option<u64>,
    /// See [`TcpOptions::handshake_timeout`].
    pub handshake_timeout: Option<Duration>,
    /// See [`TcpOptions::frame_timeout`].
    pub frame_timeout: Option<Duration>,
    /// See [`TcpOptions::idle_timeout`].
    pub idle_timeout: Option<Duration>,
}

impl TcpLimits {
    pub(super) fn apply(self, options: &mut TcpOptions) {
        fn set<T>(option: &mut T, limit: Option<T>) {
            if let Some(limit) = limit {
                *option = limit;
            }
        }
        set(&mut options.max_connections, self.max_connections);
        set(&mut options.max_in_flight, self.max_in_flight);
        set(&mut options.max_message_bytes, self.max_message_bytes);
        set(&mut options.handshake_timeout, self.handshake_timeout);
        set(&mut options.frame_timeout, self.frame_timeout);
        set(&mut options.idle_timeout, self.idle_timeout.map(Some));
    }
}

impl WorkerConfig {
    /// The environment variable that carries it.
    pub const VARIABLE: &'static str = "SHMRPC_WORKER";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_of_another_age_is_understood() {
        let text = r#"{"struct_name": "Echo", "service": "echo_serv", "port": 1, "runtime_dir": "/run",
            "log_dir": null, "threads": 2, "tcp_listener_fd": null, "output_read_fds": null,
            "force_insecure_serialisation": false, "orphan_timeout": null,
            "drain_timeout": {"secs": 9, "nanos": 0}, "of_a_later_version": true}"#;
        let config: WorkerConfig = serde_json::from_str(text).unwrap();
        assert!(!config.tcp_allow_remote && config.threads == 2);
        assert!(config.tcp_tls == TlsFiles::default() && config.tcp_limits == TcpLimits::default());
    }
}
