//! One mapped, sealed memfd. It has no name, so nothing is left when the last process that maps it is
//! gone; it is sealed against shrinking and growing, so no peer can make us fault by truncating it.
//!
//! All raw memory access of the shared-memory transport is in this file: atomics at checked offsets and
//! copies in and out of checked ranges.

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64},
};

/// A region that could not be made or taken over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RegionError {
    /// The operating system refused.
    #[error("shared region of {len_bytes} bytes: {doing}")]
    Io {
        /// Its size.
        len_bytes: usize,
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// A peer's region is not what it should be.
    #[error("peer's region refused: {0}")]
    Refused(String),
}

/// A shared, sealed, mapped memory object. Offsets are bytes from its start.
pub(crate) struct Region {
    start: NonNull<u8>,
    len_bytes: usize,
    fd: OwnedFd,
    identity: Identity,
}

/// Which memory object a descriptor is of: two descriptors of one object have the same, as long as one of them is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(crate) fn of(fd: &OwnedFd) -> Result<Self, RegionError> {
        let fail = |error: nix::Error| RegionError::Io { len_bytes: 0, doing: "fstat", source: error.into() };
        nix::sys::stat::fstat(fd).map(|stat| Self::from(&stat)).map_err(fail)
    }
}

impl From<&nix::sys::stat::FileStat> for Identity {
    fn from(stat: &nix::sys::stat::FileStat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

// SAFETY: the mapping is valid until drop, from any thread; access goes through atomics and raw copies.
unsafe impl Send for Region {}
// SAFETY: as above; no method hands out a plain reference into the mapping.
unsafe impl Sync for Region {}

const SEALS: i32 = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;

impl Region {
    /// Makes a region of zeroes. Its pages are reserved at once: a lack of memory is an error here, not a
    /// SIGBUS later.
    pub(crate) fn create(label: &str, len_bytes: usize) -> Result<Self, RegionError> {
        let fail = |doing| move |source| RegionError::Io { len_bytes, doing, source };
        let label = CString::new(label).unwrap_or_default();
        // SAFETY: the label is a NUL-terminated string.
        let fd = unsafe { libc::memfd_create(label.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
        let fd = owned(fd).map_err(fail("memfd_create"))?;
        // SAFETY: plain system call on our own descriptor.
        let failed = unsafe { libc::posix_fallocate(fd.as_raw_fd(), 0, len_bytes as libc::off_t) };
        if failed != 0 {
            return Err(fail("reserving memory")(io::Error::from_raw_os_error(failed)));
        }
        // SAFETY: plain system call on our own descriptor.
        check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, SEALS) }).map_err(fail("sealing"))?;
        // Somebody may have found it in /proc before it was sealed.
        let stat = nix::sys::stat::fstat(&fd).map_err(|error| fail("fstat")(error.into()))?;
        if usize::try_from(stat.st_size) != Ok(len_bytes) {
            return Err(RegionError::Refused(format!("it was resized to {} bytes", stat.st_size)));
        }
        Self::map(fd, len_bytes, Identity::from(&stat))
    }

    /// Maps a region that a peer made, after checking that it is sealed and of a sane size.
    pub(crate) fn attach(fd: OwnedFd, max_bytes: usize) -> Result<Self, RegionError> {
        let fail = |doing| move |source| RegionError::Io { len_bytes: 0, doing, source };
        // SAFETY: plain system call on our own descriptor.
        let seals = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) };
        let wanted = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;
        if seals < 0 || seals & wanted != wanted {
            return Err(RegionError::Refused("it is not sealed against resizing".into()));
        }
        let stat = nix::sys::stat::fstat(&fd).map_err(|e| fail("fstat")(e.into()))?;
        match usize::try_from(stat.st_size) {
            Ok(len) if len > 0 && len <= max_bytes => Self::map(fd, len, Identity::from(&stat)),
            _ => Err(RegionError::Refused(format!("{} bytes, the limit is {max_bytes}", stat.st_size))),
        }
    }

    fn map(fd: OwnedFd, len_bytes: usize, identity: Identity) -> Result<Self, RegionError> {
        // SAFETY: a fresh shared mapping of a descriptor that we own; no address is asked for.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(RegionError::Io { len_bytes, doing: "mmap", source: io::Error::last_os_error() });
        }
        let start = NonNull::new(start.cast()).expect("a mapping is never at address zero");
        Ok(Self { start, len_bytes, fd, identity })
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// The descriptor, to hand to a peer.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether the range lies inside.
    pub(crate) fn holds(&self, offset: usize, len: usize) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len_bytes)
    }

    #[inline]
    fn at(&self, offset: usize, len: usize, align: usize) -> NonNull<u8> {
        assert!(
            self.holds(offset, len) && offset.is_multiple_of(align),
            "offset {offset} outside the region"
        );
        // SAFETY: the offset was just checked to lie inside the mapping.
        unsafe { self.start.add(offset) }
    }

    /// The 64-bit word at an offset. Panics outside the region or unaligned: offsets are ours, a peer's
    /// are checked with [`Self::holds`] first.
    pub(crate) fn word64(&self, offset: usize) -> &AtomicU64 {
        let at = self.at(offset, 8, 8);
        // SAFETY: in bounds, aligned, valid for the life of `self`, and only ever accessed atomically.
        unsafe { at.cast::<AtomicU64>().as_ref() }
    }

    /// The 32-bit word at an offset; as [`Self::word64`].
    pub(crate) fn word32(&self, offset: usize) -> &AtomicU32 {
        let at = self.at(offset, 4, 4);
        // SAFETY: in bounds, aligned, valid for the life of `self`, and only ever accessed atomically.
        unsafe { at.cast::<AtomicU32>().as_ref() }
    }

    /// So many 64-bit words from an offset; as [`Self::word64`]. Bytes among them may also be copied in and out.
    pub(crate) fn words<const N: usize>(&self, offset: usize) -> &[AtomicU64; N] {
        let at = self.at(offset, N * 8, 8);
        // SAFETY: in bounds, aligned, valid for the life of `self`, and only ever accessed atomically or by raw
        // copies.
        unsafe { at.cast::<[AtomicU64; N]>().as_ref() }
    }

    /// Asks for the cache line at an offset, to be read soon. Does nothing outside the region.
    pub(crate) fn prefetch(&self, offset: usize) {
        #[cfg(target_arch = "x86_64")]
        if self.holds(offset, 1) {
            // SAFETY: a hint, at an address inside the mapping.
            unsafe {
                use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                _mm_prefetch::<_MM_HINT_T0>(self.start.as_ptr().wrapping_add(offset).cast());
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = offset;
    }

    /// The same, to be written soon.
    pub(crate) fn prefetch_exclusive(&self, offset: usize) {
        #[cfg(target_arch = "x86_64")]
        if self.holds(offset, 1) {
            let at = self.start.as_ptr().wrapping_add(offset);
            // SAFETY: a hint, at an address inside the mapping; processors without it take it for a NOP.
            unsafe {
                core::arch::asm!("prefetchw [{at}]", at = in(reg) at, options(nostack, preserves_flags));
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = offset;
    }

    /// Copies bytes in.
    #[inline]
    pub(crate) fn copy_in(&self, offset: usize, bytes: &[u8]) {
        let at = self.at(offset, bytes.len(), 1);
        // SAFETY: the target is in bounds; the source is private memory and cannot overlap it. A peer that
        // reads or writes the range at the same time gets garbage, which it has to validate anyway.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at.as_ptr(), bytes.len()) }
    }

    /// Copies bytes from one region into another, or to another place of the same.
    pub(crate) fn copy_from(&self, offset: usize, source: &Region, source_offset: usize, len: usize) {
        let to = self.at(offset, len, 1);
        let from = source.at(source_offset, len, 1);
        // SAFETY: both ranges are in bounds; they may overlap. What peers write meanwhile is garbage to be
        // validated, as with `copy_in`.
        unsafe { std::ptr::copy(from.as_ptr(), to.as_ptr(), len) }
    }

    /// Appends a copy of a range to private memory.
    pub(crate) fn copy_out(&self, offset: usize, len: usize, into: &mut Vec<u8>) {
        let at = self.at(offset, len, 1);
        into.reserve(len);
        let spare = into.spare_capacity_mut().as_mut_ptr().cast::<u8>();
        // SAFETY: the source is in bounds; the target has been reserved and cannot overlap a mapping.
        unsafe { std::ptr::copy_nonoverlapping(at.as_ptr(), spare, len) };
        // SAFETY: the bytes up to the new length have just been written.
        unsafe { into.set_len(into.len() + len) };
    }

    /// Copies a range to private memory of the same length.
    pub(crate) fn copy_to(&self, offset: usize, into: &mut [u8]) {
        let at = self.at(offset, into.len(), 1);
        // SAFETY: the source is in bounds; the target is private memory and cannot overlap a mapping.
        unsafe { std::ptr::copy_nonoverlapping(at.as_ptr(), into.as_mut_ptr(), into.len()) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no borrow of it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len_bytes) };
    }
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(fd: i32) -> io::Result<OwnedFd> {
    let fd = check(fd)?;
    // SAFETY: the descriptor has just been made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The size of a page.
pub(crate) fn page_bytes() -> usize {
    static PAGE: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *PAGE.get_or_init(|| {
        // SAFETY: sysconf has no preconditions.
        usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn two_mappings_share_bytes() {
        let ours = Region::create("test", 8192).unwrap();
        let theirs = Region::attach(ours.fd().try_clone_to_owned().unwrap(), 8192).unwrap();
        ours.copy_in(100, b"hello");
        ours.word64(8).store(7, Ordering::Relaxed);
        let mut out = Vec::new();
        theirs.copy_out(100, 5, &mut out);
        assert_eq!(out, b"hello");
        assert_eq!(theirs.word64(8).load(Ordering::Relaxed), 7);
    }

    #[test]
    fn a_region_cannot_be_resized() {
        let region = Region::create("test", 4096).unwrap();
        assert!(nix::unistd::ftruncate(region.fd(), 0).is_err());
        assert!(nix::unistd::ftruncate(region.fd(), 8192).is_err());
    }

    #[test]
    fn an_unsealed_or_oversized_peer_is_refused() {
        let region = Region::create("test", 8192).unwrap();
        assert!(Region::attach(region.fd().try_clone_to_owned().unwrap(), 4096).is_err());
        let name = CString::new("plain").unwrap();
        // SAFETY: the name is a NUL-terminated string.
        let plain = owned(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) }).unwrap();
        nix::unistd::ftruncate(&plain, 4096).unwrap();
        assert!(matches!(Region::attach(plain, 4096), Err(RegionError::Refused(_))));
    }

    #[test]
    #[should_panic(expected = "outside the region")]
    fn offsets_are_checked() {
        Region::create("test", 4096).unwrap().word64(4096).load(Ordering::Relaxed);
    }
}
