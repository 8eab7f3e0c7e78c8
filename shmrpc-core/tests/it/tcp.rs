//! The suite over TCP, through a gateway, and what is TCP's own: limits, admission, compression, hostile
//! peers, restarts.

mod faults;
mod hostile;
mod idle;
mod in_place;
mod limits;
mod python;
mod restarts;
mod secrets;
#[cfg(feature = "tls")]
mod tls;

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use shmrpc_core::{ConnectOptions, Connection, Gateway, Service, TcpOptions, in_process};

use crate::{
    service::Bench,
    suite::{Harness, conformance},
};

/// A service behind a gateway on a port of its own.
pub(crate) struct Tcp {
    service: Arc<Bench>,
    gateway: Gateway,
}

impl Tcp {
    pub(crate) fn with(change: impl FnOnce(&mut TcpOptions)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::on(listener, change)
    }

    pub(crate) fn on(listener: TcpListener, change: impl FnOnce(&mut TcpOptions)) -> Self {
        let service = Arc::new(Bench::default());
        let mut options = TcpOptions::default();
        options.force_insecure_serialisation = true;
        change(&mut options);
        let upstream = in_process(Arc::clone(&service) as Arc<dyn Service>);
        let gateway = Gateway::serve(listener, upstream, options).unwrap();
        Self { service, gateway }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway.local_addr()
    }

    pub(crate) fn connections(&self) -> usize {
        self.gateway.connections()
    }

    pub(crate) fn connect_with(&self, change: impl FnOnce(&mut ConnectOptions)) -> Connection {
        let mut options = ConnectOptions::default();
        change(&mut options);
        Connection::connect_any(format!("tcp://{}", self.address()), &options).unwrap()
    }

    pub(crate) fn drain(self) {
        self.gateway.drain_blocking(Duration::from_secs(20));
    }
}

impl Harness for Tcp {
    fn start() -> Self {
        Self::with(|_| {})
    }

    fn service(&self) -> &Arc<Bench> {
        &self.service
    }

    fn connect(&self) -> Connection {
        self.connect_with(|_| {})
    }
}

conformance!(Tcp);

/// The same with snappy.
mod compressed {
    use super::*;

    struct Compressed(Tcp);

    impl Harness for Compressed {
        fn start() -> Self {
            Self(Tcp::start())
        }

        fn service(&self) -> &Arc<Bench> {
            self.0.service()
        }

        fn connect(&self) -> Connection {
            self.0.connect_with(|options| options.compress = true)
        }
    }

    conformance!(Compressed);
}

/// The way of a supervised service: over TCP into a gateway, from there into shared memory.
mod into_shared_memory {
    use shmrpc_core::Serving;

    use super::*;
    use crate::shm::{self, Folder};

    // Fields are dropped in this order: the gateway first, the folder last.
    struct Through {
        gateway: Option<Gateway>,
        service: Arc<Bench>,
        _serving: Serving,
        _folder: Folder,
    }

    impl Harness for Through {
        fn start() -> Self {
            let folder = Folder::new();
            let service = Arc::new(Bench::default());
            let serving = shm::serve(&folder, Arc::clone(&service) as Arc<dyn Service>, 8);
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut options = TcpOptions::default();
            options.force_insecure_serialisation = true;
            let gateway = Gateway::serve(listener, shm::connect(&folder, "bench"), options).unwrap();
            Self { gateway: Some(gateway), service, _serving: serving, _folder: folder }
        }

        fn service(&self) -> &Arc<Bench> {
            &self.service
        }

        fn connect(&self) -> Connection {
            let endpoint = format!("tcp://{}", self.gateway.as_ref().unwrap().local_addr());
            Connection::connect_any(endpoint, &ConnectOptions::default()).unwrap()
        }
    }

    impl Drop for Through {
        fn drop(&mut self) {
            // The gateway is a client of shared memory: it leaves before the folder is looked at.
            let gateway = self.gateway.take().unwrap();
            gateway.drain_blocking(Duration::from_secs(20));
        }
    }

    conformance!(Through);
}
