//! A chain: processors in a row, run on the audio thread, with the latency they add up to.
//!
//! The heart of the library: put a [`Chain`] into any audio callback. Processors that want to be pipelined,
//! and whatever stands between them, share one section and the latency of one. Python plugins in a row that are waited
//! for within the block hand it on to each other.

use crate::block::Block;
use crate::clock::now_ns;
use crate::error::Result;
use crate::plugin::relay;
use crate::processor::{Processor, Turn};
use crate::section::{self, SectionThread};
use crate::telemetry::PluginStats;
use rustix::process::Pid;
use shared::format::Format;
use std::sync::Arc;

/// Processors in a row.
pub struct Chain {
    format: Format,
    processors: Vec<Box<dyn Processor>>,
    latency_frames: u32,
    section: Option<SectionThread>,
}

/// Frames that a chain delays by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delays {
    /// By its processors' own doing.
    pub(crate) plugin_frames: u32,
    /// In all.
    pub(crate) chain_frames: u32,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.processors.iter().map(|p| p.name()).collect();
        f.debug_struct("Chain").field("format", &self.format).field("processors", &names).finish()
    }
}

impl Chain {
    /// A chain for blocks of this format. Starts a thread if more than one processor shares a pipelined section.
    ///
    /// # Errors
    /// Of kind `System` if the section's thread or memory can't be had.
    pub fn new(format: Format, mut processors: Vec<Box<dyn Processor>>) -> Result<Self> {
        // The first look at the clock finds the vDSO, which takes system calls: not on the audio thread.
        let _ = now_ns();
        let latency_frames = latency_frames(&processors, format);
        let behind = processors.iter().map(|p| p.blocks_behind()).max().unwrap_or(0);
        let first = processors.iter().position(|p| p.blocks_behind() > 0);
        let last = processors.iter().rposition(|p| p.blocks_behind() > 0);
        let mut section = None;
        if let (Some(first), Some(last)) = (first, last)
            && first < last
        {
            let inner = processors.drain(first..=last).collect();
            let (remote, thread) = section::start(format, behind, inner)?;
            processors.insert(first, Box::new(remote));
            section = Some(thread);
        }
        let processors = relay::join(format, processors);
        Ok(Self { format, processors, latency_frames, section })
    }

    /// The format of each block.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Frames that the output comes later than the input: the blocks that the pipelined ones are behind
    /// together (one, if the device's buffer is no longer than a block), plus what the processors delay by. A plugin
    /// that moves to pipelined by itself adds to it while it is.
    #[must_use]
    pub fn latency_frames(&self) -> u32 {
        let added: u32 = self.processors.iter().map(|processor| processor.added_frames()).sum();
        self.latency_frames + added
    }

    /// The most blocks that a device may call for in one go, as far as there is room for what comes later then.
    #[must_use]
    pub fn burst_max(&self) -> u32 {
        self.processors.iter().map(|processor| processor.burst_max()).min().unwrap_or(u32::MAX)
    }

    /// From the next block on a device calls for so many blocks in one go, more than until now and at most
    /// [`Chain::burst_max`]: what is pipelined comes as many blocks later. Not for the audio thread: it may allocate.
    pub fn replan(&mut self, burst: u32) {
        self.processors.iter_mut().for_each(|processor| processor.replan(burst));
        self.section.iter().for_each(|section| section.replan(burst));
        self.latency_frames = latency_frames(&self.processors, self.format);
    }

    /// What it delays by, but for what is added while it runs.
    pub(crate) fn delays(&self) -> Delays {
        let plugin_frames = self.processors.iter().map(|processor| processor.latency_frames()).sum();
        Delays { plugin_frames, chain_frames: self.latency_frames }
    }

    /// Blocks that a pipelined section lost as a whole, because its thread was not scheduled in time.
    #[must_use]
    pub fn section_lost(&self) -> u64 {
        self.section_stats().map_or(0, |stats| stats.counts().lost())
    }

    /// The same for who watches while the chain is on the audio thread.
    pub(crate) fn section_stats(&self) -> Option<Arc<PluginStats>> {
        self.section.as_ref().map(SectionThread::stats)
    }

    /// The thread of its pipelined section, if it has one.
    pub(crate) fn section_thread(&self) -> Option<Pid> {
        self.section.as_ref().and_then(SectionThread::number)
    }

    /// Replaces the block, `format.samples()` samples channel after channel, by the chain's result.
    ///
    /// # Real-time
    /// To be called on the audio thread, once for each block. No allocation, lock or log; no system call but a
    /// futex wake for each worker, and for each same-block plugin one wait that ends at its fraction of a block.
    ///
    /// # Panics
    /// If the number of samples is not the format's.
    pub fn process(&mut self, samples: &mut [f32]) {
        self.process_within(samples, self.format.block_ns());
    }

    /// As [`Chain::process`], in a callback that has less time than a block lasts (its buffer is smaller).
    ///
    /// # Real-time
    /// As [`Chain::process`].
    ///
    /// # Panics
    /// As [`Chain::process`].
    pub fn process_within(&mut self, samples: &mut [f32], budget_ns: u64) {
        self.process_turn(samples, Turn::new(now_ns(), budget_ns));
    }

    /// As [`Chain::process_within`], as one of several blocks that a device called for in one go.
    pub(crate) fn process_called(&mut self, samples: &mut [f32], budget_ns: u64, called_ns: u64) {
        self.process_turn(samples, Turn { called_ns, ..Turn::new(now_ns(), budget_ns) });
    }

    fn process_turn(&mut self, samples: &mut [f32], turn: Turn) {
        assert_eq!(samples.len(), self.format.samples(), "a block of another format");
        let mut block = Block::new(samples, self.format.block_frames());
        run(&mut self.processors, &mut block, turn);
    }
}

/// Frames that a chain of these is behind: what each delays by, and the blocks of the one furthest behind, since
/// all that are pipelined share a section.
pub(crate) fn latency_frames(processors: &[Box<dyn Processor>], format: Format) -> u32 {
    let own: u32 = processors.iter().map(|p| p.latency_frames()).sum();
    let behind = processors.iter().map(|p| p.blocks_behind()).max().unwrap_or(0);
    own + behind * u32::try_from(format.block_frames()).unwrap_or(u32::MAX)
}

/// Runs processors one after the other, each with its share of the time.
pub(crate) fn run(processors: &mut [Box<dyn Processor>], block: &mut Block<'_>, turn: Turn) {
    let waiting = processors.iter().map(|p| p.waits()).sum();
    let mut waiting_after = waiting;
    for processor in processors {
        waiting_after -= processor.waits();
        processor.process(block, &Turn { waiting, waiting_after, ..turn });
    }
}
