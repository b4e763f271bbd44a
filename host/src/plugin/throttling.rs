//! For how long the kernel has throttled a worker: kept it from running since its cgroup had used up its processor time.
//!
//! For the recovery thread, which reads `cpu.stat` whenever it looks at the plugin; never the audio thread. A limit may be
//! the worker's own cgroup's or that of one above it, as in a container, so all of them are read that can be seen; of the
//! unified hierarchy (v2) or of the older `cpu` controller (v1). Where there is none, or no limit, nothing is ever
//! throttled. The kernel adds up what it counts over all processors, when it lets the cgroup go on: a worker runs on one of
//! them at a time, so what was added is divided by how many there are, and of several cgroups the one counts that was
//! throttled longest. That is less than the truth where the others had nothing to run; it is never more than a cgroup of
//! the worker's was throttled somewhere.
//!
//! What can't be seen: real-time threads are not throttled by cgroups but by `sched_rt_runtime_us`, of which the kernel
//! tells nobody which thread it hit.

use crate::realtime::placement;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Changes that are remembered: more than there are in the time in which late blocks are looked into.
const SEEN: usize = 64;
/// How often it is looked whether the worker is in another cgroup by now.
const MOVES_NS: u64 = 1_000_000_000;
/// Deeper cgroups are not looked at.
const DEPTH: usize = 16;

/// What one worker's cgroups say over time.
#[derive(Debug, Default)]
pub(crate) struct Throttling {
    pid: u32,
    /// `/proc/PID/cgroup`, as it was when the files were opened.
    cgroup: String,
    counts: Vec<Count>,
    processors: u64,
    moves_due_ns: u64,
    /// For how long it has been throttled at least since then.
    least_ns: u64,
    /// When it was looked, and how long that had been; of equal ones the first and the last.
    seen: VecDeque<(u64, u64)>,
}

/// One cgroup's `cpu.stat`.
#[derive(Debug)]
struct Count {
    file: File,
    /// What it said last.
    ns: u64,
}

impl Count {
    /// `None` for one without a limit.
    fn open(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let ns = read(&file)?;
        Some(Self { file, ns })
    }

    /// What has been added since this was asked last.
    fn added_ns(&mut self) -> u64 {
        let before = self.ns;
        self.ns = read(&self.file).unwrap_or(before);
        self.ns.saturating_sub(before)
    }
}

impl Throttling {
    /// Looks at this worker's cgroups.
    pub(crate) fn look(&mut self, pid: u32, now_ns: u64) {
        if pid != self.pid || now_ns >= self.moves_due_ns {
            self.moves_due_ns = now_ns.saturating_add(MOVES_NS);
            self.find(pid);
        }
        if let Some(added_ns) = self.counts.iter_mut().map(Count::added_ns).max() {
            self.least_ns += added_ns / self.processors.max(1);
            self.see(now_ns, self.least_ns);
        }
    }

    /// For how long it was throttled between these moments at least. What a look finds added ended since the look before,
    /// and nobody knows when: it may be that most of it was before these moments, or after them.
    pub(crate) fn within_ns(&self, from_ns: u64, to_ns: u64) -> u64 {
        let looks = self.seen.iter().zip(self.seen.iter().skip(1));
        let least_ns = looks.map(|((before_ns, before), (after_ns, after))| {
            let added_ns = after.saturating_sub(*before);
            let common_ns =
                |end_ns: u64| end_ns.min(to_ns).saturating_sub(end_ns.saturating_sub(added_ns).max(from_ns));
            // The later it ended, the more is common to both, then the less: the least is at the first or the last moment.
            common_ns(*before_ns).min(common_ns(*after_ns))
        });
        least_ns.sum()
    }

    fn find(&mut self, pid: u32) {
        let text = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let cgroup = text("cgroup");
        if pid == self.pid && cgroup == self.cgroup {
            return;
        }
        let files = stats(&cgroup, &text("mountinfo"));
        let counts = files.iter().filter_map(|path| Count::open(path)).collect();
        let processors = placement::online().len() as u64;
        *self = Self { pid, counts, processors, cgroup, moves_due_ns: self.moves_due_ns, ..Self::default() };
    }

    fn see(&mut self, now_ns: u64, throttled_ns: u64) {
        let mut last = self.seen.iter().rev().map(|(_, it)| *it == throttled_ns);
        if last.next() == Some(true) && last.next() == Some(true) {
            self.seen.pop_back();
        }
        self.seen.push_back((now_ns, throttled_ns));
        if self.seen.len() > SEEN {
            self.seen.pop_front();
        }
    }
}

fn read(file: &File) -> Option<u64> {
    let mut text = [0; 1024];
    let length = file.read_at(&mut text, 0).ok()?;
    throttled_ns(std::str::from_utf8(&text[..length]).ok()?)
}

/// What a `cpu.stat` says; `None` if its cgroup can have no limit.
fn throttled_ns(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| match line.split_once(' ')? {
        ("throttled_usec", us) => us.parse::<u64>().ok()?.checked_mul(1000),
        ("throttled_time", ns) => ns.parse().ok(),
        _ => None,
    })
}

/// The `cpu.stat` of a process's cgroup and of those above it, by its `/proc/PID/cgroup` and `/proc/PID/mountinfo`.
fn stats(cgroup: &str, mounts: &str) -> Vec<PathBuf> {
    mounts.lines().filter_map(|mount| stats_below(cgroup, mount)).flatten().collect()
}

fn stats_below(cgroup: &str, mount: &str) -> Option<Vec<PathBuf>> {
    let (place, what) = mount.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (root, folder) = (place.next()?, Path::new(place.next()?));
    let what: Vec<_> = what.split(' ').collect();
    let is_cpu = |list: &str| list.split(',').any(|controller| controller == "cpu");
    let is_unified = match what.as_slice() {
        ["cgroup2", ..] => true,
        ["cgroup", _, options, ..] if is_cpu(options) => false,
        _ => return None,
    };
    let path = cgroup.lines().find_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_it = if is_unified { number == "0" && controllers.is_empty() } else { is_cpu(controllers) };
        is_it.then_some(path)
    })?;
    // What lies above what is mounted can't be seen.
    let path = Path::new(path).strip_prefix(root).ok()?;
    if path.components().any(|part| part == std::path::Component::ParentDir) {
        return None;
    }
    Some(path.ancestors().take(DEPTH).map(|above| folder.join(above).join("cpu.stat")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(cgroup: &str, mounts: &str) -> Vec<String> {
        stats(cgroup, mounts).iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn the_files_of_the_unified_hierarchy_are_those_of_the_cgroup_and_of_all_above_it() {
        let mounts = "29 1 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n\
                      30 1 0:27 / /proc rw - proc proc rw";
        let expected =
            ["user.slice/a.scope/", "user.slice/", ""].map(|at| format!("/sys/fs/cgroup/{at}cpu.stat"));
        assert_eq!(paths("0::/user.slice/a.scope\n", mounts), expected);
    }

    #[test]
    fn of_the_older_ones_only_that_of_the_processor_counts_also_where_a_part_of_it_is_mounted() {
        let cgroup = "9:memory:/docker/x\n4:cpu,cpuacct:/docker/x/y\n3:cpuset:/\n0::/\n";
        let mounts = "32 31 0:29 /docker/x /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                      33 31 0:30 / /cg/cpuset rw - cgroup cgroup rw,cpuset";
        assert_eq!(paths(cgroup, mounts), ["/cg/cpu/y/cpu.stat", "/cg/cpu/cpu.stat"]);
        assert_eq!(paths("4:cpu:/elsewhere\n", mounts), [""; 0]);
        assert_eq!(paths("0::/../above\n", "1 1 0:1 / /c rw - cgroup2 none rw"), [""; 0]);
        assert_eq!(paths("rubbish", "more - rubbish"), [""; 0]);
    }

    #[test]
    fn both_ways_of_telling_are_understood_and_a_cgroup_without_a_limit_is_none() {
        assert_eq!(
            throttled_ns("usage_usec 9\nnr_throttled 2\nthrottled_usec 1500\nnr_bursts 0\n"),
            Some(1_500_000)
        );
        assert_eq!(throttled_ns("nr_periods 5\nnr_throttled 2\nthrottled_time 72800001\n"), Some(72_800_001));
        assert_eq!(throttled_ns("usage_usec 9\nuser_usec 3\n"), None);
        assert_eq!(throttled_ns("throttled_usec many"), None);
    }

    #[test]
    fn what_is_added_over_all_processors_and_cgroups_counts_as_if_all_had_been_throttled_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let [inner, outer, unlimited] = ["inner", "outer", "unlimited"].map(|name| folder.path().join(name));
        let write = |path: &Path, us: u64| fs::write(path, format!("throttled_usec {us}\n")).unwrap();
        write(&inner, 7_000);
        write(&outer, 9_000);
        fs::write(&unlimited, "usage_usec 9\n").unwrap();
        let counts: Vec<_> =
            [&inner, &outer, &unlimited].into_iter().filter_map(|path| Count::open(path)).collect();
        assert_eq!(counts.len(), 2);
        let mut throttling =
            Throttling { pid: 1, counts, processors: 4, moves_due_ns: u64::MAX, ..Throttling::default() };
        throttling.look(1, 500_000);
        assert_eq!(throttling.within_ns(0, 1_000_000), 0, "what was before is not counted");
        write(&inner, 7_000 + 60 * 4);
        write(&outer, 9_000 + 40 * 4);
        throttling.look(1, 1_000_000);
        assert_eq!(throttling.within_ns(0, 1_000_000), 60_000);
    }

    #[test]
    fn of_equal_looks_the_first_and_the_last_are_remembered_and_of_all_the_latest() {
        let mut throttling = Throttling::default();
        for (at_ns, throttled_ns) in [(10, 5), (20, 5), (30, 5), (40, 25), (50, 25), (60, 25), (70, 26)] {
            throttling.see(at_ns, throttled_ns);
        }
        assert_eq!(throttling.seen, [(10, 5), (30, 5), (40, 25), (60, 25), (70, 26)]);
        (0..1000).for_each(|n| throttling.see(100 + n, n));
        assert_eq!(throttling.seen.len(), SEEN);
    }

    #[test]
    fn what_counts_of_the_time_that_was_added_is_the_least_that_can_have_been_within_the_block() {
        let within = |looks: &[(u64, u64)], from_ns, to_ns| {
            let mut throttling = Throttling::default();
            looks.iter().for_each(|(at_ns, throttled_ns)| throttling.see(*at_ns, *throttled_ns));
            throttling.within_ns(from_ns, to_ns)
        };
        let looks = [(0, 7), (100, 7), (110, 57), (200, 57), (210, 67)];
        assert_eq!(within(&looks, 40, 120), 50, "all of it, whenever it ended");
        assert_eq!(within(&looks, 70, 120), 30, "some of it was before");
        assert_eq!(within(&looks, 40, 75), 15, "and some after");
        assert_eq!(within(&looks, 105, 109), 0, "it may have ended before");
        assert_eq!(within(&looks, 120, 180), 0, "nothing was added");
        assert_eq!(within(&looks, 40, 210), 60, "more than once");
        assert_eq!(within(&looks, 40, 1000), 60, "nobody has looked since");
        assert_eq!(within(&[(5, 1000)], 0, 10), 0, "nobody knows since when");
    }
}
