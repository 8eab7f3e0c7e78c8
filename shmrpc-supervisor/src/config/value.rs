//! One value's text → its type. Each function says what it accepts; none knows keys or lines.

use std::{net::IpAddr, time::Duration};

use nix::{sys::signal::Signal, unistd::User};

/// Whether the daemon listens: an address, or not at all.
pub(super) const ACCEPTED_BIND: &str =
    "an IP address without port, such as 127.0.0.1 or ::1; localhost; none";
/// What [`boolean`] accepts.
pub(super) const ACCEPTED_BOOLEAN: &str = "True or False (also yes/no, on/off, 1/0)";
/// What [`duration`] accepts.
pub(super) const ACCEPTED_DURATION: &str = "a time such as 30 (seconds), 1.5s, 250ms or 2m";
/// What [`size_bytes`] accepts.
pub(super) const ACCEPTED_SIZE: &str = "a number of bytes, or with a unit: 512M, 2G";
/// What [`signal`] accepts.
pub(super) const ACCEPTED_SIGNAL: &str = "TERM, INT, QUIT, HUP, USR1 or USR2";
/// What [`environment`] accepts.
pub(super) const ACCEPTED_ENV: &str = "KEY=VALUE pairs between spaces, values with spaces in quotes";

/// What [`users`] accepts.
pub(super) const ACCEPTED_USERS: &str = "names or numbers of users of this machine, between commas";
/// What [`hosts`] accepts.
pub(super) const ACCEPTED_HOSTS: &str = "host names between commas, with a port or without";

/// `True`/`False` in Python's manner, and what else people write.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// A time; a bare number counts seconds. At most a year.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().ok()?;
    let seconds = match unit.trim() {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        _ => return None,
    };
    (seconds <= 366.0 * 86400.0).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

/// A number of bytes, with `K`, `M`, `G` or `T` for powers of 1024.
pub(super) fn size_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let shift = match unit.trim().to_ascii_uppercase().trim_end_matches('B').trim_end_matches('I') {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// An address to listen at; `None` inside for "not at all".
#[expect(clippy::option_option, reason = "the outer one says whether the text was understood")]
pub(super) fn bind(text: &str) -> Option<Option<IpAddr>> {
    match text.to_ascii_lowercase().as_str() {
        "" | "none" | "off" | "no" | "false" => Some(None),
        "localhost" => Some(Some(IpAddr::from([127, 0, 0, 1]))),
        _ => text.trim_start_matches('[').trim_end_matches(']').parse().ok().map(Some),
    }
}

/// A signal by its name, with or without `SIG`.
pub(super) fn signal(text: &str) -> Option<Signal> {
    match text.to_ascii_uppercase().trim_start_matches("SIG") {
        "TERM" => Some(Signal::SIGTERM),
        "INT" => Some(Signal::SIGINT),
        "QUIT" => Some(Signal::SIGQUIT),
        "HUP" => Some(Signal::SIGHUP),
        "USR1" => Some(Signal::SIGUSR1),
        "USR2" => Some(Signal::SIGUSR2),
        _ => None,
    }
}

/// Words as a shell would split them, quotes and backslashes honoured; nothing is expanded.
pub(super) fn words(text: &str) -> Option<Vec<String>> {
    shlex::split(text).filter(|words| words.first().is_some_and(|word| !word.is_empty()))
}

/// `KEY=VALUE` pairs.
pub(super) fn environment(text: &str) -> Option<Vec<(String, String)>> {
    shlex::split(text)?
        .into_iter()
        .map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (!key.is_empty()).then(|| (key.to_owned(), value.to_owned()))
        })
        .collect()
}

/// Users of this machine, as numbers.
pub(super) fn users(text: &str) -> Option<Vec<u32>> {
    let user = |word: &str| match word.parse() {
        Ok(number) => Some(number),
        Err(_) => Some(User::from_name(word).ok()??.uid.as_raw()),
    };
    text.split(',').map(|word| user(word.trim())).collect()
}

/// Host names.
pub(super) fn hosts(text: &str) -> Option<Vec<String>> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    let host = |word: &str| (!word.is_empty() && word.chars().all(allowed)).then(|| word.to_owned());
    text.split(',').map(|word| host(word.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_as_people_write_them() {
        for text in ["True", "yes", "ON", "1"] {
            assert_eq!(boolean(text), Some(true), "{text}");
        }
        for text in ["False", "no", "off", "0"] {
            assert_eq!(boolean(text), Some(false), "{text}");
        }
        assert_eq!(boolean("maybe"), None);
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("30"), Some(Duration::from_secs(30)));
        assert_eq!(duration("100ms"), Some(Duration::from_millis(100)));
        assert_eq!(duration("1.5 s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Some(Duration::from_mins(2)));
        for bad in ["", "fast", "-1", "1d", "1e9", "99999999999h", "1.2.3"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size_bytes("4096"), Some(4096));
        assert_eq!(size_bytes("512M"), Some(512 << 20));
        assert_eq!(size_bytes("2 GiB"), Some(2 << 30));
        for bad in ["", "-1", "1.5G", "12X", "99999999999T"] {
            assert_eq!(size_bytes(bad), None, "{bad}");
        }
    }

    #[test]
    fn binds_are_addresses() {
        assert_eq!(bind("none"), Some(None));
        assert_eq!(bind("127.0.0.1"), Some(Some(IpAddr::from([127, 0, 0, 1]))));
        assert!(bind("[::1]").unwrap().unwrap().is_ipv6());
        for bad in ["127.0.0.1:80", "example", "300.1.1.1"] {
            assert_eq!(bind(bad), None, "{bad}");
        }
    }

    #[test]
    fn words_and_environments() {
        assert_eq!(words(r#"/bin/sh -c "sleep 1; echo 'x'""#).unwrap()[2], "sleep 1; echo 'x'");
        assert_eq!(words("'unclosed"), None);
        assert_eq!(words(""), None);
        assert_eq!(environment("A=1 'B=x y'").unwrap()[1], ("B".into(), "x y".into()));
        assert_eq!(environment("A"), None);
    }

    #[test]
    fn users_and_hosts_are_lists() {
        assert_eq!(users("root, 12"), Some(vec![0, 12]));
        assert_eq!(users("nobody-of-that-name"), None);
        assert_eq!(hosts("a.example:80, b"), Some(vec!["a.example:80".to_owned(), "b".to_owned()]));
        assert_eq!(hosts("a b"), None);
    }
}
