//! Plugins at the ends of a pipeline that run at a rate, or with channels, of their own, or whose channels are mapped.
//!
//! For opening a pipeline. Such a plugin is called with blocks of its own format, as many frames each as the pipeline's
//! but of another length: no, one or several times for a block of the pipeline. What lies between is the same as
//! towards a device. Each of these calls may wait until the deadline that the plugin has in the pipeline's block, and
//! none beyond it.

use super::channels::ChannelMap;
use super::convert::{PullConverter, PushConverter, Quality};
use super::reblock::{InputReblock, OutputReblock};
use crate::block::Block;
use crate::error::Result;
use crate::processor::{Processor, Seals, Turn};
use shared::format::Format;

/// Frames of the pipeline that frames of a plugin's own last, rounded.
fn in_pipeline(frames: u32, own: Format, format: Format) -> u32 {
    let (frames, rates) = (u64::from(frames), (u64::from(own.rate()), u64::from(format.rate())));
    u32::try_from((frames * rates.1 + rates.0 / 2) / rates.0).unwrap_or(u32::MAX)
}

/// Blocks of a plugin's own that last as long as a burst of the pipeline's. At another rate one is begun beside them.
pub(crate) fn own_burst(burst: u32, own: Format, format: Format) -> u32 {
    let (wanted, rate) = (u64::from(own.rate()), u64::from(format.rate()));
    let begun = u64::from(wanted != rate);
    u32::try_from((u64::from(burst) * wanted).div_ceil(rate) + begun).unwrap_or(u32::MAX)
}

/// The longest burst of the pipeline's that is no longer than this many blocks of a plugin's own.
fn burst_of_pipeline(own_burst: u32, own: Format, format: Format) -> u32 {
    if own_burst == u32::MAX {
        return own_burst;
    }
    let (wanted, rate) = (u64::from(own.rate()), u64::from(format.rate()));
    let whole = own_burst.saturating_sub(u32::from(wanted != rate));
    u32::try_from(u64::from(whole) * rate / wanted).unwrap_or(u32::MAX)
}

/// Frames of the pipeline by which a conversion delays.
fn delay_frames(from: u32, to: u32, format: Format, quality: Quality) -> u32 {
    let frames = quality.delay_s(from, to) * f64::from(format.rate());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some hundred frames")]
    let whole = frames.round() as u32;
    whole
}

/// A source with a format of its own.
pub struct AdaptedSource {
    inner: Box<dyn Processor>,
    own: Format,
    format: Format,
    quality: Quality,
    converter: Option<PullConverter>,
    blocks: OutputReblock,
    map: ChannelMap,
    /// Interleaved, at the pipeline's rate, with the source's channels.
    frames: Vec<f32>,
}

impl AdaptedSource {
    /// `inner` makes blocks of its `own` format, for a pipeline of this one; `map` is from its channels to the pipeline's.
    ///
    /// # Errors
    /// Of kind `Config`: the rates can't be converted.
    pub fn new(
        inner: Box<dyn Processor>,
        own: Format,
        format: Format,
        map: ChannelMap,
        quality: Quality,
    ) -> Result<Self> {
        Ok(Self {
            inner,
            own,
            format,
            quality,
            converter: PullConverter::new(own.rate(), format.rate(), own.channels(), quality)?,
            blocks: OutputReblock::new(own),
            map,
            frames: vec![0.0; own.channels() * format.block_frames()],
        })
    }
}

impl Processor for AdaptedSource {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn process(&mut self, block: &mut Block<'_>, turn: &Turn) {
        let Self { inner, own, converter, blocks, frames, .. } = self;
        let mut take = |frames: &mut [f32]| {
            blocks.fill(frames, |samples| inner.process(&mut Block::new(samples, own.block_frames()), turn));
        };
        match converter {
            Some(converter) => converter.pull(frames, take),
            None => take(frames),
        }
        let block_frames = block.frames();
        self.map.deinterleave(&self.frames, block.samples_mut(), block_frames, 0);
    }

    /// Also what it is late by because nobody waits for it: in frames, since its blocks are not the pipeline's.
    fn latency_frames(&self) -> u32 {
        let behind = self.inner.blocks_behind() * u32::try_from(self.own.block_frames()).unwrap_or(u32::MAX);
        in_pipeline(self.inner.latency_frames() + behind, self.own, self.format)
            + delay_frames(self.own.rate(), self.format.rate(), self.format, self.quality)
    }

    fn added_frames(&self) -> u32 {
        in_pipeline(self.inner.added_frames(), self.own, self.format)
    }

    fn burst_max(&self) -> u32 {
        burst_of_pipeline(self.inner.burst_max(), self.own, self.format)
    }

    fn replan(&mut self, burst: u32) {
        self.inner.replan(own_burst(burst, self.own, self.format));
    }

    fn waits(&self) -> u32 {
        self.inner.waits()
    }

    fn seals(&self) -> Seals {
        self.inner.seals()
    }
}

/// A sink with a format of its own. The pipeline's block stays as it is.
pub struct AdaptedSink {
    inner: Box<dyn Processor>,
    own: Format,
    format: Format,
    converter: Option<PushConverter>,
    blocks: InputReblock,
    map: ChannelMap,
    /// Interleaved, at the pipeline's rate, with the sink's channels.
    frames: Vec<f32>,
}

impl AdaptedSink {
    /// `inner` takes blocks of its `own` format, from a pipeline of this one; `map` is from that one's channels to its.
    ///
    /// # Errors
    /// Of kind `Config`: the rates can't be converted.
    pub fn new(
        inner: Box<dyn Processor>,
        own: Format,
        format: Format,
        map: ChannelMap,
        quality: Quality,
    ) -> Result<Self> {
        Ok(Self {
            inner,
            own,
            format,
            converter: PushConverter::new(format.rate(), own.rate(), own.channels(), quality)?,
            blocks: InputReblock::new(own),
            map,
            frames: vec![0.0; own.channels() * format.block_frames()],
        })
    }
}

impl Processor for AdaptedSink {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn process(&mut self, block: &mut Block<'_>, turn: &Turn) {
        self.map.interleave(block.samples(), block.frames(), 0, &mut self.frames);
        let Self { inner, own, converter, blocks, frames, .. } = self;
        let mut give = |frames: &[f32]| {
            blocks.push(frames, |samples| inner.process(&mut Block::new(samples, own.block_frames()), turn));
        };
        match converter {
            Some(converter) => converter.push(frames, give),
            None => give(frames),
        }
    }

    fn burst_max(&self) -> u32 {
        burst_of_pipeline(self.inner.burst_max(), self.own, self.format)
    }

    fn replan(&mut self, burst: u32) {
        self.inner.replan(own_burst(burst, self.own, self.format));
    }

    fn waits(&self) -> u32 {
        self.inner.waits()
    }

    fn seals(&self) -> Seals {
        self.inner.seals()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    const PIPELINE: (u32, u32, u32) = (2, 128, 48_000);

    fn format((channels, block, rate): (u32, u32, u32)) -> Format {
        Format::new(channels, block, rate).unwrap()
    }

    fn sine(n: usize, rate: f32) -> f32 {
        (std::f32::consts::TAU * 441.0 * n as f32 / rate).sin() * 0.5
    }

    struct Tone(usize);

    impl Processor for Tone {
        fn name(&self) -> &str {
            "tone"
        }

        fn process(&mut self, block: &mut Block<'_>, _turn: &Turn) {
            assert_eq!((block.samples().len(), block.frames()), (128, 128));
            for sample in block.samples_mut() {
                *sample = sine(self.0, 44_100.0);
                self.0 += 1;
            }
        }

        fn latency_frames(&self) -> u32 {
            441
        }
    }

    #[test]
    fn the_longest_burst_of_a_pipeline_is_what_fits_into_that_of_a_plugin_with_a_format_of_its_own() {
        for rate in [8_000, 44_100, 48_000, 96_000] {
            let (own, pipeline) = (format((1, 128, rate)), format(PIPELINE));
            for room in 3..40 {
                let most = burst_of_pipeline(room, own, pipeline);
                let needed = [most, most + 1].map(|burst| own_burst(burst, own, pipeline));
                assert!(needed[0] <= room && needed[1] > room, "{rate} Hz, {room}: {most}, {needed:?}");
            }
            assert_eq!(burst_of_pipeline(u32::MAX, own, pipeline), u32::MAX);
        }
    }

    struct Ear(Arc<Mutex<Vec<f32>>>);

    impl Processor for Ear {
        fn name(&self) -> &str {
            "ear"
        }

        fn process(&mut self, block: &mut Block<'_>, _turn: &Turn) {
            assert_eq!((block.samples().len(), block.frames()), (3 * 128, 128));
            let (first, rest) = block.samples().split_at(128);
            assert!(rest[128..].iter().all(|sample| *sample == 0.0));
            self.0.lock().unwrap().extend(first);
        }
    }

    fn farthest(heard: &[f32], rate: f32, late: f32) -> f32 {
        let expected = |n: usize| (std::f32::consts::TAU * 441.0 * (n as f32 - late) / rate).sin() * 0.5;
        (500..heard.len()).map(|n| (heard[n] - expected(n)).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn a_source_at_another_rate_with_one_channel_is_heard_in_tune_on_both() {
        let own = format((1, 128, 44_100));
        let (map, tone) = (ChannelMap::new(1, 2), Box::new(Tone(0)));
        let mut source = AdaptedSource::new(tone, own, format(PIPELINE), map, Quality::Good).unwrap();
        assert_eq!(source.latency_frames(), 480 + 69);
        let (mut samples, mut heard) = ([f32::NAN; 256], Vec::new());
        for _ in 0..20 {
            source.process(&mut Block::new(&mut samples, 128), &Turn::new(0, 1));
            assert_eq!(samples[..128], samples[128..]);
            heard.extend(&samples[..128]);
        }
        let late = 64.0 * 48.0 / 44.1 - 1.0;
        assert!(farthest(&heard, 48_000.0, late) < 1e-3, "{}", farthest(&heard, 48_000.0, late));
    }

    #[test]
    fn a_sink_at_another_rate_with_more_channels_hears_in_tune_what_passes_unchanged() {
        let (own, heard) = (format((3, 128, 96_000)), Arc::default());
        let ear = Box::new(Ear(Arc::clone(&heard)));
        let map = ChannelMap::new(2, 3);
        let mut sink = AdaptedSink::new(ear, own, format(PIPELINE), map, Quality::Good).unwrap();
        for block in 0..20 {
            let mut samples: Vec<f32> =
                (0..128).chain(0..128).map(|n| sine(block * 128 + n, 48_000.0)).collect();
            let before = samples.clone();
            sink.process(&mut Block::new(&mut samples, 128), &Turn::new(0, 1));
            assert_eq!(samples, before);
        }
        let heard = heard.lock().unwrap();
        assert!(heard.len() >= 39 * 128);
        assert!(farthest(&heard, 96_000.0, 127.0) < 1e-3, "{}", farthest(&heard, 96_000.0, 127.0));
    }
}
