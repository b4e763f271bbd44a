//! The command line on an audio system of the test's choice, which ALSA takes from a file.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

use hound::{SampleFormat, WavSpec, WavWriter};
use std::fs;
use std::process::{Command, Output};

/// Not even ALSA's `null`.
const NO_DEVICES: &str = "# nothing";
/// A default device that works and that ALSA does not list, as it has no hint.
const UNLISTED: &str = "pcm.default { type null }";

/// What `nda` does where ALSA knows only what is in `config`, with a pipeline from a short `song.wav` to a
/// `sink` in `pipeline.toml`.
fn nda(config: &str, sink: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    fs::write(path("asound.conf"), config).unwrap();
    fs::write(path("pipeline.toml"), format!("[[pipeline]]\nsource = \"song.wav\"\nsink = \"{sink}\"\n"))
        .unwrap();
    write_song(&path("song.wav"));
    let mut nda = Command::new(env!("CARGO_BIN_EXE_nda"));
    nda.args(arguments).env("ALSA_CONFIG_PATH", path("asound.conf")).current_dir(folder.path());
    nda.output().unwrap()
}

fn write_song(path: &std::path::Path) {
    let spec =
        WavSpec { channels: 1, sample_rate: 48_000, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut song = WavWriter::create(path, spec).unwrap();
    (0..480i16).for_each(|sample| song.write_sample(sample).unwrap());
    song.finalize().unwrap();
}

/// The devices there are, without audio systems whose server is not running, and without those of one that is.
fn listed(config: &str) -> Vec<serde_json::Value> {
    let output = nda(config, "virtual", &["devices", "--json"]).stdout;
    let all: Vec<serde_json::Value> = serde_json::from_slice(&output).unwrap();
    let is_meant =
        |device: &serde_json::Value| ["ALSA", "virtual"].iter().any(|name| device["backend"] == *name);
    all.into_iter().filter(is_meant).collect()
}

#[test]
fn a_default_device_that_is_not_there_is_told_once_and_not_by_alsa_too() {
    let output = nda(NO_DEVICES, "default", &["run", "pipeline.toml"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(stderr.contains("no sound card was found"), "{stderr}");
    assert!(!stderr.contains("ALSA lib"), "{stderr}");
}

#[test]
fn a_default_device_that_alsa_does_not_list_is_listed_all_the_same() {
    let devices = listed(UNLISTED);
    assert_eq!(devices[0]["id"], "alsa:default");
    assert_eq!(devices[0]["output"]["is_default"], true);
    assert_eq!(devices[0]["input"]["is_default"], true);
}

#[test]
fn a_default_device_that_does_not_open_is_not_listed() {
    let devices = listed(NO_DEVICES);
    assert_eq!(devices.iter().map(|device| &device["id"]).collect::<Vec<_>>(), ["virtual"]);
}

#[test]
fn a_default_device_that_alsa_does_not_list_can_be_named_by_its_id() {
    let output = nda(UNLISTED, "device:alsa:default", &["run", "pipeline.toml"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
