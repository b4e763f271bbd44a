//! The signs of life of one stream: how often it called back, how often that began late or took too long, and what the
//! device says of its latency.
//!
//! Written on its audio thread, read by the thread that watches. What the device itself says is the stream's own
//! ([`Stream::xruns`](crate::backend::Stream::xruns)).

use super::transit::Transit;
use crate::clock::now_ns;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters of one stream, with one writer.
#[derive(Debug, Default)]
pub struct Pulse {
    callbacks: AtomicU64,
    late: AtomicU64,
    longest_ns: AtomicU64,
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

    /// Callbacks that took longer than the frames last which they were for, or that began more than two periods after
    /// those before. A period is the most that the device has wanted in one go: one that fills a long buffer at the
    /// start is found to be late only when that must have run dry.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// How long the frames last that the device has asked for or brought in one go, at most.
    #[must_use]
    pub fn longest_ns(&self) -> u64 {
        self.longest_ns.load(Ordering::Relaxed)
    }

    /// How long frames are on their way through the device, as it says; `None` if it doesn't, or has just begun.
    #[must_use]
    pub fn transit(&self) -> Option<Duration> {
        self.transit.told()
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
        let began_late = whole_ns == length_ns && self.begins_late(began_ns);
        if began_late || ends_ns.saturating_sub(began_ns) > length_ns {
            add_one(&self.late);
        }
        self.ended_ns.store(ends_ns, Ordering::Relaxed);
        if whole_ns > self.longest_ns() {
            self.longest_ns.store(whole_ns, Ordering::Relaxed);
        }
        add_one(&self.callbacks);
    }

    /// Whether what begins now should have begun before; it is what the next one is compared with. After a callback that
    /// took too long, which is counted by itself, a period is left to catch up.
    fn begins_late(&self, began_ns: u64) -> bool {
        let (before, period) = (self.began_ns.swap(began_ns, Ordering::Relaxed), self.longest_ns());
        let since_end = began_ns.saturating_sub(self.ended_ns.load(Ordering::Relaxed));
        before > 0 && began_ns.saturating_sub(before) > 2 * period && since_end > period
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
        assert_eq!((pulse.callbacks(), pulse.late(), pulse.longest_ns()), (4, 2, 3000));
    }

    #[test]
    fn a_callback_that_begins_more_than_two_periods_after_the_one_before_is_late() {
        let late = |begins: &[u64]| {
            let pulse = Pulse::default();
            begins.iter().for_each(|began| pulse.beat_at(*began, began + 100, 1000, 1000));
            pulse.late()
        };
        assert_eq!(
            late(&[50_000, 51_000, 52_900, 54_900]),
            0,
            "the first one, and others within two periods"
        );
        assert_eq!(late(&[50_000, 52_001, 53_001, 60_000]), 2);
    }

    #[test]
    fn the_parts_of_a_long_buffer_are_not_late_and_it_lasts_as_long_as_all_of_them() {
        let pulse = Pulse::default();
        for start in [10_000, 13_000, 18_900] {
            (1..=3)
                .for_each(|part| pulse.beat_at(start + 10 * part, start + 10 * part + 5, 1000, 1000 * part));
        }
        assert_eq!(pulse.late(), 0);
        pulse.beat_at(18_910 + 6_001, 24_920, 1000, 1000);
        assert_eq!(pulse.late(), 1);
    }

    #[test]
    fn what_comes_after_a_callback_that_took_too_long_is_not_late_as_well() {
        let pulse = Pulse::default();
        for (began, ended) in [(1_000, 1_100), (2_000, 7_500), (7_500, 7_600), (8_000, 8_100)] {
            pulse.beat_at(began, ended, 1000, 1000);
        }
        assert_eq!(pulse.late(), 1);
    }
}
