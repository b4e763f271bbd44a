//! How much faster or slower a queue is read than it is filled, so that two clocks stay together.
//!
//! For the [`CaptureQueue`](super::CaptureQueue). Arithmetic alone: it is told by how many frames the queue is too full
//! and answers with a correction.
//!
//! The law is a second-order loop, critically damped (F. Adriaensen, "Using a DLL to filter time", LAC 2005, and
//! "Controlling adaptive resampling", LAC 2012): with `e` the error in frames behind a low-pass of [`SMOOTH_S`], read
//! `2 w e + w² ∫ e dt` frames per second more. `w` is [`OMEGA`]: an error is gone in some 20 s. For a drift of 200 ppm
//! (10 frames per second at 48 kHz) that comes all at once the queue is off by `10 / (e w)`, some 40 frames, at most.
//!
//! It can't be heard. The first term is kept within [`LIMIT_PPM`], so that a queue that is far off comes back slowly
//! instead of out of tune: together with a drift of 200 ppm that is not known yet the pitch is off by 350 ppm, 0.6
//! cent, at most, however far off the queue is; people tell 3 to 5 cents. The second, which comes to be the drift
//! itself, changes by less than [`OMEGA`] times the first in a second, and not at all while the first is cut short and
//! the queue comes back nonetheless ([`Limited`]): it would take the way back for a drift. Jitter of the callbacks does not matter: the error is taken as if frames came
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

/// How long an error that the pull is cut short for is looked at before anything is learnt of it: the low-pass is still
/// on its way to it.
const LOOK_S: f64 = 6.0 * SMOOTH_S;
/// An error has turned when it has moved by twice this, in seconds: more than jitter moves it behind the low-pass.
const TURNED_S: f64 = 1e-4;

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

/// What becomes of an error while the pull is cut short for it: one that comes back is no drift, one that grows is a
/// drift that the pull alone can't hold.
#[derive(Debug, Clone, Copy, Default)]
struct Limited {
    /// Seconds since it is.
    since_s: f64,
    /// Frames, behind the error on its way.
    error: f64,
    grows: bool,
}

impl Limited {
    /// So many seconds later the error is so great; `turned` is how far it has to go back to have turned.
    fn step(&mut self, error: f64, step_s: f64, turned: f64) {
        self.since_s += step_s;
        if self.since_s < LOOK_S {
            self.error = error;
        } else if error > self.error + turned {
            (self.error, self.grows) = (error - turned, true);
        } else if error < self.error - turned {
            (self.error, self.grows) = (error + turned, false);
        }
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
        if self.learns(wanted.abs() > limit) {
            self.drift = (self.drift + 0.5 * OMEGA * pull * self.block_s).clamp(-most, most);
        }
        (pull + self.drift) / self.rate
    }

    /// Whether the error tells of a drift.
    fn learns(&mut self, is_limited: bool) -> bool {
        if !is_limited {
            self.limited = Limited::default();
            return true;
        }
        self.limited.step(self.error.abs(), self.block_s, TURNED_S * self.rate);
        self.limited.grows
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
    fn without_measurements_it_goes_on_as_it_was() {
        let mut drift = Drift::new(RATE, BLOCK);
        (0..100_000).for_each(|_| assert!(drift.step(Some(10.0)) > 0.0));
        drift.forget_error();
        let ppm = drift.step(None) * 1e6;
        assert!(ppm > 1.0);
        assert!((0..1000).all(|_| (drift.step(None) * 1e6 - ppm).abs() < 1e-6));
    }
}
