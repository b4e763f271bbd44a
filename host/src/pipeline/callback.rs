//! What is done in a device's callback: its frames to blocks and back, and the chain in between while it is its turn.
//!
//! For the streams of a pipeline, and for programs that open streams of their own. All that belongs to a device is
//! here and is made anew when it is opened again; what belongs to the pipeline comes as a [`Claim`]. A callback whose
//! turn it is not plays silence.

use super::baton::Claim;
use super::engine::Engine;
use super::fade::Fade;
use super::pace::Pace;
use super::pulse::Pulse;
use crate::backend::{Capture, Playback};
use crate::clock::now_ns;
use crate::edge::{DeviceInput, DeviceOutput, FrameWriter, InputReblock, OutputReblock, Side};
use crate::error::Result;
use crate::realtime::priority::Rank;
use shared::format::Format;
use std::sync::Arc;
use std::time::Duration;

/// Frames of the longest buffer that a device can be asked for.
const LONGEST_FRAMES: u64 = 65_536;

/// What every callback has, whatever it does.
#[derive(Debug)]
pub(super) struct Place {
    format: Format,
    pulse: Arc<Pulse>,
    /// The place of its thread among others.
    rank: Option<Rank>,
    fade: Fade,
    whole: Whole,
    /// When the device called for it.
    called_ns: u64,
    pace: Pace,
}

/// What a device has asked for or brought in one go, in frames or nanoseconds: a long buffer comes in several parts.
#[derive(Debug)]
struct Whole {
    at: Option<Duration>,
    length: u64,
    /// As long as a buffer may be.
    most: u64,
}

impl Whole {
    fn new(most: u64) -> Self {
        Self { at: None, length: 0, most }
    }

    /// Whether what begins now, so long after the first part, is one more of them. Should a device's clock stand still,
    /// it is not once the first parts have been played.
    fn goes_on(&mut self, at: Duration, since: u64) -> bool {
        let goes_on = self.at == Some(at) && since < self.length;
        if !goes_on {
            self.at = None;
        }
        goes_on
    }

    /// One more part, which the device called for at this time: how long all parts of it last so far. Should its clock
    /// stand still, a buffer is full one day, also if each part comes before those before it have been played.
    fn with(&mut self, at: Duration, part: u64) -> u64 {
        let is_one_more = self.at == Some(at) && self.length < self.most;
        self.length = if is_one_more { self.length + part } else { part };
        self.at = Some(at);
        self.length
    }
}

impl Place {
    pub(super) fn new(format: Format, pulse: Arc<Pulse>, rank: Option<Rank>, fade: Fade) -> Self {
        let whole = Whole::new(format.frames_ns(LONGEST_FRAMES));
        Self { format, pulse, rank, fade, whole, called_ns: 0, pace: Pace::default() }
    }

    /// At the beginning of a callback, whose first frame the device says is on its way for so long: the time.
    fn begin(&mut self, at: Duration, transit: Duration) -> u64 {
        if let Some(rank) = &mut self.rank {
            rank.take();
            self.pulse.know_thread();
        }
        let now_ns = now_ns();
        self.pulse.begin(now_ns);
        if !self.whole.goes_on(at, now_ns.saturating_sub(self.called_ns)) {
            self.called_ns = now_ns;
            // What it says is of the first frame of all parts.
            self.pulse.hear(transit);
        }
        now_ns
    }

    /// At its end; `frames` of the pipeline are what it lasts.
    fn end(&mut self, began_ns: u64, frames: usize, at: Duration) {
        let part_ns = self.format.frames_ns(frames as u64);
        self.pulse.beat(began_ns, part_ns, self.whole.with(at, part_ns));
        if self.pace.runs_away(began_ns, part_ns)
            && let Some(rank) = &mut self.rank
        {
            rank.step_back();
        }
    }
}

/// The callback of an output that paces its pipeline.
#[derive(Debug)]
pub struct OutputCallback {
    engine: Claim<Engine>,
    blocks: OutputReblock,
    device: DeviceOutput,
    place: Place,
}

impl OutputCallback {
    /// For blocks of this format and a device like this. `rising`: the first 20 ms that are played rise from silence.
    ///
    /// # Errors
    /// Of kind `Config`: the device's rate can't be reached.
    pub fn new(engine: Claim<Engine>, format: Format, side: Side, rising: bool) -> Result<Self> {
        let fade = if rising { Fade::at(side.device_rate) } else { Fade::none() };
        Self::placed(engine, side, Place::new(format, Arc::default(), None, fade))
    }

    pub(super) fn placed(engine: Claim<Engine>, side: Side, place: Place) -> Result<Self> {
        Ok(Self { engine, blocks: OutputReblock::new(place.format), device: DeviceOutput::new(side)?, place })
    }

    /// Fills what the device is to play, which is silent.
    ///
    /// # Real-time
    /// To be called on the audio thread: beside what the chain does it reads the clock, and neither makes nor frees
    /// anything, whoever's turn it is.
    pub fn play(&mut self, playback: &mut Playback<'_>) {
        let began_ns = self.place.begin(playback.at, playback.latency);
        let Self { engine, blocks, device, place } = self;
        let called_ns = place.called_ns;
        let frames = device.frames(playback.frames);
        let needed = blocks.blocks_needed(frames).max(1);
        let budget_ns = budget_ns(place.format, frames, needed);
        let played = engine.with(|engine| {
            device.fill(blocks, playback.samples, |samples| engine.process(samples, budget_ns, called_ns));
        });
        if played.is_some() {
            place.fade.interleaved(playback.samples, playback.channels);
        }
        place.end(began_ns, frames, playback.at);
    }
}

/// The callback of an input that paces its pipeline.
#[derive(Debug)]
pub struct InputCallback {
    engine: Claim<Engine>,
    blocks: InputReblock,
    device: DeviceInput,
    place: Place,
}

impl InputCallback {
    /// As [`OutputCallback::new`].
    ///
    /// # Errors
    /// As [`OutputCallback::new`].
    pub fn new(engine: Claim<Engine>, format: Format, side: Side, rising: bool) -> Result<Self> {
        let fade = if rising { Fade::at(format.rate()) } else { Fade::none() };
        Self::placed(engine, side, Place::new(format, Arc::default(), None, fade))
    }

    pub(super) fn placed(engine: Claim<Engine>, side: Side, place: Place) -> Result<Self> {
        Ok(Self { engine, blocks: InputReblock::new(place.format), device: DeviceInput::new(side)?, place })
    }

    /// Takes what the device has recorded.
    ///
    /// # Real-time
    /// As [`OutputCallback::play`].
    pub fn record(&mut self, capture: &Capture<'_>) {
        let began_ns = self.place.begin(capture.at, capture.latency);
        let Self { engine, blocks, device, place } = self;
        let called_ns = place.called_ns;
        let frames = device.frames(capture.frames);
        let ready = blocks.blocks_ready(frames).max(1);
        let budget_ns = budget_ns(place.format, frames, ready);
        let (fade, block_frames) = (&mut place.fade, place.format.block_frames());
        engine.with(|engine| {
            device.push(capture.samples, |part| {
                blocks.push(part, |samples| {
                    fade.planar(samples, block_frames);
                    engine.process(samples, budget_ns, called_ns);
                });
            });
        });
        place.end(began_ns, frames, capture.at);
    }
}

/// The callback of an input beside an output: it queues its frames for that one's.
#[derive(Debug)]
pub struct QueueCallback {
    queue: Claim<FrameWriter>,
    device: DeviceInput,
    /// Frames that the device has brought in one go.
    brought: Whole,
    place: Place,
}

impl QueueCallback {
    /// For a pipeline of this format and a device like this.
    ///
    /// # Errors
    /// As [`OutputCallback::new`].
    pub fn new(queue: Claim<FrameWriter>, format: Format, side: Side) -> Result<Self> {
        Self::placed(queue, side, Place::new(format, Arc::default(), None, Fade::none()))
    }

    pub(super) fn placed(queue: Claim<FrameWriter>, side: Side, place: Place) -> Result<Self> {
        Ok(Self { queue, device: DeviceInput::new(side)?, brought: Whole::new(LONGEST_FRAMES), place })
    }

    /// Queues what the device has recorded.
    ///
    /// # Real-time
    /// As [`OutputCallback::play`].
    pub fn record(&mut self, capture: &Capture<'_>) {
        let began_ns = self.place.begin(capture.at, capture.latency);
        let Self { queue, device, brought, place } = self;
        let frames = device.frames(capture.frames);
        let in_one_go = brought.with(capture.at, frames as u64);
        queue.with(|queue| {
            device.push(capture.samples, |frames| {
                queue.write(frames, began_ns);
            });
            queue.brought(usize::try_from(in_one_go).unwrap_or(usize::MAX));
        });
        place.end(began_ns, frames, capture.at);
    }
}

/// The time that each of a callback's blocks has: a share of the callback's, never more than a block lasts.
fn budget_ns(format: Format, callback_frames: usize, blocks: usize) -> u64 {
    (format.frames_ns(callback_frames as u64) / blocks as u64).min(format.block_ns())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realtime::priority::Rights;
    use crate::realtime::{Affinity, Power, RealTime};
    use shared::schedule::{self, Policy};

    #[test]
    fn parts_that_a_device_called_for_at_once_are_one_whole() {
        let mut whole = Whole::new(100);
        let [start, later] = [0, 5].map(Duration::from_millis);
        let told =
            [(start, 3), (start, 3), (start, 1), (later, 2), (later, 2)].map(|(at, ns)| whole.with(at, ns));
        assert_eq!(told, [3, 6, 7, 2, 4]);
    }

    #[test]
    fn a_part_of_what_a_device_called_for_at_once_goes_on_with_it_unless_its_clock_stands_still() {
        let mut whole = Whole::new(100);
        let [start, later] = [0, 5].map(Duration::from_millis);
        assert!(!whole.goes_on(start, 0));
        assert_eq!(whole.with(start, 4), 4);
        assert!(whole.goes_on(start, 3) && !whole.goes_on(later, 3));
        assert_eq!(whole.with(later, 4), 4);
        assert!(!whole.goes_on(later, 4), "the first part has been played by then");
        assert_eq!(whole.with(later, 4), 4);
    }

    #[test]
    fn where_a_clock_stands_still_a_go_ends_after_a_buffer_also_if_each_part_comes_early() {
        let mut whole = Whole::new(20);
        let (mut began, mut begun) = (0, Vec::new());
        for now in (0..60).step_by(3) {
            if !whole.goes_on(Duration::ZERO, now - began) {
                began = now;
                begun.push(now);
            }
            whole.with(Duration::ZERO, 4);
        }
        assert_eq!(begun, [0, 18, 36, 54]);
    }

    #[test]
    fn a_device_that_does_not_keep_time_loses_the_priority_that_its_thread_was_given() {
        let seat = RealTime::new().seat(&Affinity::Off, Power::Balanced).unwrap();
        let format = Format::new(1, 64, 48_000).unwrap();
        let mut place = Place::new(format, Arc::default(), Some(seat.rank().clone()), Fade::none());
        let expected = Rights::known().fifo;
        // A second of frames in each callback.
        let mut callback = move |n: u64| {
            let at = Duration::from_secs(n);
            let began_ns = place.begin(at, Duration::ZERO);
            place.end(began_ns, 48_000, at);
        };
        let told = std::thread::spawn(move || {
            let policy = || schedule::get(None).unwrap().policy;
            callback(0);
            let had = (policy(), seat.fifo());
            (1..20).for_each(callback);
            (had, (policy(), seat.fifo()))
        });
        let had = expected.map_or(Policy::Other, Policy::Fifo);
        assert_eq!(told.join().unwrap(), ((had, expected), (Policy::Other, None)));
    }
}
