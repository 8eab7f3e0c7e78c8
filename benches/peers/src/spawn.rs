//! The processes of one measurement: this very program in other roles. Everything that is started is ended, also when
//! something fails; every wait has a deadline.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use serde::de::DeserializeOwned;

use crate::job::{Carrier, Figures, Job};

/// How long a process may take to say something beyond what it measures.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a process that was asked to end may take.
const LEAVE: Duration = Duration::from_secs(2);

/// A process in a role. Dropped, it is ended and waited for.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    role: &'static str,
}

impl Process {
    pub fn start(role: &'static str, job: &Job) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let job = serde_json::to_string(job).map_err(|e| e.to_string())?;
        let mut command = Command::new(program);
        command.args([role, &job]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|e| format!("{role}: {e}"))?;
        let (sender, lines) = mpsc::channel();
        let output = child.stdout.take().expect("it is piped");
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { input: child.stdin.take(), child, lines, role })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it says next, in so long and some.
    pub fn hear<T: DeserializeOwned>(&self, within: Duration) -> Result<T, String> {
        let line = self.lines.recv_timeout(within + PATIENCE).map_err(|e| match e {
            mpsc::RecvTimeoutError::Timeout => format!("the {} said nothing in time", self.role),
            mpsc::RecvTimeoutError::Disconnected => format!("the {} ended early", self.role),
        })?;
        serde_json::from_str(&line).map_err(|e| format!("the {} said {line:?}: {e}", self.role))
    }

    /// Gives the word.
    pub fn go(&mut self) -> Result<(), String> {
        let input = self.input.as_mut().expect("open until it is dropped");
        input.write_all(b"go\n").map_err(|e| format!("the {} does not listen: {e}", self.role))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A neighbour does not listen.
        drop(self.input.take());
        let until = Instant::now() + LEAVE;
        while self.role != "neighbour" && Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the servers of a job, and notes in it where they are.
pub fn servers(job: &mut Job) -> Result<Vec<Process>, String> {
    let mut servers = Vec::new();
    for index in 0..job.workers {
        job.index = index;
        let server = Process::start("server", job)?;
        job.servers.push(server.hear(Duration::ZERO)?);
        servers.push(server);
    }
    Ok(servers)
}

/// Runs one measurement, and gives what each client found.
pub fn run(mut job: Job) -> Result<Vec<Figures>, String> {
    if job.carrier == Carrier::Memcpy {
        job.workers = 0;
    }
    let servers = servers(&mut job)?;
    let neighbours: Result<Vec<_>, _> =
        (0..job.neighbours).map(|_| Process::start("neighbour", &job)).collect();
    let neighbours = neighbours?;
    let mut clients = Vec::new();
    for index in 0..job.clients {
        job.index = index;
        clients.push(Process::start("client", &job)?);
    }
    for client in &clients {
        let _: String = client.hear(job.warm_up())?;
    }
    for client in &mut clients {
        client.go()?;
    }
    let figures = clients.iter().map(|client| client.hear(job.window)).collect();
    // Clients leave before their servers.
    drop((clients, neighbours, servers));
    figures
}
