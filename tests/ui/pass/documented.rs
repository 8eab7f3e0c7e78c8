//! A public, documented module: what is made is documented too.
#![deny(warnings, missing_docs, missing_debug_implementations, unreachable_pub)]

/// The service.
pub mod echo {
    use shmrpc::{json_method, service};

    /// A server.
    #[derive(Debug)]
    pub struct EchoServer;

    /// Echoes.
    #[service(name = "echo_serv", port = 5555)]
    impl EchoServer {
        #[json_method]
        fn echo(&self, text: &str) -> String {
            text.to_owned()
        }
    }

    /// A counter.
    #[service(name = "counter", port = 5556)]
    pub trait Counter {
        /// Adds.
        #[json_method]
        fn add(&self, amount: u64) -> u64;

        /// Waits, then adds.
        #[json_method]
        async fn add_later(&self, amount: u64) -> Result<u64, String>;
    }
}

/// A second place with the same names.
pub mod other {
    use shmrpc::{json_method, service};

    /// A server.
    #[derive(Debug)]
    pub struct EchoServer;

    /// Echoes.
    #[service(name = "echo_serv", port = 5555)]
    impl EchoServer {
        #[json_method]
        fn echo(&self) {}
    }
}

struct Implementation;

impl echo::Counter for Implementation {
    fn add(&self, amount: u64) -> u64 {
        amount
    }

    async fn add_later(&self, amount: u64) -> Result<u64, String> {
        Ok(amount)
    }
}

fn main() {
    let client = echo::CounterBlockingClient::in_process(Implementation);
    assert_eq!(client.add_later(2).unwrap(), 2);
    let client = echo::EchoServerBlockingClient::in_process(echo::EchoServer);
    assert_eq!(client.echo("a").unwrap(), "a");
}
