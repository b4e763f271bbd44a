//! How much faster or slower a queue is read than it is filled, so that two clocks stay together.
//!
//! For the [`CaptureQueue`](super::CaptureQueue). Arithmetic alone: it is told by how many frames the queue is too full
//! and answers with a correction.
//!
//! The law is a second-order loop, critically damped (F. Adriaensen, "Using a DLL to filter time", LAC 2005, and
//! "Controlling adaptive resampling", LAC 2012): with `e` the error in frames behind a low-pass of [`SMOOTH_S`], read
//! `2 w e + w² ∫ e dt` frames per second more. `w` is [`OMEGA`]: an error that the pull is not cut short for is gone in
//! some 20 s. For a drift of 200 ppm (10 frames per second at 48 kHz) that comes all at once the queue is off by
//! `10 / (e w)`, some 40 frames, at most.
//!
//! No pitch is heard to change. The first term, the pull, is kept within [`LIMIT_PPM`], so that a queue that is far off
//! comes back slowly instead of out of tune, by 4 to 7 frames a second at 48 kHz: together with a drift of 200 ppm that
//! is not known yet the pitch is off by 350 ppm, 0.6 cent, at most, however far off the queue is; people tell 3 to 5
//! cents. The second, which comes to be the drift itself, changes by less than [`OMEGA`] times the first in a second, and
//! not at all while the first is cut short and the queue comes back nearly as fast as that alone brings it ([`Limited`]):
//! it would take the way back for a drift. Jitter of the callbacks does not matter: the error is taken as if frames came
//! one by one, and one measurement is heard for no more than [`SPIKE_S`].

/// The loop's bandwidth, in radians per second.
const OMEGA: f64 = 0.1;
/// Time constant of the low-pass on the error, in seconds.
const SMOOTH_S: f64 = 1.0;
/// What an error corrects at once, at most.
const LIMIT_PPM: f64 = 150.0;
/// The drift that is believed, at most: sound cards are within 100 ppm of what they say, and one that is not shall
/// be followed too.
const DRIFT_PPM: f64 = 2_000.0;
/// An error greater than this counts as this, in seconds.
const SPIKE_S: f64 = 0.02;

/// An error below this part of that moves as the queue does: one that counts as less than it is seems to stay.
const CLEAR_OF_SPIKES: f64 = 0.9;

/// How long an error that the pull is cut short for is looked at before anything is learnt of it: the low-pass is still
/// on its way to it.
const LOOK_S: f64 = 6.0 * SMOOTH_S;
/// After that it is looked at this often: meanwhile the pull moves it by more than jitter does behind the low-pass.
const LOOK_AGAIN_S: f64 = 2.0 * SMOOTH_S;

/// The loop.
#[derive(Debug, Clone)]
pub(super) struct Drift {
    rate: f64,
    block_s: f64,
    /// Frames.
    error: f64,
    /// Frames per second: what the drift is believed to be.
    drift: f64,
    limited: Limited,
}

/// What becomes of an error while the pull is cut short for it: one that comes back as it is pulled is no drift. One that
/// grows, stays or comes back at less than half that speed is: the pull alone would take minutes, or for ever.
#[derive(Debug, Clone, Copy, Default)]
struct Limited {
    /// Seconds since it is, or since it was looked at.
    since_s: f64,
    /// Frames, when it was looked at; `None` before the first look.
    error: Option<f64>,
    is_drift: bool,
}

impl Limited {
    /// So many seconds later the error is so great, pulled back by so many frames per second.
    fn step(&mut self, error: f64, step_s: f64, pull: f64) {
        self.since_s += step_s;
        let look_s = if self.error.is_some() { LOOK_AGAIN_S } else { LOOK_S };
        if self.since_s < look_s {
            return;
        }
        self.is_drift = self.error.is_some_and(|before| error > before - 0.5 * pull * self.since_s);
        (self.error, self.since_s) = (Some(error), 0.0);
    }

    /// What was seen of it is no measure any more; what was found out holds on.
    fn look_anew(&mut self) {
        (self.error, self.since_s) = (None, 0.0);
    }
}

impl Drift {
    /// For a queue of this rate, read in blocks of so many frames.
    pub(super) fn new(rate: u32, block_frames: usize) -> Self {
        let rate = f64::from(rate);
        Self {
            rate,
            block_s: block_frames as f64 / rate,
            error: 0.0,
            drift: 0.0,
            limited: Limited::default(),
        }
    }

    /// A block later: by how many frames the queue is too full, if that is known. Answers with the fraction of frames
    /// to read more.
    ///
    /// # Real-time
    /// Yes.
    pub(super) fn step(&mut self, too_full: Option<f64>) -> f64 {
        if let Some(too_full) = too_full {
            let spike = SPIKE_S * self.rate;
            self.error += (too_full.clamp(-spike, spike) - self.error) * (self.block_s / SMOOTH_S).min(1.0);
        }
        let (limit, most) = (self.rate * LIMIT_PPM * 1e-6, self.rate * DRIFT_PPM * 1e-6);
        let wanted = 2.0 * OMEGA * self.error;
        let pull = wanted.clamp(-limit, limit);
        if self.learns(wanted.abs() > limit, limit) {
            self.drift = (self.drift + 0.5 * OMEGA * pull * self.block_s).clamp(-most, most);
        }
        (pull + self.drift) / self.rate
    }

    /// Whether the error tells of a drift; `limit` is the pull at most, in frames per second.
    fn learns(&mut self, is_limited: bool, limit: f64) -> bool {
        if !is_limited {
            self.limited = Limited::default();
            return true;
        }
        let error = self.error.abs();
        if error < CLEAR_OF_SPIKES * SPIKE_S * self.rate {
            self.limited.step(error, self.block_s, limit);
        } else {
            self.limited.look_anew();
        }
        self.limited.is_drift
    }

    /// The queue begins anew; what is known of the clocks stays.
    pub(super) fn forget_error(&mut self) {
        self.error = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const RATE: u32 = 48_000;
    const BLOCK: usize = 128;

    /// Ten minutes of a queue that is filled too fast by `ppm` and measured with some noise: the error after each
    /// block, and the correction.
    fn course(ppm: f64, begins_at: f64, noise: f64) -> Vec<(f64, f64)> {
        let mut drift = Drift::new(RATE, BLOCK);
        let (mut error, mut random) = (begins_at, Random::new(1));
        let blocks = 600 * RATE as usize / BLOCK;
        let step = |_| {
            let jitter = (random.below(1 << 31) as f64 / f64::from(1u32 << 30) - 1.0) * noise;
            let correction = drift.step(Some(error + jitter));
            error += (ppm * 1e-6 - correction) * BLOCK as f64;
            (error, correction * 1e6)
        };
        (0..blocks).map(step).collect()
    }

    #[test]
    fn a_drift_is_found_and_the_queue_stays_where_it_is() {
        for ppm in [200.0, -200.0, 20.0, 0.0] {
            for noise in [0.0, 50.0] {
                let course = course(ppm, 0.0, noise);
                let farthest = course.iter().fold(0.0, |most, (error, _)| error.abs().max(most));
                assert!(farthest < 60.0, "{ppm} ppm: {farthest} frames");
                for (error, correction) in &course[course.len() / 2..] {
                    assert!(error.abs() < 4.0, "{ppm} ppm: {error} frames");
                    assert!((correction - ppm).abs() < 30.0, "{ppm} ppm: {correction}");
                }
            }
        }
    }

    #[test]
    fn the_pitch_is_never_off_by_more_than_is_promised_however_far_off_the_queue_is() {
        for (ppm, begins_at) in
            [(200.0, 0.0), (-200.0, 300.0), (200.0, 300.0), (0.0, -600.0), (-200.0, 900.0), (200.0, -4_000.0)]
        {
            for (_, correction) in course(ppm, begins_at, 20.0) {
                // What noise does comes on top.
                assert!((correction - ppm).abs() < 352.0, "{ppm} ppm, {begins_at} frames: {correction}");
            }
        }
    }

    #[test]
    fn a_drift_that_the_pull_alone_does_not_hold_is_learnt_also_while_the_queue_is_far_off() {
        for (ppm, begins_at) in [(1_000.0, 0.0), (-500.0, 300.0)] {
            let course = course(ppm, begins_at, 20.0);
            let (_, correction) = course.last().unwrap();
            assert!((correction - ppm).abs() < 151.0, "{ppm} ppm: {correction}");
        }
    }

    #[test]
    fn a_queue_that_is_far_off_comes_back() {
        for begins_at in [700.0, -700.0] {
            let course = course(100.0, begins_at, 20.0);
            assert!(course.last().unwrap().0.abs() < 4.0, "{:?}", course.last());
        }
    }

    #[test]
    fn a_queue_that_is_far_off_comes_back_in_minutes_also_against_a_drift_as_great_as_the_pull() {
        for ppm in [140.0, -140.0, 150.0, -150.0] {
            for begins_at in [300.0, -300.0] {
                let course = course(ppm, begins_at, 20.0);
                let (error, correction) = course[course.len() / 3];
                assert!(error.abs() < 4.0, "{ppm} ppm, {begins_at} frames: {error} frames");
                assert!((correction - ppm).abs() < 30.0, "{ppm} ppm, {begins_at} frames: {correction}");
            }
        }
    }

    #[test]
    fn without_measurements_it_goes_on_as_it_was() {
        let mut drift = Drift::new(RATE, BLOCK);
        (0..100_000).for_each(|_| assert!(drift.step(Some(10.0)) > 0.0));
        drift.forget_error();
        let ppm = drift.step(None) * 1e6;
        assert!(ppm > 1.0);
        assert!((0..1000).all(|_| (drift.step(None) * 1e6 - ppm).abs() < 1e-6));
    }
}
