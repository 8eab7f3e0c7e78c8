//! Every row of docs/faults.md names the tests that bring its fault about, and there are such tests.

use std::{fs, path::Path};

/// All sources below a folder, one after the other.
fn sources(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder of sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(&path).expect("a source"));
        }
    }
}

#[test]
fn every_row_of_the_fault_matrix_has_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    for folder in ["tests", "shmrpc-core/src", "shmrpc-core/tests", "shmrpc-supervisor/tests", "web/tests"] {
        sources(&root.join(folder), &mut text);
    }
    // A function; an entry of a macro that makes functions; the name of a test program without a harness.
    let is_there = |name: &str| {
        [format!("fn {name}("), format!("    {name}: \""), format!("NAME: &str = \"{name}\"")]
            .iter()
            .any(|form| text.contains(form))
    };
    let document = fs::read_to_string(root.join("docs/faults.md")).expect("the document is there");
    let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() >= 27, "{} rows", rows.len());
    for row in rows {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().expect("a last cell");
        let names: Vec<&str> =
            tests.split('`').skip(1).step_by(2).filter(|name| !name.contains('/')).collect();
        assert!(!names.is_empty(), "no test: {row}");
        let missing: Vec<_> = names.into_iter().filter(|name| !is_there(name)).collect();
        assert!(missing.is_empty(), "{missing:?} of: {row}");
    }
}
