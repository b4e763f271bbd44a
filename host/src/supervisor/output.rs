//! What a worker writes to its standard output and error, as lines, and how much of it is passed on.
//!
//! For the supervisor thread. A plugin may print megabytes, a line without an end, or bytes that are no text:
//! each turn reads a bounded amount, a line is cut, and a second has a budget.

use rustix::io::{Errno, read};
use shared::message::LogSource;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Longest line passed on, in bytes.
const LINE_MAX: usize = 4096;
/// Bytes read from one pipe before another gets its turn.
pub(super) const TURN: usize = 64 * 1024;
/// Bytes read from the pipe of a worker that has ended: all that it can hold.
pub(super) const LAST_TURN: usize = 1024 * 1024;

/// Lines and bytes of text of one worker passed on in a second, and reports of failures.
const LINES: u64 = 1000;
const BYTES: u64 = 256 * 1024;
const FAILURES: u64 = 50;
const SECOND: Duration = Duration::from_secs(1);

/// One of a worker's output pipes.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) fd: OwnedFd,
    lines: Lines,
}

impl Pipe {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self { fd, lines: Lines::default() }
    }

    /// Reads at most `most` bytes and gives each whole line to `each`; false when the pipe has ended.
    pub(super) fn drain(&mut self, most: usize, each: &mut dyn FnMut(String)) -> bool {
        let mut buffer = [0; 16 * 1024];
        let mut total = 0;
        while total < most {
            match read(&self.fd, &mut buffer) {
                Ok(0) => return false,
                Ok(n) => {
                    total += n;
                    self.lines.feed(&buffer[..n], each);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// Gives what was written after the last end of line.
    pub(super) fn finish(&mut self, each: &mut dyn FnMut(String)) {
        self.lines.end(each);
    }
}

/// Cuts bytes into lines, at `\n` or `\r`; blank ones are left out.
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
    cut: u64,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8], each: &mut dyn FnMut(String)) {
        for part in bytes.split_inclusive(|b| matches!(b, b'\n' | b'\r')) {
            let end = part.last().is_some_and(|b| matches!(b, b'\n' | b'\r'));
            self.extend(&part[..part.len() - usize::from(end)]);
            if end {
                self.end(each);
            }
        }
    }

    fn extend(&mut self, part: &[u8]) {
        let room = (LINE_MAX - self.line.len()).min(part.len());
        self.line.extend_from_slice(&part[..room]);
        self.cut += (part.len() - room) as u64;
    }

    fn end(&mut self, each: &mut dyn FnMut(String)) {
        let mut text = String::from_utf8_lossy(&self.line).into_owned();
        if self.cut > 0 {
            text.push_str(&format!(" [... {} bytes more]", self.cut));
        }
        if !text.trim().is_empty() {
            each(text);
        }
        self.line.clear();
        self.cut = 0;
    }
}

/// The last lines of a text, for the one who wants to know why a worker ended.
#[derive(Debug)]
pub(super) struct Tail {
    lines: VecDeque<String>,
    most: usize,
}

impl Default for Tail {
    fn default() -> Self {
        Self { lines: VecDeque::new(), most: Self::LINES }
    }
}

impl Tail {
    const LINES: usize = 40;
    /// The stacks of some ten threads.
    const STACKS: usize = 400;

    /// More is kept from now on: stacks are on their way.
    pub(super) fn expect_stacks(&mut self) {
        self.most = Self::STACKS;
    }

    pub(super) fn push(&mut self, line: &str) {
        if self.lines.len() == self.most {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_owned());
    }

    pub(super) fn text(&self) -> String {
        self.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// The last lines that were passed on of a plugin, with where they came from: for the report of its death.
#[derive(Debug, Default)]
pub(super) struct Log {
    lines: VecDeque<(LogSource, String)>,
    bytes: usize,
}

impl Log {
    const LINES: usize = 100;
    const BYTES: usize = 32 * 1024;

    /// Keeps each line of this text for as long as there is room; the last one in any case.
    pub(super) fn push(&mut self, source: LogSource, text: &str) {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            self.bytes += line.len();
            self.lines.push_back((source, line.to_owned()));
            while self.lines.len() > Self::LINES || self.bytes > Self::BYTES && self.lines.len() > 1 {
                self.bytes -= self.lines.pop_front().map_or(0, |(_, line)| line.len());
            }
        }
    }

    /// The lines, oldest first. It is empty then.
    pub(super) fn take(&mut self) -> Vec<(LogSource, String)> {
        self.bytes = 0;
        std::mem::take(&mut self.lines).into()
    }
}

/// Lines that a worker writes while it dies: they belong into the news of its death, once, not before it.
///
/// Whoever writes such a line and lives on has them told a little later.
#[derive(Debug, Default)]
pub(super) struct LastWords {
    lines: Vec<String>,
    since: Option<Instant>,
}

impl LastWords {
    /// What Python's faulthandler writes first when a signal is about to kill the process.
    const BEGIN: &str = "Fatal Python error: ";
    /// How long a worker may take to die of it.
    const WITHIN: Duration = SECOND;

    /// Keeps the line if these are last words; gives it back if not.
    pub(super) fn keep(&mut self, line: String, now: Instant) -> Option<String> {
        let is_one = self.since.is_some() || line.starts_with(Self::BEGIN);
        if !is_one || self.lines.len() >= Tail::STACKS {
            return Some(line);
        }
        self.since.get_or_insert(now);
        self.lines.push(line);
        None
    }

    /// The lines of one that should be dead by now.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<String> {
        let is_overdue = self.since.is_some_and(|since| now.saturating_duration_since(since) > Self::WITHIN);
        if is_overdue { self.take() } else { Vec::new() }
    }

    /// The lines of one that ended in another way.
    pub(super) fn take(&mut self) -> Vec<String> {
        self.since = None;
        std::mem::take(&mut self.lines)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

/// How much of what one worker says is passed on in the second that runs, and what was not.
#[derive(Debug)]
pub(super) struct Budget {
    since: Instant,
    lines: u64,
    bytes: u64,
    failures: u64,
    dropped: Dropped,
}

/// What was not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Dropped {
    pub(super) bytes: u64,
    pub(super) events: u64,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, lines: 0, bytes: 0, failures: 0, dropped: Dropped::default() }
    }

    /// Whether text of this length may pass.
    pub(super) fn text(&mut self, bytes: usize) -> bool {
        self.lines += 1;
        self.bytes += bytes as u64;
        self.lines <= LINES && self.bytes <= BYTES
    }

    /// Whether the report of a failure may pass. It has its own budget: printing can't hide a failure.
    pub(super) fn failure(&mut self) -> bool {
        self.failures += 1;
        self.failures <= FAILURES
    }

    /// Counts something that was not passed on.
    pub(super) fn drop(&mut self, bytes: usize) {
        self.dropped.bytes += bytes as u64;
        self.dropped.events += 1;
    }

    /// Once a second: a new budget, and what was dropped, if anything was.
    pub(super) fn renew(&mut self, now: Instant) -> Option<Dropped> {
        if now.saturating_duration_since(self.since) < SECOND {
            return None;
        }
        let dropped = self.dropped;
        *self = Self::new(now);
        (dropped != Dropped::default()).then_some(dropped)
    }

    /// What was dropped and not told yet.
    pub(super) fn untold(&self) -> Dropped {
        self.dropped
    }

    /// Takes back what could not be told.
    pub(super) fn retell(&mut self, dropped: Dropped) {
        self.dropped.bytes += dropped.bytes;
        self.dropped.events += dropped.events;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(parts: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut got) = (Lines::default(), Vec::new());
        for part in parts {
            lines.feed(part, &mut |line| got.push(line));
        }
        lines.end(&mut |line| got.push(line));
        got
    }

    #[test]
    fn lines_come_whole_however_they_arrive() {
        assert_eq!(lines_of(&[b"one\ntw", b"o\r\n", b"\nlast"]), ["one", "two", "last"]);
    }

    #[test]
    fn a_line_without_an_end_takes_bounded_memory_and_says_what_was_cut() {
        let long = vec![b'x'; 10 * LINE_MAX];
        let mut lines = Lines::default();
        lines.feed(&long, &mut |_| panic!("no line yet"));
        assert_eq!(lines.line.len(), LINE_MAX);
        let got = lines_of(&[&long, b"\nshort"]);
        assert!(got[0].ends_with(&format!("x [... {} bytes more]", 9 * LINE_MAX)));
        assert_eq!(got[1], "short");
    }

    #[test]
    fn bytes_that_are_no_text_become_text() {
        assert_eq!(lines_of(&[b"a\xffb\n"]), ["a\u{fffd}b"]);
    }

    #[test]
    fn the_last_lines_of_both_streams_are_kept_in_their_order_and_no_more_than_fit() {
        let mut log = Log::default();
        log.push(LogSource::Stdout, "dropped");
        (0..Log::LINES - 2).for_each(|_| log.push(LogSource::Stdout, "x"));
        log.push(LogSource::Stderr, "one\n\ntwo");
        let lines = log.take();
        assert_eq!((lines.len(), &lines[0]), (Log::LINES, &(LogSource::Stdout, "x".to_owned())));
        let two = [(LogSource::Stderr, "one".to_owned()), (LogSource::Stderr, "two".to_owned())];
        assert_eq!(lines[Log::LINES - 2..], two);
        let long = "x".repeat(Log::BYTES - 1);
        ["a", &long, "b", "c"].iter().for_each(|line| log.push(LogSource::Stdout, line));
        assert_eq!(log.take().iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>(), ["b", "c"]);
        log.push(LogSource::Worker, &"x".repeat(2 * Log::BYTES));
        assert_eq!(log.take().len(), 1);
    }

    #[test]
    fn last_words_are_kept_for_the_news_of_a_death_and_told_if_there_is_none() {
        let (mut words, start) = (LastWords::default(), Instant::now());
        assert_eq!(words.keep("hello".into(), start).as_deref(), Some("hello"));
        assert_eq!(words.keep("Fatal Python error: Segmentation fault".into(), start), None);
        assert_eq!(words.keep("  File".into(), start), None);
        assert!(words.overdue(start + SECOND).is_empty() && !words.is_empty());
        let told = words.overdue(start + 2 * SECOND);
        assert_eq!(told, ["Fatal Python error: Segmentation fault", "  File"]);
        assert_eq!(words.keep("hello".into(), start).as_deref(), Some("hello"));
    }

    #[test]
    fn a_second_has_a_budget_and_what_exceeds_it_is_told_once() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let passed = (0..2 * LINES)
            .filter(|_| {
                budget.text(1) || {
                    budget.drop(1);
                    false
                }
            })
            .count() as u64;
        assert_eq!(passed, LINES);
        assert_eq!(budget.renew(start), None);
        let told = budget.renew(start + SECOND);
        assert_eq!(told, Some(Dropped { bytes: LINES, events: LINES }));
        assert_eq!(budget.renew(start + 2 * SECOND), None);
    }

    #[test]
    fn printing_does_not_use_up_the_budget_of_failures() {
        let mut budget = Budget::new(Instant::now());
        while budget.text(100) {}
        assert!(budget.failure());
    }
}
