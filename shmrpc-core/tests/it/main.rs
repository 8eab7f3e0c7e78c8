//! The transport suite: what every transport must do, written once ([`suite`]) over one service
//! ([`service`]), and run over each.

mod endpoints;
mod inproc;
mod service;
mod shm;
mod suite;
mod tcp;
mod vectors;
