//! What starts workers, for any thread that wants one.
//!
//! The processes are started by the supervisor thread, which is asked here; it lives on in no clone of this: when
//! the [`Supervisor`](super::Supervisor) leaves, every start is refused.

use super::bell::Bell;
use super::event::Teller;
use super::link::Link;
use super::patience::Patience;
use super::spare::Spare;
use super::watch::{Command, Launch};
use super::{Limits, module};
use crate::error::{Error, Kind, Result};
use crate::plugin::interpreter;
use crate::plugin::spec::PluginSpec;
use crate::plugin::worker::{Held, Origin, Worker, greeting, plugin_file};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, sync_channel};
use std::time::Instant;

/// The name of a worker that has no plugin yet.
const SPARE: &str = "spare worker";

/// Starts workers for as long as its supervisor does. See [`Supervisor::spawner`](super::Supervisor::spawner).
#[derive(Debug, Clone)]
pub struct Spawner {
    commands: Sender<Command>,
    bell: Bell,
    limits: Limits,
    teller: Teller,
}

impl Spawner {
    pub(super) fn new(commands: Sender<Command>, bell: Bell, limits: Limits, teller: Teller) -> Self {
        Self { commands, bell, limits, teller }
    }

    /// Starts a worker for the plugin `name`, and waits until the plugin is loaded.
    ///
    /// # Errors
    /// As [`Supervisor::spawn`](super::Supervisor::spawn).
    pub fn spawn(&self, name: &str, spec: &PluginSpec) -> Result<Worker> {
        self.spawn_at(false, name, spec)
    }

    /// As [`Spawner::spawn`], for a worker that nobody waits for yet: where that can be undone, it goes after others
    /// until [`Worker::start`].
    ///
    /// # Errors
    /// As [`Spawner::spawn`].
    pub fn spawn_gently(&self, name: &str, spec: &PluginSpec) -> Result<Worker> {
        self.spawn_at(true, name, spec)
    }

    fn spawn_at(&self, gently: bool, name: &str, spec: &PluginSpec) -> Result<Worker> {
        let origin = resolve(name, spec)?;
        let name = Arc::clone(&origin.name);
        let link = self.launch(gently, &spec.cores, name, &origin.python, &origin.module)?;
        Worker::greet(link, origin, spec, self.limits)
    }

    /// Starts a worker that has no plugin yet, and waits until it has said hello.
    ///
    /// # Errors
    /// [`Kind::Interpreter`] if `python` is not fit to be a worker, [`Kind::Worker`] if `module` is of another
    /// version, [`Kind::System`] if it can't be started. The worker is then gone.
    pub fn warm(&self, python: &Path, module: &Path) -> Result<Spare> {
        let held = Held(self.launch(true, &[], SPARE.into(), python, module)?);
        let hello = greeting(&held, python, module, &self.limits)?;
        held.step_forward();
        Ok(Spare::new(held, hello, python.to_owned(), module.to_owned(), self.limits))
    }

    /// What tells events among the supervisor's own.
    #[must_use]
    pub fn teller(&self) -> Teller {
        self.teller.clone()
    }

    fn launch(
        &self,
        gently: bool,
        cores: &[usize],
        name: Arc<str>,
        python: &Path,
        module: &Path,
    ) -> Result<Arc<Link>> {
        let refused = format!("the supervisor can't start {name}");
        let (answer, launched) = sync_channel(1);
        let (python, module, cores) = (python.to_owned(), module.to_owned(), cores.to_owned());
        self.command(Command::Launch(Launch { name, python: python.clone(), module, gently, cores, answer }));
        let mut patience = Patience::from_now(self.limits.hello);
        while let Some(sleep) = patience.sleep(Instant::now()) {
            match launched.recv_timeout(sleep) {
                Ok(started) => return started.map_err(|why| interpreter::not_started(&python, why)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Err(Error::new(Kind::System, refused))
    }

    /// Has the supervisor thread do this. One that is gone drops it, with the other end of any answer.
    pub(super) fn command(&self, command: Command) {
        let _ = self.commands.send(command);
        self.bell.ring();
    }
}

/// What a worker for this plugin would be made of; starts nothing.
///
/// # Errors
/// [`Kind::Config`] if there is no such plugin file, [`Kind::Interpreter`] if there is no Python for it,
/// [`Kind::Worker`] if the worker module is missing.
pub(crate) fn resolve(name: &str, spec: &PluginSpec) -> Result<Origin> {
    let file = plugin_file(&spec.file)?;
    let python = interpreter::find(spec.python.as_deref(), Path::new(&file))?;
    let module = module::find()?;
    Ok(Origin { name: name.into(), file, python, module })
}
