//! What is worth telling: failures of a new kind at once, the same again only counted.
//!
//! A plugin that fails does so in every block, hundreds of times a second. The host wants the first traceback of
//! each kind, and a number.

use shared::clock;

/// Kinds of failure that are told apart; after that only counted.
const KNOWN_MAX: usize = 64;

/// What distinguishes one kind of failure from another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reason {
    /// Type of exception, or what else it was.
    pub what: String,
    /// File in which it was raised.
    pub file: String,
    /// Line of it.
    pub line: u32,
}

/// Blocks that failed.
#[derive(Debug, Default)]
pub struct FailedBlocks {
    count: u64,
    known: Vec<Reason>,
}

impl FailedBlocks {
    /// Counts a block; true if it failed for a new reason, which is then known.
    pub fn add(&mut self, reason: Reason) -> bool {
        self.count += 1;
        if self.known.len() >= KNOWN_MAX || self.known.contains(&reason) {
            return false;
        }
        self.known.push(reason);
        true
    }

    /// How many failed so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// A limit on how often something is told: some at once, then one in a while.
#[derive(Debug)]
pub struct Allowance {
    left: u32,
    every_ns: u64,
    refilled_ns: u64,
    skipped: u64,
}

impl Allowance {
    /// `at_once` to begin with, one more each `every_ns`.
    #[must_use]
    pub fn new(at_once: u32, every_ns: u64) -> Self {
        Self { left: at_once, every_ns, refilled_ns: clock::now_ns(), skipped: 0 }
    }

    /// Whether to tell now; if so, how many were not told since the last time.
    pub fn take(&mut self, now_ns: u64) -> Option<u64> {
        if self.left == 0 && now_ns.saturating_sub(self.refilled_ns) >= self.every_ns {
            self.left = 1;
        }
        if self.left == 0 {
            self.skipped += 1;
            return None;
        }
        self.left -= 1;
        self.refilled_ns = now_ns;
        Some(std::mem::take(&mut self.skipped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32) -> Reason {
        Reason { what: "ValueError".into(), file: "plugin.py".into(), line }
    }

    #[test]
    fn the_same_failure_is_told_once_and_counted_always() {
        let mut failed = FailedBlocks::default();
        let told = [1, 1, 2, 1, 2].map(|line| failed.add(at(line)));
        assert_eq!((told, failed.count()), ([true, false, true, false, false], 5));
    }

    #[test]
    fn a_plugin_that_fails_anew_each_time_is_not_remembered_for_ever() {
        let mut failed = FailedBlocks::default();
        let told = (0..10_000).filter(|line| failed.add(at(*line))).count();
        assert_eq!((told, failed.count()), (KNOWN_MAX, 10_000));
    }

    #[test]
    fn some_are_told_at_once_then_one_in_a_while_with_the_number_left_out() {
        let mut allowance = Allowance::new(2, 1000);
        let start = clock::now_ns();
        let told = [0, 1, 2, 3, 999, 1001, 1002].map(|t| allowance.take(start + t));
        assert_eq!(told, [Some(0), Some(0), None, None, None, Some(3), None]);
    }
}
