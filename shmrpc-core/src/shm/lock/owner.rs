//! Who holds a lock: a process, as one word made of its pid and its start time, and the proof that it is
//! dead. Reads `/proc`; never looks at a clock.

use std::{
    fs, io,
    ptr::NonNull,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use nix::{
    errno::Errno,
    sys::{
        mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous},
        signal::kill,
    },
    unistd::Pid,
};

use super::{error::LockError, name::LockName};

/// Linux pids are below 2²² (`PID_MAX_LIMIT`).
const PID_BITS: u32 = 22;
/// Start time in clock ticks since boot: enough for 600 years at 100 a second.
const START_BITS: u32 = 41;
/// All bits that an owner may use. The bit above is free for whoever keeps owners in a word.
pub(super) const OWNER_MASK: u64 = (1 << (PID_BITS + START_BITS)) - 1;

/// A process that holds, or held, a lock. Never zero. Two processes of one boot differ in it, unless a
/// pid is used again within a hundredth of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner(u64);

impl Owner {
    fn new(pid: u32, start_ticks: u64) -> Self {
        Self((u64::from(pid) | start_ticks << PID_BITS) & OWNER_MASK)
    }

    /// The owner in a word; `None` for nobody.
    pub(super) fn from_word(word: u64) -> Option<Self> {
        match word & OWNER_MASK {
            0 => None,
            bits => Some(Self(bits)),
        }
    }

    pub(super) fn word(self) -> u64 {
        self.0
    }

    pub(super) fn pid(self) -> u32 {
        (self.0 & ((1 << PID_BITS) - 1)) as u32
    }

    /// This process. Looked up once, and again in a child made by `fork`.
    pub(super) fn current(name: &LockName) -> Result<Self, LockError> {
        let fail = |doing| move |source: io::Error| LockError::Io { name: name.to_string(), doing, source };
        let cell = cell().map_err(|errno| fail("mapping a page")(errno.into()))?;
        if let Some(owner) = Self::from_word(cell.load(Ordering::Relaxed)) {
            return Ok(owner);
        }
        let pid = std::process::id();
        let stat = Stat::read("self").map_err(fail("reading /proc/self/stat"))?;
        if stat.pid != pid {
            return Err(fail("reading /proc, which shows another pid namespace")(
                io::ErrorKind::Unsupported.into(),
            ));
        }
        let owner = Self::new(pid, stat.start_ticks);
        cell.store(owner.word(), Ordering::Relaxed);
        Ok(owner)
    }

    /// Whether the process is proved dead: no such pid, or a zombie, or another process with its pid.
    /// What cannot be proved (a `/proc` that hides other users' processes) counts as alive.
    pub(super) fn is_dead(self) -> bool {
        if kill(Pid::from_raw(self.pid().cast_signed()), None) == Err(Errno::ESRCH) {
            return true;
        }
        Stat::read(&self.pid().to_string())
            .is_ok_and(|stat| stat.is_zombie || Self::new(stat.pid, stat.start_ticks) != self)
    }
}

/// The cell that remembers this process, in a page that the kernel wipes in children: a cache that `fork`
/// copied would make the child believe that it holds what its parent locked.
fn cell() -> Result<&'static AtomicU64, Errno> {
    static CELL: OnceLock<Result<&'static AtomicU64, Errno>> = OnceLock::new();
    *CELL.get_or_init(|| {
        let length = std::num::NonZeroUsize::new(super::page::PAGE_BYTES).expect("a page has bytes");
        let flags = MapFlags::MAP_PRIVATE;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new private mapping; no address is asked for, so nothing existing is touched.
        let page: NonNull<AtomicU64> = unsafe { mmap_anonymous(None, length, protection, flags) }?.cast();
        // SAFETY: the range is the mapping just made; wiping is wanted and concerns children alone.
        unsafe { madvise(page.cast(), length.get(), MmapAdvise::MADV_WIPEONFORK) }?;
        // SAFETY: page-aligned, zeroed, never unmapped, used as this atomic alone.
        Ok(unsafe { page.as_ref() })
    })
}

/// What `/proc/PID/stat` says that matters here.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    pid: u32,
    is_zombie: bool,
    start_ticks: u64,
}

impl Stat {
    fn read(process: &str) -> io::Result<Self> {
        let text = fs::read(format!("/proc/{process}/stat"))?;
        Self::parse(&String::from_utf8_lossy(&text)).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The program's name stands in brackets and may hold anything, so fields count from the last bracket.
    fn parse(text: &str) -> Option<Self> {
        let (head, tail) = text.rsplit_once(')')?;
        let (pid, _) = head.split_once(' ')?;
        let mut fields = tail.split_ascii_whitespace(); // the first is field 3, the state
        let state = fields.next()?;
        let threads: u32 = fields.nth(16)?.parse().ok()?; // field 20
        let start_ticks = fields.nth(1)?.parse().ok()?; // field 22
        // A first thread that ended before the others is shown as a zombie too: the process lives.
        let is_zombie = matches!(state, "Z" | "X") && threads <= 1;
        Some(Self { pid: pid.parse().ok()?, is_zombie, start_ticks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "77 (a) b (c) S 1 77 77 0 -1 4194304 114 0 0 0 0 0 0 0 20 0 3 0 171558 3133440 381";

    #[test]
    fn fields_count_from_the_last_bracket() {
        let stat = Stat::parse(LINE).unwrap();
        assert_eq!(stat, Stat { pid: 77, is_zombie: false, start_ticks: 171_558 });
    }

    #[test]
    fn a_zombie_with_threads_is_alive() {
        assert!(!Stat::parse(&LINE.replace(") S", ") Z")).unwrap().is_zombie);
        assert!(Stat::parse(&LINE.replace(") S", ") Z").replace("20 0 3", "20 0 1")).unwrap().is_zombie);
    }

    #[test]
    fn this_process_is_alive_and_its_pid_with_another_start_is_dead() {
        let name = LockName::parse("owner").unwrap();
        let me = Owner::current(&name).unwrap();
        assert_eq!(me.pid(), std::process::id());
        assert!(!me.is_dead());
        let stat = Stat::read("self").unwrap();
        assert!(Owner::new(me.pid(), stat.start_ticks - 1).is_dead());
    }
}
