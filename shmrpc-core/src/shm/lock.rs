//! [`HybridLock`]: a lock between processes, found by name. It spins briefly on an atomic word, then
//! sleeps on a POSIX named semaphore.
//!
//! Who holds the lock is one word, changed by compare-and-swap alone; the semaphore merely wakes, so a
//! stray or lost post costs at most one slice of a wait. Word and semaphore lie in one page, which is
//! published and removed as a whole ([`page`]). A holder that died is found by proof ([`owner`]), never by
//! time. What a lock guards is not this module's business.

mod aside;
mod error;
mod name;
mod owner;
mod page;
mod semaphore;
#[cfg(test)]
mod tests;
mod wait;

use std::{fmt, time::Duration};

pub use self::error::LockError;
use self::{
    name::LockName,
    owner::Owner,
    page::{LockPage, Mapping},
    wait::{Spin, Wait},
};

/// Whether a lock is looked up or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockMode {
    /// Takes the existing lock, or makes one.
    ConnectOrCreate,
    /// Takes the existing lock; [`LockError::NoSuchSemaphore`] if there is none.
    ConnectToExisting,
    /// Makes a new lock in place of the existing one, if any. Whoever still uses the old one gets
    /// [`LockError::Replaced`] when it locks next.
    CreateNewOverwrite,
    /// Makes a new lock; [`LockError::SemaphoreExists`] if there is one.
    CreateNewExclusive,
}

impl LockMode {
    /// [`LockMode::ConnectOrCreate`].
    pub const CONNECT_OR_CREATE: Self = Self::ConnectOrCreate;
    /// [`LockMode::ConnectToExisting`].
    pub const CONNECT_TO_EXISTING: Self = Self::ConnectToExisting;
    /// [`LockMode::CreateNewOverwrite`].
    pub const CREATE_NEW_OVERWRITE: Self = Self::CreateNewOverwrite;
    /// [`LockMode::CreateNewExclusive`].
    pub const CREATE_NEW_EXCLUSIVE: Self = Self::CreateNewExclusive;
}

/// How a lock was got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Acquired {
    /// It was free.
    Clean,
    /// Its holder died without unlocking: what the lock guards may be half changed.
    Recovered,
}

/// A lock between processes, and between the threads of one.
///
/// ```
/// use std::time::Duration;
/// use shmrpc_core::{HybridLock, LockMode};
///
/// # fn main() -> Result<(), shmrpc_core::LockError> {
/// # let name = &format!("doc_test_location_{}", std::process::id());
/// // In practice a name of your own, such as "test_location".
/// let sem = HybridLock::new(name, LockMode::CREATE_NEW_OVERWRITE, 1, 0o666)?;
/// sem.lock(Duration::from_secs(1))?;
/// sem.unlock()?;
///
/// // A fraction of a second, and a guard that unlocks by itself.
/// let guard = sem.lock_guard(Duration::from_micros(1500))?;
/// drop(guard);
///
/// sem.unlink()?; // the name goes; without this it stays, as with any named semaphore
/// # Ok(())
/// # }
/// ```
///
/// A lock that exists keeps its initial value and permissions; they are used only where one is made.
///
/// # Initial value 1: a lock with an owner
/// The process that locks is the owner until it unlocks, from whichever of its threads. Unlocking what one
/// does not hold is [`LockError::NotOwner`]. It is not recursive: a second `lock` by the same process
/// waits. When the owner dies, the next to lock gets [`Acquired::Recovered`]. Nobody is served in order. A
/// child made by `fork` does not hold what its parent locked; a program that another one replaces by `exec`
/// is the same process still, and holds on.
///
/// # Initial value 0: a signal
/// Nobody ever owns it: `unlock` posts, by whomever, and each post lets one `lock` through, as with any
/// semaphore. There is no holder whose death could be noticed, so nothing is recovered.
///
/// # What stays behind
/// The named semaphore, until [`unlink`](Self::unlink), [`remove`](Self::remove) or a reboot; dropping a
/// handle unmaps it and neither unlocks nor unlinks. One object holds the semaphore and the owner's word,
/// so that permissions, replacing and removing always concern both.
pub struct HybridLock {
    name: LockName,
    mapping: Mapping,
    spin: Spin,
}

impl HybridLock {
    /// Opens or makes the lock of that name: 1 to 200 bytes without `/` (one at the front is ignored) or
    /// NUL. `initial_value` is 1 (unlocked) or 0 (a signal, see above). `permissions` are those of a
    /// file, such as `0o600`, and are set exactly, whatever the umask.
    ///
    /// # Errors
    /// A name, value or permissions that cannot be; what the mode says; an object of that name that is
    /// no such lock; whatever the system refuses.
    pub fn new(name: &str, mode: LockMode, initial_value: u32, permissions: u32) -> Result<Self, LockError> {
        let name = LockName::parse(name)?;
        if initial_value > 1 {
            return Err(LockError::InvalidInitialValue { name: name.to_string(), value: initial_value });
        }
        if permissions & !0o777 != 0 {
            return Err(LockError::InvalidPermissions { name: name.to_string(), permissions });
        }
        Owner::current(&name)?;
        let mapping = page::open(&name, mode, initial_value, permissions)?;
        Ok(Self { name, mapping, spin: Spin::default() })
    }

    /// Sets how long a wait spins at most before it sleeps (20 µs unless set; zero never spins). Spins
    /// shorten by themselves while they do not pay, and are left out where only one CPU may be used.
    #[must_use]
    pub fn with_spin(mut self, longest: Duration) -> Self {
        self.spin = Spin::new(longest);
        self
    }

    /// The name without the leading `/`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Locks, waiting for at most `timeout` (`None`: for ever) on the monotonic clock.
    ///
    /// # Errors
    /// [`LockError::TimedOut`]; [`LockError::Replaced`] when another process made a new lock of that name.
    pub fn lock(&self, timeout: impl Into<Option<Duration>>) -> Result<Acquired, LockError> {
        let timeout = timeout.into();
        let me = Owner::current(&self.name)?;
        let wait = Wait::new(self.page(), me, timeout);
        match wait.acquire(&self.spin) {
            Ok(Some(acquired)) => Ok(acquired),
            Ok(None) => {
                Err(LockError::TimedOut { name: self.name.to_string(), after: timeout.unwrap_or_default() })
            }
            Err(wait::Replaced) => Err(LockError::Replaced { name: self.name.to_string() }),
        }
    }

    /// Locks if that can be done without waiting; `None` when somebody holds it. A dead holder's lock is
    /// recovered here too.
    ///
    /// # Errors
    /// [`LockError::Replaced`].
    pub fn try_lock(&self) -> Result<Option<Acquired>, LockError> {
        let me = Owner::current(&self.name)?;
        Wait::new(self.page(), me, Some(Duration::ZERO))
            .attempt_once()
            .map_err(|wait::Replaced| LockError::Replaced { name: self.name.to_string() })
    }

    /// As [`lock`](Self::lock), with a guard that unlocks when dropped.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn lock_guard(&self, timeout: impl Into<Option<Duration>>) -> Result<LockGuard<'_>, LockError> {
        let acquired = self.lock(timeout)?;
        Ok(LockGuard { lock: self, acquired })
    }

    /// Unlocks, and wakes one that waits.
    ///
    /// # Errors
    /// [`LockError::NotOwner`] for a lock that this process does not hold; [`LockError::Overflow`] for a
    /// signal with 2³¹ − 1 posts that nobody took.
    pub fn unlock(&self) -> Result<(), LockError> {
        let me = Owner::current(&self.name)?;
        wait::release(self.page(), me).map_err(|refusal| match refusal {
            wait::Refusal::NotOwner(owner) => {
                LockError::NotOwner { name: self.name.to_string(), owner: owner.map(Owner::pid) }
            }
            wait::Refusal::Overflow => LockError::Overflow { name: self.name.to_string() },
        })
    }

    /// The process that holds the lock, dead or alive; `None` when it is free, and for a signal.
    #[must_use]
    pub fn owner(&self) -> Option<u32> {
        wait::holder(self.page()).map(Owner::pid)
    }

    /// Removes the name, if it still stands for this very lock. Whoever has it open may go on using it.
    ///
    /// # Errors
    /// [`LockError::NoSuchSemaphore`] when the name is gone or stands for a newer lock.
    pub fn unlink(&self) -> Result<(), LockError> {
        page::unlink_this(&self.name, &self.mapping)
    }

    /// Removes whatever lock or semaphore has that name, without opening it.
    ///
    /// # Errors
    /// [`LockError::NoSuchSemaphore`] when there is none.
    pub fn remove(name: &str) -> Result<(), LockError> {
        page::unlink(&LockName::parse(name)?)
    }

    fn page(&self) -> &LockPage {
        self.mapping.page()
    }
}

impl fmt::Debug for HybridLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HybridLock").field("name", &self.name()).field("owner", &self.owner()).finish()
    }
}

/// Holds a [`HybridLock`] until dropped.
#[derive(Debug)]
#[must_use = "the lock is released when the guard is dropped"]
pub struct LockGuard<'a> {
    lock: &'a HybridLock,
    acquired: Acquired,
}

impl LockGuard<'_> {
    /// How the lock was got.
    #[must_use]
    pub fn acquired(&self) -> Acquired {
        self.acquired
    }
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        // Refused only in a child made by `fork`, which does not hold what its parent locked.
        let _refused = self.lock.unlock();
    }
}
