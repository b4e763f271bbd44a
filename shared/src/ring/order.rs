//! What the host says with a block: where its samples are, and who is woken by its answer.
//!
//! In a chain of workers the host orders a block of each of them at once. Only the first gets samples from it; each
//! other one takes the answer of the worker before it, straight from the memory that that one writes and it can only
//! read, and the last one's answer wakes the host. If a worker in the middle fails, is late or dead, the host supplies
//! the one after it with samples [after all](supply_after_all), and that one takes whichever it sees first: once, and
//! under the same sequence, so that each plugin gets one block for each block.
//!
//! The worker trusts the words of the host. It trusts no word of the worker before it: that one's sequence is compared
//! with the one that the host has named, and its samples are copied like a stranger's.

use super::{Scrub, Status, slot};
use crate::layout::SlotHead;
use crate::sync::Ordering;

/// Flags in the host's [`SlotHead::status`].
const FROM_EDGE: u32 = 1;
const HANDS_ON: u32 = 2;
/// In place of a ceiling: no finite number.
const NO_SCRUB: u32 = u32::MAX;

/// [`SlotHead::from`] of a block that came from the worker before; anything else means from the host.
pub const FROM_PEER: u32 = 1;

/// The answer of the worker before that a block is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EdgeInput {
    /// Its sequence there.
    pub seq: u32,
    /// Which worker that is: see [`super::WorkerEnd::attach`].
    pub tag: u32,
    /// What happens to samples that nobody should hear.
    pub scrub: Scrub,
}

/// What the host says with a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Order {
    /// Where the samples come from; `None` is from the host, in the request's own slot.
    pub edge: Option<EdgeInput>,
    /// The answer is for the next worker, and wakes that one instead of the host.
    pub hands_on: bool,
}

impl Order {
    /// Of a plugin on its own.
    pub const ALONE: Self = Self { edge: None, hands_on: false };

    /// To be stored before the sequence.
    pub(crate) fn store(&self, slot: &SlotHead, seq: u32) {
        let flags = (u32::from(self.edge.is_some()) * FROM_EDGE) | (u32::from(self.hands_on) * HANDS_ON);
        slot.status.store(flags, Ordering::Relaxed);
        let Some(EdgeInput { seq: input, tag, scrub }) = self.edge else { return };
        let ceiling = match scrub {
            Scrub::Guard { ceiling } => ceiling.to_bits(),
            Scrub::Nothing => NO_SCRUB,
        };
        // Not supplied after all: a sequence that this slot has not had for long.
        let values = [input, seq.wrapping_sub(1), ceiling, tag];
        slot.notes.iter().zip(values).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
    }

    pub(crate) fn load(slot: &SlotHead) -> Self {
        let flags = slot.status.load(Ordering::Relaxed);
        let [seq, _, ceiling, tag] = slot.notes.each_ref().map(|word| word.load(Ordering::Relaxed));
        let scrub = if ceiling == NO_SCRUB {
            Scrub::Nothing
        } else {
            Scrub::Guard { ceiling: f32::from_bits(ceiling) }
        };
        let edge = (flags & FROM_EDGE != 0).then_some(EdgeInput { seq, tag, scrub });
        Self { edge, hands_on: flags & HANDS_ON != 0 }
    }
}

/// Whether the samples of this block are in the request's own slot.
pub(crate) fn has_samples(slot: &SlotHead, seq: u32) -> bool {
    Order::load(slot).edge.is_none() || is_supplied(slot, seq)
}

fn is_supplied(slot: &SlotHead, seq: u32) -> bool {
    // SYNC: supply; with Release in `supply_after_all`.
    slot.notes[1].load(Ordering::Acquire) == seq
}

/// Says that the samples of this block are in the request's own slot now, although an edge was named.
pub(crate) fn supply_after_all(slot: &SlotHead, seq: u32) {
    // SYNC: supply; with Acquire in `is_supplied`: whoever sees this sees the samples.
    slot.notes[1].store(seq, Ordering::Release);
}

/// What a worker has to work on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Supply {
    /// The worker before has not answered, nor has the host stepped in.
    NotYet,
    /// The samples in the request's own slot.
    Host,
    /// The samples of the worker before.
    Peer(EdgeInput),
    /// There will be nothing: the worker before failed, or is not the one that the host means.
    Nothing,
}

/// The worker before, as the one after it sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upstream<'a> {
    /// Its slot of the sequence that was named.
    pub(crate) slot: &'a SlotHead,
    pub(crate) slots: u32,
}

/// What there is to work on for the block of this sequence, which is published in `request`. `upstream` finds the slot
/// of an answer of the worker before, if that one is the one that is meant.
pub(crate) fn supply<'a>(
    request: &SlotHead,
    seq: u32,
    upstream: impl FnOnce(&EdgeInput) -> Option<Upstream<'a>>,
) -> Supply {
    let Some(input) = Order::load(request).edge else { return Supply::Host };
    if is_supplied(request, seq) {
        return Supply::Host;
    }
    let Some(Upstream { slot, slots }) = upstream(&input) else { return Supply::Nothing };
    match slot::answer_word(slot) {
        word if word == input.seq => {
            let is_good = Status::from_word(slot.status.load(Ordering::Relaxed)) == Status::Good;
            if is_good { Supply::Peer(input) } else { Supply::Nothing }
        }
        word if word == input.seq.wrapping_sub(slots) || word == 0 => Supply::NotYet,
        _ => Supply::Nothing,
    }
}

/// Whether the samples that were read from this answer of the worker before were all its own. That one works on a
/// later block where this one's answer is, and says so only when it is done; but it begins when it has answered the
/// block before that. So the answer `before`, in the slot before, has to be there still, too.
pub(crate) fn is_whole(answer: &SlotHead, before: &SlotHead, seq: u32) -> bool {
    // SYNC: overwritten; with Release in `slot::answer`: who has read a later sample sees a later answer.
    slot::is_still(answer, seq) && before.seq.load(Ordering::Relaxed) == seq.wrapping_sub(1)
}

#[cfg(not(loom))]
#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: EdgeInput = EdgeInput { seq: 12, tag: 3, scrub: Scrub::Guard { ceiling: 4.0 } };

    #[test]
    fn an_order_survives_the_journey_through_a_slot() {
        let slot = SlotHead::default();
        let quiet = EdgeInput { scrub: Scrub::Nothing, ..INPUT };
        for edge in [None, Some(INPUT), Some(quiet)] {
            for hands_on in [false, true] {
                let order = Order { edge, hands_on };
                order.store(&slot, 7);
                assert_eq!(Order::load(&slot), order);
            }
        }
    }

    fn supplied(request: &SlotHead, before: &SlotHead) -> Supply {
        supply(request, 7, |_| Some(Upstream { slot: before, slots: 8 }))
    }

    #[test]
    fn a_worker_waits_for_the_very_answer_that_the_host_has_named() {
        let (request, before) = (SlotHead::default(), SlotHead::default());
        Order { edge: Some(INPUT), hands_on: false }.store(&request, 7);
        let say = |seq: u32, status: Status| {
            before.status.store(status as u32, Ordering::Relaxed);
            before.seq.store(seq, Ordering::Release);
            supplied(&request, &before)
        };
        assert_eq!(say(0, Status::Good), Supply::NotYet);
        assert_eq!(say(4, Status::Good), Supply::NotYet);
        assert_eq!(say(12, Status::Good), Supply::Peer(INPUT));
        assert_eq!(say(12, Status::Failed), Supply::Nothing);
        assert_eq!(say(12, Status::Starved), Supply::Nothing);
        // Overwritten, or a sequence that nobody asked for.
        assert_eq!(say(20, Status::Good), Supply::Nothing);
        assert_eq!(say(13, Status::Good), Supply::Nothing);
    }

    #[test]
    fn what_the_host_supplies_after_all_comes_first_and_is_for_one_block_only() {
        let (request, before) = (SlotHead::default(), SlotHead::default());
        Order { edge: Some(INPUT), hands_on: false }.store(&request, 7);
        supply_after_all(&request, 6);
        assert_eq!(supplied(&request, &before), Supply::NotYet);
        supply_after_all(&request, 7);
        before.seq.store(12, Ordering::Release);
        assert_eq!(supplied(&request, &before), Supply::Host);
        Order { edge: Some(INPUT), hands_on: false }.store(&request, 15);
        assert_eq!(supply(&request, 15, |_| None), Supply::Nothing);
    }
}
