//! What a process is: its pid, the time it started and the boot it started in. A pid alone is soon used
//! again, and a zombie still answers to signals. In another pid namespace, as containers have, it says nothing.

use std::{fs, io::Read, os::unix::fs::MetadataExt, sync::OnceLock};

use serde::{Deserialize, Serialize};

/// The identity of one process on this machine, for as long as the machine is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessStamp {
    /// Its process id, in the pid namespace of whoever wrote this.
    pub pid: u32,
    /// Clock ticks since boot at which it started (field 22 of `/proc/PID/stat`).
    pub start_ticks: u64,
    /// The first 64 bits of `/proc/sys/kernel/random/boot_id`.
    pub boot: u64,
    /// The pid namespace in which it has that id: the inode of `/proc/self/ns/pid`; 0 where that is not known.
    #[serde(default, skip_serializing_if = "is_unknown")]
    pub namespace: u64,
}

impl ProcessStamp {
    /// This process.
    #[must_use]
    pub fn current() -> Self {
        let pid = std::process::id();
        let start_ticks = stat(pid).map_or(0, |stat| stat.start_ticks);
        Self { pid, start_ticks, boot: boot(), namespace: namespace() }
    }

    /// Whether its pid is one of another pid namespace, and means nobody here, or somebody else.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.namespace != namespace()
    }

    /// Whether the process still runs. A zombie does not, nor does one that is on its way out of the
    /// kernel: its sockets may have ended, it will execute nothing more. Of a foreign one nothing is known: it counts
    /// as running.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.boot == boot() && (self.is_foreign() || self.runs())
    }

    fn runs(&self) -> bool {
        stat(self.pid).is_some_and(|stat| {
            stat.start_ticks == self.start_ticks
                && !matches!(stat.state, b'Z' | b'X')
                && stat.flags & PF_EXITING == 0
        })
    }
}

/// The kernel's mark of a task that exits; set before it closes its files.
const PF_EXITING: u64 = 0x4;

struct Stat {
    state: u8,
    flags: u64,
    start_ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let after_name = text.get(text.iter().rposition(|&b| b == b')')? + 2..)?;
    let mut fields = std::str::from_utf8(after_name).ok()?.split(' ');
    // state, parent, group, session, terminal, its group, flags, … and 13 further on the start time
    let state = *fields.next()?.as_bytes().first()?;
    let flags = fields.nth(5)?.parse().ok()?;
    let start_ticks = fields.nth(12)?.parse().ok()?;
    Some(Stat { state, flags, start_ticks })
}

fn boot() -> u64 {
    static BOOT: OnceLock<u64> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        u64::from_str_radix(&digits, 16).unwrap_or(0)
    })
}

fn is_unknown(namespace: &u64) -> bool {
    *namespace == 0
}

fn namespace() -> u64 {
    static NAMESPACE: OnceLock<u64> = OnceLock::new();
    *NAMESPACE.get_or_init(|| fs::metadata("/proc/self/ns/pid").map_or(0, |meta| meta.ino()))
}

/// 64 random bits, never zero.
pub(crate) fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    let filled = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    filled.expect("/dev/urandom can be read");
    u64::from_ne_bytes(bytes).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_alive_and_a_dead_child_is_not() {
        assert!(ProcessStamp::current().is_alive());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let stat = stat(child.id()).unwrap();
        let own = ProcessStamp::current();
        let stamp = ProcessStamp { pid: child.id(), start_ticks: stat.start_ticks, ..own };
        assert!(stamp.is_alive());
        child.kill().unwrap();
        // Until it is waited for it is a zombie, which does not count.
        while stamp.is_alive() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        child.wait().unwrap();
        assert!(!stamp.is_alive());
        let other_boot = ProcessStamp { boot: 1, ..ProcessStamp::current() };
        assert!(!other_boot.is_alive());
        let foreign = ProcessStamp { namespace: 1, ..stamp };
        assert!(foreign.is_foreign() && foreign.is_alive(), "nothing is known of it");
    }
}
