//! What Python's collector did in a worker, and how that is told in shared memory.
//!
//! For statistics only: a worker may write anything there. Any words make figures; words that are being changed
//! may make figures that do not belong together.

use crate::sync::{AtomicU64, Ordering};

/// What the collector did since its process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Time that it took, in nanoseconds.
    pub ns: u64,
    /// The longest collection, in microseconds.
    pub longest_us: u32,
    /// Collections of the youngest generation alone.
    pub young: u32,
    /// Collections of older ones.
    pub older: u32,
    /// Those, young or older, that were not scheduled: begun by Python itself or by the plugin.
    pub unscheduled: u32,
}

impl Collected {
    pub(crate) fn store(self, words: &[AtomicU64; 3]) {
        let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        let values = [self.ns, pair(self.longest_us, self.unscheduled), pair(self.older, self.young)];
        words.iter().zip(values).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
    }

    pub(crate) fn load(words: &[AtomicU64; 3]) -> Self {
        let [ns, second, third] = words.each_ref().map(|word| word.load(Ordering::Relaxed));
        let halves = |word: u64| {
            let [a, b, c, d, e, f, g, h] = word.to_le_bytes();
            [u32::from_le_bytes([e, f, g, h]), u32::from_le_bytes([a, b, c, d])]
        };
        let ([longest_us, unscheduled], [older, young]) = (halves(second), halves(third));
        Self { ns, longest_us, young, older, unscheduled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_they_were_written() {
        let words = Default::default();
        assert_eq!(Collected::load(&words), Collected::default());
        let told = Collected { ns: u64::MAX, longest_us: 1, young: u32::MAX, older: 3, unscheduled: 4 };
        told.store(&words);
        assert_eq!(Collected::load(&words), told);
    }
}
