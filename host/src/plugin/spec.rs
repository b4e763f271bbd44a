//! What the user asked of one Python plugin: file, interpreter, parameters, mode, policy.
//!
//! For the configuration, the command line and users of the library. Holds values that are already checked;
//! it does not look at the file system.

pub use shared::message::Gc;
use shared::message::PluginKind;
use shared::ring::Scrub;
pub use shared::spin::Spin;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How the audio thread meets the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Wait for this block's result, until the deadline. Adds no latency.
    #[default]
    SameBlock,
    /// Never wait: take the result of the block before. One block of latency for the whole chain, or as many as
    /// the device's buffer holds if that is longer than a block.
    Pipelined,
}

impl Mode {
    /// That of a plugin whose user has not chosen one.
    #[must_use]
    pub fn by_default(kind: PluginKind) -> Self {
        if kind == PluginKind::Sink { Self::Pipelined } else { Self::SameBlock }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Pipelined { "pipelined" } else { "same-block" })
    }
}

/// What is heard in place of a block that the plugin did not deliver in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lost {
    /// The dry signal, delayed by what the plugin and its mode add.
    #[default]
    Bypass,
    /// Silence.
    Mute,
    /// The last good block again, faded out.
    Hold,
}

/// What the host does to a plugin's samples at the boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Guard {
    /// Non-finite samples are replaced by a line between their neighbours, those far above full scale are limited, both
    /// are counted; joints are ramped.
    #[default]
    On,
    /// The bits pass unchanged: for plugins whose output isn't audio.
    Off,
}

/// The smallest, the default and the largest deadline, as fractions of a block's duration.
pub const DEADLINE_MIN: f32 = 0.05;
/// See [`DEADLINE_MIN`].
pub const DEADLINE_DEFAULT: f32 = 0.5;
/// See [`DEADLINE_MIN`].
pub const DEADLINE_MAX: f32 = 0.95;

/// The longest that one side may be told to look for a block of the other, in microseconds.
pub const SPIN_US_MAX: u32 = 1000;

/// What stands by to take the place of a worker that died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standby {
    /// Nothing: a replacement starts with its interpreter.
    None,
    /// An interpreter with numpy, shared by all plugins that use it; the plugin is loaded when it is needed.
    #[default]
    Spare,
    /// A worker with the plugin loaded and started, with the same parameters and the last snapshot of its state.
    Twin,
}

/// How far above full scale, in dB, a plugin's samples may be before they are limited.
pub const LEVEL_MAX_DB: f32 = 12.0;
/// How often the state of a plugin that offers it is saved.
pub const SNAPSHOT_EVERY: Duration = Duration::from_secs(1);

/// One Python plugin as the user asked for it.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginSpec {
    /// The plugin's file.
    pub file: PathBuf,
    /// The interpreter; `None` searches `.venv` beside the plugin, `$VIRTUAL_ENV`, `python3` on the path.
    pub python: Option<PathBuf>,
    /// Parameters, in the order given.
    pub set: Vec<(String, String)>,
    /// How the audio thread meets it; `None` is same-block, pipelined for a sink.
    pub mode: Option<Mode>,
    /// How long the audio thread may wait, as a fraction of the block's duration.
    pub deadline: f32,
    /// What is heard in place of a lost block.
    pub lost: Lost,
    /// A lost block is silence, whatever `lost` says. So it is of a plugin that declares itself that it fails closed,
    /// which nothing here can undo.
    pub fail_closed: bool,
    /// What is done to its samples at the boundary.
    pub guard: Guard,
    /// Who decides when Python's collector runs while it processes blocks.
    pub gc: Gc,
    /// Whether silent blocks come before the first one, so that its first calls, which are slow, are not heard;
    /// `None` is as the plugin says.
    pub silent_warm_up: Option<bool>,
    /// The loudest that its samples may be, in dB of full scale, before they are limited.
    pub level_max_db: f32,
    /// How long the audio thread and the worker look for each other's blocks before they sleep.
    pub spin: Spin,
    /// Whether it may move from same-block to pipelined and back by itself.
    pub adapt: bool,
    /// Whether a worker that died is replaced.
    pub restart: bool,
    /// What stands by for that.
    pub standby: Standby,
    /// How long it may go without an answer before it is called hung; `None` is 250 ms or 20 blocks, whichever
    /// is longer.
    pub hang_after: Option<Duration>,
    /// How much memory its worker, with all processes it started, may use, in bytes; `None` is half of what the
    /// machine has.
    pub memory_max: Option<u64>,
    /// The processor cores, by number, that its worker and all that starts may use; none is as the host may.
    pub cores: Vec<usize>,
    /// How often its state is saved, if it offers `save_state`; zero is never.
    pub snapshot_every: Duration,
}

impl PluginSpec {
    /// A plugin with every default.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            python: None,
            set: Vec::new(),
            mode: None,
            deadline: DEADLINE_DEFAULT,
            lost: Lost::default(),
            fail_closed: false,
            guard: Guard::default(),
            gc: Gc::default(),
            silent_warm_up: None,
            level_max_db: LEVEL_MAX_DB,
            spin: Spin::Auto,
            adapt: true,
            restart: true,
            standby: Standby::default(),
            hang_after: None,
            memory_max: None,
            cores: Vec::new(),
            snapshot_every: SNAPSHOT_EVERY,
        }
    }

    /// What is done to the samples of an answer when they are taken.
    pub(crate) fn scrub(&self) -> Scrub {
        match self.guard {
            Guard::On => Scrub::Guard { ceiling: 10f32.powf(self.level_max_db / 20.0) },
            Guard::Off => Scrub::Nothing,
        }
    }

    /// Adds a parameter.
    #[must_use]
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.set.push((key.into(), value.into()));
        self
    }
}
