//! shmrpc, with its defaults: the echo service, and its blocking client. `peer/shmrpc/tasks.rs` has the async one,
//! `peer/shmrpc/record.rs` the struct that the encodings carry. All use of shmrpc is in these and in `idle.rs`.

pub mod record;
pub mod tasks;

use std::{
    collections::VecDeque,
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use shmrpc::{
    ConnectOptions, Definition, Door, Loan, LoanError, ServeOptions, Serving, ShmBytes, bincode_method,
    client::Pending,
    json_method,
    method::MethodInfo,
    msgpack_method,
    observe::{Observer, ObserverRole},
    raw_method, service,
};

use self::record::{Record, Small};
use crate::{
    job::{Figures, Job, Load, Manner, Method},
    measure::{self, Caller, Echo},
    role,
};

pub struct Server;

#[service(name = "bench_peers", port = 5597)]
impl Server {
    #[raw_method]
    fn raw(&self, data: ShmBytes<'_>, reply: Loan<'_>) -> Result<(), LoanError> {
        reply.copy_from(data)
    }

    /// As long a reply as the message, of which eight bytes are touched.
    #[raw_method]
    fn in_place(&self, data: ShmBytes<'_>, mut reply: Loan<'_>) -> Result<(), LoanError> {
        let mut start = [0; 8];
        data.copy_to(&mut start);
        reply.reserve(data.len())?;
        reply.write(&start)?;
        reply.skip(data.len() - start.len())
    }

    #[json_method]
    fn json(&self, record: Record) -> Record {
        record
    }

    #[msgpack_method]
    fn msgpack(&self, record: Record) -> Record {
        record
    }

    #[bincode_method]
    fn bincode(&self, record: Record) -> Record {
        record
    }

    #[json_method]
    fn json_small(&self, small: serde_json::Value) -> serde_json::Value {
        small
    }

    #[msgpack_method]
    fn msgpack_small(&self, small: Small) -> Small {
        small
    }
}

/// Over TCP a message may have 16 MiB in all, unless somebody says otherwise; nearly that much is left alone.
const DEFAULT_TCP_BYTES: usize = 15 << 20;

/// Where the processes of a measurement meet.
fn runtime_dir(folder: &Path) -> PathBuf {
    folder.join("run")
}

/// Serves until the standard input ends, then leaves in good order.
pub fn serve(job: &Job) -> ! {
    let mut options = ServeOptions::default();
    options.runtime_dir = Some(runtime_dir(&job.folder));
    options.tcp_bind = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    if job.size_bytes > DEFAULT_TCP_BYTES {
        options.tcp.max_message_bytes = 4 * DEFAULT_TCP_BYTES as u64;
    }
    let serving = Serving::start(Arc::new(Server), options).expect("the service starts");
    role::ready(vec![serving.tcp_addr().expect("TCP was asked for").to_string()]);
    let _ = std::io::stdin().read(&mut [0]);
    drop(serving);
    std::process::exit(0);
}

/// Removes what a server that was killed has left.
pub fn sweep(folder: &Path) {
    let folder = runtime_dir(folder);
    if folder.exists() {
        drop(Observer::join(&folder, ObserverRole::Spectator));
    }
}

fn connection(job: &Job, over_tcp: bool) -> (String, ConnectOptions) {
    let mut options = ConnectOptions::default();
    options.runtime_dir = Some(runtime_dir(&job.folder));
    if over_tcp && job.size_bytes > DEFAULT_TCP_BYTES {
        options.max_message_bytes = Some(4 * DEFAULT_TCP_BYTES as u64);
    }
    let endpoint = match over_tcp {
        true => format!("tcp://{}", job.servers[0].addresses[0]),
        false => "shm://".to_owned(),
    };
    (endpoint, options)
}

pub fn client(job: &Job, manner: Manner, go: impl FnOnce() + Send + 'static) -> Figures {
    if matches!(manner.method, Method::JsonAlone | Method::MsgpackAlone | Method::BincodeAlone) {
        return record::alone(job, manner.method, go);
    }
    if manner.asynchronous {
        return tasks::client(job, manner, go);
    }
    let (endpoint, options) = connection(job, manner.over_tcp);
    let client = ServerBlockingClient::connect_with(endpoint, &options).expect("the server answers");
    if !matches!(manner.method, Method::Raw | Method::InPlace) {
        let mut record = Record::example();
        let small = (record::small_json(), Small::example());
        let mut call = || match manner.method {
            Method::Json => record::check(&mut record, &client, |client, record| client.json(record)),
            Method::Msgpack => record::check(&mut record, &client, |client, record| client.msgpack(record)),
            Method::Bincode => record::check(&mut record, &client, |client, record| client.bincode(record)),
            Method::JsonSmall => assert_eq!(client.json_small(&small.0).expect("answered"), small.0),
            _ => assert_eq!(client.msgpack_small(&small.1).expect("answered"), small.1),
        };
        return measure::one(&mut call, job, go);
    }
    let method = info(if manner.method == Method::Raw { "raw" } else { "in_place" });
    let in_place = manner.method == Method::InPlace;
    match job.load {
        Load::Flight(_) => measure::blocking(Pipelined { client, method, pending: VecDeque::new() }, job, go),
        _ => measure::blocking(OneByOne { client, method, in_place, reply: Vec::new() }, job, go),
    }
}

/// A connection that has not been called yet.
pub fn connect(job: &Job) -> ServerBlockingClient {
    let (endpoint, options) = connection(job, false);
    ServerBlockingClient::connect_with(endpoint, &options).expect("the server answers")
}

/// One call over it.
pub fn call_once(client: &ServerBlockingClient) {
    let message = [7; 64];
    assert_eq!(client.raw(&message).expect("answered"), message);
}

fn info(name: &str) -> &'static MethodInfo {
    let methods = <ServerBlockingClient as Definition>::INFO.methods;
    methods.iter().find(|method| method.name == name).expect("the service has it")
}

struct OneByOne {
    client: ServerBlockingClient,
    method: &'static MethodInfo,
    in_place: bool,
    reply: Vec<u8>,
}

impl Caller for OneByOne {
    fn call(&mut self, echo: &mut Echo) {
        let connection = self.client.connection();
        let message = echo.next();
        if !self.in_place {
            let called = connection.call_raw_into_blocking::<LoanError>(self.method, message, &mut self.reply);
            called.expect("answered");
            return echo.check(&self.reply);
        }
        let (start, rest) = message.split_at(8);
        let write = |mut loan: Loan<'_>| {
            loan.reserve(start.len() + rest.len())?;
            loan.write(start)?;
            loan.skip(rest.len())
        };
        let mut start_of_reply = [0; 8];
        let read = |reply: ShmBytes<'_>| (reply.copy_to(&mut start_of_reply), reply.len());
        let read = connection.call_raw_in_place_blocking::<LoanError, _>(self.method, write, read);
        assert_eq!(read.expect("answered"), (8, start.len() + rest.len()));
        echo.check_start(&start_of_reply);
    }

    fn send(&mut self, _: &mut Echo) {
        unreachable!("it calls one by one");
    }

    fn receive(&mut self, _: &mut Echo) {
        unreachable!("it calls one by one");
    }
}

struct Pipelined {
    client: ServerBlockingClient,
    method: &'static MethodInfo,
    pending: VecDeque<Pending>,
}

impl Caller for Pipelined {
    fn send(&mut self, echo: &mut Echo) {
        let begun = self.client.connection().begin(self.method.into(), Door::Native, echo.next());
        self.pending.push_back(begun.expect("there is room"));
    }

    fn receive(&mut self, echo: &mut Echo) {
        let reply = self.pending.pop_front().expect("one is out").wait().expect("answered");
        echo.check(&reply.body);
    }
}
