//! What a worker may use, decided from samples: memory, processes, processor time beside the audio.
//!
//! It only judges; who measures is [`gauge`](super::gauge), and what follows is for the supervisor thread.

use super::death::Because;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many processes a plugin may have started.
const PROCESSES_MAX: usize = 64;
/// For how long it may take more processor time than it should.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between samples that are further apart the machine slept.
const GAP: Duration = Duration::from_secs(1);
/// Processor cores that may be used beside the audio, however many there are: less than one that never rests takes.
const BESIDE_MAX: f64 = 0.9;
/// The part of what the audio leaves of its cores that may be used. On a single core even what never rests has no more
/// than all that is left, and shares it with whatever else is there.
const SHARE_MAX: f64 = 0.5;
/// So little is nobody's fault, however little is left.
const ALWAYS: f64 = 0.1;

/// What a worker and the processes it started use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sample {
    /// Bytes of memory now.
    pub(super) memory: u64,
    /// How many it started, and those started, that are there now.
    pub(super) processes: usize,
    /// Processor time so far of the thread that processes audio.
    pub(super) audio: Duration,
    /// Processor time of all else: the worker's other threads, and all processes.
    pub(super) beside: Duration,
    /// Processor cores that the worker may run on.
    pub(super) cores: u32,
}

/// What is wrong with what is used.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Excess {
    /// The worker is to be ended.
    Deadly(Because),
    /// It takes processor time from others, beside the audio: how many cores.
    Greedy(f64),
}

/// Judges one worker.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    recent: VecDeque<(Instant, Sample)>,
}

impl Bounds {
    /// Judges by the newest sample. Processor time counts while it processes blocks only: who loads, may hurry.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        sample: Sample,
        memory_max: u64,
        runs: bool,
    ) -> Option<Excess> {
        let Sample { memory: used, processes: count, .. } = sample;
        if count > PROCESSES_MAX {
            return Some(Excess::Deadly(Because::Processes { count, limit: PROCESSES_MAX }));
        }
        if used > memory_max {
            return Some(Excess::Deadly(Because::Memory { used, limit: memory_max }));
        }
        if !runs {
            self.recent.clear();
            return None;
        }
        self.greed(now, sample).map(Excess::Greedy)
    }

    /// How many cores it took beside the audio all the time, if it was too much.
    fn greed(&mut self, now: Instant, sample: Sample) -> Option<f64> {
        if self.recent.back().is_some_and(|(last, _)| now.saturating_duration_since(*last) > GAP) {
            self.recent.clear();
        }
        self.recent.push_back((now, sample));
        let (since, first) = *self.recent.front()?;
        let time = now.saturating_duration_since(since);
        if time < PATIENCE {
            return None;
        }
        self.recent.pop_front();
        let cores = |now: Duration, before: Duration| now.saturating_sub(before).div_duration_f64(time);
        let (audio, beside) = (cores(sample.audio, first.audio), cores(sample.beside, first.beside));
        let left = SHARE_MAX * (f64::from(sample.cores) - audio);
        let greed = (beside > left.clamp(ALWAYS, BESIDE_MAX)).then_some(beside);
        if greed.is_some() {
            // Judged anew from here.
            self.recent.clear();
        }
        greed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);
    const LIMIT: u64 = 1 << 30;

    /// What is found wrong in each of so many samples of one on so many cores that takes these for its audio and beside
    /// it, running or not.
    fn judged(samples: u32, cores: u32, audio: f64, beside: f64, runs: bool) -> Vec<(u32, Excess)> {
        let (start, mut bounds) = (Instant::now(), Bounds::default());
        let judge = |n: u32| {
            let time = n * TICK;
            let (audio, beside) = (time.mul_f64(audio), time.mul_f64(beside));
            let sample = Sample { audio, beside, cores, ..Sample::default() };
            bounds.judge(start + time, sample, LIMIT, runs).map(|excess| (n, excess))
        };
        (0..samples).filter_map(judge).collect()
    }

    #[test]
    fn memory_and_processes_are_too_much_at_once_and_with_their_figures() {
        let judge = |sample| Bounds::default().judge(Instant::now(), sample, LIMIT, false);
        let most = Sample { memory: LIMIT, processes: PROCESSES_MAX, ..Sample::default() };
        assert_eq!(judge(most), None);
        let memory = Because::Memory { used: LIMIT + 1, limit: LIMIT };
        assert_eq!(judge(Sample { memory: LIMIT + 1, ..most }), Some(Excess::Deadly(memory)));
        let processes = Because::Processes { count: PROCESSES_MAX + 1, limit: PROCESSES_MAX };
        assert_eq!(judge(Sample { processes: PROCESSES_MAX + 1, ..most }), Some(Excess::Deadly(processes)));
    }

    #[test]
    fn a_core_for_the_audio_and_most_of_another_beside_it_are_no_greed() {
        assert_eq!(judged(100, 4, 1.0, 0.85, true), []);
    }

    #[test]
    fn greed_is_found_after_two_seconds_and_then_every_two() {
        for (audio, beside) in [(0.0, 0.95), (1.0, 0.95), (0.2, 3.0)] {
            let found = judged(60, 4, audio, beside, true);
            let at: Vec<_> = found.iter().map(|(n, _)| *n).collect();
            assert_eq!(at, [20, 41], "{audio} {beside}");
        }
        assert_eq!(judged(60, 4, 1.0, 2.0, false), [], "who loads may hurry");
    }

    #[test]
    fn on_a_single_core_whoever_takes_most_of_what_the_audio_leaves_is_greedy() {
        let is_greedy = |audio, beside| !judged(30, 1, audio, beside, true).is_empty();
        // What never rests has all that is left, or somewhat less where others want some of it too.
        for audio in [0.05, 0.2, 0.5, 0.8] {
            assert!(is_greedy(audio, 1.0 - audio) && is_greedy(audio, 0.6 * (1.0 - audio)), "{audio}");
            assert!(!is_greedy(audio, 0.4 * (1.0 - audio)), "{audio}");
        }
        assert!(!is_greedy(0.98, 0.02), "hardly anything is left");
    }

    #[test]
    fn a_burst_is_no_greed_nor_is_what_was_used_while_the_machine_slept() {
        let (start, mut bounds) = (Instant::now(), Bounds::default());
        let mut judge = |at: Duration, used: Duration| {
            let sample = Sample { beside: used, cores: 4, ..Sample::default() };
            bounds.judge(start + at, sample, LIMIT, true)
        };
        for n in 0..15 {
            assert_eq!(judge(n * TICK, 2 * n * TICK), None);
        }
        assert_eq!(judge(Duration::from_secs(100), Duration::from_secs(200)), None);
        assert_eq!(judge(Duration::from_secs(100) + TICK, Duration::from_secs(200)), None);
    }
}
