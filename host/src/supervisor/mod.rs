//! The supervisor: every worker process, from its start to its end.
//!
//! For whoever builds a pipeline. [`Supervisor::spawn`] starts a worker and gives its control half, a
//! [`Worker`]; one thread of the supervisor's own (`watch`) starts the processes, hears what they say, drains
//! what they print and reaps them. What nobody asked for comes as [`Event`]s.
//!
//! Nothing here is ever called on the audio thread: that shares a flag ([`Worker::gone`]) and its ring with it,
//! no more. A dead worker stays dead: its plugin's recovery starts another incarnation.

mod bell;
mod bounds;
mod census;
mod crowd;
mod death;
mod event;
pub(crate) mod gauge;
pub(crate) mod link;
mod mark;
pub mod module;
mod output;
mod pace;
mod patience;
mod process;
#[cfg(test)]
pub(crate) mod simulated;
mod spare;
mod spawner;
mod stacks;
mod stat;
mod sweep;
mod warden;
mod watch;

pub use death::{Because, Death, Ending};
pub use event::{Event, Teller};
pub use spare::Spare;
pub use spawner::Spawner;
pub use stat::Condition;

use crate::crash;
use crate::error::{Error, Kind, Result};
use crate::plugin::spec::PluginSpec;
use crate::plugin::worker::Worker;
use crate::realtime::RealTime;
use crate::recovery::Recovery;
use bell::Bell;
use event::Reporter;
use rustix::process::{Resource, getrlimit};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use warden::Leftover;
use watch::{Command, Watch};

/// How often a start that goes on looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(20);

/// How long a worker may take for what it is asked, before it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From its start to its hello: the interpreter, numpy, the worker module.
    pub hello: Duration,
    /// Importing the plugin and making the instance: large models are loaded here.
    pub load: Duration,
    /// Format, parameters, `initialize`.
    pub configure: Duration,
    /// `start`.
    pub start: Duration,
    /// Everything else but the last.
    pub other: Duration,
    /// From being asked to go until it is gone.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let long = Duration::from_secs(30);
        let shutdown = Duration::from_secs(2);
        Self {
            hello: long,
            load: long,
            configure: long,
            start: long,
            other: Duration::from_secs(5),
            shutdown,
        }
    }
}

/// Starts workers and watches over them until it is dropped.
///
/// Dropped, it asks all workers that are left to go, gives them two seconds, then kills them. None is left
/// behind, not even as a zombie, unless the kernel itself can't end it. Processes that a plugin started end
/// with it, also those in a session of their own, but for one that has left its group, cleared its environment and
/// taken its mark off; and if the host is killed, a process of the supervisor's own sees to that.
#[derive(Debug)]
pub struct Supervisor {
    spawner: Spawner,
    recovery: Recovery,
    realtime: Arc<RealTime>,
    thread: Option<JoinHandle<()>>,
    /// It has been told that memory can't be locked.
    told_unlocked: AtomicBool,
    /// Something plays that those who are started are not to disturb.
    gently: AtomicBool,
    /// What is told reaches its reader for as long as there is a supervisor, not only as long as its thread.
    _reporter: Arc<Reporter>,
}

impl Supervisor {
    /// Starts the supervisor's thread. To be called by a thread of ordinary priority, which the workers inherit.
    /// Events that nobody reads are dropped when too many wait, except deaths.
    ///
    /// # Errors
    /// [`Kind::System`]: no thread, no descriptors.
    pub fn new() -> Result<(Self, Receiver<Event>)> {
        Self::with_limits(Limits::default())
    }

    /// As [`Supervisor::new`], with other limits.
    ///
    /// # Errors
    /// As [`Supervisor::new`].
    pub fn with_limits(limits: Limits) -> Result<(Self, Receiver<Event>)> {
        let failed = |e: io::Error| Error::new(Kind::System, "can't start the supervisor").source(e);
        let bell = Bell::new().map_err(|e| failed(e.into()))?;
        let (commands, orders) = channel();
        let (events, received) = sync_channel(event::QUEUE);
        let reporter = Arc::new(Reporter::new(events));
        let watch = Watch::new(orders, bell.clone(), Arc::clone(&reporter));
        let spawner = Spawner::new(commands, bell, limits, Teller::new(&reporter));
        let thread = thread::Builder::new().name("nda-supervisor".into());
        let thread = Some(thread.spawn(move || watch.run()).map_err(failed)?);
        let recovery = Recovery::start(spawner.clone())?;
        let (realtime, told_unlocked) = (RealTime::new(), AtomicBool::new(false));
        let gently = AtomicBool::new(false);
        let _reporter = reporter;
        Ok((Self { spawner, recovery, realtime, thread, told_unlocked, gently, _reporter }, received))
    }

    /// Starts a worker for the plugin `name`, and waits until the plugin is loaded. May be called by several
    /// threads at once; their workers then start side by side.
    ///
    /// # Errors
    /// [`Kind::Config`] if there is no such plugin file, [`Kind::Interpreter`] if there is no Python fit for
    /// it, [`Kind::Plugin`] if it can't be imported or hangs, [`Kind::Worker`] if the worker module is missing
    /// or of another version. The worker is then gone.
    pub fn spawn(&self, name: &str, spec: &PluginSpec) -> Result<Worker> {
        if self.gently.load(Ordering::Relaxed) {
            return self.spawner.spawn_gently(name, spec);
        }
        self.spawner.spawn(name, spec)
    }

    /// What starts workers without borrowing the supervisor: for a thread of its own.
    #[must_use]
    pub fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }

    /// What tells events among the supervisor's own.
    #[must_use]
    pub fn teller(&self) -> Teller {
        self.spawner.teller()
    }

    /// Where reports of plugins' deaths go from now on; until this is called there are none.
    pub fn report_to(&self, folder: impl Into<PathBuf>) {
        let folder = folder.into();
        self.take_away(Leftover::Beginning(crash::unfinished_of_this_process(&folder)));
        self.recovery.report_to(folder);
    }

    /// Where that is, for one that dies while it is started first.
    pub(crate) fn reports(&self) -> Option<PathBuf> {
        self.recovery.reports()
    }

    /// Has this file, or folder with all that is in it, taken away if this process is killed, or its supervisor ends
    /// with workers left, and can't do it itself. No other process may ever use the name.
    pub fn leaves_behind(&self, path: &Path) {
        self.take_away(Leftover::Path(path.to_owned()));
    }

    fn take_away(&self, leftover: Leftover) {
        self.spawner.command(Command::TakeAway(leftover));
    }

    /// From now on something plays: whoever is started goes after that until it plays itself, where that can be undone.
    pub(crate) fn start_gently(&self) {
        self.gently.store(true, Ordering::Relaxed);
    }

    /// What its pipelines share of the machine.
    pub(crate) fn realtime(&self) -> &Arc<RealTime> {
        &self.realtime
    }

    /// What brings plugins back.
    pub(crate) fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// What to tell of a ring that could not be locked in memory, the first time there is one.
    pub(crate) fn unlocked(&self) -> Option<String> {
        let told = self.told_unlocked.swap(true, Ordering::Relaxed);
        (!told).then(|| {
            let limit = getrlimit(Resource::Memlock).current.map_or(0, |bytes| bytes / 1024);
            format!(
                "memory for blocks can't be locked (limit {limit} KiB): when memory runs short, blocks may wait for the \
                 disk; raise the limit with `ulimit -l unlimited`, for good with the line `@audio - memlock unlimited` \
                 in /etc/security/limits.d/audio.conf, for a service with `LimitMEMLOCK=infinity`"
            )
        })
    }

    /// Asks all workers to go, without waiting; in two seconds they are killed. None can be started any more, and
    /// every question to one is answered with its end. May be called by any thread, and more than once.
    pub fn leave(&self) {
        // First of all nobody takes their place.
        self.recovery.leave();
        // A thread that is gone has left nobody behind.
        self.spawner.command(Command::Leave);
    }

    /// Lets `start` start workers, and all of them leave as soon as `stop` is set: a plugin may import for as long
    /// as a load may take, and nobody who has asked for the end waits for that. If `stop` is not set when this
    /// returns, nobody was asked to leave.
    ///
    /// # Errors
    /// What `start` says; [`Kind::System`] if there is no thread to watch `stop`.
    pub(crate) fn start_unless<T>(&self, stop: &AtomicBool, start: impl FnOnce() -> Result<T>) -> Result<T> {
        let (starting, over) = channel::<()>();
        let look = move || self.leave_on(stop, &over);
        thread::scope(|scope| {
            let watcher = thread::Builder::new().name("nda-start".into());
            let refused = |e| Error::new(Kind::System, "can't watch over the start").source(e);
            watcher.spawn_scoped(scope, look).map_err(refused)?;
            // Dropped with this block, by a panic as well: the watcher ends then.
            let _starting = starting;
            start()
        })
    }

    /// Looks at `stop` until it is set or `over` is hung up.
    fn leave_on(&self, stop: &AtomicBool, over: &Receiver<()>) {
        while !stop.load(Ordering::Relaxed) {
            if over.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
        self.leave();
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.leave();
        self.recovery.end();
        if let Some(thread) = self.thread.take() {
            // A panic over there has been printed, and its workers have ended with it.
            let _ = thread.join();
        }
    }
}
