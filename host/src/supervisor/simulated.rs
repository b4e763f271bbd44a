//! Workers without a process: links, spares and ends of a simulation, which says itself when what happens.
//!
//! The link is the real one; behind it are descriptors that lead nowhere.

use super::bell::Bell;
use super::death::{Ending, LastSaid};
use super::event::{Event, Reporter, Teller};
use super::link::Link;
use super::process::Process;
use super::spare::Spare;
use super::spawner::Spawner;
use super::{Because, Limits};
use crate::plugin::worker::{Held, Origin, Worker};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::pwrite;
use shared::control::Control;
use shared::message::{Answer, Hello, Loaded, PluginKind};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel, sync_channel};

/// What stands where the supervisor's thread would.
#[derive(Debug)]
pub(crate) struct Stage {
    bell: Bell,
    reporter: Arc<Reporter>,
    told: Receiver<Event>,
    spawner: Spawner,
}

/// The process that is none, and what the kernel would say of it.
#[derive(Debug, Clone)]
pub(crate) struct Puppet {
    pub(crate) link: Arc<Link>,
    stat: Arc<OwnedFd>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let bell = Bell::new().unwrap();
        let (queue, told) = sync_channel(1024);
        let reporter = Arc::new(Reporter::new(queue));
        let spawner = Spawner::new(channel().0, bell.clone(), Limits::default(), Teller::new(&reporter));
        Self { bell, reporter, told, spawner }
    }

    pub(crate) fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }

    /// What was told since the last time.
    pub(crate) fn told(&self) -> Vec<String> {
        self.reporter.settle();
        self.told.try_iter().map(|event| event.to_string()).collect()
    }

    pub(crate) fn puppet(&self) -> Puppet {
        self.puppet_with_control().0
    }

    /// The same with its end of the socket.
    pub(crate) fn puppet_with_control(&self) -> (Puppet, Control) {
        let stat = memfd_create("stat", MemfdFlags::CLOEXEC).unwrap();
        let process = Process::simulated(
            memfd_create("pidfd", MemfdFlags::CLOEXEC).unwrap(),
            stat.try_clone().unwrap(),
        );
        let (control, its) = Control::pair().unwrap();
        let link = Arc::new(Link::new("simulated".into(), process, control, self.bell.clone()));
        let puppet = Puppet { link, stat: Arc::new(stat) };
        puppet.say('S');
        (puppet, its)
    }
}

impl Puppet {
    /// What the kernel says from now on: a letter of `/proc/PID/stat`.
    pub(crate) fn say(&self, state: char) {
        let line = format!("7 (a) {state} 1 42 43 0 -1 0 9 9 9 9 100 50 30 20 20 0 3 0 999 1 2");
        pwrite(&*self.stat, line.as_bytes(), 0).unwrap();
    }

    pub(crate) fn spare(&self, python: PathBuf) -> Spare {
        let module = PathBuf::from("module");
        Spare::new(Held(Arc::clone(&self.link)), hello(), python, module, Limits::default())
    }

    /// The worker that it would be, with a plugin that keeps a state.
    pub(crate) fn worker(&self) -> Worker {
        let text = String::new;
        let origin =
            Origin { name: "p".into(), file: "p".into(), python: "python".into(), module: "m".into() };
        let loaded = Loaded {
            kind: PluginKind::Processor,
            name: text(),
            version: text(),
            author: text(),
            description: text(),
            fail_closed: false,
            silent_warm_up: false,
            keeps_state: true,
        };
        Worker::simulated(Held(Arc::clone(&self.link)), origin, hello(), loaded)
    }

    /// It has accepted the parameter that it was asked to take under this number.
    pub(crate) fn accept(&self, id: u32) {
        self.link.answered(id, Ok(Answer::Set { accepted: true }));
    }

    /// It says that it begins to save or restore its state.
    pub(crate) fn begin_with_state(&self) {
        self.link.begins_with_state();
    }

    /// It has no state, it answers under this number.
    pub(crate) fn have_no_state(&self, id: u32) {
        self.link.answered(id, Ok(Answer::State(None)));
    }

    /// Whether the host has given it up.
    pub(crate) fn is_gone(&self) -> bool {
        self.link.gone().load(Ordering::Acquire)
    }

    /// It is gone, but the kernel does not let go of its process.
    pub(crate) fn stick(&self) {
        self.link.set_gone();
    }

    /// What the supervisor does when it is told of one that was given up.
    pub(crate) fn run_hooks(&self) {
        self.link.run_hooks();
    }

    /// It has ended and is reaped; why the host ended it, if it did.
    pub(crate) fn end(&self) -> Option<Because> {
        self.link.end(Ending::Signal(9), LastSaid::default()).0.because.clone()
    }
}

/// What a worker says of itself.
pub(crate) fn hello() -> Hello {
    Hello { protocol: 0, version: "0".into(), python: "3".into(), numpy: "2".into() }
}
