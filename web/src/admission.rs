//! Who may come in. [`Rules::decide`] is a pure function of a request's head and of who sent it; the
//! middleware in [`crate::server`] asks it before any route sees the request.
//!
//! Three questions, in this order:
//! 1. Did a page of this dashboard, or no page at all, make the request? A foreign `Host` (DNS
//!    rebinding), a foreign `Origin` or a browser's word that another site asked (CSRF) is refused
//!    always, whoever the user is.
//! 2. If a browser asks for a change, did our own page make it ask? Only that page knows its token, which is
//!    made anew with each start.
//! 3. Is it an allowed user? A process of an allowed uid on this machine, or anybody with the token.

mod credentials;

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, Method, Uri, header, uri::Authority};

use crate::options::WebOptions;

/// Where a connection comes from; the same for all its requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Our end.
    pub(crate) local: SocketAddr,
    /// The other end.
    pub(crate) remote: SocketAddr,
    /// The owner of the other end, where it is on this machine and known.
    pub(crate) uid: Option<u32>,
}

/// A request that is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Not one `Host`, or not one that can be understood.
    #[error("a request needs exactly one valid Host")]
    NoHost,
    /// A host that this dashboard does not answer to.
    #[error("this dashboard does not answer to the host {0:?}")]
    ForeignHost(String),
    /// A page from elsewhere asks.
    #[error("requests from pages of {0:?} are refused")]
    ForeignOrigin(String),
    /// The browser says that another site asks.
    #[error("requests from other sites are refused")]
    CrossSite,
    /// A browser's change without the page's token.
    #[error(
        "a change from a browser needs the token of the page, which this page does not have: load it anew"
    )]
    NoPageToken,
    /// Neither an allowed user nor a token.
    #[error("this dashboard is for its own user; others need the token")]
    NoToken,
    /// A token that is not ours.
    #[error("wrong token")]
    WrongToken,
}

impl Refusal {
    /// Whether another try with the token could be let in.
    pub(crate) const fn wants_token(&self) -> bool {
        matches!(self, Self::NoToken | Self::WrongToken)
    }
}

/// The part of [`WebOptions`] that says who may come in.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    allowed_hosts: Vec<String>,
    allowed_uids: Vec<u32>,
    token: Option<String>,
    page_token: String,
}

/// Where a page's own orders carry its token.
pub(crate) const PAGE_TOKEN: &str = "page";

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

impl Rules {
    /// `page_token` is what our own pages know and nobody else's.
    pub(crate) fn new(options: &WebOptions, page_token: String) -> Self {
        Self {
            allowed_hosts: options.allowed_hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            allowed_uids: options.allowed_uids.clone(),
            token: options.token.clone().filter(|token| !token.is_empty()),
            page_token,
        }
    }

    /// What a page of ours shows with every change.
    pub(crate) fn page_token(&self) -> &str {
        &self.page_token
    }

    /// Lets a request in, or says why not.
    pub(crate) fn decide(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        peer: &Peer,
    ) -> Result<(), Refusal> {
        let host = self.check_host(uri, headers, peer)?;
        check_origin(headers, &host)?;
        self.check_change(method, uri, headers)?;
        self.check_user(headers, peer)
    }

    /// The host that was asked for, in lower case, if it is one of ours.
    fn check_host(&self, uri: &Uri, headers: &HeaderMap, peer: &Peer) -> Result<String, Refusal> {
        let host = only(headers, &header::HOST).ok_or(Refusal::NoHost)?.to_ascii_lowercase();
        let authority: Authority = host.parse().map_err(|_| Refusal::NoHost)?;
        // What stands between name and port is nobody's to guess at: `localhost:1*[::1]:5155`.
        let name = authority.host();
        let is_plain = match authority.port_u16() {
            Some(port) => host.strip_prefix(name) == Some(format!(":{port}").as_str()),
            None => host == name,
        };
        if !is_plain && !host.contains('@') {
            return Err(Refusal::NoHost);
        }
        // `GET http://elsewhere/ HTTP/1.1` asks for elsewhere, whatever its Host says.
        if let Some(asked) = uri.authority()
            && !asked.as_str().eq_ignore_ascii_case(&host)
        {
            return Err(Refusal::ForeignHost(asked.to_string()));
        }
        if host.contains('@') || !self.answers_to(&host, &authority, peer) {
            return Err(Refusal::ForeignHost(host));
        }
        Ok(host)
    }

    fn answers_to(&self, host: &str, authority: &Authority, peer: &Peer) -> bool {
        let name = authority.host();
        if self.allowed_hosts.iter().any(|allowed| allowed == host || allowed == name) {
            return true;
        }
        if authority.port_u16().unwrap_or(80) != peer.local.port() {
            return false;
        }
        if name == "localhost" {
            return true;
        }
        // The very address that the client connected to cannot be had by rebinding a name.
        let literal = name.trim_start_matches('[').trim_end_matches(']');
        literal.parse::<IpAddr>().is_ok_and(|ip| {
            ip.to_canonical() == peer.local.ip().to_canonical() || ip.to_canonical().is_loopback()
        })
    }

    /// Browsers add `Origin` to every change; programs need not, and no page can leave it out. A program that does
    /// shows the daemon's token, which no browser adds by itself in that form.
    fn check_change(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let is_browser = headers.contains_key(header::ORIGIN) || headers.contains_key(SEC_FETCH_SITE);
        if !changes || !is_browser {
            return Ok(());
        }
        let mut pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let shown = pairs.find(|(name, _)| *name == PAGE_TOKEN).map(|(_, value)| value);
        let is_ours = shown.is_some_and(|shown| {
            !self.page_token.is_empty()
                && credentials::are_equal(self.page_token.as_bytes(), shown.as_bytes())
        });
        let authorization = only(headers, &header::AUTHORIZATION).unwrap_or_default();
        let is_program = authorization.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer "));
        if is_ours || (is_program && self.shows_token(authorization)) {
            return Ok(());
        }
        Err(Refusal::NoPageToken)
    }

    fn shows_token(&self, authorization: &str) -> bool {
        match (&self.token, credentials::token(authorization)) {
            (Some(ours), Some(shown)) => credentials::are_equal(ours.as_bytes(), &shown),
            _ => false,
        }
    }

    fn check_user(&self, headers: &HeaderMap, peer: &Peer) -> Result<(), Refusal> {
        let is_local = peer.remote.ip().to_canonical().is_loopback();
        if is_local && peer.uid.is_some_and(|uid| self.allowed_uids.contains(&uid)) {
            return Ok(());
        }
        if !headers.contains_key(header::AUTHORIZATION) {
            return Err(Refusal::NoToken);
        }
        if only(headers, &header::AUTHORIZATION).is_some_and(|shown| self.shows_token(shown)) {
            return Ok(());
        }
        Err(Refusal::WrongToken)
    }
}

/// A browser names the page that asks (`Origin`, at least with every POST) and how near it is
/// (`Sec-Fetch-Site`). Another port of the same machine is another application, maybe of another user.
fn check_origin(headers: &HeaderMap, host: &str) -> Result<(), Refusal> {
    if headers.contains_key(header::ORIGIN) {
        let origin = only(headers, &header::ORIGIN).unwrap_or_default();
        let site = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if !site.is_some_and(|site| site.eq_ignore_ascii_case(host)) {
            return Err(Refusal::ForeignOrigin(origin.to_owned()));
        }
    }
    if headers.contains_key(SEC_FETCH_SITE)
        && !matches!(only(headers, &SEC_FETCH_SITE), Some("same-origin" | "none"))
    {
        return Err(Refusal::CrossSite);
    }
    Ok(())
}

/// The value of a header that stands there once, as text.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod cases;
