//! An error and its sources on one line: errors say what failed, their sources why, and whoever tells the
//! user needs both.

use std::{error::Error, fmt::Write};

/// The error, then each source after a colon.
#[must_use]
pub fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let _infallible = write!(text, ": {error}");
        source = error.source();
    }
    text
}
