//! The streams of a pipeline: which callback a device's stream gets, and what is known of the stream afterwards.
//!
//! For opening a pipeline and for opening its devices again. A stream that is open plays silence until it is given its
//! turn; whether it is lost is for the [`Port`](super::port) to say.

use super::baton::Baton;
use super::blame::{Blame, Seen};
use super::callback::{InputCallback, OutputCallback, Place, QueueCallback};
use super::devices::{Found, Holding};
use super::engine::Engine;
use super::fade::Fade;
use super::lookout::Signs;
use super::pulse::Pulse;
use crate::backend::{DeviceChoice, Stream, StreamEvent};
use crate::chain::Delays;
use crate::clock::now_ns;
use crate::edge::{FrameWriter, Side};
use crate::error::Result;
use crate::realtime::priority::Rank;
use crate::realtime::waited::waited;
use rustix::process::Pid;
use rustix::thread::gettid;
use shared::format::Format;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// What a device may tell between two looks; more of it is not told.
const EVENTS: usize = 16;
/// How long the end of a callback is waited for when a pipeline ends.
const LAST_CALLBACK: Duration = Duration::from_secs(2);

/// How long a block that is under way is waited for while a pipeline plays on.
const BLOCK_UNDER_WAY: Duration = Duration::from_millis(100);

/// What a device is to its pipeline: what its callback works with.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// An output that paces it.
    Output(Arc<Baton<Engine>>),
    /// An input that paces it.
    Input(Arc<Baton<Engine>>),
    /// An input beside an output.
    Queue(Arc<Baton<FrameWriter>>),
    /// An output beside an input that paces it.
    Behind(Arc<Baton<Engine>>),
}

/// What streams of one pipeline have in common.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) format: Format,
    pub(super) rank: Rank,
}

impl End {
    pub(super) fn is_input(&self) -> bool {
        !matches!(self, Self::Output(_) | Self::Behind(_))
    }

    /// Whether the pipeline runs on its clock.
    pub(super) fn paces(&self) -> bool {
        !matches!(self, Self::Queue(_) | Self::Behind(_))
    }

    /// Whether the virtual clock goes on in its place while it is lost: what waits for an output would pile up.
    pub(super) fn is_stood_in_for(&self) -> bool {
        !matches!(self, Self::Queue(_))
    }

    /// Opens the device's stream, paused. What it plays rises from silence if it is `rising`.
    pub(super) fn open(&self, found: Found, terms: &Terms, rising: bool) -> Result<Playing> {
        let Terms { format, rank } = terms.clone();
        let rank = if self.paces() { rank } else { rank.aside() };
        let pulse = Arc::new(Pulse::default());
        let fade = match self {
            Self::Output(_) | Self::Behind(_) if rising => Fade::at(found.side.device_rate),
            Self::Input(_) if rising => Fade::at(format.rate()),
            // What comes back into a queue is faded in by the queue.
            _ => Fade::none(),
        };
        let place = Place::new(format, Arc::clone(&pulse), Some(rank), fade);
        let (sender, events) = sync_channel(EVENTS);
        let told = Arc::new(Told::default());
        let tell = tell(sender, Arc::clone(&told));
        let (is_like, holding) = (found.side.clone(), found.holding(self.is_input()));
        let Found { device, side } = found;
        let (name, known, blame) = (device.name().to_owned(), device.known(), Blame::of(&device));
        let refuses_buffers = device.refuses_buffers();
        let (stream, turn) = match self {
            Self::Output(engine) | Self::Behind(engine) => {
                let claim = engine.claim();
                let turn = claim.number();
                let mut callback = OutputCallback::placed(claim, side, place)?;
                (device.open_output(move |playback| callback.play(playback), tell)?, turn)
            }
            Self::Input(engine) => {
                let claim = engine.claim();
                let turn = claim.number();
                let mut callback = InputCallback::placed(claim, side, place)?;
                (device.open_input(move |capture| callback.record(capture), tell)?, turn)
            }
            Self::Queue(queue) => {
                let claim = queue.claim();
                let turn = claim.number();
                let mut callback = QueueCallback::placed(claim, side, place)?;
                (device.open_input(move |capture| callback.record(capture), tell)?, turn)
            }
        };
        let side = is_like;
        let playing =
            Playing { stream, name, known, side, holding, refuses_buffers, pulse, blame, events, told, turn };
        playing.hear_buffer();
        Ok(playing)
    }

    /// From now on this stream is the one that is heard, or listened to.
    pub(super) fn give_to(&self, playing: &Playing) {
        match self {
            Self::Output(engine) | Self::Input(engine) | Self::Behind(engine) => engine.give_to(playing.turn),
            Self::Queue(queue) => queue.give_to(playing.turn),
        }
    }

    /// The most blocks that a device here may call for in one go. To be asked while it is nobody's turn.
    pub(super) fn burst_max(&self) -> u32 {
        match self {
            Self::Output(engine) | Self::Input(engine) | Self::Behind(engine) => {
                engine.between_turns(Duration::ZERO, |engine| engine.burst_max()).unwrap_or(1)
            }
            Self::Queue(_) => u32::MAX,
        }
    }

    /// Has the chain ready for a device that calls for so many blocks in one go; what that delays by then. It is nobody's
    /// turn from now on. `None` if whoever has it keeps it for too long.
    pub(super) fn replan(&self, burst: u32) -> Option<Delays> {
        match self {
            Self::Output(engine) | Self::Input(engine) | Self::Behind(engine) => {
                engine.between_turns(BLOCK_UNDER_WAY, |engine| engine.replan(burst))
            }
            Self::Queue(_) => None,
        }
    }

    /// Has whoever takes frames out of a queue know how many an input brings in one go. It is nobody's turn from now on.
    /// False if whoever has it keeps it for too long.
    pub(super) fn announce(&self, frames: u32) -> bool {
        match self {
            Self::Queue(queue) => {
                queue.between_turns(BLOCK_UNDER_WAY, |queue| queue.will_bring(frames as usize)).is_some()
            }
            Self::Output(_) | Self::Input(_) | Self::Behind(_) => true,
        }
    }

    /// Drops what the callbacks work with, here and not on an audio thread.
    pub(super) fn take_back(&self) {
        match self {
            Self::Output(engine) | Self::Input(engine) | Self::Behind(engine) => {
                drop(engine.take_back(LAST_CALLBACK));
            }
            Self::Queue(queue) => drop(queue.take_back(LAST_CALLBACK)),
        }
    }
}

/// What a stream has told, whether or not there was room for the words.
#[derive(Debug, Default)]
struct Told {
    is_lost: AtomicBool,
    errors: AtomicU64,
}

/// Only what is more than an xrun is told; the stream counts those, and telling of one allocates nothing.
fn tell(
    events: SyncSender<StreamEvent>,
    told: Arc<Told>,
) -> impl FnMut(StreamEvent) + Clone + Send + 'static {
    move |event| {
        match event {
            StreamEvent::Xrun => return,
            StreamEvent::Moved { .. } => {}
            StreamEvent::DeviceLost(_) => told.is_lost.store(true, Ordering::Release),
            StreamEvent::Other(_) => drop(told.errors.fetch_add(1, Ordering::Relaxed)),
        }
        let _ = events.try_send(event);
    }
}

/// A stream, and what it says.
#[derive(Debug)]
pub(super) struct Playing {
    pub(super) stream: Stream,
    /// Its device's name.
    pub(super) name: String,
    /// How to find this device again, and no other.
    pub(super) known: Option<DeviceChoice>,
    /// What the device is like, seen from the pipeline.
    pub(super) side: Side,
    /// What frames lie in the device.
    pub(super) holding: Holding,
    /// It would not be opened with another buffer than it has.
    pub(super) refuses_buffers: bool,
    pub(super) pulse: Arc<Pulse>,
    pub(super) blame: Blame,
    pub(super) events: Receiver<StreamEvent>,
    told: Arc<Told>,
    turn: u64,
}

impl Playing {
    /// Whether it has said that it is over.
    pub(super) fn is_lost(&self) -> bool {
        self.told.is_lost.load(Ordering::Acquire)
    }

    /// How long its device says that frames are on their way through it, if it is to be believed.
    pub(super) fn transit(&self) -> Option<Duration> {
        self.pulse.transit().filter(|_| self.holding == Holding::WhatItSays)
    }

    /// Has its pulse know how long lasts what the device says that it has at a time, which may change while it plays.
    fn hear_buffer(&self) {
        let frames = self.stream.buffer_frames().unwrap_or(0);
        let seconds = f64::from(frames) / f64::from(self.stream.rate());
        self.pulse.is_told(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    }

    /// What has been seen of it.
    pub(super) fn signs(&self) -> Signs {
        Signs {
            callbacks: self.pulse.callbacks(),
            errors: self.told.errors.load(Ordering::Relaxed),
            longest: Duration::from_nanos(self.pulse.longest_ns()),
        }
    }

    /// Looks at what went wrong since the last look, to find out whose doing it was.
    pub(super) fn judge(&mut self, now: Instant) {
        self.hear_buffer();
        let thread_waited = |thread: Option<Pid>| thread.and_then(waited).unwrap_or_default();
        let seen = Seen {
            told: self.stream.xruns(),
            callbacks: self.pulse.callbacks(),
            long: self.pulse.long(),
            gaps: self.pulse.gaps(),
            gap: Duration::from_nanos(self.pulse.gap_ns()),
            period: Duration::from_nanos(self.pulse.longest_ns()),
            is_overdue: self.pulse.is_overdue(now_ns()),
            waited: thread_waited(self.pulse.thread()),
            looker_waited: thread_waited(Some(gettid())),
        };
        self.blame.look(now, seen);
    }

    /// What it has said about that, unless it has been asked before.
    pub(super) fn why_lost(&self) -> Option<String> {
        self.events.try_iter().find_map(|event| match event {
            StreamEvent::DeviceLost(why) => Some(why),
            _ => None,
        })
    }

    /// Drops it on a thread of its own: its device may hold that up.
    pub(super) fn let_go(self) {
        // Without a thread it is dropped here.
        let _ = std::thread::Builder::new().name("device-close".into()).spawn(move || drop(self));
    }
}
