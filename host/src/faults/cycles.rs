//! One pipeline whose plugin is killed and started again, over and over: does anything grow?
//!
//! For `nda faults --cycles`. The pipeline stays open all the time: what a restart leaves behind would add up.

use super::leftovers::{Leftovers, Names, own_memory_kib};
use super::rig::Rig;
use super::{FaultsSpec, mark};
use crate::error::Result;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Cycles before anything is counted: caches and pools have grown by then, if not yet to their size.
const WARM_UP: u32 = 20;
/// Memory that may come and go in the second half, in KiB: threads' stacks and pools of the allocator. These grow by more
/// than that at first, ever more slowly; what each restart left behind would go on.
const MEMORY_KIB: u64 = 512;

/// What became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cycles {
    /// How many times the worker was killed.
    pub cycles: u32,
    /// After how many of them all was good again.
    pub survived: u32,
    /// What there is more than before.
    pub leaks: Leftovers,
    /// Memory of the host's own before, after half of them, and after all, in KiB.
    pub memory_before_kib: u64,
    /// See before.
    pub memory_halfway_kib: u64,
    /// See before.
    pub memory_after_kib: u64,
    /// How long it took.
    pub seconds: f64,
}

impl Cycles {
    /// Whether nothing was lost and nothing has grown; memory, in the second half.
    #[must_use]
    pub fn kept(&self) -> bool {
        let has_grown = self.memory_after_kib > self.memory_halfway_kib + MEMORY_KIB;
        self.survived == self.cycles && self.leaks == Leftovers::default() && !has_grown
    }
}

/// Kills and restarts so many times, fewer if `stop` is set; `progress` is told how many are done.
///
/// # Errors
/// As [`run`](super::run).
pub fn cycle(
    spec: &FaultsSpec,
    cycles: u32,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(u32),
) -> Result<Cycles> {
    let mark = mark();
    let mut rig = Rig::open(spec, &mark, spec.seed)?;
    rig.prepare(false)?;
    for _ in 0..WARM_UP.min(cycles) {
        rig.cycle()?;
    }
    rig.rest();
    let mut names = Names::default();
    let (before, memory_before_kib) = (Leftovers::now(&mark, &mut names), own_memory_kib());
    let mut memory_halfway_kib = memory_before_kib;
    let (began, mut done, mut survived) = (Instant::now(), 0, 0);
    while done < cycles && !stop.load(Ordering::Relaxed) {
        survived += u32::from(rig.cycle()?);
        names.look(&mark);
        done += 1;
        if done == cycles / 2 {
            rig.rest();
            memory_halfway_kib = own_memory_kib();
        }
        progress(done);
    }
    rig.rest();
    let leaks = before.grown(&mark, &mut names);
    let memory_after_kib = own_memory_kib();
    rig.close();
    let seconds = began.elapsed().as_secs_f64();
    Ok(Cycles {
        cycles: done,
        survived,
        leaks,
        memory_before_kib,
        memory_halfway_kib,
        memory_after_kib,
        seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_goes_on_growing_is_a_leak_and_pools_that_fill_are_none() {
        let cycles = |halfway, after| Cycles {
            cycles: 1000,
            survived: 1000,
            leaks: Leftovers::default(),
            memory_before_kib: 50_000,
            memory_halfway_kib: halfway,
            memory_after_kib: after,
            seconds: 100.0,
        };
        assert!(cycles(52_000, 52_500).kept());
        // A KiB and a bit for each of five hundred.
        assert!(!cycles(50_520, 51_040).kept());
        assert!(!Cycles { survived: 999, ..cycles(52_000, 52_000) }.kept());
        let leaks = Leftovers { maps: 1, ..Leftovers::default() };
        assert!(!Cycles { leaks, ..cycles(52_000, 52_000) }.kept());
    }
}
