//! The suite in one process.

use std::sync::Arc;

use shmrpc_core::Connection;

use crate::{
    service::Bench,
    suite::{Harness, conformance},
};

struct Inproc {
    service: Arc<Bench>,
}

impl Harness for Inproc {
    fn start() -> Self {
        Self { service: Arc::new(Bench::default()) }
    }

    fn service(&self) -> &Arc<Bench> {
        &self.service
    }

    fn connect(&self) -> Connection {
        shmrpc_core::in_process(Arc::clone(&self.service) as Arc<dyn shmrpc_core::Service>)
    }
}

conformance!(Inproc);
