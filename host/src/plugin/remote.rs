//! A processor that runs elsewhere: its audio half, on the audio thread.
//!
//! Elsewhere is a worker process with a Python plugin, or the thread of a pipelined section. This half hands
//! blocks over, takes results back, bounds every wait and replaces what is lost. It holds nothing that the other
//! side could corrupt, and forgets about a late result: the sequence tells it from a new one. Starting,
//! restarting and talking to the other side is not its business.

use super::conceal::{Concealer, Plan};
use super::spec::{DEADLINE_MAX, Guard, Mode};
use crate::block::Block;
use crate::processor::{Processor, Seals, Turn};
use crate::telemetry::{Loss, PluginStats, Timing, TimingWriter};
use shared::clock::now_ns;
use shared::message::PluginKind;
use shared::ring::{HostEnd, Scrub, Status, Taken};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How long a sink may take for the blocks that are left to it at the end.
const SINK_WAIT_NS: u64 = 1_000_000_000;
/// What a guarded result is held to: +12 dBFS.
const CEILING: Scrub = Scrub::Guard { ceiling: 3.981_071_7 };

/// How a [`Remote`] meets its other side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) kind: PluginKind,
    pub(crate) mode: Mode,
    /// Blocks that one callback of the device runs in a row: so many blocks later a pipelined result is taken,
    /// as there is no time between them.
    pub(crate) burst: u32,
    pub(crate) deadline: f32,
    pub(crate) guard: Guard,
    /// What the plugin says it delays by, without the mode's block.
    pub(crate) own_latency_frames: u32,
    pub(crate) plan: Plan,
}

/// The audio half of a plugin.
#[derive(Debug)]
pub struct Remote {
    name: String,
    end: HostEnd,
    gone: Arc<AtomicBool>,
    terms: Terms,
    concealer: Concealer,
    /// The blocks handed over whose results are not due yet, if it is pipelined.
    under_way: VecDeque<Result<Asked, Loss>>,
    /// Of a sink that is not waited for: blocks it has not answered yet, at most one for each slot.
    unanswered: VecDeque<Asked>,
    stats: Arc<PluginStats>,
    timings: TimingWriter,
}

/// A block that was handed over.
#[derive(Debug, Clone, Copy)]
struct Asked {
    seq: u32,
    at_ns: u64,
}

impl Remote {
    /// The audio half over `end`; `gone` is set when the other side has died.
    pub(crate) fn new(
        name: String,
        end: HostEnd,
        gone: Arc<AtomicBool>,
        terms: Terms,
        stats: Arc<PluginStats>,
        timings: TimingWriter,
    ) -> Self {
        let concealer = Concealer::new(end.layout().format(), terms.plan);
        let unanswered = VecDeque::with_capacity(end.layout().slots() as usize);
        // Full when the results of a burst and of one block more are due.
        let due = if terms.mode == Mode::Pipelined { terms.burst as usize + 1 } else { 0 };
        let under_way = VecDeque::with_capacity(due);
        Self { name, end, gone, terms, concealer, under_way, unanswered, stats, timings }
    }

    /// Hands the block over; fails if the other side is dead or so far behind that every slot is taken.
    fn ask(&mut self, block: &Block<'_>) -> Result<Asked, Loss> {
        if self.gone.load(Ordering::Relaxed) {
            return Err(Loss::Gone);
        }
        let at_ns = now_ns();
        let is_source = self.terms.kind == PluginKind::Source;
        let seq = self.end.publish(|samples| {
            if !is_source {
                samples.copy_from_slice(block.samples());
            }
        });
        self.end.notify();
        seq.map(|seq| Asked { seq, at_ns }).map_err(|_| Loss::Behind)
    }

    /// Puts the result into the block if it is there and good.
    fn take(&mut self, asked: Asked, block: &mut Block<'_>) -> Result<(), Loss> {
        let late = || if self.gone.load(Ordering::Relaxed) { Loss::Gone } else { Loss::Late };
        let head = self.end.head(asked.seq).ok_or_else(late)?;
        self.time(asked, &head);
        if head.status != Status::Good {
            return Err(Loss::Failed);
        }
        if self.terms.kind == PluginKind::Sink {
            return Ok(());
        }
        let scrub = if self.terms.guard == Guard::On { CEILING } else { Scrub::Nothing };
        let taken = self.end.take(asked.seq, block.samples_mut(), scrub).map_err(|_| {
            // What was copied is not audio, and the dry block is gone.
            block.samples_mut().fill(0.0);
            Loss::Torn
        })?;
        self.stats.count_non_finite(taken.non_finite);
        Ok(())
    }

    fn time(&mut self, asked: Asked, head: &Taken) {
        let stamps = head.stamps;
        self.timings.push(Timing {
            round_trip_ns: now_ns().saturating_sub(asked.at_ns),
            // The worker's own words: shown, never relied upon.
            plugin_ns: stamps.left_ns.saturating_sub(stamps.entered_ns),
        });
    }

    fn settle(&mut self, result: Result<(), Loss>, block: &mut Block<'_>) {
        match result {
            Ok(()) => self.stats.count_good(),
            Err(loss) => self.stats.count_lost(loss),
        }
        if self.terms.kind == PluginKind::Sink {
            return;
        }
        match result {
            Ok(()) => self.concealer.pass(block),
            Err(_) => self.concealer.replace(block),
        }
    }

    fn same_block(&mut self, block: &mut Block<'_>, turn: &Turn) {
        let deadline_ns = turn.deadline_ns(self.terms.deadline);
        let result = self.ask(block).and_then(|asked| {
            let _ = self.end.wait(asked.seq, deadline_ns, &self.gone);
            self.take(asked, block)
        });
        self.settle(result, block);
    }

    fn pipelined(&mut self, block: &mut Block<'_>) {
        let asked = self.ask(block);
        self.under_way.push_back(asked);
        if self.under_way.len() <= self.terms.burst as usize {
            // The first results come a burst later: silence until then is no loss.
            block.samples_mut().fill(0.0);
            return;
        }
        let due = self.under_way.pop_front().unwrap_or(Err(Loss::Behind));
        let result = due.and_then(|due| self.take(due, block));
        self.settle(result, block);
    }

    /// Hands over to a sink without waiting. An answer that comes late is as good: the audio has arrived.
    fn feed(&mut self, block: &Block<'_>) {
        self.acknowledge();
        // An answer that has not been seen keeps its slot: its successor there would overwrite it.
        let has_room = self.unanswered.len() < self.end.layout().slots() as usize;
        let asked = if has_room { self.ask(block) } else { Err(Loss::Behind) };
        match asked {
            Ok(asked) => self.unanswered.push_back(asked),
            Err(_) if self.gone.load(Ordering::Relaxed) => {
                self.stats.count_lost(Loss::Gone);
                self.write_off(Loss::Gone);
            }
            Err(loss) => self.stats.count_lost(loss),
        }
    }

    /// Counts the blocks that nobody will answer any more.
    fn write_off(&mut self, loss: Loss) {
        while self.unanswered.pop_front().is_some() {
            self.stats.count_lost(loss);
        }
    }

    /// Counts what a sink has answered meanwhile.
    fn acknowledge(&mut self) {
        while let Some(asked) = self.unanswered.front().copied()
            && let Some(head) = self.end.head(asked.seq)
        {
            self.unanswered.pop_front();
            self.time(asked, &head);
            match head.status {
                Status::Good => self.stats.count_good(),
                Status::Failed => self.stats.count_lost(Loss::Failed),
            }
        }
    }
}

/// A chain is dropped on a thread that may wait. A sink that is only a little behind gets what was handed over to
/// it before its worker is told to stop, so that what was played is recorded too, and every block is counted.
impl Drop for Remote {
    fn drop(&mut self) {
        if let Some(last) = self.unanswered.back().copied() {
            let _ = self.end.wait(last.seq, now_ns() + SINK_WAIT_NS, &self.gone);
            self.acknowledge();
            self.write_off(if self.gone.load(Ordering::Relaxed) { Loss::Gone } else { Loss::Late });
        }
    }
}

impl Processor for Remote {
    fn name(&self) -> &str {
        &self.name
    }

    fn process(&mut self, block: &mut Block<'_>, turn: &Turn) {
        self.concealer.hear(block);
        match self.terms.mode {
            Mode::SameBlock => self.same_block(block, turn),
            Mode::Pipelined if self.terms.kind == PluginKind::Sink => self.feed(block),
            Mode::Pipelined => self.pipelined(block),
        }
    }

    fn latency_frames(&self) -> u32 {
        self.terms.own_latency_frames
    }

    fn waits(&self) -> bool {
        self.terms.mode == Mode::SameBlock
    }

    fn blocks_behind(&self) -> u32 {
        // A sink gives nothing back, so handing over without waiting adds no latency.
        let is_behind = self.terms.mode == Mode::Pipelined && self.terms.kind != PluginKind::Sink;
        if is_behind { self.terms.burst } else { 0 }
    }

    fn enter_section(&mut self) {
        let format = self.end.layout().format();
        // The section's thread may wait within the block, and the section's latency is that of all.
        if self.blocks_behind() > 0 {
            self.terms.deadline = DEADLINE_MAX;
        }
        self.terms.mode = Mode::SameBlock;
        self.terms.plan.latency_frames = self.terms.own_latency_frames as usize;
        self.concealer = Concealer::new(format, self.terms.plan);
    }

    fn seals(&self) -> Seals {
        let plan = self.concealer.plan();
        let audible = self.terms.kind != PluginKind::Sink;
        Seals {
            no_bypass: audible && (plan.closed || plan.lost != super::spec::Lost::Bypass),
            closed: audible && plan.closed,
            no_ramp: audible && !plan.ramp,
        }
    }
}
