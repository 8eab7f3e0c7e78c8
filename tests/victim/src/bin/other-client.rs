//! A client of another layout version: calls the probe at the endpoints of its argument, in every way in which calls
//! may be waited for, until its standard input ends. Then it says how often, and who has answered. A call that fails
//! ends it, with the error.

use std::{
    collections::BTreeSet,
    io::Read,
    process::ExitCode,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use shmrpc::{ConnectOptions, Connection, Definition, Door, RpcError, ShmBytes, client::Target};

#[path = "../../../../shmrpc-supervisor/examples/probe.rs"]
#[allow(dead_code)]
mod probe;

use probe::Probe;

/// So many calls of one caller are under way together.
const TOGETHER: i64 = 8;

struct Load {
    connection: Connection,
    calls: AtomicU64,
}

static ENDS: AtomicBool = AtomicBool::new(false);

impl Load {
    fn target(name: &str) -> Target<'static> {
        let methods = Probe::INFO.methods;
        methods.iter().find(|method| method.name == name).expect("a method of the probe").into()
    }

    /// Calls of one thread until the end; what it has heard.
    fn run<T: Ord>(
        &self,
        mut call: impl FnMut(&Connection) -> Result<Vec<T>, RpcError>,
    ) -> Result<BTreeSet<T>, RpcError> {
        let mut heard = BTreeSet::new();
        while !ENDS.load(Ordering::Relaxed) {
            let answers = call(&self.connection).inspect_err(|_| ENDS.store(true, Ordering::Relaxed))?;
            self.calls.fetch_add(answers.len() as u64, Ordering::Relaxed);
            heard.extend(answers);
        }
        Ok(heard)
    }

    /// One after the other.
    fn alone(&self) -> Result<BTreeSet<u32>, RpcError> {
        self.run(|connection| {
            let reply = connection.call_bytes_blocking(Self::target("pid"), Door::Json, b"[]")?;
            Ok(vec![serde_json::from_slice(&reply.body).expect("a process id")])
        })
    }

    /// Many at once.
    fn together(&self) -> Result<BTreeSet<i64>, RpcError> {
        self.run(|connection| {
            let begin =
                |n: i64| connection.begin(Self::target("add"), Door::Json, format!("[{n},1]").as_bytes());
            let begun = (0..TOGETHER).map(begin).collect::<Result<Vec<_>, _>>()?;
            let mut sums = Vec::new();
            for pending in begun {
                sums.push(serde_json::from_slice(&pending.wait()?.body).expect("a sum"));
            }
            assert!(sums.iter().copied().eq(1..=TOGETHER), "{sums:?}");
            Ok(sums)
        })
    }

    /// In place.
    fn placed(&self) -> Result<BTreeSet<usize>, RpcError> {
        let echo = Probe::INFO.methods.iter().find(|method| method.name == "echo").expect("it echoes");
        let data = [7_u8; 2000];
        self.run(|connection| {
            let echoed = connection.call_raw_in_place_blocking::<shmrpc::NoError, _>(
                echo,
                |loan| loan.copy_from(&data[..]),
                |reply: ShmBytes<'_>| reply.len(),
            );
            match echoed {
                Ok(len) => Ok(vec![len]),
                Err(shmrpc::CallError::Rpc(error)) => Err(error),
                Err(other) => panic!("nobody's own error: {other}"),
            }
        })
    }
}

fn calls(endpoints: &str) -> Result<(), String> {
    let connection = Connection::connect_any(endpoints, &ConnectOptions::default())
        .map_err(|error| error.to_string())?
        .with_deadline(Duration::from_secs(60));
    let load = Load { connection, calls: AtomicU64::new(0) };
    println!("connected");
    // It may be there for longer than the calls.
    std::thread::spawn(|| {
        let _ended = std::io::stdin().read_to_end(&mut Vec::new());
        ENDS.store(true, Ordering::Relaxed);
    });
    let heard = std::thread::scope(|scope| {
        let others = [scope.spawn(|| load.together().map(drop)), scope.spawn(|| load.placed().map(drop))];
        let alone = scope.spawn(|| load.alone());
        let heard = alone.join().expect("no panic");
        others.into_iter().try_for_each(|other| other.join().expect("no panic")).and(heard)
    });
    let pids = heard.map_err(|error| error.to_string())?;
    let calls = load.calls.load(Ordering::Relaxed);
    println!("{}", serde_json::json!({ "calls": calls, "pids": pids }));
    Ok(())
}

fn main() -> ExitCode {
    let endpoints = std::env::args().nth(1).expect("endpoints, between commas");
    match calls(&endpoints) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}
