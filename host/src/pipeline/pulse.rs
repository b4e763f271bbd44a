//! The signs of life of one stream: how often it called back, how often that began late or took too long, and what the
//! device says of its latency.
//!
//! Written on its audio thread, but for one word, and read by the thread that watches. What xruns the device itself tells of
//! is the stream's own ([`Stream::xruns`](crate::backend::Stream::xruns)); whose doing it was is for [`blame`](super::blame).

use super::transit::Transit;
use crate::clock::now_ns;
use rustix::process::Pid;
use rustix::thread::gettid;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

/// Counters of one stream, with one writer.
#[derive(Debug, Default)]
pub struct Pulse {
    callbacks: AtomicU64,
    long: AtomicU64,
    gaps: AtomicU64,
    /// How long after the callback before the last one began that began late.
    gap_ns: AtomicU64,
    longest_ns: AtomicU64,
    /// How long lasts what the device says that it has at a time; 0 if it doesn't say. The one word that the watching thread
    /// writes.
    told_ns: AtomicU64,
    /// When the callback began that is under way; 0 if none is.
    under_way_ns: AtomicU64,
    /// The number of the thread that calls back; 0 if none has.
    thread: AtomicI32,
    /// When the device called last for what it wants in one go; 0 if it has not called yet.
    began_ns: AtomicU64,
    /// When the last callback ended.
    ended_ns: AtomicU64,
    transit: Transit,
}

impl Pulse {
    /// Callbacks that have ended.
    #[must_use]
    pub fn callbacks(&self) -> u64 {
        self.callbacks.load(Ordering::Acquire)
    }

    /// Callbacks that took longer than the frames last which they were for, and than what the device says it has at a time: a
    /// server may bring that in crumbs.
    #[must_use]
    pub fn long(&self) -> u64 {
        self.long.load(Ordering::Acquire)
    }

    /// Callbacks that took no longer than that but began more than two periods after those before. A period is the most
    /// that the device has wanted in one go, or says that it does: one that fills a long buffer at the start is found to be
    /// late only when that must have run dry. It may have been the device that did not call.
    #[must_use]
    pub fn gaps(&self) -> u64 {
        self.gaps.load(Ordering::Acquire)
    }

    /// How long the last of those began after the one before.
    #[must_use]
    pub fn gap_ns(&self) -> u64 {
        self.gap_ns.load(Ordering::Relaxed)
    }

    /// Whether a callback is under way at this time of the host's clock that has taken longer than any is for.
    #[must_use]
    pub fn is_overdue(&self, now_ns: u64) -> bool {
        let began_ns = self.under_way_ns.load(Ordering::Relaxed);
        began_ns > 0 && self.longest_ns() > 0 && now_ns.saturating_sub(began_ns) > self.longest_ns()
    }

    /// The thread that calls back, if it has.
    pub(super) fn thread(&self) -> Option<Pid> {
        Pid::from_raw(self.thread.load(Ordering::Relaxed))
    }

    /// How long the frames last that the device has asked for or brought in one go, or says that it has at a time, at most.
    #[must_use]
    pub fn longest_ns(&self) -> u64 {
        self.longest_ns.load(Ordering::Relaxed).max(self.told_ns())
    }

    fn told_ns(&self) -> u64 {
        self.told_ns.load(Ordering::Relaxed)
    }

    /// The device says that what it has at a time lasts so long.
    pub(super) fn is_told(&self, at_a_time: Duration) {
        let told_ns = u64::try_from(at_a_time.as_nanos()).unwrap_or(u64::MAX);
        self.told_ns.store(told_ns, Ordering::Relaxed);
    }

    /// How long frames are on their way through the device, as it says; `None` if it doesn't, or has just begun.
    #[must_use]
    pub fn transit(&self) -> Option<Duration> {
        self.transit.told()
    }

    /// The calling thread is the one that calls back, for whoever wants to know how long it waits for a processor.
    ///
    /// # Real-time
    /// One system call the first time, which does not wait; afterwards none.
    pub(super) fn know_thread(&self) {
        if self.thread.load(Ordering::Relaxed) == 0 {
            self.thread.store(gettid().as_raw_pid(), Ordering::Relaxed);
        }
    }

    /// A callback begins at this time of the host's clock.
    ///
    /// # Real-time
    /// Yes.
    pub(super) fn begin(&self, now_ns: u64) {
        self.under_way_ns.store(now_ns, Ordering::Relaxed);
    }

    /// The device says so as it calls for what it wants in one go; zero, if it says nothing.
    ///
    /// # Real-time
    /// Yes.
    pub(super) fn hear(&self, transit: Duration) {
        self.transit.hear(transit);
    }

    /// A callback for frames that last so long, which began at `began_ns` of the host's clock, ends now; it was for a
    /// part of what the device wants in one go, which lasts `whole_ns` so far.
    ///
    /// # Real-time
    /// Yes: it reads the clock, which takes no system call.
    pub(super) fn beat(&self, began_ns: u64, length_ns: u64, whole_ns: u64) {
        self.beat_at(began_ns, now_ns(), length_ns, whole_ns);
    }

    fn beat_at(&self, began_ns: u64, ends_ns: u64, length_ns: u64, whole_ns: u64) {
        // The parts of a long buffer follow each other at once: only the first of them can begin late.
        let gap_ns = (whole_ns == length_ns).then(|| self.gap_before(began_ns)).flatten();
        if ends_ns.saturating_sub(began_ns) > length_ns.max(self.told_ns()) {
            add_one(&self.long);
        } else if let Some(gap_ns) = gap_ns {
            self.gap_ns.store(gap_ns, Ordering::Relaxed);
            add_one(&self.gaps);
        }
        self.under_way_ns.store(0, Ordering::Relaxed);
        self.ended_ns.store(ends_ns, Ordering::Relaxed);
        if whole_ns > self.longest_ns() {
            self.longest_ns.store(whole_ns, Ordering::Relaxed);
        }
        add_one(&self.callbacks);
    }

    /// How long after the one before it begins, if it should have begun before now; it is what the next one is compared
    /// with. After a callback that took too long, which is counted by itself, a period is left to catch up.
    fn gap_before(&self, began_ns: u64) -> Option<u64> {
        let (before, period) = (self.began_ns.swap(began_ns, Ordering::Relaxed), self.longest_ns());
        let since_end = began_ns.saturating_sub(self.ended_ns.load(Ordering::Relaxed));
        let gap_ns = began_ns.saturating_sub(before);
        (before > 0 && gap_ns > 2 * period && since_end > period).then_some(gap_ns)
    }
}

/// With one writer a load and a store do.
fn add_one(count: &AtomicU64) {
    count.store(count.load(Ordering::Relaxed) + 1, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_that_takes_longer_than_its_frames_last_is_late() {
        let pulse = Pulse::default();
        for (took, lasts) in [(999, 1000), (1000, 1000), (1001, 1000), (5000, 500)] {
            pulse.beat_at(10_000, 10_000 + took, lasts, 3 * lasts);
        }
        assert_eq!((pulse.callbacks(), pulse.long(), pulse.gaps(), pulse.longest_ns()), (4, 2, 0, 3000));
    }

    #[test]
    fn a_callback_that_begins_more_than_two_periods_after_the_one_before_is_late() {
        let gaps = |begins: &[u64]| {
            let pulse = Pulse::default();
            begins.iter().for_each(|began| pulse.beat_at(*began, began + 100, 1000, 1000));
            (pulse.gaps(), pulse.gap_ns(), pulse.long())
        };
        assert_eq!(
            gaps(&[50_000, 51_000, 52_900, 54_900]),
            (0, 0, 0),
            "the first one, and others within two periods"
        );
        assert_eq!(gaps(&[50_000, 52_001, 53_001, 60_000]), (2, 6_999, 0));
    }

    #[test]
    fn what_a_device_brings_in_crumbs_is_late_only_when_all_of_it_must_have_run_out() {
        for (told, long, gaps) in [(0, 2, 2), (20_000, 0, 1)] {
            let pulse = Pulse::default();
            pulse.is_told(Duration::from_nanos(told));
            for (began, took) in
                [(1_000, 500), (2_000, 1_500), (4_000, 500), (9_000, 1_500), (48_000, 500), (90_001, 500)]
            {
                pulse.beat_at(began, began + took, 1000, 1000);
            }
            assert_eq!((pulse.long(), pulse.gaps()), (long, gaps), "{told}");
        }
    }

    #[test]
    fn a_callback_that_begins_late_and_takes_too_long_is_one_that_takes_too_long() {
        let pulse = Pulse::default();
        for (began, ended) in [(1_000, 1_100), (9_000, 10_001)] {
            pulse.beat_at(began, ended, 1000, 1000);
        }
        assert_eq!((pulse.long(), pulse.gaps()), (1, 0));
    }

    #[test]
    fn a_callback_under_way_is_overdue_once_it_has_taken_longer_than_a_period_and_until_it_ends() {
        let pulse = Pulse::default();
        pulse.begin(500);
        assert!(!pulse.is_overdue(9_999), "nobody knows yet how long a period is");
        pulse.beat_at(500, 600, 1000, 1000);
        assert!(!pulse.is_overdue(9_999), "none is under way");
        pulse.begin(10_000);
        assert_eq!([11_000, 11_001].map(|now_ns| pulse.is_overdue(now_ns)), [false, true]);
        pulse.beat_at(10_000, 11_500, 1000, 1000);
        assert!(!pulse.is_overdue(99_999));
    }

    #[test]
    fn the_parts_of_a_long_buffer_are_not_late_and_it_lasts_as_long_as_all_of_them() {
        let pulse = Pulse::default();
        for start in [10_000, 13_000, 18_900] {
            (1..=3)
                .for_each(|part| pulse.beat_at(start + 10 * part, start + 10 * part + 5, 1000, 1000 * part));
        }
        assert_eq!(pulse.gaps(), 0);
        pulse.beat_at(18_910 + 6_001, 24_920, 1000, 1000);
        assert_eq!((pulse.gaps(), pulse.long()), (1, 0));
    }

    #[test]
    fn what_comes_after_a_callback_that_took_too_long_is_not_late_as_well() {
        let pulse = Pulse::default();
        for (began, ended) in [(1_000, 1_100), (2_000, 7_500), (7_500, 7_600), (8_000, 8_100)] {
            pulse.beat_at(began, ended, 1000, 1000);
        }
        assert_eq!((pulse.long(), pulse.gaps()), (1, 0));
    }
}
