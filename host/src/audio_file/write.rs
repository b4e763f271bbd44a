//! Writing WAV so that the file on disk is valid at every moment, whatever ends the writing.
//!
//! For file sinks and `nda render`. The header comes from hound; samples are converted and written in bulk, and
//! the header's two sizes follow at least once per second of audio. It writes no more than 4 GiB, the format's
//! limit, and doesn't sync: it survives the process's death, not a power cut.

use super::bits::Bits;
use crate::error::{Error, Kind, Result};
use shared::format::{CHANNELS, RATE};
use std::fs::File;
use std::io::{Cursor, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How many bytes are gathered before they are written.
const CHUNK: usize = 256 * 1024;

/// A WAV file that is being written.
///
/// Dropping it finishes the file as [`WavWriter::finalize`] does, but tells no one if that fails.
#[derive(Debug)]
pub struct WavWriter {
    path: PathBuf,
    file: File,
    /// The header as it is on disk, the sizes last written into it.
    header: Vec<u8>,
    bits: Bits,
    channels: u32,
    rate: u32,
    /// Encoded frames that are not on disk yet.
    pending: Vec<u8>,
    /// Bytes of samples on disk.
    written: u64,
    /// The largest number of bytes of samples that the header can express.
    limit: u64,
    /// Bytes of samples that the header on disk tells of.
    told: u64,
    clipped: u64,
    /// Why nothing more is written.
    stopped: Option<Stop>,
}

/// Why writing ended before its time.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stop {
    /// The system refused: in which way, in its words.
    Refused(ErrorKind, String),
    /// The format's limit is reached.
    TooLarge,
}

impl WavWriter {
    /// Creates the file, or replaces it, with a header and no frames.
    ///
    /// # Errors
    /// Of kind [`Kind::Output`]: the file can't be made there; of kind [`Kind::Config`]: the channels or the rate
    /// are not those of a pipeline.
    pub fn create(path: impl AsRef<Path>, channels: u32, rate: u32, bits: Bits) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let header = header(&path, channels, rate, bits)?;
        let mut file = create_file(&path)?;
        let limit = u64::from(u32::MAX - 8) - header.len() as u64;
        file.write_all(&header).map_err(|error| {
            let stop = Stop::Refused(error.kind(), error.to_string());
            stop_error(&path, &stop, 0, rate)
        })?;
        Ok(Self {
            path,
            file,
            header,
            bits,
            channels,
            rate,
            pending: Vec::with_capacity(CHUNK),
            written: 0,
            limit,
            told: 0,
            clipped: 0,
            stopped: None,
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Frames taken so far.
    #[must_use]
    pub fn frames(&self) -> u64 {
        (self.written + self.pending.len() as u64) / self.frame_bytes()
    }

    /// Samples that were beyond full scale, or not numbers, and so were changed; none with [`Bits::F32`].
    #[must_use]
    pub fn clipped(&self) -> u64 {
        self.clipped
    }

    /// Appends whole frames, interleaved.
    ///
    /// # Errors
    /// Of kind [`Kind::Output`]: the disk is full or the file at its 4 GiB. The file then holds all whole frames
    /// that fit, and every further call fails alike. Nothing is taken of a length that isn't whole frames.
    pub fn write(&mut self, interleaved: &[f32]) -> Result<()> {
        if let Some(stop) = &self.stopped {
            return Err(stop_error(&self.path, stop, self.frames(), self.rate));
        }
        if !interleaved.len().is_multiple_of(self.channels as usize) {
            let what =
                format!("{} samples are not whole frames of {} channels", interleaved.len(), self.channels);
            return Err(Error::new(Kind::Output, format!("{}: {what}", self.path.display())));
        }
        let samples_of_chunk = CHUNK / self.bits.bytes() as usize;
        let step = samples_of_chunk - samples_of_chunk % self.channels as usize;
        for samples in interleaved.chunks(step) {
            self.append(samples)?;
        }
        Ok(())
    }

    /// Finishes the file and says how many frames it holds.
    ///
    /// # Errors
    /// Of kind [`Kind::Output`]: not all that was taken could be written.
    pub fn finalize(mut self) -> Result<u64> {
        let finished = self.finish();
        finished.map(|()| self.frames())
    }

    /// Makes this file end at so many bytes of samples, so that a test can get there.
    #[cfg(test)]
    pub(super) fn limit_to(&mut self, bytes: u64) {
        self.limit = bytes;
    }

    fn frame_bytes(&self) -> u64 {
        u64::from(self.bits.bytes() * self.channels)
    }

    /// Encodes these frames, which are no more than a chunk, and writes if enough is pending.
    fn append(&mut self, samples: &[f32]) -> Result<()> {
        let frame_bytes = self.frame_bytes();
        let room = (self.limit - self.written - self.pending.len() as u64) / frame_bytes;
        let fits = usize::try_from(room).unwrap_or(usize::MAX).saturating_mul(self.channels as usize);
        let taken = &samples[..samples.len().min(fits)];
        self.clipped += self.bits.encode(taken, &mut self.pending);
        let untold = self.written + self.pending.len() as u64 - self.told;
        let second_is_over = untold >= u64::from(self.rate) * frame_bytes;
        if self.pending.len() >= CHUNK || second_is_over {
            self.flush()?;
        }
        if second_is_over {
            self.tell()?;
        }
        if taken.len() < samples.len() {
            self.finish()?;
            return Err(self.stop(Stop::TooLarge));
        }
        Ok(())
    }

    /// Writes what is pending.
    fn flush(&mut self) -> Result<()> {
        let mut done = 0;
        while done < self.pending.len() {
            match self.file.write(&self.pending[done..]) {
                Ok(0) => return Err(self.refused(done, ErrorKind::WriteZero.into())),
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.refused(done, error)),
            }
        }
        self.written += done as u64;
        self.pending.clear();
        Ok(())
    }

    /// Makes the header tell of all frames on disk.
    fn tell(&mut self) -> Result<()> {
        let told = self.tell_of(self.written);
        told.map_err(|error| self.stop(Stop::Refused(error.kind(), error.to_string())))
    }

    fn tell_of(&mut self, data: u64) -> std::io::Result<()> {
        let end = self.header.len();
        let riff = (end as u64 - 8) + data + data % 2;
        let (riff, size) = (u32::try_from(riff), u32::try_from(data));
        let (Ok(riff), Ok(size)) = (riff, size) else {
            return Err(ErrorKind::FileTooLarge.into());
        };
        self.header[4..8].copy_from_slice(&riff.to_le_bytes());
        self.header[end - 4..].copy_from_slice(&size.to_le_bytes());
        // One write, so that no one ever reads one size without the other.
        self.file.write_all_at(&self.header, 0)?;
        self.told = data;
        Ok(())
    }

    /// Writes all that is left, pads the data to an even length, and brings the header up to date.
    fn finish(&mut self) -> Result<()> {
        if let Some(stop) = &self.stopped {
            return Err(stop_error(&self.path, stop, self.frames(), self.rate));
        }
        self.flush()?;
        if self.written % 2 == 1 {
            let end = self.header.len() as u64 + self.written;
            let padded = self.file.write_all_at(&[0], end);
            padded.map_err(|error| self.refused(0, error))?;
        }
        self.tell()
    }

    /// After a refused write: keeps the whole frames that did reach the disk.
    fn refused(&mut self, done: usize, error: std::io::Error) -> Error {
        let frame_bytes = self.frame_bytes();
        self.written = (self.written + done as u64) / frame_bytes * frame_bytes;
        self.pending.clear();
        let (kind, mut words) = (error.kind(), error.to_string());
        // Both change what is on disk already and need no space there, except on a few file systems.
        let cut = self.file.set_len(self.header.len() as u64 + self.written);
        if let Err(error) = cut.and_then(|()| self.tell_of(self.written)) {
            words = format!("{words}; its header could not be mended either: {error}");
        }
        self.stop(Stop::Refused(kind, words))
    }

    fn stop(&mut self, stop: Stop) -> Error {
        let error = stop_error(&self.path, &stop, self.frames(), self.rate);
        self.stopped = Some(stop);
        error
    }
}

impl Drop for WavWriter {
    fn drop(&mut self) {
        if self.stopped.is_none() {
            // No one is left to tell; whoever wants to know calls `finalize`.
            let _ = self.finish();
        }
    }
}

/// The bytes before the samples, for a file without any.
fn header(path: &Path, channels: u32, rate: u32, bits: Bits) -> Result<Vec<u8>> {
    let refuse = |what: String| Error::new(Kind::Config, format!("{}: {what}", path.display()));
    if !CHANNELS.contains(&channels) {
        return Err(refuse(format!("can't have {channels} channels, only {CHANNELS:?}")));
    }
    if !RATE.contains(&rate) {
        return Err(refuse(format!("can't have {rate} frames a second, only {RATE:?}")));
    }
    let (bits_per_sample, sample_format) = match bits {
        Bits::I16 => (16, hound::SampleFormat::Int),
        Bits::I24 => (24, hound::SampleFormat::Int),
        Bits::F32 => (32, hound::SampleFormat::Float),
    };
    let channels = u16::try_from(channels).unwrap_or(u16::MAX);
    let spec = hound::WavSpec { channels, sample_rate: rate, bits_per_sample, sample_format };
    let mut bytes = Cursor::new(Vec::new());
    let written = hound::WavWriter::new(&mut bytes, spec).and_then(hound::WavWriter::finalize);
    written.map_err(|error| refuse("no WAV header could be made".into()).source(error))?;
    Ok(bytes.into_inner())
}

fn create_file(path: &Path) -> Result<File> {
    let name = path.display();
    let fault = |what: String| Error::new(Kind::Output, what);
    // A device or a pipe is refused before it is opened: opening a pipe waits for its reader.
    match path.metadata() {
        Ok(found) if found.is_dir() => {
            return Err(fault(format!("{name} is a folder")).remedy("name a file in it"));
        }
        Ok(found) if !found.is_file() => {
            let why = "a WAV's header is rewritten as it grows, which can't be done there";
            return Err(fault(format!("{name} is a device or a pipe, not a file; {why}"))
                .remedy("write to a file, then copy it there"));
        }
        _ => {}
    }
    File::create(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => fault(format!("there is no folder to write {name} to"))
            .remedy("make the folder, or write to another"),
        ErrorKind::PermissionDenied => fault(format!("{name} may not be written"))
            .remedy("change the rights, or write to another folder"),
        ErrorKind::ReadOnlyFilesystem => fault(format!("{name} is on a file system that can only be read"))
            .remedy("write to another folder"),
        _ => fault(format!("{name} can't be created")).source(error),
    })
}

/// The error for a file that could not be written further.
fn stop_error(path: &Path, stop: &Stop, frames: u64, rate: u32) -> Error {
    let name = path.display();
    let (why, remedy) = match stop {
        Stop::TooLarge => ("a WAV file ends at 4 GiB".to_owned(), "write 16 or 24 bits, or several files"),
        Stop::Refused(ErrorKind::StorageFull, words) => {
            (format!("the disk is full ({words})"), "free space there, or write to another disk")
        }
        Stop::Refused(ErrorKind::QuotaExceeded, words) => {
            (format!("your quota there is used up ({words})"), "free space there, or write to another disk")
        }
        Stop::Refused(ErrorKind::FileTooLarge, words) => (
            format!("files may not grow further there ({words})"),
            "raise the limit (`ulimit -f`), or write to another disk",
        ),
        Stop::Refused(_, words) => (words.clone(), "write to another disk"),
    };
    let rate = u64::from(rate);
    let (seconds, tenths) = (frames / rate, frames % rate * 10 / rate);
    let kept = format!("kept {frames} frames ({seconds}.{tenths} s), which can be played");
    Error::new(Kind::Output, format!("{name} could not be written to its end: {why}; {kept}")).remedy(remedy)
}
