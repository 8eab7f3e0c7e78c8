//! A service at rest: processes that hold a thousand connections, what those cost in memory and in processor time while
//! nothing happens, and how long it takes from `connect` to the end of the first call meanwhile.

use std::{
    fs,
    io::{BufRead, stdin},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    job::{Job, Load},
    machine::value_bytes,
    memory::cpu_time,
    peer::shmrpc,
    role::{go, say},
    spawn::{Process, servers},
    statistics::median,
};

/// What one round found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rest {
    pub connections: usize,
    /// Hundredths of a second of processor time, of the server and the holders together, over the window.
    pub ticks: u64,
    /// The same, from the precise clock.
    pub cpu_ms: f64,
    pub window_s: f64,
    /// Growth of Shmem + Slab + the processes' PSS, over the connections; none was called yet.
    pub bytes_a_connection: f64,
    pub shmem_bytes: f64,
    pub slab_bytes: f64,
    pub server_pss_bytes: f64,
    pub clients_pss_bytes: f64,
    /// From `connect` to the end of the first call: in a process that has just begun, and then again in the same one.
    pub first_call_ns: f64,
    pub next_call_ns: f64,
    pub next_call_worst_ns: f64,
}

/// How often the newcomer connects again.
const AGAIN: usize = 20;
/// How long connecting may take in all.
const CONNECTING: Duration = Duration::from_secs(60);
/// Until memory is what it stays at.
const SETTLING: Duration = Duration::from_millis(500);
/// From then until nobody has anything left to do: each process reads the list of the runtime folder once more after it has
/// changed, when it next looks at it, which is within five seconds.
const CALMING: Duration = Duration::from_secs(6);

/// Runs one round.
pub fn run(mut job: Job) -> Result<Rest, String> {
    let Load::Idle(each) = job.load else { return Err("not a job at rest".into()) };
    let servers = servers(&mut job)?;
    let holders: Result<Vec<_>, _> = (0..job.clients).map(|_| Process::start("holder", &job)).collect();
    let mut holders = holders?;
    for holder in &holders {
        let _: String = holder.hear(Duration::ZERO)?;
    }
    let pids = |processes: &[Process]| processes.iter().map(Process::pid).collect::<Vec<_>>();
    let (serving, holding) = (pids(&servers), pids(&holders));
    let before = Memory::now(&serving, &holding);
    for holder in &mut holders {
        holder.go()?;
    }
    for holder in &holders {
        let _: String = holder.hear(CONNECTING)?;
    }
    thread::sleep(SETTLING);
    let after = Memory::now(&serving, &holding);
    thread::sleep(CALMING);
    let everybody = [serving.as_slice(), holding.as_slice()].concat();
    let (ticks_before, cpu_before) = used(&everybody);
    thread::sleep(job.window);
    let (ticks_after, cpu_after) = used(&everybody);
    let newcomer = Process::start("newcomer", &job)?;
    let times_ns: Vec<f64> = newcomer.hear(CONNECTING)?;
    let connections = each * job.clients;
    let grown = |of: fn(&Memory) -> f64| of(&after) - of(&before);
    let all = grown(|m| m.shmem_bytes + m.slab_bytes + m.server_pss_bytes + m.clients_pss_bytes);
    Ok(Rest {
        connections,
        ticks: ticks_after - ticks_before,
        cpu_ms: (cpu_after - cpu_before).as_secs_f64() * 1000.0,
        window_s: job.window.as_secs_f64(),
        bytes_a_connection: all / connections as f64,
        shmem_bytes: grown(|m| m.shmem_bytes) / connections as f64,
        slab_bytes: grown(|m| m.slab_bytes) / connections as f64,
        server_pss_bytes: grown(|m| m.server_pss_bytes) / connections as f64,
        clients_pss_bytes: grown(|m| m.clients_pss_bytes) / connections as f64,
        first_call_ns: times_ns[0],
        next_call_ns: median(times_ns[1..].iter().copied()).unwrap_or_default(),
        next_call_worst_ns: times_ns[1..].iter().copied().fold(0.0, f64::max),
    })
}

struct Memory {
    shmem_bytes: f64,
    slab_bytes: f64,
    server_pss_bytes: f64,
    clients_pss_bytes: f64,
}

impl Memory {
    fn now(servers: &[u32], clients: &[u32]) -> Self {
        let pss = |pids: &[u32]| {
            pids.iter().map(|pid| value_bytes(&format!("/proc/{pid}/smaps_rollup"), "Pss")).sum()
        };
        Self {
            shmem_bytes: value_bytes("/proc/meminfo", "Shmem"),
            slab_bytes: value_bytes("/proc/meminfo", "Slab"),
            server_pss_bytes: pss(servers),
            clients_pss_bytes: pss(clients),
        }
    }
}

/// Processor time of processes: utime and stime in ticks, and by the precise clock.
fn used(pids: &[u32]) -> (u64, Duration) {
    let ticks = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the name, which may hold anything, utime and stime are the 12th and 13th.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        fields.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum::<u64>()
    };
    (pids.iter().map(ticks).sum(), pids.iter().map(|&pid| cpu_time(pid)).sum())
}

/// The role that holds connections: makes them at the word, and keeps them until it is let go.
pub fn hold(job: &Job) {
    let Load::Idle(connections) = job.load else { return };
    go();
    let held: Vec<_> = (0..connections).map(|_| shmrpc::connect(job)).collect();
    say(&"connected");
    let _ = stdin().lock().read_line(&mut String::new());
    drop(held);
}

/// The role that comes late: connects and calls, again and again.
pub fn newcomer(job: &Job) {
    let times_ns: Vec<f64> = (0..=AGAIN)
        .map(|_| {
            let began = Instant::now();
            let client = shmrpc::connect(job);
            shmrpc::call_once(&client);
            began.elapsed().as_nanos() as f64
        })
        .collect();
    say(&times_ns);
}
