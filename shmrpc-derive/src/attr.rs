//! The options of the attributes: `#[service(name = …, port = …)]` and `#[json_method(deadline = …)]`.
//! Parsing and range checks; what they mean together is `valid`'s business.

use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use syn::{
    Attribute, Ident, LitInt, LitStr, Meta, Path, Token,
    ext::IdentExt,
    parse::{Parse, ParseStream, Parser},
};

use crate::report::Report;

/// The encodings that a method may be offered in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Raw,
    Json,
    Msgpack,
    Bincode,
}

impl Encoding {
    /// The attribute's name.
    pub(crate) fn attribute(self) -> &'static str {
        match self {
            Self::Raw => "raw_method",
            Self::Json => "json_method",
            Self::Msgpack => "msgpack_method",
            Self::Bincode => "bincode_method",
        }
    }

    /// The name of the type and of the enum's variant in `shmrpc_core::codec`.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Raw => "Raw",
            Self::Json => "Json",
            Self::Msgpack => "Msgpack",
            Self::Bincode => "Bincode",
        }
    }

    /// The encoding that an attribute stands for, recognised by the last segment of its path.
    pub(crate) fn of(attribute: &Attribute) -> Option<Self> {
        let last = &attribute.path().segments.last()?.ident;
        [Self::Raw, Self::Json, Self::Msgpack, Self::Bincode].into_iter().find(|e| last == e.attribute())
    }
}

/// What `#[service(…)]` says. A value that was missing or wrong has been reported and is a stand-in.
pub(crate) struct ServiceOptions {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) workers: Option<u32>,
    pub(crate) krate: Path,
}

impl ServiceOptions {
    pub(crate) fn parse(tokens: TokenStream, suggested_name: &str, report: &mut Report) -> Self {
        let mut given = Given::default();
        let parser = |input: ParseStream<'_>| options(input, |key, input| given.option(key, input));
        if let Err(error) = parser.parse2(tokens) {
            report.push(error);
        } else {
            let example = format!("`#[service(name = \"{suggested_name}\", port = 5555)]`");
            let mut missing = |what: &str| {
                let message = format!("`#[service]` needs a {what}: write {example}");
                report.push(syn::Error::new(Span::call_site(), message));
            };
            match (&given.name, &given.port) {
                (None, None) => missing("name and a port"),
                (None, _) => missing("name"),
                (_, None) => missing("port"),
                _ => {}
            }
        }
        Self {
            name: given.name.unwrap_or_else(|| suggested_name.to_owned()),
            port: given.port.unwrap_or(1),
            workers: given.workers,
            krate: given.krate.unwrap_or_else(|| syn::parse_quote!(::shmrpc)),
        }
    }
}

#[derive(Default)]
struct Given {
    name: Option<String>,
    port: Option<u16>,
    workers: Option<u32>,
    krate: Option<Path>,
}

impl Given {
    fn option(&mut self, key: &Ident, input: ParseStream<'_>) -> syn::Result<()> {
        match key.unraw().to_string().as_str() {
            "name" => once(&mut self.name, key, value(key, input, service_name)?),
            "port" => once(&mut self.port, key, value(key, input, port)?),
            "workers" => once(&mut self.workers, key, value(key, input, workers)?),
            "crate" => once(&mut self.krate, key, value(key, input, Path::parse_mod_style)?),
            _ => Err(unknown(key, "#[service]", "name, port, workers, crate")),
        }
    }
}

/// What `#[json_method(…)]` and its kin say.
#[derive(Debug, Default)]
pub(crate) struct MethodOptions {
    pub(crate) deadline: Option<Duration>,
    pub(crate) idempotent: bool,
    pub(crate) read_only: bool,
}

impl MethodOptions {
    pub(crate) fn parse(attribute: &Attribute, encoding: Encoding, report: &mut Report) -> Self {
        let mut given = Self::default();
        let tokens = match &attribute.meta {
            Meta::Path(_) => return given,
            Meta::List(list) => list.tokens.clone(),
            Meta::NameValue(pair) => {
                report.error(pair, format!("write options in brackets: `#[{}(…)]`", encoding.attribute()));
                return given;
            }
        };
        let parser = |input: ParseStream<'_>| options(input, |key, input| given.option(key, input, encoding));
        if let Err(error) = parser.parse2(tokens) {
            report.push(error);
        }
        given
    }

    fn option(&mut self, key: &Ident, input: ParseStream<'_>, encoding: Encoding) -> syn::Result<()> {
        match key.to_string().as_str() {
            "deadline" => once(&mut self.deadline, key, value(key, input, deadline)?),
            "idempotent" => flag(&mut self.idempotent, key, input),
            "read_only" => flag(&mut self.read_only, key, input),
            _ => {
                let place = format!("#[{}]", encoding.attribute());
                Err(unknown(key, &place, "deadline, idempotent, read_only"))
            }
        }
    }
}

/// Comma-separated options, each begun by a word.
fn options(
    input: ParseStream<'_>,
    mut option: impl FnMut(&Ident, ParseStream<'_>) -> syn::Result<()>,
) -> syn::Result<()> {
    while !input.is_empty() {
        let key = Ident::parse_any(input)?;
        option(&key, input)?;
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok(())
}

fn value<T>(
    key: &Ident,
    input: ParseStream<'_>,
    parse: impl FnOnce(ParseStream<'_>) -> syn::Result<T>,
) -> syn::Result<T> {
    if !input.peek(Token![=]) {
        return Err(syn::Error::new(key.span(), format!("`{key}` needs a value: `{key} = …`")));
    }
    input.parse::<Token![=]>()?;
    parse(input)
}

fn flag(seen: &mut bool, key: &Ident, input: ParseStream<'_>) -> syn::Result<()> {
    if input.peek(Token![=]) {
        let message = format!("`{key}` takes no value: write `{key}`, or leave it out");
        return Err(syn::Error::new(key.span(), message));
    }
    if std::mem::replace(seen, true) { Err(twice(key)) } else { Ok(()) }
}

fn once<T>(slot: &mut Option<T>, key: &Ident, value: T) -> syn::Result<()> {
    if slot.replace(value).is_some() { Err(twice(key)) } else { Ok(()) }
}

fn twice(key: &Ident) -> syn::Error {
    syn::Error::new(key.span(), format!("`{key}` is given twice"))
}

fn unknown(key: &Ident, place: &str, accepted: &str) -> syn::Error {
    syn::Error::new(key.span(), format!("unknown option `{key}`: `{place}` takes {accepted}"))
}

fn literal<T: Parse>(input: ParseStream<'_>, wanted: &str) -> syn::Result<T> {
    let at = input.span();
    input.parse().map_err(|_| syn::Error::new(at, format!("expected {wanted}")))
}

fn service_name(input: ParseStream<'_>) -> syn::Result<String> {
    let text: LitStr = literal(input, "a name in quotes, as in `name = \"echo_serv\"`")?;
    let name = text.value();
    // The same rule as `shmrpc_core::endpoint::is_service_name`, which a macro crate cannot call.
    let fits = (1..=64).contains(&name.len())
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if fits {
        Ok(name)
    } else {
        Err(syn::Error::new(
            text.span(),
            "a service name has 1 to 64 ASCII letters, digits, `_`, `-` or `.`, and starts with a letter or digit",
        ))
    }
}

fn port(input: ParseStream<'_>) -> syn::Result<u16> {
    const RULE: &str = "a port is a number from 1 to 65535";
    let number: LitInt = literal(input, "a number, as in `port = 5555`")?;
    match number.base10_parse() {
        Ok(0) | Err(_) => Err(syn::Error::new(number.span(), RULE)),
        Ok(port) => Ok(port),
    }
}

fn workers(input: ParseStream<'_>) -> syn::Result<u32> {
    let number: LitInt = literal(input, "a number, as in `workers = 1`")?;
    match number.base10_parse() {
        Ok(0) | Err(_) => Err(syn::Error::new(number.span(), "`workers` is a number, at least 1")),
        Ok(workers) => Ok(workers),
    }
}

fn deadline(input: ParseStream<'_>) -> syn::Result<Duration> {
    const RULE: &str =
        "a deadline is a whole number with a unit: `\"500ms\"`, `\"2s\"`, `\"1m\"` or `\"1h\"`";
    let text: LitStr = literal(input, RULE)?;
    parse_duration(&text.value()).ok_or_else(|| syn::Error::new(text.span(), RULE))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let ms = number.parse::<u64>().ok()?.checked_mul(unit_ms)?;
    (ms > 0).then(|| Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("2s"), Some(Duration::from_secs(2)));
        assert_eq!(parse_duration("1m"), Some(Duration::from_secs(60)));
        assert_eq!(parse_duration("3h"), Some(Duration::from_secs(10_800)));
        for wrong in ["", "2", "s", "2 s", "-1s", "1.5s", "0s", "2d", "99999999999999999999s"] {
            assert_eq!(parse_duration(wrong), None, "{wrong:?}");
        }
    }
}
