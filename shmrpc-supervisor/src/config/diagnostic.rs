//! What is wrong with an ini file, in words: all of it at once, each with its line. Who finds a fault
//! pushes a [`Diagnostic`]; the binary prints [`Diagnostics`].

use std::{fmt, path::PathBuf};

/// One fault of an ini file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The line, counted from 1; 0 where no line is at fault.
    pub line: usize,
    /// The section it is in, if any.
    pub section: Option<String>,
    /// The key at fault, if any.
    pub key: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// What would have been right.
    pub accepted: Option<String>,
    /// The known name that is most like the unknown one.
    pub nearest: Option<String>,
}

impl Diagnostic {
    /// A fault at a line.
    #[must_use]
    pub fn new(line: usize, problem: impl Into<String>) -> Self {
        Self { line, section: None, key: None, problem: problem.into(), accepted: None, nearest: None }
    }

    /// Says in which section.
    #[must_use]
    pub fn section(mut self, section: &str) -> Self {
        self.section = Some(section.to_owned());
        self
    }

    /// Says at which key.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// Says what would have been right.
    #[must_use]
    pub fn accepted(mut self, accepted: impl Into<String>) -> Self {
        self.accepted = Some(accepted.into());
        self
    }

    /// Offers the name among `known` that is most like `written`, if one is like it at all.
    #[must_use]
    pub fn nearest<'a>(mut self, written: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        self.nearest = nearest(written, known).map(str::to_owned);
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(section) = &self.section {
            write!(f, "[{section}] ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.problem)?;
        if let Some(nearest) = &self.nearest {
            write!(f, "; did you mean {nearest}?")?;
        }
        if let Some(accepted) = &self.accepted {
            write!(f, "; accepted: {accepted}")?;
        }
        Ok(())
    }
}

/// All faults of one ini file, in line order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    /// The file, as the user named it.
    pub file: PathBuf,
    items: Vec<Diagnostic>,
}

impl Diagnostics {
    /// No faults yet.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), items: Vec::new() }
    }

    /// Adds a fault. One that is there already (a bad value in `[defaults]` is read for every service)
    /// is not said twice.
    pub fn push(&mut self, item: Diagnostic) {
        let same =
            |old: &Diagnostic| old.line == item.line && old.key == item.key && old.problem == item.problem;
        if !self.items.iter().any(same) {
            self.items.push(item);
        }
    }

    /// The faults in line order.
    #[must_use]
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        let mut items: Vec<&Diagnostic> = self.items.iter().collect();
        items.sort_by_key(|item| item.line);
        items
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// `Ok` without faults, otherwise all of them.
    ///
    /// # Errors
    /// Itself, when anything is wrong.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.items.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, item) in self.sorted().into_iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:", self.file.display())?;
            if item.line > 0 {
                write!(f, "{}:", item.line)?;
            }
            write!(f, " {item}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// The known name most like what was written: no more than a third of its letters may differ.
#[must_use]
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = written.to_lowercase();
    let written_letters = lower.chars().count();
    known
        .into_iter()
        .filter_map(|name| {
            let letters = name.chars().count();
            let slips = (letters / 3).max(1);
            // A file may be full of names that nobody knows, and each is compared with all that there are.
            let distance = (letters.abs_diff(written_letters) <= slips)
                .then(|| strsim::osa_distance(&lower, &name.to_lowercase()))?;
            (distance <= slips).then_some((distance, name))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["log_dir", "tcp_bind", "max_proc_num", "min_proc_num"];
        assert_eq!(nearest("max_proc_nun", known), Some("max_proc_num"));
        assert_eq!(nearest("logdir", known), Some("log_dir"));
        assert_eq!(nearest("colour", known), None);
    }

    #[test]
    fn a_fault_names_everything_once() {
        let mut all = Diagnostics::new("service.ini");
        let fault = Diagnostic::new(3, "unknown key")
            .section("Echo")
            .key("prt")
            .nearest("prt", ["port"])
            .accepted("port");
        all.push(fault.clone());
        all.push(fault);
        all.push(Diagnostic::new(1, "first"));
        assert_eq!(
            all.to_string(),
            "service.ini:1: first\nservice.ini:3: [Echo] prt: unknown key; did you mean port?; accepted: port"
        );
    }
}
