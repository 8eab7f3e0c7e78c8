//! What is measured: one row for each carrier, load, size and place. Rows that are compared stand next to each other, so
//! that they are measured within seconds.

use std::{path::Path, time::Duration};

use crate::job::{Carrier, Job, Load, Manner, Method};

/// One line of measurement, repeated in each round.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    job: Job,
}

pub const LARGE: [usize; 4] = [4 << 10, 64 << 10, 1 << 20, 16 << 20];
const LIMITS: [Carrier; 3] = [Carrier::Line, Carrier::Semaphores, Carrier::Futexes];
/// What moves bytes without being a library.
const BARE: [Carrier; 4] = [Carrier::Ring, Carrier::SleepingRing, Carrier::UnixSocket, Carrier::TcpSocket];
/// Other people's libraries.
pub const PEERS: [Carrier; 7] = [
    Carrier::IceoryxPoll,
    Carrier::IceoryxEvent,
    Carrier::TarpcUnix,
    Carrier::TarpcTcp,
    Carrier::Tonic,
    Carrier::Zmq,
    Carrier::IpcChannel,
];

const fn shmrpc(method: Method) -> Carrier {
    Carrier::Shmrpc(Manner { over_tcp: false, asynchronous: false, method })
}

pub const RAW: Carrier = shmrpc(Method::Raw);
const RAW_ASYNC: Carrier =
    Carrier::Shmrpc(Manner { over_tcp: false, asynchronous: true, method: Method::Raw });
const JSON_ASYNC: Carrier =
    Carrier::Shmrpc(Manner { over_tcp: false, asynchronous: true, method: Method::Json });
const RAW_TCP: Carrier = Carrier::Shmrpc(Manner { over_tcp: true, asynchronous: false, method: Method::Raw });
const RAW_TCP_ASYNC: Carrier =
    Carrier::Shmrpc(Manner { over_tcp: true, asynchronous: true, method: Method::Raw });
/// shmrpc in all ways in which raw bytes can be called.
pub const OURS: [Carrier; 4] = [RAW, RAW_ASYNC, RAW_TCP, RAW_TCP_ASYNC];

/// What a carrier is called in rows and tables.
pub fn title(carrier: Carrier) -> String {
    let Carrier::Shmrpc(manner) = carrier else {
        let name = match carrier {
            Carrier::Line => "cache line",
            Carrier::Semaphores => "semaphores",
            Carrier::Futexes => "futexes",
            Carrier::Memcpy => "memcpy",
            Carrier::Ring => "bare ring",
            Carrier::SleepingRing => "bare ring asleep",
            Carrier::UnixSocket => "Unix socket",
            Carrier::TcpSocket => "TCP socket",
            Carrier::IceoryxPoll => "iceoryx2 polling",
            Carrier::IceoryxEvent => "iceoryx2 events",
            Carrier::TarpcUnix => "tarpc",
            Carrier::TarpcTcp => "tarpc TCP",
            Carrier::Tonic => "tonic",
            Carrier::Zmq => "zmq",
            _ => "ipc-channel",
        };
        return name.to_owned();
    };
    let method = match manner.method {
        Method::Raw => "",
        Method::InPlace => " in place",
        Method::Json => " json",
        Method::Msgpack => " msgpack",
        Method::Bincode => " bincode",
        Method::JsonAlone => " json alone",
        Method::MsgpackAlone => " msgpack alone",
        Method::BincodeAlone => " bincode alone",
        Method::JsonSmall => " json small",
        Method::MsgpackSmall => " msgpack small",
    };
    let over = if manner.over_tcp { " TCP" } else { "" };
    let how = if manner.asynchronous { " async" } else { "" };
    format!("shmrpc{over}{how}{method}")
}

/// A row's name, such as `shmrpc/one/64/pinned` or `shmrpc/flight16/64/free/2w/4c`.
fn name(job: &Job) -> String {
    let load = match job.load {
        Load::One => "one".to_owned(),
        Load::Flight(depth) => format!("flight{depth}"),
        Load::Paced => "paced".to_owned(),
        Load::Idle(connections) => format!("idle{connections}"),
    };
    let place = if job.pinned { "pinned" } else { "free" };
    let mut name = format!("{}/{load}/{}/{place}", title(job.carrier), job.size_bytes);
    if job.workers != 1 {
        name += &format!("/{}w", job.workers);
    }
    if job.clients != 1 {
        name += &format!("/{}c", job.clients);
    }
    if job.neighbours != 0 {
        name += "/busy";
    }
    name
}

impl Row {
    fn new(carrier: Carrier, load: Load, size_bytes: usize) -> Self {
        let window_ms = match load {
            Load::One => 500,
            Load::Flight(_) => 400,
            Load::Paced => 2000,
            Load::Idle(_) => 10_000,
        };
        let job = Job {
            carrier,
            load,
            size_bytes,
            pinned: false,
            workers: 1,
            clients: 1,
            neighbours: 0,
            window: Duration::from_millis(window_ms),
            folder: std::path::PathBuf::new(),
            index: 0,
            servers: Vec::new(),
        };
        Self { name: name(&job), job }
    }

    fn with(mut self, change: impl FnOnce(&mut Job)) -> Self {
        change(&mut self.job);
        self.name = name(&self.job);
        self
    }

    fn pinned(self) -> Self {
        self.with(|job| job.pinned = true)
    }

    fn workers(self, workers: usize) -> Self {
        self.with(|job| job.workers = workers)
    }

    fn clients(self, clients: usize) -> Self {
        self.with(|job| job.clients = clients)
    }

    fn beside_two(self) -> Self {
        self.with(|job| {
            job.neighbours = 2;
            job.window = Duration::from_millis(2000);
        })
    }

    pub fn is_idle(&self) -> bool {
        matches!(self.job.load, Load::Idle(_))
    }

    /// The job of one round, in a folder of its own.
    pub fn job(&self, folder: &Path, quick: bool) -> Job {
        let mut job = self.job.clone();
        folder.clone_into(&mut job.folder);
        if quick {
            job.window /= 10;
        }
        job
    }
}

/// All rows, in the order of a round.
pub fn all(quick: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    one_at_a_time(&mut rows);
    sizes(&mut rows);
    encodings(&mut rows);
    in_flight(&mut rows);
    paced_and_busy(&mut rows);
    // The connections are held by four processes.
    let connections = if quick { 25 } else { 250 };
    rows.push(Row::new(RAW, Load::Idle(connections), 64).clients(4));
    rows
}

fn one_at_a_time(rows: &mut Vec<Row>) {
    let carriers = || LIMITS.into_iter().chain(BARE).chain(OURS).chain(PEERS);
    rows.extend(carriers().map(|carrier| Row::new(carrier, Load::One, 64).pinned()));
    rows.extend(carriers().map(|carrier| Row::new(carrier, Load::One, 64)));
}

fn sizes(rows: &mut Vec<Row>) {
    rows.push(Row::new(Carrier::Memcpy, Load::One, 64).pinned());
    for size_bytes in LARGE {
        let carriers = [Carrier::Memcpy].into_iter().chain(BARE).chain(OURS).chain(PEERS);
        rows.extend(carriers.map(|carrier| Row::new(carrier, Load::One, size_bytes).pinned()));
    }
    for size_bytes in [64, 1 << 20, 16 << 20] {
        rows.push(Row::new(shmrpc(Method::InPlace), Load::One, size_bytes).pinned());
    }
}

fn encodings(rows: &mut Vec<Row>) {
    rows.push(Row::new(RAW, Load::One, 256).pinned());
    let methods = [
        Method::Json,
        Method::JsonAlone,
        Method::Msgpack,
        Method::MsgpackAlone,
        Method::Bincode,
        Method::BincodeAlone,
        Method::JsonSmall,
        Method::MsgpackSmall,
    ];
    rows.extend(methods.map(|method| Row::new(shmrpc(method), Load::One, 64).pinned()));
    rows.push(Row::new(JSON_ASYNC, Load::One, 64).pinned());
    for method in [Method::JsonSmall, Method::MsgpackSmall] {
        let carrier = Carrier::Shmrpc(Manner { over_tcp: true, asynchronous: false, method });
        rows.push(Row::new(carrier, Load::One, 64).pinned());
    }
}

fn in_flight(rows: &mut Vec<Row>) {
    let carriers = || BARE.into_iter().chain(OURS).chain(PEERS);
    rows.extend(carriers().map(|carrier| Row::new(carrier, Load::Flight(64), 64).pinned()));
    rows.extend(carriers().map(|carrier| Row::new(carrier, Load::Flight(64), 64)));
    for carrier in [RAW, RAW_ASYNC] {
        rows.push(Row::new(carrier, Load::Flight(64), 64).workers(2));
    }
    let four = |carrier| Row::new(carrier, Load::Flight(16), 64).clients(4);
    for carrier in [RAW, RAW_ASYNC] {
        rows.push(four(carrier).workers(2));
    }
    rows.extend(BARE.into_iter().chain(PEERS).map(four));
}

fn paced_and_busy(rows: &mut Vec<Row>) {
    let others = || [Carrier::SleepingRing, Carrier::UnixSocket, Carrier::TcpSocket].into_iter().chain(PEERS);
    for workers in [1, 2, 4] {
        // Beside each of ours its own yardstick, seconds away.
        if workers == 1 {
            rows.push(Row::new(Carrier::Semaphores, Load::Paced, 64));
        }
        rows.push(Row::new(RAW, Load::Paced, 64).workers(workers));
        rows.push(Row::new(RAW_ASYNC, Load::Paced, 64).workers(workers));
    }
    rows.push(Row::new(RAW_TCP, Load::Paced, 64));
    rows.extend(others().map(|carrier| Row::new(carrier, Load::Paced, 64)));
    for load in [Load::One, Load::Paced] {
        let ours = [Carrier::Semaphores, RAW, RAW_ASYNC];
        rows.extend(ours.into_iter().chain(others()).map(|carrier| Row::new(carrier, load, 64).beside_two()));
    }
}
