//! In which format a device is opened.
//!
//! For opening: of what a device offers, the nearest to what is wanted. The buffer is kept to, as another would
//! change the latency; rate, channels and sample format are adapted to.

use super::span::{buffer_span, spans};
use crate::error::{Error, Kind, Result};
use cpal::{SampleFormat, SupportedStreamConfigRange};

/// What a stream is to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamFormat {
    /// Frames per second; the device's nearest rate is taken.
    pub rate: u32,
    /// Channels per frame; the device's nearest number is taken.
    pub channels: u32,
    /// Frames per callback, or what the device likes best.
    pub buffer_frames: Option<u32>,
}

/// What is chosen of a device's offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) channels: u16,
    pub(super) rate: u32,
    pub(super) buffer: cpal::BufferSize,
    pub(super) samples: SampleFormat,
}

impl Chosen {
    pub(super) fn config(self) -> cpal::StreamConfig {
        cpal::StreamConfig { channels: self.channels, sample_rate: self.rate, buffer_size: self.buffer }
    }
}

pub(super) fn choose(
    name: &str,
    offers: &[SupportedStreamConfigRange],
    want: StreamFormat,
) -> Result<Chosen> {
    let usable = |o: &SupportedStreamConfigRange| o.channels() > 0 && convertible(o.sample_format());
    let usable: Vec<_> = offers.iter().copied().filter(usable).collect();
    let rate = nearest_rate(&usable, want.rate);
    let fits: Vec<_> = usable.into_iter().filter(|offer| offer.contains_rate(rate)).collect();
    let fits = match want.buffer_frames {
        Some(frames) => with_buffer(name, &fits, frames)?,
        None => fits,
    };
    let offer = nearest(&fits, want.channels).ok_or_else(|| {
        Error::new(Kind::Device, format!("{name} offers no sample format that can be converted"))
            .remedy("choose another device: `nda devices` lists them")
    })?;
    Ok(Chosen {
        channels: offer.channels(),
        rate,
        buffer: want.buffer_frames.map_or(cpal::BufferSize::Default, cpal::BufferSize::Fixed),
        samples: offer.sample_format(),
    })
}

/// The rate itself if it is offered, else the nearest, the higher of two: it loses nothing.
fn nearest_rate(offers: &[SupportedStreamConfigRange], rate: u32) -> u32 {
    let rates = offers.iter().map(|offer| rate.clamp(offer.min_sample_rate(), offer.max_sample_rate()));
    rates.min_by_key(|offered| (offered.abs_diff(rate), *offered < rate)).unwrap_or(rate)
}

/// Those that offer the buffer; an error if there are offers and none does.
fn with_buffer(
    name: &str,
    offers: &[SupportedStreamConfigRange],
    frames: u32,
) -> Result<Vec<SupportedStreamConfigRange>> {
    let fits: Vec<_> = offers.iter().copied().filter(|offer| holds(offer, frames)).collect();
    if fits.is_empty() && !offers.is_empty() {
        let buffers = offers.iter().filter_map(|offer| buffer_span(*offer.buffer_size()));
        return Err(not_offered(name, &format!("a buffer of {frames} frames"), &spans(buffers), "buffer"));
    }
    Ok(fits)
}

fn not_offered(name: &str, what: &str, offered: &str, setting: &str) -> Error {
    Error::new(Kind::Device, format!("{name} does not offer {what}; it offers {offered}"))
        .remedy(format!("set {setting} to one of these, or choose another device"))
}

/// The one with the nearest number of channels, and of those the one with the best sample format.
fn nearest(offers: &[SupportedStreamConfigRange], channels: u32) -> Option<SupportedStreamConfigRange> {
    // Of two as near, the one with more: a silent channel too many is better than one that is lost.
    let distance = |offer: &SupportedStreamConfigRange| {
        let offered = u32::from(offer.channels());
        (offered.abs_diff(channels), offered < channels)
    };
    offers.iter().copied().min_by(|a, b| {
        let better_samples = || b.cmp_default_heuristics(a);
        distance(a).cmp(&distance(b)).then_with(better_samples)
    })
}

fn convertible(format: SampleFormat) -> bool {
    !matches!(format, SampleFormat::DsdU8 | SampleFormat::DsdU16 | SampleFormat::DsdU32)
}

fn holds(offer: &SupportedStreamConfigRange, frames: u32) -> bool {
    buffer_span(*offer.buffer_size()).is_none_or(|span| (span.min..=span.max).contains(&frames))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpal::SupportedBufferSize;

    const STEREO: StreamFormat = StreamFormat { rate: 48_000, channels: 2, buffer_frames: None };

    fn offer(channels: u16, rates: (u32, u32), samples: SampleFormat) -> SupportedStreamConfigRange {
        let buffer = SupportedBufferSize::Range { min: 32, max: 4096 };
        SupportedStreamConfigRange::new(channels, rates.0, rates.1, buffer, samples)
    }

    #[test]
    fn the_nearest_rate_is_taken_and_the_higher_of_two() {
        let offers = [
            offer(2, (44_100, 44_100), SampleFormat::I16),
            offer(2, (96_000, 192_000), SampleFormat::I16),
            offer(1, (16_000, 16_000), SampleFormat::I16),
        ];
        let taken = |rate| choose("Card", &offers, StreamFormat { rate, ..STEREO }).unwrap().rate;
        assert_eq!(
            [48_000, 44_100, 80_000, 100_000, 8_000].map(taken),
            [44_100, 44_100, 96_000, 100_000, 16_000]
        );
        assert_eq!(nearest_rate(&[offers[0], offer(2, (51_900, 60_000), SampleFormat::F32)], 48_000), 51_900);
        assert_eq!(nearest_rate(&[], 48_000), 48_000);
    }

    #[test]
    fn a_buffer_that_the_device_lacks_is_answered_with_those_it_has() {
        let offers = [offer(2, (48_000, 48_000), SampleFormat::I16)];
        let error = choose("Card", &offers, StreamFormat { buffer_frames: Some(8), ..STEREO }).unwrap_err();
        assert!(error.to_string().contains("a buffer of 8 frames; it offers 32-4096"), "{error}");
    }

    #[test]
    fn the_nearest_channel_count_is_taken_and_the_greater_of_two() {
        let offers = [1, 4, 8].map(|channels| offer(channels, (8_000, 96_000), SampleFormat::I16));
        let taken = |channels| choose("Card", &offers, StreamFormat { channels, ..STEREO }).unwrap().channels;
        assert_eq!([1, 2, 3, 4, 5, 6, 64].map(taken), [1, 1, 4, 4, 4, 8, 8]);
    }

    #[test]
    fn floats_are_preferred_and_bitstreams_are_never_taken() {
        let with = |formats: &[SampleFormat]| -> Vec<_> {
            formats.iter().map(|samples| offer(2, (48_000, 48_000), *samples)).collect()
        };
        let offers = with(&[SampleFormat::I16, SampleFormat::F32, SampleFormat::I32, SampleFormat::DsdU8]);
        assert_eq!(choose("Card", &offers, STEREO).unwrap().samples, SampleFormat::F32);
        let error = choose("Card", &with(&[SampleFormat::DsdU32]), STEREO).unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
    }
}
