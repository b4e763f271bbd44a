//! The supervisor with the real worker under a real Python: what a plugin does wrong comes back in words.
//!
//! Needs the worker module (`cargo build -p worker`) and a Python with numpy: `$NDA_TEST_PYTHON`, or `.venv` at
//! the root of the workspace, or python3 on the path.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

use host::error::{Error, Kind, Result};
use host::plugin::spec::PluginSpec;
use host::plugin::worker::Worker;
use host::supervisor::{Because, Event, Limits, Supervisor};
use shared::clock;
use shared::format::Format;
use shared::message::{DRIVE_MAX, LogSource};
use shared::ring::{HostEnd, Scrub, Status, Waited};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
const PATIENT: Limits =
    Limits { hello: LONG, load: LONG, configure: LONG, start: LONG, other: LONG, shutdown: LONG };
const SHORT: Duration = Duration::from_secs(1);

/// The start and the end of a processor whose methods a test writes in between.
const HEAD: &str = "\
from base_plugin import *
class P(AudioProcessorPlugin):
    def get_info(self): return PluginInfo('Test', '1', 'me', 'test', PluginType.PROCESSOR)
    def initialize(self): return True
    def start(self): return True
    def stop(self): pass
    def shutdown(self): pass
    def process_audio(self, buffer): return True
    def set_parameter(self, key, value): pass
    def get_parameter(self, key): return ''
    def get_sample_rate(self): return 48000
    def set_sample_rate(self, rate): pass
    def get_channel_count(self): return 2
    def set_channel_count(self, channels): pass
";
const TAIL: &str = "\ndef create_plugin(): return P()\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn python() -> PathBuf {
    let named = std::env::var_os("NDA_TEST_PYTHON").map(PathBuf::from);
    let venv = root().join(".venv/bin/python");
    named.unwrap_or_else(|| if venv.exists() { venv } else { "python3".into() })
}

/// A supervisor and a folder with one plugin file.
struct Stage {
    supervisor: Supervisor,
    events: Receiver<Event>,
    folder: tempfile::TempDir,
}

impl Stage {
    fn new(limits: Limits) -> Self {
        let (supervisor, events) = Supervisor::with_limits(limits).unwrap();
        Self { supervisor, events, folder: tempfile::tempdir().unwrap() }
    }

    fn load(&self, code: &str) -> Result<Worker> {
        let file = self.folder.path().join("the_plugin.py");
        std::fs::write(&file, code).unwrap();
        self.supervisor.spawn("test", &PluginSpec { python: Some(python()), ..PluginSpec::new(file) })
    }

    fn load_methods(&self, methods: &str) -> Worker {
        self.load(&format!("{HEAD}{methods}{TAIL}")).unwrap()
    }

    /// All events, when everything is over.
    fn events(self) -> Vec<Event> {
        drop(self.supervisor);
        self.events.iter().collect()
    }
}

fn refused(limits: Limits, code: &str) -> Error {
    Stage::new(limits).load(code).unwrap_err()
}

fn configure(worker: &Worker) -> HostEnd {
    worker.configure(Format::new(2, 64, 48_000).unwrap(), 8, &[]).unwrap().0
}

/// Has the worker process one block of ones; what came back, `None` if nothing.
fn process(worker: &Worker, end: &mut HostEnd) -> Option<(Status, Vec<f32>)> {
    let seq = end.publish(|samples| samples.fill(1.0)).unwrap();
    end.notify();
    let deadline = clock::now_ns() + u64::try_from(LONG.as_nanos()).unwrap();
    if end.wait(seq, deadline, &worker.gone()) != Waited::Answered {
        assert!(clock::now_ns() < deadline, "nobody said that it was gone");
        return None;
    }
    let mut out = vec![0.0; 128];
    let taken = end.take(seq, &mut out, Scrub::Nothing).unwrap();
    Some((taken.status, out))
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
fn a_plugin_processes_stops_starts_again_and_goes() {
    let stage = Stage::new(PATIENT);
    let gain = root().join("plugins_py/examples/simple_gain.py");
    let spec = PluginSpec { python: Some(python()), ..PluginSpec::new(gain) };
    let worker = stage.supervisor.spawn("gain", &spec).unwrap();
    let mut end = configure(&worker);
    assert!(worker.set_parameter("gain", "0.5").unwrap());
    for _ in 0..2 {
        worker.start().unwrap();
        assert_eq!(process(&worker, &mut end), Some((Status::Good, vec![0.5; 128])));
        worker.stop().unwrap();
    }
    let mut again = configure(&worker);
    worker.start().unwrap();
    assert_eq!(process(&worker, &mut again), Some((Status::Good, vec![0.5; 128])));
    assert_eq!(worker.get_parameter("gain").unwrap().parse::<f32>().unwrap(), 0.5);
    worker.shutdown().unwrap();
    assert!(!stage.events().iter().any(|event| matches!(event, Event::Died { .. })));
}

#[test]
fn a_plugin_that_can_not_be_imported_is_told_with_file_and_line() {
    let error = refused(PATIENT, "import numpy\nimport surely_missing_thing.part\n");
    let words =
        ["the_plugin.py", "failed while loading", "line 2", "-m pip install surely_missing_thing (a guess"];
    assert_says(&error, Kind::Plugin, &words);
    let error = refused(PATIENT, "x = 1\ndef f(:\n");
    assert_says(&error, Kind::Plugin, &["the_plugin.py", "failed while loading", "line 2", "SyntaxError"]);
    let error = refused(PATIENT, "x = 1\n");
    assert_says(&error, Kind::Plugin, &["the_plugin.py", "create_plugin"]);
}

#[test]
fn a_plugin_that_ends_or_crashes_its_process_while_it_is_imported_is_told() {
    let error = refused(PATIENT, "import os, sys\nsys.stderr.write('bye\\n')\nos._exit(3)\n");
    assert_says(&error, Kind::Plugin, &["ended itself with exit code 3 (os._exit?) while loading", "bye"]);
    let error = refused(PATIENT, "import ctypes\nctypes.string_at(0)\n");
    assert_says(&error, Kind::Plugin, &["was killed by SIGSEGV", "while loading", "line 2"]);
}

#[test]
fn a_plugin_that_hangs_is_told_with_the_line_where_it_does() {
    let error = refused(Limits { load: SHORT, ..PATIENT }, "import threading\n\nthreading.Event().wait()\n");
    assert_says(&error, Kind::Plugin, &["still importing after 1 s", "the_plugin.py\", line 3"]);
    let stage = Stage::new(Limits { configure: SHORT, ..PATIENT });
    let worker = stage.load_methods("\n    def initialize(self):\n        while True: pass\n");
    let error = worker.configure(Format::new(2, 64, 48_000).unwrap(), 8, &[]).unwrap_err();
    assert_says(&error, Kind::Plugin, &["still initialising after 1 s", "in initialize"]);
}

#[test]
fn a_plugin_that_refuses_or_raises_is_told_at_each_stage() {
    let stage = Stage::new(PATIENT);
    let worker = stage.load_methods("\n    def initialize(self): return False\n");
    let error = worker.configure(Format::new(2, 64, 48_000).unwrap(), 8, &[]).unwrap_err();
    assert_says(&error, Kind::Plugin, &["plugin test (/", "failed while initialising"]);
    worker.shutdown().unwrap();

    let worker = stage.load_methods("\n    def start(self): raise RuntimeError('no key')\n");
    let _end = configure(&worker);
    let error = worker.start().unwrap_err();
    assert_says(&error, Kind::Plugin, &["failed while starting", "no key", "in start"]);
    worker.shutdown().unwrap();
}

#[test]
fn a_crash_in_a_block_is_an_event_with_the_stack_however_its_owner_reacts() {
    let crash = "\n    def process_audio(self, b):\n        import ctypes; ctypes.string_at(0)\n";
    let shut_down = |worker: Worker| {
        assert_says(&worker.shutdown().unwrap_err(), Kind::Plugin, &["was killed by SIGSEGV"]);
    };
    for react in [shut_down as fn(Worker), drop] {
        let stage = Stage::new(PATIENT);
        let worker = stage.load_methods(crash);
        let mut end = configure(&worker);
        worker.start().unwrap();
        assert_eq!(process(&worker, &mut end), None);
        react(worker);
        let died = stage.events().into_iter().find_map(|event| match event {
            Event::Died { how, .. } => Some(how),
            _ => None,
        });
        let how = died.unwrap();
        assert!(how.to_string().contains("SIGSEGV"), "{how}");
        assert!(how.stderr.contains("in process_audio"), "{}", how.stderr);
    }
}

#[test]
fn a_failed_block_and_what_a_plugin_prints_are_events() {
    let stage = Stage::new(PATIENT);
    let worker = stage.load_methods(
        "\n    def process_audio(self, b):\n        print('in a block')\n        raise ValueError('not today')\n",
    );
    let mut end = configure(&worker);
    worker.start().unwrap();
    assert_eq!(process(&worker, &mut end).unwrap().0, Status::Failed);
    worker.shutdown().unwrap();
    let events = stage.events();
    assert!(events.iter().any(|event| matches!(event,
        Event::BlockFailed { failure, count: 1, .. } if failure.message.contains("not today"))));
    assert!(events.iter().any(|event| matches!(event,
        Event::Log { source: LogSource::Stdout, text, .. } if text == "in a block")));
}

#[test]
fn a_plugin_that_prints_megabytes_is_loaded_all_the_same() {
    let stage = Stage::new(PATIENT);
    let worker = stage.load_methods("\nfor i in range(100000): print('x' * 40)\n").shutdown();
    worker.unwrap();
    let events = stage.events();
    assert!(events.iter().any(|event| matches!(event, Event::Dropped { .. })));
}

#[test]
fn a_plugin_that_will_not_stop_is_killed() {
    let stage = Stage::new(Limits { shutdown: SHORT, ..PATIENT });
    let worker = stage.load_methods("\n    def shutdown(self):\n        while True: pass\n");
    let _end = configure(&worker);
    let pid = worker.pid();
    let error = worker.shutdown().unwrap_err();
    assert_says(&error, Kind::Plugin, &["still stopping after 1 s", "in shutdown"]);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_python_without_numpy_is_refused_with_the_command_that_mends_it() {
    let stage = Stage::new(PATIENT);
    let venv = stage.folder.path().join("a venv");
    let made = Command::new(python()).args(["-m", "venv", "--without-pip"]).arg(&venv).status().unwrap();
    assert!(made.success());
    let file = stage.folder.path().join("the_plugin.py");
    std::fs::write(&file, "").unwrap();
    let bare = venv.join("bin/python");
    let spec = PluginSpec { python: Some(bare.clone()), ..PluginSpec::new(file) };
    let error = stage.supervisor.spawn("test", &spec).unwrap_err();
    let remedy = format!("'{}' -m pip install numpy", bare.display());
    assert_says(&error, Kind::Interpreter, &["has no numpy", &remedy]);
}

#[test]
fn a_plugin_that_is_abandoned_leaves_the_stacks_of_all_its_threads() {
    let stage = Stage::new(PATIENT);
    let hang = "
    def process_audio(self, buffer):
        import threading
        threading.Thread(target=self.in_a_thread, daemon=True).start()
        print('hangs')
        while True: pass
    def in_a_thread(self):
        import threading
        threading.Event().wait()
";
    // Not each one is in time on a busy machine.
    let stacks = (0..30).find_map(|_| {
        let worker = stage.load_methods(hang);
        let mut end = configure(&worker);
        worker.start().unwrap();
        end.publish(|samples| samples.fill(1.0)).unwrap();
        end.notify();
        let hangs = |event: &Event| matches!(event, Event::Log { text, .. } if text == "hangs");
        stage.events.iter().find(hangs).unwrap();
        worker.abandon(Because::Hung { for_ms: 100, stopped: false });
        let stderr = worker.wait_death(LONG).unwrap().stderr.clone();
        let is_whole = ["in process_audio", "in in_a_thread"].iter().all(|line| stderr.contains(line));
        is_whole.then_some(stderr)
    });
    assert!(stacks.is_some());
}

#[test]
fn a_plugin_that_drives_itself_gets_its_own_blocks_and_says_how_long_each_took() {
    let methods = "
    blocks = 0
    def process_audio(self, buffer):
        self.blocks += 1
        buffer.data[:] += 1.0
        return bool(buffer.data[0][0] < 3.0)
    def get_parameter(self, key): return str(self.blocks)
";
    let stage = Stage::new(PATIENT);
    let worker = stage.load_methods(methods);
    let mut end = configure(&worker);
    let refused = worker.drive(1, Duration::ZERO).unwrap_err();
    assert!(refused.kind() == Kind::Plugin && refused.to_string().contains("doesn't run"), "{refused}");
    worker.start().unwrap();
    let times = worker.drive(100, Duration::ZERO).unwrap();
    assert!(times.len() == 100 && !times.contains(&0), "{times:?}");
    assert_eq!(worker.drive(4, Duration::from_millis(1)).unwrap().len(), 4);
    assert_eq!(worker.drive(DRIVE_MAX + 1, Duration::ZERO).unwrap_err().kind(), Kind::Config);
    assert_eq!(worker.get_parameter("").unwrap(), "104");
    // The worker's own end has not moved: the host's next block is the next one.
    assert_eq!(process(&worker, &mut end), Some((Status::Good, vec![2.0; 128])));
    worker.shutdown().unwrap();
}
