//! Numbers for terminals: as those of the page ([`format`]), with less room.

use shmrpc_web::format;

/// For what is not known.
pub(super) const NOTHING: &str = "-";

/// Units without a gap: there is little room.
fn narrow(formatted: &str) -> String {
    formatted.replace('\u{a0}', "")
}

/// `870ns`, `45.1ms`.
pub(super) fn time(ns: u64) -> String {
    if ns == 0 { "0".into() } else { narrow(&format::nanos(ns)) }
}

/// `12s`, `3m20s`.
pub(super) fn span(ms: u64) -> String {
    narrow(&format::millis(ms))
}

/// `36.4M`: the units of [`format::bytes`] by their first letter.
pub(super) fn memory(len_bytes: u64) -> String {
    narrow(&format::bytes(len_bytes)).replace("iB", "")
}

/// Of one CPU, or of anything: `12%`.
pub(super) fn share(share: f64) -> String {
    narrow(&format::share(share))
}

/// Calls a second: `0.3`, `1,204`, `123k`, `2.50M`.
pub(super) fn rate(per_s: Option<f64>) -> String {
    match per_s {
        None => NOTHING.into(),
        Some(rate) if rate > 0.0 && rate < 9.95 => format!("{rate:.1}"),
        Some(rate) if rate >= 999_500.0 => format!("{:.2}M", rate / 1e6),
        Some(rate) if rate >= 99_999.5 => format!("{:.0}k", rate / 1e3),
        Some(rate) => format::count(rate.round() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_their_unit() {
        for (per_s, expected) in [
            (None, "-"),
            (Some(0.0), "0"),
            (Some(0.33), "0.3"),
            (Some(1204.2), "1,204"),
            (Some(123_456.0), "123k"),
            (Some(2.5e6), "2.50M"),
        ] {
            assert_eq!(rate(per_s), expected);
        }
    }
}
