//! How long frames are on their way through a device, as it says itself with each callback.
//!
//! For the latency that is told: written on the stream's audio thread, read by the thread that watches. What a device says
//! wavers with the moment in which it calls: what is told is a slow mean, and stands still while that hardly moves. Whether
//! a device is to be believed, and what counts where it says nothing, is not decided here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is said in the first callbacks is not meant: a buffer is being filled, ports are being connected.
const SETTLING: u64 = 4;
/// After so many more something is told.
const ENOUGH: u64 = 8;
/// The mean is that of about so many.
const SPAN: u64 = 64;
/// No device has frames for longer, loudspeakers on a network have them for two: who says so is mistaken. A sink of
/// PulseAudio's that combines others does, which asks for seconds of audio at the start and throws them away.
const MOST: Duration = Duration::from_secs(3);
/// What is told stays as it is while the mean is nearer to it, by such a share of it or for so long.
const STILL_SHARE: u64 = 32;
const STILL: Duration = Duration::from_micros(250);

/// What a device says, with one writer.
#[derive(Debug, Default)]
pub(super) struct Transit {
    /// How often it has said something.
    count: AtomicU64,
    mean_ns: AtomicU64,
    /// 0: nothing yet.
    told_ns: AtomicU64,
}

impl Transit {
    /// How long frames are on their way; `None` if the device does not say, or has just begun.
    pub(super) fn told(&self) -> Option<Duration> {
        let told_ns = self.told_ns.load(Ordering::Relaxed);
        (told_ns > 0).then(|| Duration::from_nanos(told_ns))
    }

    /// The device says so of the first frame of a callback; one that says nothing says zero.
    ///
    /// # Real-time
    /// Yes.
    pub(super) fn hear(&self, said: Duration) {
        if said.is_zero() || said > MOST {
            return;
        }
        let count = self.count.load(Ordering::Relaxed) + 1;
        self.count.store(count, Ordering::Relaxed);
        let Some(meant) = count.checked_sub(SETTLING).filter(|meant| *meant > 0) else { return };
        #[expect(clippy::cast_possible_truncation, reason = "three seconds at most")]
        let said_ns = said.as_nanos() as u64;
        let mean_ns = nearer(self.mean_ns.load(Ordering::Relaxed), said_ns, meant.min(SPAN));
        self.mean_ns.store(mean_ns, Ordering::Relaxed);
        if meant >= ENOUGH && self.is_off(mean_ns) {
            self.told_ns.store(mean_ns, Ordering::Relaxed);
        }
    }

    /// Whether what is told is too far from the mean.
    fn is_off(&self, mean_ns: u64) -> bool {
        let told_ns = self.told_ns.load(Ordering::Relaxed);
        let still_ns = (told_ns / STILL_SHARE).max(u64::from(STILL.subsec_nanos()));
        told_ns == 0 || mean_ns.abs_diff(told_ns) > still_ns
    }
}

/// A mean, and one value more of so many.
fn nearer(mean: u64, value: u64, of: u64) -> u64 {
    if value >= mean { mean + (value - mean) / of } else { mean - (mean - value) / of }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told after each of these, in microseconds.
    fn told(said: impl IntoIterator<Item = u64>) -> Vec<Option<u64>> {
        let transit = Transit::default();
        let tell = |said| {
            transit.hear(Duration::from_micros(said));
            transit.told().map(|told| u64::try_from(told.as_micros()).unwrap())
        };
        said.into_iter().map(tell).collect()
    }

    #[test]
    fn what_a_device_says_is_told_once_it_has_said_it_some_times_without_its_beginning() {
        let all = told([1, 2, 3, 4].into_iter().chain([20_000; 20]));
        assert!(all[..11].iter().all(Option::is_none), "{all:?}");
        assert!(all[11..].iter().all(|told| *told == Some(20_000)), "{all:?}");
    }

    #[test]
    fn what_wavers_is_told_as_its_mean_which_stands_still() {
        let sawtooth = (0..1000).map(|n| 80_000 + n % 5 * 10_000);
        let all = told(sawtooth);
        let mut settled = all[200..].to_vec();
        settled.dedup();
        assert_eq!(settled.len(), 1, "{settled:?}");
        assert!(settled[0].unwrap().abs_diff(100_000) < 4_000, "{settled:?}");
    }

    #[test]
    fn what_changes_for_good_is_followed() {
        let all = told([20_000; 100].into_iter().chain([60_000; 1000]));
        assert!(all.last().unwrap().unwrap().abs_diff(60_000) < 2_000, "{all:?}");
    }

    #[test]
    fn a_device_that_says_nothing_or_nonsense_is_not_told() {
        assert!(told([0; 100]).iter().all(Option::is_none));
        assert!(told([3_500_000; 100]).iter().all(Option::is_none));
        let all = told((0..1000).map(|n| if n % 3 == 0 { 20_000 } else { 3_500_000 * (n % 2) }));
        assert_eq!(all.last(), Some(&Some(20_000)));
    }
}
