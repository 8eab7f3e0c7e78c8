//! What one measurement is ([`Job`]), and what comes out of it ([`Figures`]). The orchestrator makes jobs out of its
//! rows and hands them to the processes that it spawns, as JSON in an argument; a client prints its figures as JSON.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// Who carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carrier {
    /// A cache line that goes there and back; no message.
    Line,
    /// Two semaphores; no message.
    Semaphores,
    /// Two futexes; no message.
    Futexes,
    /// `memcpy` within one process; no second process.
    Memcpy,
    /// A bare slot ring whose sides spin for ever.
    Ring,
    /// The same ring, whose sides sleep at once on semaphores.
    SleepingRing,
    UnixSocket,
    TcpSocket,
    /// shmrpc; the manner says over what, and how it is called.
    Shmrpc(Manner),
    /// iceoryx2, both sides polling.
    IceoryxPoll,
    /// iceoryx2, both sides asleep in a listener.
    IceoryxEvent,
    TarpcUnix,
    TarpcTcp,
    Tonic,
    Zmq,
    IpcChannel,
}

/// How shmrpc is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manner {
    pub over_tcp: bool,
    pub asynchronous: bool,
    pub method: Method,
}

/// Which of the echo service's methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Bytes, copied.
    Raw,
    /// Bytes in place, of which the handler touches eight.
    InPlace,
    /// A struct of ten fields.
    Json,
    Msgpack,
    Bincode,
    /// No call: what encoding and decoding of that struct costs in one process.
    JsonAlone,
    MsgpackAlone,
    BincodeAlone,
    /// The original's messages: a small map of about 70 bytes of JSON, and a small struct in MessagePack.
    JsonSmall,
    MsgpackSmall,
}

/// In which pattern calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// One after the other, as fast as they return.
    One,
    /// So many in flight: half of them are sent, then half of them drained; or as many tasks.
    Flight(usize),
    /// One each millisecond; the clock starts after the pause.
    Paced,
    /// None: so many connections a client process are held open.
    Idle(usize),
}

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub carrier: Carrier,
    pub load: Load,
    pub size_bytes: usize,
    /// The server on the last processor, the client on the first.
    pub pinned: bool,
    /// Server processes.
    pub workers: usize,
    /// Client processes.
    pub clients: usize,
    /// Loops that compute beside it.
    pub neighbours: usize,
    /// How long is measured; the warm-up comes on top.
    pub window: Duration,
    /// A folder of this measurement alone.
    pub folder: PathBuf,
    /// Which client or which worker this process is.
    pub index: usize,
    /// What the servers said of themselves; clients need it.
    pub servers: Vec<ServerReady>,
}

impl Job {
    /// How long is called before anything counts.
    pub fn warm_up(&self) -> Duration {
        (self.window / 4).clamp(Duration::from_millis(20), Duration::from_millis(120))
    }
}

/// What a server says when clients may come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerReady {
    pub pid: u32,
    /// Where it is, in the carrier's own words; where each client needs a place of its own, one for each.
    pub addresses: Vec<String>,
}

/// What a client found. What a load does not measure is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Mean time of a call, with no clock in the loop.
    pub mean_ns: Option<f64>,
    /// Percentiles, with one reading of the clock a call.
    pub p50_ns: Option<f64>,
    pub p99_ns: Option<f64>,
    pub p999_ns: Option<f64>,
    pub worst_ns: Option<f64>,
    pub calls_per_s: Option<f64>,
    /// The slowest client's share of the mean client's calls.
    pub fairness: Option<f64>,
    /// Processor time over the window, in per cent of one processor.
    pub client_cpu_pc: Option<f64>,
    pub server_cpu_pc: Option<f64>,
}
