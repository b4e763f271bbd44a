//! Where things run while they are measured, and what the rest of the machine does meanwhile.
//!
//! Cores, idle states and load are the same for everything that is compared: they are set for each turn.

use super::bare::Peer;
use crate::Outcome;
use crate::report::model::{Cores, Variant};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs::{File, OpenOptions};
use std::io::Write;

/// A request for no idle state deeper than this many microseconds: for as long as the file is open.
const LATENCY: &str = "/dev/cpu_dma_latency";

/// The processors that this process may use.
#[derive(Debug, Clone)]
pub struct Processors {
    all: CpuSet,
    each: Vec<usize>,
}

/// Where the two sides of a pipeline run.
#[derive(Debug, Clone, Copy)]
pub struct Sides {
    /// The thread that takes the part of the audio thread.
    pub host: CpuSet,
    /// The worker, or the other side.
    pub worker: CpuSet,
}

impl Processors {
    /// Those of the calling thread.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn find() -> Outcome<Self> {
        let all = sched_getaffinity(None)?;
        let each = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
        Ok(Self { all, each })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.each.len()
    }

    /// The sides of pipeline `lane`, counted from 0. The first one's host has the last processor: the first is where
    /// most interrupts go. Each further pipeline has the next one.
    #[must_use]
    pub fn sides(&self, cores: Cores, lane: u32) -> Sides {
        let at = |i: usize| {
            let mut one = CpuSet::new();
            one.set(self.each[(self.count() - 1 + i) % self.count()]);
            one
        };
        let lane = lane as usize;
        match cores {
            Cores::One => Sides { host: at(lane), worker: at(lane) },
            Cores::Two => Sides { host: at(lane), worker: at(lane + 1) },
            Cores::Any => Sides { host: self.all, worker: self.all },
        }
    }

    /// The processor beside the host's.
    fn beside(&self) -> CpuSet {
        self.sides(Cores::Two, 0).worker
    }
}

/// Binds the calling thread.
///
/// # Errors
/// Of the operating system.
pub fn bind_thread(to: &CpuSet) -> Outcome {
    Ok(sched_setaffinity(None, to)?)
}

/// Binds every thread of a process.
///
/// # Errors
/// Of the operating system; that of a thread that has just ended is none.
pub fn bind_process(pid: Pid, to: &CpuSet) -> Outcome {
    for task in std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_pid()))? {
        let thread = task?.file_name().to_string_lossy().parse().ok().and_then(Pid::from_raw);
        match sched_setaffinity(thread, to) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// What else goes on.
pub struct Surroundings {
    busy: Option<Peer>,
    awake: Option<File>,
}

impl Surroundings {
    /// A quiet machine.
    #[must_use]
    pub fn quiet() -> Self {
        Self { busy: None, awake: None }
    }

    /// Why something of this kind can't be measured here, if so.
    #[must_use]
    pub fn missing(processors: &Processors, variant: &Variant) -> Option<String> {
        let needs_two = variant.cores == Cores::Two || variant.loaded;
        if needs_two && processors.count() < 2 {
            return Some("what needs two processors: there is one".into());
        }
        let why = variant.awake.then(hold_awake)?.err()?;
        Some(format!("what is measured with idle states held off: {LATENCY}: {why}"))
    }

    /// Makes it as this variant wants it.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn suit(&mut self, processors: &Processors, variant: &Variant) -> Outcome {
        if variant.awake != self.awake.is_some() {
            self.awake = variant.awake.then(hold_awake).transpose()?;
        }
        if variant.loaded && self.busy.is_none() {
            let busy = Peer::busy()?;
            bind_process(busy.pid(), &processors.beside())?;
            self.busy = Some(busy);
        }
        if let Some(busy) = &self.busy {
            kill_process(busy.pid(), if variant.loaded { Signal::CONT } else { Signal::STOP })?;
        }
        Ok(())
    }
}

fn hold_awake() -> std::io::Result<File> {
    let mut file = OpenOptions::new().write(true).open(LATENCY)?;
    file.write_all(&0_i32.to_ne_bytes())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sides_of_a_pipeline_share_a_processor_or_have_one_each() {
        let mut all = CpuSet::new();
        [1, 4, 6].iter().for_each(|core| all.set(*core));
        let processors = Processors { all, each: vec![1, 4, 6] };
        let cores = |cores, lane| {
            let sides = processors.sides(cores, lane);
            [sides.host, sides.worker].map(|set| (0..9).filter(|core| set.is_set(*core)).collect::<Vec<_>>())
        };
        assert_eq!(cores(Cores::One, 0), [[6], [6]]);
        assert_eq!(cores(Cores::One, 1), [[1], [1]]);
        assert_eq!(cores(Cores::Two, 0), [[6], [1]]);
        assert_eq!(cores(Cores::Two, 2), [[4], [6]]);
        assert_eq!(cores(Cores::Any, 3), [[1, 4, 6], [1, 4, 6]]);
    }
}
