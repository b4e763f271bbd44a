//! Frames of one clock made into frames of another that is nearly as fast.
//!
//! For the [`CaptureQueue`](super::CaptureQueue), which says by how much. How it is done goes by the [`Quality`] that rates
//! are converted with:
//!
//! - `Fast`: rubato's `Slip` takes one frame more or fewer now and then, and fades across the place. It has no delay, and
//!   all other frames pass bit by bit. Where it fades, the sound is the mean of two that are one frame apart: high
//!   frequencies dip, and the tone is out of phase by up to half a frame until then.
//! - `Good`, `Best`: rubato's asynchronous resampler with a windowed sinc, whose ratio follows in a ramp. No frame passes
//!   as it is, and all come later by half the sinc.
//!
//! The last test measures what each does to a tone; README has the figures ("Two clocks"). Not for rates that differ by
//! more than clocks do: that is `convert`'s.

use super::convert::Quality;
use crate::error::{Error, Kind, Result};
use rubato::audioadapter_buffers::direct::{InterleavedSlice, SequentialSlice};
use rubato::{Adjustable, Async, FixedAsync, Resampler, Slip};
use shared::format::Format;

/// By how much the clocks may differ, at most: more than [`super::drift`] ever asks for.
const RATIO_MAX: f64 = 1.01;

/// One of the two ways.
enum Way {
    Slip(Slip<f32>),
    Sinc(Box<Async<f32>>),
}

/// Makes blocks.
pub(super) struct Gear {
    way: Way,
    format: Format,
    delay_frames: u32,
}

impl Gear {
    /// For blocks of this format.
    ///
    /// # Errors
    /// Of kind `Config`: blocks are too short for this.
    pub(super) fn new(format: Format, quality: Quality) -> Result<Self> {
        let (channels, block) = (format.channels(), format.block_frames());
        let way = match quality {
            Quality::Fast => Slip::new(block, channels, FixedAsync::Output).map(Way::Slip),
            Quality::Good | Quality::Best => {
                let sinc = quality.sinc_of_clocks();
                Async::new_sinc(1.0, RATIO_MAX, &sinc, block, channels, FixedAsync::Output)
                    .map(|sinc| Way::Sinc(Box::new(sinc)))
            }
        };
        let way =
            way.map_err(|e| Error::new(Kind::Config, "blocks are too short for two devices").source(e))?;
        let delay_frames = if matches!(way, Way::Slip(_)) { 0 } else { quality.delay_of_clocks() };
        Ok(Self { way, format, delay_frames })
    }

    /// Frames by which what comes out is late.
    pub(super) fn delay_frames(&self) -> u32 {
        self.delay_frames
    }

    /// Frames that a block takes, at most.
    pub(super) fn most_frames(&self) -> usize {
        match &self.way {
            Way::Slip(slip) => slip.input_frames_max(),
            Way::Sinc(sinc) => sinc.input_frames_max(),
        }
    }

    /// Frames that the next block takes.
    ///
    /// # Real-time
    /// Yes, as all that follow: no allocation, no lock, no wait.
    pub(super) fn next_frames(&self) -> usize {
        match &self.way {
            Way::Slip(slip) => slip.input_frames_next(),
            Way::Sinc(sinc) => sinc.input_frames_next(),
        }
    }

    /// What came before is over.
    pub(super) fn begin_anew(&mut self) {
        if let Way::Sinc(sinc) = &mut self.way {
            sinc.reset();
        }
    }

    /// From now on takes this fraction of frames more than it makes.
    pub(super) fn take_more(&mut self, fraction: f64) {
        let ratio = 1.0 / (1.0 + fraction);
        // Both keep to what they can do if this is too much.
        let _ = match &mut self.way {
            Way::Slip(slip) => slip.set_resample_ratio(ratio, false),
            Way::Sinc(sinc) => sinc.set_resample_ratio(ratio, true),
        };
    }

    /// A planar block of as many interleaved frames as it takes.
    pub(super) fn make(&mut self, frames: &[f32], block: &mut [f32]) {
        let (channels, block_frames) = (self.format.channels(), self.format.block_frames());
        let adapters = (
            InterleavedSlice::new(frames, channels, frames.len() / channels),
            SequentialSlice::new_mut(block, channels, block_frames),
        );
        // The sizes are those that it asked for: it can't fail.
        if let (Ok(frames), Ok(mut block)) = adapters {
            let _ = match &mut self.way {
                Way::Slip(slip) => slip.process_into_buffer(&frames, &mut block, None),
                Way::Sinc(sinc) => sinc.process_into_buffer(&frames, &mut block, None),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    const RATE: f64 = 48_000.0;
    const BLOCK: usize = 128;
    const PPM: f64 = 200.0;
    const QUALITIES: [Quality; 3] = [Quality::Fast, Quality::Good, Quality::Best];

    /// Two seconds of a sine of this many cycles per frame, taken faster by 200 ppm, behind what begins it.
    fn driven(quality: Quality, cycles: f64) -> Vec<f32> {
        let mut gear = Gear::new(Format::new(1, 128, 48_000).unwrap(), quality).unwrap();
        let (mut taken, mut heard) = (0, Vec::new());
        gear.take_more(PPM * 1e-6);
        for _ in 0..3 * 48_000 / BLOCK {
            let frames = taken..taken + gear.next_frames();
            taken = frames.end;
            #[expect(clippy::cast_possible_truncation, reason = "a sample")]
            let frames: Vec<f32> =
                frames.map(|n| ((TAU * (cycles * f64::from(n as u32)).fract()).sin() * 0.5) as f32).collect();
            let mut block = [f32::NAN; BLOCK];
            gear.make(&frames, &mut block);
            heard.extend(block);
        }
        heard.split_off(48_000)
    }

    /// The sine of this angle per frame in these frames, least squares: its level, and the power of what is none of it.
    fn fitted(heard: &[f32], angle: f64) -> (f64, f64) {
        let (mut ss, mut sc, mut cc, mut ys, mut yc, mut yy) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
        for (n, sample) in heard.iter().enumerate() {
            let ((sine, cosine), sample) = ((angle * n as f64).sin_cos(), f64::from(*sample));
            (ss, sc, cc) = (ss + sine * sine, sc + sine * cosine, cc + cosine * cosine);
            (ys, yc, yy) = (ys + sample * sine, yc + sample * cosine, yy + sample * sample);
        }
        let determinant = ss * cc - sc * sc;
        let (a, b) = ((ys * cc - yc * sc) / determinant, (yc * ss - ys * sc) / determinant);
        (a.hypot(b), (yy - a * ys - b * yc).max(0.0) / yy)
    }

    /// What becomes of a tone, all in dB.
    struct Tone {
        level: f64,
        /// Between its loudest millisecond and its softest.
        ripple: f64,
        /// All that is none of it, beside it.
        rest: f64,
    }

    fn tone(quality: Quality, hz: f64) -> Tone {
        let cycles = hz / RATE;
        let heard = driven(quality, cycles);
        let angle = TAU * cycles * (1.0 + PPM * 1e-6);
        let levels = heard.chunks_exact(48).map(|part| fitted(part, angle).0);
        let (softest, loudest) =
            levels.fold((f64::MAX, 0.0f64), |(a, b), level| (a.min(level), b.max(level)));
        let (level, rest) = fitted(&heard, angle);
        Tone {
            level: 20.0 * (level / 0.5).log10(),
            ripple: 20.0 * (loudest / softest).log10(),
            rest: 10.0 * rest.log10(),
        }
    }

    #[test]
    fn what_is_made_is_late_by_as_much_as_told_and_takes_what_it_should() {
        for quality in QUALITIES {
            let mut gear = Gear::new(Format::new(1, 128, 48_000).unwrap(), quality).unwrap();
            let (mut taken, mut heard) = (0usize, Vec::new());
            gear.take_more(PPM * 1e-6);
            for _ in 0..48_000 * 60 / BLOCK {
                let mut frames = vec![0.0; gear.next_frames()];
                assert!(frames.len() <= gear.most_frames());
                // One frame that is not silent.
                (taken..taken + frames.len())
                    .position(|n| n == 1_000)
                    .into_iter()
                    .for_each(|n| frames[n] = 1.0);
                taken += frames.len();
                let mut block = [f32::NAN; BLOCK];
                gear.make(&frames, &mut block);
                heard.extend(block);
            }
            let peak = heard.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
            assert_eq!(peak - 1_000, gear.delay_frames() as usize, "{quality:?}");
            let more = taken as f64 - heard.len() as f64 * (1.0 + PPM * 1e-6);
            assert!(more.abs() < 3.0, "{quality:?}: {more}");
        }
    }

    #[test]
    #[expect(clippy::print_stdout, reason = "it is a measurement too")]
    fn tones_pass_as_well_as_is_told_of_each_quality() {
        for quality in QUALITIES {
            for hz in [1_000.0, 5_000.0, 10_000.0, 15_000.0, 18_000.0, 20_000.0] {
                let Tone { level, ripple, rest } = tone(quality, hz);
                println!("{quality:?}, {hz} Hz: level {level:.2} dB, ripple {ripple:.3}, THD+N {rest:.1}");
                if quality != Quality::Fast {
                    assert!(ripple < 0.01 && rest < -90.0, "{quality:?}, {hz} Hz: {ripple}, {rest}");
                    assert!(hz > 18_000.0 || level > -0.1, "{quality:?}, {hz} Hz: {level}");
                }
            }
        }
    }
}
