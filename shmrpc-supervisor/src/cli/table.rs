//! Text in columns.

use std::io::{self, Write};

/// Writes rows under a heading, each column as wide as its widest text but the last.
pub(super) fn write(
    out: &mut dyn Write,
    heading: &[impl AsRef<str>],
    rows: &[impl AsRef<[String]>],
) -> io::Result<()> {
    let mut widths: Vec<usize> = heading.iter().map(|text| text.as_ref().len()).collect();
    for row in rows {
        for (width, text) in widths.iter_mut().zip(row.as_ref()) {
            *width = (*width).max(text.chars().count());
        }
    }
    line(out, heading, &widths)?;
    rows.iter().try_for_each(|row| line(out, row.as_ref(), &widths))
}

fn line(out: &mut dyn Write, texts: &[impl AsRef<str>], widths: &[usize]) -> io::Result<()> {
    let cells = texts.iter().zip(widths).map(|(text, &width)| format!("{:width$}", text.as_ref()));
    writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())
}

/// A service's text for a terminal: one line, without control characters.
pub(super) fn plain(text: &str) -> String {
    text.lines().next().unwrap_or("").chars().filter(|c| !c.is_control()).collect()
}
