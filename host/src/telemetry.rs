//! What the audio thread tells others: counters and timings, without a lock.
//!
//! The audio thread counts in atomics and pushes timings into a bounded ring; when nobody drains it, timings
//! are lost, blocks are not. Histograms are kept by the reader, never on the audio thread.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
}

/// Counters of one plugin, written by the audio thread alone.
#[derive(Debug, Default)]
pub struct PluginStats {
    good: AtomicU64,
    late: AtomicU64,
    failed: AtomicU64,
    gone: AtomicU64,
    behind: AtomicU64,
    torn: AtomicU64,
    non_finite_blocks: AtomicU64,
    non_finite_samples: AtomicU64,
}

/// What the counters of a plugin say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
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
    /// Good blocks that held samples which were not finite.
    pub non_finite_blocks: u64,
    /// Samples that were not finite and were replaced.
    pub non_finite_samples: u64,
}

impl Counts {
    /// Blocks that were replaced, for any reason.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.late + self.failed + self.gone + self.behind + self.torn
    }
}

fn add(counter: &AtomicU64, n: u64) {
    // One writer: no read-modify-write is needed.
    counter.store(counter.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}

impl PluginStats {
    pub(crate) fn count_good(&self) {
        add(&self.good, 1);
    }

    pub(crate) fn count_lost(&self, loss: Loss) {
        let counter = match loss {
            Loss::Late => &self.late,
            Loss::Failed => &self.failed,
            Loss::Gone => &self.gone,
            Loss::Behind => &self.behind,
            Loss::Torn => &self.torn,
        };
        add(counter, 1);
    }

    pub(crate) fn count_non_finite(&self, samples: u32) {
        if samples > 0 {
            add(&self.non_finite_blocks, 1);
            add(&self.non_finite_samples, samples.into());
        }
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
            non_finite_blocks: read(&self.non_finite_blocks),
            non_finite_samples: read(&self.non_finite_samples),
        }
    }
}

/// Tells once that a plugin returned samples which were not finite.
#[derive(Debug, Default)]
pub(crate) struct NonFiniteNews(bool);

impl NonFiniteNews {
    /// The line to tell, the first time there is one.
    pub(crate) fn line(&mut self, plugin: &str, counts: &Counts) -> Option<String> {
        if self.0 || counts.non_finite_samples == 0 {
            return None;
        }
        self.0 = true;
        Some(format!(
            "plugin {plugin} returned samples that are not finite (NaN or infinite); they are silenced"
        ))
    }
}

/// How long one block took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// From handing over until the host saw the answer; in pipelined mode this includes the block's wait.
    pub(crate) round_trip_ns: u64,
    /// Within the plugin's own code, as the worker says.
    pub(crate) plugin_ns: u64,
}

/// Timings that can wait to be read: half a minute of 128-frame blocks at 48 kHz.
const TIMINGS: usize = 12_000;

/// The audio thread's end.
#[derive(Debug)]
pub(crate) struct TimingWriter(rtrb::Producer<Timing>);

impl TimingWriter {
    pub(crate) fn push(&mut self, timing: Timing) {
        // Full: nobody reads; the counters still count.
        let _ = self.0.push(timing);
    }
}

/// The reader's end, with what it has read so far.
#[derive(Debug)]
pub struct PluginTimes {
    timings: rtrb::Consumer<Timing>,
    round_trip: Histogram<u64>,
    plugin: Histogram<u64>,
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
            self.round_trip.saturating_record(timing.round_trip_ns);
            self.plugin.saturating_record(timing.plugin_ns);
        }
    }

    pub(crate) fn record_plugin(&mut self, plugin_ns: u64) {
        self.plugin.saturating_record(plugin_ns);
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

/// A place for one plugin's figures: counters for both sides, a writer and a reader of timings.
pub(crate) fn plugin_figures() -> (Arc<PluginStats>, TimingWriter, PluginTimes) {
    let (writer, timings) = rtrb::RingBuffer::new(TIMINGS);
    // Up to a minute with three digits: the bounds are constants that the histogram accepts.
    let histogram = || Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap_or_else(|_| unreachable!());
    let times = PluginTimes { timings, round_trip: histogram(), plugin: histogram() };
    (Arc::default(), TimingWriter(writer), times)
}
