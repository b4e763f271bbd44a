//! Waits of the audio thread that a worker spoilt, by waking it for nothing or by keeping wakes from it, and whether they
//! come too fast.
//!
//! For the recovery thread, which sees them counted. One now and then may be anybody's; some within a second are no
//! accident.

use std::collections::VecDeque;

/// So many spoilt waits...
const FLOODS: usize = 3;
/// ...within so long are a flood.
const WITHIN_NS: u64 = 1_000_000_000;

/// The spoilt waits of one worker.
#[derive(Debug)]
pub(super) struct Floods {
    /// How many had been counted.
    counted: u64,
    /// When the last ones were seen.
    at_ns: VecDeque<u64>,
}

impl Floods {
    /// Of a worker that takes over when so many have been counted.
    pub(super) fn from(counted: u64) -> Self {
        Self { counted, at_ns: VecDeque::with_capacity(FLOODS) }
    }

    /// So many have been counted by now; whether there were too many lately.
    pub(super) fn look(&mut self, counted: u64, now_ns: u64) -> bool {
        let new = counted.saturating_sub(self.counted).min(FLOODS as u64);
        self.counted = counted;
        self.at_ns.retain(|at_ns| now_ns.saturating_sub(*at_ns) < WITHIN_NS);
        (0..new).for_each(|_| self.at_ns.push_back(now_ns));
        self.are_too_many()
    }

    /// Whether there were too many when it was looked last.
    pub(super) fn are_too_many(&self) -> bool {
        self.at_ns.len() >= FLOODS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn three_within_a_second_are_a_flood_and_three_over_hours_are_none() {
        let mut floods = Floods::from(7);
        assert!((1..=20).all(|hour| !floods.look(7 + hour, 3600 * S * hour)));
        assert!(!floods.look(28, 3600 * S * 20 + S / 2));
        assert!(floods.look(29, 3600 * S * 20 + S - 1));
    }

    #[test]
    fn many_at_once_are_a_flood_and_those_of_another_worker_are_not() {
        assert!(Floods::from(0).look(1000, S));
        assert!(!Floods::from(1000).look(1000, S));
    }
}
