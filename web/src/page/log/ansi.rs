//! Text of a worker → pieces that act on nobody: colours and weights become names of styles, every other escape
//! sequence is taken out, control characters become visible, overlong lines are cut.

use std::{iter::Peekable, str::Chars};

use serde::Serialize;

use super::super::format;

/// A line is shown up to so many characters.
const MAX_CHARS: usize = 4000;

/// A part of a line in one style.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Piece {
    /// Names of styles between spaces: `f1 bold`; empty: plain.
    pub(crate) style: String,
    pub(crate) text: String,
}

/// What a terminal would remember between characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Style {
    foreground: Option<u16>,
    background: Option<u16>,
    is_bold: bool,
    is_faint: bool,
    is_italic: bool,
    is_underlined: bool,
}

impl Style {
    fn names(self) -> String {
        let colours = [("f", self.foreground), ("b", self.background)];
        let colours = colours.into_iter().filter_map(|(kind, colour)| Some(format!("{kind}{}", colour?)));
        let weights = [
            ("bold", self.is_bold),
            ("faint", self.is_faint),
            ("italic", self.is_italic),
            ("underlined", self.is_underlined),
        ];
        let weights = weights.into_iter().filter(|(_, is_on)| *is_on).map(|(name, _)| name.to_owned());
        colours.chain(weights).collect::<Vec<_>>().join(" ")
    }

    /// Takes the parameters of one `ESC [ … m`. Colours beyond the sixteen named ones are left as they were: a page
    /// that is light or dark has its own.
    fn apply(&mut self, parameters: &str) {
        let mut codes = parameters.split([';', ':']).map(|code| match code {
            "" => Some(0),
            code => code.parse::<u16>().ok(),
        });
        while let Some(code) = codes.next() {
            let Some(code) = code else { continue };
            match code {
                0 => *self = Self::default(),
                1 => self.is_bold = true,
                2 => self.is_faint = true,
                3 => self.is_italic = true,
                4 => self.is_underlined = true,
                22 => (self.is_bold, self.is_faint) = (false, false),
                23 => self.is_italic = false,
                24 => self.is_underlined = false,
                30..=37 => self.foreground = Some(code - 30),
                90..=97 => self.foreground = Some(code - 90 + 8),
                39 => self.foreground = None,
                40..=47 => self.background = Some(code - 40),
                100..=107 => self.background = Some(code - 100 + 8),
                49 => self.background = None,
                38 | 48 => {
                    let chosen = match codes.next().flatten() {
                        Some(5) => codes.next().flatten().filter(|&colour| colour < 16),
                        Some(2) => codes.by_ref().take(3).last().and(None),
                        _ => None,
                    };
                    if chosen.is_some() && code == 38 {
                        self.foreground = chosen;
                    } else if chosen.is_some() {
                        self.background = chosen;
                    }
                }
                _ => {}
            }
        }
    }
}

/// The text without anything that could act on whoever shows it.
pub(super) fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = vec![Piece::default()];
    let mut style = Style::default();
    let mut rest = text.chars().peekable();
    let mut shown_chars = 0;
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            if let Some(parameters) = skip_escape(&mut rest) {
                style.apply(&parameters);
            }
            continue;
        }
        // A carriage return before the end of the line, as Windows programs write it.
        if c == '\r' && rest.peek().is_none() {
            continue;
        }
        let names = style.names();
        if pieces.last().is_none_or(|piece| piece.style != names) {
            pieces.push(Piece { style: names, text: String::new() });
        }
        let Some(piece) = pieces.last_mut() else { break };
        if shown_chars == MAX_CHARS {
            let left = 1 + rest.count();
            piece.text.push_str(&format!(" … {} characters more", format::count(left as u64)));
            break;
        }
        push_visible(&mut piece.text, c);
        shown_chars += 1;
    }
    pieces.retain(|piece| !piece.text.is_empty());
    pieces
}

/// The same without styles.
pub(in super::super) fn harmless(text: &str) -> String {
    pieces(text).into_iter().map(|piece| piece.text).collect()
}

fn push_visible(shown: &mut String, c: char) {
    match c {
        '\t' => shown.push('\t'),
        '\0'..='\u{1f}' => shown.push(char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}')),
        '\u{7f}' => shown.push('\u{2421}'),
        // C1 controls, marks that turn the direction of text, invisible joints and fillers.
        '\u{80}'..='\u{9f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{61c}' => shown.push_str(&format!("<{:04X}>", c as u32)),
        _ => shown.push(c),
    }
}

/// Skips the rest of an escape sequence after ESC: CSI up to its final byte, the string kinds (OSC, DCS,
/// …) up to BEL or ST, others two characters. An unfinished one takes the rest of the line. Returns the parameters if it
/// sets a style.
fn skip_escape(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    match rest.next()? {
        '[' => {
            let mut parameters = String::new();
            while let Some(c) = rest.next_if(|c| (' '..='~').contains(c)) {
                if ('@'..='~').contains(&c) {
                    return (c == 'm').then_some(parameters);
                }
                parameters.push(c);
            }
        }
        ']' | 'P' | '^' | '_' | 'X' => {
            while let Some(c) = rest.next() {
                if c == '\u{7}' || (c == '\u{1b}' && rest.next_if_eq(&'\\').is_some()) {
                    return None;
                }
            }
        }
        ' '..='/' => {
            rest.next();
        }
        _ => {}
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_harmful_is_shown() {
        for (text, expected) in [
            ("plain text, ümläut 漢字 🙂", "plain text, ümläut 漢字 🙂"),
            ("\u{1b}[1;31mred\u{1b}[0m!", "red!"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;http://x\u{1b}\\link", "link"),
            ("\u{1b}(Bcharset", "charset"),
            ("\u{1b}c reset", " reset"),
            ("cut \u{1b}[31", "cut "),
            ("cut \u{1b}", "cut "),
            ("\u{1b}[31\u{1}m", "␁m"),
            ("tab\tstays\r", "tab\tstays"),
            ("over\rwritten", "over␍written"),
            ("bell\u{7} null\0", "bell␇ null␀"),
            ("\u{202e}gnp.exe", "<202E>gnp.exe"),
            ("\u{9b}31m", "<009B>31m"),
        ] {
            assert_eq!(harmless(text), expected);
        }
    }

    #[test]
    fn colours_become_names() {
        let shown = |text: &str| {
            let pieces = pieces(text).into_iter();
            pieces.map(|piece| format!("{}:{}", piece.style, piece.text)).collect::<Vec<_>>().join("|")
        };
        for (text, expected) in [
            ("a\u{1b}[31mb\u{1b}[0mc", ":a|f1:b|:c"),
            ("\u{1b}[1;92mok\u{1b}[22m.\u{1b}[m.", "f10 bold:ok|f10:.|:."),
            ("\u{1b}[44;3;4mx\u{1b}[49;23;24my", "b4 italic underlined:x|:y"),
            ("\u{1b}[38;5;3mx\u{1b}[38;5;200my\u{1b}[38;2;1;2;3mz\u{1b}[39mw", "f3:xyz|:w"),
            ("\u{1b}[31m\u{1b}[0mnothing", ":nothing"),
            ("\u{1b}[999;;m?", ":?"),
        ] {
            assert_eq!(shown(text), expected, "{text:?}");
        }
    }

    #[test]
    fn long_lines_are_cut() {
        let text = "é".repeat(MAX_CHARS + 1500);
        let shown = harmless(&text);
        assert!(shown.ends_with("é … 1,500 characters more"), "{}", &shown[shown.len() - 60..]);
        assert_eq!(harmless(&text[..MAX_CHARS * 2]), text[..MAX_CHARS * 2]);
    }

    #[test]
    fn whatever_comes_nothing_that_acts_is_left() {
        let parts = [
            "\u{1b}", "[", "]", "0;", "m", "\u{7}", "\u{1b}\\", "\r", "\n", "\0", "\u{9b}", "\u{202e}",
            "\u{2066}", "\u{200b}", "P", "(", "x", "é", " ", "?25l", "\u{7f}", "\u{feff}", "\t",
        ];
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..10_000 {
            let mut text = String::new();
            for _ in 0..12 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                text += parts[(random % parts.len() as u64) as usize];
            }
            let shown = harmless(&text);
            let acts = |c: char| {
                (c.is_control() && c != '\t')
                    || ('\u{2028}'..='\u{202e}').contains(&c)
                    || ('\u{2060}'..='\u{206f}').contains(&c)
            };
            assert!(!shown.contains(acts), "{text:?} became {shown:?}");
            assert_eq!(harmless(&shown), shown);
        }
    }
}
