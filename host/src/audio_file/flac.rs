//! Reading FLAC with symphonia, and noticing what it passes over.
//!
//! For [`AudioReader`](super::AudioReader). Symphonia skips a damaged block and goes on with the next; here that
//! ends the file, because a gap would shift everything behind it.

use super::{Shape, Unreadable};
use std::fmt;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as Failure;
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::default::{codecs, formats};

/// The samples of an open FLAC file.
pub(super) struct FlacDecoder {
    blocks: formats::FlacReader<'static>,
    decoder: codecs::FlacDecoder,
    rate: u32,
    frames: Option<u64>,
    /// Frames that were decoded.
    position: u64,
    /// The decoded block, interleaved, of which the samples before `used` are delivered.
    block: Vec<f32>,
    used: usize,
    /// Whether the end or a damaged block was met.
    end: Option<End>,
}

/// Where reading stopped for good.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Complete,
    Damaged(String),
}

impl fmt::Debug for FlacDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlacDecoder").field("position", &self.position).field("end", &self.end).finish()
    }
}

impl FlacDecoder {
    pub(super) fn open(file: File) -> Result<(Shape, Self), Unreadable> {
        let blocks = guarded(|| {
            let stream = MediaSourceStream::new(Box::new(file), MediaSourceStreamOptions::default());
            formats::FlacReader::try_new(stream, FormatOptions::default())
        })
        .map_err(|why| broken(&why))?;
        let track = blocks.tracks().first();
        let parameters =
            track.and_then(|track| track.codec_params.as_ref()).and_then(|params| params.audio());
        let parameters = parameters.ok_or_else(|| broken("it has no audio track"))?.clone();
        let frames = track.and_then(|track| track.num_frames);
        let rate = parameters.sample_rate.unwrap_or(0);
        let channels = parameters.channels.as_ref().map_or(0, symphonia::core::audio::Channels::count);
        let decoder = guarded(|| codecs::FlacDecoder::try_new(&parameters, &AudioDecoderOptions::default()))
            .map_err(|why| broken(&why))?;
        let channels = u32::try_from(channels).unwrap_or(u32::MAX);
        let shape = Shape { channels, rate, frames, warning: None };
        Ok((
            shape,
            Self { blocks, decoder, rate, frames, position: 0, block: Vec::new(), used: 0, end: None },
        ))
    }

    /// Fills `out` as far as there are samples, and says how many; an error comes when there are none before it.
    pub(super) fn read(&mut self, out: &mut [f32]) -> Result<usize, Unreadable> {
        let mut done = 0;
        while done < out.len() {
            if self.used == self.block.len() && !self.next_block() {
                break;
            }
            let ready = &self.block[self.used..];
            let count = ready.len().min(out.len() - done);
            out[done..done + count].copy_from_slice(&ready[..count]);
            self.used += count;
            done += count;
        }
        match &self.end {
            Some(End::Damaged(why)) if done == 0 && !out.is_empty() => Err(Unreadable::Broken(why.clone())),
            _ => Ok(done),
        }
    }

    /// Decodes the next block; false if there is none, and then `end` says why.
    fn next_block(&mut self) -> bool {
        if self.end.is_none() {
            self.end = match self.decode_block() {
                Ok(true) => None,
                Ok(false) => Some(End::Complete),
                Err(why) => Some(End::Damaged(self.damage(&why))),
            };
        }
        self.end.is_none()
    }

    /// Decodes the next block into `block`; false at the end.
    fn decode_block(&mut self) -> Result<bool, String> {
        self.block.clear();
        self.used = 0;
        let Some(packet) = guarded(|| self.blocks.next_packet())? else {
            return match self.frames {
                Some(frames) if self.position < frames => {
                    Err(format!("the file ends before its {frames} frames"))
                }
                _ => Ok(false),
            };
        };
        if u64::try_from(packet.pts.get()) != Ok(self.position) {
            return Err("a block is missing or unreadable".into());
        }
        let (decoder, block) = (&mut self.decoder, &mut self.block);
        let frames = guarded(|| {
            let decoded = decoder.decode(&packet)?;
            decoded.copy_to_vec_interleaved(block);
            Ok(decoded.frames())
        })?;
        self.position += frames as u64;
        Ok(!self.block.is_empty())
    }

    fn damage(&self, why: &str) -> String {
        let frame = self.position;
        let (seconds, rest) = (frame / u64::from(self.rate.max(1)), frame % u64::from(self.rate.max(1)));
        let hundredths = rest * 100 / u64::from(self.rate.max(1));
        format!("is damaged at frame {frame} ({seconds}.{hundredths:02} s): {why}")
    }
}

/// Runs the library on bytes that anyone may have written: a check of its own that fails is a broken file.
fn guarded<T>(call: impl FnOnce() -> Result<T, Failure>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Failure::IoError(error))) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err("the file ends too early".into())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("its content makes no sense".into()),
    }
}

fn broken(why: &str) -> Unreadable {
    Unreadable::Broken(format!("is a broken FLAC: {why}"))
}
