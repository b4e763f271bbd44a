//! What went into each plugin and what came out of it, block by block, with what was counted meanwhile.

use super::time::now_ns;
use crate::block::Block;
use crate::processor::{Processor, Turn};
use crate::telemetry::{Counts, PluginStats};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// How far back a block is looked for that a worker was given.
const BACK: usize = 200;

/// One plugin's blocks.
#[derive(Debug, Default)]
pub(super) struct Tape {
    pub(super) asked: Vec<Vec<f32>>,
    /// When each of these began.
    pub(super) began_ns: Vec<u64>,
    pub(super) heard: Vec<Heard>,
    /// What came in before the plugin's own signal was put in its place.
    pub(super) original: Vec<f32>,
}

/// A block as it came out.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    /// None if it went by unheard.
    pub(super) samples: Option<Vec<f32>>,
    pub(super) counts: Counts,
    pub(super) incarnation: u32,
    pub(super) added_frames: u32,
    pub(super) moves: u32,
    pub(super) at_ns: u64,
}

pub(super) type Shared = Arc<Mutex<Tape>>;

impl Tape {
    /// Nobody knows what the last block was.
    pub(super) fn unhear(&mut self) {
        if let Some(heard) = self.heard.last_mut() {
            heard.samples = None;
        }
    }

    /// The number of the block that holds these samples.
    pub(super) fn find(&self, samples: &[f32]) -> Option<usize> {
        let oldest = self.asked.len().saturating_sub(BACK);
        (oldest..self.asked.len()).rev().find(|block| self.asked[*block] == samples)
    }
}

/// Gives a plugin a signal of its own, whatever came before it in the chain, and records it. No two blocks of it are
/// the same.
pub(super) struct Before {
    pub(super) tape: Shared,
    pub(super) pitch: f64,
}

impl Processor for Before {
    fn name(&self) -> &'static str {
        "before"
    }

    fn process(&mut self, block: &mut Block<'_>, _turn: &Turn) {
        let mut tape = self.tape.lock().unwrap();
        tape.original = block.samples().to_vec();
        let first = tape.asked.len() * block.frames();
        for (channel, samples) in block.iter_mut().enumerate() {
            for (i, sample) in samples.iter_mut().enumerate() {
                #[allow(clippy::cast_possible_truncation)] // a sample
                let value = (0.5 * ((first + i) as f64 * self.pitch + channel as f64).sin()) as f32;
                *sample = value;
            }
        }
        tape.asked.push(block.samples().to_vec());
        tape.began_ns.push(now_ns());
    }
}

/// Records what came out of a plugin, or of the last one of a row; of the others, what was counted meanwhile.
pub(super) struct After {
    pub(super) plugins: Vec<(Shared, Arc<PluginStats>)>,
}

impl Processor for After {
    fn name(&self) -> &'static str {
        "after"
    }

    fn process(&mut self, block: &mut Block<'_>, _turn: &Turn) {
        let last = self.plugins.len() - 1;
        for (at, (tape, stats)) in self.plugins.iter().enumerate() {
            let samples = (at == last).then(|| block.samples().to_vec());
            tape.lock().unwrap().heard.push(Heard::now(stats, samples));
        }
    }
}

impl Heard {
    fn now(stats: &PluginStats, samples: Option<Vec<f32>>) -> Self {
        let progress = stats.progress();
        Self {
            samples,
            counts: stats.counts(),
            incarnation: progress.incarnation.load(Ordering::Relaxed),
            added_frames: progress.added_frames.load(Ordering::Relaxed),
            moves: progress.moves.load(Ordering::Relaxed),
            at_ns: now_ns(),
        }
    }
}
