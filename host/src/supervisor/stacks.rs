//! Whether a worker that was asked for its stacks has written them down, by what it writes to standard error.
//!
//! For the supervisor's thread. It reads nothing and knows no clock: it is given lines and when they came.

use super::death::STACK;
use shared::STACKS_END;
use std::time::{Duration, Instant};

/// How long a worker that writes down its stacks, and does not say where they end, is silent when it is done.
const DONE: Duration = Duration::from_millis(3);

/// What has been seen of them.
#[derive(Debug)]
pub(super) struct Stacks {
    /// When it last wrote something, and whether that is of the stack of the thread that was asked.
    spoke: Instant,
    is_asked: bool,
    /// When it last wrote a line of such a one.
    written: Option<Instant>,
    /// When it said last that these were all.
    ended: Option<Instant>,
}

impl Stacks {
    pub(super) fn new(now: Instant) -> Self {
        Self { spoke: now, is_asked: false, written: None, ended: None }
    }

    /// It has written a line. Whether that is about the stacks, and not for anybody to read.
    pub(super) fn hear(&mut self, line: &str, now: Instant) -> bool {
        self.spoke = now;
        if line == STACKS_END.trim_end() {
            self.ended = Some(now);
            return true;
        }
        if line.trim_end().ends_with(STACK) {
            // That of the thread that was asked may come last of many.
            self.is_asked = !line.starts_with("Thread ");
        } else if self.is_asked {
            self.written = Some(now);
        }
        false
    }

    /// Its silence counts from now on: nobody listened meanwhile.
    pub(super) fn put_off(&mut self, now: Instant) {
        self.spoke = now;
    }

    /// Until when to wait for those that it was asked for at `since`: until it says that they end or is silent behind them,
    /// or `until` at most.
    pub(super) fn awaited_until(&self, since: Instant, until: Instant) -> Instant {
        // Without the stack the end of it means nothing: a plugin can have switched off what writes it.
        let Some(written) = self.written.filter(|at| *at >= since) else { return until };
        let ended = self.ended.filter(|at| *at >= written);
        ended.unwrap_or(self.spoke + DONE).min(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_says_where_its_stacks_end_is_waited_for_no_longer() {
        let asked = Instant::now();
        let at = |ms: u64| asked + Duration::from_millis(ms);
        let mut stacks = Stacks::new(asked);
        assert!(stacks.hear(STACKS_END.trim_end(), asked), "of an earlier question");
        assert_eq!(stacks.awaited_until(at(1), at(100)), at(100));
        assert!(!stacks.hear("Current thread 0x1 (most recent call first):", at(2)));
        assert!(!stacks.hear("  File \"plugin.py\", line 7 in process", at(2)));
        assert!(stacks.hear(STACKS_END.trim_end(), at(2)));
        assert_eq!(stacks.awaited_until(at(1), at(100)), at(2));
        assert!(stacks.hear(STACKS_END.trim_end(), at(50)), "of another question, without a stack");
        assert_eq!(stacks.awaited_until(at(40), at(100)), at(100));
    }

    #[test]
    fn a_worker_that_halts_between_the_stacks_of_two_threads_is_heard_out() {
        let asked = Instant::now();
        let at = |ms: u64| asked + Duration::from_millis(ms);
        let (mut stacks, until) = (Stacks::new(asked), at(100));
        let awaited = |stacks: &Stacks| stacks.awaited_until(asked, until);
        assert_eq!(awaited(&stacks), until);
        stacks.hear("Thread 0x2 (most recent call first):", at(1));
        stacks.hear("  File \"other.py\", line 3 in wait", at(1));
        assert_eq!(awaited(&stacks), until, "that of another thread, however long it is silent then");
        stacks.hear("Current thread 0x1 (most recent call first):", at(40));
        assert_eq!(awaited(&stacks), until, "the line that matters is still to come");
        stacks.hear("  File \"plugin.py\", line 7 in process", at(41));
        assert_eq!(awaited(&stacks), at(44));
        stacks.hear("  File \"plugin.py\", line 2 in main", at(43));
        assert_eq!(awaited(&stacks), at(46), "from the last line on");
        stacks.put_off(at(60));
        assert_eq!(awaited(&stacks), at(63));
        assert_eq!(stacks.awaited_until(at(50), until), until, "what was written before it was asked");
        assert_eq!(stacks.awaited_until(asked, at(61)), at(61), "no longer than it may take");
    }
}
