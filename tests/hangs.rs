//! Plugins that give no answer: told from slow ones, looked into, replaced. And a host that was itself asleep.

use host::plugin::spec::{PluginSpec, Standby};
use host::telemetry::Counts;
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tests::audio::noises;
use tests::chain::{AMPLE_NS, Rack, SHORT_NS, same_block};
use tests::config::{config, run};
use tests::gate::Gate;
use tests::plugins::{processor, tells, wait_told};
use tests::scene::{Scene, signal, tunable};
use tests::until::until;
use tests::wav::Wav;
use tests::workspace::Folder;

/// Hangs in its fourth block, if nobody has done so before.
fn hangs(folder: &Folder, how: &str) -> PathBuf {
    let body = format!(
        "
if self.n == 4:
    try:
        os.close(os.open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'hung'), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        pass
    else:
        {how}"
    );
    tunable(folder, "stuck", &body, "")
}

fn scene(spec: PluginSpec) -> Scene {
    Scene::new(Rack::new(1, 512, 48_000), vec![PluginSpec { adapt: false, ..spec }])
}

/// The one report in this folder: its path, and its stacks.
fn the_report(scene: &mut Scene, reports: &Path) -> (PathBuf, String) {
    scene.wait_told(&["report: "]);
    let found: Vec<_> = fs::read_dir(reports).expect("reports").flatten().map(|entry| entry.path()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    let stacks = fs::read_to_string(found[0].join("traceback.txt")).expect("stacks");
    (found[0].clone(), stacks)
}

/// The number of the line in the plugin that holds this text.
fn line_of(file: &Path, text: &str) -> usize {
    let source = fs::read_to_string(file).expect("the plugin");
    1 + source.lines().position(|line| line.trim() == text).expect("the line")
}

#[test]
fn a_plugin_that_hangs_is_replaced_and_the_report_names_the_line() {
    for how in [
        "while True: pass",
        "__import__('threading').Event().wait()",
        // Native code that never lets the interpreter go. The signal that asks for the stack ends a pause.
        "libc = __import__('ctypes').PyDLL(None)\n        while True: libc.pause()",
    ] {
        let folder = Folder::new();
        let file = hangs(&folder, how);
        let after = Some(Duration::from_millis(100));
        let mut scene = scene(PluginSpec { hang_after: after, ..same_block(&file) });
        let reports = folder.file("reports");
        scene.rack.report_to(&reports);
        scene.play_answered(3);
        let first = scene.plugins[0].worker().pid();
        scene.play_until_another(0, first, SHORT_NS);
        scene.play_answered(3);
        let found = scene.assert_in_place(0, &[-1.0, 1.0]);
        assert_eq!(found[found.len() - 3..], [-1.0; 3], "{how}");
        let told =
            scene.wait_told(&["plugin stuck hung and was ended by the host: no answer for ", "took over"]);
        let (_, stacks) = the_report(&mut scene, &reports);
        let line = line_of(&file, how.lines().last().unwrap().trim());
        let named = format!("line {line} in process_audio");
        assert!(stacks.contains(&named), "{how}: {named} is not in {stacks}\n{told}");
        assert!(stacks.contains("stuck.py"), "{stacks}");
        // Whether it looped or waited, nobody has measured.
        let causes = scene.plugins[0].status().causes;
        assert_eq!((causes.code, causes.waiting, causes.dead), (0, 0, 0), "{how}: {causes}");
        assert!(causes.hung > 0, "{how}: {causes}");
        tests::leftovers::assert_all_end(&[first]);
    }
}

#[test]
fn the_report_of_a_hang_has_the_stacks_of_the_plugins_other_threads_too() {
    let folder = Folder::new();
    let beside = "threading.Thread(target=lambda: threading.Event().wait(), daemon=True).start()";
    let how = format!("import threading\n        {beside}\n        while True: pass");
    let file = hangs(&folder, &how);
    let spec = PluginSpec { restart: false, ..same_block(&file) };
    let mut scene = scene(PluginSpec { hang_after: Some(Duration::from_millis(100)), ..spec });
    let reports = folder.file("reports");
    scene.rack.report_to(&reports);
    scene.play_answered(3);
    scene.play_until("it to be found out", SHORT_NS, |scene| scene.plugins[0].is_dead());
    let (_, stacks) = the_report(&mut scene, &reports);
    for (line, function) in [(beside, "<lambda>"), ("while True: pass", "process_audio")] {
        let named = format!("line {} in {function}", line_of(&file, line));
        assert!(stacks.contains(&named), "{named} is not in {stacks}");
    }
}

fn milliseconds_told(told: &str) -> u64 {
    let (_, rest) = told.split_once("no answer for ").expect("a hang");
    rest.split_once(" ms").expect("in milliseconds").0.parse().expect("a number")
}

#[test]
fn nobody_is_called_hung_before_the_limit_that_was_set() {
    for limit in [100, 700] {
        let folder = Folder::new();
        let hang_after = Some(Duration::from_millis(limit));
        let mut scene = scene(PluginSpec { hang_after, ..same_block(&hangs(&folder, "while True: pass")) });
        scene.play_answered(3);
        let first = scene.plugins[0].worker().pid();
        scene.play_until_another(0, first, SHORT_NS);
        let told = scene.wait_told(&["no answer for "]);
        assert!(milliseconds_told(&told) >= limit, "{told}");
    }
}

#[test]
fn a_stall_shorter_than_the_limit_is_late_and_nothing_else() {
    let folder = Folder::new();
    let gate = Gate::new(&folder);
    let file = hangs(&folder, &gate.wait());
    let mut scene = scene(PluginSpec { hang_after: Some(Duration::from_secs(30)), ..same_block(&file) });
    scene.play_answered(3);
    let first = scene.plugins[0].worker().pid();
    scene.play_until("the stall", SHORT_NS, |_| folder.file("hung").exists());
    let (good, lost) = (scene.plugins[0].status().counts.good, scene.plugins[0].status().counts.lost());
    scene.play_until("blocks to be lost", SHORT_NS, |scene| {
        scene.plugins[0].status().counts.lost() > lost + 50
    });
    gate.open();
    scene.play_until("good blocks again", SHORT_NS, |scene| scene.plugins[0].status().counts.good > good);
    let status = scene.plugins[0].status();
    assert_eq!((status.pid, status.deaths), (first, 0));
    assert!(status.counts.late > 0 && status.counts.behind > 0, "{:?}", status.counts);
    let owed = |counts: &Counts| counts.late + counts.behind;
    // A block that was late is looked into when it has come.
    scene.play_until("each to have a cause", SHORT_NS, |scene| {
        let status = scene.plugins[0].status();
        status.causes.total() == owed(&status.counts)
    });
    assert!(!scene.assert_in_place(0, &[-1.0, 1.0]).is_empty());
}

#[test]
fn a_plugin_that_saves_its_state_for_longer_than_the_limit_does_not_hang() {
    let folder = Folder::new();
    let methods = "
def save_state(self):
    __import__('time').sleep(0.5)
    open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'saved'), 'w').close()
    return b'state'

def load_state(self, state):
    pass";
    let file = tunable(&folder, "saver", "", methods);
    let spec = PluginSpec { snapshot_every: Duration::from_millis(1), ..same_block(&file) };
    let mut scene = scene(spec);
    let first = scene.plugins[0].worker().pid();
    scene.play_until("its state to be saved", SHORT_NS, |_| folder.file("saved").exists());
    let good = scene.plugins[0].status().counts.good;
    scene.play_until("good blocks again", SHORT_NS, |scene| scene.plugins[0].status().counts.good > good);
    let status = scene.plugins[0].status();
    assert_eq!((status.pid, status.deaths), (first, 0));
}

#[test]
fn a_worker_that_a_signal_has_stopped_is_named_as_such_and_replaced() {
    for standby in [Standby::Twin, Standby::None] {
        let folder = Folder::new();
        let file = tunable(&folder, "stopped", "", "");
        let mut scene = scene(PluginSpec { standby, ..same_block(&file) });
        scene.play_answered(3);
        let first = scene.plugins[0].worker().pid();
        signal(first, Signal::STOP);
        scene.play_until_another(0, first, SHORT_NS);
        let told =
            scene.wait_told(&["plugin stopped was stopped by a signal (SIGSTOP?) and ended by the host"]);
        assert_eq!(told.matches("ended by the host").count(), 1, "{told}");
        scene.play_until("its cause to be known", AMPLE_NS, |scene| {
            scene.plugins[0].status().causes.stopped > 0
        });
        let causes = scene.plugins[0].status().causes;
        assert_eq!((causes.code, causes.waiting, causes.gil), (0, 0, 0), "{causes}");
        tests::leftovers::assert_all_end(&[first]);
    }
}

#[test]
fn a_worker_that_is_not_asked_does_not_hang() {
    let folder = Folder::new();
    let hang_after = Some(Duration::from_millis(50));
    let file = tunable(&folder, "idle", "", "");
    let mut scene = scene(PluginSpec { hang_after, ..same_block(&file) });
    scene.play_answered(3);
    let first = scene.plugins[0].worker().pid();
    // A stream that is paused for ten times the limit.
    pass(Duration::from_millis(500));
    scene.play_answered(3);
    scene.settle(&folder);
    let status = scene.plugins[0].status();
    assert_eq!((status.pid, status.deaths, status.counts.lost()), (first, 0, 0));
}

/// Time that passes is what such a test is about.
fn pass(time: Duration) {
    let began = Instant::now();
    until("time to pass", || began.elapsed() >= time);
}

#[test]
fn a_host_that_was_stopped_does_not_blame_its_workers() {
    let folder = Folder::new();
    Wav::new(noises(1, 48_000)).write(&folder.file("in.wav"));
    // It tells of its blocks before the pause, and again of those after it.
    let later = "
if os.path.exists(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'woken')):
    self.later = getattr(self, 'later', 0) + 1
    if self.later == 100:
        open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'later'), 'w').close()
return True";
    let file = processor(&folder, "blameless", &format!("{}{later}", tells("playing", 20)));
    let plugin =
        |mode: &str| format!("{{ file = {file:?}, mode = {mode:?}, hang_ms = 250, standby = \"twin\" }}");
    let text = format!(
        "[[pipeline]]\nblock = 256\nsource = {{ file = \"in.wav\", loop = true }}\nsink = \"virtual\"
         plugins = [{}, {}]",
        plugin("same-block"),
        plugin("pipelined")
    );
    let running = run(&config(&folder, &text), &[]);
    wait_told(&folder, "playing");
    running.signal(Signal::STOP);
    pass(Duration::from_secs(2));
    running.signal(Signal::CONT);
    folder.write("woken", "");
    until("blocks after the pause", || folder.file("later").exists());
    running.signal(Signal::INT);
    let done = running.wait();
    let report = done.json();
    for plugin in report["pipelines"][0]["plugins"].as_array().expect("plugins") {
        assert_eq!(plugin["deaths"], 0, "{done}");
    }
    assert!(!folder.file("reports").exists(), "{done}");
}
