//! What is heard when a plugin's block isn't there, and how it is joined to what is.
//!
//! Runs on the audio thread beside each plugin. It keeps the dry signal, delayed as the plugin delays, and the
//! last good block where the policy needs it. Every change between good and replaced audio starts where the
//! last sample left off: the difference is added to the new audio and fades within two milliseconds, so the
//! largest step is that of the audio itself plus `difference * pi / (2 * ramp frames)`. A plugin that fails
//! closed, or whose samples are not audio, is cut to zero at once instead.

use super::spec::Lost;
use crate::block::Block;
use shared::format::Format;

/// Length of a ramp.
const RAMP_NS: u64 = 2_000_000;
/// How long a held block is repeated until it has faded to silence.
const HOLD_NS: u64 = 100_000_000;

/// What to do about lost blocks of one processor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) lost: Lost,
    /// Silence from the first sample, whatever `lost` says.
    pub(crate) closed: bool,
    /// The samples are audio: joints may be ramped.
    pub(crate) ramp: bool,
    /// How many frames later than its input the processor's output comes.
    pub(crate) latency_frames: usize,
}

/// Replaces lost blocks and joins them to good ones.
#[derive(Debug)]
pub(crate) struct Concealer {
    plan: Plan,
    dry: Delay,
    held: Hold,
    joint: Joint,
    good: bool,
}

impl Concealer {
    /// For blocks of this format. Allocates all it will ever need.
    pub(crate) fn new(format: Format, plan: Plan) -> Self {
        let plan = Plan { lost: if plan.closed { Lost::Mute } else { plan.lost }, ..plan };
        let keeps = |policy, samples| if plan.lost == policy { samples } else { 0 };
        Self {
            plan,
            dry: Delay::new(format, keeps(Lost::Bypass, plan.latency_frames)),
            held: Hold::new(format, keeps(Lost::Hold, format.samples())),
            joint: Joint::new(format),
            good: true,
        }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Takes note of the dry block before the processor's result replaces it. Once for each block.
    pub(crate) fn hear(&mut self, dry: &Block<'_>) {
        self.dry.feed(dry);
    }

    /// The block holds the processor's result.
    pub(crate) fn pass(&mut self, block: &mut Block<'_>) {
        self.held.keep(block);
        if self.plan.ramp {
            self.joint.join(block, !self.good);
        }
        self.good = true;
    }

    /// The block holds the dry input and there is no result: puts in what the policy says.
    pub(crate) fn replace(&mut self, block: &mut Block<'_>) {
        // A held block ends elsewhere than it began: each repetition is a joint of its own.
        let repeats = self.plan.lost == Lost::Hold && self.held.is_sounding();
        match self.plan.lost {
            Lost::Bypass => self.dry.put(block),
            Lost::Mute => block.samples_mut().fill(0.0),
            Lost::Hold => self.held.put(block),
        }
        if self.plan.closed || !self.plan.ramp {
            self.joint.cut(block);
        } else {
            self.joint.join(block, self.good || repeats);
        }
        self.good = false;
    }
}

/// The dry signal, some frames late.
#[derive(Debug)]
struct Delay {
    frames: usize,
    lines: Vec<f32>,
    at: usize,
    delayed: Vec<f32>,
}

impl Delay {
    fn new(format: Format, frames: usize) -> Self {
        let delayed = if frames == 0 { 0 } else { format.samples() };
        Self { frames, lines: vec![0.0; format.channels() * frames], at: 0, delayed: vec![0.0; delayed] }
    }

    fn feed(&mut self, dry: &Block<'_>) {
        if self.frames == 0 {
            return;
        }
        let block_frames = dry.frames();
        let lines = self.lines.chunks_exact_mut(self.frames);
        let delayed = self.delayed.chunks_exact_mut(block_frames);
        for ((line, out), dry) in lines.zip(delayed).zip(dry.iter()) {
            exchange(line, self.at, dry, out);
        }
        self.at = (self.at + block_frames) % self.frames;
    }

    fn put(&self, block: &mut Block<'_>) {
        if self.frames > 0 {
            block.samples_mut().copy_from_slice(&self.delayed);
        }
    }
}

/// Takes what went into the line `line.len()` frames ago into `out` and puts `dry` in its place.
fn exchange(line: &mut [f32], mut at: usize, dry: &[f32], out: &mut [f32]) {
    let mut done = 0;
    while done < dry.len() {
        let n = (dry.len() - done).min(line.len() - at);
        out[done..done + n].copy_from_slice(&line[at..at + n]);
        line[at..at + n].copy_from_slice(&dry[done..done + n]);
        done += n;
        at = (at + n) % line.len();
    }
}

/// The last good block, repeated and faded out.
#[derive(Debug)]
struct Hold {
    samples: Vec<f32>,
    fade_frames: usize,
    faded: usize,
}

impl Hold {
    fn new(format: Format, samples: usize) -> Self {
        let fade_frames = frames_of(format, HOLD_NS);
        Self { samples: vec![0.0; samples], fade_frames, faded: 0 }
    }

    fn keep(&mut self, block: &Block<'_>) {
        if !self.samples.is_empty() {
            self.samples.copy_from_slice(block.samples());
            self.faded = 0;
        }
    }

    fn is_sounding(&self) -> bool {
        self.faded < self.fade_frames
    }

    fn put(&mut self, block: &mut Block<'_>) {
        let frames = block.frames();
        for (channel, held) in block.iter_mut().zip(self.samples.chunks_exact(frames)) {
            for (i, (sample, held)) in channel.iter_mut().zip(held).enumerate() {
                let left = self.fade_frames.saturating_sub(self.faded + i);
                *sample = held * (left as f32 / self.fade_frames as f32);
            }
        }
        self.faded = (self.faded + frames).min(self.fade_frames);
    }
}

/// Where the last block ended, and how far the ramp from there has come.
#[derive(Debug)]
struct Joint {
    last: Vec<f32>,
    offset: Vec<f32>,
    /// Weight of the offset, frame by frame: 1 down to 0, a raised cosine.
    ramp: Vec<f32>,
    at: usize,
}

impl Joint {
    fn new(format: Format) -> Self {
        let frames = frames_of(format, RAMP_NS);
        let weight = |i| 0.5 + 0.5 * (std::f32::consts::PI * i as f32 / frames as f32).cos();
        let ramp: Vec<f32> = (0..frames).map(weight).collect();
        Self { last: vec![0.0; format.channels()], offset: vec![0.0; format.channels()], at: frames, ramp }
    }

    /// Goes on with the ramp under way, or starts one if the block `begins` another kind of audio.
    fn join(&mut self, block: &mut Block<'_>, begins: bool) {
        if begins {
            self.at = 0;
            for ((offset, last), channel) in self.offset.iter_mut().zip(&self.last).zip(block.iter()) {
                *offset = last - channel[0];
            }
        }
        let ramp = &self.ramp[self.at..];
        for (channel, offset) in block.iter_mut().zip(&self.offset) {
            for (sample, weight) in channel.iter_mut().zip(ramp) {
                let joined = *sample + offset * weight;
                // Audio as loud as numbers go has no room for a ramp; what is not finite must not be made here.
                if joined.is_finite() {
                    *sample = joined;
                }
            }
        }
        self.at = (self.at + block.frames()).min(self.ramp.len());
        self.remember(block);
    }

    /// No ramp: what the block holds is what is heard.
    fn cut(&mut self, block: &Block<'_>) {
        self.at = self.ramp.len();
        self.remember(block);
    }

    fn remember(&mut self, block: &Block<'_>) {
        for (last, channel) in self.last.iter_mut().zip(block.iter()) {
            *last = channel[channel.len() - 1];
        }
    }
}

fn frames_of(format: Format, ns: u64) -> usize {
    usize::try_from(u64::from(format.rate()) * ns / 1_000_000_000).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // small numbers
mod tests {
    use super::*;

    const FRAMES: usize = 64;

    fn format() -> Format {
        Format::new(2, u32::try_from(FRAMES).unwrap(), 48_000).unwrap()
    }

    fn concealer(lost: Lost, closed: bool, latency_frames: usize) -> Concealer {
        Concealer::new(format(), Plan { lost, closed, ramp: true, latency_frames })
    }

    /// A plugin that inverts a slow sine and loses the blocks for which `lost` says so.
    fn run(concealer: &mut Concealer, blocks: usize, lost: impl Fn(usize) -> bool) -> Vec<f32> {
        let latency = concealer.plan.latency_frames as i64;
        let sine = |frame: i64| if frame < 0 { 0.0 } else { (frame as f32 * 0.01).sin() };
        let mut heard = Vec::new();
        for b in 0..blocks {
            let frame = |i: usize| (b * FRAMES + i % FRAMES) as i64;
            let mut samples: Vec<f32> = (0..2 * FRAMES).map(|i| sine(frame(i))).collect();
            let mut block = Block::new(&mut samples, FRAMES);
            concealer.hear(&block);
            if lost(b) {
                concealer.replace(&mut block);
            } else {
                let result = (0..2 * FRAMES).map(|i| -sine(frame(i) - latency));
                block.samples_mut().iter_mut().zip(result).for_each(|(s, r)| *s = r);
                concealer.pass(&mut block);
            }
            heard.extend_from_slice(&samples[..FRAMES]);
        }
        heard
    }

    fn largest_step(samples: &[f32]) -> f32 {
        samples.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn no_policy_steps_further_than_the_audio_and_its_ramp_do() {
        for lost in [Lost::Bypass, Lost::Mute, Lost::Hold] {
            for latency in [0, FRAMES, 100] {
                let heard = run(&mut concealer(lost, false, latency), 40, |b| b % 7 >= 4);
                // The audio steps by 0.01 a frame; two signals of opposite sign differ by 2 at most.
                let bound = 0.011 + 2.0 * std::f32::consts::PI / (2.0 * 96.0);
                assert!(largest_step(&heard) < bound, "{lost:?} {latency}: {}", largest_step(&heard));
            }
        }
    }

    #[test]
    fn the_dry_signal_is_as_late_as_the_plugin() {
        for latency in [1, 63, 64, 65, 200] {
            let heard = run(&mut concealer(Lost::Bypass, false, latency), 12, |b| b >= 2);
            let ramp_over = 5 * FRAMES;
            for (frame, sample) in heard.iter().enumerate().skip(ramp_over) {
                assert_eq!(
                    *sample,
                    ((frame - latency) as f32 * 0.01).sin(),
                    "latency {latency} frame {frame}"
                );
            }
        }
    }

    #[test]
    fn a_plugin_that_fails_closed_is_silent_from_the_first_sample() {
        let heard = run(&mut concealer(Lost::Bypass, true, 0), 10, |b| (3..6).contains(&b));
        assert!(heard[3 * FRAMES - 1] != 0.0);
        assert!(heard[3 * FRAMES..6 * FRAMES].iter().all(|s| *s == 0.0));
    }

    #[test]
    fn a_held_block_fades_to_silence() {
        let heard = run(&mut concealer(Lost::Hold, false, 0), 90, |b| b >= 3);
        assert!(heard[3 * FRAMES..6 * FRAMES].iter().any(|s| s.abs() > 0.1));
        assert!(heard[84 * FRAMES..].iter().all(|s| *s == 0.0));
    }

    #[test]
    fn a_ramp_makes_no_sample_that_is_not_finite() {
        let mut concealer = concealer(Lost::Bypass, false, 0);
        for (b, good) in [f32::MAX, -f32::MAX, f32::NAN, 0.5, f32::INFINITY, -0.5].into_iter().enumerate() {
            let mut samples = vec![good; 2 * FRAMES];
            let mut block = Block::new(&mut samples, FRAMES);
            concealer.hear(&block);
            if b % 2 == 0 {
                concealer.replace(&mut block)
            } else {
                concealer.pass(&mut block)
            }
            let made = |s: &f32| !s.is_finite() && good.is_finite();
            assert!(!block.samples().iter().any(made), "block {b} of {good}: {:?}", block.samples());
        }
    }

    #[test]
    fn samples_that_are_not_audio_are_never_ramped() {
        let plan = Plan { lost: Lost::Mute, closed: false, ramp: false, latency_frames: 0 };
        let heard = run(&mut Concealer::new(format(), plan), 6, |b| b == 3);
        for (frame, sample) in heard.iter().enumerate() {
            let expected = if frame / FRAMES == 3 { 0.0 } else { -(frame as f32 * 0.01).sin() };
            assert_eq!(*sample, expected);
        }
    }
}
