//! Re-blocking: the device's buffers on one side, the pipeline's blocks on the other.
//!
//! For the audio callbacks. A device asks for as many frames as it likes, a different number each time if it
//! likes; a pipeline works on blocks of one size. [`OutputReblock`] turns blocks into buffers, [`InputReblock`]
//! buffers into blocks, and a [`frame_fifo`] carries frames from an input callback to an output callback on
//! another thread. Devices interleave (frame after frame); blocks are planar (channel after channel, what numpy
//! calls C order of shape `(channels, frames)`).
//!
//! Channels map the same way in both directions: mono goes to every channel, a channel that the source lacks
//! is silent, one that the target lacks is dropped. Nothing here resamples, mixes, or looks for drift between
//! two devices' clocks.

use rtrb::{Consumer, Producer, RingBuffer};
use shared::format::Format;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The channel of the source that channel `to` of the target gets, if any.
fn source_channel(to: usize, source_channels: usize) -> Option<usize> {
    match source_channels {
        1 => Some(0),
        n => (to < n).then_some(to),
    }
}

/// Planar block to interleaved frames: frames of `block` from `from` on, as many as `frames` holds.
pub(crate) fn interleave(
    block: &[f32],
    block_frames: usize,
    from: usize,
    frames: &mut [f32],
    channels: usize,
) {
    let block_channels = block.len() / block_frames;
    for channel in 0..channels {
        let target = frames.iter_mut().skip(channel).step_by(channels);
        match source_channel(channel, block_channels) {
            Some(source) => {
                let samples = &block[source * block_frames + from..(source + 1) * block_frames];
                target.zip(samples).for_each(|(to, sample)| *to = *sample);
            }
            None => target.for_each(|to| *to = 0.0),
        }
    }
}

/// Interleaved frames to planar block: all of `frames`, to the frames of `block` from `from` on.
pub(crate) fn deinterleave(
    frames: &[f32],
    channels: usize,
    block: &mut [f32],
    block_frames: usize,
    from: usize,
) {
    let count = frames.len() / channels;
    for (channel, samples) in block.chunks_exact_mut(block_frames).enumerate() {
        let target = &mut samples[from..from + count];
        match source_channel(channel, channels) {
            Some(source) => {
                let source = frames.iter().skip(source).step_by(channels);
                target.iter_mut().zip(source).for_each(|(to, sample)| *to = *sample);
            }
            None => target.fill(0.0),
        }
    }
}

/// Interleaved frames to interleaved frames with another number of channels.
fn remap(source: &[f32], source_channels: usize, target: &mut [f32], target_channels: usize) {
    let pairs = target.chunks_exact_mut(target_channels).zip(source.chunks_exact(source_channels));
    for (to, from) in pairs {
        for (channel, sample) in to.iter_mut().enumerate() {
            *sample = source_channel(channel, source_channels).map_or(0.0, |source| from[source]);
        }
    }
}

/// Fills device buffers of any size from blocks of one size.
#[derive(Debug)]
pub struct OutputReblock {
    block: Vec<f32>,
    block_frames: usize,
    device_channels: usize,
    max_device_frames: usize,
    /// Frames of `block` that the device has had; `block_frames` when there is nothing left.
    played: usize,
}

impl OutputReblock {
    /// For a pipeline of this format and a device with so many channels, whose callbacks are expected to take
    /// at most `max_device_frames` (longer ones work too).
    #[must_use]
    pub fn new(format: Format, device_channels: usize, max_device_frames: usize) -> Self {
        Self::with_sizes(format.channels(), format.block_frames(), device_channels, max_device_frames)
    }

    fn with_sizes(channels: usize, block_frames: usize, device_channels: usize, max: usize) -> Self {
        Self {
            block: vec![0.0; channels * block_frames],
            block_frames,
            device_channels: device_channels.max(1),
            max_device_frames: max,
            played: block_frames,
        }
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

    /// The most blocks that one callback of the expected length can ask for.
    #[must_use]
    pub fn most_blocks(&self) -> usize {
        self.max_device_frames.div_ceil(self.block_frames)
    }

    /// Fills the device's interleaved frames. `next_block` is called once for each block that is needed, with
    /// a silent planar block to write to; what the device has no room for is kept for the next call.
    ///
    /// # Real-time
    /// Yes: no allocation, no lock, no wait of its own.
    pub fn fill(&mut self, device: &mut [f32], mut next_block: impl FnMut(&mut [f32])) {
        let whole = device.len() - device.len() % self.device_channels;
        let (mut rest, torn) = device.split_at_mut(whole);
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

    /// Moves as many frames as block and device both have; returns the rest of the device's.
    fn play<'a>(&mut self, device: &'a mut [f32]) -> &'a mut [f32] {
        let frames = (device.len() / self.device_channels).min(self.block_frames - self.played);
        let (now, rest) = device.split_at_mut(frames * self.device_channels);
        interleave(&self.block, self.block_frames, self.played, now, self.device_channels);
        self.played += frames;
        rest
    }
}

/// Collects device buffers of any size into blocks of one size.
#[derive(Debug)]
pub struct InputReblock {
    block: Vec<f32>,
    block_frames: usize,
    device_channels: usize,
    max_device_frames: usize,
    /// Frames of `block` that the device has filled.
    filled: usize,
}

impl InputReblock {
    /// For a pipeline of this format and a device with so many channels, whose callbacks are expected to bring
    /// at most `max_device_frames` (longer ones work too).
    #[must_use]
    pub fn new(format: Format, device_channels: usize, max_device_frames: usize) -> Self {
        Self::with_sizes(format.channels(), format.block_frames(), device_channels, max_device_frames)
    }

    fn with_sizes(channels: usize, block_frames: usize, device_channels: usize, max: usize) -> Self {
        Self {
            block: vec![0.0; channels * block_frames],
            block_frames,
            device_channels: device_channels.max(1),
            max_device_frames: max,
            filled: 0,
        }
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

    /// The most blocks that one callback of the expected length can complete.
    #[must_use]
    pub fn most_blocks(&self) -> usize {
        self.max_device_frames.div_ceil(self.block_frames)
    }

    /// Takes the device's interleaved frames. `block` is called once for each planar block that is whole, and
    /// may work in it; what is left is kept for the next call. Samples after the last whole frame are dropped.
    ///
    /// # Real-time
    /// Yes: no allocation, no lock, no wait of its own.
    pub fn push(&mut self, device: &[f32], mut block: impl FnMut(&mut [f32])) {
        let mut rest = &device[..device.len() - device.len() % self.device_channels];
        while !rest.is_empty() {
            rest = self.collect(rest);
            if self.filled == self.block_frames {
                block(&mut self.block);
                self.filled = 0;
            }
        }
    }

    /// Moves as many frames as device and block both have; returns the rest of the device's.
    fn collect<'a>(&mut self, device: &'a [f32]) -> &'a [f32] {
        let frames = (device.len() / self.device_channels).min(self.block_frames - self.filled);
        let (now, rest) = device.split_at(frames * self.device_channels);
        deinterleave(now, self.device_channels, &mut self.block, self.block_frames, self.filled);
        self.filled += frames;
        rest
    }
}

/// What a [`frame_fifo`] lost and made up, for any thread to read.
#[derive(Debug, Default)]
pub struct FifoCounts {
    overrun: AtomicU64,
    underrun: AtomicU64,
}

impl FifoCounts {
    /// Frames that came in while the FIFO was full, and were dropped.
    #[must_use]
    pub fn overrun_frames(&self) -> u64 {
        self.overrun.load(Ordering::Relaxed)
    }

    /// Frames that were asked for while the FIFO was empty, and were answered with silence.
    #[must_use]
    pub fn underrun_frames(&self) -> u64 {
        self.underrun.load(Ordering::Relaxed)
    }
}

/// The input callback's end of a [`frame_fifo`].
#[derive(Debug)]
pub struct FrameWriter {
    ring: Producer<f32>,
    channels: usize,
    counts: Arc<FifoCounts>,
}

/// The output callback's end of a [`frame_fifo`].
#[derive(Debug)]
pub struct FrameReader {
    ring: Consumer<f32>,
    channels: usize,
    counts: Arc<FifoCounts>,
}

/// A first-in-first-out queue of frames with the pipeline's channels between two callbacks on different
/// threads, with `prefill_frames` of silence in it. It holds at least `capacity_frames` and the prefill.
///
/// After an underrun the frames that come late are played late: the FIFO has grown by what was missing, which
/// is the reserve that was missing too.
#[must_use]
pub fn frame_fifo(
    channels: usize,
    capacity_frames: usize,
    prefill_frames: usize,
) -> (FrameWriter, FrameReader) {
    let channels = channels.max(1);
    let capacity = capacity_frames.max(prefill_frames).max(1);
    // A whole number of frames, so that no frame is ever split where the ring wraps.
    let (mut writer, reader) = RingBuffer::new(capacity * channels);
    if let Ok(silence) = writer.write_chunk(prefill_frames * channels) {
        silence.commit_all();
    }
    let counts = Arc::new(FifoCounts::default());
    (
        FrameWriter { ring: writer, channels, counts: Arc::clone(&counts) },
        FrameReader { ring: reader, channels, counts },
    )
}

impl FrameWriter {
    /// Takes interleaved frames of a device with so many channels, as far as there is room; returns how many.
    /// The rest, the newest, is dropped and counted.
    ///
    /// # Real-time
    /// Yes: no allocation, no lock, no wait.
    pub fn write(&mut self, device: &[f32], device_channels: usize) -> usize {
        let device_channels = device_channels.max(1);
        let frames = device.len() / device_channels;
        let taken = frames.min(self.ring.slots() / self.channels);
        if let Ok(mut room) = self.ring.write_chunk(taken * self.channels) {
            let (first, second) = room.as_mut_slices();
            let (head, tail) = device.split_at(first.len() / self.channels * device_channels);
            remap(head, device_channels, first, self.channels);
            remap(tail, device_channels, second, self.channels);
            room.commit_all();
        }
        self.counts.overrun.fetch_add((frames - taken) as u64, Ordering::Relaxed);
        taken
    }

    /// What was lost and made up so far.
    #[must_use]
    pub fn counts(&self) -> Arc<FifoCounts> {
        Arc::clone(&self.counts)
    }
}

impl FrameReader {
    /// Fills a planar block with the oldest frames; returns how many there were. Silence takes the place of
    /// the rest and is counted.
    ///
    /// # Real-time
    /// Yes: no allocation, no lock, no wait.
    pub fn read(&mut self, block: &mut [f32]) -> usize {
        let block_frames = block.len() / self.channels;
        let frames = block_frames.min(self.level());
        if frames < block_frames {
            block.fill(0.0);
        }
        if let Ok(oldest) = self.ring.read_chunk(frames * self.channels)
            && frames > 0
        {
            let (first, second) = oldest.as_slices();
            deinterleave(first, self.channels, block, block_frames, 0);
            deinterleave(second, self.channels, block, block_frames, first.len() / self.channels);
            oldest.commit_all();
        }
        self.counts.underrun.fetch_add((block_frames - frames) as u64, Ordering::Relaxed);
        frames
    }

    /// Frames that are waiting.
    ///
    /// # Real-time
    /// Yes.
    #[must_use]
    pub fn level(&self) -> usize {
        self.ring.slots() / self.channels
    }

    /// Forgets the oldest frames, as many as this or as there are.
    ///
    /// # Real-time
    /// Yes.
    pub fn skip(&mut self, frames: usize) {
        let frames = frames.min(self.level());
        if let Ok(oldest) = self.ring.read_chunk(frames * self.channels) {
            oldest.commit_all();
        }
    }

    /// What was lost and made up so far.
    #[must_use]
    pub fn counts(&self) -> Arc<FifoCounts> {
        Arc::clone(&self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::time::{Duration, Instant};

    /// Sizes that look random and are the same in every run.
    struct Sizes(u64);

    impl Sizes {
        fn next(&mut self, most: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % (most + 1)
        }
    }

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
                input: InputReblock::with_sizes(1, block, 1, 64).delayed_by(delay),
                output: OutputReblock::with_sizes(1, block, 1, 64),
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
            let mut sizes = Sizes(block as u64);
            (0..1000).for_each(|_| enough.cycle(sizes.next(64)));
            assert_eq!(enough.missing, 0, "block {block}");
            assert!(enough.heard_everything_after(delay), "block {block}");
            if delay > 0 {
                let mut too_little = Duplex::new(block, delay - 1);
                (0..1000).for_each(|_| too_little.cycle(sizes.next(64)));
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
        let mut sizes = Sizes(7);
        for block in 1..=64 {
            let mut output = OutputReblock::with_sizes(2, block, 2, 64);
            let (mut made, mut heard) = (0usize, 0usize);
            for _ in 0..100 {
                let mut device = vec![f32::NAN; 2 * sizes.next(64)];
                let (needed, before) = (output.blocks_needed(device.len() / 2), made);
                output.fill(&mut device, |planar| {
                    for frame in 0..block {
                        planar[frame] = (made * block + frame) as f32;
                        planar[block + frame] = -planar[frame];
                    }
                    made += 1;
                });
                assert_eq!(made - before, needed);
                assert!(needed <= output.most_blocks());
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
        let mut sizes = Sizes(9);
        for block in 1..=64 {
            let mut input = InputReblock::with_sizes(2, block, 2, 64);
            let (mut sent, mut got) = (0usize, 0usize);
            for _ in 0..100 {
                let frames = sizes.next(64);
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
                assert!(ready <= input.most_blocks());
            }
            assert_eq!(got, sent / block);
        }
    }

    #[test]
    fn mono_goes_to_every_channel_of_the_device() {
        let mut output = OutputReblock::with_sizes(1, 2, 3, 2);
        let mut device = [f32::NAN; 6];
        output.fill(&mut device, |block| block.copy_from_slice(&[1.0, 2.0]));
        assert_eq!(device, [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
    }

    #[test]
    fn channels_that_the_pipeline_lacks_are_silent_and_those_the_device_lacks_are_dropped() {
        let stereo = |block: &mut [f32]| block.copy_from_slice(&[1.0, 2.0, -1.0, -2.0]);
        let mut wide = [f32::NAN; 6];
        OutputReblock::with_sizes(2, 2, 3, 2).fill(&mut wide, stereo);
        assert_eq!(wide, [1.0, -1.0, 0.0, 2.0, -2.0, 0.0]);
        let mut narrow = [f32::NAN; 2];
        OutputReblock::with_sizes(2, 2, 1, 2).fill(&mut narrow, stereo);
        assert_eq!(narrow, [1.0, 2.0]);
    }

    #[test]
    fn an_input_maps_its_channels_as_an_output_does() {
        let planar = |device: &[f32], device_channels, channels| {
            let mut got = Vec::new();
            let mut input = InputReblock::with_sizes(channels, 2, device_channels, 2);
            input.push(device, |block| got = block.to_vec());
            got
        };
        assert_eq!(planar(&[1.0, 2.0], 1, 2), [1.0, 2.0, 1.0, 2.0]);
        assert_eq!(planar(&[1.0, -1.0, 2.0, -2.0], 2, 1), [1.0, 2.0]);
        assert_eq!(planar(&[1.0, -1.0, 2.0, -2.0], 2, 3), [1.0, 2.0, -1.0, -2.0, 0.0, 0.0]);
    }

    #[test]
    fn a_source_that_writes_nothing_is_silent_rather_than_stale() {
        let mut output = OutputReblock::with_sizes(1, 2, 1, 2);
        let mut device = [0.0; 2];
        output.fill(&mut device, |block| block.fill(1.0));
        output.fill(&mut device, |_| ());
        assert_eq!(device, [0.0; 2]);
    }

    #[test]
    fn a_torn_frame_at_the_end_is_silent_and_not_read() {
        let mut device = [f32::NAN; 5];
        OutputReblock::with_sizes(2, 2, 2, 2).fill(&mut device, |block| block.fill(1.0));
        assert_eq!(device, [1.0, 1.0, 1.0, 1.0, 0.0]);
        let mut blocks = 0;
        InputReblock::with_sizes(2, 2, 2, 2).push(&device, |_| blocks += 1);
        assert_eq!(blocks, 1);
    }

    #[test]
    fn a_fifo_begins_with_its_silence_and_keeps_the_order() {
        let (mut writer, mut reader) = frame_fifo(2, 8, 3);
        assert_eq!(reader.level(), 3);
        assert_eq!(writer.write(&[1.0, -1.0, 2.0, -2.0], 2), 2);
        let mut block = [f32::NAN; 10];
        assert_eq!(reader.read(&mut block), 5);
        assert_eq!(block, [0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0, -1.0, -2.0]);
        assert_eq!((reader.counts().overrun_frames(), reader.counts().underrun_frames()), (0, 0));
    }

    #[test]
    fn a_full_fifo_drops_the_newest_frames_and_counts_them() {
        let (mut writer, mut reader) = frame_fifo(1, 4, 0);
        assert_eq!(writer.write(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 1), 4);
        assert_eq!(writer.counts().overrun_frames(), 2);
        let mut block = [0.0; 4];
        reader.read(&mut block);
        assert_eq!(block, [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn an_empty_fifo_answers_with_silence_and_counts_it() {
        let (mut writer, mut reader) = frame_fifo(2, 8, 0);
        writer.write(&[1.0], 1);
        let mut block = [f32::NAN; 6];
        assert_eq!(reader.read(&mut block), 1);
        assert_eq!(block, [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        assert_eq!(reader.counts().underrun_frames(), 2);
    }

    #[test]
    fn a_fifo_carries_every_frame_between_threads_across_its_end() {
        const FRAMES: usize = 20_000;
        let (mut writer, mut reader) = frame_fifo(3, 37, 0);
        let input = std::thread::spawn(move || {
            let mut sizes = Sizes(3);
            let mut sent = 0;
            while sent < FRAMES {
                let frames = sizes.next(16).min(FRAMES - sent);
                let device: Vec<f32> = (sent..sent + frames).flat_map(|n| [n as f32, 0.5]).collect();
                let mut rest = &device[..];
                while !rest.is_empty() {
                    rest = &rest[2 * writer.write(rest, 2)..];
                }
                sent += frames;
            }
        });
        let mut expected = 0;
        let mut block = [0.0; 3 * 5];
        let deadline = Instant::now() + Duration::from_secs(60);
        while expected < FRAMES {
            assert!(Instant::now() < deadline, "frame {expected} never came");
            for frame in 0..reader.read(&mut block) {
                assert_eq!([block[frame], block[5 + frame], block[10 + frame]], [expected as f32, 0.5, 0.0]);
                expected += 1;
            }
        }
        input.join().unwrap();
        assert_eq!(reader.level(), 0);
    }
}
