//! The host's own path: a chain of plugins in their workers, driven by a thread that stands for the audio thread.
//!
//! The same workers drive themselves in alternation, without the host: what is measured in process is that very
//! process, with the same objects in the same memory.

use super::batch::{Batch, Turn, signal};
use super::parts;
use super::place::bind_process;
use super::plugins::Plugins;
use crate::Outcome;
use crate::report::model::{Memory, Mode, Variant, Waiting};
use host::Format;
use host::block::Block;
use host::chain::Chain;
use host::plugin::spec::{DEADLINE_MAX, Mode as SpecMode, PluginSpec, Spin, Standby};
use host::plugin::{Place, Plugin};
use host::processor::Processor;
use host::supervisor::Supervisor;
use rustix::process::Pid;
use rustix::thread::CpuSet;
use std::time::Duration;

/// Samples a second.
pub const RATE: u32 = 48_000;
/// How long a pipelined worker has for a block that nobody waits for, where one block follows the other.
const PIPELINED_GAP_NS: u64 = 100_000;
/// How long a spinning side looks before it sleeps: longer than what it waits for takes, and much shorter than a period,
/// since it has no turn for most of the time.
pub const SPIN_NS: u32 = 200_000;
/// A plugin under test may take as long as it does.
const HANG_AFTER: Duration = Duration::from_secs(60);

/// A chain and the control halves of its plugins.
#[derive(Debug)]
pub struct Pipeline {
    chain: Chain,
    plugins: Vec<Plugin>,
    sent: Vec<f32>,
    is_pipelined: bool,
    leaves_audio: bool,
}

impl Pipeline {
    /// Starts the workers of a variant.
    ///
    /// # Errors
    /// Of the plugins.
    pub fn start(supervisor: &Supervisor, plugins: &Plugins, variant: &Variant) -> Outcome<Self> {
        let format = Format::new(variant.channels, variant.block_frames, RATE)?;
        let (mut controls, mut chain) = (Vec::new(), Vec::<Box<dyn Processor>>::new());
        for _ in 0..variant.chain {
            let spec = asked(plugins.spec(&variant.plugin), variant);
            let place = Place { format, kind: None, burst: 1 };
            let (plugin, remote) = Plugin::load_as(supervisor, &variant.plugin, spec, place)?;
            controls.push(plugin);
            chain.push(Box::new(remote));
            if variant.through_host {
                chain.push(Box::new(Apart));
            }
        }
        Ok(Self {
            chain: Chain::new(format, chain)?,
            plugins: controls,
            sent: signal(format.samples(), format.block_frames()),
            is_pipelined: variant.mode == Mode::Pipelined,
            leaves_audio: variant.plugin == "passthrough",
        })
    }

    /// Binds all workers.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn bind(&self, to: &CpuSet) -> Outcome {
        for plugin in &self.plugins {
            let pid = i32::try_from(plugin.worker().pid()).ok().and_then(Pid::from_raw);
            bind_process(pid.ok_or("a worker without a process")?, to)?;
        }
        Ok(())
    }

    /// Processes the blocks of a turn as the audio thread would.
    ///
    /// # Errors
    /// If a worker has died, or a block that should be left alone is not.
    pub fn turn(&mut self, turn: &Turn) -> Outcome<Batch> {
        let every_ns = if self.is_pipelined { turn.every_ns.max(PIPELINED_GAP_NS) } else { turn.every_ns };
        let (chain, sent) = (&mut self.chain, &self.sent);
        let mut block = |samples: &mut [f32]| {
            chain.process(samples);
            Ok(())
        };
        Turn { blocks: turn.warm_up, warm_up: 0, every_ns }.run(sent, &mut block)?;
        let lost_before = lost(&self.plugins);
        self.plugins.iter().for_each(|plugin| drop(plugin.keep_passages(turn.blocks as usize)));
        let (spans, last) = Turn { blocks: turn.blocks, warm_up: 0, every_ns }.run(sent, block)?;
        let lost = (lost(&self.plugins) - lost_before).min(u64::from(turn.blocks));
        if let Some(dead) = self.plugins.iter().find(|plugin| plugin.is_dead()) {
            return Err(format!("the worker of {} has ended while it was measured", dead.name()).into());
        }
        if self.leaves_audio && lost == 0 && last != *sent {
            return Err("the block came back changed".into());
        }
        let passages: Vec<_> = self.plugins.iter().map(|plugin| plugin.keep_passages(0)).collect();
        // In a pipelined chain each plugin has another block at a time, so that nothing passes in a row.
        let is_one_after_the_other = !self.is_pipelined || passages.len() == 1;
        let parts_ns = if is_one_after_the_other { parts::of(&spans, &passages) } else { Vec::new() };
        Ok(Batch { lost, parts_ns, ..Batch::of(&spans) })
    }

    /// Has the worker of the first plugin drive itself.
    ///
    /// # Errors
    /// Of the plugin.
    pub fn drive(&self, turn: &Turn) -> Outcome<Batch> {
        let worker = self.plugins.first().ok_or("a chain of nothing")?.worker();
        let times = worker.drive(turn.warm_up + turn.blocks, Duration::from_nanos(turn.every_ns))?;
        let counted = times.iter().skip(turn.warm_up as usize);
        Ok(Batch { times_ns: counted.map(|ns| u64::from(*ns)).collect(), ..Batch::default() })
    }

    /// What a worker of it has in memory, if the kernel tells.
    #[must_use]
    pub fn memory(&self) -> Option<Memory> {
        let rollup = format!("/proc/{}/smaps_rollup", self.plugins.first()?.worker().pid());
        let rollup = std::fs::read_to_string(rollup).ok()?;
        Some(Memory { resident_bytes: bytes(&rollup, "Rss:")?, proportional_bytes: bytes(&rollup, "Pss:")? })
    }
}

/// Keeps two plugins apart, which else hand blocks on to each other without the host.
struct Apart;

impl Processor for Apart {
    fn name(&self) -> &str {
        "apart"
    }

    fn process(&mut self, _block: &mut Block<'_>, _turn: &host::processor::Turn) {}
}

/// Blocks that the host gave up; a block that several plugins lost counts for each.
fn lost(plugins: &[Plugin]) -> u64 {
    plugins.iter().map(|plugin| plugin.counts().lost()).sum()
}

/// The plugin as a variant has it: never moved, replaced or looked after while it is measured.
fn asked(spec: PluginSpec, variant: &Variant) -> PluginSpec {
    let mode = match variant.mode {
        Mode::SameBlock => SpecMode::SameBlock,
        Mode::Pipelined => SpecMode::Pipelined,
    };
    let spin = match variant.waiting {
        Waiting::Parked => Spin::Off,
        Waiting::Spinning => Spin::For(SPIN_NS),
        Waiting::Adaptive => Spin::Auto,
    };
    PluginSpec {
        mode: Some(mode),
        spin,
        deadline: DEADLINE_MAX,
        adapt: false,
        restart: false,
        standby: Standby::None,
        hang_after: Some(HANG_AFTER),
        snapshot_every: Duration::ZERO,
        ..spec
    }
}

/// What programs may still take without others having to give anything back, if the kernel tells.
#[must_use]
pub fn memory_left_bytes() -> Option<u64> {
    bytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// A number of kB behind a key.
fn bytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kb| kb * 1024)
}
