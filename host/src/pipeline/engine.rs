//! What of a pipeline runs on an audio thread and outlives every device: the chain, and how far it is.
//!
//! For the callbacks, which hand it on as a [`Baton`](super::Baton). What belongs to a device, its channels and its
//! buffers, is in [`callback`](super::callback).

use crate::chain::{Chain, Delays};
use shared::format::Format;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A chain on its way through the streams of its pipeline.
#[derive(Debug)]
pub struct Engine {
    chain: Chain,
    frames: Arc<AtomicU64>,
}

impl Engine {
    /// Nothing processed yet.
    #[must_use]
    pub fn new(chain: Chain) -> Self {
        Self { chain, frames: Arc::new(AtomicU64::new(0)) }
    }

    /// The format of each block.
    #[must_use]
    pub fn format(&self) -> Format {
        self.chain.format()
    }

    /// Frames processed so far, for whoever watches.
    #[must_use]
    pub fn frames(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.frames)
    }

    /// As [`Chain::burst_max`].
    pub(super) fn burst_max(&self) -> u32 {
        self.chain.burst_max()
    }

    /// As [`Chain::replan`]; what the chain delays by from now on.
    pub(super) fn replan(&mut self, burst: u32) -> Delays {
        self.chain.replan(burst);
        self.chain.delays()
    }

    /// Replaces a block by the chain's result, in so much time; when the device called for it.
    ///
    /// # Real-time
    /// As [`Chain::process_within`].
    pub(super) fn process(&mut self, samples: &mut [f32], budget_ns: u64, called_ns: u64) {
        self.chain.process_called(samples, budget_ns, called_ns);
        let done = self.frames.load(Ordering::Relaxed) + self.chain.format().block_frames() as u64;
        self.frames.store(done, Ordering::Relaxed);
    }
}
