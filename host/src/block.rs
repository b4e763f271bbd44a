//! A block of audio as processors see it: channel after channel, in memory somebody else owns.
//!
//! For everything that runs on the audio thread. It owns nothing and never changes its size.

/// A view of one block: `channels` times `frames` samples, channel after channel (numpy's C order).
#[derive(Debug)]
pub struct Block<'a> {
    samples: &'a mut [f32],
    frames: usize,
}

impl<'a> Block<'a> {
    /// A block of `frames` frames over `samples`.
    ///
    /// # Panics
    /// If `samples` is not a whole number of channels of `frames` samples.
    #[must_use]
    pub fn new(samples: &'a mut [f32], frames: usize) -> Self {
        assert!(
            frames > 0 && samples.len().is_multiple_of(frames),
            "{} samples are not whole channels",
            samples.len()
        );
        Self { samples, frames }
    }

    /// Frames in the block.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Channels in the block.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.samples.len() / self.frames
    }

    /// All samples, channel after channel.
    #[must_use]
    pub fn samples(&self) -> &[f32] {
        self.samples
    }

    /// All samples, channel after channel.
    pub fn samples_mut(&mut self) -> &mut [f32] {
        self.samples
    }

    /// One channel after the other.
    pub fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.samples.chunks_exact(self.frames)
    }

    /// One channel after the other.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.samples.chunks_exact_mut(self.frames)
    }
}
