//! The worker's end of a ring: sees requests, answers them in order.
//!
//! For the worker's main thread, or for a thread of the host that answers like one. It trusts the host. It trusts the
//! worker whose answers it takes no more than the host does.

// Raw sample pointers from `segment` are read and written here.
#![allow(unsafe_code)]

use super::copy::{copy_untrusted, scrub};
use super::fetch;
use super::host::{core, store_if_new};
use super::order::{self, EdgeInput, Supply, Upstream};
use super::slot::{self, Answer};
use super::{Notes, Scrubbed, Stamps, Status};
use crate::clock;
use crate::collected::Collected;
use crate::control::Handles;
use crate::futex;
use crate::layout::{Layout, SlotHead};
use crate::segment::{OwnDoorstep, OwnSegment, PeerDoorstep, PeerSegment};
use crate::spin::{Spin, Spinner};
use crate::wait::{self, Bells, Bounds, Sign};
use rustix::io::{Errno, Result};
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why [`WorkerEnd::wait`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// A block is there.
    Block,
    /// The caller's flag is up.
    Interrupted,
    /// Neither, until the deadline.
    Deadline,
}

/// The worker's end: sees requests, answers them in order.
#[derive(Debug)]
pub struct WorkerEnd {
    pub(super) reply: Arc<OwnSegment>,
    pub(super) request: Arc<PeerSegment>,
    pub(super) layout: Layout,
    pub(super) next: u32,
    edge: Option<Edge>,
    /// Of the worker behind this one.
    next_doorstep: Option<PeerDoorstep>,
    spinner: Spinner,
    sleeps: u32,
    taken: FromEdge,
}

/// The worker before this one in a chain.
#[derive(Debug)]
struct Edge {
    answers: PeerSegment,
    layout: Layout,
    tag: u32,
    doorstep: OwnDoorstep,
}

impl Edge {
    fn slot(&self, seq: u32) -> &SlotHead {
        self.answers.slot(self.layout.index(seq))
    }
}

/// What was taken from there for the block that is next.
#[derive(Debug, Clone, Copy, Default)]
struct FromEdge {
    is_from_peer: bool,
    guarded: u32,
}

/// Wakes a [`WorkerEnd`] that waits for a block, so that it looks at its interruption flag.
#[derive(Debug, Clone)]
pub struct WorkerWaker(Arc<PeerSegment>);

impl WorkerWaker {
    /// Wakes the worker's main thread if it sleeps. It may just be falling asleep and miss this: repeat until
    /// it has answered.
    pub fn wake(&self) {
        wait::wake(self.0.header());
    }
}

/// The samples of all slots of a [`WorkerEnd`], which stay mapped as long as this or a clone of it lives: for
/// arrays that alias them and may outlive the end.
#[derive(Debug, Clone)]
pub struct SlotMemory {
    pub(super) reply: Arc<OwnSegment>,
    layout: Layout,
}

impl SlotMemory {
    /// The format and number of slots.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The samples of slot `index`, as [`WorkerEnd::samples`].
    ///
    /// # Panics
    /// If there is no such slot.
    #[must_use]
    pub fn samples(&self, index: usize) -> NonNull<f32> {
        self.reply.samples(index)
    }

    /// Counts a block that the plugin got in a buffer made for it. To be called before the block is answered, by
    /// one thread.
    pub fn count_uncached(&self) {
        let count = &self.reply.header().uncached;
        // One writer: no read-modify-write is needed.
        count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}

impl WorkerEnd {
    /// Maps both segments that the host made.
    ///
    /// # Errors
    /// `EINVAL` if a descriptor's length is not the layout's; others of the operating system.
    pub fn map(handles: &Handles, layout: Layout) -> Result<Self> {
        let reply = Arc::new(OwnSegment::map(&handles.reply, layout)?);
        let request = Arc::new(PeerSegment::map(&handles.request, layout)?);
        Ok(Self::of(reply, request, layout))
    }

    pub(super) fn of(reply: Arc<OwnSegment>, request: Arc<PeerSegment>, layout: Layout) -> Self {
        let (edge, spinner, taken) = (None, Spinner::default(), FromEdge::default());
        Self { reply, request, layout, next: 1, edge, next_doorstep: None, spinner, sleeps: 0, taken }
    }

    /// Takes the memory that another worker writes its answers to, in a ring of `layout`: blocks may be ordered from
    /// there from now on, under this `tag`, which tells it from others before and after it. On `doorstep` this end says to
    /// that worker that it sleeps, as its one writer: blocks may be ordered when that one [looks](WorkerEnd::hand_to)
    /// there, or at none at all.
    ///
    /// # Errors
    /// `ENOSYS` if the kernel can't wait for two at once (it takes Linux 5.16); `EINVAL` if its blocks have another
    /// format, its memory or the doorstep another length, or it has one slot only, where a block can't be told from the
    /// next; `EPERM` if the doorstep was another's. Then it is as before.
    pub fn attach(
        &mut self,
        answers: impl AsFd,
        layout: Layout,
        tag: u32,
        doorstep: impl AsFd,
    ) -> Result<()> {
        if !futex::can_wait_for_either() {
            return Err(Errno::NOSYS);
        }
        if layout.format() != self.layout.format() || layout.slots() < 2 {
            return Err(Errno::INVAL);
        }
        let (answers, doorstep) = (PeerSegment::map(answers, layout)?, OwnDoorstep::map(doorstep)?);
        self.edge = Some(Edge { answers, layout, tag, doorstep });
        Ok(())
    }

    /// Takes the doorstep of the worker that is attached to this one: from now on that one is woken only if it says there
    /// that it sleeps. Whoever was attached before is woken no more.
    ///
    /// # Errors
    /// `EINVAL` if it has another length than a doorstep; others of the operating system. Then it is as before.
    pub fn hand_to(&mut self, doorstep: impl AsFd) -> Result<()> {
        self.next_doorstep = Some(PeerDoorstep::map(doorstep)?);
        Ok(())
    }

    /// The format and number of slots.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Wakes this end from another thread.
    #[must_use]
    pub fn waker(&self) -> WorkerWaker {
        WorkerWaker(Arc::clone(&self.request))
    }

    /// The samples of slot `index`, channel after channel, in memory that only this process writes: what the
    /// plugin's array aliases. Valid as long as this end lives.
    ///
    /// # Panics
    /// If there is no such slot.
    #[must_use]
    pub fn samples(&self, index: usize) -> NonNull<f32> {
        self.reply.samples(index)
    }

    /// The samples of the block that comes next, for a worker in Rust. Not to be mixed with pointers from
    /// [`WorkerEnd::samples`] that are still in use.
    pub fn next_samples(&mut self) -> &mut [f32] {
        let samples = self.reply.samples(self.next_index()).as_ptr();
        // SAFETY: the slot's samples lie within our own segment, which no other process writes; `&mut self`
        // makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(samples, self.layout.format().samples()) }
    }

    /// The same samples, to be held by arrays that may outlive this end.
    #[must_use]
    pub fn memory(&self) -> SlotMemory {
        SlotMemory { reply: Arc::clone(&self.reply), layout: self.layout }
    }

    /// Tells the host what the collector did so far. To be called by one thread.
    pub fn tell_collected(&self, collected: Collected) {
        collected.store(&self.reply.header().collected);
    }

    /// Whether it has answered a block.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        self.next != 1
    }

    /// The slot of the block that comes next.
    #[must_use]
    pub fn next_index(&self) -> usize {
        self.layout.index(self.next)
    }

    /// Whether the next block is there.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.supply() != Supply::NotYet
    }

    fn supply(&self) -> Supply {
        let request = self.request.slot(self.next_index());
        if !slot::is_published(request, self.next) {
            return Supply::NotYet;
        }
        order::supply(request, self.next, |input| {
            let edge = self.edge.as_ref().filter(|edge| edge.tag == input.tag)?;
            Some(Upstream { slot: edge.slot(input.seq), slots: edge.layout.slots() })
        })
    }

    /// Whether anybody that the next block may come from was last on the processor that this thread is on.
    fn shares_core(&self) -> bool {
        let here = core();
        let is_here = |peer: &PeerSegment| peer.header().core.load(Ordering::Relaxed) == here;
        is_here(&self.request) || self.edge.as_ref().is_some_and(|edge| is_here(&edge.answers))
    }

    /// Waits for the next block, until the deadline or until `interrupt` is up: looks for a while, where that has been
    /// seen to pay, then sleeps.
    #[must_use]
    pub fn wait(&mut self, deadline_ns: u64, interrupt: &AtomicBool) -> Wake {
        let now_ns = clock::now_ns();
        self.wait_for(|| now_ns, deadline_ns.saturating_sub(now_ns), interrupt).0
    }

    /// As [`WorkerEnd::wait`], for so long at most; and the time when that is over. `rest` is asked for the time, if
    /// there is anything to wait for.
    #[must_use]
    pub fn wait_for(
        &mut self,
        rest: impl FnOnce() -> u64,
        within_ns: u64,
        interrupt: &AtomicBool,
    ) -> (Wake, u64) {
        let interrupted = || interrupt.load(Ordering::Acquire);
        let ready = || (self.is_requested() || interrupted()).then_some(());
        let (mut sleeps, mut looked) = (0, None);
        if ready().is_none() {
            let from_ns = rest();
            let deadline_ns = from_ns.saturating_add(within_ns);
            let header = self.request.header();
            let rule = Spin::from_word(header.spin.load(Ordering::Relaxed));
            let mut spinner = self.spinner;
            let budget_ns = spinner.budget_ns(rule, rule != Spin::Off && self.shares_core());
            let bounds = Bounds { from_ns, spin_ns: budget_ns, deadline_ns };
            if budget_ns > 0 {
                fetch::to_write(self.reply.samples(self.next_index()), self.layout.format().samples());
            }
            if wait::spin(bounds, ready).is_some() {
                self.fetch_input();
            } else if bounds.look_until_ns() < deadline_ns {
                // Else the time was over while it looked, and who says that he sleeps is woken.
                let second = self.edge.as_ref().map(|edge| &edge.answers.header().next_bell);
                let bells = Bells { first: &header.bell, second };
                let doorstep = self.edge.as_ref().map(|edge| edge.doorstep.words());
                let sign = Sign { own: self.reply.header(), doorstep };
                sleeps = wait::park(sign, bells, deadline_ns, ready).times;
            }
            self.spinner = spinner;
            looked = (budget_ns > 0).then_some((budget_ns, from_ns));
        }
        self.sleeps = sleeps;
        let wake = match (interrupted(), self.is_requested()) {
            (true, _) => Wake::Interrupted,
            (_, true) => Wake::Block,
            _ => Wake::Deadline,
        };
        let now_ns = clock::now_ns();
        if let Some((budget_ns, from_ns)) = looked {
            self.spinner.learn(budget_ns, now_ns.saturating_sub(from_ns));
        }
        (wake, now_ns)
    }

    /// Asks for the samples of the next block, which is there: the processor that wrote them has them.
    fn fetch_input(&self) {
        let samples = self.layout.format().samples();
        match self.supply() {
            Supply::Host => fetch::to_read(self.request.samples(self.next_index()), samples),
            Supply::Peer(input) => self.edge.iter().for_each(|edge| {
                fetch::to_read(edge.answers.samples(edge.layout.index(input.seq)), samples);
            }),
            Supply::Nothing | Supply::NotYet => {}
        }
    }

    /// How often the last [`WorkerEnd::wait`] gave the processor up, at most.
    #[must_use]
    pub fn sleeps(&self) -> u32 {
        self.sleeps
    }

    /// When the block that is next was there to be taken, in [`clock::now_ns`]; if it comes from another worker, by
    /// that one's word, but not after this end has seen it. To be called after [`Wake::Block`].
    #[must_use]
    pub fn published_ns(&self, seen_ns: u64) -> u64 {
        let published_ns = self.request.slot(self.next_index()).stamps[0].load(Ordering::Relaxed);
        let Supply::Peer(input) = self.supply() else { return published_ns };
        let left_ns = |edge: &Edge| edge.slot(input.seq).stamps[3].load(Ordering::Relaxed);
        published_ns.max(self.edge.as_ref().map_or(0, left_ns)).min(seen_ns)
    }

    /// Copies the next block into its answer slot, where the plugin works on it in place. False if there is none,
    /// because the worker before has nothing to hand on: then the answer is [`Status::Starved`].
    /// To be called after [`Wake::Block`].
    pub fn begin(&mut self) -> bool {
        self.taken = FromEdge::default();
        match self.supply() {
            Supply::Host => {
                self.copy_request();
                true
            }
            Supply::Peer(input) => self.copy_answer(input),
            Supply::Nothing | Supply::NotYet => false,
        }
    }

    fn copy_request(&mut self) {
        let index = self.next_index();
        let (from, to) = (self.request.samples(index), self.reply.samples(index));
        let samples = self.layout.format().samples();
        // SAFETY: both are slots of `samples` samples in different segments. The host, which a worker trusts,
        // does not write the request again before its answer; only this process writes the other.
        unsafe { from.copy_to_nonoverlapping(to, samples) }
    }

    /// Copies the answer of the worker before; whether it was that one's all the time.
    fn copy_answer(&mut self, input: EdgeInput) -> bool {
        let Some(edge) = self.edge.take() else { return false };
        let frames = self.layout.format().block_frames();
        let out = self.next_samples();
        copy_untrusted(edge.answers.samples(edge.layout.index(input.seq)), out);
        let is_whole = order::is_whole(edge.slot(input.seq), edge.slot(input.seq.wrapping_sub(1)), input.seq);
        let Scrubbed { non_finite, too_loud, .. } = scrub(out, frames, input.scrub);
        self.taken = FromEdge { is_from_peer: true, guarded: non_finite + too_loud };
        self.edge = Some(edge);
        is_whole
    }

    /// As [`WorkerEnd::begin`] for a block that nobody ordered, and that will not be answered: what the host gave last
    /// in this slot, or silence. Only while the host hands nothing over.
    pub fn begin_unordered(&mut self) {
        self.copy_request();
    }

    /// As [`WorkerEnd::begin`] for a plugin that takes no audio: the slot starts as silence.
    pub fn begin_silent(&mut self) {
        let to = self.reply.samples(self.next_index());
        // SAFETY: a slot of this many samples, which only this process writes; all zero bytes are 0.0.
        unsafe { to.write_bytes(0, self.layout.format().samples()) }
    }

    /// Publishes the answer to the block that is next, and wakes whoever it is for: the host, if it sleeps, or the
    /// next worker. Whether it is the latter: that one may be waiting for this processor.
    pub fn answer(&mut self, status: Status, stamps: Stamps, notes: Notes) -> bool {
        let (header, index) = (self.reply.header(), self.next_index());
        store_if_new(&header.core, core());
        let FromEdge { is_from_peer: from_peer, guarded } = self.taken;
        let answer = Answer { status, stamps, notes, from_peer, guarded };
        let hands_on = slot::answer(self.request.slot(index), self.reply.slot(index), self.next, answer);
        if hands_on {
            let next = self.next_doorstep.as_ref().map(PeerDoorstep::words);
            wait::hand_on(header, next, self.request.header());
        } else {
            wait::ring(header, self.request.header());
        }
        self.next = self.next.wrapping_add(1);
        hands_on
    }
}
