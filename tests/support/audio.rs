//! Audio that is the same in every run.

/// Noise between -1 and 1.
#[must_use]
pub fn noise(frames: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_769).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f32::from(u16::try_from(state >> 48).unwrap_or_default()) / 32_768.0 - 1.0
    };
    (0..frames).map(|_| next()).collect()
}

/// Noise in each of so many channels.
#[must_use]
pub fn noises(channels: usize, frames: usize) -> Vec<Vec<f32>> {
    (0..channels as u64).map(|channel| noise(frames, channel + 1)).collect()
}

/// Silence with one sample in it.
#[must_use]
pub fn impulse(frames: usize, at: usize, height: f32) -> Vec<f32> {
    let mut samples = vec![0.0; frames];
    samples[at] = height;
    samples
}

/// A slow sine: neighbouring samples differ by `step` at most.
#[must_use]
pub fn slow_sine(frames: usize, step: f32) -> Vec<f32> {
    (0..frames).map(|frame| (frame as f32 * step).sin()).collect()
}

/// The longest way from a sample to the next.
#[must_use]
pub fn largest_step(samples: &[f32]) -> f32 {
    samples.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max)
}

/// Noise without its highs, in no place the same: it stays like itself between two samples too.
#[must_use]
pub fn soft_noise(frames: usize, seed: u64) -> Vec<f32> {
    const TAPS: usize = 32;
    let mean = |samples: &[f32]| samples.windows(TAPS).map(|w| w.iter().sum::<f32>() / TAPS as f32).collect();
    let softer: Vec<f32> = mean(&noise(frames + 2 * (TAPS - 1), seed));
    let softest: Vec<f32> = mean(&softer);
    softest.into_iter().map(|sample| 2.0 * sample).collect()
}
