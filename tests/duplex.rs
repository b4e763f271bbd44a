//! The two-way demo: what goes in at one end of an encrypted link comes out at the other, or silence does.
//!
//! `examples/duplex.toml` in a real process: as it is shipped where it is heard whole; elsewhere with other ends, and more
//! time for a block, of which a busy machine takes some.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use tests::config::{config, run};
use tests::jack::Jack;
use tests::nda::{Done, Running, command};
use tests::plugins::wait_told;
use tests::until::until;
use tests::wav::Wav;
use tests::workspace::{Folder, root, shipped, song};

const BLOCK: usize = 64;
/// Frames that tell where in the song they are.
const WINDOW: usize = 64;
/// What transmitter and receiver together took in the program that this one replaces: a pipeline of 30 ms and half a
/// millisecond for each of two Python plugins.
const BUDGET_MS: f64 = 31.0;

/// The example's own file beside what it names, where what it writes is the test's.
fn as_shipped(folder: &Folder) -> PathBuf {
    std::fs::create_dir(folder.file("examples")).expect("a folder of its own");
    for name in [".venv", "plugins_py", "examples/song.flac", "examples/duplex.toml"] {
        symlink(root().join(name), folder.file(name)).expect("a link in it");
    }
    folder.file("examples/duplex.toml")
}

/// The example's text, for a test's folder.
fn example(folder: &Folder) -> String {
    let text = std::fs::read_to_string(root().join("examples/duplex.toml")).expect("the example");
    let changes = [
        ("song.flac", song().display().to_string()),
        ("../plugins_py", root().join("plugins_py").display().to_string()),
        ("~/.local/state/nda/duplex.key", folder.file("duplex.key").display().to_string()),
        ("../rx.wav", folder.file("rx.wav").display().to_string()),
        ("virtual:radio", format!("virtual:radio of {}", std::process::id())),
        ("mode = \"same-block\"", "mode = \"same-block\"\ndeadline = 0.9".to_owned()),
        // A sound card that may be there is none of this test's.
        ("device = \"default\", buffer = 64, fallback = \"virtual\"", "device = \"virtual\"".to_owned()),
    ];
    changes.into_iter().fold(text, |text, (shipped, here)| {
        assert!(text.contains(shipped), "{shipped} is not in the example");
        text.replace(shipped, &here)
    })
}

/// The song as it is decoded, without a link.
fn decoded(folder: &Folder) -> Wav {
    tests::nda::Render::new(folder, song()).plugin(shipped("examples/passthrough.py")).heard()
}

/// What was received, against what was sent.
#[derive(Debug, Default)]
struct Received {
    /// Frames of the song, sample for sample.
    true_frames: usize,
    /// Frames of silence where the song has none, between others. Silence at the end is none of it: when the run ends,
    /// the transmitter may be the first to stop.
    silent_frames: usize,
    /// Of those, the most in a row, and frames of the song after them.
    longest_gap: usize,
    /// See above.
    true_since: usize,
    /// Times that the song went on elsewhere than where it was.
    jumps: usize,
}

impl Received {
    /// A frame of the song, after so many silent ones.
    fn hear(&mut self, gap: usize) {
        self.silent_frames += gap;
        if gap > self.longest_gap {
            (self.longest_gap, self.true_since) = (gap, 0);
        }
        self.true_frames += 1;
        self.true_since += 1;
    }
}

fn frame(wav: &Wav, at: usize) -> impl Iterator<Item = f32> {
    wav.channels.iter().map(move |channel| channel[at % channel.len()])
}

fn is_same(heard: &Wav, at: usize, song: &Wav, there: usize) -> bool {
    frame(heard, at).eq(frame(song, there))
}

fn is_silent(wav: &Wav, at: usize) -> bool {
    frame(wav, at).all(|sample| sample == 0.0)
}

/// The frame of the song that is heard here, nearest to where it was last.
fn place(heard: &Wav, at: usize, song: &Wav, near: usize) -> Option<usize> {
    let frames = song.frames();
    let window = WINDOW.min(heard.frames() - at);
    let fits = |there: &usize| (0..window).all(|n| is_same(heard, at + n, song, there + n));
    let distance = |there: &usize| {
        let ahead = (there + frames - near) % frames;
        ahead.min(frames - ahead)
    };
    (0..frames).filter(fits).min_by_key(distance)
}

/// Compares; fails for whatever is neither the song nor silence.
fn compare(heard: &Wav, song: &Wav) -> Received {
    let mut received = Received::default();
    let (mut there, mut gap) = (None, 0);
    for at in 0..heard.frames() {
        let expected = there.map(|there: usize| (there + 1) % song.frames());
        there = match expected {
            Some(expected) if is_same(heard, at, song, expected) => {
                received.hear(std::mem::take(&mut gap));
                Some(expected)
            }
            _ if is_silent(heard, at) => {
                gap += usize::from(expected.is_some());
                expected
            }
            _ => {
                let found = place(heard, at, song, expected.unwrap_or(0));
                let found = found.unwrap_or_else(|| panic!("frame {at} is neither the song nor silence"));
                received.jumps += usize::from(expected.is_some());
                received.hear(std::mem::take(&mut gap));
                Some(found)
            }
        };
    }
    received
}

fn pipeline<'a>(report: &'a Value, name: &str) -> &'a Value {
    let pipelines = report["pipelines"].as_array().expect("pipelines");
    pipelines.iter().find(|pipeline| pipeline["name"] == name).unwrap_or_else(|| panic!("{name}: {report}"))
}

fn count(of: &Value, key: &str) -> usize {
    usize::try_from(of[key].as_u64().unwrap_or_else(|| panic!("{key} in {of}"))).expect("a count")
}

/// Blocks that the pipeline's plugin lost.
fn lost(pipeline: &Value) -> usize {
    let counts = &pipeline["plugins"][0]["counts"];
    ["late", "failed", "gone", "behind", "torn"].iter().map(|key| count(counts, key)).sum()
}

/// Blocks that are silent at most for each place where frames are missing in what the decryptor hears, or too many: the
/// packet that is cut, before and behind it, and the five milliseconds in which a queue that ran dry fades in; or the
/// rest of a buffer that a device was too late for, and one until it hears again.
const CUT_BLOCKS: usize = 6;

/// What the host has counted explains so many silent frames, and so many places where the song goes on elsewhere.
fn explained(report: &Value) -> (usize, usize) {
    let (tx, rx) = (pipeline(report, "tx"), pipeline(report, "rx"));
    // A device brings and takes whole buffers: no cut leaves out less.
    let left_out = count(rx, "overrun_frames").div_ceil(BLOCK);
    // The queue to the sink lies behind what is recorded: what it did not have is no loss here.
    let cuts = count(&rx["xruns"], "device") + left_out;
    // Where the decryptor misses a block, the packets around it are lost as well, and its latency is silent.
    let blocks = lost(tx) + 3 * lost(rx) + CUT_BLOCKS * cuts;
    // The song's file was late, for a whole block mostly; what is left of it waits for the next one.
    let unread = count(tx, "underrun_frames");
    // What it was not given at all has the packet before heard a block late, where this one should be.
    let not_given = count(&rx["plugins"][0]["counts"], "behind");
    (blocks * BLOCK + unread, 2 * not_given + cuts + unread.div_ceil(BLOCK))
}

/// No more is silent or elsewhere than what the host has counted as lost.
fn assert_accounted(received: &Received, done: &Done) {
    let (silent, jumps) = explained(&done.json());
    assert!(received.silent_frames <= silent, "{silent} silent frames are explained: {received:?} {done}");
    assert!(received.jumps <= jumps, "{jumps} jumps are explained: {received:?} {done}");
}

#[test]
fn what_a_host_has_lost_explains_what_it_costs_and_no_more() {
    let plugin = |late: u32, behind: u32| {
        let counts = json!({ "late": late, "behind": behind, "failed": 0, "gone": 0, "torn": 0 });
        json!([{ "counts": counts }])
    };
    let unread = |frames: u32| {
        explained(&json!({ "pipelines": [
            { "name": "tx", "plugins": plugin(0, 0), "underrun_frames": frames },
            { "name": "rx", "plugins": plugin(0, 0), "overrun_frames": 0, "xruns": { "device": 0 } },
        ] }))
    };
    assert_eq!(unread(300), (300, 300usize.div_ceil(BLOCK)), "a file that is late is so for blocks");
    let explained = |late: [u32; 2], behind: u32, overrun: usize, xruns: u32| {
        explained(&json!({ "pipelines": [
            { "name": "tx", "plugins": plugin(late[0], 0), "underrun_frames": 0 },
            { "name": "rx", "plugins": plugin(late[1], behind), "underrun_frames": 300,
              "overrun_frames": overrun, "capture": { "gaps": 1 }, "xruns": { "device": xruns } },
        ] }))
    };
    assert_eq!(explained([0, 0], 0, 0, 0), (0, 0), "what the queue behind did not have");
    assert_eq!(explained([2, 0], 0, 0, 0), (2 * BLOCK, 0), "in the place of the song");
    assert_eq!(explained([0, 2], 0, 0, 0), (6 * BLOCK, 0));
    assert_eq!(explained([0, 0], 2, 0, 0), (6 * BLOCK, 4));
    assert_eq!(explained([0, 0], 0, 0, 1), (CUT_BLOCKS * BLOCK, 1));
    assert_eq!(explained([0, 0], 0, BLOCK + 1, 0), (2 * CUT_BLOCKS * BLOCK, 2));
}

#[test]
fn what_comes_out_of_the_example_is_what_went_in_apart_from_latency() {
    let folder = Folder::new();
    let config = as_shipped(&folder);
    let mut command = command(["run", config.to_str().expect("text"), "--for", "4", "--json", "-"]);
    // The key is there too. A sound card that may be there is none of this test's.
    command.env("HOME", folder.path()).env("ALSA_CONFIG_PATH", "/dev/null").env("PULSE_SERVER", "unix:/none");
    let done = Running::start(command).wait();
    done.ended_with(0);
    let received = compare(&Wav::read(&folder.file("rx.wav")), &decoded(&folder));
    assert!(received.true_frames > 48_000, "hardly anything was heard: {received:?} {done}");
    assert_accounted(&received, &done);
}

#[test]
fn from_a_device_to_a_device_the_link_takes_less_than_the_program_before_allowed() {
    let folder = Folder::new();
    let text = example(&folder);
    let song = format!("{{ file = \"{}\", loop = true }}", song().display());
    assert!(text.contains(&song), "{text}");
    // In the place of the microphone.
    let config = config(&folder, &text.replace(&song, "{ device = \"virtual\", buffer = 64 }"));
    let done = run(&config, &["--for", "1"]).wait();
    let report = done.json();
    let ms = |name| pipeline(&report, name)["latency"]["total_ms"].as_f64().expect("a latency");
    assert!(ms("tx") > 2.5 && ms("rx") > 5.0, "each has a queue between two devices: {done}");
    assert!(ms("tx") + ms("rx") < BUDGET_MS, "{done}");
    let declared = pipeline(&report, "rx")["latency"]["plugin_frames"].as_u64();
    assert_eq!(declared, Some(BLOCK as u64), "the decryptor's block: {done}");
}

/// What the run itself tells, with a JACK server's devices in the place of the file, the cable and the speaker. It says of
/// them that they hold a period each.
#[test]
fn with_real_devices_at_all_four_ends_the_link_takes_less_than_the_program_before_allowed() {
    let (jack, folder) = (Jack::start(48_000, BLOCK as u32), Folder::new());
    let song = format!("{{ file = \"{}\", loop = true }}", song().display());
    let device = "device = \"jack:default\"";
    let text = example(&folder).replace(&song, &format!("{{ {device}, buffer = {BLOCK} }}"));
    let cable = format!("device = \"virtual:radio of {}\"", std::process::id());
    let text = text.replace(&cable, device).replace("device = \"virtual\"", device);
    let config = config(&folder, &text);
    let words = ["run", config.to_str().expect("text"), "--for", "1", "--json", "-"];
    let mut command = command(words);
    jack.tell(&mut command);
    let done = Running::start(command).wait();
    let report = done.json();
    let latency = |name| pipeline(&report, name)["latency"].clone();
    let (tx, rx) = (latency("tx"), latency("rx"));
    assert!(count(&tx, "device_frames") + count(&rx, "device_frames") >= 4 * BLOCK, "{done}");
    let ms = |latency: &Value| latency["total_ms"].as_f64().expect("a latency");
    assert!(ms(&tx) + ms(&rx) < BUDGET_MS, "{done}");
}

/// An encryptor that tells its process number once it has played, the first and the second one.
fn telling_encryptor(folder: &Folder) {
    let examples = root().join("plugins_py/examples");
    let text = format!(
        "import os, sys
sys.path.insert(0, {examples:?})
from chacha_encryptor import ChaChaEncryptor

class Telling(ChaChaEncryptor):
    n = 0

    def process_audio(self, buffer):
        self.n += 1
        if self.n == 200:
            here = os.path.dirname(os.path.abspath(__file__))
            name = 'first' if not os.path.exists(here + '/first') else 'second'
            with open(here + '/part', 'w') as file:
                file.write(str(os.getpid()))
            os.rename(here + '/part', here + '/' + name)
        return super().process_audio(buffer)

def create_plugin():
    return Telling()
"
    );
    folder.write("encryptor.py", &text);
}

#[test]
fn an_encryptor_that_is_killed_leaves_silence_and_then_the_song_again() {
    let folder = Folder::new();
    telling_encryptor(&folder);
    let shipped = root().join("plugins_py/examples/chacha_encryptor.py").display().to_string();
    let text = example(&folder).replace(&shipped, "encryptor.py");
    let running: Running = run(&config(&folder, &text), &[]);
    let pid = wait_told(&folder, "first");
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process number");
    kill_process(pid, Signal::KILL).expect("it is ours");
    until("another one to have played", || folder.file("second").exists());
    running.signal(Signal::INT);
    let done = running.wait();
    done.ended_with(9);
    let received = compare(&Wav::read(&folder.file("rx.wav")), &decoded(&folder));
    assert!(received.longest_gap >= BLOCK, "nothing was lost by the kill: {received:?} {done}");
    assert!(received.true_since > 50 * BLOCK, "not in step again: {received:?} {done}");
    assert_accounted(&received, &done);
    let report = done.json();
    let encryptor = &pipeline(&report, "tx")["plugins"][0];
    assert_eq!(encryptor["deaths"], 1);
    assert_eq!(encryptor["lost"], "silence (fail-closed)");
}

#[test]
fn without_a_key_the_example_says_what_to_do() {
    let folder = Folder::new();
    let text = example(&folder).replace("make_key = \"yes\"", "make_key = \"no\"");
    let done = run(&config(&folder, &text), &["--for", "1"]).wait();
    done.refused(6, &["chacha", "new-key"]);
}
