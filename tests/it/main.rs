//! The facade's integration tests: what a user of the macros, the clients and the server relies on, one
//! module a subject.

#[path = "../support/cargo.rs"]
mod cargo;
mod derive;
mod fault_matrix;
mod processes;
mod search;
