//! What is heard when a plugin's block isn't there, and how it is joined to what is.
//!
//! Runs on the audio thread beside each plugin. It keeps the dry signal, delayed as the plugin delays, and the
//! last good block where the policy needs it. Every change between good and replaced audio starts where the
//! last sample left off: the difference is added to the new audio and fades within two milliseconds, so the
//! largest step is that of the audio itself plus `difference * pi / (2 * ramp frames)`. A plugin that fails
//! closed, or whose samples are not audio, is cut to zero at once instead.
//!
//! A move between modes goes over from the old stream of results into the new one, where both are there: see
//! [`Concealer::fade`]. Both are the same signal, some blocks apart. Where they are alike, as at low frequencies, equal
//! power would make them up to 3 dB louder in the middle, above what the level guard has let pass; so the gains add up to
//! one, and no sample is louder than the louder of the two. Where they are not alike it is 3 dB quieter there, for a
//! millisecond. The combs that the sum of both is, with nulls from `rate / (2 * frames apart)` on, last as long. A line is
//! the fade with the smallest step: that of the audio plus `difference / fade frames`, of which there are as many as a
//! block has at most. Where one of the two isn't there, because the worker is what is too slow, or dead, or fails,
//! the new stream is joined to the last sample heard as any other audio is.

use super::spec::Lost;
use crate::block::Block;
use crate::queue::silence;
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
    /// The most that this may become while it runs.
    pub(crate) latency_max_frames: usize,
}

/// Replaces lost blocks and joins them to good ones.
#[derive(Debug)]
pub(crate) struct Concealer {
    plan: Plan,
    dry: Delay,
    held: Hold,
    joint: Joint,
    good: bool,
    /// What the present block holds does not follow from the one before, or the next one won't follow from it.
    is_open_before: bool,
    is_open_after: bool,
    /// The user wants the dry signal heard, of which too little is there.
    is_waiting: bool,
    /// The next block [at rest](Concealer::rest) breaks off what was heard.
    breaks_off: bool,
}

impl Concealer {
    /// For blocks of this format. Allocates all it will ever need.
    pub(crate) fn new(format: Format, plan: Plan) -> Self {
        let plan = Plan { lost: if plan.closed { Lost::Mute } else { plan.lost }, ..plan };
        let keeps = |policy, samples| if plan.lost == policy { samples } else { 0 };
        // Whatever is heard in place of a lost block: the user may bypass any that does not fail closed.
        let most = if plan.closed { 0 } else { plan.latency_max_frames.max(plan.latency_frames) };
        Self {
            plan,
            dry: Delay::new(format, plan.latency_frames, most),
            held: Hold::new(format, keeps(Lost::Hold, format.samples())),
            joint: Joint::new(format),
            good: true,
            is_open_before: false,
            is_open_after: false,
            is_waiting: false,
            breaks_off: false,
        }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Takes note of the dry block before the processor's result replaces it. Once for each block.
    pub(crate) fn hear(&mut self, dry: &Block<'_>) {
        self.dry.feed(dry);
    }

    /// From the next block on the output comes this many frames late, no more than was planned for: the dry signal
    /// goes with it.
    pub(crate) fn realign(&mut self, latency_frames: usize) {
        self.plan.latency_frames = latency_frames.min(self.plan.latency_max_frames);
        self.dry.frames = self.plan.latency_frames;
    }

    /// From the next block on the output may come `more` frames later than it might until now; if it `is_late`, it does,
    /// and what was heard breaks off until then. Allocates: not for the audio thread.
    pub(crate) fn replan(&mut self, more: usize, is_late: bool) {
        if self.dry.kept > 0 {
            let later = if is_late { more } else { 0 };
            self.plan.latency_frames += later;
            let most = self.dry.kept - self.dry.block_frames + more;
            self.plan.latency_max_frames = most;
            self.dry = self.dry.longer(self.dry.frames + later, most);
        }
        if is_late {
            self.break_off();
            self.succeed();
        }
    }

    /// There will be no result for a while: what was heard ends with a ramp.
    pub(crate) fn break_off(&mut self) {
        self.breaks_off = true;
    }

    /// There is no result yet: silence, which is no loss.
    pub(crate) fn rest(&mut self, block: &mut Block<'_>) {
        block.samples_mut().fill(0.0);
        let breaks_off = std::mem::take(&mut self.breaks_off);
        if self.plan.closed || !self.plan.ramp {
            return self.joint.cut(block);
        }
        // What comes behind it is still to be joined, if it was.
        let is_broken = std::mem::take(&mut self.joint.broken);
        self.joint.join(block, breaks_off);
        self.joint.broken = is_broken;
    }

    /// The block, which has passed, goes over into the `other` result, that the next block follows from: within a
    /// ramp's time, but within the block. A ramp that is still under way ends with what it leads to.
    pub(crate) fn fade(&mut self, block: &mut Block<'_>, other: &Block<'_>) {
        let frames = self.joint.ramp.len().min(block.frames());
        for (channel, other) in block.iter_mut().zip(other.iter()) {
            for (i, (sample, other)) in channel.iter_mut().zip(other).enumerate() {
                let left = frames.saturating_sub(i) as f32 / frames as f32;
                *sample = mix(*sample, *other, left);
            }
        }
        self.held.keep(other);
        self.joint.cut(block);
    }

    /// From the next block on the results follow from nothing that was heard, or somebody else makes them, who knows
    /// nothing of those before: the next block is joined to the last one.
    pub(crate) fn succeed(&mut self) {
        self.joint.broken = true;
    }

    /// Samples of the present block have been replaced, and with them its beginning or its end: if it passes, it is joined
    /// to the block before it, or the next one to it.
    pub(crate) fn mend(&mut self, is_open_before: bool, is_open_after: bool) {
        self.is_open_before |= is_open_before;
        self.is_open_after |= is_open_after;
    }

    /// How many frames before the present block it may need of the input, if the block is lost. Who bypasses it can wait
    /// until there are enough.
    pub(crate) fn history_frames(&self) -> usize {
        let needs = self.plan.lost == Lost::Bypass;
        if needs { self.dry.kept.saturating_sub(self.dry.block_frames) } else { 0 }
    }

    /// Of the input before the next block some was not heard, and will not be: what was heard before that is of no use.
    pub(crate) fn forget_dry(&mut self) {
        self.dry.heard = 0;
    }

    /// Whether a good block would pass as it is: no ramp is under way, and none begins.
    pub(crate) fn is_settled(&self) -> bool {
        let is_open = self.is_open_before || self.is_open_after;
        self.good && !is_open && (!self.plan.ramp || self.joint.is_over())
    }

    /// This block was heard as it is, before the next one; it was good. What has broken the joint since is still to be
    /// joined.
    pub(crate) fn heard(&mut self, block: &Block<'_>) {
        self.held.keep(block);
        self.joint.cut(block);
        self.good = true;
    }

    /// The block heard last will be heard once more: it counts once.
    pub(crate) fn hear_again(&mut self) {
        self.dry.step_back();
    }

    /// The block holds the processor's result.
    pub(crate) fn pass(&mut self, block: &mut Block<'_>) {
        let is_open_before = std::mem::take(&mut self.is_open_before);
        let is_open_after = std::mem::take(&mut self.is_open_after);
        self.held.keep(block);
        if self.plan.ramp {
            self.joint.join(block, !self.good || is_open_before);
            self.joint.broken = is_open_after;
        }
        self.good = true;
    }

    /// The block holds the dry input and there is no result: puts in what the policy says.
    pub(crate) fn replace(&mut self, block: &mut Block<'_>) {
        (self.is_open_before, self.is_open_after) = (false, false);
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

    /// The block holds the dry input, which is to be heard as late as the result would be: the user wants it so. Only of
    /// one that does not fail closed. It is silent until what was heard of the input reaches back so far.
    pub(crate) fn bypass(&mut self, block: &mut Block<'_>) {
        let waited = std::mem::replace(&mut self.is_waiting, !self.dry.reaches());
        if self.is_waiting {
            block.samples_mut().fill(0.0);
        } else {
            self.dry.put(block);
        }
        self.held.forget();
        if self.plan.ramp {
            self.joint.join(block, self.good || waited != self.is_waiting);
        } else {
            self.joint.cut(block);
        }
        self.good = false;
    }
}

/// So much of the one, the rest of the other; never louder than the louder of them.
fn mix(from: f32, to: f32, left: f32) -> f32 {
    let mixed = from * left + to * (1.0 - left);
    let loudest = from.abs().max(to.abs());
    // What is not finite must not be made here.
    if left > 0.0 && mixed.is_finite() { mixed.clamp(-loudest, loudest) } else { to }
}

/// The dry signal, some frames late.
#[derive(Debug)]
struct Delay {
    frames: usize,
    block_frames: usize,
    /// Frames kept of each channel: the longest delay and a block; none if there is never a delay.
    kept: usize,
    lines: Vec<f32>,
    /// Where the next frame goes.
    at: usize,
    /// Frames before that which follow each other, as far as they are kept; silence before the first one counts.
    heard: usize,
}

impl Delay {
    fn new(format: Format, frames: usize, most: usize) -> Self {
        let kept = if most == 0 { 0 } else { most + format.block_frames() };
        let (frames, block_frames) = (frames.min(most), format.block_frames());
        Self { frames, block_frames, kept, lines: silence(format.channels() * kept), at: 0, heard: kept }
    }

    /// The same with what was heard, for longer delays. What was not kept is silence that does not count.
    fn longer(&self, frames: usize, most: usize) -> Self {
        let kept = most + self.block_frames;
        let mut lines = silence(self.lines.len() / self.kept * kept);
        for (line, old) in lines.chunks_exact_mut(kept).zip(self.lines.chunks_exact(self.kept)) {
            let (newer, older) = old.split_at(self.at);
            let (_, last) = line.split_at_mut(kept - self.kept);
            last[..older.len()].copy_from_slice(older);
            last[older.len()..].copy_from_slice(newer);
        }
        Self { frames, block_frames: self.block_frames, kept, lines, at: 0, heard: self.heard }
    }

    fn feed(&mut self, dry: &Block<'_>) {
        if self.kept == 0 {
            return;
        }
        for (line, dry) in self.lines.chunks_exact_mut(self.kept).zip(dry.iter()) {
            let (before_end, rest) = dry.split_at(dry.len().min(self.kept - self.at));
            line[self.at..self.at + before_end.len()].copy_from_slice(before_end);
            line[..rest.len()].copy_from_slice(rest);
        }
        self.at = (self.at + dry.frames()) % self.kept;
        self.heard = (self.heard + dry.frames()).min(self.kept);
    }

    /// Whether the block that was heard last, as late as it is to be, is all there.
    fn reaches(&self) -> bool {
        self.kept == 0 || self.heard >= self.frames + self.block_frames
    }

    fn step_back(&mut self) {
        if self.kept > 0 {
            self.at = (self.at + self.kept - self.block_frames) % self.kept;
            self.heard = self.heard.saturating_sub(self.block_frames);
        }
    }

    /// Without a delay ever, the block still holds the dry signal.
    fn put(&self, block: &mut Block<'_>) {
        if self.kept == 0 {
            return;
        }
        let from = (self.at + self.kept - self.frames - block.frames()) % self.kept;
        for (line, out) in self.lines.chunks_exact(self.kept).zip(block.iter_mut()) {
            let (before_end, rest) = out.split_at_mut(out.len().min(self.kept - from));
            before_end.copy_from_slice(&line[from..from + before_end.len()]);
            rest.copy_from_slice(&line[..rest.len()]);
        }
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

    /// What was good last is not what was heard last.
    fn forget(&mut self) {
        self.faded = self.fade_frames;
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
    /// Where the ramp began, and how far that is from the audio it leads to.
    from: Vec<f32>,
    offset: Vec<f32>,
    /// Weight of the offset, frame by frame: 1 down to 0, a raised cosine.
    ramp: Vec<f32>,
    at: usize,
    /// The next block doesn't follow from the last one, whatever it holds.
    broken: bool,
}

impl Joint {
    fn new(format: Format) -> Self {
        let frames = frames_of(format, RAMP_NS);
        let weight = |i| 0.5 + 0.5 * (std::f32::consts::PI * i as f32 / frames as f32).cos();
        let ramp: Vec<f32> = (0..frames).map(weight).collect();
        Self {
            last: vec![0.0; format.channels()],
            from: vec![0.0; format.channels()],
            offset: vec![0.0; format.channels()],
            at: frames,
            ramp,
            broken: false,
        }
    }

    /// Goes on with the ramp under way, or starts one if the block `begins` another kind of audio.
    fn join(&mut self, block: &mut Block<'_>, begins: bool) {
        if std::mem::take(&mut self.broken) || begins {
            self.at = 0;
            self.from.copy_from_slice(&self.last);
            for ((offset, last), channel) in self.offset.iter_mut().zip(&self.last).zip(block.iter()) {
                *offset = last - channel[0];
            }
        }
        let ramp = &self.ramp[self.at..];
        for ((channel, from), offset) in block.iter_mut().zip(&self.from).zip(&self.offset) {
            for (sample, weight) in channel.iter_mut().zip(ramp) {
                let joined = *sample + offset * weight;
                // Audio as loud as numbers go has no room for a ramp; what is not finite must not be made here, nor
                // anything louder than what it leads from or to.
                if joined.is_finite() {
                    let loudest = from.abs().max(sample.abs());
                    *sample = joined.clamp(-loudest, loudest);
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

    fn is_over(&self) -> bool {
        !self.broken && self.at >= self.ramp.len()
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
        Concealer::new(
            format(),
            Plan { lost, closed, ramp: true, latency_frames, latency_max_frames: latency_frames },
        )
    }

    /// A plugin that inverts a slow sine and loses the blocks for which `lost` says so.
    fn run(concealer: &mut Concealer, blocks: usize, lost: impl Fn(usize) -> bool) -> Vec<f32> {
        run_from(concealer, 0..blocks, lost)
    }

    fn run_from(
        concealer: &mut Concealer,
        blocks: std::ops::Range<usize>,
        lost: impl Fn(usize) -> bool,
    ) -> Vec<f32> {
        let latency = concealer.plan.latency_frames as i64;
        let sine = |frame: i64| if frame < 0 { 0.0 } else { (frame as f32 * 0.01).sin() };
        let mut heard = Vec::new();
        for b in blocks {
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
    fn a_dry_signal_that_may_come_later_from_now_on_is_still_what_was_heard() {
        const LATE: usize = 3 * FRAMES + 7;
        for blocks in 1..9 {
            let mut concealer = concealer(Lost::Bypass, false, 50);
            let mut heard = run(&mut concealer, blocks, |_| true);
            // It might come later, and comes as it did.
            concealer.replan(LATE, false);
            heard.extend(run_from(&mut concealer, blocks..20, |_| true));
            let due = |frame: usize| (frame as f32 * 0.01 - 0.5).sin();
            for (frame, heard) in heard.iter().enumerate().skip(200) {
                assert!((heard - due(frame)).abs() < 1e-5, "{blocks} blocks, frame {frame}: {heard}");
            }
            concealer.realign(50 + LATE);
            assert_eq!(concealer.plan().latency_frames, 50 + LATE);
        }
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
    fn the_dry_signal_follows_a_latency_that_changes_and_is_joined_without_a_step() {
        let plan =
            Plan { lost: Lost::Bypass, closed: false, ramp: true, latency_frames: 0, latency_max_frames: 64 };
        let mut concealer = Concealer::new(format(), plan);
        let before = run(&mut concealer, 6, |_| true);
        concealer.realign(64);
        concealer.succeed();
        let after = run_from(&mut concealer, 6..12, |_| true);
        let heard = [before, after].concat();
        for (frame, sample) in heard.iter().enumerate().skip(8 * FRAMES) {
            assert_eq!(*sample, ((frame - 64) as f32 * 0.01).sin(), "frame {frame}");
        }
        let bound = 0.011 + 2.0 * std::f32::consts::PI / (2.0 * 96.0);
        assert!(largest_step(&heard) < bound, "{}", largest_step(&heard));
    }

    #[test]
    fn a_bypass_is_silent_until_enough_was_heard_of_the_input_and_is_joined_then() {
        for (latency, silent) in [(0, 0), (40, 1), (64, 1), (200, 4)] {
            let mut concealer = concealer(Lost::Mute, false, latency);
            run(&mut concealer, 4, |_| false);
            concealer.forget_dry();
            let mut heard = Vec::new();
            for b in 4..14 {
                let mut samples = [0.0; 2 * FRAMES].map(|_| b as f32 / 16.0);
                let mut block = Block::new(&mut samples, FRAMES);
                concealer.hear(&block);
                concealer.bypass(&mut block);
                heard.extend_from_slice(&samples[..FRAMES]);
            }
            // The ramp of what was heard before, and that of what comes.
            let is_silent = |b: usize| heard[b * FRAMES..(b + 1) * FRAMES].iter().all(|s| *s == 0.0);
            assert_eq!((2..10).filter(|b| is_silent(*b)).count(), usize::max(silent, 2) - 2, "{latency}");
            let last = heard[10 * FRAMES - 1];
            assert_eq!(last, ((14 * FRAMES - 1 - latency) / FRAMES) as f32 / 16.0, "{latency}");
            let bound = 1.0 / 16.0 + 2.0 * std::f32::consts::PI / (2.0 * 96.0);
            assert!(largest_step(&heard) < bound, "{latency}: {}", largest_step(&heard));
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
    fn a_ramp_is_never_louder_than_what_it_leads_from_and_to() {
        let mut concealer = concealer(Lost::Bypass, false, 0);
        for (b, loud) in [true, false, true, false].into_iter().enumerate() {
            // As a limiter leaves it: from one end to the other, sample by sample.
            let limited = |i: usize| if i.is_multiple_of(2) { -4.0 } else { 4.0 };
            let mut samples: Vec<f32> =
                (0..2 * FRAMES).map(|i| if loud { limited(i) } else { limited(i) / 8.0 }).collect();
            let mut block = Block::new(&mut samples, FRAMES);
            concealer.hear(&block);
            if loud {
                concealer.pass(&mut block)
            } else {
                concealer.replace(&mut block)
            }
            let loudest = block.samples().iter().fold(0.0, |loudest: f32, s| loudest.max(s.abs()));
            assert!(loudest <= 4.0, "block {b}: {loudest}");
        }
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
    fn a_fade_is_never_louder_than_the_louder_of_both_and_ends_the_ramp_under_way() {
        for (from, into) in
            [(0.7, 0.7), (4.0, -4.0), (f32::MAX, f32::MAX), (-0.25, 0.5), (f32::INFINITY, 0.5)]
        {
            let mut concealer = concealer(Lost::Hold, false, 0);
            let (mut samples, mut other) = ([from; 2 * FRAMES], [into; 2 * FRAMES]);
            let mut block = Block::new(&mut samples, FRAMES);
            concealer.succeed();
            concealer.pass(&mut block);
            concealer.fade(&mut block, &Block::new(&mut other, FRAMES));
            let loudest = f32::max(from.abs(), into.abs());
            assert!(block.samples().iter().all(|s| s.abs() <= loudest), "{from} into {into}");
            assert!(concealer.is_settled(), "{from} into {into}");
            assert_eq!(concealer.held.samples, [into; 2 * FRAMES]);
        }
    }

    #[test]
    fn samples_that_are_not_audio_are_never_ramped() {
        let plan =
            Plan { lost: Lost::Mute, closed: false, ramp: false, latency_frames: 0, latency_max_frames: 0 };
        let heard = run(&mut Concealer::new(format(), plan), 6, |b| b == 3);
        for (frame, sample) in heard.iter().enumerate() {
            let expected = if frame / FRAMES == 3 { 0.0 } else { -(frame as f32 * 0.01).sin() };
            assert_eq!(*sample, expected);
        }
    }
    #[test]
    fn what_is_never_ramped_passes_as_it_is_from_the_first_good_block_of_a_successor_on() {
        let plan =
            Plan { lost: Lost::Mute, closed: false, ramp: false, latency_frames: 0, latency_max_frames: 0 };
        let mut concealer = Concealer::new(format(), plan);
        run(&mut concealer, 2, |_| true);
        concealer.succeed();
        assert!(!concealer.is_settled());
        run(&mut concealer, 1, |_| false);
        assert!(concealer.is_settled());
    }
}
