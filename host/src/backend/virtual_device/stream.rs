//! A virtual stream: the thread that calls back, and what its owner wants of it.
//!
//! Once it plays, its thread does three things: it waits on a futex until a callback is due, reads the clock,
//! and calls back. Nothing there allocates, locks or frees, but that the two ends of a cable wait for each other's
//! callbacks as they begin ([`super::cable::Gate`]). In simulated time a stream has no thread: see
//! [`super::simulation`].

use super::cable::Beginning;
use super::metronome::Metronome;
use super::presence::Presence;
use super::simulation::{Player, Simulation};
use super::wait::{Woken, now, wait, wake};
use cpal::traits::StreamTrait;
use cpal::{ErrorKind, StreamInstant};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const PAUSED: u32 = 0;
const PLAYING: u32 = 1;
const STOPPED: u32 = 2;

/// What a stream calls when it is due.
pub(super) trait Callback: Send {
    /// The callback that was due at this time after the start, with so many frames. False if frames were lost.
    fn call(&mut self, at: Duration, frames: usize, control: &Control) -> bool;

    /// The stream plays no longer, until the next call.
    fn hold(&mut self) {}
}

/// What makes the time of a stream.
#[derive(Debug, Clone, Default)]
pub(super) enum Pace {
    /// CLOCK_MONOTONIC.
    #[default]
    Clock,
    /// Callbacks follow each other at once.
    Free,
    /// Whoever runs the simulation.
    Simulated(Simulation),
}

impl Pace {
    /// Whether streams wait for the time.
    pub(super) fn is_the_clock(&self) -> bool {
        matches!(self, Self::Clock)
    }

    /// Whether nothing but the machine's speed limits it.
    pub(super) fn is_free(&self) -> bool {
        matches!(self, Self::Free)
    }
}

/// A virtual stream, paused at first; dropping it stops its thread and waits for it to end.
#[derive(Debug)]
pub struct VirtualStream {
    control: Arc<Control>,
    runner: Runner,
    buffer_frames: u32,
    presence: Presence,
    beginning: Option<Beginning>,
}

#[derive(Debug)]
enum Runner {
    Thread(Option<JoinHandle<()>>),
    Simulation(Simulation, u64),
}

cpal::assert_stream_send!(VirtualStream);
cpal::assert_stream_sync!(VirtualStream);

impl VirtualStream {
    /// A paused stream; `buffer_frames` is the device's buffer. `on_error` is told of an xrun when callbacks are
    /// skipped or lose frames.
    pub(super) fn open(
        metronome: Metronome,
        buffer_frames: u32,
        pace: &Pace,
        presence: &Presence,
        callback: impl Callback + 'static,
        on_error: impl FnMut(cpal::Error) + Send + 'static,
    ) -> Result<Self, cpal::Error> {
        let control = Arc::new(Control::default());
        let runner = if let Pace::Simulated(simulation) = pace {
            let (callback, on_error) = (Box::new(callback), Box::new(on_error));
            let control = Arc::clone(&control);
            let player = Player { control, metronome, callback, on_error, runs: false, id: 0 };
            Runner::Simulation(simulation.clone(), simulation.add(player))
        } else {
            let (control, free_running, presence) = (Arc::clone(&control), pace.is_free(), presence.clone());
            let has_called = false;
            let clock = Clock { control, metronome, free_running, presence, has_called, callback, on_error };
            let thread = std::thread::Builder::new()
                .name("virtual-device".into())
                .spawn(move || clock.run())
                .map_err(|e| cpal::Error::with_message(ErrorKind::ResourceExhausted, e.to_string()))?;
            Runner::Thread(Some(thread))
        };
        Ok(Self { control, runner, buffer_frames, presence: presence.clone(), beginning: None })
    }

    /// The same stream; it hears its cable from when it is told to play.
    pub(super) fn hearing(mut self, beginning: Option<Beginning>) -> Self {
        self.beginning = beginning;
        self
    }
}

impl StreamTrait for VirtualStream {
    fn play(&self) -> Result<(), cpal::Error> {
        self.presence.wait_while_still(false)?;
        if let Some(beginning) = self.beginning.as_ref().filter(|_| !self.control.plays()) {
            beginning.mark();
        }
        self.control.tell(PLAYING);
        Ok(())
    }

    /// Holds the stream's clock until it plays again.
    fn pause(&self) -> Result<(), cpal::Error> {
        self.control.tell(PAUSED);
        Ok(())
    }

    /// The time of the latest callback: this clock ticks once a buffer, and stands while the stream is paused.
    fn now(&self) -> StreamInstant {
        StreamInstant::from_nanos(self.control.time_ns.load(Ordering::Acquire))
    }

    fn buffer_size(&self) -> Result<cpal::FrameCount, cpal::Error> {
        Ok(self.buffer_frames)
    }
}

impl Drop for VirtualStream {
    fn drop(&mut self) {
        self.control.tell(STOPPED);
        match &mut self.runner {
            Runner::Thread(thread) => {
                if let Some(thread) = thread.take() {
                    // An error means that the callback panicked: it has told so on stderr, and the stream is over.
                    let _ = thread.join();
                }
            }
            Runner::Simulation(simulation, id) => simulation.remove(*id),
        }
    }
}

/// What the stream's owner wants of its thread, and how far that is.
#[derive(Debug, Default)]
pub(super) struct Control {
    state: AtomicU32,
    time_ns: AtomicU64,
}

impl Control {
    fn tell(&self, state: u32) {
        self.state.store(state, Ordering::Release);
        wake(&self.state);
    }

    /// Whether the stream is neither paused nor stopped.
    pub(super) fn plays(&self) -> bool {
        self.is(PLAYING)
    }

    /// Tells the time of a callback.
    pub(super) fn is_at(&self, at: Duration) {
        let ns = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        self.time_ns.store(ns, Ordering::Release);
    }

    fn is(&self, state: u32) -> bool {
        self.state.load(Ordering::Acquire) == state
    }

    /// Waits while playing, until this time; tells whether it still plays.
    fn play_until(&self, deadline: Duration) -> bool {
        while self.plays() {
            if now() >= deadline || wait(&self.state, PLAYING, Some(deadline)) == Woken::Late {
                return self.plays();
            }
        }
        false
    }

    /// Waits while paused; false if the stream is to end.
    fn wait_for_play(&self) -> bool {
        while self.is(PAUSED) {
            wait(&self.state, PAUSED, None);
        }
        self.plays()
    }
}

/// What the stream's thread runs.
struct Clock<C, E> {
    control: Arc<Control>,
    metronome: Metronome,
    free_running: bool,
    presence: Presence,
    has_called: bool,
    callback: C,
    on_error: E,
}

impl<C: Callback, E: FnMut(cpal::Error)> Clock<C, E> {
    fn run(mut self) {
        // By default Linux wakes a thread up to 50 us late to save power.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        while self.control.wait_for_play() {
            self.metronome.resume(now());
            let played = self.play();
            self.callback.hold();
            if let Err(gone) = played {
                (self.on_error)(gone);
                return;
            }
        }
    }

    /// Callback after callback, until paused or stopped; an error once the device is gone.
    fn play(&mut self) -> Result<(), cpal::Error> {
        while self.wait_for_next() {
            self.presence.wait_while_still(self.has_called)?;
            self.has_called = true;
            let (at, frames) = self.metronome.tick();
            self.control.is_at(at);
            if !self.callback.call(at, frames, &self.control) {
                (self.on_error)(ErrorKind::Xrun.into());
            }
        }
        Ok(())
    }

    fn wait_for_next(&mut self) -> bool {
        if self.free_running {
            return self.control.plays();
        }
        let playing = self.control.play_until(self.metronome.due());
        if playing && self.metronome.skip(now()) {
            (self.on_error)(ErrorKind::Xrun.into());
        }
        playing
    }
}

#[cfg(test)]
mod tests {
    use super::super::metronome::Sizes;
    use super::*;
    use shared::format::Format;
    use std::sync::mpsc;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Calls a function with the time.
    struct Calls<F>(F);

    impl<F: FnMut(Duration) + Send> Callback for Calls<F> {
        fn call(&mut self, at: Duration, _frames: usize, _control: &Control) -> bool {
            (self.0)(at);
            true
        }
    }

    fn metronome(buffer: u32, rate: u32) -> Metronome {
        Metronome::new(Format::new(1, buffer, rate).unwrap(), 0, Sizes::Even)
    }

    fn open(buffer: u32, rate: u32, callback: impl FnMut(Duration) + Send + 'static) -> VirtualStream {
        VirtualStream::open(
            metronome(buffer, rate),
            buffer,
            &Pace::Clock,
            &Presence::default(),
            Calls(callback),
            |_| (),
        )
        .unwrap()
    }

    /// A stream and the times of its callbacks.
    fn stream(buffer: u32, rate: u32) -> (VirtualStream, mpsc::Receiver<Duration>) {
        let (sender, times) = mpsc::channel();
        (open(buffer, rate, move |at| sender.send(at).unwrap_or(())), times)
    }

    #[test]
    fn half_a_second_of_callbacks_comes_when_due_and_not_before() {
        let (sender, calls) = mpsc::channel();
        let started = now();
        let stream = open(441, 44_100, move |at| sender.send((at, now())).unwrap_or(()));
        stream.play().unwrap();
        for index in 0..=50 {
            let (at, called) = calls.recv_timeout(PATIENCE).unwrap();
            assert_eq!(at, Duration::from_millis(10 * index));
            assert!(called >= started + at, "callback {index} came early");
        }
    }

    #[test]
    fn a_stream_waits_for_play_and_goes_on_after_a_pause_where_it_was() {
        let (stream, times) = stream(8192, 8_192);
        assert_eq!(times.try_recv(), Err(mpsc::TryRecvError::Empty));
        for second in 0..5 {
            stream.play().unwrap();
            assert_eq!(times.recv_timeout(PATIENCE), Ok(Duration::from_secs(second)));
            stream.pause().unwrap();
        }
    }

    #[test]
    fn the_clock_of_a_stream_is_never_behind_a_callback() {
        let (stream, times) = stream(480, 48_000);
        assert_eq!(stream.now(), StreamInstant::ZERO);
        stream.play().unwrap();
        for _ in 0..10 {
            let at = times.recv_timeout(PATIENCE).unwrap();
            assert!(stream.now() >= StreamInstant::ZERO + at);
        }
    }

    #[test]
    fn a_hopelessly_late_stream_tells_cpal_of_one_xrun_and_goes_on() {
        let control = Arc::new(Control::default());
        control.tell(PLAYING);
        let mut metronome = metronome(480, 48_000);
        metronome.resume(now().saturating_sub(Duration::from_secs(5)));
        let mut errors = Vec::new();
        let (callback, on_error) = (Calls(|_| ()), |error| errors.push(error));
        let presence = Presence::default();
        let (free_running, has_called) = (false, false);
        let mut clock = Clock { control, metronome, free_running, presence, has_called, callback, on_error };
        assert!(clock.wait_for_next());
        assert!(clock.metronome.tick().0 >= Duration::from_secs(4));
        assert_eq!(errors, [cpal::Error::new(ErrorKind::Xrun)]);
    }

    #[test]
    fn dropping_a_stream_ends_its_thread_however_long_its_buffer() {
        for state in [PAUSED, PLAYING] {
            let (stream, times) = stream(8192, 8_000);
            stream.control.tell(state);
            drop(stream);
            // The thread owned the sender: it is gone by the time the drop returns.
            while times.try_recv().is_ok() {}
            assert_eq!(times.try_recv(), Err(mpsc::TryRecvError::Disconnected));
        }
    }
}
