//! The format of a block: how many channels and frames, at what rate.
//!
//! For both processes. Sizes are fixed before processing starts; a [`Format`] that exists is within bounds.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::RangeInclusive;

/// Channels that a pipeline can have.
pub const CHANNELS: RangeInclusive<u32> = 1..=64;
/// Frames that a block can have.
pub const BLOCK_FRAMES: RangeInclusive<u32> = 16..=8192;
/// Frames per second that a pipeline can run at.
pub const RATE: RangeInclusive<u32> = 8_000..=192_000;

/// Channels, frames per block and frames per second, all within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(u32, u32, u32)", into = "(u32, u32, u32)")]
pub struct Format {
    channels: u32,
    block_frames: u32,
    rate: u32,
}

/// Which of the three numbers is out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormatError {
    /// Not in [`CHANNELS`].
    Channels(u32),
    /// Not in [`BLOCK_FRAMES`].
    BlockFrames(u32),
    /// Not in [`RATE`].
    Rate(u32),
}

impl Format {
    /// A format, or which number is out of bounds.
    pub fn new(channels: u32, block_frames: u32, rate: u32) -> Result<Self, FormatError> {
        if !CHANNELS.contains(&channels) {
            return Err(FormatError::Channels(channels));
        }
        if !BLOCK_FRAMES.contains(&block_frames) {
            return Err(FormatError::BlockFrames(block_frames));
        }
        if !RATE.contains(&rate) {
            return Err(FormatError::Rate(rate));
        }
        Ok(Self { channels, block_frames, rate })
    }

    /// Channels per frame.
    #[must_use]
    pub fn channels(self) -> usize {
        self.channels as usize
    }

    /// Frames per block.
    #[must_use]
    pub fn block_frames(self) -> usize {
        self.block_frames as usize
    }

    /// Frames per second.
    #[must_use]
    pub fn rate(self) -> u32 {
        self.rate
    }

    /// Samples per block: channels times frames.
    #[must_use]
    pub fn samples(self) -> usize {
        self.channels() * self.block_frames()
    }

    /// How long this many frames last, in nanoseconds, rounded down.
    #[must_use]
    pub fn frames_ns(self, frames: u64) -> u64 {
        frames * 1_000_000_000 / u64::from(self.rate)
    }

    /// How long a block lasts, in nanoseconds.
    #[must_use]
    pub fn block_ns(self) -> u64 {
        self.frames_ns(u64::from(self.block_frames))
    }
}

impl TryFrom<(u32, u32, u32)> for Format {
    type Error = FormatError;
    fn try_from((channels, block_frames, rate): (u32, u32, u32)) -> Result<Self, FormatError> {
        Self::new(channels, block_frames, rate)
    }
}

impl From<Format> for (u32, u32, u32) {
    fn from(f: Format) -> Self {
        (f.channels, f.block_frames, f.rate)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ch x {} frames at {} Hz", self.channels, self.block_frames, self.rate)
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, value, range) = match self {
            Self::Channels(n) => ("channels", n, CHANNELS),
            Self::BlockFrames(n) => ("block", n, BLOCK_FRAMES),
            Self::Rate(n) => ("rate", n, RATE),
        };
        write!(f, "{what} is {n}, must be {} to {}", range.start(), range.end(), n = value)
    }
}

impl std::error::Error for FormatError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_names_the_number_that_is_out_of_bounds() {
        assert_eq!(Format::new(0, 64, 48_000), Err(FormatError::Channels(0)));
        assert_eq!(Format::new(65, 64, 48_000), Err(FormatError::Channels(65)));
        assert_eq!(Format::new(2, 15, 48_000), Err(FormatError::BlockFrames(15)));
        assert_eq!(Format::new(2, 8193, 48_000), Err(FormatError::BlockFrames(8193)));
        assert_eq!(Format::new(2, 64, 7_999), Err(FormatError::Rate(7_999)));
        assert_eq!(FormatError::Rate(1).to_string(), "rate is 1, must be 8000 to 192000");
    }

    #[test]
    fn a_block_lasts_as_long_as_its_frames() {
        let format = Format::new(2, 480, 48_000).unwrap();
        assert_eq!(format.block_ns(), 10_000_000);
        assert_eq!(format.samples(), 960);
    }
}
