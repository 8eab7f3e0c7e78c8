//! The facade's integration tests: what a user of the macros, the clients and the server relies on, one
//! module a subject.

mod derive;
mod processes;
mod search;
