//! The way to one incarnation of a plugin's worker, and how the audio thread gets another when it ends.
//!
//! Lines go from the control side to the audio side through one bounded queue and come back through another, so
//! that nothing is made or freed on the audio thread and what a dead worker was given last can still be read. A line
//! that lies in the queue is armed: the audio thread takes it at the next block edge after the one it has is over,
//! without asking anybody.

use shared::ring::HostEnd;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Lines that may wait to be taken: one that lives, and some that have died meanwhile.
const FRESH: usize = 4;
/// Lines that may wait to be read and freed.
const SPENT: usize = 8;

/// The host's end of one incarnation's ring.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) end: HostEnd,
    /// Set when the other side is over.
    pub(crate) gone: Arc<AtomicBool>,
    /// Counted from 1 for each plugin.
    pub(crate) incarnation: u32,
    /// The other side lied: nothing of it is taken any more.
    pub(crate) cut: bool,
}

impl Line {
    pub(crate) fn new(end: HostEnd, gone: Arc<AtomicBool>, incarnation: u32) -> Self {
        Self { end, gone, incarnation, cut: false }
    }

    /// Whether nothing is to be expected of it.
    pub(crate) fn is_over(&self) -> bool {
        self.cut || self.gone.load(Ordering::Relaxed)
    }
}

/// The audio side's two queue ends.
#[derive(Debug)]
pub(crate) struct Relief {
    fresh: rtrb::Consumer<Line>,
    spent: rtrb::Producer<Line>,
}

/// The control side's two queue ends.
#[derive(Debug)]
pub(crate) struct Depot {
    fresh: rtrb::Producer<Line>,
    spent: rtrb::Consumer<Line>,
    /// Armed lines that found no room: an audio thread that stands still leaves the dead ones where they are.
    waiting: VecDeque<Line>,
}

/// Both sides of a plugin's queues.
pub(crate) fn queues() -> (Relief, Depot) {
    let (put, fresh) = rtrb::RingBuffer::new(FRESH);
    let (spent, back) = rtrb::RingBuffer::new(SPENT);
    (Relief { fresh, spent }, Depot { fresh: put, spent: back, waiting: VecDeque::new() })
}

impl Relief {
    /// Gives a line that is over back; the line itself if nobody has taken the others away.
    ///
    /// # Real-time
    /// May be called on the audio thread.
    pub(crate) fn give_back(&mut self, line: Line) -> Result<(), Line> {
        self.spent.push(line).map_err(|rtrb::PushError::Full(line)| line)
    }

    /// The next line that is alive, if there is one; those that have died in the queue go back.
    ///
    /// # Real-time
    /// May be called on the audio thread: bounded by the queue's length.
    pub(crate) fn take(&mut self) -> Option<Line> {
        self.discard_dead();
        self.fresh.pop().ok()
    }

    /// Gives back what died while it lay in the queue.
    pub(crate) fn discard_dead(&mut self) {
        while self.fresh.peek().is_ok_and(Line::is_over) && !self.spent.is_full() {
            if let Ok(line) = self.fresh.pop() {
                let _ = self.give_back(line);
            }
        }
    }
}

impl Depot {
    /// Arms a line, as soon as there is room for it.
    pub(crate) fn arm(&mut self, line: Line) {
        self.waiting.push_back(line);
        self.refill();
    }

    /// Puts the lines that wait into the queue as far as there is room; those that are over are not waited for.
    pub(crate) fn refill(&mut self) {
        self.waiting.retain(|line| !line.is_over());
        while let Some(line) = self.waiting.pop_front() {
            if let Err(rtrb::PushError::Full(line)) = self.fresh.push(line) {
                return self.waiting.push_front(line);
            }
        }
    }

    /// A line that the audio thread has done with.
    pub(crate) fn spent(&mut self) -> Option<Line> {
        self.spent.pop().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::format::Format;
    use shared::layout::Layout;

    fn line(incarnation: u32) -> Line {
        let layout = Layout::new(Format::new(1, 16, 48_000).unwrap(), 1).unwrap();
        Line::new(HostEnd::create(layout).unwrap().0, Arc::default(), incarnation)
    }

    #[test]
    fn an_armed_line_reaches_an_audio_thread_that_stood_still_while_others_died() {
        let (mut relief, mut depot) = queues();
        for incarnation in 1..=6 {
            let dead = line(incarnation);
            let gone = Arc::clone(&dead.gone);
            depot.arm(dead);
            gone.store(true, Ordering::Relaxed);
        }
        depot.arm(line(7));
        assert!(relief.take().is_none());
        depot.refill();
        assert_eq!(relief.take().map(|line| line.incarnation), Some(7));
    }
}
