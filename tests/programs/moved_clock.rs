//! A library that is loaded before all others and moves the wall clock: each reading of it is a day before or after
//! the last. The machine's own clock is left alone, and all other clocks are what they are.
#![allow(unsafe_code, reason = "it stands in for a function of the system's library")]

use std::sync::atomic::{AtomicI64, Ordering};

const DAY_SECONDS: i64 = 86_400;
const CLOCK_REALTIME: i32 = 0;
#[cfg(target_arch = "x86_64")]
const SYS_CLOCK_GETTIME: i64 = 228;
#[cfg(not(target_arch = "x86_64"))]
const SYS_CLOCK_GETTIME: i64 = 113;

#[repr(C)]
pub struct Timespec {
    seconds: i64,
    nanos: i64,
}

unsafe extern "C" {
    fn syscall(number: i64, ...) -> i64;
}

static DAYS: AtomicI64 = AtomicI64::new(1);

/// In place of the system's.
///
/// # Safety
/// As for the system's own: `time` is where a time can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: i32, time: *mut Timespec) -> i32 {
    // SAFETY: the caller's promise is the system call's.
    let outcome = unsafe { syscall(SYS_CLOCK_GETTIME, i64::from(clock), time) };
    if clock == CLOCK_REALTIME && outcome == 0 {
        let days = DAYS.fetch_xor(1 ^ -1, Ordering::Relaxed);
        // SAFETY: it has just been written.
        unsafe { (*time).seconds += days * DAY_SECONDS };
    }
    outcome as i32
}
