//! WAV files of 32-bit floats, written and read whole.

use std::path::Path;

/// A file's audio, channel after channel.
#[derive(Clone, PartialEq)]
pub struct Wav {
    /// Frames per second.
    pub rate: u32,
    /// The samples of each channel.
    pub channels: Vec<Vec<f32>>,
}

impl std::fmt::Debug for Wav {
    /// In short: a failed comparison shows no thousands of samples.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start: Vec<&[f32]> = self.channels.iter().map(|c| &c[..c.len().min(8)]).collect();
        write!(f, "{} x {} frames at {} Hz: {start:?}...", self.channels.len(), self.frames(), self.rate)
    }
}

impl Wav {
    /// These channels at 48000 Hz.
    #[must_use]
    pub fn new(channels: Vec<Vec<f32>>) -> Self {
        Self { rate: 48_000, channels }
    }

    /// At another rate.
    #[must_use]
    pub fn at(mut self, rate: u32) -> Self {
        self.rate = rate;
        self
    }

    /// Frames of each channel.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.channels[0].len()
    }

    /// The same with each sample changed.
    #[must_use]
    pub fn map(&self, change: impl Fn(f32) -> f32) -> Self {
        let channels = self.channels.iter().map(|c| c.iter().map(|s| change(*s)).collect()).collect();
        Self { rate: self.rate, channels }
    }

    /// Frame after frame.
    pub fn interleaved(&self) -> impl Iterator<Item = f32> {
        (0..self.frames()).flat_map(|frame| self.channels.iter().map(move |channel| channel[frame]))
    }

    /// The same without the frames before this one, such as those of a joint.
    #[must_use]
    pub fn from(&self, frame: usize) -> Self {
        Self { rate: self.rate, channels: self.channels.iter().map(|c| c[frame..].to_vec()).collect() }
    }

    /// Every sample's bits, for comparing where NaN may be.
    #[must_use]
    pub fn bits(&self) -> Vec<u32> {
        self.interleaved().map(f32::to_bits).collect()
    }

    /// Writes a file of floats, with a header of our own: the library knows at most 32 channels.
    ///
    /// # Panics
    /// If it can't be written.
    pub fn write(&self, path: &Path) {
        let samples: Vec<u8> = self.interleaved().flat_map(f32::to_le_bytes).collect();
        let channels = u16::try_from(self.channels.len()).expect("few channels");
        let bytes = u32::try_from(samples.len()).expect("a short file");
        let mut file = Vec::with_capacity(samples.len() + 44);
        file.extend(b"RIFF");
        file.extend((bytes + 36).to_le_bytes());
        file.extend(b"WAVEfmt ");
        file.extend(16u32.to_le_bytes());
        file.extend(3u16.to_le_bytes());
        file.extend(channels.to_le_bytes());
        file.extend(self.rate.to_le_bytes());
        file.extend((self.rate * u32::from(channels) * 4).to_le_bytes());
        file.extend((channels * 4).to_le_bytes());
        file.extend(32u16.to_le_bytes());
        file.extend(b"data");
        file.extend(bytes.to_le_bytes());
        file.extend(samples);
        std::fs::write(path, file).expect("a file in the test's folder");
    }

    /// Reads a whole file, which must be valid: integers as fractions of full scale.
    ///
    /// # Panics
    /// If it is not valid.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let mut reader = hound::WavReader::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let spec = reader.spec();
        let samples: Vec<f32> = match spec.sample_format {
            hound::SampleFormat::Float => reader.samples::<f32>().map(|s| s.expect("a sample")).collect(),
            hound::SampleFormat::Int => {
                let full = f64::from(1 << (spec.bits_per_sample - 1));
                let fraction = |s: i32| f64::from(s) / full;
                #[expect(clippy::cast_possible_truncation, reason = "24 bits fit a float")]
                reader.samples::<i32>().map(|s| fraction(s.expect("a sample")) as f32).collect()
            }
        };
        let count = usize::from(spec.channels);
        let channel = |c| samples.iter().skip(c).step_by(count).copied().collect();
        Self { rate: spec.sample_rate, channels: (0..count).map(channel).collect() }
    }
}
