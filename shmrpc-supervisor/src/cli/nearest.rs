//! The name that was probably meant.

use crate::config::nearest as slip;

/// The most similar of some names, if it is similar enough to be a slip; else one that the name is a part of.
fn nearest<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let part = || candidates.iter().find(|candidate| name.len() > 2 && candidate.contains(name)).copied();
    slip(name, candidates.iter().copied()).or_else(part)
}

/// `did you mean x?`, else the names there are, else nothing.
pub(super) fn suggestion(name: &str, candidates: &[&str]) -> String {
    match nearest(name, candidates) {
        Some(near) => format!("did you mean {near}?"),
        None if candidates.is_empty() => String::new(),
        None => format!("there is {}", candidates.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let names = ["echo_raw", "echo_json"];
        assert_eq!(nearest("echo_jsn", &names), Some("echo_json"));
        assert_eq!(nearest("ECHO_RAW", &names), Some("echo_raw"));
        assert_eq!(nearest("json", &names), Some("echo_json"));
        assert_eq!(nearest("divide", &names), None);
        assert_eq!(suggestion("divide", &names), "there is echo_raw, echo_json");
    }
}
