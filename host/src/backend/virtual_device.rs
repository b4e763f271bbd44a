//! The virtual device: one input and one output named "virtual" that need no sound card.
//!
//! For machines without a card, and for tests. It takes any rate, channel count and buffer within the bounds of
//! [`shared::format`], discards what it is given and hears silence, at the pace of CLOCK_MONOTONIC. The time of
//! callback `n` is `start + n * buffer / rate`, computed from `n` each time, so no rounding adds up: an hour of
//! callbacks takes an hour. A late callback is followed at once by those that fell due meanwhile.
//!
//! Tests can let it run free of the clock, and have what it plays ([`VirtualHost::capturing`]). It is not a
//! cpal device, though it looks like one to [`super::open_output`]: cpal's `Data`, which a cpal custom host has
//! to hand to callbacks, is made by an unsafe function, and `host` has no unsafe code.

use crate::error::{Error, Kind, Result};
use rtrb::{Consumer, Producer, RingBuffer};
use rustix::io::Errno;
use rustix::thread::futex;
use rustix::time::{ClockId, Timespec, clock_gettime};
use shared::format::{Format, FormatError};
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The name and the stable id of both virtual devices.
pub const NAME: &str = "virtual";
/// Frames per callback where none are asked for.
pub const DEFAULT_BUFFER: u32 = 512;
/// A stream further behind than this skips callbacks: a burst longer than that helps nobody.
const MOST_BEHIND: Duration = Duration::from_secs(1);
/// Samples that a capture holds for its reader: ten seconds of stereo at 48 kHz.
const CAPTURE_SAMPLES: usize = 1 << 20;
/// How often a free-running stream that waits for its capture's reader looks whether it is to stop.
const LOOK_AROUND: Duration = Duration::from_millis(10);

/// Makes virtual streams.
#[derive(Debug, Clone, Default)]
pub struct VirtualHost {
    free_running: bool,
    /// Lent to the output stream that plays, given back when it ends.
    tap: Arc<Mutex<Option<Tap>>>,
}

impl VirtualHost {
    /// A host whose devices keep the pace of the clock, as a sound card does.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A host for tests, and what its output plays. Samples are kept for the first output stream at a time.
    #[must_use]
    pub fn capturing() -> (Self, Played) {
        let (writer, reader) = RingBuffer::new(CAPTURE_SAMPLES);
        let progress = Arc::new(Progress::default());
        let tap = Tap { ring: writer, progress: Arc::clone(&progress) };
        let host = Self { free_running: false, tap: Arc::new(Mutex::new(Some(tap))) };
        (host, Played { ring: reader, progress })
    }

    /// For tests: callbacks follow each other at once. A capture then loses nothing, as the stream waits for
    /// its reader.
    #[must_use]
    pub fn free_running(mut self) -> Self {
        self.free_running = true;
        self
    }

    /// A paused output stream of this format, whose block is the device's buffer. `callback` is to fill the
    /// interleaved samples; `on_skip` is told how many callbacks were skipped.
    pub(super) fn output(
        &self,
        format: Format,
        mut callback: impl FnMut(&mut [f32], Tick) + Send + 'static,
        on_skip: impl FnMut(u64) + Send + 'static,
    ) -> Result<VirtualStream> {
        let mut buffer = vec![0.0; format.samples()];
        let mut lent = Lent::from(&self.tap);
        let lossless = self.free_running;
        self.start(
            format,
            move |tick, control| {
                buffer.fill(0.0);
                callback(&mut buffer, tick);
                if let Some(tap) = &mut lent.tap {
                    tap.play(&buffer, lossless.then_some(control));
                }
            },
            on_skip,
        )
    }

    /// A paused input stream of this format, whose block is the device's buffer.
    pub(super) fn input(
        &self,
        format: Format,
        mut callback: impl FnMut(&[f32], Tick) + Send + 'static,
        on_skip: impl FnMut(u64) + Send + 'static,
    ) -> Result<VirtualStream> {
        let silence = vec![0.0; format.samples()];
        self.start(format, move |tick, _: &Control| callback(&silence, tick), on_skip)
    }

    fn start(
        &self,
        format: Format,
        callback: impl FnMut(Tick, &Control) + Send + 'static,
        on_skip: impl FnMut(u64) + Send + 'static,
    ) -> Result<VirtualStream> {
        let control = Arc::new(Control::default());
        let clock = Clock {
            control: Arc::clone(&control),
            metronome: Metronome::new(format),
            free_running: self.free_running,
            callback,
            on_skip,
        };
        let thread = std::thread::Builder::new()
            .name("virtual-device".into())
            .spawn(move || clock.run())
            .map_err(|e| Error::new(Kind::System, "the virtual device got no thread").source(e))?;
        Ok(VirtualStream { control, thread: Some(thread) })
    }
}

/// The format of a virtual stream, its block the device's buffer, or an error that says what there is.
pub(super) fn stream_format(channels: u32, rate: u32, buffer_frames: Option<u32>) -> Result<Format> {
    let buffer = buffer_frames.unwrap_or(DEFAULT_BUFFER);
    Format::new(channels, buffer, rate).map_err(|e| {
        let what = match e {
            FormatError::BlockFrames(_) => e.to_string().replacen("block", "the buffer", 1),
            other => other.to_string(),
        };
        Error::new(Kind::Device, format!("the virtual device refuses the format: {what}"))
    })
}

/// The moment of a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// The number of the callback, from 0.
    pub index: u64,
    /// When it is due, after the start of the stream (pauses not counted): `index * buffer / rate`.
    pub at: Duration,
}

/// A virtual stream; dropping it stops its thread and waits for it to end.
#[derive(Debug)]
pub struct VirtualStream {
    control: Arc<Control>,
    thread: Option<JoinHandle<()>>,
}

impl VirtualStream {
    /// Begins or resumes.
    pub fn play(&self) {
        self.control.tell(PLAYING);
    }

    /// Holds the stream's clock until it plays again.
    pub fn pause(&self) {
        self.control.tell(PAUSED);
    }
}

impl Drop for VirtualStream {
    fn drop(&mut self) {
        self.control.tell(STOPPED);
        if let Some(thread) = self.thread.take() {
            // An error means that the callback panicked: it has told so on stderr, and the stream is over.
            let _ = thread.join();
        }
    }
}

const PAUSED: u32 = 0;
const PLAYING: u32 = 1;
const STOPPED: u32 = 2;

/// What the stream's owner wants of its thread.
#[derive(Debug, Default)]
struct Control {
    state: AtomicU32,
}

impl Control {
    fn tell(&self, state: u32) {
        self.state.store(state, Ordering::Release);
        wake(&self.state);
    }

    fn is(&self, state: u32) -> bool {
        self.state.load(Ordering::Acquire) == state
    }

    /// Waits while playing, until this time; tells whether it still plays.
    fn play_until(&self, deadline: Duration) -> bool {
        while self.is(PLAYING) {
            if now() >= deadline || wait(&self.state, PLAYING, Some(deadline)) == Woken::Late {
                return self.is(PLAYING);
            }
        }
        false
    }

    /// Waits while paused; false if the stream is to end.
    fn wait_for_play(&self) -> bool {
        while self.is(PAUSED) {
            wait(&self.state, PAUSED, None);
        }
        self.is(PLAYING)
    }
}

/// When callbacks are due. Knows no clock: it is told the time.
#[derive(Debug)]
struct Metronome {
    rate: u64,
    buffer: u64,
    /// When callback 0 was due, or would have been, but for the pauses.
    epoch: Duration,
    next: u64,
}

impl Metronome {
    fn new(format: Format) -> Self {
        let buffer = format.block_frames() as u64;
        Self { rate: u64::from(format.rate()), buffer, epoch: Duration::ZERO, next: 0 }
    }

    /// After the epoch, rounded down to the nanosecond, whatever came before.
    fn time_of(&self, index: u64) -> Duration {
        let frames = index.saturating_mul(self.buffer);
        let nanos = frames % self.rate * 1_000_000_000 / self.rate;
        Duration::from_secs(frames / self.rate) + Duration::from_nanos(nanos)
    }

    /// How many callbacks are due before this long after the epoch, the one due right then not counted.
    fn due_before(&self, elapsed: Duration) -> u64 {
        let frames = elapsed.as_secs().saturating_mul(self.rate)
            + u64::from(elapsed.subsec_nanos()) * self.rate / 1_000_000_000;
        frames / self.buffer
    }

    /// Makes the next callback due now.
    fn resume(&mut self, now: Duration) {
        self.epoch = now.saturating_sub(self.time_of(self.next));
    }

    fn due(&self) -> Duration {
        self.epoch + self.time_of(self.next)
    }

    /// Skips what can't be caught up with; returns how many callbacks that is.
    fn skip(&mut self, now: Duration) -> u64 {
        if now.saturating_sub(self.due()) <= MOST_BEHIND {
            return 0;
        }
        let next = self.due_before(now.saturating_sub(self.epoch)).max(self.next);
        let skipped = next - self.next;
        self.next = next;
        skipped
    }

    fn tick(&mut self) -> Tick {
        let tick = Tick { index: self.next, at: self.time_of(self.next) };
        self.next += 1;
        tick
    }
}

/// What the stream's thread runs.
struct Clock<C, S> {
    control: Arc<Control>,
    metronome: Metronome,
    free_running: bool,
    callback: C,
    on_skip: S,
}

impl<C: FnMut(Tick, &Control), S: FnMut(u64)> Clock<C, S> {
    fn run(mut self) {
        // By default Linux wakes a thread up to 50 us late to save power.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        while self.control.wait_for_play() {
            self.metronome.resume(now());
            self.play();
        }
    }

    /// Callback after callback, until paused or stopped.
    fn play(&mut self) {
        while self.wait_for_next() {
            let tick = self.metronome.tick();
            (self.callback)(tick, &self.control);
        }
    }

    fn wait_for_next(&mut self) -> bool {
        if self.free_running {
            return self.control.is(PLAYING);
        }
        let playing = self.control.play_until(self.metronome.due());
        let skipped = self.metronome.skip(now());
        if playing && skipped > 0 {
            (self.on_skip)(skipped);
        }
        playing
    }
}

/// Counts of buffers, for the two ends of a capture to wait for each other.
#[derive(Debug, Default)]
struct Progress {
    played: AtomicU32,
    read: AtomicU32,
    lost: AtomicU64,
}

/// The device's end of a capture.
#[derive(Debug)]
struct Tap {
    ring: Producer<f32>,
    progress: Arc<Progress>,
}

impl Tap {
    /// Hands over a buffer, whole or not at all. With a `patient` control it waits for room while playing.
    fn play(&mut self, buffer: &[f32], patient: Option<&Control>) {
        if let Some(control) = patient {
            self.wait_for_room(buffer.len(), control);
        }
        if self.ring.push_entire_slice(buffer).is_err() {
            self.progress.lost.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        }
        self.progress.played.fetch_add(1, Ordering::Release);
        wake(&self.progress.played);
    }

    fn wait_for_room(&self, samples: usize, control: &Control) {
        while control.is(PLAYING) && !self.ring.is_abandoned() {
            let read = self.progress.read.load(Ordering::Acquire);
            if self.ring.slots() >= samples {
                return;
            }
            wait(&self.progress.read, read, Some(now() + LOOK_AROUND));
        }
    }
}

/// A tap that goes back to its place when the stream that has it ends.
struct Lent {
    tap: Option<Tap>,
    place: Arc<Mutex<Option<Tap>>>,
}

impl Lent {
    fn from(place: &Arc<Mutex<Option<Tap>>>) -> Self {
        let tap = place.lock().unwrap_or_else(PoisonError::into_inner).take();
        Self { tap, place: Arc::clone(place) }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(tap) = self.tap.take() {
            *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(tap);
        }
    }
}

/// What a capturing host's output has played: interleaved samples with the stream's channels.
#[derive(Debug)]
pub struct Played {
    ring: Consumer<f32>,
    progress: Arc<Progress>,
}

impl Played {
    /// Fills `samples` with the oldest that were played, waiting at most so long; returns how many it got.
    pub fn read(&mut self, samples: &mut [f32], within: Duration) -> usize {
        let deadline = now() + within;
        let mut got = 0;
        loop {
            let played = self.progress.played.load(Ordering::Acquire);
            got += self.ring.pop_partial_slice(&mut samples[got..]).0.len();
            self.progress.read.fetch_add(1, Ordering::Release);
            wake(&self.progress.read);
            if got == samples.len() || now() >= deadline {
                return got;
            }
            wait(&self.progress.played, played, Some(deadline));
        }
    }

    /// Samples that were played while nobody read, and did not fit.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.progress.lost.load(Ordering::Relaxed)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Woken {
    Late,
    Early,
}

/// CLOCK_MONOTONIC.
fn now() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

/// Waits while the word has this value, until an absolute time. May wake for no reason: callers look again.
fn wait(word: &AtomicU32, value: u32, deadline: Option<Duration>) -> Woken {
    let deadline = deadline.and_then(|at| Timespec::try_from(at).ok());
    // Unlike FUTEX_WAIT, this takes an absolute time: being interrupted before the call costs nothing.
    match futex::wait_bitset(word, futex::Flags::PRIVATE, value, deadline.as_ref(), NonZeroU32::MAX) {
        Err(Errno::TIMEDOUT) => Woken::Late,
        _ => Woken::Early,
    }
}

fn wake(word: &AtomicU32) {
    // Fails only for a bad address.
    let _ = futex::wake(word, futex::Flags::PRIVATE, 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn format(channels: u32, buffer: u32, rate: u32) -> Format {
        Format::new(channels, buffer, rate).unwrap()
    }

    fn exact(index: u64, buffer: u32, rate: u32) -> Duration {
        let nanos = u128::from(index) * u128::from(buffer) * 1_000_000_000 / u128::from(rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap())
    }

    #[test]
    fn a_day_of_callbacks_drifts_by_no_nanosecond() {
        for (buffer, rate) in [(64, 44_100), (441, 48_000), (16, 192_000), (8192, 8_000), (127, 11_025)] {
            let metronome = Metronome::new(format(1, buffer, rate));
            let day = u64::from(rate) * 86_400 / u64::from(buffer);
            for index in [0, 1, 2, 3, 1_000, day - 1, day] {
                assert_eq!(metronome.time_of(index), exact(index, buffer, rate));
            }
        }
    }

    #[test]
    fn an_oversleeping_stream_catches_up_callback_by_callback() {
        let mut metronome = Metronome::new(format(1, 480, 48_000));
        metronome.resume(Duration::from_secs(5));
        let late = Duration::from_millis(5_900);
        let mut caught_up = 0;
        while metronome.due() <= late {
            assert_eq!(metronome.skip(late), 0);
            assert_eq!(metronome.tick(), Tick { index: caught_up, at: exact(caught_up, 480, 48_000) });
            caught_up += 1;
        }
        assert_eq!(caught_up, 91);
    }

    #[test]
    fn a_stream_more_than_a_second_behind_skips_to_now_and_keeps_its_grid() {
        let mut metronome = Metronome::new(format(1, 480, 48_000));
        metronome.resume(Duration::from_secs(5));
        assert_eq!(metronome.skip(Duration::from_millis(8_004)), 300);
        assert_eq!(metronome.due(), Duration::from_secs(8));
        assert_eq!(metronome.tick(), Tick { index: 300, at: Duration::from_secs(3) });
        assert_eq!(metronome.skip(Duration::from_millis(8_004)), 0);
    }

    #[test]
    fn a_pause_holds_the_time_of_the_stream() {
        let mut metronome = Metronome::new(format(1, 480, 48_000));
        metronome.resume(Duration::from_secs(5));
        metronome.tick();
        metronome.resume(Duration::from_secs(100));
        assert_eq!(metronome.due(), Duration::from_secs(100));
        assert_eq!(metronome.tick().at, Duration::from_millis(10));
        assert_eq!(metronome.due(), Duration::from_millis(100_010));
    }

    #[test]
    fn half_a_second_of_callbacks_comes_when_due_and_not_before() {
        let (sender, ticks) = mpsc::channel();
        let started = now();
        let callback = move |samples: &mut [f32], tick| sender.send((samples.len(), tick, now())).unwrap();
        let stream = VirtualHost::new().output(format(2, 441, 44_100), callback, |_| ()).unwrap();
        stream.play();
        for index in 0..=50 {
            let (samples, tick, called) = ticks.recv_timeout(PATIENCE).unwrap();
            assert_eq!((samples, tick), (882, Tick { index, at: exact(index, 441, 44_100) }));
            assert!(called >= started + tick.at, "callback {index} came early");
        }
    }

    #[test]
    fn the_input_is_silent() {
        let (sender, buffers) = mpsc::channel();
        let callback = move |samples: &[f32], _| sender.send(samples.to_vec()).unwrap_or(());
        let stream =
            VirtualHost::new().free_running().input(format(3, 100, 8_000), callback, |_| ()).unwrap();
        stream.play();
        for _ in 0..10 {
            assert_eq!(buffers.recv_timeout(PATIENCE).unwrap(), [0.0; 300]);
        }
    }

    #[test]
    fn a_stream_waits_for_play_and_goes_on_after_a_pause_where_it_was() {
        let (sender, ticks) = mpsc::channel();
        let callback = move |_: &[f32], tick: Tick| sender.send(tick.index).unwrap_or(());
        let stream = VirtualHost::new().input(format(1, 8192, 192_000), callback, |_| ()).unwrap();
        assert_eq!(ticks.try_recv(), Err(mpsc::TryRecvError::Empty));
        for index in 0..5 {
            stream.play();
            assert_eq!(ticks.recv_timeout(PATIENCE), Ok(index));
            stream.pause();
        }
    }

    #[test]
    fn dropping_a_stream_ends_its_thread_however_long_its_buffer() {
        for state in [PAUSED, PLAYING] {
            let (sender, ticks) = mpsc::channel::<u64>();
            let callback = move |_: &mut [f32], tick: Tick| sender.send(tick.index).unwrap();
            let stream = VirtualHost::new().output(format(1, 8192, 8_000), callback, |_| ()).unwrap();
            stream.control.tell(state);
            drop(stream);
            // The thread owned the sender: it is gone by the time the drop returns.
            while ticks.try_recv().is_ok() {}
            assert_eq!(ticks.try_recv(), Err(mpsc::TryRecvError::Disconnected));
        }
    }

    #[test]
    fn a_capture_holds_every_sample_in_order_and_outlives_its_stream() {
        let (host, mut played) = VirtualHost::capturing();
        let host = host.free_running();
        for _ in 0..2 {
            let mut next = 0.0;
            let callback = move |samples: &mut [f32], _| {
                for sample in samples {
                    *sample = next;
                    next += 1.0;
                }
            };
            let stream = host.output(format(2, 1000, 48_000), callback, |_| ()).unwrap();
            stream.play();
            let mut samples = vec![0.0; 3_000_000];
            assert_eq!(played.read(&mut samples, PATIENCE), samples.len());
            assert!(samples.iter().enumerate().all(|(n, sample)| *sample == n as f32));
            drop(stream);
            while played.read(&mut samples, Duration::ZERO) > 0 {}
        }
    }

    #[test]
    fn a_capture_without_a_reader_never_holds_a_stream_up() {
        let (host, played) = VirtualHost::capturing();
        let stream = host.free_running().output(format(64, 8192, 48_000), |_, _| (), |_| ()).unwrap();
        stream.play();
        drop(stream);
        drop(played);
    }

    #[test]
    fn a_format_out_of_bounds_is_refused_with_what_there_is() {
        let refusal = |channels, rate, buffer| {
            let error = stream_format(channels, rate, buffer).unwrap_err();
            assert_eq!(error.kind(), Kind::Device);
            error.to_string()
        };
        assert!(refusal(2, 48_000, Some(15)).contains("the buffer is 15, must be 16 to 8192"));
        assert!(refusal(65, 48_000, None).contains("channels is 65, must be 1 to 64"));
        assert!(refusal(2, 7_999, None).contains("rate is 7999, must be 8000 to 192000"));
    }
}
