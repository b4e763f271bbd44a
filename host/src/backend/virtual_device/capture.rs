//! What the virtual output has played, for tests to read.
//!
//! A device that runs at the clock's pace loses what nobody reads in time, and counts it; one that runs free
//! waits for its reader. Nothing of this is there unless a test asked for it.

use super::stream::Control;
use super::wait::{now, wait, wake};
use crate::queue::queue;
use rtrb::{Consumer, Producer};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Samples that a capture holds for its reader: ten seconds of stereo at 48 kHz.
const CAPTURE_SAMPLES: usize = 1 << 20;
/// How often a free-running stream that waits for its capture's reader looks whether it is to stop.
const LOOK_AROUND: Duration = Duration::from_millis(10);

/// The two ends of a capture: the device's and the test's.
pub(super) fn capture() -> (Lender, Played) {
    let (writer, reader) = queue(CAPTURE_SAMPLES, 0.0);
    let progress = Arc::new(Progress::default());
    let tap = Tap { ring: writer, progress: Arc::clone(&progress) };
    (Lender(Arc::new(Mutex::new(Some(tap)))), Played { ring: reader, progress })
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
    /// Hands over a buffer, whole or not at all.
    fn play(&mut self, buffer: &[f32]) {
        if self.ring.push_entire_slice(buffer).is_err() {
            self.progress.lost.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        }
        self.progress.played.fetch_add(1, Ordering::Release);
        wake(&self.progress.played);
    }

    /// Waits while playing until there is room for so many samples.
    fn wait_for_room(&self, samples: usize, control: &Control) {
        while control.plays() && !self.ring.is_abandoned() {
            let read = self.progress.read.load(Ordering::Acquire);
            if self.ring.slots() >= samples {
                return;
            }
            wait(&self.progress.read, read, Some(now() + LOOK_AROUND));
        }
    }
}

/// Has the tap while no output stream plays to it; without a capture there is none to lend.
#[derive(Debug, Clone, Default)]
pub(super) struct Lender(Arc<Mutex<Option<Tap>>>);

impl Lender {
    /// The tap, for an output stream, unless another has it.
    pub(super) fn lend(&self) -> Lent {
        let tap = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        Lent { tap, place: self.clone() }
    }
}

/// A tap that goes back to its place when the stream that has it ends.
#[derive(Debug)]
pub(super) struct Lent {
    tap: Option<Tap>,
    place: Lender,
}

impl Lent {
    /// Hands over a buffer, whole or not at all. With a `patient` control it waits for room while playing.
    pub(super) fn play(&mut self, buffer: &[f32], patient: Option<&Control>) {
        let Some(tap) = &mut self.tap else { return };
        if let Some(control) = patient {
            tap.wait_for_room(buffer.len(), control);
        }
        tap.play(buffer);
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(tap) = self.tap.take() {
            *self.place.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(tap);
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

#[cfg(test)]
mod tests {
    use super::super::{VirtualHost, VirtualStream};
    use super::*;
    use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A playing output stream of the host.
    fn playing(
        host: &VirtualHost,
        (channels, buffer): (u16, u32),
        mut callback: impl FnMut(&mut [f32]) + Send + 'static,
    ) -> VirtualStream {
        let buffer_size = cpal::BufferSize::Fixed(buffer);
        let config = cpal::StreamConfig { channels, sample_rate: 48_000, buffer_size };
        let device = host.default_output_device().unwrap();
        let callback = move |samples: &mut [f32], _: &cpal::OutputCallbackInfo| callback(samples);
        let stream = device.build_output_stream(config, callback, |_| (), None).unwrap();
        stream.play().unwrap();
        stream
    }

    #[test]
    fn a_capture_holds_every_sample_in_order_and_outlives_its_stream() {
        let (host, mut played) = VirtualHost::capturing();
        let host = host.free_running();
        for _ in 0..2 {
            let mut next = 0.0;
            let stream = playing(&host, (2, 1000), move |samples| {
                for sample in samples {
                    *sample = next;
                    next += 1.0;
                }
            });
            let (lost, mut samples) = (played.lost(), vec![0.0; 3_000_000]);
            assert_eq!(played.read(&mut samples, PATIENCE), samples.len());
            assert!(samples.iter().enumerate().all(|(n, sample)| *sample == n as f32));
            assert_eq!(played.lost(), lost);
            drop(stream);
            while played.read(&mut samples, Duration::ZERO) > 0 {}
        }
    }

    #[test]
    fn a_capture_without_a_reader_never_holds_a_stream_up() {
        let (host, played) = VirtualHost::capturing();
        let stream = playing(&host.free_running(), (64, 8192), |_| ());
        drop(stream);
        drop(played);
    }

    #[test]
    fn only_one_stream_at_a_time_is_captured() {
        let (host, mut played) = VirtualHost::capturing();
        let host = host.free_running();
        let _first = playing(&host, (1, 100), |samples| samples.fill(0.5));
        let _second = playing(&host, (1, 100), |samples| samples.fill(0.25));
        let mut samples = vec![0.0; 1_000_000];
        assert_eq!(played.read(&mut samples, PATIENCE), samples.len());
        assert!(samples.iter().all(|sample| *sample == 0.5));
    }
}
