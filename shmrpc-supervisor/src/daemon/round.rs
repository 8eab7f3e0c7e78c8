//! What is looked at once a second and may block: the kernel's numbers about processes, and the services'
//! own logs. Runs off the loop, one round at a time.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::PathBuf,
};

use shmrpc_web::{LogTail, Usage};

use crate::{
    config::Rotation,
    output::{Journal, LogFiles},
    sample::Sampler,
};

/// What a round remembers of the one before.
#[derive(Debug)]
pub(crate) struct Rounds {
    sampler: Sampler,
    journals: HashMap<PathBuf, Journal>,
}

/// What a round shall look at.
#[derive(Debug)]
pub(super) struct Subjects {
    pub(super) pids: HashSet<u32>,
    /// Services, the files of their own logs, and how long these are kept.
    pub(super) journals: Vec<(String, PathBuf, Rotation)>,
}

impl Rounds {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { sampler: Sampler::new()?, journals: HashMap::new() })
    }

    /// Looks at everything once.
    pub(super) fn run(
        &mut self,
        subjects: Subjects,
        tail: &LogTail,
        files: &LogFiles,
    ) -> HashMap<u32, Usage> {
        self.journals.retain(|path, _| subjects.journals.iter().any(|(_, wanted, _)| wanted == path));
        for (service, path, rules) in subjects.journals {
            let journal = self.journals.entry(path.clone()).or_insert_with(|| Journal::new(service, path));
            journal.look(tail, &rules, files.compressor());
        }
        let pids: Vec<u32> = subjects.pids.into_iter().collect();
        self.sampler.sample(&pids)
    }
}
