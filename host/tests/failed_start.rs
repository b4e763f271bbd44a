//! A plugin that dies and can't be started again leaves a report of that too, and it can be replayed.
//!
//! With the real program and a real Python, as `tests/worker.rs`.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Ends its process in a block, and what `again` says happens to the next one.
fn plugin(folder: &Path, again: &str) {
    let code = format!(
        "
import os
from base_plugin import *
FLAG = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'died')
class P(AudioProcessorPlugin):
    blocks = 0
    silent_warm_up = False
    def get_info(self): return PluginInfo('Test', '1', 'me', 'test', PluginType.PROCESSOR)
    def initialize(self): return True
    def start(self): return True
    def stop(self): pass
    def shutdown(self): pass
    def set_parameter(self, key, value): pass
    def get_parameter(self, key): return ''
    def get_sample_rate(self): return 48000
    def set_sample_rate(self, rate): pass
    def get_channel_count(self): return 1
    def set_channel_count(self, channels): pass
    def process_audio(self, buffer):
        self.blocks += 1
        if self.blocks == 20:
            open(FLAG, 'w').close()
            os._exit(3)
        return True
def create_plugin():
    if os.path.exists(FLAG):
        {again}
    return P()
"
    );
    fs::write(folder.join("twice.py"), code).unwrap();
}

fn python() -> PathBuf {
    let named = std::env::var_os("NDA_TEST_PYTHON").map(PathBuf::from);
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(".venv/bin/python");
    named.unwrap_or_else(|| if venv.exists() { venv } else { "python3".into() })
}

fn nda(folder: &Path, words: &[&str]) -> Output {
    let mut nda = Command::new(env!("CARGO_BIN_EXE_nda"));
    nda.args(words).current_dir(folder).env("NDA_REPORTS", folder.join("reports")).output().unwrap()
}

/// Runs the plugin for a second; what was said, and the folders of its reports, oldest first.
fn run(folder: &Path, again: &str, options: &str) -> (String, Vec<PathBuf>) {
    plugin(folder, again);
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 48_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut wav = hound::WavWriter::create(folder.join("in.wav"), spec).unwrap();
    (0..96_000).for_each(|_| wav.write_sample(0i16).unwrap());
    wav.finalize().unwrap();
    let config = format!(
        "[[pipeline]]\nblock = 480\nsource = {{ file = \"in.wav\" }}\nsink = \"virtual\"\n\
         plugins = [{{ file = \"twice.py\", python = {:?}, {options} }}]\n",
        python()
    );
    fs::write(folder.join("run.toml"), config).unwrap();
    let done = nda(folder, &["run", "run.toml"]);
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    let reports = host::crash::list(&folder.join("reports"));
    (said, reports.into_iter().map(|kept| kept.path).collect())
}

fn read(report: &Path, file: &str) -> String {
    fs::read_to_string(report.join(file)).unwrap_or_default()
}

#[test]
fn a_plugin_that_can_not_be_started_again_leaves_a_report_that_can_be_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let options = "standby = \"none\", set = { gain = \"secret\" }";
    let (said, reports) = run(folder.path(), "raise ValueError('not again')", options);
    let failed = |report: &&PathBuf| read(report, "report.txt").contains("could not be started again");
    let report = reports.iter().find(failed).unwrap_or_else(|| panic!("no such report: {said}"));
    let line = said.lines().find(|line| line.contains("could not be started again")).unwrap();
    assert!(line.contains("not again; its blocks are replaced (bypass), it is started again in"), "{line}");
    assert!(line.contains("; report: "), "{line}");
    assert!(read(report, "traceback.txt").contains("raise ValueError('not again')"));
    assert!(read(report, "parameters.json").contains("secret"));
    assert!(!report.join("in.wav").exists());
    assert!(reports.iter().any(|report| read(report, "report.txt").contains("exit code 3")), "{said}");

    let replayed = nda(folder.path(), &["replay", report.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&replayed.stdout);
    assert!(
        said.contains("the plugin could not be started: create_plugin() raised ValueError: not again"),
        "{said}"
    );
    assert_eq!(replayed.status.code(), Some(6), "{said}");
    fs::remove_file(folder.path().join("died")).unwrap();
    let replayed = nda(folder.path(), &["replay", report.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&replayed.stdout);
    assert!(replayed.status.success() && said.contains("0 blocks were good, 0 failed"), "{said}");
}

#[test]
fn of_one_that_dies_while_it_is_started_the_report_has_its_process_its_signal_and_no_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let dies = "P.initialize = lambda self: os.kill(os.getpid(), 11)";
    let options = "standby = \"spare\", set = { gain = \"secret\" }, fail_closed = true";
    let (said, reports) = run(folder.path(), dies, options);
    let failed = |report: &&PathBuf| read(report, "report.txt").contains("could not be started again");
    let report = reports.iter().find(failed).unwrap_or_else(|| panic!("no such report: {said}"));
    let json: serde_json::Value = serde_json::from_str(&read(report, "report.json")).unwrap();
    assert_eq!((&json["signal"], json["title"].as_str()), (&11.into(), Some("Test 1")));
    assert!(json["pid"].is_u64() && json["incarnation"].as_u64() > Some(1), "{json}");
    assert!(read(report, "traceback.txt").contains("(most recent call first)"));
    assert!(!read(report, "parameters.json").contains("secret"));
}
