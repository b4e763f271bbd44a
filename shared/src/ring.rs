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
//! about a block that is not there.

// Raw sample pointers from `segment` are read and written here.
#![allow(unsafe_code)]

use crate::clock;
use crate::control::Handles;
use crate::layout::Layout;
use crate::segment::{OwnSegment, PeerSegment};
use crate::wait::{self, Unready};
use rustix::io::Result;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

/// What the worker says of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// The plugin returned true.
    Good = 1,
    /// The plugin returned false or raised: the samples mean nothing.
    Failed = 2,
}

impl Status {
    /// A word that is neither is a failure too.
    fn from_word(word: u32) -> Self {
        if word == Self::Good as u32 { Self::Good } else { Self::Failed }
    }
}

/// What happens to samples that nobody should hear when they are taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scrub {
    /// Those that are not finite become 0.0, those above the ceiling come down to it; both are counted.
    Guard {
        /// Largest magnitude that passes, of the samples' own scale (1.0 is full scale). One that is not finite
        /// lets all finite samples pass.
        ceiling: f32,
    },
    /// All bits pass.
    Nothing,
}

/// When the worker did what, in [`clock::now_ns`]; written by the worker, so only for statistics.
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
}

impl Notes {
    fn store(self, words: &[AtomicU32; 4]) {
        let packed = u32::from(self.major_faults) << 16 | u32::from(self.collector_generation);
        let values = [self.cpu_us, self.delay_us, self.collector_us, packed];
        words.iter().zip(values).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
    }

    /// Any words make notes; the generation is held to what there is.
    fn load(words: &[AtomicU32; 4]) -> Self {
        let [cpu_us, delay_us, collector_us, packed] = words.each_ref().map(|w| w.load(Ordering::Relaxed));
        let [generation, _, low, high] = packed.to_le_bytes();
        Self {
            cpu_us,
            delay_us,
            collector_us,
            collector_generation: generation.min(2),
            major_faults: u16::from_le_bytes([low, high]),
        }
    }
}

/// An answer that has been taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// What the worker says of the block.
    pub status: Status,
    /// Samples that were not finite and were replaced.
    pub non_finite: u32,
    /// Samples that were above the ceiling and were brought down to it.
    pub too_loud: u32,
    /// When the worker did what.
    pub stamps: Stamps,
    /// What it cost the worker.
    pub notes: Notes,
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
    /// See [`Look::Forged`].
    Forged,
}

/// The slot changed while it was read: the worker broke the protocol, the samples mean nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Torn;

/// The host's end: publishes requests, takes answers.
#[derive(Debug)]
pub struct HostEnd {
    request: Arc<OwnSegment>,
    reply: Arc<PeerSegment>,
    layout: Layout,
    next: u32,
    /// Blocks published, counted up to two rounds of the slots: enough to know what each slot should hold.
    published: u32,
}

/// Wakes a [`HostEnd`] that waits for an answer that will never come. For the supervisor.
#[derive(Debug, Clone)]
pub struct HostWaker {
    request: Arc<OwnSegment>,
    reply: Arc<PeerSegment>,
}

/// How often a host that was just falling asleep, and so missed a wake, is woken again.
const WAKE_AGAIN_MAX: u32 = 1000;

impl HostWaker {
    /// Wakes the audio thread if it waits; it then looks for itself whether to go on waiting. For a caller that
    /// may spend a millisecond.
    pub fn wake(&self) {
        for _ in 0..WAKE_AGAIN_MAX {
            wait::wake(self.reply.header());
            if !wait::is_parked(self.request.header()) {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// Reads how many blocks the plugin got in a buffer made for them, for as long as the ring was used. From any
/// thread, also when the worker has ended.
#[derive(Debug, Clone)]
pub struct UncachedBlocks(Arc<PeerSegment>);

impl UncachedBlocks {
    /// How many, as the worker says: to be shown, never relied upon. A block that has been taken is counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.header().uncached.load(Ordering::Relaxed)
    }
}

impl HostEnd {
    /// Makes both segments; the handles are for the worker, and to be sealed when it has mapped them.
    ///
    /// # Errors
    /// Of the operating system: no memory, no descriptors.
    pub fn create(layout: Layout) -> Result<(Self, Handles)> {
        let (request, request_fd) = OwnSegment::create(layout)?;
        let (reply, reply_fd) = PeerSegment::create(layout)?;
        let end = Self { request: Arc::new(request), reply: Arc::new(reply), layout, next: 1, published: 0 };
        Ok((end, Handles { request: request_fd, reply: reply_fd }))
    }

    /// The format and number of slots.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Wakes this end from another thread.
    #[must_use]
    pub fn waker(&self) -> HostWaker {
        HostWaker { request: Arc::clone(&self.request), reply: Arc::clone(&self.reply) }
    }

    /// Tells from another thread how many blocks went without the slots' own buffers.
    #[must_use]
    pub fn uncached_blocks(&self) -> UncachedBlocks {
        UncachedBlocks(Arc::clone(&self.reply))
    }

    /// The sequence that the next block will have.
    #[must_use]
    pub fn next_seq(&self) -> u32 {
        self.next
    }

    /// The blocks published last whose requests are still in their slots, oldest first.
    pub fn kept(&self) -> impl Iterator<Item = u32> + use<> {
        let next = self.next;
        (1..=self.published.min(self.layout.slots())).rev().map(move |back| next.wrapping_sub(back))
    }

    /// When a block that is [kept](HostEnd::kept) was published, in [`clock::now_ns`].
    #[must_use]
    pub fn published_ns(&self, seq: u32) -> u64 {
        self.request.slot(self.layout.index(seq)).stamps[0].load(Ordering::Relaxed)
    }

    /// Whether the next block has a slot: the one that had it before has been answered. Its answer is lost if it
    /// has not been taken by then.
    ///
    /// # Real-time
    /// May be called on the audio thread: one load.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.room().is_ok()
    }

    fn room(&self) -> std::result::Result<(), Refused> {
        let slots = self.layout.slots();
        let look = if self.published < slots {
            // Nobody has been asked for an answer in this slot.
            if self.answer_word(self.next) == 0 { Look::Answered } else { Look::Forged }
        } else {
            self.look(self.next.wrapping_sub(slots))
        };
        match look {
            Look::Answered => Ok(()),
            Look::NotYet => Err(Refused::Full),
            Look::Forged => Err(Refused::Forged),
        }
    }

    /// Publishes a block that `write` fills (channel after channel); its sequence. The worker is not woken yet:
    /// see [`HostEnd::notify`].
    ///
    /// # Errors
    /// [`Refused`], and `write` is not called.
    ///
    /// # Real-time
    /// May be called on the audio thread: no wait, no system call.
    pub fn publish(&mut self, write: impl FnOnce(&mut [f32])) -> std::result::Result<u32, Refused> {
        self.room()?;
        let seq = self.next;
        let index = self.layout.index(seq);
        let samples = self.request.samples(index).as_ptr();
        // SAFETY: the slot's samples lie within our own segment, which only this end writes; `&mut self`
        // makes this the only reference.
        write(unsafe { std::slice::from_raw_parts_mut(samples, self.layout.format().samples()) });
        let slot = self.request.slot(index);
        slot.stamps[0].store(clock::now_ns(), Ordering::Relaxed);
        // SYNC: request published; Acquire in `WorkerEnd::is_requested`.
        slot.seq.store(seq, Ordering::Release);
        self.next = seq.wrapping_add(1);
        self.published = (self.published + 1).min(2 * self.layout.slots());
        Ok(seq)
    }

    /// The samples of a request that has not been answered and taken yet, as they were published.
    ///
    /// # Real-time
    /// May be called on the audio thread.
    #[must_use]
    pub fn requested(&self, seq: u32) -> &[f32] {
        let samples = self.request.samples(self.layout.index(seq)).as_ptr();
        // SAFETY: the slot's samples lie within our own segment, which only `publish` writes, and that takes
        // `&mut self`.
        unsafe { std::slice::from_raw_parts(samples, self.layout.format().samples()) }
    }

    /// Tells the worker that blocks have been published.
    ///
    /// # Real-time
    /// May be called on the audio thread: at most one futex wake, none if the worker is awake.
    pub fn notify(&self) {
        wait::ring(self.request.header(), self.reply.header(), self.next.wrapping_sub(1));
    }

    fn answer_word(&self, seq: u32) -> u32 {
        // SYNC: reply published; Release in `WorkerEnd::answer`.
        self.reply.slot(self.layout.index(seq)).seq.load(Ordering::Acquire)
    }

    /// What the slot of this block says of its answer.
    ///
    /// # Real-time
    /// May be called on the audio thread: one load.
    #[must_use]
    pub fn look(&self, seq: u32) -> Look {
        let slots = self.layout.slots();
        let age = self.next.wrapping_sub(seq);
        if age == 0 || age > self.published.min(slots) {
            return Look::NotYet;
        }
        let is_first_in_its_slot = self.published - age < slots;
        let before = if is_first_in_its_slot { 0 } else { seq.wrapping_sub(slots) };
        match self.answer_word(seq) {
            word if word == seq => Look::Answered,
            word if word == before => Look::NotYet,
            _ => Look::Forged,
        }
    }

    /// Whether this block's answer is there.
    ///
    /// # Real-time
    /// May be called on the audio thread: one load.
    #[must_use]
    pub fn is_answered(&self, seq: u32) -> bool {
        self.look(seq) == Look::Answered
    }

    /// Waits for this block's answer until the deadline or until `give_up`.
    ///
    /// # Real-time
    /// The one bounded wait of same-block mode.
    #[must_use]
    pub fn wait(&self, seq: u32, deadline_ns: u64, give_up: &AtomicBool) -> Waited {
        let over = || match self.look(seq) {
            Look::Answered => Some(Waited::Answered),
            Look::Forged => Some(Waited::Forged),
            Look::NotYet => give_up.load(Ordering::Relaxed).then_some(Waited::GivenUp),
        };
        let parked = || wait::park(self.request.header(), self.reply.header(), deadline_ns, over);
        match over().map_or_else(parked, Ok) {
            Ok(waited) => waited,
            Err(Unready::TimeOver) => Waited::TimeOver,
            Err(Unready::Flooded) => Waited::Flooded,
        }
    }

    /// Copies the samples of an answered block out.
    ///
    /// # Errors
    /// [`Torn`] if the slot's sequence is not `seq` before and after: `out` then holds no audio.
    ///
    /// # Real-time
    /// May be called on the audio thread: one pass over the samples.
    ///
    /// # Panics
    /// If `out` has not the block's number of samples.
    pub fn take(&self, seq: u32, out: &mut [f32], scrub: Scrub) -> std::result::Result<Taken, Torn> {
        assert_eq!(out.len(), self.layout.format().samples());
        let index = self.layout.index(seq);
        let slot = self.reply.slot(index);
        let head = self.head(seq).ok_or(Torn)?;
        copy_untrusted(self.reply.samples(index), out);
        // The loads of the samples stay before the second look at the sequence.
        fence(Ordering::Acquire);
        if slot.seq.load(Ordering::Relaxed) != seq {
            return Err(Torn);
        }
        let (non_finite, too_loud) = match scrub {
            Scrub::Guard { ceiling } => guard(out, ceiling),
            Scrub::Nothing => (0, 0),
        };
        Ok(Taken { non_finite, too_loud, ..head })
    }

    /// What the worker says of an answered block, without its samples.
    ///
    /// # Real-time
    /// May be called on the audio thread: a few loads.
    #[must_use]
    pub fn head(&self, seq: u32) -> Option<Taken> {
        if !self.is_answered(seq) {
            return None;
        }
        let slot = self.reply.slot(self.layout.index(seq));
        let [seen_ns, woken_ns, entered_ns, left_ns] =
            slot.stamps.each_ref().map(|stamp| stamp.load(Ordering::Relaxed));
        Some(Taken {
            status: Status::from_word(slot.status.load(Ordering::Relaxed)),
            non_finite: 0,
            too_loud: 0,
            stamps: Stamps { seen_ns, woken_ns, entered_ns, left_ns },
            notes: Notes::load(&slot.notes),
        })
    }
}

/// Copies samples that the peer may be changing, as relaxed atomic words, two samples at a time.
fn copy_untrusted(from: NonNull<f32>, out: &mut [f32]) {
    let (pairs, rest) = out.as_chunks_mut::<2>();
    let odd = pairs.len() * 2;
    for (i, pair) in pairs.iter_mut().enumerate() {
        // SAFETY: pair `i` lies within the slot's samples: `take` checked `out`'s length against the layout.
        let word = unsafe { from.cast::<u64>().add(i) };
        // SAFETY: slots are aligned to 64 bytes, so each pair is aligned to 8; all accesses here are atomic.
        let word = unsafe { AtomicU64::from_ptr(word.as_ptr()) }.load(Ordering::Relaxed);
        *pair = halves_of(word).map(f32::from_bits);
    }
    for (i, sample) in rest.iter_mut().enumerate() {
        // SAFETY: the odd last sample lies within the slot's samples, as above.
        let word = unsafe { from.cast::<u32>().add(odd + i) };
        // SAFETY: samples are aligned to 4 bytes; all accesses here are atomic.
        let bits = unsafe { AtomicU32::from_ptr(word.as_ptr()) }.load(Ordering::Relaxed);
        *sample = f32::from_bits(bits);
    }
}

/// The two 32-bit words of a 64-bit load, in memory order.
fn halves_of(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
}

/// Makes samples fit to be heard; how many were not finite and how many too loud. Without their sign the bits of
/// floats are in the order of their values, infinity and NaN last, so that whole numbers are compared, without a
/// branch: the loop is one of vector instructions.
fn guard(samples: &mut [f32], ceiling: f32) -> (u32, u32) {
    const SIGN: u32 = 1 << 31;
    const LARGEST: u32 = f32::MAX.to_bits();
    let ceiling = (ceiling.to_bits() & !SIGN).min(LARGEST);
    let (mut non_finite, mut above) = (0, 0);
    for sample in samples {
        let bits = sample.to_bits();
        let magnitude = bits & !SIGN;
        let is_finite = magnitude <= LARGEST;
        non_finite += u32::from(!is_finite);
        above += u32::from(magnitude > ceiling);
        let held = magnitude.min(ceiling) | bits & SIGN;
        *sample = f32::from_bits(if is_finite { held } else { 0 });
    }
    (non_finite, above - non_finite)
}

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
    reply: Arc<OwnSegment>,
    request: Arc<PeerSegment>,
    layout: Layout,
    next: u32,
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
    reply: Arc<OwnSegment>,
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
        Ok(Self { reply, request, layout, next: 1 })
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

    /// The slot of the block that comes next.
    #[must_use]
    pub fn next_index(&self) -> usize {
        self.layout.index(self.next)
    }

    /// Whether the next block is there.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        // SYNC: request published; Release in `HostEnd::publish`.
        self.request.slot(self.next_index()).seq.load(Ordering::Acquire) == self.next
    }

    /// Waits for the next block, until the deadline or until `interrupt` is up.
    #[must_use]
    pub fn wait(&self, deadline_ns: u64, interrupt: &AtomicBool) -> Wake {
        let interrupted = || interrupt.load(Ordering::Acquire);
        if !self.is_requested() && !interrupted() {
            let ready = || (self.is_requested() || interrupted()).then_some(());
            let _ = wait::park(self.reply.header(), self.request.header(), deadline_ns, ready);
        }
        match (interrupted(), self.is_requested()) {
            (true, _) => Wake::Interrupted,
            (_, true) => Wake::Block,
            _ => Wake::Deadline,
        }
    }

    /// When the host published the block that is next, in [`clock::now_ns`]. To be called after [`Wake::Block`].
    #[must_use]
    pub fn published_ns(&self) -> u64 {
        self.request.slot(self.next_index()).stamps[0].load(Ordering::Relaxed)
    }

    /// Copies the next block's request into its answer slot, where the plugin works on it in place.
    /// To be called after [`Wake::Block`].
    pub fn begin(&mut self) {
        let index = self.next_index();
        let (from, to) = (self.request.samples(index), self.reply.samples(index));
        let samples = self.layout.format().samples();
        // SAFETY: both are slots of `samples` samples in different segments. The host, which a worker trusts,
        // does not write the request again before its answer; only this process writes the other.
        unsafe { from.copy_to_nonoverlapping(to, samples) }
    }

    /// As [`WorkerEnd::begin`] for a plugin that takes no audio: the slot starts as silence.
    pub fn begin_silent(&mut self) {
        let to = self.reply.samples(self.next_index());
        // SAFETY: a slot of this many samples, which only this process writes; all zero bytes are 0.0.
        unsafe { to.write_bytes(0, self.layout.format().samples()) }
    }

    /// Publishes the answer to the block that is next, and wakes the host if it sleeps.
    pub fn answer(&mut self, status: Status, stamps: Stamps, notes: Notes) {
        let slot = self.reply.slot(self.next_index());
        slot.status.store(status as u32, Ordering::Relaxed);
        let Stamps { seen_ns, woken_ns, entered_ns, left_ns } = stamps;
        for (word, ns) in slot.stamps.iter().zip([seen_ns, woken_ns, entered_ns, left_ns]) {
            word.store(ns, Ordering::Relaxed);
        }
        notes.store(&slot.notes);
        // SYNC: reply published; Acquire in `HostEnd::answer_word`.
        slot.seq.store(self.next, Ordering::Release);
        wait::ring(self.reply.header(), self.request.header(), self.next);
        self.next = self.next.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests;
