//! The suite over shared memory, and what only shared memory has: growth, several workers, reconnection.

mod lifetimes;
mod tables;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use shmrpc_core::{ConnectOptions, Connection, ServeOptions, Service, Serving};

use crate::{
    service::Bench,
    suite::{Harness, conformance},
};

/// A runtime folder of one test's own; at the end nothing may be left in it.
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("shmrpc-it-{}-{number}", std::process::id()));
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Fails, and fails the test, if anything is left.
        if let Err(error) = std::fs::remove_dir(&self.path)
            && !std::thread::panicking()
        {
            let left: Vec<_> = std::fs::read_dir(&self.path).into_iter().flatten().flatten().collect();
            panic!("{error}: {left:?}");
        }
    }
}

pub(crate) fn serve(folder: &Folder, service: Arc<dyn Service>, threads: usize) -> Serving {
    let mut options = ServeOptions::default();
    options.runtime_dir = Some(folder.path().to_owned());
    options.threads = threads;
    Serving::start(service, options).unwrap()
}

pub(crate) fn connect(folder: &Folder, name: &str) -> Connection {
    let mut options = ConnectOptions::default();
    options.runtime_dir = Some(folder.path().to_owned());
    Connection::connect_any(format!("shm://{name}"), &options).unwrap()
}

// Fields are dropped in this order: the server first, the folder last.
struct Shm {
    service: Arc<Bench>,
    _serving: Serving,
    folder: Folder,
}

impl Harness for Shm {
    fn start() -> Self {
        let folder = Folder::new();
        let service = Arc::new(Bench::default());
        let serving = serve(&folder, Arc::clone(&service) as Arc<dyn Service>, 8);
        Self { service, _serving: serving, folder }
    }

    fn service(&self) -> &Arc<Bench> {
        &self.service
    }

    fn connect(&self) -> Connection {
        connect(&self.folder, self.service.info().name)
    }
}

conformance!(Shm);
