//! What the supervisor tells unasked: what plugins print, how their blocks fail, that one has died.
//!
//! For whoever shows or records it. The queue is bounded: if nobody reads it, text is dropped and counted; deaths
//! and what others tell by a [`Teller`] are kept until there is room, as many again as fit in the queue.

use super::death::Death;
use crate::error::plain;
use crate::level::Level;
use shared::message::{Failure, LogSource};
use std::collections::VecDeque;
use std::fmt;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

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
    /// Something happened to a plugin, in words.
    Told {
        /// How much it matters.
        level: Level,
        /// Which plugin.
        plugin: Arc<str>,
        /// One sentence for people, and more lines if there is more to say. It names the plugin.
        text: String,
    },
}

impl Event {
    /// How much it matters.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::Log { .. } => Level::Info,
            Self::BlockFailed { .. } | Self::Unraisable { .. } | Self::Dropped { .. } => Level::Warning,
            Self::Died { .. } => Level::Error,
            Self::Told { level, .. } => *level,
        }
    }
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
            Self::Told { text, .. } => f.write_str(text),
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
    owed: Mutex<Owed>,
}

#[derive(Debug, Default)]
struct Owed {
    events: VecDeque<Event>,
    /// What nobody has read for so long that there was no room for it even here.
    lost: u64,
}

impl Reporter {
    pub(super) fn new(queue: SyncSender<Event>) -> Self {
        Self { queue, owed: Mutex::default() }
    }

    /// Queues an event if there is room for it; false if not.
    pub(super) fn offer(&self, event: Event) -> bool {
        !matches!(self.queue.try_send(event), Err(TrySendError::Full(_)))
    }

    /// Queues an event, now or as soon as there is room.
    pub(super) fn owe(&self, event: Event) {
        let mut owed = self.owed();
        if owed.events.len() < QUEUE {
            owed.events.push_back(event);
        } else {
            owed.lost += 1;
        }
        drop(owed);
        self.settle();
    }

    /// Queues what is owed, as far as there is room.
    pub(super) fn settle(&self) {
        let mut owed = self.owed();
        while let Some(event) = owed.events.pop_front() {
            if let Err(TrySendError::Full(event)) = self.queue.try_send(event) {
                owed.events.push_front(event);
                return;
            }
        }
        if owed.lost > 0 && self.offer(left_out(owed.lost)) {
            owed.lost = 0;
        }
    }

    pub(super) fn owes(&self) -> bool {
        let owed = self.owed();
        !owed.events.is_empty() || owed.lost > 0
    }

    fn owed(&self) -> MutexGuard<'_, Owed> {
        // Whole after each statement.
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn left_out(count: u64) -> Event {
    let text = format!("{count} reports were left out: more happened than was read");
    Event::Told { level: Level::Warning, plugin: "".into(), text }
}

/// Tells events among the supervisor's own. Any thread may; when the supervisor is gone, nobody hears it.
#[derive(Debug, Clone)]
pub struct Teller(Weak<Reporter>);

impl Teller {
    pub(super) fn new(reporter: &Arc<Reporter>) -> Self {
        Self(Arc::downgrade(reporter))
    }

    /// Queues an event. It waits for nobody, and is kept until there is room for it, up to thousands.
    pub fn tell(&self, event: Event) {
        if let Some(reporter) = self.0.upgrade() {
            reporter.owe(event);
        }
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
        let reporter = Reporter::new(send);
        let plugin: Arc<str> = "p".into();
        let log = Event::Log { plugin: plugin.clone(), source: LogSource::Stdout, text: "x".into() };
        assert!(reporter.offer(log.clone()) && !reporter.offer(log.clone()));
        let ending = Ending::Code(3);
        let (stderr, lines, failure) = Default::default();
        let how =
            Death { ending, greeted: true, answered_last: false, because: None, stderr, log: lines, failure };
        let died = Event::Died { plugin, how: Arc::new(how) };
        reporter.owe(died.clone());
        assert!(reporter.owes());
        assert_eq!(receive.recv().unwrap(), log);
        reporter.settle();
        assert_eq!(receive.recv().unwrap(), died);
        assert!(!reporter.owes());
    }

    #[test]
    fn what_is_told_is_owed_and_what_exceeds_even_that_is_counted() {
        let (send, receive) = sync_channel(1);
        let reporter = Arc::new(Reporter::new(send));
        let teller = Teller::new(&reporter);
        let told = |text: String| Event::Told { level: Level::Info, plugin: "p".into(), text };
        (0..QUEUE + 3).for_each(|n| teller.tell(told(n.to_string())));
        for n in 0..=QUEUE {
            assert_eq!(receive.try_recv().unwrap(), told(n.to_string()));
            reporter.settle();
        }
        let left_out = receive.try_recv().unwrap().to_string();
        assert_eq!(left_out, "2 reports were left out: more happened than was read");
        assert!(!reporter.owes());
    }

    #[test]
    fn a_teller_keeps_no_queue_open() {
        let (send, receive) = sync_channel(1);
        let reporter = Arc::new(Reporter::new(send));
        let teller = Teller::new(&reporter);
        drop(reporter);
        teller.tell(Event::Told { level: Level::Info, plugin: "p".into(), text: "nobody hears it".into() });
        assert_eq!(receive.iter().count(), 0);
    }
}
