//! When the virtual device's callbacks are due, and of how many frames.
//!
//! Arithmetic alone: a metronome knows no clock, it is told the time.

use crate::random::Random;
use shared::format::Format;
use std::time::Duration;

/// A stream further behind than this skips callbacks: a burst longer than that helps nobody.
const MOST_BEHIND: Duration = Duration::from_secs(1);
/// Nanoseconds per second, times a million, since rates are counted in millionths because of `ppm`.
const NANOS: u128 = 1_000_000_000_000_000;

/// How many frames the callbacks bring or take.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Sizes {
    /// All as many: the buffer's.
    #[default]
    Even,
    /// For tests: as PulseAudio has them, some more and some fewer than the buffer, by at most so many frames.
    Jittered(u32),
}

impl Sizes {
    /// The most frames that a callback of a stream of this format gets.
    pub(super) fn most(self, format: Format) -> usize {
        let by = match self {
            Self::Even => 0,
            Self::Jittered(by) => by as usize,
        };
        format.block_frames() + by.min(format.block_frames() - 1)
    }
}

/// Callback after callback, each at its exact time.
#[derive(Debug)]
pub(super) struct Metronome {
    /// Millionths of a frame per second.
    rate: u128,
    buffer: u64,
    sizes: Sizes,
    random: Random,
    /// When frame 0 was due, or would have been, but for the pauses.
    epoch: Duration,
    /// The first frame of the next callback.
    next: u64,
}

impl Metronome {
    /// For a stream of this format, whose block is the device's buffer, and whose clock is so much too fast.
    pub(super) fn new(format: Format, ppm: i32, sizes: Sizes) -> Self {
        let buffer = format.block_frames() as u64;
        let pace = u128::from(1_000_000_i32.saturating_add(ppm).max(1).unsigned_abs());
        let rate = u128::from(format.rate()) * pace;
        Self { rate, buffer, sizes, random: Random::new(1), epoch: Duration::ZERO, next: 0 }
    }

    /// After the epoch, rounded down to the nanosecond, whatever came before.
    fn time_of(&self, frame: u64) -> Duration {
        nanos(u128::from(frame) * NANOS / self.rate)
    }

    /// How many whole buffers of frames are due before this long after the epoch.
    fn due_before(&self, elapsed: Duration) -> u64 {
        let frames = u64::try_from(elapsed.as_nanos() * self.rate / NANOS).unwrap_or(u64::MAX);
        frames - frames % self.buffer
    }

    /// Makes the next callback due now.
    pub(super) fn resume(&mut self, now: Duration) {
        self.epoch = now.saturating_sub(self.time_of(self.next));
    }

    /// When the next callback is due.
    pub(super) fn due(&self) -> Duration {
        self.epoch + self.time_of(self.next)
    }

    /// Skips what can't be caught up with; tells whether that is anything.
    pub(super) fn skip(&mut self, now: Duration) -> bool {
        if now.saturating_sub(self.due()) <= MOST_BEHIND {
            return false;
        }
        self.next = self.due_before(now.saturating_sub(self.epoch)).max(self.next);
        true
    }

    /// Goes on to the next callback: when it is due, after the start of the stream, pauses not counted, and its
    /// frames.
    pub(super) fn tick(&mut self) -> (Duration, usize) {
        let at = self.time_of(self.next);
        let frames = self.size();
        self.next += frames;
        (at, usize::try_from(frames).unwrap_or(usize::MAX))
    }

    fn size(&mut self) -> u64 {
        let Sizes::Jittered(by) = self.sizes else { return self.buffer };
        let by = u64::from(by).min(self.buffer - 1);
        self.buffer - by + self.random.below(2 * by + 1)
    }
}

fn nanos(all: u128) -> Duration {
    Duration::from_nanos(u64::try_from(all).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metronome(buffer: u32, rate: u32) -> Metronome {
        Metronome::new(Format::new(1, buffer, rate).unwrap(), 0, Sizes::Even)
    }

    fn exact(index: u64, buffer: u32, rate: u32) -> Duration {
        let nanos = u128::from(index) * u128::from(buffer) * 1_000_000_000 / u128::from(rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap())
    }

    #[test]
    fn a_day_of_callbacks_drifts_by_no_nanosecond() {
        for (buffer, rate) in [(64, 44_100), (441, 48_000), (16, 192_000), (8192, 8_000), (127, 11_025)] {
            let metronome = metronome(buffer, rate);
            let day = u64::from(rate) * 86_400 / u64::from(buffer);
            for index in [0, 1, 2, 3, 1_000, day - 1, day] {
                assert_eq!(metronome.time_of(index * u64::from(buffer)), exact(index, buffer, rate));
            }
        }
    }

    #[test]
    fn a_clock_that_is_off_is_off_by_just_so_much() {
        for (ppm, millionths) in [(200, 1_000_200), (-200, 999_800), (-2_000_000, 1)] {
            let metronome = Metronome::new(Format::new(1, 480, 48_000).unwrap(), ppm, Sizes::Even);
            // In the time of so many seconds of its own, a million pass.
            assert_eq!(metronome.time_of(48_000 * millionths), Duration::from_secs(1_000_000));
        }
    }

    #[test]
    fn jittered_callbacks_vary_within_their_bounds_and_keep_the_pace() {
        let mut metronome = Metronome::new(Format::new(1, 262, 48_000).unwrap(), 0, Sizes::Jittered(7));
        let mut frames = 0;
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let (at, size) = metronome.tick();
            assert_eq!(at, exact(frames, 1, 48_000));
            frames += size as u64;
            seen.insert(size);
        }
        assert_eq!(seen, (255..=269).collect());
    }

    #[test]
    fn an_oversleeping_stream_catches_up_callback_by_callback() {
        let mut metronome = metronome(480, 48_000);
        metronome.resume(Duration::from_secs(5));
        let late = Duration::from_millis(5_900);
        let mut caught_up = 0;
        while metronome.due() <= late {
            assert!(!metronome.skip(late));
            assert_eq!(metronome.tick(), (exact(caught_up, 480, 48_000), 480));
            caught_up += 1;
        }
        assert_eq!(caught_up, 91);
    }

    #[test]
    fn a_stream_more_than_a_second_behind_skips_to_now_and_keeps_its_grid() {
        let mut metronome = metronome(480, 48_000);
        metronome.resume(Duration::from_secs(5));
        assert!(metronome.skip(Duration::from_millis(8_004)));
        assert_eq!(metronome.due(), Duration::from_secs(8));
        assert_eq!(metronome.tick().0, Duration::from_secs(3));
        assert!(!metronome.skip(Duration::from_millis(8_004)));
    }

    #[test]
    fn a_pause_holds_the_time_of_the_stream() {
        let mut metronome = metronome(480, 48_000);
        metronome.resume(Duration::from_secs(5));
        metronome.tick();
        metronome.resume(Duration::from_secs(100));
        assert_eq!(metronome.due(), Duration::from_secs(100));
        assert_eq!(metronome.tick().0, Duration::from_millis(10));
        assert_eq!(metronome.due(), Duration::from_millis(100_010));
    }
}
