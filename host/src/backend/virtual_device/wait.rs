//! Time and waiting, straight from the kernel.
//!
//! For the virtual device, whose pace must not add up the delays of relative waits: the deadline of a wait is a
//! point in time.

use rustix::io::Errno;
use rustix::thread::futex;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::num::NonZeroU32;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Woken {
    Late,
    Early,
}

/// CLOCK_MONOTONIC, which takes no system call.
pub(super) fn now() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

/// Waits while the word has this value, until an absolute time. May wake for no reason: callers look again.
pub(super) fn wait(word: &AtomicU32, value: u32, deadline: Option<Duration>) -> Woken {
    let deadline = deadline.and_then(|at| Timespec::try_from(at).ok());
    // Unlike FUTEX_WAIT, this takes an absolute time: being interrupted before the call costs nothing.
    match futex::wait_bitset(word, futex::Flags::PRIVATE, value, deadline.as_ref(), NonZeroU32::MAX) {
        Err(Errno::TIMEDOUT) => Woken::Late,
        _ => Woken::Early,
    }
}

/// Wakes one that waits for the word.
pub(super) fn wake(word: &AtomicU32) {
    // Fails only for a bad address.
    let _ = futex::wake(word, futex::Flags::PRIVATE, 1);
}

/// Wakes all that wait for the word.
pub(super) fn wake_all(word: &AtomicU32) {
    // The kernel counts them in a signed word.
    let _ = futex::wake(word, futex::Flags::PRIVATE, i32::MAX.unsigned_abs());
}
