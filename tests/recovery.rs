//! A worker dies and another one takes its place by itself: where each frame stands, what the new one knows, how
//! often that is tried.

use host::crash;
use host::plugin::spec::{Lost, PluginSpec, Standby};
use rustix::process::Signal;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tests::audio::largest_step;
use tests::chain::{AMPLE_NS, Rack, SHORT_NS, pipelined, same_block};
use tests::gate::Gate;
use tests::plugins::{processor, processor_with, sink, source};
use tests::scene::{STEP, Scene, kill, signal, tunable, wait_for_twin};
use tests::until::until;
use tests::workspace::{Folder, python};

const BLOCK: usize = 512;
const STANDBYS: [Standby; 3] = [Standby::Twin, Standby::Spare, Standby::None];

fn rack() -> Rack {
    Rack::new(1, 512, 48_000)
}

/// Two signals that differ by 2 at most, joined in 96 frames.
fn assert_smooth(heard: &[f32], what: &str) {
    let bound = STEP + 2.0 * std::f32::consts::PI / (2.0 * 96.0);
    assert!(largest_step(heard) <= bound, "{what}: a step of {}", largest_step(heard));
}

fn pid(scene: &Scene, plugin: usize) -> u32 {
    scene.plugins[plugin].worker().pid()
}

/// Kills the worker and plays until another one has taken its place; that one's process number.
fn replace(scene: &mut Scene, plugin: usize) -> u32 {
    let old = pid(scene, plugin);
    kill(&scene.plugins[plugin]);
    scene.play_until_replaced(plugin, old, AMPLE_NS);
    pid(scene, plugin)
}

#[test]
fn a_killed_plugin_comes_back_by_itself_with_every_frame_in_its_place() {
    for mode in [same_block, pipelined] {
        for standby in STANDBYS {
            for (lost, factor) in [(Lost::Bypass, 1.0), (Lost::Mute, 0.0)] {
                let folder = Folder::new();
                let spec = mode(&tunable(&folder, "over", "", ""));
                let mut scene = Scene::new(rack(), vec![PluginSpec { standby, lost, ..spec }]);
                scene.play_answered(5);
                let first = pid(&scene, 0);
                let second = replace(&mut scene, 0);
                scene.play_answered(5);
                let what = format!("{standby:?} {lost:?}");
                assert_ne!(first, second, "{what}");
                let latency =
                    if mode(folder.path()).mode == same_block(folder.path()).mode { 0 } else { BLOCK };
                let found = scene.assert_in_place(latency, &[-1.0, factor]);
                assert_eq!(found[found.len() - 5..], [-1.0; 5], "{what}: the new one is heard");
                assert_smooth(&scene.heard, &what);
                let status = scene.plugins[0].status();
                // Of a pipelined plugin the first block is the silence before all.
                let replaced = found.iter().skip(latency / BLOCK).filter(|found| **found == factor).count();
                assert_eq!(status.counts.lost(), replaced as u64, "{what}: {:?}", status.counts);
                assert_eq!((status.deaths, status.dead), (1, None), "{what}");
                let told = scene.wait_told(&["plugin over was killed by SIGKILL", "took over after"]);
                assert_eq!(told.matches("was killed by").count(), 1, "{told}");
            }
        }
    }
}

#[test]
fn an_armed_twin_takes_over_at_the_next_block() {
    for mode in [same_block, pipelined] {
        let folder = Folder::new();
        let spec = mode(&tunable(&folder, "over", "", ""));
        let mut scene = Scene::new(rack(), vec![PluginSpec { standby: Standby::Twin, ..spec }]);
        scene.play_answered(5);
        let twin = wait_for_twin(&scene, 0, &folder);
        kill(&scene.plugins[0]);
        scene.play();
        until("recovery to know", || pid(&scene, 0) == twin);
        scene.play_answered(5);
        let counts = scene.plugins[0].status().counts;
        // Pipelined, the dead one still owed a block, or had answered it.
        let most = if mode(folder.path()).mode == same_block(folder.path()).mode { 0 } else { 1 };
        assert!(counts.lost() <= most, "{counts:?}");
        let told = scene.wait_told(&["its twin took over"]);
        assert!(told.contains("SIGKILL"), "{told}");
    }
}

/// Another worker of this one's host that has numpy and waits for what comes.
fn warm_spare(worker: u32) -> Option<u32> {
    let token = |pid: u32| -> Option<String> {
        let all = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let mut all = all.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        all.find_map(|entry| entry.strip_prefix("NDA_WORKER=").map(ToOwned::to_owned))
    };
    let host_of = |pid: u32| token(pid).and_then(|token| Some(token.rsplit_once('-')?.0.to_owned()));
    let host = host_of(worker)?;
    let pids = fs::read_dir("/proc").expect("processes").flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let text = |pid: u32, file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    pids.find(|&pid| {
        let is_its = pid != worker && host_of(pid).as_ref() == Some(&host);
        is_its && text(pid, "maps").contains("_multiarray_umath") && text(pid, "stat").contains(") S ")
    })
}

#[test]
fn a_spare_takes_over_if_there_is_one_and_a_new_worker_if_there_is_none() {
    let folder = Folder::new();
    let file = tunable(&folder, "over", "", "");
    let mut scene = Scene::new(rack(), vec![same_block(&file)]);
    scene.play_answered(1);
    // A spare whose worker is up may still be on its way to the thread that keeps it.
    for deaths in 1..=3 {
        // Long enough for a death not to be an early one.
        scene.play_answered(101);
        until("a spare to be warm", || warm_spare(pid(&scene, 0)).is_some());
        scene.settle(&folder);
        replace(&mut scene, 0);
        scene.wait_told(&["took over"]);
        until("the news", || scene.told().matches("took over").count() == deaths);
        if scene.told().contains("a spare took over") {
            return;
        }
    }
    panic!("no spare took over: {}", scene.told());
}

#[test]
fn a_spare_that_a_signal_has_stopped_is_not_waited_for() {
    let folder = Folder::new();
    let file = tunable(&folder, "over", "", "");
    let mut scene = Scene::new(rack(), vec![same_block(&file)]);
    scene.play_answered(101);
    let mut spare = None;
    until("a spare to be warm", || {
        spare = warm_spare(pid(&scene, 0));
        spare.is_some()
    });
    scene.settle(&folder);
    let spare = spare.expect("it was waited for");
    signal(spare, Signal::STOP);
    // Where others have the processors it stops later.
    let stat = || fs::read_to_string(format!("/proc/{spare}/stat")).expect("it lives");
    until("it to be stopped", || stat().contains(") T "));
    replace(&mut scene, 0);
    let told = scene.wait_told(&["a new worker took over"]);
    assert!(!told.contains("could not be started again"), "{told}");
    tests::leftovers::assert_all_end(&[spare]);
}

#[test]
fn a_dead_plugin_is_held_until_it_is_back() {
    let folder = Folder::new();
    let spec = same_block(&tunable(&folder, "over", "", ""));
    let mut scene = Scene::new(rack(), vec![PluginSpec { lost: Lost::Hold, ..spec }]);
    scene.play_answered(5);
    replace(&mut scene, 0);
    scene.play_answered(3);
    assert_smooth(&scene.heard, "held");
    let end = scene.heard.len();
    let sine = tests::audio::slow_sine(end, STEP);
    assert!((end - 2 * BLOCK..end).all(|at| scene.heard[at] == -sine[at]));
}

#[test]
fn each_of_two_plugins_in_a_section_comes_back_in_its_place() {
    let folder = Folder::new();
    // Blocks of half a second, so that the section's thread is in time on any machine.
    let mut scene = Scene::new(
        Rack::new(1, 4096, 8_000),
        vec![
            pipelined(&tunable(&folder, "first", "", "")),
            pipelined(&tunable(&folder, "second", "", "")).set("gain", "-0.5"),
        ],
    );
    scene.play_answered(3);
    for plugin in [0, 1] {
        replace(&mut scene, plugin);
        scene.play_answered(3);
    }
    // With both, without the first, without the second; the section as a whole was not in time.
    let found = scene.assert_in_place(4096, &[0.5, -0.5, -1.0, 1.0]);
    assert!(found.contains(&0.5), "{found:?}");
    scene.play_until("both to be heard", AMPLE_NS, |scene| {
        scene.assert_in_place(4096, &[0.5, -0.5, -1.0, 1.0]).last() == Some(&0.5)
    });
    for plugin in [0, 1] {
        let status = scene.plugins[plugin].status();
        assert_eq!((status.deaths, status.dead), (1, None), "{}", status.name);
    }
}

#[test]
fn a_source_comes_back_and_is_silent_meanwhile() {
    for mode in [same_block, pipelined] {
        let folder = Folder::new();
        let file = source(&folder, "bright", "buffer.data[:] = 0.5\nreturn True");
        let mut scene = Scene::new(rack(), vec![mode(&file)]);
        (0..5).for_each(|_| scene.play());
        replace(&mut scene, 0);
        (0..5).for_each(|_| scene.play());
        // From where it is killed on: what a source begins with is its own business.
        assert_smooth(&scene.heard[5 * BLOCK - 1..], "source");
        // No frame of what went in: it is negative where the sine is.
        assert!(scene.heard.iter().all(|sample| (-1e-6..=0.500_001).contains(sample)));
        scene.play_until("the source to be heard", AMPLE_NS, |scene| scene.heard.last() == Some(&0.5));
        assert_eq!(scene.plugins[0].status().deaths, 1);
    }
}

#[test]
fn a_sink_comes_back_and_what_is_heard_never_changes() {
    for mode in [same_block, pipelined] {
        let folder = Folder::new();
        let file = sink(&folder, "eater", "buffer.data[:] = 9\nreturn True");
        let mut scene = Scene::new(rack(), vec![mode(&file)]);
        (0..5).for_each(|_| scene.play());
        replace(&mut scene, 0);
        (0..5).for_each(|_| scene.play());
        assert_eq!(scene.heard, tests::audio::slow_sine(scene.heard.len(), STEP));
        let status = scene.plugins[0].status();
        assert_eq!((status.deaths, status.dead), (1, None));
    }
}

#[test]
fn parameters_set_before_and_while_it_played_are_there_after_the_replacement() {
    for standby in STANDBYS {
        let folder = Folder::new();
        let spec =
            same_block(&tunable(&folder, "tuned", "", "")).set("gain", "-0.5").set("kept", "as it was");
        let mut scene = Scene::new(rack(), vec![PluginSpec { standby, ..spec }]);
        scene.play_answered(3);
        scene.plugins[0].set_parameter("gain", "-0.25").unwrap();
        scene.plugins[0].set_parameter("late", "ä b").unwrap();
        scene.play_answered(3);
        if standby == Standby::Twin {
            wait_for_twin(&scene, 0, &folder);
            // The twin has been made: it is given this one by itself.
            scene.plugins[0].set_parameter("late", "later").unwrap();
        }
        replace(&mut scene, 0);
        scene.play_answered(3);
        let found = scene.assert_in_place(0, &[-0.5, -0.25, 1.0]);
        assert_eq!((found[0], found[found.len() - 3..].to_vec()), (-0.5, vec![-0.25; 3]), "{standby:?}");
        let worker = scene.plugins[0].worker();
        let late = if standby == Standby::Twin { "later" } else { "ä b" };
        assert_eq!(worker.get_parameter("late").unwrap(), late);
        assert_eq!(worker.get_parameter("kept").unwrap(), "as it was");
    }
}

/// A `start` that waits at the gate in every worker but the first.
fn waits_from_the_second_on(gate: &Gate) -> String {
    format!(
        "
def start(self):
    here = os.path.dirname(os.path.abspath(__file__))
    try:
        os.close(os.open(os.path.join(here, 'one'), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        open(os.path.join(here, 'waits'), 'w').close()
        open({:?}, 'rb', 0).read(1)
    return True",
        gate.path()
    )
}

#[test]
fn parameters_set_while_the_twin_is_being_made_reach_it_too() {
    let folder = Folder::new();
    let gate = Gate::new(&folder);
    let file = tunable(&folder, "tuned", "", &waits_from_the_second_on(&gate));
    let spec = same_block(&file).set("gain", "-0.5");
    let mut scene = Scene::new(rack(), vec![PluginSpec { standby: Standby::Twin, ..spec }]);
    scene.play_answered(3);
    until("the twin to start", || folder.file("waits").exists());
    scene.plugins[0].set_parameter("gain", "-0.25").unwrap();
    (0..9).for_each(|_| gate.open());
    wait_for_twin(&scene, 0, &folder);
    replace(&mut scene, 0);
    scene.play_answered(3);
    let found = scene.assert_in_place(0, &[-0.5, -0.25, 1.0]);
    assert_eq!(found[found.len() - 3..], [-0.25; 3]);
}

#[test]
fn a_twin_that_refuses_what_the_one_that_plays_accepted_does_not_stand_by() {
    let folder = Folder::new();
    let file = tunable(&folder, "tuned", "", &refuses_from_the_second_on());
    let mut scene = Scene::new(rack(), vec![PluginSpec { standby: Standby::Twin, ..same_block(&file) }]);
    scene.play_answered(3);
    let twin = wait_for_twin(&scene, 0, &folder);
    assert!(scene.plugins[0].set_parameter("choosy", "1").unwrap());
    tests::leftovers::assert_all_end(&[twin]);
}

/// A plugin whose worker has been killed; the next one waits at its gate. `more` comes at the end of its file.
fn away(folder: &Folder, standby: Standby, more: &str) -> (Gate, Scene) {
    let gate = Gate::new(folder);
    let file = tunable(folder, "tuned", "", &waits_from_the_second_on(&gate));
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}\n{more}")).unwrap();
    let spec = same_block(&file).set("gain", "-0.5");
    let mut scene = Scene::new(rack(), vec![PluginSpec { standby, ..spec }]);
    scene.play_answered(3);
    kill(&scene.plugins[0]);
    scene.play_until("its end is known", AMPLE_NS, |scene| scene.plugins[0].is_dead());
    (gate, scene)
}

#[test]
fn a_parameter_set_while_nothing_plays_is_remembered_for_the_worker_that_comes_next() {
    for standby in [Standby::None, Standby::Spare] {
        let folder = Folder::new();
        let (gate, mut scene) = away(&folder, standby, "");
        let dead = pid(&scene, 0);
        assert!(scene.plugins[0].set_parameter("gain", "-0.25").unwrap());
        until("the next one to be made", || folder.file("waits").exists());
        assert!(scene.plugins[0].set_parameter("late", "also while the next one is made").unwrap());
        gate.open();
        scene.play_until_replaced(0, dead, AMPLE_NS);
        scene.play_answered(3);
        let found = scene.assert_in_place(0, &[-0.5, -0.25, 1.0]);
        assert_eq!(found[found.len() - 3..], [-0.25; 3], "{standby:?}");
        let late = scene.plugins[0].worker().get_parameter("late").unwrap();
        assert_eq!(late, "also while the next one is made");
    }
}

#[test]
fn a_parameter_set_while_nothing_plays_that_the_next_one_refuses_is_told_and_as_before() {
    let refuses = "
def refusing(take):
    def set_parameter(self, key, value):
        if value == 'odd':
            raise ValueError(value)
        return value != 'bad' and take(self, key, value)
    return set_parameter

Made.set_parameter = refusing(Made.set_parameter)
";
    for value in ["bad", "odd"] {
        let folder = Folder::new();
        let (gate, mut scene) = away(&folder, Standby::None, refuses);
        let dead = pid(&scene, 0);
        until("the next one to be made", || folder.file("waits").exists());
        assert!(scene.plugins[0].set_parameter("gain", value).unwrap());
        gate.open();
        scene.play_until_replaced(0, dead, AMPLE_NS);
        scene.play_answered(3);
        let found = scene.assert_in_place(0, &[-0.5, 1.0]);
        assert_eq!(found[found.len() - 3..], [-0.5; 3], "{value}");
        scene.wait_told(&["does not take `gain`, set while it was away"]);
    }
}

#[test]
fn a_twin_is_stopped_in_order_when_its_plugin_is() {
    let folder = Folder::new();
    let leaves = "
def stop(self):
    here = os.path.dirname(os.path.abspath(__file__))
    open(os.path.join(here, f'stopped-{os.getpid()}'), 'w').close()

def shutdown(self):
    here = os.path.dirname(os.path.abspath(__file__))
    open(os.path.join(here, f'shut-{os.getpid()}'), 'w').close()";
    let file = tunable(&folder, "tuned", "", leaves);
    let mut scene = Scene::new(rack(), vec![PluginSpec { standby: Standby::Twin, ..same_block(&file) }]);
    scene.play_answered(3);
    let twin = wait_for_twin(&scene, 0, &folder);
    let playing = pid(&scene, 0);
    scene.plugins.remove(0).shutdown().unwrap();
    tests::leftovers::assert_all_end(&[twin, playing]);
    for pid in [playing, twin] {
        let files = [format!("stopped-{pid}"), format!("shut-{pid}")];
        assert!(files.iter().all(|name| folder.file(name).exists()), "of the twin {twin}, none of {files:?}");
    }
}

/// Accepts the parameter `choosy` in the first worker only.
fn refuses_from_the_second_on() -> String {
    "
def start(self):
    here = os.path.dirname(os.path.abspath(__file__))
    try:
        os.close(os.open(os.path.join(here, 'one'), os.O_CREAT | os.O_EXCL))
        self.is_first = True
    except FileExistsError:
        self.is_first = False
    take = self.set_parameter
    self.set_parameter = lambda key, value: (key != 'choosy' or self.is_first) and take(key, value)
    return True"
        .to_owned()
}

/// Dies in each first block as long as there is a file `sick` beside it.
const SICK: &str = "
if os.path.exists(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'sick')):
    os._exit(3)";

/// Plays until the plugin, sick from its first block on, has been given up.
fn given_up(folder: &Folder) -> Scene {
    folder.write("sick", "");
    let spec = same_block(&tunable(folder, "sick", SICK, ""));
    let mut scene = Scene::new(rack(), vec![PluginSpec { standby: Standby::None, ..spec }]);
    scene.play_until("it to be given up", AMPLE_NS, |scene| {
        scene.plugins[0].status().dead.is_some_and(|dead| dead.contains("not started again"))
    });
    let told = scene.wait_told(&[
        "until its file changes or nda ctl restarts it: it failed 3 times in a row before 100 good blocks",
    ]);
    let starts = told.lines().filter(|line| line.contains("it is started again in 100 ms")).count();
    assert_eq!((scene.plugins[0].status().deaths, starts), (3, 1), "{told}");
    scene
}

fn assert_bypassed_then_back(scene: &mut Scene) {
    let before = pid(scene, 0);
    scene.play_until_replaced(0, before, AMPLE_NS);
    scene.play_answered(3);
    let found = scene.assert_in_place(0, &[-1.0, 1.0]);
    let blocks = found.len();
    assert_eq!((found[0], found[blocks - 3..].to_vec()), (1.0, vec![-1.0; 3]));
    assert_eq!(scene.plugins[0].status().dead, None);
}

#[test]
fn three_early_deaths_are_enough_until_the_user_restarts_it() {
    let folder = Folder::new();
    let mut scene = given_up(&folder);
    (0..50).for_each(|_| scene.play());
    fs::remove_file(folder.file("sick")).unwrap();
    scene.plugins[0].restart();
    assert_bypassed_then_back(&mut scene);
    let told = scene.wait_told(&["plugin sick is back: a new worker took over"]);
    assert_eq!(told.matches("not started again").count(), 1, "{told}");
}

#[test]
fn three_early_deaths_are_enough_until_the_file_changes() {
    let folder = Folder::new();
    let mut scene = given_up(&folder);
    (0..50).for_each(|_| scene.play());
    tunable(&folder, "sick", "", "");
    assert_bypassed_then_back(&mut scene);
    scene.wait_told(&["the file of plugin sick has changed"]);
}

#[test]
fn what_is_not_to_be_restarted_stays_dead_until_the_user_says_so() {
    let folder = Folder::new();
    let spec = same_block(&tunable(&folder, "once", "", ""));
    let spec = PluginSpec { restart: false, standby: Standby::Twin, ..spec };
    let mut scene = Scene::new(rack(), vec![spec]);
    scene.play_answered(3);
    assert_eq!(scene.plugins[0].status().standby, "none");
    kill(&scene.plugins[0]);
    scene.wait_told(&[
        "plugin once was killed by SIGKILL",
        "not started again until nda ctl restarts it: restart = false",
    ]);
    tunable(&folder, "once", "pass", "");
    (0..50).for_each(|_| scene.play());
    scene.settle(&folder);
    assert_eq!(scene.plugins[0].status().counts.gone, 50);
    scene.plugins[0].restart();
    let before = pid(&scene, 0);
    scene.play_until_replaced(0, before, AMPLE_NS);
}

#[test]
fn a_restart_by_the_user_replaces_a_healthy_worker_and_is_no_death() {
    for standby in STANDBYS {
        let folder = Folder::new();
        let spec = same_block(&tunable(&folder, "over", "", "")).set("gain", "-0.5");
        let mut scene = Scene::new(rack(), vec![PluginSpec { standby, ..spec }]);
        scene.play_answered(3);
        let first = pid(&scene, 0);
        scene.plugins[0].restart();
        scene.play_until_replaced(0, first, AMPLE_NS);
        scene.play_answered(3);
        let found = scene.assert_in_place(0, &[-0.5, 1.0]);
        assert_eq!(found[found.len() - 3..], [-0.5; 3]);
        assert_eq!(scene.plugins[0].status().deaths, 0);
        tests::leftovers::assert_all_end(&[first]);
        let told = scene.wait_told(&["plugin over is back"]);
        assert!(!told.contains("killed"), "{told}");
    }
}

#[test]
fn a_restart_by_the_user_plays_the_file_as_it_is_now_whatever_its_twin_was_loaded_from() {
    let folder = Folder::new();
    let spec = same_block(&tunable(&folder, "over", "", ""));
    let mut scene = Scene::new(rack(), vec![PluginSpec { standby: Standby::Twin, ..spec }]);
    scene.play_answered(3);
    let (first, twin) = (pid(&scene, 0), wait_for_twin(&scene, 0, &folder));
    scene.plugins[0].restart();
    scene.play_until_replaced(0, first, AMPLE_NS);
    assert_eq!(pid(&scene, 0), twin, "of the same file");

    let stale = wait_for_twin(&scene, 0, &folder);
    tunable(&folder, "over", "buffer.data *= 0.5", "");
    scene.plugins[0].restart();
    scene.play_until_replaced(0, twin, AMPLE_NS);
    scene.play_answered(3);
    let found = scene.assert_in_place(0, &[-1.0, -0.5, 1.0]);
    assert_eq!(found[found.len() - 3..], [-0.5; 3]);
    tests::leftovers::assert_all_end(&[first, twin, stale]);
    let told = scene.wait_told(&["has changed since the worker that stands by", "a new worker took over"]);
    assert!(!told.contains("killed"), "{told}");
    assert_eq!(scene.plugins[0].status().deaths, 0);
    // Who stands by from now on is of the new one.
    let next = wait_for_twin(&scene, 0, &folder);
    assert_eq!(replace(&mut scene, 0), next);
    scene.play_answered(1);
    assert_eq!(scene.assert_in_place(0, &[-1.0, -0.5, 1.0]).last(), Some(&-0.5));
}

/// A processor whose state says what it did, and does what `state` says of it.
fn keeper(folder: &Folder, process: &str, save: &str, load: &str) -> std::path::PathBuf {
    let lines = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let methods = format!(
        "
def note(self, file, text):
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), file), 'a') as file:
        file.write(text + '\\n')

def has(self, file):
    return os.path.exists(os.path.join(os.path.dirname(os.path.abspath(__file__)), file))

def save_state(self):
{}
    self.note('saved', state)
    return state.encode()

def load_state(self, state):
    state = state.decode()
    self.note('loaded', state)
{}
    return True",
        lines(save),
        lines(load)
    );
    tunable(folder, "keeper", process, &methods)
}

fn lines_of(folder: &Folder, file: &str) -> Vec<String> {
    fs::read_to_string(folder.file(file)).unwrap_or_default().lines().map(ToOwned::to_owned).collect()
}

/// Plays until a state that fits has been saved and taken: one more has been asked for since.
fn play_until_saved(scene: &mut Scene, folder: &Folder, fits: impl Fn(&str) -> bool) {
    let before = lines_of(folder, "saved").len();
    scene.play_until("a state to be saved", AMPLE_NS, |_| {
        lines_of(folder, "saved").iter().skip(before).filter(|state| fits(state)).count() >= 2
    });
}

fn keeping(spec: PluginSpec, standby: Standby) -> PluginSpec {
    PluginSpec { standby, snapshot_every: Duration::from_millis(1), ..spec }
}

#[test]
fn the_state_that_was_saved_last_is_given_to_the_next_one() {
    for standby in STANDBYS {
        let folder = Folder::new();
        let file = keeper(&folder, "", "state = str(self.n)", "self.n = int(state)");
        let mut scene = Scene::new(rack(), vec![keeping(same_block(&file), standby)]);
        play_until_saved(&mut scene, &folder, |state| state.parse::<u32>().unwrap() >= 110);
        if standby == Standby::Twin {
            wait_for_twin(&scene, 0, &folder);
            // States are given one after the other, while it plays on.
            let given = |_: &mut Scene| lines_of(&folder, "loaded").len() >= 2;
            scene.play_until("the twin to have been given one", AMPLE_NS, given);
        }
        replace(&mut scene, 0);
        let n: u32 = scene.plugins[0].worker().get_parameter("blocks").unwrap().parse().unwrap();
        let loaded = lines_of(&folder, "loaded").last().cloned();
        let loaded: u32 = loaded.expect("a state was restored").parse().unwrap();
        // Perhaps the next twin has been given a newer one meanwhile.
        assert!(loaded >= 100 && n >= loaded, "{standby:?}: {n} after {loaded}");
    }
}

#[test]
fn a_state_is_restored_before_the_plugin_is_started() {
    let folder = Folder::new();
    let file = keeper(&folder, "", "state = 'x'", "self.note('stage', self.state.name)");
    let mut scene = Scene::new(rack(), vec![keeping(same_block(&file), Standby::None)]);
    let good = |scene: &mut Scene| scene.plugins[0].status().counts.good;
    scene.play_until("it to prove itself", AMPLE_NS, |scene| good(scene) >= 100);
    play_until_saved(&mut scene, &folder, |_| true);
    replace(&mut scene, 0);
    assert_eq!(lines_of(&folder, "stage"), ["INITIALIZED"]);
}

#[test]
fn a_parameter_that_was_set_since_the_state_was_saved_is_not_undone_by_it() {
    for standby in STANDBYS {
        let folder = Folder::new();
        let save =
            "if self.has('no_more'):\n    raise RuntimeError('no more')\nstate = self.got.get('gain', '-1')";
        let file = keeper(&folder, "", save, "self.got['gain'] = state");
        let mut scene = Scene::new(rack(), vec![keeping(same_block(&file), standby)]);
        let good = |scene: &mut Scene| scene.plugins[0].status().counts.good;
        scene.play_until("it to prove itself", AMPLE_NS, |scene| good(scene) >= 100);
        play_until_saved(&mut scene, &folder, |_| true);
        if standby == Standby::Twin {
            wait_for_twin(&scene, 0, &folder);
        }
        folder.write("no_more", "");
        scene.play_until("saving to fail", AMPLE_NS, |scene| scene.told().contains("no more"));
        assert!(scene.plugins[0].set_parameter("gain", "-0.125").unwrap());
        replace(&mut scene, 0);
        let gain = scene.plugins[0].worker().get_parameter("gain").unwrap();
        assert_eq!(gain.parse::<f32>().unwrap(), -0.125, "{standby:?}: {}", scene.told());
        assert!(!lines_of(&folder, "loaded").is_empty());
    }
}

/// What a plugin is given where its user says nothing, at blocks of this length.
const HANG_LIMIT: Duration = Duration::from_millis(250);

#[test]
fn a_plugin_that_takes_its_time_to_save_its_state_does_not_hang() {
    let folder = Folder::new();
    let gate = Gate::new(&folder);
    let save = format!("self.note('saving', 'x')\n{}\nstate = 'x'", gate.wait());
    let file = keeper(&folder, "", &save, "");
    let mut scene = Scene::new(rack(), vec![keeping(same_block(&file), Standby::None)]);
    scene.play_until("a state to be asked for", SHORT_NS, |_| !lines_of(&folder, "saving").is_empty());
    let began = Instant::now();
    scene.play_until("the limit to be over", SHORT_NS, |_| began.elapsed() > 2 * HANG_LIMIT);
    assert!(lines_of(&folder, "saved").is_empty());
    (0..100).for_each(|_| gate.open());
    scene.play_until("a state to be saved", SHORT_NS, |_| !lines_of(&folder, "saved").is_empty());
    let good = scene.plugins[0].status().counts.good;
    scene.play_until("good blocks after that", SHORT_NS, |scene| {
        scene.plugins[0].status().counts.good > good + 20
    });
    assert_eq!(scene.plugins[0].status().deaths, 0, "{}", scene.told());
}

/// A state of poison kills with the third block after it was restored.
const KILLS_LATER: (&str, &str) = (
    "self.left = getattr(self, 'left', -1) - 1\nif self.left == 0:\n    os._exit(3)",
    "if state.startswith('poison'):\n    self.left = 3",
);
/// It kills while it is restored.
const KILLS_AT_ONCE: (&str, &str) = ("", "if state.startswith('poison'):\n    os._exit(3)");

/// A plugin that has saved a good state and so many that kill after that is killed: which were restored, in order,
/// until one lived.
fn restored((process, load): (&str, &str), poisons: usize, standby: Standby) -> Vec<String> {
    let folder = Folder::new();
    let save = "state = 'poison2' if self.has('2') else 'poison1' if self.has('1') else 'good'";
    let file = keeper(&folder, process, save, load);
    let mut scene = Scene::new(rack(), vec![keeping(same_block(&file), standby)]);
    let good = |scene: &mut Scene| scene.plugins[0].status().counts.good;
    scene.play_until("it to prove itself", AMPLE_NS, |scene| good(scene) >= 100);
    play_until_saved(&mut scene, &folder, |state| state == "good");
    for poison in 1..=poisons {
        folder.write(&poison.to_string(), "");
        let name = format!("poison{poison}");
        play_until_saved(&mut scene, &folder, |state| state == name);
    }
    let first = pid(&scene, 0);
    kill(&scene.plugins[0]);
    let before = good(&mut scene);
    scene.play_until("one that lives", AMPLE_NS, |scene| {
        let dead = scene.plugins[0].status().dead.unwrap_or_default();
        assert!(!dead.contains("not started again"), "{standby:?}: {}", scene.told());
        pid(scene, 0) != first && good(scene) > before + 150
    });
    let mut restored = lines_of(&folder, "loaded");
    restored.dedup();
    restored
}

#[test]
fn a_state_that_kills_is_dropped_and_the_one_before_is_tried_then_none() {
    for (way, standby) in
        [(KILLS_LATER, Standby::Spare), (KILLS_LATER, Standby::None), (KILLS_AT_ONCE, Standby::None)]
    {
        assert_eq!(restored(way, 1, standby), ["poison1", "good"], "{standby:?} {way:?}");
        assert_eq!(restored(way, 2, standby), ["poison2", "poison1"], "{standby:?} {way:?}");
    }
}

#[test]
fn a_twin_with_a_state_that_kills_costs_no_more_deaths_than_other_standbys() {
    // Twins restore before they are needed: what counts is that one lives before the third death.
    for (way, poisons) in [(KILLS_LATER, 1), (KILLS_LATER, 2), (KILLS_AT_ONCE, 1)] {
        let restored = restored(way, poisons, Standby::Twin);
        assert!(restored.contains(&"poison1".to_owned()), "{restored:?}");
    }
}

#[test]
fn a_plugin_whose_file_has_become_another_kind_of_plugin_is_not_put_into_its_place() {
    let folder = Folder::new();
    let spec = same_block(&tunable(&folder, "over", "", ""));
    let mut scene = Scene::new(rack(), vec![PluginSpec { standby: Standby::None, ..spec }]);
    scene.play_answered(3);
    source(&folder, "over", "buffer.data[:] = 0.5\nreturn True");
    kill(&scene.plugins[0]);
    scene.play_until("it to be given up", AMPLE_NS, |scene| {
        scene.plugins[0].status().dead.is_some_and(|dead| dead.contains("not started again"))
    });
    scene.wait_told(&["plugin over is a source now, it was a processor"]);
    assert!(!scene.assert_in_place(0, &[-1.0, 1.0]).is_empty());
}

#[test]
fn a_plugin_whose_file_says_that_it_fails_closed_now_is_not_put_where_it_would_not() {
    let folder = Folder::new();
    let mut scene = Scene::new(rack(), vec![cold(same_block(&tunable(&folder, "over", "", "")))]);
    scene.play_answered(3);
    tunable(&folder, "over", "", "fail_closed = True");
    kill(&scene.plugins[0]);
    scene.play_until("it to be given up", AMPLE_NS, |scene| {
        scene.plugins[0].status().dead.is_some_and(|dead| dead.contains("not started again"))
    });
    scene.wait_told(&["plugin over fails closed now, it did not before"]);
}

/// Refuses its parameter `gain` in each worker but the first.
const REFUSES: &str = "
def set_parameter(self, key, value):
    here = os.path.dirname(os.path.abspath(__file__))
    if key == 'gain' and os.path.exists(os.path.join(here, 'refuse')):
        return False
    return True";

#[test]
fn a_parameter_that_is_refused_the_next_time_is_told_but_ends_only_what_fails_closed() {
    for fail_closed in [false, true] {
        let folder = Folder::new();
        let file = processor_with(&folder, "over", "return True", REFUSES);
        let spec = cold(same_block(&file)).set("gain", "s3cret");
        let mut scene = Scene::new(rack(), vec![PluginSpec { fail_closed, ..spec }]);
        scene.play_answered(3);
        folder.write("refuse", "");
        let first = pid(&scene, 0);
        kill(&scene.plugins[0]);
        if fail_closed {
            scene.play_until("it to be given up", AMPLE_NS, |scene| {
                scene.plugins[0].status().dead.is_some_and(|dead| dead.contains("not started again"))
            });
        } else {
            scene.play_until_replaced(0, first, AMPLE_NS);
        }
        let told = scene.wait_told(&["does not accept", "`gain` any more"]);
        assert!(!told.contains("s3cret"), "{told}");
    }
}

#[test]
fn what_a_plugin_raises_about_a_parameter_the_next_time_is_in_no_line_and_no_report() {
    let folder = Folder::new();
    let raises = REFUSES.replace("return False", "raise ValueError(value)");
    let file = processor_with(&folder, "over", "return True", &raises);
    let mut scene = Scene::new(rack(), vec![cold(same_block(&file)).set("gain", "s3cret")]);
    let reports = folder.file("reports");
    scene.rack.report_to(&reports);
    scene.play_answered(3);
    folder.write("refuse", "");
    kill(&scene.plugins[0]);
    let told = scene.wait_told(&["could not be started again", "failed while setting a parameter"]);
    assert!(!told.contains("s3cret"), "{told}");
    // The values are in a file of their own, which whoever sends the report on may leave out.
    for report in fs::read_dir(&reports).expect("reports").flatten() {
        fs::remove_file(report.path().join("parameters.json")).expect("the values");
    }
    let kept = String::from_utf8_lossy(&bytes_of(&reports)).into_owned();
    assert!(kept.contains("failed while setting a parameter") && !kept.contains("s3cret"), "{kept}");
}

fn cold(spec: PluginSpec) -> PluginSpec {
    PluginSpec { standby: Standby::None, ..spec }
}

#[test]
fn a_twin_that_dies_while_it_stands_by_is_made_again_and_costs_no_block() {
    let folder = Folder::new();
    let spec = same_block(&processor(&folder, "idle", "return True"));
    let spec = PluginSpec { standby: Standby::Twin, ..spec };
    let tuned = tunable(&folder, "over", "", "");
    let mut scene = Scene::new(rack(), vec![PluginSpec { file: tuned, ..spec }]);
    scene.play_answered(3);
    let first = pid(&scene, 0);
    let twin = wait_for_twin(&scene, 0, &folder);
    tests::scene::signal(twin, rustix::process::Signal::KILL);
    tests::leftovers::assert_all_end(&[twin]);
    let next = wait_for_twin(&scene, 0, &folder);
    assert!(next != twin, "the dead one");
    scene.wait_told(&["plugin over has lost the worker that stood by for it, which was killed by SIGKILL"]);
    scene.play_answered(3);
    let status = scene.plugins[0].status();
    assert_eq!((status.pid, status.deaths, status.counts.lost()), (first, 0, 0));
    assert_eq!(replace(&mut scene, 0), next);
}

#[test]
fn the_report_of_one_whose_file_was_changed_while_it_played_says_so() {
    let folder = Folder::new();
    let mut scene = Scene::new(rack(), vec![cold(same_block(&tunable(&folder, "over", "", "")))]);
    scene.rack.report_to(&folder.file("reports"));
    scene.play_answered(3);
    for changes in [false, true] {
        if changes {
            tunable(&folder, "over", "pass", "");
        }
        replace(&mut scene, 0);
        until("a report", || scene.told().matches("; report: ").count() == 1 + usize::from(changes));
        let kept = crash::list(&folder.file("reports"));
        assert_eq!(kept.last().map(crash::Kept::is_file_changed), Some(changes), "{kept:?}");
    }
}

/// A plugin whose next process waits at the gate while it is initialised, and crashes there.
fn crashes_at(gate: &Gate, folder: &Folder) -> PathBuf {
    let methods = format!(
        "
def initialize(self):
    here = os.path.dirname(os.path.abspath(__file__))
    if os.path.exists(os.path.join(here, 'again')):
        open(os.path.join(here, 'waits'), 'w').close()
        {}
        os.kill(os.getpid(), 11)
    return True",
        gate.wait()
    );
    processor_with(folder, "over", "return True", &methods)
}

/// An interpreter whose next process waits at the gate before it is a worker, and then does this.
fn interpreter(gate: &Gate, folder: &Folder, then: &str) -> PathBuf {
    let [again, waits] = ["again", "waits"].map(|name| folder.file(name).display().to_string());
    let waits =
        format!("if [ -e {again} ]; then : > {waits}; head -c 1 {} > /dev/null; {then}; fi", gate.path());
    folder.script("python", &format!("{waits}\nexec {} \"$@\"", python().display()))
}

/// Plays until the plugin's next worker waits at its gate, and closes the plugin.
fn closed_while_another_one_is_made(folder: &Folder, spec: PluginSpec) -> Scene {
    let mut scene = Scene::new(rack(), vec![cold(spec)]);
    scene.rack.report_to(&folder.file("reports"));
    scene.play_answered(3);
    folder.write("again", "");
    kill(&scene.plugins[0]);
    until("another one to wait", || folder.file("waits").exists());
    drop(scene.plugins.pop());
    scene
}

#[test]
fn a_replacement_that_crashes_in_its_start_when_its_plugin_has_been_closed_is_told_and_leaves_a_report() {
    let plugin = |gate: &Gate, folder: &Folder| same_block(&crashes_at(gate, folder));
    let early = |gate: &Gate, folder: &Folder| {
        let python = Some(interpreter(gate, folder, "kill -SEGV $$"));
        PluginSpec { python, ..same_block(&processor(folder, "over", "return True")) }
    };
    for spec in [&plugin as &dyn Fn(&Gate, &Folder) -> PluginSpec, &early] {
        let folder = Folder::new();
        let gate = Gate::new(&folder);
        let mut scene = closed_while_another_one_is_made(&folder, spec(&gate, &folder));
        gate.open();
        scene.wait_told(&[
            "plugin over could not be started again",
            "SIGSEGV",
            "nobody needed it any more; report: ",
        ]);
        let kept = crash::list(&folder.file("reports"));
        let failed = kept.iter().find(|report| report.ended.contains("could not be started again"));
        let failed = failed.unwrap_or_else(|| panic!("no report: {kept:?}"));
        assert!(failed.ended.contains("SIGSEGV") && failed.incarnation == 2, "{failed:?}");
        let report = fs::read_to_string(failed.path.join("report.txt")).expect("the report");
        assert!(report.contains("exit        signal 11"), "{report}");
    }
}

#[test]
fn an_interpreter_that_still_starts_when_the_host_ends_is_ended_and_no_death() {
    let folder = Folder::new();
    let gate = Gate::new(&folder);
    let python = Some(interpreter(&gate, &folder, "exit 3"));
    let spec = PluginSpec { python, ..same_block(&processor(&folder, "over", "return True")) };
    let mut scene = closed_while_another_one_is_made(&folder, spec);
    let told = scene.told().to_owned() + &scene.rack.end();
    assert!(told.contains("killed by SIGKILL") && !told.contains("could not be started again"), "{told}");
    assert_eq!(crash::list(&folder.file("reports")).len(), 1);
}

/// Every byte that a report of this folder holds, with the names of its files.
fn bytes_of(reports: &std::path::Path) -> Vec<u8> {
    let mut all = Vec::new();
    for report in fs::read_dir(reports).expect("reports").flatten() {
        for file in fs::read_dir(report.path()).expect("a report").flatten() {
            all.extend(file.file_name().as_encoded_bytes());
            all.extend(fs::read(file.path()).expect("a file of a report"));
        }
    }
    all
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A plugin that turns the audio over is killed, hangs and is replaced. The sine is the secret: dry samples of it
/// would have another sign than its processed ones.
#[test]
fn a_plugin_that_fails_closed_tells_nothing_while_it_dies_hangs_and_comes_back() {
    for mode in [same_block, pipelined] {
        for standby in STANDBYS {
            let folder = Folder::new();
            let hang = "
try:
    here = os.path.dirname(os.path.abspath(__file__))
    os.rename(os.path.join(here, 'hang'), os.path.join(here, 'hung'))
except FileNotFoundError:
    pass
else:
    while True: pass";
            let spec = mode(&tunable(&folder, "closed", hang, "")).set("secret", "swordfish");
            let hang_after = Some(Duration::from_millis(60));
            let spec = PluginSpec { standby, fail_closed: true, hang_after, adapt: false, ..spec };
            let mut scene = Scene::new(rack(), vec![spec]);
            let reports = folder.file("reports");
            scene.rack.report_to(&reports);
            scene.play_answered(3);
            let first = pid(&scene, 0);
            kill(&scene.plugins[0]);
            scene.play_until_another(0, first, AMPLE_NS);
            let second = pid(&scene, 0);
            folder.write("hang", "");
            scene.play_until_another(0, second, SHORT_NS);
            scene.wait_told(&["was killed by SIGKILL", "no answer for", "silence (fail-closed)"]);
            until("two reports", || scene.told().matches("; report: ").count() == 2);
            assert_eq!(scene.plugins[0].status().deaths, 2, "{standby:?}: {}", scene.told());

            let latency = if mode(folder.path()).mode == same_block(folder.path()).mode { 0 } else { BLOCK };
            let sine = tests::audio::slow_sine(scene.heard.len(), STEP);
            let mut was_silent = true;
            for (block, heard) in scene.heard.chunks_exact(BLOCK).enumerate() {
                let processed =
                    |i: usize| (block * BLOCK + i).checked_sub(latency).map_or(0.0, |at| -sine[at]);
                let is_silent = heard.iter().all(|sample| *sample == 0.0);
                // After silence it is ramped from zero to what the plugin says, of which that is made alone.
                let first = if was_silent { processed(0) } else { 0.0 };
                let ramp = |i: usize| 0.5 + 0.5 * (std::f32::consts::PI * i.min(96) as f32 / 96.0).cos();
                let joined = |i: usize| {
                    let to: f32 = processed(i);
                    (to - first * ramp(i)).clamp(-to.abs(), to.abs())
                };
                let is_processed =
                    heard.iter().enumerate().all(|(i, sample)| (sample - joined(i)).abs() < 1e-6);
                assert!(
                    is_silent || is_processed,
                    "{standby:?}: block {block} is neither: {:?}",
                    &heard[..99]
                );
                was_silent = is_silent;
            }
            let kept = bytes_of(&reports);
            assert!(holds(&kept, b"secret") && !holds(&kept, b"swordfish"), "the value of a parameter");
            for at in (0..sine.len() - 4).step_by(BLOCK / 4) {
                let input: Vec<u8> =
                    sine[at + 1..at + 4].iter().flat_map(|sample| sample.to_le_bytes()).collect();
                assert!(!holds(&kept, &input), "what it got in frame {at}");
            }
        }
    }
}
