//! The name that was probably meant.

use strsim::damerau_levenshtein;

/// The most similar of some names, if it is similar enough to be a slip.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let slips = (name.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (damerau_levenshtein(&name.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= slips || (name.len() > 2 && candidate.contains(name)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean x?`, else the names there are, else nothing.
pub(super) fn suggestion(name: &str, candidates: &[&str]) -> String {
    match nearest(name, candidates.iter().copied()) {
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
        assert_eq!(nearest("echo_jsn", names), Some("echo_json"));
        assert_eq!(nearest("ECHO_RAW", names), Some("echo_raw"));
        assert_eq!(nearest("json", names), Some("echo_json"));
        assert_eq!(nearest("divide", names), None);
        assert_eq!(suggestion("divide", &names), "there is echo_raw, echo_json");
    }
}
