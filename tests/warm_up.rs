//! First calls are made before the audio begins: who is spared a slow one, and what becomes of a plugin that silence kills.
//!
//! What the worker does when it is asked is in `worker.rs`, who is asked in `kinds.rs`.

use host::plugin::spec::{PluginSpec, Standby};
use std::fs;
use std::path::PathBuf;
use tests::chain::{AMPLE_NS, Rack, same_block};
use tests::plugins::processor_with;
use tests::scene::{Scene, kill};
use tests::workspace::Folder;

/// A processor that may be warmed up, with this at the beginning of each of its blocks.
fn willing(folder: &Folder, process: &str, methods: &str) -> PathBuf {
    let process = format!("{process}\nbuffer.data *= -1\nreturn True");
    let methods = format!("del silent_warm_up\n{BESIDE}{methods}");
    processor_with(folder, "willing", &process, &methods)
}

const BESIDE: &str = "
def beside(self, file):
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), file)
";

fn scene(file: &std::path::Path) -> Scene {
    let spec = PluginSpec { standby: Standby::None, ..same_block(file) };
    Scene::new(Rack::new(1, 512, 48_000), vec![spec])
}

#[test]
fn a_first_call_that_takes_long_is_over_when_the_audio_begins() {
    let folder = Folder::new();
    let takes_long = "if self.n == 1:\n    __import__('time').sleep(2)";
    let mut scene = scene(&willing(&folder, takes_long, ""));
    // Half a second is enough for what comes after it, however busy the machine.
    scene.play_within(1_000_000_000);
    let counts = scene.plugins[0].status().counts;
    assert_eq!((counts.good, counts.lost()), (1, 0), "{counts:?}");
}

#[test]
fn a_plugin_that_silence_kills_is_replaced_like_one_that_died_of_its_first_block() {
    let folder = Folder::new();
    let dies_once = "
if not os.path.exists(self.beside('died')):
    open(self.beside('died'), 'w').close()
    os._exit(3)";
    let mut scene = scene(&willing(&folder, dies_once, ""));
    scene.play_until("another one to play", AMPLE_NS, |scene| {
        let status = scene.plugins[0].status();
        status.counts.good > 0 && status.dead.is_none()
    });
    assert_eq!(scene.plugins[0].status().deaths, 1);
    scene.wait_told(&["exit code 3", "a new worker took over"]);
}

#[test]
fn a_state_that_was_restored_is_not_washed_out_by_silence() {
    let folder = Folder::new();
    let notes = "
if self.restored and not buffer.data.any():
    open(self.beside('washed'), 'w').close()";
    let keeps = "
restored = False
def save_state(self):
    open(self.beside('saved'), 'a').write('x')
    return b'all'
def load_state(self, state):
    self.restored = True
    open(self.beside('restored'), 'w').close()
";
    let file = willing(&folder, notes, keeps);
    let spec = PluginSpec {
        standby: Standby::None,
        snapshot_every: std::time::Duration::from_millis(1),
        ..same_block(&file)
    };
    let mut scene = Scene::new(Rack::new(1, 512, 48_000), vec![spec]);
    scene.play_until("it to prove itself", AMPLE_NS, |scene| scene.plugins[0].status().counts.good >= 100);
    let saved = || fs::read_to_string(folder.file("saved")).unwrap_or_default().len();
    let before = saved();
    // The first of two has been taken when the second is asked for.
    scene.play_until("a state to be saved", AMPLE_NS, |_| saved() >= before + 2);
    let old = scene.plugins[0].worker().pid();
    kill(&scene.plugins[0]);
    scene.play_until_replaced(0, old, AMPLE_NS);
    assert!(folder.file("restored").exists());
    assert!(!folder.file("washed").exists());
}

#[test]
fn silent_blocks_come_behind_whoever_plays() {
    let folder = Folder::new();
    let notes = "self.now = os.sched_getscheduler(0)\nself.first = getattr(self, 'first', self.now)";
    let tells = "
def get_parameter(self, key):
    gentle = [it == os.SCHED_BATCH for it in (self.first, self.now)]
    return str(self.n) if key == 'blocks' else str(gentle)
";
    let mut scene = scene(&willing(&folder, notes, tells));
    scene.play();
    assert_eq!(scene.plugins[0].worker().get_parameter("how").unwrap(), "[True, False]");
}
