//! What an input device has brought, for a chain that runs in an output device's callback.
//!
//! The reading end of a [`frame_fifo`](super::frame_fifo), as a processor at the beginning of the chain. If both
//! devices have one clock, frames pass bit by bit. Else the queue is read a little faster or slower than it is filled:
//! [`super::drift`] says by how much, and [`super::gear`] does it.
//!
//! The queue is [`State::Priming`] until it holds what it should, and silent so long; then [`State::Running`]. If it
//! runs dry, what it has is played and ends in a short slope instead of a step, and it is primed again: there is one
//! gap, however irregular the input comes, and no burst when it comes back, but a fade. What has piled up for a
//! second, since the output stood still, is left out with a crossfade. If there was no more room for it, it goes at once
//! and ends in the slope too: behind it frames are missing, which would be a step when the output gets there.
//!
//! An input that brings more at a time than was planned for, since it was opened again or said the wrong thing, would run
//! the queue dry again and again. When it has, the queue is primed for what really comes, as far as there is room.

use super::channels::ChannelMap;
use super::convert::Quality;
use super::drift::Drift;
use super::fifo::{FifoCounts, FrameReader};
use super::gear::Gear;
use crate::block::Block;
use crate::error::Result;
use crate::processor::{Processor, Turn};
use shared::format::Format;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

/// How long it takes to fade in again, in seconds.
const FADE_IN_S: f32 = 0.005;
/// How long the slope is that ends what breaks off, in seconds.
const SLOPE_S: f32 = 0.002;
/// For how long there must be too much for it to be left out, in seconds.
const PILED_UP_S: f32 = 1.0;

/// Whether input and output can drift apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clocks {
    /// They have one clock: nothing is corrected.
    One,
    /// Each has its own; what they drift apart is corrected so well.
    Two(Quality),
}

/// How a [`CaptureQueue`] is doing, for any thread to read.
#[derive(Debug, Default)]
pub struct CaptureCounts {
    level: AtomicU32,
    target: AtomicU32,
    grown: AtomicU32,
    /// Tenths of a millionth.
    correction: AtomicI32,
    gaps: AtomicU64,
    dropped: AtomicU64,
    fifo: Arc<FifoCounts>,
}

impl CaptureCounts {
    /// Frames in the queue, on average.
    #[must_use]
    pub fn level_frames(&self) -> u32 {
        self.level.load(Ordering::Relaxed)
    }

    /// Frames that there should be, on average.
    #[must_use]
    pub fn target_frames(&self) -> u32 {
        self.target.load(Ordering::Relaxed)
    }

    /// Frames that it has to hold beyond what was planned, since the input brings more at a time.
    #[must_use]
    pub fn grown_frames(&self) -> u32 {
        self.grown.load(Ordering::Relaxed)
    }

    /// By how many millionths the queue is read faster than the output plays.
    #[must_use]
    pub fn correction_ppm(&self) -> f64 {
        f64::from(self.correction.load(Ordering::Relaxed)) / 10.0
    }

    /// Times that it ran dry.
    #[must_use]
    pub fn gaps(&self) -> u64 {
        self.gaps.load(Ordering::Relaxed)
    }

    /// Frames that were left out because they had piled up, or because there was no room for them.
    #[must_use]
    pub fn overrun_frames(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed) + self.fifo.overrun_frames()
    }

    /// Frames of silence that were given because there were none.
    #[must_use]
    pub fn underrun_frames(&self) -> u64 {
        self.fifo.underrun_frames()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Silent until there is enough; whether it has run before.
    Priming { again: bool },
    /// Frames go through; so many have since it began, as far as that matters.
    Running { frames: u32 },
}

/// Holds the clocks of an input and an output together.
struct Clutch {
    gear: Gear,
    drift: Drift,
}

/// The reading end.
pub struct CaptureQueue {
    frames: FrameReader,
    map: ChannelMap,
    format: Format,
    /// Frames that are to be there before a block is read, the input's latest buffer being half a buffer old.
    target: usize,
    input_buffer: usize,
    /// How many of these buffers are part of the target.
    input_buffers: usize,
    /// Frames that the output takes in one go.
    output_buffer: usize,
    /// The most that the one may come to bring and the other to take, whatever becomes of the other end.
    input_max: usize,
    output_max: usize,
    state: State,
    /// Also what it gives first is faded in.
    is_rising: bool,
    clutch: Option<Clutch>,
    /// Interleaved: what is read for one block, and another one for a crossfade.
    scratch: Vec<f32>,
    other: Vec<f32>,
    /// The frame that was given last.
    last: Vec<f32>,
    /// Frames into the slope that ends what broke off, at most its length.
    slope: u32,
    piled_up: PiledUp,
    /// Frames that there was no room for, when it was looked last.
    overrun: u64,
    go: Go,
    level: f64,
    counts: Arc<CaptureCounts>,
}

/// The blocks that the output asks for in one go, since its buffer is longer than a block. Between them no time
/// passes in which frames could come, so the queue is measured with the first of them, as when it was primed: with each
/// it would seem to be emptier by half a buffer than it is.
#[derive(Debug, Clone, Copy, Default)]
struct Go {
    /// When it was asked for.
    at_ns: Option<u64>,
    /// Frames that there would be in the queue then if they came one by one, where that is known.
    full: Option<f64>,
}

impl Go {
    /// So many frames have been left out.
    fn leave_out(&mut self, frames: usize) {
        self.full = self.full.map(|full| full - frames as f64);
    }
}

/// The least that was in the queue for a while.
#[derive(Debug, Clone, Copy)]
struct PiledUp {
    least: usize,
    blocks: u32,
}

impl PiledUp {
    const NEW: Self = Self { least: usize::MAX, blocks: 0 };
}

impl CaptureQueue {
    /// For a pipeline of this format. `target` frames are to be in the queue when a block is read; `input_buffer` frames
    /// come at a time. Silence that is in it from the beginning counts.
    ///
    /// # Errors
    /// Of kind `Config`: blocks are too short to hold clocks together.
    pub fn new(
        frames: FrameReader,
        format: Format,
        target: usize,
        input_buffer: usize,
        clocks: Clocks,
    ) -> Result<Self> {
        let (channels, block) = (format.channels(), format.block_frames());
        let clutch = match clocks {
            Clocks::One => None,
            Clocks::Two(quality) => {
                let gear = Gear::new(format, quality)?;
                Some(Clutch { gear, drift: Drift::new(format.rate(), block) })
            }
        };
        let most = clutch.as_ref().map_or(block, |clutch| clutch.gear.most_frames());
        let counts = Arc::new(CaptureCounts { fifo: frames.counts(), ..CaptureCounts::default() });
        let queue = Self {
            frames,
            map: ChannelMap::new(channels, channels),
            format,
            target,
            input_buffer,
            input_buffers: 1,
            output_buffer: block,
            input_max: 0,
            output_max: 0,
            state: State::Priming { again: false },
            is_rising: false,
            clutch,
            scratch: vec![0.0; most * channels],
            other: vec![0.0; most * channels],
            last: vec![0.0; channels],
            slope: slope_frames(format),
            piled_up: PiledUp::NEW,
            overrun: 0,
            go: Go::default(),
            level: 0.0,
            counts,
        };
        Ok(queue.aimed().shared_out())
    }

    /// The target is for an output that takes so many frames in one go, and not a block.
    #[must_use]
    pub fn taken_by(self, output_buffer: usize) -> Self {
        Self { output_buffer, ..self }.shared_out()
    }

    /// So many of the input's buffers are part of the target, and not one.
    #[must_use]
    pub fn holding(self, input_buffers: usize) -> Self {
        Self { input_buffers, ..self }.shared_out()
    }

    /// Gives each end the same of the room that is not planned for: both may come back with longer buffers at once. What is
    /// held for them grows by as much, and what comes or is taken in one go has to fit behind it, and behind the blocks in
    /// which it is begun with.
    fn shared_out(mut self) -> Self {
        let ends = self.input_buffer + self.output_buffer + 2 * self.format.block_frames();
        let planned = self.target + ends;
        let longer = self.frames.capacity().saturating_sub(planned) / (self.input_buffers + 2);
        self.input_max = self.input_buffer + longer;
        self.output_max = self.output_buffer + longer;
        self
    }

    /// What it gives first goes on where another queue broke off: it is faded in.
    #[must_use]
    pub fn rising(self) -> Self {
        Self { is_rising: true, ..self }
    }

    /// Tells what it is to hold.
    fn aimed(mut self) -> Self {
        self.level = self.wanted();
        self.counts.target.store(whole_frames(self.wanted()), Ordering::Relaxed);
        self
    }

    /// The most frames that the input may bring at a time: they fit behind what is to be held for them.
    #[must_use]
    pub fn input_max(&self) -> usize {
        self.input_max
    }

    /// What is to be held grows by what the input brings more at a time.
    fn make_room(&mut self) {
        let burst = self.frames.burst().min(self.input_max);
        let more = burst.saturating_sub(self.input_buffer);
        if more > 0 {
            self.input_buffer = burst;
            self.grow(self.input_buffers * more);
        }
    }

    /// No farther than that what the input brings at a time still fits behind it.
    fn grow(&mut self, more: usize) {
        let room = self.frames.capacity().saturating_sub(self.input_buffer + self.target);
        let more = more.min(room);
        self.target += more;
        self.counts.target.store(whole_frames(self.wanted()), Ordering::Relaxed);
        self.counts.grown.fetch_add(u32::try_from(more).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Frames by which what is read is late besides those that are to be in the queue.
    #[must_use]
    pub fn delay_frames(&self) -> u32 {
        self.clutch.as_ref().map_or(0, |clutch| clutch.gear.delay_frames())
    }

    /// How it is doing.
    #[must_use]
    pub fn counts(&self) -> Arc<CaptureCounts> {
        Arc::clone(&self.counts)
    }

    /// Fills a planar block. `asked_ns` is when the output asked for it, by the clock that the writer goes by: the same
    /// for all blocks that it asked for in one go.
    ///
    /// # Real-time
    /// Yes: no allocation, no lock, no wait.
    pub fn read(&mut self, block: &mut [f32], asked_ns: u64) {
        if matches!(self.state, State::Priming { .. }) {
            self.make_room();
        }
        let is_torn = self.forget_torn();
        let is_first = self.go.at_ns.replace(asked_ns) != Some(asked_ns);
        if is_first {
            self.go.full = self.measure(asked_ns);
        }
        if !self.is_enough(is_first) {
            self.end_in_a_slope(block, 0);
            if self.state == (State::Priming { again: true }) {
                self.frames.missed(self.format.block_frames());
            }
            return;
        }
        let level = if is_torn { 0 } else { self.frames.level() };
        let needed = self.correct();
        if level < needed {
            self.run_dry(block, level, needed);
            return;
        }
        match self.piled_up(level) {
            0 => {
                self.frames.read(&mut self.scratch[..needed * self.format.channels()]);
            }
            excess => self.leave_out(excess, needed),
        }
        self.give(block, needed);
        self.fade_in(block);
        let (frames, last) = (self.format.block_frames(), &mut self.last);
        last.iter_mut()
            .zip(block.chunks_exact(frames))
            .for_each(|(last, channel)| *last = channel[frames - 1]);
    }

    /// Forgets all that is there if there was no room for what came behind it; whether that was so. Where there never is, as
    /// more comes in one go than fits, it is heard as it is.
    fn forget_torn(&mut self) -> bool {
        let overrun = self.frames.overrun();
        let has_run_over = std::mem::replace(&mut self.overrun, overrun) != overrun;
        let is_torn = has_run_over && self.frames.burst() <= self.input_max;
        if is_torn {
            let level = self.frames.level();
            self.frames.skip(level);
            self.counts.dropped.fetch_add(level as u64, Ordering::Relaxed);
        }
        is_torn
    }

    /// Frames that there would be in the queue if they came one by one, where that is known.
    fn measure(&self, now_ns: u64) -> Option<f64> {
        let (level, written_ns) = self.frames.level_and_time()?;
        let age_ns = now_ns.cast_signed().wrapping_sub(written_ns.cast_signed());
        let since = age_ns as f64 * 1e-9 * f64::from(self.format.rate());
        // An input that stopped brings no more than its next buffer.
        let most = self.input_buffer as f64;
        Some(level as f64 + since.clamp(-most, most))
    }

    /// Whether frames may be taken: from the first block of a go on, once what broke off has ended. What is more than
    /// enough in the beginning would be heard late for ever: it goes.
    fn is_enough(&mut self, is_first: bool) -> bool {
        let State::Priming { again } = self.state else { return true };
        if !is_first || self.slope < slope_frames(self.format) {
            return false;
        }
        let excess = match (&mut self.clutch, self.go.full) {
            (None, _) => self.frames.level() as f64 - self.target as f64,
            (Some(clutch), Some(full)) => {
                clutch.drift.forget_error();
                full - self.wanted()
            }
            (Some(_), None) => return false,
        };
        if excess < 0.0 {
            return false;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, of a queue's length"
        )]
        let excess = excess as usize;
        self.frames.skip(excess);
        self.go.leave_out(excess);
        if again {
            self.counts.dropped.fetch_add(excess as u64, Ordering::Relaxed);
        }
        if let Some(clutch) = &mut self.clutch {
            clutch.gear.begin_anew();
        }
        // What never broke off begins as it begins.
        let fades = again || self.is_rising || self.clutch.is_some();
        self.state = State::Running { frames: if fades { 0 } else { u32::MAX } };
        self.piled_up = PiledUp::NEW;
        true
    }

    /// Frames that there should be if they came one by one: half an input's buffer more than right after one.
    fn wanted(&self) -> f64 {
        self.target as f64 + self.input_buffer as f64 / 2.0
    }

    /// Frames to read for the next block; tells how it is doing.
    fn correct(&mut self) -> usize {
        let full = self.go.full;
        let (block, wanted) = (self.format.block_frames(), self.wanted());
        let share = block as f64 / f64::from(self.format.rate());
        let full_or_level = full.unwrap_or_else(|| self.frames.level() as f64);
        self.level += (full_or_level - self.level) * share;
        self.counts.level.store(whole_frames(self.level), Ordering::Relaxed);
        let Some(Clutch { gear, drift }) = &mut self.clutch else { return block };
        let correction = drift.step(full.map(|full| full - wanted));
        #[expect(clippy::cast_possible_truncation, reason = "within some thousand millionths")]
        self.counts.correction.store((correction * 1e7) as i32, Ordering::Relaxed);
        gear.take_more(correction);
        gear.next_frames()
    }

    /// A block of the frames that have been read.
    fn give(&mut self, block: &mut [f32], needed: usize) {
        let source = &self.scratch[..needed * self.format.channels()];
        match &mut self.clutch {
            Some(clutch) => clutch.gear.make(source, block),
            None => self.map.deinterleave(source, block, self.format.block_frames(), 0),
        }
    }

    /// Frames that are too many and have been for a while.
    fn piled_up(&mut self, level: usize) -> usize {
        let PiledUp { least, blocks } = self.piled_up;
        let (least, blocks) = (least.min(level), blocks + 1);
        self.piled_up = PiledUp { least, blocks };
        let lasted = (blocks as usize * self.format.block_frames()) as f32;
        if lasted < PILED_UP_S * self.format.rate() as f32 {
            return 0;
        }
        self.piled_up = PiledUp::NEW;
        let slack = self.input_buffer + self.target / 2;
        if least > self.target + slack { least - self.target } else { 0 }
    }

    /// Reads a block's frames and leaves out so many, with a crossfade over them.
    fn leave_out(&mut self, excess: usize, frames: usize) {
        let channels = self.format.channels();
        let (before, behind) = (&mut self.scratch[..frames * channels], &mut self.other[..frames * channels]);
        self.frames.peek(before);
        self.frames.skip(excess);
        self.go.leave_out(excess);
        self.frames.read(behind);
        for (frame, (before, behind)) in
            before.chunks_exact_mut(channels).zip(behind.chunks_exact(channels)).enumerate()
        {
            let share = (frame + 1) as f32 / frames as f32;
            before.iter_mut().zip(behind).for_each(|(before, behind)| *before += (behind - *before) * share);
        }
        self.counts.dropped.fetch_add(excess as u64, Ordering::Relaxed);
        if let Some(clutch) = &mut self.clutch {
            clutch.drift.forget_error();
        }
    }

    /// Gives what there is, less than a block takes, and begins anew.
    fn run_dry(&mut self, block: &mut [f32], level: usize, needed: usize) {
        let frames = self.format.block_frames();
        let rest = level.min(frames);
        self.read_and_hold(rest, needed);
        self.give(block, needed);
        // It may break off again before it has faded in.
        self.fade_in(block);
        if let Some(end) = rest.checked_sub(1) {
            let ends = block.chunks_exact(frames).map(|channel| channel[end]);
            self.last.iter_mut().zip(ends).for_each(|(last, sample)| *last = sample);
        }
        self.frames.missed(frames - rest);
        self.counts.gaps.fetch_add(1, Ordering::Relaxed);
        self.state = State::Priming { again: true };
        self.slope = 0;
        self.end_in_a_slope(block, rest);
    }

    /// Reads so many frames, of so many that are needed: the last one is held, and is not heard.
    fn read_and_hold(&mut self, rest: usize, needed: usize) {
        let channels = self.format.channels();
        let (there, missing) = self.scratch[..needed * channels].split_at_mut(rest * channels);
        self.frames.read(there);
        let held = there.len().checked_sub(channels).map(|at| &there[at..]);
        let held = held.unwrap_or(&self.last);
        missing.chunks_exact_mut(channels).for_each(|frame| frame.copy_from_slice(held));
    }

    /// From frame `from` on the block goes from the last frame to silence, or is silent.
    fn end_in_a_slope(&mut self, block: &mut [f32], from: usize) {
        let (frames, end) = (self.format.block_frames(), slope_frames(self.format));
        for (channel, last) in block.chunks_exact_mut(frames).zip(&self.last) {
            channel[from..].fill(0.0);
            for (step, sample) in (self.slope..end).zip(&mut channel[from..]) {
                *sample = last * (1.0 - step as f32 / end as f32);
            }
        }
        // No further: silence may last for days.
        self.slope = self.slope.saturating_add(u32::try_from(frames - from).unwrap_or(u32::MAX)).min(end);
    }

    fn fade_in(&mut self, block: &mut [f32]) {
        // What begins anew is silent until its first frame comes out, and that may be a loud one.
        let delay = self.delay_frames() as f32;
        let State::Running { frames: done } = &mut self.state else { return };
        let (frames, steps) = (self.format.block_frames(), FADE_IN_S * self.format.rate() as f32);
        if (*done as f32) < delay + steps {
            for channel in block.chunks_exact_mut(frames) {
                for (step, sample) in (*done..).zip(channel) {
                    *sample *= ((step as f32 - delay) / steps).clamp(0.0, 1.0);
                }
            }
        }
        *done = done.saturating_add(u32::try_from(frames).unwrap_or(u32::MAX));
    }
}

/// How long the slope is that ends what breaks off.
fn slope_frames(format: Format) -> u32 {
    whole_frames(f64::from(SLOPE_S) * f64::from(format.rate())).max(1)
}

fn whole_frames(frames: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "of a queue's length")]
    let whole = frames.max(0.0) as u32;
    whole
}

impl Processor for CaptureQueue {
    fn name(&self) -> &str {
        "input device"
    }

    fn process(&mut self, block: &mut Block<'_>, turn: &Turn) {
        self.read(block.samples_mut(), turn.called_ns);
    }

    fn burst_max(&self) -> u32 {
        u32::try_from(self.output_max / self.format.block_frames()).unwrap_or(u32::MAX)
    }

    /// What is to be held grows by what the output takes more at a time. Until that is there it is silent, in one piece.
    fn replan(&mut self, burst: u32) {
        let takes = burst as usize * self.format.block_frames();
        let more = takes.saturating_sub(self.output_buffer);
        if more == 0 {
            return;
        }
        self.output_buffer = takes;
        self.grow(more);
        if let State::Running { .. } = self.state {
            self.state = State::Priming { again: true };
            self.slope = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fifo::{FrameWriter, frame_fifo};
    use super::*;

    const RATE: u32 = 48_000;
    const BLOCK: usize = 64;
    const TARGET: usize = 3 * BLOCK;
    const BLOCK_NS: u64 = 1_333_333;

    /// One clock, or two that are held together in each way.
    const ALL: [Clocks; 3] = [Clocks::One, Clocks::Two(Quality::Fast), Clocks::Two(Quality::Good)];

    fn queue(clocks: Clocks, silence: usize) -> (FrameWriter, CaptureQueue) {
        let (writer, reader) = frame_fifo(1, RATE as usize, silence);
        let format = Format::new(1, 64, RATE).unwrap();
        (writer, CaptureQueue::new(reader, format, TARGET, BLOCK, clocks).unwrap())
    }

    /// Blocks that both come and go at the same time, of a sine: what is read.
    struct Course {
        writer: FrameWriter,
        queue: CaptureQueue,
        now_ns: u64,
        sent: usize,
        heard: Vec<f32>,
    }

    fn sine(n: usize) -> f32 {
        (n as f32 * 0.02).sin() * 0.9
    }

    impl Course {
        fn new(clocks: Clocks, silence: usize) -> Self {
            let (writer, queue) = queue(clocks, silence);
            Self { writer, queue, now_ns: 1, sent: 0, heard: Vec::new() }
        }

        fn write(&mut self) {
            self.write_called(self.now_ns);
        }

        /// What was called for at this time.
        fn write_called(&mut self, called_ns: u64) {
            let frames: Vec<f32> = (self.sent..self.sent + BLOCK).map(sine).collect();
            self.sent += BLOCK;
            self.writer.write(&frames, called_ns);
        }

        fn read(&mut self) {
            self.read_asked(self.now_ns);
            self.now_ns += BLOCK_NS;
        }

        /// A block that was asked for at this time.
        fn read_asked(&mut self, asked_ns: u64) {
            let mut block = [f32::NAN; BLOCK];
            self.queue.read(&mut block, asked_ns);
            self.heard.extend(block);
        }

        fn both(&mut self, times: usize) {
            for _ in 0..times {
                self.write();
                self.read();
            }
        }

        fn largest_step(&self) -> f32 {
            self.heard.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max)
        }
    }

    #[test]
    fn with_one_clock_every_frame_passes_bit_by_bit_behind_the_silence() {
        let mut course = Course::new(Clocks::One, TARGET);
        course.both(3_000);
        // The first block was there when the queue was first read, which it is late by no more than it should.
        assert!(course.heard[..TARGET - BLOCK].iter().all(|sample| *sample == 0.0));
        let sound = &course.heard[TARGET - BLOCK..];
        assert!(sound.iter().enumerate().all(|(n, sample)| *sample == sine(n)));
        let counts = course.queue.counts();
        assert_eq!((counts.gaps(), counts.underrun_frames(), counts.overrun_frames()), (0, 0, 0));
        assert_eq!(counts.correction_ppm(), 0.0);
    }

    #[test]
    fn with_one_clock_what_goes_on_from_another_queue_is_faded_in_and_passes_bit_by_bit_from_then_on() {
        for is_rising in [true, false] {
            let (mut writer, queue) = queue(Clocks::One, 0);
            let mut queue = if is_rising { queue.rising() } else { queue };
            let mut heard = Vec::new();
            for now_ns in (0..100).map(|block| 1 + block * BLOCK_NS) {
                writer.write(&[0.5; BLOCK], now_ns);
                let mut block = [f32::NAN; BLOCK];
                queue.read(&mut block, now_ns);
                heard.extend(block);
            }
            let largest = heard.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
            assert_eq!(largest < 0.01, is_rising, "a step of {largest}");
            assert!(heard[heard.len() - 50 * BLOCK..].iter().all(|sample| *sample == 0.5));
            assert_eq!(queue.counts().underrun_frames(), 0);
        }
    }

    #[test]
    fn what_the_input_brought_before_the_output_began_is_not_heard_late_for_ever() {
        for clocks in ALL {
            let mut course = Course::new(clocks, 0);
            (0..100).for_each(|_| course.write());
            course.both(1);
            assert!(course.queue.frames.level() <= TARGET, "{clocks:?}");
        }
    }

    #[test]
    fn an_input_that_comes_late_is_one_gap_without_a_click_and_no_burst() {
        for clocks in ALL {
            let mut course = Course::new(clocks, TARGET);
            course.both(200);
            (0..50).for_each(|_| course.read());
            let counts = course.queue.counts();
            assert_eq!(counts.gaps(), 1, "{clocks:?}");
            let (dry, silent) = (course.heard.len(), 50 * BLOCK - TARGET);
            assert!(course.heard[dry - silent + 200..].iter().all(|sample| *sample == 0.0), "{clocks:?}");
            course.both(200);
            assert_eq!(counts.gaps(), 1, "{clocks:?}");
            assert!(
                course.heard[course.heard.len() - 1000..].iter().any(|sample| *sample > 0.8),
                "{clocks:?}"
            );
            assert!(course.largest_step() < 0.06, "{clocks:?}: a step of {}", course.largest_step());
            assert!(counts.underrun_frames() > 40 * BLOCK as u64, "{clocks:?}");
        }
    }

    #[test]
    fn an_input_that_comes_back_with_a_longer_buffer_has_some_gaps_and_then_none() {
        const LONG: usize = 4096;
        for clocks in ALL {
            let mut course = Course::new(clocks, TARGET);
            course.both(200);
            (0..50).for_each(|_| course.read());
            let long = |course: &mut Course, times: usize| {
                for _ in 0..times {
                    let frames: Vec<f32> = (course.sent..course.sent + LONG).map(sine).collect();
                    course.sent += LONG;
                    course.writer.write(&frames, course.now_ns);
                    course.writer.brought(LONG);
                    (0..LONG / BLOCK).for_each(|_| course.read());
                }
            };
            long(&mut course, 10);
            let counts = course.queue.counts();
            let gaps = counts.gaps();
            assert!((1..=5).contains(&gaps), "{clocks:?}: {gaps}");
            let (from, dropped) = (course.heard.len(), counts.overrun_frames());
            long(&mut course, 200);
            assert_eq!((counts.gaps(), counts.overrun_frames()), (gaps, dropped), "{clocks:?}");
            let heard = &course.heard[from..];
            assert!(
                heard.chunks_exact(500).all(|cycle| cycle.iter().any(|sample| *sample > 0.8)),
                "{clocks:?}"
            );
            assert_eq!(counts.grown_frames() as usize, LONG - BLOCK, "{clocks:?}");
            assert!(course.largest_step() < 0.06, "{clocks:?}: a step of {}", course.largest_step());
        }
    }

    /// Of the goes every other one has been processed at once, the rest has when the next one is due.
    #[test]
    fn what_may_be_processed_for_as_long_as_it_lasts_has_no_gaps_once_it_is_known_how_much_comes_at_a_time() {
        const LONG: usize = 16 * BLOCK;
        for clocks in ALL {
            let mut course = Course::new(clocks, TARGET);
            course.queue = course.queue.holding(2);
            course.both(200);
            course.writer.will_bring(LONG);
            let goes = |course: &mut Course, times: usize| {
                for _ in 0..times {
                    (0..LONG / BLOCK).for_each(|_| course.write());
                    (0..LONG / BLOCK).for_each(|_| course.read());
                    let called_ns = course.now_ns;
                    (0..LONG / BLOCK).for_each(|_| course.read());
                    (0..LONG / BLOCK).for_each(|_| course.write_called(called_ns));
                }
            };
            goes(&mut course, 10);
            let counts = course.queue.counts();
            let gaps = counts.gaps();
            assert!((1..=2).contains(&gaps), "{clocks:?}: {gaps}");
            goes(&mut course, 100);
            assert_eq!(counts.gaps(), gaps, "{clocks:?}");
            assert_eq!(counts.grown_frames() as usize, 2 * (LONG - BLOCK), "{clocks:?}");
        }
    }

    #[test]
    fn an_output_that_takes_more_at_a_time_than_before_has_that_after_one_silence_without_a_click() {
        const BLOCKS: u32 = 16;
        const LONG: usize = BLOCKS as usize;
        for clocks in ALL {
            let mut course = Course::new(clocks, TARGET);
            course.both(200);
            assert!(course.queue.burst_max() >= BLOCKS);
            course.queue.replan(BLOCKS);
            let counts = course.queue.counts();
            assert_eq!(counts.grown_frames() as usize, (LONG - 1) * BLOCK);
            for _ in 0..200 {
                (0..LONG).for_each(|_| course.write());
                // All of them in one go.
                let asked_ns = course.now_ns;
                (0..LONG).for_each(|_| course.read_asked(asked_ns));
                course.now_ns += LONG as u64 * BLOCK_NS;
            }
            assert_eq!(counts.gaps(), 0, "{clocks:?}");
            assert!(counts.overrun_frames() <= (LONG * BLOCK) as u64, "{clocks:?}: more than once");
            let silent = course.heard.iter().rposition(|sample| *sample == 0.0).unwrap();
            assert!(silent < 300 * BLOCK, "{clocks:?}: silent until {silent}");
            assert!(course.largest_step() < 0.06, "{clocks:?}: a step of {}", course.largest_step());
        }
    }

    #[test]
    fn both_ends_that_come_back_with_the_longest_buffers_there_is_room_for_have_no_gap_once_that_is_known() {
        for clocks in ALL {
            let mut course = Course::new(clocks, TARGET);
            course.queue = course.queue.holding(2);
            course.both(200);
            let (brings, takes) = (course.queue.input_max(), course.queue.burst_max());
            course.writer.will_bring(brings);
            course.queue.replan(takes);
            let (brings, takes) = (brings / BLOCK, takes as usize);
            // Every other go of the input has been processed only when the next one is due, as may be.
            let written = |go: usize| go * brings + if go % 2 == 1 { brings - 1 } else { 0 };
            let (mut block, mut go, mut called_ns) = (0, 0, 1);
            let mut both = |course: &mut Course, goes: usize| {
                for _ in 0..goes * brings {
                    if block % brings == 0 {
                        called_ns = course.now_ns;
                    }
                    if block == written(go) {
                        (0..brings).for_each(|_| course.write_called(called_ns));
                        go += 1;
                    }
                    // When there is least: the next moment they come.
                    if (block + 2) % takes == 0 {
                        let asked_ns = course.now_ns;
                        (0..takes).for_each(|_| course.read_asked(asked_ns));
                    }
                    block += 1;
                    course.now_ns += BLOCK_NS;
                }
            };
            let counts = course.queue.counts();
            both(&mut course, 5);
            let settled = (counts.gaps(), counts.overrun_frames());
            let from = course.heard.len();
            both(&mut course, 50);
            assert_eq!((counts.gaps(), counts.overrun_frames()), settled, "{clocks:?}");
            assert!(course.heard.len() > from + 49 * brings * BLOCK);
            assert!(course.largest_step() < 0.06, "{clocks:?}: a step of {}", course.largest_step());
        }
    }

    #[test]
    fn however_long_an_input_is_away_nothing_is_heard_behind_the_slope() {
        // What was counted on, frame by frame, came round to its beginning after a day.
        for clocks in ALL {
            let end = slope_frames(Format::new(1, 64, RATE).unwrap());
            for counted in [end - 10, end, u32::MAX - 10] {
                let mut course = Course::new(clocks, TARGET);
                course.both(200);
                (0..50).for_each(|_| course.read());
                (course.queue.slope, course.queue.last[0]) = (counted, 0.9);
                let from = course.heard.len();
                (0..1_000).for_each(|_| course.read());
                let slope = end.saturating_sub(counted) as usize;
                assert!(
                    course.heard[from..][..slope].iter().all(|sample| *sample > 0.0),
                    "{clocks:?} {counted}"
                );
                assert!(
                    course.heard[from + slope..].iter().all(|sample| *sample == 0.0),
                    "{clocks:?} {counted}"
                );
                assert_eq!(course.queue.slope, end, "{clocks:?} {counted}");
            }
        }
    }

    #[test]
    fn a_queue_grows_no_further_than_there_is_room() {
        let (mut writer, mut queue) = queue(Clocks::One, 0);
        (0..3).for_each(|_| writer.brought(10 * RATE as usize));
        queue.read(&mut [0.0; BLOCK], 1);
        assert!(queue.target + queue.input_buffer <= RATE as usize);
        let frames = vec![0.5; queue.target];
        assert_eq!(writer.write(&frames, 1), frames.len());
        let mut block = [0.0; BLOCK];
        queue.read(&mut block, 2);
        assert!(matches!(queue.state, State::Running { .. }), "it never begins");
    }

    #[test]
    fn of_what_never_fits_as_it_comes_in_one_go_some_is_heard() {
        let (mut writer, mut queue) = queue(Clocks::One, 0);
        let frames = vec![0.5; 3 * RATE as usize];
        let (mut now_ns, mut heard) = (0, 0);
        for _ in 0..5 {
            writer.brought(frames.len());
            writer.write(&frames, now_ns);
            for _ in 0..frames.len() / BLOCK {
                now_ns += 1;
                let mut block = [0.0; BLOCK];
                queue.read(&mut block, now_ns);
                heard += block.iter().filter(|sample| **sample != 0.0).count();
            }
        }
        assert!(heard > RATE as usize, "{heard}");
    }

    #[test]
    fn what_has_piled_up_is_left_out_without_a_click() {
        for clocks in ALL {
            let mut course = Course::new(clocks, TARGET);
            course.both(200);
            (0..300).for_each(|_| course.write());
            course.both(2_000);
            let counts = course.queue.counts();
            assert!(counts.overrun_frames() > 200 * BLOCK as u64, "{clocks:?}: {}", counts.overrun_frames());
            assert!(course.queue.frames.level() <= TARGET + BLOCK, "{clocks:?}");
            assert!(course.largest_step() < 0.06, "{clocks:?}: a step of {}", course.largest_step());
            assert_eq!(counts.gaps(), 0, "{clocks:?}");
        }
    }

    #[test]
    fn frames_that_there_was_no_room_for_are_missing_in_one_gap_without_a_click() {
        for clocks in ALL {
            let mut course = Course::new(clocks, TARGET);
            course.both(200);
            (0..2 * RATE as usize / BLOCK).for_each(|_| course.write());
            course.both(2_000);
            let counts = course.queue.counts();
            assert!(course.largest_step() < 0.06, "{clocks:?}: a step of {}", course.largest_step());
            assert_eq!(counts.gaps(), 1, "{clocks:?}");
            assert!(counts.underrun_frames() < 3 * TARGET as u64, "{clocks:?}: {}", counts.underrun_frames());
            assert!(course.queue.frames.level() <= TARGET + BLOCK, "{clocks:?}");
            let end = &course.heard[course.heard.len() - 1000..];
            assert!(end.iter().any(|sample| *sample > 0.8), "{clocks:?}");
        }
    }

    #[test]
    fn a_pile_that_the_output_catches_up_with_loses_nothing() {
        let mut course = Course::new(Clocks::One, TARGET);
        course.both(200);
        (0..300).for_each(|_| course.write());
        (0..300).for_each(|_| course.read());
        course.both(2_000);
        let sound = &course.heard[TARGET - BLOCK..];
        assert!(sound.iter().enumerate().all(|(n, sample)| *sample == sine(n)));
    }
}
