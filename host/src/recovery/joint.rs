//! Two plugins side by side in a chain, whose workers are to hand blocks on directly.
//!
//! For the recovery thread, which knows who plays: whenever that changes on either side, the two that play now are
//! joined, by a thread of its own since the second one has to be asked. Until then, and where that fails, the host
//! stands between them: nothing is lost by it but time.

#[cfg(test)]
use super::simulation;
use crate::plugin::edge::Edge;
use crate::plugin::worker::Worker;
use std::sync::Arc;
use std::thread::JoinHandle;

/// A worker that plays, and which incarnation it is.
pub(super) type Player = (u32, Arc<Worker>);

/// Two neighbours.
#[derive(Debug)]
pub(super) struct Joint {
    up: u64,
    down: u64,
    edge: Arc<Edge>,
    /// Those that were tried last.
    tried: (u32, u32),
}

impl Joint {
    pub(super) fn new(up: u64, down: u64, edge: Arc<Edge>) -> Self {
        Self { up, down, edge, tried: (0, 0) }
    }

    /// Whether there is still somebody who would use it.
    pub(super) fn is_wanted(&self) -> bool {
        Arc::strong_count(&self.edge) > 1
    }

    /// The first of both.
    pub(super) fn up(&self) -> u64 {
        self.up
    }

    /// The first has been ended for what the second may have done, which can wake whoever waits for the first: they are
    /// not joined again.
    pub(super) fn part(&self, playing: impl Fn(u64) -> Option<Player>) {
        if let Some((down, _)) = playing(self.down) {
            self.edge.part(down);
        }
    }

    /// Has those joined who play now, if they are not the ones that were.
    pub(super) fn look(&mut self, playing: impl Fn(u64) -> Option<Player>) -> Option<JoinHandle<()>> {
        let ((up, first), (down, second)) = (playing(self.up)?, playing(self.down)?);
        if self.tried == (up, down) || self.edge.is_parted(down) {
            return None;
        }
        self.tried = (up, down);
        let edge = Arc::clone(&self.edge);
        #[cfg(test)]
        if simulation::time::is_on() {
            let (up, down) = ((self.up, up), (self.down, down));
            return simulation::errands::send(simulation::errands::Errand::Join { up, down, edge });
        }
        let join = move || {
            // Whoever can't has told why, or is dying, which others tell.
            if first.hand_on_to(&second, up).is_ok() {
                edge.join(up, down);
            }
        };
        std::thread::Builder::new().name("nda-errand".into()).spawn(join).ok()
    }
}
