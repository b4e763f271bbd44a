//! A plugin that is late too often moves to pipelined by itself, and back when it has been fast for long: no frame
//! is lost or heard at another place than the chain says, and no step is heard.

use host::chain::Chain;
use host::plugin::spec::{PluginSpec, Standby};
use std::path::PathBuf;
use tests::audio::largest_step;
use tests::chain::{AMPLE_NS, Rack, SHORT_NS, same_block};
use tests::config::{config, run};
use tests::gate::Gate;
use tests::plugins::processor;
use tests::scene::{STEP, Scene, kill, tunable};
use tests::until::until;
use tests::wav::Wav;
use tests::workspace::Folder;

const BLOCK: usize = 128;
/// Fast blocks in a row after which it moves back.
const STRETCH: usize = 3_000;

/// Waits at the gate with each block, and is slow behind it, as long as there is a file `slow` beside it.
fn held_at_will(folder: &Folder, gate: &Gate) -> PathBuf {
    let here = "os.path.dirname(os.path.abspath(__file__))";
    let slow = format!("{}\n    __import__('time').sleep(0.005)", gate.wait());
    let body = format!("if os.path.exists(os.path.join({here}, 'slow')):\n    {slow}");
    tunable(folder, "laggard", &body, "")
}

/// Plays so many blocks with little time, each of which passes the gate when that is over: late in same-block, however
/// long the machine keeps either side off its core, and in time in pipelined.
fn play_held(scene: &mut Scene, gate: &Gate, blocks: usize) {
    (0..blocks).for_each(|_| scene.play_given_up(SHORT_NS, || gate.open()));
}

/// A plugin, [held at will](held_at_will), that has moved to pipelined, and some blocks more.
fn moved(folder: &Folder, gate: &Gate, spec: PluginSpec) -> Scene {
    let mut scene = Scene::new(Rack::new(1, 128, 48_000), vec![spec]);
    scene.play_answered(10);
    folder.write("slow", "");
    // With four late blocks of the last hundred it stays, with the fifth it goes: seen one block later, and done with
    // the next one.
    play_held(&mut scene, gate, 6);
    assert_eq!((scene.latency_frames(), scene.plugins[0].status().moves), (0, 0));
    play_held(&mut scene, gate, 1);
    let status = scene.plugins[0].status();
    assert_eq!((status.mode, status.moves, status.added_frames), ("pipelined", 1, 128));
    assert_eq!(scene.latency_frames(), BLOCK);
    play_held(&mut scene, gate, 20);
    scene
}

fn assert_smooth(scene: &Scene) {
    let bound = STEP + 2.0 * std::f32::consts::PI / (2.0 * 96.0);
    assert!(largest_step(&scene.heard) <= bound, "a step of {}", largest_step(&scene.heard));
}

#[test]
fn a_plugin_late_too_often_is_pipelined_until_it_has_been_fast_for_long() {
    let folder = Folder::new();
    let gate = Gate::new(&folder);
    let mut scene = moved(&folder, &gate, same_block(&held_at_will(&folder, &gate)));
    let found = scene.assert_in_place_as_told(&[-1.0, 1.0]);
    // Dry while it was late, processed before and after. The move itself loses no block. There is nothing to fade from:
    // the results of the old mode did not come.
    assert_eq!(found, [[-1.0; 10].to_vec(), vec![1.0; 7], vec![-1.0; 20]].concat());
    assert_eq!(scene.faded(), [0; 0]);
    scene.wait_told(&["plugin laggard missed its deadline too often (", "pipelined now", "128 frames later"]);

    std::fs::remove_file(folder.file("slow")).unwrap();
    let mut fast = 0;
    while scene.latency_frames() > 0 {
        assert!(fast < 2 * STRETCH, "it does not come back: {:?}", scene.plugins[0].status());
        scene.play_answered(1);
        fast += 1;
    }
    assert!(fast > STRETCH, "back after {fast} blocks");
    let back = 37 + fast - 1;
    scene.play_answered(10);
    let status = scene.plugins[0].status();
    assert_eq!((status.mode, status.moves, status.added_frames), ("same-block", 2, 0));
    let found = scene.assert_in_place_as_told(&[-1.0, 1.0]);
    assert_eq!(found[37..], vec![-1.0; fast + 10], "no block is lost on the way back");
    assert_eq!(scene.faded(), [back]);
    assert_smooth(&scene);
    scene.wait_told(&["plugin laggard was fast enough for long: it is same-block again"]);
}

#[test]
fn a_plugin_that_is_in_time_again_when_it_moves_fades_from_one_mode_into_the_other() {
    let folder = Folder::new();
    let gate = Gate::new(&folder);
    let mut scene = Scene::new(Rack::new(1, 128, 48_000), vec![same_block(&held_at_will(&folder, &gate))]);
    scene.play_answered(10);
    folder.write("slow", "");
    play_held(&mut scene, &gate, 5);
    std::fs::remove_file(folder.file("slow")).unwrap();
    // The fifth late block is seen with the first of these, and the second is the last one in its mode.
    scene.play_answered(1);
    assert_eq!(scene.plugins[0].status().moves, 0);
    scene.play_answered(10);
    assert_eq!(scene.latency_frames(), BLOCK);
    let found = scene.assert_in_place_as_told(&[-1.0, 1.0]);
    assert_eq!(found, [[-1.0; 10].to_vec(), vec![1.0; 5], vec![-1.0; 11]].concat());
    assert_eq!(scene.faded(), [16]);
    assert_smooth(&scene);
}

#[test]
fn a_plugin_moves_also_where_a_device_asks_for_many_blocks_at_once() {
    for burst in [4, 5, 8, 12] {
        let folder = Folder::new();
        let slow = processor(&folder, "laggard", "__import__('time').sleep(0.005)\nreturn True");
        let rack = Rack::new(1, 128, 48_000);
        let (mut plugin, remote) = rack.load_for_bursts("laggard", same_block(&slow), burst);
        let mut chain = Chain::new(rack.format, vec![Box::new(remote)]).unwrap();
        until("it to move", || {
            chain.process_within(&mut [0.5; BLOCK], SHORT_NS);
            plugin.status().moves == 1
        });
        assert_eq!(chain.latency_frames(), burst * 128);
    }
}

#[test]
fn the_dry_signal_of_a_plugin_that_has_moved_is_as_late_as_its_own() {
    let folder = Folder::new();
    let gate = Gate::new(&folder);
    let spec = PluginSpec { standby: Standby::None, ..same_block(&held_at_will(&folder, &gate)) };
    let mut scene = moved(&folder, &gate, spec);
    let first = scene.plugins[0].worker().pid();
    kill(&scene.plugins[0]);
    std::fs::remove_file(folder.file("slow")).unwrap();
    scene.play_until_replaced(0, first, AMPLE_NS);
    scene.play_answered(5);
    assert_eq!(scene.latency_frames(), BLOCK, "the next one plays where the one before did");
    let found = scene.assert_in_place_as_told(&[-1.0, 1.0]);
    assert!(found[37..].contains(&1.0), "{found:?}");
    assert_eq!(found[found.len() - 5..], [-1.0; 5]);
    assert_smooth(&scene);
}

#[test]
fn a_plugin_that_is_not_to_be_moved_stays_late() {
    let folder = Folder::new();
    let gate = Gate::new(&folder);
    let spec = PluginSpec { adapt: false, ..same_block(&held_at_will(&folder, &gate)) };
    let mut scene = Scene::new(Rack::new(1, 128, 48_000), vec![spec]);
    folder.write("slow", "");
    play_held(&mut scene, &gate, 30);
    let status = scene.plugins[0].status();
    assert_eq!((status.mode, status.moves, status.counts.late), ("same-block", 0, 30));
    assert_eq!(scene.assert_in_place(0, &[-1.0, 1.0]), [1.0; 30]);
}

#[test]
fn a_plugin_that_fails_or_is_dead_does_not_move() {
    let folder = Folder::new();
    let spec = same_block(&processor(&folder, "fails", "return False"));
    let mut scene = Scene::new(Rack::new(1, 128, 48_000), vec![PluginSpec { restart: false, ..spec }]);
    scene.play_answered(30);
    kill(&scene.plugins[0]);
    (0..30).for_each(|_| scene.play());
    let status = scene.plugins[0].status();
    assert_eq!((status.moves, status.counts.failed, status.counts.gone), (0, 30, 30));
}

#[test]
fn a_recording_has_every_frame_though_the_plugin_moved_meanwhile() {
    let folder = Folder::new();
    let frames = 48_000;
    let mut samples = vec![0.25; frames];
    samples[frames - 1] = 0.75;
    Wav::new(vec![samples]).write(&folder.file("in.wav"));
    let body = "__import__('time').sleep(0.004)\nreturn True";
    let file = processor(&folder, "laggard", body);
    let text = format!(
        "[[pipeline]]\nblock = 1024\nsource = \"in.wav\"\nsink = \"out.wav\"
         plugins = [{{ file = {file:?}, deadline = 0.05 }}]"
    );
    let done = run(&config(&folder, &text), &[]).wait();
    let report = done.json();
    assert_eq!(report["ended_by"], "source", "{done}");
    let plugin = &report["pipelines"][0]["plugins"][0];
    assert_eq!((&plugin["mode"], &plugin["moves"]), (&"pipelined".into(), &1.into()), "{done}");
    let heard = Wav::read(&folder.file("out.wav"));
    let last = heard.channels[0].iter().position(|sample| *sample == 0.75);
    assert_eq!(last, Some(frames - 1 + 1024), "of {} frames: {done}", heard.frames());
}
