//! What programs and shells get from `nda`: reports in JSON, help, a closed pipe, exit codes.

use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use tests::audio::noises;
use tests::config::{config, run};
use tests::nda::{Render, Running, command, nda};
use tests::wav::Wav;
use tests::workspace::{Folder, shipped};

fn folder_with_noise() -> Folder {
    let folder = Folder::new();
    Wav::new(noises(2, 5_000)).write(&folder.file("in.wav"));
    folder
}

/// The object has these keys; a later version may add some.
fn assert_keys(value: &Value, keys: &[&str]) {
    for key in keys {
        assert!(value.get(key).is_some(), "{key} is not in {value}");
    }
}

fn assert_plugin(plugin: &Value) {
    assert_keys(
        plugin,
        &[
            "name",
            "title",
            "file",
            "kind",
            "mode",
            "moves",
            "added_frames",
            "lost",
            "pid",
            "python",
            "standby",
            "deaths",
            "last_death",
            "dead",
            "quarantined",
            "bypassed",
            "uncached",
            "uncached_blocks",
            "collector",
            "counts",
            "causes",
            "plugin_time",
            "round_trip",
            "interpreter_wait",
        ],
    );
    assert_keys(&plugin["collector"], &["gc", "young", "older", "unscheduled", "total_ms", "longest_ms"]);
    let counts = &plugin["counts"];
    let lost = ["late", "failed", "gone", "behind", "torn", "forged"];
    let guarded = ["non_finite_blocks", "non_finite_samples", "too_loud_blocks", "too_loud_samples"];
    assert_keys(counts, &[&["good", "flooded"], &lost[..], &guarded].concat());
    let times = ["p50_us", "p99_us", "p999_us", "max_us"];
    for key in ["plugin_time", "round_trip", "interpreter_wait"] {
        assert_keys(&plugin[key], &times);
        let times: Vec<f64> = times.iter().map(|time| plugin[key][time].as_f64().unwrap()).collect();
        assert!(times.is_sorted(), "{key}: {times:?}");
    }
    assert!(plugin["plugin_time"]["max_us"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_report_of_a_render_is_json_with_every_field() {
    let folder = folder_with_noise();
    let render = Render::new(&folder, folder.file("in.wav")).plugin(shipped("examples/simple_gain.py"));
    let (done, report) = render.set("gain", "0.5").block(500).option("--bits", "16").reported();
    done.ended_with(0);
    assert_keys(
        &report,
        &[
            "format",
            "nda",
            "input",
            "output",
            "rate",
            "channels",
            "block_frames",
            "frames",
            "start_seconds",
            "seconds",
            "times_real_time",
            "clipped",
            "plugin_frames",
            "plugins",
            "events",
            "interrupted",
        ],
    );
    assert_eq!((&report["frames"], &report["block_frames"]), (&5_000.into(), &500.into()));
    assert_eq!((&report["rate"], &report["channels"]), (&48_000.into(), &2.into()));
    assert_eq!((&report["clipped"], &report["interrupted"]), (&0.into(), &false.into()));
    let plugin = &report["plugins"][0];
    assert_plugin(plugin);
    assert_eq!((&plugin["name"], &plugin["title"]), (&"simple_gain".into(), &"Simple Gain 1.0.0".into()));
    assert_eq!(plugin["counts"]["good"], 10);
    assert_eq!((&plugin["uncached"], &plugin["uncached_blocks"]), (&Value::Null, &0.into()));
}

#[test]
fn the_report_of_a_run_is_json_with_every_field() {
    let folder = folder_with_noise();
    let text = format!(
        "[[pipeline]]\nname = \"live\"\nblock = 1024\nsource = \"in.wav\"\nsink = \"virtual\"
         plugins = [{:?}]",
        shipped("examples/simple_gain.py")
    );
    let done = run(&config(&folder, &text), &[]).wait();
    done.ended_with(0);
    let report = done.json();
    assert_keys(
        &report,
        &["format", "nda", "ended_by", "seconds", "pipelines", "events", "damaged", "unwilling"],
    );
    let pipeline = &report["pipelines"][0];
    assert_keys(
        pipeline,
        &[
            "name",
            "source",
            "sink",
            "clock",
            "rate",
            "channels",
            "block_frames",
            "frames",
            "latency",
            "peaks_db",
            "xruns",
            "devices",
            "underrun_frames",
            "overrun_frames",
            "muted",
            "section_lost",
            "plugins",
            "ended",
        ],
    );
    let frames = ["mode_frames", "plugin_frames", "adaptation_frames", "device_frames"];
    assert_keys(&pipeline["latency"], &frames);
    assert_keys(&pipeline["latency"], &["mode_ms", "plugin_ms", "adaptation_ms", "device_ms", "total_ms"]);
    assert_keys(&pipeline["xruns"], &["device", "host_late", "plugin_late"]);
    assert_keys(
        &pipeline["devices"][0],
        &["name", "direction", "paces", "lost_s", "next_try_s", "why", "losses"],
    );
    assert_eq!((&pipeline["name"], &pipeline["ended"]), (&"live".into(), &true.into()));
    assert_eq!(pipeline["peaks_db"].as_array().unwrap().len(), 2);
    let plugin = &pipeline["plugins"][0];
    assert_plugin(plugin);
    // Every block of the pipeline is accounted for, whatever became of it.
    let count = |key: &str| plugin["counts"][key].as_u64().unwrap();
    let all =
        count("good") + count("late") + count("failed") + count("gone") + count("behind") + count("torn");
    assert_eq!(all, pipeline["frames"].as_u64().unwrap() / 1024, "{plugin}");
}

#[test]
fn a_report_in_a_file_leaves_standard_output_to_people() {
    let folder = folder_with_noise();
    let file = folder.file("report.json");
    let render = Render::new(&folder, folder.file("in.wav")).option("--json", &file);
    let done = render.run();
    done.ended_with(0);
    let report: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(report["frames"], 5_000);
    assert!(done.stdout.contains("out.wav"), "no word of it: {done}");
}

#[test]
fn the_devices_are_listed_as_json_and_as_text_with_the_virtual_one() {
    let json = nda(["devices", "--json"]);
    json.ended_with(0);
    let devices = json.json();
    let devices = devices.as_array().expect("a list");
    let is_virtual = |device: &&Value| device["name"] == "virtual";
    let device = devices.iter().find(is_virtual).expect("the virtual device");
    assert_eq!(device["keeps_time"], true);
    assert!(device["output"].is_object() && device["input"].is_object(), "{device}");
    let text = nda(["devices"]);
    text.ended_with(0);
    assert!(text.stdout.contains("virtual"), "{text}");
}

#[test]
fn every_command_has_help() {
    for command in [&[][..], &["run"], &["render"], &["devices"], &["replay"], &["bench"], &["completions"]] {
        for flag in ["--help", "-h"] {
            let done = nda(command.iter().copied().chain([flag]));
            done.ended_with(0);
            assert!(done.stdout.contains("Usage: nda"), "{done}");
        }
    }
    let version = nda(["--version"]);
    version.ended_with(0);
    assert!(version.stdout.starts_with("nda "), "{version}");
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let done = nda(["completions", shell]);
        done.ended_with(0);
        assert!(done.stdout.contains("render"), "{done}");
    }
}

#[test]
fn an_output_that_was_closed_early_is_no_error() {
    let folder = folder_with_noise();
    let text = "[[pipeline]]\nsource = \"in.wav\"\nsink = \"virtual\"";
    let config = config(&folder, text).display().to_string();
    let render = ["render", "in.wav", "out.wav", "--json", "-"];
    let commands: [&[&str]; 7] = [
        &["--help"],
        &["devices"],
        &["devices", "--json"],
        &["completions", "bash"],
        &["run", &config],
        &["run", &config, "--json", "-"],
        &render,
    ];
    for words in commands {
        let mut command = command(words);
        command.current_dir(folder.path());
        let done = Running::start_unread(command).wait();
        done.ended_with(0);
        assert!(!done.stderr.contains("error"), "{words:?}: {done}");
    }
    assert_eq!(Wav::read(&folder.file("out.wav")).frames(), 5_000);
}

#[test]
fn the_help_names_every_exit_code() {
    let help = nda(["--help"]).stdout;
    for code in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130] {
        let mut lines = help.lines().map(str::trim_start);
        assert!(lines.any(|line| line.starts_with(&format!("{code}  "))), "{code} is not in {help}");
    }
}

#[test]
fn what_a_plugin_prints_is_told_under_its_name_and_cannot_steer_the_terminal() {
    let folder = folder_with_noise();
    let body = "if self.n == 1:\n    print('hello \\x1b[2J from within', flush=True)\nreturn True";
    let plugin = tests::plugins::processor(&folder, "talker", body);
    let done = Render::new(&folder, folder.file("in.wav")).plugin(plugin).run();
    done.ended_with(0).and_said("talker: hello").and_said("from within");
    assert!(!done.stderr.contains('\x1b') && !done.stdout.contains('\x1b'), "{done}");
}

#[test]
fn paths_in_a_configuration_start_at_its_folder() {
    let folder = folder_with_noise();
    let text = "[[pipeline]]\nsource = \"in.wav\"\nsink = \"out.wav\"";
    let config = config(&folder, text);
    let mut command = command([Path::new("run"), &config]);
    command.current_dir("/");
    Running::start(command).wait().ended_with(0);
    assert_eq!(Wav::read(&folder.file("out.wav")), Wav::read(&folder.file("in.wav")));
}

/// A user without rights: as root it takes more than a limit.
const UNPRIVILEGED: &str = "ulimit -l 0
[ \"$(id -u)\" = 0 ] && exec setpriv --bounding-set=-ipc_lock \"$0\" \"$@\"
exec \"$0\" \"$@\"";

#[test]
fn that_memory_can_not_be_locked_is_told_once_with_how_to_get_the_right() {
    let folder = folder_with_noise();
    let gain = shipped("examples/simple_gain.py");
    let text =
        format!("[[pipeline]]\nsource = \"in.wav\"\nsink = \"virtual\"\nplugins = [{gain:?}, {gain:?}]");
    let file = config(&folder, &text);
    let nda = command([OsStr::new("run"), file.as_os_str(), OsStr::new("--json"), OsStr::new("-")]);
    let mut unprivileged = Command::new("sh");
    unprivileged.args(["-c", UNPRIVILEGED]).arg(nda.get_program()).args(nda.get_args());
    unprivileged.envs(nda.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let done = Running::start(unprivileged).wait();
    done.ended_with(0);
    let report = done.json();
    let told = report["events"].as_array().unwrap().iter().filter_map(Value::as_str);
    let told: Vec<_> = told.filter(|line| line.contains("can't be locked")).collect();
    assert!(told.len() == 1 && told[0].contains("limit 0 KiB") && told[0].contains("ulimit -l"), "{told:?}");
}
