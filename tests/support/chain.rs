//! Plugins in a chain of the test's own: no device, no clock, the test decides when a block comes and how long it
//! may take.

use crate::until::until;
use crate::workspace::python;
use host::Format;
use host::plugin::spec::{Mode, PluginSpec};
use host::plugin::{Place, Plugin, Remote};
use host::supervisor::{Event, Supervisor};
use std::path::Path;
use std::sync::mpsc::Receiver;

/// So long that a plugin that answers at all answers in time.
pub const AMPLE_NS: u64 = 60_000_000_000;
/// So short that a plugin that was made to wait is late, however fast the machine.
pub const SHORT_NS: u64 = 2_000_000;

/// Starts plugins for blocks of one format.
#[derive(Debug)]
pub struct Rack {
    supervisor: Supervisor,
    /// What the supervisor tells.
    pub events: Receiver<Event>,
    /// The format of every block.
    pub format: Format,
}

impl Rack {
    /// For blocks of this format.
    ///
    /// # Panics
    /// If it is out of bounds, or there is no thread for the supervisor.
    #[must_use]
    pub fn new(channels: u32, block_frames: u32, rate: u32) -> Self {
        let format = Format::new(channels, block_frames, rate).expect("a format");
        let (supervisor, events) = Supervisor::new().expect("a supervisor");
        Self { supervisor, events, format }
    }

    /// Has reports of deaths written into this folder.
    pub fn report_to(&self, folder: &Path) {
        self.supervisor.report_to(folder);
    }

    /// Ends the supervisor; all that it told that nobody has read.
    #[must_use]
    pub fn end(self) -> String {
        let Self { supervisor, events, .. } = self;
        drop(supervisor);
        events.iter().map(|event| format!("{event}\n")).collect()
    }

    /// Loads a plugin, with the workspace's interpreter unless it names another.
    ///
    /// # Panics
    /// If it does not load.
    #[must_use]
    pub fn load(&self, spec: PluginSpec) -> (Plugin, Remote) {
        let spec = PluginSpec { python: spec.python.or_else(|| Some(python())), ..spec };
        Plugin::load(&self.supervisor, spec, self.format).unwrap_or_else(|e| panic!("{e}"))
    }

    /// The same, for a device that asks for so many blocks at once.
    ///
    /// # Panics
    /// If it does not load.
    #[must_use]
    pub fn load_for_bursts(&self, name: &str, spec: PluginSpec, burst: u32) -> (Plugin, Remote) {
        let spec = PluginSpec { python: spec.python.or_else(|| Some(python())), ..spec };
        let place = Place { format: self.format, kind: None, burst };
        Plugin::load_as(&self.supervisor, name, spec, place).unwrap_or_else(|e| panic!("{e}"))
    }
}

/// A plugin that is to answer within the block.
#[must_use]
pub fn same_block(file: &Path) -> PluginSpec {
    PluginSpec { mode: Some(Mode::SameBlock), ..PluginSpec::new(file) }
}

/// A plugin whose answer is taken with the next block.
#[must_use]
pub fn pipelined(file: &Path) -> PluginSpec {
    PluginSpec { mode: Some(Mode::Pipelined), ..PluginSpec::new(file) }
}

/// Waits until a plugin of `plugins::processor` has answered this many blocks. It answers questions only between
/// two blocks, so the last answer is published by then.
///
/// # Panics
/// If it does not.
pub fn wait_answered(plugin: &Plugin, blocks: usize) {
    let answered = || plugin.worker().get_parameter("blocks").expect("a living plugin");
    until("blocks to be answered", || answered() == blocks.to_string());
}
