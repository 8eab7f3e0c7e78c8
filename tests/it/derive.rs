//! `#[service]`: what the generated servers and clients do, over the in-process transport.

mod agreement;
mod behaviour;
mod encodings;
mod in_place;
mod over_shm;
mod schemas;
mod streams;
mod trait_form;
mod ui;

use serde::{Deserialize, Serialize};

/// A value with everything that values have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) tags: Vec<String>,
    pub(crate) parent: Option<u64>,
}

impl Row {
    pub(crate) fn sample() -> Self {
        Self { id: 7, name: "seven".into(), tags: vec!["odd".into(), "prime".into()], parent: None }
    }
}

/// A typed error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum RowError {
    NotFound { id: u64 },
    Refused(String),
}
