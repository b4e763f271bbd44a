//! The Fernet pair: bytes that are no audio cross the chain, bit for bit or not at all.
//!
//! With the guard off for both, a chain of the two gives the input cut to 16 bits. In real time a block may be
//! late on a busy machine: then it is silent, never what it should hide.

use std::path::{Path, PathBuf};
use tests::audio::noises;
use tests::nda::{Done, Render, nda};
use tests::wav::Wav;
use tests::workspace::{Folder, python, shipped};

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn encryptor() -> PathBuf {
    shipped("examples/fernet_encryptor.py")
}

fn decryptor() -> PathBuf {
    shipped("examples/fernet_decryptor.py")
}

fn noise_file(folder: &Folder, frames: usize) -> (PathBuf, Wav) {
    let wav = Wav::new(noises(2, frames));
    let path = folder.file("in.wav");
    wav.write(&path);
    (path, wav)
}

/// What 16 bits keep of a sample.
fn quantised(sample: f32) -> f32 {
    (sample.clamp(-1.0, 1.0) * 32_767.0).round_ties_even() / 32_767.0
}

fn with_key(render: Render) -> Render {
    render.set("key", KEY).option("--guard", "off")
}

/// A configuration that runs the file through these plugins into `out.wav`, in large blocks.
fn run(folder: &Folder, plugins: &[(&Path, &str)]) -> Done {
    let plugins: String = plugins
        .iter()
        .map(|(file, mode)| {
            format!(
                "[[pipeline.plugins]]\nfile = {file:?}\nset = {{ key = \"{KEY}\" }}\nguard = \"off\"\n{mode}\n"
            )
        })
        .collect();
    let python = python();
    let text = format!(
        "python = {python:?}\nblock = 4096\n[[pipeline]]\nsource = \"in.wav\"\nsink = \"out.wav\"\n{plugins}"
    );
    let config = folder.write("nda.toml", &text);
    nda([Path::new("run"), &config, Path::new("--json"), Path::new("-")])
}

#[test]
fn a_rendered_pair_gives_the_input_cut_to_16_bits() {
    let folder = Folder::new();
    let (path, wav) = noise_file(&folder, 10_000);
    for block in [64, 333, 4096] {
        let chain = with_key(Render::new(&folder, &path).block(block).plugin(encryptor()));
        assert_eq!(with_key(chain.plugin(decryptor())).heard(), wav.map(quantised), "block {block}");
    }
}

#[test]
fn what_the_encryptor_writes_to_a_file_another_render_decrypts() {
    let folder = Folder::new();
    // Whole blocks: the file keeps no more than the input's frames, and half a token opens nothing.
    let (path, wav) = noise_file(&folder, 16 * 512);
    let secret = folder.file("secret.wav");
    let encrypt = Render::new(&folder, &path).into_file(&secret).block(512);
    with_key(encrypt.plugin(encryptor())).run().ended_with(0);
    assert_ne!(Wav::read(&secret).bits(), wav.map(quantised).bits());
    let decrypt = Render::new(&folder, &secret).block(512);
    assert_eq!(with_key(decrypt.plugin(decryptor())).heard(), wav.map(quantised));
}

#[test]
fn what_the_encryptor_writes_to_a_file_plain_python_decrypts() {
    let folder = Folder::new();
    let (path, wav) = noise_file(&folder, 4 * 512);
    let secret = folder.file("secret.wav");
    let encrypt = Render::new(&folder, &path).into_file(&secret).block(512);
    with_key(encrypt.plugin(encryptor())).run().ended_with(0);
    let script = "
import sys, base64, numpy as np
from cryptography.fernet import Fernet
bits = open(sys.argv[1], 'rb').read()[-4 * 512 * 2 * 4:]
blocks = np.frombuffer(bits, '<u4').reshape(4, 512, 2).transpose(0, 2, 1)
length = 1 + 8 + 16 + 32 + (2 * 1024 // 16 + 1) * 16
for block in blocks:
    token = base64.urlsafe_b64encode(np.ascontiguousarray(block).tobytes()[:length])
    sys.stdout.buffer.write(Fernet(sys.argv[2]).decrypt(token))
";
    let python = std::process::Command::new(python()).args(["-c", script]).arg(&secret).arg(KEY).output();
    let python = python.expect("python runs");
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
    let samples =
        python.stdout.as_chunks::<2>().0.iter().map(|b| f32::from(i16::from_le_bytes(*b)) / 32_767.0);
    let blocks = (0..4).flat_map(|b| wav.channels.iter().map(move |c| &c[b * 512..][..512]));
    assert!(samples.eq(blocks.flatten().map(|s| quantised(*s))));
}

#[test]
fn a_pair_in_real_time_gives_the_quantised_input_or_for_a_lost_block_silence() {
    let folder = Folder::new();
    let (_, wav) = noise_file(&folder, 9 * 4096);
    let expected = wav.map(quantised);
    let done = run(&folder, &[(&encryptor(), "deadline = 0.95"), (&decryptor(), "deadline = 0.95")]);
    let lost = lost_blocks(&done);
    let heard = Wav::read(&folder.file("out.wav"));
    assert_eq!(heard.frames(), wav.frames());
    assert!(silent_blocks(&heard, &expected) <= lost, "more is silent than was lost: {done}");
    assert!(lost < 9, "nothing was heard: {done}");
}

#[test]
fn a_pipelined_pair_in_real_time_comes_one_block_later() {
    let folder = Folder::new();
    let (_, wav) = noise_file(&folder, 9 * 4096);
    let mut expected = wav.map(quantised);
    expected.channels.iter_mut().for_each(|c| _ = c.splice(0..0, [0.0; 4096]));
    let pipelined = "mode = \"pipelined\"";
    let done = run(&folder, &[(&encryptor(), pipelined), (&decryptor(), pipelined)]);
    let heard = Wav::read(&folder.file("out.wav"));
    assert_eq!(heard.frames(), expected.frames());
    // The first block is the latency.
    let silent = silent_blocks(&heard, &expected);
    assert!((1..10).contains(&silent), "nothing was heard: {done}");
}

/// Each block is as expected or silent; how many are silent.
fn silent_blocks(heard: &Wav, expected: &Wav) -> u64 {
    let mut silent = 0;
    for at in (0..heard.frames()).step_by(4096) {
        let block = |wav: &Wav| -> Vec<f32> {
            wav.channels.iter().flat_map(|c| &c[at..c.len().min(at + 4096)]).copied().collect()
        };
        let (heard, expected) = (block(heard), block(expected));
        if heard.iter().all(|s| *s == 0.0) {
            silent += 1;
        } else {
            assert!(heard == expected, "the block at {at} is neither silent nor as expected");
        }
    }
    silent
}

/// Blocks that the second plugin has lost, among them those that the first one lost; every block is counted.
fn lost_blocks(done: &Done) -> u64 {
    let report = done.json();
    let pipeline = &report["pipelines"][0];
    let blocks = pipeline["frames"].as_u64().expect("frames") / 4096;
    let lost = |plugin: usize| {
        let counts = &pipeline["plugins"][plugin]["counts"];
        let of = |key: &str| counts[key].as_u64().expect("a count");
        let lost = of("late") + of("failed") + of("gone") + of("behind") + of("torn");
        assert_eq!(of("good") + lost, blocks, "{counts}");
        lost
    };
    assert!(lost(0) <= lost(1), "{done}");
    lost(1)
}
