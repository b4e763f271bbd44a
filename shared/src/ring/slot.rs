//! What the two ends of a ring do with a slot: publish, look, answer, take.
//!
//! Each step is that of the protocol alone, over the words of a slot; where the samples lie and how they are copied is
//! for [`super::host`] and [`super::worker`]. So a model checker tries every interleaving of the very steps that are run.

use super::{FROM_PEER, Look, Notes, Order, Refused, Scrubbed, Stamps, Status, Taken};
use crate::layout::SlotHead;
use crate::sync::{Ordering, fence};

/// What a host has asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Published {
    /// The sequence that comes next.
    pub(crate) next: u32,
    /// How many blocks, counted up to two rounds of the slots: enough to know what each slot should hold.
    pub(crate) count: u32,
    slots: u32,
    /// A block that is all there but for its sequence.
    held: Option<u32>,
}

impl Published {
    pub(crate) fn new(slots: u32) -> Self {
        Self { next: 1, count: 0, slots, held: None }
    }

    /// Asks for the next block, whose samples are in its slot, if they come from the host; its sequence. The first of
    /// a chain is held until it is [let go](Published::let_go).
    pub(crate) fn ask<'a>(
        &mut self,
        order: Order,
        published_ns: u64,
        request: impl Fn(u32) -> &'a SlotHead,
    ) -> u32 {
        self.let_go(&request);
        let seq = self.count_up();
        let slot = request(seq);
        order.store(slot, seq);
        slot.stamps[0].store(published_ns, Ordering::Relaxed);
        if order.edge.is_none() && order.hands_on {
            self.held = Some(seq);
        } else {
            publish(slot, seq);
        }
        seq
    }

    /// One more; its sequence.
    pub(crate) fn count_up(&mut self) -> u32 {
        let seq = self.next;
        self.next = seq.wrapping_add(1);
        self.count = (self.count + 1).min(2 * self.slots);
        seq
    }

    /// Lets the worker see what is held.
    pub(crate) fn let_go<'a>(&mut self, request: impl Fn(u32) -> &'a SlotHead) {
        if let Some(seq) = self.held.take() {
            publish(request(seq), seq);
        }
    }

    /// What the slot of this block says of its answer; `word` reads its [`answer_word`].
    pub(crate) fn look(&self, seq: u32, word: impl FnOnce() -> u32) -> Look {
        let age = self.next.wrapping_sub(seq);
        if age == 0 || age > self.count.min(self.slots) {
            return Look::NotYet;
        }
        let is_first_in_its_slot = self.count - age < self.slots;
        let before = if is_first_in_its_slot { 0 } else { seq.wrapping_sub(self.slots) };
        match word() {
            word if word == seq => Look::Answered,
            word if word == before => Look::NotYet,
            _ => Look::Forged,
        }
    }

    /// Whether the next block has its slot to itself; `word` reads what was answered there.
    pub(crate) fn room(&self, word: impl FnOnce() -> u32) -> Result<(), Refused> {
        let look = if self.count < self.slots {
            // Nobody has been asked for an answer in this slot.
            if word() == 0 { Look::Answered } else { Look::Forged }
        } else {
            self.look(self.next.wrapping_sub(self.slots), word)
        };
        match look {
            Look::Answered => Ok(()),
            Look::NotYet => Err(Refused::Full),
            Look::Forged => Err(Refused::Forged),
        }
    }
}

fn publish(request: &SlotHead, seq: u32) {
    // SYNC: request published; Acquire in `is_published`.
    request.seq.store(seq, Ordering::Release);
}

/// Whether this block has been asked for.
pub(crate) fn is_published(request: &SlotHead, seq: u32) -> bool {
    // SYNC: request published; Release in `publish`.
    request.seq.load(Ordering::Acquire) == seq
}

/// The sequence of the answer in this slot.
pub(crate) fn answer_word(reply: &SlotHead) -> u32 {
    // SYNC: reply published; Release in `answer`.
    reply.seq.load(Ordering::Acquire)
}

/// What a worker says with its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) status: Status,
    pub(crate) stamps: Stamps,
    pub(crate) notes: Notes,
    pub(crate) from_peer: bool,
    pub(crate) guarded: u32,
}

impl Answer {
    fn store(self, reply: &SlotHead) {
        reply.status.store(self.status as u32, Ordering::Relaxed);
        let Stamps { seen_ns, woken_ns, entered_ns, left_ns } = self.stamps;
        for (word, ns) in reply.stamps.iter().zip([seen_ns, woken_ns, entered_ns, left_ns]) {
            word.store(ns, Ordering::Relaxed);
        }
        self.notes.store(&reply.notes);
        reply.from.store(u32::from(self.from_peer) * FROM_PEER, Ordering::Relaxed);
        reply.guarded.store(self.guarded, Ordering::Relaxed);
    }
}

/// Answers a block whose samples are in the slot; whether the answer is for the next worker, as the host has ordered.
pub(crate) fn answer(request: &SlotHead, reply: &SlotHead, seq: u32, answer: Answer) -> bool {
    answer.store(reply);
    // From now on the host may write the order of another block there.
    let Order { hands_on, .. } = Order::load(request);
    // SYNC: reply published; Acquire in `answer_word`.
    reply.seq.store(seq, Ordering::Release);
    // SYNC: overwritten; with Acquire in `order::is_whole`: the samples of the next block are written after this.
    fence(Ordering::Release);
    hands_on
}

/// What the worker says of a block that is answered, but for its samples.
pub(crate) fn head(reply: &SlotHead) -> Taken {
    let [seen_ns, woken_ns, entered_ns, left_ns] =
        reply.stamps.each_ref().map(|stamp| stamp.load(Ordering::Relaxed));
    Taken {
        status: Status::from_word(reply.status.load(Ordering::Relaxed)),
        scrubbed: Scrubbed::default(),
        stamps: Stamps { seen_ns, woken_ns, entered_ns, left_ns },
        notes: Notes::load(&reply.notes),
        from_peer: reply.from.load(Ordering::Relaxed) == FROM_PEER,
        guarded: reply.guarded.load(Ordering::Relaxed),
    }
}

/// Whether the slot is still that of this answer when its samples have been read.
pub(crate) fn is_still(reply: &SlotHead, seq: u32) -> bool {
    // The loads of the samples stay before this look at the sequence.
    fence(Ordering::Acquire);
    reply.seq.load(Ordering::Relaxed) == seq
}
