//! The faults: their names, their words, and who makes them happen.
//!
//! For the command line, the table and the harness. What a fault does inside the plugin is in `faulty.py`.

use crate::error::{Error, Kind as ErrorKind};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A fault that a plugin can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It raises.
    Exception,
    /// It leaves an array of another shape.
    WrongShape,
    /// Samples that are not finite or far too loud, in one block or in hundreds.
    NotAudio,
    /// SIGSEGV.
    Segv,
    /// SIGABRT.
    Abort,
    /// `os._exit`.
    OsExit,
    /// `sys.exit`.
    SysExit,
    /// An endless loop in Python.
    Loop,
    /// An endless loop or sleep in native code that holds the interpreter's lock.
    LoopInC,
    /// 200 ms in which nothing happens.
    Stall,
    /// The garbage collector, again and again, with much to do.
    Collector,
    /// Threads of its own that never let go of the interpreter's lock.
    GilHog,
    /// A gigabyte, bit by bit.
    MemoryHog,
    /// Somebody kills it, at any instant of a block.
    SigKill,
    /// Somebody stops it, at any instant of a block.
    SigStop,
    /// A little late in each of many blocks.
    Late,
    /// Random bytes over all memory that it may write.
    Scribble,
    /// Answers under sequences that were never asked for.
    Lying,
    /// Wakes and requeues whoever sleeps on its bells.
    WakeFlood,
    /// Cuts its shared memory, or punches holes into it.
    Truncate,
    /// Eighty children.
    ForkBomb,
    /// Prints by the megabyte.
    Print,
    /// It is killed, and the next worker dies while it imports the plugin.
    DiesLoading,
    /// It is killed, and the next worker dies of the state that it is given.
    DiesRestoring,
}

/// Who makes a fault happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Injection {
    /// The plugin, in its next block.
    Plugin,
    /// The harness, by a signal, at any instant.
    Kill,
    /// As above; a stopped worker is as good as gone.
    Stop,
    /// The harness kills; the next worker finds this flag in its folder.
    KillAfterFlag(&'static str),
    /// The harness kills, once the flag has been taken by the plugin's `save_state`.
    KillAfterSnapshot(&'static str),
}

impl Kind {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 24] = [
        Self::Exception,
        Self::WrongShape,
        Self::NotAudio,
        Self::Segv,
        Self::Abort,
        Self::OsExit,
        Self::SysExit,
        Self::Loop,
        Self::LoopInC,
        Self::Stall,
        Self::Collector,
        Self::GilHog,
        Self::MemoryHog,
        Self::SigKill,
        Self::SigStop,
        Self::Late,
        Self::Scribble,
        Self::Lying,
        Self::WakeFlood,
        Self::Truncate,
        Self::ForkBomb,
        Self::Print,
        Self::DiesLoading,
        Self::DiesRestoring,
    ];

    /// Its name, for the command line and for the plugin.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exception => "exception",
            Self::WrongShape => "wrong-shape",
            Self::NotAudio => "not-audio",
            Self::Segv => "segv",
            Self::Abort => "abort",
            Self::OsExit => "os-exit",
            Self::SysExit => "sys-exit",
            Self::Loop => "loop",
            Self::LoopInC => "loop-in-c",
            Self::Stall => "stall",
            Self::Collector => "collector",
            Self::GilHog => "gil-hog",
            Self::MemoryHog => "memory-hog",
            Self::SigKill => "sigkill",
            Self::SigStop => "sigstop",
            Self::Late => "late",
            Self::Scribble => "scribble",
            Self::Lying => "lying",
            Self::WakeFlood => "wake-flood",
            Self::Truncate => "truncate",
            Self::ForkBomb => "fork-bomb",
            Self::Print => "print",
            Self::DiesLoading => "dies-loading",
            Self::DiesRestoring => "dies-restoring",
        }
    }

    pub(super) fn injection(self) -> Injection {
        match self {
            Self::SigKill => Injection::Kill,
            Self::SigStop => Injection::Stop,
            Self::DiesLoading => Injection::KillAfterFlag("die-in-import"),
            Self::DiesRestoring => Injection::KillAfterSnapshot("poison"),
            _ => Injection::Plugin,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|kind| kind.name()).collect();
            Error::new(ErrorKind::Config, format!("no fault is called {name}"))
                .remedy(format!("one of {}", names.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name_and_stands_once_in_the_table() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse::<Kind>().unwrap(), kind);
        }
        let told = "segfault".parse::<Kind>().unwrap_err().to_string();
        assert!(told.contains("segfault") && told.contains("dies-restoring"), "{told}");
    }

    #[test]
    fn the_plugin_knows_every_fault_that_it_is_asked_for() {
        for kind in Kind::ALL {
            let known = super::super::FAULTY.contains(&format!("\"{kind}\": "));
            assert_eq!(known, kind.injection() == Injection::Plugin, "{kind}");
        }
    }
}
