//! The blocks of one turn, and how long each took.

use super::parts::Parts;
use crate::Outcome;
use shared::clock::{now_ns, sleep_until};

/// What one contestant does before the next one has its turn.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// Blocks that count.
    pub blocks: u32,
    /// Blocks before them that don't.
    pub warm_up: u32,
    /// From the beginning of one to that of the next; 0 is one after the other.
    pub every_ns: u64,
}

/// When one block began and ended, in [`shared::clock::now_ns`].
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// It began.
    pub began_ns: u64,
    /// It was over.
    pub ended_ns: u64,
}

/// What was measured in one turn.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// How long each block took.
    pub times_ns: Vec<u64>,
    /// Blocks that the host gave up.
    pub lost: u64,
    /// Of each block of which it is known, where the time went: see [`super::parts::of`].
    pub parts_ns: Vec<Vec<Parts>>,
}

impl Turn {
    /// Runs the blocks of this turn, each of the samples `sent`; what the last one came back as is told too.
    ///
    /// # Errors
    /// That of the first block that fails.
    pub fn run(
        &self,
        sent: &[f32],
        mut block: impl FnMut(&mut [f32]) -> Outcome,
    ) -> Outcome<(Vec<Span>, Vec<f32>)> {
        let mut spans = Vec::with_capacity(self.blocks as usize);
        let mut samples = sent.to_vec();
        let mut due_ns = now_ns();
        for i in 0..self.warm_up + self.blocks {
            samples.copy_from_slice(sent);
            if self.every_ns > 0 {
                // Late by more than a period: go on from here, a burst would not be paced.
                due_ns = (due_ns + self.every_ns).max(now_ns());
                sleep_until(due_ns);
            }
            let began_ns = now_ns();
            block(&mut samples)?;
            let ended_ns = now_ns();
            if i >= self.warm_up {
                spans.push(Span { began_ns, ended_ns });
            }
        }
        Ok((spans, samples))
    }
}

impl Batch {
    /// Of blocks of which nothing more is known.
    #[must_use]
    pub fn of(spans: &[Span]) -> Self {
        let times_ns = spans.iter().map(|span| span.ended_ns - span.began_ns).collect();
        Self { times_ns, ..Self::default() }
    }

    /// This one, and another of the same turn.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.times_ns.extend(other.times_ns);
        self.parts_ns.extend(other.parts_ns);
        self.lost += other.lost;
        self
    }
}

/// A block that changes from sample to sample; each channel ends as it begins, so that the host's ramp after a lost
/// block changes nothing.
#[must_use]
pub fn signal(samples: usize, frames: usize) -> Vec<f32> {
    let middle = (frames as f32 - 1.0) / 2.0;
    (0..samples).map(|i| ((i % frames) as f32 - middle).abs() / frames as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_blocks_do_not_count_and_paced_ones_keep_their_distance() {
        let mut calls = 0;
        let turn = Turn { blocks: 5, warm_up: 3, every_ns: 200_000 };
        let halve = |samples: &mut [f32]| {
            calls += 1;
            samples[0] /= 2.0;
            Ok(())
        };
        let start_ns = now_ns();
        let (spans, last) = turn.run(&[1.0, 2.0], halve).unwrap();
        assert_eq!(last, [0.5, 2.0]);
        assert_eq!((calls, spans.len()), (8, 5));
        // Blocks may begin later than they should, how late each of them is nobody knows; too early is none.
        for (i, span) in (4..).zip(&spans) {
            assert!(span.began_ns >= start_ns + i * 200_000, "block {i} began too early");
        }
        assert!(turn.run(&[], |_| Err("no".into())).is_err());
    }

    #[test]
    fn each_channel_of_the_signal_ends_as_it_begins_and_is_audio() {
        let signal = signal(1024, 512);
        assert!(signal[0] == signal[511] && signal[512] == signal[1023]);
        assert!(signal.iter().all(|sample| (0.0..1.0).contains(sample)) && signal[0] > signal[255]);
    }
}
