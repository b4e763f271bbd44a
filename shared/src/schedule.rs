//! How the kernel schedules a thread: its policy, its priority, its slice.
//!
//! For the host, which places itself and its workers, and for tests, which ask what became of that. `rustix` has no
//! such calls, so the two that there are (`sched_setattr`, `sched_getattr`) are made here. It decides nothing.

// Two system calls that no safe crate has; each is given a structure of its own on the stack.
#![allow(unsafe_code)]

use libc::{c_int, c_long, sched_attr};
use rustix::process::Pid;
use std::io;

/// By which rule a thread gets a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Its fair share.
    Other,
    /// Its fair share, and when it wakes up nobody has to make room for it.
    Batch,
    /// As long as it wants, before everybody with another rule or a lower priority, 1 to 99.
    Fifo(u8),
    /// Any other.
    Unknown,
}

/// How a thread is scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Its rule.
    pub policy: Policy,
    /// What its fair share is, -20 (large) to 19 (small).
    pub nice: i32,
    /// How long it runs at a time, in nanoseconds, 100 us to 100 ms; the shorter, the sooner its turn comes. 0 is the
    /// kernel's default. For fair shares only, and ignored before Linux 6.12.
    pub slice_ns: u64,
    /// What it starts does not inherit a real-time priority, a raised share or a slice. Can't be taken back without
    /// the right to raise priorities.
    pub reset_on_fork: bool,
}

/// Changes how a thread is scheduled, by its number; `None` is the calling thread.
///
/// # Errors
/// The kernel's: above all `PermissionDenied`, to raise a priority without the right to it.
///
/// # Real-time
/// A system call, which neither allocates nor waits.
pub fn set(thread: Option<Pid>, schedule: &Schedule) -> io::Result<()> {
    let (policy, priority) = match schedule.policy {
        Policy::Other => (libc::SCHED_OTHER, 0),
        Policy::Batch => (libc::SCHED_BATCH, 0),
        Policy::Fifo(priority) => (libc::SCHED_FIFO, priority),
        Policy::Unknown => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let is_fair = priority == 0;
    let attributes = sched_attr {
        sched_policy: policy.unsigned_abs(),
        sched_flags: if schedule.reset_on_fork { libc::SCHED_FLAG_RESET_ON_FORK as u64 } else { 0 },
        sched_nice: if is_fair { schedule.nice } else { 0 },
        sched_priority: priority.into(),
        sched_runtime: if is_fair { schedule.slice_ns } else { 0 },
        ..none()
    };
    // SAFETY: the kernel reads `attributes`, a live structure of the size that it states, and writes nothing.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, number(thread), &raw const attributes, 0) };
    check(done)
}

/// How a thread is scheduled, by its number; `None` is the calling thread.
///
/// # Errors
/// The kernel's: above all that there is no such thread.
///
/// # Real-time
/// As [`set`].
pub fn get(thread: Option<Pid>) -> io::Result<Schedule> {
    let mut found = none();
    let (room, size) = (&raw mut found, found.size);
    // SAFETY: the kernel writes into `found`, a live structure that nobody else has, no more than the size given.
    let done = unsafe { libc::syscall(libc::SYS_sched_getattr, number(thread), room, size, 0) };
    check(done)?;
    let policy = match c_int::try_from(found.sched_policy) {
        Ok(libc::SCHED_OTHER) => Policy::Other,
        Ok(libc::SCHED_BATCH) => Policy::Batch,
        Ok(libc::SCHED_FIFO) => Policy::Fifo(u8::try_from(found.sched_priority).unwrap_or(u8::MAX)),
        _ => Policy::Unknown,
    };
    let reset_on_fork = found.sched_flags & libc::SCHED_FLAG_RESET_ON_FORK as u64 != 0;
    Ok(Schedule { policy, nice: found.sched_nice, slice_ns: found.sched_runtime, reset_on_fork })
}

fn none() -> sched_attr {
    sched_attr {
        #[allow(clippy::cast_possible_truncation)] // some fifty bytes
        size: size_of::<sched_attr>() as u32,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    }
}

fn number(thread: Option<Pid>) -> c_int {
    thread.map_or(0, |thread| thread.as_raw_nonzero().get())
}

fn check(done: c_long) -> io::Result<()> {
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_scheduled_as_it_was_told_to_be() {
        let own = get(None).unwrap();
        assert_eq!(own.policy, Policy::Other);
        let wanted = Schedule { policy: Policy::Batch, reset_on_fork: true, ..own };
        set(None, &wanted).unwrap();
        assert_eq!(get(None).unwrap(), wanted);
        // The next thread has not been told anything, and inherits what may be inherited.
        let heir = std::thread::spawn(|| get(None).unwrap()).join().unwrap();
        assert_eq!((heir.policy, heir.reset_on_fork), (Policy::Batch, false));
    }

    #[test]
    fn who_is_not_there_and_what_there_is_not_is_an_error() {
        let nobody = Pid::from_raw(i32::MAX);
        assert!(get(nobody).is_err());
        let own = get(None).unwrap();
        assert!(set(None, &Schedule { policy: Policy::Unknown, ..own }).is_err());
        assert!(set(None, &Schedule { nice: 77, policy: Policy::Fifo(200), ..own }).is_err());
    }
}
