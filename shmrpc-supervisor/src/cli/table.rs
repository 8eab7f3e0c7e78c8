//! Text in columns.

use std::io::{self, Write};

/// Writes rows under a heading, each column as wide as its widest text but the last.
pub(super) fn write<const N: usize>(
    out: &mut dyn Write,
    heading: [&str; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let mut widths = heading.map(str::len);
    for row in rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    let mut line = |texts: [&str; N]| {
        let mut text = String::new();
        for (cell, width) in texts.iter().zip(widths) {
            text.push_str(&format!("{cell:width$}  "));
        }
        writeln!(out, "{}", text.trim_end())
    };
    line(heading)?;
    rows.iter().try_for_each(|row| line(row.each_ref().map(String::as_str)))
}

/// A service's text for a terminal: one line, without control characters.
pub(super) fn plain(text: &str) -> String {
    text.lines().next().unwrap_or("").chars().filter(|c| !c.is_control()).collect()
}
