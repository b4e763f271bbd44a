//! Waiting for a peer: looking again and again for a while, then parking on its bell until a deadline; and ringing.
//!
//! The two halves meet in shared memory without a lock. A sleeper says so (`parked`), then looks once more; a
//! ringer rings, then looks for a sleeper. The fences stand between the store and the load on both sides, so
//! at least one of the two sees the other: a wake-up can't be lost, and no system call is made when nobody
//! sleeps. A worker that may be woken by the one before it in a chain says so twice: to the host in its segment, which
//! that one does not have, and to that one on its doorstep, at which the host does not look. A hostile peer can wake the sleeper, let it sleep, or requeue it, so that no ring reaches it; only the
//! deadline is sure, and the kernel keeps it. A bell that was rung and woke nobody until then is told: see
//! [`Unready::Unwoken`].

use crate::clock;
use crate::futex::{self, Seen};
use crate::layout::{Doorstep, Header, PARKED};
use crate::sync::{AtomicU32, Ordering, fence, yield_now};

/// Wake-ups without cause before a sleeper gives up: far more than happen by chance, few enough to bound it.
const WAKES_MAX: u32 = 1000;
/// How often a sleeper that was just falling asleep, and so missed a wake, is woken again.
const WAKE_AGAIN_MAX: u32 = 1000;
/// Looks between two looks at the clock.
const LOOKS: u32 = 8;

/// Why a sleeper was not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unready {
    /// The deadline has come.
    TimeOver,
    /// It was woken without cause [`WAKES_MAX`] times.
    Flooded,
    /// It may be ready, and its first bell has been rung; but the deadline came, and until then no wake did. One that is
    /// only late is none of these: the sleeper was woken by it, however late it runs.
    Unwoken,
}

/// How long a wait lasts.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// When it begins: the time, or shortly before.
    pub from_ns: u64,
    /// For how long it looks before it sleeps; 0 is a single look.
    pub spin_ns: u64,
    /// When it ends at the latest.
    pub deadline_ns: u64,
}

impl Bounds {
    /// Sleeps at once.
    #[must_use]
    pub fn sleep(from_ns: u64, deadline_ns: u64) -> Self {
        Self { from_ns, spin_ns: 0, deadline_ns }
    }

    /// Until when it looks.
    pub(crate) fn look_until_ns(self) -> u64 {
        self.from_ns.saturating_add(self.spin_ns).min(self.deadline_ns)
    }
}

/// What came of a sleep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slept<T> {
    pub(crate) outcome: Result<T, Unready>,
    /// For how long the machine let it sleep on after its deadline. What is computed after that is not in it.
    pub(crate) overslept_ns: u64,
    /// How often it gave its processor up at most.
    pub(crate) times: u32,
}

/// What a sleeper may be woken by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bells<'a> {
    pub(crate) first: &'a AtomicU32,
    /// Only where [`futex::can_wait_for_either`].
    pub(crate) second: Option<&'a AtomicU32>,
}

impl<'a> Bells<'a> {
    pub(crate) fn one(first: &'a AtomicU32) -> Self {
        Self { first, second: None }
    }
}

/// Where a sleeper says that it sleeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sign<'a> {
    pub(crate) own: &'a Header,
    /// For the worker before it, which may ring the second bell.
    pub(crate) doorstep: Option<&'a Doorstep>,
}

impl<'a> Sign<'a> {
    pub(crate) fn one(own: &'a Header) -> Self {
        Self { own, doorstep: None }
    }

    /// To both, whichever rings: each sees it before the sleeper's last look, or is seen by that.
    fn say(self, word: u32) {
        self.own.parked.store(word, Ordering::Relaxed);
        if let Some(doorstep) = self.doorstep {
            doorstep.parked.store(word, Ordering::Relaxed);
        }
    }
}

/// Looks until `ready` gives something, or for as long as it may.
///
/// # Real-time
/// No system call.
pub(crate) fn spin<T>(bounds: Bounds, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let first = ready();
    if first.is_some() || bounds.spin_ns == 0 {
        return first;
    }
    let until_ns = bounds.look_until_ns();
    loop {
        for _ in 0..LOOKS {
            if let Some(done) = ready() {
                return Some(done);
            }
            std::hint::spin_loop();
        }
        if clock::now_ns() >= until_ns {
            return None;
        }
    }
}

/// Sleeps until `ready` gives something, or until `deadline_ns`. The sign is our own, the bells are others'.
///
/// # Real-time
/// One bounded wait: futex system calls until the deadline, at most [`WAKES_MAX`] of them.
pub(crate) fn park<T>(
    sign: Sign<'_>,
    bells: Bells<'_>,
    deadline_ns: u64,
    mut ready: impl FnMut() -> Option<T>,
) -> Slept<T> {
    let mut slept = Slept { outcome: Err(Unready::Flooded), overslept_ns: 0, times: 0 };
    for _ in 0..WAKES_MAX {
        // SYNC: bell; with Release in `ring` and `hand_on`: whoever sees the bell sees what it rang for.
        let look = |word: &'_ AtomicU32| word.load(Ordering::Acquire);
        let first = Seen { word: bells.first, value: look(bells.first) };
        let second = bells.second.map(|word| Seen { word, value: look(word) });
        sign.say(PARKED);
        // SYNC: parked before ready here, bell before parked in `ring` and `hand_on`.
        fence(Ordering::SeqCst);
        let done = ready();
        // It ends by a changed bell, a wake, a signal or the deadline: each is looked into above.
        // What it computed until here is no sleep.
        let sleeps = done.is_none() && clock::now_ns() < deadline_ns;
        let by_deadline = sleeps
            && match second {
                Some(second) => futex::wait_for_either([first, second], deadline_ns),
                None => futex::wait(first, deadline_ns),
            };
        if sleeps {
            slept.times += 1;
            slept.overslept_ns = clock::now_ns().saturating_sub(deadline_ns);
        }
        sign.say(0);
        if by_deadline && look(bells.first) != first.value {
            return Slept { outcome: Err(Unready::Unwoken), ..slept };
        }
        if let Some(done) = done.or_else(&mut ready) {
            return Slept { outcome: Ok(done), ..slept };
        }
        if clock::now_ns() >= deadline_ns {
            return Slept { outcome: Err(Unready::TimeOver), ..slept };
        }
    }
    slept
}

/// Rings `own` bell; a system call only if the peer says that it sleeps, and whether it was made.
///
/// # Real-time
/// No wait; at most one futex wake.
pub(crate) fn ring(own: &Header, peer: &Header) -> bool {
    count_up(&own.bell);
    // SYNC: bell before parked here, parked before ready in `park`.
    fence(Ordering::SeqCst);
    let sleeps = says_parked(&peer.parked);
    if sleeps {
        futex::wake(&own.bell);
    }
    sleeps
}

fn says_parked(word: &AtomicU32) -> bool {
    word.load(Ordering::Relaxed) == PARKED
}

/// A bell changes each time it is rung. It has one writer: no read-modify-write is needed.
fn count_up(bell: &AtomicU32) {
    // SYNC: bell; with Acquire in `park`.
    bell.store(bell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
}

/// Rings for the worker that takes this one's answers; a system call only if that one says on its doorstep that it
/// sleeps, or has none that we see: then it may. Or if the host does, which sleeps there beside it if it has given that
/// worker up but can't have ended it yet, or has: that one's word is no reason to let the host sleep on.
///
/// # Real-time
/// As [`ring`].
pub(crate) fn hand_on(own: &Header, next: Option<&Doorstep>, host: &Header) {
    count_up(&own.next_bell);
    // SYNC: bell before parked here, parked before ready in `park`.
    fence(Ordering::SeqCst);
    if next.is_none_or(|next| says_parked(&next.parked)) || says_parked(&host.parked) {
        futex::wake_all(&own.next_bell);
    }
}

/// Wakes `sleeper`, which may sleep on this bell, though it did not ring: for what was stored before, which it looks
/// at. It may just be falling asleep and miss a wake, so it is woken until it says that it is awake.
pub(crate) fn rouse(sleeper: &Header, bell: &Header) {
    for _ in 0..WAKE_AGAIN_MAX {
        wake(bell);
        if !is_parked(sleeper) {
            return;
        }
        yield_now();
    }
}

/// Whether the owner of this header sleeps, or is about to.
fn is_parked(own: &Header) -> bool {
    // What the sleeper looks at was stored before: either it sees that, or we see it here.
    fence(Ordering::SeqCst);
    says_parked(&own.parked)
}

/// Wakes whoever sleeps on this bell, though it did not ring.
pub(crate) fn wake(header: &Header) {
    futex::wake(&header.bell);
}
