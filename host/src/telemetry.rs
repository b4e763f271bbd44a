//! What the audio thread tells others: counters and timings, without a lock.
//!
//! The audio thread counts in atomics and pushes timings into a bounded ring; when nobody drains it, timings
//! are lost, blocks are not. Histograms are kept by the reader, never on the audio thread.

use crate::plugin::cause::Miss;
use crate::queue::queue;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use shared::ring::Stamps;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Why a block of a plugin was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// No answer in time.
    Late,
    /// The plugin returned false or raised.
    Failed,
    /// The worker is dead.
    Gone,
    /// The worker is so far behind that there is no slot left.
    Behind,
    /// The worker changed its answer while it was read.
    Torn,
    /// The worker wrote a sequence that nobody asked it for.
    Forged,
}

/// Counters of one plugin, written by the audio thread alone; and the two words that go the other way.
#[derive(Debug, Default)]
pub struct PluginStats {
    /// What goes into it is to be heard in place of what comes out. Not written by the audio thread.
    bypass: AtomicBool,
    /// Its worker has been asked for its state, between two blocks. Not written by the audio thread either.
    saving: AtomicBool,
    good: AtomicU64,
    late: AtomicU64,
    failed: AtomicU64,
    gone: AtomicU64,
    behind: AtomicU64,
    torn: AtomicU64,
    forged: AtomicU64,
    /// Of those that were late or behind, how many nobody can say anything of.
    unexplained: AtomicU64,
    non_finite_blocks: AtomicU64,
    non_finite_samples: AtomicU64,
    too_loud_blocks: AtomicU64,
    too_loud_samples: AtomicU64,
    flooded: AtomicU64,
    direct: AtomicU64,
    woken: AtomicU64,
    held_max_ns: AtomicU64,
    /// How long the audio thread has asked to wait for the block that it is at, at most.
    asked_wait_ns: AtomicU64,
    /// How long the machine has let it sleep on beyond that.
    overslept_ns: AtomicU64,
    /// Blocks lost since the last good one.
    gap: AtomicU64,
    /// Times that good blocks came again after lost ones, and how many the last of these were.
    gaps: AtomicU64,
    last_gap: AtomicU64,
    progress: Progress,
}

/// How far the audio thread is with the worker that it has; for the recovery thread.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Blocks that the worker was to process, whether or not they could be handed over.
    pub(crate) asked: AtomicU64,
    /// Of those, answered or written off. As many as asked when nothing is owed.
    pub(crate) answered: AtomicU64,
    /// The incarnation that the audio thread has; 0 is none.
    pub(crate) incarnation: AtomicU32,
    /// The last incarnation that wrote a sequence which nobody had asked for; 0 is none.
    pub(crate) liar: AtomicU32,
    /// Blocks in a row that were not fit to be played as they came.
    pub(crate) unfit: AtomicU32,
    /// Frames that the plugin's result comes later than planned, because it was moved to pipelined.
    pub(crate) added_frames: AtomicU32,
    /// Times it was moved, in either direction.
    pub(crate) moves: AtomicU32,
}

/// What the counters of a plugin say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Blocks that came back good and in time.
    pub good: u64,
    /// Blocks that were not there in time.
    pub late: u64,
    /// Blocks for which the plugin returned false or raised.
    pub failed: u64,
    /// Blocks that a dead worker could not answer.
    pub gone: u64,
    /// Blocks never handed over, because the worker had too many unanswered.
    pub behind: u64,
    /// Answers that changed while they were read.
    pub torn: u64,
    /// Blocks lost because the worker wrote a sequence that nobody had asked it for.
    pub forged: u64,
    /// Good blocks that held samples which were not finite.
    pub non_finite_blocks: u64,
    /// Samples that were not finite and were replaced.
    pub non_finite_samples: u64,
    /// Good blocks that held samples far above full scale.
    pub too_loud_blocks: u64,
    /// Samples that were far above full scale and were limited.
    pub too_loud_samples: u64,
    /// Waits that the worker spoilt: it woke the audio thread again and again for nothing, or saw to it that nothing did.
    pub flooded: u64,
    /// Blocks that came straight from the worker before, without the host in between.
    pub direct: u64,
    /// Times that its worker slept when it was given something, by the worker's word: a system call of the audio thread each.
    pub woken: u64,
}

impl Counts {
    /// Blocks that were replaced, for any reason.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.late + self.failed + self.gone + self.behind + self.torn + self.forged
    }
}

fn add(counter: &AtomicU64, n: u64) {
    // One writer: no read-modify-write is needed.
    counter.store(counter.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}

fn take(counter: &AtomicU64) -> u64 {
    // The thread that adds to it is the one that takes it.
    let n = counter.load(Ordering::Relaxed);
    counter.store(0, Ordering::Relaxed);
    n
}

impl PluginStats {
    pub(crate) fn count_good(&self) {
        add(&self.good, 1);
        let gap = self.gap.load(Ordering::Relaxed);
        if gap > 0 {
            self.gap.store(0, Ordering::Relaxed);
            self.last_gap.store(gap, Ordering::Relaxed);
            add(&self.gaps, 1);
        }
    }

    /// A block that was counted as good is lost.
    pub(crate) fn count_lost_after_all(&self, loss: Loss) {
        self.good.store(self.good.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
        self.count_lost(loss);
    }

    pub(crate) fn count_lost(&self, loss: Loss) {
        let counter = match loss {
            Loss::Late => &self.late,
            Loss::Failed => &self.failed,
            Loss::Gone => &self.gone,
            Loss::Behind => &self.behind,
            Loss::Torn => &self.torn,
            Loss::Forged => &self.forged,
        };
        add(counter, 1);
        add(&self.gap, 1);
    }

    /// Nobody will be able to say why this many blocks were late or behind.
    pub(crate) fn count_unexplained(&self, blocks: u32) {
        add(&self.unexplained, blocks.into());
    }

    /// How many those are.
    pub(crate) fn unexplained(&self) -> u64 {
        self.unexplained.load(Ordering::Relaxed)
    }

    /// How often good blocks came again after lost ones, and how many the last of these were.
    pub(crate) fn gaps(&self) -> (u64, u64) {
        (self.gaps.load(Ordering::Relaxed), self.last_gap.load(Ordering::Relaxed))
    }

    /// Takes note of what was replaced in a good block.
    pub(crate) fn count_guarded(&self, non_finite: u32, too_loud: u32) {
        if non_finite > 0 {
            add(&self.non_finite_blocks, 1);
            add(&self.non_finite_samples, non_finite.into());
        }
        if too_loud > 0 {
            add(&self.too_loud_blocks, 1);
            add(&self.too_loud_samples, too_loud.into());
        }
        let in_a_row = &self.progress.unfit;
        let unfit = non_finite > 0 || too_loud > 0;
        let before = in_a_row.load(Ordering::Relaxed);
        in_a_row.store(if unfit { before.saturating_add(1) } else { 0 }, Ordering::Relaxed);
    }

    pub(crate) fn count_flooded(&self) {
        add(&self.flooded, 1);
    }

    pub(crate) fn count_direct(&self) {
        add(&self.direct, 1);
    }

    pub(crate) fn count_woken(&self) {
        add(&self.woken, 1);
    }

    pub(crate) fn note_held(&self, ns: u64) {
        if ns > self.held_max_ns.load(Ordering::Relaxed) {
            self.held_max_ns.store(ns, Ordering::Relaxed);
        }
    }

    /// The longest that the plugin's place in the chain has held the audio thread, in nanoseconds of the clock on the
    /// wall: what the machine does to the thread meanwhile is in it.
    #[must_use]
    pub fn held_max_ns(&self) -> u64 {
        self.held_max_ns.load(Ordering::Relaxed)
    }

    /// The audio thread asked to sleep for so long at most, and the machine let it sleep on so long after that: what it
    /// computed itself is not in it.
    pub(crate) fn note_wait(&self, asked_ns: u64, overslept_ns: u64) {
        add(&self.asked_wait_ns, asked_ns);
        add(&self.overslept_ns, overslept_ns);
    }

    /// How long it has asked to sleep since this was called last. For whoever stands behind the plugin in its chain.
    pub(crate) fn take_asked_wait_ns(&self) -> u64 {
        take(&self.asked_wait_ns)
    }

    /// For how long the machine let it sleep on after the time that it had asked for; as above.
    pub(crate) fn take_overslept_ns(&self) -> u64 {
        take(&self.overslept_ns)
    }

    /// Has the dry signal heard from the next block on, or no more.
    pub(crate) fn set_bypassed(&self, bypassed: bool) {
        self.bypass.store(bypassed, Ordering::Relaxed);
    }

    /// Whether it is to be.
    pub(crate) fn is_bypassed(&self) -> bool {
        self.bypass.load(Ordering::Relaxed)
    }

    /// Its worker saves its state from now on, or does no more.
    pub(crate) fn set_saving(&self, saving: bool) {
        self.saving.store(saving, Ordering::Relaxed);
    }

    /// Whether it does.
    pub(crate) fn is_saving(&self) -> bool {
        self.saving.load(Ordering::Relaxed)
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Frames that its result comes later than planned at the moment.
    pub(crate) fn added_frames(&self) -> u32 {
        self.progress.added_frames.load(Ordering::Relaxed)
    }

    /// The counters now. From any thread.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            good: read(&self.good),
            late: read(&self.late),
            failed: read(&self.failed),
            gone: read(&self.gone),
            behind: read(&self.behind),
            torn: read(&self.torn),
            forged: read(&self.forged),
            non_finite_blocks: read(&self.non_finite_blocks),
            non_finite_samples: read(&self.non_finite_samples),
            too_loud_blocks: read(&self.too_loud_blocks),
            too_loud_samples: read(&self.too_loud_samples),
            flooded: read(&self.flooded),
            direct: read(&self.direct),
            woken: read(&self.woken),
        }
    }
}

/// After so long without any it is told again.
const QUIET: Duration = Duration::from_secs(60);

/// Tells that a plugin returns samples which are not fit to be played, or changes them meanwhile: when that begins.
#[derive(Debug, Default)]
pub(crate) struct GuardNews {
    non_finite: Spell,
    too_loud: Spell,
    torn: Spell,
}

/// A time in which something happens again and again.
#[derive(Debug, Default)]
struct Spell {
    count: u64,
    last: Option<Instant>,
}

impl Spell {
    /// Whether one begins, by how often it has happened so far.
    fn begins(&mut self, count: u64, now: Instant) -> bool {
        if std::mem::replace(&mut self.count, count) == count {
            return false;
        }
        let last = self.last.replace(now);
        last.is_none_or(|last| now.saturating_duration_since(last) >= QUIET)
    }
}

impl GuardNews {
    /// The lines to tell.
    pub(crate) fn lines(&mut self, plugin: &str, counts: &Counts, now: Instant) -> Vec<String> {
        let told = |spell: &mut Spell, count: u64, what: &str| {
            spell.begins(count, now).then(|| format!("plugin {plugin} {what}"))
        };
        let non_finite = "returned samples that are not finite (NaN or infinite); they are replaced";
        let too_loud = "returned samples that are far above full scale; they are limited";
        let torn = "changed an answer while it was taken; the block is lost";
        [
            told(&mut self.non_finite, counts.non_finite_samples, non_finite),
            told(&mut self.too_loud, counts.too_loud_samples, too_loud),
            told(&mut self.torn, counts.torn, torn),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// When one block was where, in [`shared::clock::now_ns`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Passage {
    /// The host began to hand it over.
    pub asked_ns: u64,
    /// It was written: the worker could see it.
    pub written_ns: u64,
    /// What the worker says: shown, never relied upon.
    pub stamps: Stamps,
    /// The host saw the answer; in pipelined mode the block's wait is in it.
    pub noticed_ns: u64,
}

impl Passage {
    fn round_trip_ns(&self) -> u64 {
        self.noticed_ns.saturating_sub(self.asked_ns)
    }
}

/// Timings that can wait to be read: half a minute of 128-frame blocks at 48 kHz.
const TIMINGS: usize = 12_000;

/// The audio thread's end.
#[derive(Debug)]
pub(crate) struct TimingWriter(rtrb::Producer<Passage>);

impl TimingWriter {
    pub(crate) fn push(&mut self, timing: Passage) {
        // Full: nobody reads; the counters still count.
        let _ = self.0.push(timing);
    }
}

/// The reader's end, with what it has read so far.
#[derive(Debug)]
pub struct PluginTimes {
    timings: rtrb::Consumer<Passage>,
    /// Read and kept for who asks for them, as many as there is room for.
    kept: Vec<Passage>,
    round_trip: Histogram<u64>,
    plugin: Histogram<u64>,
    interpreter: Histogram<u64>,
}

/// Percentiles of times, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Percentiles {
    /// Half of the blocks took no longer.
    pub p50_us: f64,
    /// 99 of 100 took no longer.
    pub p99_us: f64,
    /// 999 of 1000 took no longer.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl PluginTimes {
    /// Reads what the audio thread has pushed since the last time.
    pub fn drain(&mut self) {
        while let Ok(timing) = self.timings.pop() {
            self.round_trip.saturating_record(timing.round_trip_ns());
            self.record(&timing.stamps);
            if self.kept.len() < self.kept.capacity() {
                self.kept.push(timing);
            }
        }
    }

    /// The passages that were kept since the last time, oldest first; from now on this many are kept, the first ones
    /// that come.
    pub(crate) fn keep(&mut self, passages: usize) -> Vec<Passage> {
        self.drain();
        std::mem::replace(&mut self.kept, Vec::with_capacity(passages))
    }

    /// Takes note of what the worker says of a block: shown, never relied upon.
    pub(crate) fn record(&mut self, stamps: &Stamps) {
        self.plugin.saturating_record(stamps.left_ns.saturating_sub(stamps.entered_ns));
        self.interpreter.saturating_record(stamps.woken_ns.saturating_sub(stamps.seen_ns));
    }

    /// Times within the plugin's own code.
    #[must_use]
    pub fn plugin(&self) -> Percentiles {
        percentiles(&self.plugin)
    }

    /// Times from handing a block over until its answer was seen.
    #[must_use]
    pub fn round_trip(&self) -> Percentiles {
        percentiles(&self.round_trip)
    }

    /// Times until the worker had the interpreter to itself.
    #[must_use]
    pub fn interpreter_wait(&self) -> Percentiles {
        percentiles(&self.interpreter)
    }
}

fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    Percentiles {
        p50_us: at(0.5),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: histogram.max() as f64 / 1e3,
    }
}

/// Late blocks that can wait to be looked into; of more of them nobody knows why.
const MISSES: usize = 256;

/// What the audio thread writes about one plugin.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) stats: Arc<PluginStats>,
    pub(crate) timings: TimingWriter,
    misses: rtrb::Producer<Miss>,
}

impl Figures {
    /// Hands a late block over to be looked into.
    pub(crate) fn miss(&mut self, miss: Miss) {
        let blocks = miss.blocks;
        if self.misses.push(miss).is_err() {
            self.stats.count_unexplained(blocks);
        }
    }
}

/// A place for one plugin's figures: what the audio thread writes, and the readers of timings and of late blocks.
pub(crate) fn plugin_figures() -> (Figures, PluginTimes, rtrb::Consumer<Miss>) {
    let (writer, timings) = queue(TIMINGS, Passage::default());
    let (misses, missed) = queue(MISSES, Miss::default());
    // Up to a minute with three digits: the bounds are constants that the histogram accepts.
    let histogram = || Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap_or_else(|_| unreachable!());
    let [round_trip, plugin, interpreter] = std::array::from_fn(|_| histogram());
    let times = PluginTimes { timings, kept: Vec::new(), round_trip, plugin, interpreter };
    (Figures { stats: Arc::default(), timings: TimingWriter(writer), misses }, times, missed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_fit_to_be_played_is_told_when_it_begins_and_again_after_a_minute_without() {
        let (mut news, mut counts) = (GuardNews::default(), Counts::default());
        let now = Instant::now();
        assert!(news.lines("echo", &counts, now).is_empty());
        counts.torn = 1;
        let told = news.lines("echo", &counts, now);
        assert_eq!(told, ["plugin echo changed an answer while it was taken; the block is lost"]);
        (counts.torn, counts.non_finite_samples, counts.too_loud_samples) = (2, 3, 4);
        let told = news.lines("echo", &counts, now);
        assert!(
            told.len() == 2 && told[0].contains("not finite") && told[1].contains("far above"),
            "{told:?}"
        );
        assert!(news.lines("echo", &counts, now).is_empty());
        // It goes on every half minute: that is the same spell.
        for n in 1..5 {
            counts.torn += 1;
            assert!(news.lines("echo", &counts, now + n * QUIET / 2).is_empty());
        }
        counts.torn += 1;
        assert_eq!(news.lines("echo", &counts, now + 3 * QUIET).len(), 1);
    }
}
