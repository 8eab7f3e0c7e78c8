//! The two doors to the daemon: the dashboard's port and the control socket. The same API stands behind both; each is
//! served by tasks of the web crate, and both are closed when the last worker is gone.

use std::{sync::Arc, time::Duration};

use shmrpc_web::{Daemon, WebOptions, serve, serve_local};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
    task::JoinHandle,
};

/// How long open pages have to end.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Both doors, open.
pub(super) struct Doors {
    ends: watch::Sender<bool>,
    serving: [JoinHandle<()>; 2],
}

impl Doors {
    /// Begins to serve.
    pub(super) fn open(
        web: TcpListener,
        control: UnixListener,
        handle: impl Daemon,
        options: WebOptions,
    ) -> Self {
        let handle: Arc<dyn Daemon> = Arc::new(handle);
        let (ends, has_ended) = watch::channel(false);
        let page = serve(web, Arc::clone(&handle), options.clone(), ended(has_ended.clone()));
        let socket = serve_local(control, handle, options, ended(has_ended));
        let serving = [
            tokio::spawn(async move { told("the dashboard", page.await) }),
            tokio::spawn(async move { told("the control socket", socket.await) }),
        ];
        Self { ends, serving }
    }

    /// Lets requests under way finish, for a while.
    pub(super) async fn close(self) {
        self.ends.send_replace(true);
        let all = async {
            for door in self.serving {
                let _panicked = door.await;
            }
        };
        let _late = tokio::time::timeout(END_TIMEOUT, all).await;
    }
}

async fn ended(mut has_ended: watch::Receiver<bool>) {
    // The sender's own end means the same.
    let _either_way = has_ended.wait_for(|ended| *ended).await;
}

fn told(what: &str, result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "{what} has ended; the services run on");
    }
}
