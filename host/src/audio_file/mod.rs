//! Audio files: WAV and FLAC are read, WAV is written, one stretch of interleaved samples at a time.
//!
//! For file sources, file sinks and `nda render`. [`AudioReader`] tells the two formats apart by their first
//! bytes and gives `f32` samples; [`WavWriter`] keeps its file valid while it grows. Neither resamples or mixes
//! channels, and neither belongs on the audio thread: both wait for the disk.

mod bits;
mod flac;
mod wav;
mod write;

pub use bits::Bits;
pub use write::WavWriter;

use crate::error::{Error, Kind, Result};
use shared::format::{CHANNELS, RATE};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};

/// An open audio file, read from its start to its end.
#[derive(Debug)]
pub struct AudioReader {
    path: PathBuf,
    shape: Shape,
    decoder: Decoder,
}

/// What a file's header says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shape {
    channels: u32,
    rate: u32,
    frames: Option<u64>,
    warning: Option<String>,
}

#[derive(Debug)]
enum Decoder {
    Wav(wav::WavDecoder),
    Flac(Box<flac::FlacDecoder>),
}

/// Why a file, or the rest of it, can't be read; the caller adds the file's name.
#[derive(Debug)]
enum Unreadable {
    /// It is not audio that is read here: what it is instead.
    Other(String),
    /// Its audio is outside what a pipeline takes: in what.
    Unfit(String),
    /// It is audio, but damaged: where and how.
    Broken(String),
    /// The system refused.
    Io(std::io::Error),
}

impl From<std::io::Error> for Unreadable {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl AudioReader {
    /// Opens a WAV file (16, 24 or 32-bit integers or 32-bit floats) or a FLAC file.
    ///
    /// # Errors
    /// Of kind [`Kind::Input`]: it is missing, unreadable, a folder, not such audio, without a frame, or has more
    /// channels or another rate than a pipeline can have.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let file = open_file(&path)?;
        let (shape, decoder) =
            Self::decode(file).and_then(within_bounds).map_err(|why| refusal(&path, why))?;
        Ok(Self { path, shape, decoder })
    }

    fn decode(mut file: File) -> std::result::Result<(Shape, Decoder), Unreadable> {
        let mut start = [0; 12];
        let found = read_up_to(&mut file, &mut start)?;
        file.rewind()?;
        match &start[..found] {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E'] => {
                wav::WavDecoder::open(file).map(|(shape, decoder)| (shape, Decoder::Wav(decoder)))
            }
            [b'f', b'L', b'a', b'C', ..] => flac::FlacDecoder::open(file)
                .map(|(shape, decoder)| (shape, Decoder::Flac(Box::new(decoder)))),
            other => Err(Unreadable::Other(what_it_is(other).to_owned())),
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Frames per second.
    #[must_use]
    pub fn rate(&self) -> u32 {
        self.shape.rate
    }

    /// Channels per frame.
    #[must_use]
    pub fn channels(&self) -> u32 {
        self.shape.channels
    }

    /// Frames in the whole file; `None` if a FLAC file doesn't say.
    #[must_use]
    pub fn frames(&self) -> Option<u64> {
        self.shape.frames
    }

    /// What is wrong with the file although it can be read: a WAV file cut short, or never finished.
    #[must_use]
    pub fn warning(&self) -> Option<&str> {
        self.shape.warning.as_deref()
    }

    /// Reads the next frames into `out`, interleaved, and says how many there were: 0 at the end only. What is
    /// left of `out` behind the last whole frame is not touched.
    ///
    /// # Errors
    /// Of kind [`Kind::Input`], once all that can be read has been: the file is damaged or became shorter.
    pub fn read(&mut self, out: &mut [f32]) -> Result<usize> {
        let channels = self.shape.channels as usize;
        let whole = out.len() / channels * channels;
        let read = match &mut self.decoder {
            Decoder::Wav(decoder) => decoder.read(&mut out[..whole]),
            Decoder::Flac(decoder) => decoder.read(&mut out[..whole]),
        };
        read.map(|samples| samples / channels).map_err(|why| refusal(&self.path, why))
    }

    /// Goes back to the first frame by opening the file again, for a source that loops.
    ///
    /// # Errors
    /// As [`AudioReader::open`]; also if the file has another rate or other channels by now.
    pub fn rewind(&mut self) -> Result<()> {
        let again = Self::open(&self.path)?;
        if (again.rate(), again.channels()) != (self.rate(), self.channels()) {
            let what = format!("{} was replaced by another file while it played", self.path.display());
            return Err(Error::new(Kind::Input, what).remedy("start again"));
        }
        *self = again;
        Ok(())
    }
}

fn open_file(path: &Path) -> Result<File> {
    let name = path.display();
    let fault = |what: String| Error::new(Kind::Input, what);
    let opened = path.metadata().and_then(|found| match found {
        _ if found.is_file() => File::open(path).map(Ok),
        _ if found.is_dir() => {
            Ok(Err(fault(format!("{name} is a folder")).remedy("name an audio file in it")))
        }
        _ => Ok(Err(fault(format!("{name} is a device or a pipe, not a file")).remedy("copy it to a file"))),
    });
    opened.unwrap_or_else(|error| {
        Err(match error.kind() {
            ErrorKind::NotFound => {
                fault(format!("there is no audio file {name}")).remedy("check the path and its spelling")
            }
            ErrorKind::PermissionDenied => {
                fault(format!("{name} may not be read")).remedy(format!("chmod u+r {name}"))
            }
            _ => fault(format!("{name} can't be opened")).source(error),
        })
    })
}

/// Fills `out` as far as the file goes.
fn read_up_to(file: &mut impl Read, out: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        match file.read(&mut out[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// What a file is that starts like this, as far as one can tell.
fn what_it_is(start: &[u8]) -> &'static str {
    const KNOWN: [(&[u8], &str); 14] = [
        (b"RF64", "an RF64 file, a WAV of more than 4 GiB"),
        (b"RIFX", "a big-endian WAV"),
        (b"RIFF", "a RIFF file, but not a WAV"),
        (b"OggS", "an Ogg file"),
        (b"ID3", "an MP3 or another file behind an ID3 tag"),
        (b"\xff\xfb", "an MP3"),
        (b"\xff\xf3", "an MP3"),
        (b"FORM", "an AIFF"),
        (b"caff", "a Core Audio file"),
        (b"MThd", "a MIDI file"),
        (b"wvpk", "a WavPack file"),
        (b"PK", "a ZIP archive"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"\x7fELF", "a program"),
    ];
    if start.is_empty() {
        return "empty";
    }
    if start.get(4..8) == Some(b"ftyp") {
        return "an MP4 or M4A";
    }
    let known = KNOWN.iter().find(|(magic, _)| start.starts_with(magic));
    let text = start.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    known.map_or(if text { "text" } else { "no audio that is known here" }, |(_, what)| what)
}

fn within_bounds((shape, decoder): (Shape, Decoder)) -> std::result::Result<(Shape, Decoder), Unreadable> {
    let Shape { channels, rate, frames, warning } = &shape;
    let unfit = if !CHANNELS.contains(channels) {
        format!("has {channels} channels; {} to {} can be read", CHANNELS.start(), CHANNELS.end())
    } else if !RATE.contains(rate) {
        format!("has {rate} frames a second; {} to {} can be read", RATE.start(), RATE.end())
    } else if *frames == Some(0) {
        let why = warning.as_ref().map_or(String::new(), |why| format!(" ({why})"));
        return Err(Unreadable::Broken(format!("has no audio in it, not a single frame{why}")));
    } else {
        return Ok((shape, decoder));
    };
    Err(Unreadable::Unfit(unfit))
}

/// The error for a file that can't be read, or not further.
fn refusal(path: &Path, why: Unreadable) -> Error {
    const CONVERT: &str = "convert it, for example with `ffmpeg -i INPUT -c:a pcm_f32le OUTPUT.wav`";
    let name = path.display();
    match why {
        Unreadable::Other(what) => {
            let read = "WAV (16, 24 or 32-bit integer, 32-bit float) and FLAC are read";
            Error::new(Kind::Input, format!("{name} is {what}; {read}")).remedy(CONVERT)
        }
        Unreadable::Unfit(what) => Error::new(Kind::Input, format!("{name} {what}")).remedy(CONVERT),
        Unreadable::Broken(what) => {
            Error::new(Kind::Input, format!("{name} {what}")).remedy("fetch or make the file again")
        }
        Unreadable::Io(error) => Error::new(Kind::Input, format!("{name} can't be read")).source(error),
    }
}

#[cfg(test)]
mod tests;
