//! How long a thread has waited for a processor, as the kernel counts it.
//!
//! For whoever watches an audio thread: it is read from another one.

use rustix::process::Pid;
use std::time::Duration;

/// How long a thread of this process has been ready to run and did not; `None` where the kernel does not say.
pub(crate) fn waited(thread: Pid) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/self/task/{}/schedstat", thread.as_raw_pid())).ok()?;
    // The time that it ran is the first number.
    text.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::thread::gettid;

    #[test]
    fn what_a_thread_waited_only_grows_and_one_that_is_gone_has_none() {
        let Some(before) = waited(gettid()) else { return };
        std::thread::yield_now();
        assert!(waited(gettid()).unwrap() >= before);
        let gone = std::thread::spawn(gettid).join().unwrap();
        assert_eq!(waited(gone), None);
    }
}
