//! tarpc with bincode, over a Unix socket or TCP. Server and client run on tokio.

use std::time::{Duration, Instant};

use ::tarpc::{
    client, context,
    server::{BaseChannel, Channel},
    tokio_serde::formats::Bincode,
};
use futures_util::StreamExt;
use tokio::net::{TcpStream, UnixStream};

use crate::{
    job::{Carrier, Figures, Job},
    measure::{
        Echo,
        tasks::{self, AsyncCaller},
    },
    role,
};

#[::tarpc::service]
trait EchoService {
    async fn echo(data: Vec<u8>) -> Vec<u8>;
}

#[derive(Clone)]
struct Server;

impl EchoService for Server {
    async fn echo(self, _: context::Context, data: Vec<u8>) -> Vec<u8> {
        data
    }
}

/// What its default of 8 MiB is raised to.
const MAX_FRAME_BYTES: usize = 64 << 20;

/// Spawns the service on each connection that comes in.
macro_rules! accept {
    ($incoming:expr, $prepare:expr) => {{
        $incoming.config_mut().max_frame_length(MAX_FRAME_BYTES);
        while let Some(connection) = $incoming.next().await {
            let connection = connection.expect("a client");
            $prepare(connection.get_ref());
            let channel = BaseChannel::with_defaults(connection);
            tokio::spawn(channel.execute(Server.serve()).for_each(async |answering| {
                tokio::spawn(answering);
            }));
        }
    }};
}

pub fn serve(job: &Job) -> ! {
    let runtime = tasks::runtime(job);
    runtime.block_on(async {
        if job.carrier == Carrier::TarpcUnix {
            let path = job.folder.join("tarpc");
            let listening = ::tarpc::serde_transport::unix::listen(&path, Bincode::default).await;
            let mut incoming = listening.expect("a socket in a fresh folder");
            role::ready(vec![path.to_str().expect("a plain path").to_owned()]);
            accept!(incoming, |_: &UnixStream| {});
        } else {
            let listening = ::tarpc::serde_transport::tcp::listen("127.0.0.1:0", Bincode::default).await;
            let mut incoming = listening.expect("loopback");
            role::ready(vec![incoming.local_addr().to_string()]);
            accept!(incoming, |stream: &TcpStream| stream.set_nodelay(true).expect("no delay"));
        }
    });
    unreachable!("it listens until it is ended")
}

pub fn client(job: &Job, go: impl FnOnce() + Send + 'static) -> Figures {
    let runtime = tasks::runtime(job);
    let address = &job.servers[0].addresses[0];
    let client = runtime.block_on(async {
        if job.carrier == Carrier::TarpcUnix {
            let mut connecting = ::tarpc::serde_transport::unix::connect(address, Bincode::default);
            connecting.config_mut().max_frame_length(MAX_FRAME_BYTES);
            let transport = connecting.await.expect("the server listens");
            EchoServiceClient::new(client::Config::default(), transport).spawn()
        } else {
            let mut connecting = ::tarpc::serde_transport::tcp::connect(address, Bincode::default);
            connecting.config_mut().max_frame_length(MAX_FRAME_BYTES);
            let transport = connecting.await.expect("the server listens");
            transport.get_ref().set_nodelay(true).expect("no delay");
            EchoServiceClient::new(client::Config::default(), transport).spawn()
        }
    });
    tasks::measure(&runtime, Tarpc(client), job, go)
}

#[derive(Clone)]
struct Tarpc(EchoServiceClient);

impl AsyncCaller for Tarpc {
    async fn call(&mut self, echo: &mut Echo) {
        let mut context = context::current();
        context.deadline = Instant::now() + Duration::from_secs(30);
        let reply = self.0.echo(context, echo.next().to_vec()).await.expect("answered");
        echo.check(&reply);
    }
}
