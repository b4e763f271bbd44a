//! The signs of life of one stream: how often it called back, and how often that took longer than there was time.
//!
//! Written on its audio thread, read by the thread that watches. What the device itself says is the stream's own
//! ([`Stream::xruns`](crate::backend::Stream::xruns)).

use crate::clock::now_ns;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one stream, with one writer.
#[derive(Debug, Default)]
pub struct Pulse {
    callbacks: AtomicU64,
    late: AtomicU64,
    longest_ns: AtomicU64,
}

impl Pulse {
    /// Callbacks that have ended.
    #[must_use]
    pub fn callbacks(&self) -> u64 {
        self.callbacks.load(Ordering::Acquire)
    }

    /// Callbacks that took longer than the frames last which they were for.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// How long the frames last that the device has asked for or brought in one go, at most.
    #[must_use]
    pub fn longest_ns(&self) -> u64 {
        self.longest_ns.load(Ordering::Relaxed)
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
        if ends_ns.saturating_sub(began_ns) > length_ns {
            add_one(&self.late);
        }
        if whole_ns > self.longest_ns() {
            self.longest_ns.store(whole_ns, Ordering::Relaxed);
        }
        add_one(&self.callbacks);
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
}
