//! An open stream, in the hands of its owner.
//!
//! For the pipelines and their status. The stream itself is with its [`Keeper`].

use super::event::Counts;
use super::format::Chosen;
use super::keeper::{Keeper, Order};
use crate::error::Result;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// An open stream, paused at first. Dropping it stops the callbacks.
///
/// Only a thread of its own touches the device, so that a device which no longer answers holds up its owner for
/// a few seconds at most: [`play`](Self::play) and [`pause`](Self::pause) then fail, and a drop leaves the
/// thread behind with the device. Should that come back to life, it is silent: what was dropped is called no more.
#[derive(Debug)]
pub struct Stream {
    pub(super) keeper: Keeper,
    pub(super) chosen: Chosen,
    pub(super) counts: Arc<Counts>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Before the thread that has the stream is asked to close it, which it may not live to do.
        self.counts.end();
    }
}

impl Stream {
    /// Begins or resumes the callbacks.
    pub fn play(&self) -> Result<()> {
        self.keeper.order(Order::Play)
    }

    /// Stops the callbacks until it plays again; a device that can't fails.
    pub fn pause(&self) -> Result<()> {
        self.keeper.order(Order::Pause)
    }

    /// The device's channels.
    #[must_use]
    pub fn channels(&self) -> usize {
        usize::from(self.chosen.channels)
    }

    /// Frames per second.
    #[must_use]
    pub fn rate(&self) -> u32 {
        self.chosen.rate
    }

    /// Frames that the device takes or brings at a time, as far as it knows; callbacks may still vary.
    #[must_use]
    pub fn buffer_frames(&self) -> Option<u32> {
        self.keeper.buffer_frames()
    }

    /// How often frames were lost because a callback came or ended too late.
    ///
    /// # Real-time
    /// Yes, as are the other counts.
    #[must_use]
    pub fn xruns(&self) -> u64 {
        self.counts.xruns.load(Ordering::Relaxed)
    }

    /// Samples that were not finite and were replaced by silence.
    #[must_use]
    pub fn scrubbed_samples(&self) -> u64 {
        self.counts.scrubbed.load(Ordering::Relaxed)
    }
}
