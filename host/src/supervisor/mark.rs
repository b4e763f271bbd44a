//! A worker's mark, which whatever it starts inherits, also with an environment of its own.
//!
//! For the supervisor thread. A process may be started with an empty environment and in a session of its own, and lose
//! its parent: the token is gone then, but limits are passed on to every child and kept by every program. One of them, the
//! number of file locks, means nothing to the kernel since Linux 2.4.25; it is passed on and shown all the same, and
//! carries a number here. A process that sets it to another value is not found.

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

/// The line of `/proc/PID/limits` that shows it.
const LINE: &str = "Max file locks";
/// Marks of one brood, so that a prefix of the digits is the brood's. Far more than one host starts.
const OF_A_BROOD: u64 = 1_000_000;
/// The digits of that prefix are as many for each brood.
const LEAST: u64 = 100_000_000_000;

/// The digits that all marks of a brood begin with; six follow.
pub(super) fn prefix(brood: &str) -> u64 {
    let byte = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    LEAST + brood.bytes().fold(0xcbf2_9ce4_8422_2325, byte) % (9 * LEAST)
}

/// The mark of the worker with this token.
pub(super) fn of(token: &str) -> u64 {
    let (brood, number) = token.rsplit_once('-').unwrap_or((token, ""));
    prefix(brood) * OF_A_BROOD + number.parse().unwrap_or(0) % OF_A_BROOD
}

/// Whether it is the mark of one of its workers.
pub(super) fn is_of_brood(mark: u64, brood: &str) -> bool {
    mark / OF_A_BROOD == prefix(brood)
}

/// Marks a process that has started nothing yet. Where that is refused, the token alone tells of its children.
pub(super) fn put(pid: Pid, token: &str) {
    set(pid, Some(of(token)));
}

/// Takes off a mark that it may have from this process, which another host may have started.
pub(super) fn take_off(pid: Pid) {
    set(pid, getrlimit(Resource::Locks).maximum);
}

fn set(pid: Pid, current: Option<u64>) {
    let maximum = getrlimit(Resource::Locks).maximum;
    let _ = prlimit(Some(pid), Resource::Locks, Rlimit { current, maximum });
}

/// The mark in what `/proc/PID/limits` says.
pub(super) fn read(limits: &[u8]) -> Option<u64> {
    let limits = std::str::from_utf8(limits).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix(LINE))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marks_of_a_brood_begin_with_its_digits_and_are_each_workers_own() {
        for brood in ["7-12345", "8-12345", ""] {
            let digits = prefix(brood).to_string();
            assert_eq!(digits.len(), 12);
            let marks = [1, 2, 999_999].map(|n| of(&format!("{brood}-{n}")).to_string());
            assert!(marks.iter().all(|mark| mark.len() == 18 && mark.starts_with(&digits)), "{marks:?}");
            assert!(marks[0] != marks[1] && marks[1] != marks[2]);
            assert!(is_of_brood(of(&format!("{brood}-7")), brood));
            assert!(!is_of_brood(of("another-7"), brood) && !is_of_brood(u64::MAX, brood));
        }
        assert_ne!(prefix("7-12345"), prefix("8-12345"));
    }

    #[test]
    fn a_mark_is_read_where_the_kernel_shows_it() {
        let limits = b"Limit                     Soft Limit           Hard Limit           Units     \n\
                       Max locked memory         8388608              8388608              bytes     \n\
                       Max file locks            123456789012000001   unlimited            locks     \n";
        assert_eq!(read(limits), Some(123_456_789_012_000_001));
        assert_eq!(
            read(b"Max file locks            unlimited            unlimited            locks\n"),
            None
        );
        assert_eq!(read(b""), None);
    }
}
