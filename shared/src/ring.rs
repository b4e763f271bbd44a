//! Blocks of audio across a process boundary: the host publishes requests, the worker answers them in order.
//!
//! Two segments, one written by each side. A block has a sequence, counted up from 1 and wrapping; its slot is
//! the sequence masked. The writer fills the slot, then stores the sequence with Release; the reader loads it
//! with Acquire and compares it with the one it expects. A slot's request may be written again only when its
//! answer has been published, so that nobody reads while the other writes, as long as both keep to it; when
//! the worker does not, the host gets wrong samples or none, and never more than that. A sequence in an answer
//! that no worker that keeps to it could have written is told as [`Look::Forged`].
//!
//! [`HostEnd`] is for the audio thread. It never trusts a word of the worker's. [`WorkerEnd`] is for the
//! worker's main thread (or for a thread of the host that answers like one). Neither decides what is done
//! about a block that is not there. In a chain a block goes from one worker's answer straight to the next worker:
//! see [`Order`].

#[cfg(not(loom))]
mod copy;
#[cfg(not(loom))]
mod fetch;
#[cfg(not(loom))]
mod host;
pub(crate) mod order;
pub(crate) mod slot;
#[cfg(not(loom))]
mod worker;

pub use crate::wait::Bounds;
#[cfg(not(loom))]
pub use host::{HostEnd, HostWaker, WorkerCounts};
pub use order::{EdgeInput, FROM_PEER, Order};
#[cfg(not(loom))]
pub use worker::{SlotMemory, Wake, WorkerEnd, WorkerWaker};

use crate::sync::{AtomicU32, Ordering};

/// What the worker says of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// The plugin returned true.
    Good = 1,
    /// The plugin returned false or raised: the samples mean nothing.
    Failed = 2,
    /// The plugin was not called: the worker before it in the chain had nothing to hand on.
    Starved = 3,
}

impl Status {
    /// Any other word is a failure too.
    fn from_word(word: u32) -> Self {
        [Self::Good, Self::Starved].into_iter().find(|status| *status as u32 == word).unwrap_or(Self::Failed)
    }
}

/// What happens to samples that nobody should hear when they are taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scrub {
    /// Those that are not finite become a line between their neighbours, those above the ceiling come down to it; both are
    /// counted.
    Guard {
        /// Largest magnitude that passes, of the samples' own scale (1.0 is full scale). One that is not finite
        /// lets all finite samples pass.
        ceiling: f32,
    },
    /// All bits pass.
    Nothing,
}

/// When the worker did what, in [`clock::now_ns`]; written by the worker, so only for statistics, and to find answers
/// that are older than their questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamps {
    /// Its thread saw the request, before it had the interpreter to itself.
    pub seen_ns: u64,
    /// It had the interpreter: until then other threads of the plugin may have kept it.
    pub woken_ns: u64,
    /// It called the plugin.
    pub entered_ns: u64,
    /// The plugin returned.
    pub left_ns: u64,
}

/// What a block cost the worker, as it says itself: only for statistics, and 0 where it did not measure, as it
/// does for blocks that were quick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notes {
    /// CPU time of its main thread, in microseconds.
    pub cpu_us: u32,
    /// How long its main thread was ready to run and no processor took it, in microseconds.
    pub delay_us: u32,
    /// How long Python's collector ran meanwhile, in whichever thread, in microseconds.
    pub collector_us: u32,
    /// The oldest generation that was collected: 0 to 2.
    pub collector_generation: u8,
    /// Page faults of its main thread that had to wait for a disk; more than fit are told as the most.
    pub major_faults: u16,
    /// Its main thread gave its processor up to wait for something; false also where that is not known for sure.
    pub slept: bool,
}

impl Notes {
    fn store(self, words: &[AtomicU32; 4]) {
        let [low, high] = self.major_faults.to_le_bytes();
        let packed = u32::from_le_bytes([self.collector_generation, self.slept.into(), low, high]);
        let values = [self.cpu_us, self.delay_us, self.collector_us, packed];
        words.iter().zip(values).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
    }

    /// Any words make notes; the generation is held to what there is.
    fn load(words: &[AtomicU32; 4]) -> Self {
        let [cpu_us, delay_us, collector_us, packed] = words.each_ref().map(|w| w.load(Ordering::Relaxed));
        let [generation, slept, low, high] = packed.to_le_bytes();
        Self {
            cpu_us,
            delay_us,
            collector_us,
            collector_generation: generation.min(2),
            major_faults: u16::from_le_bytes([low, high]),
            slept: slept != 0,
        }
    }
}

/// What was found in a block's samples, and mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scrubbed {
    /// Samples that were not finite and were replaced.
    pub non_finite: u32,
    /// Samples that were above the ceiling and were brought down to it.
    pub too_loud: u32,
    /// Of some channel the first sample was replaced: nothing leads to it from the block before.
    pub is_open_before: bool,
    /// The last one.
    pub is_open_after: bool,
}

/// An answer that has been taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// What the worker says of the block.
    pub status: Status,
    /// What was done to its samples.
    pub scrubbed: Scrubbed,
    /// When the worker did what.
    pub stamps: Stamps,
    /// What it cost the worker.
    pub notes: Notes,
    /// Of a block that was to come from the worker before: it says that it did.
    pub from_peer: bool,
    /// Samples of that which it says it had to replace.
    pub guarded: u32,
}

/// What the slot of a block says of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It is there.
    Answered,
    /// It is not there yet, or can't come any more because a later block has the slot.
    NotYet,
    /// The sequence in the slot is neither the block's nor that of the one before it there: the worker broke the
    /// protocol, and none of its words means anything from now on.
    Forged,
}

/// Why a block can't be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The block that has its slot has not been answered.
    Full,
    /// The answer in its slot is none that was asked for, perhaps the one to this very block: see
    /// [`Look::Forged`].
    Forged,
}

/// Why [`HostEnd::wait`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// The answer is there.
    Answered,
    /// The deadline has come first.
    TimeOver,
    /// The caller's flag is up.
    GivenUp,
    /// Woken without cause again and again: no worker that keeps to the protocol does that.
    Flooded,
    /// The answer is there, but the deadline has come first, though the worker has rung its bell: it has put this end to
    /// sleep where no wake reaches it, or has rung just now. See [`HostEnd::is_spoilt`].
    Unwoken,
    /// See [`Look::Forged`].
    Forged,
}

/// What came of a wait that may have slept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// Why it returned.
    pub waited: Waited,
    /// For how long the machine let it sleep on after its deadline. Not what was computed: 0 if it did not sleep.
    pub overslept_ns: u64,
}

/// The slot changed while it was read: the worker broke the protocol, the samples mean nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Torn;

#[cfg(not(loom))]
#[cfg(test)]
mod tests;
