//! What must not be left behind: processes, descriptors, memory.

use crate::until::{DEADLINE, process_ends};
use shared::boot::HOST_PID;
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

/// Memory that a process has written to, not counting what it shares with others, in KiB.
///
/// # Panics
/// If there is no such process.
#[must_use]
pub fn private_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("a living process");
    let line = text.lines().find(|line| line.starts_with("Private_Dirty:")).expect("its private memory");
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
