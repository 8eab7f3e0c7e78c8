//! Commands that speak to the daemon over its control socket: `status`, `start`, `stop`, `restart`, `scale`,
//! `reload`, `shutdown`, `logs`, `events`. The socket speaks the REST API; `http` is the little of HTTP that takes.

mod http;
mod lines;
mod orders;
mod status;

use std::path::{Path, PathBuf};

use shmrpc_core::RuntimeDir;
use shmrpc_web::{ServiceSnapshot, Snapshot};

pub(super) use self::{
    lines::{events, logs},
    orders::{order, reload, restart, scale, shutdown},
    status::status,
};
use super::failure::{Exit, Failure};

/// The daemon of one runtime folder.
pub(super) struct Control {
    runtime_dir: PathBuf,
}

impl Control {
    pub(super) fn new(runtime_dir: Option<&Path>) -> Self {
        Self { runtime_dir: runtime_dir.map_or_else(RuntimeDir::default_path, Path::to_owned) }
    }

    /// One request, whose answer must be a success.
    fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Result<http::Answer, Failure> {
        http::request(&self.runtime_dir, method, path, body)
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

    fn snapshot(&self) -> Result<Snapshot, Failure> {
        self.json("GET", "/api/v1/services", None)
    }

    fn service(&self, name: &str) -> Result<ServiceSnapshot, Failure> {
        self.json("GET", &format!("/api/v1/services/{}", http::escaped(name)), None)
    }
}
