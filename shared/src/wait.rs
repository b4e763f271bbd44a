//! Parking on a peer's bell until a deadline, and ringing one's own.
//!
//! The two halves meet in shared memory without a lock. A sleeper says so (`parked`), then looks once more; a
//! ringer rings, then looks for a sleeper. The fences stand between the store and the load on both sides, so
//! at least one of the two sees the other: a wake-up can't be lost, and no system call is made when nobody
//! sleeps. A hostile peer can wake the sleeper, requeue it or let it sleep; only the deadline is sure, and the
//! kernel keeps it.

use crate::clock;
use crate::layout::{Header, PARKED};
use rustix::thread::futex;
use std::num::NonZeroU32;
use std::sync::atomic::{Ordering, fence};

/// Wake-ups without cause before a sleeper gives up: far more than happen by chance, few enough to bound it.
const WAKES_MAX: u32 = 1000;
const ANY: NonZeroU32 = NonZeroU32::MAX;

/// Why a sleeper was not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unready {
    /// The deadline has come.
    TimeOver,
    /// It was woken without cause [`WAKES_MAX`] times.
    Flooded,
}

/// Sleeps until `ready` gives something, or until `deadline_ns`. `own` says that we sleep, `peer` has the bell.
///
/// # Real-time
/// One bounded wait: futex system calls until the deadline, at most [`WAKES_MAX`] of them.
pub(crate) fn park<T>(
    own: &Header,
    peer: &Header,
    deadline_ns: u64,
    mut ready: impl FnMut() -> Option<T>,
) -> Result<T, Unready> {
    let deadline = clock::timespec(deadline_ns);
    for _ in 0..WAKES_MAX {
        // SYNC: bell; with Release in `ring`: whoever sees the bell sees what it rang for.
        let bell = peer.bell.load(Ordering::Acquire);
        own.parked.store(PARKED, Ordering::Relaxed);
        // SYNC: parked before ready here, bell before parked in `ring`.
        fence(Ordering::SeqCst);
        let done = ready();
        if done.is_none() && clock::now_ns() < deadline_ns {
            // An error is a changed bell, a signal or the deadline: each is looked into above.
            let _ = futex::wait_bitset(&peer.bell, futex::Flags::empty(), bell, Some(&deadline), ANY);
        }
        own.parked.store(0, Ordering::Relaxed);
        if let Some(done) = done.or_else(&mut ready) {
            return Ok(done);
        }
        if clock::now_ns() >= deadline_ns {
            return Err(Unready::TimeOver);
        }
    }
    Err(Unready::Flooded)
}

/// Rings `own` bell with `seq`; a system call only if the peer says that it sleeps.
///
/// # Real-time
/// No wait; at most one futex wake.
pub(crate) fn ring(own: &Header, peer: &Header, seq: u32) {
    // SYNC: bell; with Acquire in `park`.
    own.bell.store(seq, Ordering::Release);
    // SYNC: bell before parked here, parked before ready in `park`.
    fence(Ordering::SeqCst);
    if peer.parked.load(Ordering::Relaxed) == PARKED {
        wake(own);
    }
}

/// Whether the owner of this header sleeps, or is about to.
pub(crate) fn is_parked(own: &Header) -> bool {
    // What the sleeper looks at was stored before: either it sees that, or we see it here.
    fence(Ordering::SeqCst);
    own.parked.load(Ordering::Relaxed) == PARKED
}

/// Wakes whoever sleeps on this bell, though it did not ring.
pub(crate) fn wake(header: &Header) {
    let _ = futex::wake(&header.bell, futex::Flags::empty(), 1);
}
