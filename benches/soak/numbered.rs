//! Frames that say which one they are, and who hears them.
//!
//! The first channel of a frame holds its number, the others a mix of it, all in 24 bits and never silent: what comes
//! out of the pair of plugins is such a frame, bit for bit, or silence, or it is wrong. Both ends run on an audio
//! thread. Nothing is judged here.

use host::block::Block;
use host::processor::{Processor, Turn};
use rtrb::{Consumer, Producer, RingBuffer};
use serde::Serialize;
use shared::clock::now_ns;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers begin again after so many frames: a minute and a half.
pub const NUMBERS: u32 = 1 << 22;
const FULL_SCALE: f32 = (1 << 23) as f32;
/// Samples keep so far from silence.
const QUIETEST: u32 = 1 << 21;
/// Runs that may wait to be taken.
const RUNS: usize = 1 << 14;
/// A run is told after so many frames, though it goes on.
const TOLD_AFTER_FRAMES: u64 = 4096;

/// What a frame turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Heard {
    /// A numbered frame that comes so many frames after its number, modulo [`NUMBERS`].
    Signal {
        /// See above.
        delay: u32,
    },
    /// Nothing.
    Silence,
    /// Anything else: noise, plain where it should be encrypted, torn.
    Wrong,
}

/// Frames in a row that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// What they are.
    pub heard: Heard,
    /// The first one, counted from the first one heard.
    pub from: u64,
    /// How many.
    pub frames: u64,
    /// When the blocks of the first and the last one were played, in [`now_ns`].
    pub began_ns: u64,
    /// See above.
    pub ended_ns: u64,
}

/// One channel's sample of a numbered frame.
fn sample(number: u32, channel: usize) -> f32 {
    let size = if channel == 0 { number } else { number.wrapping_mul(2_654_435_761) >> 10 };
    let sample = (size + QUIETEST) as f32 / FULL_SCALE;
    if channel.is_multiple_of(2) { sample } else { -sample }
}

/// Which frame this is, of a block.
fn heard(frame: impl Iterator<Item = f32> + Clone, at: u64) -> Heard {
    if frame.clone().all(|sample| sample == 0.0) {
        return Heard::Silence;
    }
    let scaled = frame.clone().next().unwrap_or_default() * FULL_SCALE - QUIETEST as f32;
    if !(0.0..NUMBERS as f32).contains(&scaled) {
        return Heard::Wrong;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Within bounds.
    let number = scaled as u32;
    if frame.enumerate().any(|(channel, heard)| heard != sample(number, channel)) {
        return Heard::Wrong;
    }
    let at = u32::try_from(at % u64::from(NUMBERS)).unwrap_or(0);
    Heard::Signal { delay: (at + NUMBERS - number) % NUMBERS }
}

/// Numbers frames, whatever they were before.
#[derive(Debug, Default)]
pub struct Numberer(u64);

impl Processor for Numberer {
    fn name(&self) -> &str {
        "numberer"
    }

    fn process(&mut self, block: &mut Block<'_>, _turn: &Turn) {
        for (channel, samples) in block.iter_mut().enumerate() {
            for (at, out) in (self.0..).zip(samples) {
                let number = u32::try_from(at % u64::from(NUMBERS)).unwrap_or(0);
                *out = sample(number, channel);
            }
        }
        self.0 += block.frames() as u64;
    }
}

/// Hears frames and tells runs of them.
#[derive(Debug)]
pub struct Witness {
    at: u64,
    run: Option<Run>,
    runs: Producer<Run>,
    missed: Arc<AtomicU64>,
}

/// Takes the runs that a witness tells.
#[derive(Debug)]
pub struct Told {
    runs: Consumer<Run>,
    missed: Arc<AtomicU64>,
}

/// A witness, and who takes what it tells.
#[must_use]
pub fn witness() -> (Witness, Told) {
    let (mut runs, mut told) = RingBuffer::new(RUNS);
    // All of its memory is there from the start: what is touched later would look as if the host grew.
    let nothing = Run { heard: Heard::Silence, from: 0, frames: 0, began_ns: 0, ended_ns: 0 };
    while runs.push(nothing).is_ok() {}
    while told.pop().is_ok() {}
    let missed = Arc::new(AtomicU64::new(0));
    (Witness { at: 0, run: None, runs, missed: Arc::clone(&missed) }, Told { runs: told, missed })
}

impl Witness {
    fn hear(&mut self, heard: Heard, now_ns: u64) {
        match &mut self.run {
            Some(run) if run.heard == heard && run.frames < TOLD_AFTER_FRAMES => {
                run.frames += 1;
                run.ended_ns = now_ns;
            }
            run => {
                let next = Run { heard, from: self.at, frames: 1, began_ns: now_ns, ended_ns: now_ns };
                let over = run.replace(next);
                self.tell(over);
            }
        }
        self.at += 1;
    }

    fn tell(&mut self, run: Option<Run>) {
        if run.is_some_and(|run| self.runs.push(run).is_err()) {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Tells the run that was still under way.
impl Drop for Witness {
    fn drop(&mut self) {
        let last = self.run.take();
        self.tell(last);
    }
}

impl Processor for Witness {
    fn name(&self) -> &str {
        "witness"
    }

    fn process(&mut self, block: &mut Block<'_>, _turn: &Turn) {
        let now_ns = now_ns();
        for frame in 0..block.frames() {
            let samples = block.samples().iter().skip(frame).step_by(block.frames());
            let heard = heard(samples.copied(), self.at);
            self.hear(heard, now_ns);
        }
    }
}

impl Told {
    /// The next run, if one is over.
    pub fn next_run(&mut self) -> Option<Run> {
        self.runs.pop().ok()
    }

    /// Runs that nobody took in time.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: usize = 16;

    fn numbered(blocks: usize) -> Vec<[f32; 2 * FRAMES]> {
        let mut numberer = Numberer::default();
        let block = |_| {
            let mut samples = [0.0; 2 * FRAMES];
            numberer.process(&mut Block::new(&mut samples, FRAMES), &Turn::new(0, 0));
            samples
        };
        (0..blocks).map(block).collect()
    }

    /// What a witness tells of these blocks, the last run as well.
    fn told(blocks: &[[f32; 2 * FRAMES]]) -> Vec<(Heard, u64, u64)> {
        let (mut witness, mut told) = witness();
        for block in blocks {
            witness.process(&mut Block::new(&mut block.clone(), FRAMES), &Turn::new(0, 0));
        }
        drop(witness);
        std::iter::from_fn(|| told.next_run()).map(|run| (run.heard, run.from, run.frames)).collect()
    }

    #[test]
    fn every_number_is_heard_and_is_never_silent_nor_beyond_24_bits() {
        for number in (0..NUMBERS).step_by(997).chain([NUMBERS - 1]) {
            let frame = [sample(number, 0), sample(number, 1)];
            for sample in frame {
                assert!((0.25..0.75).contains(&sample.abs()));
                assert_eq!((sample * FULL_SCALE).fract(), 0.0);
            }
            assert_eq!(heard(frame.into_iter(), number.into()), Heard::Signal { delay: 0 });
            let late = u64::from(number) + 300 + u64::from(NUMBERS);
            assert_eq!(heard(frame.into_iter(), late), Heard::Signal { delay: 300 });
        }
    }

    #[test]
    fn frames_that_are_left_out_repeated_or_silent_are_runs_of_their_own() {
        let blocks = numbered(6);
        let silent = [0.0; 2 * FRAMES];
        let heard = told(&[silent, blocks[0], blocks[1], silent, blocks[3], blocks[3], blocks[5]]);
        let signal = |delay| Heard::Signal { delay };
        assert_eq!(
            heard,
            [
                (Heard::Silence, 0, 16),
                (signal(16), 16, 32),
                (Heard::Silence, 48, 16),
                (signal(16), 64, 16),
                (signal(32), 80, 16),
                (signal(16), 96, 16),
            ]
        );
    }

    #[test]
    fn one_bit_another_channel_and_plain_noise_are_wrong() {
        let [mut bit, mut turned, mut scaled] = [numbered(1)[0]; 3];
        bit[3] = f32::from_bits(bit[3].to_bits() ^ 1);
        turned[FRAMES + 3] *= -1.0;
        scaled[3] *= 0.999;
        for block in [bit, turned, scaled] {
            let heard = told(&[block]);
            assert_eq!(heard[1], (Heard::Wrong, 3, 1), "{heard:?}");
        }
        let mut nan = numbered(1)[0];
        nan[0] = f32::NAN;
        assert_eq!(told(&[nan])[0], (Heard::Wrong, 0, 1));
    }

    #[test]
    fn what_is_heard_to_the_end_is_told_when_the_witness_goes() {
        let (mut witness, mut told) = witness();
        witness.process(&mut Block::new(&mut [0.0; 2 * FRAMES], FRAMES), &Turn::new(0, 0));
        assert_eq!(told.next_run(), None);
        drop(witness);
        assert_eq!(told.next_run().map(|run| (run.heard, run.frames)), Some((Heard::Silence, 16)));
    }

    #[test]
    fn a_long_run_is_told_while_it_goes_on() {
        let (mut witness, mut told) = witness();
        (0..=TOLD_AFTER_FRAMES).for_each(|_| witness.hear(Heard::Silence, 0));
        assert_eq!(told.next_run().map(|run| run.frames), Some(TOLD_AFTER_FRAMES));
        assert_eq!(told.missed(), 0);
    }
}
