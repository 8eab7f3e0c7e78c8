//! A worker that dies in the window that `SHMRPC_KILL_AT` names; without it, one that lives.

use shmrpc_victim::service::Victim;

shmrpc::worker_main!(Victim);
