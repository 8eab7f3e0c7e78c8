//! JSON that can be looked at in a terminal: serde_json writes everything from U+007F on as it is, and terminals
//! act on some of that. What acts is written as an escape, which every reader of JSON understands.

use std::io;

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Serializer, ser::Formatter};

/// A value as such JSON.
pub(crate) fn text(value: &impl Serialize) -> serde_json::Result<String> {
    let mut written = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut written, Plain))?;
    String::from_utf8(written).map_err(serde::ser::Error::custom)
}

/// An answer of such JSON.
pub(crate) struct PlainJson<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for PlainJson<T> {
    fn into_response(self) -> Response {
        match text(&self.0) {
            Ok(text) => {
                ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
            }
            Err(_) => crate::problem::empty(axum::http::StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

struct Plain;

impl Formatter for Plain {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|&(_, c)| acts(c)) {
            write!(writer, "{}\\u{:04x}", &rest[..at], u32::from(c))?;
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// DEL and the controls of the upper half; marks that turn the direction of text or hide it.
fn acts(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_escaped_and_reads_the_same() {
        let value = "a\u{7f}\u{9b}31m\u{202e}b\u{1b}\u{feff} ümläut 漢字 🙂";
        let written = text(&value).unwrap();
        assert_eq!(written, r#""a\u007f\u009b31m\u202eb\u001b\ufeff ümläut 漢字 🙂""#);
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), value);
    }
}
