//! A virtual stream: the thread that calls back, and what its owner wants of it.
//!
//! Once it plays, its thread does three things: it waits on a futex until a callback is due, reads the clock,
//! and calls back. Nothing there allocates, locks or frees.

use super::metronome::Metronome;
use super::wait::{Woken, now, wait, wake};
use cpal::traits::StreamTrait;
use cpal::{ErrorKind, StreamInstant};
use shared::format::Format;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const PAUSED: u32 = 0;
const PLAYING: u32 = 1;
const STOPPED: u32 = 2;

/// A virtual stream, paused at first; dropping it stops its thread and waits for it to end.
#[derive(Debug)]
pub struct VirtualStream {
    control: Arc<Control>,
    thread: Option<JoinHandle<()>>,
    buffer_frames: usize,
}

cpal::assert_stream_send!(VirtualStream);
cpal::assert_stream_sync!(VirtualStream);

impl VirtualStream {
    /// A paused stream of this format, whose block is the device's buffer. `callback` gets its time after the
    /// start; `on_error` is told of an xrun when callbacks are skipped.
    pub(super) fn open(
        format: Format,
        free_running: bool,
        callback: impl FnMut(Duration, &Control) + Send + 'static,
        on_error: impl FnMut(cpal::Error) + Send + 'static,
    ) -> Result<Self, cpal::Error> {
        let control = Arc::new(Control::default());
        let metronome = Metronome::new(format);
        let clock = Clock { control: Arc::clone(&control), metronome, free_running, callback, on_error };
        let thread = std::thread::Builder::new()
            .name("virtual-device".into())
            .spawn(move || clock.run())
            .map_err(|e| cpal::Error::with_message(ErrorKind::ResourceExhausted, e.to_string()))?;
        Ok(Self { control, thread: Some(thread), buffer_frames: format.block_frames() })
    }
}

impl StreamTrait for VirtualStream {
    fn play(&self) -> Result<(), cpal::Error> {
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
        u32::try_from(self.buffer_frames).map_err(|_| ErrorKind::UnsupportedOperation.into())
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
    callback: C,
    on_error: E,
}

impl<C: FnMut(Duration, &Control), E: FnMut(cpal::Error)> Clock<C, E> {
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
            let at = self.metronome.tick();
            let ns = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
            self.control.time_ns.store(ns, Ordering::Release);
            (self.callback)(at, &self.control);
        }
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
    use super::*;
    use std::sync::mpsc;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn format(buffer: u32, rate: u32) -> Format {
        Format::new(1, buffer, rate).unwrap()
    }

    /// A stream and the times of its callbacks.
    fn stream(format: Format) -> (VirtualStream, mpsc::Receiver<Duration>) {
        let (sender, times) = mpsc::channel();
        let callback = move |at, _: &Control| sender.send(at).unwrap_or(());
        (VirtualStream::open(format, false, callback, |_| ()).unwrap(), times)
    }

    #[test]
    fn half_a_second_of_callbacks_comes_when_due_and_not_before() {
        let (sender, calls) = mpsc::channel();
        let started = now();
        let callback = move |at, _: &Control| sender.send((at, now())).unwrap_or(());
        let stream = VirtualStream::open(format(441, 44_100), false, callback, |_| ()).unwrap();
        stream.play().unwrap();
        for index in 0..=50 {
            let (at, called) = calls.recv_timeout(PATIENCE).unwrap();
            assert_eq!(at, Duration::from_millis(10 * index));
            assert!(called >= started + at, "callback {index} came early");
        }
    }

    #[test]
    fn a_stream_waits_for_play_and_goes_on_after_a_pause_where_it_was() {
        let (stream, times) = stream(format(8192, 8_192));
        assert_eq!(times.try_recv(), Err(mpsc::TryRecvError::Empty));
        for second in 0..5 {
            stream.play().unwrap();
            assert_eq!(times.recv_timeout(PATIENCE), Ok(Duration::from_secs(second)));
            stream.pause().unwrap();
        }
    }

    #[test]
    fn the_clock_of_a_stream_is_never_behind_a_callback() {
        let (stream, times) = stream(format(480, 48_000));
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
        let mut metronome = Metronome::new(format(480, 48_000));
        metronome.resume(now().saturating_sub(Duration::from_secs(5)));
        let mut errors = Vec::new();
        let (callback, on_error) = (|_, _: &Control| (), |error| errors.push(error));
        let mut clock = Clock { control, metronome, free_running: false, callback, on_error };
        assert!(clock.wait_for_next());
        assert!(clock.metronome.tick() >= Duration::from_secs(4));
        assert_eq!(errors, [cpal::Error::new(ErrorKind::Xrun)]);
    }

    #[test]
    fn dropping_a_stream_ends_its_thread_however_long_its_buffer() {
        for state in [PAUSED, PLAYING] {
            let (stream, times) = stream(format(8192, 8_000));
            stream.control.tell(state);
            drop(stream);
            // The thread owned the sender: it is gone by the time the drop returns.
            while times.try_recv().is_ok() {}
            assert_eq!(times.try_recv(), Err(mpsc::TryRecvError::Disconnected));
        }
    }
}
