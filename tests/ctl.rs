//! A run that is steered from outside: `nda ctl`, its socket, and the configuration read again; and one that is only
//! looked at: `nda top`. With real processes.
//!
//! What happens to one pipeline must leave the other's samples alone: that is compared bit for bit.

use rustix::process::{Signal, Uid};
use rustix::thread::set_thread_res_uid;
use serde_json::Value;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::audio::noises;
use tests::config::config;
use tests::nda::{Done, Running, command, hearing_hangups, started_by};
use tests::plugins::{processor, processor_with, tells, wait_told};
use tests::scene::{signal, tunable};
use tests::until::{process_ends, until};
use tests::wav::Wav;
use tests::workspace::Folder;

const FRAMES: usize = 48_000;

/// A run, and the folder that all of it is in.
struct Scene {
    folder: Folder,
    running: Option<Running>,
    input: Wav,
}

/// A pipeline that plays noise for ever through plugins into `NAME.wav`.
fn pipeline(name: &str, plugins: &str, more: &str) -> String {
    format!(
        "[[pipeline]]\nname = \"{name}\"\nblock = 256\nsource = {{ file = \"in.wav\", loop = true }}\n\
         sink = \"{name}.wav\"\nplugins = [{plugins}]\n{more}\n"
    )
}

impl Scene {
    /// A folder with noise in it, in which nothing runs yet.
    fn new() -> Self {
        let (folder, input) = (Folder::new(), Wav::new(noises(1, FRAMES)));
        input.write(&folder.file("in.wav"));
        Self { folder, running: None, input }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.file(name)
    }

    /// Runs a command whose sockets are in the folder.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        command.env("XDG_RUNTIME_DIR", self.folder.path()).env("NDA_REPORTS", self.file("reports"));
        command
    }

    fn configure(&self, text: &str) -> PathBuf {
        config(&self.folder, text)
    }

    fn start(&mut self, text: &str) {
        self.start_by(hearing_hangups, text);
    }

    fn start_by(&mut self, by: impl FnOnce(&Command) -> Command, text: &str) {
        let (config, log) = (self.configure(text), self.file("nda.log"));
        let words = ["run", config.to_str().unwrap(), "--json", "-", "--log", log.to_str().unwrap()];
        let command = self.command(&words);
        let running = Running::start(by(&command));
        let socket = self.file(&format!("nda/nda-{}.sock", running.pid()));
        self.running = Some(running);
        until("a socket that is served", || self.is_served(&socket));
    }

    /// Whether a socket is there whose run has begun to play.
    fn is_served(&self, socket: &Path) -> bool {
        socket.exists() && self.ask(&["status"]).code == Some(0)
    }

    fn pid(&self) -> u32 {
        self.running.as_ref().expect("it runs").pid()
    }

    fn ask(&self, words: &[&str]) -> Done {
        Running::start(self.command(&[&["ctl"], words].concat())).wait()
    }

    /// Asks for what has to be done.
    fn done(&self, words: &[&str]) -> String {
        let done = self.ask(words);
        done.ended_with(0);
        done.stdout
    }

    fn status(&self) -> Value {
        let done = self.ask(&["status", "--json"]);
        done.ended_with(0);
        done.json()
    }

    /// The pipeline in the status.
    fn lane(&self, name: &str) -> Value {
        let status = self.status();
        let lanes = status["pipelines"].as_array().unwrap();
        lanes.iter().find(|lane| lane["name"] == name).cloned().unwrap_or_default()
    }

    /// When the status was taken, in seconds, and how many frames the pipeline had played.
    fn when_and_frames(&self, name: &str) -> (f64, u64) {
        let status = self.status();
        let lanes = status["pipelines"].as_array().unwrap();
        let lane = lanes.iter().find(|lane| lane["name"] == name).unwrap();
        (status["seconds"].as_f64().unwrap(), lane["status"]["frames"].as_u64().unwrap())
    }

    fn plugin(&self, pipeline: &str, number: usize) -> Value {
        self.lane(pipeline)["status"]["plugins"][number].clone()
    }

    /// Waits until a pipeline has played so many frames more.
    fn wait_played(&self, name: &str, frames: u64) {
        let played = || self.lane(name)["status"]["frames"].as_u64().unwrap_or(0);
        let from = played();
        until("frames to be played", || played() >= from + frames);
    }

    /// Ends the run in order; its report. On a machine that is busy elsewhere plugins may have been late.
    fn end(&mut self) -> Value {
        let running = self.running.take().expect("it runs");
        running.signal(Signal::INT);
        let done = running.wait();
        done.ended_with(if done.code == Some(9) { 9 } else { 0 });
        done.json()
    }

    /// All that this pipeline without plugins has played is the input, again and again, bit for bit; and it was closed
    /// once, at the end. What a busy machine did not get from or to the disk in time is silent or missing, and as much as
    /// is told.
    fn assert_untouched(&self, name: &str, report: &Value) {
        let pipeline = closed_once(name, report);
        let (heard, losses) = (self.heard(name), Losses::told(pipeline));
        let played = count(pipeline, "frames");
        assert!(
            played > 0 && heard.len() + losses.missing >= played,
            "{} of {played}, {losses:?}",
            heard.len()
        );
        let stray = stray(&heard, &self.input.channels[0], 0, losses);
        assert_eq!(stray, None, "{name} is another one from this frame on: {losses:?}");
    }

    fn heard(&self, name: &str) -> Vec<f32> {
        Wav::read(&self.file(&format!("{name}.wav"))).channels.remove(0)
    }
}

/// Frames that did not come through.
#[derive(Debug, Clone, Copy)]
struct Losses {
    /// Played in place of what was not there yet; all else comes so much later.
    silent: usize,
    /// Not recorded.
    missing: usize,
}

impl Losses {
    /// None.
    const NONE: Self = Self { silent: 0, missing: 0 };

    fn told(pipeline: &Value) -> Self {
        Self { silent: count(pipeline, "underrun_frames"), missing: count(pipeline, "overrun_frames") }
    }
}

fn count(pipeline: &Value, key: &str) -> usize {
    usize::try_from(pipeline[key].as_u64().unwrap()).unwrap()
}

/// The one pipeline of this name in a report.
fn closed_once<'a>(name: &str, report: &'a Value) -> &'a Value {
    let of_it = |pipeline: &&Value| pipeline["name"] == name;
    let pipelines: Vec<_> = report["pipelines"].as_array().unwrap().iter().filter(of_it).collect();
    assert_eq!(pipelines.len(), 1, "{name} was closed once: at the end");
    pipelines[0]
}

/// Frames in a row by which a place in the noise is known.
const WINDOW: usize = 64;

/// The first frame heard that is neither the input, again and again from frame `at` on, nor one of these losses.
fn stray(heard: &[f32], input: &[f32], mut at: usize, mut left: Losses) -> Option<usize> {
    let is = |i: usize, at: usize| heard[i].to_bits() == input[at % input.len()].to_bits();
    // As far as there is no silence, of which there is none in noise.
    let goes_on = |i: usize, at: usize| {
        let end = (i + WINDOW).min(heard.len());
        is(i, at) && (i..end).take_while(|n| heard[*n] != 0.0).all(|n| is(n, at + n - i))
    };
    for (i, sample) in heard.iter().enumerate() {
        if !is(i, at) {
            if *sample == 0.0 && left.silent > 0 {
                left.silent -= 1;
                continue;
            }
            let Some(cut) = (1..=left.missing).find(|cut| goes_on(i, at + cut)) else { return Some(i) };
            left.missing -= cut;
            at += cut;
        }
        at += 1;
    }
    None
}

/// The frames heard from which on a window is the input times one or minus one, and where in the input that is.
fn places(heard: &[f32], input: &[f32], sign: f32) -> Vec<(usize, usize)> {
    let bits = |sample: f32| (sign * sample).to_bits();
    let known: HashMap<u32, usize> =
        input.iter().enumerate().map(|(at, sample)| (bits(*sample), at)).collect();
    let found = |from: usize| {
        let at = *known.get(&heard[from].to_bits())?;
        let is = |n: usize| heard[from + n].to_bits() == bits(input[(at + n) % input.len()]);
        (0..WINDOW).all(is).then_some((from, at))
    };
    (0..heard.len().saturating_sub(WINDOW)).filter_map(found).collect()
}

#[test]
fn losses_that_are_told_are_allowed_for_and_nothing_else_is() {
    let input = noises(1, 2_000).remove(0);
    let played: Vec<f32> = input.iter().cycle().take(5_000).copied().collect();
    let silence = vec![0.0; 100];
    let lossy = [&played[..700], &silence, &played[700..3_000], &played[3_300..]].concat();
    let told = Losses { silent: 100, missing: 300 };
    assert_eq!(stray(&played, &input, 0, Losses::NONE), None);
    assert_eq!(stray(&lossy, &input, 0, told), None);
    assert_eq!(stray(&lossy, &input, 0, Losses { silent: 99, ..told }), Some(799));
    assert_eq!(stray(&lossy, &input, 0, Losses { missing: 299, ..told }), Some(3_100));
    let twice = [&lossy[..4_000], &lossy[4_300..]].concat();
    assert_eq!(stray(&twice, &input, 0, told), Some(4_000), "each loss counts once");
    assert_eq!(stray(&twice, &input, 0, Losses { missing: 600, ..told }), None);
    let other = [&lossy[..4_000], &[0.5], &lossy[4_001..]].concat();
    assert_eq!(stray(&other, &input, 0, told), Some(4_000), "also behind a loss");
    assert_eq!(stray(&other, &input, 0, Losses { silent: 200, missing: 600 }), Some(4_000));
}

/// A plugin in an entry of `plugins`, which is not called hung on a machine that is busy with other things.
fn entry(name: &str, file: &Path, more: &str) -> String {
    format!("{{ name = \"{name}\", file = {file:?}, mode = \"pipelined\", hang_ms = 60000, {more} }}")
}

/// A neighbour without plugins: whatever the machine does, it plays the input.
fn neighbour() -> String {
    pipeline("rx", "{ builtin = \"gain\", set = { db = 0 } }", "")
}

#[test]
fn a_pipeline_is_stopped_and_started_while_its_neighbour_plays_on_bit_for_bit() {
    let mut scene = Scene::new();
    let gain = tunable(&scene.folder, "gain", "", "");
    let tx = pipeline("tx", &entry("gain", &gain, ""), "");
    scene.start(&(tx + &neighbour()));
    scene.wait_played("tx", 10_000);
    let worker = scene.plugin("tx", 0)["pid"].as_u64().unwrap();
    let cores = scene.lane("tx")["status"]["cores"].clone();
    assert_eq!(scene.done(&["stop", "tx"]), "tx is stopped\n");
    assert!(process_ends(u32::try_from(worker).unwrap(), std::time::Duration::ZERO), "its worker is gone");
    assert!(Wav::read(&scene.file("tx.wav")).frames() >= 10_000, "its file is whole");
    let lane = scene.lane("tx");
    assert_eq!((&lane["state"], &lane["why"]), (&"stopped".into(), &Value::Null));
    scene.ask(&["get", "tx/gain", "gain"]).refused(3, &["tx does not play", "nda ctl start tx"]);
    scene.wait_played("rx", 10_000);
    assert_eq!(scene.done(&["start", "tx"]), "tx is playing\n");
    scene.wait_played("tx", 10_000);
    assert_ne!(scene.plugin("tx", 0)["pid"].as_u64().unwrap(), worker);
    assert_eq!(scene.done(&["start", "tx"]), "tx is playing\n", "it plays already");
    scene.done(&["stop", "tx"]);
    scene.done(&["start", "tx"]);
    scene.wait_played("tx", 1_000);
    assert_eq!(scene.lane("tx")["status"]["cores"], cores, "it has given its core back each time");
    let report = scene.end();
    scene.assert_untouched("rx", &report);
    let told = report["events"].to_string();
    assert!(told.contains("tx: stopped") && told.contains("tx: started"), "{told}");
}

#[test]
fn a_run_whose_pipelines_are_all_stopped_goes_on_and_can_be_started_again() {
    let mut scene = Scene::new();
    scene.start(&(pipeline("tx", "", "") + &neighbour()));
    scene.done(&["stop", "rx"]);
    scene.done(&["stop", "tx"]);
    assert_eq!(scene.lane("tx")["state"], "stopped");
    scene.done(&["start", "rx"]);
    scene.wait_played("rx", 1_000);
    let report = scene.end();
    // Its first life, the other's, its second one.
    let names: Vec<_> = report["pipelines"].as_array().unwrap().iter().map(|p| p["name"].clone()).collect();
    assert_eq!(names, ["rx", "tx", "rx"]);
    assert_eq!(report["ended_by"], "signal");
}

#[test]
fn a_pipeline_that_has_ended_is_played_again() {
    let mut scene = Scene::new();
    let once = "[[pipeline]]\nname = \"once\"\nsource = \"in.wav\"\nsink = \"once.wav\"\n";
    scene.start(&(once.to_owned() + &neighbour()));
    until("its end", || scene.lane("once")["state"] == "ended");
    assert_eq!(scene.heard("once").len(), FRAMES);
    assert_eq!(scene.done(&["start", "once"]), "once is playing\n");
    until("its end", || scene.lane("once")["state"] == "ended");
    scene.end();
    assert_eq!(scene.heard("once"), scene.input.channels[0]);
    assert_eq!(scene.heard("once-2"), scene.input.channels[0]);
}

#[test]
fn what_a_pipeline_has_recorded_is_kept_when_it_is_started_again_or_replaced() {
    let mut scene = Scene::new();
    std::fs::write(scene.file("rec.wav"), "of another run").unwrap();
    let tx = |more: &str| pipeline("tx", "", &format!("record = \"rec.wav\"\n{more}"));
    scene.start(&tx(""));
    scene.wait_played("tx", 10_000);
    scene.done(&["stop", "tx"]);
    let kept = ["tx.wav", "rec.wav"].map(|name| std::fs::read(scene.file(name)).unwrap());
    assert!(Wav::read(&scene.file("rec.wav")).frames() >= 10_000);
    assert!(!scene.file("rec-2.wav").exists());
    scene.done(&["start", "tx"]);
    scene.wait_played("tx", 1_000);
    assert!(scene.lane("tx")["status"]["sink"].as_str().unwrap().contains("rec-2.wav"));
    scene.configure(&tx("resampling = \"fast\""));
    scene.done(&["reload"]);
    scene.wait_played("tx", 1_000);
    let report = scene.end();
    assert_eq!(["tx.wav", "rec.wav"].map(|name| std::fs::read(scene.file(name)).unwrap()), kept);
    for name in ["tx-2", "rec-2", "tx-3", "rec-3"] {
        assert!(scene.heard(name).len() >= 1_000, "{name}");
    }
    let told = report["events"].to_string();
    assert!(told.contains("rec.wav is kept") && told.contains("rec-3.wav"), "{told}");
}

#[test]
fn one_that_can_not_be_started_is_told_with_the_reason_and_the_others_play_on() {
    let mut scene = Scene::new();
    let gain = tunable(&scene.folder, "gain", "", "");
    scene.start(&(pipeline("tx", &entry("gain", &gain, ""), "") + &neighbour()));
    scene.done(&["stop", "tx"]);
    let good = std::fs::read_to_string(&gain).unwrap();
    std::fs::write(&gain, "import nothing_of_this_name\n").unwrap();
    scene.ask(&["start", "tx"]).refused(6, &["tx is failed", "nothing_of_this_name"]);
    let lane = scene.lane("tx");
    assert_eq!(lane["state"], "failed");
    assert!(lane["why"].as_str().unwrap().contains("nothing_of_this_name"));
    assert!(scene.done(&["status"]).contains("tx: failed: plugin tx/gain"));
    std::fs::write(&gain, good).unwrap();
    scene.done(&["start", "tx"]);
    scene.wait_played("rx", 1_000);
    let report = scene.end();
    scene.assert_untouched("rx", &report);
}

#[test]
fn while_a_plugin_takes_its_time_to_load_the_run_answers_and_the_neighbour_plays() {
    let mut scene = Scene::new();
    let gain = tunable(&scene.folder, "gain", "", "");
    scene.start(&(pipeline("tx", &entry("gain", &gain, ""), "") + &neighbour()));
    scene.done(&["stop", "tx"]);
    let gate = tests::gate::Gate::new(&scene.folder);
    let good = std::fs::read_to_string(&gain).unwrap();
    std::fs::write(&gain, format!("open({:?}).read(1)\n{good}", gate.path())).unwrap();
    let starts = Running::start(scene.command(&["ctl", "start", "tx"]));
    until("tx to be starting", || scene.lane("tx")["state"] == "starting");
    scene.wait_played("rx", 10_000);
    scene.done(&["mute", "rx", "off"]);
    gate.open();
    assert_eq!(starts.wait().ended_with(0).stdout, "tx is playing\n");
    let report = scene.end();
    scene.assert_untouched("rx", &report);
}

#[test]
fn a_run_that_ends_waits_for_no_plugin_that_is_being_loaded() {
    let mut scene = Scene::new();
    let gain = tunable(&scene.folder, "gain", "", "");
    scene.start(&(pipeline("tx", &entry("gain", &gain, ""), "") + &neighbour()));
    scene.done(&["stop", "tx"]);
    let gate = tests::gate::Gate::new(&scene.folder);
    std::fs::write(&gain, format!("open({:?}).read(1)\n", gate.path())).unwrap();
    let starts = Running::start(scene.command(&["ctl", "start", "tx"]));
    until("tx to be starting", || scene.lane("tx")["state"] == "starting");
    let report = scene.end();
    starts.wait().refused(11, &["the run has ended"]);
    scene.assert_untouched("rx", &report);
}

#[test]
fn parameters_are_set_and_read_and_a_plugin_is_named_alone_where_there_is_no_other() {
    let mut scene = Scene::new();
    let body = "if key == 'bad': raise ValueError('no such thing')\nreturn key != 'stubborn'";
    let methods = format!("def set_parameter(self, key, value):\n    {}\n", body.replace('\n', "\n    "));
    let picky = processor_with(&scene.folder, "picky", "return True", &methods);
    let gain = tunable(&scene.folder, "gain", "", "");
    let (own, both) = (entry("own", &picky, ""), entry("both", &gain, ""));
    scene.start(&(pipeline("tx", &format!("{own}, {both}"), "") + &pipeline("rx", &both, "")));
    assert_eq!(scene.done(&["set", "tx/both", "gain", "-0.5"]), "tx/both: gain is set\n");
    assert_eq!(scene.done(&["get", "tx/both", "gain"]), "-0.5\n");
    assert_eq!(scene.done(&["get", "rx/both", "gain"]), "\n", "the other one was not asked");
    let answer: Value =
        serde_json::from_str(&scene.done(&["get", "tx/both", "gain", "--json"])).expect("JSON");
    assert_eq!(answer["value"], "-0.5");
    scene.done(&["set", "own", "any", "1"]);
    scene.ask(&["set", "own", "stubborn", "secret"]).refused(6, &["tx/own", "`stubborn`"]);
    scene.ask(&["set", "own", "bad", "1"]).refused(6, &["no such thing"]);
    scene.ask(&["set", "both", "gain", "1"]).refused(3, &["several", "tx/both, rx/both"]);
    scene.ask(&["set", "none", "gain", "1"]).refused(3, &["no plugin none", "tx/own"]);
    scene.ask(&["mute", "none", "on"]).refused(3, &["no pipeline none", "tx, rx"]);
    let report = scene.end();
    let told = report["events"].to_string();
    assert!(told.contains("tx/both: gain is set") && told.contains("tx/own: any is set"), "{told}");
    assert!(!told.contains("stubborn is set"), "{told}");
    assert!(!report.to_string().contains("secret"), "a value may be a key");
}

#[test]
fn a_value_that_nobody_is_to_see_is_read_from_standard_input() {
    let mut scene = Scene::new();
    let gain = tunable(&scene.folder, "gain", "", "");
    scene.start(&pipeline("tx", &entry("gain", &gain, ""), ""));
    let file = scene.folder.write("key", "0.25\n");
    let mut ask = scene.command(&["ctl", "set", "gain", "gain", "-"]);
    let done = ask.stdin(std::fs::File::open(file).unwrap()).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    assert_eq!(scene.done(&["get", "gain", "gain"]), "0.25\n");
    scene.end();
}

#[test]
fn a_plugin_is_restarted_and_keeps_what_was_set() {
    let mut scene = Scene::new();
    let gain = tunable(&scene.folder, "gain", "", "");
    scene.start(&(pipeline("tx", &entry("gain", &gain, ""), "") + &neighbour()));
    scene.done(&["set", "gain", "gain", "-0.5"]);
    let before = scene.plugin("tx", 0)["pid"].clone();
    assert_eq!(scene.done(&["restart", "tx/gain"]), "tx/gain is being restarted\n");
    until("another worker", || {
        let plugin = scene.plugin("tx", 0);
        plugin["pid"] != before && plugin["dead"].is_null()
    });
    assert_eq!(scene.done(&["get", "gain", "gain"]), "-0.5\n");
    let report = scene.end();
    scene.assert_untouched("rx", &report);
}

#[test]
fn while_a_plugin_is_replaced_asking_it_is_told_to_wait_and_what_is_set_is_told_to_be_kept() {
    let mut scene = Scene::new();
    let gain = tunable(&scene.folder, "gain", "", "");
    scene.start(&pipeline("tx", &entry("gain", &gain, ""), ""));
    let gate = tests::gate::Gate::new(&scene.folder);
    let good = std::fs::read_to_string(&gain).unwrap();
    std::fs::write(&gain, format!("open({:?}).read(1)\n{good}", gate.path())).unwrap();
    scene.done(&["restart", "gain"]);
    // At once, when the old one may still be going, and when it is gone.
    let asked = scene.ask(&["get", "gain", "gain"]);
    assert!(asked.code == Some(0) || asked.stderr.contains("is being replaced"), "{asked}");
    until("it to be gone", || !scene.plugin("tx", 0)["dead"].is_null());
    let asked = scene.ask(&["get", "gain", "gain"]);
    asked.refused(10, &["plugin tx/gain is being replaced", "try: ask again in a moment"]);
    assert!(!asked.stderr.contains("ended by the host"), "{asked}");
    let kept = "tx/gain: gain is kept for its replacement\n";
    assert_eq!(scene.done(&["set", "gain", "gain", "-0.25"]), kept);
    let answer: Value =
        serde_json::from_str(&scene.done(&["set", "gain", "gain", "-0.5", "--json"])).expect("JSON");
    assert_eq!(answer["kept"], true);
    gate.open();
    until("its replacement", || scene.ask(&["get", "gain", "gain"]).code == Some(0));
    assert_eq!(scene.done(&["get", "gain", "gain"]), "-0.5\n");
    scene.end();
}

#[test]
fn a_bypassed_plugin_is_heard_dry_in_its_place_and_loses_no_block_by_it() {
    let mut scene = Scene::new();
    let gain = tunable(&scene.folder, "gain", "", "");
    scene.start(&(pipeline("tx", &entry("gain", &gain, "lost = \"mute\""), "") + &neighbour()));
    let good = || scene.plugin("tx", 0)["counts"]["good"].as_u64().unwrap();
    // However busy the machine is: some of its blocks are heard.
    until("blocks of the plugin", || good() >= 20);
    assert_eq!(scene.done(&["bypass", "tx/gain", "on"]), "tx/gain is bypassed\n");
    scene.wait_played("tx", 20_000);
    assert_eq!(scene.plugin("tx", 0)["bypassed"], true);
    assert!(scene.done(&["status"]).contains("gain (gain 1, pipelined, bypassed)"));
    scene.done(&["bypass", "gain", "off"]);
    scene.wait_played("tx", 5_000);
    let before = good();
    until("blocks of the plugin again", || good() >= before + 20);
    let report = scene.end();
    scene.assert_untouched("rx", &report);
    assert_dry_in_between(
        &scene.heard("tx"),
        &scene.input.channels[0],
        Losses::told(closed_once("tx", &report)),
    );
}

/// Turned round, as it is and turned round again, always a block late. Where it is dry it does not depend on how fast the
/// plugin is: from its first such frame to the last there is no other.
fn assert_dry_in_between(heard: &[f32], input: &[f32], losses: Losses) {
    let [dry, wet] = [1.0, -1.0].map(|sign| places(heard, input, sign));
    let (first, last) = (dry[0], dry[dry.len() - 1].0 + WINDOW);
    assert_eq!(stray(&heard[first.0..last], input, first.1, losses), None, "from {first:?} to {last}");
    assert!(last - first.0 + losses.missing >= 20_000 - 256, "{first:?} to {last}");
    assert!(wet.iter().any(|(frame, _)| *frame < first.0) && wet.iter().any(|(frame, _)| *frame > last));
    let is_in_step = |(frame, at): &(usize, usize)| {
        let late = (frame + FRAMES - at) % FRAMES;
        late + losses.missing >= 256 && late <= 256 + losses.silent
    };
    let astray = dry.iter().chain(&wet).find(|place| !is_in_step(place));
    assert_eq!(astray, None, "{losses:?}");
}

#[test]
fn what_fails_closed_and_what_has_no_dry_signal_is_not_bypassed() {
    let mut scene = Scene::new();
    let gain = tunable(&scene.folder, "gain", "", "");
    let tone = tests::plugins::source(&scene.folder, "tone", "buffer.data[:] = 0.5\nreturn True");
    let closed = entry("closed", &gain, "fail_closed = true, lost = \"mute\"");
    let text = format!(
        "[[pipeline]]\nname = \"tx\"\nsource = {{ plugin = {tone:?} }}\nsink = \"tx.wav\"\nplugins = [{closed}]\n"
    );
    scene.start(&text);
    scene.ask(&["bypass", "closed", "on"]).refused(3, &["fails closed"]);
    scene.ask(&["bypass", "tone", "on"]).refused(3, &["nothing goes into a source"]);
    assert_eq!(scene.plugin("tx", 1)["bypassed"], false);
    scene.done(&["bypass", "closed", "off"]);
    scene.end();
}

#[test]
fn a_muted_pipeline_records_silence_without_a_step_and_stays_muted_when_it_is_started_again() {
    let mut scene = Scene::new();
    let constant = Wav::new(vec![vec![1.0; FRAMES]]);
    constant.write(&scene.file("in.wav"));
    scene.start(&pipeline("tx", "", ""));
    scene.wait_played("tx", 1_000);
    assert_eq!(scene.done(&["mute", "tx", "on"]), "tx is muted\n");
    scene.wait_played("tx", 5_000);
    scene.done(&["mute", "tx", "off"]);
    scene.wait_played("tx", 1_000);
    scene.done(&["mute", "tx", "on"]);
    scene.done(&["stop", "tx"]);
    let heard = scene.heard("tx");
    assert!(tests::audio::largest_step(&heard) < 1.01 / 256.0);
    assert!(heard.iter().filter(|sample| **sample == 0.0).count() > 4_000);
    assert!(heard.iter().filter(|sample| **sample == 1.0).count() > 1_000);
    scene.done(&["start", "tx"]);
    scene.wait_played("tx", 1_000);
    assert_eq!(scene.lane("tx")["muted"], true);
    scene.end();
    assert!(scene.heard("tx-2").iter().all(|sample| *sample == 0.0));
}

#[test]
fn a_status_is_as_it_is_when_it_is_asked_for() {
    let mut scene = Scene::new();
    scene.start(&pipeline("tx", "", ""));
    scene.wait_played("tx", 1_000);
    // Sooner than a run that looks at its pipelines ten times a second on its own could know of it.
    const SOON_S: f64 = 0.05;
    until("three looks soon one after the other that all differ", || {
        let [first, second, third] = [(); 3].map(|()| scene.when_and_frames("tx"));
        third.0 - first.0 < SOON_S && first.1 < second.1 && second.1 < third.1
    });
    scene.end();
}

#[test]
fn what_is_muted_and_bypassed_stays_so_when_a_reload_replaces_a_pipeline_or_takes_it_away_and_brings_it_back()
{
    let mut scene = Scene::new();
    let gain = tunable(&scene.folder, "gain", "", "");
    let quiet = || pipeline("quiet", "", "");
    let with = |more: &str| pipeline("tx", &entry("gain", &gain, more), "") + &quiet() + &neighbour();
    scene.start(&with(""));
    scene.done(&["bypass", "tx/gain", "on"]);
    scene.done(&["mute", "quiet", "on"]);
    let reload = |scene: &Scene, text: &str| {
        scene.configure(text);
        scene.done(&["reload"])
    };
    // Taken away and brought back.
    reload(&scene, &neighbour());
    assert_eq!((scene.lane("tx"), scene.lane("quiet")), (Value::Null, Value::Null));
    let said = reload(&scene, &with(""));
    assert!(said.contains("tx is playing, gain bypassed\nquiet is playing, muted\n"), "{said}");
    scene.wait_played("tx", 5_000);
    scene.wait_played("quiet", 5_000);
    assert_eq!(scene.lane("tx")["bypassed"], Value::from(["gain"].to_vec()));
    // Without the plugin, with one of that name that must not be bypassed, and as it was.
    reload(&scene, &(pipeline("tx", "", "") + &quiet() + &neighbour()));
    assert_eq!(scene.lane("tx")["bypassed"], Value::Array(vec![]));
    let said = reload(&scene, &with("fail_closed = true"));
    assert!(said.contains("tx is playing\n"), "{said}");
    assert_eq!(scene.lane("tx")["bypassed"], Value::Array(vec![]));
    let said = reload(&scene, &with("lost = \"mute\""));
    assert!(said.contains("tx is playing, gain bypassed\n"), "{said}");
    // Taken back.
    scene.done(&["bypass", "tx/gain", "off"]);
    scene.done(&["mute", "quiet", "off"]);
    reload(&scene, &neighbour());
    let said = reload(&scene, &with(""));
    assert!(said.contains("tx is playing\nquiet is playing\n"), "{said}");
    scene.wait_played("quiet", 1_000);
    let report = scene.end();
    scene.assert_untouched("rx", &report);
    let (dry, silent) = (scene.heard("tx-2"), scene.heard("quiet-2"));
    assert!(dry.len() >= 5_000 && silent.len() >= 5_000, "{} and {}", dry.len(), silent.len());
    // A block late and joined to silence, not to what the plugin makes of it, which is turned round.
    let input = |at: usize| scene.input.channels[0][(at - 256) % FRAMES];
    assert!((256..512).all(|at| (dry[at] - input(at)).abs() <= input(256).abs()));
    assert!((512..dry.len()).all(|at| dry[at] == input(at)));
    // It was heard again in the end.
    assert!(silent[..5_000].iter().all(|sample| *sample == 0.0));
    assert!(scene.heard("quiet-3").iter().any(|sample| *sample != 0.0));
}

#[test]
fn a_reload_changes_what_differs_and_nothing_else() {
    let mut scene = Scene::new();
    let gain = tunable(&scene.folder, "gain", "", "");
    let plugin = |set: &str| entry("gain", &gain, set);
    let [same, tuned, moved, gone] = ["same", "tuned", "moved", "gone"];
    let first = pipeline(same, &plugin(""), "")
        + &pipeline(tuned, &format!("{}, {{ builtin = \"gain\", set = {{ db = 0 }} }}", plugin("")), "")
        + &pipeline(moved, &plugin(""), "")
        + &pipeline(gone, "", "")
        + &neighbour();
    scene.start(&first);
    let pid = |name: &str| scene.plugin(name, 0)["pid"].clone();
    let before = [same, tuned, moved].map(pid);
    assert_eq!(scene.done(&["reload"]), "nothing differs\n");
    scene.configure(
        &(neighbour()
            + &pipeline(same, &plugin(""), "")
            + &pipeline(
                tuned,
                &format!(
                    "{}, {{ builtin = \"gain\", set = {{ db = -6 }} }}",
                    plugin("set = { gain = \"-0.5\" }")
                ),
                "",
            )
            + &pipeline(moved, &plugin(""), "record = \"copy.wav\"")
            + &pipeline("new", "", "")),
    );
    let said = scene.done(&["reload"]);
    for line in [
        "gone: it is gone",
        "tuned: other parameters",
        "moved: it differs",
        "new: it is new",
        "gone is gone",
        "new is playing",
        "moved is playing",
    ] {
        assert!(said.contains(line), "{line} is not in {said}");
    }
    let status = scene.status();
    let names: Vec<_> =
        status["pipelines"].as_array().unwrap().iter().map(|lane| lane["name"].clone()).collect();
    assert_eq!(names, ["rx", same, tuned, moved, "new"], "in the order of the file");
    let after = [same, tuned, moved].map(pid);
    assert_eq!((&after[0], &after[1]), (&before[0], &before[1]));
    assert_ne!(after[2], before[2]);
    assert_eq!(scene.done(&["get", "tuned/gain", "gain"]), "-0.5\n");
    assert_eq!(scene.done(&["reload"]), "nothing differs\n");
    scene.wait_played(tuned, 2_000);
    let report = scene.end();
    scene.assert_untouched("rx", &report);
    let heard = scene.heard(tuned);
    let (last, at) = (heard[heard.len() - 1], (heard.len() - 1 - 256) % FRAMES);
    let expected = scene.input.channels[0][at] * -0.5 * 10f32.powf(-6.0 / 20.0);
    assert!((last - expected).abs() < 1e-6, "{last} is not {expected}");
    assert!(scene.file("copy.wav").exists());
}

#[test]
fn pipelines_without_a_name_play_on_whatever_is_put_beside_them_and_keep_the_names_they_have() {
    let mut scene = Scene::new();
    let unnamed = |file: &str| pipeline(file, "", "").replace(&format!("name = \"{file}\"\n"), "");
    // Called after what they will be called.
    let [main, first, second] = ["main", "pipeline 1", "pipeline 2"].map(unnamed);
    scene.start(&pipeline("main", "", ""));
    scene.wait_played("main", 1_000);
    let reload = |scene: &Scene, pipelines: &[&String]| {
        scene.configure(&pipelines.iter().map(|text| text.as_str()).collect::<String>());
        scene.done(&["reload"])
    };
    assert_eq!(reload(&scene, &[&main]), "nothing differs\n", "it has its name by itself now");
    assert_eq!(reload(&scene, &[&main, &second]), "pipeline 2: it is new\npipeline 2 is playing\n");
    assert_eq!(scene.done(&["mute", "pipeline 2", "on"]), "pipeline 2 is muted\n");
    let said = reload(&scene, &[&first, &second, &main]);
    assert_eq!(said, "pipeline 1: it is new\npipeline 1 is playing\n");
    let status = scene.status();
    let is = |lane: &Value| (lane["name"].clone(), lane["muted"].clone());
    let lanes: Vec<_> = status["pipelines"].as_array().unwrap().iter().map(is).collect();
    let expected = [("pipeline 1", false), ("pipeline 2", true), ("main", false)];
    assert_eq!(lanes, expected.map(|(name, muted)| (name.into(), muted.into())), "in the order of the file");
    scene.done(&["mute", "pipeline 1", "on"]);
    assert_eq!(reload(&scene, &[&main, &second]), "pipeline 1: it is gone\npipeline 1 is gone\n");
    let said = reload(&scene, &[&main, &second, &first]);
    assert_eq!(said, "pipeline 1: it is new\npipeline 1 is playing, muted\n", "it is back");
    scene.done(&["mute", "pipeline 2", "off"]);
    assert_eq!(scene.done(&["reload"]), "nothing differs\n");
    scene.wait_played("main", 1_000);
    let report = scene.end();
    scene.assert_untouched("main", &report);
    closed_once("pipeline 2", &report);
}

#[test]
fn a_parameter_that_is_refused_at_a_reload_stays_as_it_was_also_when_the_pipeline_is_started_again() {
    let mut scene = Scene::new();
    let methods = "
def set_parameter(self, key, value):
    self.got = {**getattr(self, 'got', {}), **({key: value} if value != 'never' else {})}
    return value != 'never'

def get_parameter(self, key):
    return getattr(self, 'got', {}).get(key, '')";
    let picky = processor_with(&scene.folder, "picky", "return True", methods);
    let text = |set: &str| pipeline("tx", &entry("picky", &picky, &format!("set = {{ {set} }}")), "");
    let good = text("gain = \"0.5\"");
    scene.start(&good);
    scene.configure(&text("gain = \"never\", new = \"never\""));
    for _ in 0..2 {
        scene.ask(&["reload"]).refused(6, &["tx: other parameters", "`gain`", "`new`"]);
        scene.done(&["stop", "tx"]);
        assert_eq!(scene.done(&["start", "tx"]), "tx is playing\n");
        assert_eq!(scene.done(&["get", "picky", "gain"]), "0.5\n");
    }
    scene.configure(&good);
    assert_eq!(scene.done(&["reload"]), "nothing differs\n");
    scene.end();
}

#[test]
fn a_value_that_a_plugin_refuses_is_told_to_whoever_asks_and_stays_out_of_every_log() {
    assert_stays_out_of_every_log("return value == 'good'", "does not accept", "against the plugin's file");
}

#[test]
fn a_value_that_a_plugin_raises_about_is_told_to_whoever_asks_and_stays_out_of_every_log() {
    let raises = "if value != 'good': raise ValueError(f'no {value}')";
    assert_stays_out_of_every_log(raises, "failed while setting a parameter", "ValueError: no hunter2");
}

/// `set_parameter` does this with the value; what comes of that is told in these words, to whoever sets it while it plays
/// in these too.
fn assert_stays_out_of_every_log(set_parameter: &str, said: &str, said_while_it_plays: &str) {
    let mut scene = Scene::new();
    let methods = format!("\ndef set_parameter(self, key, value):\n    {set_parameter}");
    let picky = processor_with(&scene.folder, "picky", "return True", &methods);
    let text =
        |value: &str| pipeline("tx", &entry("picky", &picky, &format!("set = {{ key = \"{value}\" }}")), "");
    scene.start(&text("good"));
    scene.configure(&text("hunter2"));
    scene.ask(&["reload"]).refused(6, &[said, said_while_it_plays]);
    scene.done(&["stop", "tx"]);
    scene.ask(&["reload"]);
    scene.ask(&["start", "tx"]).refused(6, &[said, "key", "hunter2"]);
    assert!(scene.lane("tx")["why"].to_string().contains("hunter2"));
    let running = scene.running.take().unwrap();
    running.signal(Signal::INT);
    let done = running.wait();
    done.ended_with(0).and_said(said);
    let log = std::fs::read_to_string(scene.file("nda.log")).unwrap();
    assert_eq!(log.matches(said).count(), 2, "{log}");
    assert!(!log.contains("hunter2"), "{log}");
    assert!(!done.to_string().contains("hunter2"), "{done}");
    // Where a run goes on by itself, what it says may be kept.
    let config = scene.configure(&text("hunter2"));
    let refused = Running::start(scene.command(&["run", config.to_str().unwrap()])).wait();
    refused.refused(6, &[said]);
    assert!(!refused.to_string().contains("hunter2"), "{refused}");
}

#[test]
fn a_pipeline_whose_new_device_is_not_there_plays_on_as_it_did_before() {
    let mut scene = Scene::new();
    let good = pipeline("tx", "", "");
    scene.start(&(good.clone() + &neighbour()));
    scene.wait_played("tx", 1_000);
    let bad = good.replace("\"tx.wav\"", "{ device = \"no such device\" }");
    for _ in 0..2 {
        scene.configure(&(bad.clone() + &neighbour()));
        let refused = scene.ask(&["reload"]);
        refused.refused(8, &["tx: it differs", "tx is playing", "started again as it was", "no such device"]);
        scene.wait_played("tx", 1_000);
        let lane = scene.lane("tx");
        assert!(lane["why"].as_str().unwrap().contains("no such device"), "{lane}");
        assert!(lane["status"]["sink"].as_str().unwrap().ends_with(".wav"), "{lane}");
    }
    scene.configure(&(good.clone() + &neighbour()));
    assert_eq!(scene.done(&["reload"]), "nothing differs\n");
    assert_eq!(scene.lane("tx")["why"], Value::Null);
    // One that was stopped has nothing to go back to.
    scene.configure(&(bad + &neighbour()));
    scene.done(&["stop", "tx"]);
    scene.done(&["reload"]);
    scene.ask(&["start", "tx"]).refused(8, &["tx is failed", "no such device"]);
    scene.configure(&(good + &neighbour()));
    scene.done(&["reload"]);
    scene.wait_played("tx", 1_000);
    let report = scene.end();
    scene.assert_untouched("rx", &report);
}

#[test]
fn of_several_pipelines_that_a_reload_can_not_start_each_is_told_with_its_own_reason() {
    let mut scene = Scene::new();
    scene.start(&neighbour());
    let wrong = |name: &str, map: &str| {
        let sink = format!("sink = {{ file = \"{name}.wav\", map = {map} }}");
        pipeline(name, "", "").replace(&format!("sink = \"{name}.wav\""), &sink)
    };
    scene.configure(&(neighbour() + &wrong("tx", "[2]") + &wrong("ty", "[1, 3]")));
    let asked = scene.ask(&["reload"]);
    asked.refused(3, &["tx is failed", "ty is failed", "\ntx: sink /", "\nty: sink /"]);
    asked.and_said("/ty.wav: the map names channel 3");
    let report = scene.end();
    scene.assert_untouched("rx", &report);
}

#[test]
fn a_file_with_a_fault_changes_nothing_and_the_fault_is_told_with_its_place() {
    let mut scene = Scene::new();
    let good = pipeline("tx", "", "") + &neighbour();
    scene.start(&good);
    let config = scene.configure(&good.replace("block = 256", "block = 7"));
    scene.ask(&["reload"]).refused(3, &["nda.toml:4:9:", "nda.toml:11:9:"]);
    std::fs::remove_file(config).unwrap();
    scene.ask(&["reload"]).refused(3, &["there is no configuration file"]);
    assert_eq!(
        (scene.lane("tx")["state"].clone(), scene.lane("rx")["state"].clone()),
        ("playing".into(), "playing".into())
    );
    let report = scene.end();
    scene.assert_untouched("rx", &report);
    assert!(report["events"].to_string().contains("the configuration is not changed"));
}

#[test]
fn sighup_reads_the_configuration_again() {
    let mut scene = Scene::new();
    scene.start(&neighbour());
    scene.configure(&(neighbour() + &pipeline("tx", "", "")));
    scene.running.as_ref().unwrap().signal(Signal::HUP);
    until("the new one", || scene.lane("tx")["state"] == "playing");
    scene.wait_played("tx", 1_000);
    let report = scene.end();
    scene.assert_untouched("rx", &report);
}

#[test]
fn under_nohup_sighup_does_nothing_and_a_request_reloads_all_the_same() {
    let mut scene = Scene::new();
    scene.start_by(|command| started_by(&["nohup"], command), &neighbour());
    scene.configure(&(neighbour() + &pipeline("tx", "", "")));
    scene.running.as_ref().unwrap().signal(Signal::HUP);
    scene.wait_played("rx", 20_000);
    assert_eq!(scene.lane("tx"), Value::Null);
    scene.done(&["reload"]);
    assert_eq!(scene.lane("tx")["state"], "playing");
    let report = scene.end();
    assert_eq!(report["events"].to_string().matches("configuration read again").count(), 1, "{report}");
}

#[test]
fn a_plugin_that_is_given_up_in_one_pipeline_is_brought_back_by_a_restart_and_the_other_knows_nothing_of_it()
{
    let mut scene = Scene::new();
    let body = format!("{}return True", tells("playing", 5));
    let fragile = processor(&scene.folder, "fragile", &body);
    let plugin = entry("fragile", &fragile, "restart = false");
    scene.start(&(pipeline("tx", &plugin, "") + &neighbour()));
    signal(wait_told(&scene.folder, "playing"), Signal::KILL);
    until("it to be given up", || scene.plugin("tx", 0)["quarantined"] == true);
    scene.wait_played("rx", 5_000);
    let asked = scene.ask(&["get", "fragile", "blocks"]);
    let why = "plugin tx/fragile has been given up: its worker was killed by SIGKILL";
    asked.refused(10, &[why, "try: nda ctl restart tx/fragile"]);
    assert!(!asked.stderr.contains("while reading"), "{asked}");
    let kept = scene.done(&["set", "fragile", "any", "1"]);
    assert_eq!(kept, "tx/fragile: any is kept until it is started again (nda ctl restart tx/fragile)\n");
    scene.done(&["restart", "fragile"]);
    until("it to be back", || scene.plugin("tx", 0)["dead"].is_null());
    let report = scene.end();
    scene.assert_untouched("rx", &report);
}

/// Whether this user can have what `unshare` is asked for, such as mounts of his own.
fn can_unshare(options: &[&str]) -> bool {
    let probe = Command::new("unshare").arg("--map-root-user").args(options).arg("true").output();
    probe.is_ok_and(|probe| probe.status.success())
}

#[test]
fn a_full_disk_in_one_pipeline_leaves_the_other_untouched() {
    if !can_unshare(&["--mount"]) {
        assert!(!rustix::process::geteuid().is_root(), "root should be able to mount");
        eprintln!("not shown: this user can have no mounts of his own");
        return;
    }
    let mut scene = Scene::new();
    let disk = scene.file("disk");
    std::fs::create_dir(&disk).unwrap();
    let full = pipeline("tx", "", "").replace("tx.wav", "disk/tx.wav");
    let config = scene.configure(&(full + &neighbour()));
    let run = scene.command(&["run", config.to_str().unwrap(), "--json", "-"]);
    // A disk of 64 KiB, in place of the folder, for this command alone.
    let mut shell = Command::new("unshare");
    let script = "mount -t tmpfs -o size=64k small \"$0\" || exit 99; exec \"$@\"";
    shell.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(disk);
    shell.arg(run.get_program()).args(run.get_args());
    shell.envs(run.get_envs().filter_map(|(key, value)| Some((key, value?)))).env_remove("VIRTUAL_ENV");
    scene.running = Some(Running::start(shell));
    until("a run", || scene.ask(&["status"]).code == Some(0));
    scene.wait_played("tx", 40_000);
    scene.wait_played("rx", 10_000);
    assert_eq!(scene.lane("tx")["state"], "playing");
    let status = scene.ask(&["status"]);
    assert!(status.stdout.contains("tx.wav could not be written to its end"), "{status}");
    let report = scene.end();
    assert!(report["damaged"].to_string().contains("tx.wav"), "{report}");
    scene.assert_untouched("rx", &report);
}

#[test]
fn the_socket_is_the_users_alone_and_hostile_words_end_nothing() {
    let mut scene = Scene::new();
    scene.start(&neighbour());
    let socket = scene.file(&format!("nda/nda-{}.sock", scene.pid()));
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    let mut stream = UnixStream::connect(&socket).unwrap();
    for words in ["{}", "\u{0}", "[[[[", r#"{"do":"set","plugin":"x","key":"k"}"#] {
        writeln!(stream, "{words}").unwrap();
        let mut answer = String::new();
        BufReader::new(&stream).read_line(&mut answer).unwrap();
        assert!(answer.starts_with("{\"refused\":"), "{answer}");
    }
    drop(stream);
    assert_owner_is_told(&socket);
    assert_turned_away(&socket);
    let report = scene.end();
    scene.assert_untouched("rx", &report);
    assert!(!socket.exists(), "it goes with its run");
}

/// Another user, who may not even look into the folder of the run's, is told whose run it is, and not to start one.
fn assert_owner_is_told(socket: &Path) {
    let nobody = Uid::from_raw(65_534);
    if !rustix::process::geteuid().is_root() {
        eprintln!("not shown: this user can be no other one");
        return;
    }
    let path = socket.to_owned();
    let stranger = std::thread::spawn(move || {
        set_thread_res_uid(nobody, nobody, nobody).unwrap();
        host::control::ask(&path, &host::control::Request::Status {}).unwrap_err().to_string()
    });
    let said = stranger.join().unwrap();
    assert!(said.contains("is another user's (uid 0)") && said.contains("try: ask as that user"), "{said}");
    assert!(said.contains("sudo -u '#0' nda ctl") && !said.contains("nda run"), "{said}");
}

/// Whoever is not the run's user, nor root, is turned away also where the way to the socket has been opened to all.
fn assert_turned_away(socket: &Path) {
    let nobody = Uid::from_raw(65_534);
    if !rustix::process::geteuid().is_root() {
        eprintln!("not shown: this user can be no other one");
        return;
    }
    for path in [socket, socket.parent().unwrap(), socket.ancestors().nth(2).unwrap()] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let path = socket.to_owned();
    // The kernel tells the server of the thread that connects.
    let stranger = std::thread::spawn(move || {
        set_thread_res_uid(nobody, nobody, nobody).unwrap();
        let mut stream = UnixStream::connect(&path).unwrap();
        let _ = writeln!(stream, r#"{{"do":"status"}}"#);
        let mut answer = String::new();
        BufReader::new(&stream).read_line(&mut answer).unwrap();
        answer
    });
    let answer = stranger.join().unwrap();
    assert!(answer.contains("this run belongs to another user"), "{answer}");
}

#[test]
fn without_a_run_with_several_and_with_another_socket_it_is_told_what_to_do() {
    let mut scene = Scene::new();
    scene.ask(&["status"]).refused(11, &["there is no run", "nda run CONFIG.toml"]);
    let told = scene.ask(&["status", "--json"]);
    told.ended_with(11);
    let error = &told.json()["error"];
    assert_eq!((&error["kind"], &error["code"]), (&"control".into(), &11.into()), "{told}");
    assert!(error["why"].as_str().unwrap().contains("there is no run") && told.stderr.is_empty(), "{told}");
    scene.start(&neighbour());
    let (config, socket) = (scene.file("nda.toml"), scene.file("my.sock"));
    let (config, path) = (config.to_str().unwrap(), socket.to_str().unwrap());
    // A second run of the same file, which writes elsewhere; it is found by its process.
    let other = scene.folder.write("other.toml", &neighbour().replace("rx.wav", "other.wav"));
    let second = Running::start(scene.command(&["run", other.to_str().unwrap()]));
    until("the second run", || scene.ask(&["status"]).code == Some(11));
    scene.ask(&["status"]).refused(11, &["there are several runs", "nda (process", "other (process"]);
    until("its answer", || scene.ask(&["--run", "other", "status"]).code == Some(0));
    assert!(scene.done(&["status", "--run", &scene.pid().to_string()]).contains("nda.toml, process"));
    second.signal(Signal::INT);
    second.wait().ended_with(0);
    // One whose socket is named, by the command line; a second one can't have the same.
    let named = scene.command(&["run", other.to_str().unwrap(), "--socket", path]);
    let named = Running::start(named);
    until("a named socket", || scene.ask(&["--socket", path, "status"]).code == Some(0));
    Running::start(scene.command(&["run", config, "--socket", path])).wait().refused(1, &["my.sock"]);
    named.signal(Signal::INT);
    named.wait().ended_with(0);
    scene.ask(&["--socket", path, "status"]).refused(11, &["my.sock"]);
    scene.end();
}

#[test]
fn the_socket_of_a_killed_run_does_not_stay() {
    let mut scene = Scene::new();
    let gain = tunable(&scene.folder, "gain", "", "");
    scene.start(&pipeline("tx", &entry("gain", &gain, ""), ""));
    let socket = scene.file(&format!("nda/nda-{}.sock", scene.pid()));
    scene.running.as_ref().unwrap().signal(Signal::KILL);
    until("the warden to take it away", || !socket.exists());
    let (pid, _) = scene.running.take().unwrap().wait_alone();
    tests::leftovers::assert_no_worker_of(pid);
    // Nor that of one that has no plugins, nor its page.
    scene.start(&pipeline("tx", "", ""));
    let socket = scene.file(&format!("nda/nda-{}.sock", scene.pid()));
    let page = PathBuf::from(format!("/dev/shm/nda-nda-{}.status", scene.pid()));
    assert!(socket.exists() && page.exists());
    scene.running.as_ref().unwrap().signal(Signal::KILL);
    until("the warden to take them away", || !socket.exists() && !page.exists());
    let _ = scene.running.take().unwrap().wait_alone();
    scene.ask(&["status"]).refused(11, &["there is no run"]);
}

#[test]
fn a_run_is_looked_at_without_being_asked_also_when_it_is_stopped_and_its_page_goes_with_it() {
    let mut scene = Scene::new();
    let gain = tunable(&scene.folder, "gain", "", "");
    scene.start(&pipeline("tx", &entry("gain", &gain, ""), ""));
    let pid = scene.pid().to_string();
    let page = PathBuf::from(format!("/dev/shm/nda-nda-{pid}.status"));
    let top =
        |words: &[&str]| Running::start(scene.command(&[&["top", "--run", &pid], words].concat())).wait();
    until("a status", || top(&[]).stdout.contains("tx: playing; "));
    let (looked, asked) = (top(&["--json"]).json(), scene.status());
    assert_eq!((&looked["pid"], &looked["config"]), (&asked["pid"], &asked["config"]));
    let plugin = |status: &Value| status["pipelines"][0]["status"]["plugins"][0]["name"].clone();
    assert!(plugin(&looked).is_string() && plugin(&looked) == plugin(&asked), "{looked}");
    scene.running.as_ref().unwrap().signal(Signal::STOP);
    until("it to be called silent", || top(&[]).stdout.starts_with("nothing new for 00:0"));
    assert!(top(&[]).stdout.contains("tx: playing"), "it is seen as it was");
    scene.running.as_ref().unwrap().signal(Signal::CONT);
    until("news", || {
        top(&[]).stdout.contains("nda.toml, process") && !top(&[]).stdout.contains("nothing new")
    });
    assert!(page.exists());
    scene.running.as_ref().unwrap().signal(Signal::KILL);
    until("the warden to take it away", || !page.exists());
    top(&[]).refused(11, &[&format!("there is no run {pid}")]);
    let _ = scene.running.take().unwrap().wait_alone();
    // One that ends in order takes it away itself.
    scene.start(&pipeline("tx", "", ""));
    let page = PathBuf::from(format!("/dev/shm/nda-nda-{}.status", scene.pid()));
    assert!(page.exists());
    scene.end();
    assert!(!page.exists());
}

/// As containers do that have `/dev/shm` in common: each run is process 1 of its own.
#[test]
fn runs_of_one_name_and_one_process_number_have_a_page_each_and_only_that_of_the_dead_one_is_taken_away() {
    const CONTAINED: [&str; 4] = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    if !can_unshare(&CONTAINED) {
        eprintln!("not shown: this user can number no processes of his own");
        return;
    }
    let name = format!("alike{}", std::process::id());
    let top = |run: &str| Running::start(command(["top", "--json", "--run", run])).wait();
    let second = format!("{name}-2");
    let [one, other] = [(&name, Scene::new()), (&second, Scene::new())].map(|(run, scene)| {
        let text = "[[pipeline]]\nsource = \"virtual\"\nsink = \"virtual\"\n";
        let config = scene.folder.write(&format!("{name}.toml"), text);
        let command = scene.command(&["run", config.to_str().unwrap()]);
        let words = [&["unshare", "--map-root-user"], &CONTAINED[..]].concat();
        let running = Running::start(started_by(&words, &command));
        until("it to be seen", || top(run).code == Some(0));
        (running, scene, config)
    });
    let is_seen = |run: &str, config: &Path| top(run).json()["config"] == config.to_str().unwrap();
    assert!(is_seen(&name, &one.2) && is_seen(&second, &other.2));
    // Nothing of its container is left that could take its page away.
    drop(one.0);
    until("its page to be taken away", || top(&name).code == Some(11));
    assert!(is_seen(&second, &other.2));
    drop(other.0);
    until("the other's to be taken away", || top(&second).code == Some(11));
}

#[test]
fn a_file_that_cant_be_read_on_is_told_when_it_happens_and_the_other_pipeline_plays_on() {
    let mut scene = Scene::new();
    let other = "[[pipeline]]\nname = \"rx\"\nblock = 256\nsource = \"virtual\"\nsink = \"virtual\"\n";
    scene.start(&(pipeline("tx", "", "") + other));
    // It is opened again each time it has been played.
    std::fs::remove_file(scene.file("in.wav")).unwrap();
    let log = || std::fs::read_to_string(scene.file("nda.log")).unwrap_or_default();
    until("a line about it", || log().lines().any(|line| line.contains("error") && line.contains("tx: ")));
    until("its end", || scene.lane("tx")["state"] == "ended");
    assert_eq!(scene.lane("rx")["state"], "playing");
    let told = log().lines().find(|line| line.contains("tx: ")).unwrap().to_owned();
    assert!(told.contains("in.wav"), "{told}");
    let running = scene.running.take().unwrap();
    running.signal(Signal::INT);
    running.wait().ended_with(9);
}
