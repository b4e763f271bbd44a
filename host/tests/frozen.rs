//! A host that was stopped for a while does not blame its workers for the time that is over.
//!
//! The host that is stopped is this executable again, in the part of [`play_the_host`]. By its own clock it says how long
//! it waited: where a busy machine did not let the worker answer within the time it had, blaming it was right, and
//! nothing has been shown; then there is more time.

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
const LIMIT: &str = "NDA_TEST_LIMIT_OF_FROZEN";
/// How long the worker may take for its answer, in seconds: nearly all of it is left when the host goes on.
const LIMITS_S: [u64; 4] = [2, 4, 8, 16];

/// Not a test: what the process is that is stopped.
#[test]
fn play_the_host() {
    let Some(python) = std::env::var_os(PYTHON).map(PathBuf::from) else { return };
    let limit = Duration::from_secs(std::env::var(LIMIT).unwrap().parse().unwrap());
    let (supervisor, _events) = Supervisor::with_limits(Limits { other: limit, ..PATIENT }).unwrap();
    let file = python.with_file_name("plugin.py");
    let worker =
        supervisor.spawn("gain", &PluginSpec { python: Some(python), ..PluginSpec::new(&file) }).unwrap();
    let asked = Instant::now();
    let said = worker.set_parameter("x", "1").map_or_else(|why| why.to_string(), |_| "set".into());
    let waited_ms = asked.elapsed().as_millis();
    fs::write(file.with_file_name("part"), format!("{waited_ms} {said}")).unwrap();
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

/// Stops a host for longer than its worker may take, which answers when the host has gone on for half of that time: what
/// the host says to that, and for how much of its wait it was not stopped.
fn stopped_while_it_waits(limit: Duration) -> (String, Duration) {
    let fake = Fake::new(ROLE);
    let mut host = Command::new(std::env::current_exe().unwrap());
    host.args(["--exact", "play_the_host", "--test-threads=1"]).env(PYTHON, fake.spec().python.unwrap());
    host.env(LIMIT, limit.as_secs().to_string());
    let mut host = host.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the worker to be asked", || fake.has("asked"));
    let pid = Pid::from_child(&host);
    kill_process(pid, Signal::STOP).unwrap();
    let since = Instant::now();
    until("the time to be over", || since.elapsed() > limit + limit / 4);
    let stopped = since.elapsed();
    kill_process(pid, Signal::CONT).unwrap();
    let since = Instant::now();
    until("half of its time to be over", || since.elapsed() > limit / 2);
    fake.put("go");
    until("an answer", || fake.has("said"));
    host.wait().unwrap();
    let wrote = fake.wrote("said");
    let (waited_ms, said) = wrote.split_once(' ').unwrap();
    let waited = Duration::from_millis(waited_ms.parse().unwrap());
    assert!(waited > stopped, "it was stopped while it waited");
    (said.to_owned(), waited - stopped)
}

#[test]
fn a_worker_that_is_busy_while_its_host_is_stopped_keeps_the_rest_of_its_time() {
    for limit in LIMITS_S.map(Duration::from_secs) {
        let (said, had) = stopped_while_it_waits(limit);
        if said == "set" {
            return;
        }
        assert!(had >= limit, "blamed after {had:?} of {limit:?}: {said}");
    }
    panic!("on this machine no worker gets to its answer in time");
}
