//! A queue of frames between two callbacks on different threads.
//!
//! For an input device's callback, which writes, and an output device's, which reads. Frames are interleaved and have
//! the pipeline's channels on both sides. Neither end waits for the other; what is lost or missing is counted. The
//! writer's callbacks tell their times, so that the reader knows how full the queue would be if frames came one by one.

use crate::queue::queue;
use rtrb::{Consumer, Producer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What a [`frame_fifo`] lost and made up, for any thread to read.
#[derive(Debug, Default)]
pub struct FifoCounts {
    overrun: AtomicU64,
    underrun: AtomicU64,
    /// When the latest frames were written, in nanoseconds; 0 while some are being written, and before the first.
    written_ns: AtomicU64,
    /// Frames that come in one go, more than once.
    burst: AtomicUsize,
}

impl FifoCounts {
    /// Frames that came in while the FIFO was full, and were dropped.
    #[must_use]
    pub fn overrun_frames(&self) -> u64 {
        self.overrun.load(Ordering::Relaxed)
    }

    /// Frames that were asked for while the FIFO was empty, and were answered with silence.
    #[must_use]
    pub fn underrun_frames(&self) -> u64 {
        self.underrun.load(Ordering::Relaxed)
    }
}

/// The input callback's end of a [`frame_fifo`].
#[derive(Debug)]
pub struct FrameWriter {
    ring: Producer<f32>,
    channels: usize,
    counts: Arc<FifoCounts>,
    goes: Goes,
}

/// How many frames came in one go: the last time, and so far in this.
#[derive(Debug, Default)]
struct Goes {
    last: usize,
    so_far: usize,
}

/// The output callback's end of a [`frame_fifo`].
#[derive(Debug)]
pub struct FrameReader {
    ring: Consumer<f32>,
    channels: usize,
    counts: Arc<FifoCounts>,
}

/// A first-in-first-out queue of frames between two callbacks on different
/// threads, with `prefill_frames` of silence in it. It holds at least `capacity_frames` and the prefill.
#[must_use]
pub fn frame_fifo(
    channels: usize,
    capacity_frames: usize,
    prefill_frames: usize,
) -> (FrameWriter, FrameReader) {
    let channels = channels.max(1);
    let capacity = capacity_frames.max(prefill_frames).max(1);
    // A whole number of frames, so that no frame is ever split where the ring wraps.
    let (mut writer, reader) = queue(capacity * channels, 0.0);
    if let Ok(silence) = writer.write_chunk(prefill_frames * channels) {
        silence.commit_all();
    }
    let counts = Arc::new(FifoCounts::default());
    (
        FrameWriter { ring: writer, channels, counts: Arc::clone(&counts), goes: Goes::default() },
        FrameReader { ring: reader, channels, counts },
    )
}

impl FrameWriter {
    /// Takes interleaved frames, as far as there is room; returns how many. The rest, the newest, is dropped and
    /// counted. `now_ns` is when the device brought them, by the reader's clock.
    ///
    /// # Real-time
    /// Yes: no allocation, no lock, no wait.
    pub fn write(&mut self, frames: &[f32], now_ns: u64) -> usize {
        let count = frames.len() / self.channels;
        let taken = count.min(self.ring.slots() / self.channels);
        // A reader that sees the same time before and after it looked at the level knows that they belong together.
        self.counts.written_ns.store(0, Ordering::Release);
        if let Ok(mut room) = self.ring.write_chunk(taken * self.channels) {
            let (first, second) = room.as_mut_slices();
            first.copy_from_slice(&frames[..first.len()]);
            second.copy_from_slice(&frames[first.len()..][..second.len()]);
            room.commit_all();
        }
        self.counts.written_ns.store(now_ns.max(1), Ordering::Release);
        self.counts.overrun.fetch_add((count - taken) as u64, Ordering::Relaxed);
        taken
    }

    /// That the device has brought so many frames in one go so far: the parts of a long buffer tell more and more. What
    /// comes twice in a row is what is usual; a device that has been held up brings more once.
    ///
    /// # Real-time
    /// Yes.
    pub fn brought(&mut self, frames: usize) {
        let Goes { last, so_far } = &mut self.goes;
        if frames <= *so_far {
            let usual = (*last).min(*so_far);
            self.counts.burst.fetch_max(usual, Ordering::Relaxed);
            *last = *so_far;
        }
        *so_far = frames;
    }

    /// That the device is going to bring so many frames in one go: nobody has to run dry to learn it.
    pub fn will_bring(&mut self, frames: usize) {
        self.counts.burst.fetch_max(frames, Ordering::Relaxed);
    }

    /// Samples of a frame.
    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// What was lost and made up so far.
    #[must_use]
    pub fn counts(&self) -> Arc<FifoCounts> {
        Arc::clone(&self.counts)
    }
}

impl FrameReader {
    /// Copies the oldest frames, as many as `frames` holds or there are, and leaves them where they are; how many there
    /// were.
    ///
    /// # Real-time
    /// Yes: no allocation, no lock, no wait.
    pub fn peek(&mut self, frames: &mut [f32]) -> usize {
        let count = (frames.len() / self.channels).min(self.level());
        if let Ok(oldest) = self.ring.read_chunk(count * self.channels) {
            let (first, second) = oldest.as_slices();
            frames.iter_mut().zip(first.iter().chain(second)).for_each(|(to, sample)| *to = *sample);
        }
        count
    }

    /// Takes the oldest frames, as many as `frames` holds or there are; how many there were. The rest is left as it is
    /// and counted as missing.
    ///
    /// # Real-time
    /// Yes: no allocation, no lock, no wait.
    pub fn read(&mut self, frames: &mut [f32]) -> usize {
        let wanted = frames.len() / self.channels;
        let count = self.peek(frames);
        self.skip(count);
        self.missed(wanted - count);
        count
    }

    /// Counts frames of silence that were given because there were none.
    pub(super) fn missed(&self, frames: usize) {
        self.counts.underrun.fetch_add(frames as u64, Ordering::Relaxed);
    }

    /// Frames that are waiting and when the latest of them came; `None` while more are coming in, and before the first.
    pub(super) fn level_and_time(&self) -> Option<(usize, u64)> {
        let before = self.counts.written_ns.load(Ordering::Acquire);
        let level = self.level();
        let after = self.counts.written_ns.load(Ordering::Acquire);
        (before == after && before != 0).then_some((level, before))
    }

    /// Frames that there was no room for so far.
    pub(super) fn overrun(&self) -> u64 {
        self.counts.overrun_frames()
    }

    /// Frames that come in one go at most, as far as [`FrameWriter::brought`] tells.
    pub(super) fn burst(&self) -> usize {
        self.counts.burst.load(Ordering::Relaxed)
    }

    /// Frames that there is room for.
    pub(super) fn capacity(&self) -> usize {
        self.ring.buffer().capacity() / self.channels
    }

    /// Frames that are waiting.
    ///
    /// # Real-time
    /// Yes.
    #[must_use]
    pub fn level(&self) -> usize {
        self.ring.slots() / self.channels
    }

    /// Forgets the oldest frames, as many as this or as there are.
    ///
    /// # Real-time
    /// Yes.
    pub fn skip(&mut self, frames: usize) {
        let frames = frames.min(self.level());
        if let Ok(oldest) = self.ring.read_chunk(frames * self.channels) {
            oldest.commit_all();
        }
    }

    /// What was lost and made up so far.
    #[must_use]
    pub fn counts(&self) -> Arc<FifoCounts> {
        Arc::clone(&self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use std::time::{Duration, Instant};

    #[test]
    fn what_comes_in_one_go_is_what_does_so_twice_however_many_parts_it_has() {
        let (mut writer, reader) = frame_fifo(1, 8, 0);
        let mut after = |parts: &[usize]| {
            parts.iter().for_each(|frames| writer.brought(*frames));
            reader.burst()
        };
        assert_eq!(after(&[128, 128, 128]), 128);
        assert_eq!(after(&[9000, 128, 128, 128]), 128, "a device that was held up once");
        assert_eq!(after(&[1024, 2048, 2500, 1024, 2048, 2400, 1024]), 2400);
        assert_eq!(after(&[64, 64, 64, 64]), 2400);
    }

    #[test]
    fn a_fifo_begins_with_its_silence_and_keeps_the_order() {
        let (mut writer, mut reader) = frame_fifo(2, 8, 3);
        assert_eq!(reader.level(), 3);
        assert_eq!(writer.write(&[1.0, -1.0, 2.0, -2.0], 7), 2);
        let mut block = [f32::NAN; 10];
        assert_eq!(reader.level_and_time(), Some((5, 7)));
        assert_eq!(reader.peek(&mut block[..8]), 4);
        assert_eq!(block[..8], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, -1.0]);
        assert_eq!(reader.read(&mut block), 5);
        assert_eq!(block, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, -1.0, 2.0, -2.0]);
        assert_eq!((reader.counts().overrun_frames(), reader.counts().underrun_frames()), (0, 0));
    }

    #[test]
    fn a_full_fifo_drops_the_newest_frames_and_counts_them() {
        let (mut writer, mut reader) = frame_fifo(1, 4, 0);
        assert_eq!(writer.write(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0), 4);
        assert_eq!(writer.counts().overrun_frames(), 2);
        let mut block = [0.0; 4];
        reader.read(&mut block);
        assert_eq!(block, [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn an_empty_fifo_counts_what_it_could_not_give() {
        let (mut writer, mut reader) = frame_fifo(2, 8, 0);
        assert_eq!(reader.level_and_time(), None);
        writer.write(&[1.0, 2.0], 1);
        let mut block = [0.5; 6];
        assert_eq!(reader.read(&mut block), 1);
        assert_eq!(block, [1.0, 2.0, 0.5, 0.5, 0.5, 0.5]);
        assert_eq!(reader.counts().underrun_frames(), 2);
    }

    #[test]
    fn a_fifo_carries_every_frame_between_threads_across_its_end() {
        const FRAMES: usize = 20_000;
        let (mut writer, mut reader) = frame_fifo(3, 37, 0);
        let input = std::thread::spawn(move || {
            let mut sizes = Random::new(3);
            let mut sent = 0;
            while sent < FRAMES {
                let frames = sizes.up_to(16).min(FRAMES - sent);
                let device: Vec<f32> = (sent..sent + frames).flat_map(|n| [n as f32, 0.5, 0.0]).collect();
                let mut rest = &device[..];
                while !rest.is_empty() {
                    rest = &rest[3 * writer.write(rest, 1)..];
                }
                sent += frames;
            }
        });
        let mut expected = 0;
        let mut block = [0.0; 3 * 5];
        let deadline = Instant::now() + Duration::from_secs(60);
        while expected < FRAMES {
            assert!(Instant::now() < deadline, "frame {expected} never came");
            for frame in 0..reader.read(&mut block) {
                assert_eq!(block[3 * frame..3 * frame + 3], [expected as f32, 0.5, 0.0]);
                expected += 1;
            }
        }
        input.join().unwrap();
        assert_eq!(reader.level(), 0);
    }
}
