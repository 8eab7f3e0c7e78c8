//! Cargo, called by a program that cargo runs. What is built of the whole workspace at a time, as `cargo test` does it, is
//! built once; a package by itself may have dependencies with fewer features, and they are built once more.

use std::process::Command;

/// Cargo as its user would call it, who has not been told about a package. Build scripts that read what cargo tells about
/// packages (ring's does) are run again whenever it differs, and all that depends on them is built anew: once for us, and
/// once more for whoever calls cargo next.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let told = |name: &str| {
        name == "OUT_DIR" || ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.starts_with(prefix))
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(told) {
            cargo.env_remove(name);
        }
    }
    cargo
}
