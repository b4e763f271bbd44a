//! What must not be left behind: processes, descriptors, mappings, names, memory.

use crate::until::{DEADLINE, comes_true, process_ends};
use shared::boot::HOST_PID;
use std::ffi::{OsStr, OsString};
use std::fs;

/// The living processes that were started by this host, or by its workers.
#[must_use]
pub fn workers_of(host: u32) -> Vec<u32> {
    let mark = format!("{HOST_PID}={host}");
    let entries = fs::read_dir("/proc").expect("/proc");
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    })
    .collect()
}

/// None outlives its host by more than the moment that a killed one needs.
///
/// # Panics
/// If one does.
pub fn assert_no_worker_of(host: u32) {
    assert_all_end(&workers_of(host));
}

/// All of these end soon.
///
/// # Panics
/// If one does not.
pub fn assert_all_end(pids: &[u32]) {
    for pid in pids {
        assert!(process_ends(*pid, DEADLINE), "the worker {pid} outlives its host");
    }
}

/// There is no such process, not even a zombie.
///
/// # Panics
/// If there is.
pub fn assert_reaped(pid: u32) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    assert!(stat.is_err(), "the process {pid} is still there: {stat:?}");
}

/// How many descriptors a process has open.
///
/// # Panics
/// If there is no such process.
#[must_use]
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("a living process").count()
}

/// How many threads a process has.
///
/// # Panics
/// If there is no such process.
#[must_use]
pub fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).expect("a living process").count()
}

/// What a process holds of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Descriptors that it has open.
    pub descriptors: usize,
    /// Its threads.
    pub threads: usize,
    /// Files, segments and libraries that it has mapped, each as often as that is so. What has no name is memory.
    pub mappings: usize,
    /// Its children, zombies as well.
    pub children: usize,
    /// Names in `/dev/shm` that bear its number.
    pub names: usize,
}

impl Held {
    /// What there is now.
    ///
    /// # Panics
    /// If there is no such process.
    #[must_use]
    pub fn by(pid: u32) -> Self {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("a living process");
        Self {
            descriptors: descriptors(pid),
            threads: threads(pid),
            mappings: maps.lines().filter(|line| line.contains('/')).count(),
            children: children(pid),
            names: shared_names_of(pid),
        }
    }

    /// Whether there is no more of anything than there was.
    #[must_use]
    pub fn is_within(&self, before: &Self) -> bool {
        let all = |held: &Self| [held.descriptors, held.threads, held.mappings, held.children, held.names];
        all(self).iter().zip(all(before)).all(|(now, before)| *now <= before)
    }
}

/// A process holds no more than it did, once what is ending has ended.
///
/// # Panics
/// If it holds more for as long as a test may take.
pub fn holds_no_more_than(before: Held, pid: u32) {
    let mut now = before;
    let is_within = comes_true(|| {
        now = Held::by(pid);
        now.is_within(&before)
    });
    assert!(is_within, "{before:?} before, {now:?} now");
}

/// But for the semaphores that a JACK server makes for each of its clients, and leaves when it is killed.
fn shared_names_of(pid: u32) -> usize {
    let number = pid.to_string();
    let names = fs::read_dir("/dev/shm").expect("shared memory").flatten().map(|entry| entry.file_name());
    let is_its = |name: &OsString| words_of(name).any(|word| word == number);
    let is_a_servers = |name: &OsString| name.to_string_lossy().starts_with("jack_sem.");
    names.filter(|name| is_its(name) && !is_a_servers(name)).count()
}

fn words_of(name: &OsStr) -> impl Iterator<Item = &str> {
    name.to_str().unwrap_or_default().split(|letter: char| !letter.is_ascii_alphanumeric())
}

/// A thread may end while it is asked.
fn children(pid: u32) -> usize {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a living process").flatten();
    let of = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    of.map(|children| children.split_whitespace().count()).sum()
}

/// Memory that a process has written to, not counting what it shares with others nor files, in KiB. Pages of a program that
/// was just built count as written until they are on the disk: a leak would be lost in thousands of KiB that get less.
///
/// # Panics
/// If there is no such process.
#[must_use]
pub fn private_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("a living process");
    let line = text.lines().find(|line| line.starts_with("Anonymous:")).expect("its private memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// Memory that a process has asked for, in KiB.
///
/// # Panics
/// If there is no such process.
#[must_use]
pub fn data_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("a living process");
    let line = text.lines().find(|line| line.starts_with("VmData:")).expect("its data");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}
