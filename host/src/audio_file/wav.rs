//! Reading WAV: the header's chunks, then samples in bulk.
//!
//! For [`AudioReader`](super::AudioReader). Its own, because files as they are met need more than the libraries
//! give: headers that were never finished, data cut short, 64 channels, and 60 s in a few milliseconds (hound
//! takes 27 to 70 ms and refuses the first two; symphonia takes 9 ms and refuses the first and the third).

use super::{Shape, Unreadable, read_up_to};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

/// How many bytes are read at a time: few system calls, and still within the second-level cache.
const CHUNK: usize = 256 * 1024;

/// The last 14 bytes of the GUID of a WAVE_FORMAT_EXTENSIBLE sample format; the first two are the plain tag.
const GUID_TAIL: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];

/// How a sample lies in the file, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sample {
    I16,
    I24,
    I32,
    F32,
}

impl Sample {
    fn bytes(self) -> usize {
        match self {
            Sample::I16 => 2,
            Sample::I24 => 3,
            Sample::I32 | Sample::F32 => 4,
        }
    }

    /// Turns as many samples as `out` holds; integers become fractions of full scale, exactly.
    fn convert(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Sample::I16 => each(bytes, out, |b: [u8; 2]| f32::from(i16::from_le_bytes(b)) / 32_768.0),
            Sample::I24 => each(bytes, out, |[a, b, c]: [u8; 3]| {
                int(i32::from_le_bytes([0, a, b, c]) >> 8) / 8_388_608.0
            }),
            Sample::I32 => each(bytes, out, |b: [u8; 4]| int(i32::from_le_bytes(b)) / 2_147_483_648.0),
            Sample::F32 => each(bytes, out, f32::from_le_bytes),
        }
    }
}

/// Rounds to the nearest float, as numpy does; 24 bits fit exactly.
#[allow(clippy::cast_precision_loss)]
fn int(sample: i32) -> f32 {
    sample as f32
}

fn each<const N: usize>(bytes: &[u8], out: &mut [f32], convert: impl Fn([u8; N]) -> f32) {
    let (samples, _) = bytes.as_chunks::<N>();
    for (out, sample) in out.iter_mut().zip(samples) {
        *out = convert(*sample);
    }
}

/// The samples of an open WAV file.
#[derive(Debug)]
pub(super) struct WavDecoder {
    file: File,
    sample: Sample,
    frame_bytes: usize,
    /// Bytes of whole frames that are still in the file.
    left: u64,
    /// What was read ahead, whole samples, of which those before `used` are delivered.
    ahead: Vec<u8>,
    used: usize,
}

impl WavDecoder {
    pub(super) fn open(file: File) -> Result<(Shape, Self), Unreadable> {
        let file_bytes = file.metadata()?.len();
        let mut reader = BufReader::new(file);
        let header = read_header(&mut reader, file_bytes)?;
        let mut file = reader.into_inner();
        file.seek(SeekFrom::Start(header.data_start))?;
        let Header { format, frames, warning, .. } = header;
        let shape =
            Shape { channels: format.channels.into(), rate: format.rate, frames: Some(frames), warning };
        let (sample, frame_bytes) = (format.sample, format.frame_bytes());
        let left = frames * frame_bytes as u64;
        Ok((shape, Self { file, sample, frame_bytes, left, ahead: Vec::new(), used: 0 }))
    }

    /// Fills `out` as far as there are samples, and says how many.
    pub(super) fn read(&mut self, out: &mut [f32]) -> Result<usize, Unreadable> {
        let size = self.sample.bytes();
        let mut done = 0;
        while done < out.len() {
            if self.used == self.ahead.len() {
                match self.read_ahead() {
                    Ok(true) => {}
                    // What was read before a fault is delivered; the next call meets the fault again.
                    Err(why) if done == 0 => return Err(why),
                    _ => break,
                }
            }
            let ready = &self.ahead[self.used..];
            let count = (ready.len() / size).min(out.len() - done);
            self.sample.convert(ready, &mut out[done..done + count]);
            self.used += count * size;
            done += count;
        }
        Ok(done)
    }

    /// Reads the next whole frames; false at the end of the data.
    fn read_ahead(&mut self) -> Result<bool, Unreadable> {
        let frames = (CHUNK / self.frame_bytes).max(1);
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(frames * self.frame_bytes);
        self.used = 0;
        self.ahead.resize(want, 0);
        let read = read_up_to(&mut self.file, &mut self.ahead);
        let whole = read.as_ref().map_or(0, |read| read / self.frame_bytes * self.frame_bytes);
        self.ahead.truncate(whole);
        self.left -= whole as u64;
        if read? < want && whole == 0 {
            return Err(Unreadable::Broken("became shorter while it was read".into()));
        }
        Ok(whole > 0)
    }
}

/// What was found before the samples.
struct Header {
    format: Format,
    data_start: u64,
    frames: u64,
    warning: Option<String>,
}

/// The `fmt ` chunk.
#[derive(Clone, Copy)]
struct Format {
    sample: Sample,
    channels: u16,
    rate: u32,
}

impl Format {
    fn frame_bytes(self) -> usize {
        self.sample.bytes() * usize::from(self.channels)
    }
}

/// Reads chunk after chunk until the one with the samples.
fn read_header(reader: &mut BufReader<File>, file_bytes: u64) -> Result<Header, Unreadable> {
    let mut riff = [0; 12];
    read_header_bytes(reader, &mut riff)?;
    let riff_end = 8 + u64::from(u32_at(&riff, 4));
    let mut format = None;
    loop {
        let mut head = [0; 8];
        read_header_bytes(reader, &mut head)?;
        let size = u32_at(&head, 4);
        match &head[..4] {
            b"fmt " => format = Some(read_format(reader, size)?),
            b"data" => {
                let format = format.ok_or_else(|| broken("its data come before its format"))?;
                let start = reader.stream_position()?;
                return Ok(data_header(format, start, size, riff_end, file_bytes));
            }
            _ => skip(reader, u64::from(size) + u64::from(size % 2))?,
        }
    }
}

/// How many frames there are, whatever the header says, and what to say if the two differ.
fn data_header(format: Format, start: u64, size: u32, riff_end: u64, file_bytes: u64) -> Header {
    let frame_bytes = format.frame_bytes() as u64;
    let there = file_bytes.saturating_sub(start) / frame_bytes;
    let said = u64::from(size) / frame_bytes;
    // A writer that hasn't come to its end leaves no size, or the largest; one that has, a size for all of it.
    let unfinished = size == u32::MAX || (size == 0 && riff_end < file_bytes);
    let (frames, warning) = if unfinished {
        (there, Some(format!("unfinished: header gives no length, {there} frames are there")))
    } else if said > there {
        (there, Some(format!("truncated: header says {said} frames, {there} are there")))
    } else {
        (said, None)
    };
    Header { format, data_start: start, frames, warning }
}

fn read_format(reader: &mut BufReader<File>, size: u32) -> Result<Format, Unreadable> {
    if size < 16 {
        return Err(broken("its format chunk is too short"));
    }
    let mut chunk = [0; 40];
    let known = chunk.len().min(size as usize);
    read_header_bytes(reader, &mut chunk[..known])?;
    skip(reader, u64::from(size) + u64::from(size % 2) - known as u64)?;
    let (channels, rate) = (u16_at(&chunk, 2), u32_at(&chunk, 4));
    let (align, bits) = (u16_at(&chunk, 12), u16_at(&chunk, 14));
    if channels == 0 {
        return Err(Unreadable::Unfit("has 0 channels".into()));
    }
    let tag = match u16_at(&chunk, 0) {
        0xfffe if known == 40 && chunk[26..] == GUID_TAIL => u16_at(&chunk, 24),
        tag => tag,
    };
    let sample = match (tag, bits) {
        (1, 16) => Sample::I16,
        (1, 24) => Sample::I24,
        (1, 32) => Sample::I32,
        (3, 32) => Sample::F32,
        (1 | 3, _) => {
            let kind = if tag == 1 { "integer" } else { "float" };
            return Err(Unreadable::Other(format!("a WAV of {bits}-bit {kind} samples")));
        }
        _ => return Err(Unreadable::Other(format!("a WAV of samples in format {tag:#06x}"))),
    };
    let format = Format { sample, channels, rate };
    if usize::from(align) != format.frame_bytes() {
        return Err(broken("its frame size does not fit its channels and bits"));
    }
    Ok(format)
}

fn read_header_bytes(reader: &mut impl Read, out: &mut [u8]) -> Result<(), Unreadable> {
    reader.read_exact(out).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => broken("it ends before its first sample"),
        _ => Unreadable::Io(error),
    })
}

fn skip(reader: &mut BufReader<File>, bytes: u64) -> Result<(), Unreadable> {
    Ok(reader.seek_relative(i64::try_from(bytes).unwrap_or(i64::MAX))?)
}

fn broken(why: &str) -> Unreadable {
    Unreadable::Broken(format!("is a broken WAV: {why}"))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
