//! Promises of one worker process, kept by a real interpreter: `shared::boot` from the host's side.
//!
//! Needs `cargo build -p worker` and an interpreter with numpy (see `worker_process::python`).

use shared::clock;
use shared::exit::Exit;
use shared::format::Format;
use shared::message::{Answer, Ask, Failure, Notice, PluginKind, STATE_MAX, STATE_PART, Stage, StatePart};
use shared::ring::{HostEnd, Status};
use tests::plugin_file::{PluginFile, plugin, processor};
use tests::until::{DEADLINE, process_ends, until};
use tests::worker_process::{Output, SLOTS, WorkerProcess, command, good, round};
use tests::workspace::shipped;

const RATE: u32 = 48_000;

fn format(channels: u32, frames: u32) -> Format {
    Format::new(channels, frames, RATE).unwrap()
}

/// A worker that runs this plugin.
fn running(path: &std::path::Path, format: Format, set: &[(&str, &str)]) -> (WorkerProcess, HostEnd) {
    let mut worker = WorkerProcess::spawn();
    worker.load(path).unwrap();
    let (end, configured) = worker.configure(format, set).unwrap();
    assert_eq!(configured.uncached, None);
    worker.start().unwrap();
    (worker, end)
}

fn ramp(samples: &mut [f32]) {
    for (i, sample) in samples.iter_mut().enumerate() {
        *sample = i as f32 / 1024.0 - 0.5;
    }
}

fn ramp_of(end: &HostEnd) -> Vec<f32> {
    let mut samples = vec![0.0; end.layout().format().samples()];
    ramp(&mut samples);
    samples
}

fn ends_well(worker: WorkerProcess) {
    let ended = worker.shutdown();
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""));
}

fn block_failure(worker: &mut WorkerProcess) -> Failure {
    match worker.wait_for_notice(|n| matches!(n, Notice::BlockFailed { .. })) {
        Notice::BlockFailed { failure, .. } => failure,
        _ => unreachable!(),
    }
}

#[test]
fn passthrough_gives_back_ten_thousand_blocks_bit_for_bit() {
    let (mut worker, mut end) = running(&shipped("examples/passthrough.py"), format(2, 64), &[]);
    for block in 0..10_000u32 {
        let write = |samples: &mut [f32]| {
            // Any bits, also those of no number.
            for (sample, i) in samples.iter_mut().zip(0..) {
                *sample = f32::from_bits(block.wrapping_mul(2_654_435_761).wrapping_add(i));
            }
        };
        let mut expected = vec![0.0; 128];
        write(&mut expected);
        let bits = |samples: &[f32]| samples.iter().map(|s| s.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&good(&mut end, write)), bits(&expected));
    }
    worker.stop().unwrap();
    ends_well(worker);
}

#[test]
fn gain_scales_and_clips_ten_thousand_blocks() {
    let file = shipped("examples/simple_gain.py");
    let (mut worker, mut end) = running(&file, format(2, 64), &[("gain", "1.5")]);
    for _ in 0..10_000 {
        let out = good(&mut end, ramp);
        for (out, sample) in out.iter().zip(ramp_of(&end)) {
            assert_eq!(*out, (sample * 1.5).clamp(-1.0, 1.0));
        }
    }
    assert_eq!(
        worker.ask(Ask::SetParameter { key: "gain".into(), value: "0.5".into() }),
        Ok(Answer::Set { accepted: true })
    );
    assert_eq!(worker.ask(Ask::GetParameter { key: "gain".into() }), Ok(Answer::Value("0.5".into())));
    assert_eq!(good(&mut end, ramp)[0], -0.25);
    ends_well(worker);
}

#[test]
fn a_sine_source_runs_on_without_a_step_for_ten_thousand_blocks() {
    let (worker, mut end) = running(&shipped("sine_wave_source.py"), format(1, 64), &[("frequency", "1000")]);
    for block in 0..10_000u32 {
        // What the host leaves in a source's request is not what a source sees.
        let out = good(&mut end, |samples| samples.fill(9.0));
        for (i, sample) in out.iter().enumerate() {
            let n = f64::from(block % 3 * 64) + i as f64;
            let expected = 0.5 * (std::f64::consts::TAU * 1000.0 * n / f64::from(RATE)).sin();
            assert!((f64::from(*sample) - expected).abs() < 1e-4, "block {block}, frame {i}");
        }
    }
    ends_well(worker);
}

#[test]
fn a_null_sink_takes_ten_thousand_blocks_and_what_it_prints_arrives() {
    let (mut worker, mut end) = running(&shipped("null_sink.py"), format(2, 64), &[("showMetrics", "true")]);
    for _ in 0..10_000 {
        good(&mut end, |samples| samples.fill(0.5));
    }
    worker.stop().unwrap();
    let ended = worker.shutdown();
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""));
    let last = ended.stdout.lines().last().unwrap();
    assert_eq!(last, "null_sink: 13.33 s, 10000 blocks, 640000 frames, peak -6.0 dBFS");
}

#[test]
fn the_module_is_bound_to_no_python() {
    let module = tests::workspace::built(shared::boot::MODULE_FILE);
    let needed = std::process::Command::new("ldd").arg(module).output().unwrap();
    let needed = String::from_utf8(needed.stdout).unwrap();
    assert!(needed.contains("libc.so") && !needed.contains("python"), "{needed}");
}

#[test]
fn a_worker_introduces_itself_and_its_plugin() {
    let mut worker = WorkerProcess::spawn();
    assert_eq!(worker.hello.protocol, shared::PROTOCOL);
    assert!(worker.hello.python.starts_with("3.") && !worker.hello.numpy.is_empty());
    let loaded = worker.load(&shipped("examples/simple_gain.py")).unwrap();
    assert_eq!((loaded.kind, loaded.name.as_str()), (PluginKind::Processor, "Simple Gain"));
    let (_end, configured) = worker.configure(format(2, 64), &[("nonsense", "1")]).unwrap();
    assert_eq!((configured.rate, configured.channels), (Some(RATE), Some(2)));
    assert_eq!((configured.latency_s, configured.refused), (0.0, vec!["nonsense".to_owned()]));
    ends_well(worker);
}

/// What a processor makes of a ramp of 2 x 64.
fn made_of_a_ramp(process: &str) -> Vec<f32> {
    let file = processor(process, "");
    let (worker, mut end) = running(&file.path, format(2, 64), &[]);
    let first = good(&mut end, ramp);
    // Each slot again: what a block did to its buffer must not be seen in the next.
    for _ in 0..3 * tests::worker_process::SLOTS {
        assert_eq!(good(&mut end, ramp), first);
    }
    ends_well(worker);
    first
}

fn halved() -> Vec<f32> {
    let mut samples = vec![0.0; 128];
    ramp(&mut samples);
    samples.iter().map(|sample| sample / 2.0).collect()
}

#[test]
fn data_may_be_rebound_to_anything_like_an_array_of_the_same_shape() {
    for halve in [
        "buffer.data *= 0.5",
        "buffer.data = buffer.data * 0.5",
        "buffer.data = buffer.data.astype(np.float64) * 0.5",
        "buffer.data = buffer.data.astype(np.float16) * np.float16(0.5)",
        "buffer.data = (buffer.data * 0.5).tolist()",
        "buffer.data = tuple(map(tuple, buffer.data * 0.5))",
        "buffer.data = np.repeat(buffer.data * 0.5, 2, axis=1)[:, ::2]",
        "buffer.data = np.asfortranarray(buffer.data * 0.5)",
        "buffer.data = (buffer.data * 0.5)[::-1][::-1]",
        "buffer.data = (buffer.data * 0.5).astype('>f4')",
        "half = (buffer.data * 0.5).tobytes()\n\
         buffer.data = np.frombuffer(b'?' + half, np.float32, offset=1).reshape(2, 64)",
        "buffer.data = np.ma.array(buffer.data * 0.5)",
        "buffer.data *= 0.5\nbuffer.data = buffer.data[:]",
        "buffer.data *= 0.5\nbuffer.data = buffer.data.view()",
        "buffer.data *= 0.5\nbuffer.data = memoryview(buffer.data)",
    ] {
        let made = made_of_a_ramp(&format!("{halve}\nreturn True"));
        // float16 has eleven bits, of which a ramp of 1/1024 uses ten.
        assert_eq!(made, halved(), "{halve}");
    }
}

#[test]
fn an_overlapping_view_of_the_slot_is_copied_as_it_was() {
    let made = made_of_a_ramp("buffer.data = buffer.data[::-1]\nreturn 1");
    let mut expected = vec![0.0; 128];
    ramp(&mut expected);
    expected.rotate_left(64);
    assert_eq!(made, expected);
}

#[test]
fn an_array_changed_in_place_is_made_anew_for_the_next_block() {
    for (change, works) in [
        ("buffer.data *= 0.5\nbuffer.data.setflags(write=False)", true),
        ("buffer.data *= 0.5\nbuffer.data.shape = (128,)", false),
        ("buffer.data *= 0.5\nbuffer.data.shape = (64, 2)", false),
        ("buffer.data *= 0.5\nbuffer.data.dtype = np.int64", false),
        ("buffer.data.dtype = np.complex64", false),
        ("del buffer.data", false),
        ("buffer.data = None", false),
    ] {
        let text = format!(
            "if self.n % 2:\n    {}\nelse:\n    buffer.data *= 2\nreturn True",
            change.replace('\n', "\n    ")
        );
        let file = processor(&text, "");
        let mut worker = WorkerProcess::spawn();
        worker.load(&file.path).unwrap();
        let (mut end, _) = worker.configure(format(2, 64), &[]).unwrap();
        worker.start().unwrap();
        for _ in 0..2 * tests::worker_process::SLOTS {
            let (taken, samples) = round(&mut end, ramp);
            if works {
                assert_eq!((taken.status, samples), (Status::Good, halved()), "{change}");
            } else {
                assert_eq!(taken.status, Status::Failed, "{change}");
            }
            let doubled: Vec<f32> = ramp_of(&end).iter().map(|sample| sample * 2.0).collect();
            assert_eq!(good(&mut end, ramp), doubled, "after {change}");
        }
        ends_well(worker);
    }
}

#[test]
fn a_wrong_shape_fails_the_block_with_both_shapes_in_the_message() {
    for (data, shape) in [
        ("np.zeros((1, 64), np.float32)", "(1, 64)"),
        ("np.zeros(64)", "(64,)"),
        ("0.0", "()"),
        ("[]", "(0,)"),
        ("np.zeros((2, 64, 1))", "(2, 64, 1)"),
    ] {
        let file = processor(&format!("buffer.data = {data}\nreturn True"), "");
        let (mut worker, mut end) = running(&file.path, format(2, 64), &[]);
        assert_eq!(round(&mut end, ramp).0.status, Status::Failed);
        let expected =
            format!("after process_audio() buffer.data has shape {shape}, not (2, 64) (channels, frames)");
        assert_eq!(block_failure(&mut worker).message, expected);
        ends_well(worker);
    }
}

#[test]
fn data_that_is_no_array_of_real_numbers_fails_the_block() {
    for data in
        ["buffer.data * 1j", "[['a'] * 64] * 2", "[[1], [2, 3]]", "object()", "np.zeros((2, 64), object)"]
    {
        let file = processor(&format!("buffer.data = {data}\nreturn True"), "");
        let (worker, mut end) = running(&file.path, format(2, 64), &[]);
        assert_eq!(round(&mut end, ramp).0.status, Status::Failed, "{data}");
        ends_well(worker);
    }
}

#[test]
fn what_a_plugin_keeps_may_be_touched_for_ever() {
    let file = processor(
        "kept.append((buffer, buffer.data, buffer.data[1:], buffer.get_channel_data(0)))\n\
         for b, data, view, channel in kept:\n    data += 0.0\n    view[0, 0]; channel[0]; b.data.sum()\n\
         buffer.data[:] = 0.25\ngc.collect()\nreturn True",
        "def set_parameter(self, key, value):\n    kept.clear(); gc.collect()\n\n",
    );
    std::fs::write(&file.path, format!("kept = []\n{}", std::fs::read_to_string(&file.path).unwrap()))
        .unwrap();
    let mut worker = WorkerProcess::spawn();
    worker.load(&file.path).unwrap();
    for frames in [64, 256, 16, 8192, 64] {
        let (mut end, _) = worker.configure(format(2, frames), &[]).unwrap();
        worker.start().unwrap();
        for _ in 0..6 {
            assert!(good(&mut end, ramp).iter().all(|sample| *sample == 0.25));
        }
        worker.stop().unwrap();
    }
    let mappings = |worker: &WorkerProcess| {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", worker.pid())).unwrap();
        maps.lines().filter(|line| line.contains("memfd:nda-reply")).count()
    };
    assert_eq!(mappings(&worker), 5);
    // Nothing is mapped for longer than something refers to it.
    assert!(worker.ask(Ask::SetParameter { key: "forget".into(), value: String::new() }).is_ok());
    assert_eq!(mappings(&worker), 1);
    ends_well(worker);
}

#[test]
fn an_exception_in_each_block_is_told_once_with_its_traceback_and_counted() {
    let file = processor(
        "if self.n > 500:\n    return False\nif self.n % 2:\n    raise ValueError('odd')\n{}['even']",
        "",
    );
    let (mut worker, mut end) = running(&file.path, format(2, 64), &[]);
    for _ in 0..1000 {
        assert_eq!(round(&mut end, ramp).0.status, Status::Failed);
    }
    worker.stop().unwrap();
    let told: Vec<(&str, u64)> = worker
        .notices
        .iter()
        .map(|notice| match notice {
            Notice::BlockFailed { failure, count } => (failure.message.as_str(), *count),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        ("process_audio() raised ValueError: odd", 1),
        ("process_audio() raised KeyError: 'even'", 2),
        ("process_audio() returned False", 501),
    ];
    assert_eq!(told, expected);
    let Notice::BlockFailed { failure, .. } = &worker.notices[0] else { unreachable!() };
    assert_eq!(failure.stage, Stage::Block);
    assert!(failure.traceback.contains("made_for_a_test.py\", line"), "{}", failure.traceback);
    assert!(failure.traceback.contains("raise ValueError('odd')"), "{}", failure.traceback);
    ends_well(worker);
}

#[test]
fn no_exception_of_a_block_ends_the_worker() {
    for raise in [
        "sys.exit(3)",
        "raise KeyboardInterrupt",
        "raise GeneratorExit",
        "def again(): again()\nagain()",
        "class Mute(Exception):\n    def __str__(self): sys.exit(4)\nraise Mute",
        "class Odd:\n    def __bool__(self): sys.exit(5)\nreturn Odd()",
        "bytes(1 << 62)",
    ] {
        let file = processor(raise, "");
        let (mut worker, mut end) = running(&file.path, format(2, 64), &[]);
        for _ in 0..3 {
            assert_eq!(round(&mut end, ramp).0.status, Status::Failed, "{raise}");
        }
        assert!(block_failure(&mut worker).message.starts_with("process_audio() raised"));
        ends_well(worker);
    }
}

#[test]
fn none_and_zero_are_failed_blocks_and_other_objects_are_good_ones() {
    let file = processor("return [None, 0, [], False, 1, 'yes', np.bool_(True), object()][self.n - 1]", "");
    let (worker, mut end) = running(&file.path, format(2, 64), &[]);
    let good: Vec<bool> = (0..8).map(|_| round(&mut end, ramp).0.status == Status::Good).collect();
    assert_eq!(good, [false, false, false, false, true, true, true, true]);
    ends_well(worker);
}

/// The failure of loading this file.
fn refused(text: &str) -> Failure {
    let file = plugin(text);
    let mut worker = WorkerProcess::spawn();
    let failure = worker.load(&file.path).unwrap_err();
    assert_eq!(failure.stage, Stage::Load);
    ends_well(worker);
    failure
}

const SOURCE: &str = "from base_plugin import *\n\
    class Made(AudioSourcePlugin):\n\
    \x20   def get_info(self): return PluginInfo('made', '1', 'a', 'd', PluginType.AUDIO_SOURCE, *more)\n\
    \x20   def read_audio(self, buffer): return True\n\
    more = ()\n";

#[test]
fn a_file_that_is_no_plugin_is_refused_in_plain_words() {
    for (text, message) in [
        ("import sys; sys.exit(3)", "the import raised SystemExit: 3"),
        ("import no_such_thing", "the import raised ModuleNotFoundError: No module named 'no_such_thing'"),
        ("x = 1", "the file defines no create_plugin()"),
        ("create_plugin = 7", "create_plugin is not a function"),
        ("def create_plugin(): raise OSError('no card')", "create_plugin() raised OSError: no card"),
        ("import sys\ndef create_plugin(): sys.exit()", "create_plugin() raised SystemExit"),
        ("def create_plugin(): return 7", "create_plugin() returned int, whose class is none of"),
        (
            "from base_plugin import *\nclass P(BasePlugin):\n  def get_info(self): pass\ncreate_plugin = P",
            "create_plugin() returned P, whose class is none of AudioSourcePlugin, AudioProcessorPlugin,",
        ),
    ] {
        let failure = refused(text);
        assert!(failure.message.starts_with(message), "{}", failure.message);
    }
    let failure = refused(&format!("{SOURCE}more = (2,)\ncreate_plugin = Made"));
    let expected = "the plugin wants plugin API version 2, this host has version 1";
    assert_eq!(failure.message, expected);
    assert!(refused("def broken(:").traceback.contains("SyntaxError"));
}

#[test]
fn a_worker_without_a_plugin_has_imported_what_most_need_and_leaves_it_out_of_what_is_collected() {
    let failure = refused(
        "import gc, sys\n\
         missing = sorted({'base_plugin', 'numpy', 'pathlib'} - set(sys.modules))\n\
         raise Exception(missing, gc.isenabled(), gc.get_freeze_count() > 5_000, len(gc.get_objects()) < 1_000)",
    );
    assert_eq!(failure.message, "the import raised Exception: ([], True, True, True)");
}

#[test]
fn a_name_that_belongs_to_another_module_is_refused_before_the_wrong_one_is_run() {
    let file = plugin("");
    let path = file.path.with_file_name("threading.py");
    std::fs::write(&path, format!("{SOURCE}create_plugin = Made")).unwrap();
    let mut worker = WorkerProcess::spawn();
    let message = worker.load(&path).unwrap_err().message;
    assert!(message.starts_with("the name threading belongs to"), "{message}");
    let message = worker.load(&file.path.with_file_name("gone.py")).unwrap_err().message;
    assert!(message.starts_with("there is no file"), "{message}");
    ends_well(worker);
}

#[test]
fn exits_that_nothing_can_catch_end_the_worker_with_the_plugins_code() {
    let file = processor("os._exit(9)", "");
    let (worker, mut end) = running(&file.path, format(2, 64), &[]);
    end.publish(ramp).unwrap();
    end.notify();
    assert_eq!(worker.wait().status.code(), Some(9));
}

#[test]
fn initialize_and_start_say_no_by_name_and_start_may_be_tried_again() {
    let file = processor(
        "return True",
        "key = None\n\
         def set_parameter(self, key, value):\n    self.key = value\n    return True\n\
         def start(self):\n    return self.key is not None\n\
         def stop(self):\n    self.key = None",
    );
    let mut worker = WorkerProcess::spawn();
    worker.load(&file.path).unwrap();
    let (mut end, _) = worker.configure(format(2, 64), &[]).unwrap();
    let failure = worker.start().unwrap_err();
    assert_eq!((failure.stage, failure.message.as_str()), (Stage::Start, "start() returned False"));
    for _ in 0..3 {
        let set = Ask::SetParameter { key: "key".into(), value: "k".into() };
        assert_eq!(worker.ask(set), Ok(Answer::Set { accepted: true }));
        worker.start().unwrap();
        assert_eq!(good(&mut end, ramp), ramp_of(&end));
        worker.stop().unwrap();
    }
    ends_well(worker);

    for (body, message) in [
        ("return False", "initialize() returned False"),
        ("pass", "initialize() returned None"),
        ("raise RuntimeError('no card')", "initialize() raised RuntimeError: no card"),
    ] {
        let file = processor("return True", &format!("def initialize(self):\n    {body}"));
        let mut worker = WorkerProcess::spawn();
        worker.load(&file.path).unwrap();
        let failure = worker.configure(format(2, 64), &[]).unwrap_err();
        assert_eq!((failure.stage, failure.message.as_str()), (Stage::Configure, message));
        ends_well(worker);
    }
}

#[test]
fn a_parameter_counts_if_it_is_accepted_before_or_after_initialize() {
    let file = processor(
        "return True",
        "ready = False\n\
         def initialize(self):\n    self.ready = True\n    return True\n\
         def set_parameter(self, key, value):\n\
         \x20   if key == 'never': return False\n\
         \x20   if key == 'late' and not self.ready: raise RuntimeError\n\
         \x20   if key == 'early': return not self.ready\n\
         \x20   if key == 'raises': raise KeyError(key)\n\
         \x20   return None",
    );
    let mut worker = WorkerProcess::spawn();
    worker.load(&file.path).unwrap();
    let set = [("older", ""), ("never", ""), ("late", ""), ("early", "")];
    let (_end, configured) = worker.configure(format(2, 64), &set).unwrap();
    assert_eq!(configured.refused, ["never"]);
    let failure = worker.configure(format(2, 64), &[("raises", "")]).unwrap_err();
    assert_eq!(failure.message, "set_parameter() raised KeyError: 'raises' (parameter raises)");
    assert!(failure.traceback.contains("raise KeyError(key)"));
    ends_well(worker);
}

#[test]
fn a_plugin_is_told_its_format_by_the_names_it_has_and_read_back() {
    let file = processor(
        "return buffer.data.shape == (3, 128) and self.told == [96000, 3, 128]",
        "told = []\n\
         set_channel_count = None\n\
         def __getattribute__(self, name):\n\
         \x20   if name in ('set_channel_count', 'get_channel_count'): raise AttributeError(name)\n\
         \x20   return super().__getattribute__(name)\n\
         def set_sample_rate(self, rate): self.told.append(rate)\n\
         def get_sample_rate(self): return 44100.0\n\
         def set_channels(self, channels): self.told.append(channels)\n\
         def get_channels(self): return 1\n\
         def set_buffer_size(self, frames): self.told.append(frames)\n\
         def get_processing_latency(self): return np.float32(0.5)",
    );
    let mut worker = WorkerProcess::spawn();
    worker.load(&file.path).unwrap();
    let (mut end, configured) = worker.configure(Format::new(3, 128, 96_000).unwrap(), &[]).unwrap();
    let read = (configured.rate, configured.channels, configured.latency_s);
    assert_eq!(read, (Some(44_100), Some(1), 0.5));
    worker.start().unwrap();
    assert_eq!(good(&mut end, ramp).len(), 384);
    ends_well(worker);
}

#[test]
fn state_goes_out_and_comes_back_if_the_plugin_keeps_any() {
    let file = processor(
        "return True",
        "kept = b'first'\n\
         def save_state(self): return self.kept\n\
         def load_state(self, state): self.kept = state + b'!'",
    );
    let mut worker = WorkerProcess::spawn();
    assert!(worker.load(&file.path).unwrap().keeps_state);
    let part = |bytes: &[u8], total| Ok(Answer::State(Some(StatePart { bytes: bytes.to_vec(), total })));
    assert_eq!(worker.ask(Ask::SaveState { from: 0 }), part(b"first", 5));
    let restore = |part: &[u8], more| Ask::LoadState { part: part.to_vec(), more };
    assert_eq!(worker.ask(restore(b"sec", true)), Ok(Answer::Done));
    assert_eq!(worker.ask(Ask::SaveState { from: 0 }), part(b"first", 5));
    assert_eq!(worker.ask(restore(b"ond", false)), Ok(Answer::Done));
    assert_eq!(worker.ask(Ask::SaveState { from: 0 }), part(b"second!", 7));
    // One that stands by takes one too; who has played is not thrown back in the middle.
    let (mut end, _) = worker.configure(format(2, 64), &[]).unwrap();
    worker.start().unwrap();
    assert_eq!(worker.ask(restore(b"third", false)), Ok(Answer::Done));
    good(&mut end, ramp);
    assert_eq!(worker.ask(restore(b"fourth", false)), Ok(Answer::Played));
    assert_eq!(worker.ask(Ask::SaveState { from: 0 }), part(b"third!", 6));
    ends_well(worker);

    let mut worker = WorkerProcess::spawn();
    assert!(!worker.load(&shipped("examples/passthrough.py")).unwrap().keeps_state);
    assert_eq!(worker.ask(Ask::SaveState { from: 0 }), Ok(Answer::State(None)));
    let failure = worker.ask(restore(b"", false)).unwrap_err();
    assert_eq!((failure.stage, failure.message.as_str()), (Stage::State, "the plugin has no load_state()"));
    ends_well(worker);
}

/// The plugin saves once and restores once, however many messages its state takes.
#[test]
fn a_state_longer_than_a_message_goes_in_parts_and_one_beyond_the_limit_not_at_all() {
    let file = processor(
        "return True",
        "calls = 0\n\
         def set_parameter(self, key, value): self.kept = bytes(range(256)) * int(value); return True\n\
         def get_parameter(self, key): return self.calls\n\
         def save_state(self): self.calls += 1; return self.kept\n\
         def load_state(self, state): self.calls += 1; self.kept = state",
    );
    let mut worker = WorkerProcess::spawn();
    worker.load(&file.path).unwrap();
    let set = |value: usize| Ask::SetParameter { key: "size".into(), value: value.to_string() };
    worker.ask(set(1000)).unwrap();
    let fetch = |worker: &mut WorkerProcess| {
        let mut state = Vec::new();
        loop {
            match worker.ask(Ask::SaveState { from: state.len() as u64 }).unwrap() {
                Answer::State(Some(StatePart { bytes, total: 256_000 })) => state.extend(bytes),
                other => panic!("{other:?}"),
            }
            if state.len() == 256_000 {
                return state;
            }
        }
    };
    let state = fetch(&mut worker);
    worker.ask(set(0)).unwrap();
    for (i, part) in state.chunks(STATE_PART).enumerate() {
        let more = (i + 1) * STATE_PART < state.len();
        worker.ask(Ask::LoadState { part: part.to_vec(), more }).unwrap();
    }
    assert!(fetch(&mut worker) == state);
    assert_eq!(worker.ask(Ask::GetParameter { key: "calls".into() }), Ok(Answer::Value("3".into())));
    worker.ask(set(STATE_MAX / 256 + 1)).unwrap();
    let failure = worker.ask(Ask::SaveState { from: 0 }).unwrap_err();
    let why = "save_state() returned 16777472 bytes, more than 16777216";
    assert_eq!((failure.stage, failure.message.as_str()), (Stage::State, why));
    ends_well(worker);
}

#[test]
fn megabytes_of_prints_that_nobody_reads_hold_up_no_block() {
    let file = processor(
        "print('o' * 9999)\nprint('e' * 9999, file=sys.stderr)\nsys.stdout.buffer.write(b'raw')\nreturn True",
        "",
    );
    let mut worker = WorkerProcess::spawn_undrained(command());
    worker.load(&file.path).unwrap();
    let (mut end, _) = worker.configure(format(2, 64), &[]).unwrap();
    worker.start().unwrap();
    for _ in 0..1000 {
        good(&mut end, ramp);
    }
    worker.drain();
    let ended = worker.shutdown();
    assert_eq!(ended.status.code(), Some(0));
    for text in [&ended.stdout, &ended.stderr] {
        let told = text.lines().filter(|line| line.starts_with("[nda: ")).collect::<Vec<_>>();
        let dropped: usize =
            told.iter().map(|line| line.split(' ').nth(1).unwrap().parse::<usize>().unwrap()).sum();
        assert!(dropped + text.len() > 9_000_000 && told.len() < 10, "{told:?}");
    }
    // What a pipe holds.
    assert!(ended.stdout.len() < 100_000 && ended.stderr.len() < 100_000);
}

#[test]
fn what_a_thread_or_a_finaliser_raises_is_told_but_not_a_thousand_times() {
    let file = processor(
        "class Bad:\n    def __del__(self): raise ValueError('finaliser')\n\
         if self.n == 1:\n\
         \x20   t = threading.Thread(target=lambda: 1 // 0, name='worker bee'); t.start(); t.join()\n\
         \x20   t = threading.Thread(target=sys.exit); t.start(); t.join()\n\
         Bad()\nreturn True",
        "",
    );
    let (mut worker, mut end) = running(&file.path, format(2, 64), &[]);
    for _ in 0..1000 {
        good(&mut end, ramp);
    }
    worker.stop().unwrap();
    let told: Vec<&str> = worker
        .notices
        .iter()
        .map(|notice| match notice {
            Notice::Unraisable(failure) => failure.message.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told[0], "thread worker bee raised ZeroDivisionError: integer division or modulo by zero");
    assert!(told[1].contains("__del__") && told[1].ends_with("raised ValueError: finaliser"), "{}", told[1]);
    assert!(told.len() < 100, "{}", told.len());
    ends_well(worker);
}

#[test]
fn a_plugins_threads_run_while_it_waits_for_blocks_and_do_not_stop_them() {
    let file = processor(
        "if self.n == 1:\n\
         \x20   self.spun = 0\n\
         \x20   self.thread = threading.Thread(target=self.spin, daemon=True)\n\
         \x20   self.thread.start()\n\
         return True",
        "going = True\n\
         def spin(self):\n    while self.going: self.spun += 1\n\
         def get_parameter(self, key): return str(self.spun)\n\
         def shutdown(self):\n    self.going = False; self.thread.join()",
    );
    let (mut worker, mut end) = running(&file.path, format(2, 64), &[]);
    for _ in 0..100 {
        assert_eq!(good(&mut end, ramp), ramp_of(&end));
    }
    let mut spun = || match worker.ask(Ask::GetParameter { key: String::new() }) {
        Ok(Answer::Value(n)) => n.parse::<u64>().unwrap(),
        other => panic!("{other:?}"),
    };
    let before = spun();
    let moved = (0..1_000_000).any(|_| spun() > before);
    assert!(moved, "the thread stands still");
    ends_well(worker);
}

/// A timer of the C library's, which ticks from a thread of its own that is gone right after: six milliseconds after each
/// block has begun. Were it kept waiting, the next block would let it through as it begins, and nobody would be there when
/// that has ended.
#[test]
fn threads_of_c_that_come_into_the_interpreter_for_a_moment_need_not_wait_for_a_block() {
    let file = processor(
        "from time import monotonic\n\
         self.between += self.end < self.ticked < monotonic() - 0.001\n\
         threading.Event().wait(0.002)\n\
         self.end = monotonic()\n\
         if self.n == 1: self.begin()\n\
         return True",
        "ticked = end = between = 0\n\
         def begin(self):\n\
         \x20   import ctypes as c\n\
         \x20   class Event(c.Structure):\n\
         \x20       _fields_ = [('value', c.c_void_p), ('signal', c.c_int), ('how', c.c_int), ('call', c.c_void_p),\n\
         \x20                   ('rest', c.c_long * 5)]\n\
         \x20   def tick(_):\n\
         \x20       from time import monotonic\n\
         \x20       self.ticked = monotonic()\n\
         \x20   self.tick, self.id, self.libc = c.CFUNCTYPE(None, c.c_void_p)(tick), c.c_void_p(), c.CDLL(None)\n\
         \x20   event, times = Event(None, 0, 2, c.cast(self.tick, c.c_void_p)), (c.c_long * 4)(0, 10**7, 0, 4 * 10**6)\n\
         \x20   assert self.libc.timer_create(1, c.byref(event), c.byref(self.id)) == 0\n\
         \x20   assert self.libc.timer_settime(self.id, 0, c.byref(times), None) == 0\n\
         def stop(self):\n    self.libc.timer_delete(self.id)\n    threading.Event().wait(0.02)\n\
         def get_parameter(self, key): return str(self.between)",
    );
    let (mut worker, mut end) = running(&file.path, format(2, 64), &[]);
    let mut due_ns = clock::now_ns();
    for _ in 0..40 {
        good(&mut end, ramp);
        due_ns += 10_000_000;
        while clock::now_ns() < due_ns {
            std::hint::spin_loop();
        }
    }
    let Ok(Answer::Value(ticks)) = worker.ask(Ask::GetParameter { key: String::new() }) else { panic!() };
    assert!(ticks.parse::<u32>().unwrap() >= 20, "{ticks} of 40 ticks came between the blocks");
    ends_well(worker);
}

#[test]
fn a_worker_ends_when_its_host_closes_the_socket_even_inside_a_plugin_that_hangs() {
    for hang in ["while True: pass", "os.read(os.pipe()[0], 1)", "np.sort(np.zeros(1 << 28))\nwhile 1: pass"]
    {
        let file = processor(hang, "");
        let (worker, mut end) = running(&file.path, format(2, 64), &[]);
        end.publish(ramp).unwrap();
        end.notify();
        assert_eq!(worker.abandon().status.code(), Some(Exit::Orphaned as i32), "{hang}");
    }
}

#[test]
fn a_worker_that_was_told_to_go_is_gone_though_a_thread_of_the_plugin_goes_on_for_ever() {
    let file = processor("threading.Thread(target=threading.Event().wait).start()\nreturn True", "");
    let (worker, mut end) = running(&file.path, format(2, 64), &[]);
    good(&mut end, ramp);
    ends_well(worker);
}

#[test]
fn what_a_plugin_registers_for_the_end_and_prints_last_arrives() {
    let file = processor(
        "return True",
        "def shutdown(self):\n\
         \x20   import atexit\n\
         \x20   atexit.register(lambda: print('the very end'))\n\
         \x20   sys.stdout.write('no line end')",
    );
    let (worker, _end) = running(&file.path, format(2, 64), &[]);
    let ended = worker.shutdown();
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(0), "no line endthe very end\n"));
}

#[test]
fn a_plugin_that_fails_at_its_end_is_told_and_gone() {
    let file = processor("return True", "def stop(self): 1 // 0\ndef shutdown(self): print('shut down')");
    let (mut worker, _end) = running(&file.path, format(2, 64), &[]);
    let failure = worker.ask(Ask::Shutdown).unwrap_err();
    assert_eq!(failure.stage, Stage::Stop);
    assert!(failure.message.starts_with("stop() raised ZeroDivisionError"), "{}", failure.message);
    let ended = worker.wait();
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(0), "shut down\n"));
}

#[test]
fn a_process_that_a_host_did_not_start_refuses_to_become_a_worker() {
    let run = |change: &dyn Fn(&mut std::process::Command)| {
        let mut command = command();
        change(&mut command);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = run(&|_| ());
    assert_eq!((code, text.contains("no control socket")), (Some(Exit::Boot as i32), true), "{text}");
    let (code, text) = run(&|command| _ = command.env_remove(shared::boot::HOST_PID));
    assert_eq!((code, text.contains("NDA_HOST_PID is not set")), (Some(Exit::Boot as i32), true), "{text}");
    let (code, text) = run(&|command| _ = command.env(shared::boot::HOST_PID, "1"));
    assert_eq!((code, text.contains("ended before")), (Some(Exit::Orphaned as i32), true), "{text}");
}

#[test]
fn a_plugin_finds_nothing_of_the_hosts_in_its_process() {
    let file = processor(
        "return True",
        "def get_parameter(self, key):\n\
         \x20   import resource, signal\n\
         \x20   fds = sorted(int(fd) for fd in os.listdir('/proc/self/fd'))\n\
         \x20   links = [os.readlink(f'/proc/self/fd/{fd}') for fd in fds if os.path.exists(f'/proc/self/fd/{fd}')]\n\
         \x20   assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)\n\
         \x20   assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN\n\
         \x20   assert sys.stdin.read() == ''\n\
         \x20   assert sys.argv == [__file__]\n\
         \x20   return ' '.join(links)",
    );
    let (mut worker, _end) = running(&file.path, format(2, 64), &[]);
    let Ok(Answer::Value(links)) = worker.ask(Ask::GetParameter { key: String::new() }) else { panic!() };
    assert!(links.starts_with("/dev/null pipe:"), "{links}");
    // The control socket and the archive that base_plugin comes from.
    assert_eq!(links.split(' ').filter(|link| link.starts_with("socket:")).count(), 1, "{links}");
    ends_well(worker);
}

#[test]
fn a_process_that_the_plugin_spawns_can_import_the_plugin() {
    let file = processor(
        "return True",
        "def initialize(self):\n\
         \x20   import multiprocessing\n\
         \x20   with multiprocessing.get_context('spawn').Pool(1) as pool:\n\
         \x20       return pool.map(in_a_child, [20, 21]) == [40, 42]",
    );
    let text = std::fs::read_to_string(&file.path).unwrap();
    std::fs::write(&file.path, format!("{text}\ndef in_a_child(n):\n    return n * 2\n")).unwrap();
    let (worker, mut end) = running(&file.path, format(2, 64), &[]);
    good(&mut end, ramp);
    ends_well(worker);
}

/// A child that a thread forks may live on with its worker when that thread has ended; a child of the main thread
/// may not outlive its worker.
#[test]
fn a_child_that_the_plugin_forks_lives_no_longer_than_the_worker() {
    let file = processor(
        "if self.n == 1:\n    self.child = os.fork()\n    if self.child == 0: signal.pause()\n\
         if self.n == 2:\n    threading.Thread(target=self.fork).start()\nreturn True",
        "def fork(self):\n    child = os.fork()\n    if child == 0: signal.pause()\n    self.other = child\n\
         other = 0\n\
         def get_parameter(self, key): return getattr(self, key)",
    );
    let text = std::fs::read_to_string(&file.path).unwrap();
    std::fs::write(&file.path, format!("import signal\n{text}")).unwrap();
    let (mut worker, mut end) = running(&file.path, format(2, 64), &[]);
    (0..2).for_each(|_| drop(good(&mut end, ramp)));
    let mut child = |key: &str| {
        let mut pid = 0;
        until(key, || {
            let value = worker.ask(Ask::GetParameter { key: key.into() }).unwrap();
            let Answer::Value(value) = value else { panic!("{value:?}") };
            pid = value.parse().unwrap();
            pid != 0
        });
        pid
    };
    let (of_main, of_thread) = (child("child"), child("other"));
    let process = |pid: u32| rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    let kill = |pid| rustix::process::kill_process(process(pid), rustix::process::Signal::KILL);
    // Blocks go on, and so does the child whose thread has ended.
    good(&mut end, ramp);
    assert!(!process_ends(of_thread, std::time::Duration::ZERO));
    assert!(!process_ends(of_main, std::time::Duration::ZERO));
    kill(worker.pid()).unwrap();
    assert!(process_ends(of_main, DEADLINE));
    kill(of_thread).unwrap();
    assert!(process_ends(of_thread, DEADLINE));
}

#[test]
fn a_block_that_the_collector_delayed_says_so() {
    let file = processor(
        "if self.n == 2: gc.collect()\nif self.n == 3: gc.collect(0)\nreturn True",
        "def start(self):\n    gc.disable()\n    return True",
    );
    let (worker, mut end) = running(&file.path, format(2, 64), &[]);
    let notes = [0; 4].map(|_| round(&mut end, ramp).0.notes);
    let collected = notes.map(|notes| (notes.collector_us > 0, notes.collector_generation));
    assert_eq!((collected[0], collected[1], collected[3]), ((false, 0), (true, 2), (false, 0)), "{notes:?}");
    assert_eq!(collected[2].1, 0);
    ends_well(worker);
}

#[test]
fn a_collection_in_another_thread_is_the_blocks_too_as_far_as_it_lasted() {
    let file = processor(
        "self.go.set()\nself.gone.wait()\nself.go.clear(); self.gone.clear()\nreturn True",
        "def start(self):\n    gc.disable()\n    self.go, self.gone = threading.Event(), threading.Event()\n\
         \x20   threading.Thread(target=self.collect, daemon=True).start()\n    return True\n\
         def collect(self):\n    while True:\n        self.go.wait()\n        gc.collect()\n        self.gone.set()",
    );
    let (worker, mut end) = running(&file.path, format(2, 64), &[]);
    let taken = round(&mut end, ramp).0;
    let (notes, stamps) = (taken.notes, taken.stamps);
    assert!(notes.collector_us > 0 && notes.collector_generation == 2, "{notes:?}");
    assert!(
        u64::from(notes.collector_us) <= (stamps.left_ns - stamps.seen_ns) / 1000,
        "{notes:?} {stamps:?}"
    );
    drop(worker);
}

#[test]
fn a_block_that_waited_for_a_thread_of_the_plugin_says_so() {
    let file = processor(
        "return True",
        "def start(self):\n    threading.Thread(target=self.hog, daemon=True).start()\n    return True\n\
         def hog(self):\n    import ctypes\n    libc = ctypes.PyDLL(None)\n\
         \x20   while True: libc.usleep(50_000); threading.Event().wait(0.001)",
    );
    let (worker, mut end) = running(&file.path, format(2, 64), &[]);
    until("a block that waits while native code keeps the interpreter", || {
        let stamps = round(&mut end, ramp).0.stamps;
        assert!([stamps.seen_ns, stamps.woken_ns, stamps.entered_ns, stamps.left_ns].is_sorted());
        stamps.woken_ns - stamps.seen_ns > 10_000_000 && stamps.left_ns - stamps.entered_ns < 10_000_000
    });
    drop(worker);
}

#[test]
fn a_block_that_computes_is_told_from_one_that_waits() {
    let file = processor(
        "if self.n == 1: self.compute()\n\
         if self.n == 2:\n    other = threading.Thread(target=self.compute)\n    other.start()\n    other.join()\n\
         return True",
        "def compute(self):\n    until = time.thread_time() + 0.05\n    while time.thread_time() < until: pass",
    );
    let text = std::fs::read_to_string(&file.path).unwrap();
    std::fs::write(&file.path, format!("import time\n{text}")).unwrap();
    let (worker, mut end) = running(&file.path, format(2, 64), &[]);
    let [computed, waited] = [0; 2].map(|_| round(&mut end, ramp).0.notes);
    assert!(computed.cpu_us >= 40_000, "{computed:?}");
    assert!(waited.cpu_us < 25_000, "{waited:?}");
    ends_well(worker);
}

#[test]
fn a_child_that_the_plugin_forks_in_a_block_answers_nothing() {
    let file = processor(
        "child = os.fork()\nif child == 0:\n    buffer.data[:] = 9\n    raise SystemExit(1)\n\
         assert os.waitpid(child, 0)[1] == 0\nbuffer.data[:] = 0.5\nreturn True",
        "",
    );
    let (worker, mut end) = running(&file.path, format(2, 64), &[]);
    for _ in 0..8 {
        assert_eq!(good(&mut end, ramp), [0.5; 128]);
    }
    let ended = worker.shutdown();
    // Python 3.12 warns of forks in processes with threads.
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
}

/// A class whose buffers do not keep the array that is assigned to them.
const COPIES: &str = "class Copies(base_plugin.AudioBuffer):\n\
    \x20   @property\n    def data(self): return self._data\n\
    \x20   @data.setter\n    def data(self, data): self._data = np.array(data, np.float32)\n";

#[test]
fn a_buffer_class_that_can_not_be_cached_works_slower_and_is_told() {
    let file = processor(
        "assert type(buffer).__name__ == 'Copies'\nbuffer.data = buffer.data * 0.5\nreturn True",
        "",
    );
    let text = std::fs::read_to_string(&file.path).unwrap();
    std::fs::write(&file.path, format!("{text}\n{COPIES}\nbase_plugin.AudioBuffer = Copies\n")).unwrap();
    let mut worker = WorkerProcess::spawn();
    worker.load(&file.path).unwrap();
    let (mut end, configured) = worker.configure(format(2, 64), &[]).unwrap();
    let why = "buffer.data is another array than the one assigned to it";
    assert_eq!(configured.uncached.as_deref(), Some(why));
    worker.start().unwrap();
    for _ in 0..8 {
        assert_eq!(good(&mut end, ramp), halved());
    }
    assert_eq!(end.worker_counts().uncached_blocks(), 8);
    ends_well(worker);
}

#[test]
fn blocks_are_counted_from_the_one_that_makes_its_buffer_unusable() {
    let file = processor(
        "if self.n == 10:\n    AudioBuffer.data = Copies.data\n    buffer.data = buffer.__dict__['data']\n\
         buffer.data = buffer.data * 0.5\nreturn True",
        "",
    );
    let text = std::fs::read_to_string(&file.path).unwrap();
    std::fs::write(&file.path, format!("{text}\n{COPIES}")).unwrap();
    let (worker, mut end) = running(&file.path, format(2, 64), &[]);
    let count = end.worker_counts();
    for n in 1..=30_u64 {
        assert_eq!(good(&mut end, ramp), halved());
        assert_eq!(count.uncached_blocks(), n.saturating_sub(10), "after block {n}");
    }
    ends_well(worker);
}

#[test]
fn looking_up_the_smallest_number_in_a_block_warns_of_nothing() {
    let file =
        processor("np.finfo(np.float32).tiny; np.finfo(np.float64).smallest_subnormal\nreturn True", "");
    let (worker, mut end) = running(&file.path, format(2, 64), &[]);
    good(&mut end, ramp);
    ends_well(worker);
}

#[test]
fn a_stack_of_every_thread_is_written_when_the_host_asks_for_it() {
    let file = processor("print('here')\nwhile True: pass", "");
    let mut worker = WorkerProcess::spawn_undrained(command());
    worker.load(&file.path).unwrap();
    let (mut end, _) = worker.configure(format(2, 64), &[]).unwrap();
    worker.start().unwrap();
    end.publish(ramp).unwrap();
    end.notify();
    worker.read_until(Output::Stdout, "here");
    let pid = rustix::process::Pid::from_raw(worker.pid().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::USR1).unwrap();
    let stack = worker.read_until(Output::Stderr, "in process_audio\n");
    assert!(stack.contains("made_for_a_test.py\", line"), "{stack}");
    assert_eq!(worker.abandon().status.code(), Some(Exit::Orphaned as i32));
}

#[test]
fn a_processor_may_be_warmed_up_unless_it_says_no_and_a_source_only_if_it_says_yes() {
    let allows = |file: &PluginFile| {
        let mut worker = WorkerProcess::spawn();
        let loaded = worker.load(&file.path).unwrap();
        ends_well(worker);
        loaded.silent_warm_up
    };
    for (says, allowed) in [
        ("", true),
        ("silent_warm_up = False", false),
        ("def silent_warm_up(self): return False", true),
        ("silent_warm_up = 'no'", true),
    ] {
        assert_eq!(allows(&processor("return True", says)), allowed, "{says}");
    }
    assert!(!allows(&plugin(&format!("{SOURCE}create_plugin = Made"))));
    assert!(allows(&plugin(&format!("{SOURCE}Made.silent_warm_up = True\ncreate_plugin = Made"))));
}

#[test]
fn a_plugin_that_is_warmed_up_meets_silence_before_its_first_block_and_nothing_of_that_is_left() {
    let counts = "def get_parameter(self, key):\n    return f'{self.n} {self.quiet}'\nquiet = True";
    let process =
        "if self.n <= 20: self.quiet = self.quiet and not buffer.data.any()\nbuffer.data += 1\nreturn True";
    let file = processor(process, counts);
    let (mut worker, mut end) = running(&file.path, format(2, 64), &[]);
    let said = |worker: &mut WorkerProcess| {
        let said = worker.ask(Ask::GetParameter { key: String::new() });
        let Ok(Answer::Value(said)) = said else { panic!("{said:?}") };
        said
    };
    assert_eq!(said(&mut worker), "0 True");
    assert_eq!(worker.ask(Ask::WarmUp), Ok(Answer::Done));
    assert_eq!(said(&mut worker), "32 True");
    for _ in 0..2 * SLOTS {
        assert_eq!(good(&mut end, |samples| samples.fill(0.25)), vec![1.25; 128]);
    }
    assert_eq!(end.worker_counts().uncached_blocks(), 0);
    let collected = end.worker_counts().collected();
    assert_eq!(
        (collected.older, collected.unscheduled),
        (0, 0),
        "what is collected before the audio is not told"
    );
    let before = said(&mut worker);
    assert_eq!(worker.ask(Ask::WarmUp), Ok(Answer::Done));
    assert_eq!(said(&mut worker), before, "nobody is thrown among silent blocks once it plays");
    ends_well(worker);
}

#[test]
fn a_plugin_whose_silent_blocks_fail_goes_on_and_fails_in_its_first_block() {
    let file = processor("raise ValueError(f'block {self.n}')", "");
    let (mut worker, mut end) = running(&file.path, format(2, 64), &[]);
    assert_eq!(worker.ask(Ask::WarmUp), Ok(Answer::Done));
    assert_eq!(round(&mut end, ramp).0.status, Status::Failed);
    let notice = worker.wait_for_notice(|notice| matches!(notice, Notice::BlockFailed { .. }));
    let Notice::BlockFailed { failure, count } = notice else { panic!("{notice:?}") };
    assert!(failure.message.contains("block 2") && count == 1, "{failure:?}");
    ends_well(worker);
}

#[test]
fn a_worker_locks_its_blocks_in_memory_where_the_host_may() {
    let (worker, mut end) = running(&shipped("examples/passthrough.py"), format(2, 64), &[]);
    good(&mut end, ramp);
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.pid())).unwrap();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap().trim();
    assert_eq!(locked != "0 kB", end.is_locked(), "{locked}");
    ends_well(worker);
}
