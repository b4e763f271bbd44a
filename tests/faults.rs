//! The fault table in short: six faults of each kind, from a seed; the audio, the host and the neighbour get over all.
//! And restarts, one after the other: they leave nothing behind.
//!
//! Takes some minutes. Only what the machine's own noise can't touch is asserted: times and the blocks that the
//! neighbour loses to a busy machine are for `nda faults` on a quiet one.

use host::faults::Kind;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tests::leftovers::{assert_no_worker_of, workers_of};
use tests::nda::{Done, Running, command};
use tests::until::until;
use tests::workspace::{Folder, python};

const EACH: u64 = 6;
const KINDS: usize = 24;
const CYCLES: u64 = 30;
const LEAKS: [&str; 4] = ["descriptors", "maps", "shm", "processes"];
/// Far more than it needs.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Whose it is just now: what a plugin of one run does to a processor, at a real-time priority, would look like a hang to
/// another.
static MACHINE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `nda faults` with these words.
fn faults(words: &str) -> Done {
    let _machine = alone();
    let python = python();
    let first = ["faults", "--json", "-", "--python", python.to_str().expect("a path in UTF-8")];
    Running::start(command(first.into_iter().chain(words.split(' ')))).wait_within(LIMIT)
}

fn sum(rows: &[Value], key: &str) -> u64 {
    rows.iter().map(|row| row[key].as_u64().unwrap_or_else(|| panic!("{key} in {row}"))).sum()
}

/// Injects those of every second kind, beginning with this one, with this standing by.
fn every_second_kind(from: usize, standby: &str) {
    let kinds: Vec<_> = Kind::ALL.iter().skip(from).step_by(2).map(ToString::to_string).collect();
    // Nothing here is compared with a control run.
    let named = kinds.join(",");
    let done = faults(&format!("--no-control --each {EACH} --seed 20 --standby {standby} --kinds {named}"));
    let table = done.json();
    assert_eq!(table["standby"], standby);
    let rows = table["rows"].as_array().expect("rows");
    let named: HashSet<_> = rows.iter().map(|row| row["kind"].as_str().expect("a name")).collect();
    assert_eq!(named, kinds.iter().map(String::as_str).collect(), "{done}");
    for row in rows {
        assert_eq!(row["injected"], EACH, "{row}");
        assert_eq!(row["survived"], row["injected"], "{row}");
        assert_eq!(row["wrong_blocks"], 0, "{row}");
        assert_eq!(row["unheard_blocks"], 0, "{row}");
        assert_eq!(row["plain_samples"], 0, "{row}");
        assert_eq!(row["reported"], row["died"], "{row}");
        // Some attacks take rights that only root has.
        assert!(row["untried"] == 0 || !rustix::process::geteuid().is_root(), "{row}");
        if ["loop", "loop-in-c"].contains(&row["kind"].as_str().expect("a name")) {
            assert_eq!(row["died"], EACH, "{row}");
            assert_eq!(row["with_stack"], row["died"], "{row}");
        }
        for what in LEAKS {
            assert_eq!(row["leaks"][what], 0, "{row}");
        }
    }
    assert!(sum(rows, "died") > EACH, "{done}");
    // Half of them happened to a plugin that fails closed, and most of them were heard.
    assert_eq!(sum(rows, "fail_closed"), EACH * kinds.len() as u64 / 2);
    let heard = |row: &&Value| row["replaced_blocks"]["max"].as_f64() > Some(0.0);
    assert!(rows.iter().filter(heard).count() > kinds.len() / 2, "{done}");
}

#[test]
fn the_audio_gets_over_every_fault_and_nothing_wrong_is_heard_lost_or_left_behind() {
    assert_eq!(Kind::ALL.len(), KINDS);
    every_second_kind(0, "spare");
}

#[test]
fn with_a_twin_it_gets_over_the_rest_of_the_kinds_too() {
    every_second_kind(1, "twin");
}

#[test]
fn restarts_one_after_the_other_leave_no_descriptor_map_name_or_process() {
    let done = faults(&format!("--cycles {CYCLES} --standby twin"));
    let cycles = done.json();
    assert_eq!(cycles["cycles"], CYCLES, "{done}");
    assert_eq!(cycles["survived"], CYCLES, "{done}");
    for what in LEAKS {
        assert_eq!(cycles["leaks"][what], 0, "{done}");
    }
}

#[test]
fn killed_outright_it_leaves_no_file_and_no_worker() {
    let _machine = alone();
    let (folder, python) = (Folder::new(), python());
    let words =
        ["faults", "--kinds", "sigkill", "--each", "1000", "--no-control", "--python"].map(OsStr::new);
    let mut faults = command(words.into_iter().chain([python.as_os_str()]));
    faults.env("TMPDIR", folder.path());
    let running = Running::start(faults);
    let files = || fs::read_dir(folder.path()).expect("a folder").count();
    until("it plays", || files() > 0 && !workers_of(running.pid()).is_empty());
    running.signal(Signal::KILL);
    let (pid, _) = running.wait_alone();
    until("the warden to take its files away", || files() == 0);
    assert_no_worker_of(pid);
}
