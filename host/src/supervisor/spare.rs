//! A worker that stands by without a plugin: its interpreter and numpy are there, which is most of a start.
//!
//! For whoever replaces workers. It knows neither for how long it is worth keeping one nor whom it may serve.

use super::{Condition, Limits};
use crate::error::Result;
use crate::plugin::spec::PluginSpec;
use crate::plugin::worker::{Held, Origin, Worker, plugin_file};
use shared::message::Hello;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// A worker that has said hello and has no plugin yet. Dropped, it is killed.
#[derive(Debug)]
pub struct Spare {
    held: Held,
    hello: Hello,
    python: PathBuf,
    module: PathBuf,
    limits: Limits,
}

impl Spare {
    pub(super) fn new(held: Held, hello: Hello, python: PathBuf, module: PathBuf, limits: Limits) -> Self {
        Self { held, hello, python, module, limits }
    }

    /// Loads the plugin `name` in it, whatever interpreter `spec` asks for. From now on the worker is told of under
    /// that name.
    ///
    /// # Errors
    /// [`Kind::Config`](crate::error::Kind::Config) if there is no such plugin file; what the plugin does wrong
    /// while it is loaded. The worker is then gone.
    pub fn load(self, name: &str, spec: &PluginSpec) -> Result<Worker> {
        let file = plugin_file(&spec.file)?;
        self.held.pin(&spec.cores);
        let origin = Origin { name: name.into(), file, python: self.python, module: self.module };
        Worker::load(self.held, self.hello, origin, spec, self.limits)
    }

    /// Its process, for one that is simulated.
    #[cfg(test)]
    pub(crate) fn into_held(self) -> Held {
        self.held
    }

    /// What it said of itself.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// The interpreter that runs it.
    #[must_use]
    pub fn python(&self) -> &Path {
        &self.python
    }

    /// The process number, for telling people; it may have ended since.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.held.process.pid()
    }

    /// Whether a signal has stopped its process. Asks the kernel.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.held.process.condition() == Condition::Stopped
    }

    /// Whether it is known to have ended.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.held.gone().load(Ordering::Acquire)
    }
}
