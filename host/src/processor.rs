//! What a chain is made of: anything that changes a block of audio on the audio thread.
//!
//! For authors of Rust processors; a Python plugin in its worker is one as well ([`crate::plugin::Remote`]),
//! and so are files and meters. A processor is built elsewhere and moves to the audio thread whole; it is
//! dropped elsewhere too.

use crate::block::Block;
use std::any::Any;

/// What is kept of the time to the deadline for what follows a wait in vain: waking up, looking at what has come of the
/// block, and putting together what is heard in its place.
///
/// Of the late blocks of the fault table (2 x 128 frames, 2-core virtual machine) half took 8 us for that, 95 in 100 took
/// 16 us and 99 took 50. Much more is hardly ours: in healthy blocks the same thread computes for as much longer than it
/// mostly does.
const RESERVE_NS: u64 = 80_000;
/// At least this part is kept: a sample to copy, look through and join costs a nanosecond, up to 5 where plugins in a
/// row look up what went by, and there are the more samples the longer a block lasts. This is enough for 32 channels.
const RESERVE_PART_MIN: u64 = 64;
/// At most this part, where the blocks are tiny.
const RESERVE_PART_MAX: u64 = 8;

/// What is kept of so much time.
fn reserve_ns(limit_ns: u64) -> u64 {
    RESERVE_NS.max(limit_ns / RESERVE_PART_MIN).min(limit_ns / RESERVE_PART_MAX)
}

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

    /// The most blocks that a device may call for in one go without [missing](Processor::replan) anything here. What has
    /// its result within the block takes any number.
    fn burst_max(&self) -> u32 {
        u32::MAX
    }

    /// From the next block on the device calls for so many blocks in one go, at most [`Processor::burst_max`]; until now it
    /// was fewer. What comes later for that comes so from then on.
    ///
    /// Not for the audio thread: it may allocate. It is called while that has not got the processor.
    fn replan(&mut self, _burst: u32) {}

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
    /// When the device called for it, by the same clock: the same for all blocks that it wants in one go.
    pub called_ns: u64,
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
        Self { start_ns, called_ns: start_ns, budget_ns, waiting: 1, waiting_after: 0 }
    }

    /// Until when a processor may wait that was given this fraction of the block, so that it is done by then.
    ///
    /// A little of that time is kept for what is computed after the wait: 80 us or a 64th, but no more than an eighth.
    /// The block's waiting processors share the rest. Each may use what the ones before it left over, but
    /// leaves half of a fair share to each one after it, so that a stuck plugin doesn't take all of its
    /// neighbours' time: with `n` waiting and `k` of them after this one it ends `k / 2n` of it earlier. What one
    /// of them computes after its wait is taken from the next one's, and the last one's from what was kept.
    #[must_use]
    pub fn deadline_ns(&self, fraction: f32) -> u64 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // a fraction of a u64 that fits one
        let limit = (self.budget_ns as f64 * f64::from(fraction)) as u64;
        let shared = limit - reserve_ns(limit);
        let left_to_others = shared * u64::from(self.waiting_after) / (2 * u64::from(self.waiting.max(1)));
        self.start_ns + shared - left_to_others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_on_its_own_may_wait_for_its_fraction_of_the_block_but_for_what_it_computes_then() {
        assert_eq!(Turn::new(1000, 2_000_000).deadline_ns(0.5), 1000 + 1_000_000 - 80_000);
    }

    #[test]
    fn what_is_kept_for_computing_is_a_small_part_of_short_and_of_long_blocks() {
        // 16, 128 and 4096 frames at 48 kHz.
        let kept = [333_334, 2_666_666, 85_333_334].map(|block_ns| {
            let turn = Turn::new(0, block_ns);
            (block_ns / 2 - turn.deadline_ns(0.5)) / 1000
        });
        assert_eq!(kept, [20, 80, 666]);
        assert_eq!(Turn::new(5, 0).deadline_ns(0.95), 5, "there is no time at all");
    }

    #[test]
    fn plugins_that_share_a_block_leave_time_to_those_after_them_and_to_what_the_last_one_computes() {
        let turn = |waiting_after| Turn { waiting: 4, waiting_after, ..Turn::new(0, 1_760_000) };
        let deadlines = [3, 2, 1, 0].map(|after| turn(after).deadline_ns(0.5));
        assert_eq!(deadlines, [500_000, 600_000, 700_000, 800_000]);
    }

    #[test]
    fn however_many_wait_in_a_block_none_does_beyond_its_fraction_less_what_is_kept() {
        for waiting in 1..20 {
            let turn = |waiting_after| Turn { waiting, waiting_after, ..Turn::new(0, 2_666_666) };
            let deadlines: Vec<_> = (0..waiting).rev().map(|after| turn(after).deadline_ns(0.5)).collect();
            assert!(
                deadlines.is_sorted() && deadlines.last() == Some(&(1_333_333 - 80_000)),
                "{deadlines:?}"
            );
        }
    }
}
