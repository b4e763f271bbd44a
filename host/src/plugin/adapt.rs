//! When a same-block plugin moves to pipelined by itself, and when it moves back.
//!
//! For the audio half of a plugin, which asks once a block and does the moving. Decides only; integers only.
//!
//! It moves to pipelined when [`MISSES`] of its last [`WINDOW`] blocks came, but came late. It moves back when each
//! round trip of a whole stretch took less than half of the time that same-block gives it: [`STRETCH_BLOCKS`], but
//! at least 4 s. A return that does not hold for [`HOLD_NS`] was a mistake: each such mistake doubles the stretch,
//! up to 16 times, and the fourth makes it as long as [`HOLD_NS`] at least. A return that holds is the end of all
//! that. So a plugin that is fast in one mode and slow in the other moves four times each way within some minutes,
//! and once in more than ten minutes from then on; that is what keeps it from flapping.

/// So many late blocks...
const MISSES: u32 = 5;
/// ...of so many are too many.
const WINDOW: u32 = 100;
/// So many fast blocks in a row, and at least [`STRETCH_NS`] of them, are a reason to return.
const STRETCH_BLOCKS: u64 = 3000;
const STRETCH_NS: u64 = 4_000_000_000;
/// How long a return has to hold.
const HOLD_NS: u64 = 600_000_000_000;
/// Returns that did not hold after which the next one takes as long as [`HOLD_NS`].
const MISTAKES_MAX: u32 = 4;

/// Where to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Switch {
    ToPipelined,
    ToSameBlock,
}

/// How often it has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Switches {
    pub(crate) to_pipelined: u64,
    pub(crate) to_same_block: u64,
}

/// Decides for one plugin whose own mode is same-block.
#[derive(Debug, Clone)]
pub(crate) struct Adapt {
    is_enabled: bool,
    is_pipelined: bool,
    /// One bit for each of the last blocks, the newest lowest: whether it was late.
    late: u128,
    /// In pipelined: fast blocks in a row.
    fast: u64,
    /// In same-block: blocks since the last return, if there was one.
    held: Option<u64>,
    /// Returns that did not hold.
    mistakes: u32,
    stretch_blocks: u64,
    hold_blocks: u64,
    switches: Switches,
}

impl Adapt {
    /// For blocks of this duration; one that is not enabled never moves.
    pub(crate) fn new(block_ns: u64, is_enabled: bool) -> Self {
        let blocks = |ns: u64| ns.div_ceil(block_ns.max(1));
        Self {
            is_enabled,
            is_pipelined: false,
            late: 0,
            fast: 0,
            held: None,
            mistakes: 0,
            stretch_blocks: blocks(STRETCH_NS).max(STRETCH_BLOCKS),
            hold_blocks: blocks(HOLD_NS),
            switches: Switches::default(),
        }
    }

    /// Takes note of a block; says where to move if it is time to.
    ///
    /// `missed_slow` is a block that came late, but came; one that was lost because the worker hangs, is dead or
    /// failed is none, as another mode would not help. `round_trip_ns` is from handing it over until its answer was
    /// *there*: not until it was taken, which in pipelined mode would be a block at least. It is `None` if there
    /// was no answer. `deadline_budget_ns` is how long same-block waits (or would wait) for it.
    ///
    /// # Real-time
    /// May be called on the audio thread: does not allocate and takes a constant time.
    pub(crate) fn note(
        &mut self,
        missed_slow: bool,
        round_trip_ns: Option<u64>,
        deadline_budget_ns: u64,
    ) -> Option<Switch> {
        if !self.is_enabled {
            return None;
        }
        if self.is_pipelined {
            self.look_back(missed_slow, round_trip_ns, deadline_budget_ns)
        } else {
            self.look_out(missed_slow)
        }
    }

    /// Another worker has taken over: how fast the one before was says nothing of it. How returns have held does.
    pub(crate) fn succeed(&mut self) {
        self.late = 0;
        self.fast = 0;
    }

    /// Whether it is pipelined now.
    #[cfg(test)]
    pub(crate) fn is_pipelined(&self) -> bool {
        self.is_pipelined
    }

    /// How often it has moved.
    #[cfg(test)]
    pub(crate) fn switches(&self) -> Switches {
        self.switches
    }

    fn look_out(&mut self, missed_slow: bool) -> Option<Switch> {
        self.late = (self.late << 1 | u128::from(missed_slow)) & ((1 << WINDOW) - 1);
        if let Some(held) = &mut self.held {
            *held += 1;
            if *held >= self.hold_blocks {
                self.held = None;
                self.mistakes = 0;
            }
        }
        if self.late.count_ones() < MISSES {
            return None;
        }
        if self.held.take().is_some() {
            self.mistakes = (self.mistakes + 1).min(MISTAKES_MAX);
        }
        self.is_pipelined = true;
        self.fast = 0;
        self.switches.to_pipelined += 1;
        Some(Switch::ToPipelined)
    }

    fn look_back(&mut self, missed_slow: bool, round_trip_ns: Option<u64>, budget_ns: u64) -> Option<Switch> {
        match round_trip_ns {
            _ if missed_slow => self.fast = 0,
            Some(ns) if ns >= budget_ns / 2 => self.fast = 0,
            Some(_) => self.fast += 1,
            // Says nothing about how fast it is.
            None => {}
        }
        if self.fast < self.needed() {
            return None;
        }
        self.is_pipelined = false;
        self.late = 0;
        self.held = Some(0);
        self.switches.to_same_block += 1;
        Some(Switch::ToSameBlock)
    }

    /// Fast blocks in a row that the next return takes.
    fn needed(&self) -> u64 {
        let needed = self.stretch_blocks << self.mistakes;
        if self.mistakes < MISTAKES_MAX { needed } else { needed.max(self.hold_blocks) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 128 frames at 48 kHz: 3000 blocks are 8 s, ten minutes 225,000.
    const BLOCK_NS: u64 = 2_666_666;
    const BUDGET_NS: u64 = BLOCK_NS / 2;
    const FAST: Option<u64> = Some(BUDGET_NS / 2 - 1);
    const SECOND: u64 = 375;
    const MINUTE: u64 = 60 * SECOND;
    const HOUR: u64 = 60 * MINUTE;

    fn adapt() -> Adapt {
        Adapt::new(BLOCK_NS, true)
    }

    fn fast(adapt: &mut Adapt) -> Option<Switch> {
        adapt.note(false, FAST, BUDGET_NS)
    }

    fn slow(adapt: &mut Adapt) -> Option<Switch> {
        adapt.note(true, Some(BLOCK_NS), BUDGET_NS)
    }

    /// Slow until it moves to pipelined.
    fn leave(adapt: &mut Adapt) {
        let moved = (0..100).find_map(|_| slow(adapt));
        assert_eq!(moved, Some(Switch::ToPipelined));
    }

    /// Fast until it moves back; gives how many blocks that took.
    fn come_back(adapt: &mut Adapt) -> u64 {
        (1..HOUR).find(|_| fast(adapt) == Some(Switch::ToSameBlock)).expect("it comes back")
    }

    #[test]
    fn the_fifth_late_block_of_a_hundred_moves_it_to_pipelined() {
        let mut adapt = adapt();
        assert!((0..4).all(|_| slow(&mut adapt).is_none()));
        assert!((0..95).all(|_| fast(&mut adapt).is_none()));
        assert_eq!(slow(&mut adapt), Some(Switch::ToPipelined));
        assert!(adapt.is_pipelined());
    }

    #[test]
    fn five_late_blocks_of_more_than_a_hundred_do_not() {
        let mut adapt = adapt();
        assert!((0..4).all(|_| slow(&mut adapt).is_none()));
        assert!((0..96).all(|_| fast(&mut adapt).is_none()));
        assert_eq!(slow(&mut adapt), None, "the first one has passed");
    }

    #[test]
    fn one_that_is_late_now_and_then_never_moves() {
        let mut adapt = adapt();
        for block in 0..HOUR {
            let moved = if block % 200 == 0 { slow(&mut adapt) } else { fast(&mut adapt) };
            assert_eq!(moved, None);
        }
    }

    #[test]
    fn it_comes_back_after_3000_fast_blocks_and_4_s_whichever_is_longer() {
        for (block_ns, blocks) in [(BLOCK_NS, 3000), (1_000_000, 4000), (100_000_000, 3000)] {
            let mut adapt = Adapt::new(block_ns, true);
            leave(&mut adapt);
            assert_eq!(come_back(&mut adapt), blocks);
            assert!(!adapt.is_pipelined());
        }
    }

    #[test]
    fn a_block_that_took_half_of_the_budget_or_was_late_starts_the_stretch_again() {
        for spoil in [(false, Some(BUDGET_NS / 2)), (true, FAST), (true, None)] {
            let mut adapt = adapt();
            leave(&mut adapt);
            assert!((0..2999).all(|_| fast(&mut adapt).is_none()));
            assert_eq!(adapt.note(spoil.0, spoil.1, BUDGET_NS), None);
            assert_eq!(come_back(&mut adapt), 3000, "after {spoil:?}");
        }
    }

    #[test]
    fn a_block_without_an_answer_is_neither_fast_nor_slow() {
        let mut adapt = adapt();
        leave(&mut adapt);
        assert!((0..2999).all(|_| fast(&mut adapt).is_none()));
        assert!((0..10_000).all(|_| adapt.note(false, None, BUDGET_NS).is_none()));
        assert_eq!(come_back(&mut adapt), 1);
    }

    #[test]
    fn each_return_that_does_not_hold_makes_the_next_one_harder() {
        let mut adapt = adapt();
        let stretches = [0; 7].map(|_| {
            leave(&mut adapt);
            come_back(&mut adapt)
        });
        assert_eq!(stretches, [3000, 6000, 12_000, 24_000, 225_001, 225_001, 225_001]);
        assert_eq!(adapt.switches(), Switches { to_pipelined: 7, to_same_block: 7 });
    }

    #[test]
    fn a_return_that_holds_for_ten_minutes_forgives() {
        let after = |held: u64| {
            let mut adapt = adapt();
            for _ in 0..3 {
                leave(&mut adapt);
                come_back(&mut adapt);
            }
            assert!((0..held).all(|_| fast(&mut adapt).is_none()));
            leave(&mut adapt);
            come_back(&mut adapt)
        };
        assert_eq!(after(10 * MINUTE + 1), 3000);
        assert_eq!(after(10 * MINUTE - 10), 24_000);
    }

    #[test]
    fn what_one_worker_was_late_or_fast_does_not_move_the_next() {
        let mut adapt = adapt();
        assert!((0..4).all(|_| slow(&mut adapt).is_none()));
        adapt.succeed();
        assert!((0..4).all(|_| slow(&mut adapt).is_none()));
        leave(&mut adapt);
        assert!((0..2999).all(|_| fast(&mut adapt).is_none()));
        adapt.succeed();
        assert_eq!(come_back(&mut adapt), 3000);
    }

    #[test]
    fn one_that_is_not_enabled_never_moves() {
        let mut adapt = Adapt::new(BLOCK_NS, false);
        assert!((0..MINUTE).all(|_| slow(&mut adapt).is_none()));
    }

    #[test]
    fn one_that_is_slow_in_one_mode_and_fast_in_the_other_does_not_flap() {
        let mut adapt = adapt();
        for _ in 0..2 * HOUR {
            if adapt.is_pipelined() {
                fast(&mut adapt)
            } else {
                slow(&mut adapt)
            };
        }
        let returns = adapt.switches().to_same_block;
        assert!((4..=4 + 2 * 6).contains(&returns), "{returns} returns in two hours");
    }

    #[test]
    fn one_that_is_slow_every_other_time_does_not_flap_whatever_the_period() {
        for seconds in [1, 5, 10, 30, 61, 90, 300, 599, 601, 1200] {
            let mut adapt = adapt();
            for block in 0..2 * HOUR {
                if (block / (seconds * SECOND)).is_multiple_of(2) {
                    slow(&mut adapt)
                } else {
                    fast(&mut adapt)
                };
            }
            let returns = adapt.switches().to_same_block;
            assert!(returns <= 4 + 2 * 6, "{returns} returns in two hours, {seconds} s each way");
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_it_moves_there_and_back_in_turn(
            block_ns in 0..u64::MAX,
            notes in proptest::collection::vec((any::<bool>(), any::<Option<u64>>(), any::<u64>()), 0..500),
        ) {
            let mut adapt = Adapt::new(block_ns, true);
            for (missed, round_trip_ns, budget_ns) in notes {
                let was_pipelined = adapt.is_pipelined();
                let moved = adapt.note(missed, round_trip_ns, budget_ns);
                let expected = [Switch::ToPipelined, Switch::ToSameBlock][usize::from(was_pipelined)];
                prop_assert!(moved.is_none_or(|to| to == expected));
                prop_assert_eq!(adapt.is_pipelined() != was_pipelined, moved.is_some());
            }
        }
    }
}
