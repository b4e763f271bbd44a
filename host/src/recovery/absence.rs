//! From a worker's end until the first good block of the next one: how long that took and what it cost.
//!
//! Counted by what the audio thread counts, to the precision with which the recovery thread looks.

use crate::telemetry::PluginStats;

/// A plugin that is away.
#[derive(Debug, Clone, Copy)]
pub(super) struct Absence {
    pub(super) since_ns: u64,
    lost_before: u64,
    /// Good blocks when the next one took over; none has yet.
    good_before: Option<u64>,
}

/// A plugin that is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Return {
    pub(super) after_ns: u64,
    pub(super) replaced: u64,
}

impl Absence {
    pub(super) fn begin(stats: &PluginStats, now_ns: u64) -> Self {
        // The block during which it ended may have been counted already, or not: it is replaced either way.
        Self { since_ns: now_ns, lost_before: stats.counts().lost(), good_before: None }
    }

    /// The next one has taken over.
    pub(super) fn succeeded(&mut self, stats: &PluginStats) {
        self.good_before = Some(stats.counts().good);
    }

    /// Whether it is back: the next one has delivered a good block.
    pub(super) fn end(&self, stats: &PluginStats, now_ns: u64) -> Option<Return> {
        let counts = stats.counts();
        let is_back = self.good_before.is_some_and(|before| counts.good > before);
        is_back.then(|| Return {
            after_ns: now_ns.saturating_sub(self.since_ns),
            replaced: counts.lost().saturating_sub(self.lost_before),
        })
    }
}
