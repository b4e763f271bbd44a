//! Tells a worker that hangs from one that is slow, idle, or watched by a host that was itself asleep.
//!
//! For the thread that watches workers: it looks every [`TICK_NS`] or so, with what the audio thread has counted.
//! Decides only; asking for stacks and killing are for others. A stopped worker looks the same as one that hangs.

use shared::format::Format;
use std::time::Duration;

/// The usual time between two looks. A shorter one finds a hang sooner.
pub(crate) const TICK_NS: u64 = 50_000_000;
/// After a longer time without a look the host itself was asleep, and only one tick of it counts.
const GAP_NS: u64 = 4 * TICK_NS;
const LIMIT_NS: u64 = 250_000_000;
const LIMIT_BLOCKS: u64 = 20;
/// Nobody hangs who is one block late.
const LIMIT_BLOCKS_MIN: u64 = 2;
/// For so long at least a worker that is at its state may go without an answer: it saves between two blocks.
const SAVE_NS: u64 = 1_000_000_000;

/// A worker that hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hung {
    /// Without an answer for so long, not counting time in which it was not asked or not watched.
    pub(crate) for_ns: u64,
    /// Blocks that it owes since its last answer was seen.
    pub(crate) blocks: u64,
}

/// How long, in nanoseconds and in blocks, a worker may go without an answer: by default the longer one of 250 ms
/// and 20 blocks, or else what the user says, but no less than two blocks.
pub(crate) fn limits(hang_after: Option<Duration>, format: Format) -> (u64, u64) {
    let block_ns = format.block_ns().max(1);
    match hang_after {
        None => (LIMIT_NS.max(LIMIT_BLOCKS * block_ns), LIMIT_BLOCKS),
        Some(after) => {
            let after_ns = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
            (after_ns.max(LIMIT_BLOCKS_MIN * block_ns), (after_ns / block_ns).max(LIMIT_BLOCKS_MIN))
        }
    }
}

/// Watches one incarnation of a worker.
#[derive(Debug, Clone)]
pub(crate) struct HangWatch {
    limit_ns: u64,
    limit_blocks: u64,
    last: Option<Look>,
    /// What had been asked when the last answer was seen.
    asked_then: u64,
    /// Time without an answer that counts.
    silent_ns: u64,
    /// Time since it was last asked, which counts when it is asked again.
    unasked_ns: u64,
    is_saving: bool,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    now_ns: u64,
    asked: u64,
    answered: u64,
}

impl HangWatch {
    /// A watch with the [`limits`] given.
    pub(crate) fn new(limit_ns: u64, limit_blocks: u64) -> Self {
        let (asked_then, silent_ns, unasked_ns) = (0, 0, 0);
        Self { limit_ns, limit_blocks, last: None, asked_then, silent_ns, unasked_ns, is_saving: false }
    }

    /// Looks at the audio thread's counts; says whether the worker hangs.
    ///
    /// `asked` counts every block it should have processed, also those not handed over because all slots were
    /// taken (there may be fewer slots than blocks in the limit). `answered` counts every answer seen, in time or
    /// not, good or failed. Both run freely and may wrap.
    pub(crate) fn look(&mut self, now_ns: u64, asked: u64, answered: u64) -> Option<Hung> {
        let look = Look { now_ns, asked, answered };
        let last = self.last.replace(look);
        match last {
            Some(last) if last.answered == answered => self.wait(last, look),
            _ => self.forget(asked),
        }
        let blocks = asked.wrapping_sub(self.asked_then);
        let is_hung = blocks >= self.limit_blocks && self.silent_ns >= self.patience_ns();
        is_hung.then_some(Hung { for_ns: self.silent_ns, blocks })
    }

    /// How long it takes at least until the worker can be called hung: when to look again, if that is sooner than
    /// a tick.
    pub(crate) fn left_ns(&self) -> u64 {
        self.patience_ns().saturating_sub(self.silent_ns.saturating_add(self.unasked_ns))
    }

    /// The worker begins to save or restore its state, or is done with that: then it goes on with what it owes, which does
    /// not count until now. That it was asked to is not enough: it may hang in the block before.
    pub(crate) fn save(&mut self, begins: bool) {
        if self.is_saving && !begins {
            self.last = None;
        }
        self.is_saving = begins;
    }

    fn patience_ns(&self) -> u64 {
        if self.is_saving { self.limit_ns.max(SAVE_NS) } else { self.limit_ns }
    }

    fn forget(&mut self, asked: u64) {
        self.asked_then = asked;
        self.silent_ns = 0;
        self.unasked_ns = 0;
    }

    fn wait(&mut self, last: Look, look: Look) {
        if last.asked == self.asked_then {
            // It owed nothing at the last look: time runs from this one on.
            return;
        }
        let gap_ns = look.now_ns.saturating_sub(last.now_ns);
        self.unasked_ns = self.unasked_ns.saturating_add(if gap_ns > GAP_NS { TICK_NS } else { gap_ns });
        let more = look.asked.wrapping_sub(last.asked);
        if more > 0 {
            self.silent_ns = self.silent_ns.saturating_add(self.unasked_ns.min(self.fair_ns(more)));
            self.unasked_ns = 0;
        }
    }

    /// The longest time that so many blocks more can stand for: a paused stream, in which nobody takes answers,
    /// is not time that the worker had.
    fn fair_ns(&self, blocks: u64) -> u64 {
        (self.limit_ns / self.limit_blocks.max(1)).saturating_mul(blocks).max(TICK_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const HOUR: u64 = 3_600_000 * MS;
    const TICK: u64 = 10 * MS;

    /// A worker that is asked for 4 blocks in each tick of 10 ms, under limits of 250 ms and 20 blocks.
    struct Scene {
        watch: HangWatch,
        now: u64,
        asked: u64,
        answered: u64,
    }

    impl Scene {
        fn new() -> Self {
            Self::from(0)
        }

        fn from(count: u64) -> Self {
            let mut scene =
                Self { watch: HangWatch::new(250 * MS, 20), now: 5, asked: count, answered: count };
            scene.pass(TICK, 4, 4);
            scene
        }

        fn pass(&mut self, ns: u64, asked: u64, answered: u64) -> Option<Hung> {
            self.now += ns;
            self.asked = self.asked.wrapping_add(asked);
            self.answered = self.answered.wrapping_add(answered);
            self.watch.look(self.now, self.asked, self.answered)
        }

        /// Ticks without an answer until it is called hung.
        fn hang(&mut self, at_most: u64) -> Option<(u64, Hung)> {
            (1..=at_most).find_map(|n| self.pass(TICK, 4, 0).map(|hung| (n, hung)))
        }
    }

    #[test]
    fn a_worker_that_owes_answers_for_the_limit_hangs() {
        // Time runs from the first look at which it owes something.
        let hung = Hung { for_ns: 250 * MS, blocks: 26 * 4 };
        assert_eq!(Scene::new().hang(100), Some((26, hung)));
    }

    #[test]
    fn the_wrap_of_a_count_is_nothing_special() {
        let hung = Hung { for_ns: 250 * MS, blocks: 26 * 4 };
        assert_eq!(Scene::from(u64::MAX - 50).hang(100), Some((26, hung)));
        let mut scene = Scene::from(u64::MAX - 50);
        assert!((0..100).all(|_| scene.pass(TICK, 4, 4).is_none()));
    }

    #[test]
    fn a_slow_worker_that_answers_now_and_then_does_not_hang() {
        let mut scene = Scene::new();
        for _ in 0..1000 {
            assert_eq!(scene.hang(24), None);
            assert_eq!(scene.pass(TICK, 4, 1), None);
        }
    }

    #[test]
    fn a_worker_that_nobody_asks_does_not_hang() {
        let mut scene = Scene::new();
        assert!((0..1000).all(|_| scene.pass(TICK, 0, 0).is_none()));
        // Not even if an answer is outstanding: nobody may have looked for it.
        scene.pass(TICK, 19, 0);
        assert!((0..1000).all(|_| scene.pass(TICK, 0, 0).is_none()));
        assert_eq!(scene.pass(TICK, 4, 0), None, "a stream that goes on after a pause");
        assert!(scene.hang(30).is_some(), "but it has to answer then");
    }

    #[test]
    fn few_blocks_in_a_long_time_are_no_hang() {
        let mut scene = Scene::new();
        assert!((0..19).all(|_| scene.pass(200 * MS, 1, 0).is_none()));
        assert!(scene.pass(200 * MS, 1, 0).is_some());
    }

    #[test]
    fn many_blocks_in_a_short_time_are_no_hang() {
        let mut scene = Scene::new();
        assert!((0..25).all(|_| scene.pass(TICK, 1000, 0).is_none()));
    }

    #[test]
    fn a_host_that_was_frozen_does_not_blame_the_worker() {
        let mut scene = Scene::new();
        for _ in 0..3 {
            assert_eq!(scene.pass(TICK, 4, 0), None);
            assert_eq!(scene.pass(HOUR, 100, 0), None);
        }
        assert_eq!(scene.pass(TICK, 4, 4), None);
        assert_eq!(scene.hang(25), None, "and an answer starts it all over");
    }

    #[test]
    fn a_worker_that_hangs_is_found_even_if_the_host_was_frozen_meanwhile() {
        let mut scene = Scene::new();
        scene.pass(TICK, 4, 0);
        scene.pass(HOUR, 4, 0);
        let (ticks, hung) = scene.hang(100).expect("it hangs");
        assert_eq!((ticks, hung.for_ns), (20, 250 * MS));
    }

    #[test]
    fn blocks_longer_than_a_tick_count_whole() {
        let format = Format::new(2, 8192, 8000).unwrap();
        let block_ns = format.block_ns();
        let (limit_ns, limit_blocks) = limits(None, format);
        let mut watch = HangWatch::new(limit_ns, limit_blocks);
        let found = (1..10_000u64).find_map(|n| {
            let now = n * TICK_NS;
            watch.look(now, now / block_ns, 0).map(|hung| (now, hung))
        });
        let (now, hung) = found.expect("it hangs");
        assert!((limit_ns..=limit_ns + 2 * block_ns + TICK_NS).contains(&now), "{now}");
        assert!(hung.for_ns >= limit_ns);
    }

    #[test]
    fn the_time_left_is_never_longer_than_it_takes() {
        let mut scene = Scene::new();
        assert_eq!(scene.watch.left_ns(), 250 * MS);
        for n in 0..25 {
            scene.pass(TICK, 4, 0);
            assert_eq!(scene.watch.left_ns(), 250 * MS - n * TICK);
        }
        assert!(scene.pass(scene.watch.left_ns(), 4, 0).is_some());
    }

    #[test]
    fn one_that_saves_its_state_has_a_second_or_its_own_limit_if_that_is_longer_and_then_begins_anew() {
        let mut scene = Scene::new();
        scene.watch.save(true);
        assert_eq!(scene.watch.left_ns(), SAVE_NS);
        assert_eq!(scene.hang(100), None, "not yet");
        scene.watch.save(false);
        assert_eq!(scene.hang(100).map(|(ticks, _)| ticks), Some(27), "what it owed before does not count");
        let mut scene = Scene::new();
        scene.watch.save(true);
        assert_eq!(scene.hang(200).map(|(ticks, _)| ticks), Some(101));
        let mut watch = HangWatch::new(2 * SAVE_NS, 20);
        watch.save(true);
        assert_eq!(watch.left_ns(), 2 * SAVE_NS);
    }

    #[test]
    fn the_limits_are_the_longer_of_both_or_what_the_user_says() {
        let small = Format::new(2, 128, 48_000).unwrap();
        let large = Format::new(2, 4800, 48_000).unwrap();
        assert_eq!(limits(None, small), (250 * MS, 20));
        assert_eq!(limits(None, large), (2000 * MS, 20));
        assert_eq!(limits(Some(Duration::from_secs(1)), large), (1000 * MS, 10));
        assert_eq!(limits(Some(Duration::from_millis(50)), small), (50 * MS, 18));
        assert_eq!(limits(Some(Duration::ZERO), large), (200 * MS, 2), "never less than two blocks");
        assert_eq!(limits(Some(Duration::MAX), large).0, u64::MAX);
    }
}
