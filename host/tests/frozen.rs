//! A host that was stopped for a while does not blame its workers for the time that is over.
//!
//! The host that is stopped is this executable again, in the part of [`play_the_host`].

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]
// Of the fake, not every test executable uses every part.
#![allow(dead_code)]

mod fake;

use fake::{Fake, LONG, PATIENT};
use host::plugin::spec::PluginSpec;
use host::supervisor::{Limits, Supervisor};
use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

const PYTHON: &str = "NDA_TEST_PYTHON_OF_FROZEN";
const ROLE: &str = "waits for a file when set";
/// How long the worker may take for its answer: enough of it is left when the host goes on.
const LIMIT: Duration = Duration::from_secs(2);

/// Not a test: what the process is that is stopped.
#[test]
fn play_the_host() {
    let Some(python) = std::env::var_os(PYTHON).map(PathBuf::from) else { return };
    let (supervisor, _events) = Supervisor::with_limits(Limits { other: LIMIT, ..PATIENT }).unwrap();
    let file = python.with_file_name("plugin.py");
    let worker =
        supervisor.spawn("gain", &PluginSpec { python: Some(python), ..PluginSpec::new(&file) }).unwrap();
    let said = worker.set_parameter("x", "1").map_or_else(|why| why.to_string(), |_| "set".into());
    fs::write(file.with_file_name("part"), said).unwrap();
    fs::rename(file.with_file_name("part"), file.with_file_name("said")).unwrap();
}

#[track_caller]
fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !happened() {
        assert!(Instant::now() < end, "waited for {what}");
        thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn a_worker_that_is_busy_while_its_host_is_stopped_keeps_the_rest_of_its_time() {
    let fake = Fake::new(ROLE);
    let mut host = Command::new(std::env::current_exe().unwrap());
    host.args(["--exact", "play_the_host", "--test-threads=1"]).env(PYTHON, fake.spec().python.unwrap());
    let mut host = host.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the worker to be asked", || fake.has("asked"));
    let pid = Pid::from_child(&host);
    kill_process(pid, Signal::STOP).unwrap();
    let stopped = Instant::now();
    until("the time to be over", || stopped.elapsed() > LIMIT + LIMIT / 4);
    kill_process(pid, Signal::CONT).unwrap();
    fake.put("go");
    until("an answer", || fake.has("said"));
    host.wait().unwrap();
    assert_eq!(fake.wrote("said"), "set");
}
