//! What the loop needs of a plugin, whatever it is written in.
//!
//! The `worker` crate implements [`Plugin`] for a Python instance, tests for plain structs. The loop calls the
//! methods in the order of life (`load`, `configure`, `start`, blocks, `stop`, `shutdown`) and from one thread.

use crate::collector::Sweep;
use crate::toll::Collections;
use shared::message::{Configured, Failure, Gc, Loaded, Notice};
use shared::ring::{SlotMemory, Status};
use std::sync::Arc;

/// A plugin as the loop sees it.
pub trait Plugin {
    /// Imports the file and makes the instance.
    ///
    /// # Errors
    /// What failed, for the host to tell its user; as for all methods here.
    fn load(&mut self, file: &str) -> Result<Loaded, Failure>;

    /// Takes the format and the memory of the slots, the parameters, and initialises the first time.
    ///
    /// # Errors
    /// What failed.
    fn configure(&mut self, memory: SlotMemory, set: &[(String, String)]) -> Result<Configured, Failure>;

    /// Gets ready for blocks, and hands its collector over to whom `gc` says.
    ///
    /// # Errors
    /// What failed.
    fn start(&mut self, gc: Gc) -> Result<(), Failure>;

    /// Makes first calls with silence that nobody hears, after `start` with the same `gc` and before the first block. What
    /// fails in them is not told: it fails in that too, or does so for silence alone.
    fn warm_up(&mut self, _gc: Gc) {}

    /// Where it counts what its collector takes, if it has one: asked once, before anything else.
    fn collections(&self) -> Arc<Collections> {
        Arc::default()
    }

    /// Objects that the collector has set aside for good; asked after a start with [`Gc::Host`].
    fn frozen(&mut self) -> u64 {
        0
    }

    /// Objects made since the last collection and not freed, of those that can be part of a cycle: asked after each
    /// block.
    fn made(&mut self) -> u64 {
        0
    }

    /// Has the collector do this; how many objects were garbage.
    fn sweep(&mut self, _sweep: Sweep) -> u64 {
        0
    }

    /// Works in place on the block in slot `slot`.
    fn process(&mut self, slot: usize) -> Processed;

    /// Something the host should know since the last call. Asked after each answer until there is nothing more.
    fn notice(&mut self) -> Option<Notice>;

    /// No more blocks.
    ///
    /// # Errors
    /// What failed.
    fn stop(&mut self) -> Result<(), Failure>;

    /// Gives everything back.
    ///
    /// # Errors
    /// What failed.
    fn shutdown(&mut self) -> Result<(), Failure>;

    /// Sets a parameter; whether the plugin accepted it.
    ///
    /// # Errors
    /// What failed.
    fn set_parameter(&mut self, key: &str, value: &str) -> Result<bool, Failure>;

    /// Reads a parameter.
    ///
    /// # Errors
    /// What failed.
    fn get_parameter(&mut self, key: &str) -> Result<String, Failure>;

    /// The plugin's state, if it offers one.
    ///
    /// # Errors
    /// What failed.
    fn save_state(&mut self) -> Result<Option<Vec<u8>>, Failure>;

    /// Restores what `save_state` gave.
    ///
    /// # Errors
    /// What failed.
    fn load_state(&mut self, state: &[u8]) -> Result<(), Failure>;

    /// Whether no thread but this one has ever been seen to use the interpreter: then a wait for the next block may keep it.
    /// Asked before such a wait and after it.
    fn is_alone(&mut self) -> bool {
        false
    }

    /// Runs something that may wait, while the plugin's own threads may run.
    fn released<T: Send>(&mut self, wait: impl FnOnce() -> T + Send) -> T;
}

/// What became of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processed {
    /// Whether its samples mean anything.
    pub status: Status,
    /// When the plugin was called, or a buffer was made for it: what is taken first.
    pub entered_ns: u64,
    /// When it returned.
    pub left_ns: u64,
}
