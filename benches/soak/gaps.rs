//! Which gaps there were, and whether each has its reason.
//!
//! Pure: it gets what was heard, what the host counted as lost and when somebody was killed, and judges at the end. A gap
//! is explained if the host has counted, around the same time, at least as much audio as lost as the gap is long;
//! what was counted once explains one gap only. It is a crash's if somebody was killed then. A gap that nothing
//! explains is a fault of the host, however short it is. Frames come earlier or later only if a device or the queue behind
//! it lost some, or if the decryptor was not given a block, being too far behind: what it has of a packet is heard a
//! block late then, and the next one in its place again. Any other lost block of a plugin leaves the others where they
//! are, so that it explains no shift.

use super::BLOCK_FRAMES;
use super::injection::Target;
use super::numbered::{Heard, Run};
use super::resources::room;
use serde::Serialize;
use std::time::Duration;

/// A loss is heard so long after it happened at most, or a hang: it is counted as lost from its first block on.
const BEFORE_NS: u64 = 1_000_000_000;
/// A loss is counted so long after it is heard at most.
const AFTER_NS: u64 = 500_000_000;
/// Losses of a plugin that are so close are one episode.
const EPISODE_NS: u64 = 50_000_000;
/// A decryptor that begins, or that was left out of a block or of frames, needs a block for its latency, and has heard no
/// more than a part of the packet under way.
const RESYNC_FRAMES: u64 = 2 * BLOCK_FRAMES as u64;

/// Where audio was lost, as the host counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// A plugin's blocks were replaced.
    Plugin(Target),
    /// A device or the queue between two of them ran dry or over.
    Device,
}

/// Audio that the host has counted as lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Loss {
    place: Place,
    first_ns: u64,
    last_ns: u64,
    frames: u64,
}

/// Somebody was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Injected {
    /// Who.
    pub target: Target,
    /// By what.
    pub signal: &'static str,
    /// When, in [`shared::clock::now_ns`].
    pub at_ns: u64,
}

/// Silence between two numbered frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first frame.
    pub from: u64,
    /// How many.
    pub frames: u64,
    /// When it began and ended.
    pub began_ns: u64,
    /// See above.
    pub ended_ns: u64,
}

/// Frames come earlier or later from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shift {
    at_ns: u64,
}

/// Why there was a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Somebody was killed.
    Crash,
    /// Nobody was, and the host counted blocks as late or frames as missing.
    Counted,
    /// None was found.
    Unexplained,
}

/// What was heard, lost and injected, as it comes.
#[derive(Debug, Clone, Default)]
pub struct Listening {
    began: Option<u64>,
    delay: Option<u32>,
    open: Option<Gap>,
    gaps: Vec<Gap>,
    shifts: Vec<Shift>,
    losses: Vec<Loss>,
    /// Blocks that the decryptor was not given; in place of frames the shifts that each explains.
    not_given: Vec<Loss>,
    injections: Vec<Injected>,
    heard_frames: u64,
    wrong_frames: u64,
}

/// What is to be said about it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Judgement {
    /// Frames of silence before the first one that was heard.
    pub start_frames: u64,
    /// Frames that were heard as they were sent.
    pub heard_frames: u64,
    /// Frames that were neither silent nor what was sent.
    pub wrong_frames: u64,
    /// Each gap with its reason.
    #[serde(skip)]
    pub gaps: Vec<(Gap, Reason)>,
    /// Times that frames came earlier or later than before.
    pub shifts: usize,
    /// Of those, times that nothing lost explains.
    pub unexplained_shifts: usize,
    /// Who was killed when.
    #[serde(skip)]
    pub injections: Vec<Injected>,
}

impl Listening {
    /// To a run of this length, with room for more than is noted down of a busy one.
    #[must_use]
    pub fn to_a_run_of(length: Duration) -> Self {
        const EACH_SECOND: u64 = 8;
        let items = usize::try_from(length.as_secs() * EACH_SECOND).unwrap_or(0);
        Self {
            gaps: room(items),
            shifts: room(items),
            losses: room(items),
            not_given: room(items),
            injections: room(items),
            ..Self::default()
        }
    }

    /// A run was heard. In their order.
    pub fn hear(&mut self, run: Run) {
        match run.heard {
            Heard::Signal { delay } => {
                self.began.get_or_insert(run.from);
                self.heard_frames += run.frames;
                self.gaps.extend(self.open.take());
                if self.delay.replace(delay).is_some_and(|before| before != delay) {
                    self.shifts.push(Shift { at_ns: run.began_ns });
                }
            }
            Heard::Silence if self.began.is_some() => {
                let gap = self.open.get_or_insert(Gap {
                    from: run.from,
                    frames: 0,
                    began_ns: run.began_ns,
                    ended_ns: 0,
                });
                gap.frames += run.frames;
                gap.ended_ns = run.ended_ns;
            }
            Heard::Silence => {}
            Heard::Wrong => self.wrong_frames += run.frames,
        }
    }

    /// The host has counted more frames as lost.
    pub fn lost(&mut self, place: Place, frames: u64, now_ns: u64) {
        let before = self.losses.iter_mut().rev().find(|loss| loss.place == place);
        match before {
            Some(loss) if now_ns <= loss.last_ns + EPISODE_NS => {
                loss.frames += frames;
                loss.last_ns = now_ns;
            }
            _ => {
                // What the encryptor does not give are whole packets.
                let more = if place == Place::Plugin(Target::Encryptor) { 0 } else { RESYNC_FRAMES };
                let loss = Loss { place, first_ns: now_ns, last_ns: now_ns, frames: frames + more };
                self.losses.push(loss);
            }
        }
    }

    /// The decryptor was not given so many blocks more: each explains a shift and one back.
    pub fn not_given(&mut self, blocks: u64, now_ns: u64) {
        let place = Place::Plugin(Target::Decryptor);
        self.not_given.push(Loss { place, first_ns: now_ns, last_ns: now_ns, frames: 2 * blocks });
    }

    /// Somebody was killed.
    pub fn injected(&mut self, target: Target, signal: &'static str, now_ns: u64) {
        self.injections.push(Injected { target, signal, at_ns: now_ns });
    }

    /// Who was killed so far.
    #[must_use]
    pub fn injections(&self) -> &[Injected] {
        &self.injections
    }

    /// Gaps so far.
    #[must_use]
    pub fn gaps(&self) -> usize {
        self.gaps.len()
    }

    /// Judges all of it.
    #[must_use]
    pub fn judge(&self) -> Judgement {
        let mut losses = self.losses.clone();
        // Shifts first: a gap uses up what explains it.
        let mut not_given = self.not_given.clone();
        let mut is_explained = |shift: &Shift| {
            let is_near = |loss: &Loss| is_near(loss, shift.at_ns, shift.at_ns);
            if losses.iter().any(|loss| loss.place == Place::Device && is_near(loss)) {
                return true;
            }
            let used = not_given.iter_mut().find(|loss| loss.frames > 0 && is_near(loss));
            used.map(|loss| loss.frames -= 1).is_some()
        };
        let unexplained_shifts = self.shifts.iter().filter(|shift| !is_explained(shift)).count();
        let gaps = self.gaps.iter().chain(&self.open);
        Judgement {
            start_frames: self.began.unwrap_or(0),
            heard_frames: self.heard_frames,
            wrong_frames: self.wrong_frames,
            gaps: gaps.map(|gap| (*gap, self.reason(gap, &mut losses))).collect(),
            shifts: self.shifts.len(),
            unexplained_shifts,
            injections: self.injections.clone(),
        }
    }

    fn reason(&self, gap: &Gap, losses: &mut [Loss]) -> Reason {
        let mut rest = gap.frames;
        for loss in losses.iter_mut().filter(|loss| is_near(loss, gap.began_ns, gap.ended_ns)) {
            let part = loss.frames.min(rest);
            loss.frames -= part;
            rest -= part;
        }
        let is_crash = |i: &Injected| i.at_ns + BEFORE_NS >= gap.began_ns && i.at_ns <= gap.ended_ns;
        match rest {
            0 if self.injections.iter().any(is_crash) => Reason::Crash,
            0 => Reason::Counted,
            _ => Reason::Unexplained,
        }
    }
}

fn is_near(loss: &Loss, began_ns: u64, ended_ns: u64) -> bool {
    loss.last_ns + BEFORE_NS >= began_ns && loss.first_ns <= ended_ns + AFTER_NS
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const BLOCK: u64 = BLOCK_FRAMES as u64;
    const ENCRYPTOR: Place = Place::Plugin(Target::Encryptor);
    const DECRYPTOR: Place = Place::Plugin(Target::Decryptor);

    /// A stream of so many blocks each, from 10 s on, a block a time of 2 ms.
    fn heard(blocks: &[(Heard, u64)]) -> Listening {
        let mut listening = Listening::default();
        let mut at = 0;
        for (heard, count) in blocks {
            let time = |block: u64| (10_000 + 2 * block) * MS;
            listening.hear(Run {
                heard: *heard,
                from: at * BLOCK,
                frames: count * BLOCK,
                began_ns: time(at),
                ended_ns: time(at + count - 1),
            });
            at += count;
        }
        listening
    }

    const HEARD: Heard = Heard::Signal { delay: 300 };
    const LATER: Heard = Heard::Signal { delay: 428 };
    use Heard::{Silence, Wrong};

    fn reasons(listening: &Listening) -> Vec<Reason> {
        listening.judge().gaps.into_iter().map(|(_, reason)| reason).collect()
    }

    #[test]
    fn silence_before_the_first_frame_is_no_gap_and_silence_at_the_end_is_one() {
        let listening = heard(&[(Silence, 5), (HEARD, 10), (HEARD, 10), (Silence, 2), (Silence, 1)]);
        let judgement = listening.judge();
        assert_eq!(judgement.start_frames, 5 * BLOCK);
        assert_eq!(judgement.heard_frames, 20 * BLOCK);
        assert_eq!(judgement.gaps.len(), 1);
        assert_eq!(judgement.gaps[0].0.frames, 3 * BLOCK);
    }

    #[test]
    fn a_gap_that_nobody_has_counted_is_unexplained_also_beside_a_crash() {
        let mut listening = heard(&[(HEARD, 50), (Silence, 1), (HEARD, 50)]);
        assert_eq!(reasons(&listening), [Reason::Unexplained]);
        listening.injected(Target::Encryptor, "SIGKILL", 10_099 * MS);
        assert_eq!(reasons(&listening), [Reason::Unexplained]);
    }

    #[test]
    fn a_gap_as_long_as_what_was_counted_is_a_crashs_or_a_counted_one() {
        let mut listening = heard(&[(HEARD, 50), (Silence, 4), (HEARD, 50)]);
        for at in 0..4 {
            listening.lost(ENCRYPTOR, BLOCK, (10_098 + 2 * at) * MS);
        }
        assert_eq!(reasons(&listening), [Reason::Counted]);
        listening.injected(Target::Encryptor, "SIGKILL", 10_097 * MS);
        assert_eq!(reasons(&listening), [Reason::Crash]);
    }

    #[test]
    fn a_gap_longer_than_what_was_counted_is_unexplained() {
        let mut listening = heard(&[(HEARD, 50), (Silence, 5), (HEARD, 50)]);
        listening.injected(Target::Encryptor, "SIGKILL", 10_097 * MS);
        listening.lost(ENCRYPTOR, 4 * BLOCK, 10_100 * MS);
        assert_eq!(reasons(&listening), [Reason::Unexplained]);
    }

    #[test]
    fn a_decryptor_may_take_two_blocks_more_each_time_and_no_more() {
        let mut listening = heard(&[(HEARD, 50), (Silence, 6), (HEARD, 50)]);
        listening.lost(DECRYPTOR, 2 * BLOCK, 10_100 * MS);
        listening.lost(DECRYPTOR, 2 * BLOCK, 10_104 * MS);
        assert_eq!(reasons(&listening), [Reason::Counted]);
        let mut longer = heard(&[(HEARD, 50), (Silence, 7), (HEARD, 50)]);
        longer.lost(DECRYPTOR, 4 * BLOCK, 10_100 * MS);
        assert_eq!(reasons(&longer), [Reason::Unexplained]);
    }

    #[test]
    fn what_a_device_lost_also_costs_the_decryptor_two_blocks_and_no_more() {
        for (blocks, reason) in [(5, Reason::Counted), (6, Reason::Unexplained)] {
            let mut listening = heard(&[(HEARD, 50), (Silence, blocks), (HEARD, 50)]);
            listening.lost(Place::Device, 3 * BLOCK, 10_100 * MS);
            assert_eq!(reasons(&listening), [reason]);
        }
    }

    #[test]
    fn what_was_lost_once_explains_one_gap() {
        let mut listening = heard(&[(HEARD, 50), (Silence, 2), (HEARD, 5), (Silence, 2), (HEARD, 50)]);
        listening.lost(ENCRYPTOR, 2 * BLOCK, 10_100 * MS);
        assert_eq!(reasons(&listening), [Reason::Counted, Reason::Unexplained]);
        listening.lost(Place::Device, 2 * BLOCK, 10_112 * MS);
        assert_eq!(reasons(&listening), [Reason::Counted, Reason::Counted]);
    }

    #[test]
    fn what_was_lost_at_another_time_explains_nothing() {
        let mut listening = heard(&[(HEARD, 1000), (Silence, 1), (HEARD, 1000)]);
        listening.lost(ENCRYPTOR, BLOCK, 10_900 * MS);
        listening.lost(ENCRYPTOR, BLOCK, 12_600 * MS);
        assert_eq!(reasons(&listening), [Reason::Unexplained]);
    }

    #[test]
    fn frames_that_come_later_are_a_shift_that_a_device_explains_or_a_block_not_given_and_wrong_ones_are_counted()
     {
        let mut listening = heard(&[(HEARD, 50), (LATER, 1), (HEARD, 50), (Wrong, 1), (HEARD, 5)]);
        let judgement = listening.judge();
        assert_eq!((judgement.shifts, judgement.unexplained_shifts), (2, 2));
        assert_eq!(judgement.wrong_frames, BLOCK);
        listening.lost(DECRYPTOR, BLOCK, 10_100 * MS);
        listening.lost(ENCRYPTOR, BLOCK, 10_100 * MS);
        assert_eq!(listening.judge().unexplained_shifts, 2, "a lost block moves nothing");
        listening.not_given(1, 12_600 * MS);
        assert_eq!(listening.judge().unexplained_shifts, 2, "at another time");
        let mut cut = listening.clone();
        cut.not_given(1, 10_100 * MS);
        assert_eq!(cut.judge().unexplained_shifts, 0, "there and back");
        cut.hear(Run { heard: LATER, from: 0, frames: BLOCK, began_ns: 10_250 * MS, ended_ns: 10_250 * MS });
        assert_eq!(cut.judge().unexplained_shifts, 1, "and no more");
        listening.lost(Place::Device, BLOCK, 10_100 * MS);
        assert_eq!(listening.judge().unexplained_shifts, 0);
    }
}
