//! Between a callback's `f32` samples and the device's.
//!
//! For the device's thread: the buffers are made when the stream is opened, and nothing here allocates, locks or
//! waits. What is not finite is scrubbed here, the last place before the device.

use super::event::Counts;
use cpal::{FromSample, SizedSample};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The most frames that a callback gets at once; a device that wants more has it called again at once.
pub const MOST_FRAMES: usize = 8192;

/// What an output callback is to fill: all of `samples`, which are silent when it begins.
#[derive(Debug)]
pub struct Playback<'a> {
    /// Interleaved.
    pub samples: &'a mut [f32],
    /// How many frames `samples` holds, at most [`MOST_FRAMES`]; it may vary from call to call.
    pub frames: usize,
    /// The device's channels.
    pub channels: usize,
    /// When the device called, on the stream's own clock.
    pub at: Duration,
    /// How long after `at` the first frame is heard, as far as the device knows.
    pub latency: Duration,
}

/// What an input callback gets.
#[derive(Debug)]
pub struct Capture<'a> {
    /// Interleaved.
    pub samples: &'a [f32],
    /// How many frames `samples` holds, at most [`MOST_FRAMES`]; it may vary from call to call.
    pub frames: usize,
    /// The device's channels.
    pub channels: usize,
    /// When the device called, on the stream's own clock.
    pub at: Duration,
    /// How long before `at` the first frame was recorded, as far as the device knows.
    pub latency: Duration,
}

/// Between an output callback and the device: converts what the callback plays to the device's samples.
pub(super) struct Player<C> {
    callback: C,
    scratch: Vec<f32>,
    channels: usize,
    counts: Arc<Counts>,
}

impl<C: FnMut(&mut Playback<'_>)> Player<C> {
    pub(super) fn new(callback: C, channels: usize, counts: Arc<Counts>) -> Self {
        Self { callback, scratch: vec![0.0; MOST_FRAMES * channels], channels, counts }
    }

    pub(super) fn play<T: SizedSample + FromSample<f32>>(
        &mut self,
        device: &mut [T],
        at: Duration,
        latency: Duration,
    ) {
        if self.counts.is_over() {
            device.fill(T::EQUILIBRIUM);
            return;
        }
        for part in device.chunks_mut(self.scratch.len()) {
            let samples = &mut self.scratch[..part.len()];
            samples.fill(0.0);
            let (frames, channels) = (part.len() / self.channels, self.channels);
            (self.callback)(&mut Playback { samples: &mut *samples, frames, channels, at, latency });
            let scrubbed = scrub(samples);
            if scrubbed > 0 {
                self.counts.scrubbed.fetch_add(scrubbed, Ordering::Relaxed);
            }
            to_device(samples, part);
        }
    }
}

/// Between the device and an input callback.
pub(super) struct Recorder<C> {
    callback: C,
    scratch: Vec<f32>,
    channels: usize,
    counts: Arc<Counts>,
}

impl<C: FnMut(&Capture<'_>)> Recorder<C> {
    pub(super) fn new(callback: C, channels: usize, counts: Arc<Counts>) -> Self {
        Self { callback, scratch: vec![0.0; MOST_FRAMES * channels], channels, counts }
    }

    pub(super) fn record<T: SizedSample>(&mut self, device: &[T], at: Duration, latency: Duration)
    where
        f32: FromSample<T>,
    {
        if self.counts.is_over() {
            return;
        }
        for part in device.chunks(self.scratch.len()) {
            let samples = &mut self.scratch[..part.len()];
            for (sample, from) in samples.iter_mut().zip(part) {
                *sample = f32::from_sample_(*from);
            }
            let (frames, channels) = (part.len() / self.channels, self.channels);
            (self.callback)(&Capture { samples, frames, channels, at, latency });
        }
    }
}

/// Replaces what is not finite by silence; returns how many samples that is.
fn scrub(samples: &mut [f32]) -> u64 {
    let mut scrubbed = 0;
    for sample in samples {
        if !sample.is_finite() {
            *sample = 0.0;
            scrubbed += 1;
        }
    }
    scrubbed
}

fn to_device<T: SizedSample + FromSample<f32>>(samples: &[f32], device: &mut [T]) {
    // The greatest sample below full scale: at 1.0 the conversion to 24 bits overflows.
    const TOP: f32 = 1.0 - f32::EPSILON / 2.0;
    let (low, high) = if T::FORMAT.is_float() { (f32::MIN, f32::MAX) } else { (-1.0, TOP) };
    for (to, sample) in device.iter_mut().zip(samples) {
        *to = T::from_sample_(sample.clamp(low, high));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played<T: SizedSample + FromSample<f32>>(samples: &[f32]) -> (Vec<T>, u64) {
        let counts = Arc::new(Counts::default());
        let source = samples.to_vec();
        let callback = move |playback: &mut Playback<'_>| playback.samples.copy_from_slice(&source);
        let mut device = vec![T::EQUILIBRIUM; samples.len()];
        Player::new(callback, 1, Arc::clone(&counts)).play(&mut device, Duration::ZERO, Duration::ZERO);
        (device, counts.scrubbed.load(Ordering::Relaxed))
    }

    #[test]
    fn full_scale_and_beyond_fit_every_integer_format() {
        let loud = [0.0, 1.0, -1.0, 1e30, -1e30];
        assert_eq!(played::<i8>(&loud).0, [0, 127, -128, 127, -128]);
        assert_eq!(played::<i16>(&loud).0, [0, 32_767, -32_768, 32_767, -32_768]);
        assert_eq!(played::<u8>(&loud).0, [128, 255, 0, 255, 0]);
        assert_eq!(played::<u16>(&loud).0, [32_768, 65_535, 0, 65_535, 0]);
        let i24 = played::<cpal::I24>(&loud).0.iter().map(|sample| sample.inner()).collect::<Vec<_>>();
        assert_eq!(i24, [0, 8_388_607, -8_388_608, 8_388_607, -8_388_608]);
        let i32 = played::<i32>(&loud).0;
        assert!(i32[1] > 2_147_483_000 && i32[2] == i32::MIN && i32[3] == i32[1]);
        let u24 = played::<cpal::U24>(&loud).0.iter().map(|sample| sample.inner()).collect::<Vec<_>>();
        assert_eq!(u24, [8_388_608, 16_777_215, 0, 16_777_215, 0]);
        let u32 = played::<u32>(&loud).0;
        assert!(u32[0] == 1 << 31 && u32[1] > 4_294_967_000 && u32[2] == 0 && u32[3] == u32[1], "{u32:?}");
        let i64 = played::<i64>(&loud).0;
        assert!(i64[1] > i64::MAX / 1_000_000 * 999_999 && i64[2] == i64::MIN && i64[3] == i64[1], "{i64:?}");
        let u64 = played::<u64>(&loud).0;
        assert!(u64[0] == 1 << 63 && u64[1] > u64::MAX / 1_000_000 * 999_999 && u64[2] == 0, "{u64:?}");
    }

    #[test]
    fn floats_pass_unchanged() {
        let samples = [0.0, 0.1, -1.0, 1.5, 1e-30];
        assert_eq!(played::<f32>(&samples).0, samples);
        assert_eq!(played::<f64>(&samples).0, samples.map(f64::from));
    }

    #[test]
    fn what_is_not_finite_never_reaches_the_device_and_is_counted() {
        let broken = [f32::NAN, f32::INFINITY, 0.5, f32::NEG_INFINITY];
        assert_eq!(played::<f32>(&broken), (vec![0.0, 0.0, 0.5, 0.0], 3));
        assert_eq!(played::<i16>(&broken), (vec![0, 0, 16_384, 0], 3));
        assert_eq!(played::<u8>(&broken), (vec![128, 128, 192, 128], 3));
    }

    #[test]
    fn a_callback_longer_than_the_scratch_is_played_in_parts_of_whole_frames() {
        let mut sizes = Vec::new();
        let mut next = 0.0;
        let callback = |playback: &mut Playback<'_>| {
            assert_eq!((playback.channels, playback.samples.len()), (3, 3 * playback.frames));
            sizes.push(playback.frames);
            for sample in playback.samples.iter_mut() {
                *sample = next;
                next += 1.0;
            }
        };
        let mut device = vec![-1.0f32; 3 * (2 * MOST_FRAMES + 5)];
        let mut player = Player::new(callback, 3, Arc::default());
        player.play(&mut device, Duration::ZERO, Duration::ZERO);
        assert!(device.iter().enumerate().all(|(n, sample)| *sample == n as f32));
        assert_eq!(sizes, [MOST_FRAMES, MOST_FRAMES, 5]);
    }

    #[test]
    fn an_input_hears_every_format_as_floats() {
        let heard = std::cell::RefCell::new(Vec::new());
        let mut recorder = Recorder::new(
            |capture: &Capture<'_>| {
                assert_eq!((capture.channels, capture.frames), (2, 1));
                heard.borrow_mut().extend_from_slice(capture.samples);
            },
            2,
            Arc::default(),
        );
        recorder.record(&[i16::MIN, 16_384], Duration::ZERO, Duration::ZERO);
        recorder.record(&[0u8, 128], Duration::ZERO, Duration::ZERO);
        recorder.record(&[0.25f64, -0.25], Duration::ZERO, Duration::ZERO);
        assert_eq!(*heard.borrow(), [-1.0, 0.5, -1.0, 0.0, 0.25, -0.25]);
    }

    #[test]
    fn a_stream_that_is_over_calls_nobody_and_is_silent() {
        let counts = Arc::new(Counts::default());
        counts.end();
        let play = |_: &mut Playback<'_>| panic!("nobody owns it any more");
        let mut device = [1u8; 4];
        Player::new(play, 2, Arc::clone(&counts)).play(&mut device, Duration::ZERO, Duration::ZERO);
        assert_eq!(device, [128; 4]);
        let record = |_: &Capture<'_>| panic!("nobody owns it any more");
        Recorder::new(record, 2, counts).record(&[1i16; 4], Duration::ZERO, Duration::ZERO);
    }

    #[test]
    fn a_callback_that_plays_nothing_is_silent() {
        let mut device = [1i16; 4];
        Player::new(|_: &mut Playback<'_>| (), 2, Arc::default()).play(
            &mut device,
            Duration::ZERO,
            Duration::ZERO,
        );
        assert_eq!(device, [0; 4]);
    }
}
