//! Whether a device keeps time: one that doesn't would keep a processor busy before everything else.
//!
//! For the callbacks. ALSA's `null` calls back as fast as it can, and broken drivers do. With a real-time priority such a
//! thread leaves other programs a twentieth of its core; it has to do without one.

/// A device this far ahead of the clock does not keep time. Sound servers ask for two seconds at once at the start.
const AHEAD_MAX_NS: u64 = 5_000_000_000;
/// After so long it is counted anew, so that a clock which is a little fast does not add up over the hours.
const WINDOW_NS: u64 = 60_000_000_000;

/// How much a device has asked for, against the time that passed.
#[derive(Debug, Default)]
pub(super) struct Pace {
    began_ns: Option<u64>,
    asked_ns: u64,
    is_lost: bool,
}

impl Pace {
    /// A callback for frames that last so long, at this time; true once, when it is clear that it does not keep time.
    ///
    /// # Real-time
    /// Yes.
    pub(super) fn runs_away(&mut self, now_ns: u64, length_ns: u64) -> bool {
        let passed_ns = now_ns.saturating_sub(*self.began_ns.get_or_insert(now_ns));
        if passed_ns > WINDOW_NS {
            (self.began_ns, self.asked_ns) = (Some(now_ns), 0);
        }
        self.asked_ns += length_ns;
        let is_ahead = self.asked_ns > passed_ns + AHEAD_MAX_NS;
        is_ahead && !std::mem::replace(&mut self.is_lost, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK_NS: u64 = 10_000_000;

    #[test]
    fn a_device_that_calls_back_at_once_runs_away_and_is_told_once() {
        let mut pace = Pace::default();
        let told = (0..10_000).filter(|n| pace.runs_away(1_000 * n, BLOCK_NS)).count();
        assert_eq!(told, 1);
    }

    #[test]
    fn a_device_that_fills_its_buffer_first_and_then_keeps_time_does_not() {
        let mut pace = Pace::default();
        assert!((0..200).all(|_| !pace.runs_away(0, BLOCK_NS)));
        assert!((0..100_000).all(|n| !pace.runs_away(n * BLOCK_NS * 99 / 100, BLOCK_NS)));
    }
}
