//! What the user asks for.

use std::path::PathBuf;

use clap::Parser;

/// Measures shmrpc, its peers and the limits of the machine, process to process, in one run.
#[derive(Debug, Parser)]
pub struct Args {
    /// How often each row is measured; the rounds of all rows take turns.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Only rows whose name matches, with * for anything; may be given several times.
    #[arg(long, value_name = "GLOB")]
    pub only: Vec<String>,
    /// One short round without retries: whether everything runs, not how fast.
    #[arg(long)]
    pub quick: bool,
    /// How often a round is taken again while the machine is disturbed.
    #[arg(long, default_value_t = 3)]
    pub retries: usize,
    /// Print the rows' names and stop.
    #[arg(long)]
    pub list: bool,
    /// Write every round's figures here, too.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the document here, not to standard output.
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
}

pub fn parse() -> Args {
    let mut args = Args::parse();
    if args.quick {
        (args.rounds, args.retries) = (1, 0);
    }
    args
}

impl Args {
    /// Whether a row of that name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|glob| matches(glob, name))
    }
}

/// Whether a name is what a pattern with `*` says.
fn matches(glob: &str, name: &str) -> bool {
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_is_anything() {
        assert!(matches("*", "shmrpc/one/64"));
        assert!(matches("shmrpc*/64*", "shmrpc.json/one/64/pinned"));
        assert!(matches("*pinned", "shmrpc/one/64/pinned"));
        assert!(matches("tonic", "tonic"));
        assert!(!matches("tonic", "tonic/one"));
        assert!(!matches("a*bc*c", "abc"));
    }
}
