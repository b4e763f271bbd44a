//! What was heard of one pipeline since somebody began to count, and what must never be heard of it at any time.
//!
//! For the pipelines under test. Pure: it gets what each block was and when it came.

use super::heard::Sound;
use super::probe::Passage;
use super::table::deadline_ms;

/// How long it was not good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ToGood {
    pub(super) ns: u64,
    pub(super) blocks: u64,
}

/// What was heard since somebody began to count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) blocks: u64,
    /// Blocks that were not what the plugin makes.
    pub(super) replaced: u64,
    pub(super) held_max_ns: u64,
    pub(super) computed_max_ns: u64,
    pub(super) overslept_max_ns: u64,
    pub(super) good_in_a_row: u64,
    /// When the first bad block began, how many there were in a row, and when a good one came.
    pub(super) bad_from_ns: Option<u64>,
    pub(super) bad_in_a_row: u64,
    pub(super) good_at_ns: Option<u64>,
}

/// What pipelines played from their first block to their last, also before a fault, between two, and while a standby
/// gets ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Played {
    pub(super) wrong: u64,
    /// Samples that tell what a plugin was given that fails closed.
    pub(super) plain: u64,
    pub(super) held_max_ns: u64,
    /// Blocks in which the audio thread was held for longer than it may be.
    pub(super) held_too_long: u64,
}

impl Played {
    /// A block, in which so many samples tell what went in: a secret where the plugin `is_closed`.
    pub(super) fn count(&mut self, sound: Sound, plain: u64, is_closed: bool, held_ns: u64) {
        let plain = if is_closed { plain } else { 0 };
        let held_too_long = u64::from(held_ns as f64 > deadline_ms() * 1e6);
        let block =
            Self { wrong: u64::from(sound == Sound::Wrong), plain, held_max_ns: held_ns, held_too_long };
        *self = self.and(block);
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self {
            wrong: self.wrong + other.wrong,
            plain: self.plain + other.plain,
            held_max_ns: self.held_max_ns.max(other.held_max_ns),
            held_too_long: self.held_too_long + other.held_too_long,
        }
    }
}

impl Tally {
    pub(super) fn count(&mut self, sound: Sound, passage: Passage) {
        let Passage { entered_ns, at_ns, held_ns, computed_ns, overslept_ns } = passage;
        self.blocks += 1;
        self.held_max_ns = self.held_max_ns.max(held_ns);
        self.computed_max_ns = self.computed_max_ns.max(computed_ns);
        self.overslept_max_ns = self.overslept_max_ns.max(overslept_ns);
        if sound == Sound::Good {
            self.good_in_a_row += 1;
            if self.bad_from_ns.is_some() {
                self.good_at_ns = self.good_at_ns.or(Some(at_ns));
            }
            return;
        }
        self.replaced += 1;
        self.good_in_a_row = 0;
        self.bad_from_ns = self.bad_from_ns.or(Some(entered_ns));
        self.bad_in_a_row += u64::from(self.good_at_ns.is_none());
    }

    /// The fault happens now: what was not good before does not count as its doing.
    pub(super) fn forget_times(&mut self) {
        (self.bad_from_ns, self.bad_in_a_row, self.good_at_ns) = (None, 0, None);
    }

    /// From the fault, or from the first bad block if it is not known when it happened, to the first good one.
    pub(super) fn recovery(&self, fault_ns: Option<u64>) -> Option<ToGood> {
        match (self.bad_from_ns, self.good_at_ns) {
            (Some(bad_ns), Some(good_ns)) => {
                let ns = good_ns.saturating_sub(fault_ns.unwrap_or(bad_ns));
                Some(ToGood { ns, blocks: self.bad_in_a_row })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(sounds: &[Sound]) -> Tally {
        let mut tally = Tally::default();
        for (n, sound) in sounds.iter().enumerate() {
            let at_ns = 1000 * (n as u64 + 1);
            let entered_ns = at_ns - 100;
            let passage = Passage { entered_ns, at_ns, held_ns: 100, computed_ns: 30, overslept_ns: 0 };
            tally.count(*sound, passage);
        }
        tally
    }

    #[test]
    fn the_first_good_block_after_the_first_bad_one_ends_the_time() {
        use Sound::{Dry, Good, Silence, Wrong};
        let tally = heard(&[Good, Good, Dry, Silence, Good, Wrong, Good, Good]);
        assert_eq!((tally.blocks, tally.replaced, tally.good_in_a_row), (8, 3, 2));
        assert_eq!(tally.recovery(None), Some(ToGood { ns: 5000 - 2900, blocks: 2 }));
        assert_eq!(tally.recovery(Some(2000)), Some(ToGood { ns: 3000, blocks: 2 }));
    }

    #[test]
    fn what_is_wrong_or_plain_is_counted_whenever_it_was_played() {
        let mut played = Played::default();
        played.count(Sound::Wrong, 3, true, 20);
        played.count(Sound::Good, 0, true, 50);
        let mut another = Played::default();
        another.count(Sound::Dry, 4, true, 10);
        another.count(Sound::Dry, 100, false, 10);
        another.count(Sound::Wrong, 0, true, 60);
        let both = played.and(another);
        assert_eq!(both, Played { wrong: 2, plain: 7, held_max_ns: 60, held_too_long: 0 });
    }

    #[test]
    fn blocks_in_which_the_audio_thread_was_held_beyond_the_deadline_are_counted() {
        let mut played = Played::default();
        for held_ns in [1_333_000, 1_334_000, 2_000_000] {
            played.count(Sound::Good, 0, false, held_ns);
        }
        assert_eq!((played.and(played).held_too_long, played.held_max_ns), (4, 2_000_000));
    }

    #[test]
    fn without_a_bad_block_there_is_no_time_to_a_good_one() {
        assert_eq!(heard(&[Sound::Good; 3]).recovery(Some(1)), None);
        assert_eq!(heard(&[Sound::Good, Sound::Dry]).recovery(None), None);
    }
}
