//! What the search service offers: the one definition that the service and its clients share. A client
//! links this file, not the index.

use serde::{Deserialize, Serialize};
use shmrpc::{
    json_method, msgpack_method,
    schemars::{self, JsonSchema},
    service,
};

/// A file that has the words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Hit {
    /// Its path below the folder.
    pub(crate) path: String,
    /// How well it fits: BM25.
    pub(crate) score: f64,
    /// The line that has most of the words, counted from 1.
    pub(crate) line: u32,
    /// That line.
    pub(crate) snippet: String,
}

/// The index in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Stats {
    /// The folder that was read.
    pub(crate) folder: String,
    /// Files in the index.
    pub(crate) files: u64,
    /// Their length together.
    pub(crate) text_bytes: u64,
    /// Different words.
    pub(crate) words: u64,
    /// How long it took to read and index them.
    pub(crate) built_in_ms: u64,
    /// The process that holds the index: the only one.
    pub(crate) pid: u32,
}

/// Full-text search over a folder that is indexed once, in memory, for all who ask.
// One worker: the index is the point, and a second worker would hold a second one. Its threads use the cores.
#[service(name = "search_serv", port = 5556, workers = 1)]
pub(crate) trait SearchServer {
    /// The files that fit best, at most `limit` of them.
    #[msgpack_method(idempotent, read_only, deadline = "5s")]
    fn search(&self, query: &str, limit: u32) -> Vec<Hit>;

    /// The index in numbers.
    #[json_method(idempotent, read_only, deadline = "5s")]
    fn stats(&self) -> Stats;
}
