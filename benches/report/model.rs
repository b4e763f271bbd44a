//! A run of `nda bench` as data: what was measured under which circumstances, and the figures.
//!
//! Measuring fills it in; tables, pages, verdicts and comparisons read it. It is also the file that `--json` writes
//! and `--check` reads, so that names here are names there. Times are nanoseconds.

use serde::{Deserialize, Serialize};

/// Counted up when a file of an older version can't be compared with any more.
pub const VERSION: u32 = 1;

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// [`VERSION`].
    pub version: u32,
    /// Version of nda.
    pub nda: String,
    /// When it began, RFC 3339.
    pub began: String,
    /// How long it took, in seconds.
    pub took_s: f64,
    /// The small set, which takes less than half a minute.
    pub quick: bool,
    /// The words that picked some of its variants; none if all of the set were wanted.
    #[serde(default)]
    pub only: Vec<String>,
    /// Variants of the set that the machine could not measure.
    #[serde(default)]
    pub unmeasured: Vec<Variant>,
    /// Where it ran.
    pub machine: Machine,
    /// Why its figures can't be trusted, a sentence each.
    pub doubts: Vec<String>,
    /// The figures.
    pub series: Vec<Series>,
}

/// The machine that was measured on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Model of the processor.
    pub cpu: String,
    /// Processors that the run could use.
    pub cores: u32,
    /// Name and version of the kernel.
    pub kernel: String,
    /// Governor of the processor's clock, if there is one.
    pub governor: Option<String>,
    /// Clock of the processor in MHz, if known.
    pub clock_mhz: Option<f64>,
    /// The kernel's clock source.
    pub clocksource: String,
    /// A hypervisor's name, if it is known that there is one.
    pub hypervisor: Option<String>,
    /// Interpreter and numpy of the plugins.
    pub python: String,
    /// What the process may do: "SCHED_FIFO, idle states held off", or what is missing.
    pub rights: String,
}

/// What was timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// A worker that drives its own plugin: the same cached objects, no host.
    InProcess,
    /// The host's chain, and the plugin in its worker.
    Isolated,
    /// Two bare processes, shared memory, a futex each way.
    Floor,
    /// A Python plugin hosted the way another library would: `raw_sync`'s event in a `shared_memory` segment.
    RawSync,
    /// Shared memory and an eventfd each way.
    Eventfd,
    /// Shared memory and a pipe each way.
    Pipe,
    /// A Unix socket that carries the block itself.
    UnixSocket,
    /// In Python, in one process: a bound method that does nothing, called through the C interface.
    NoOp,
    /// In Python, in one process: the plugin's arithmetic written as a plain numpy loop.
    PlainNumpy,
    /// In Python, in one process: pedalboard's gain in C++.
    Pedalboard,
}

/// How the audio thread meets the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It waits for the block.
    SameBlock,
    /// It takes the block before, and never waits.
    Pipelined,
}

/// How who waits waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Waiting {
    /// Asleep.
    Parked,
    /// It looks again and again, then sleeps.
    Spinning,
    /// It looks as long as that was seen to pay, then sleeps: what a plugin gets if nobody says otherwise.
    Adaptive,
}

/// Which processors take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cores {
    /// Both sides on one.
    One,
    /// Each side on its own.
    Two,
    /// As the scheduler likes.
    Any,
}

/// How the blocks follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// The next as soon as one is done.
    BackToBack,
    /// One a period, from a timer, as from a device.
    Paced,
}

/// The circumstances of one series.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Variant {
    /// What was timed.
    pub what: What,
    /// The plugin: "passthrough", "simple_gain", "sine_wave_source", "null_sink", or the user's; empty where there is
    /// none.
    pub plugin: String,
    /// Frames of a block.
    pub block_frames: u32,
    /// Channels of a block.
    pub channels: u32,
    /// How the audio thread meets it.
    pub mode: Mode,
    /// How they wait.
    pub waiting: Waiting,
    /// Which processors take part.
    pub cores: Cores,
    /// How the blocks follow each other.
    pub pace: Pace,
    /// Idle states were held off.
    pub awake: bool,
    /// Something else was busy on the other processor.
    pub loaded: bool,
    /// Plugins in a row.
    pub chain: u32,
    /// Each of them gives its block back to the host, which gives it to the next one.
    #[serde(default)]
    pub through_host: bool,
    /// Pipelines at once.
    pub pipelines: u32,
}

/// One variant and its figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// What was measured.
    pub variant: Variant,
    /// Time of a block, over all turns.
    pub times: Figures,
    /// Blocks that took longer than they last, or than the host waited.
    pub missed: u64,
    /// Where the time goes, of an isolated one: its parts, in the order in which they pass, those of a chain's plugins
    /// added up.
    pub parts: Vec<Part>,
    /// How long blocks were with each plugin of a chain, medians: from when the one before had done with them.
    #[serde(default)]
    pub by_plugin_p50_ns: Vec<u64>,
    /// The median of each turn: how much the turns differ.
    pub turns_p50_ns: Vec<u64>,
    /// What a worker of an isolated one has in memory.
    #[serde(default)]
    pub memory: Option<Memory>,
}

/// What a process has in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// All its pages.
    pub resident_bytes: u64,
    /// Its own pages, and its share of those that it has in common with others.
    pub proportional_bytes: u64,
}

/// A part of a block's time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// "written", "woken", "Python entered", "Python left", "noticed", "copied": what ends it.
    pub ends_with: String,
    /// Its median.
    pub p50_ns: u64,
    /// Its 99th percentile.
    pub p99_ns: u64,
}

/// What is said of many times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// How many.
    pub count: u64,
    /// Their mean.
    pub mean_ns: f64,
    /// Their standard deviation.
    pub deviation_ns: f64,
    /// The shortest.
    pub min_ns: u64,
    /// The median.
    pub p50_ns: u64,
    /// 99 of 100 are not longer.
    pub p99_ns: u64,
    /// 999 of 1000 are not longer.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// How many there are of which length, for plots: the upper end of each bucket and its count, rising, none empty.
    pub histogram: Vec<(u64, u64)>,
}
