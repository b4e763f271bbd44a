//! The three kinds of plugins, and everything else that can stand at the ends of a pipeline, in real time.
//!
//! On the virtual device, with large blocks: what is heard is compared, never how long it took.

use serde_json::Value;
use std::f64::consts::TAU;
use std::path::PathBuf;
use tests::audio::noises;
use tests::config::{config, run};
use tests::nda::Done;
use tests::plugins::{processor_with, sink};
use tests::wav::Wav;
use tests::workspace::{Folder, shipped};

fn noise_file(folder: &Folder, name: &str, frames: usize) -> Wav {
    let wav = Wav::new(noises(2, frames));
    wav.write(&folder.file(name));
    wav
}

fn sine() -> PathBuf {
    shipped("sine_wave_source.py")
}

/// Runs a configuration to its end; the report.
fn report(folder: &Folder, text: &str, options: &[&str]) -> (Done, Value) {
    let done = run(&config(folder, text), options).wait();
    let report = done.json();
    (done, report)
}

fn count(plugin: &Value, key: &str) -> u64 {
    plugin["counts"][key].as_u64().unwrap_or_else(|| panic!("{key} in {plugin}"))
}

/// Blocks of a plugin that were lost to time: on a busy machine there may be some.
fn late(plugin: &Value) -> u64 {
    count(plugin, "late") + count(plugin, "behind")
}

/// The blocks of the file that are not as computed.
fn other_blocks(heard: &[f32], block: usize, computed: impl Fn(usize) -> f32) -> usize {
    let is_other = |(number, samples): &(usize, &[f32])| {
        let sample = |(i, heard): (usize, &f32)| (heard - computed(number * block + i)).abs() > 1e-5;
        samples.iter().enumerate().any(sample)
    };
    heard.chunks_exact(block).enumerate().filter(is_other).count()
}

#[test]
fn a_python_source_is_heard_in_a_file() {
    let folder = Folder::new();
    let text = format!(
        "block = 2048\n[[pipeline]]\nsource = {{ plugin = {:?}, set = {{ frequency = 1000 }}, deadline = 0.95 }}
         sink = \"out.wav\"",
        sine()
    );
    let (done, report) = report(&folder, &text, &["--for", "0.5"]);
    done.ended_with(0);
    assert_eq!(report["ended_by"], "time");
    let plugin = &report["pipelines"][0]["plugins"][0];
    assert_eq!(plugin["kind"], "source");
    let heard = Wav::read(&folder.file("out.wav"));
    // How far the device got is its own affair; that what it got is in the file is ours.
    assert_eq!(heard.frames() as u64, report["pipelines"][0]["frames"].as_u64().unwrap());
    assert!(heard.frames() > 2048);
    assert_eq!(heard.channels[0], heard.channels[1]);
    #[expect(clippy::cast_possible_truncation, reason = "as the plugin rounds it")]
    let computed = |frame: usize| (0.5 * (TAU * 1000.0 * frame as f64 / 48_000.0).sin()) as f32;
    if late(plugin) == 0 {
        assert_eq!(other_blocks(&heard.channels[0], 2048, computed), 0);
    }
}

#[test]
fn a_file_goes_through_a_processor_into_a_file() {
    let folder = Folder::new();
    let wav = noise_file(&folder, "in.wav", 20_000);
    let text = format!(
        "[[pipeline]]\nblock = 2048\nsource = \"in.wav\"\nsink = \"out.wav\"
         plugins = [{{ file = {:?}, set = {{ gain = 0.5 }}, deadline = 0.95 }}]",
        shipped("examples/simple_gain.py")
    );
    let (done, report) = report(&folder, &text, &[]);
    done.ended_with(0);
    assert_eq!(report["ended_by"], "source");
    let heard = Wav::read(&folder.file("out.wav"));
    assert_eq!(heard.frames(), wav.frames());
    let plugin = &report["pipelines"][0]["plugins"][0];
    let others = other_blocks(&heard.channels[1], 2048, |frame| wav.channels[1][frame] * 0.5) as u64;
    // A late block is heard dry, and the block after it begins with the ramp back.
    assert!(others <= 2 * late(plugin), "{others} blocks are other than computed: {done}");
}

#[test]
fn a_file_is_thrown_away_by_the_null_sink() {
    let folder = Folder::new();
    noise_file(&folder, "in.wav", 20_000);
    let text = format!(
        "[[pipeline]]\nblock = 1024\nsource = \"in.wav\"
         sink = {{ plugin = {:?}, set = {{ showMetrics = true }} }}",
        shipped("null_sink.py")
    );
    let (done, report) = report(&folder, &text, &[]);
    done.ended_with(0);
    let pipeline = &report["pipelines"][0];
    let plugin = &pipeline["plugins"][0];
    assert_eq!((&plugin["kind"], &plugin["mode"]), (&"sink".into(), &"pipelined".into()));
    let blocks = pipeline["frames"].as_u64().unwrap() / 1024;
    assert_eq!(count(plugin, "good") + late(plugin), blocks);
    assert!(count(plugin, "good") > 0);
}

#[test]
fn a_file_is_recorded_by_the_wav_sink() {
    let folder = Folder::new();
    let wav = noise_file(&folder, "in.wav", 20_000);
    let recorded = folder.file("recorded.wav");
    let text = format!(
        "[[pipeline]]\nblock = 1024\nsource = \"in.wav\"
         sink = {{ plugin = {:?}, set = {{ path = {recorded:?}, bits = 24 }} }}",
        shipped("wav_file_sink.py")
    );
    let (done, report) = report(&folder, &text, &[]);
    done.ended_with(0);
    let heard = Wav::read(&recorded);
    let plugin = &report["pipelines"][0]["plugins"][0];
    if count(plugin, "behind") == 0 {
        assert!(heard.frames() >= wav.frames(), "{} frames", heard.frames());
        for (heard, sent) in heard.channels[0].iter().zip(&wav.channels[0]) {
            assert!((heard - sent).abs() < 1e-6, "{heard} for {sent}");
        }
    }
}

/// Slower than real time, so that it is behind by all its slots when the file ends.
const SLOW_SINK: &str = "end = time.thread_time() + 0.02
while time.thread_time() < end:
    pass
self.written = getattr(self, 'written', 0) + 1
open(WRITTEN, 'w').write(str(self.written))
return True";

#[test]
fn a_slow_sink_gets_what_was_handed_to_it_and_every_block_is_counted() {
    let folder = Folder::new();
    Wav::new(vec![vec![0.25; 200 * 256]]).write(&folder.file("in.wav"));
    let written = folder.file("written");
    let write = format!(
        "import time\n{}",
        SLOW_SINK.replace("WRITTEN", &format!("{:?}", written.display().to_string()))
    );
    let slow = sink(&folder, "slow", &write);
    let text = format!("[[pipeline]]\nsource = \"in.wav\"\nsink = {slow:?}");
    let (done, report) = report(&folder, &text, &[]);
    // It lost more than it got: that is a failure.
    done.ended_with(9);
    let pipeline = &report["pipelines"][0];
    let counts = &pipeline["plugins"][0]["counts"];
    let count = |what: &str| counts[what].as_u64().unwrap();
    let all: u64 = ["good", "late", "failed", "gone", "behind", "torn"].map(count).iter().sum();
    assert_eq!(all, pipeline["frames"].as_u64().unwrap() / 256, "{counts}");
    assert_eq!(std::fs::read_to_string(written).unwrap(), count("good").to_string(), "{counts}");
}

#[test]
fn a_python_source_and_a_python_sink_share_a_pipeline() {
    let folder = Folder::new();
    let recorded = folder.file("recorded.wav");
    let text = format!(
        "[[pipeline]]\nblock = 2048\nsource = {:?}
         plugins = [{:?}]
         sink = {{ plugin = {:?}, set = {{ path = {recorded:?} }} }}",
        sine(),
        shipped("examples/passthrough.py"),
        shipped("wav_file_sink.py")
    );
    let (done, report) = report(&folder, &text, &["--for", "0.4"]);
    done.ended_with(0);
    let kinds: Vec<_> =
        report["pipelines"][0]["plugins"].as_array().unwrap().iter().map(|p| p["kind"].clone()).collect();
    assert_eq!(kinds, ["source", "processor", "sink"]);
    let heard = Wav::read(&recorded);
    assert!(heard.interleaved().any(|s| s.abs() > 0.4), "nothing was recorded");
}

#[test]
fn two_pipelines_run_at_once_and_do_not_mix() {
    let folder = Folder::new();
    let gain = shipped("examples/simple_gain.py");
    let pipeline = |name: &str, gain_of: f32| {
        format!(
            "[[pipeline]]\nname = \"{name}\"\nblock = 2048\nsource = \"{name}.wav\"\nsink = \"{name}_out.wav\"
             plugins = [{{ file = {gain:?}, set = {{ gain = {gain_of} }}, deadline = 0.95 }}]\n"
        )
    };
    let one = noise_file(&folder, "one.wav", 15_000);
    let two = Wav::new(noises(1, 25_000)).at(44_100);
    two.write(&folder.file("two.wav"));
    let (done, report) = report(&folder, &(pipeline("one", 0.25) + &pipeline("two", 0.75)), &[]);
    done.ended_with(0);
    for (number, (name, sent, factor)) in [("one", one, 0.25), ("two", two, 0.75)].into_iter().enumerate() {
        let heard = Wav::read(&folder.file(&format!("{name}_out.wav")));
        assert_eq!((heard.rate, heard.frames()), (sent.rate, sent.frames()));
        let pipeline = &report["pipelines"][number];
        assert_eq!(pipeline["name"], name);
        let others = other_blocks(&heard.channels[0], 2048, |frame| sent.channels[0][frame] * factor) as u64;
        assert!(others <= 2 * late(&pipeline["plugins"][0]), "{name}: {done}");
    }
}

#[test]
fn a_configuration_of_four_lines_is_enough() {
    let folder = Folder::new();
    noise_file(&folder, "song.wav", 12_000);
    let text = format!(
        "[[pipeline]]\nsource = \"song.wav\"\nplugins = [{:?}]\nsink = \"virtual\"",
        shipped("examples/passthrough.py")
    );
    let (done, report) = report(&folder, &text, &[]);
    done.ended_with(0);
    assert!(report["pipelines"][0]["frames"].as_u64().unwrap() >= 12_000);
    assert_eq!(report["pipelines"][0]["block_frames"], 256);
}

#[test]
fn a_recording_gets_what_the_device_gets() {
    let folder = Folder::new();
    let wav = noise_file(&folder, "in.wav", 9_000);
    let text = "[[pipeline]]\nsource = \"in.wav\"\nsink = \"virtual\"\nrecord = \"out.wav\"
                plugins = [{ builtin = \"gain\", set = { db = 0 } }, { builtin = \"meter\" }]";
    let (done, report) = report(&folder, text, &[]);
    done.ended_with(0);
    assert_eq!(report["pipelines"][0]["plugins"], Value::Array(Vec::new()));
    assert_eq!(Wav::read(&folder.file("out.wav")), wav);
}

#[test]
fn a_virtual_input_is_silence_and_goes_through_a_plugin() {
    let folder = Folder::new();
    let offset = tests::plugins::processor(&folder, "offset", "buffer.data += 0.5\nreturn True");
    let text = format!(
        "[[pipeline]]\nblock = 2048\nsource = \"virtual\"\nsink = \"out.wav\"
         plugins = [{{ file = {offset:?}, deadline = 0.95 }}]"
    );
    let (done, _) = report(&folder, &text, &["--for", "0.5"]);
    done.ended_with(0);
    let heard = Wav::read(&folder.file("out.wav"));
    assert!(heard.interleaved().any(|s| s == 0.5), "{done}");
}

#[test]
fn a_plugin_at_the_wrong_place_is_refused_with_the_right_one() {
    let folder = Folder::new();
    noise_file(&folder, "in.wav", 1_000);
    let (sine, null) = (sine(), shipped("null_sink.py"));
    for (text, culprit, place) in [
        (format!("source = \"in.wav\"\nplugins = [{sine:?}]"), "sine_wave_source", "name it as `source`"),
        (format!("source = \"in.wav\"\nplugins = [{null:?}]"), "null_sink", "name it as `sink`"),
        (format!("source = {null:?}"), "null_sink", "name it as `sink`"),
        (format!("source = \"in.wav\"\nsink = {sine:?}"), "sine_wave_source", "name it as `source`"),
    ] {
        let sink = if text.contains("sink =") { "" } else { "sink = \"virtual\"" };
        let config = config(&folder, &format!("[[pipeline]]\n{text}\n{sink}"));
        run(&config, &[]).wait().refused(6, &[culprit, place]);
    }
}

#[test]
fn silent_blocks_come_first_unless_the_plugin_or_the_configuration_wants_none() {
    let first = |its_word: &str, says: &str| {
        let folder = Folder::new();
        noise_file(&folder, "in.wav", 19_200);
        let process = "buffer.data[:] = self.n / 1000\nreturn True";
        let its_word = if its_word.is_empty() { "del silent_warm_up" } else { its_word };
        let counts = processor_with(&folder, "counts", process, its_word);
        let plugin = format!("{{ file = {counts:?}{says} }}");
        let ends = "block = 4800\nsource = \"in.wav\"\nsink = \"out.wav\"";
        report(&folder, &format!("[[pipeline]]\n{ends}\nplugins = [{plugin}]\n"), &[]);
        Wav::read(&folder.file("out.wav")).channels[0][0]
    };
    assert!(first("", "") > 0.03, "some dozens came before");
    assert!(first("", ", silent_warm_up = false") < 0.002, "its first block is the first of the audio");
    assert!(first("silent_warm_up = False", "") < 0.002);
    assert!(first("silent_warm_up = False", ", silent_warm_up = true") > 0.03);
}
