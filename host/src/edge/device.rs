//! A device's side of a pipeline: its channels and its rate, in the closure of its stream.
//!
//! For the streams' callbacks. They are made anew whenever a device is opened, since another one may have another
//! rate or other channels; what outlives a stream, such as blocks that are half played, is not here.

use super::channels::ChannelMap;
use super::convert::{PullConverter, PushConverter, Quality, frames_at};
use super::reblock::OutputReblock;
use crate::error::Result;

/// Frames that are mapped at once.
const CHUNK_FRAMES: usize = 512;

/// What a device is like, seen from a pipeline.
#[derive(Debug, Clone)]
pub struct Side {
    /// The device's frames per second.
    pub device_rate: u32,
    /// The pipeline's.
    pub rate: u32,
    /// From the device's channels to the pipeline's for an input, the other way round for an output.
    pub map: ChannelMap,
    /// How rates are converted, if they are.
    pub quality: Quality,
}

impl Side {
    /// A device that is like the pipeline, but for its channels.
    #[must_use]
    pub fn plain(rate: u32, map: ChannelMap) -> Self {
        Self { device_rate: rate, rate, map, quality: Quality::default() }
    }

    /// Whether its rate is another one.
    #[must_use]
    pub fn is_converted(&self) -> bool {
        self.device_rate != self.rate
    }

    /// Frames of the pipeline that last as long as so many of the device, rounded up.
    #[must_use]
    pub fn frames(&self, device_frames: usize) -> usize {
        frames_at(device_frames, self.device_rate, self.rate)
    }

    /// Frames of the pipeline by which the conversion from the device's rate delays.
    #[must_use]
    pub fn input_delay_frames(&self) -> f64 {
        self.quality.delay_s(self.device_rate, self.rate) * f64::from(self.rate)
    }

    /// Frames of the pipeline by which the conversion to the device's rate delays.
    #[must_use]
    pub fn output_delay_frames(&self) -> f64 {
        self.quality.delay_s(self.rate, self.device_rate) * f64::from(self.rate)
    }
}

/// From the pipeline's frames to an output device's.
#[derive(Debug)]
pub struct DeviceOutput {
    side: Side,
    converter: Option<PullConverter>,
    scratch: Vec<f32>,
}

impl DeviceOutput {
    /// For such a device.
    ///
    /// # Errors
    /// Of kind `Config`: its rate can't be reached.
    pub fn new(side: Side) -> Result<Self> {
        let channels = side.map.source();
        let converter = PullConverter::new(side.rate, side.device_rate, channels, side.quality)?;
        Ok(Self { converter, scratch: vec![0.0; CHUNK_FRAMES * channels], side })
    }

    /// Frames of the pipeline that make so many of the device, one more or fewer at another rate.
    ///
    /// # Real-time
    /// Yes.
    #[must_use]
    pub fn frames(&self, device_frames: usize) -> usize {
        self.side.frames(device_frames)
    }

    /// Fills the device's interleaved frames from `blocks`; see [`OutputReblock::fill`].
    ///
    /// # Real-time
    /// Yes: no allocation, no lock, no wait of its own.
    pub fn fill(
        &mut self,
        blocks: &mut OutputReblock,
        device: &mut [f32],
        mut next_block: impl FnMut(&mut [f32]),
    ) {
        let Self { side, converter, scratch } = self;
        let mut frames = |frames: &mut [f32]| match converter {
            Some(converter) => converter.pull(frames, |frames| blocks.fill(frames, &mut next_block)),
            None => blocks.fill(frames, &mut next_block),
        };
        let (channels, device_channels) = (side.map.source(), side.map.target());
        let whole = device.len() - device.len() % device_channels;
        let (device, torn) = device.split_at_mut(whole);
        torn.fill(0.0);
        if side.map.is_identity() {
            frames(device);
            return;
        }
        for part in device.chunks_mut(CHUNK_FRAMES * device_channels) {
            let pipeline = &mut scratch[..part.len() / device_channels * channels];
            frames(pipeline);
            side.map.remap(pipeline, part);
        }
    }
}

/// From an input device's frames to the pipeline's.
#[derive(Debug)]
pub struct DeviceInput {
    side: Side,
    converter: Option<PushConverter>,
    scratch: Vec<f32>,
}

impl DeviceInput {
    /// For such a device.
    ///
    /// # Errors
    /// Of kind `Config`: its rate can't be converted.
    pub fn new(side: Side) -> Result<Self> {
        let channels = side.map.target();
        let converter = PushConverter::new(side.device_rate, side.rate, channels, side.quality)?;
        Ok(Self { converter, scratch: vec![0.0; CHUNK_FRAMES * channels], side })
    }

    /// Frames of the pipeline that so many of the device make, one more or fewer at another rate.
    ///
    /// # Real-time
    /// Yes.
    #[must_use]
    pub fn frames(&self, device_frames: usize) -> usize {
        self.side.frames(device_frames)
    }

    /// Takes the device's interleaved frames; `give` gets the pipeline's, in one part or several. Samples after the
    /// last whole frame are dropped.
    ///
    /// # Real-time
    /// Yes: no allocation, no lock, no wait of its own.
    pub fn push(&mut self, device: &[f32], mut give: impl FnMut(&[f32])) {
        let Self { side, converter, scratch } = self;
        let mut frames = |frames: &[f32]| match converter {
            Some(converter) => converter.push(frames, &mut give),
            None => give(frames),
        };
        let (device_channels, channels) = (side.map.source(), side.map.target());
        let device = &device[..device.len() - device.len() % device_channels];
        if side.map.is_identity() {
            frames(device);
            return;
        }
        for part in device.chunks(CHUNK_FRAMES * device_channels) {
            let pipeline = &mut scratch[..part.len() / device_channels * channels];
            side.map.remap(part, pipeline);
            frames(pipeline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::format::Format;

    fn side(device_rate: u32, map: ChannelMap) -> Side {
        Side { device_rate, ..Side::plain(48_000, map) }
    }

    /// Blocks of stereo that count: 1, 2, 3, ... in the first channel, negative in the second.
    fn counting(next: &mut f32) -> impl FnMut(&mut [f32]) {
        move |block| {
            let (first, second) = block.split_at_mut(block.len() / 2);
            for (a, b) in first.iter_mut().zip(second) {
                *next += 1.0;
                (*a, *b) = (*next, -*next);
            }
        }
    }

    #[test]
    fn at_the_pipelines_rate_frames_pass_as_they_are_and_channels_as_mapped() {
        let mut blocks = OutputReblock::new(Format::new(2, 16, 48_000).unwrap());
        let mut output =
            DeviceOutput::new(side(48_000, ChannelMap::listed(2, 3, &[2, 0, 1]).unwrap())).unwrap();
        let mut next = 0.0;
        let mut device = vec![f32::NAN; 3 * 1300];
        output.fill(&mut blocks, &mut device, counting(&mut next));
        for (n, frame) in device.chunks_exact(3).enumerate() {
            assert_eq!(frame, [-(n as f32 + 1.0), 0.0, n as f32 + 1.0]);
        }
        let mut input = DeviceInput::new(side(48_000, ChannelMap::listed(3, 2, &[3, 1]).unwrap())).unwrap();
        let mut heard = Vec::new();
        input.push(&device, |frames| heard.extend_from_slice(frames));
        assert_eq!(heard.len(), 2 * 1300);
        assert!(heard.chunks_exact(2).enumerate().all(|(n, f)| f == [n as f32 + 1.0, -(n as f32 + 1.0)]));
    }

    #[test]
    fn out_to_another_rate_and_in_again_a_sine_comes_back_as_late_as_told() {
        let (out, back) = (side(44_100, ChannelMap::new(2, 2)), side(44_100, ChannelMap::new(2, 2)));
        #[expect(clippy::cast_possible_truncation, reason = "some hundred frames")]
        let late = (out.output_delay_frames() + back.input_delay_frames()) as f32;
        assert!((late - 64.0 * (1.0 + 48.0 / 44.1) + 1.0 + 48.0 / 44.1).abs() < 1e-4, "{late}");
        let (mut output, mut input) = (DeviceOutput::new(out).unwrap(), DeviceInput::new(back).unwrap());
        let mut blocks = OutputReblock::new(Format::new(2, 64, 48_000).unwrap());
        let sine = |n: f32| (n * 0.05).sin();
        let (mut next, mut heard) = (0.0, Vec::<f32>::new());
        for _ in 0..30 {
            let mut device = vec![f32::NAN; 2 * 441];
            output.fill(&mut blocks, &mut device, |block| {
                let (first, second) = block.split_at_mut(64);
                for (a, b) in first.iter_mut().zip(second) {
                    (*a, *b) = (sine(next), -sine(next));
                    next += 1.0;
                }
            });
            input.push(&device, |frames| heard.extend(frames.iter().step_by(2)));
        }
        for (n, sample) in heard.iter().enumerate().skip(500) {
            assert!((sample - sine(n as f32 - late)).abs() < 1e-3, "{n}: {sample}");
        }
    }

    #[test]
    fn a_torn_frame_at_the_end_is_silent_and_not_read() {
        let mut blocks = OutputReblock::new(Format::new(2, 16, 48_000).unwrap());
        let mut device = [f32::NAN; 5];
        let plain = || side(48_000, ChannelMap::new(2, 2));
        DeviceOutput::new(plain()).unwrap().fill(&mut blocks, &mut device, |block| block.fill(1.0));
        assert_eq!(device, [1.0, 1.0, 1.0, 1.0, 0.0]);
        let mut heard = 0;
        DeviceInput::new(plain()).unwrap().push(&device, |frames| heard += frames.len());
        assert_eq!(heard, 4);
    }
}
