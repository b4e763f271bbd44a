//! The command line on an audio system of the test's choice, which ALSA takes from a file.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::{Command, Output};

/// What `nda` does where ALSA knows only what is in `config`.
fn nda(config: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let (alsa, pipeline) = (folder.path().join("asound.conf"), folder.path().join("pipeline.toml"));
    fs::write(&alsa, config).unwrap();
    fs::write(&pipeline, "[[pipeline]]\nsource = \"default\"\nsink = \"default\"\n").unwrap();
    let mut nda = Command::new(env!("CARGO_BIN_EXE_nda"));
    nda.args(arguments).env("ALSA_CONFIG_PATH", alsa).current_dir(folder.path()).output().unwrap()
}

#[test]
fn a_default_device_that_is_not_there_is_told_once_and_not_by_alsa_too() {
    let output = nda("# no devices at all", &["run", "pipeline.toml"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(stderr.contains("no sound card was found"), "{stderr}");
    assert!(!stderr.contains("ALSA lib"), "{stderr}");
}
