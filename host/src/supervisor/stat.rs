//! What the kernel says of a process in one line, `/proc/PID/stat`: whether it lives, and what it has used.
//!
//! It only understands the line; who reads it, and of which process, is not its business.

use std::time::Duration;

/// What a process is doing, as far as its end is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It runs, or could.
    Running,
    /// It waits for something.
    Sleeping,
    /// A signal or a debugger stopped it.
    Stopped,
    /// It has begun to end. With much memory, that takes a while: 200 ms for 2 GiB.
    Exiting,
    /// It has ended and is reaped.
    Gone,
}

impl Condition {
    /// Whether it will never do anything any more.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Exiting | Self::Gone)
    }
}

/// Task flags of a process that begins to end: exiting, killed by a signal, dumping its core.
const ENDING: u64 = 0x4 | 0x400 | 0x200;

/// The fields of the line that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) condition: Condition,
    pub(super) group: i32,
    pub(super) session: i32,
    /// When it began, in ticks since the machine did.
    pub(super) began: u64,
    /// Processor time of the process, all its threads.
    pub(super) own: Duration,
    /// Processor time of children that have ended and were waited for.
    pub(super) children: Duration,
}

impl Stat {
    /// `None` if it is no such line.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        // The name may contain anything, also a parenthesis: the last one ends it.
        let name_end = line.iter().rposition(|b| *b == b')')?;
        let rest = std::str::from_utf8(&line[name_end + 1..]).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let mut number = |skip: usize| fields.nth(skip).and_then(|text| text.parse::<i64>().ok());
        let (group, session, flags) = (number(1)?, number(0)?, number(2)?);
        let [own, children] = [(4, 0), (0, 0)].map(|(skip, then)| Some(ticks(number(skip)? + number(then)?)));
        let began = number(4)?;
        Some(Self {
            condition: condition(state, flags.unsigned_abs()),
            group: i32::try_from(group).ok()?,
            session: i32::try_from(session).ok()?,
            own: own?,
            children: children?,
            began: began.unsigned_abs(),
        })
    }
}

fn condition(state: &str, flags: u64) -> Condition {
    match state {
        "Z" | "X" => Condition::Exiting,
        _ if flags & ENDING != 0 => Condition::Exiting,
        "T" | "t" => Condition::Stopped,
        "R" => Condition::Running,
        _ => Condition::Sleeping,
    }
}

fn ticks(count: i64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_nanos(count.unsigned_abs().saturating_mul(1_000_000_000 / per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(state: char, flags: u64) -> String {
        format!("7 (a ) b) {state} 1 42 43 0 -1 {flags} 9 9 9 9 100 50 30 20 20 0 3 0 999 1 2")
    }

    #[test]
    fn the_fields_are_found_behind_a_name_that_looks_like_fields() {
        let stat = Stat::parse(line('S', 0x40_0000).as_bytes()).unwrap();
        assert_eq!((stat.group, stat.session, stat.condition), (42, 43, Condition::Sleeping));
        let tick = ticks(1);
        assert_eq!((stat.own, stat.children, stat.began), (150 * tick, 50 * tick, 999));
    }

    #[test]
    fn a_process_that_begins_to_end_is_exiting_whatever_its_state() {
        for (state, flags, is) in [
            ('R', 0, Condition::Running),
            ('D', 0x40_0000, Condition::Sleeping),
            ('T', 0, Condition::Stopped),
            ('t', 0, Condition::Stopped),
            ('R', 0x40_0004, Condition::Exiting),
            ('D', 0x200, Condition::Exiting),
            ('S', 0x400, Condition::Exiting),
            ('Z', 0, Condition::Exiting),
        ] {
            let stat = Stat::parse(line(state, flags).as_bytes()).unwrap();
            assert_eq!(stat.condition, is, "{state} {flags:x}");
        }
    }

    #[test]
    fn what_is_no_such_line_is_nothing() {
        for text in ["", "7 (a", "7 (a) S", "7 (a) S 1 2 3 4 5 x 6 7 8 9 10 11 12 13 14"] {
            assert_eq!(Stat::parse(text.as_bytes()), None, "{text}");
        }
    }
}
