//! Reads one section's values, falling back to `[defaults]`; what does not parse becomes a fault with
//! the line and section in which it stands, and the default takes its place so that reading goes on.

use super::{
    diagnostic::{Diagnostic, Diagnostics},
    ini::{Entry, Section},
    keys::DEFAULTS,
};

/// One section at hand.
pub(super) struct Reader<'a> {
    section: &'a Section,
    defaults: Option<&'a Section>,
    faults: &'a mut Diagnostics,
}

impl<'a> Reader<'a> {
    /// A reader of `section`, with the values of `defaults` behind it.
    pub(super) fn new(
        section: &'a Section,
        defaults: Option<&'a Section>,
        faults: &'a mut Diagnostics,
    ) -> Self {
        Self { section, defaults, faults }
    }

    /// Whether it is a service's section, and not that of the defaults.
    pub(super) fn is_service(&self) -> bool {
        self.section.name != DEFAULTS
    }

    /// The entry of that key: the section's own, else the defaults'.
    fn entry(&self, key: &str) -> Option<(&'a Section, &'a Entry)> {
        [Some(self.section), self.defaults]
            .into_iter()
            .flatten()
            .find_map(|section| section.entries.iter().find(|e| e.key == key).map(|entry| (section, entry)))
    }

    /// The line of that key, else of the section.
    pub(super) fn line(&self, key: &str) -> usize {
        self.entry(key).map_or(self.section.line, |(_, entry)| entry.line)
    }

    /// The value of a key; `None` when it is not there or is a fault.
    pub(super) fn read<T>(
        &mut self,
        key: &str,
        accepted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let (section, entry) = self.entry(key)?;
        let value = parse(&entry.value);
        if value.is_none() {
            let problem = if entry.value.is_empty() {
                "has no value".to_owned()
            } else {
                format!("{:?} is not accepted", entry.value)
            };
            self.faults.push(
                Diagnostic::new(entry.line, problem).section(&section.name).key(key).accepted(accepted),
            );
        }
        value
    }

    /// A whole number within bounds.
    pub(super) fn number(&mut self, key: &str, least: usize, most: usize) -> Option<usize> {
        let accepted = format!("a whole number from {least} to {most}");
        self.read(key, &accepted, |text| text.parse().ok().filter(|number| (least..=most).contains(number)))
    }

    /// Adds a fault of this section.
    pub(super) fn fault(&mut self, fault: Diagnostic) {
        self.faults.push(fault.section(&self.section.name));
    }
}
