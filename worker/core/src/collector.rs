//! When Python's collector of cyclic garbage runs: between two blocks, if it fits before the next one.
//!
//! For the loop in `serve`, which does what is decided here. Nothing here knows Python or looks at a clock.
//!
//! A collection takes time for each object that it looks at (70 to 150 ns). So what is there at the start is frozen:
//! no collection looks at it again. What is made afterwards is collected in the slack after a block: the youngest
//! generation as soon as anything was made, which is little then; everything made since the start once that has
//! grown by a quarter, as Python does it, if what it took the last time, and what came since, fits twice before the
//! next block is due. The middle generation is left out: since the start is frozen, the oldest is as small, and
//! what a collection of "generation 1" does differs between versions of Python.
//!
//! **What does not fit** for [`PATIENCE`] blocks in a row is frozen too: that takes no time, and collections fit again.
//! Objects that live on, a cache that grows, are best treated so. What becomes cyclic garbage among them is not
//! reclaimed, which is bounded: when more was frozen so than was there at the start, and at least [`ASIDE_MIN`]
//! objects (some ten MiB), everything is collected once, which costs a block or more, is counted, and comes ever
//! more seldom when the objects are live. The alternatives are worse: never to do it has the worker run into its
//! limit of memory and replaced, a collection that does not fit whenever Python would do one costs a block each time.
//!
//! **Without slack**, when the next block is always there already, as when rendering, garbage would only grow: then
//! each generation is collected when Python would do it, by the number of objects made.

/// Objects made, without those freed, at which Python itself would collect the youngest generation.
const YOUNG_MANY: u64 = 700;
/// Survivors of young collections from which on everything made since the start is looked at: few enough for a tenth
/// of a millisecond.
const OLD_MIN: u64 = 1_000;
/// A collection of everything is due when so many times the survivors are more than what is old.
const OLD_GROWTH: u64 = 4;
/// Objects frozen because they did not fit before everything is collected whatever it takes.
pub const ASIDE_MIN: u64 = 1 << 18;
/// How many blocks in a row something may be due and not fit.
pub const PATIENCE: u32 = 128;
/// What looking at an object takes until it was measured, and what a collection takes at least.
const PER_OBJECT_NS: u64 = 150;
const LEAST_NS: u64 = 10_000;
/// A measured time per object counts from so many objects on.
const MEASURED_MIN: u64 = 64;
/// Without slack, how many blocks pass between two looks at what was made.
const HURRIED_EVERY: u32 = 16;
/// How many bursts long the longest one is remembered.
const BURSTS: u32 = 64;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// Collect the youngest generation.
    Young,
    /// Collect everything that is not frozen.
    Old,
    /// Freeze everything, without looking at it.
    Aside,
    /// Collect everything, also what is frozen, and freeze what is left.
    Everything,
}

/// When a block has been answered.
#[derive(Debug, Clone, Copy)]
struct Moment {
    left_ns: u64,
    made: u64,
}

/// What to do, and how much there is of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// What.
    pub sweep: Sweep,
    made: u64,
}

/// What was done.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    /// Objects that were garbage.
    pub found: u64,
    /// How long it took.
    pub took_ns: u64,
}

/// Decides, from what collections took so far.
#[derive(Debug)]
pub struct Schedule {
    /// Objects that were frozen when they had been looked at, and later because they did not fit.
    frozen: u64,
    aside: u64,
    /// What the last collections took, and for each object. Never more than twice what was expected: once it may have
    /// been the machine, and a collection that really takes longer does so again.
    young_ns: u64,
    old_ns: u64,
    per_object_ns: u64,
    /// Objects that survived young collections since the last old one.
    survivors: u64,
    /// Blocks in a row after which something was due and did not fit; without any time left.
    refused: u32,
    without_slack: u32,
}

impl Schedule {
    /// After a start that froze so many objects.
    #[must_use]
    pub fn new(frozen: u64) -> Self {
        Self {
            frozen,
            aside: 0,
            young_ns: 0,
            old_ns: 0,
            per_object_ns: PER_OBJECT_NS,
            survivors: 0,
            refused: 0,
            without_slack: 0,
        }
    }

    /// What to do after a block, if anything; [`Schedule::done`] must follow. `left_ns` is the time until the next
    /// block is due, 0 if it is there or may be at any time. `made` tells how many objects were made since the last
    /// collection and not freed, of those that can be part of a cycle; it is not asked when that decides nothing.
    pub fn next(&mut self, left_ns: u64, made: impl FnOnce() -> u64) -> Option<Due> {
        self.without_slack = if left_ns == 0 { self.without_slack.saturating_add(1) } else { 0 };
        let is_hurried = self.without_slack >= PATIENCE;
        if left_ns == 0 && !(is_hurried && self.without_slack.is_multiple_of(HURRIED_EVERY)) {
            return None;
        }
        let at = Moment { left_ns, made: made() };
        let sweep = if is_hurried { self.hurried(at) } else { self.in_slack(at) };
        sweep.map(|sweep| Due { sweep, made: at.made })
    }

    /// Takes note of what became of what was due.
    pub fn done(&mut self, due: Due, done: Done) {
        let unfrozen = self.old() + self.survivors + due.made;
        match due.sweep {
            Sweep::Young => {
                self.young_ns = done.took_ns.min(2 * self.young_cost_ns(due.made));
                self.survivors += due.made.saturating_sub(done.found);
                self.measure(due.made, self.young_ns);
            }
            Sweep::Old => {
                let took_ns = done.took_ns.min(2 * self.old_cost_ns(due.made));
                if self.old_ns == 0 {
                    self.measure(unfrozen, took_ns);
                }
                (self.old_ns, self.survivors) = (took_ns, 0);
            }
            Sweep::Aside => {
                self.aside += unfrozen;
                (self.young_ns, self.old_ns, self.survivors) = (0, 0, 0);
            }
            Sweep::Everything => {
                self.frozen = (self.frozen + self.aside + unfrozen).saturating_sub(done.found);
                (self.aside, self.young_ns, self.old_ns, self.survivors) = (0, 0, 0, 0);
            }
        }
    }

    /// The dearest counts, and is forgotten slowly.
    fn measure(&mut self, objects: u64, took_ns: u64) {
        if objects >= MEASURED_MIN {
            let kept = self.per_object_ns - self.per_object_ns / 16;
            self.per_object_ns = kept.max(took_ns / objects).max(1);
        }
    }

    fn in_slack(&mut self, at: Moment) -> Option<Sweep> {
        if self.is_everything_due() {
            return Some(Sweep::Everything);
        }
        let is_old_due = self.is_old_due();
        if is_old_due && fits(self.old_cost_ns(at.made), at) {
            self.refused = 0;
            return Some(Sweep::Old);
        }
        let young = (at.made > 0 && fits(self.young_cost_ns(at.made), at)).then_some(Sweep::Young);
        let is_refused = is_old_due || at.made > 0 && young.is_none();
        self.refused = if is_refused { self.refused + 1 } else { 0 };
        if self.refused <= PATIENCE {
            return young;
        }
        self.refused = 0;
        if is_old_due || at.made > YOUNG_MANY {
            return Some(Sweep::Aside);
        }
        // A few objects took long, with finalisers that wait perhaps: they may not the next time.
        (self.young_ns, self.per_object_ns) = (self.young_ns / 2, (self.per_object_ns / 2).max(1));
        None
    }

    /// There is never any slack: as Python would do it.
    fn hurried(&self, at: Moment) -> Option<Sweep> {
        match () {
            () if self.is_everything_due() => Some(Sweep::Everything),
            () if self.is_old_due() => Some(Sweep::Old),
            () if at.made > YOUNG_MANY => Some(Sweep::Young),
            () => None,
        }
    }

    fn is_old_due(&self) -> bool {
        self.survivors > OLD_MIN && self.survivors * OLD_GROWTH > self.old()
    }

    fn is_everything_due(&self) -> bool {
        self.aside > self.frozen.max(ASIDE_MIN)
    }

    /// Objects that the last old collection left, by what it took: many that were left then have gone since.
    fn old(&self) -> u64 {
        self.old_ns / self.per_object_ns
    }

    fn young_cost_ns(&self, made: u64) -> u64 {
        LEAST_NS.max(self.young_ns).max(made * self.per_object_ns)
    }

    fn old_cost_ns(&self, made: u64) -> u64 {
        LEAST_NS + self.old_ns + (self.survivors + made) * self.per_object_ns
    }
}

/// Whether there is time for it twice.
fn fits(cost_ns: u64, at: Moment) -> bool {
    cost_ns.saturating_mul(2) <= at.left_ns
}

/// When the next block is due, by when those before were published.
///
/// A device whose buffer is longer than a block has a burst of blocks published at once. Within a burst the next
/// block may come at any time; after as many as the longest burst of late had, a whole burst's time passes.
#[derive(Debug)]
pub struct Rhythm {
    block_ns: u64,
    published_ns: u64,
    burst_ns: u64,
    blocks: u32,
    longest: u32,
    since_longest: u32,
}

impl Rhythm {
    /// Of blocks of this duration.
    #[must_use]
    pub fn new(block_ns: u64) -> Self {
        Self { block_ns, published_ns: 0, burst_ns: 0, blocks: 0, longest: 1, since_longest: 0 }
    }

    /// A block that was published at this time has come.
    pub fn hear(&mut self, published_ns: u64) {
        if published_ns.saturating_sub(self.published_ns) > self.block_ns / 2 {
            self.end_burst();
            self.burst_ns = published_ns;
        }
        self.published_ns = published_ns;
        self.blocks = self.blocks.saturating_add(1);
    }

    fn end_burst(&mut self) {
        if self.blocks >= self.longest || self.since_longest >= BURSTS {
            (self.longest, self.since_longest) = (self.blocks.max(1), 0);
        } else {
            self.since_longest += 1;
        }
        self.blocks = 0;
    }

    /// The time until the next block is due, less an eighth of a block for a host that is early; 0 if it may come
    /// at any time.
    #[must_use]
    pub fn left_ns(&self, now_ns: u64) -> u64 {
        // More than the longest so far: the end is not known.
        if self.blocks != self.longest {
            return 0;
        }
        let due_ns = self.burst_ns.saturating_add(self.block_ns.saturating_mul(self.blocks.into()));
        due_ns.saturating_sub(self.block_ns / 8).saturating_sub(now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_000;
    const MS: u64 = 1_000_000;
    /// The slack of blocks of 128 frames.
    const SLACK: u64 = 2 * MS;

    /// A plugin that makes objects, with a collector that takes 100 ns for each that it looks at.
    struct Heap {
        schedule: Schedule,
        left_ns: u64,
        /// Not frozen: young, old.
        young: u64,
        old: u64,
        aside: u64,
        frozen: u64,
        /// What was set aside turns out to be garbage.
        aside_is_garbage: bool,
        did: Vec<Sweep>,
        longest_ns: u64,
    }

    impl Heap {
        fn new(frozen: u64, left_ns: u64) -> Self {
            Self {
                schedule: Schedule::new(frozen),
                left_ns,
                young: 0,
                old: 0,
                aside: 0,
                frozen,
                aside_is_garbage: false,
                did: Vec::new(),
                longest_ns: 0,
            }
        }

        /// A block that makes so many objects, of which so many are garbage at once; `fades` of each hundred of the
        /// old ones have become it too.
        fn block(&mut self, made: u64, garbage: u64, fades: u64) {
            self.young += made;
            let Some(due) = self.schedule.next(self.left_ns, || self.young) else { return };
            let sweep = due.sweep;
            let (looked, found) = match sweep {
                Sweep::Young => (self.young, garbage.min(self.young)),
                Sweep::Old => (self.young + self.old, garbage.min(self.young) + self.old * fades / 100),
                Sweep::Aside => (0, 0),
                Sweep::Everything => {
                    let found = if self.aside_is_garbage { self.aside } else { 0 };
                    (self.young + self.old + self.aside + self.frozen, found)
                }
            };
            let took_ns = looked * 100;
            match sweep {
                Sweep::Young => self.old += self.young - found,
                Sweep::Old => self.old = looked - found,
                Sweep::Aside => self.aside += self.young + self.old,
                Sweep::Everything => self.frozen = looked - found,
            }
            match sweep {
                Sweep::Young | Sweep::Old => self.young = 0,
                Sweep::Aside => (self.young, self.old) = (0, 0),
                Sweep::Everything => (self.young, self.old, self.aside) = (0, 0, 0),
            }
            self.longest_ns = self.longest_ns.max(took_ns);
            self.schedule.done(due, Done { found, took_ns });
            self.did.push(sweep);
        }

        fn count(&self, sweep: Sweep) -> usize {
            self.did.iter().filter(|did| **did == sweep).count()
        }
    }

    #[test]
    fn nothing_made_is_nothing_done() {
        let mut heap = Heap::new(0, SLACK);
        (0..1000).for_each(|_| heap.block(0, 0, 0));
        assert_eq!(heap.did, []);
    }

    #[test]
    fn what_a_block_made_is_collected_after_it() {
        let mut heap = Heap::new(1_000_000, SLACK);
        (0..10_000).for_each(|_| heap.block(120, 120, 0));
        assert_eq!((heap.count(Sweep::Young), heap.did.len()), (10_000, 10_000));
        assert_eq!((heap.young, heap.old), (0, 0));
    }

    #[test]
    fn nothing_is_collected_while_a_block_waits() {
        let mut heap = Heap::new(0, 0);
        (1..PATIENCE).for_each(|_| heap.block(10_000, 0, 0));
        assert_eq!(heap.did, []);
        heap.left_ns = SLACK;
        heap.block(0, 0, 0);
        assert_eq!(heap.did, []);
    }

    #[test]
    fn where_a_block_always_waits_it_is_collected_when_python_would() {
        let mut heap = Heap::new(0, 0);
        (0..PATIENCE).for_each(|_| heap.block(0, 0, 0));
        (0..16).for_each(|_| heap.block(40, 40, 0));
        assert_eq!(heap.did, []);
        (0..16).for_each(|_| heap.block(40, 40, 0));
        assert_eq!(heap.did, [Sweep::Young]);
        // Survivors too, and what fades of them does not pile up.
        (0..10_000).for_each(|_| heap.block(1000, 0, 90));
        assert!(heap.count(Sweep::Old) > 10 && heap.old < 50_000, "{}", heap.old);
        assert_eq!(heap.count(Sweep::Aside), 0);
    }

    #[test]
    fn a_collection_that_takes_longer_than_half_of_what_is_left_waits() {
        let mut heap = Heap::new(0, 90 * US);
        heap.block(400, 400, 0);
        assert_eq!((heap.did.len(), heap.young), (0, 400));
        heap.left_ns = 120 * US;
        heap.block(0, 0, 0);
        assert_eq!((heap.count(Sweep::Young), heap.young), (1, 0));
    }

    #[test]
    fn old_objects_are_collected_while_that_fits() {
        let mut heap = Heap::new(0, SLACK);
        // What survives a block becomes garbage later.
        (0..100_000).for_each(|_| heap.block(40, 0, 95));
        assert!(heap.count(Sweep::Old) > 100, "{}", heap.count(Sweep::Old));
        assert!(heap.old < 20_000 && heap.longest_ns <= SLACK / 2, "{} {}", heap.old, heap.longest_ns);
        assert_eq!(heap.count(Sweep::Aside) + heap.count(Sweep::Everything), 0);
    }

    #[test]
    fn a_heap_that_only_grows_is_set_aside_and_holds_up_no_block_until_it_has_doubled() {
        let mut heap = Heap::new(1_000_000, SLACK);
        while heap.count(Sweep::Everything) == 0 {
            assert!(heap.longest_ns <= SLACK, "{}", heap.longest_ns);
            heap.block(120, 0, 0);
        }
        assert!(heap.count(Sweep::Aside) > 10 && heap.frozen >= 2_000_000, "{}", heap.frozen);
        // The next time at twice as many.
        (0..16_000).for_each(|_| heap.block(120, 0, 0));
        assert_eq!(heap.count(Sweep::Everything), 1);
    }

    #[test]
    fn garbage_that_never_fits_is_bounded() {
        let mut heap = Heap { aside_is_garbage: true, ..Heap::new(0, 500 * US) };
        let mut most = 0;
        for _ in 0..50_000 {
            heap.block(200, 0, 0);
            most = most.max(heap.young + heap.old + heap.aside);
        }
        assert!(heap.count(Sweep::Everything) > 5 && most < 2 * ASIDE_MIN, "{most}");
    }

    #[test]
    fn one_slow_collection_may_have_been_the_machine_and_several_are_not() {
        let mut schedule = Schedule::new(0);
        let mut collections_of_8_ms = |blocks: u32| {
            let collect = |_: &u32| {
                let due = schedule.next(SLACK, || 100);
                due.inspect(|due| schedule.done(*due, Done { found: 100, took_ns: 8 * MS })).is_some()
            };
            (0..blocks).filter(collect).count()
        };
        assert_eq!(collections_of_8_ms(2), 2);
        let many = collections_of_8_ms(10_000);
        assert!((20..200).contains(&many), "{many}");
    }

    /// Blocks published at these times: what is left 100 us after each.
    fn left(rhythm: &mut Rhythm, published_us: &[u64]) -> Vec<u64> {
        let hear = |us: &u64| {
            rhythm.hear(us * US);
            rhythm.left_ns(us * US + 100 * US) / US
        };
        published_us.iter().map(hear).collect()
    }

    #[test]
    fn a_steady_host_leaves_what_is_left_of_a_block() {
        let mut rhythm = Rhythm::new(4 * MS);
        assert_eq!(rhythm.left_ns(MS), 0);
        assert_eq!(left(&mut rhythm, &[10_000, 14_000, 18_100, 22_000]), [3400; 4]);
        assert_eq!(rhythm.left_ns(25 * MS), 500 * US);
        assert_eq!(rhythm.left_ns(26 * MS), 0);
    }

    #[test]
    fn within_a_burst_nothing_is_left_and_after_it_a_bursts_time() {
        let mut rhythm = Rhythm::new(4 * MS);
        left(&mut rhythm, &[100_000, 100_200, 100_400]);
        assert_eq!(left(&mut rhythm, &[112_000, 112_200, 112_400]), [0, 0, 11_000]);
        // A shorter one is no reason to expect a gap after the next.
        left(&mut rhythm, &[124_000, 132_000]);
        assert_eq!(left(&mut rhythm, &[144_000, 144_200]), [0, 0]);
    }

    #[test]
    fn a_burst_that_does_not_come_again_is_forgotten() {
        let mut rhythm = Rhythm::new(4 * MS);
        left(&mut rhythm, &[100_000, 100_200, 100_400]);
        let steady: Vec<u64> = (0..=BURSTS.into()).map(|n| 200_000 + 4000 * n).collect();
        let left = left(&mut rhythm, &steady);
        assert_eq!((left[0], left.last()), (0, Some(&0)));
        assert_eq!(self::left(&mut rhythm, &[600_000]), [3400]);
    }
}
