//! An async handler may change threads.

use std::rc::Rc;

use shmrpc::{json_method, service};

struct EchoServer;

#[service(name = "echo_serv", port = 5555)]
impl EchoServer {
    #[json_method]
    async fn holds_rc(&self) -> u32 {
        let count = Rc::new(1);
        tokio::task::yield_now().await;
        *count
    }
}

struct NotSync(std::cell::Cell<u32>);

#[service(name = "not_sync", port = 5556)]
impl NotSync {
    #[json_method]
    fn count(&self) -> u32 {
        self.0.get()
    }
}

fn main() {}
