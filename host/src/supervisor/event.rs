//! What the supervisor tells unasked: what plugins print, how their blocks fail, that one has died.
//!
//! For whoever shows or records it. The queue is bounded: if nobody reads it, text is dropped and counted, and
//! only deaths are kept until there is room.

use super::death::Death;
use crate::error::plain;
use shared::message::{Failure, LogSource};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

/// Events that may wait to be read.
pub(super) const QUEUE: usize = 4096;

/// Something that nobody asked for.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A line that a plugin wrote, or more lines.
    Log {
        /// Which plugin.
        plugin: Arc<str>,
        /// Where it wrote to.
        source: LogSource,
        /// The text, without the last end of line.
        text: String,
    },
    /// A block failed for a new reason.
    BlockFailed {
        /// Which plugin.
        plugin: Arc<str>,
        /// What happened.
        failure: Failure,
        /// Blocks that failed so far, as the worker counts them.
        count: u64,
    },
    /// A thread or a finaliser of the plugin raised.
    Unraisable {
        /// Which plugin.
        plugin: Arc<str>,
        /// What happened.
        failure: Failure,
    },
    /// A plugin said more than is passed on. At most once a second for each plugin.
    Dropped {
        /// Which plugin.
        plugin: Arc<str>,
        /// Bytes of text that were dropped since the last time.
        bytes: u64,
        /// Lines and reports that were dropped since the last time.
        events: u64,
    },
    /// A worker ended while it processed blocks. At any other time the one who asks it next is told instead.
    Died {
        /// Which plugin.
        plugin: Arc<str>,
        /// How it ended.
        how: Arc<Death>,
    },
}

impl fmt::Display for Event {
    /// A line for people; a traceback or a plugin's last words follow, indented.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log { plugin, text, .. } => write!(f, "{plugin}: {}", plain(text)),
            Self::BlockFailed { plugin, failure, count } => {
                write!(f, "plugin {plugin} failed a block ({count} so far): {}", plain(&failure.message))?;
                indented(f, &failure.traceback)
            }
            Self::Unraisable { plugin, failure } => {
                write!(f, "plugin {plugin}: {}", plain(&failure.message))?;
                indented(f, &failure.traceback)
            }
            Self::Dropped { plugin, bytes, events } => {
                write!(
                    f,
                    "plugin {plugin} says more than can be told: {bytes} bytes and {events} reports left out"
                )
            }
            Self::Died { plugin, how } => {
                write!(f, "plugin {plugin} {how}")?;
                indented(f, &how.stderr)
            }
        }
    }
}

fn indented(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.lines().try_for_each(|line| write!(f, "\n    {}", plain(line)))
}

/// The supervisor's end of the queue of events.
#[derive(Debug)]
pub(super) struct Reporter {
    queue: SyncSender<Event>,
    owed: VecDeque<Event>,
}

impl Reporter {
    pub(super) fn new(queue: SyncSender<Event>) -> Self {
        Self { queue, owed: VecDeque::new() }
    }

    /// Queues an event if there is room for it; false if not.
    pub(super) fn offer(&mut self, event: Event) -> bool {
        !matches!(self.queue.try_send(event), Err(TrySendError::Full(_)))
    }

    /// Queues an event, now or as soon as there is room: one for each worker, so they are few.
    pub(super) fn owe(&mut self, event: Event) {
        self.owed.push_back(event);
        self.settle();
    }

    /// Queues what is owed, as far as there is room.
    pub(super) fn settle(&mut self) {
        while let Some(event) = self.owed.pop_front() {
            if let Err(TrySendError::Full(event)) = self.queue.try_send(event) {
                self.owed.push_front(event);
                return;
            }
        }
    }

    pub(super) fn owes(&self) -> bool {
        !self.owed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::death::Ending;
    use super::*;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn a_plugins_words_can_not_steer_the_terminal() {
        let text = "\x1b[2Jcleared\r\x07\nnext\tline".to_owned();
        let log = Event::Log { plugin: "p".into(), source: LogSource::Stdout, text };
        assert_eq!(log.to_string(), "p: [2Jcleared\nnext\tline");
    }

    #[test]
    fn a_full_queue_drops_text_but_never_a_death() {
        let (send, receive) = sync_channel(1);
        let mut reporter = Reporter::new(send);
        let plugin: Arc<str> = "p".into();
        let log = Event::Log { plugin: plugin.clone(), source: LogSource::Stdout, text: "x".into() };
        assert!(reporter.offer(log.clone()) && !reporter.offer(log.clone()));
        let how = Death { ending: Ending::Code(3), greeted: true, because: None, stderr: String::new() };
        let died = Event::Died { plugin, how: Arc::new(how) };
        reporter.owe(died.clone());
        assert!(reporter.owes());
        assert_eq!(receive.recv().unwrap(), log);
        reporter.settle();
        assert_eq!(receive.recv().unwrap(), died);
        assert!(!reporter.owes());
    }
}
