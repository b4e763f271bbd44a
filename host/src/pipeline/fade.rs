//! Audio that comes back after a gap rises from silence.
//!
//! For the callback of a device that was opened again. The ramp is half a cosine, as those of plugins are.

use std::f32::consts::PI;

/// How long the rise takes.
const FADE_MS: u64 = 20;

/// A rise from silence, under way or over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fade {
    done: u64,
    frames: u64,
}

impl Fade {
    /// None: samples stay as they are, bit by bit.
    pub(super) fn none() -> Self {
        Self { done: 0, frames: 0 }
    }

    /// One that begins with the first frame that it is given, at so many frames per second.
    pub(super) fn at(rate: u32) -> Self {
        Self { done: 0, frames: u64::from(rate) * FADE_MS / 1000 }
    }

    /// The next frames, interleaved.
    ///
    /// # Real-time
    /// Yes.
    pub(super) fn interleaved(&mut self, samples: &mut [f32], channels: usize) {
        for frame in samples.chunks_exact_mut(channels.max(1)) {
            let Some(gain) = self.next() else { return };
            frame.iter_mut().for_each(|sample| *sample *= gain);
        }
    }

    /// The next frames, channel after channel, so many each.
    ///
    /// # Real-time
    /// Yes.
    pub(super) fn planar(&mut self, samples: &mut [f32], frames: usize) {
        for frame in 0..frames {
            let Some(gain) = self.next() else { return };
            samples.iter_mut().skip(frame).step_by(frames).for_each(|sample| *sample *= gain);
        }
    }

    /// The next frame's factor; `None` once the rise is over.
    fn next(&mut self) -> Option<f32> {
        if self.done == self.frames {
            return None;
        }
        let gain = 0.5 - 0.5 * (PI * self.done as f32 / self.frames as f32).cos();
        self.done += 1;
        Some(gain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_from_silence_over_twenty_milliseconds_and_then_leaves_samples_alone() {
        let mut fade = Fade::at(48_000);
        let mut heard = Vec::new();
        for _ in 0..10 {
            let mut samples = [0.5; 2 * 100];
            fade.interleaved(&mut samples, 2);
            assert!(samples.chunks(2).all(|frame| frame[0] == frame[1]));
            heard.extend(samples.iter().copied().step_by(2));
        }
        assert_eq!(heard[0], 0.0);
        assert!(heard.windows(2).all(|pair| pair[0] <= pair[1] && pair[1] - pair[0] < 0.001), "{heard:?}");
        assert!(heard[959] < 0.5 && heard[960..].iter().all(|sample| *sample == 0.5));
    }

    #[test]
    fn blocks_rise_as_frames_do() {
        let (mut interleaved, mut planar) = ([1.0; 6], [1.0; 6]);
        Fade::at(1_000).interleaved(&mut interleaved, 2);
        Fade::at(1_000).planar(&mut planar, 3);
        let by_channel: Vec<f32> = [0, 2, 4, 1, 3, 5].map(|at| interleaved[at]).into();
        assert_eq!(planar, by_channel[..]);
    }

    #[test]
    fn without_one_every_bit_stays() {
        let mut samples = [f32::from_bits(0x7fc0_1234), -0.0, 1.0];
        let before = samples.map(f32::to_bits);
        Fade::none().interleaved(&mut samples, 1);
        assert_eq!(samples.map(f32::to_bits), before);
    }
}
