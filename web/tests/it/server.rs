//! A dashboard on a port of its own, in front of a fake daemon, for as long as a test holds it.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
};

use shmrpc_web::WebOptions;
use tokio::sync::oneshot;

use crate::fake::FakeDaemon;

pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) daemon: Arc<FakeDaemon>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    pub(crate) fn start() -> Self {
        Self::with(WebOptions { token: Some("open sesame".into()), ..WebOptions::default() })
    }

    pub(crate) fn with(options: WebOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::on(listener, FakeDaemon::new(), options)
    }

    pub(crate) fn on(listener: TcpListener, daemon: Arc<FakeDaemon>, options: WebOptions) -> Self {
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&daemon);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let shutdown = async { stopped.await.unwrap_or_default() };
                shmrpc_web::serve(listener, served, options, shutdown).await.unwrap();
            });
        });
        Self { address, daemon, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}
