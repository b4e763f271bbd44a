//! What a block that was heard is: good, dry, silence, or something that should never be heard.
//!
//! For the pipeline under test, whose plugin turns the audio over. Pure: it gets samples and says what they are.
//! How the host ramps from one kind of audio to another is not repeated here; a ramp is known by what it does: what
//! is left of the audio before only shrinks, and is gone after two milliseconds.

/// How far two samples may be apart and still be the same.
const SAME: f32 = 2e-6;

/// What a block turned out to be, after a ramp at its start if there was one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sound {
    /// What the plugin made of its input.
    Good,
    /// The input.
    Dry,
    /// Silence.
    Silence,
    /// What the plugin made, cut at the loudest that it may be.
    Limited,
    /// None of these: torn, stale, shifted, or noise.
    Wrong,
}

/// Tells what blocks of one format are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judge {
    pub(super) block_frames: usize,
    /// Frames after which a ramp must be over.
    pub(super) ramp_frames: usize,
    /// The loudest that a plugin may be, linear.
    pub(super) level_max: f32,
}

impl Judge {
    /// What this block is, given what went into the plugin.
    pub(super) fn sound(&self, dry: &[f32], heard: &[f32]) -> Sound {
        let level_max = self.level_max;
        let kinds: [(Sound, &dyn Fn(f32) -> f32); 4] = [
            (Sound::Good, &|dry| -dry),
            (Sound::Dry, &|dry| dry),
            (Sound::Silence, &|_| 0.0),
            (Sound::Limited, &|dry| -level_max.copysign(dry)),
        ];
        let fits = |of: &dyn Fn(f32) -> f32| {
            let mut channels = dry.chunks(self.block_frames).zip(heard.chunks(self.block_frames));
            channels.all(|(dry, heard)| self.is_ramp(dry.iter().zip(heard).map(|(d, h)| h - of(*d))))
        };
        kinds.iter().find(|(_, of)| fits(*of)).map_or(Sound::Wrong, |(sound, _)| *sound)
    }

    /// Whether what is left of the audio before only shrinks, without changing its sign, and goes away in time.
    fn is_ramp(&self, rest: impl Iterator<Item = f32>) -> bool {
        let mut before: Option<f32> = None;
        for (frame, rest) in rest.enumerate() {
            let shrinks = before.is_none_or(|before| {
                let turned = rest.abs() > SAME && rest.signum() != before.signum();
                rest.abs() <= before.abs() + SAME && !turned
            });
            // Written so that what is not a number is no ramp.
            let small_enough = rest.abs() <= if frame < self.ramp_frames { f32::MAX } else { SAME };
            if !shrinks || !small_enough {
                return false;
            }
            before = Some(rest);
        }
        true
    }

    /// Samples of a block that tell what went in: none, as far as a plugin is concerned that fails closed.
    pub(super) fn leaked(&self, sound: Sound, dry: &[f32], heard: &[f32]) -> u64 {
        let is_plain = |(dry, heard): (&f32, &f32)| (dry - heard).abs() <= SAME;
        match sound {
            Sound::Good | Sound::Silence | Sound::Limited => 0,
            // Also where a ramp leads to it.
            Sound::Dry => heard.iter().filter(|sample| **sample != 0.0).count() as u64,
            Sound::Wrong => dry.iter().zip(heard).filter(|pair| is_plain(*pair)).count() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: usize = 128;
    const JUDGE: Judge = Judge { block_frames: FRAMES, ramp_frames: 96, level_max: 3.98 };

    /// Two channels of numbers that repeat late.
    fn noise(seed: u32) -> Vec<f32> {
        let mut state = seed * 2 + 1;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let size = 0.05 + (state >> 9) as f32 / (1u32 << 24) as f32;
            if state & 1024 == 0 { size } else { -size }
        };
        (0..2 * FRAMES).map(|_| next()).collect()
    }

    fn turned(samples: &[f32]) -> Vec<f32> {
        samples.iter().map(|sample| -sample).collect()
    }

    /// As the host ramps: the difference to the last sample, fading.
    fn ramped(samples: &[f32], last: f32) -> Vec<f32> {
        let ramp = |(i, sample): (usize, &f32)| {
            let (frame, first) = (i % FRAMES, samples[i / FRAMES * FRAMES]);
            let weight =
                if frame < 96 { 0.5 + 0.5 * (std::f32::consts::PI * frame as f32 / 96.0).cos() } else { 0.0 };
            sample + (last - first) * weight
        };
        samples.iter().enumerate().map(ramp).collect()
    }

    #[test]
    fn each_kind_of_audio_is_told_from_the_others_with_and_without_a_ramp() {
        let dry = noise(1);
        let limited: Vec<_> = dry.iter().map(|dry| -3.98f32.copysign(*dry)).collect();
        let kinds = [
            (Sound::Good, turned(&dry)),
            (Sound::Dry, dry.clone()),
            (Sound::Silence, vec![0.0; dry.len()]),
            (Sound::Limited, limited),
        ];
        for (sound, samples) in kinds {
            assert_eq!(JUDGE.sound(&dry, &samples), sound);
            for last in [-0.4, 0.0, 0.7] {
                assert_eq!(JUDGE.sound(&dry, &ramped(&samples, last)), sound, "from {last}");
            }
        }
    }

    #[test]
    fn a_torn_a_stale_a_shifted_block_and_one_wrong_sample_are_wrong() {
        let (dry, other) = (noise(1), noise(2));
        let good = turned(&dry);
        let mut torn = good.clone();
        torn[64..FRAMES].copy_from_slice(&turned(&other)[64..FRAMES]);
        let mut shifted = good.clone();
        shifted.rotate_right(1);
        let mut half_dry = good.clone();
        half_dry[..FRAMES].copy_from_slice(&dry[..FRAMES]);
        let mut one = good.clone();
        one[200] += 0.01;
        let mut nan = good.clone();
        nan[3] = f32::NAN;
        for wrong in [torn, turned(&other), shifted, half_dry, one, nan] {
            assert_eq!(JUDGE.sound(&dry, &wrong), Sound::Wrong);
        }
    }

    #[test]
    fn a_ramp_that_goes_on_or_grows_is_wrong() {
        let dry = noise(1);
        let mut endless = turned(&dry);
        endless.iter_mut().for_each(|sample| *sample += 0.1);
        let mut growing = turned(&dry);
        growing.iter_mut().take(50).enumerate().for_each(|(i, sample)| *sample += i as f32 * 0.01);
        for wrong in [endless, growing] {
            assert_eq!(JUDGE.sound(&dry, &wrong), Sound::Wrong);
        }
    }

    #[test]
    fn plain_samples_are_counted_in_dry_and_in_wrong_blocks_alone() {
        let dry = noise(1);
        assert_eq!(JUDGE.leaked(Sound::Dry, &dry, &dry), dry.len() as u64);
        assert_eq!(JUDGE.leaked(Sound::Good, &dry, &turned(&dry)), 0);
        assert_eq!(JUDGE.leaked(Sound::Silence, &dry, &vec![0.0; dry.len()]), 0);
        let mut wrong = turned(&dry);
        wrong[10..17].copy_from_slice(&dry[10..17]);
        assert_eq!(JUDGE.leaked(JUDGE.sound(&dry, &wrong), &dry, &wrong), 7);
    }
}
