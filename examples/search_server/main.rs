//! `search_server`: the worker program of the search service. It reads a folder once and keeps the index in
//! memory, the one copy for all front ends.
//!
//! The folder is `$SEARCH_FOLDER`, else this repository's own sources and documents. The supervisor starts it;
//! by hand, `search_server --serve` serves without one.

mod api;
mod index;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use self::{
    api::{Hit, SearchServer, SearchServerService, Stats},
    index::Index,
};

/// More than anybody reads.
const MOST_HITS: u32 = 1000;

struct Library {
    index: Index,
    stats: Stats,
}

impl Library {
    fn open(folder: &Path) -> std::io::Result<Self> {
        let start = Instant::now();
        let index = Index::build(folder)?;
        let stats = Stats {
            folder: folder.display().to_string(),
            files: index.files() as u64,
            text_bytes: index.text_bytes() as u64,
            words: index.words() as u64,
            built_in_ms: start.elapsed().as_millis() as u64,
            pid: std::process::id(),
        };
        println!("indexed {} files of {} in {} ms", stats.files, stats.folder, stats.built_in_ms);
        Ok(Self { index, stats })
    }

    /// A service without its index would only answer wrongly: better none.
    fn open_or_exit() -> Self {
        let folder = folder();
        Self::open(&folder).unwrap_or_else(|error| {
            eprintln!("search_server: cannot read {}: {error}", folder.display());
            std::process::exit(1);
        })
    }
}

impl SearchServer for Library {
    fn search(&self, query: &str, limit: u32) -> Vec<Hit> {
        self.index.search(query, limit.min(MOST_HITS) as usize)
    }

    fn stats(&self) -> Stats {
        self.stats.clone()
    }
}

fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("SEARCH_FOLDER") {
        return folder.into();
    }
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    if sources.is_dir() { sources.into() } else { ".".into() }
}

shmrpc::worker_main!(SearchServerService<Library> = SearchServerService::new(Library::open_or_exit()));
