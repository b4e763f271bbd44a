//! Through a real PulseAudio server: what is played to one null sink is heard on another as the plugin makes it.
//!
//! One server for each test, without a bus or a sound card; cpal's streams all the way, `nda` as users run it.
//! PulseAudio gives each sink a clock of its own and asks for whatever it likes, so that a stream may begin late and
//! a busy machine lose some of it: the sound is compared piece by piece, and most of it has to be there.

use rustix::process::Signal;
use tests::audio::soft_noise;
use tests::config::config;
use tests::heard::{Likeness, likeness};
use tests::leftovers::{Held, holds_no_more_than, private_kib};
use tests::nda::{Running, command};
use tests::plugins::processor;
use tests::pulse::{Pulse, Sink};
use tests::until::until;
use tests::wav::Wav;
use tests::workspace::Folder;

const RATE: u32 = 48_000;

/// Three seconds.
fn signal(channels: usize) -> Wav {
    Wav::new((0..channels as u64).map(|channel| soft_noise(144_000, channel + 1)).collect())
}

/// `nda run` from a monitor through a plugin that halves to a sink, once the plugin has got its first block.
fn nda(pulse: &Pulse, folder: &Folder, channels: usize, ends: &str) -> Running {
    let first = folder.file("first");
    let halve = format!("if self.n == 1:\n    open({first:?}, 'w')\nbuffer.data *= 0.5\nreturn True");
    let gain = processor(folder, "halve", &halve);
    let text = format!(
        "rate = {RATE}\nchannels = {channels}\n[[pipeline]]\n{ends}\n[[pipeline.plugins]]\nfile = {gain:?}\n"
    );
    let config = config(folder, &text);
    let log = folder.file("nda.log");
    let words = ["run", config.to_str().expect("text"), "--json", "-", "--log", log.to_str().expect("text")];
    let mut command = command(words);
    pulse.tell(&mut command);
    // One pool for all threads: with one for each of sixteen, which fill when they like, a leak could not be told from them.
    command.env("MALLOC_ARENA_MAX", "1");
    // Each connection to the server has a buffer of 1 MiB to read into. Mapped by itself it is given back with the connection;
    // in the pool the order in which two of them end may leave room for one more.
    command.env("MALLOC_MMAP_THRESHOLD_", "131072");
    let running = Running::start(command);
    until("the plugin gets a block", || first.exists());
    running
}

const ENDS: &str =
    "source = { device = \"pulseaudio:cable.monitor\" }\nsink = { device = \"pulseaudio:speaker\" }";

/// Each channel's likeness with half of the signal.
fn heard(pulse: &Pulse, signal: &Wav) -> Vec<Likeness> {
    let heard = pulse.pass(signal);
    let expected = signal.map(|sample| sample * 0.5);
    heard.channels.iter().zip(&expected.channels).map(|(heard, expected)| likeness(heard, expected)).collect()
}

fn passes(sink: Sink) {
    passes_through(&Pulse::start(sink), sink);
}

fn passes_through(pulse: &Pulse, sink: Sink) {
    let folder = Folder::new();
    let running = nda(pulse, &folder, sink.channels, ENDS);
    let signal = signal(sink.channels);
    let all = heard(pulse, &signal);
    running.signal(Signal::INT);
    let done = running.wait();
    // 9: a busy machine may have it lose blocks.
    assert!([Some(0), Some(9)].contains(&done.code), "{done}");
    for likeness in &all {
        assert!(likeness.alike * 2 > likeness.pieces, "{sink:?}: {all:?} {done}");
    }
}

/// Both sinks have the name that PulseAudio gives every null sink.
fn are_listed_and_told_apart_by_their_ids_alone(pulse: &Pulse) {
    let with_it = |words: &[&str]| {
        let mut command = command(words);
        pulse.tell(&mut command);
        Running::start(command).wait()
    };
    let done = with_it(&["devices"]);
    let both = ["Null Output (pulseaudio:cable)", "Null Output (pulseaudio:speaker)"];
    let listed = both.map(|device| format!("  {}\n    output", device.replace(" (", "  (")));
    assert!(listed.iter().all(|device| done.ended_with(0).stdout.contains(device)), "{done}");
    for name in ["pulseaudio:null output", "ull outp"] {
        let done = with_it(&["latency", "--times", "1", "--input", "virtual", "--output", name]);
        done.refused(8, &["several output devices have", both[0], both[1], "by the id in brackets"]);
        assert!(!done.stderr.contains("Monitor"), "only those that are meant: {done}");
    }
}

#[test]
fn a_stereo_signal_goes_through_pulseaudio_and_a_python_plugin_between_sinks_that_are_named() {
    let sink = Sink { format: "float32le", rate: RATE, channels: 2 };
    let pulse = Pulse::start(sink);
    are_listed_and_told_apart_by_their_ids_alone(&pulse);
    passes_through(&pulse, sink);
}

#[test]
fn a_mono_sink_of_eight_bits_is_played_to() {
    passes(Sink { format: "u8", rate: RATE, channels: 1 });
}

#[test]
fn a_sink_of_three_channels_of_24_bits_is_played_to() {
    passes(Sink { format: "s24le", rate: RATE, channels: 3 });
}

#[test]
fn a_sink_of_five_channels_of_16_bits_at_another_rate_is_played_to() {
    passes(Sink { format: "s16le", rate: 44_100, channels: 5 });
}

#[test]
fn a_server_that_is_killed_and_started_again_gets_its_program_back_and_nothing_leaks() {
    let sink = Sink { format: "float32le", rate: RATE, channels: 1 };
    let (mut pulse, folder) = (Pulse::start(sink), Folder::new());
    let running = nda(&pulse, &folder, sink.channels, ENDS);
    let pid = running.pid();
    let restart = |pulse: &mut Pulse| {
        pulse.kill();
        pulse.start_again();
        is_heard(pulse, sink)
    };
    // It has begun when something is heard: PulseAudio asks for the first blocks before that. The first time may
    // load what stays.
    let mut is_back = is_heard(&pulse, sink) && restart(&mut pulse);
    let (before, memory) = (Held::by(pid), private_kib(pid));
    is_back = is_back && restart(&mut pulse) && restart(&mut pulse);
    if is_back {
        holds_no_more_than(before, pid);
    }
    let grown = private_kib(pid).saturating_sub(memory);
    running.signal(Signal::INT);
    let done = running.wait();
    assert!(is_back, "the signal was not heard: {done}");
    assert!([Some(0), Some(9)].contains(&done.code), "{done}");
    assert_eq!(done.json()["pipelines"][0]["plugins"][0]["deaths"], 0, "{done}");
    assert!(grown < 512, "{grown} KiB more");
}

#[test]
fn a_sink_that_is_suspended_is_waited_for_and_played_to_when_it_is_resumed() {
    let sink = Sink { format: "float32le", rate: RATE, channels: 1 };
    let (pulse, folder) = (Pulse::start(sink), Folder::new());
    let running = nda(&pulse, &folder, sink.channels, ENDS);
    assert!(is_heard(&pulse, sink));
    let has_said =
        |words: &str| std::fs::read_to_string(folder.file("nda.log")).is_ok_and(|text| text.contains(words));
    pulse.control(&["suspend-sink", "speaker", "1"]);
    until("it is found suspended", || has_said("can't be opened again yet: it opens but stands still"));
    pulse.control(&["suspend-sink", "speaker", "0"]);
    assert!(is_heard(&pulse, sink));
    running.signal(Signal::INT);
    let done = running.wait();
    assert!([Some(0), Some(9)].contains(&done.code), "{done}");
    let pipelines = &done.json()["pipelines"];
    assert_eq!(
        (pipelines.as_array().map(Vec::len), &pipelines[0]["plugins"][0]["deaths"]),
        (Some(1), &0.into()),
        "{done}"
    );
}

/// Most of the signal is heard again, once the program has opened its devices.
fn is_heard(pulse: &Pulse, sink: Sink) -> bool {
    const TRIES: usize = 5;
    let signal = signal(sink.channels);
    let is_alike = |like: &Likeness| like.alike * 2 > like.pieces;
    (0..TRIES).any(|_| heard(pulse, &signal).iter().all(is_alike))
}
