//! When the virtual device's callbacks are due.
//!
//! Arithmetic alone: a metronome knows no clock, it is told the time.

use shared::format::Format;
use std::time::Duration;

/// A stream further behind than this skips callbacks: a burst longer than that helps nobody.
const MOST_BEHIND: Duration = Duration::from_secs(1);

/// Callback after callback, each at its exact time.
#[derive(Debug)]
pub(super) struct Metronome {
    rate: u64,
    buffer: u64,
    /// When callback 0 was due, or would have been, but for the pauses.
    epoch: Duration,
    next: u64,
}

impl Metronome {
    /// For a stream of this format, whose block is the device's buffer.
    pub(super) fn new(format: Format) -> Self {
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

    /// Goes on to the next callback: when it is due, after the start of the stream, pauses not counted.
    pub(super) fn tick(&mut self) -> Duration {
        let at = self.time_of(self.next);
        self.next += 1;
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metronome(buffer: u32, rate: u32) -> Metronome {
        Metronome::new(Format::new(1, buffer, rate).unwrap())
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
                assert_eq!(metronome.time_of(index), exact(index, buffer, rate));
            }
        }
    }

    #[test]
    fn an_oversleeping_stream_catches_up_callback_by_callback() {
        let mut metronome = metronome(480, 48_000);
        metronome.resume(Duration::from_secs(5));
        let late = Duration::from_millis(5_900);
        let mut caught_up = 0;
        while metronome.due() <= late {
            assert!(!metronome.skip(late));
            assert_eq!(metronome.tick(), exact(caught_up, 480, 48_000));
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
        assert_eq!(metronome.tick(), Duration::from_secs(3));
        assert!(!metronome.skip(Duration::from_millis(8_004)));
    }

    #[test]
    fn a_pause_holds_the_time_of_the_stream() {
        let mut metronome = metronome(480, 48_000);
        metronome.resume(Duration::from_secs(5));
        metronome.tick();
        metronome.resume(Duration::from_secs(100));
        assert_eq!(metronome.due(), Duration::from_secs(100));
        assert_eq!(metronome.tick(), Duration::from_millis(10));
        assert_eq!(metronome.due(), Duration::from_millis(100_010));
    }
}
