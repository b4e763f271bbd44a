//! Waiting in a test for something that happens on another thread, never longer than a test may take.

use std::time::{Duration, Instant};

/// Far more than anything needs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until `done`, or fails.
#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::yield_now();
    }
}
