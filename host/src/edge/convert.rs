//! From one rate to another.
//!
//! For both ends of a pipeline. A [`PullConverter`] makes as many frames as it is asked for and takes the frames that
//! it needs for them; a [`PushConverter`] takes what comes and gives what that makes. Both are rubato's
//! asynchronous resampler with a windowed sinc: of its resamplers the one with the least delay that still filters,
//! half its sinc's length, and none for blocks of a fixed size, since it makes any number of frames at a time.
//! Equal rates need no converter, and there is none for them.
//!
//! Where the rates are as small whole numbers to each other (44,100 and 48,000 are as 147 and 160) the sinc is
//! computed for just the places that occur, and nothing is interpolated.

use crate::error::{Error, Kind, Result};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Async, FixedAsync, Resampler, Resizable, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};

/// Frames on the fixed side that are converted at once, at most.
const CHUNK_FRAMES: usize = 512;
/// Places between two frames for which the sinc is computed ahead, at least and at most.
const PLACES_LEAST: usize = 256;
const PLACES_MAX: usize = 640;

/// How well rates are converted, and what that takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quality {
    /// 64 frames of sinc: 32 frames of delay, and frequencies up to 0.85 of what the rate holds.
    Fast,
    /// 128 frames of sinc: 64 frames of delay.
    #[default]
    Good,
    /// 256 frames of sinc: 128 frames of delay.
    Best,
}

impl Quality {
    fn sinc_frames(self) -> usize {
        match self {
            Self::Fast => 64,
            Self::Good => 128,
            Self::Best => 256,
        }
    }

    /// By how many seconds what is converted comes later: half the sinc, but one frame of the new rate, since the first
    /// one is that which lies that far behind the beginning.
    #[must_use]
    pub fn delay_s(self, from: u32, to: u32) -> f64 {
        if from == to { 0.0 } else { self.sinc_frames() as f64 / 2.0 / f64::from(from) - 1.0 / f64::from(to) }
    }

    fn sinc(self, from: u32, to: u32) -> SincInterpolationParameters {
        let places = to as usize / gcd(from as usize, to as usize);
        if places <= PLACES_MAX {
            // rubato's places lie one step early: many make that step short.
            let places = places * PLACES_LEAST.div_ceil(places);
            self.filter().oversampling_factor(places).interpolation(SincInterpolationType::Nearest)
        } else {
            self.sinc_of_clocks()
        }
    }

    /// For a ratio that may be any: between the places it is interpolated.
    pub(super) fn sinc_of_clocks(self) -> SincInterpolationParameters {
        self.filter().oversampling_factor(PLACES_LEAST).interpolation(SincInterpolationType::Cubic)
    }

    /// Frames by which that is late where the rates are the same but for the clocks.
    pub(super) fn delay_of_clocks(self) -> u32 {
        u32::try_from(self.sinc_frames() / 2 - 1).unwrap_or(u32::MAX)
    }

    fn filter(self) -> SincInterpolationParameters {
        let window = match self {
            Self::Fast => WindowFunction::Hann2,
            Self::Good | Self::Best => WindowFunction::BlackmanHarris2,
        };
        SincInterpolationParameters::new(self.sinc_frames(), window)
    }
}

/// Greatest common divisor, Euclid's.
pub(super) fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Frames at the rate `to` that last as long as `frames` at `from`, rounded up.
pub(crate) fn frames_at(frames: usize, from: u32, to: u32) -> usize {
    let frames = (frames as u64 * u64::from(to)).div_ceil(u64::from(from.max(1)));
    usize::try_from(frames).unwrap_or(usize::MAX)
}

fn resampler(from: u32, to: u32, channels: usize, quality: Quality, fixed: FixedAsync) -> Result<Async<f32>> {
    let ratio = f64::from(to) / f64::from(from);
    Async::new_sinc(ratio, 1.0, &quality.sinc(from, to), CHUNK_FRAMES, channels, fixed)
        .map_err(|e| Error::new(Kind::Config, format!("{from} Hz can't be converted to {to} Hz")).source(e))
}

/// Converts frames of `samples`; how many came out. rubato's errors are of sizes that were wrong, and these are
/// those that it asked for.
fn convert(resampler: &mut Async<f32>, source: &[f32], target: &mut [f32]) -> usize {
    let channels = resampler.nbr_channels();
    let frames = (source.len() / channels, target.len() / channels);
    let source = InterleavedSlice::new(source, channels, frames.0);
    let target = InterleavedSlice::new_mut(target, channels, frames.1);
    let (Ok(source), Ok(mut target)) = (source, target) else { return 0 };
    resampler.process_into_buffer(&source, &mut target, None).map_or(0, |(_, made)| made)
}

/// Makes frames of one rate from another's, as many as are asked for. Frames are interleaved.
pub struct PullConverter {
    resampler: Async<f32>,
    channels: usize,
    source: Vec<f32>,
}

impl PullConverter {
    /// For these rates; `None` if they are equal.
    ///
    /// # Errors
    /// Of kind `Config`: the rates can't be converted.
    pub fn new(from: u32, to: u32, channels: usize, quality: Quality) -> Result<Option<Self>> {
        if from == to {
            return Ok(None);
        }
        let resampler = resampler(from, to, channels, quality, FixedAsync::Output)?;
        let source = vec![0.0; resampler.input_frames_max() * channels];
        Ok(Some(Self { resampler, channels, source }))
    }

    /// Fills `target`. `take` is called with frames of the other rate to fill, as often as it takes.
    ///
    /// # Real-time
    /// Yes: no allocation, no lock, no wait of its own.
    pub fn pull(&mut self, target: &mut [f32], mut take: impl FnMut(&mut [f32])) {
        for part in target.chunks_mut(CHUNK_FRAMES * self.channels) {
            // Within the chunk that it was made for: it can't fail.
            let _ = self.resampler.set_chunk_size(part.len() / self.channels);
            let source = &mut self.source[..self.resampler.input_frames_next() * self.channels];
            take(source);
            let made = convert(&mut self.resampler, source, part);
            part[made * self.channels..].fill(0.0);
        }
    }
}

/// Takes frames of one rate and gives those of another that they make. Frames are interleaved.
pub struct PushConverter {
    resampler: Async<f32>,
    channels: usize,
    target: Vec<f32>,
}

impl PushConverter {
    /// For these rates; `None` if they are equal.
    ///
    /// # Errors
    /// Of kind `Config`: the rates can't be converted.
    pub fn new(from: u32, to: u32, channels: usize, quality: Quality) -> Result<Option<Self>> {
        if from == to {
            return Ok(None);
        }
        let resampler = resampler(from, to, channels, quality, FixedAsync::Input)?;
        let target = vec![0.0; resampler.output_frames_max() * channels];
        Ok(Some(Self { resampler, channels, target }))
    }

    /// Takes whole frames; `give` gets what they make, in one part or several.
    ///
    /// # Real-time
    /// Yes: no allocation, no lock, no wait of its own.
    pub fn push(&mut self, source: &[f32], mut give: impl FnMut(&[f32])) {
        for part in source.chunks(CHUNK_FRAMES * self.channels) {
            // Within the chunk that it was made for: it can't fail.
            let _ = self.resampler.set_chunk_size(part.len() / self.channels);
            let made = convert(&mut self.resampler, part, &mut self.target);
            give(&self.target[..made * self.channels]);
        }
    }
}

// The resampler holds a filter of some hundred kilobytes.
impl std::fmt::Debug for PullConverter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PullConverter by {}", self.resampler.resample_ratio())
    }
}

impl std::fmt::Debug for PushConverter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PushConverter by {}", self.resampler.resample_ratio())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use std::f64::consts::TAU;

    const RATES: [(u32, u32); 6] = [
        (44_100, 48_000),
        (48_000, 44_100),
        (48_000, 96_000),
        (96_000, 48_000),
        (48_000, 8_000),
        (47_999, 48_000),
    ];
    const QUALITIES: [Quality; 3] = [Quality::Fast, Quality::Good, Quality::Best];

    /// Sizes that look random and are the same in every run.
    fn sizes() -> impl Iterator<Item = usize> {
        let mut random = Random::new(5);
        std::iter::repeat_with(move || 1 + random.up_to(699))
    }

    #[expect(clippy::cast_possible_truncation, reason = "a sample")]
    fn sine(turns: f64) -> f32 {
        (TAU * turns).sin() as f32
    }

    /// A stereo signal pulled through, in parts of any size.
    fn pulled(
        (from, to): (u32, u32),
        quality: Quality,
        signal: impl Fn(usize) -> f32,
        frames: usize,
    ) -> Vec<f32> {
        let mut converter = PullConverter::new(from, to, 2, quality).unwrap().unwrap();
        let (mut target, mut next) = (vec![f32::NAN; 2 * frames], 0);
        let mut rest = &mut target[..];
        for size in sizes() {
            let (part, more) = rest.split_at_mut((2 * size).min(rest.len()));
            converter.pull(part, |source| {
                for frame in source.chunks_exact_mut(2) {
                    frame.copy_from_slice(&[signal(next), -signal(next)]);
                    next += 1;
                }
            });
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        assert!(target.chunks_exact(2).all(|frame| frame[0] == -frame[1]));
        target.into_iter().step_by(2).collect()
    }

    fn pushed(
        (from, to): (u32, u32),
        quality: Quality,
        signal: impl Fn(usize) -> f32,
        frames: usize,
    ) -> Vec<f32> {
        let mut converter = PushConverter::new(from, to, 2, quality).unwrap().unwrap();
        let (mut target, mut next) = (Vec::new(), 0);
        for size in sizes() {
            let source: Vec<f32> = (next..next + size).flat_map(|n| [signal(n), -signal(n)]).collect();
            next += size;
            converter.push(&source, |made| target.extend(made.iter().step_by(2)));
            if target.len() >= frames {
                break;
            }
        }
        target.truncate(frames);
        target
    }

    #[test]
    fn equal_rates_have_no_converter() {
        assert!(PullConverter::new(48_000, 48_000, 2, Quality::Good).unwrap().is_none());
        assert!(PushConverter::new(48_000, 48_000, 2, Quality::Good).unwrap().is_none());
    }

    /// What a sine of 0.5 became: its level, by how many frames it is late, and the greatest sample that is none of it.
    fn fitted(heard: &[f32], angle: f64) -> (f64, f64, f64) {
        let (mut ss, mut sc, mut cc, mut ys, mut yc) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (n, sample) in heard.iter().enumerate() {
            let (sine, cosine) = (angle * n as f64).sin_cos();
            (ss, sc, cc) = (ss + sine * sine, sc + sine * cosine, cc + cosine * cosine);
            (ys, yc) = (ys + f64::from(*sample) * sine, yc + f64::from(*sample) * cosine);
        }
        let determinant = ss * cc - sc * sc;
        let (a, b) = ((ys * cc - yc * sc) / determinant, (yc * ss - ys * sc) / determinant);
        let rest = |(n, sample): (usize, &f32)| {
            let (sine, cosine) = (angle * n as f64).sin_cos();
            (f64::from(*sample) - a * sine - b * cosine).abs()
        };
        (
            a.hypot(b),
            (-b).atan2(a).rem_euclid(TAU) / angle,
            heard.iter().enumerate().map(rest).fold(0.0, f64::max),
        )
    }

    #[test]
    fn a_sine_keeps_its_pitch_level_and_place_at_every_rate_and_quality() {
        // Half, one and two times as long as a period are the same to it: a tone that is slower than the delay.
        const TONE_HZ: f64 = 97.0;
        for rates in RATES {
            for (quality, most) in QUALITIES.into_iter().zip([1e-3, 1e-5, 1e-5]) {
                let (from, to) = (f64::from(rates.0), f64::from(rates.1));
                let sine = |n: usize| sine(TONE_HZ * n as f64 / from) * 0.5;
                for heard in [pulled(rates, quality, sine, 6_000), pushed(rates, quality, sine, 6_000)] {
                    let (level, late, rest) = fitted(&heard[1_000..], TAU * TONE_HZ / to);
                    let expected =
                        (quality.delay_s(rates.0, rates.1) * to - 1_000.0).rem_euclid(to / TONE_HZ);
                    let what = format!("{rates:?} {quality:?}: {level}, {late} for {expected}, {rest}");
                    assert!((level - 0.5).abs() < most && rest < most, "{what}");
                    assert!((late - expected).abs() < 0.02, "{what}");
                }
            }
        }
    }

    #[test]
    fn what_the_lower_rate_can_not_hold_is_filtered_out() {
        let sine = |n: usize| sine(20_000.0 * n as f64 / 48_000.0);
        for quality in QUALITIES {
            let heard = pulled((48_000, 16_000), quality, sine, 4_000);
            let loudest = heard[500..].iter().fold(0.0f32, |peak, sample| peak.max(sample.abs()));
            assert!(loudest < 1e-3, "{quality:?}: {loudest}");
        }
    }

    #[test]
    fn a_minute_takes_as_many_frames_as_it_has() {
        let mut converter = PullConverter::new(44_100, 48_000, 1, Quality::Fast).unwrap().unwrap();
        let (mut target, mut taken) = (vec![0.0; 480], 0u64);
        (0..6_000).for_each(|_| converter.pull(&mut target, |source| taken += source.len() as u64));
        assert!(taken.abs_diff(60 * 44_100) <= 64, "{taken}");
    }
}
