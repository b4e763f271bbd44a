//! How workers go: those that play first, those that are being started last.
//!
//! For the supervisor. A worker that starts imports numpy and its plugin, which takes a core for 100 ms and more. It
//! has long slices and nobody makes room for it when it wakes up, so that one that plays gets its turn at once, on the
//! same core too; that needs no rights. One that nobody waits for yet also has a small share, where that can be raised
//! again afterwards (as root, or with `RLIMIT_NICE`): that is tried once, on a process of the host's own that it
//! matters little to. The thread that plays goes first, as `realtime::priority` says; a plugin's own threads and
//! processes go as any other program.

use crate::realtime::placement::threads;
use crate::realtime::priority::{AHEAD, Rights, WORKER, fair, fifo, own_nice};
use rustix::process::{Pid, Resource, Rlimit, getpriority_process, getrlimit, prlimit, setpriority_process};
use shared::schedule::{self, Policy, Schedule};

/// How far back one is that nobody waits for: a tenth of a processor that others want.
const BACK: i32 = 10;
/// The longest slice that the kernel gives.
const LONG_NS: u64 = 100_000_000;
/// How much of a core a worker's thread may use with a real-time priority without ever waiting, in microseconds, before
/// the kernel kills it: more than any answer may take. For a worker that loops while its host is stopped.
const RUNAWAY_US: u64 = 10_000_000;

/// How workers of this host go that are as any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    nice: i32,
    /// The real-time priority of those that play, if they have one.
    fifo: Option<u8>,
    can_return: bool,
}

impl Pace {
    /// As the calling thread goes.
    pub(super) fn of_the_host() -> Self {
        Self { nice: own_nice(), fifo: Rights::known().worker_fifo(), can_return: false }
    }

    /// Whether whoever steps back can step forward again, tried on this process.
    pub(super) fn try_to_return(&mut self, pid: Pid) {
        let Ok(before) = getpriority_process(Some(pid)) else { return };
        let back = setpriority_process(Some(pid), before.saturating_add(BACK));
        self.can_return = back.is_ok() && setpriority_process(Some(pid), before).is_ok();
    }

    /// A worker just started, which has one thread yet. Its plugin can't give itself a higher priority than one that
    /// plays has, unless by the rights of root.
    pub(super) fn begin(self, pid: Pid, gently: bool) {
        let back = if gently && self.can_return { BACK } else { 0 };
        let nice = self.nice.saturating_add(back).min(19);
        let begins = Schedule { policy: Policy::Batch, nice, slice_ns: LONG_NS, reset_on_fork: false };
        let _ = schedule::set(Some(pid), &begins);
        limit(pid, Resource::Rtprio, WORKER.into());
        limit(pid, Resource::Rttime, RUNAWAY_US);
    }

    /// One that nobody waited for, and that is ready: it has its share.
    pub(super) fn step_forward(self, pid: Pid) {
        each_thread(pid, |thread| {
            let _ = setpriority_process(Some(thread), self.nice);
        });
    }

    /// One that plays, or may at any time.
    pub(super) fn play(self, pid: Pid) {
        let others = Schedule { policy: Policy::Other, nice: self.nice, slice_ns: 0, reset_on_fork: false };
        each_thread(pid, |thread| {
            if thread == pid {
                self.go_first(pid);
            } else {
                let _ = schedule::set(Some(thread), &others);
            }
        });
    }

    /// The best that may be.
    fn go_first(self, thread: Pid) {
        let ahead = fair(self.nice.saturating_sub(AHEAD));
        let wishes = self.fifo.map(fifo).into_iter().chain([ahead, fair(self.nice)]);
        let _ = wishes.map(|wish| schedule::set(Some(thread), &wish)).find(|done| done.is_ok());
    }

    /// One that plays and does not come to an end.
    pub(super) fn give_way(self, pid: Pid) {
        let _ = schedule::set(Some(pid), &fair(self.nice));
    }
}

/// Takes rights from a process; those that it has not got stay as they are.
fn limit(pid: Pid, resource: Resource, most: u64) {
    let own = getrlimit(resource);
    let least = |own: Option<u64>| Some(own.map_or(most, |own| own.min(most)));
    let _ = prlimit(Some(pid), resource, Rlimit { current: least(own.current), maximum: least(own.maximum) });
}

/// All threads of a process. One that has ended has none.
fn each_thread(pid: Pid, act: impl Fn(Pid)) {
    threads(pid).into_iter().filter_map(Pid::from_raw).for_each(act);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, kill_process};
    use std::process::Command;

    #[test]
    fn who_begins_steps_forward_and_plays_is_where_it_was_or_ahead() {
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_child(&sleeper);
        let now = || schedule::get(Some(pid)).unwrap();
        let mut pace = Pace::of_the_host();
        pace.try_to_return(pid);
        if pace.can_return {
            assert_eq!(now().nice, pace.nice);
        } else {
            pace.nice = now().nice;
        }
        pace.begin(pid, true);
        let back = if pace.can_return { BACK } else { 0 };
        assert_eq!((now().policy, now().nice), (Policy::Batch, (pace.nice + back).min(19)));
        pace.step_forward(pid);
        assert_eq!((now().policy, now().nice), (Policy::Batch, pace.nice));
        pace.play(pid);
        assert!(now().reset_on_fork && now().nice <= pace.nice, "{:?}", now());
        assert_eq!(now().policy, pace.fifo.map_or(Policy::Other, Policy::Fifo));
        pace.give_way(pid);
        assert_eq!((now().policy, now().nice), (Policy::Other, pace.nice));
        kill_process(pid, Signal::KILL).unwrap();
        sleeper.wait().unwrap();
    }
}
