//! The one clock of the project: `CLOCK_MONOTONIC` in nanoseconds, the same in every process of the machine.
//!
//! Stamps in segments and deadlines are of this clock, because a futex takes its absolute deadline from it.

use rustix::io::Errno;
use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds since some fixed point in the past.
///
/// # Real-time
/// May be called on the audio thread: answered by the vDSO, without a system call, where the kernel's clock
/// source allows it (TSC and kvm-clock do). The first call of a process makes some: see that it is elsewhere.
#[must_use]
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Both parts are never negative for this clock.
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// The moment `ns` of [`now_ns`] as the kernel wants it.
#[must_use]
pub fn timespec(ns: u64) -> Timespec {
    let second = 1_000_000_000;
    Timespec {
        tv_sec: i64::try_from(ns / second).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(ns % second).unwrap_or(0),
    }
}

/// Sleeps until this moment of [`now_ns`]; not at all if it has passed.
pub fn sleep_until(ns: u64) {
    // A signal is no reason to wake.
    while clock_nanosleep_absolute(ClockId::Monotonic, &timespec(ns)) == Err(Errno::INTR) {}
}
