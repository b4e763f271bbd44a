//! How late audio comes out: an impulse tells, in both modes, for plugins alone, in a row and with a delay.

use host::builtin::Gain;
use host::chain::Chain;
use host::plugin::spec::PluginSpec;
use host::plugin::{Plugin, Remote};
use host::processor::Processor;
use tests::audio::impulse;
use tests::chain::{AMPLE_NS, Rack, pipelined, same_block, wait_answered};
use tests::config::{config, run};
use tests::plugins::{delay, processor, processor_with};
use tests::until::until;
use tests::wav::Wav;
use tests::workspace::{Folder, shipped};

const BLOCK: usize = 256;

const DOUBLE: &str = "buffer.data *= 2\nreturn True";

/// What comes out of a chain block by block; `between` is called after each.
fn through(chain: &mut Chain, samples: &[f32], mut between: impl FnMut(usize)) -> Vec<f32> {
    let mut heard = Vec::new();
    for (number, block) in samples.chunks_exact(BLOCK).enumerate() {
        let mut block = block.to_vec();
        chain.process_within(&mut block, AMPLE_NS);
        heard.extend(block);
        between(number + 1);
    }
    heard
}

fn chain(rack: &Rack, remotes: Vec<Remote>) -> Chain {
    let boxed = remotes.into_iter().map(|remote| Box::new(remote) as Box<dyn Processor>);
    Chain::new(rack.format, boxed.collect()).unwrap()
}

fn load(rack: &Rack, specs: Vec<PluginSpec>) -> (Vec<Plugin>, Vec<Remote>) {
    specs.into_iter().map(|spec| rack.load(spec)).unzip()
}

#[test]
fn a_same_block_plugin_adds_no_frame() {
    let folder = Folder::new();
    let rack = Rack::new(1, 256, 48_000);
    let double = processor(&folder, "double", DOUBLE);
    let (_plugins, remotes) = load(&rack, vec![same_block(&double), same_block(&double)]);
    let mut chain = chain(&rack, remotes);
    assert_eq!(chain.latency_frames(), 0);
    let heard = through(&mut chain, &impulse(8 * BLOCK, 700, 0.125), |_| ());
    assert_eq!(heard, impulse(8 * BLOCK, 700, 0.5));
}

#[test]
fn a_pipelined_plugin_adds_exactly_one_block() {
    let folder = Folder::new();
    let rack = Rack::new(1, 256, 48_000);
    let (plugin, remote) = rack.load(pipelined(&processor(&folder, "double", DOUBLE)));
    let mut chain = chain(&rack, vec![remote]);
    assert_eq!(chain.latency_frames() as usize, BLOCK);
    let heard = through(&mut chain, &impulse(8 * BLOCK, 700, 0.25), |blocks| wait_answered(&plugin, blocks));
    assert_eq!(heard, impulse(8 * BLOCK, 700 + BLOCK, 0.5));
}

#[test]
fn two_three_and_four_pipelined_plugins_with_gains_between_add_one_block_together() {
    let folder = Folder::new();
    let double = processor(&folder, "double", DOUBLE);
    for count in [2, 3, 4] {
        // Blocks of half a second, so that the section's thread is in time on any machine.
        let rack = Rack::new(1, 4096, 8_000);
        let (plugins, remotes) = load(&rack, (0..count).map(|_| pipelined(&double)).collect());
        let mut processors: Vec<Box<dyn Processor>> = Vec::new();
        for remote in remotes {
            processors.push(Box::new(remote));
            processors.push(Box::new(Gain::new(0.0)));
        }
        let mut chain = Chain::new(rack.format, processors).unwrap();
        assert_eq!(chain.latency_frames(), 4096);
        impulses_come_one_block_later(&mut chain, 2f32.powi(count), |blocks| {
            plugins.iter().for_each(|plugin| wait_answered(plugin, blocks));
        });
    }
}

/// Sends an impulse in each block until three have come back changed by `factor`. A section that was not in time
/// lets the dry one through, at the same place.
fn impulses_come_one_block_later(chain: &mut Chain, factor: f32, mut answered: impl FnMut(usize)) {
    let (mut blocks, mut whole) = (0, 0);
    until("impulses to come through the section", || {
        let mut block = impulse(4096, 1000 + blocks, 0.01);
        chain.process_within(&mut block, AMPLE_NS);
        if blocks > 0 {
            let late = 1000 + blocks - 1;
            assert!(block.iter().enumerate().all(|(i, s)| i == late || *s == 0.0), "not one block late");
            assert!(block[late] == 0.01 || block[late] == 0.01 * factor, "{}", block[late]);
            whole += usize::from(block[late] == 0.01 * factor);
        }
        blocks += 1;
        answered(blocks);
        whole == 3
    });
}

#[test]
fn a_plugin_that_delays_is_as_late_as_it_says() {
    let folder = Folder::new();
    let rack = Rack::new(1, 256, 48_000);
    let delay = delay(&folder);
    let (plugins, remotes) = load(&rack, vec![same_block(&delay), same_block(&delay)]);
    assert_eq!(plugins[0].latency_frames(), 100);
    let mut chain = chain(&rack, remotes);
    assert_eq!(chain.latency_frames(), 200);
    let heard = through(&mut chain, &impulse(8 * BLOCK, 700, 0.5), |_| ());
    assert_eq!(heard, impulse(8 * BLOCK, 700 + 200, 0.5));
}

#[test]
fn a_pipelined_plugin_that_delays_is_late_by_both() {
    let folder = Folder::new();
    let rack = Rack::new(1, 256, 48_000);
    let (plugin, remote) = rack.load(pipelined(&delay(&folder)));
    let mut chain = chain(&rack, vec![remote]);
    assert_eq!(chain.latency_frames() as usize, BLOCK + 100);
    let heard = through(&mut chain, &impulse(8 * BLOCK, 700, 0.5), |blocks| wait_answered(&plugin, blocks));
    assert_eq!(heard, impulse(8 * BLOCK, 700 + BLOCK + 100, 0.5));
}

/// Runs an impulse through two pipelined plugins, one of which delays, and a same-block one.
fn recorded_latency(block: u32) -> (usize, u64) {
    let folder = Folder::new();
    let delay = delay(&folder);
    // Among the frames that are read before the start: nothing can come in between.
    let at = 1_000;
    Wav::new(vec![impulse(6_000, at, 0.5)]).write(&folder.file("in.wav"));
    let text = format!(
        "[[pipeline]]\nblock = {block}\nsource = \"in.wav\"\nsink = \"virtual\"\nrecord = \"out.wav\"
         plugins = [
             {{ file = {delay:?}, mode = \"pipelined\" }},
             {{ file = {passthrough:?}, mode = \"pipelined\" }},
             {{ file = {passthrough:?}, adapt = false }},
         ]",
        passthrough = shipped("examples/passthrough.py")
    );
    let done = run(&config(&folder, &text), &[]).wait();
    done.ended_with(0);
    let heard = Wav::read(&folder.file("out.wav"));
    // The first: a plugin that missed blocks while the machine was busy tells again what the host has bypassed.
    let found = heard.channels[0].iter().position(|s| *s != 0.0);
    let position = found.unwrap_or_else(|| panic!("no impulse in blocks of {block}: {done}"));
    assert_eq!(heard.channels[0][position], 0.5);
    let report = done.json();
    let latency = &report["pipelines"][0]["latency"];
    let frames = |key: &str| latency[key].as_u64().unwrap();
    assert_eq!((frames("mode_frames"), frames("plugin_frames")), (block.into(), 100));
    let total = frames("mode_frames") + frames("plugin_frames") + frames("adaptation_frames");
    let total_ms = (total + frames("device_frames")) as f64 / 48.0;
    assert!((latency["total_ms"].as_f64().unwrap() - total_ms).abs() < 1e-9, "{latency}");
    (position - at, total)
}

#[test]
fn the_latency_in_the_report_is_the_one_in_the_recording() {
    for block in [64, 256, 1024] {
        let (recorded, reported) = recorded_latency(block);
        assert_eq!(recorded as u64, reported, "block {block}");
    }
}

/// Runs an impulse through `plugins` pipelined plugins that turn it over, on a device with this buffer.
fn turned_over(block: u32, buffer: u32, plugins: usize) -> serde_json::Value {
    let folder = Folder::new();
    let over = processor(&folder, "over", "buffer.data *= -1\nreturn True");
    let at = 1_000;
    Wav::new(vec![impulse(24_000, at, 0.5)]).write(&folder.file("in.wav"));
    let plugins = vec![format!("{{ file = {over:?}, mode = \"pipelined\" }}"); plugins].join(", ");
    let text = format!(
        "[[pipeline]]\nblock = {block}\nsource = \"in.wav\"\nrecord = \"out.wav\"\nplugins = [{plugins}]
         sink = {{ device = \"virtual\", buffer = {buffer} }}"
    );
    let done = run(&config(&folder, &text), &[]).wait();
    done.ended_with(0);
    let heard = Wav::read(&folder.file("out.wav"));
    let report = done.json()["pipelines"][0].clone();
    let latency = report["latency"]["mode_frames"].as_u64().unwrap();
    // A block that came late was replaced by the dry one, in the same place.
    let position = heard.channels[0].iter().position(|s| s.abs() == 0.5);
    let told = format!("block {block}, buffer {buffer}, {report}");
    assert_eq!(position.map(|position| position as u64), Some(at as u64 + latency), "{told}");
    report
}

/// The callback of a large buffer runs several blocks in a row: a result can't be there before the next one.
#[test]
fn a_pipelined_plugin_keeps_up_whatever_the_buffer_of_the_device() {
    for (block, buffer) in [(64, 64), (64, 100), (64, 1024), (256, 100), (256, 300), (256, 1024), (64, 2048)]
    {
        for plugins in [1, 2] {
            let report = turned_over(block, buffer, plugins);
            let burst = buffer.div_ceil(block);
            assert_eq!(report["latency"]["mode_frames"], burst * block, "block {block}, buffer {buffer}");
            let counts = &report["plugins"][0]["counts"];
            let (good, late) = (counts["good"].as_u64().unwrap(), counts["late"].as_u64().unwrap());
            assert!(good > late, "block {block}, buffer {buffer}: {counts}");
        }
    }
}

#[test]
fn a_pipelined_plugin_is_refused_a_buffer_of_too_many_blocks() {
    let folder = Folder::new();
    Wav::new(vec![vec![0.0; 100]]).write(&folder.file("in.wav"));
    let text = format!(
        "[[pipeline]]\nblock = 16\nsource = \"in.wav\"
         sink = {{ device = \"virtual\", buffer = 8192 }}
         plugins = [{{ file = {:?}, mode = \"pipelined\" }}]",
        shipped("examples/passthrough.py")
    );
    let done = run(&config(&folder, &text), &[]).wait();
    done.refused(3, &["can't be pipelined", "holds 512 blocks of 16", "try: set a larger `block`"]);
}

#[test]
fn a_sink_and_an_input_keep_up_with_buffers_of_many_blocks() {
    let folder = Folder::new();
    let text = format!(
        "[[pipeline]]\nname = \"in\"\nblock = 64\nsource = {{ device = \"virtual\", buffer = 2048 }}
         sink = {{ plugin = {:?} }}
         [[pipeline]]\nname = \"through\"\nblock = 64\nsource = {{ device = \"virtual\", buffer = 1024 }}
         sink = {{ device = \"virtual\", buffer = 2048 }}",
        shipped("null_sink.py")
    );
    let done = run(&config(&folder, &text), &["--for", "1"]).wait();
    done.ended_with(0);
    let report = done.json();
    let counts = &report["pipelines"][0]["plugins"][0]["counts"];
    assert!(counts["good"].as_u64() > counts["behind"].as_u64(), "{counts}");
    let through = &report["pipelines"][1];
    assert_eq!(through["latency"]["adaptation_frames"], 1024 + 2048 + 64);
    // Less than a buffer: a busy machine may have been late, but nothing is missing by design.
    assert!(through["underrun_frames"].as_u64().unwrap() < 1024, "{through}");
}

#[test]
fn a_plugin_with_an_impossible_latency_is_refused() {
    let folder = Folder::new();
    Wav::new(vec![vec![0.0; 100]]).write(&folder.file("in.wav"));
    for (name, seconds) in [("backwards", "-1.0"), ("endless", "float('inf')"), ("nowhere", "float('nan')")] {
        let says = format!("def get_processing_latency(self):\n    return {seconds}");
        let plugin = processor_with(&folder, name, "return True", &says);
        let render = tests::nda::Render::new(&folder, folder.file("in.wav")).plugin(plugin);
        render.run().refused(6, &[name, "says that it delays by", "try: let get_processing_latency return"]);
    }
}
