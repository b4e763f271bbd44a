//! How a worker ended, in words that a user can act on.
//!
//! For errors and events. It decodes what the operating system says and what the worker chose to say by its
//! exit code ([`shared::exit`]); it doesn't judge whether the end was wanted.

use crate::error::Kind;
use rustix::process::{Signal, WaitIdStatus};
use shared::exit::Exit;
use shared::message::LogSource;
use std::fmt;

/// What stands above each stack that a worker writes down, and above each traceback of Python's.
pub(super) const STACK: &str = "(most recent call first):";
const TRACEBACK: &str = "(most recent call last):";

/// How a worker's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody can say any more: someone else reaped it, or it can't be killed.
    Unknown,
}

impl From<&WaitIdStatus> for Ending {
    fn from(status: &WaitIdStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Code(code),
            (_, Some(signal)) => Self::Signal(signal),
            _ => Self::Unknown,
        }
    }
}

/// The end of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// How the process ended.
    pub ending: Ending,
    /// Whether it had said hello: before, the exit code is the boot script's; afterwards it may be the plugin's.
    pub greeted: bool,
    /// Whether it had answered the request to go: what ends it before that is not its stop.
    pub answered_last: bool,
    /// Why the host ended it, if it was the host.
    pub because: Option<Because>,
    /// The last lines it wrote to standard error; may be empty.
    pub stderr: String,
    /// The last lines that were told of it while it lived, oldest first.
    pub log: Vec<(LogSource, String)>,
    /// The last failure of a block, a thread or a finaliser that it reported, with its traceback; may be empty.
    pub failure: String,
}

/// What a worker has said, as far as it belongs to its end.
#[derive(Debug, Default)]
pub(super) struct LastSaid {
    pub(super) stderr: String,
    pub(super) log: Vec<(LogSource, String)>,
    pub(super) failure: String,
}

/// Why the host ended a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Because {
    /// It hung: what it was doing, and for how long.
    Late(String),
    /// It broke the protocol: how.
    Hostile(String),
    /// It gave no answer.
    Hung {
        /// For how long.
        for_ms: u64,
        /// A signal had stopped its process: nobody's fault here.
        stopped: bool,
    },
    /// It and the processes it started used too much memory, in bytes.
    Memory {
        /// How much.
        used: u64,
        /// How much it may use.
        limit: u64,
    },
    /// It started too many processes.
    Processes {
        /// How many there were.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Its output is no audio, block after block: what it is instead.
    Faulty(String),
    /// Nobody needed it any more.
    Unwanted,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = "was ended by the host";
        match self {
            Self::Late(what) => write!(f, "{by}: {what}"),
            Self::Hostile(what) => write!(f, "{by}: it broke the protocol ({what})"),
            Self::Hung { for_ms, stopped: false } => write!(f, "hung and {by}: no answer for {for_ms} ms"),
            Self::Hung { for_ms: 0, stopped: true } => {
                write!(f, "was stopped by a signal (SIGSTOP?) while it stood by, and ended by the host")
            }
            Self::Hung { for_ms, stopped: true } => {
                write!(
                    f,
                    "was stopped by a signal (SIGSTOP?) and ended by the host: no answer for {for_ms} ms"
                )
            }
            Self::Memory { used, limit } => {
                let (used, limit) = (mebibytes(*used), mebibytes(*limit));
                write!(f, "used {used} MiB of memory and {by}: {limit} MiB are allowed (memory_max)")
            }
            Self::Processes { count, limit } => {
                write!(f, "started {count} processes and {by}: {limit} are allowed (a fork bomb?)")
            }
            Self::Faulty(what) => write!(f, "{by}: {what}"),
            Self::Unwanted => write!(f, "{by}, which did not need it any more"),
        }
    }
}

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

impl Because {
    /// The same of a process that a signal has stopped.
    pub(super) fn of_a_stopped(self) -> Self {
        match self {
            Self::Hung { for_ms, .. } => Self::Hung { for_ms, stopped: true },
            Self::Late(what) => Self::Late(format!("{what}, stopped by a signal (SIGSTOP?)")),
            other => other,
        }
    }

    /// Whether the plugin is at fault, not its worker or somebody outside.
    fn is_the_plugins(&self) -> bool {
        match self {
            Self::Late(_) | Self::Memory { .. } | Self::Processes { .. } | Self::Faulty(_) => true,
            Self::Hung { stopped, .. } => !stopped,
            Self::Hostile(_) | Self::Unwanted => false,
        }
    }
}

impl Death {
    /// Whether it went because it was asked to, or was ended as nobody needed it any more.
    pub(crate) fn is_as_wanted(&self) -> bool {
        let left = self.answered_last && self.ending == Ending::Code(Exit::Goodbye as i32);
        left || self.because == Some(Because::Unwanted)
    }

    /// The stacks of its threads as it wrote them down at its end, or else the last Python traceback that it left;
    /// empty without either.
    pub(crate) fn traceback(&self) -> &str {
        if self.stderr.contains(STACK) || self.failure.is_empty() && self.stderr.contains(TRACEBACK) {
            &self.stderr
        } else {
            &self.failure
        }
    }

    /// What kind of error this death is to whoever waited for the worker.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match (&self.because, self.ending) {
            (Some(because), _) if because.is_the_plugins() => Kind::Plugin,
            (Some(_), _) | (None, Ending::Unknown) => Kind::Worker,
            (None, Ending::Signal(signal)) if signal == Signal::KILL.as_raw() => Kind::Worker,
            (None, Ending::Code(code)) if own_words(code).is_some() => Kind::Worker,
            (None, _) => Kind::Plugin,
        }
    }
}

impl fmt::Display for Death {
    /// Without a subject: "was killed by SIGSEGV (a crash in native code)".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.because, self.ending) {
            (Some(because), _) => because.fmt(f),
            (None, Ending::Unknown) => f.write_str("ended, nobody knows how"),
            (None, Ending::Signal(signal)) => f.write_str(&signal_words(signal)),
            (None, Ending::Code(code)) => match own_words(code) {
                Some(words) => write!(f, "{words} (exit code {code})"),
                None => write!(f, "ended itself with exit code {code} (os._exit?)"),
            },
        }
    }
}

/// What a worker that has said hello means by an exit code, if it is one of its own.
fn own_words(code: i32) -> Option<&'static str> {
    match Exit::from_code(code)? {
        Exit::Boot => Some("was ended by its worker, which could not set itself up"),
        Exit::Orphaned => Some("was ended by its worker, which saw no host any more"),
        Exit::Protocol => Some("was ended by its worker, which did not understand the host"),
        Exit::Panicked => Some("was ended by a fault of its worker, not of its own"),
        // The boot script's, before the hello: whoever uses them now is the plugin.
        Exit::Goodbye | Exit::TooOld | Exit::NotCPython | Exit::FreeThreaded | Exit::NoNumpy => None,
    }
}

fn signal_words(signal: i32) -> String {
    let Some(known) = Signal::from_named_raw(signal) else {
        return format!("was killed by signal {signal}");
    };
    let (name, meaning) = match known {
        Signal::SEGV => ("SIGSEGV", "a crash in native code"),
        Signal::BUS => ("SIGBUS", "a crash in native code"),
        Signal::ILL => ("SIGILL", "a crash in native code: an instruction this processor lacks"),
        Signal::FPE => ("SIGFPE", "a crash in native code"),
        Signal::TRAP => ("SIGTRAP", "a crash in native code"),
        Signal::ABORT => ("SIGABRT", "native code gave up"),
        Signal::SYS => ("SIGSYS", "a forbidden system call"),
        Signal::KILL => ("SIGKILL", "from outside: out of memory, or by hand"),
        Signal::TERM => ("SIGTERM", "from outside"),
        Signal::INT => ("SIGINT", "from outside"),
        Signal::HUP => ("SIGHUP", "from outside"),
        Signal::XCPU => ("SIGXCPU", "too much processor time"),
        Signal::XFSZ => ("SIGXFSZ", "a file too large"),
        _ => return format!("was killed by signal {signal}"),
    };
    format!("was killed by {name} ({meaning})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn death(ending: Ending, because: Option<Because>) -> Death {
        let (stderr, log, failure) = Default::default();
        Death { ending, greeted: true, answered_last: false, because, stderr, log, failure }
    }

    #[test]
    fn a_crash_and_an_exit_are_told_in_words_and_are_the_plugins_fault() {
        let crash = death(Ending::Signal(11), None);
        assert_eq!(crash.to_string(), "was killed by SIGSEGV (a crash in native code)");
        let exit = death(Ending::Code(3), None);
        assert_eq!(exit.to_string(), "ended itself with exit code 3 (os._exit?)");
        assert_eq!((crash.kind(), exit.kind()), (Kind::Plugin, Kind::Plugin));
    }

    #[test]
    fn a_kill_from_outside_is_nobodys_fault_but_a_hang_is_the_plugins() {
        assert_eq!(death(Ending::Signal(9), None).kind(), Kind::Worker);
        let hang = death(Ending::Signal(9), Some(Because::Late("still importing after 30 s".into())));
        assert_eq!(hang.kind(), Kind::Plugin);
        assert_eq!(hang.to_string(), "was ended by the host: still importing after 30 s");
    }

    #[test]
    fn whatever_the_host_ended_it_for_is_told_with_its_figures() {
        for (because, kind, words) in [
            (
                Because::Hung { for_ms: 250, stopped: false },
                Kind::Plugin,
                "hung and was ended by the host: no answer for 250 ms",
            ),
            (
                Because::Hung { for_ms: 250, stopped: true },
                Kind::Worker,
                "was stopped by a signal (SIGSTOP?) and ended by the host: no answer for 250 ms",
            ),
            (
                Because::Late("still importing after 30 s".into()).of_a_stopped(),
                Kind::Plugin,
                "was ended by the host: still importing after 30 s, stopped by a signal (SIGSTOP?)",
            ),
            (
                Because::Memory { used: 3 << 30, limit: 2 << 30 },
                Kind::Plugin,
                "used 3072 MiB of memory and was ended by the host: 2048 MiB are allowed (memory_max)",
            ),
            (
                Because::Processes { count: 65, limit: 64 },
                Kind::Plugin,
                "started 65 processes and was ended by the host: 64 are allowed (a fork bomb?)",
            ),
            (
                Because::Faulty("20 blocks in a row were not finite".into()),
                Kind::Plugin,
                "was ended by the host: 20 blocks in a row were not finite",
            ),
        ] {
            let death = death(Ending::Signal(9), Some(because));
            assert_eq!((death.to_string().as_str(), death.kind()), (words, kind));
        }
    }

    #[test]
    fn stacks_are_worth_more_than_the_last_failure_and_that_more_than_what_else_it_printed() {
        let of = |stderr: &str, failure: &str| {
            let (stderr, failure) = (stderr.to_owned(), failure.to_owned());
            Death { stderr, failure, ..death(Ending::Signal(9), None) }.traceback().to_owned()
        };
        let (stack, traceback) =
            (format!("Thread 1 {STACK}\n  File"), format!("Traceback {TRACEBACK}\n  File"));
        assert_eq!(of(&stack, &traceback), stack);
        assert_eq!(of("a warning", &traceback), traceback);
        assert_eq!(of(&traceback, ""), traceback);
        assert_eq!(of("a warning", ""), "");
    }

    #[test]
    fn after_the_hello_an_exit_code_of_the_boot_script_was_chosen_by_the_plugin() {
        assert_eq!(death(Ending::Code(76), None).kind(), Kind::Plugin);
        assert_eq!(
            death(Ending::Code(72), None).to_string(),
            "was ended by its worker, which did not understand the host (exit code 72)"
        );
    }
}
