//! tonic: gRPC over loopback TCP. The message and the service are written out by hand, as its generator would
//! write them, so that no protobuf compiler is needed.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use ::tonic::{
    Request, Response, Status,
    body::Body,
    client::Grpc,
    codegen::{BoxFuture, Service, http},
    server::{NamedService, UnaryService},
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;

use crate::{
    job::{Figures, Job},
    measure::{
        Echo,
        tasks::{self, AsyncCaller},
    },
    role,
};

/// `message Blob { bytes data = 1; }`
#[derive(Clone, PartialEq, prost::Message)]
struct Blob {
    #[prost(bytes = "vec", tag = "1")]
    data: Vec<u8>,
}

type Codec = ProstCodec<Blob, Blob>;

/// What its default of 4 MiB is raised to.
const MAX_MESSAGE_BYTES: usize = 64 << 20;
const PATH: &str = "/bench.Echo/Echo";

/// `service Echo { rpc Echo(Blob) returns (Blob); }`
#[derive(Clone)]
struct EchoServer;

impl NamedService for EchoServer {
    const NAME: &'static str = "bench.Echo";
}

impl Service<http::Request<Body>> for EchoServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = ::tonic::server::Grpc::new(Codec::default())
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES);
            Ok(grpc.unary(Answer, request).await)
        })
    }
}

struct Answer;

impl UnaryService<Blob> for Answer {
    type Response = Blob;
    type Future = BoxFuture<Response<Blob>, Status>;

    fn call(&mut self, request: Request<Blob>) -> Self::Future {
        Box::pin(async move { Ok(Response::new(request.into_inner())) })
    }
}

pub fn serve(job: &Job) -> ! {
    let runtime = tasks::runtime(job);
    runtime.block_on(async {
        let address = "127.0.0.1:0".parse().expect("an address");
        let incoming = TcpIncoming::bind(address).expect("loopback").with_nodelay(Some(true));
        role::ready(vec![incoming.local_addr().expect("a port").to_string()]);
        let serving = Server::builder().add_service(EchoServer).serve_with_incoming(incoming);
        serving.await.expect("it serves until it is ended");
    });
    unreachable!("it serves until it is ended")
}

pub fn client(job: &Job, go: impl FnOnce() + Send + 'static) -> Figures {
    let runtime = tasks::runtime(job);
    let endpoint = Endpoint::from_shared(format!("http://{}", job.servers[0].addresses[0]));
    let connecting = endpoint.expect("an address").tcp_nodelay(true);
    let channel = runtime.block_on(connecting.connect()).expect("the server listens");
    let grpc = Grpc::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    tasks::measure(&runtime, Tonic(grpc), job, go)
}

#[derive(Clone)]
struct Tonic(Grpc<Channel>);

impl AsyncCaller for Tonic {
    async fn call(&mut self, echo: &mut Echo) {
        let request = Request::new(Blob { data: echo.next().to_vec() });
        self.0.ready().await.expect("connected");
        let path = http::uri::PathAndQuery::from_static(PATH);
        let reply = self.0.unary(request, path, Codec::default()).await.expect("answered");
        echo.check(&reply.into_inner().data);
    }
}
