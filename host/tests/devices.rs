//! The command line on an audio system of the test's choice, which ALSA takes from a file.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

use hound::{SampleFormat, WavSpec, WavWriter};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Not even ALSA's `null`.
const NO_DEVICES: &str = "# nothing";
/// A default device that works and that ALSA does not list, as it has no hint.
const UNLISTED: &str = "pcm.default { type null }";

/// What `nda` does where ALSA knows only what is in `config`, with a pipeline from a short `song.wav` to a
/// `sink` in `pipeline.toml`.
fn nda(config: &str, sink: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    write_song(&folder.path().join("song.wav"));
    nda_in(folder.path(), config, ["song.wav", sink], arguments)
}

/// The same in a folder that has its files, with another source.
fn nda_in(folder: &Path, config: &str, [source, sink]: [&str; 2], arguments: &[&str]) -> Output {
    let path = |name| folder.join(name);
    fs::write(path("asound.conf"), config).unwrap();
    let ends = format!("[[pipeline]]\nsource = {source:?}\nsink = {sink:?}\n");
    fs::write(path("pipeline.toml"), ends).unwrap();
    let mut nda = Command::new(env!("CARGO_BIN_EXE_nda"));
    nda.args(arguments).env("ALSA_CONFIG_PATH", path("asound.conf")).current_dir(folder);
    nda.output().unwrap()
}

fn write_song(path: &Path) {
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

/// A device that takes and gives whole numbers only, and leads nowhere; 32 bits are the most it has.
const NO_FLOATS: &str = "{ type linear slave { pcm { type null } format S16_LE } }";

/// Noise that is now and then too loud, in two channels; frame after frame.
fn write_noise(path: &Path) -> Vec<f32> {
    let spec =
        WavSpec { channels: 2, sample_rate: 48_000, bits_per_sample: 32, sample_format: SampleFormat::Float };
    let mut noise = WavWriter::create(path, spec).unwrap();
    let samples: Vec<f32> = (1..9_601u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 * 1.2 - 1.2)
        .collect();
    samples.iter().for_each(|sample| noise.write_sample(*sample).unwrap());
    noise.finalize().unwrap();
    samples
}

/// The bytes that a default device gets which takes the samples that `taker` takes, a device of ALSA's plugins that
/// lead nowhere; `None` if that plugin is not installed. Another one writes them into a file on their way.
fn played_to(taker: &str, folder: &Path) -> Option<Vec<u8>> {
    let raw = folder.join("played.raw");
    let config = format!("pcm.default {{ type file file {raw:?} format raw slave.pcm {taker} }}");
    if !listed(&config).iter().any(|device| device["id"] == "alsa:default") {
        return None;
    }
    let output = nda_in(folder, &config, ["song.wav", "default"], &["run", "pipeline.toml"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(fs::read(raw).unwrap())
}

/// Each is less than a step from what it should be, in its place from the first on, and silence follows.
fn assert_steps(played: impl Iterator<Item = i32>, signal: &[f32], bits: u32) {
    let full = f64::from(1u32 << (bits - 1));
    // As near to the top of 32 bits as a float comes.
    let top = full - (full / f64::from(1 << 24)).max(1.0);
    let mut played = played.map(f64::from);
    for (place, sample) in signal.iter().enumerate() {
        let expected = (f64::from(*sample) * full).clamp(-full, top);
        let is = played.next().expect("all of it");
        assert!((is - expected).abs() < 1.0, "{is} is not {expected}, at {place}");
    }
    assert!(played.all(|sample| sample == 0.0), "nothing follows");
}

#[test]
#[expect(clippy::print_stderr, reason = "what was not shown is told")]
fn a_device_of_16_bits_gets_each_sample_in_whole_steps_and_what_is_too_loud_at_full_scale() {
    let folder = tempfile::tempdir().unwrap();
    let signal = write_noise(&folder.path().join("song.wav"));
    let Some(bytes) = played_to("{ type upmix slave.pcm { type null } }", folder.path()) else {
        eprintln!("not shown: ALSA's plugin `upmix` is not here");
        return;
    };
    let samples = bytes.chunks_exact(2).map(|bytes| i16::from_le_bytes([bytes[0], bytes[1]]));
    assert_steps(samples.map(i32::from), &signal, 16);
}

#[test]
fn a_device_of_32_bits_gets_each_sample_as_exactly_as_it_is_and_what_is_too_loud_at_full_scale() {
    let folder = tempfile::tempdir().unwrap();
    let signal = write_noise(&folder.path().join("song.wav"));
    let bytes = played_to(NO_FLOATS, folder.path()).expect("`linear` is a part of ALSA itself");
    let samples = bytes.chunks_exact(4).map(|bytes| i32::from_le_bytes(bytes.try_into().unwrap()));
    assert_steps(samples, &signal, 32);
}

#[test]
fn what_a_device_of_32_bits_records_is_heard_as_exactly_as_a_float_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let recorded: Vec<i32> = (0..96_000u32).map(|n| n.wrapping_mul(2_654_435_761).cast_signed()).collect();
    let raw = folder.path().join("recorded.raw");
    fs::write(&raw, recorded.iter().flat_map(|sample| sample.to_le_bytes()).collect::<Vec<_>>()).unwrap();
    let config = format!(
        "pcm.default {{ type file file \"/dev/null\" infile {raw:?} format raw slave.pcm {NO_FLOATS} }}"
    );
    let run = ["run", "pipeline.toml", "--for", "1"];
    let output = nda_in(folder.path(), &config, ["default", "heard.wav"], &run);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let heard = hound::WavReader::open(folder.path().join("heard.wav")).unwrap().into_samples::<f32>();
    // What follows the end of the file is ALSA's.
    let heard: Vec<f32> = heard.map(Result::unwrap).take(9_600).collect();
    let expected = recorded.iter().map(|sample| *sample as f32 / 2f32.powi(31));
    let wrong = heard.iter().zip(expected).position(|(heard, expected)| *heard != expected);
    assert_eq!((heard.len(), wrong), (9_600, None));
}
