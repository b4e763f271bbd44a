//! What is rendered is what the plugins compute, sample for sample, whatever the block, the length or the format.

use host::audio_file::AudioReader;
use std::path::PathBuf;
use tests::audio::{noise, noises};
use tests::nda::Render;
use tests::plugins::processor;
use tests::wav::Wav;
use tests::workspace::{Folder, shipped, song};

/// A file of stereo noise in the folder.
fn noise_file(folder: &Folder, frames: usize) -> (PathBuf, Wav) {
    input(folder, Wav::new(noises(2, frames)))
}

fn input(folder: &Folder, wav: Wav) -> (PathBuf, Wav) {
    let path = folder.file("in.wav");
    wav.write(&path);
    (path, wav)
}

fn gain() -> PathBuf {
    shipped("examples/simple_gain.py")
}

/// What the simple gain makes of a sample.
fn gained(gain: f32) -> impl Fn(f32) -> f32 {
    move |sample| (sample * gain).clamp(-1.0, 1.0)
}

/// A filter that remembers the sample before across blocks, so that a block out of order is heard.
const DIFFERENTIATOR: &str = "
last = getattr(self, 'last', np.zeros((buffer.get_channel_count(), 1), np.float32))
whole = np.concatenate([last, buffer.data], axis=1)
self.last = whole[:, -1:].copy()
buffer.data[:] = whole[:, 1:] - whole[:, :-1]
return True";

fn differentiated(channel: &[f32]) -> Vec<f32> {
    let before = std::iter::once(0.0).chain(channel.iter().copied());
    channel.iter().zip(before).map(|(now, before)| now - before).collect()
}

#[test]
fn a_gain_is_a_float32_multiplication_and_a_clip_for_every_sample() {
    let folder = Folder::new();
    let (path, wav) = noise_file(&folder, 50_000);
    for factor in ["0.3", "1.7"] {
        let heard = Render::new(&folder, &path).plugin(gain()).set("gain", factor).heard();
        assert_eq!(heard, wav.map(gained(factor.parse().unwrap())));
    }
}

#[test]
fn without_a_plugin_every_bit_is_copied() {
    let folder = Folder::new();
    let (path, wav) = noise_file(&folder, 12_345);
    assert_eq!(Render::new(&folder, &path).heard(), wav);
}

#[test]
fn the_size_of_the_block_changes_no_sample() {
    let folder = Folder::new();
    let (path, wav) = noise_file(&folder, 5_000);
    for block in [16, 17, 64, 512, 1000, 8192] {
        let heard = Render::new(&folder, &path).plugin(gain()).set("gain", "0.7").block(block).heard();
        assert_eq!(heard, wav.map(gained(0.7)), "block {block}");
    }
}

#[test]
fn a_plugin_that_remembers_hears_every_block_once_and_in_order() {
    let folder = Folder::new();
    let (path, wav) = noise_file(&folder, 20_000);
    let filter = processor(&folder, "differentiator", DIFFERENTIATOR);
    let expected: Vec<_> = wav.channels.iter().map(|c| differentiated(c)).collect();
    for block in [17, 64, 1000] {
        let heard = Render::new(&folder, &path).plugin(&filter).block(block).heard();
        assert_eq!(heard.channels, expected, "block {block}");
    }
}

#[test]
fn a_plugin_that_is_faster_than_the_host_loses_no_answer() {
    let folder = Folder::new();
    // Decoding takes the host longer than its work takes the plugin: answers come while blocks are handed over.
    let copied = Render::new(&folder, song()).heard();
    for _ in 0..4 {
        assert_eq!(Render::new(&folder, song()).plugin(shipped("examples/passthrough.py")).heard(), copied);
    }
}

#[test]
fn the_output_has_as_many_frames_as_the_input() {
    let folder = Folder::new();
    for frames in [1, 255, 256, 257, 12_345] {
        let (path, wav) = noise_file(&folder, frames);
        let heard = Render::new(&folder, &path).plugin(gain()).set("gain", "0.5").block(256).heard();
        assert_eq!(heard, wav.map(gained(0.5)), "{frames} frames");
    }
}

#[test]
fn a_chain_of_plugins_works_in_the_order_of_the_command_line() {
    let folder = Folder::new();
    let (path, wav) = noise_file(&folder, 4_000);
    let offset = processor(&folder, "offset", "buffer.data += np.float32(0.25)\nreturn True");
    let chain = Render::new(&folder, &path);
    let chain = chain.plugin(gain()).set("gain", "0.5").plugin(&offset).plugin(gain()).set("gain", "1.5");
    assert_eq!(chain.heard(), wav.map(|s| ((s * 0.5 + 0.25) * 1.5).clamp(-1.0, 1.0)));
}

#[test]
fn one_to_64_channels_stay_apart() {
    let folder = Folder::new();
    let numbered = "
for c in range(buffer.get_channel_count()):
    buffer.get_channel_data(c)[:] *= np.float32(1 / (c + 1))
return True";
    let plugin = processor(&folder, "numbered", numbered);
    for channels in [1, 2, 6, 64] {
        let (path, wav) = input(&folder, Wav::new(noises(channels, 700)));
        let heard = Render::new(&folder, &path).plugin(&plugin).block(128).heard();
        for (c, (heard, sent)) in heard.channels.iter().zip(&wav.channels).enumerate() {
            #[expect(clippy::cast_possible_truncation, reason = "as numpy rounds it")]
            let factor = (1.0 / (c as f64 + 1.0)) as f32;
            let expected: Vec<f32> = sent.iter().map(|s| s * factor).collect();
            assert_eq!(*heard, expected, "channel {c} of {channels}");
        }
    }
}

#[test]
fn the_lowest_and_the_highest_rate_are_kept_and_told_to_the_plugin() {
    let folder = Folder::new();
    let tell = "buffer.data[:] = self.get_sample_rate() / 262144\nreturn True";
    let plugin = processor(&folder, "rate_teller", tell);
    for rate in [8_000, 192_000] {
        let (path, wav) = input(&folder, Wav::new(noises(2, 300)).at(rate));
        let heard = Render::new(&folder, &path).plugin(&plugin).heard();
        let told = f64::from(rate) / 262_144.0;
        assert!(heard.channels[0].iter().all(|s| f64::from(*s) == told), "{rate}");
        assert_eq!((heard.rate, heard.frames()), (wav.rate, wav.frames()));
    }
}

#[test]
fn two_renders_are_equal_bit_by_bit() {
    let folder = Folder::new();
    let render = |name: &str| {
        let chain = Render::new(&folder, song()).into_file(folder.file(name));
        let chain = chain.plugin(gain()).set("gain", "0.77").plugin(gain()).set("gain", "1.3");
        chain.run().ended_with(0);
        std::fs::read(folder.file(name)).unwrap()
    };
    assert!(render("first.wav") == render("second.wav"));
}

#[test]
fn a_flac_file_is_rendered_whole() {
    let folder = Folder::new();
    let mut reader = AudioReader::open(song()).unwrap();
    let (rate, channels, frames) = (reader.rate(), reader.channels() as usize, reader.frames().unwrap());
    let heard = Render::new(&folder, song()).plugin(gain()).set("gain", "0.5").heard();
    assert_eq!((heard.rate, heard.channels.len(), heard.frames() as u64), (rate, channels, frames));
    let mut interleaved = heard.interleaved();
    let mut buffer = vec![0.0; 4096 * channels];
    loop {
        let got = reader.read(&mut buffer).unwrap();
        if got == 0 {
            break;
        }
        for sample in &buffer[..got * channels] {
            assert_eq!(interleaved.next(), Some(gained(0.5)(*sample)));
        }
    }
    assert!(heard.interleaved().any(|s| s.abs() > 0.1), "the song is silent");
}

fn integers(folder: &Folder, bits: u16) -> (PathBuf, Vec<i32>) {
    let path = folder.file(&format!("{bits}.wav"));
    let sample_format = hound::SampleFormat::Int;
    let spec = hound::WavSpec { channels: 2, sample_rate: 44_100, bits_per_sample: bits, sample_format };
    let full = 2f64.powi(i32::from(bits) - 1);
    #[expect(clippy::cast_possible_truncation, reason = "within the integers of the file")]
    let samples: Vec<i32> = noise(2_000, 9).iter().map(|s| (f64::from(*s) * full) as i32).collect();
    let mut writer = hound::WavWriter::create(&path, spec).unwrap();
    samples.iter().for_each(|s| writer.write_sample(*s).unwrap());
    writer.finalize().unwrap();
    (path, samples)
}

#[test]
fn integers_of_16_24_and_32_bits_are_read_as_fractions_of_full_scale() {
    let folder = Folder::new();
    for bits in [16, 24, 32] {
        let (path, samples) = integers(&folder, bits);
        let heard = Render::new(&folder, &path).plugin(gain()).set("gain", "0.5").heard();
        let full = 2f64.powi(i32::from(bits) - 1);
        #[expect(clippy::cast_possible_truncation, reason = "rounded to the nearest float")]
        let expected: Vec<f32> = samples.iter().map(|s| (f64::from(*s) / full) as f32 * 0.5).collect();
        assert_eq!(heard.interleaved().collect::<Vec<_>>(), expected, "{bits} bits");
    }
}

#[test]
fn integers_that_are_not_changed_come_out_as_they_went_in() {
    let folder = Folder::new();
    for bits in [16, 24] {
        let (path, samples) = integers(&folder, bits);
        let passthrough = shipped("examples/passthrough.py");
        let render = Render::new(&folder, &path).plugin(passthrough).option("--bits", bits.to_string());
        render.run().ended_with(0);
        let mut reader = hound::WavReader::open(folder.file("out.wav")).unwrap();
        assert_eq!(reader.spec().bits_per_sample, bits);
        assert_eq!(reader.samples::<i32>().map(Result::unwrap).collect::<Vec<_>>(), samples);
    }
}

#[test]
fn samples_beyond_full_scale_are_clipped_and_counted_in_integers_and_kept_in_floats() {
    let folder = Folder::new();
    let (path, wav) = input(&folder, Wav::new(vec![vec![1.5, -0.25, -2.0, 0.5, 1.0]]));
    assert_eq!(Render::new(&folder, &path).heard(), wav);
    let (done, report) = Render::new(&folder, &path).option("--bits", "16").reported();
    done.ended_with(0);
    // 1.0 is one step beyond the largest integer.
    assert_eq!(report["clipped"], 3);
    let largest = 32_767.0 / 32_768.0;
    assert_eq!(Wav::read(&folder.file("out.wav")).channels[0], [largest, -0.25, -1.0, 0.5, largest]);
}

#[test]
fn a_plugin_that_rebinds_its_data_is_heard_as_one_that_works_in_place() {
    let folder = Folder::new();
    let (path, wav) = noise_file(&folder, 1_000);
    for (name, body) in [
        ("float64", "buffer.data = buffer.data.astype(np.float64) * 0.5\nreturn True"),
        ("lists", "buffer.data = (buffer.data * np.float32(0.5)).tolist()\nreturn True"),
        ("fortran", "buffer.data = np.asfortranarray(buffer.data * np.float32(0.5))\nreturn True"),
    ] {
        let plugin = processor(&folder, name, body);
        assert_eq!(Render::new(&folder, &path).plugin(plugin).heard(), wav.map(|s| s * 0.5), "{name}");
    }
}

#[test]
fn a_plugin_that_prints_by_the_megabyte_loses_no_block() {
    let folder = Folder::new();
    let (path, wav) = noise_file(&folder, 2_000);
    let chatter = processor(&folder, "chatter", "print('x' * 100_000)\nbuffer.data *= 0.5\nreturn True");
    let text = std::fs::read_to_string(&chatter).unwrap();
    folder.write("chatter.py", &format!("print('word ' * 400_000)\n{text}"));
    assert_eq!(Render::new(&folder, &path).plugin(chatter).block(64).heard(), wav.map(|s| s * 0.5));
}

#[test]
fn samples_that_are_not_finite_become_a_line_between_their_neighbours_and_are_counted() {
    let folder = Folder::new();
    let (path, wav) = noise_file(&folder, 1_024);
    let body = "
buffer.data[0, 3] = np.nan
buffer.data[1, 5] = np.inf
buffer.data[1, 6] = -np.inf
return True";
    let plugin = processor(&folder, "divides_by_zero", body);
    let (done, report) = Render::new(&folder, &path).plugin(plugin).block(256).reported();
    done.ended_with(0).and_said("divides_by_zero").and_said("4 not all finite");
    let plugin = &report["plugins"][0];
    assert_eq!(plugin["name"], "divides_by_zero");
    assert_eq!(plugin["counts"]["non_finite_blocks"], 4);
    assert_eq!(plugin["counts"]["non_finite_samples"], 12);
    let mut expected = wav;
    for block in 0..4 {
        let mut line = |channel: usize, from: usize, to: usize| {
            let samples = &mut expected.channels[channel][block * 256..][from - 1..=to];
            let (before, after) = (samples[0], samples[to - from + 1]);
            for (i, sample) in samples.iter_mut().enumerate() {
                let way = i as f32 / (to - from + 1) as f32;
                *sample = before * (1.0 - way) + after * way;
            }
        };
        line(0, 3, 4);
        line(1, 5, 7);
    }
    assert_eq!(Wav::read(&folder.file("out.wav")), expected);
}

#[test]
fn without_the_guard_every_bit_passes_to_the_next_plugin_and_into_the_file() {
    let folder = Folder::new();
    let (path, _) = noise_file(&folder, 512);
    let all_bits = "
buffer.data.view(np.uint32)[:] = 0x7f800000 + np.arange(buffer.data.size).reshape(buffer.data.shape)
return True";
    let check = "
bits = buffer.data.view(np.uint32)
expected = 0x7f800000 + np.arange(bits.size).reshape(bits.shape)
buffer.data.view(np.uint32)[:] = np.where(bits == expected, bits + 0x1000, 0)
return True";
    let (writer, reader) =
        (processor(&folder, "writes_bits", all_bits), processor(&folder, "reads_bits", check));
    let chain = Render::new(&folder, &path).block(256);
    let chain = chain.plugin(writer).option("--guard", "off").plugin(reader).option("--guard", "off");
    chain.run().ended_with(0);
    let heard = Wav::read(&folder.file("out.wav"));
    for (c, channel) in heard.channels.iter().enumerate() {
        for (frame, sample) in channel.iter().enumerate() {
            let expected = 0x7f80_1000 + u32::try_from(c * 256 + frame % 256).unwrap();
            assert_eq!(sample.to_bits(), expected, "channel {c} frame {frame}");
        }
    }
}

#[test]
fn a_plugin_that_says_it_delays_is_named_and_its_delay_is_not_taken_away() {
    let folder = Folder::new();
    let (path, _) = noise_file(&folder, 480);
    let latency = "def get_processing_latency(self):\n    return 0.01";
    let plugin = tests::plugins::processor_with(&folder, "slow", "return True", latency);
    let (done, report) = Render::new(&folder, &path).plugin(plugin).reported();
    done.ended_with(0);
    assert_eq!(report["plugin_frames"], 480);
    assert_eq!(report["frames"], 480);
}

#[test]
fn the_output_may_not_be_the_input() {
    let folder = Folder::new();
    let (path, wav) = noise_file(&folder, 100);
    let link = folder.file("link.wav");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let hard_link = folder.file("hard.wav");
    std::fs::hard_link(&path, &hard_link).unwrap();
    for output in [&path, &link, &hard_link] {
        let done = Render::new(&folder, &path).into_file(output).run();
        done.refused(3, &["in.wav is the input and the output", "try: write into another file"]);
        assert_eq!(Wav::read(&path), wav);
    }
}

#[test]
fn the_output_may_not_be_a_plugin() {
    let folder = Folder::new();
    let (path, _) = noise_file(&folder, 100);
    let plugin = tests::plugins::processor(&folder, "mine", "return True");
    let text = std::fs::read(&plugin).unwrap();
    let done = Render::new(&folder, &path).plugin(&plugin).into_file(&plugin).run();
    done.refused(3, &["mine.py is a plugin and the output", "try: write into another file"]);
    assert_eq!(std::fs::read(&plugin).unwrap(), text);
}
