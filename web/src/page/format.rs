//! Numbers for people: three digits that matter, a unit, and no line break between them.

/// Between a number and its unit.
const SPACE: char = '\u{a0}';
/// For what is not known or not there.
pub const NOTHING: &str = "–";

/// `512 B`, `1.21 MiB`, `36.4 MiB`.
pub fn bytes(len_bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = len_bytes as f64;
    let mut unit = 0;
    // 999.5 would be shown as 1000 of the smaller unit.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        return format!("{len_bytes}{SPACE}B");
    }
    format!("{}{SPACE}{}", three_digits(value), UNITS[unit])
}

/// `870 ns`, `1.24 µs`, `45.1 ms`, `2.01 s`, `3 m 20 s`.
pub fn nanos(time_ns: u64) -> String {
    if time_ns < 1000 {
        return format!("{time_ns}{SPACE}ns");
    }
    let mut value = time_ns as f64 / 1e3;
    for unit in ["µs", "ms"] {
        if value < 999.5 {
            return format!("{}{SPACE}{unit}", three_digits(value));
        }
        value /= 1e3;
    }
    if value < 99.95 {
        return format!("{}{SPACE}s", three_digits(value));
    }
    span_s(value.round() as u64)
}

/// `12 s`, `3 m 20 s`, `2 h 05 m`, `3 d 04 h`.
pub fn millis(time_ms: u64) -> String {
    span_s(time_ms / 1000)
}

fn span_s(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}{SPACE}s"),
        60..3600 => format!("{minutes}{SPACE}m{SPACE}{:02}{SPACE}s", seconds % 60),
        3600..86_400 => format!("{hours}{SPACE}h{SPACE}{:02}{SPACE}m", minutes % 60),
        _ => format!("{days}{SPACE}d{SPACE}{:02}{SPACE}h", hours % 24),
    }
}

/// `7`, `1,204`, `98,200,341`; from a thousand million on `1.25 G`.
pub fn count(number: u64) -> String {
    if number >= 1_000_000_000 {
        let (value, unit) = match number {
            ..1_000_000_000_000 => (number as f64 / 1e9, 'G'),
            _ => (number as f64 / 1e12, 'T'),
        };
        return format!("{}{SPACE}{unit}", three_digits(value));
    }
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Something a second: `0`, `0.04`, `3.20`, `45.1`, `1,204`.
pub(super) fn rate(per_s: f32) -> String {
    match f64::from(per_s) {
        r if r < 0.005 || !r.is_finite() => "0".into(),
        r if r < 99.95 => three_digits(r),
        r => count(r.round() as u64),
    }
}

/// A share of one CPU: `0 %`, `0.4 %`, `12 %`, `135 %`.
pub fn share(share: f64) -> String {
    let percent = share.max(0.0) * 100.0;
    let digits = match percent {
        p if p < 0.05 || !p.is_finite() => return format!("0{SPACE}%"),
        p if p < 9.95 => format!("{p:.1}"),
        p => format!("{p:.0}"),
    };
    format!("{digits}{SPACE}%")
}

/// Three digits that matter: `1.23`, `12.3`, `123`.
fn three_digits(value: f64) -> String {
    match value {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        text.replace(SPACE, " ")
    }

    #[test]
    fn sizes() {
        for (len_bytes, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "0.98 KiB"),
            (1024, "1.00 KiB"),
            (1_048_575, "1.00 MiB"),
            (36_400_000, "34.7 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(plain(&bytes(len_bytes)), expected);
        }
    }

    #[test]
    fn times() {
        for (time_ns, expected) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1000, "1.00 µs"),
            (999_600, "1.00 ms"),
            (45_100_000, "45.1 ms"),
            (2_010_000_000, "2.01 s"),
            (200_000_000_000, "3 m 20 s"),
        ] {
            assert_eq!(plain(&nanos(time_ns)), expected);
        }
        assert_eq!(plain(&millis(59_999)), "59 s");
        assert_eq!(plain(&millis(7_500_000)), "2 h 05 m");
        assert_eq!(plain(&millis(273_600_000)), "3 d 04 h");
    }

    #[test]
    fn counts_and_shares() {
        for (number, expected) in
            [(0, "0"), (999, "999"), (1204, "1,204"), (98_200_341, "98,200,341"), (1_250_000_000, "1.25 G")]
        {
            assert_eq!(plain(&count(number)), expected);
        }
        for (value, expected) in [
            (0.0, "0 %"),
            (0.0004, "0 %"),
            (0.004, "0.4 %"),
            (0.12, "12 %"),
            (1.349, "135 %"),
            (f64::NAN, "0 %"),
        ] {
            assert_eq!(plain(&share(value)), expected);
        }
        for (value, expected) in
            [(0.0, "0"), (0.04, "0.04"), (3.2, "3.20"), (99.9, "99.9"), (1204.4, "1,204"), (f32::NAN, "0")]
        {
            assert_eq!(plain(&rate(value)), expected);
        }
    }
}
