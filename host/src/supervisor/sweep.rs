//! Finds and ends what workers left behind: processes in groups and sessions of their own.
//!
//! For the supervisor thread. Each worker's environment carries a token, and its limits a [`mark`], which whatever it
//! starts inherits; a process that carries either of a worker that has ended is killed. A look at all processes takes some
//! milliseconds, so it is taken in turns; and as they may multiply meanwhile, it is repeated until none is found: at
//! once, but more slowly if all that is found was killed before and only the kernel can end it.
//! A process that cleared its environment *and* its mark *and* left its group is not found.

use super::mark;
use super::stat::Stat;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::read;
use rustix::process::{Pid, PidfdFlags, Signal, getpid, kill_process_group, pidfd_open, pidfd_send_signal};
use std::fs;
use std::time::{Duration, Instant};

/// The environment variable that holds the token.
pub(super) const VARIABLE: &str = "NDA_WORKER";
/// Processes looked at in one turn.
const TURN: usize = 64;
/// Longest environment looked at, in bytes.
const ENVIRONMENT_MAX: usize = 4 << 20;
/// Rounds that follow at once though they find nobody new, then those that follow soon; all others follow later.
const AT_ONCE: u32 = 50;
const SOON: u32 = 50;
const SOON_AFTER: Duration = Duration::from_millis(50);
const LATER_AFTER: Duration = Duration::from_secs(1);

/// The search for what workers that have ended left behind.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// What is looked for.
    wanted: Vec<Wanted>,
    /// Of them, how many are looked for in this round: those before it began.
    in_round: usize,
    left: Vec<Pid>,
    /// Who was killed in this round, and in the one before.
    found: Vec<Pid>,
    before: Vec<Pid>,
    pace: Pace,
    text: Vec<u8>,
}

/// What processes of a worker that has ended carry.
#[derive(Debug)]
struct Wanted {
    /// In their environment: `NDA_WORKER=...`.
    entry: Vec<u8>,
    mark: u64,
}

/// When the next round begins.
#[derive(Debug, Default)]
struct Pace {
    /// Rounds in a row in which nobody was found but those of the round before.
    in_vain: u32,
    due: Option<Instant>,
}

impl Pace {
    /// A round is over; whether it found somebody who was not found in the one before.
    fn finish(&mut self, found_new: bool, now: Instant) {
        self.in_vain = if found_new { 0 } else { self.in_vain.saturating_add(1) };
        let pause = match self.in_vain {
            0..AT_ONCE => return self.due = None,
            n if n < AT_ONCE + SOON => SOON_AFTER,
            _ => LATER_AFTER,
        };
        self.due = Some(now + pause);
    }

    fn due_in(&self, now: Instant) -> Duration {
        self.due.map_or(Duration::ZERO, |due| due.saturating_duration_since(now))
    }
}

impl Sweep {
    /// Ends what carries this token, from the next round on.
    pub(super) fn add(&mut self, token: &str) {
        let entry = format!("{VARIABLE}={token}").into_bytes();
        self.wanted.push(Wanted { entry, mark: mark::of(token) });
        self.pace = Pace::default();
    }

    /// Whether there is nothing left to look for.
    pub(super) fn is_done(&self) -> bool {
        self.wanted.is_empty()
    }

    /// How long until its next turn, if there is to be one.
    pub(super) fn due_in(&self, now: Instant) -> Option<Duration> {
        let pause = if self.in_round == 0 { self.pace.due_in(now) } else { Duration::ZERO };
        (!self.is_done()).then_some(pause)
    }

    /// Looks at some processes, if it is time to.
    pub(super) fn turn(&mut self, now: Instant) {
        if self.due_in(now).is_none_or(|pause| !pause.is_zero()) {
            return;
        }
        if self.in_round == 0 {
            self.begin();
        }
        for _ in 0..TURN {
            let Some(pid) = self.left.pop() else { return self.finish(now) };
            if self.look(pid) {
                self.found.push(pid);
            }
        }
    }

    fn begin(&mut self) {
        self.in_round = self.wanted.len();
        self.before = std::mem::take(&mut self.found);
        self.left = others();
    }

    /// A round without a find was the last one for its tokens.
    fn finish(&mut self, now: Instant) {
        if self.found.is_empty() {
            self.wanted.drain(..self.in_round);
        }
        let found_new = self.found.iter().any(|pid| !self.before.contains(pid));
        // One that has been added meanwhile is looked for at once.
        if self.in_round == self.wanted.len() {
            self.pace.finish(found_new, now);
        }
        self.in_round = 0;
    }

    /// Kills the process if it carries a token or a mark; whether it did.
    fn look(&mut self, pid: Pid) -> bool {
        // The descriptor before the look: whoever gets the number afterwards is not meant.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
        if !self.has_token(pid) && !self.has_mark(pid) {
            return false;
        }
        kill_session_group(pid);
        pidfd_send_signal(&process, Signal::KILL).is_ok()
    }

    fn has_token(&mut self, pid: Pid) -> bool {
        self.text.clear();
        // A zombie has none, and that of another user is not for us.
        if read_proc(pid, "environ", &mut self.text).is_none() {
            return false;
        }
        let mut entries = self.text.split(|byte| *byte == 0);
        entries.any(|entry| self.wanted[..self.in_round].iter().any(|wanted| wanted.entry == entry))
    }

    fn has_mark(&mut self, pid: Pid) -> bool {
        self.text.clear();
        let mark = read_proc(pid, "limits", &mut self.text).and_then(|()| mark::read(&self.text));
        mark.is_some_and(|mark| self.wanted[..self.in_round].iter().any(|wanted| wanted.mark == mark))
            && lives(pid)
    }
}

/// Every process but this one.
pub(super) fn others() -> Vec<Pid> {
    let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(Pid::from_raw).filter(|pid| *pid != getpid()).collect()
}

/// Kills the process's whole group at once, faster than it can multiply, if that can only be the worker's own
/// making: it is in another session than the host, and nobody can join one.
fn kill_session_group(pid: Pid) {
    if let (Some(theirs), Some(ours)) = (stat(pid), stat(getpid()))
        && let Some(group) = Pid::from_raw(theirs.group)
        && theirs.session != ours.session
    {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// A zombie keeps its mark.
fn lives(pid: Pid) -> bool {
    stat(pid).is_some_and(|stat| !stat.condition.is_over())
}

pub(super) fn stat(pid: Pid) -> Option<Stat> {
    let mut line = Vec::new();
    read_proc(pid, "stat", &mut line).and_then(|()| Stat::parse(&line))
}

pub(super) fn read_proc(pid: Pid, file: &str, into: &mut Vec<u8>) -> Option<()> {
    let path = format!("/proc/{}/{file}", pid.as_raw_nonzero());
    let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut part = [0; 16 * 1024];
    while into.len() < ENVIRONMENT_MAX {
        match read(&file, &mut part) {
            Ok(0) => break,
            Ok(n) => into.extend_from_slice(&part[..n]),
            Err(_) => return None,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pauses after rounds, each of which finds somebody new or not.
    fn pauses(pace: &mut Pace, rounds: &[bool]) -> Vec<u128> {
        let now = Instant::now();
        let mut after = |found_new: &bool| {
            pace.finish(*found_new, now);
            pace.due_in(now).as_millis()
        };
        rounds.iter().map(&mut after).collect()
    }

    #[test]
    fn what_the_kernel_does_not_let_go_of_is_looked_for_ever_more_slowly() {
        let pauses = pauses(&mut Pace::default(), &[false; 200]);
        let count = |ms| pauses.iter().filter(|pause| **pause == ms).count();
        assert_eq!([count(0), count(50), count(1000)], [49, 50, 101]);
        assert!(pauses.is_sorted());
    }

    #[test]
    fn those_who_multiply_are_chased_without_a_pause() {
        let mut pace = Pace::default();
        assert_eq!(pauses(&mut pace, &[true; 200]), [0; 200]);
        pauses(&mut pace, &[false; 200]);
        assert_eq!(pauses(&mut pace, &[true, false]), [0, 0]);
    }

    #[test]
    fn a_pause_ends_with_its_time_and_for_whoever_is_looked_for_next() {
        let mut sweep = Sweep::default();
        sweep.add("1");
        let now = Instant::now();
        pauses(&mut sweep.pace, &[false; 60]);
        assert!(sweep.due_in(now).unwrap() > Duration::ZERO);
        sweep.turn(now);
        assert_eq!(sweep.in_round, 0, "no turn before its time");
        assert_eq!(sweep.due_in(now + LATER_AFTER), Some(Duration::ZERO));
        sweep.add("2");
        assert_eq!(sweep.due_in(now), Some(Duration::ZERO));
        sweep.turn(now);
        assert!(sweep.is_done() || sweep.in_round == 2);
        assert_eq!(Sweep::default().due_in(now), None);
    }
}
