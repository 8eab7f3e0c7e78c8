//! Where a service is: `shm://[name]`, `tcp://host[:port]`, `tls://host[:port]`, `inproc://[name]`, or several of
//! them tried in order. Parsing only; no address is looked up here.

use std::{fmt, str::FromStr};

/// One parsed address. A missing name or port is filled in from the service's own definition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Shared memory on this machine.
    Shm {
        /// The service's name, with its prefix if it has one (`eu.echo_serv`).
        name: Option<String>,
    },
    /// TCP, in the clear.
    Tcp {
        /// A host name or address; IPv6 in brackets in text, without them here.
        host: String,
        /// Without one, the service's own port.
        port: Option<u16>,
    },
    /// TCP, encrypted.
    Tls {
        /// As in [`Self::Tcp`]; the server's certificate must be for it, unless
        /// [`ClientTls`](crate::ClientTls) has another name.
        host: String,
        /// Without one, the service's own port.
        port: Option<u16>,
    },
    /// A service published in this very process.
    Inproc {
        /// The service's name.
        name: Option<String>,
    },
}

/// An address that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "endpoint {text:?}: {reason}; write shm://NAME, tcp://HOST[:PORT], tls://HOST[:PORT] or inproc://NAME"
)]
pub struct EndpointError {
    text: String,
    reason: &'static str,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let fail = |reason| EndpointError { text: text.to_owned(), reason };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| fail("no scheme"))?;
        match scheme {
            "shm" => Ok(Self::Shm { name: parse_name(rest).map_err(fail)? }),
            "inproc" => Ok(Self::Inproc { name: parse_name(rest).map_err(fail)? }),
            "tcp" => parse_host(rest).map(|(host, port)| Self::Tcp { host, port }).map_err(fail),
            "tls" => parse_host(rest).map(|(host, port)| Self::Tls { host, port }).map_err(fail),
            _ => Err(fail("unknown scheme")),
        }
    }
}

fn parse_name(text: &str) -> Result<Option<String>, &'static str> {
    if text.is_empty() {
        return Ok(None);
    }
    if is_service_name(text) {
        Ok(Some(text.to_owned()))
    } else {
        Err("a service name has 1 to 64 letters, digits, '_', '-' or '.', and starts with a letter or digit")
    }
}

/// Whether a text may name a service: 1 to 64 ASCII letters, digits, `_`, `-` or `.`, the first of them a
/// letter or digit.
#[must_use]
pub fn is_service_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=64).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

fn parse_host(text: &str) -> Result<(String, Option<u16>), &'static str> {
    let (host, port) = if let Some(inner) = text.strip_prefix('[') {
        let (host, rest) = inner.split_once(']').ok_or("'[' without ']'")?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err("text after ']'"),
        }
    } else {
        match text.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err("an IPv6 address needs brackets"),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if host.is_empty() {
        return Err("no host");
    }
    if host.contains(|c: char| c.is_whitespace() || c.is_control() || "[]/@?#".contains(c)) {
        return Err("a host has no spaces, brackets or any of '/@?#'");
    }
    let port = match port {
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => return Err("a port is a number from 1 to 65535"),
            Ok(port) => Some(port),
        },
        None => None,
    };
    Ok((host.to_owned(), port))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shm { name } => write!(f, "shm://{}", name.as_deref().unwrap_or("")),
            Self::Inproc { name } => write!(f, "inproc://{}", name.as_deref().unwrap_or("")),
            Self::Tcp { host, port } => write_host(f, "tcp", host, *port),
            Self::Tls { host, port } => write_host(f, "tls", host, *port),
        }
    }
}

fn write_host(f: &mut fmt::Formatter<'_>, scheme: &str, host: &str, port: Option<u16>) -> fmt::Result {
    if host.contains(':') {
        write!(f, "{scheme}://[{host}]")?;
    } else {
        write!(f, "{scheme}://{host}")?;
    }
    port.map_or(Ok(()), |port| write!(f, ":{port}"))
}

/// Anything that `connect` takes: one address, or several that are tried in order.
pub trait IntoEndpoints {
    /// The addresses in the order in which they are tried.
    ///
    /// # Errors
    /// When one of them cannot be parsed.
    fn into_endpoints(self) -> Result<Vec<Endpoint>, EndpointError>;
}

impl IntoEndpoints for &str {
    fn into_endpoints(self) -> Result<Vec<Endpoint>, EndpointError> {
        self.split(',').map(|part| part.trim().parse()).collect()
    }
}

impl IntoEndpoints for &String {
    fn into_endpoints(self) -> Result<Vec<Endpoint>, EndpointError> {
        self.as_str().into_endpoints()
    }
}

impl IntoEndpoints for String {
    fn into_endpoints(self) -> Result<Vec<Endpoint>, EndpointError> {
        self.as_str().into_endpoints()
    }
}

impl IntoEndpoints for Endpoint {
    fn into_endpoints(self) -> Result<Vec<Endpoint>, EndpointError> {
        Ok(vec![self])
    }
}

impl IntoEndpoints for &[&str] {
    fn into_endpoints(self) -> Result<Vec<Endpoint>, EndpointError> {
        self.iter().map(|text| text.parse()).collect()
    }
}

impl<const N: usize> IntoEndpoints for [&str; N] {
    fn into_endpoints(self) -> Result<Vec<Endpoint>, EndpointError> {
        self.as_slice().into_endpoints()
    }
}

impl IntoEndpoints for Vec<Endpoint> {
    fn into_endpoints(self) -> Result<Vec<Endpoint>, EndpointError> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_addresses_come_back_as_written() {
        for text in [
            "shm://",
            "shm://echo_serv",
            "shm://eu.echo_serv",
            "inproc://a",
            "tcp://localhost",
            "tcp://127.0.0.1:5555",
            "tcp://[::1]:5555",
            "tcp://[::1]",
            "tls://box.example:5555",
            "tls://[::1]",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn bad_addresses_name_themselves() {
        for text in [
            "",
            "echo",
            "udp://x",
            "tcp://",
            "tcp://h:0",
            "tcp://h:70000",
            "tcp://::1",
            "tcp://[::1",
            "tcp://[[2]",
            "tcp://a/b",
            "tcp://a b",
            "tls://",
            "shm://a/b",
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn lists_keep_their_order() {
        let list = "shm://a, tcp://b:1".into_endpoints().unwrap();
        assert_eq!(list.len(), 2);
        assert_eq!(list[1].to_string(), "tcp://b:1");
    }
}
