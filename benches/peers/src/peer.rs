//! Those that are measured, one file each. Each has a server, which says where it is and answers until it is ended,
//! and a client, which is handed to the loops of `measure`.

pub mod iceoryx;
pub mod ipc_channel;
pub mod shmrpc;
pub mod socket;
pub mod tarpc;
pub mod tonic;
pub mod zmq;

use crate::{
    job::{Carrier, Figures, Job},
    limit,
};

/// Runs a job's server, until the process is ended.
pub fn serve(job: &Job) -> ! {
    match job.carrier {
        Carrier::Line | Carrier::Semaphores | Carrier::Futexes => limit::serve(job),
        Carrier::Memcpy => unreachable!("it has no server"),
        Carrier::Ring | Carrier::SleepingRing => limit::ring::serve(job),
        Carrier::UnixSocket | Carrier::TcpSocket => socket::serve(job),
        Carrier::Shmrpc(_) => shmrpc::serve(job),
        Carrier::IceoryxPoll | Carrier::IceoryxEvent => iceoryx::serve(job),
        Carrier::TarpcUnix | Carrier::TarpcTcp => tarpc::serve(job),
        Carrier::Tonic => tonic::serve(job),
        Carrier::Zmq => zmq::serve(job),
        Carrier::IpcChannel => ipc_channel::serve(job),
    }
}

/// Runs a job's client. It calls `go` when it is warm and all others may start with it.
pub fn client(job: &Job, go: impl FnOnce() + Send + 'static) -> Figures {
    match job.carrier {
        Carrier::Line | Carrier::Semaphores | Carrier::Futexes => limit::client(job, go),
        Carrier::Memcpy => limit::memcpy(job, go),
        Carrier::Ring | Carrier::SleepingRing => limit::ring::client(job, go),
        Carrier::UnixSocket | Carrier::TcpSocket => socket::client(job, go),
        Carrier::Shmrpc(manner) => shmrpc::client(job, manner, go),
        Carrier::IceoryxPoll | Carrier::IceoryxEvent => iceoryx::client(job, go),
        Carrier::TarpcUnix | Carrier::TarpcTcp => tarpc::client(job, go),
        Carrier::Tonic => tonic::client(job, go),
        Carrier::Zmq => zmq::client(job, go),
        Carrier::IpcChannel => ipc_channel::client(job, go),
    }
}

/// Removes what processes of a job that were killed have left outside of its folder.
pub fn sweep(job: &Job) {
    match job.carrier {
        Carrier::Shmrpc(_) => shmrpc::sweep(&job.folder),
        Carrier::IceoryxPoll | Carrier::IceoryxEvent => {
            let prefix = iceoryx::prefix(job);
            for entry in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(&prefix) {
                    let _ = std::fs::remove_file(entry.path());
                }
            }
        }
        _ => {}
    }
}
