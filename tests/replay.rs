//! `nda replay`: a report's plugin is run on its last blocks again, and its author told what became of each.

use host::Format;
use host::crash::{self, CrashReport, LastBlock};
use host::plugin::spec::PluginSpec;
use rustix::process::Signal;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::audio::slow_sine;
use tests::chain::{AMPLE_NS, Rack, same_block};
use tests::nda::{Done, Running, command};
use tests::plugins::{processor, processor_with, sink, source, tells, wait_told};
use tests::scene::{STEP, Scene};
use tests::until::{DEADLINE, process_ends};
use tests::wav::Wav;
use tests::workspace::{Folder, python};

const FRAMES: usize = 64;

/// Block `seq` of a ramp, in two channels that differ, times `gain`.
fn samples(seq: u64, gain: f32) -> Vec<f32> {
    let sample = |n: usize| f32::from(u16::try_from(n).expect("a small block")) / 1024.0 + seq as f32 / 64.0;
    (0..2 * FRAMES).map(|n| sample(n) * gain).collect()
}

/// The report of a plugin that halved three blocks and died in the fourth.
fn report(file: &Path) -> CrashReport {
    let block = |seq: u64| LastBlock {
        seq,
        input: Some(samples(seq, 1.0)),
        output: (seq < 4).then(|| samples(seq, 0.5)),
        answered: seq < 4,
    };
    let format = Format::new(2, FRAMES as u32, 48_000).expect("a format");
    CrashReport {
        python: python(),
        pid: Some(4711),
        kind: "processor".into(),
        mode: "same-block".into(),
        when: "2026-03-01T12:00:00Z".parse().expect("a time"),
        ended: "was killed by SIGSEGV (a crash in native code)".into(),
        signal: Some(11),
        done: "nothing".into(),
        good_blocks: 3,
        last_blocks: (1..=4).map(block).collect(),
        ..CrashReport::about("tx/made", file, format)
    }
}

/// `nda replay` with the reports in this folder.
fn replay<S: AsRef<OsStr>>(folder: &Folder, words: impl IntoIterator<Item = S>) -> Command {
    let mut command = command(["replay"]);
    command.args(words).env(crash::REPORTS, folder.file("reports"));
    command
}

fn write(folder: &Folder, report: &CrashReport) -> PathBuf {
    crash::write(&folder.file("reports"), report).expect("room for a report")
}

/// Writes a report of this plugin and replays it with these options.
fn replayed(folder: &Folder, report: &CrashReport, options: &[&str]) -> Done {
    let written = write(folder, report);
    let words = [written.as_os_str()].into_iter().chain(options.iter().map(OsStr::new));
    Running::start(replay(folder, words)).wait()
}

fn said<'a>(done: &'a Done, words: &str) -> &'a Done {
    assert!(done.stdout.contains(words), "\"{words}\" is not in:\n{done}");
    done
}

#[test]
fn a_plugin_that_raises_on_a_block_is_told_with_its_traceback_and_goes_on() {
    let folder = Folder::new();
    let body = "if self.n == 2:\n    raise ValueError('boom')\nbuffer.data *= 0.5\nreturn True";
    let done = replayed(&folder, &report(&processor(&folder, "made", body)), &[]);
    done.ended_with(9);
    said(&done, "tx/made (");
    said(&done, "it was killed by SIGSEGV");
    said(&done, "block 1: good, as in the report, ");
    said(&done, "block 2: failed: process_audio() raised ValueError: boom\n    Traceback");
    said(&done, "in process_audio\n        raise ValueError('boom')");
    said(&done, "block 3: good, as in the report, ");
    said(&done, "block 4: good, without an answer in the report, ");
    said(&done, "3 blocks were good, 1 failed");
    assert!(!done.stdout.contains("<string>"), "a frame that is not the plugin's: {done}");
}

#[test]
fn a_plugin_that_crashes_again_is_told_with_the_signal_and_the_stack() {
    let folder = Folder::new();
    let body = "if self.n == 4:\n    import ctypes\n    ctypes.string_at(0)\nreturn True";
    let done = replayed(&folder, &report(&processor(&folder, "made", body)), &[]);
    done.ended_with(9).and_said("Segmentation fault").and_said("in process_audio");
    said(&done, "block 4: ");
    said(&done, "the plugin crashed again: SIGSEGV");
}

#[test]
fn a_death_while_playing_leaves_a_report_whose_blocks_are_replayed_as_they_were() {
    let folder = Folder::new();
    let body = "
buffer.data *= -0.5
if self.n == 6:
    print('not feeling well', file=sys.stderr, flush=True)
    os.kill(os.getpid(), 11)
return True";
    let spec = PluginSpec { restart: false, ..same_block(&processor(&folder, "mortal", body)) };
    let mut scene = Scene::new(Rack::new(1, 512, 48_000), vec![spec]);
    scene.rack.report_to(&folder.file("reports"));
    scene.play_answered(5);
    // Its blocks are read when the audio thread has let go of them.
    scene.play_until("a report", AMPLE_NS, |_| folder.file("reports").exists());
    scene.wait_told(&["plugin mortal was killed by SIGSEGV", "report: "]);
    let report = std::fs::read_dir(folder.file("reports")).unwrap().next().expect("a report").unwrap().path();
    let wav = |name: &str| Wav::read(&report.join(name)).channels[0].clone();
    let sine = slow_sine(6 * 512, STEP);
    assert_eq!(wav("in.wav"), sine);
    assert_eq!(wav("out.wav")[..5 * 512], sine[..5 * 512].iter().map(|s| s * -0.5).collect::<Vec<_>>());
    let text = std::fs::read_to_string(report.join("report.txt")).unwrap();
    assert!(text.contains("not feeling well") && text.contains("6 no answer"), "{text}");
    let done = Running::start(replay(&folder, [report])).wait();
    said(done.ended_with(9), "block 5: good, as in the report, ");
    assert_eq!(done.stdout.matches("as in the report").count(), 5, "{done}");
    said(&done, "the plugin crashed again: SIGSEGV");
}

#[test]
fn another_death_than_the_reports_does_not_happen_again() {
    let folder = Folder::new();
    let done = replayed(&folder, &report(&processor(&folder, "made", "os.abort()")), &[]);
    said(done.ended_with(9), "the plugin crashed: SIGABRT");
}

#[test]
fn a_good_plugin_is_given_what_it_had_in_the_order_of_its_life() {
    let folder = Folder::new();
    let methods = "\
def __init__(self): self.life = []
def note(self, what):
    self.life.append(what)
    return True
def set_sample_rate(self, rate): self.note(f'rate {rate}')
def set_channel_count(self, channels): self.note(f'channels {channels}')
def set_parameter(self, key, value): return self.note(f'{key}={value}')
def initialize(self): return self.note('initialize')
def load_state(self, state): self.note(repr(state))
def start(self): return self.note('start')
def stop(self): self.note('stop')
def shutdown(self): print(*self.life, sep=', ')";
    let body = "if self.n == 1: self.note('block')\nbuffer.data = buffer.data * 0.5\nreturn 1";
    let file = processor_with(&folder, "made", body, methods);
    let given = vec![("b".into(), Some("2".into())), ("a".into(), Some("1 \"é\"".into()))];
    let with_all = CrashReport { parameters: given, state: Some(b"s\0".to_vec()), ..report(&file) };
    let done = replayed(&folder, &with_all, &[]);
    let life =
        "rate 48000, channels 2, b=2, a=1 \"é\", initialize, b=2, a=1 \"é\", b's\\x00', start, block, stop\n";
    said(said(done.ended_with(0), life), "4 blocks were good, 0 failed");
    assert_eq!(done.stdout.matches("as in the report").count(), 3, "{done}");
    assert!(!done.stdout.contains("note:"), "{done}");
}

#[test]
fn what_a_report_does_not_have_is_noted_and_its_user_can_give_it() {
    let folder = Folder::new();
    let methods = "\
def set_parameter(self, key, value):
    print(f'given {key}={value}', flush=True)
    return True";
    let file = processor_with(&folder, "made", "return not buffer.data.any()", methods);
    let bare = |block: LastBlock| LastBlock { input: None, ..block };
    let closed = CrashReport {
        parameters: vec![("key".into(), None), ("gain".into(), Some("0.5".into()))],
        last_blocks: report(&file).last_blocks.into_iter().map(bare).collect(),
        ..report(&file)
    };
    let done = replayed(&folder, &closed, &[]);
    said(
        said(done.ended_with(0), "not in the report, and not set: key; give each with --set"),
        "given gain=0.5",
    );
    said(&done, "what it got is not in the report: it gets silence");
    assert!(!done.stdout.contains("given key"), "{done}");
    let done = replayed(&folder, &closed, &["--set", "key=k", "--set", "gain=1"]);
    said(said(done.ended_with(0), "given key=k"), "given gain=1");
    assert!(!done.stdout.contains("not set"), "{done}");
}

#[test]
fn blocks_can_be_given_more_than_once() {
    let folder = Folder::new();
    let body = "if self.n == 9: return False\nbuffer.data *= 0.5\nreturn True";
    let done = replayed(&folder, &report(&processor(&folder, "made", body)), &["--times", "3"]);
    said(done.ended_with(9), "block 1: failed: process_audio() returned False");
    said(&done, "11 blocks were good, 1 failed");
}

#[test]
fn a_plugin_that_was_changed_is_noted_and_what_it_does_now_compared() {
    let folder = Folder::new();
    let file = processor(&folder, "made", "buffer.data *= 0.5\nreturn True");
    let written = write(&folder, &report(&file));
    processor(&folder, "made", "buffer.data *= 0.25\nreturn True");
    let done = Running::start(replay(&folder, [&written])).wait();
    said(done.ended_with(0), "note: the plugin's file has changed since");
    said(&done, "block 1: good, differs from the report by up to 0.0349,");
}

#[test]
fn sources_and_sinks_are_replayed_too() {
    let folder = Folder::new();
    let bare = |block: LastBlock| LastBlock { input: None, ..block };
    let file = source(&folder, "made_source", "buffer.data[:] = 0.25\nreturn not buffer.data.any() or True");
    let of_source = CrashReport {
        last_blocks: report(&file).last_blocks.into_iter().map(bare).collect(),
        kind: "source".into(),
        ..report(&file)
    };
    said(replayed(&folder, &of_source, &[]).ended_with(0), "4 blocks were good");
    let file = sink(&folder, "made_sink", "print('got', float(buffer.data[1, 0]), flush=True)\nreturn True");
    let deaf = |block: LastBlock| LastBlock { output: None, ..block };
    let of_sink = CrashReport {
        last_blocks: report(&file).last_blocks.into_iter().map(deaf).collect(),
        ..report(&file)
    };
    let done = replayed(&folder, &of_sink, &[]);
    let first_of_right = f64::from(samples(2, 1.0)[FRAMES]);
    said(done.ended_with(0), &format!("block 2: got {first_of_right}\ngood, "));
}

#[test]
fn a_plugin_that_ends_the_process_has_not_done_well() {
    let folder = Folder::new();
    for (name, body, words) in [
        ("quiet", "os._exit(0)", "the plugin ended the process with exit code 0"),
        ("system", "sys.exit(0)", "block 4: failed: process_audio() raised SystemExit"),
        ("shape", "buffer.data = np.zeros(3)\nreturn True", "has shape (3,), not (2, 64) (channels, frames)"),
        ("text", "buffer.data = [['a'] * 64] * 2\nreturn True", "taking buffer.data raised"),
    ] {
        let done = replayed(&folder, &report(&processor(&folder, name, body)), &[]);
        said(done.ended_with(9), words);
    }
}

#[test]
fn what_can_not_be_loaded_says_at_which_step() {
    let folder = Folder::new();
    let start = processor_with(&folder, "refuses", "return True", "def start(self): return 0");
    let done = replayed(&folder, &report(&start), &[]);
    said(done.ended_with(6), "the plugin could not be started: start() returned 0");
    let import = folder.write("broken.py", "import numpy\n1 / 0\n");
    let done = replayed(&folder, &report(&import), &[]);
    said(done.ended_with(6), "the import raised ZeroDivisionError: division by zero\n    Traceback");
    said(&done, "broken.py\", line 2");
    let other = processor(&folder, "json", "return True");
    said(replayed(&folder, &report(&other), &[]).ended_with(6), "the name json belongs to ");
}

#[test]
fn a_plugin_that_does_not_stop_in_order_is_no_success() {
    let folder = Folder::new();
    let file = processor_with(&folder, "made", "return True", "def stop(self): raise OSError('stuck')");
    let done = replayed(&folder, &report(&file), &[]);
    said(done.ended_with(9), "the plugin did not stop in order: stop() raised OSError: stuck");
}

#[test]
fn the_debugger_stops_where_the_plugin_raised() {
    let folder = Folder::new();
    let body = "here = 41\nif self.n == 2:\n    raise ValueError('boom')\nreturn True";
    let written = write(&folder, &report(&processor(&folder, "made", body)));
    let typed = folder.write("typed", "p here + 1\nq\n");
    let nda = replay(&folder, [written.as_os_str(), OsStr::new("--pdb")]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" < \"$TYPED\"", "sh"]).arg(nda.get_program()).args(nda.get_args());
    shell.env("TYPED", typed);
    let done = Running::start(shell).wait();
    said(done.ended_with(9), "made.py(");
    said(&done, "42");
    said(&done, "3 blocks were good, 1 failed");
}

#[test]
fn a_replay_ends_with_the_nda_that_started_it() {
    let folder = Folder::new();
    let body = format!("{}while True: pass", tells("pid", 1));
    let written = write(&folder, &report(&processor(&folder, "made", &body)));
    let running = Running::start(replay(&folder, [&written]));
    let pid = wait_told(&folder, "pid");
    running.signal(Signal::KILL);
    assert!(process_ends(pid, DEADLINE), "the replay outlives its host");
    let _ = running.wait();
}

#[test]
fn an_endless_loop_shows_where_it_is_when_interrupted() {
    let folder = Folder::new();
    let body = format!("{}while True: pass", tells("pid", 1));
    let written = write(&folder, &report(&processor(&folder, "made", &body)));
    let running = Running::start(replay(&folder, [&written]));
    let pid = wait_told(&folder, "pid");
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a process");
    // A terminal sends it to both.
    running.signal(Signal::INT);
    rustix::process::kill_process(pid, Signal::INT).expect("it runs");
    let done = running.wait();
    said(done.ended_with(130), "interrupted here:");
    said(&done, "while True: pass");
}

#[test]
fn without_a_word_the_reports_are_listed_newest_last() {
    let folder = Folder::new();
    let none = Running::start(replay(&folder, [""; 0])).wait();
    said(none.ended_with(0), "no reports in ");
    let file = folder.write("made.py", "");
    let first = write(&folder, &report(&file));
    write(&folder, &CrashReport { plugin: "other".into(), ended: "hung\x1b[2J".into(), ..report(&file) });
    let list = Running::start(replay(&folder, [""; 0])).wait();
    let expected = "2026-03-01T120000.000Z-tx-made  tx/made was killed by SIGSEGV (a crash in native code)\n\
                    2026-03-01T120000.000Z-other  other hung\\u{1b}[2J\n";
    assert_eq!(list.ended_with(0).stdout, expected);
    let json = Running::start(replay(&folder, ["--json"])).wait().ended_with(0).json();
    assert_eq!((&json["format"], json["reports"].as_array().map(Vec::len)), (&1.into(), Some(2)));
    assert_eq!(json["reports"][0]["path"], first.to_str().expect("UTF-8"));
    assert_eq!(json["reports"][1]["plugin"], "other");
}

#[test]
fn what_is_missing_is_named_with_what_to_do() {
    let folder = Folder::new();
    let nda = |words: &[&OsStr]| Running::start(replay(&folder, words)).wait();
    nda(&["nowhere".as_ref()]).refused(4, &["there is no report nowhere", "nda replay"]);
    nda(&[folder.path().as_os_str()]).refused(4, &["is no crash report", "no report.json"]);
    let file = processor(&folder, "made", "return True");
    let written = write(&folder, &CrashReport { python: "/nowhere/python".into(), ..report(&file) });
    nda(&[written.as_os_str()]).refused(7, &["there is no interpreter /nowhere/python", "--python"]);
    nda(&[written.as_os_str(), "--python".as_ref(), python().as_os_str()]).ended_with(0);
    let name = written.file_name().expect("a name");
    nda(&[name, "--python".as_ref(), python().as_os_str()]).ended_with(0);
    std::fs::write(written.join("in.wav"), "RIFF").expect("a file");
    let damaged = nda(&[name, "--python".as_ref(), python().as_os_str()]);
    said(damaged.ended_with(4), "the report is damaged: in.wav has no audio");
    std::fs::remove_file(&file).expect("it was there");
    nda(&[name]).refused(4, &["the plugin of this report is gone", "made.py"]);
}
