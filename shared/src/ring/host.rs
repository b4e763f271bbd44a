//! The host's end of a ring: for the audio thread, which trusts no word of the worker's.
//!
//! It bounds every wait and copies every sample. What is done about a block that is not there is not decided here.

// Raw sample pointers from `segment` are written and read here.
#![allow(unsafe_code)]

use super::copy::{copy_untrusted, scrub};
use super::fetch;
use super::order::{self, EdgeInput, Order};
use super::slot::{self, Published};
use super::{Look, Refused, Scrub, Taken, Torn, Wait, Waited, WorkerEnd};
use crate::clock;
use crate::collected::Collected;
use crate::control::Handles;
use crate::futex;
use crate::layout::Layout;
use crate::segment::{OwnSegment, PeerSegment, seal_written};
use crate::spin::{Spin, Spinner};
use crate::wait::{self, Bells, Bounds, Sign, Slept, Unready};
use nix::sched::sched_getcpu;
use rustix::io::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Rung when any worker has ended: audio threads that wait for a whole chain of workers look up then. Of this process
/// alone.
static ALARM: AtomicU32 = AtomicU32::new(0);

/// An answer was there early if this part of the wait was left.
const EARLY: u64 = 4;

/// The host's end: publishes requests, takes answers.
#[derive(Debug)]
pub struct HostEnd {
    pub(super) request: Arc<OwnSegment>,
    reply: Arc<PeerSegment>,
    layout: Layout,
    pub(super) published: Published,
}

/// Wakes a [`HostEnd`] that waits for an answer that will never come. For the supervisor.
#[derive(Debug, Clone)]
pub struct HostWaker {
    request: Arc<OwnSegment>,
    reply: Arc<PeerSegment>,
}

impl HostWaker {
    /// Wakes the audio thread if it waits; it then looks for itself whether to go on waiting. For a caller that
    /// may spend a millisecond.
    pub fn wake(&self) {
        ALARM.fetch_add(1, Ordering::Release);
        futex::wake_all(&ALARM);
        wait::rouse(self.request.header(), self.reply.header());
    }
}

#[cfg(test)]
impl HostWaker {
    /// Has whoever sleeps on the worker's bell sleep on another word, as a hostile worker may; how many did.
    pub(super) fn requeue(&self) -> usize {
        let header = self.reply.header();
        futex::requeue(&header.bell, &header.next_bell)
    }
}

/// Reads what a worker counts beside its blocks, for as long as the ring was used: to be shown, never relied upon.
/// From any thread, also when the worker has ended.
#[derive(Debug, Clone)]
pub struct WorkerCounts(Arc<PeerSegment>);

impl WorkerCounts {
    /// Blocks that the plugin got in a buffer made for them. One that has been taken is counted.
    #[must_use]
    pub fn uncached_blocks(&self) -> u64 {
        self.0.header().uncached.load(Ordering::Relaxed)
    }

    /// What Python's collector did.
    #[must_use]
    pub fn collected(&self) -> Collected {
        Collected::load(&self.0.header().collected)
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
        let (request, reply, published) =
            (Arc::new(request), Arc::new(reply), Published::new(layout.slots()));
        let end = Self { request, reply, layout, published };
        Ok((end, Handles { request: request_fd, reply: reply_fd }))
    }

    /// Both ends, for another thread of this process in the place of a worker.
    ///
    /// # Errors
    /// As [`HostEnd::create`].
    pub fn create_for_thread(layout: Layout) -> Result<(Self, WorkerEnd)> {
        let (request, theirs) = OwnSegment::create_for_thread(layout)?;
        let (reply, fd) = PeerSegment::create(layout)?;
        let answers = OwnSegment::map(&fd, layout)?;
        seal_written(&fd)?;
        let (request, reply, published) =
            (Arc::new(request), Arc::new(reply), Published::new(layout.slots()));
        let worker = WorkerEnd::of(Arc::new(answers), Arc::new(theirs), layout);
        Ok((Self { request, reply, layout, published }, worker))
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

    /// Whether all of it is locked in memory. If not, a page that was taken away under memory pressure has to come back
    /// first when it is touched.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.request.is_locked() && self.reply.is_locked()
    }

    /// Tells from another thread what the worker counts.
    #[must_use]
    pub fn worker_counts(&self) -> WorkerCounts {
        WorkerCounts(Arc::clone(&self.reply))
    }

    /// The sequence that the next block will have.
    #[must_use]
    pub fn next_seq(&self) -> u32 {
        self.published.next
    }

    /// The blocks published last whose requests are still in their slots, oldest first.
    pub fn kept(&self) -> impl Iterator<Item = u32> + use<> {
        let Published { next, count, .. } = self.published;
        (1..=count.min(self.layout.slots())).rev().map(move |back| next.wrapping_sub(back))
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
        self.published.room(|| self.answer_word(self.published.next))
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
        self.publish_first(false, write)
    }

    /// As [`HostEnd::publish`]; whether the answer `hands_on` to the next worker of a chain. One that does is not there
    /// for the worker before [`HostEnd::notify`], so that the next worker's order can be published meanwhile: an answer
    /// that came before that would wake it for nothing, and nothing would wake it again.
    ///
    /// # Errors
    /// As [`HostEnd::publish`].
    ///
    /// # Real-time
    /// As [`HostEnd::publish`].
    pub fn publish_first(
        &mut self,
        hands_on: bool,
        write: impl FnOnce(&mut [f32]),
    ) -> std::result::Result<u32, Refused> {
        self.room()?;
        write(self.request_samples(self.published.next));
        Ok(self.order(Order { edge: None, hands_on }))
    }

    /// Orders a block that is made of another worker's answer, to which this one was
    /// [attached](super::WorkerEnd::attach); that answer wakes it, so nobody has to be notified, if the first of the
    /// chain is notified after this.
    ///
    /// # Errors
    /// [`Refused`].
    ///
    /// # Real-time
    /// As [`HostEnd::publish`].
    pub fn publish_edge(&mut self, input: EdgeInput, hands_on: bool) -> std::result::Result<u32, Refused> {
        self.room()?;
        Ok(self.order(Order { edge: Some(input), hands_on }))
    }

    /// Gives a block samples that was to come from another worker, which has none, and wakes its own: that takes
    /// these, if it has not just taken the other's. Whether it slept, as [`HostEnd::notify`].
    ///
    /// # Real-time
    /// May be called on the audio thread: at most one futex wake.
    pub fn supply(&mut self, seq: u32, write: impl FnOnce(&mut [f32])) -> bool {
        // Until it is told, nobody looks at the samples of a block with an edge.
        write(self.request_samples(seq));
        order::supply_after_all(self.request.slot(self.layout.index(seq)), seq);
        self.notify()
    }

    /// Keeps the samples of a block that came from another worker, for whoever looks at it when this one has ended.
    pub fn keep(&mut self, seq: u32, write: impl FnOnce(&mut [f32])) {
        write(self.request_samples(seq));
        order::supply_after_all(self.request.slot(self.layout.index(seq)), seq);
    }

    fn request_samples(&mut self, seq: u32) -> &mut [f32] {
        let samples = self.request.samples(self.layout.index(seq)).as_ptr();
        // SAFETY: the slot's samples lie within our own segment, which only this end writes; `&mut self`
        // makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(samples, self.layout.format().samples()) }
    }

    fn order(&mut self, order: Order) -> u32 {
        store_if_new(&self.request.header().core, core());
        let request = |seq| self.request.slot(self.layout.index(seq));
        self.published.ask(order, clock::now_ns(), request)
    }

    /// The samples of a request that has not been answered and taken yet, as they were published. Nothing of use if
    /// they were another worker's: see [`HostEnd::has_samples`].
    ///
    /// # Real-time
    /// May be called on the audio thread.
    #[must_use]
    pub fn requested(&self, seq: u32) -> &[f32] {
        let samples = self.request.samples(self.layout.index(seq)).as_ptr();
        // SAFETY: the slot's samples lie within our own segment, which only methods write that take `&mut self`.
        unsafe { std::slice::from_raw_parts(samples, self.layout.format().samples()) }
    }

    /// Whether the samples of a request that is [kept](HostEnd::kept) are here.
    #[must_use]
    pub fn has_samples(&self, seq: u32) -> bool {
        order::has_samples(self.request.slot(self.layout.index(seq)), seq)
    }

    /// How long the worker may look for a block before it sleeps.
    pub fn let_worker_spin(&self, spin: Spin) {
        self.request.header().spin.store(spin.to_word(), Ordering::Relaxed);
    }

    /// Tells the worker that blocks have been published. Whether it slept, by its own word, and had to be woken.
    ///
    /// # Real-time
    /// May be called on the audio thread: at most one futex wake, none if the worker is awake.
    pub fn notify(&mut self) -> bool {
        self.published.let_go(|seq| self.request.slot(self.layout.index(seq)));
        wait::ring(self.request.header(), self.reply.header())
    }

    fn answer_word(&self, seq: u32) -> u32 {
        slot::answer_word(self.reply.slot(self.layout.index(seq)))
    }

    /// What the slot of this block says of its answer.
    ///
    /// # Real-time
    /// May be called on the audio thread: one load.
    #[must_use]
    pub fn look(&self, seq: u32) -> Look {
        self.published.look(seq, || self.answer_word(seq))
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
        self.look_and_wait(seq, Bounds::sleep(clock::now_ns(), deadline_ns), give_up).waited
    }

    /// As [`HostEnd::wait`]: looks for a while, then sleeps.
    ///
    /// # Real-time
    /// As [`HostEnd::wait`].
    #[must_use]
    pub fn look_and_wait(&self, seq: u32, bounds: Bounds, give_up: &AtomicBool) -> Wait {
        let over = || match self.look(seq) {
            Look::Answered => Some(Waited::Answered),
            Look::Forged => Some(Waited::Forged),
            Look::NotYet => give_up.load(Ordering::Relaxed).then_some(Waited::GivenUp),
        };
        let parked = || {
            let bells = Bells::one(&self.reply.header().bell);
            waited(wait::park(Sign::one(self.request.header()), bells, bounds.deadline_ns, over), over)
        };
        if bounds.spin_ns > 0 {
            self.fetch_to_publish();
        }
        let Some(over) = wait::spin(bounds, over) else { return parked() };
        self.fetch_answer(seq);
        awake(over)
    }

    /// Asks for the memory of the block that is published next, which lies in the worker's cache since it was there the
    /// last time.
    fn fetch_to_publish(&self) {
        let index = self.layout.index(self.published.next);
        fetch::to_write(self.request.samples(index), self.layout.format().samples());
    }

    /// Asks for the samples of an answer, which lie in the worker's cache.
    fn fetch_answer(&self, seq: u32) {
        let index = self.layout.index(seq);
        fetch::to_read(self.reply.samples(index), self.layout.format().samples());
    }

    /// As [`HostEnd::wait`], for a chain of workers of which this is the last, or the last that lives and `hands_on` to
    /// one that doesn't: until `over` says what has come of it. That is asked when this worker has answered, and when
    /// any worker of this process has ended.
    ///
    /// # Real-time
    /// As [`HostEnd::wait`].
    #[must_use]
    pub fn wait_for_chain(
        &self,
        hands_on: bool,
        bounds: Bounds,
        mut over: impl FnMut() -> Option<Waited>,
    ) -> Wait {
        if let Some(over) = wait::spin(bounds, &mut over) {
            return awake(over);
        }
        let header = self.reply.header();
        let first = if hands_on { &header.next_bell } else { &header.bell };
        let bells = Bells { first, second: Some(&ALARM) };
        let sign = Sign::one(self.request.header());
        let mut wait = waited(wait::park(sign, bells, bounds.deadline_ns, &mut over), &mut over);
        // Where the next worker sleeps beside us, it may be its doing.
        if hands_on && wait.waited == Waited::Unwoken {
            wait.waited = Waited::Answered;
        }
        wait
    }

    /// Whether the worker has spoilt the wait for this block, which ended so: by waking this end for nothing, or by
    /// seeing to it that nothing woke it. For that the answer has to have been there well before the deadline.
    ///
    /// # Real-time
    /// May be called on the audio thread: a few loads.
    #[must_use]
    pub fn is_spoilt(&self, waited: Waited, seq: u32, deadline_ns: u64) -> bool {
        let margin_ns = deadline_ns.saturating_sub(self.published_ns(seq)) / EARLY;
        let left_ns = || self.head(seq).map(|head| head.stamps.left_ns);
        match waited {
            Waited::Flooded => true,
            Waited::Unwoken => left_ns().is_some_and(|ns| ns.saturating_add(margin_ns) <= deadline_ns),
            _ => false,
        }
    }

    /// How long the next wait is to look before it sleeps.
    ///
    /// # Real-time
    /// May be called on the audio thread: no system call.
    #[must_use]
    pub fn spin_ns(&self, spinner: &mut Spinner, rule: Spin) -> u64 {
        spinner.budget_ns(rule, rule != Spin::Off && self.shares_core())
    }

    /// Whether the worker, by its own word, was last on the processor that this thread is on.
    ///
    /// # Real-time
    /// May be called on the audio thread: no system call.
    #[must_use]
    pub fn shares_core(&self) -> bool {
        self.reply.header().core.load(Ordering::Relaxed) == core()
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
    pub fn take(&self, seq: u32, out: &mut [f32], rule: Scrub) -> std::result::Result<Taken, Torn> {
        assert_eq!(out.len(), self.layout.format().samples());
        let index = self.layout.index(seq);
        let head = self.head(seq).ok_or(Torn)?;
        copy_untrusted(self.reply.samples(index), out);
        if !slot::is_still(self.reply.slot(index), seq) {
            return Err(Torn);
        }
        let scrubbed = scrub(out, self.layout.format().block_frames(), rule);
        Ok(Taken { scrubbed, ..head })
    }

    /// What the worker says of an answered block, without its samples.
    ///
    /// # Real-time
    /// May be called on the audio thread: a few loads.
    #[must_use]
    pub fn head(&self, seq: u32) -> Option<Taken> {
        self.is_answered(seq).then(|| slot::head(self.reply.slot(self.layout.index(seq))))
    }
}

fn waited(slept: Slept<Waited>, over: impl FnOnce() -> Option<Waited>) -> Wait {
    let waited = match slept.outcome {
        Ok(waited) => waited,
        Err(Unready::Unwoken) => match over() {
            Some(Waited::Answered) => Waited::Unwoken,
            other => other.unwrap_or(Waited::TimeOver),
        },
        Err(Unready::TimeOver) => Waited::TimeOver,
        Err(Unready::Flooded) => Waited::Flooded,
    };
    Wait { waited, overslept_ns: slept.overslept_ns }
}

/// Without a sleep.
fn awake(waited: Waited) -> Wait {
    Wait { waited, overslept_ns: 0 }
}

/// Leaves a word that the other side's processor has read where it is, if nothing is new.
pub(super) fn store_if_new(word: &AtomicU32, value: u32) {
    if word.load(Ordering::Relaxed) != value {
        word.store(value, Ordering::Relaxed);
    }
}

/// The processor that this thread runs on, plus one, so that nobody is on 0.
pub(super) fn core() -> u32 {
    sched_getcpu().ok().and_then(|core| u32::try_from(core + 1).ok()).unwrap_or(0)
}
