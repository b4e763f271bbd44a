//! What is read, what is refused, and what is left on disk.

// Test signals are computed within the range of what they are cast to.
#![allow(clippy::cast_possible_truncation)]

use super::*;
use std::fs;
use tempfile::TempDir;

/// Samples that any format can hold exactly: multiples of 2^-15, both ends of the range among them.
fn steps(count: usize) -> Vec<f32> {
    let step =
        |i: usize| f32::from(i16::from_ne_bytes(u16::try_from(i * 7919 % 65_536).unwrap().to_ne_bytes()));
    (0..count).map(|i| step(i) / 32_768.0).collect()
}

fn read_all(reader: &mut AudioReader, samples_at_once: usize) -> Result<Vec<f32>> {
    let mut all = Vec::new();
    let mut some = vec![0.0; samples_at_once];
    loop {
        let frames = reader.read(&mut some)?;
        if frames == 0 {
            return Ok(all);
        }
        all.extend_from_slice(&some[..frames * reader.channels() as usize]);
    }
}

fn bits_of(samples: &[f32]) -> Vec<u32> {
    samples.iter().map(|sample| sample.to_bits()).collect()
}

/// A file with these bytes in a folder that lives as long as the test.
fn file(folder: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("a.wav");
    fs::write(&path, bytes).unwrap();
    path
}

fn refusal_of(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let error = AudioReader::open(file(&folder, bytes)).unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    error.to_string()
}

/// Chunks of a WAV, each with its pad byte, under a RIFF header of the right length.
fn riff(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut body = b"WAVE".to_vec();
    for (id, bytes) in chunks {
        body.extend_from_slice(*id);
        body.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
        body.extend_from_slice(bytes);
        body.resize(body.len() + bytes.len() % 2, 0);
    }
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [b"RIFF", &length[..], &body].concat()
}

/// The `fmt ` chunk of plain samples.
fn format(tag: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
    let align = (u32::from(channels) * u32::from(bits) / 8).to_le_bytes();
    let mut chunk = [tag.to_le_bytes(), channels.to_le_bytes()].concat();
    chunk.extend_from_slice(&rate.to_le_bytes());
    chunk.extend_from_slice(&[0; 4]);
    chunk.extend_from_slice(&align[..2]);
    chunk.extend_from_slice(&bits.to_le_bytes());
    chunk
}

/// A 16-bit stereo WAV of two frames: the data begin at byte 44.
fn small() -> Vec<u8> {
    riff(&[(b"fmt ", &format(1, 2, 48_000, 16)), (b"data", &[0, 0x40, 0, 0xc0, 0xff, 0x7f, 0, 0x80])])
}

mod reading_wav {
    use super::*;

    fn read(bytes: &[u8]) -> (Vec<f32>, AudioReader) {
        let folder = tempfile::tempdir().unwrap();
        let mut reader = AudioReader::open(file(&folder, bytes)).unwrap();
        (read_all(&mut reader, 1024).unwrap(), reader)
    }

    #[test]
    fn integers_become_fractions_of_full_scale() {
        let (samples, reader) = read(&small());
        assert_eq!(samples, [0.5, -0.5, 32_767.0 / 32_768.0, -1.0]);
        assert_eq!((reader.channels(), reader.rate(), reader.frames()), (2, 48_000, Some(2)));
        assert_eq!(reader.warning(), None);
        let data = [0xff, 0xff, 0x7f, 0, 0, 0x80, 1, 0, 0];
        let (samples, _) = read(&riff(&[(b"fmt ", &format(1, 1, 8_000, 24)), (b"data", &data)]));
        assert_eq!(samples, [8_388_607.0 / 8_388_608.0, -1.0, 1.0 / 8_388_608.0]);
        let data = [i32::MIN, i32::MAX, 1, 0x0123_4567].map(i32::to_le_bytes).concat();
        let (samples, _) = read(&riff(&[(b"fmt ", &format(1, 1, 192_000, 32)), (b"data", &data)]));
        let exactly = [-1.0, 1.0, 2.0_f32.powi(-31), 0x0123_4567 as f32 / 2_147_483_648.0];
        assert_eq!(samples, exactly);
    }

    #[test]
    fn floats_pass_bit_for_bit() {
        let data = [f32::NAN.to_bits(), 0x7fa0_1234, 0xffc0_ffee, 0x8000_0000, f32::INFINITY.to_bits(), 1];
        let bytes: Vec<u8> = data.iter().flat_map(|bits| bits.to_le_bytes()).collect();
        let (samples, _) = read(&riff(&[(b"fmt ", &format(3, 2, 44_100, 32)), (b"data", &bytes)]));
        assert_eq!(bits_of(&samples), data);
    }

    #[test]
    fn extensible_headers_and_odd_chunks_are_read() {
        let mut extensible = format(0xfffe, 1, 48_000, 16);
        extensible.extend_from_slice(&[22, 0, 16, 0, 4, 0, 0, 0]);
        extensible.extend_from_slice(b"\x01\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71");
        let (samples, _) =
            read(&riff(&[(b"LIST", b"odd"), (b"fmt ", &extensible), (b"fact", b"1"), (b"data", &[0, 0x40])]));
        assert_eq!(samples, [0.5]);
    }

    #[test]
    fn what_hound_writes_is_read_for_any_number_of_channels() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h.wav");
        for (channels, bits) in [(1, 16), (2, 24), (3, 32), (64, 16)] {
            let spec = hound::WavSpec {
                channels,
                sample_rate: 96_000,
                bits_per_sample: bits,
                sample_format: hound::SampleFormat::Int,
            };
            let samples = steps(usize::from(channels) * 5_000);
            let mut writer = hound::WavWriter::create(&path, spec).unwrap();
            for sample in &samples {
                writer.write_sample((f64::from(*sample) * 2.0_f64.powi(i32::from(bits) - 1)) as i32).unwrap();
            }
            writer.finalize().unwrap();
            let mut reader = AudioReader::open(&path).unwrap();
            let at_once = usize::from(channels) * 333;
            assert_eq!(
                read_all(&mut reader, at_once).unwrap(),
                samples,
                "{channels} channels of {bits} bits"
            );
        }
    }

    #[test]
    fn only_whole_frames_are_delivered() {
        let folder = tempfile::tempdir().unwrap();
        let mut reader = AudioReader::open(file(&folder, &small())).unwrap();
        let mut out = [9.0; 3];
        assert_eq!(reader.read(&mut out).unwrap(), 1);
        assert_eq!(out, [0.5, -0.5, 9.0]);
        assert_eq!(reader.read(&mut out[..1]).unwrap(), 0);
        assert_eq!(reader.read(&mut out).unwrap(), 1);
        assert_eq!(reader.read(&mut out).unwrap(), 0);
        reader.rewind().unwrap();
        assert_eq!(reader.read(&mut out).unwrap(), 1);
    }

    #[test]
    fn a_file_cut_short_is_read_as_far_as_it_goes() {
        let (samples, reader) = read(&small()[..49]);
        assert_eq!(samples, [0.5, -0.5]);
        assert_eq!(reader.frames(), Some(1));
        assert_eq!(reader.warning(), Some("truncated: header says 2 frames, 1 are there"));
    }

    #[test]
    fn a_file_that_was_never_finished_is_read_by_its_length() {
        for size in [0, u32::MAX] {
            let mut bytes = small();
            bytes[4..8].copy_from_slice(&size.to_le_bytes());
            bytes[40..44].copy_from_slice(&size.to_le_bytes());
            let (samples, reader) = read(&bytes);
            assert_eq!((samples.len(), reader.frames()), (4, Some(2)));
            let warning = reader.warning().unwrap();
            assert_eq!(warning, "unfinished: header gives no length, 2 frames are there");
        }
    }

    #[test]
    fn what_stands_behind_the_data_is_not_audio() {
        let data = (b"data", &[0, 0x40][..]);
        let (samples, _) = read(&riff(&[(b"fmt ", &format(1, 1, 48_000, 16)), data, (b"LIST", b"more")]));
        assert_eq!(samples, [0.5]);
        let none = riff(&[(b"fmt ", &format(1, 1, 48_000, 16)), (b"data", b""), (b"LIST", b"more")]);
        assert!(refusal_of(&none).contains("has no audio in it"));
    }

    #[test]
    fn a_file_that_shrinks_is_told_after_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path =
            file(&folder, &riff(&[(b"fmt ", &format(1, 1, 48_000, 16)), (b"data", &vec![1; 600_000])]));
        let mut reader = AudioReader::open(&path).unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(400_044).unwrap();
        let mut out = vec![0.0; 300_000];
        assert_eq!(reader.read(&mut out).unwrap(), 200_000);
        let said = reader.read(&mut out).unwrap_err().to_string();
        assert!(said.contains("became shorter while it was read"), "{said}");
    }
}

mod what_is_refused {
    use super::*;

    fn wav(tag: u16, channels: u16, rate: u32, bits: u16) -> String {
        refusal_of(&riff(&[(b"fmt ", &format(tag, channels, rate, bits)), (b"data", &[0; 1024])]))
    }

    #[test]
    fn what_is_not_audio_is_named() {
        assert!(refusal_of(b"").contains("is empty; WAV (16, 24 or 32-bit integer, 32-bit float) and FLAC"));
        assert!(refusal_of(b"OggS1234567890").contains("is an Ogg file; "));
        assert!(refusal_of(b"RF64\xff\xff\xff\xffWAVE").contains("RF64"));
        assert!(refusal_of(b"RIFF\x04\0\0\0AVI ").contains("a RIFF file, but not a WAV"));
        assert!(refusal_of(b"\0\0\0\x18ftypM4A ").contains("an MP4 or M4A"));
        assert!(refusal_of(b"import numpy as np\n").contains("is text"));
        assert!(refusal_of(&[7; 100]).contains("is no audio that is known here"));
        assert!(wav(1, 2, 48_000, 8).contains("is a WAV of 8-bit integer samples"));
        assert!(wav(3, 2, 48_000, 64).contains("is a WAV of 64-bit float samples"));
        assert!(wav(6, 2, 48_000, 8).contains("is a WAV of samples in format 0x0006"));
    }

    #[test]
    fn what_a_pipeline_can_not_take_is_named() {
        assert!(wav(1, 0, 48_000, 16).contains("has 0 channels"));
        assert!(wav(1, 65, 48_000, 16).contains("has 65 channels; 1 to 64 can be read"));
        assert!(wav(1, 2, 7_999, 16).contains("has 7999 frames a second; 8000 to 192000 can be read"));
        assert!(wav(1, 2, 192_001, 16).contains("has 192001 frames a second"));
        assert!(wav(1, 65_535, 48_000, 32).contains("is a broken WAV"), "its frame size overflows its field");
        assert!(
            refusal_of(&small()[..45]).contains("not a single frame (truncated: header says 2 frames, 0 are")
        );
    }

    #[test]
    fn what_can_not_be_opened_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let said = |path: &Path| AudioReader::open(path).unwrap_err().to_string();
        assert!(said(&folder.path().join("no.wav")).contains("there is no audio file"));
        assert!(said(folder.path()).contains("is a folder"));
        assert!(said(Path::new("/dev/null")).contains("is a device or a pipe, not a file"));
    }

    #[test]
    fn a_file_cut_at_any_byte_is_refused_or_read() {
        let folder = tempfile::tempdir().unwrap();
        for bytes in [small(), flac::encode(2, 16, &steps(200), 32)] {
            for length in 0..bytes.len() {
                if let Ok(mut reader) = AudioReader::open(file(&folder, &bytes[..length])) {
                    let _ = read_all(&mut reader, 64);
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let [wav, flac] = [small(), flac::encode(2, 16, &steps(200), 32)];
        for round in 0..600 {
            let mut bytes = if round % 2 == 0 { wav.clone() } else { flac.clone() };
            for _ in 0..=random() % 8 {
                let at = usize::try_from(random()).unwrap() % bytes.len();
                bytes[at] = random().to_le_bytes()[0];
            }
            if let Ok(mut reader) = AudioReader::open(file(&folder, &bytes)) {
                let _ = read_all(&mut reader, 64);
            }
        }
    }
}

mod reading_flac {
    use super::*;

    #[test]
    fn samples_are_those_that_were_encoded() {
        let folder = tempfile::tempdir().unwrap();
        for (channels, bits) in [(1, 16), (2, 16), (2, 24), (8, 24)] {
            let samples = steps(usize::from(channels) * 1000);
            let path = file(&folder, &flac::encode(channels, bits, &samples, 192));
            let mut reader = AudioReader::open(&path).unwrap();
            let shape = (reader.channels(), reader.rate(), reader.frames());
            assert_eq!(shape, (channels.into(), 48_000, Some(1000)));
            let at_once = usize::from(channels) * 77;
            assert_eq!(
                read_all(&mut reader, at_once).unwrap(),
                samples,
                "{channels} channels of {bits} bits"
            );
            reader.rewind().unwrap();
            assert_eq!(read_all(&mut reader, 4096).unwrap().len(), samples.len());
        }
    }

    #[test]
    fn damage_ends_the_file_and_names_the_frame() {
        let folder = tempfile::tempdir().unwrap();
        let samples = steps(2 * 10_000);
        let whole = flac::encode(2, 16, &samples, 1000);
        let mut damaged = whole.clone();
        let middle = whole.len() / 2;
        damaged[middle] ^= 0x55;
        let mut reader = AudioReader::open(file(&folder, &damaged)).unwrap();
        let mut out = vec![0.0; samples.len()];
        let frames = reader.read(&mut out).unwrap();
        assert!(frames >= 4_000 && frames.is_multiple_of(1000), "all before the damage: {frames}");
        assert_eq!(out[..frames * 2], samples[..frames * 2]);
        for _ in 0..2 {
            let error = reader.read(&mut out).unwrap_err();
            assert_eq!(error.kind(), Kind::Input);
            assert!(error.to_string().contains(&format!("is damaged at frame {frames} (0.")), "{error}");
        }
        let mut reader = AudioReader::open(file(&folder, &whole[..middle])).unwrap();
        let frames = reader.read(&mut out).unwrap();
        assert_eq!(out[..frames * 2], samples[..frames * 2]);
        assert!(reader.read(&mut out).unwrap_err().to_string().contains(&format!("frame {frames}")));
    }

    #[test]
    fn a_broken_header_is_told_at_once() {
        assert!(refusal_of(b"fLaC").contains("is a broken FLAC: the file ends too early"));
        assert!(refusal_of(&[&b"fLaC"[..], &[0xff; 100]].concat()).contains("is a broken FLAC"));
    }
}

mod writing {
    use super::*;

    fn writer(folder: &TempDir, channels: u32, bits: Bits) -> WavWriter {
        WavWriter::create(folder.path().join("out.wav"), channels, 48_000, bits).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        for channels in [1, 2, 5, 64] {
            for bits in [Bits::I16, Bits::I24, Bits::F32] {
                let samples = steps(channels as usize * 12_345);
                let mut writer = writer(&folder, channels, bits);
                let path = writer.path().to_owned();
                for block in samples.chunks(channels as usize * 1_000) {
                    writer.write(block).unwrap();
                }
                assert_eq!((writer.frames(), writer.clipped()), (12_345, 0));
                assert_eq!(writer.finalize().unwrap(), 12_345);
                let mut reader = AudioReader::open(&path).unwrap();
                assert_eq!(reader.warning(), None);
                assert_eq!(read_all(&mut reader, 4096).unwrap(), samples, "{channels} channels, {bits:?}");
                assert_eq!(fs::metadata(&path).unwrap().len() % 2, 0, "chunks have an even length");
                let other = hound::WavReader::open(&path).unwrap();
                assert_eq!((other.duration(), u32::from(other.spec().channels)), (12_345, channels));
            }
        }
    }

    #[test]
    fn floats_are_written_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let bits = [f32::NAN.to_bits(), 0x7fa0_1234, 0xffc0_ffee, 0x8000_0000, 5.0_f32.to_bits(), 1];
        let mut writer = writer(&folder, 2, Bits::F32);
        let path = writer.path().to_owned();
        writer.write(&bits.map(f32::from_bits)).unwrap();
        assert_eq!(writer.clipped(), 0);
        writer.finalize().unwrap();
        assert_eq!(bits_of(&read_all(&mut AudioReader::open(&path).unwrap(), 64).unwrap()), bits);
    }

    #[test]
    fn integers_are_the_nearest_and_clipping_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let scaled = [
            0.5,
            1.5,
            0.500_1,
            -0.5,
            -1.6,
            32_767.4,
            32_768.0,
            -32_768.0,
            -32_769.0,
            f32::NAN,
            f32::INFINITY,
        ];
        let expected = [0.0, 2.0, 1.0, 0.0, -2.0, 32_767.0, 32_767.0, -32_768.0, -32_768.0, 0.0, 32_767.0];
        let mut writer = writer(&folder, 1, Bits::I16);
        let path = writer.path().to_owned();
        writer.write(&scaled.map(|sample| sample / 32_768.0)).unwrap();
        assert_eq!(writer.clipped(), 4);
        writer.finalize().unwrap();
        let read = read_all(&mut AudioReader::open(&path).unwrap(), 64).unwrap();
        assert_eq!(read, expected.map(|sample| sample / 32_768.0));
    }

    #[test]
    fn the_file_is_valid_after_each_second_even_if_the_writer_never_ends() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(&folder, 2, Bits::I16);
        let path = writer.path().to_owned();
        let block = steps(2 * 480);
        for _ in 0..150 {
            writer.write(&block).unwrap();
        }
        let reader = AudioReader::open(&path).unwrap();
        assert_eq!((reader.frames(), reader.warning()), (Some(48_000), None));
        drop(writer);
        assert_eq!(AudioReader::open(&path).unwrap().frames(), Some(72_000), "dropping it finishes the file");
    }

    #[test]
    fn samples_that_are_not_whole_frames_are_refused_and_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(&folder, 2, Bits::F32);
        assert_eq!(writer.write(&[0.0; 3]).unwrap_err().kind(), Kind::Output);
        writer.write(&[0.0; 4]).unwrap();
        assert_eq!(writer.finalize().unwrap(), 2);
    }

    #[test]
    fn places_that_can_not_be_written_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let said = |path: &Path| {
            let error = WavWriter::create(path, 2, 48_000, Bits::F32).unwrap_err();
            assert_eq!(error.kind(), Kind::Output);
            error.to_string()
        };
        assert!(said(folder.path()).contains("is a folder"));
        assert!(said(&folder.path().join("no/out.wav")).contains("there is no folder to write"));
        assert!(said(Path::new("/dev/full")).contains("is a device or a pipe, not a file"));
        let kind = |channels, rate| {
            WavWriter::create(folder.path().join("x.wav"), channels, rate, Bits::I16).unwrap_err().kind()
        };
        assert_eq!([kind(0, 48_000), kind(65, 48_000), kind(2, 7_999)], [Kind::Config; 3]);
        assert!(!folder.path().join("x.wav").exists());
    }

    #[test]
    fn a_file_at_the_limit_of_the_format_ends_there_and_is_valid() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(&folder, 2, Bits::I24);
        let path = writer.path().to_owned();
        writer.limit_to(1_000);
        let samples = steps(2 * 300);
        writer.write(&samples[..200]).unwrap();
        let error = writer.write(&samples[200..]).unwrap_err();
        assert!(error.to_string().contains("a WAV file ends at 4 GiB; kept 166 frames (0.0 s)"), "{error}");
        assert!(writer.write(&samples).is_err() && writer.finalize().is_err());
        let mut reader = AudioReader::open(&path).unwrap();
        assert_eq!((reader.frames(), reader.warning()), (Some(166), None));
        assert_eq!(read_all(&mut reader, 4096).unwrap(), samples[..332]);
    }

    /// Runs in a process of its own, which may not write long files.
    fn fill_the_room_there_is(path: PathBuf) {
        let mut writer = WavWriter::create(&path, 3, 48_000, Bits::F32).unwrap();
        let block = steps(3 * 256);
        let error = (0..).find_map(|_| writer.write(&block).err()).unwrap();
        assert_eq!(error.kind(), Kind::Output);
        let said = error.to_string();
        let kept = AudioReader::open(&path).unwrap();
        assert_eq!(kept.warning(), None, "the header tells what is there");
        let frames = kept.frames().unwrap();
        assert!(said.contains(&path.display().to_string()), "{said}");
        assert!(said.contains(&format!("kept {frames} frames (")) && said.contains("try: "), "{said}");
        assert_eq!(fs::metadata(&path).unwrap().len(), 68 + frames * 12, "and no more is there");
        assert!(writer.finalize().is_err());
        assert_eq!(AudioReader::open(&path).unwrap().frames(), Some(frames));
    }

    #[test]
    fn a_file_that_may_not_grow_keeps_its_whole_frames() {
        if let Some(path) = std::env::var_os("NDA_TEST_FILE") {
            return fill_the_room_there_is(path.into());
        }
        let folder = tempfile::tempdir().unwrap();
        let child = "audio_file::tests::writing::a_file_that_may_not_grow_keeps_its_whole_frames";
        let shell = "trap '' XFSZ; ulimit -f 3001; exec \"$0\" --exact \"$1\"";
        let output = std::process::Command::new("sh")
            .args(["-c", shell])
            .arg(std::env::current_exe().unwrap())
            .arg(child)
            .env("NDA_TEST_FILE", folder.path().join("out.wav"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        assert!(AudioReader::open(folder.path().join("out.wav")).unwrap().frames() > Some(100_000));
    }
}

/// The least that makes a FLAC file: uncompressed blocks, with the checksums that readers check.
mod flac {
    fn crc(bytes: &[u8], polynomial: u16, width: u32) -> u16 {
        let top = 1 << (width - 1);
        bytes.iter().fold(0_u16, |crc, byte| {
            (0..8).fold(crc ^ (u16::from(*byte) << (width - 8)), |crc, _| {
                if crc & top == 0 { crc << 1 } else { (crc << 1) ^ polynomial }
            })
        }) & (((u32::from(top) << 1) - 1) as u16)
    }

    struct BitWriter {
        bytes: Vec<u8>,
        used: u32,
    }

    impl BitWriter {
        fn put(&mut self, value: u64, bits: u32) {
            for bit in (0..bits).rev() {
                if self.used.is_multiple_of(8) {
                    self.bytes.push(0);
                }
                let last = self.bytes.last_mut().unwrap();
                *last |= u8::from(value >> bit & 1 == 1) << (7 - self.used % 8);
                self.used += 1;
            }
        }
    }

    /// Interleaved samples as a FLAC file at 48 kHz, in blocks of so many frames (fewer than 128 blocks).
    pub(super) fn encode(channels: u16, bits: u32, samples: &[f32], block: usize) -> Vec<u8> {
        let frames = samples.len() / usize::from(channels);
        let mut info = BitWriter { bytes: Vec::new(), used: 0 };
        for (value, bits) in [(block as u64, 16), (block as u64, 16), (0, 24), (0, 24), (48_000, 20)] {
            info.put(value, bits);
        }
        for (value, bits) in [(u64::from(channels) - 1, 3), (u64::from(bits) - 1, 5), (frames as u64, 36)] {
            info.put(value, bits);
        }
        info.bytes.extend_from_slice(&[0; 16]);
        let mut file = [&b"fLaC\x80\0\0\x22"[..], &info.bytes].concat();
        for (index, block) in samples.chunks(block * usize::from(channels)).enumerate() {
            file.extend(encode_block(channels, bits, block, index as u64));
        }
        file
    }

    fn encode_block(channels: u16, bits: u32, samples: &[f32], index: u64) -> Vec<u8> {
        let frames = samples.len() / usize::from(channels);
        let mut out = BitWriter { bytes: Vec::new(), used: 0 };
        out.put(0xfff8, 16);
        // The block's length follows in 16 bits; rate and bits are those of the file's header.
        for (value, bits) in [(7, 4), (0, 4), (u64::from(channels) - 1, 4), (0, 4), (index, 8)] {
            out.put(value, bits);
        }
        out.put(frames as u64 - 1, 16);
        out.put(crc(&out.bytes, 0x07, 8).into(), 8);
        for channel in 0..usize::from(channels) {
            out.put(0b0000_0010, 8);
            for sample in samples.iter().skip(channel).step_by(channels.into()) {
                let value = (f64::from(*sample) * 2.0_f64.powi(bits as i32 - 1)) as i64;
                out.put(value.cast_unsigned() & ((1 << bits) - 1), bits);
            }
        }
        let sum = crc(&out.bytes, 0x8005, 16);
        out.bytes.extend_from_slice(&sum.to_be_bytes());
        out.bytes
    }
}
