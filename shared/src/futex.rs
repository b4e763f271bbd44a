//! Sleeping on a word in shared memory, and waking who sleeps there.
//!
//! Shared futexes, since the private ones that other crates offer wake nobody in another process. They work on
//! memory that is mapped read-only. A wake may come without cause, and a wait may end for any reason: whoever waits
//! looks for himself.

use crate::clock;
use rustix::io::Errno;
use rustix::thread::ClockId;
use rustix::thread::futex::{self, Flags, Wait, WaitFlags, WaitPtr, WaitvFlags};
use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;

const ANY: NonZeroU32 = NonZeroU32::MAX;

/// A word, and what it held when it was looked at: who waits sleeps only while it still does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) word: &'a AtomicU32,
    pub(crate) value: u32,
}

/// Sleeps until this word changes and its writer wakes us, or until the deadline; whether it was that, and no wake.
pub(crate) fn wait(seen: Seen<'_>, deadline_ns: u64) -> bool {
    let deadline = clock::timespec(deadline_ns);
    let ended = futex::wait_bitset(seen.word, Flags::empty(), seen.value, Some(&deadline), ANY);
    ended == Err(Errno::TIMEDOUT)
}

/// Sleeps until one of the two changes, or until the deadline; whether it was that. See [`can_wait_for_either`].
pub(crate) fn wait_for_either(seen: [Seen<'_>; 2], deadline_ns: u64) -> bool {
    let deadline = clock::timespec(deadline_ns);
    let ended = futex::waitv(&seen.map(waiter), WaitvFlags::empty(), Some(&deadline), ClockId::Monotonic);
    ended == Err(Errno::TIMEDOUT)
}

fn waiter(seen: Seen<'_>) -> Wait {
    let mut wait = Wait::new();
    wait.val = seen.value.into();
    wait.uaddr = WaitPtr::new(seen.word.as_ptr().cast());
    wait.flags = WaitFlags::SIZE_U32;
    wait
}

/// Whether this kernel can wait for one of two words: Linux 5.16 or newer.
pub(crate) fn can_wait_for_either() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    // Nothing to wait for is an error of another kind where the call is known.
    let is_known = || futex::waitv(&[], WaitvFlags::empty(), None, ClockId::Monotonic) != Err(Errno::NOSYS);
    *CAN.get_or_init(is_known)
}

/// Wakes one who sleeps on this word.
pub(crate) fn wake(word: &AtomicU32) {
    #[cfg(test)]
    calls::count();
    let _ = futex::wake(word, Flags::empty(), 1);
}

/// Wakes all who sleep on this word.
pub(crate) fn wake_all(word: &AtomicU32) {
    #[cfg(test)]
    calls::count();
    let _ = futex::wake(word, Flags::empty(), i32::MAX.unsigned_abs());
}

/// Has all who sleep on one word sleep on another one; how many did.
#[cfg(test)]
pub(crate) fn requeue(from: &AtomicU32, to: &AtomicU32) -> usize {
    futex::requeue(from, Flags::empty(), 0, i32::MAX.unsigned_abs(), to).unwrap_or(0)
}

/// How many wakes this thread has asked the kernel for.
#[cfg(test)]
pub(crate) mod calls {
    use std::cell::Cell;

    thread_local! {
        static CALLS: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn count() {
        CALLS.set(CALLS.get() + 1);
    }

    pub(crate) fn so_far() -> usize {
        CALLS.get()
    }
}
