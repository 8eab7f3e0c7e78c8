//! Bytes → lines. Pure; memory is bounded whatever is printed.

/// A longer line is cut for the page; the file gets all of it.
pub(super) const MAX_LINE_BYTES: usize = 16 << 10;

/// Cuts a stream into lines. Keeps at most one unfinished line.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The unfinished line, as far as it is not in the file.
    held: Vec<u8>,
    /// The line at hand was too long, has been shown, and its rest is not.
    cut: bool,
}

impl Lines {
    /// Takes bytes; hands over each finished line as text; returns the bytes that are due in the file:
    /// whole lines, so that those of several workers do not mix, or parts of lines that are too long.
    pub(super) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(String)) -> Vec<u8> {
        let mut due = Vec::with_capacity(self.held.len() + bytes.len());
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.held.extend_from_slice(piece);
            let ends = piece.ends_with(b"\n");
            if ends || self.held.len() > MAX_LINE_BYTES {
                self.show(&mut line);
                due.append(&mut self.held);
                self.cut = !ends;
            }
        }
        due
    }

    /// The end of the stream: what is left, with an end of line, so that the next writer's line begins
    /// at its beginning.
    pub(super) fn finish(mut self, mut line: impl FnMut(String)) -> Vec<u8> {
        if self.held.is_empty() && !self.cut {
            return Vec::new();
        }
        self.show(&mut line);
        self.held.push(b'\n');
        self.held
    }

    fn show(&self, line: &mut impl FnMut(String)) {
        if self.cut {
            return;
        }
        let text = self.held.strip_suffix(b"\n").unwrap_or(&self.held);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.len() > MAX_LINE_BYTES {
            line(format!("{} …", String::from_utf8_lossy(&text[..MAX_LINE_BYTES])));
        } else {
            line(String::from_utf8_lossy(text).into_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(chunks: &[&[u8]]) -> (Vec<String>, Vec<u8>) {
        let (mut texts, mut file) = (Vec::new(), Vec::new());
        let mut lines = Lines::default();
        for chunk in chunks {
            file.extend(lines.push(chunk, |line| texts.push(line)));
        }
        file.extend(lines.finish(|line| texts.push(line)));
        (texts, file)
    }

    #[test]
    fn lines_are_whole_wherever_the_chunks_are_cut() {
        let (texts, file) = run(&[b"a", b"b\nc\r\n\n", b"d\xffe", b"\nlast"]);
        assert_eq!(texts, ["ab", "c", "", "d\u{fffd}e", "last"]);
        assert_eq!(file, b"ab\nc\r\n\nd\xffe\nlast\n");
    }

    #[test]
    fn a_line_without_end_is_cut_for_the_page_and_whole_in_the_file() {
        let long = vec![b'x'; 10_000];
        let (texts, file) = run(&[&long, &long, &long, &long, b"tail\nnext\n"]);
        assert_eq!(texts.len(), 2);
        assert!(texts[0].starts_with("xxx") && texts[0].len() < MAX_LINE_BYTES + 8);
        assert_eq!(texts[1], "next");
        assert_eq!(file.len(), 40_000 + 10);
    }

    #[test]
    fn memory_is_bounded() {
        let mut lines = Lines::default();
        for _ in 0..1000 {
            lines.push(&[b'x'; 1000], |_| {});
            assert!(lines.held.len() <= MAX_LINE_BYTES + 1000);
        }
    }
}
