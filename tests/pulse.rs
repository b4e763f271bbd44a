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
use tests::nda::{Done, Running, command};
use tests::plugins::processor;
use tests::pulse::{PLAYED, Pulse, RECORDED, Sink};
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
    likenesses(&pulse.pass(signal), signal)
}

fn likenesses(heard: &Wav, signal: &Wav) -> Vec<Likeness> {
    let expected = signal.map(|sample| sample * 0.5);
    heard.channels.iter().zip(&expected.channels).map(|(heard, expected)| likeness(heard, expected)).collect()
}

/// Most of it is there.
fn all_alike(likenesses: &[Likeness]) -> bool {
    likenesses.iter().all(|like| like.alike * 2 > like.pieces)
}

fn passes(sink: Sink) {
    passes_through(&Pulse::start(sink), sink);
}

fn passes_through(pulse: &Pulse, sink: Sink) {
    let folder = Folder::new();
    let running = nda(pulse, &folder, sink.channels, ENDS);
    let signal = signal(sink.channels);
    let all = heard(pulse, &signal);
    let done = end(running);
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
    let done = end(running);
    assert!(is_back, "the signal was not heard: {done}");
    assert_eq!(done.json()["pipelines"][0]["plugins"][0]["deaths"], 0, "{done}");
    assert!(grown < 512, "{grown} KiB more");
}

#[test]
fn a_sink_that_is_suspended_is_waited_for_and_played_to_when_it_is_resumed() {
    let sink = Sink { format: "float32le", rate: RATE, channels: 1 };
    let (pulse, folder) = (Pulse::start(sink), Folder::new());
    let running = nda(&pulse, &folder, sink.channels, ENDS);
    assert!(is_heard(&pulse, sink));
    pulse.control(&["suspend-sink", "speaker", "1"]);
    let still = "can't be opened again yet: it opens but stands still";
    until("it is found suspended", || said(&folder, still) > 0);
    pulse.control(&["suspend-sink", "speaker", "0"]);
    assert!(is_heard(&pulse, sink));
    let done = end(running);
    let pipelines = &done.json()["pipelines"];
    assert_eq!(
        (pipelines.as_array().map(Vec::len), &pipelines[0]["plugins"][0]["deaths"]),
        (Some(1), &0.into()),
        "{done}"
    );
}

/// Ends a run in order.
fn end(running: Running) -> Done {
    running.signal(Signal::INT);
    let done = running.wait();
    // 9: a busy machine may have it lose blocks.
    assert!([Some(0), Some(9)].contains(&done.code), "{done}");
    done
}

/// How often a signal is sent until it is heard: a busy machine may lose it.
const TRIES: usize = 5;

const MONO: Sink = Sink { format: "float32le", rate: RATE, channels: 1 };

#[test]
fn a_stream_of_a_named_device_that_the_server_moves_or_ends_is_lost_and_had_back_there_and_only_there() {
    let (pulse, folder) = (Pulse::start(MONO), Folder::new());
    pulse.add_sink("other", "Other");
    let running = nda(&pulse, &folder, MONO.channels, ENDS);
    let pid = running.pid();
    // A busy machine may have it lose and find them more often than that.
    let is_had_back = |streams, own, called: &str, why: &str, lose: &dyn Fn()| {
        let back = format!("put device {called} is back after ");
        let before = (said(&folder, why), said(&folder, &back));
        lose();
        until("it is lost", || said(&folder, why) > before.0);
        until("it is back", || said(&folder, &back) > before.1);
        until("it is where it was", || pulse.count_at(own, streams) == 1);
    };
    let other = "Other (pulseaudio:other)";
    let others_monitor = "Monitor of Other (pulseaudio:other.monitor)";
    // Twice, as the first time may load what stays.
    let mut before = None;
    for _ in 0..2 {
        for (streams, own, called, foreign, to) in [
            (PLAYED, "speaker", "Null Output", "other", other),
            (RECORDED, "cable.monitor", "Monitor of Null Output", "other.monitor", others_monitor),
        ] {
            let moved = format!("PulseAudio has moved it to {to}");
            is_had_back(streams, own, called, &moved, &|| pulse.move_streams(streams, own, foreign));
            assert_eq!(pulse.count_at(foreign, streams), 0);
            // In words of ours, or of cpal's if that asks the server first.
            is_had_back(streams, own, called, "is gone (", &|| pulse.end_streams(streams, own));
        }
        before.get_or_insert_with(|| Held::by(pid));
    }
    holds_no_more_than(before.expect("two times"), pid);
    let signal = signal(1);
    let mut is_silent_elsewhere = true;
    let is_back = (0..TRIES).any(|_| {
        let [own, other] = pulse.pass_and_hear(["speaker", "other"], &signal);
        is_silent_elsewhere &= other.channels[0].iter().all(|sample| *sample == 0.0);
        all_alike(&likenesses(&own, &signal))
    });
    let done = end(running);
    assert!(is_back, "the signal was not heard: {done}");
    assert!(is_silent_elsewhere, "something is heard at the other: {done}");
}

#[test]
fn a_sink_that_is_unplugged_is_waited_for_and_its_stream_is_not_left_at_another() {
    let (pulse, folder) = (Pulse::start(MONO), Folder::new());
    pulse.add_sink("other", "Other");
    pulse.control(&["set-default-sink", "other"]);
    let running = nda(&pulse, &folder, MONO.channels, ENDS);
    assert!(is_heard(&pulse, MONO));
    pulse.remove_sink("speaker");
    let missed = "the output device Null Output (pulseaudio:speaker) is not there";
    until("it is missed", || said(&folder, missed) > 0);
    assert_eq!(said(&folder, "is gone (PulseAudio has moved it to Other (pulseaudio:other))"), 1);
    assert_eq!(pulse.count_at("other", PLAYED), 0);
    pulse.add_sink("speaker", "Null Output");
    assert!(is_heard(&pulse, MONO));
    end(running);
}

#[test]
fn a_stream_of_the_default_device_that_is_moved_plays_on_where_it_is_and_says_so_each_time() {
    let (pulse, folder) = (Pulse::start(MONO), Folder::new());
    pulse.add_sink("other", "Other");
    pulse.control(&["set-default-sink", "other"]);
    let ends = "source = { device = \"pulseaudio:cable.monitor\" }\nsink = { device = \"default\" }";
    let running = nda(&pulse, &folder, MONO.channels, ends);
    for times in 1..=2 {
        pulse.move_streams(PLAYED, "other", "speaker");
        let away = "the output device Other: its server has moved it to Null Output (pulseaudio:speaker)";
        until("it is told", || said(&folder, away) == times);
        pulse.move_streams(PLAYED, "speaker", "other");
        let back = "the output device Null Output: its server has moved it to Other (pulseaudio:other)";
        until("it is told", || said(&folder, back) == times);
    }
    pulse.move_streams(PLAYED, "other", "speaker");
    // A busy machine may have it lose the device, and open the default one again.
    pulse.control(&["set-default-sink", "speaker"]);
    assert!(is_heard(&pulse, MONO));
    let done = end(running);
    assert_eq!(said(&folder, "is gone (PulseAudio"), 0, "{done}");
    assert_eq!(done.json()["pipelines"][0]["devices"][0]["name"], "Null Output", "{done}");
}

/// How often the log of a run says something.
fn said(folder: &Folder, words: &str) -> usize {
    std::fs::read_to_string(folder.file("nda.log")).map_or(0, |text| text.matches(words).count())
}

/// Most of the signal is heard again, once the program has opened its devices.
fn is_heard(pulse: &Pulse, sink: Sink) -> bool {
    let signal = signal(sink.channels);
    (0..TRIES).any(|_| all_alike(&heard(pulse, &signal)))
}
