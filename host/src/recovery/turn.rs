//! Whether a worker may go on before others, or has to give way because it does not come to an end.
//!
//! For the recovery thread. The thread of a worker that plays may have a real-time priority, by which one that loops
//! would keep a core from everybody else. One that has not answered for a while gives way, and goes on as before with
//! its next answer. That is no judgement: one that only waited loses nothing by it. Decides only.

/// How long nobody has to give way.
const PATIENCE_NS: u64 = 5_000_000;
/// The same in blocks, if that is longer.
const PATIENCE_BLOCKS: u64 = 2;

/// What is to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It gives way to others.
    GivesWay,
    /// It goes on before others.
    GoesOn,
}

/// The turn of one incarnation.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    patience_ns: u64,
    answered: u64,
    /// Since when it has owed an answer.
    since_ns: Option<u64>,
    gives_way: bool,
}

impl Turn {
    /// One for blocks of this duration.
    pub(super) fn new(block_ns: u64) -> Self {
        let patience_ns = PATIENCE_NS.max(PATIENCE_BLOCKS.saturating_mul(block_ns));
        Self { patience_ns, answered: 0, since_ns: None, gives_way: false }
    }

    /// Looks at the audio thread's counts, which run freely and may wrap.
    pub(super) fn look(&mut self, now_ns: u64, asked: u64, answered: u64) -> Option<Change> {
        let has_answered = std::mem::replace(&mut self.answered, answered) != answered;
        if has_answered || asked == answered {
            self.since_ns = (asked != answered).then_some(now_ns);
            return std::mem::take(&mut self.gives_way).then_some(Change::GoesOn);
        }
        let since_ns = *self.since_ns.get_or_insert(now_ns);
        let is_over = now_ns.saturating_sub(since_ns) >= self.patience_ns;
        (is_over && !std::mem::replace(&mut self.gives_way, true)).then_some(Change::GivesWay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn one_that_owes_an_answer_for_long_gives_way_once_and_goes_on_with_its_next_answer() {
        let mut turn = Turn::new(2 * MS);
        assert_eq!(turn.look(0, 10, 9), None);
        assert_eq!(turn.look(4 * MS, 12, 9), None);
        assert_eq!(turn.look(5 * MS, 12, 9), Some(Change::GivesWay));
        assert_eq!(turn.look(9 * MS, 14, 9), None);
        assert_eq!(turn.look(10 * MS, 15, 10), Some(Change::GoesOn));
        assert_eq!(turn.look(11 * MS, 15, 10), None);
        assert_eq!(turn.look(16 * MS, 16, 10), Some(Change::GivesWay));
    }

    #[test]
    fn one_that_answers_or_owes_nothing_never_gives_way() {
        let mut turn = Turn::new(2 * MS);
        let looks = (0..100).filter_map(|n| turn.look(n * 20 * MS, n + 1, n)).count();
        assert_eq!(looks + (0..9).filter_map(|n| turn.look((100 + n) * 100 * MS, 200, 200)).count(), 0);
    }

    #[test]
    fn long_blocks_take_long() {
        let mut turn = Turn::new(100 * MS);
        assert_eq!(turn.look(0, 1, 0), None);
        assert_eq!(turn.look(199 * MS, 2, 0), None);
        assert_eq!(turn.look(200 * MS, 2, 0), Some(Change::GivesWay));
    }
}
