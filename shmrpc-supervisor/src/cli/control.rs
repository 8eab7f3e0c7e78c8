//! Commands that speak to the daemon over its control socket: `status`, `start`, `stop`, `restart`, `scale`,
//! `reload`, `check`, `hand-over`, `shutdown`, `logs`, `events`,
//! `history`, `metrics`. The socket speaks the REST API; `http` is the little of HTTP that takes.

mod history;
mod http;
mod lines;
mod orders;
mod progress;
mod status;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use shmrpc_core::RuntimeDir;
use shmrpc_web::{ServiceSnapshot, Snapshot};

pub(crate) use self::lines::shown_line;
pub(super) use self::{
    history::history,
    lines::{events, logs},
    orders::{check, hand_over, order, reload, restart, scale, shutdown},
    status::{metrics, status},
};
use super::failure::{Exit, Failure};

/// The daemon answers from memory; one that does not for so long is stuck. A followed log keeps itself alive.
const PATIENCE: Duration = Duration::from_secs(60);

/// The daemon of one runtime folder.
pub(super) struct Control {
    runtime_dir: PathBuf,
    patience: Duration,
}

impl Control {
    pub(super) fn new(runtime_dir: Option<&Path>) -> Self {
        let runtime_dir = runtime_dir.map_or_else(RuntimeDir::default_path, Path::to_owned);
        Self { runtime_dir, patience: PATIENCE }
    }

    /// The same, with less time for the daemon to answer.
    pub(super) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// One request, whose answer must be a success.
    fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Result<http::Answer, Failure> {
        http::request(self, method, path, body)
    }

    fn json<T: serde::de::DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> Result<T, Failure> {
        let text = self.ask(method, path, body)?.text()?;
        serde_json::from_str(&text).map_err(|error| {
            Failure::new(Exit::Other, format!("the daemon's answer is not understood: {error}"))
        })
    }

    pub(super) fn snapshot(&self) -> Result<Snapshot, Failure> {
        self.json("GET", "/api/v1/services", None)
    }

    pub(super) fn service(&self, name: &str) -> Result<ServiceSnapshot, Failure> {
        self.json("GET", &format!("/api/v1/services/{}", http::escaped(name)), None)
    }
}
