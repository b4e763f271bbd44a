//! Which processes each worker has started, also those whose parents have ended: known by what they carry.
//!
//! For the supervisor thread. A process has its mark and its token from its parent, so each is looked at once, when it
//! is new: beside those, a census costs no more than a list of all processes. Whether one of them is still the same is
//! for whoever asks it something; [`Kin`] says by what to tell. It ends nobody: that is the [`sweep`](super::sweep)'s.

use super::mark;
use super::sweep::{VARIABLE, others, read_proc, stat};
use rustix::process::Pid;
use std::collections::{BTreeSet, HashMap};

/// New processes looked at in one census, the newest first: some 10 ms for a thousand. The others are for the next one.
const NEW: usize = 512;

/// A process that a worker has started, or the worker itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kin {
    pub(super) pid: i32,
    /// When it began, as the kernel says: another of the same number began at another time.
    pub(super) began: u64,
}

/// What is known of all processes.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// Those that were looked at and are there.
    seen: BTreeSet<i32>,
    /// By the mark of their worker.
    kin: HashMap<u64, Vec<Kin>>,
}

impl Census {
    /// Looks at those that are new, for what workers of this brood have started, and forgets those that are gone.
    pub(super) fn take(&mut self, brood: &str) {
        let there: BTreeSet<i32> = others().into_iter().map(Pid::as_raw_pid).collect();
        self.seen.retain(|pid| there.contains(pid));
        self.kin.values_mut().for_each(|kin| kin.retain(|it| there.contains(&it.pid)));
        self.kin.retain(|_, kin| !kin.is_empty());
        let mut text = Vec::new();
        let new: Vec<_> = there.into_iter().rev().filter(|pid| !self.seen.contains(pid)).take(NEW).collect();
        for pid in new {
            self.seen.insert(pid);
            if let Some((mark, kin)) = Pid::from_raw(pid).and_then(|pid| look(pid, brood, &mut text)) {
                self.kin.entry(mark).or_default().push(kin);
            }
        }
    }

    /// What the worker with this token has started, and itself.
    pub(super) fn of(&self, token: &str) -> &[Kin] {
        self.kin.get(&mark::of(token)).map_or(&[], Vec::as_slice)
    }
}

/// Whose it is, if it is a worker's: by the mark, or the token if it has changed that.
fn look(pid: Pid, brood: &str, text: &mut Vec<u8>) -> Option<(u64, Kin)> {
    let mark = marked(pid, brood, text).or_else(|| named(pid, brood, text))?;
    // A zombie keeps its mark.
    let stat = stat(pid).filter(|stat| !stat.condition.is_over())?;
    Some((mark, Kin { pid: pid.as_raw_pid(), began: stat.began }))
}

fn marked(pid: Pid, brood: &str, text: &mut Vec<u8>) -> Option<u64> {
    text.clear();
    read_proc(pid, "limits", text)?;
    mark::read(text).filter(|mark| mark::is_of_brood(*mark, brood))
}

fn named(pid: Pid, brood: &str, text: &mut Vec<u8>) -> Option<u64> {
    text.clear();
    read_proc(pid, "environ", text)?;
    let start = format!("{VARIABLE}={brood}-");
    let entry = text.split(|byte| *byte == 0).find(|entry| entry.starts_with(start.as_bytes()))?;
    std::str::from_utf8(&entry[VARIABLE.len() + 1..]).ok().map(mark::of)
}
