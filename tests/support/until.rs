//! Waiting for something that happens elsewhere, never longer than a test may take.
//!
//! The one place where a test pauses: between two looks, for what no event tells of.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long anything may take before the test has failed. Far more than anything needs.
pub const DEADLINE: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// Waits until `done`.
///
/// # Panics
/// If that takes longer than [`DEADLINE`].
pub fn until(what: &str, done: impl FnMut() -> bool) {
    assert!(comes_true(done), "waited in vain: {what}");
}

/// Waits until `done`, [`DEADLINE`] at most; whether it came to that.
#[must_use]
pub fn comes_true(mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + DEADLINE;
    while !done() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::park_timeout(BETWEEN_LOOKS);
    }
    true
}

/// Waits for a process to end; true at once if there is none of this number.
#[must_use]
pub fn process_ends(pid: u32, limit: Duration) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process number");
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => readable(&pidfd, limit),
        Err(_) => true,
    }
}

/// Waits for a descriptor to become readable.
#[must_use]
pub fn readable(fd: &impl AsFd, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).expect("a limit of a test");
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return ready.is_ok_and(|n| n > 0),
        }
    }
}
