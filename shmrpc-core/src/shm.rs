//! Shared memory: what processes map together, and how they wait for each other. Knows bytes, words and
//! names; knows nothing of calls, frames or runtimes. The only module tree with `unsafe` code.

pub(crate) mod lock;
