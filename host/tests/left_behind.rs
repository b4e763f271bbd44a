//! Nothing that a worker started is left behind: not when the worker dies, not when its host is killed.
//!
//! With real processes: the host that is killed is this executable again, in the part of [`play_the_host`].

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]
// Of the fake, not every test executable uses every part.
#![allow(dead_code)]

mod fake;

use fake::{Fake, LONG, PATIENT, exists};
use host::crash::unfinished_of_this_process;
use host::faults::shared_names;
use host::plugin::worker::Worker;
use host::supervisor::{Event, Supervisor};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use std::{fs, thread};

const ESCAPES: &str = "leaves a child in a session of its own";
const BARE: &str = "leaves a child in a session and an environment of its own";
const PYTHON: &str = "NDA_TEST_PYTHON_OF_HOST";
/// Where a host's reports go: a shell could take it for more than one name.
const REPORTS: &str = "its reports *";
const HEARS_CTRL_C: &str = "NDA_TEST_HOST_HEARS_CTRL_C";

fn pid(raw: u32) -> Pid {
    Pid::from_raw(i32::try_from(raw).unwrap()).unwrap()
}

#[track_caller]
fn until<T>(what: &str, mut happened: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LONG;
    loop {
        if let Some(it) = happened() {
            return it;
        }
        assert!(Instant::now() < end, "waited for {what}");
        thread::yield_now();
    }
}

/// Whether a process that is not ours has ended. Whoever inherits it reaps it; until then it is a zombie.
fn has_ended(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

fn wait_ended(what: &str, pid: u32) {
    until(&format!("{what} to end"), || has_ended(pid).then_some(()));
}

/// The value of a variable in another process's environment.
fn variable(pid: u32, name: &str) -> Option<String> {
    let all = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let mut all = all.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    all.find_map(|entry| entry.strip_prefix(&format!("{name}=")).map(str::to_owned))
}

/// The process that waits for the end of this worker's host.
fn warden_of(worker: u32) -> Option<u32> {
    let token = variable(worker, "NDA_WORKER").unwrap();
    let brood = token.rsplit_once('-').unwrap().0.to_owned();
    let ending = format!("\0nda-warden\0{brood}\0");
    let is_it = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(ending.as_bytes()))
    };
    let all = fs::read_dir("/proc").unwrap();
    all.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).find(is_it)
}

fn descriptors(pid: u32) -> Vec<u32> {
    let all = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    all.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).collect()
}

/// Every name below this folder.
fn names(folder: &Path) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // Only folders proper: no link is followed.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.extend(names(&path));
        }
        all.insert(path);
    }
    all
}

/// Another process that is a host, with one worker; what it is told is in `told`.
struct Host {
    child: Child,
    folder: tempfile::TempDir,
}

impl Host {
    fn start(fake: &Fake, prepare: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "play_the_host", "--nocapture", "--test-threads=1"]);
        command.env(PYTHON, fake.spec().python.unwrap()).current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        prepare(&mut command);
        Self { child: command.spawn().unwrap(), folder }
    }

    fn wrote(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.folder.path().join(file)).ok()
    }

    fn worker(&self) -> u32 {
        until("a worker", || self.wrote("worker")).parse().unwrap()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whole or not at all.
fn write(file: &str, text: &str) {
    fs::write("part", text).unwrap();
    fs::rename("part", file).unwrap();
}

/// A host that does not end by Ctrl-C, but asks its worker something then, until it is killed.
fn ask_at_ctrl_c(worker: &Worker) {
    let heard = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&heard)).unwrap();
    write("worker", &worker.pid().to_string());
    until("Ctrl-C", || heard.load(Ordering::Relaxed).then_some(()));
    write("answered", &format!("{:?}", worker.set_parameter("level", "1")));
    loop {
        thread::park();
    }
}

/// Not a test: what [`Host::start`] runs.
#[test]
fn play_the_host() {
    let Some(python) = std::env::var_os(PYTHON).map(PathBuf::from) else { return };
    let (supervisor, events) = Supervisor::with_limits(PATIENT).unwrap();
    supervisor.report_to(REPORTS);
    write("unfinished", &unfinished_of_this_process(Path::new("")).display().to_string());
    let file = python.with_file_name("plugin.py");
    let spec =
        host::plugin::spec::PluginSpec { python: Some(python), ..host::plugin::spec::PluginSpec::new(file) };
    let worker = supervisor.spawn("gain", &spec).unwrap();
    if std::env::var_os(HEARS_CTRL_C).is_some() {
        return ask_at_ctrl_c(&worker);
    }
    write("worker", &worker.pid().to_string());
    for event in &events {
        if let Event::Told { text, .. } = event {
            write("told", &text);
        }
    }
}

#[test]
fn a_child_in_a_session_of_its_own_ends_with_its_worker_and_nobody_elses_does() {
    let (escapes, other) = (Fake::new(ESCAPES), Fake::new(ESCAPES));
    let (supervisor, _events) = Supervisor::with_limits(PATIENT).unwrap();
    let [worker, alive] = [&escapes, &other].map(|fake| supervisor.spawn("gain", &fake.spec()).unwrap());
    let [child, others] = [&escapes, &other].map(|fake| until("a child", || fake.pid("child")));
    assert_ne!(variable(child, "NDA_WORKER"), variable(others, "NDA_WORKER"));
    kill_process(pid(worker.pid()), Signal::KILL).unwrap();
    worker.wait_death(LONG).unwrap();
    assert!(!exists(worker.pid()), "no zombie");
    wait_ended("the child", child);
    assert!(!has_ended(others) && alive.death().is_none());
    drop(supervisor);
    assert!(has_ended(others), "a supervisor that is gone has left nobody");
}

#[test]
fn a_child_in_an_environment_of_its_own_ends_with_its_worker_and_nobody_elses_does() {
    let (bare, other) = (Fake::new(BARE), Fake::new(BARE));
    let (supervisor, _events) = Supervisor::with_limits(PATIENT).unwrap();
    let [worker, alive] = [&bare, &other].map(|fake| supervisor.spawn("gain", &fake.spec()).unwrap());
    let [child, others] = [&bare, &other].map(|fake| until("a child", || fake.pid("child")));
    assert_eq!([child, others].map(|pid| variable(pid, "NDA_WORKER")), [None, None]);
    kill_process(pid(worker.pid()), Signal::KILL).unwrap();
    worker.wait_death(LONG).unwrap();
    wait_ended("the child", child);
    assert!(!has_ended(others) && alive.death().is_none());
    drop(supervisor);
    wait_ended("the other child", others);
}

#[test]
fn a_child_in_an_environment_of_its_own_does_not_outlive_a_host_that_is_killed() {
    let fake = Fake::new(BARE);
    let mut host = Host::start(&fake, |_| {});
    let (worker, child) = (host.worker(), until("a child", || fake.pid("child")));
    let warden = warden_of(worker).unwrap();
    host.kill();
    wait_ended("the child", child);
    wait_ended("the warden", warden);
}

#[test]
fn a_host_that_is_killed_leaves_no_worker_no_grandchild_and_no_warden() {
    let fake = Fake::new(ESCAPES);
    let own = tempfile::tempdir().unwrap();
    let mut host = Host::start(&fake, |command| {
        command.env("TMPDIR", own.path());
    });
    let (worker, child) = (host.worker(), until("a child", || fake.pid("child")));
    let warden = warden_of(worker).unwrap();
    // Others of the machine have names there too: only what ours use is looked at.
    let shared: BTreeSet<_> =
        [host.child.id(), worker, child, warden].into_iter().flat_map(shared_names).collect();
    for wanted in [Signal::INT, Signal::TERM, Signal::HUP] {
        kill_process(pid(warden), wanted).unwrap();
    }
    host.kill();
    wait_ended("the worker", worker);
    wait_ended("the child", child);
    wait_ended("the warden", warden);
    assert_eq!(names(own.path()), BTreeSet::new(), "files for a while");
    let left: Vec<_> = shared.into_iter().filter(|name| name.exists()).collect();
    assert!(left.is_empty(), "names of shared memory: {left:?}");
}

#[test]
fn a_report_that_a_killed_host_had_not_finished_does_not_stay() {
    let fake = Fake::new("good");
    let mut host = Host::start(&fake, |_| {});
    let first = warden_of(host.worker()).unwrap();
    // What it is told is told to its successor as well.
    kill_process(pid(first), Signal::KILL).unwrap();
    let warden = until("another warden", || warden_of(host.worker()).filter(|another| *another != first));
    let reports = host.folder.path().join(REPORTS);
    let half = reports.join(host.wrote("unfinished").unwrap() + "7");
    let [of_its_number, of_another] =
        [host.child.id(), host.child.id() + 1].map(|pid| reports.join(format!(".unfinished-{pid}-7")));
    for folder in [&half, &of_its_number, &of_another, &reports.join("whole")] {
        fs::create_dir_all(folder.join("in")).unwrap();
        fs::write(folder.join("in/report.json"), "{").unwrap();
    }
    host.kill();
    wait_ended("the warden", warden);
    assert!(!half.exists());
    assert!(of_its_number.exists(), "that of a host in another container");
    assert!(of_another.exists() && reports.join("whole/in/report.json").exists());
}

#[test]
fn a_warden_that_is_killed_has_a_successor_that_knows_its_brood() {
    let fake = Fake::new(ESCAPES);
    let mut host = Host::start(&fake, |_| {});
    let (worker, child) = (host.worker(), until("a child", || fake.pid("child")));
    let warden = warden_of(worker).unwrap();
    kill_process(pid(warden), Signal::KILL).unwrap();
    let successor = until("another warden", || warden_of(worker).filter(|another| *another != warden));
    host.kill();
    wait_ended("the child", child);
    wait_ended("the successor", successor);
}

#[test]
fn a_host_that_ends_in_order_leaves_no_warden_either() {
    let fake = Fake::new("good");
    let (supervisor, events) = Supervisor::with_limits(PATIENT).unwrap();
    let worker = supervisor.spawn("gain", &fake.spec()).unwrap();
    let warden = warden_of(worker.pid()).unwrap();
    worker.shutdown().unwrap();
    assert!(!has_ended(warden));
    drop(supervisor);
    assert!(!exists(warden), "not even as a zombie");
    assert_eq!(events.iter().find(|event| matches!(event, Event::Told { .. })), None);
}

#[test]
fn ctrl_c_reaches_the_host_alone() {
    let fake = Fake::new(ESCAPES);
    // As a shell starts it: Ctrl-C goes to all of its group.
    let mut host = Host::start(&fake, |command| {
        command.process_group(0).env(HEARS_CTRL_C, "");
    });
    let (worker, child) = (host.worker(), until("a child", || fake.pid("child")));
    let others = [worker, child, warden_of(worker).unwrap()];
    kill_process_group(pid(host.child.id()), Signal::INT).unwrap();
    let answered = until("the host to hear it", || host.wrote("answered"));
    assert_eq!(answered, "Ok(true)");
    assert_eq!(others.map(has_ended), [false; 3]);
    host.kill();
    wait_ended("the worker", worker);
}

#[test]
fn a_warden_holds_nothing_of_its_hosts_but_the_end_it_waits_for() {
    let fake = Fake::new("good");
    // What a host may have been started with, and passes on: one of a shell's own numbers and one beyond.
    let inherited = [3, 123].map(|least| {
        let fd = fcntl_dupfd_cloexec(std::io::stderr(), least).unwrap();
        fcntl_setfd(&fd, FdFlags::empty()).unwrap();
        fd
    });
    let (supervisor, _events) = Supervisor::with_limits(PATIENT).unwrap();
    let worker = supervisor.spawn("gain", &fake.spec()).unwrap();
    let warden = warden_of(worker.pid()).unwrap();
    let is_ready = || descriptors(warden).iter().all(|fd| *fd < 3);
    until("the warden to hold no more", || is_ready().then_some(()));
    let held = |fd: u32| fs::read_link(format!("/proc/{warden}/fd/{fd}")).unwrap();
    assert!(held(0).to_string_lossy().starts_with("pipe:"), "{:?}", held(0));
    assert_eq!([held(1), held(2)], [Path::new("/dev/null"); 2]);
    assert_eq!(variable(warden, "NDA_WORKER"), None);
    assert_eq!(fs::read_link(format!("/proc/{warden}/cwd")).unwrap(), Path::new("/"));
    drop(inherited);
}

#[test]
fn a_host_without_a_warden_says_so_and_goes_on() {
    let fake = Fake::new("good");
    let nowhere = tempfile::tempdir().unwrap();
    let host = Host::start(&fake, |command| {
        command.env("PATH", nowhere.path());
    });
    let told = until("the host to be told", || host.wrote("told"));
    assert!(told.contains("may be left behind") && told.contains("finds no grep"), "{told}");
    assert!(!has_ended(host.worker()));
}
