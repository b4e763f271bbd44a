//! Blocks that go to a plugin in a buffer made for each, because those made beforehand would not do.
//!
//! The reason is known when the plugin is configured, or the worker begins while it runs: then its count, which
//! is in the memory it shares, tells. Told once, counted always.

use crate::error::plain;
use shared::ring::WorkerCounts;

/// Why a worker begins while the plugin runs; there is no other reason.
const SPOILED: &str = "the plugin made its buffers unusable for another block";

/// What is known of one plugin's blocks.
#[derive(Debug)]
pub(crate) struct Uncached {
    from_the_start: Option<String>,
    blocks: WorkerCounts,
    /// Of the workers before.
    before: u64,
    told: bool,
}

impl Uncached {
    /// `why` is what the worker said when it was configured, if each block is to have a buffer of its own.
    pub(crate) fn new(why: Option<&str>, blocks: WorkerCounts) -> Self {
        let from_the_start = why.map(|why| plain(why.lines().next().unwrap_or_default()));
        Self { from_the_start, blocks, before: 0, told: false }
    }

    /// What the worker that plays counts.
    pub(crate) fn counts(&self) -> WorkerCounts {
        self.blocks.clone()
    }

    /// Blocks so far, as the worker says.
    pub(crate) fn blocks(&self) -> u64 {
        self.before + self.blocks.uncached_blocks()
    }

    /// Goes on with the count of another worker.
    pub(crate) fn follow(&mut self, blocks: WorkerCounts) {
        self.before = self.blocks();
        self.blocks = blocks;
    }

    /// Why blocks get buffers of their own, if they do.
    pub(crate) fn why(&self) -> Option<&str> {
        self.from_the_start.as_deref().or_else(|| (self.blocks() > 0).then_some(SPOILED))
    }

    /// The line to tell, the first time there is one.
    pub(crate) fn line(&mut self, plugin: &str) -> Option<String> {
        let why = self.why().filter(|_| !self.told)?;
        let line = format!("plugin {plugin} gets a fresh buffer for each block, which is slower: {why}");
        self.told = true;
        Some(line)
    }
}
