//! `nda run` as a service that nobody watches: what a service manager and a log are told.
//!
//! The manager is a socket of the test's own, where systemd's would be.

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use rustix::process::Signal;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::gate::Gate;
use tests::nda::{Running, command, started_by};
use tests::plugins::{processor, processor_with};
use tests::until::until;
use tests::workspace::{Folder, python, shipped, song};

/// A service manager that listens.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn new(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { socket }
    }

    /// What it has been told since it listened last.
    fn heard(&self) -> Vec<String> {
        let mut message = [0; 4096];
        self.socket.set_nonblocking(true).unwrap();
        let next = || {
            let length = self.socket.recv(&mut message).ok()?;
            Some(String::from_utf8_lossy(&message[..length]).into_owned())
        };
        let heard = std::iter::from_fn(next).collect();
        self.socket.set_nonblocking(false).unwrap();
        heard
    }

    /// Waits until it is told this three times more than it has been.
    fn is_told_from_now_on(&self, words: &str) {
        self.heard();
        (0..3).for_each(|_| self.hears(words));
    }

    /// Waits until it is told this.
    fn hears(&self, words: &str) {
        let mut message = [0; 4096];
        loop {
            let length = self.socket.recv(&mut message).unwrap_or_else(|e| panic!("no {words}: {e}"));
            if String::from_utf8_lossy(&message[..length]).lines().any(|line| line == words) {
                return;
            }
        }
    }
}

fn run(folder: &Folder, text: &str, options: &[&str]) -> std::process::Command {
    let config = folder.write("service.toml", text);
    let mut arguments = vec!["run".to_owned(), config.display().to_string()];
    arguments.extend(options.iter().map(|option| (*option).to_owned()));
    command(arguments)
}

/// A pipeline without an end.
fn endless() -> String {
    let (sine, null, python) = (shipped("sine_wave_source.py"), shipped("null_sink.py"), python());
    format!(
        "[[pipeline]]\nsource = {{ plugin = {sine:?}, python = {python:?} }}\n\
         sink = {{ plugin = {null:?}, python = {python:?} }}"
    )
}

#[test]
fn a_service_manager_is_told_when_it_plays_that_it_goes_on_playing_and_when_it_ends() {
    let folder = Folder::new();
    let path = folder.file("notify");
    let manager = Manager::new(&path);
    let mut command = run(&folder, &endless(), &[]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    let running = Running::start(command);
    manager.hears("READY=1");
    (0..5).for_each(|_| manager.hears("WATCHDOG=1"));
    running.signal(Signal::TERM);
    manager.hears("STOPPING=1");
    let _ = running.wait().ended_with(0);
}

#[test]
fn a_service_manager_is_not_told_that_it_plays_while_any_plugin_still_loads() {
    let folder = Folder::new();
    let (path, gate, loading) = (folder.file("notify"), Gate::new(&folder), folder.file("loading"));
    let manager = Manager::new(&path);
    let waits = format!(
        "def __init__(self):\n    super().__init__()\n    open({loading:?}, 'w')\n    {}",
        gate.wait()
    );
    let held = processor_with(&folder, "held", "return True", &waits);
    let second = endless() + &format!("\nplugins = [{{ file = {held:?}, python = {:?} }}]", python());
    let text = [endless(), second].join("\n").replacen("[[pipeline]]", "[[pipeline]]\nname = \"first\"", 1);
    let mut command = run(&folder, &text, &[]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    let running = Running::start(command);
    until("the plugin to load", || loading.exists());
    // It is given more time for each pipeline, and told no more.
    let opening = |name: &str| format!("STATUS=opening {name:?}\nEXTEND_TIMEOUT_USEC=120000000\n");
    assert_eq!(manager.heard(), [opening("first"), opening("pipeline 2")]);
    gate.open();
    manager.hears("READY=1");
    running.signal(Signal::TERM);
    manager.hears("STOPPING=1");
    let _ = running.wait().ended_with(0);
}

/// The audio thread of a run, held within a block while all others go on.
struct Held {
    thread: Pid,
}

impl Held {
    /// `None` where threads can't be held.
    fn of(run: u32) -> Option<Self> {
        let tasks = PathBuf::from(format!("/proc/{run}/task"));
        let is_audio = |task: &PathBuf| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "virtual-device\n")
        };
        let task = std::fs::read_dir(tasks).unwrap().map(|task| task.unwrap().path()).find(is_audio).unwrap();
        let thread = Pid::from_raw(task.file_name().unwrap().to_str().unwrap().parse().unwrap());
        ptrace::seize(thread, ptrace::Options::empty()).ok()?;
        until("it to be held within a block", || {
            ptrace::interrupt(thread).unwrap();
            waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
            let is_within = waits_for_a_worker(&task);
            if !is_within {
                ptrace::cont(thread, None).unwrap();
            }
            is_within
        });
        Some(Self { thread })
    }
}

/// Lets it go on. While it is held, its process can't end.
impl Drop for Held {
    fn drop(&mut self) {
        let _ = ptrace::detach(self.thread, None);
    }
}

/// Whether a thread that is held waits for a futex that is not its process's own.
fn waits_for_a_worker(task: &Path) -> bool {
    const FUTEX_WAIT_BITSET: &str = "0x9";
    let text = std::fs::read_to_string(task.join("syscall")).unwrap();
    let mut call = text.split(' ');
    call.next() == Some(&libc::SYS_futex.to_string()) && call.nth(1) == Some(FUTEX_WAIT_BITSET)
}

/// A stand-in plays on where a device has stopped calling back, but the chain is in the hands of the thread that is held.
#[test]
fn the_watchdog_is_not_fed_while_audio_stands_still_and_every_other_thread_goes_on() {
    let folder = Folder::new();
    let (path, log) = (folder.file("notify"), folder.file("nda.log"));
    let manager = Manager::new(&path);
    let (gate, shut) = (Gate::new(&folder), folder.file("shut"));
    let body = format!("import os\nif os.path.exists({shut:?}): {}\nreturn True", gate.wait());
    let slow = processor(&folder, "slow", &body);
    let text = format!(
        "block = 8192\n[[pipeline]]\nsource = {{ file = {:?}, loop = true }}\nsink = \"virtual\"\n\
         plugins = [{{ file = {slow:?}, python = {:?}, deadline = 0.95, adapt = false }}]",
        song(),
        python()
    );
    let mut command = run(&folder, &text, &["--log", log.to_str().unwrap()]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000000");
    let running = Running::start(command);
    (0..3).for_each(|_| manager.hears("WATCHDOG=1"));
    // Whoever waits for the plugin is held, before that goes on.
    std::fs::write(&shut, "").unwrap();
    let held = Held::of(running.pid());
    std::fs::remove_file(&shut).unwrap();
    gate.open();
    let Some(held) = held else {
        assert!(!rustix::process::geteuid().is_root(), "root should be able to hold a thread");
        eprintln!("not shown: this user can hold no threads");
        return;
    };
    manager.heard();
    let mut told = Vec::new();
    until("the device to be lost", || {
        told.extend(manager.heard());
        std::fs::read_to_string(&log).unwrap().contains("has stopped calling back")
    });
    // That takes more than a second, in which it would be fed four times; and once it may be for the block before.
    assert!(told.len() <= 1, "{told:?}");
    drop(held);
    manager.is_told_from_now_on("WATCHDOG=1");
    running.signal(Signal::TERM);
    manager.hears("STOPPING=1");
    let done = running.wait();
    done.ended_with(if done.code == Some(9) { 9 } else { 0 });
}

/// Runs with standard output and standard error in a file that is said to be the journal; what is in it, and the exit code.
fn in_the_journal(folder: &Folder, mut command: std::process::Command) -> (String, Option<i32>) {
    let journal = folder.write("journal", "");
    let file = journal.metadata().unwrap();
    command.env("JOURNAL_STREAM", format!("{}:{}", file.dev(), file.ino()));
    let shell = format!("exec \"$@\" >{} 2>&1", journal.display());
    let done = Running::start(started_by(&["sh", "-c", &shell, "sh"], &command)).wait();
    (std::fs::read_to_string(journal).unwrap(), done.code)
}

#[test]
fn the_journal_is_told_events_with_their_level_and_no_times_of_ours() {
    let folder = Folder::new();
    let (told, code) = in_the_journal(&folder, run(&folder, &endless(), &["--for", "1.2"]));
    assert_eq!(code, Some(0), "{told}");
    assert!(told.lines().any(|line| line.starts_with("<6>real time: ")), "{told}");
    assert!(!told.contains("00:01 main"), "how it goes once a second: {told}");
    let (told, code) = in_the_journal(&folder, run(&folder, "[[pipeline]]", &[]));
    assert_eq!(code, Some(3));
    assert!(
        told.starts_with("<3>nda: error: ") && told.lines().all(|line| line.starts_with("<3>")),
        "{told}"
    );
}

#[test]
fn a_log_is_written_with_dates_and_levels_while_people_see_what_they_always_see() {
    let folder = Folder::new();
    let log = folder.file("nda.log");
    let options = ["--for", "1.5", "--log", log.to_str().unwrap(), "--log-level", "debug"];
    let done = Running::start(run(&folder, &endless(), &options)).wait();
    done.ended_with(0);
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.lines().any(|line| line.contains("Z info    real time: ")), "{text}");
    assert!(text.lines().any(|line| line.contains("Z debug   main  ")), "{text}");
    assert!(done.stdout.lines().any(|line| line.starts_with("00:01 main  ")), "{done}");
}

#[test]
fn a_log_that_cannot_be_written_is_told_before_anything_plays() {
    let folder = Folder::new();
    let done = Running::start(run(&folder, &endless(), &["--log", "/no/folder/nda.log"])).wait();
    done.refused(5, &["/no/folder/nda.log", "try: name a file in a folder that you may write to"]);
}

fn unit() -> String {
    std::fs::read_to_string(tests::workspace::root().join("examples/nda.service")).unwrap()
}

#[test]
fn the_unit_of_the_examples_has_what_a_service_with_a_watchdog_needs() {
    let unit = unit();
    for needed in ["Type=notify", "WatchdogSec=", "User=", "LimitRTPRIO=", "ExecStart=", "KillMode=mixed"] {
        assert!(unit.lines().any(|line| line.starts_with(needed)), "{needed}");
    }
}

/// What systemd finds wrong with this unit; `None` where there is no systemd.
fn faults(unit: &str) -> Option<Vec<String>> {
    let folder = Folder::new();
    // The program that it names is there once it has been installed: another one that is there here.
    let (installed, here) = ("ExecStart=/usr/local/bin/nda ", std::env::current_exe().unwrap());
    assert!(unit.contains(installed));
    let file = folder.write("nda.service", &unit.replace(installed, &format!("ExecStart={here:?} ")));
    let done = match std::process::Command::new("systemd-analyze").arg("verify").arg(file).output() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return None,
        done => done.unwrap(),
    };
    // It reads units of the machine as well, which are not ours.
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    Some(told.lines().filter(|line| line.contains("nda.service")).map(str::to_owned).collect())
}

#[test]
fn the_unit_of_the_examples_is_one_that_systemd_understands() {
    let Some(found) = faults(&unit()) else {
        eprintln!("not shown: no systemd-analyze here");
        return;
    };
    assert_eq!(found, [""; 0]);
    let wrong = faults(&unit().replace("Type=notify", "Type=notifies")).unwrap();
    assert!(!wrong.is_empty(), "it is one that finds faults");
}

#[test]
fn a_pipeline_that_is_stopped_does_not_starve_the_watchdog() {
    let folder = Folder::new();
    let path = folder.file("notify");
    let manager = Manager::new(&path);
    let two = endless().replace("[[pipeline]]", "[[pipeline]]\nname = \"rx\"");
    let text = endless().replace("[[pipeline]]", "[[pipeline]]\nname = \"tx\"") + "\n" + &two;
    let mut command = run(&folder, &text, &[]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    let runtime = command.get_envs().find(|(name, _)| *name == "XDG_RUNTIME_DIR");
    let runtime = runtime.and_then(|(_, value)| value).expect("a folder of the test's own").to_owned();
    let running = Running::start(command);
    manager.hears("READY=1");
    for pipeline in ["tx", "rx"] {
        let run = running.pid().to_string();
        let mut stop = tests::nda::command(["ctl", "--run", run.as_str(), "stop", pipeline]);
        stop.env("XDG_RUNTIME_DIR", &runtime);
        let _ = Running::start(stop).wait_alone().1.ended_with(0);
        manager.is_told_from_now_on("WATCHDOG=1");
    }
    running.signal(Signal::TERM);
    manager.hears("STOPPING=1");
    let _ = running.wait().ended_with(0);
}
