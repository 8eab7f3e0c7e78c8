//! The tokio runtime on which `async fn` handlers run: one a process, started when first needed.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

/// The process's runtime for handlers.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .thread_name("shmrpc-async")
            .enable_all()
            .build()
            .expect("a tokio runtime can be started")
    })
}
