//! What this process holds of the system, counted before and after faults.
//!
//! For the harness: descriptors, mapped segments, names in `/dev/shm` that it or its plugins have used, children with
//! zombies among them, and processes that a plugin started, wherever they are by now. What else the machine has is
//! nobody's business here.

use serde::Serialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
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
    /// Names in `/dev/shm` that this process, a child, or a process of a plugin has had open or mapped.
    pub shm: usize,
    /// Children, zombies as well, and processes of plugins.
    pub processes: usize,
}

impl Leftovers {
    /// What there is now. `mark` is the name that plugins' own children have, `names` are those in use so far.
    pub(super) fn now(mark: &str, names: &mut Names) -> Self {
        names.look(mark);
        Self {
            descriptors: entries("/proc/self/fd"),
            maps: segments(),
            shm: names.there(),
            processes: ours(mark).count(),
        }
    }

    /// What there is beyond this, once that has settled.
    pub(super) fn grown(&self, mark: &str, names: &mut Names) -> Self {
        let patience = Instant::now() + SETTLE;
        loop {
            let grown = Self::now(mark, names).beyond(self);
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

/// Names of shared memory that were in use. A name outlives who used it: it is remembered from when it was in use.
#[derive(Debug, Default)]
pub(super) struct Names {
    used: BTreeSet<PathBuf>,
}

impl Names {
    /// Adds those that this process and `ours` of this mark use now.
    pub(super) fn look(&mut self, mark: &str) {
        let pids = ours(mark).map(|process| process.pid).chain([std::process::id()]);
        self.used.extend(pids.flat_map(shared_names));
    }

    /// How many of them are still there.
    fn there(&self) -> usize {
        self.used.iter().filter(|name| name.exists()).count()
    }
}

/// Names of shared memory that a process has open or mapped. What has no name any more goes with its last user.
#[must_use]
pub fn shared_names(pid: u32) -> BTreeSet<PathBuf> {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    let open = fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let mapped = maps.lines().filter_map(|line| Some(PathBuf::from(&line[line.find('/')?..])));
    open.chain(mapped).filter(|path| path.starts_with("/dev/shm") && path.exists()).collect()
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

/// Children, and whoever has this mark for a name.
fn ours(mark: &str) -> impl Iterator<Item = Process> {
    let own = std::process::id();
    all().filter(move |process| process.parent == own || process.name == mark)
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
    fn a_name_of_shared_memory_counts_once_one_of_ours_has_used_it_and_for_as_long_as_it_is_there() {
        let name = |whose: &str| PathBuf::from(format!("/dev/shm/nda-test-{whose}-{}", std::process::id()));
        let [own, childs, others] = ["own", "child", "other"].map(name);
        for path in [&own, &childs, &others] {
            fs::write(path, "").unwrap();
        }
        let mut names = Names::default();
        let open = fs::File::open(&own).unwrap();
        // It holds its standard input open until the pipe ends.
        let mut cat = std::process::Command::new("cat");
        let cat = cat.stdin(std::process::Stdio::piped()).stdout(fs::File::create(&childs).unwrap());
        let mut child = cat.spawn().unwrap();
        names.look("nobody");
        drop((open, child.stdin.take()));
        child.wait().unwrap();
        names.look("nobody");
        let there =
            |names: &Names| [&own, &childs, &others].map(|path| names.used.contains(path) && path.exists());
        assert_eq!(there(&names), [true, true, false], "in use once, and left");
        let before = names.there();
        fs::remove_file(&own).unwrap();
        fs::remove_file(&childs).unwrap();
        assert_eq!(names.there(), before - 2);
        fs::remove_file(&others).unwrap();
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
