//! `nda latency`: what is computed is what is measured, through a virtual cable and a real worker.

use tests::config::config;
use tests::nda::nda;
use tests::plugins::processor;
use tests::wav::Wav;
use tests::workspace::{Folder, python, shipped};

fn latency(plugin: &std::path::Path, times: &str) -> tests::nda::Done {
    let (plugin, python) = (plugin.to_str().unwrap(), python());
    nda([
        "latency",
        "--block",
        "256",
        "--times",
        times,
        "--json",
        "--plugin",
        plugin,
        "--python",
        python.to_str().unwrap(),
    ])
}

#[test]
fn impulses_take_exactly_as_long_as_was_computed() {
    let done = latency(&shipped("examples/passthrough.py"), "5");
    let report = done.ended_with(0).json();
    let pipeline = &report["pipelines"][0];
    let computed = pipeline["computed_frames"].as_u64().unwrap();
    assert!(computed >= 512, "{pipeline}");
    let measured = pipeline["measured_frames"].as_array().unwrap();
    assert_eq!(measured.len() as u64 + pipeline["lost"].as_u64().unwrap(), 5, "{pipeline}");
    // One that met a gap of a busy machine took longer; no other did.
    assert!(measured.iter().any(|frames| frames.as_u64() == Some(computed)), "{pipeline}");
}

#[test]
fn a_pipeline_whose_format_is_that_of_its_source_file_is_measured_in_that_format() {
    let folder = Folder::new();
    Wav::new(vec![vec![0.0; 100]; 3]).at(44_100).write(&folder.file("in.wav"));
    let picky = "if buffer.get_channel_count() != 3: buffer.data[:] = 0\nreturn True";
    processor(&folder, "picky", picky);
    let text = "[[pipeline]]\nsource = \"in.wav\"\nplugins = [\"picky.py\"]\nsink = \"virtual\"\n";
    let config = config(&folder, text);
    let done = nda(["latency", config.to_str().unwrap(), "--times", "1", "--json"]);
    assert_eq!(done.ended_with(0).json()["pipelines"][0]["rate"], 44_100);
}

#[test]
fn a_plugin_that_lets_no_impulse_through_is_told_as_such() {
    let folder = Folder::new();
    let deaf = processor(&folder, "deaf", "buffer.data[:] = 0\nreturn True");
    latency(&deaf, "1").refused(8, &["came back", "its counterpart behind it"]);
}
