//! Re-blocking: buffers of any size on one side, the pipeline's blocks on the other.
//!
//! For [`super::device`] and for the callbacks. A device asks for as many frames as it likes, a different number each
//! time if it likes; a pipeline works on blocks of one size. [`OutputReblock`] turns blocks into buffers,
//! [`InputReblock`] buffers into blocks. Both have the pipeline's channels on both sides.

use super::channels::ChannelMap;
use super::convert::gcd;
use shared::format::Format;

/// Frames of silence that must go ahead of the input so that an output callback never waits for frames which
/// arrive only with the next input callback; the latency that re-blocking adds from input to output.
///
/// From a file or a generator to a device it is 0, whatever the sizes: blocks are made when they are needed.
///
/// With a device whose callbacks bring and take `F` frames and a pipeline with blocks of `B`: after `k` input
/// callbacks `kF` frames have come in. The `k`th output callback can be filled once `ceil(kF / B)` blocks are
/// made, which takes `ceil(kF / B) * B` frames. What is missing is `(-kF) mod B`; over all `k` this runs
/// through the multiples of `g = gcd(B, F)` below `B`, so its greatest value is `B - g`. With so many frames
/// ahead `floor((kF + B - g) / B) = ceil(kF / B)`: each input callback completes just the blocks which the
/// output callback after it needs. With one frame less some `k` fails.
///
/// So it is 0 for a buffer that is a whole number of blocks, and `block - 1` for buffers that vary (`None`),
/// because then the sums of the sizes take any value, as if `F` were 1.
///
/// Where input and output run on different threads or devices, the order of their callbacks costs up to one
/// device buffer more. That is not the blocks' doing and not counted here.
#[must_use]
pub fn adaptation_frames(block: usize, device_buffer: Option<u32>) -> usize {
    let buffer = device_buffer.map_or(1, |frames| frames.max(1) as usize);
    block.saturating_sub(gcd(block, buffer))
}

/// Fills device buffers of any size from blocks of one size.
#[derive(Debug)]
pub struct OutputReblock {
    block: Vec<f32>,
    block_frames: usize,
    map: ChannelMap,
    /// Frames of `block` that the device has had; `block_frames` when there is nothing left.
    played: usize,
}

impl OutputReblock {
    /// For a pipeline of this format.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self::with_sizes(format.channels(), format.block_frames())
    }

    fn with_sizes(channels: usize, block_frames: usize) -> Self {
        let map = ChannelMap::new(channels, channels);
        Self { block: vec![0.0; channels * block_frames], block_frames, map, played: block_frames }
    }

    /// Blocks that the next [`fill`](Self::fill) with so many frames will ask for.
    ///
    /// # Real-time
    /// Yes: for dividing the time of a callback over its blocks.
    #[must_use]
    pub fn blocks_needed(&self, frames: usize) -> usize {
        let kept = self.block_frames - self.played;
        frames.saturating_sub(kept).div_ceil(self.block_frames)
    }

    /// Fills interleaved frames. `next_block` is called once for each block that is needed, with
    /// a silent planar block to write to; what there is no room for is kept for the next call.
    ///
    /// # Real-time
    /// Yes: no allocation, no lock, no wait of its own.
    pub fn fill(&mut self, frames: &mut [f32], mut next_block: impl FnMut(&mut [f32])) {
        let whole = frames.len() - frames.len() % self.map.target();
        let (mut rest, torn) = frames.split_at_mut(whole);
        torn.fill(0.0);
        while !rest.is_empty() {
            self.refill_if_played(&mut next_block);
            rest = self.play(rest);
        }
    }

    fn refill_if_played(&mut self, next_block: &mut impl FnMut(&mut [f32])) {
        if self.played == self.block_frames {
            // A source that writes less than a block must not repeat the sound of the last one.
            self.block.fill(0.0);
            next_block(&mut self.block);
            self.played = 0;
        }
    }

    /// Moves as many frames as block and device both have; returns the rest of the buffer.
    fn play<'a>(&mut self, buffer: &'a mut [f32]) -> &'a mut [f32] {
        let channels = self.map.target();
        let frames = (buffer.len() / channels).min(self.block_frames - self.played);
        let (now, rest) = buffer.split_at_mut(frames * channels);
        self.map.interleave(&self.block, self.block_frames, self.played, now);
        self.played += frames;
        rest
    }
}

/// Collects device buffers of any size into blocks of one size.
#[derive(Debug)]
pub struct InputReblock {
    block: Vec<f32>,
    block_frames: usize,
    map: ChannelMap,
    /// Frames of `block` that the device has filled.
    filled: usize,
}

impl InputReblock {
    /// For a pipeline of this format.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self::with_sizes(format.channels(), format.block_frames())
    }

    fn with_sizes(channels: usize, block_frames: usize) -> Self {
        let map = ChannelMap::new(channels, channels);
        Self { block: vec![0.0; channels * block_frames], block_frames, map, filled: 0 }
    }

    /// Begins with so many frames of silence, less than a block: see [`adaptation_frames`].
    #[must_use]
    pub fn delayed_by(mut self, frames: usize) -> Self {
        self.filled = frames.min(self.block_frames - 1);
        self
    }

    /// Blocks that the next [`push`](Self::push) of so many frames will complete.
    ///
    /// # Real-time
    /// Yes: for dividing the time of a callback over its blocks.
    #[must_use]
    pub fn blocks_ready(&self, frames: usize) -> usize {
        (self.filled + frames) / self.block_frames
    }

    /// Takes interleaved frames. `block` is called once for each planar block that is whole, and
    /// may work in it; what is left is kept for the next call. Samples after the last whole frame are dropped.
    ///
    /// # Real-time
    /// Yes: no allocation, no lock, no wait of its own.
    pub fn push(&mut self, frames: &[f32], mut block: impl FnMut(&mut [f32])) {
        let mut rest = &frames[..frames.len() - frames.len() % self.map.source()];
        while !rest.is_empty() {
            rest = self.collect(rest);
            if self.filled == self.block_frames {
                block(&mut self.block);
                self.filled = 0;
            }
        }
    }

    /// Moves as many frames as buffer and block both have; returns the rest of the buffer.
    fn collect<'a>(&mut self, buffer: &'a [f32]) -> &'a [f32] {
        let channels = self.map.source();
        let frames = (buffer.len() / channels).min(self.block_frames - self.filled);
        let (now, rest) = buffer.split_at(frames * channels);
        self.map.deinterleave(now, &mut self.block, self.block_frames, self.filled);
        self.filled += frames;
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use std::collections::VecDeque;

    /// A mono duplex device: each cycle an input callback, then an output callback, of as many frames.
    struct Duplex {
        input: InputReblock,
        output: OutputReblock,
        blocks: VecDeque<Vec<f32>>,
        sent: f32,
        heard: Vec<f32>,
        missing: usize,
    }

    impl Duplex {
        fn new(block: usize, delay: usize) -> Self {
            Self {
                input: InputReblock::with_sizes(1, block).delayed_by(delay),
                output: OutputReblock::with_sizes(1, block),
                blocks: VecDeque::new(),
                sent: 0.0,
                heard: Vec::new(),
                missing: 0,
            }
        }

        fn cycle(&mut self, frames: usize) {
            let input: Vec<f32> = (0..frames).map(|frame| self.sent + 1.0 + frame as f32).collect();
            self.sent += frames as f32;
            self.input.push(&input, |block| self.blocks.push_back(block.to_vec()));
            let mut output = vec![f32::NAN; frames];
            self.output.fill(&mut output, |block| match self.blocks.pop_front() {
                Some(whole) => block.copy_from_slice(&whole),
                None => self.missing += 1,
            });
            self.heard.extend(output);
        }

        /// The first frame sent is the impulse; all that follow tell their order.
        fn heard_everything_after(&self, delay: usize) -> bool {
            let silence = delay.min(self.heard.len());
            let sound = self.heard[silence..].iter().enumerate();
            self.heard[..silence].iter().all(|sample| *sample == 0.0)
                && sound.into_iter().all(|(frame, sample)| *sample == 1.0 + frame as f32)
        }
    }

    #[test]
    fn input_reaches_the_output_after_the_adaptation_for_every_block_and_buffer() {
        for block in 1..=64 {
            for buffer in 1..=64 {
                let delay = adaptation_frames(block, Some(buffer));
                let mut duplex = Duplex::new(block, delay);
                (0..2 * block + 2).for_each(|_| duplex.cycle(buffer as usize));
                assert_eq!(duplex.missing, 0, "block {block}, buffer {buffer}");
                assert!(duplex.heard_everything_after(delay), "block {block}, buffer {buffer}");
                assert!(duplex.blocks.is_empty(), "block {block}, buffer {buffer}: more latency than told");
            }
        }
    }

    #[test]
    fn one_frame_less_than_the_adaptation_is_too_little() {
        for block in 1..=64 {
            for buffer in 1..=64 {
                let delay = adaptation_frames(block, Some(buffer));
                if delay > 0 {
                    let mut duplex = Duplex::new(block, delay - 1);
                    (0..2 * block + 2).for_each(|_| duplex.cycle(buffer as usize));
                    assert!(duplex.missing > 0, "block {block}, buffer {buffer}");
                }
            }
        }
    }

    #[test]
    fn varying_buffers_reach_the_output_after_the_adaptation_and_no_earlier() {
        for block in 1..=64 {
            let delay = adaptation_frames(block, None);
            let mut enough = Duplex::new(block, delay);
            let mut sizes = Random::new(block as u64);
            (0..1000).for_each(|_| enough.cycle(sizes.up_to(64)));
            assert_eq!(enough.missing, 0, "block {block}");
            assert!(enough.heard_everything_after(delay), "block {block}");
            if delay > 0 {
                let mut too_little = Duplex::new(block, delay - 1);
                (0..1000).for_each(|_| too_little.cycle(sizes.up_to(64)));
                assert!(too_little.missing > 0, "block {block}");
            }
        }
    }

    #[test]
    fn a_buffer_of_whole_blocks_adds_no_latency() {
        assert_eq!(adaptation_frames(64, Some(64)), 0);
        assert_eq!(adaptation_frames(64, Some(256)), 0);
        assert_eq!(adaptation_frames(64, Some(32)), 32);
        assert_eq!(adaptation_frames(64, Some(441)), 63);
        assert_eq!(adaptation_frames(64, None), 63);
        assert_eq!(adaptation_frames(64, Some(0)), 63);
        assert_eq!(adaptation_frames(0, Some(64)), 0);
    }

    #[test]
    fn an_output_asks_for_just_the_blocks_it_needs_and_plays_every_frame() {
        let mut sizes = Random::new(7);
        for block in 1..=64 {
            let mut output = OutputReblock::with_sizes(2, block);
            let (mut made, mut heard) = (0usize, 0usize);
            for _ in 0..100 {
                let mut device = vec![f32::NAN; 2 * sizes.up_to(64)];
                let (needed, before) = (output.blocks_needed(device.len() / 2), made);
                output.fill(&mut device, |planar| {
                    for frame in 0..block {
                        planar[frame] = (made * block + frame) as f32;
                        planar[block + frame] = -planar[frame];
                    }
                    made += 1;
                });
                assert_eq!(made - before, needed);
                for frame in device.chunks_exact(2) {
                    assert_eq!(frame, [heard as f32, -(heard as f32)]);
                    heard += 1;
                }
            }
            assert_eq!(made, heard.div_ceil(block));
        }
    }

    #[test]
    fn an_input_gives_every_frame_in_whole_blocks() {
        let mut sizes = Random::new(9);
        for block in 1..=64 {
            let mut input = InputReblock::with_sizes(2, block);
            let (mut sent, mut got) = (0usize, 0usize);
            for _ in 0..100 {
                let frames = sizes.up_to(64);
                let device: Vec<f32> = (sent..sent + frames).flat_map(|n| [n as f32, -(n as f32)]).collect();
                let (ready, before) = (input.blocks_ready(frames), got);
                input.push(&device, |planar| {
                    for frame in 0..block {
                        assert_eq!(planar[frame], (got * block + frame) as f32);
                        assert_eq!(planar[block + frame], -planar[frame]);
                    }
                    got += 1;
                });
                sent += frames;
                assert_eq!(got - before, ready);
            }
            assert_eq!(got, sent / block);
        }
    }

    #[test]
    fn a_source_that_writes_nothing_is_silent_rather_than_stale() {
        let mut output = OutputReblock::with_sizes(1, 2);
        let mut device = [0.0; 2];
        output.fill(&mut device, |block| block.fill(1.0));
        output.fill(&mut device, |_| ());
        assert_eq!(device, [0.0; 2]);
    }
}
