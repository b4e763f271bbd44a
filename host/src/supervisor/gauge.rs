//! Measures what a worker and the processes it started use.
//!
//! For the supervisor thread, ten times a second for each plugin: what can be kept open is, and the number of
//! processes and threads looked at is bounded. What is gone when it is looked at counts nothing. Children are found here,
//! from parent to child; those whose parents have ended are found by a [`census`](super::census).

use super::bounds::Sample;
use super::census::Kin;
use super::stat::Stat;
use rustix::fs::{Dir, Mode, OFlags, open, openat};
use rustix::io::{Result, pread};
use rustix::process::{Pid, getpriority_process, setpriority_process};
use rustix::thread::sched_getaffinity;
use std::fmt::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Processes and threads looked at, each.
const MOST: usize = 256;
/// The lowest priority.
const NICE: i32 = 19;

/// Looks at one worker.
#[derive(Debug)]
pub(super) struct Gauge {
    pid: i32,
    statm: OwnedFd,
    stat: OwnedFd,
    main: OwnedFd,
    tasks: Dir,
    /// The processes it started, from the last look.
    started: Vec<i32>,
    orphans: Vec<Orphan>,
    path: String,
}

/// A process that it started and whose parent has ended.
#[derive(Debug)]
struct Orphan {
    kin: Kin,
    /// The processor time that it had used when it was seen first: not of the time that is measured.
    before: Duration,
}

impl Gauge {
    /// For a worker that has not been reaped.
    pub(super) fn open(pid: u32) -> Result<Self> {
        let file = |name: &str| open_to_read(&format!("/proc/{pid}/{name}"), OFlags::empty());
        Ok(Self {
            pid: pid.cast_signed(),
            statm: file("statm")?,
            stat: file("stat")?,
            main: file(&format!("task/{pid}/stat"))?,
            tasks: tasks(pid.cast_signed())?,
            started: Vec::new(),
            orphans: Vec::new(),
            path: String::new(),
        })
    }

    /// What is used now by it, its descendants and its `kin`; `None` if the worker has ended. Pages that it shares with
    /// what it started are counted once if they would be more than `memory_max` else: that takes longer to find out.
    pub(super) fn read(&mut self, memory_max: u64, kin: &[Kin]) -> Option<Sample> {
        let (own, main) = (stat(&self.stat)?, stat(&self.main)?);
        let mut sample = Sample {
            memory: resident(&self.statm)?,
            processes: 0,
            audio: main.own,
            beside: (own.own + own.children).saturating_sub(main.own),
            cores: cores(self.pid),
        };
        self.find_started();
        for pid in &self.started {
            let Some(its) = stat_of(*pid, &mut self.path) else { continue };
            sample.beside += its.own + its.children;
            sample.memory += resident_of(*pid, &mut self.path);
        }
        self.add_orphans(kin, &mut sample);
        sample.processes = self.started.len();
        if sample.memory > memory_max && !self.started.is_empty() {
            sample.memory = [self.pid].iter().chain(&self.started).filter_map(|pid| proportional(*pid)).sum();
        }
        Some(sample)
    }

    /// Generation by generation.
    fn find_started(&mut self) {
        self.started.clear();
        children(&mut self.tasks, &mut self.path, &mut self.started);
        let mut looked = 0;
        while let Some(pid) = self.started.get(looked).copied() {
            looked += 1;
            if let Ok(mut tasks) = tasks(pid) {
                children(&mut tasks, &mut self.path, &mut self.started);
            }
        }
    }

    /// From now on they are as those that have parents.
    fn add_orphans(&mut self, kin: &[Kin], sample: &mut Sample) {
        let Self { started, orphans, path, .. } = self;
        orphans.retain(|orphan| kin.contains(&orphan.kin));
        for kin in kin.iter().filter(|kin| !started.contains(&kin.pid)).take(MOST).collect::<Vec<_>>() {
            let its = stat_of(kin.pid, path).filter(|its| its.began == kin.began && !its.condition.is_over());
            let Some(its) = its else { continue };
            let used = its.own + its.children;
            let known = orphans.iter().find(|orphan| orphan.kin == *kin).map(|orphan| orphan.before);
            let before = known.unwrap_or_else(|| {
                orphans.push(Orphan { kin: *kin, before: used });
                used
            });
            sample.beside += used.saturating_sub(before);
            sample.memory += resident_of(kin.pid, path);
            started.push(kin.pid);
        }
    }

    /// Gives everything the lowest priority but the thread that processes audio.
    pub(super) fn lower(&mut self) {
        lower_all(&mut self.tasks, Some(self.pid));
        for pid in &self.started {
            if let Ok(mut tasks) = tasks(*pid) {
                lower_all(&mut tasks, None);
            }
        }
    }
}

fn open_to_read(path: &str, more: OFlags) -> Result<OwnedFd> {
    open(path, OFlags::RDONLY | OFlags::CLOEXEC | more, Mode::empty())
}

/// The threads of a process.
fn tasks(pid: i32) -> Result<Dir> {
    Dir::new(open_to_read(&format!("/proc/{pid}/task"), OFlags::DIRECTORY)?)
}

fn each_task(tasks: &mut Dir, mut look: impl FnMut(&Dir, i32)) {
    tasks.rewind();
    for _ in 0..MOST {
        let Some(Ok(entry)) = tasks.next() else { return };
        if let Some(task) = entry.file_name().to_str().ok().and_then(|name| name.parse().ok()) {
            look(tasks, task);
        }
    }
}

/// Adds the children that the threads of one process have, as far as there is room for them.
fn children(tasks: &mut Dir, path: &mut String, into: &mut Vec<i32>) {
    each_task(tasks, |tasks, task| {
        path.clear();
        let _ = write!(path, "{task}/children");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let Ok(fd) = tasks.fd() else { return };
        let Ok(file) = openat(fd, path.as_str(), flags, Mode::empty()) else { return };
        let mut text = [0; 4096];
        let Ok(length) = pread(&file, &mut text, 0) else { return };
        let pids = text[..length].split(|byte| *byte == b' ');
        let pids = pids.filter_map(|pid| std::str::from_utf8(pid).ok()?.parse::<i32>().ok());
        let room = MOST.saturating_sub(into.len());
        into.extend(pids.take(room));
    });
}

fn lower_all(tasks: &mut Dir, but: Option<i32>) {
    each_task(tasks, |_, task| {
        let thread = Pid::from_raw(task).filter(|_| but != Some(task));
        if thread.is_some() && getpriority_process(thread).is_ok_and(|nice| nice < NICE) {
            let _ = setpriority_process(thread, NICE);
        }
    });
}

/// On how many cores it may run.
fn cores(pid: i32) -> u32 {
    sched_getaffinity(Pid::from_raw(pid)).map_or(u32::MAX, |cores| cores.count())
}

fn stat_of(pid: i32, path: &mut String) -> Option<Stat> {
    path.clear();
    let _ = write!(path, "/proc/{pid}/stat");
    stat(open_to_read(path, OFlags::empty()).ok()?)
}

fn resident_of(pid: i32, path: &mut String) -> u64 {
    path.clear();
    let _ = write!(path, "/proc/{pid}/statm");
    open_to_read(path, OFlags::empty()).ok().and_then(resident).unwrap_or(0)
}

fn stat(file: impl AsFd) -> Option<Stat> {
    let mut line = [0; 1024];
    let length = pread(file, &mut line, 0).ok()?;
    Stat::parse(&line[..length])
}

/// Bytes of memory, by `/proc/PID/statm`.
fn resident(file: impl AsFd) -> Option<u64> {
    let mut line = [0; 128];
    let length = pread(file, &mut line, 0).ok()?;
    let text = std::str::from_utf8(&line[..length]).ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// Bytes of memory of which each page counts as its share among the processes that have it, by
/// `/proc/PID/smaps_rollup`.
fn proportional(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let kib = text.lines().find_map(|line| line.strip_prefix("Pss:"))?.split_whitespace().next()?;
    kib.parse::<u64>().ok().map(|kib| kib.saturating_mul(1024))
}

/// What a worker may use if nobody says: half of the machine's memory, in bytes.
pub(crate) fn memory_max() -> u64 {
    let info = rustix::system::sysinfo();
    #[allow(clippy::useless_conversion)] // Their type differs between machines.
    let (units, unit) = (u64::from(info.totalram), u64::from(info.mem_unit));
    units.saturating_mul(unit) / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::{Command, Stdio};

    const BLOCK: u64 = 64 << 20;
    const FORKS: &str = "import os, sys
block = b'x' * (64 << 20)
for _ in range(3):
    if os.fork() == 0:
        sys.stdin.read()
        os._exit(0)
print(flush=True)
sys.stdin.read()";

    #[test]
    fn memory_that_processes_share_counts_once_before_it_is_too_much() {
        let python =
            Command::new("python3").args(["-c", FORKS]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut python = python.unwrap();
        python.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let mut gauge = Gauge::open(python.id()).unwrap();
        let all = gauge.read(u64::MAX, &[]).unwrap();
        assert_eq!(all.processes, 3);
        assert!(all.memory > 4 * BLOCK, "{all:?}");
        let once = gauge.read(all.memory - 1, &[]).unwrap().memory;
        assert!((BLOCK..2 * BLOCK).contains(&once), "{once}");
        drop(python.stdin.take());
        python.wait().unwrap();
    }
}
