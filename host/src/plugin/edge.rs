//! The way from one plugin's worker straight to the next one's: whether it can be used.
//!
//! For two plugins that stand side by side in a chain. The recovery thread has their workers joined, again after each
//! replacement; the audio thread looks at each block whether the two that it has are the two that were. Either may part
//! them, where one of both does what may be either's doing.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Between two neighbours.
#[derive(Debug, Default)]
pub(crate) struct Edge {
    joined: AtomicU64,
    /// The second's incarnation that takes from nobody any more.
    parted: AtomicU32,
}

impl Edge {
    /// Whether the second's worker can take the answers of the first's, which are of these incarnations.
    ///
    /// # Real-time
    /// May be called on the audio thread.
    pub(crate) fn joins(&self, up: u32, down: u32) -> bool {
        // SYNC: joined; with Release in `join`.
        self.joined.load(Ordering::Acquire) == word(up, down) && !self.is_parted(down)
    }

    /// These two have been joined.
    pub(crate) fn join(&self, up: u32, down: u32) {
        // SYNC: joined; with Acquire in `joins`.
        self.joined.store(word(up, down), Ordering::Release);
    }

    /// One of both has done what may be either's doing: the host stands between this second one and whoever is before it
    /// from now on.
    ///
    /// # Real-time
    /// May be called on the audio thread.
    pub(crate) fn part(&self, down: u32) {
        self.parted.store(down, Ordering::Relaxed);
    }

    /// Whether this second one takes from nobody any more.
    pub(crate) fn is_parted(&self, down: u32) -> bool {
        self.parted.load(Ordering::Relaxed) == down
    }
}

/// Two incarnations, which count from 1: no two that live make 0.
pub(crate) fn word(up: u32, down: u32) -> u64 {
    u64::from(up) << 32 | u64::from(down)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_that_were_joined_can_use_it() {
        let edge = Edge::default();
        assert!(!edge.joins(1, 1));
        edge.join(1, 2);
        let joined = [(1, 2), (2, 1), (1, 1), (2, 2)].map(|(up, down)| edge.joins(up, down));
        assert_eq!(joined, [true, false, false, false]);
    }

    #[test]
    fn a_second_one_that_was_parted_takes_from_nobody_and_the_one_after_it_may() {
        let edge = Edge::default();
        edge.join(1, 2);
        edge.part(2);
        assert!(!edge.joins(1, 2));
        edge.join(3, 2);
        assert!(!edge.joins(3, 2));
        edge.join(3, 3);
        assert!(edge.joins(3, 3) && !edge.is_parted(3));
    }
}
