//! Deadlines that do not come nearer while this process can't run.
//!
//! For whoever waits for a worker. A host that was stopped (SIGSTOP, a frozen container, a machine that stood still)
//! finds its deadlines over when it goes on, though the answers may lie in its sockets, and though a worker that
//! was frozen with it had no time to give them. So time that was overslept does not count, and after it there is
//! always a little left to hear what has come meanwhile. Pure.

use std::time::{Duration, Instant};

/// How long one sleep is at most: a host that stops is noticed to within this.
const SLEEP_MAX: Duration = Duration::from_millis(100);
/// Less than this is a busy machine, which wakes everybody a little late.
const LATE: Duration = Duration::from_millis(50);
/// What is left at least to whoever was overslept.
const FRESH: Duration = Duration::from_millis(250);

/// For whoever would wait longer than a clock can tell.
const EVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Notices when its owner was woken later than it had asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sleeper {
    since: Instant,
    asked: Duration,
}

impl Sleeper {
    /// Goes to sleep for no longer than `asked`.
    pub(super) fn lie_down(now: Instant, asked: Duration) -> Self {
        Self { since: now, asked }
    }

    /// For how long it overslept, if that is worth a word.
    pub(super) fn overslept(self, now: Instant) -> Option<Duration> {
        let overslept = now.saturating_duration_since(self.since).saturating_sub(self.asked);
        (overslept >= LATE).then_some(overslept)
    }
}

/// A deadline for whoever has overslept by so much.
pub(super) fn put_off(until: Instant, now: Instant, overslept: Duration) -> Instant {
    (until + overslept).max(now + FRESH)
}

/// How long somebody is still waited for.
#[derive(Debug)]
pub(super) struct Patience {
    until: Instant,
    sleeper: Sleeper,
}

impl Patience {
    /// From `now` until then.
    pub(super) fn new(now: Instant, until: Instant) -> Self {
        Self { until, sleeper: Sleeper::lie_down(now, Duration::ZERO) }
    }

    /// From now on, for so long.
    pub(super) fn from_now(limit: Duration) -> Self {
        let now = Instant::now();
        Self::new(now, now.checked_add(limit).unwrap_or(now + EVER))
    }

    /// How long to sleep now at most; `None` when the time is over.
    pub(super) fn sleep(&mut self, now: Instant) -> Option<Duration> {
        if let Some(overslept) = self.sleeper.overslept(now) {
            self.until = put_off(self.until, now, overslept);
        }
        let left = self.until.saturating_duration_since(now).min(SLEEP_MAX);
        self.sleeper = Sleeper::lie_down(now, left);
        (!left.is_zero()).then_some(left)
    }

    /// When it ends, as far as is known.
    pub(super) fn until(&self) -> Instant {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// When the patience for 250 ms ends if the sleeper wakes at each of these times, in ms, and then whenever it
    /// asked to.
    fn ends(woken: &[u32]) -> Duration {
        let start = Instant::now();
        let (mut patience, mut now) = (Patience::new(start, start + 250 * MS), start);
        let mut woken = woken.iter().map(|at| start + *at * MS);
        while let Some(sleep) = patience.sleep(now) {
            now = woken.next().unwrap_or(now + sleep);
        }
        now - start
    }

    #[test]
    fn it_ends_in_time_however_often_it_is_woken_and_a_little_late() {
        assert_eq!(ends(&[]), 250 * MS);
        assert_eq!(ends(&[1, 2, 50, 149, 249]), 250 * MS);
        assert_eq!(ends(&[110, 230, 275]), 275 * MS);
    }

    #[test]
    fn the_time_for_which_it_was_overslept_does_not_count() {
        assert_eq!(ends(&[5_100]), 5_350 * MS, "stopped in its first sleep");
        assert_eq!(ends(&[1_100, 3_200]), 3_450 * MS, "twice");
    }

    #[test]
    fn whoever_is_overslept_at_the_end_is_given_a_little_time_to_hear_what_came() {
        assert_eq!(ends(&[100, 200, 5_250]), 5_500 * MS);
        assert_eq!(ends(&[100, 200, 310]), 560 * MS);
    }
}
