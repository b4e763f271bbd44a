//! From a worker's end until the first good block of the next one: how long that took and what it cost.
//!
//! Counted by what the audio thread counts, to the precision with which the recovery thread looks.

use crate::telemetry::PluginStats;

/// A plugin that is away.
#[derive(Debug, Clone, Copy)]
pub(super) struct Absence {
    since_ns: u64,
    /// Gaps that were over before it began. It may have cost blocks before its reason was known.
    gaps_before: u64,
    /// Good blocks when the next one took over; none has yet.
    good_before: Option<u64>,
}

/// A plugin that is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Return {
    pub(super) after_ns: u64,
    /// Blocks that were replaced in a row.
    pub(super) replaced: u64,
}

impl Absence {
    pub(super) fn begin(gaps_before: u64, now_ns: u64) -> Self {
        Self { since_ns: now_ns, gaps_before, good_before: None }
    }

    /// The next one has taken over.
    pub(super) fn succeeded(&mut self, stats: &PluginStats) {
        self.good_before = Some(stats.counts().good);
    }

    /// Whether it is back: the next one has delivered a good block.
    pub(super) fn end(&self, stats: &PluginStats, now_ns: u64) -> Option<Return> {
        let is_back = self.good_before.is_some_and(|before| stats.counts().good > before);
        let (gaps, last) = stats.gaps();
        let replaced = if gaps > self.gaps_before { last } else { 0 };
        is_back.then(|| Return { after_ns: now_ns.saturating_sub(self.since_ns), replaced })
    }
}
