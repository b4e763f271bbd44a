//! Says of each block that was heard whether it is what it had to be, exactly.
//!
//! It knows what went in, what each worker made of which block and when that was there, and believes the counters only
//! as far as this bears them out. How lost blocks are replaced and joined is told here a second time, by frame numbers
//! of the whole recording instead of delay lines.

use super::tape::{Heard, Shared, Tape};
use crate::plugin::conceal::Plan;
use crate::plugin::spec::Lost;
use shared::format::Format;
use std::collections::BTreeMap;

/// What a worker made of a block.
#[derive(Debug, Clone)]
pub(super) struct Truth {
    pub(super) incarnation: u32,
    pub(super) at_ns: u64,
    pub(super) good: bool,
    /// The worker has broken the protocol by then, or this came while the host gave it up: what it says may be refused.
    pub(super) spoilt: bool,
    pub(super) samples: Vec<f32>,
}

pub(super) type Truths = BTreeMap<usize, Truth>;

/// How one plugin is met.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deal {
    pub(super) format: Format,
    pub(super) plan: Plan,
    pub(super) own_latency: usize,
    pub(super) burst: usize,
    /// Pipelined from the start, on its own.
    pub(super) pipelined: bool,
    /// The loudest sample that passes; infinite if all pass as they are.
    pub(super) ceiling: f32,
    /// It never loses a block.
    pub(super) healthy: bool,
}

impl Deal {
    /// Whether this block's answer was waited for: those that are pipelined take no time, but in the block that they
    /// move back in.
    pub(super) fn waits(&self, counted: &Shared, block: usize) -> bool {
        let heard = &counted.lock().unwrap().heard;
        let waited = |before: &Heard| before.added_frames == 0 || before.moves != heard[block].moves;
        !self.pipelined && block.checked_sub(1).is_none_or(|before| waited(&heard[before]))
    }
}

/// Follows one plugin's tape.
#[derive(Debug, Clone)]
pub(super) struct Judge {
    pub(super) deal: Deal,
    lost: Lost,
    pub(super) judged: usize,
    pub(super) good_in_a_row: u32,
    /// Moves between modes that went over from one result into the other.
    pub(super) faded: u64,
    before: Heard,
    newest: u32,
    was_good: bool,
    held: Vec<f32>,
    held_faded: usize,
    last: Vec<f32>,
    from: Vec<f32>,
    offset: Vec<f32>,
    ramp_at: usize,
    broken: bool,
    /// What was heard last, as far as it is known without having been heard.
    pub(super) out: Vec<f32>,
}

pub(super) type Verdict<T> = Result<T, String>;

impl Judge {
    pub(super) fn new(deal: Deal) -> Self {
        let channels = deal.format.channels();
        let before = Heard {
            samples: None,
            counts: Default::default(),
            incarnation: 1,
            added_frames: 0,
            moves: 0,
            at_ns: 0,
        };
        Self {
            lost: if deal.plan.closed { Lost::Mute } else { deal.plan.lost },
            judged: 0,
            good_in_a_row: 0,
            faded: 0,
            before,
            newest: 1,
            was_good: true,
            held: vec![0.0; deal.format.samples()],
            held_faded: 0,
            last: vec![0.0; channels],
            from: vec![0.0; channels],
            offset: vec![0.0; channels],
            ramp_at: usize::MAX,
            broken: false,
            out: Vec::new(),
            deal,
        }
    }

    /// Judges what has been heard since the last time.
    pub(super) fn judge(&mut self, tape: &Tape, truths: &Truths) -> Verdict<()> {
        while let Some(heard) = tape.heard.get(self.judged) {
            let block = self.judged;
            let has_faded =
                self.block(block, heard, tape, truths).map_err(|why| format!("block {block}: {why}"))?;
            self.faded += u64::from(has_faded);
            self.broken |= heard.moves != self.before.moves && !has_faded;
            self.before = heard.clone();
            self.judged += 1;
        }
        Ok(())
    }

    /// Whether it went over into the result of another mode.
    fn block(&mut self, block: usize, heard: &Heard, tape: &Tape, truths: &Truths) -> Verdict<bool> {
        let behind = if self.deal.pipelined || self.before.added_frames > 0 { self.deal.burst } else { 0 };
        let (good, lost) = self.claimed(heard)?;
        if block < behind && self.deal.pipelined {
            let silent = self.silent(heard);
            verdict(silent && good + lost == 0, || "the first burst is not silent".into())?;
            return Ok(false);
        }
        verdict(good + lost == 1, || format!("{good} good and {lost} lost in one block"))?;
        if heard.incarnation != self.before.incarnation {
            let is_later = heard.incarnation == 0 || heard.incarnation > self.newest;
            verdict(is_later, || format!("incarnation {} came back", heard.incarnation))?;
            self.broken |= heard.incarnation != 0;
            self.newest = self.newest.max(heard.incarnation);
        }
        let truth = block.checked_sub(behind).and_then(|due| truths.get(&due));
        let truth = truth.filter(|truth| truth.at_ns <= heard.at_ns);
        if good == 1 {
            self.good_in_a_row += 1;
            self.good(heard, truth, self.other(block, heard, truths))
        } else {
            self.good_in_a_row = 0;
            let thrown_away = truth
                .is_some_and(|truth| truth.good && !truth.spoilt && truth.incarnation == heard.incarnation);
            verdict(!thrown_away, || format!("an answer that was there was not taken: {:?}", heard.counts))?;
            verdict(!self.deal.healthy, || format!("the neighbour lost it: {:?}", heard.counts))?;
            self.replaced(block, heard, tape).map(|()| false)
        }
    }

    /// What a block that moves from one mode to the other goes over into: what would be heard in the other one, if it
    /// is there and good.
    fn other<'a>(&self, block: usize, heard: &Heard, truths: &'a Truths) -> Option<&'a Truth> {
        if heard.moves == self.before.moves {
            return None;
        }
        let behind = if self.before.added_frames == 0 { self.deal.burst } else { 0 };
        let other = truths.get(&block.checked_sub(behind)?)?;
        let is_there = other.at_ns <= heard.at_ns && other.incarnation == heard.incarnation;
        (other.good && is_there).then_some(other)
    }

    /// Good and lost blocks that were counted for this one.
    fn claimed(&self, heard: &Heard) -> Verdict<(u64, u64)> {
        let (now, before) = (&heard.counts, &self.before.counts);
        let went_back = now.good < before.good || now.lost() < before.lost();
        verdict(!went_back, || "counters went back".into())?;
        Ok((now.good - before.good, now.lost() - before.lost()))
    }

    fn good(&mut self, heard: &Heard, truth: Option<&Truth>, other: Option<&Truth>) -> Verdict<bool> {
        let Some(truth) = truth.filter(|truth| truth.good) else {
            return Err("called good, but nobody had made it".into());
        };
        let made = self.guarded(truth);
        self.held.clone_from(&made);
        self.held_faded = 0;
        let begins = !self.was_good;
        self.was_good = true;
        if let Some(other) = other {
            let (was, into) = (self.clone(), self.guarded(other));
            match self.joined(&made, Some(&into), begins, heard) {
                Err(why) if !other.spoilt => return Err(format!("going over into another mode: {why}")),
                Err(_) => *self = was,
                Ok(()) => {
                    self.held = into;
                    return Ok(true);
                }
            }
        }
        self.joined(&made, None, begins, heard).map(|()| false)
    }

    fn replaced(&mut self, block: usize, heard: &Heard, tape: &Tape) -> Verdict<()> {
        let fade = self.frames_of(100_000_000);
        let repeats = self.lost == Lost::Hold && self.held_faded < fade;
        let frames = self.deal.format.block_frames();
        let expected = match self.lost {
            Lost::Mute => vec![0.0; self.deal.format.samples()],
            Lost::Bypass => self.dry(block, tape),
            Lost::Hold => {
                let weight =
                    |i: usize| fade.saturating_sub(self.held_faded + i % frames) as f32 / fade as f32;
                self.held.iter().enumerate().map(|(i, held)| held * weight(i)).collect()
            }
        };
        self.held_faded = (self.held_faded + frames).min(fade);
        let begins = self.was_good || repeats;
        self.was_good = false;
        if self.deal.plan.closed {
            let silent = self.silent(heard);
            (self.ramp_at, self.broken) = (usize::MAX, false);
            self.last.fill(0.0);
            return verdict(silent, || "one that fails closed is heard".into());
        }
        self.joined(&expected, None, begins, heard)
    }

    /// What is heard of an answer. Of the samples that are not finite each has two neighbours that are.
    pub(super) fn guarded(&self, truth: &Truth) -> Vec<f32> {
        let ceiling = self.deal.ceiling;
        let limited = |i: usize| truth.samples[i].clamp(-ceiling, ceiling);
        let guard = |i: usize| {
            let is_finite = truth.samples[i].is_finite();
            if is_finite { limited(i) } else { 0.5 * limited(i - 1) + 0.5 * limited(i + 1) }
        };
        (0..truth.samples.len()).map(guard).collect()
    }

    /// The block that was judged last was lost, but the plugin behind it had taken the answer: that was heard.
    pub(super) fn take_back(&mut self, samples: Vec<f32>) {
        self.held.clone_from(&samples);
        (self.held_faded, self.ramp_at, self.was_good) = (0, usize::MAX, true);
        let frames = self.deal.format.block_frames();
        self.last = samples.chunks_exact(frames).map(|channel| channel[frames - 1]).collect();
        self.out = samples;
    }

    /// The block that was judged last was not what it had to be, and need not have been: that was heard.
    pub(super) fn take_for(&mut self, samples: Vec<f32>) {
        let frames = self.deal.format.block_frames();
        self.last = samples.chunks_exact(frames).map(|channel| channel[frames - 1]).collect();
        self.out = samples;
    }

    /// Whether no ramp is under way.
    pub(super) fn is_over(&self) -> bool {
        self.was_good && !self.broken && self.ramp_at >= self.frames_of(2_000_000)
    }

    /// Whether there was silence, as there has to be.
    fn silent(&mut self, heard: &Heard) -> bool {
        self.out = vec![0.0; self.deal.format.samples()];
        heard.samples.iter().flatten().all(|sample| *sample == 0.0)
    }

    /// The input as late as the output is.
    fn dry(&self, block: usize, tape: &Tape) -> Vec<f32> {
        let frames = self.deal.format.block_frames();
        let late = match self.before.added_frames {
            0 => self.deal.plan.latency_frames,
            added => self.deal.own_latency + added as usize,
        };
        let at = |channel: usize, i: usize| match (block * frames + i).checked_sub(late) {
            Some(frame) => tape.asked[frame / frames][channel * frames + frame % frames],
            None => 0.0,
        };
        let channels = 0..self.deal.format.channels();
        channels.flat_map(|channel| (0..frames).map(move |i| (channel, i))).map(|(c, i)| at(c, i)).collect()
    }

    /// What was heard is this, but for a ramp that began where something else did, and goes over into something else
    /// if there is that; a joint makes no step.
    fn joined(&mut self, expected: &[f32], into: Option<&[f32]>, begins: bool, heard: &Heard) -> Verdict<()> {
        let frames = self.deal.format.block_frames();
        let ramp = self.frames_of(2_000_000);
        let is_joint = std::mem::take(&mut self.broken) || begins;
        if is_joint {
            self.ramp_at = 0;
        }
        let mut out = Vec::with_capacity(expected.len());
        for (channel, expected) in expected.chunks_exact(frames).enumerate() {
            let heard = heard.samples.as_ref().map(|heard| &heard[channel * frames..][..frames]);
            if is_joint {
                let step = heard.map_or(0.0, |heard| (heard[0] - self.last[channel]).abs());
                verdict(step < 1e-6, || format!("a joint with a step of {step}"))?;
                self.from[channel] = self.last[channel];
                self.offset[channel] = self.last[channel] - expected[0];
            }
            for (i, expected) in expected.iter().enumerate() {
                let at = self.ramp_at.saturating_add(i);
                let (due, most) = if at < ramp {
                    let weight = 0.5 + 0.5 * (std::f32::consts::PI * at as f32 / ramp as f32).cos();
                    let loudest = self.from[channel].abs().max(expected.abs());
                    ((expected + self.offset[channel] * weight).clamp(-loudest, loudest), 1e-5)
                } else {
                    (*expected, 0.0)
                };
                let (due, most) = match into.map(|into| into[channel * frames + i]) {
                    // In a straight line, within a ramp's time and a block.
                    Some(into) if i < ramp.min(frames) => {
                        let part = i as f32 / ramp.min(frames) as f32;
                        (due + (into - due) * part, 1e-5)
                    }
                    Some(into) => (into, 0.0),
                    None => (due, most),
                };
                let heard = heard.map_or(due, |heard| heard[i]);
                verdict((due - heard).abs() <= most, || {
                    let what = if self.was_good { "result" } else { "replacement" };
                    format!(
                        "frame {i}: heard {heard}, but the {what} is {expected}, {at} frames into a ramp of {ramp}"
                    )
                })?;
                out.push(heard);
            }
            self.last[channel] = out[out.len() - 1];
        }
        self.out = out;
        self.ramp_at = if into.is_some() { usize::MAX } else { self.ramp_at.saturating_add(frames) };
        Ok(())
    }

    fn frames_of(&self, ns: u64) -> usize {
        usize::try_from(u64::from(self.deal.format.rate()) * ns / 1_000_000_000).unwrap().max(1)
    }
}

fn verdict(right: bool, why: impl FnOnce() -> String) -> Verdict<()> {
    if right { Ok(()) } else { Err(why()) }
}
