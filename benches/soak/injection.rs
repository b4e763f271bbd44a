//! Who is killed, how, and when: from a seed, so that a run can be repeated.

use rustix::process::Signal;
use serde::Serialize;
use std::time::Duration;

/// The plugin that is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Of the transmitting pipeline.
    Encryptor,
    /// Of the receiving one.
    Decryptor,
}

impl Target {
    /// In turns.
    #[must_use]
    pub fn both() -> [Self; 2] {
        [Self::Encryptor, Self::Decryptor]
    }

    /// Where it stands among the two.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self == Self::Decryptor)
    }
}

/// The ways to go, with their names: at once, as by a bug in native code, by its own doing, and not at all, which is
/// a hang.
pub const SIGNALS: [(Signal, &str); 5] = [
    (Signal::KILL, "SIGKILL"),
    (Signal::SEGV, "SIGSEGV"),
    (Signal::ABORT, "SIGABRT"),
    (Signal::BUS, "SIGBUS"),
    (Signal::STOP, "SIGSTOP (a hang)"),
];

/// splitmix64: numbers that follow from a seed, not for secrets.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Any seed is as good as another.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From half of it to one and a half.
    pub fn around(&mut self, duration: Duration) -> Duration {
        duration / 2 + duration.mul_f64((self.next() >> 11) as f64 / (1u64 << 53) as f64)
    }

    /// One of several, the first if there is none.
    pub fn one_of<T: Copy>(&mut self, several: &[T]) -> Option<T> {
        let at = self.next() % (several.len().max(1) as u64);
        several.get(usize::try_from(at).unwrap_or(0)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_crashes_at_the_same_times() {
        let plan = |seed| {
            let mut random = Random::new(seed);
            let step = |_| (random.one_of(&SIGNALS).unwrap().1, random.around(Duration::from_secs(3)));
            (0..50).map(step).collect::<Vec<_>>()
        };
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
        for (_, name) in SIGNALS {
            assert!(plan(1).iter().any(|(used, _)| *used == name), "{name}");
        }
        assert!(plan(1).iter().all(|(_, time)| (1500..=4500).contains(&time.as_millis())));
    }
}
