//! What this process holds of the system, counted before and after faults.
//!
//! For the harness: descriptors, mapped segments, names in `/dev/shm`, children with zombies among them, and
//! processes that a plugin started, wherever they are by now.

use serde::Serialize;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long what is ending may take to be gone.
const SETTLE: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Counts of what can be left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Leftovers {
    /// Open descriptors.
    pub descriptors: usize,
    /// Mappings of shared memory segments.
    pub maps: usize,
    /// Names in `/dev/shm`.
    pub shm: usize,
    /// Children, zombies as well, and processes of plugins.
    pub processes: usize,
}

impl Leftovers {
    /// What there is now. `mark` is the name that plugins' own children have.
    pub(super) fn now(mark: &str) -> Self {
        Self {
            descriptors: entries("/proc/self/fd"),
            maps: segments(),
            shm: entries("/dev/shm"),
            processes: processes(mark),
        }
    }

    /// What there is beyond this, once that has settled.
    pub(super) fn grown(&self, mark: &str) -> Self {
        let patience = Instant::now() + SETTLE;
        loop {
            let grown = Self::now(mark).beyond(self);
            if grown == Self::default() || Instant::now() >= patience {
                return grown;
            }
            std::thread::park_timeout(BETWEEN_LOOKS);
        }
    }

    fn beyond(&self, before: &Self) -> Self {
        Self {
            descriptors: self.descriptors.saturating_sub(before.descriptors),
            maps: self.maps.saturating_sub(before.maps),
            shm: self.shm.saturating_sub(before.shm),
            processes: self.processes.saturating_sub(before.processes),
        }
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> usize {
        self.descriptors + self.maps + self.shm + self.processes
    }
}

/// Memory that this process has of its own, in KiB.
pub(super) fn own_memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn entries(folder: &str) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

fn segments() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines().filter(|line| line.contains("memfd:nda")).count()
}

/// A process as `/proc` tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) name: String,
    pub(super) state: char,
    parent: u32,
    /// Processor time, in ticks of 10 ms.
    pub(super) ticks: u64,
}

impl Process {
    /// One process, if there is one of this number.
    pub(super) fn of(pid: u32) -> Option<Self> {
        Self::read(&Path::new("/proc").join(pid.to_string()))
    }

    fn read(folder: &Path) -> Option<Self> {
        let pid = folder.file_name()?.to_str()?.parse().ok()?;
        Self::parse(pid, &fs::read_to_string(folder.join("stat")).ok()?)
    }

    /// The name stands in brackets and may hold anything, brackets as well.
    fn parse(pid: u32, stat: &str) -> Option<Self> {
        let (head, rest) = stat.rsplit_once(") ")?;
        let (_, name) = head.split_once('(')?;
        let words: Vec<_> = rest.split(' ').collect();
        let number = |index: usize| words.get(index).and_then(|word| word.parse::<u64>().ok());
        Some(Self {
            pid,
            name: name.to_owned(),
            state: words.first()?.chars().next()?,
            parent: u32::try_from(number(1)?).ok()?,
            ticks: number(11)? + number(12)?,
        })
    }

    /// Whether it runs or could.
    pub(super) fn lives(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

/// The children of this process.
pub(super) fn children() -> Vec<Process> {
    all().filter(|process| process.parent == std::process::id()).collect()
}

fn all() -> impl Iterator<Item = Process> {
    fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| Process::read(&entry.ok()?.path()))
}

fn processes(mark: &str) -> usize {
    let own = std::process::id();
    all().filter(|process| process.parent == own || process.name == mark).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        let stat = "77 (a) b (c) Z 5 77 77 0 -1 0 0 0 0 0 12 30 0 0 20 0 1 0 9 0 0";
        let process = Process::parse(77, stat).unwrap();
        assert_eq!((process.name.as_str(), process.parent, process.ticks), ("a) b (c", 5, 42));
        assert!(!process.lives());
        assert!(Process::of(std::process::id()).unwrap().lives());
    }

    #[test]
    fn what_is_there_now_and_was_not_before_is_left_over() {
        let before = Leftovers { descriptors: 10, maps: 4, shm: 1, processes: 2 };
        let now = Leftovers { descriptors: 12, maps: 2, shm: 1, processes: 3 };
        let grown = now.beyond(&before);
        assert_eq!(grown, Leftovers { descriptors: 2, maps: 0, shm: 0, processes: 1 });
        assert_eq!(grown.total(), 3);
    }
}
