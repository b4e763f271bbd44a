//! The supervisor against real processes that play the worker, well or badly. See [`fake`].
//!
//! Every wait here has a deadline; no test asserts that something was fast.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]
// Of the fake, not every test executable uses every part.
#![allow(dead_code)]

mod fake;

use fake::{Fake, LONG, PATIENT, SHORT, TAKEN, exists};
use host::chain::Chain;
use host::crash;
use host::error::{Error, Kind};
use host::level::Level;
use host::plugin::Plugin;
use host::plugin::spec::PluginSpec;
use host::plugin::worker::Worker;
use host::supervisor::{Because, Condition, Ending, Event, Limits, Spare, Spawner, Supervisor};
use rustix::process::Signal;
use shared::clock;
use shared::format::Format;
use shared::message::{LogSource, STATE_MAX};
use shared::ring::Waited;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Barrier, Mutex, PoisonError};
use std::thread;

fn supervisor(limits: Limits) -> (Supervisor, Receiver<Event>) {
    Supervisor::with_limits(limits).unwrap()
}

fn format() -> Format {
    Format::new(2, 64, 48_000).unwrap()
}

fn running(supervisor: &Supervisor, fake: &Fake) -> (Worker, shared::ring::HostEnd) {
    running_as(supervisor, &fake.spec())
}

fn running_as(supervisor: &Supervisor, spec: &PluginSpec) -> (Worker, shared::ring::HostEnd) {
    let worker = supervisor.spawn("gain", spec).unwrap();
    let (end, _) = worker.configure(format(), 8, &[]).unwrap();
    worker.start().unwrap();
    (worker, end)
}

/// Waits for something that has to happen.
#[track_caller]
fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + LONG;
    while !happened() {
        assert!(std::time::Instant::now() < end, "waited for {what}");
        thread::yield_now();
    }
}

/// Whether a process that is not ours has ended. Whoever inherits it reaps it; until then it is a zombie.
fn has_ended(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

/// The error of a worker that can't be spawned. It is gone by then, or at the latest with its supervisor.
fn refused(fake: &Fake, limits: Limits) -> Error {
    let (supervisor, events) = supervisor(limits);
    let error = supervisor.spawn("gain", &fake.spec()).unwrap_err();
    drop(supervisor);
    assert!(!fake.is_there("pid"));
    let died = events.iter().any(|event| matches!(event, Event::Died { .. }));
    assert!(!died, "whoever spawned it was told");
    error
}

#[track_caller]
fn assert_says(error: &Error, kind: Kind, words: &[&str]) {
    let said = error.to_string();
    assert_eq!(error.kind(), kind, "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[test]
fn a_worker_lives_from_hello_to_goodbye_and_leaves_nothing_behind() {
    let fake = Fake::new("good");
    let (supervisor, _events) = supervisor(PATIENT);
    let worker = supervisor.spawn("gain", &fake.spec()).unwrap();
    assert_eq!((worker.name(), worker.hello().python.as_str()), ("gain", "3.99.0"));
    assert_eq!(worker.loaded().name, "Fake");
    let (end, configured) = worker.configure(format(), 8, &[("gain".into(), "1".into())]).unwrap();
    assert_eq!((end.layout().slots(), configured.rate), (8, Some(48_000)));
    worker.start().unwrap();
    assert!(worker.set_parameter("gain", "0.5").unwrap());
    assert_eq!(worker.get_parameter("gain").unwrap(), "0.5");
    assert_eq!(worker.save_state().unwrap(), Some(vec![1, 2, 3]));
    worker.load_state(vec![1]).unwrap();
    worker.stop().unwrap();
    let (gone, pid) = (worker.gone(), worker.pid());
    assert!(!gone.load(Ordering::Relaxed));
    worker.shutdown().unwrap();
    assert!(gone.load(Ordering::Relaxed));
    assert!(!exists(pid));
}

#[test]
fn workers_of_several_callers_start_side_by_side() {
    let fakes: Vec<_> = (0..4).map(|_| Fake::new("good")).collect();
    let (supervisor, _events) = supervisor(PATIENT);
    let workers: Vec<Worker> = thread::scope(|scope| {
        let spawn = |fake: &Fake| supervisor.spawn("p", &fake.spec()).unwrap();
        let threads: Vec<_> = fakes.iter().map(|fake| scope.spawn(move || spawn(fake))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    drop(supervisor);
    assert!(fakes.iter().all(|fake| !fake.is_there("pid")));
    assert!(workers.iter().all(|worker| worker.gone().load(Ordering::Relaxed)));
}

#[test]
fn a_worker_dropped_without_a_word_is_killed() {
    let fake = Fake::new("good");
    let (supervisor, events) = supervisor(PATIENT);
    drop(running(&supervisor, &fake));
    drop(supervisor);
    assert!(!fake.is_there("pid"));
    assert!(!events.iter().any(|event| matches!(event, Event::Died { .. })), "its end was wanted");
}

#[test]
fn a_supervisor_that_goes_takes_also_a_worker_that_does_not_want_to() {
    let fake = Fake::new("does not go");
    let (supervisor, _events) = supervisor(PATIENT);
    let (worker, _end) = running(&supervisor, &fake);
    drop(supervisor);
    assert!(!fake.is_there("pid"));
    let error = worker.get_parameter("gain").unwrap_err();
    assert_says(&error, Kind::Worker, &["plugin gain", "did not need it any more"]);
}

#[test]
fn a_worker_that_does_not_go_is_killed_and_named() {
    let fake = Fake::new("does not go");
    let (supervisor, _events) = supervisor(Limits { shutdown: SHORT, ..PATIENT });
    let (worker, _end) = running(&supervisor, &fake);
    let error = worker.shutdown().unwrap_err();
    assert_says(&error, Kind::Plugin, &["plugin gain", "still stopping after 0.3 s"]);
    assert!(!fake.is_there("pid"));
}

#[test]
fn a_plugin_that_hangs_is_killed_and_the_error_says_what_it_was_doing() {
    let load = refused(&Fake::new("imports for ever"), Limits { load: SHORT, ..PATIENT });
    assert_says(&load, Kind::Plugin, &["plugin gain (", "plugin.py) ", "still importing after 0.3 s"]);

    let fake = Fake::new("initialises for ever");
    let (supervisor, _events) = supervisor(Limits { configure: SHORT, ..PATIENT });
    let worker = supervisor.spawn("gain", &fake.spec()).unwrap();
    let error = worker.configure(format(), 8, &[]).unwrap_err();
    assert_says(&error, Kind::Plugin, &["still initialising after 0.3 s"]);
    assert!(!fake.is_there("pid"));
    let again = worker.start().unwrap_err();
    assert_says(&again, Kind::Plugin, &["still initialising after 0.3 s"]);
}

#[test]
fn a_plugin_that_ends_its_process_is_told_with_its_last_words() {
    let error = refused(&Fake::new("exits with 3"), PATIENT);
    let words = ["plugin gain", "ended itself with exit code 3 (os._exit?) while loading", "last words"];
    assert_says(&error, Kind::Plugin, &words);
    let error = refused(&Fake::new("crashes"), PATIENT);
    assert_says(&error, Kind::Plugin, &["was killed by SIGSEGV (a crash in native code) while loading"]);
}

#[test]
fn a_worker_that_breaks_the_protocol_is_ended_and_named() {
    for (role, word) in [
        ("says garbage", "not understood"),
        ("says too much", "longer than"),
        ("answers before its hello", "no hello first"),
        ("answers what nobody asked", "which nobody made"),
        ("answers wrongly", "\"goodbye\" while loading"),
        ("says hello twice", "a second hello"),
        ("sends descriptors", "descriptors"),
        ("hangs up", "closed its control socket"),
        ("says an empty message", "closed its control socket"),
    ] {
        let error = refused(&Fake::new(role), PATIENT);
        let kind = if role == "answers before its hello" { Kind::Interpreter } else { Kind::Worker };
        assert_says(&error, kind, &["broke the protocol", word]);
    }
}

#[test]
fn a_worker_of_another_version_is_refused_with_both_versions() {
    let error = refused(&Fake::new("speaks another protocol"), PATIENT);
    let ours = format!("this host is version {} (protocol {})", env!("CARGO_PKG_VERSION"), shared::PROTOCOL);
    assert_says(&error, Kind::Worker, &["is version 0.9 (protocol 999)", &ours]);
}

#[test]
fn a_failure_of_the_plugin_names_it_with_its_traceback() {
    let fake = Fake::new("refuses to initialise");
    let (supervisor, _events) = supervisor(PATIENT);
    let worker = supervisor.spawn("gain", &fake.spec()).unwrap();
    let error = worker.configure(format(), 8, &[]).unwrap_err();
    let words = ["plugin gain (/", "failed while initialising: initialize() returned False\n", "line 7"];
    assert_says(&error, Kind::Plugin, &words);
    worker.shutdown().unwrap();
}

#[test]
fn a_missing_package_comes_with_a_guess_how_to_get_it() {
    let error = refused(&Fake::new("imports what is missing"), PATIENT);
    assert_says(&error, Kind::Plugin, &["failed while loading", "-m pip install scipy (a guess"]);
}

#[test]
fn a_death_while_it_runs_is_an_event_and_frees_a_waiting_audio_thread() {
    let fake = Fake::new("crashes when set");
    let (supervisor, events) = supervisor(PATIENT);
    let (worker, mut end) = running(&supervisor, &fake);
    let seq = end.publish(|samples| samples.fill(0.0)).unwrap();
    let deadline = clock::now_ns() + u64::try_from(LONG.as_nanos()).unwrap();
    let gone = worker.gone();
    thread::scope(|scope| {
        let audio = scope.spawn(|| end.wait(seq, deadline, &gone));
        let error = worker.set_parameter("gain", "1").unwrap_err();
        assert_says(&error, Kind::Plugin, &["was killed by SIGSEGV (a crash in native code) while setting"]);
        assert_eq!(audio.join().unwrap(), Waited::GivenUp);
    });
    assert!(clock::now_ns() < deadline && gone.load(Ordering::Relaxed));
    let died = events.iter().find_map(|event| match event {
        Event::Died { plugin, how } => Some((plugin, how)),
        _ => None,
    });
    let (plugin, how) = died.unwrap();
    assert_eq!(
        (&*plugin, how.to_string().as_str()),
        ("gain", "was killed by SIGSEGV (a crash in native code)")
    );
}

#[test]
fn a_death_has_what_was_printed_before_and_the_last_block_that_failed() {
    let fake = Fake::new("prints, fails a block and crashes when set");
    let (supervisor, _events) = supervisor(PATIENT);
    let (worker, _end) = running(&supervisor, &fake);
    worker.set_parameter("gain", "1").unwrap_err();
    let death = worker.wait_death(LONG).unwrap();
    for line in [(LogSource::Stderr, "to be read"), (LogSource::Worker, "of its own")] {
        let line = (line.0, line.1.to_owned());
        assert_eq!(death.log.iter().filter(|logged| **logged == line).count(), 1, "{:?}", death.log);
    }
    assert!(
        death.failure.starts_with("block 3 that failed: ValueError: boom\nTraceback"),
        "{}",
        death.failure
    );
    assert!(death.stderr.contains("Segmentation fault"), "{}", death.stderr);
    let fault = death.log.iter().find(|(_, line)| line.contains("Segmentation fault"));
    assert_eq!(fault, None, "what it wrote while it died is not told twice");
}

#[test]
fn a_kill_from_outside_is_told_to_whoever_asks_next() {
    let fake = Fake::new("good");
    let (supervisor, _events) = supervisor(PATIENT);
    let worker = supervisor.spawn("gain", &fake.spec()).unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(worker.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let error = worker.get_parameter("gain").unwrap_err();
    assert_says(&error, Kind::Worker, &["plugin gain", "was killed by SIGKILL"]);
    let error = worker.shutdown().unwrap_err();
    assert_says(&error, Kind::Worker, &["was killed by SIGKILL"]);
}

#[test]
fn the_children_of_a_worker_end_with_it() {
    let fake = Fake::new("leaves a child");
    let (supervisor, _events) = supervisor(PATIENT);
    let worker = supervisor.spawn("gain", &fake.spec()).unwrap();
    assert!(fake.is_there("child"));
    worker.shutdown().unwrap();
    let child = fake.pid("child").unwrap();
    until("the child to end", || has_ended(child));
}

#[test]
fn answers_find_whoever_asked_in_whatever_order_they_come() {
    let fake = Fake::new("answers in the wrong order");
    let (supervisor, _events) = supervisor(PATIENT);
    let worker = supervisor.spawn("gain", &fake.spec()).unwrap();
    let together = Barrier::new(2);
    let ask = || {
        together.wait();
        worker.get_parameter("x").unwrap()
    };
    let (a, b) = thread::scope(|scope| {
        let other = scope.spawn(ask);
        (ask(), other.join().unwrap())
    });
    let mut answers = [a, b];
    answers.sort();
    assert_eq!(answers, ["2", "3"]);
}

#[test]
fn callers_who_find_the_socket_full_wait_for_room_only_as_long_as_for_an_answer() {
    let fake = Fake::new("hears nothing any more");
    let (supervisor, _events) = supervisor(Limits { other: SHORT, ..PATIENT });
    let worker = supervisor.spawn("gain", &fake.spec()).unwrap();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let error = worker.load_state(vec![0; 60_000]).unwrap_err();
                assert_says(&error, Kind::Plugin, &["still restoring its state after 0.3 s"]);
            });
        }
    });
    drop(supervisor);
    assert!(!fake.is_there("pid"));
}

#[test]
fn a_value_too_long_for_a_message_is_refused_and_the_worker_lives_on() {
    let fake = Fake::new("good");
    let (supervisor, _events) = supervisor(PATIENT);
    let worker = supervisor.spawn("gain", &fake.spec()).unwrap();
    let error = worker.set_parameter("gain", &"x".repeat(70_000)).unwrap_err();
    assert_says(&error, Kind::Config, &["too long", "longer than 65536 bytes"]);
    assert!(worker.set_parameter("gain", "1").unwrap());
    worker.shutdown().unwrap();
}

/// A worker that gives its state without end, or claims that it is larger than memory, does not fill the host's.
#[test]
fn a_worker_whose_state_is_not_as_long_as_it_says_is_not_asked_again() {
    for (role, words) in [
        ("drips its state", "1 of 100 bytes at 0"),
        ("has an endless state", "3 of 18446744073709551615 bytes at 0"),
        ("has more state than it says", "3 of 2 bytes at 0"),
    ] {
        let fake = Fake::new(role);
        let (supervisor, _events) = supervisor(PATIENT);
        let worker = supervisor.spawn("gain", &fake.spec()).unwrap();
        let error = worker.save_state().unwrap_err();
        assert_says(&error, Kind::Worker, &["broke the protocol", words]);
        assert!(worker.get_parameter("gain").is_err());
    }
}

#[test]
fn a_worker_that_says_more_times_than_it_was_to_drive_blocks_is_not_asked_again() {
    let fake = Fake::new("good");
    let (supervisor, _events) = supervisor(PATIENT);
    let (worker, _end) = running(&supervisor, &fake);
    let error = worker.drive(3, std::time::Duration::ZERO).unwrap_err();
    assert_says(&error, Kind::Worker, &["driven"]);
    assert!(worker.get_parameter("gain").is_err());
}

#[test]
fn a_state_too_long_to_restore_is_refused_and_the_worker_lives_on() {
    let fake = Fake::new("good");
    let (supervisor, _events) = supervisor(PATIENT);
    let worker = supervisor.spawn("gain", &fake.spec()).unwrap();
    let error = worker.load_state(vec![0; STATE_MAX + 1]).unwrap_err();
    assert_says(&error, Kind::Config, &["a state of 16777217 bytes", "at most 16777216"]);
    worker.load_state(vec![0; 70_000]).unwrap();
    worker.shutdown().unwrap();
}

#[test]
fn a_flood_of_messages_or_text_is_cut_counted_and_does_not_keep_answers_away() {
    for role in ["floods with messages", "prints a lot"] {
        let (loud, quiet) = (Fake::new(role), Fake::new("good"));
        let (supervisor, events) = supervisor(PATIENT);
        let worker = supervisor.spawn("loud", &loud.spec()).unwrap();
        let other = supervisor.spawn("quiet", &quiet.spec()).unwrap();
        thread::scope(|scope| {
            let flood = scope.spawn(|| worker.get_parameter("x").unwrap());
            while !flood.is_finished() {
                other.get_parameter("x").unwrap();
            }
        });
        drop((worker, other, supervisor));
        let (mut logged, mut dropped) = (0, 0);
        for event in events {
            match event {
                Event::Log { text, .. } => {
                    assert!(text.len() < 5000, "{}", text.len());
                    logged += 1;
                }
                Event::Dropped { plugin, events, .. } => {
                    assert_eq!(&*plugin, "loud");
                    dropped += events;
                }
                other => panic!("{role}: {other:?}"),
            }
        }
        assert!(logged > 0 && dropped > 0, "{role}: {logged} logged, {dropped} dropped");
    }
}

#[test]
fn a_worker_inherits_nothing_of_its_host_but_its_socket_and_its_pipes() {
    let (supervisor, _events) = supervisor(PATIENT);
    let other = Fake::new("good");
    let (_worker, _end) = running(&supervisor, &other);
    let fake = Fake::script("for fd in /proc/$$/fd/*; do readlink $fd; done > fds; exit 1");
    let _ = supervisor.spawn("gain", &fake.spec()).unwrap_err();
    let fds = fake.wrote("fds");
    assert_eq!(fds.matches("socket:").count(), 1, "{fds}");
    assert!(!fds.contains("memfd") && !fds.contains("anon_inode"), "{fds}");
}

#[test]
fn a_worker_is_told_who_its_host_is_and_to_use_one_thread() {
    let (supervisor, _events) = supervisor(PATIENT);
    let fake = Fake::script("env > environment; cut -d' ' -f5 /proc/self/stat > group; exit 1");
    let _ = supervisor.spawn("gain", &fake.spec()).unwrap_err();
    let environment = fake.wrote("environment");
    for line in [&format!("NDA_HOST_PID={}", std::process::id()), "OMP_NUM_THREADS=1"] {
        assert!(environment.lines().any(|l| l == line), "{line} is not in: {environment}");
    }
    assert_eq!(fake.wrote("group"), fake.wrote("pid"), "a process group of its own");
}

#[test]
fn an_interpreter_that_refuses_says_what_it_is_and_what_to_do() {
    for (script, words) in [
        ("echo warning >&2; echo 3.9.18 >&2; exit 73", &["is Python 3.9.18, which is too old: 3.10"][..]),
        ("echo pypy 3.10.14 >&2; exit 74", &["is pypy 3.10.14, not CPython"]),
        ("echo 3.13.1 >&2; exit 75", &["free-threaded Python 3.13.1"]),
        ("echo \"No module named 'numpy'\" >&2; exit 76", &["has no numpy", "/python -m pip install numpy"]),
        ("echo libopenblas is broken >&2; exit 76", &["can't import its numpy", "libopenblas is broken"]),
        ("echo undefined symbol >&2; exit 70", &["could not load the worker module", "undefined symbol"]),
        ("echo 'Unknown option: -I' >&2; exit 2", &["older than 3.4"]),
        ("exit 0", &["is no Python that works", "exit code 0"]),
        ("echo oops >&2; kill -SEGV $$", &["is no Python that works", "SIGSEGV", "oops"]),
    ] {
        assert_says(&refused(&Fake::script(script), PATIENT), Kind::Interpreter, words);
    }
}

#[test]
fn an_interpreter_that_never_says_hello_is_given_up() {
    for fake in [Fake::new("never says hello"), Fake::script("exec sleep 1000")] {
        let error = refused(&fake, Limits { hello: SHORT, ..PATIENT });
        assert_says(&error, Kind::Interpreter, &["did not become a worker", "no hello after 0.3 s"]);
    }
}

#[test]
fn an_interpreter_that_can_not_be_run_is_named() {
    let fake = Fake::script("");
    let folder = tempfile::tempdir().unwrap();
    let python = fake::executable(folder.path(), "python", "#!/nowhere/interpreter\n");
    let (supervisor, _events) = supervisor(PATIENT);
    let error = supervisor.spawn("gain", &PluginSpec { python: Some(python), ..fake.spec() }).unwrap_err();
    assert_says(&error, Kind::Interpreter, &["/python can't be run"]);
}

#[test]
fn a_plugin_file_that_is_none_is_refused_before_anything_is_started() {
    let fake = Fake::new("good");
    let (supervisor, _events) = supervisor(PATIENT);
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("plugin.txt");
    std::fs::write(&text, "").unwrap();
    for (file, word) in [
        (folder.path().join("missing.py"), "does not exist"),
        (folder.path().to_owned(), "is a folder"),
        (text, "is not a .py file"),
    ] {
        let error = supervisor.spawn("gain", &PluginSpec { file, ..fake.spec() }).unwrap_err();
        assert_says(&error, Kind::Config, &[word]);
    }
}

/// A worker without a plugin that plays this role.
fn warm(spawner: &Spawner, fake: &Fake) -> Spare {
    spawner.warm(&fake.spec().python.unwrap(), Path::new("no module is loaded by a fake")).unwrap()
}

fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

fn signal(pid: u32, signal: Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Keeps the supervisor's thread busy until the sender is dropped: it runs what is to be run when a worker is gone.
fn occupy(supervisor: &Supervisor, fake: &Fake) -> Sender<()> {
    let worker = supervisor.spawn("other", &fake.spec()).unwrap();
    let (release, released) = channel::<()>();
    let (occupied, is_occupied) = channel();
    worker.on_gone(Box::new(move || {
        occupied.send(()).unwrap();
        let _ = released.recv_timeout(LONG);
    }));
    kill(worker.pid());
    is_occupied.recv_timeout(LONG).unwrap();
    release
}

const HUNG: Because = Because::Hung { for_ms: 250, stopped: false };

#[test]
fn a_thread_that_borrows_no_supervisor_starts_workers_until_it_leaves() {
    let fake = Fake::new("good");
    let (supervisor, _events) = supervisor(PATIENT);
    let spawner = supervisor.spawner();
    let spec = fake.spec();
    let worker = thread::spawn(move || spawner.spawn("gain", &spec).unwrap()).join().unwrap();
    worker.shutdown().unwrap();
    let spawner = supervisor.spawner();
    drop(supervisor);
    let error = spawner.spawn("gain", &fake.spec()).unwrap_err();
    assert_says(&error, Kind::System, &["the supervisor can't start gain"]);
}

#[test]
fn a_spare_becomes_the_worker_of_whatever_plugin_needs_it_under_its_name() {
    let fake = Fake::new("crashes when set");
    let (supervisor, events) = supervisor(PATIENT);
    let spare = warm(&supervisor.spawner(), &fake);
    assert!(!spare.is_dead());
    assert_eq!(spare.python(), fake.spec().python.unwrap());
    let pid = spare.pid();
    let worker = spare.load("gain", &fake.spec()).unwrap();
    assert_eq!((worker.name(), worker.pid(), worker.loaded().name.as_str()), ("gain", pid, "Fake"));
    let (_end, _) = worker.configure(format(), 8, &[]).unwrap();
    worker.start().unwrap();
    let error = worker.set_parameter("gain", "1").unwrap_err();
    assert_says(&error, Kind::Plugin, &["plugin gain (/", "SIGSEGV"]);
    let died = events.iter().find_map(|event| match event {
        Event::Died { plugin, .. } => Some(plugin),
        _ => None,
    });
    assert_eq!(&*died.unwrap(), "gain");
}

#[test]
fn a_spare_that_dies_says_so_and_one_that_is_dropped_is_killed() {
    let (dead, dropped) = (Fake::new("good"), Fake::new("good"));
    let (supervisor, events) = supervisor(PATIENT);
    let spare = warm(&supervisor.spawner(), &dead);
    kill(spare.pid());
    until("its death to be noticed", || spare.is_dead());
    let error = spare.load("gain", &dead.spec()).unwrap_err();
    assert_says(&error, Kind::Worker, &["plugin gain", "was killed by SIGKILL"]);
    drop(warm(&supervisor.spawner(), &dropped));
    until("the spare to go", || !dropped.is_there("pid"));
    drop(supervisor);
    assert_eq!(events.iter().find(|event| matches!(event, Event::Died { .. })), None);
}

#[test]
fn an_interpreter_that_is_no_worker_is_no_spare_either() {
    let fake = Fake::script("echo 3.9.18 >&2; exit 73");
    let (supervisor, _events) = supervisor(PATIENT);
    let error = supervisor.spawner().warm(&fake.spec().python.unwrap(), Path::new("m")).unwrap_err();
    assert_says(&error, Kind::Interpreter, &["is Python 3.9.18, which is too old"]);
}

#[test]
fn whoever_replaces_a_worker_is_told_when_it_is_gone_and_later_how_it_ended() {
    let fake = Fake::new("good");
    let (supervisor, _events) = supervisor(PATIENT);
    let (worker, _end) = running(&supervisor, &fake);
    assert_eq!(worker.death(), None);
    let (tell, told) = channel();
    let (gone, again) = (worker.gone(), tell.clone());
    worker.on_gone(Box::new(move || {
        let thread = thread::current().name().map(str::to_owned);
        tell.send((thread, gone.load(Ordering::Acquire))).unwrap();
    }));
    kill(worker.pid());
    let (thread, gone) = told.recv_timeout(LONG).unwrap();
    assert_eq!((thread.as_deref(), gone), (Some("nda-supervisor"), true));
    let death = worker.wait_death(LONG).unwrap();
    assert_eq!(death.to_string(), "was killed by SIGKILL (from outside: out of memory, or by hand)");
    assert_eq!(worker.death(), Some(death));
    worker.on_gone(Box::new(move || again.send((None, true)).unwrap()));
    assert_eq!(told.try_recv(), Ok((None, true)), "at once: it is gone already");
}

#[test]
fn a_death_that_somebody_else_tells_of_is_no_event() {
    let (silent, loud) = (Fake::new("good"), Fake::new("good"));
    let (supervisor, events) = supervisor(PATIENT);
    let (quiet, _end) = running(&supervisor, &silent);
    quiet.tells_no_death();
    let (other, _other_end) = running(&supervisor, &loud);
    for worker in [&quiet, &other] {
        kill(worker.pid());
        worker.wait_death(LONG).unwrap();
    }
    let told = Event::Told { level: Level::Info, plugin: "gain".into(), text: "plugin gain is back".into() };
    supervisor.teller().tell(told.clone());
    drop(supervisor);
    let events: Vec<_> = events.iter().collect();
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Died { .. })).count(), 1, "{events:?}");
    assert!(events.contains(&told));
    assert_eq!(told.to_string(), "plugin gain is back");
}

#[test]
fn a_worker_that_is_abandoned_is_gone_at_once_and_dies_when_it_has_written_down_its_stacks() {
    let fake = Fake::new("writes down its stacks");
    let (supervisor, _events) = supervisor(PATIENT);
    // Not each one is in time on a busy machine.
    let death = (0..100).find_map(|_| {
        let (worker, mut end) = running(&supervisor, &fake);
        let seq = end.publish(|samples| samples.fill(0.0)).unwrap();
        let deadline = clock::now_ns() + u64::try_from(LONG.as_nanos()).unwrap();
        let gone = worker.gone();
        thread::scope(|scope| {
            let audio = scope.spawn(|| end.wait(seq, deadline, &gone));
            worker.abandon(HUNG);
            assert!(gone.load(Ordering::Relaxed));
            assert_eq!(audio.join().unwrap(), Waited::GivenUp);
        });
        assert!(clock::now_ns() < deadline);
        let death = worker.wait_death(LONG).unwrap();
        assert_eq!((death.because.as_ref(), death.ending), (Some(&HUNG), Ending::Signal(9)));
        assert!(!exists(worker.pid()));
        death.stderr.contains("line 7 in process").then_some(death)
    });
    let death = death.expect("stacks, at least once");
    assert_eq!(death.to_string(), "hung and was ended by the host: no answer for 250 ms");
}

#[test]
fn a_worker_that_is_abandoned_and_dropped_is_still_heard_out() {
    let fake = Fake::new("writes down its stacks");
    let (supervisor, events) = supervisor(PATIENT);
    for _ in 0..100 {
        let (worker, _end) = running(&supervisor, &fake);
        worker.abandon(HUNG);
        drop(worker);
        let died = events.iter().find_map(|event| match event {
            Event::Died { how, .. } => Some(how),
            _ => None,
        });
        if died.unwrap().stderr.contains("line 7 in process") {
            return;
        }
    }
    panic!("never any stacks");
}

#[test]
fn a_worker_that_never_writes_down_its_stacks_dies_all_the_same() {
    let fake = Fake::new("never writes down its stacks");
    let (supervisor, _events) = supervisor(PATIENT);
    let (worker, _end) = running(&supervisor, &fake);
    worker.abandon(HUNG);
    let death = worker.wait_death(LONG).unwrap();
    assert_eq!((death.because.as_ref(), death.ending), (Some(&HUNG), Ending::Signal(9)));
}

#[test]
fn to_abandon_a_worker_waits_for_nobody() {
    let (fake, other) = (Fake::new("writes down its stacks"), Fake::new("good"));
    let (supervisor, _events) = supervisor(PATIENT);
    let (worker, _end) = running(&supervisor, &fake);
    let (tell, told) = channel();
    worker.on_gone(Box::new(move || tell.send(()).unwrap()));
    let occupied = occupy(&supervisor, &other);
    worker.abandon(HUNG);
    assert!(worker.gone().load(Ordering::Relaxed));
    assert!(told.try_recv().is_err(), "it is the supervisor's thread that tells");
    drop(occupied);
    told.recv_timeout(LONG).unwrap();
}

#[test]
fn a_worker_that_a_signal_has_stopped_is_killed_and_named_so() {
    let fake = Fake::new("writes down its stacks");
    let (supervisor, _events) = supervisor(PATIENT);
    let (worker, _end) = running(&supervisor, &fake);
    until("it to wait for a message", || worker.condition() == Condition::Sleeping);
    signal(worker.pid(), Signal::STOP);
    until("it to stop", || worker.condition() == Condition::Stopped);
    worker.abandon(HUNG);
    let death = worker.wait_death(LONG).unwrap();
    assert_eq!(death.because, Some(Because::Hung { for_ms: 250, stopped: true }));
    assert_eq!(death.kind(), Kind::Worker);
    assert_eq!(worker.condition(), Condition::Gone);
}

#[test]
fn a_worker_that_begins_to_end_is_known_before_its_supervisor_hears_of_it() {
    let (fake, other) = (Fake::new("good"), Fake::new("good"));
    let (supervisor, _events) = supervisor(PATIENT);
    let (worker, _end) = running(&supervisor, &fake);
    assert!(!worker.is_exiting() && !worker.gone().load(Ordering::Relaxed));
    let occupied = occupy(&supervisor, &other);
    kill(worker.pid());
    until("it to end", || worker.condition() == Condition::Exiting);
    assert!(!worker.gone().load(Ordering::Relaxed));
    worker.abandon(HUNG);
    assert!(worker.is_exiting() && worker.gone().load(Ordering::Relaxed));
    assert_eq!(worker.death(), None);
    drop(occupied);
    let death = worker.wait_death(LONG).unwrap();
    assert_eq!((death.because.as_ref(), death.ending), (None, Ending::Signal(9)), "its end was its own");
}

/// How a worker ended that does too much when a parameter is set.
fn ended_for(role: &str) -> Because {
    let fake = Fake::new(role);
    let (supervisor, _events) = supervisor(PATIENT);
    let spec = PluginSpec { memory_max: Some(TAKEN / 2), ..fake.spec() };
    let worker = supervisor.spawn("gain", &spec).unwrap();
    thread::scope(|scope| {
        let asked = scope.spawn(|| worker.set_parameter("x", "1"));
        let death = worker.wait_death(LONG).unwrap();
        let _ = asked.join().unwrap();
        death.because.clone().unwrap()
    })
}

#[test]
fn a_worker_that_takes_too_much_memory_is_ended_also_if_it_is_a_child_or_an_orphan_that_does() {
    for role in ["takes memory", "has a child that takes memory", "has an orphan that takes memory"] {
        match ended_for(role) {
            Because::Memory { used, limit } => {
                assert!(used > limit && limit == TAKEN / 2, "{used} of {limit}")
            }
            other => panic!("{role}: {other:?}"),
        }
    }
}

#[test]
fn a_worker_that_starts_processes_without_end_is_ended_with_all_of_them() {
    match ended_for("starts many processes") {
        Because::Processes { count, limit: 64 } => assert!(count > 64, "{count}"),
        other => panic!("{other:?}"),
    }
}

/// As a fork bomb does: whoever has started two others ends.
#[test]
fn processes_without_end_are_counted_also_when_their_parents_have_gone() {
    for orphans in ["starts many orphans", "starts many orphans with no environment"] {
        match ended_for(orphans) {
            Because::Processes { count, limit: 64 } => assert!(count > 64, "{count}"),
            other => panic!("{other:?}"),
        }
    }
}

/// The nice values of the threads of a process, the main thread's first.
fn nice(pid: u32) -> (i32, Vec<i32>) {
    let of =
        |thread: i32| rustix::process::getpriority_process(rustix::process::Pid::from_raw(thread)).unwrap();
    let all = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let threads = all.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let main = i32::try_from(pid).unwrap();
    (of(main), threads.filter(|thread| *thread != main).map(of).collect())
}

/// Whoever takes all processor time does so alone, or has not enough to be told of.
static ALL_CORES: Mutex<()> = Mutex::new(());

#[test]
fn a_worker_that_takes_all_cores_is_told_of_once_and_starves_nobody_else() {
    let _alone = ALL_CORES.lock().unwrap_or_else(PoisonError::into_inner);
    let fake = Fake::new("takes all cores");
    let (supervisor, events) = supervisor(PATIENT);
    let (worker, _end) = running(&supervisor, &fake);
    let (main, _) = nice(worker.pid());
    worker.set_parameter("x", "1").unwrap();
    let is_told = |event: Event| match event {
        Event::Told { plugin, text, .. } => Some((plugin, text)),
        _ => None,
    };
    let next = || events.recv_timeout(LONG).expect("it to be told");
    let (plugin, text) = std::iter::repeat_with(next).find_map(is_told).unwrap();
    assert_eq!(&*plugin, "gain");
    assert!(text.contains("processor cores beside its blocks for two seconds"), "{text}");
    assert_eq!(nice(worker.pid()).0, main, "the one for the blocks");
    assert!(nice(worker.pid()).1.iter().all(|nice| *nice == 19), "{:?}", nice(worker.pid()));
    drop(worker);
    drop(supervisor);
    assert_eq!(events.iter().find_map(is_told), None);
}

/// Where all that there is to have is less than a core.
#[test]
fn processes_that_never_rest_are_told_of_and_starve_nobody_on_a_single_core_either() {
    let _alone = ALL_CORES.lock().unwrap_or_else(PoisonError::into_inner);
    for role in ["has children that never rest", "has orphans that never rest"] {
        let fake = Fake::new(role);
        let (supervisor, events) = supervisor(PATIENT);
        let allowed = rustix::thread::sched_getaffinity(None).unwrap();
        let core = (0..1024).find(|core| allowed.is_set(*core)).unwrap();
        let spec = PluginSpec { cores: vec![core], ..fake.spec() };
        let (worker, _end) = running_as(&supervisor, &spec);
        let (main, _) = nice(worker.pid());
        worker.set_parameter("x", "1").unwrap();
        let is_told = |event: Event| match event {
            Event::Told { text, .. } => Some(text),
            _ => None,
        };
        let next = || events.recv_timeout(LONG).expect("it to be told");
        let text = std::iter::repeat_with(next).find_map(is_told).unwrap();
        assert!(text.starts_with("plugin gain took ") && text.contains("beside its blocks"), "{text}");
        assert_eq!(nice(worker.pid()).0, main, "the one for the blocks");
        let child = fake.pid("child").unwrap();
        until("its children to have the lowest priority", || nice(child).0 == 19);
        drop(worker);
        until("its children to end", || !exists(child));
    }
}

#[test]
fn the_report_of_a_worker_that_lied_has_the_blocks_that_it_was_given() {
    let fake = Fake::new("answers its second block before it is asked");
    let (supervisor, _events) = supervisor(PATIENT);
    let reports = tempfile::tempdir().unwrap();
    supervisor.report_to(reports.path());
    let spec = PluginSpec { restart: false, ..fake.spec() };
    let (plugin, remote) = Plugin::load(&supervisor, spec, format()).unwrap();
    let mut chain = Chain::new(format(), vec![Box::new(remote)]).unwrap();
    let mut samples = vec![0.25; format().samples()];
    let mut kept = Vec::new();
    until("a report", || {
        chain.process_within(&mut samples, 60_000_000_000);
        kept = crash::list(reports.path());
        !kept.is_empty()
    });
    assert!(kept[0].path.join("in.wav").exists());
    plugin.shutdown().unwrap_err();
}

#[test]
fn late_blocks_of_a_worker_that_hangs_are_not_blamed_on_its_end() {
    // A fake worker answers questions, but no block.
    let fake = Fake::new("writes down its stacks");
    let (supervisor, _events) = supervisor(PATIENT);
    let spec = PluginSpec { restart: false, hang_after: Some(SHORT), ..fake.spec() };
    let (mut plugin, remote) = Plugin::load(&supervisor, spec, format()).unwrap();
    let mut chain = Chain::new(format(), vec![Box::new(remote)]).unwrap();
    let mut samples = vec![0.25; format().samples()];
    until("the end of it", || {
        chain.process(&mut samples);
        plugin.status().causes.total() >= 8
    });
    // Those that were handed over, and with them those that could not be.
    let causes = plugin.status().causes;
    assert!(causes.hung >= 8 && causes.hung == causes.total(), "{causes}");
    plugin.shutdown().unwrap_err();
}
