//! What services need of each other: names of sections become names of services, unknown ones and circles are
//! faults, and a service that was asked for brings along what it requires.

use std::collections::HashSet;

use super::ServicePlan;
use crate::config::{Diagnostic, Diagnostics};

/// Fills in `after` and `requires`.
pub(super) fn resolve(services: &mut [ServicePlan], faults: &mut Diagnostics) {
    let known: Vec<(String, String)> =
        services.iter().map(|service| (service.name.clone(), service.settings.section.clone())).collect();
    let mut is_whole = true;
    for service in services.iter_mut() {
        let wanted = service.settings.dependencies.clone();
        for (key, words) in [("after", &wanted.after), ("requires", &wanted.requires)] {
            for word in words {
                let found = known.iter().find(|(name, section)| name == word || section == word);
                match found {
                    Some((name, _)) if key == "after" => service.after.push(name.clone()),
                    Some((name, _)) => service.requires.push(name.clone()),
                    None => {
                        is_whole = false;
                        let names = known.iter().map(|(name, _)| name.as_str());
                        faults.push(
                            Diagnostic::new(wanted.line, format!("no service {word:?}"))
                                .section(&service.settings.section)
                                .key(key)
                                .nearest(word, names.clone())
                                .accepted(names.collect::<Vec<_>>().join(", ")),
                        );
                    }
                }
            }
        }
    }
    if is_whole && let Some(circle) = circle(services) {
        let first = services.iter().find(|service| service.name == circle[0]);
        let (line, section) = first.map_or((0, ""), |service| {
            (service.settings.dependencies.line, service.settings.section.as_str())
        });
        let path = circle.join(" → ");
        faults.push(Diagnostic::new(line, format!("services wait for each other: {path}")).section(section));
    }
}

/// Services that wait for each other, the first one again at the end.
fn circle(services: &[ServicePlan]) -> Option<Vec<String>> {
    let needs = |name: &str| {
        let service = services.iter().find(|service| service.name == name);
        service.map(|service| [service.after.as_slice(), &service.requires].concat()).unwrap_or_default()
    };
    let mut cleared: HashSet<String> = HashSet::new();
    for service in services {
        // The way that led here, and what each on it has yet to follow.
        let mut way = vec![(service.name.clone(), needs(&service.name))];
        while let Some((_, left)) = way.last_mut() {
            let Some(next) = left.pop() else {
                let (done, _) = way.pop()?;
                cleared.insert(done);
                continue;
            };
            if let Some(place) = way.iter().position(|(name, _)| *name == next) {
                let mut names: Vec<String> = way[place..].iter().map(|(name, _)| name.clone()).collect();
                names.push(next);
                return Some(names);
            }
            if !cleared.contains(&next) {
                let its = needs(&next);
                way.push((next, its));
            }
        }
    }
    None
}

/// The names of those services and of all that they require.
pub(super) fn with_required(services: &[ServicePlan], wanted: &[String]) -> HashSet<String> {
    let mut all: HashSet<String> = HashSet::new();
    let mut left = wanted.to_vec();
    while let Some(name) = left.pop() {
        if let Some(service) = services.iter().find(|service| service.name == name)
            && all.insert(name)
        {
            left.extend(service.requires.iter().cloned());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::{
        config::{Diagnostics, Settings},
        plan::Plan,
        program::Lookup,
    };

    fn plan(ini: &str, wanted: &[&str]) -> Result<Plan, String> {
        let mut faults = Diagnostics::new("t.ini");
        let settings = Settings::parse(ini.as_bytes(), Path::new("/"), &mut faults);
        let wanted: Vec<String> = wanted.iter().map(|&word| word.to_owned()).collect();
        Plan::new(settings, &Lookup::new("/"), &wanted, faults).map_err(|faults| faults.to_string())
    }

    #[test]
    fn a_service_brings_along_what_it_requires_and_not_what_it_comes_after() {
        let ini = "[a b]\nprogram=sh\nrequires=c\nafter=d\n[c]\nprogram=sh\nrequires=e\n[d]\nprogram=sh\n\
                   [e]\nprogram=sh\n[f]\nprogram=sh\nrequires=a b\n";
        let names = |wanted: &[&str]| -> Vec<String> {
            plan(ini, wanted).unwrap().services.into_iter().map(|service| service.name).collect()
        };
        assert_eq!(names(&["a_b"]), ["a_b", "c", "e"]);
        assert_eq!(names(&["f"]), ["a_b", "c", "e", "f"]);
        assert_eq!(names(&[]).len(), 5);
    }

    #[test]
    fn circles_and_strangers_are_faults() {
        let fault =
            plan("[a]\nprogram=sh\nafter=b\n[b]\nprogram=sh\nrequires=c\n[c]\nprogram=sh\nafter=b\n", &[]);
        assert!(fault.unwrap_err().contains("services wait for each other: b → c → b"));
        let fault = plan("[alpha]\nprogram=sh\n[b]\nprogram=sh\nrequires=alpa\n", &[]).unwrap_err();
        assert!(fault.contains("t.ini:5: [b] requires: no service \"alpa\"; did you mean alpha?"), "{fault}");
        let fault = plan("[a]\nprogram=sh\nafter=a\n", &[]).unwrap_err();
        assert!(fault.contains("a → a"), "{fault}");
    }
}
