//! Plugins that are wrong in every way there is: refused in words before they start, survived while they run.

use host::audio_file::Bits;
use host::crash;
use host::plugin::spec::PluginSpec;
use host::render::RenderSpec;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tests::audio::noises;
use tests::config::{config, run};
use tests::nda::{Done, Render};
use tests::plugins::{module, processor, processor_with};
use tests::wav::Wav;
use tests::workspace::{Folder, python};

/// Frames of a joint between dry and processed audio.
const RAMP: usize = 96;

/// A folder with a file of stereo noise in it.
fn folder_with_noise() -> (Folder, Wav) {
    let folder = Folder::new();
    let wav = Wav::new(noises(2, 3_000));
    wav.write(&folder.file("in.wav"));
    (folder, wav)
}

fn render(folder: &Folder, plugin: impl AsRef<Path>) -> Done {
    Render::new(folder, folder.file("in.wav")).plugin(plugin).run()
}

/// A render through this plugin is refused before it began, and so is a run.
fn refused(make: impl Fn(&Folder) -> PathBuf, code: i32, culprits: &[&str]) {
    let (folder, _) = folder_with_noise();
    let plugin = make(&folder);
    let done = render(&folder, &plugin);
    done.refused(code, culprits);
    assert!(!folder.file("out.wav").exists(), "an output of nothing: {done}");
    let text = format!("[[pipeline]]\nsource = \"in.wav\"\nplugins = [{plugin:?}]\nsink = \"out.wav\"");
    let done = run(&config(&folder, &text), &[]).wait();
    done.refused(code, culprits);
    assert!(!folder.file("out.wav").exists(), "an output of nothing: {done}");
}

/// A good processor that ends with this text.
fn refused_module(text: &str, culprits: &[&str]) {
    refused(|folder| module(folder, "made", text), 6, culprits);
}

/// A good processor with this method.
fn refused_method(method: &str, culprits: &[&str]) {
    refused(|folder| processor_with(folder, "made", "return True", method), 6, culprits);
}

#[test]
fn a_syntax_error_is_told_with_its_line() {
    refused_module("def broken(:", &["plugin made", "made.py", "SyntaxError", "def broken(:"]);
}

#[test]
fn a_file_of_bytes_that_are_no_text_is_refused() {
    let write = |folder: &Folder| {
        std::fs::write(folder.file("made.py"), b"\x7fELF\x00\x01\xff\xfe").unwrap();
        folder.file("made.py")
    };
    refused(write, 6, &["plugin made", "made.py", "Error"]);
}

#[test]
fn a_missing_package_is_named_with_how_to_install_it() {
    refused_module(
        "import no_such_package_anywhere.inner",
        &["ModuleNotFoundError", "no_such_package_anywhere", "-m pip install no_such_package_anywhere"],
    );
}

#[test]
fn an_exception_while_importing_is_told_with_its_traceback() {
    refused_module("raise ValueError('out of tune')", &["ValueError: out of tune", "made.py", "line "]);
}

#[test]
fn a_file_without_create_plugin_is_refused() {
    refused_module("del create_plugin", &["plugin made", "create_plugin"]);
    refused_module("create_plugin = 7", &["plugin made", "create_plugin"]);
}

#[test]
fn a_create_plugin_that_makes_no_plugin_is_refused() {
    refused_module("create_plugin = lambda: None", &["plugin made", "create_plugin", "None"]);
    refused_module("class Other: pass\ncreate_plugin = Other", &["plugin made", "create_plugin", "Other"]);
    refused_module("create_plugin = lambda: BasePlugin()", &["plugin made", "TypeError"]);
    refused_module("create_plugin = lambda: 1 / 0", &["plugin made", "ZeroDivisionError"]);
}

#[test]
fn another_version_of_the_api_is_refused_with_both_versions() {
    refused_method(
        "def get_info(self):\n    return PluginInfo('made', '1', 'a', 'd', PluginType.PROCESSOR, api_version=2)",
        &["plugin made", "API version 2", "this host has version 1"],
    );
}

#[test]
fn a_get_info_that_raises_or_tells_nothing_is_refused() {
    refused_method("def get_info(self):\n    raise KeyError('who am I')", &["KeyError", "who am I"]);
    refused_method("def get_info(self):\n    return None", &["plugin made", "get_info"]);
}

#[test]
fn an_initialize_or_start_that_returns_false_is_refused() {
    refused_method("def initialize(self):\n    return False", &["plugin made", "initialize"]);
    refused_method("def start(self):\n    return False", &["plugin made", "start"]);
    refused_method("def start(self):\n    return None", &["plugin made", "start"]);
}

#[test]
fn an_initialize_or_start_that_raises_is_told_with_its_traceback() {
    refused_method("def initialize(self):\n    raise OSError('no model')", &["OSError: no model", "made.py"]);
    refused_method("def start(self):\n    raise OSError('no licence')", &["OSError: no licence", "made.py"]);
}

#[test]
fn a_set_parameter_that_raises_is_told_with_its_traceback() {
    let (folder, _) = folder_with_noise();
    let method = "def set_parameter(self, key, value):\n    raise RuntimeError('hands off')";
    let plugin = processor_with(&folder, "made", "return True", method);
    let render = Render::new(&folder, folder.file("in.wav")).plugin(plugin).set("gain", "1");
    render.run().refused(6, &["plugin made", "RuntimeError: hands off"]);
}

#[test]
fn sys_exit_is_an_exception_like_others_until_the_start() {
    refused_module("sys.exit(0)", &["plugin made", "SystemExit"]);
    refused_module("sys.exit('enough')", &["plugin made", "SystemExit", "enough"]);
    refused_module("create_plugin = lambda: sys.exit(3)", &["plugin made", "SystemExit"]);
    refused_method("def initialize(self):\n    sys.exit(1)", &["plugin made", "SystemExit"]);
}

#[test]
fn os_exit_while_loading_is_told_with_its_code() {
    refused_module("os._exit(0)", &["plugin made", "exit code 0", "os._exit", "loading"]);
    refused_module("create_plugin = lambda: os._exit(3)", &["plugin made", "exit code 3", "os._exit"]);
    refused_method("def initialize(self):\n    os._exit(4)", &["plugin made", "exit code 4", "initialising"]);
    refused_method("def start(self):\n    os._exit(5)", &["plugin made", "exit code 5", "starting"]);
}

/// The reports that are left after a render and a run through this plugin, set to `gain=0.5`, which don't start.
fn reports_of_refused(make: impl Fn(&Folder) -> PathBuf) -> (Folder, Vec<crash::Kept>) {
    let (folder, _) = folder_with_noise();
    let plugin = make(&folder);
    let reports = folder.file("reports");
    let done = Render::new(&folder, folder.file("in.wav")).plugin(&plugin).set("gain", "0.5").run();
    let after_render = crash::list(&reports).len();
    assert_eq!(done.stderr.contains("; report: "), after_render == 1, "{done}");
    let set = format!("{{ file = {plugin:?}, set = {{ gain = \"0.5\" }} }}");
    let text = format!("[[pipeline]]\nsource = \"in.wav\"\nplugins = [{set}]\nsink = \"out.wav\"");
    let done = run(&config(&folder, &text), &[]).wait();
    let list = crash::list(&reports);
    assert_eq!(
        (done.stderr.contains("; report: "), list.len()),
        (after_render == 1, 2 * after_render),
        "{done}"
    );
    (folder, list)
}

/// The values that a report has.
fn parameters(report: &crash::Kept) -> String {
    std::fs::read_to_string(report.path.join("parameters.json")).unwrap().trim().to_owned()
}

#[test]
fn a_plugin_that_dies_before_it_plays_leaves_a_report_and_one_that_refuses_none() {
    let kill = "os.kill(os.getpid(), 11)";
    let (_imported, reports) = reports_of_refused(|folder| module(folder, "made", kill));
    for report in reports {
        assert!(report.ended.contains("SIGSEGV") && report.incarnation == 1, "{report:?}");
        // Nobody knows whether it would have failed closed.
        assert_eq!(parameters(&report), "[]");
    }
    for method in ["initialize", "start"] {
        let body =
            format!("def set_parameter(self, key, value): return True\ndef {method}(self):\n    {kill}");
        let (_folder, reports) =
            reports_of_refused(|folder| processor_with(folder, "made", "return True", &body));
        assert_eq!(reports.len(), 2, "{method}");
        for report in reports {
            let json = std::fs::read_to_string(report.path.join("report.json")).unwrap();
            let json: Value = serde_json::from_str(&json).unwrap();
            assert_eq!((&json["signal"], &json["kind"]), (&11.into(), &"processor".into()), "{json}");
            let stacks = std::fs::read_to_string(report.path.join("traceback.txt")).unwrap();
            assert!(stacks.contains(method), "{stacks}");
            assert!(parameters(&report).contains("0.5"), "{report:?}");
        }
    }
    let takes = "def set_parameter(self, key, value): return True";
    let secret = format!("fail_closed = True\n{takes}\ndef start(self):\n    {kill}");
    let (_closed, reports) =
        reports_of_refused(|folder| processor_with(folder, "made", "return True", &secret));
    assert_eq!(parameters(&reports[0]), "[]");
    let (_raised, none) = reports_of_refused(|folder| module(folder, "made", "raise OSError('not today')"));
    assert_eq!(none, []);
}

#[test]
fn a_crash_in_native_code_while_loading_is_told_by_its_signal() {
    refused_module("import ctypes\nctypes.string_at(1)", &["plugin made", "SIGSEGV", "native code"]);
}

/// Each block of the plugin fails: the file holds the dry signal, the code is that of losses.
fn fails_each_block(name: &str, body: &str, reason: &str) {
    let (folder, wav) = folder_with_noise();
    let plugin = processor(&folder, name, body);
    let render = Render::new(&folder, folder.file("in.wav")).plugin(plugin).block(500);
    let (done, report) = render.reported();
    done.ended_with(9);
    assert_eq!(report["plugins"][0]["counts"]["failed"], 6, "{name}: {done}");
    let told = report["events"].to_string();
    assert!(told.contains(name) && told.contains(reason), "{name}: {told}");
    let heard = Wav::read(&folder.file("out.wav"));
    assert_eq!((heard.frames(), heard.from(RAMP)), (wav.frames(), wav.from(RAMP)), "{name}");
}

#[test]
fn an_exception_in_each_block_is_told_and_the_dry_signal_is_heard() {
    fails_each_block("raises", "raise ValueError('sour note')", "ValueError: sour note");
    fails_each_block("falls", "return False", "False");
    fails_each_block("forgets", "buffer.data *= 2", "None");
    fails_each_block("exits", "sys.exit(1)", "SystemExit");
    fails_each_block("confuses", "return np.array([True, True])", "ambiguous");
}

#[test]
fn a_result_of_the_wrong_shape_or_type_is_a_failed_block() {
    for (name, body, reason) in [
        ("short", "buffer.data = buffer.data[:, :-1]\nreturn True", "shape (2, 499), not (2, 500)"),
        ("turned", "buffer.data = buffer.data.T\nreturn True", "shape (500, 2), not (2, 500)"),
        ("flat", "buffer.data = buffer.data.ravel()\nreturn True", "shape (1000,), not (2, 500)"),
        ("scalar", "buffer.data = 0.5\nreturn True", "shape (), not (2, 500)"),
        ("none", "buffer.data = None\nreturn True", "shape (), not (2, 500)"),
        ("text", "buffer.data = 'noise'\nreturn True", "shape (), not (2, 500)"),
        ("complex", "buffer.data = buffer.data * 1j\nreturn True", "complex"),
        ("objects", "buffer.data = np.full((2, 500), object())\nreturn True", "object"),
        ("words", "buffer.data = np.full((2, 500), 'a')\nreturn True", "<U1"),
        ("ragged", "buffer.data = [[1.0], [1.0, 2.0]]\nreturn True", "inhomogeneous"),
        ("deleted", "del buffer.data\nreturn True", "data"),
    ] {
        fails_each_block(name, body, reason);
    }
}

#[test]
fn a_buffer_that_was_bent_in_place_is_straight_again_in_the_next_block() {
    let (folder, wav) = folder_with_noise();
    let body = "
assert buffer.data.shape == (2, 500) and buffer.data.flags.writeable
if self.n == 2:
    buffer.data.shape = (buffer.data.size,)
if self.n == 4:
    buffer.data.flags.writeable = False
return True";
    let plugin = processor(&folder, "bender", body);
    let render = Render::new(&folder, folder.file("in.wav")).plugin(plugin).block(500);
    let (done, report) = render.reported();
    done.ended_with(9);
    let counts = &report["plugins"][0]["counts"];
    assert_eq!((&counts["good"], &counts["failed"]), (&5.into(), &1.into()), "{done}");
    let heard = Wav::read(&folder.file("out.wav"));
    assert_eq!(heard.frames(), wav.frames());
    assert_eq!(heard.from(1_000 + RAMP), wav.from(1_000 + RAMP));
}

/// A class whose buffers do not keep the array that is assigned to them.
const COPIES: &str = "
import base_plugin
class Copies(AudioBuffer):
    @property
    def data(self): return self._data
    @data.setter
    def data(self, data): self._data = np.array(data, np.float32)
";
/// Its buffers are of no use from the start.
const ODD: &str = "base_plugin.AudioBuffer = Copies";
/// In its fifth block it makes all buffers of no use.
const SPOILS: &str = "
if self.n == 5:
    AudioBuffer.data = Copies.data
    buffer.data = buffer.__dict__['data']
buffer.data = buffer.data * 0.5
return True";

/// A processor with this body that has the odd class at hand.
fn with_copies(folder: &Folder, name: &str, body: &str, last: &str) -> PathBuf {
    let plugin = processor(folder, name, body);
    let text = std::fs::read_to_string(&plugin).unwrap();
    folder.write(&format!("{name}.py"), &format!("{text}{COPIES}{last}\n"))
}

/// It is told once that this plugin gets fresh buffers and why, and the reason stands with the plugin.
fn told_once_of_fresh_buffers(done: &Done, (events, plugin): (&Value, &Value), name: &str, why: &str) {
    let line = format!("plugin {name} gets a fresh buffer for each block, which is slower: {why}");
    let told = events.as_array().unwrap().iter().filter(|event| **event == *line).count();
    assert_eq!((told, done.stderr.matches(&line).count()), (1, 1), "{events} {done}");
    assert_eq!(plugin["uncached"], why);
}

#[test]
fn blocks_whose_buffers_can_not_be_made_beforehand_are_counted_and_it_is_told_once() {
    let odd = "buffer.data is another array than the one assigned to it";
    let spoiled = "the plugin made its buffers unusable for another block";
    for (name, body, last, why, count) in [
        ("odd", "assert type(buffer) is Copies\nbuffer.data *= 0.5\nreturn True", ODD, odd, 30),
        ("spoils", SPOILS, "", spoiled, 25),
        ("neat", "buffer.data = buffer.data * 0.5\nreturn True", "", "", 0),
    ] {
        let (folder, wav) = folder_with_noise();
        let plugin = with_copies(&folder, name, body, last);
        let render = || Render::new(&folder, folder.file("in.wav")).plugin(&plugin).block(100);
        let (done, report) = render().reported();
        done.ended_with(0);
        let plugin = &report["plugins"][0];
        assert_eq!((&plugin["uncached_blocks"], &plugin["counts"]["good"]), (&count.into(), &30.into()));
        let text = render().run().ended_with(0).stdout.clone();
        if count > 0 {
            told_once_of_fresh_buffers(&done, (&report["events"], plugin), name, why);
            assert!(text.contains(&format!("in a fresh buffer each: {count} blocks ({why})")), "{text}");
        } else {
            assert_eq!((&plugin["uncached"], text.contains("fresh")), (&Value::Null, false), "{text}");
        }
        let halved = |channel: &Vec<f32>| channel.iter().map(|sample| sample * 0.5).collect::<Vec<_>>();
        let expected: Vec<_> = wav.channels.iter().map(halved).collect();
        assert_eq!(Wav::read(&folder.file("out.wav")).channels, expected, "{name}");
    }
}

#[test]
fn a_plugin_that_spoils_its_buffers_in_a_run_is_told_of_once() {
    let (folder, _) = folder_with_noise();
    let plugin = with_copies(&folder, "spoils", SPOILS, "");
    let text =
        format!("[[pipeline]]\nblock = 100\nsource = \"in.wav\"\nsink = \"out.wav\"\nplugins = [{plugin:?}]");
    let done = run(&config(&folder, &text), &[]).wait();
    done.ended_with(0);
    let report = done.json();
    let plugin = &report["pipelines"][0]["plugins"][0];
    told_once_of_fresh_buffers(
        &done,
        (&report["events"], plugin),
        "spoils",
        "the plugin made its buffers unusable for another block",
    );
    // What came too late to be heard is counted too.
    let handed_over = plugin["counts"]["good"].as_u64().unwrap() + plugin["counts"]["late"].as_u64().unwrap();
    let count = plugin["uncached_blocks"].as_u64().unwrap();
    assert!(count > 0 && count + 5 <= handed_over, "{plugin}");
}

#[test]
fn os_exit_in_a_block_ends_a_render_with_a_valid_file_up_to_there() {
    let (folder, wav) = folder_with_noise();
    let plugin = processor(&folder, "quitter", "if self.n == 4:\n    os._exit(3)\nreturn True");
    let done = Render::new(&folder, folder.file("in.wav")).plugin(plugin).block(500).run();
    done.refused(6, &["quitter", "exit code 3", "os._exit", "try: the output holds what had been processed"]);
    let heard = Wav::read(&folder.file("out.wav"));
    assert!(heard.frames().is_multiple_of(500) && heard.frames() <= 1_500, "{} frames", heard.frames());
    for (heard, sent) in heard.channels.iter().zip(&wav.channels) {
        assert_eq!(heard[..], sent[..heard.len()]);
    }
}

#[test]
fn os_exit_in_a_block_does_not_end_a_run() {
    let (folder, wav) = folder_with_noise();
    let plugin = processor(&folder, "quitter", "if self.n == 2:\n    os._exit(3)\nreturn True");
    let text = format!(
        "[[pipeline]]\nblock = 500\nsource = \"in.wav\"\nsink = \"out.wav\"
         plugins = [{{ file = {plugin:?}, deadline = 0.95 }}]"
    );
    let done = run(&config(&folder, &text), &[]).wait();
    done.ended_with(9);
    let report = done.json();
    assert_eq!(report["ended_by"], "source");
    let told = report["events"].to_string();
    assert!(told.contains("quitter") && told.contains("exit code 3"), "{told}");
    // It changes nothing and is bypassed, so every sample is there but those of the joint.
    let heard = Wav::read(&folder.file("out.wav"));
    assert_eq!(heard.frames(), wav.frames());
    assert_eq!(heard.from(500 + RAMP), wav.from(500 + RAMP));
}

#[test]
fn a_crash_in_a_block_is_told_with_where_python_was() {
    let (folder, _) = folder_with_noise();
    let plugin = processor(&folder, "crasher", "import ctypes\nctypes.string_at(1)");
    let done = render(&folder, plugin);
    done.refused(6, &["crasher", "SIGSEGV", "process_audio"]);
}

#[test]
fn a_stop_or_shutdown_that_raises_does_not_spoil_what_was_rendered() {
    for method in ["stop", "shutdown"] {
        let (folder, wav) = folder_with_noise();
        let raise = format!("def {method}(self):\n    raise OSError('too late')");
        let plugin = processor_with(&folder, "made", "return True", &raise);
        let (done, report) = Render::new(&folder, folder.file("in.wav")).plugin(plugin).reported();
        done.ended_with(9).and_said("OSError: too late").and_said("not stopped in order: plugin made");
        let told = report["unwilling"].to_string();
        assert!(told.contains("plugin made") && told.contains("OSError: too late"), "{told}");
        assert!(report["events"].to_string().contains("OSError: too late"), "{report}");
        assert_eq!(Wav::read(&folder.file("out.wav")), wav, "{method}");
    }
}

#[test]
fn an_end_while_it_stops_does_not_spoil_what_was_rendered_and_leaves_a_report() {
    // Also one that looks as if it had gone in order.
    let ends = [("os.kill(os.getpid(), 11)", "SIGSEGV"), ("os._exit(0)", "exit code 0")];
    for (method, (end, how)) in
        ["stop", "shutdown"].into_iter().flat_map(|method| ends.map(|end| (method, end)))
    {
        let (folder, wav) = folder_with_noise();
        let ends = format!("def {method}(self):\n    {end}");
        let plugin = processor_with(&folder, "made", "return True", &ends);
        let (done, report) = Render::new(&folder, folder.file("in.wav")).plugin(plugin).reported();
        done.ended_with(9);
        let told = report["unwilling"].to_string();
        assert!(told.contains(how) && told.contains("; report: "), "{told}");
        let [kept] = &crash::list(&folder.file("reports"))[..] else { panic!("one report: {told}") };
        assert!(kept.ended.contains(how) && kept.done == "it was being stopped", "{kept:?}");
        let stacks = std::fs::read_to_string(kept.path.join("traceback.txt")).unwrap();
        assert!(stacks.contains(method) || how != "SIGSEGV", "{stacks}");
        assert_eq!(Wav::read(&folder.file("out.wav")), wav, "{method}");
    }
}

/// A processor that leaves a file for each of `stop` and `shutdown`.
fn leaves_in_order(folder: &Folder) -> PathBuf {
    let method = |name: &str| {
        let file = folder.file(&format!("{name}.done")).display().to_string();
        format!("def {name}(self):\n    open({file:?}, 'w').close()\n")
    };
    processor_with(folder, "good", "return True", &(method("stop") + &method("shutdown")))
}

fn assert_left_in_order(folder: &Folder) {
    for method in ["stop", "shutdown"] {
        assert!(folder.file(&format!("{method}.done")).exists(), "{method} was not called");
    }
}

#[test]
fn a_plugin_that_does_not_start_lets_those_that_did_stop_in_order() {
    let (folder, _) = folder_with_noise();
    let (good, bad) = (leaves_in_order(&folder), module(&folder, "bad", "raise OSError('not today')"));
    // The error of the first that fails is told.
    let worse = module(&folder, "worse", "raise OSError('nor ever')");
    let render = Render::new(&folder, folder.file("in.wav")).plugin(&good).plugin(&bad).plugin(&worse);
    let done = render.run();
    done.refused(6, &["plugin bad", "not today"]);
    assert!(!done.stderr.contains("nor ever") && !folder.file("out.wav").exists(), "{done}");
    assert_left_in_order(&folder);

    let (folder, _) = folder_with_noise();
    let (good, bad) = (leaves_in_order(&folder), module(&folder, "bad", "raise OSError('not today')"));
    let text = format!(
        "[[pipeline]]\nsource = \"in.wav\"\nplugins = [{good:?}]\nsink = \"good.wav\"
         [[pipeline]]\nsource = \"in.wav\"\nplugins = [{bad:?}]\nsink = \"bad.wav\""
    );
    run(&config(&folder, &text), &[]).wait().refused(6, &["bad", "not today"]);
    assert_left_in_order(&folder);
    assert_eq!(Wav::read(&folder.file("good.wav")).frames(), 0);

    let (folder, _) = folder_with_noise();
    let (good, bad) = (leaves_in_order(&folder), module(&folder, "bad", "raise OSError('not today')"));
    let text =
        format!("[[pipeline]]\nsource = \"in.wav\"\nplugins = [{good:?}, {bad:?}]\nsink = \"one.wav\"");
    run(&config(&folder, &text), &[]).wait().refused(6, &["bad", "not today"]);
    assert_left_in_order(&folder);
}

#[test]
fn an_output_that_can_not_be_made_lets_the_plugins_of_a_render_stop_in_order() {
    let (folder, _) = folder_with_noise();
    let nowhere = folder.file("no/such/folder/out.wav");
    let render = Render::new(&folder, folder.file("in.wav")).plugin(leaves_in_order(&folder));
    render.into_file(nowhere).run().refused(5, &["out.wav"]);
    assert_left_in_order(&folder);
}

#[test]
fn a_plugin_that_dies_in_a_render_lets_the_others_stop_in_order() {
    let (folder, _) = folder_with_noise();
    let dies = processor(&folder, "quitter", "os._exit(3)");
    let render = Render::new(&folder, folder.file("in.wav")).plugin(leaves_in_order(&folder)).plugin(dies);
    let done = render.run();
    done.refused(6, &["quitter", "exit code 3"]);
    assert_left_in_order(&folder);
}

#[test]
fn a_plugin_that_dies_in_a_render_leaves_a_report_with_the_blocks_that_it_had() {
    let (folder, wav) = folder_with_noise();
    let body = "if self.n == 4:\n    os.kill(os.getpid(), 11)\nbuffer.data *= 0.5\nreturn True";
    let dies = processor(&folder, "mortal", body);
    let done = Render::new(&folder, folder.file("in.wav")).plugin(dies).block(512).run();
    done.refused(6, &["mortal", "killed by SIGSEGV", "; report: "]);
    let [report] = &crash::list(&folder.file("reports"))[..] else { panic!("not one report: {done}") };
    let heard = |name| Wav::read(&report.path.join(name)).channels;
    assert_eq!(heard("in.wav")[1][..4 * 512], wav.channels[1][..4 * 512]);
    assert_eq!(heard("out.wav")[1][..3 * 512], wav.map(|s| s * 0.5).channels[1][..3 * 512]);
    let kept = |name| std::fs::read_to_string(report.path.join(name)).expect(name);
    assert!(kept("traceback.txt").contains("in process_audio"), "{}", kept("traceback.txt"));
}

#[test]
fn a_plugin_that_hangs_in_a_render_is_ended_and_leaves_a_report_with_its_stack() {
    let (folder, _) = folder_with_noise();
    let hangs = processor(&folder, "stuck", "while self.n == 4:\n    pass\nreturn True");
    let hang_after = Some(Duration::from_secs(2));
    let plugin = PluginSpec { hang_after, python: Some(python()), ..PluginSpec::new(hangs) };
    let spec = RenderSpec {
        input: folder.file("in.wav"),
        output: folder.file("out.wav"),
        elements: vec![plugin.into()],
        block_frames: 512,
        bits: Bits::F32,
        reports: Some(folder.file("reports")),
    };
    let failed = host::render::render(&spec, &AtomicBool::new(false), &mut |_, _| {}, &mut |_| {});
    let told = failed.expect_err("it never answers").to_string();
    assert!(
        told.contains("stuck") && told.contains("hung and was ended by the host: no answer for"),
        "{told}"
    );
    let [report] = &crash::list(&folder.file("reports"))[..] else { panic!("not one report: {told}") };
    let stacks = std::fs::read_to_string(report.path.join("traceback.txt")).expect("stacks");
    assert!(stacks.contains("in process_audio"), "{stacks}");
}

#[test]
fn a_plugin_that_prints_by_the_megabyte_while_importing_starts() {
    let (folder, wav) = folder_with_noise();
    let plugin = module(&folder, "chatter", "print('word ' * 1_000_000)\nsys.stderr.write('x' * 3_000_000)");
    render(&folder, plugin).ended_with(0);
    assert_eq!(Wav::read(&folder.file("out.wav")), wav);
}

#[test]
fn a_grandchild_that_holds_the_output_open_delays_nobody() {
    let (folder, wav) = folder_with_noise();
    let text = "import subprocess\nsubprocess.Popen(['sleep', '600'])";
    let done = render(&folder, module(&folder, "parent", text));
    done.ended_with(0);
    assert_eq!(Wav::read(&folder.file("out.wav")), wav);
}
