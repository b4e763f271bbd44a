//! What a chain is made of: anything that changes a block of audio on the audio thread.
//!
//! For authors of Rust processors; a Python plugin in its worker is one as well ([`crate::plugin::Remote`]),
//! and so are files and meters. A processor is built elsewhere and moves to the audio thread whole; it is
//! dropped elsewhere too.

use crate::block::Block;
use std::any::Any;

/// Changes a block of audio in place.
pub trait Processor: Any + Send {
    /// What the user calls it.
    fn name(&self) -> &str;

    /// Replaces the block by its result.
    ///
    /// # Real-time
    /// Called on the audio thread: must not allocate, lock, log, free or make a system call. Only a processor
    /// that [waits](Processor::waits) may do so, until [`Turn::deadline_ns`] and no longer.
    fn process(&mut self, block: &mut Block<'_>, turn: &Turn);

    /// How many frames later the result comes out, beside [`Processor::blocks_behind`].
    fn latency_frames(&self) -> u32 {
        0
    }

    /// Frames that its result comes later than that at the moment, because it has changed its mode by itself.
    fn added_frames(&self) -> u32 {
        0
    }

    /// For how many answers of somebody else it waits within the block.
    fn waits(&self) -> u32 {
        0
    }

    /// How many blocks later its result comes because the audio thread never waits for it; 0 if it does, or
    /// if there is nobody to wait for.
    fn blocks_behind(&self) -> u32 {
        0
    }

    /// Told when it has been put into a pipelined section, whose thread may wait within the block.
    fn enter_section(&mut self) {}

    /// What a section does about a lost block of its own must not let through what this one would not.
    fn seals(&self) -> Seals {
        Seals::default()
    }
}

/// What a processor forbids those around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seals {
    /// Dry audio must not pass by it.
    pub no_bypass: bool,
    /// It fails closed: in place of a lost block there is silence from the first sample, without a ramp.
    pub closed: bool,
    /// Its samples are not audio: nobody may ramp or replace them.
    pub no_ramp: bool,
}

impl Seals {
    /// What both forbid.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            no_bypass: self.no_bypass || other.no_bypass,
            closed: self.closed || other.closed,
            no_ramp: self.no_ramp || other.no_ramp,
        }
    }
}

/// The time one processor has in one block.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// When this block began, in [`shared::clock::now_ns`].
    pub start_ns: u64,
    /// Time until the next block should begin.
    pub budget_ns: u64,
    /// How many answers of this block are waited for, one after the other.
    pub waiting: u32,
    /// How many of them come after this processor's.
    pub waiting_after: u32,
}

impl Turn {
    /// A turn for a processor on its own.
    #[must_use]
    pub fn new(start_ns: u64, budget_ns: u64) -> Self {
        Self { start_ns, budget_ns, waiting: 1, waiting_after: 0 }
    }

    /// Until when a processor may wait that was given this fraction of the block.
    ///
    /// The block's waiting processors share that time. Each may use what the ones before it left over, but
    /// leaves half of a fair share to each one after it, so that a stuck plugin doesn't take all of its
    /// neighbours' time: with `n` waiting and `k` of them after this one it ends `k / 2n` of it earlier.
    #[must_use]
    pub fn deadline_ns(&self, fraction: f32) -> u64 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // a fraction of a u64 that fits one
        let limit = (self.budget_ns as f64 * f64::from(fraction)) as u64;
        let reserve = limit * u64::from(self.waiting_after) / (2 * u64::from(self.waiting.max(1)));
        self.start_ns + limit - reserve
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_on_its_own_may_use_its_whole_fraction_of_the_block() {
        assert_eq!(Turn::new(1000, 2_000_000).deadline_ns(0.5), 1_001_000);
    }

    #[test]
    fn plugins_that_share_a_block_leave_time_to_those_after_them() {
        let turn = |waiting_after| Turn { start_ns: 0, budget_ns: 1_600_000, waiting: 4, waiting_after };
        let deadlines = [3, 2, 1, 0].map(|after| turn(after).deadline_ns(0.5));
        assert_eq!(deadlines, [500_000, 600_000, 700_000, 800_000]);
    }
}
