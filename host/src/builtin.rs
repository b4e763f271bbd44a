//! The processors that come with the host: a gain, a mute and a level meter.
//!
//! All three are steered and read from other threads through a handle, without a lock.

use crate::block::Block;
use crate::processor::{Processor, Seals, Turn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A number that one thread sets and others read, without a lock.
#[derive(Debug, Default)]
struct AtomicF32(AtomicU32);

impl AtomicF32 {
    fn new(value: f32) -> Self {
        Self(AtomicU32::new(value.to_bits()))
    }

    fn get(&self) -> f32 {
        f32::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, value: f32) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

/// The linear factor of a level in decibels.
#[must_use]
pub fn db_to_linear(db: f32) -> f32 {
    10f32.powf(db / 20.0)
}

/// A level in decibels of full scale; silence is minus infinity.
#[must_use]
pub fn linear_to_db(linear: f32) -> f32 {
    20.0 * linear.log10()
}

/// Multiplies all samples by a factor; a change of it is spread over one block, so that nothing clicks.
#[derive(Debug)]
pub struct Gain {
    wanted: Arc<AtomicF32>,
    now: f32,
}

/// Steers a [`Gain`] from another thread.
#[derive(Debug, Clone)]
pub struct GainHandle(Arc<AtomicF32>);

impl Gain {
    /// A gain of this many decibels.
    #[must_use]
    pub fn new(db: f32) -> Self {
        let now = db_to_linear(db);
        Self { wanted: Arc::new(AtomicF32::new(now)), now }
    }

    /// The handle that steers it.
    #[must_use]
    pub fn handle(&self) -> GainHandle {
        GainHandle(Arc::clone(&self.wanted))
    }
}

impl GainHandle {
    /// Sets the gain in decibels, from the next block on.
    pub fn set_db(&self, db: f32) {
        self.0.set(db_to_linear(db));
    }
}

impl Processor for Gain {
    fn name(&self) -> &str {
        "gain"
    }

    /// What it makes quieter must not be heard without it.
    fn seals(&self) -> Seals {
        Seals { no_bypass: true, ..Seals::default() }
    }

    fn process(&mut self, block: &mut Block<'_>, _turn: &Turn) {
        let wanted = self.wanted.get();
        if wanted == self.now {
            block.samples_mut().iter_mut().for_each(|s| *s *= wanted);
            return;
        }
        let step = (wanted - self.now) / block.frames() as f32;
        for channel in block.iter_mut() {
            for (i, sample) in channel.iter_mut().enumerate() {
                *sample *= self.now + step * (i + 1) as f32;
            }
        }
        self.now = wanted;
    }
}

/// Lets every sample pass bit by bit, or none; the way between the two is a block long, so that nothing clicks.
#[derive(Debug, Default)]
pub struct Mute {
    wanted: Arc<AtomicBool>,
    /// Of the block before; before the first one there is nothing that could click.
    was: Option<bool>,
}

/// Steers a [`Mute`] from another thread.
#[derive(Debug, Clone)]
pub struct MuteHandle(Arc<AtomicBool>);

impl Mute {
    /// The handle that steers it.
    #[must_use]
    pub fn handle(&self) -> MuteHandle {
        MuteHandle(Arc::clone(&self.wanted))
    }
}

impl MuteHandle {
    /// Mutes, or not, from the next block on.
    pub fn set(&self, mute: bool) {
        self.0.store(mute, Ordering::Relaxed);
    }

    /// Whether it does, or will with the next block.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Processor for Mute {
    fn name(&self) -> &str {
        "mute"
    }

    fn process(&mut self, block: &mut Block<'_>, _turn: &Turn) {
        let mute = self.wanted.load(Ordering::Relaxed);
        let is_on_the_way = self.was.replace(mute).is_some_and(|was| was != mute);
        if is_on_the_way {
            let frames = block.frames() as f32;
            for channel in block.iter_mut() {
                for (i, sample) in channel.iter_mut().enumerate() {
                    let far = (i + 1) as f32 / frames;
                    // What is no number does not become quieter.
                    let audio = if sample.is_finite() { *sample } else { 0.0 };
                    *sample = audio * if mute { 1.0 - far } else { far };
                }
            }
        } else if mute {
            block.samples_mut().fill(0.0);
        }
    }
}

/// Measures each channel's peak and leaves the audio as it is.
#[derive(Debug)]
pub struct Meter {
    peaks: Arc<[AtomicF32]>,
}

/// Reads a [`Meter`] from another thread.
#[derive(Debug, Clone)]
pub struct MeterHandle(Arc<[AtomicF32]>);

impl Meter {
    /// A meter for this many channels.
    #[must_use]
    pub fn new(channels: usize) -> Self {
        Self { peaks: (0..channels).map(|_| AtomicF32::default()).collect() }
    }

    /// The handle that reads it.
    #[must_use]
    pub fn handle(&self) -> MeterHandle {
        MeterHandle(Arc::clone(&self.peaks))
    }
}

impl MeterHandle {
    /// Each channel's highest absolute sample since this was last called, and starts anew. Linear.
    pub fn take_peaks(&self) -> Vec<f32> {
        self.0.iter().map(|peak| f32::from_bits(peak.0.swap(0, Ordering::Relaxed))).collect()
    }

    /// The same so far, for whoever asks in between: nothing starts anew.
    pub fn peaks_so_far(&self) -> Vec<f32> {
        self.0.iter().map(|peak| f32::from_bits(peak.0.load(Ordering::Relaxed))).collect()
    }
}

/// The higher one of two peaks in dB; silence has none.
pub(crate) fn louder(a: Option<f32>, b: Option<f32>) -> Option<f32> {
    a.zip(b).map_or(a.or(b), |(a, b)| Some(a.max(b)))
}

impl Processor for Meter {
    fn name(&self) -> &str {
        "meter"
    }

    fn process(&mut self, block: &mut Block<'_>, _turn: &Turn) {
        for (channel, peak) in block.iter().zip(self.peaks.iter()) {
            let highest = channel.iter().fold(0f32, |max, s| max.max(s.abs()));
            // Not negative, so the order of the bits is the order of the numbers.
            peak.0.fetch_max(highest.to_bits(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn() -> Turn {
        Turn::new(0, 1_000_000)
    }

    #[test]
    fn a_gain_multiplies_every_sample() {
        let mut samples = [1.0, -0.5, 0.25, 0.0];
        Gain::new(db_to_linear(0.0).log10()).process(&mut Block::new(&mut samples, 2), &turn());
        assert_eq!(samples, [1.0, -0.5, 0.25, 0.0]);
        Gain::new(-6.0206).process(&mut Block::new(&mut samples, 2), &turn());
        assert!((samples[0] - 0.5).abs() < 1e-5 && (samples[1] + 0.25).abs() < 1e-5);
    }

    #[test]
    fn a_changed_gain_reaches_its_value_at_the_end_of_the_block_without_a_step() {
        let mut gain = Gain::new(0.0);
        gain.handle().set_db(-200.0);
        let mut samples = [1.0; 64];
        gain.process(&mut Block::new(&mut samples, 64), &turn());
        let steps = samples.windows(2).map(|w| (w[0] - w[1]).abs());
        assert!(steps.fold(0f32, f32::max) < 1.01 / 64.0);
        assert!(samples[63].abs() < 1e-6);
    }

    #[test]
    fn what_is_not_muted_passes_bit_by_bit_and_what_is_muted_is_silence() {
        let odd = [f32::NAN, -0.0, f32::MIN_POSITIVE / 2.0, f32::INFINITY];
        let bits = |samples: [f32; 4]| samples.map(f32::to_bits);
        let mut mute = Mute::default();
        let play = |mute: &mut Mute| {
            let mut samples = odd;
            mute.process(&mut Block::new(&mut samples, 4), &turn());
            samples
        };
        assert_eq!(bits(play(&mut mute)), bits(odd));
        mute.handle().set(true);
        assert!(play(&mut mute).iter().all(|sample| sample.is_finite()), "on the way");
        assert_eq!(bits(play(&mut mute)), [0; 4]);
        mute.handle().set(false);
        play(&mut mute);
        assert_eq!(bits(play(&mut mute)), bits(odd));
        let mut mute = Mute::default();
        mute.handle().set(true);
        assert_eq!(bits(play(&mut mute)), [0; 4], "muted from the start, nothing is heard");
    }

    #[test]
    fn to_silence_and_back_there_is_no_step() {
        let mut mute = Mute::default();
        let mut heard = Vec::new();
        for on in [false, true, true, false, false] {
            mute.handle().set(on);
            let mut samples = [1.0; 64];
            mute.process(&mut Block::new(&mut samples, 64), &turn());
            heard.extend(samples);
        }
        let steps = heard.windows(2).map(|w| (w[0] - w[1]).abs());
        assert!(steps.fold(0f32, f32::max) < 1.01 / 64.0);
        assert_eq!((heard[0], heard[130], heard[5 * 64 - 1]), (1.0, 0.0, 1.0));
    }

    #[test]
    fn a_meter_keeps_the_peak_of_each_channel_until_it_is_read() {
        let mut meter = Meter::new(2);
        let handle = meter.handle();
        meter.process(&mut Block::new(&mut [0.1, -0.9, 0.2, 0.3], 2), &turn());
        meter.process(&mut Block::new(&mut [0.0; 4], 2), &turn());
        assert_eq!(handle.peaks_so_far(), [0.9, 0.3]);
        assert_eq!(handle.take_peaks(), [0.9, 0.3]);
        assert_eq!(handle.take_peaks(), [0.0, 0.0]);
    }
}
