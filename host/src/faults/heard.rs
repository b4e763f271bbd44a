//! What a block that was heard is: good, dry, silence, or something that should never be heard.
//!
//! For the pipeline under test, whose plugin turns the audio over. Pure: it gets samples and says what they are.
//! How the host ramps from one kind of audio to another is not repeated here; a ramp is known by what it does: what
//! is left of the audio before only shrinks, but where it would be louder than both, and is gone after two
//! milliseconds.

use shared::format::Format;

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

/// Tells what the blocks of one stream are, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Judge {
    block_frames: usize,
    /// Frames after which a ramp must be over.
    ramp_frames: usize,
    /// The loudest that a plugin may be, linear.
    level_max: f32,
    /// Each channel's last sample.
    last: Vec<f32>,
}

impl Judge {
    /// For blocks of this format, from silence on.
    pub(super) fn new(format: Format, ramp_frames: usize, level_max: f32) -> Self {
        let last = vec![0.0; format.channels()];
        Self { block_frames: format.block_frames(), ramp_frames, level_max, last }
    }

    /// What this block is, given what went into the plugin.
    pub(super) fn sound(&mut self, dry: &[f32], heard: &[f32]) -> Sound {
        let sound = self.recognise(dry, heard);
        for (last, heard) in self.last.iter_mut().zip(heard.chunks(self.block_frames)) {
            *last = heard.last().copied().unwrap_or_default();
        }
        sound
    }

    fn recognise(&self, dry: &[f32], heard: &[f32]) -> Sound {
        let level_max = self.level_max;
        let kinds: [(Sound, &dyn Fn(f32) -> f32); 4] = [
            (Sound::Good, &|dry| -dry),
            (Sound::Dry, &|dry| dry),
            (Sound::Silence, &|_| 0.0),
            (Sound::Limited, &|dry| -level_max.copysign(dry)),
        ];
        let fits = |of: &dyn Fn(f32) -> f32| {
            let mut channels =
                dry.chunks(self.block_frames).zip(heard.chunks(self.block_frames)).zip(&self.last);
            channels.all(|((dry, heard), last)| {
                self.leads_to(*last, dry.iter().map(|dry| of(*dry)).zip(heard.iter().copied()))
            })
        };
        kinds.iter().find(|(_, of)| fits(*of)).map_or(Sound::Wrong, |(sound, _)| *sound)
    }

    /// Whether pairs of what should be and what is heard are a ramp from the last sample, or no ramp at all: what is
    /// left of the audio before only shrinks, without changing its sign, and goes away in time.
    fn leads_to(&self, last: f32, pairs: impl Iterator<Item = (f32, f32)>) -> bool {
        let (mut most, mut sign) = (f32::MAX, None);
        for (frame, (wanted, heard)) in pairs.enumerate() {
            let rest = heard - wanted;
            if frame >= self.ramp_frames {
                most = SAME;
            }
            // Written so that what is not a number is no ramp.
            let is_small_enough = rest.abs() <= most + SAME;
            let has_turned = rest.abs() > SAME && *sign.get_or_insert(rest.signum()) != rest.signum();
            if !is_small_enough || has_turned {
                return false;
            }
            // Cut, where it would have been louder than what it leads from and to: that tells nothing of the rest. The
            // first one is what it leads from.
            let is_cut = (heard.abs() - last.abs().max(wanted.abs())).abs() <= SAME;
            if frame == 0 || !is_cut {
                most = rest.abs();
            }
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

    /// A judge who has heard these last samples.
    fn judge(last: f32) -> Judge {
        let format = Format::new(2, u32::try_from(FRAMES).unwrap(), 48_000).unwrap();
        Judge { last: vec![last; 2], ..Judge::new(format, 96, 3.98) }
    }

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

    /// As the host ramps: the difference to the last sample, fading, perhaps cut where that is louder than both.
    fn ramped(samples: &[f32], last: f32, cut: bool) -> Vec<f32> {
        let ramp = |(i, sample): (usize, &f32)| {
            let (frame, first) = (i % FRAMES, samples[i / FRAMES * FRAMES]);
            let weight =
                if frame < 96 { 0.5 + 0.5 * (std::f32::consts::PI * frame as f32 / 96.0).cos() } else { 0.0 };
            let loudest = if cut { last.abs().max(sample.abs()) } else { f32::MAX };
            (sample + (last - first) * weight).clamp(-loudest, loudest)
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
            assert_eq!(judge(0.0).sound(&dry, &samples), sound);
            for (last, cut) in [(-0.4, true), (-0.4, false), (0.0, true), (0.7, true), (0.7, false)] {
                let heard = ramped(&samples, last, cut);
                assert_eq!(judge(last).sound(&dry, &heard), sound, "from {last}");
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
            for last in [0.0, 0.3, -4.0] {
                assert_eq!(judge(last).sound(&dry, &wrong), Sound::Wrong);
            }
        }
    }

    #[test]
    fn a_judge_knows_what_it_has_heard_last() {
        let (dry, mut judge) = (noise(1), judge(0.0));
        judge.sound(&dry, &turned(&dry));
        assert_eq!(judge.last, [-dry[FRAMES - 1], -dry[2 * FRAMES - 1]]);
    }

    #[test]
    fn a_ramp_that_goes_on_or_grows_is_wrong() {
        let dry = noise(1);
        let mut endless = turned(&dry);
        endless.iter_mut().for_each(|sample| *sample += 0.1);
        let mut growing = turned(&dry);
        growing.iter_mut().take(50).enumerate().for_each(|(i, sample)| *sample += i as f32 * 0.01);
        for wrong in [endless, growing] {
            assert_eq!(judge(0.0).sound(&dry, &wrong), Sound::Wrong);
        }
    }

    #[test]
    fn plain_samples_are_counted_in_dry_and_in_wrong_blocks_alone() {
        let dry = noise(1);
        assert_eq!(judge(0.0).leaked(Sound::Dry, &dry, &dry), dry.len() as u64);
        assert_eq!(judge(0.0).leaked(Sound::Good, &dry, &turned(&dry)), 0);
        assert_eq!(judge(0.0).leaked(Sound::Silence, &dry, &vec![0.0; dry.len()]), 0);
        let mut wrong = turned(&dry);
        wrong[10..17].copy_from_slice(&dry[10..17]);
        assert_eq!(judge(0.0).leaked(judge(0.0).sound(&dry, &wrong), &dry, &wrong), 7);
    }
}
