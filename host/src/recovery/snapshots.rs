//! The last two states that a plugin has saved, and which of them its next worker is given.
//!
//! For the thread that watches workers. Knows nothing of what is in a state and gives nothing to anybody: it is
//! told what was saved, what a worker was given and how that went.
//!
//! A state can be what kills the plugin. So one whose restore fails, or whose worker dies before
//! [`PROVEN_BLOCKS`] good blocks, is dropped: the one before is tried next, then none.
//!
//! A worker that has not proven itself yet adds nothing: what it saves may be the poison that it was given, which
//! would push out the good one before it. It loses no more than the state of those few blocks by that.

use super::restart::PROVEN_BLOCKS;
use std::sync::Arc;

/// How many states are kept.
const KEPT: usize = 2;

/// A state that a plugin has saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Which one: counted from 1 over all workers of the plugin.
    pub(crate) number: u64,
    /// What `save_state` returned.
    pub(crate) bytes: Arc<[u8]>,
    /// The version of the parameters when it was asked for: what was set after that is not in it.
    pub(crate) version: u64,
}

/// The states of one plugin.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    /// The newest first.
    kept: Vec<Snapshot>,
    taken: u64,
    /// What the worker that took over last was given.
    given: Option<u64>,
}

impl Snapshots {
    /// Takes the state that the running worker has saved after so many good blocks, asked for when the parameters had
    /// this version; gives what is kept of it, or `None` if
    /// the worker has not proven itself yet. What is the same as the newest one is no new state.
    pub(crate) fn take(&mut self, bytes: Arc<[u8]>, version: u64, good_blocks: u64) -> Option<Snapshot> {
        if good_blocks < PROVEN_BLOCKS {
            return None;
        }
        if let Some(newest) = self.kept.first_mut().filter(|newest| newest.bytes == bytes) {
            newest.version = version;
            return Some(newest.clone());
        }
        self.taken += 1;
        self.kept.truncate(KEPT - 1);
        self.kept.insert(0, Snapshot { number: self.taken, bytes, version });
        self.latest()
    }

    /// What the next worker is to be given, if anything.
    pub(crate) fn latest(&self) -> Option<Snapshot> {
        self.kept.first().cloned()
    }

    /// A worker has taken over that was given this one, or none.
    pub(crate) fn restored(&mut self, number: Option<u64>) {
        self.given = number;
    }

    /// `load_state` refused this one, or the worker died of it before it could take over: it is dropped.
    pub(crate) fn failed(&mut self, number: u64) {
        self.kept.retain(|kept| kept.number != number);
    }

    /// The worker that took over last is dead, after so many good blocks. Gives the number of the state that is
    /// dropped for it.
    pub(crate) fn died(&mut self, good_blocks: u64) -> Option<u64> {
        let number = self.given.take()?;
        if good_blocks >= PROVEN_BLOCKS || !self.kept.iter().any(|kept| kept.number == number) {
            return None;
        }
        self.failed(number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(state: &str) -> Arc<[u8]> {
        state.as_bytes().into()
    }

    /// Takes a state; its number.
    fn take(snapshots: &mut Snapshots, state: &str, good_blocks: u64) -> Option<u64> {
        snapshots.take(bytes(state), 0, good_blocks).map(|snapshot| snapshot.number)
    }

    #[test]
    fn a_state_that_is_the_same_as_before_is_as_new_as_the_parameters_it_was_saved_with() {
        let mut snapshots = Snapshots::default();
        snapshots.take(bytes("same"), 1, 200);
        snapshots.take(bytes("same"), 2, 300);
        let latest = snapshots.latest().map(|snapshot| (snapshot.number, snapshot.version));
        assert_eq!(latest, Some((1, 2)));
    }

    /// Two states, saved by a worker that was given none.
    fn two() -> Snapshots {
        let mut snapshots = Snapshots::default();
        assert_eq!(take(&mut snapshots, "old", 200), Some(1));
        assert_eq!(take(&mut snapshots, "new", 300), Some(2));
        assert_eq!(snapshots.died(300), None);
        snapshots
    }

    fn latest(snapshots: &Snapshots) -> Option<u64> {
        snapshots.latest().map(|snapshot| snapshot.number)
    }

    /// A worker is given the latest and dies after so many good blocks; gives what is tried next.
    fn live(snapshots: &mut Snapshots, good_blocks: u64) -> Option<u64> {
        snapshots.restored(latest(snapshots));
        snapshots.died(good_blocks);
        latest(snapshots)
    }

    #[test]
    fn a_plugin_that_has_saved_nothing_is_given_nothing() {
        let mut snapshots = Snapshots::default();
        assert_eq!(snapshots.latest(), None);
        assert_eq!(live(&mut snapshots, 0), None);
    }

    #[test]
    fn the_last_two_are_kept_and_the_newest_is_given() {
        let mut snapshots = two();
        assert_eq!(take(&mut snapshots, "newest", 400), Some(3));
        assert_eq!(snapshots.latest(), Some(Snapshot { number: 3, bytes: bytes("newest"), version: 0 }));
        snapshots.failed(3);
        assert_eq!(snapshots.latest(), Some(Snapshot { number: 2, bytes: bytes("new"), version: 0 }));
        snapshots.failed(2);
        assert_eq!(snapshots.latest(), None, "the first of three is gone");
    }

    #[test]
    fn the_good_blocks_of_each_worker_decide_what_the_next_one_is_given() {
        // Good blocks of one worker after the other, and what the next one is given.
        let table: &[&[(u64, Option<u64>)]] = &[
            &[(0, Some(1)), (0, None), (0, None)],
            &[(99, Some(1)), (99, None)],
            &[(100, Some(2)), (100, Some(2)), (100, Some(2))],
            &[(99, Some(1)), (100, Some(1)), (100, Some(1))],
            // One that another worker has lived with is no exception.
            &[(100, Some(2)), (99, Some(1)), (99, None)],
        ];
        for lives in table {
            let mut snapshots = two();
            for (n, (good_blocks, next)) in lives.iter().enumerate() {
                assert_eq!(live(&mut snapshots, *good_blocks), *next, "worker {n} of {lives:?}");
            }
        }
    }

    #[test]
    fn a_state_that_can_not_be_loaded_is_dropped_even_if_a_worker_has_lived_with_it() {
        let mut snapshots = two();
        live(&mut snapshots, 100);
        snapshots.failed(2);
        assert_eq!(latest(&snapshots), Some(1));
        snapshots.failed(7);
        assert_eq!(latest(&snapshots), Some(1), "an unknown one is none of ours");
    }

    #[test]
    fn a_standby_that_dies_of_its_state_says_nothing_about_that_of_the_running_worker() {
        let mut snapshots = two();
        snapshots.restored(Some(1));
        snapshots.failed(2);
        assert_eq!(snapshots.died(100), None);
        assert_eq!(latest(&snapshots), Some(1));
    }

    #[test]
    fn a_worker_that_has_not_proven_itself_can_not_push_out_a_good_state() {
        let mut snapshots = two();
        snapshots.restored(Some(2));
        assert_eq!(take(&mut snapshots, "poison", 99), None);
        assert_eq!(snapshots.died(99), Some(2));
        assert_eq!(snapshots.latest(), Some(Snapshot { number: 1, bytes: bytes("old"), version: 0 }));
    }

    #[test]
    fn the_same_state_again_is_no_new_one() {
        let mut snapshots = two();
        assert_eq!(take(&mut snapshots, "new", 400), Some(2));
        snapshots.failed(2);
        assert_eq!(latest(&snapshots), Some(1), "the one before is still another one");
    }

    #[test]
    fn an_early_death_drops_what_the_worker_was_given_and_not_what_is_newer() {
        let mut snapshots = two();
        snapshots.restored(Some(1));
        assert_eq!(snapshots.died(3), Some(1), "a standby was given it before the newer one was saved");
        assert_eq!(latest(&snapshots), Some(2));
        assert_eq!(snapshots.died(3), None, "a death counts once");
    }

    #[test]
    fn a_worker_without_a_state_takes_none_away() {
        let mut snapshots = two();
        snapshots.restored(None);
        assert_eq!(snapshots.died(0), None);
        assert_eq!(latest(&snapshots), Some(2));
    }
}
