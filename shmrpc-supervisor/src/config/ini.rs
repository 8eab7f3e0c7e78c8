//! Ini text → sections and entries with their lines. Strict: nothing is merged, swallowed or guessed;
//! what the grammar does not know is a fault, and reading goes on so that all faults are found at once.
//! Knows no section and no key by name.
//!
//! The grammar: `[section]`, `key = value`, and comments that begin a line with `#` or `;`. Keys are
//! case-insensitive. White space around names and values does not count. A value ends with its line.

use std::fmt;

use super::diagnostic::{Diagnostic, Diagnostics};

/// A parsed file.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// The sections in file order, no name twice.
    pub(super) sections: Vec<Section>,
}

/// One section.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) line: usize,
    /// The entries in file order, no key twice.
    pub(super) entries: Vec<Entry>,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[{}]", self.name)?;
        self.entries.iter().try_for_each(|entry| writeln!(f, "{} = {}", entry.key, entry.value))
    }
}

/// One `key = value`.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) line: usize,
}

impl Document {
    /// The section of that name.
    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }
}

/// Reads a file's bytes.
pub(super) fn parse(bytes: &[u8], faults: &mut Diagnostics) -> Document {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut document = Document::default();
    // Entries before the first header and under a repeated header are read too, for their own faults,
    // into a section that nobody asks for.
    let mut current = Section { name: String::new(), line: 0, entries: Vec::new() };
    let mut kept = false;
    for (index, line) in bytes.split(|&b| b == b'\n').enumerate() {
        let number = index + 1;
        let Ok(text) = std::str::from_utf8(line) else {
            faults.push(Diagnostic::new(number, "not UTF-8 text"));
            continue;
        };
        let text = text.trim();
        if text.contains(is_invisible) {
            faults.push(Diagnostic::new(number, "has a control character"));
            continue;
        }
        if text.is_empty() || text.starts_with(['#', ';']) {
            continue;
        }
        if text.starts_with('[') {
            let Some(name) = header(text, number, faults) else {
                continue;
            };
            let next = Section { name: name.to_owned(), line: number, entries: Vec::new() };
            let finished = std::mem::replace(&mut current, next);
            if kept {
                document.sections.push(finished);
            }
            kept = is_new_section(&document, name, number, faults);
        } else if let Some(entry) = entry(text, number, &current, faults) {
            current.entries.push(entry);
        }
    }
    if kept {
        document.sections.push(current);
    }
    document
}

/// Names are shown in messages, in logs and on terminals.
fn is_invisible(c: char) -> bool {
    c.is_control() && c != '\t'
}

fn header<'a>(text: &'a str, line: usize, faults: &mut Diagnostics) -> Option<&'a str> {
    let accepted = "[web monitor], [defaults], or [StructName] for each service";
    let name = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(str::trim);
    match name {
        Some(name) if !name.is_empty() && !name.contains(['[', ']']) => Some(name),
        _ => {
            let problem = format!("{text:?} is not a section header");
            faults.push(Diagnostic::new(line, problem).accepted(accepted));
            None
        }
    }
}

fn is_new_section(document: &Document, name: &str, line: usize, faults: &mut Diagnostics) -> bool {
    let Some(first) = document.section(name) else {
        return true;
    };
    let problem = format!("duplicate section, first at line {}", first.line);
    faults.push(
        Diagnostic::new(line, problem)
            .section(name)
            .accepted(format!("one section of each name; [{name}:PREFIX] for another copy of a service")),
    );
    false
}

fn entry(text: &str, line: usize, section: &Section, faults: &mut Diagnostics) -> Option<Entry> {
    let located = |fault: Diagnostic| {
        if section.line > 0 { fault.section(&section.name) } else { fault }
    };
    let Some((key, value)) = text.split_once('=') else {
        let problem = format!("{text:?} has no '='");
        faults.push(located(Diagnostic::new(line, problem)).accepted("key = value, [section], or # comment"));
        return None;
    };
    let key = key.trim().to_ascii_lowercase();
    if key.is_empty() {
        faults.push(located(Diagnostic::new(line, "no key before '='")).accepted("key = value"));
        return None;
    }
    if section.line == 0 {
        faults.push(
            Diagnostic::new(line, "stands before the first section")
                .key(&key)
                .accepted("[web monitor], [defaults] or a service's section above it"),
        );
        return None;
    }
    if let Some(first) = section.entries.iter().find(|entry| entry.key == key) {
        let problem = format!("duplicate key, first at line {}", first.line);
        faults.push(located(Diagnostic::new(line, problem)).key(&key));
        return None;
    }
    Some(Entry { key, value: value.trim().to_owned(), line })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Document, Vec<(usize, String)>) {
        let mut faults = Diagnostics::new("t.ini");
        let document = parse(text.as_bytes(), &mut faults);
        let faults = faults.sorted().into_iter().map(|f| (f.line, f.problem.clone())).collect();
        (document, faults)
    }

    #[test]
    fn a_plain_file_is_read_with_its_lines() {
        let (document, faults) = read("\u{feff}# c\n[a b]\r\n Key = x = y # kept \r\n;c\n[c]\nempty=\n");
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(document.sections.len(), 2);
        let entry = &document.section("a b").unwrap().entries[0];
        assert_eq!((entry.key.as_str(), entry.value.as_str(), entry.line), ("key", "x = y # kept", 3));
        assert_eq!(document.section("c").unwrap().entries[0].value, "");
    }

    #[test]
    fn every_fault_is_found_and_nothing_is_merged() {
        let (document, faults) = read("x=1\n[a]\nk=1\nK=2\nno equals\n=v\n[a]\nk=3\n[broken\n[]\n");
        let lines: Vec<usize> = faults.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 4, 5, 6, 7, 9, 10]);
        assert_eq!(document.sections.len(), 1);
        assert_eq!(document.section("a").unwrap().entries[0].value, "1");
    }

    #[test]
    fn bytes_that_are_not_text_are_a_fault_of_their_line() {
        for line in [&b"k=\xff"[..], b"k=\x1b[31m", b"[a\0]", b"a\rb=1"] {
            let mut faults = Diagnostics::new("t.ini");
            parse(&[b"[a]\n", line, b"\n"].concat(), &mut faults);
            assert_eq!(faults.sorted()[0].line, 2);
        }
    }
}
