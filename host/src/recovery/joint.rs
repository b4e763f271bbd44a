//! Two plugins side by side in a chain, whose workers are to hand blocks on directly.
//!
//! For the recovery thread, which knows who plays: whenever that changes on either side, the two that play now are
//! joined, by a thread of its own since both have to be asked. Until both have answered, and where one doesn't, the host
//! stands between them: nothing is lost by it but time. It is one pair after the other: a thread that comes late with two
//! of whom one has been replaced would have the other look at a doorstep where nobody is.

#[cfg(test)]
use super::simulation;
use crate::plugin::edge::{Edge, word};
use crate::plugin::worker::Worker;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A worker that plays, and which incarnation it is.
pub(super) type Player = (u32, Arc<Worker>);

/// Two neighbours.
#[derive(Debug)]
pub(super) struct Joint {
    up: u64,
    down: u64,
    joining: Arc<Joining>,
    /// Those that were tried last.
    tried: (u32, u32),
}

/// What the threads share that join two neighbours.
#[derive(Debug)]
pub(super) struct Joining {
    edge: Arc<Edge>,
    /// The two that play, as far as is known.
    due: AtomicU64,
    /// Whose who are being joined.
    turn: Mutex<()>,
}

impl Joining {
    fn new(edge: Arc<Edge>) -> Self {
        Self { edge, due: AtomicU64::new(0), turn: Mutex::default() }
    }

    /// Whether no others are to be joined by now.
    pub(super) fn is_due(&self, up: u32, down: u32) -> bool {
        self.due.load(Ordering::Relaxed) == word(up, down)
    }

    /// Joins these two by having `both` told, once nobody else is at it, unless it is others' turn by then. Waits for
    /// workers, so not for the recovery thread.
    fn take_turn(&self, up: u32, down: u32, both: impl FnOnce() -> bool) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_due(up, down) && both() {
            self.join(up, down);
        }
    }

    /// Both have been told, and nobody else of their neighbours since.
    pub(super) fn join(&self, up: u32, down: u32) {
        self.edge.join(up, down);
    }
}

impl Joint {
    pub(super) fn new(up: u64, down: u64, edge: Arc<Edge>) -> Self {
        Self { up, down, joining: Arc::new(Joining::new(edge)), tried: (0, 0) }
    }

    /// Whether there is still somebody who would use it.
    pub(super) fn is_wanted(&self) -> bool {
        Arc::strong_count(&self.joining.edge) > 1
    }

    /// The first of both.
    pub(super) fn up(&self) -> u64 {
        self.up
    }

    /// The first has been ended for what the second may have done, which can wake whoever waits for the first: they are
    /// not joined again.
    pub(super) fn part(&self, playing: impl Fn(u64) -> Option<Player>) {
        if let Some((down, _)) = playing(self.down) {
            self.joining.edge.part(down);
        }
    }

    /// Has those joined who play now, if they are not the ones that were.
    pub(super) fn look(&mut self, playing: impl Fn(u64) -> Option<Player>) -> Option<JoinHandle<()>> {
        let ((up, first), (down, second)) = (playing(self.up)?, playing(self.down)?);
        if self.tried == (up, down) || self.joining.edge.is_parted(down) {
            return None;
        }
        self.tried = (up, down);
        // Those who were due before are to find that they are not any more, whatever becomes of these.
        self.joining.due.store(word(up, down), Ordering::Relaxed);
        let joining = Arc::clone(&self.joining);
        #[cfg(test)]
        if simulation::time::is_on() {
            let (up, down) = ((self.up, up), (self.down, down));
            return simulation::errands::send(simulation::errands::Errand::Join { up, down, joining });
        }
        let join = move || {
            // Whoever can't has told why, or is dying, which others tell.
            joining.take_turn(up, down, || first.hand_on_to(&second, up).is_ok());
        };
        std::thread::Builder::new().name("nda-errand".into()).spawn(join).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joining(due: (u32, u32)) -> Joining {
        let joining = Joining::new(Arc::default());
        joining.due.store(word(due.0, due.1), Ordering::Relaxed);
        joining
    }

    #[test]
    fn two_of_whom_one_is_not_told_are_not_joined() {
        let joining = joining((1, 1));
        joining.take_turn(1, 1, || false);
        assert!(!joining.edge.joins(1, 1));
        joining.take_turn(1, 1, || true);
        assert!(joining.edge.joins(1, 1));
    }

    #[test]
    fn who_comes_late_with_two_that_do_not_play_any_more_tells_nobody_anything() {
        let joining = joining((1, 2));
        joining.take_turn(1, 2, || true);
        joining.take_turn(1, 1, || panic!("the first would look at the doorstep of one that is gone"));
        assert!(joining.edge.joins(1, 2));
    }

    #[test]
    fn nobody_else_is_told_anything_while_one_pair_is_and_the_next_one_is_then() {
        let joining = joining((1, 1));
        joining.take_turn(1, 1, || {
            joining.due.store(word(1, 2), Ordering::Relaxed);
            assert!(joining.turn.try_lock().is_err(), "who comes now waits");
            true
        });
        assert!(joining.edge.joins(1, 1));
        joining.take_turn(1, 2, || true);
        assert!(joining.edge.joins(1, 2));
    }
}
