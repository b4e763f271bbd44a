//! What is heard in place of a block that a plugin loses: what was asked for, in its place, without a click.
//!
//! The test decides which blocks are lost: the plugin waits at a gate, raises or returns false when told to. It
//! turns the audio over, so that dry and processed samples can't be confused.

use host::chain::Chain;
use host::plugin::spec::{Lost, PluginSpec};
use host::plugin::{Plugin, Remote};
use host::processor::Processor;
use std::f32::consts::PI;
use tests::audio::{largest_step, noises, slow_sine};
use tests::chain::{AMPLE_NS, Rack, SHORT_NS, pipelined, same_block, wait_answered};
use tests::gate::Gate;
use tests::nda::{Render, nda};
use tests::plugins::{processor, processor_with, sink, source};
use tests::scene::kill;
use tests::until::DEADLINE;
use tests::wav::Wav;
use tests::workspace::{Folder, python, shipped};

const BLOCK: usize = 512;
const BLOCKS: usize = 14;
/// Lost once, then twice in a row.
const LOST: [usize; 3] = [3, 7, 8];
/// Frames in which one kind of audio becomes another: 2 ms.
const RAMP: usize = 96;
/// Frames in which a held block fades: 100 ms.
const FADE: f32 = 4_800.0;
/// How far the sine goes in a frame.
const STEP: f32 = 0.01;

/// How a plugin loses a block.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Late,
    Raises,
    ReturnsFalse,
}

const WAYS: [Way; 3] = [Way::Late, Way::Raises, Way::ReturnsFalse];

/// Turns the audio over and loses blocks its way; blocks count from 1 in the plugin.
fn inverter(folder: &Folder, way: Way, lost: &[usize]) -> std::path::PathBuf {
    let numbers: Vec<_> = lost.iter().map(|block| block + 1).collect();
    let lose = match way {
        Way::Late => "os.read(self.gate, 1)",
        Way::Raises => "raise ValueError('not this one')",
        Way::ReturnsFalse => "return False",
    };
    let body = format!("buffer.data *= -1\nif self.n in {numbers:?}:\n    {lose}\nreturn True");
    let set = "
def set_parameter(self, key, value):
    self.gate = os.open(value, os.O_RDWR)
    return True";
    processor_with(folder, "inverter", &body, set)
}

/// What is heard of a slow sine when the plugin loses [`LOST`] in this way, with this policy.
fn heard(way: Way, lost: Lost) -> Vec<f32> {
    let folder = Folder::new();
    let gate = Gate::new(&folder);
    let rack = Rack::new(1, 512, 48_000);
    let file = inverter(&folder, way, &LOST);
    let (mut plugin, remote) = rack.load(PluginSpec { lost, ..same_block(&file) }.set("gate", gate.path()));
    let mut chain = Chain::new(rack.format, vec![Box::new(remote)]).unwrap();
    let heard = play(&mut chain, &slow_sine(BLOCK * BLOCKS, STEP), |number| {
        let late = way == Way::Late && LOST.contains(&number);
        if late { Some(&gate) } else { None }
    });
    let counts = plugin.status().counts;
    let counted = if way == Way::Late { counts.late } else { counts.failed };
    assert_eq!((counts.good as usize, counted as usize), (BLOCKS - LOST.len(), LOST.len()), "{counts:?}");
    heard
}

/// Plays block after block; one for which there is a gate has little time, and the gate opens when it is over.
fn play<'g>(chain: &mut Chain, samples: &[f32], gate: impl Fn(usize) -> Option<&'g Gate>) -> Vec<f32> {
    let mut heard = Vec::new();
    for (number, block) in samples.chunks_exact(BLOCK).enumerate() {
        let mut block = block.to_vec();
        match gate(number) {
            Some(gate) => {
                chain.process_within(&mut block, SHORT_NS);
                gate.open();
            }
            None => chain.process_within(&mut block, AMPLE_NS),
        }
        heard.extend(block);
    }
    heard
}

/// Every frame outside the ramps is `replaced(block, frame)` in a lost block and turned over in a good one.
fn assert_heard(heard: &[f32], what: &str, replaced: impl Fn(usize, usize) -> f32) {
    let sine = slow_sine(BLOCK * BLOCKS, STEP);
    for block in 0..BLOCKS {
        let is_lost = LOST.contains(&block);
        let is_joint = is_lost || (block > 0 && LOST.contains(&(block - 1)));
        for frame in if is_joint { RAMP } else { 0 }..BLOCK {
            let at = block * BLOCK + frame;
            let expected = if is_lost { replaced(block, frame) } else { -sine[at] };
            assert_eq!(heard[at], expected, "{what}: block {block} frame {frame}");
        }
    }
}

/// No step is longer than the audio's own and its ramp's: the two signals differ by 2 at most.
fn assert_smooth(heard: &[f32], what: &str) {
    let bound = STEP + 1.0 / FADE + 2.0 * PI / (2.0 * RAMP as f32);
    assert!(largest_step(heard) <= bound, "{what}: a step of {}", largest_step(heard));
}

#[test]
fn a_bypassed_block_is_the_dry_signal_in_its_place() {
    let sine = slow_sine(BLOCK * BLOCKS, STEP);
    for way in WAYS {
        let heard = heard(way, Lost::Bypass);
        let what = format!("{way:?}");
        assert_heard(&heard, &what, |block, frame| sine[block * BLOCK + frame]);
        assert_smooth(&heard, &what);
    }
}

#[test]
fn a_muted_block_is_silence_and_the_next_one_is_in_its_place() {
    for way in WAYS {
        let heard = heard(way, Lost::Mute);
        let what = format!("{way:?}");
        assert_heard(&heard, &what, |_, _| 0.0);
        assert_smooth(&heard, &what);
    }
}

#[test]
fn a_held_block_is_the_last_good_one_fading_and_the_next_one_is_in_its_place() {
    let sine = slow_sine(BLOCK * BLOCKS, STEP);
    for way in WAYS {
        let heard = heard(way, Lost::Hold);
        let what = format!("{way:?}");
        assert_heard(&heard, &what, |block, frame| {
            let good = (0..block).rev().find(|block| !LOST.contains(block)).unwrap();
            let faded = (block - good - 1) * BLOCK + frame;
            -sine[good * BLOCK + frame] * ((FADE - faded as f32) / FADE)
        });
        assert_smooth(&heard, &what);
    }
}

#[test]
fn a_pipelined_plugin_that_is_late_keeps_its_place() {
    let folder = Folder::new();
    let gate = Gate::new(&folder);
    let rack = Rack::new(1, 512, 48_000);
    let file = inverter(&folder, Way::Late, &[3]);
    let (mut plugin, remote) = rack.load(pipelined(&file).set("gate", gate.path()));
    let mut chain = Chain::new(rack.format, vec![Box::new(remote)]).unwrap();
    let sine = slow_sine(BLOCK * BLOCKS, STEP);
    let mut heard = Vec::new();
    for (number, block) in sine.chunks_exact(BLOCK).enumerate() {
        let mut block = block.to_vec();
        chain.process(&mut block);
        heard.extend(block);
        match number {
            3 => {}
            4 => {
                gate.open();
                wait_answered(&plugin, 5);
            }
            _ => wait_answered(&plugin, number + 1),
        }
    }
    // The answer to block 3 was not there when block 4 came, so its dry signal was heard, one block late.
    assert_eq!(heard[..BLOCK], [0.0; BLOCK]);
    for at in BLOCK..BLOCK * BLOCKS {
        let is_dry = at / BLOCK == 4;
        let is_joint = [4, 5].contains(&(at / BLOCK)) && at % BLOCK < RAMP;
        let expected = if is_dry { sine[at - BLOCK] } else { -sine[at - BLOCK] };
        assert!(is_joint || heard[at] == expected, "frame {at}: {} for {expected}", heard[at]);
    }
    assert_smooth(&heard, "pipelined");
    assert_eq!(plugin.status().counts.late, 1);
}

/// Turns the audio over; its fourth block ends with samples that are not finite, its fifth begins with some, and its
/// eighth has no others.
fn unfit(folder: &Folder) -> std::path::PathBuf {
    let body = "
buffer.data *= -1
if self.n == 4:
    buffer.data[0, 300:] = float('nan')
elif self.n == 5:
    buffer.data[0, :200] = float('inf')
elif self.n == 8:
    buffer.data[:] = float('nan')
return True";
    processor(folder, "unfit", body)
}

#[test]
fn samples_that_are_not_finite_are_replaced_without_a_step_also_where_blocks_meet() {
    let sine = slow_sine(BLOCK * BLOCKS, STEP);
    for behind in [None, Some("examples/passthrough.py")] {
        let folder = Folder::new();
        let rack = Rack::new(1, 512, 48_000);
        let files = [Some(unfit(&folder)), behind.map(shipped)];
        let specs: Vec<_> = files.into_iter().flatten().map(|file| same_block(&file)).collect();
        let (mut plugins, mut chain) = chain_of(&rack, specs);
        let heard = play(&mut chain, &sine, |_| None);
        let what = format!("{behind:?} behind it");
        assert_smooth(&heard, &what);
        let counts = plugins[0].status().counts;
        let guarded = (counts.non_finite_blocks, counts.non_finite_samples);
        assert_eq!((counts.good, guarded), (BLOCKS as u64, (3, 212 + 200 + 512)), "{what}");
        // Good samples are heard as they are, but for the ramps.
        let is_good = |at: &usize| {
            let (block, frame) = (at / BLOCK, at % BLOCK);
            match block {
                3 => frame < 300,
                4 => frame >= 200,
                7 => false,
                8 => frame >= RAMP,
                _ => true,
            }
        };
        for at in (0..heard.len()).filter(is_good) {
            assert!((heard[at] + sine[at]).abs() < 1e-6, "{what}: block {} frame {}", at / BLOCK, at % BLOCK);
        }
    }
}

/// The secret is positive; whatever a plugin makes of it is not.
fn secret() -> Vec<f32> {
    vec![0.25; BLOCK]
}

fn assert_secret(heard: &[f32], what: &str) {
    let told = heard.iter().filter(|sample| **sample > 0.0).count();
    assert_eq!(told, 0, "{what}: {told} samples of plaintext");
}

/// The specs in a chain, in their order.
fn chain_of(rack: &Rack, specs: Vec<PluginSpec>) -> (Vec<Plugin>, Chain) {
    let (plugins, remotes): (Vec<_>, Vec<Remote>) = specs.into_iter().map(|spec| rack.load(spec)).unzip();
    let boxed = remotes.into_iter().map(|remote| Box::new(remote) as Box<dyn Processor>);
    (plugins, Chain::new(rack.format, boxed.collect()).unwrap())
}

fn closed(spec: PluginSpec) -> PluginSpec {
    PluginSpec { fail_closed: true, ..spec }
}

#[test]
fn a_plugin_that_fails_closed_lets_no_sample_through_to_the_plugin_behind_it() {
    let passthrough = shipped("examples/passthrough.py");
    for way in WAYS {
        for mode in [same_block, pipelined] {
            let folder = Folder::new();
            let gate = Gate::new(&folder);
            let rack = Rack::new(1, 512, 48_000);
            let file = inverter(&folder, way, &[2, 3, 6]);
            // Pipelined, both share a section, and a block that the section loses must be silent as well.
            let specs = vec![closed(mode(&file)).set("gate", gate.path()), mode(&passthrough)];
            let (plugins, mut chain) = chain_of(&rack, specs);
            for number in 0..10 {
                let mut block = secret();
                let late = way == Way::Late && [2, 3, 6].contains(&number);
                chain.process_within(&mut block, if late { SHORT_NS } else { AMPLE_NS });
                assert_secret(&block, &format!("{way:?} in block {number}"));
                if late {
                    gate.open();
                }
                wait_answered(&plugins[0], number + 1);
            }
        }
    }
}

#[test]
fn what_a_section_loses_as_a_whole_is_counted() {
    let folder = Folder::new();
    let gate = Gate::new(&folder);
    // A block lasts half a second, so that the section still waits for its first plugin when the second block is due.
    let rack = Rack::new(1, 4096, 8_000);
    let muting = |file: &std::path::Path| PluginSpec { lost: Lost::Mute, ..pipelined(file) };
    let waits = muting(&processor(
        &folder,
        "waits",
        &format!("open({:?}, 'rb', 0).read(1)\nreturn True", gate.path()),
    ));
    let (_plugins, mut chain) = chain_of(&rack, vec![waits, muting(&shipped("examples/passthrough.py"))]);
    assert_eq!(chain.section_lost(), 0);
    for lost in 0..3 {
        let mut block = vec![0.5; 4096];
        chain.process_within(&mut block, AMPLE_NS);
        assert_eq!((chain.section_lost(), block), (lost, vec![0.0; 4096]));
    }
    (0..3).for_each(|_| gate.open());
}

#[test]
fn a_plugin_may_declare_itself_that_it_fails_closed() {
    let folder = Folder::new();
    let rack = Rack::new(1, 512, 48_000);
    let file = processor_with(&folder, "closed", "return False", "fail_closed = True");
    let (mut plugins, mut chain) = chain_of(&rack, vec![same_block(&file)]);
    for _ in 0..5 {
        let mut block = secret();
        chain.process_within(&mut block, AMPLE_NS);
        assert_eq!(block, [0.0; BLOCK]);
    }
    assert_eq!(plugins[0].status().lost, "silence (fail-closed)");
}

#[test]
fn no_configuration_undoes_what_a_plugin_declares_of_itself() {
    let folder = Folder::new();
    let wav = Wav::new(noises(2, 2_000));
    wav.write(&folder.file("in.wav"));
    let file = processor_with(&folder, "closed", "return False", "fail_closed = True");
    let open = format!(
        "[[pipeline]]\nsource = \"in.wav\"\nsink = \"out.wav\"\n[[pipeline.plugins]]\nfile = {file:?}\n\
         python = {:?}\nlost = \"bypass\"\nfail_closed = false",
        python()
    );
    let config = folder.write("open.toml", &open);
    nda(["run".as_ref(), config.as_os_str()]).ended_with(9);
    let heard = Wav::read(&folder.file("out.wav"));
    assert!(heard.frames() >= 2_000 && heard.channels.iter().flatten().all(|sample| *sample == 0.0));
}

#[test]
fn a_rendered_plugin_that_fails_closed_leaves_silence_in_the_file() {
    let folder = Folder::new();
    let wav = Wav::new(noises(2, 2_000));
    wav.write(&folder.file("in.wav"));
    let file = processor_with(&folder, "closed", "raise ValueError('no')", "fail_closed = True");
    let done = Render::new(&folder, folder.file("in.wav")).plugin(file).run();
    done.ended_with(9);
    assert_eq!(Wav::read(&folder.file("out.wav")), wav.map(|_| 0.0));
}

#[test]
fn a_killed_worker_is_bypassed_counted_and_told() {
    let folder = Folder::new();
    let rack = Rack::new(1, 512, 48_000);
    let spec = same_block(&inverter(&folder, Way::Raises, &[]));
    let (mut plugins, mut chain) = chain_of(&rack, vec![PluginSpec { restart: false, ..spec }]);
    let sine = slow_sine(BLOCK * BLOCKS, STEP);
    let mut heard = Vec::new();
    for (number, block) in sine.chunks_exact(BLOCK).enumerate() {
        if number == 5 {
            kill(&plugins[0]);
        }
        let mut block = block.to_vec();
        chain.process_within(&mut block, AMPLE_NS);
        heard.extend(block);
    }
    for (at, heard) in heard.iter().enumerate().filter(|(at, _)| !(5 * BLOCK..5 * BLOCK + RAMP).contains(at))
    {
        assert_eq!(*heard, if at < 5 * BLOCK { -sine[at] } else { sine[at] }, "frame {at}");
    }
    assert_smooth(&heard, "killed");
    let status = plugins[0].status();
    assert_eq!((status.counts.good, status.counts.gone), (5, 9));
    let told = rack.events.recv_timeout(DEADLINE).unwrap().to_string();
    assert!(told.contains("inverter") && told.contains("SIGKILL"), "{told}");
}

#[test]
fn a_killed_encryptor_lets_nothing_through() {
    let rack = Rack::new(2, 512, 48_000);
    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    for mode in [same_block, pipelined] {
        let spec = mode(&shipped("examples/fernet_encryptor.py")).set("key", key);
        let spec = PluginSpec { guard: host::plugin::spec::Guard::Off, restart: false, ..spec };
        let (plugins, mut chain) = chain_of(&rack, vec![spec, mode(&shipped("examples/passthrough.py"))]);
        let mut block = vec![0.25; 2 * BLOCK];
        (0..3).for_each(|_| chain.process_within(&mut block, AMPLE_NS));
        kill(&plugins[0]);
        // What was on its way may still come out, encrypted; then nothing.
        for number in 0..6 {
            let mut block = vec![0.25; 2 * BLOCK];
            chain.process_within(&mut block, AMPLE_NS);
            assert!(!block.contains(&0.25), "plaintext in block {number}");
            if number >= 2 {
                assert!(block.iter().all(|s| *s == 0.0), "sound in block {number}");
            }
        }
    }
}

#[test]
fn a_source_that_fails_is_silent_and_goes_on() {
    let folder = Folder::new();
    let rack = Rack::new(1, 512, 48_000);
    let body = "if self.n == 3:\n    raise ValueError('nothing to play')\nbuffer.data[:] = 0.5\nreturn True";
    let (mut plugins, mut chain) = chain_of(&rack, vec![same_block(&source(&folder, "hiccup", body))]);
    let heard = play(&mut chain, &[0.0; BLOCK * 6], |_| None);
    for (at, sample) in heard.iter().enumerate() {
        let in_ramp = [2, 3].contains(&(at / BLOCK)) && at % BLOCK < RAMP;
        let expected = if at / BLOCK == 2 { 0.0 } else { 0.5 };
        assert!(in_ramp || *sample == expected, "frame {at}: {sample}");
    }
    assert_smooth(&heard, "source");
    assert_eq!(plugins[0].status().counts.failed, 1);
}

#[test]
fn a_sink_that_fails_takes_nothing_from_the_sink_before_it() {
    let folder = Folder::new();
    let rack = Rack::new(1, 512, 48_000);
    let failing = sink(&folder, "full", "buffer.data[:] = 9\nreturn self.n % 2 == 1");
    let (mut plugins, mut chain) = chain_of(&rack, vec![same_block(&failing)]);
    let sine = slow_sine(BLOCK * 6, STEP);
    assert_eq!(play(&mut chain, &sine, |_| None), sine);
    assert_eq!((plugins[0].status().counts.good, plugins[0].status().counts.failed), (3, 3));
}

#[test]
fn a_render_goes_on_after_lost_blocks_and_tells_them() {
    let folder = Folder::new();
    let wav = Wav::new(vec![slow_sine(BLOCK * BLOCKS, STEP)]);
    wav.write(&folder.file("in.wav"));
    let file = inverter(&folder, Way::Raises, &LOST);
    let render = Render::new(&folder, folder.file("in.wav")).block(512).plugin(&file);
    let (done, report) = render.option("--lost", "mute").reported();
    done.ended_with(9);
    assert_eq!(report["plugins"][0]["counts"]["failed"], 3);
    let heard = Wav::read(&folder.file("out.wav"));
    assert_heard(&heard.channels[0], "render", |_, _| 0.0);
}
