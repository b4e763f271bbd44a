//! Where each word of a segment stands.
//!
//! Both segments of a worker, the host's and the worker's, have the same layout: a header, a slot head for each
//! slot, then each slot's samples. Offsets come from the [`Format`] and the number of slots, which travel in a
//! control message and are fixed before the first block; nothing in the segment is ever used to find anything.

use crate::format::Format;
use crate::sync::{AtomicU32, AtomicU64};

/// How many slots a ring may have; a power of two, so that a free-running sequence can wrap.
pub const SLOTS_MAX: u32 = 64;

/// Head of a segment. Each segment's words are written by its owner alone. Those that it writes with each block, though it
/// does not sleep, have a cache line of their own: the others, which the peer reads with each block, stay with the peer.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct Header {
    /// Counts how often it was rung: the futex word that the peer parks on.
    pub bell: AtomicU32,
    /// In a worker's segment: the same for the next worker of a chain.
    pub next_bell: AtomicU32,
    rest_of_line: [AtomicU32; 14],
    /// [`PARKED`] while the owner of this segment sleeps on the peer's bell: for the peer to see.
    pub parked: AtomicU32,
    /// Processor that the owner ran on when it published last, plus one; only compared.
    pub core: AtomicU32,
    /// In the worker's segment: blocks that the plugin got in a buffer made for them, because the slot's own would
    /// not do. For statistics only: a worker may write anything here.
    pub uncached: AtomicU64,
    /// In the worker's segment: [`crate::collected::Collected`]. For statistics only, too.
    pub collected: [AtomicU64; 3],
    /// In the host's segment: how long the worker looks for a block before it sleeps, a word of
    /// [`crate::spin::Spin`].
    pub spin: AtomicU32,
}

/// [`Header::parked`] and [`Doorstep::parked`] of a sleeper. Any other value means awake.
pub const PARKED: u32 = 1;

/// What lies between two workers of a chain beside the segments: written by the second alone, and read by the first, to
/// which the second's own segment is none of its business. The host looks at its own words and never at this.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct Doorstep {
    /// [`PARKED`] while the second one sleeps on the first one's `next_bell`. Only compared: who says that it is awake
    /// when it sleeps, or the other way round, harms nobody's wake-ups but its own.
    pub parked: AtomicU32,
}

/// Head of one slot.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct SlotHead {
    /// Sequence of the block in this slot; stored with Release after everything else of the slot.
    pub seq: AtomicU32,
    /// In the worker's segment one of [`crate::ring::Status`]'s words, in the host's the flags of an
    /// [order](crate::ring::Order).
    pub status: AtomicU32,
    /// In the host's segment `[published, 0, 0, 0]`, in the worker's `[seen, woken, entered, left]`, all of
    /// [`crate::clock::now_ns`]. For statistics only: a worker may write anything here.
    pub stamps: [AtomicU64; 4],
    /// In the worker's segment: [`crate::ring::Notes`] as `[cpu, delay, collector, faults << 16 | slept << 8 |
    /// generation]`. For statistics only, too. In the host's segment: the words of an [order](crate::ring::Order).
    pub notes: [AtomicU32; 4],
    /// In the worker's segment, of a block that came from the worker before: whether it was taken from there
    /// ([`crate::ring::FROM_PEER`]), and how many of its samples had to be replaced.
    pub from: AtomicU32,
    /// See [`SlotHead::from`].
    pub guarded: AtomicU32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Header>() == 128 && size_of::<SlotHead>() == 64);
#[cfg(not(loom))]
const _: () = assert!(size_of::<Doorstep>() == 64);

/// The offsets of a segment, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    format: Format,
    slots: u32,
}

impl Layout {
    /// A ring of `slots` blocks of this format; `None` unless `slots` is a power of two up to [`SLOTS_MAX`].
    #[must_use]
    pub fn new(format: Format, slots: u32) -> Option<Self> {
        (slots.is_power_of_two() && slots <= SLOTS_MAX).then_some(Self { format, slots })
    }

    /// The format of each block.
    #[must_use]
    pub fn format(self) -> Format {
        self.format
    }

    /// Number of slots.
    #[must_use]
    pub fn slots(self) -> u32 {
        self.slots
    }

    /// The slot of a sequence.
    #[must_use]
    pub fn index(self, seq: u32) -> usize {
        (seq & (self.slots - 1)) as usize
    }

    pub(crate) fn slot_offset(self, index: usize) -> usize {
        size_of::<Header>() + index * size_of::<SlotHead>()
    }

    pub(crate) fn samples_offset(self, index: usize) -> usize {
        self.slot_offset(self.slots as usize) + index * self.stride()
    }

    /// Bytes from one slot's samples to the next one's: whole cache lines.
    fn stride(self) -> usize {
        (self.format.samples() * size_of::<f32>()).next_multiple_of(64)
    }

    /// Length of a segment.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.samples_offset(self.slots as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_slots_share_a_cache_line_and_all_lie_within_the_segment() {
        for (channels, frames, slots) in [(1, 16, 1), (2, 17, 8), (64, 8192, 64), (3, 100, 4)] {
            let layout = Layout::new(Format::new(channels, frames, 48_000).unwrap(), slots).unwrap();
            let bytes = layout.format().samples() * 4;
            for i in 0..slots as usize {
                assert_eq!(layout.samples_offset(i) % 64, 0);
                assert!(layout.samples_offset(i) + bytes <= layout.samples_offset(i + 1));
            }
            assert_eq!(layout.samples_offset(slots as usize), layout.bytes());
        }
    }

    #[test]
    fn slots_that_a_wrapping_sequence_could_not_use_are_refused() {
        let format = Format::new(2, 64, 48_000).unwrap();
        for slots in [0, 3, 65, 128] {
            assert_eq!(Layout::new(format, slots), None);
        }
    }
}
