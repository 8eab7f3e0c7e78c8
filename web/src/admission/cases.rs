//! The table of who may come in: each row a request and its outcome.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::{Peer, Refusal, Rules};
use crate::options::WebOptions;

const OWN: u32 = 1000;
const FRIEND: u32 = 1001;
const STRANGER: u32 = 1002;
const SELF: &str = "localhost:5155";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    In,
    NoHost,
    ForeignHost,
    ForeignOrigin,
    CrossSite,
    NoPageToken,
    NoToken,
    WrongToken,
}
use Outcome::*;

struct Case {
    what: &'static str,
    uri: &'static str,
    remote: &'static str,
    uid: Option<u32>,
    headers: &'static [(&'static str, &'static str)],
    outcome: Outcome,
}

/// Our own user on loopback, with those headers.
const fn own(what: &'static str, headers: &'static [(&'static str, &'static str)], outcome: Outcome) -> Case {
    Case { what, uri: "/", remote: "127.0.0.1:40000", uid: Some(OWN), headers, outcome }
}

/// Somebody at that address, asking for the host that is right there.
const fn somebody(
    what: &'static str,
    remote: &'static str,
    uid: Option<u32>,
    headers: &'static [(&'static str, &'static str)],
    outcome: Outcome,
) -> Case {
    Case { what, uri: "/", remote, uid, headers, outcome }
}

const HOSTS: &[Case] = &[
    own("curl", &[("host", SELF)], In),
    own("the loopback address", &[("host", "127.0.0.1:5155")], In),
    own("the IPv6 loopback address", &[("host", "[::1]:5155")], In),
    own("capitals", &[("host", "LocalHost:5155")], In),
    own("a configured name with any port", &[("host", "box.example:8443")], In),
    own("a configured name without port", &[("host", "box.example")], In),
    own("a configured name and port", &[("host", "proxy.example:80")], In),
    own("a configured name, another port", &[("host", "proxy.example:81")], ForeignHost),
    own("no host", &[], NoHost),
    own("two hosts", &[("host", SELF), ("host", "evil.example")], NoHost),
    own("an empty host", &[("host", "")], NoHost),
    own("a host that is none", &[("host", "local host:5155")], NoHost),
    own("a rebound name", &[("host", "evil.example:5155")], ForeignHost),
    own("a name that begins like ours", &[("host", "localhost.evil.example:5155")], ForeignHost),
    own("a name that ends like ours", &[("host", "evil-localhost:5155")], ForeignHost),
    own("a configured name's subdomain", &[("host", "a.box.example:5155")], ForeignHost),
    own("text between name and port", &[("host", "localhost:1*[::1]:5155")], NoHost),
    own("a port that is none", &[("host", "localhost:05155x")], NoHost),
    own("two ports", &[("host", "localhost:5155:5155")], NoHost),
    own("another port", &[("host", "localhost:5156")], ForeignHost),
    own("no port", &[("host", "localhost")], ForeignHost),
    own("another address", &[("host", "10.9.9.9:5155")], ForeignHost),
    own("a user before the host", &[("host", "localhost:5155@evil.example:5155")], ForeignHost),
    own("our name as a user", &[("host", "evil@localhost:5155")], ForeignHost),
    Case { uri: "http://localhost:5155/", ..own("absolute form", &[("host", SELF)], In) },
    Case { uri: "http://evil.example/", ..own("absolute, elsewhere", &[("host", SELF)], ForeignHost) },
];

const ORIGINS: &[Case] = &[
    own("our page", &[("host", SELF), ("origin", "http://localhost:5155")], In),
    own("our page behind TLS", &[("host", "box.example"), ("origin", "https://box.example")], In),
    own("a foreign page", &[("host", SELF), ("origin", "https://evil.example")], ForeignOrigin),
    own("a sandboxed page", &[("host", SELF), ("origin", "null")], ForeignOrigin),
    own("an empty origin", &[("host", SELF), ("origin", "")], ForeignOrigin),
    own(
        "two origins",
        &[("host", SELF), ("origin", "http://localhost:5155"), ("origin", "x")],
        ForeignOrigin,
    ),
    own("another port's page", &[("host", SELF), ("origin", "http://localhost:8000")], ForeignOrigin),
    own("another name of ours", &[("host", SELF), ("origin", "http://127.0.0.1:5155")], ForeignOrigin),
    own("another scheme", &[("host", SELF), ("origin", "file://localhost:5155")], ForeignOrigin),
    own("same origin", &[("host", SELF), ("sec-fetch-site", "same-origin")], In),
    own("typed by the user", &[("host", SELF), ("sec-fetch-site", "none")], In),
    own("cross site", &[("host", SELF), ("sec-fetch-site", "cross-site")], CrossSite),
    own("same site, other port", &[("host", SELF), ("sec-fetch-site", "same-site")], CrossSite),
    own("two fetch sites", &[("host", SELF), ("sec-fetch-site", "none"), ("sec-fetch-site", "x")], CrossSite),
];

const USERS: &[Case] = &[
    somebody("an allowed friend", "127.0.0.1:4", Some(FRIEND), &[("host", SELF)], In),
    somebody("own user, IPv6", "[::1]:4", Some(OWN), &[("host", SELF)], In),
    somebody("own user, mapped", "[::ffff:127.0.0.1]:4", Some(OWN), &[("host", SELF)], In),
    somebody("a stranger", "127.0.0.1:4", Some(STRANGER), &[("host", SELF)], NoToken),
    somebody("root is a stranger", "127.0.0.1:4", Some(0), &[("host", SELF)], NoToken),
    somebody("nobody knows who", "127.0.0.1:4", None, &[("host", SELF)], NoToken),
    somebody("another machine", "10.0.0.2:4", None, &[("host", SELF)], NoToken),
    somebody("another machine's uid says nothing", "10.0.0.2:4", Some(OWN), &[("host", SELF)], NoToken),
    somebody("token", "10.0.0.2:4", None, &[("host", SELF), ("authorization", "Bearer secret")], In),
    somebody("stranger", "127.0.0.1:4", Some(9), &[("host", SELF), ("authorization", "bearer secret")], In),
    somebody("prompt", "10.0.0.2:4", None, &[("host", SELF), ("authorization", "Basic bWU6c2VjcmV0")], In),
    somebody("short", "10.0.0.2:4", None, &[("host", SELF), ("authorization", "Bearer secre")], WrongToken),
    somebody("empty", "10.0.0.2:4", None, &[("host", SELF), ("authorization", "Bearer ")], WrongToken),
    somebody("bare", "10.0.0.2:4", None, &[("host", SELF), ("authorization", "secret")], WrongToken),
    somebody(
        "the token does not excuse a foreign page",
        "10.0.0.2:4",
        None,
        &[("host", SELF), ("origin", "http://evil.example"), ("authorization", "Bearer secret")],
        ForeignOrigin,
    ),
    somebody(
        "nor a foreign host",
        "10.0.0.2:4",
        None,
        &[("host", "evil.example"), ("authorization", "Bearer secret")],
        ForeignHost,
    ),
];

/// By POST.
const CHANGES: &[Case] = &[
    own("a program's change", &[("host", SELF)], In),
    Case { uri: "/?page=0n1yhere", ..own("our page's change", OUR_PAGE, In) },
    Case { uri: "/?a=b&page=0n1yhere&c", ..own("with other parts", OUR_PAGE, In) },
    own("a change without the page's token", OUR_PAGE, NoPageToken),
    Case { uri: "/?page=0n1yher", ..own("part of the page's token", OUR_PAGE, NoPageToken) },
    Case { uri: "/?page=", ..own("an empty page's token", OUR_PAGE, NoPageToken) },
    Case { uri: "/?page=x&page=0n1yhere", ..own("two pages' tokens", OUR_PAGE, NoPageToken) },
    own("a browser that tells no origin", &[("host", SELF), ("sec-fetch-site", "none")], NoPageToken),
    own(
        "a program that tells an origin",
        &[("host", SELF), OUR_ORIGIN, ("authorization", "Bearer secret")],
        In,
    ),
    own(
        "what a browser adds",
        &[("host", SELF), OUR_ORIGIN, ("authorization", "Basic bWU6c2VjcmV0")],
        NoPageToken,
    ),
    Case {
        uri: "/?page=0n1yhere",
        ..own(
            "the page's token on a foreign page",
            &[("host", SELF), ("origin", "http://evil.example")],
            ForeignOrigin,
        )
    },
    Case { uri: "/?page=0n1yhere", ..somebody("on another machine", "10.0.0.2:4", None, OUR_PAGE, NoToken) },
];

const OUR_ORIGIN: (&str, &str) = ("origin", "http://localhost:5155");
const OUR_PAGE: &[(&str, &str)] = &[("host", SELF), OUR_ORIGIN, ("sec-fetch-site", "same-origin")];

fn decide(rules: &Rules, case: &Case) -> Outcome {
    let mut headers = HeaderMap::new();
    for (name, value) in case.headers {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let method =
        if CHANGES.iter().any(|change| change.what == case.what) { Method::POST } else { Method::GET };
    let peer = Peer {
        local: "127.0.0.1:5155".parse().unwrap(),
        remote: case.remote.parse().unwrap(),
        uid: case.uid,
    };
    match rules.decide(&method, &Uri::from_static(case.uri), &headers, &peer) {
        Ok(()) => In,
        Err(Refusal::NoHost) => NoHost,
        Err(Refusal::ForeignHost(_)) => ForeignHost,
        Err(Refusal::ForeignOrigin(_)) => ForeignOrigin,
        Err(Refusal::CrossSite) => CrossSite,
        Err(Refusal::NoPageToken) => NoPageToken,
        Err(Refusal::NoToken) => NoToken,
        Err(Refusal::WrongToken) => WrongToken,
    }
}

fn rules(token: Option<&str>) -> Rules {
    let options = WebOptions {
        allowed_hosts: vec!["Box.example".into(), "proxy.example:80".into()],
        allowed_uids: vec![OWN, FRIEND],
        token: token.map(Into::into),
        ..WebOptions::default()
    };
    Rules::new(&options, "0n1yhere".into())
}

#[test]
fn the_table_holds() {
    let rules = rules(Some("secret"));
    for case in HOSTS.iter().chain(ORIGINS).chain(USERS).chain(CHANGES) {
        assert_eq!(decide(&rules, case), case.outcome, "{}", case.what);
    }
}

#[test]
fn without_a_token_of_ours_none_fits() {
    for token in [None, Some("")] {
        let rules = rules(token);
        for value in ["Bearer ", "Bearer secret", "Basic Og=="] {
            let mut headers = HeaderMap::new();
            headers.insert("host", HeaderValue::from_static(SELF));
            headers.insert("authorization", HeaderValue::from_static(value));
            let remote = "10.0.0.2:4".parse().unwrap();
            let peer = Peer { local: "127.0.0.1:5155".parse().unwrap(), remote, uid: None };
            let refusal = rules.decide(&Method::GET, &Uri::from_static("/"), &headers, &peer).unwrap_err();
            assert_eq!(refusal, Refusal::WrongToken);
        }
    }
}

#[test]
fn an_address_of_this_machine_is_a_host_for_those_who_reach_it() {
    let rules = rules(None);
    let local = "192.0.2.7:5155".parse().unwrap();
    let peer = Peer { local, remote: "127.0.0.1:4".parse().unwrap(), uid: Some(OWN) };
    for (host, is_in) in [("192.0.2.7:5155", true), ("192.0.2.8:5155", false), ("192.0.2.7", false)] {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static(host));
        assert_eq!(
            rules.decide(&Method::GET, &Uri::from_static("/"), &headers, &peer).is_ok(),
            is_in,
            "{host}"
        );
    }
}
