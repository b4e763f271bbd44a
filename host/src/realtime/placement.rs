//! Which core a pipeline runs on.
//!
//! A block is handed from the audio thread to a worker and back. On one core that is a switch of threads; on two it
//! wakes a sleeping core each way, which takes longer. So a pipeline's threads and workers share a core, and pipelines
//! keep out of each other's way: what a plugin does wrong, with all that it starts, happens on its own pipeline's core.
//! Which core is decided by a pure function; the rest asks the kernel.
//!
//! But for one case: where the audio thread may be a real-time one and the workers not, a worker waits behind other
//! programs while the audio goes on, on whichever core: as many blocks are lost either way (README, "Real-time rights"),
//! so that it is left to the kernel, which may find a core that is idle.

use crate::error::{Error, Kind, Result};
use rustix::process::{Pid, getpid};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{read_dir, read_to_string};
use std::sync::{Mutex, MutexGuard, PoisonError};

const SYSTEM: &str = "/sys/devices/system/cpu";
/// A process that starts threads as fast as they are found is looked through so often.
const ROUNDS: usize = 5;

/// Which cores a pipeline may use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Affinity {
    /// One, for its audio thread and its workers together; another pipeline gets another one as long as there are.
    /// All that the host may use, where audio threads may be real-time ones and workers not.
    #[default]
    Auto,
    /// All that the host may use.
    Off,
    /// These, by their numbers.
    Cores(Vec<usize>),
}

/// A core that the host may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Core {
    number: usize,
    /// Those that share its hardware, with itself.
    siblings: Vec<usize>,
    /// Its highest clock, if that is known; else the same for all.
    speed: u64,
}

/// The cores, and how many pipelines sit on each.
#[derive(Debug)]
pub(super) struct Cores {
    all: Vec<Core>,
    seated: Mutex<BTreeMap<usize, u32>>,
}

impl Cores {
    /// Those that this process may use now.
    pub(super) fn found() -> Self {
        Self { all: allowed().into_iter().map(Core::found).collect(), seated: Mutex::default() }
    }

    /// Takes a seat; the cores' numbers, none if there is nothing to choose.
    pub(super) fn sit(&self, affinity: &Affinity, are_alike: bool) -> Result<Vec<usize>> {
        let mut seated = self.seated();
        let cores = match affinity {
            Affinity::Off => Vec::new(),
            Affinity::Auto if self.all.len() < 2 || !are_alike => Vec::new(),
            Affinity::Auto => choose(&self.all, &seated).into_iter().collect(),
            Affinity::Cores(cores) => self.known(cores)?,
        };
        cores.iter().for_each(|core| *seated.entry(*core).or_default() += 1);
        Ok(cores)
    }

    pub(super) fn leave(&self, cores: &[usize]) {
        let mut seated = self.seated();
        cores.iter().for_each(|core| *seated.entry(*core).or_insert(1) -= 1);
    }

    fn known(&self, cores: &[usize]) -> Result<Vec<usize>> {
        let allowed: Vec<_> = self.all.iter().map(|core| core.number).collect();
        match cores.iter().find_map(|core| fault(*core, &allowed, &online())) {
            Some(fault) => Err(Error::new(Kind::Config, fault)),
            None => Ok(cores.to_vec()),
        }
    }

    fn seated(&self) -> MutexGuard<'_, BTreeMap<usize, u32>> {
        self.seated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    fn found(number: usize) -> Self {
        let read = |name: &str| read_to_string(format!("{SYSTEM}/cpu{number}/{name}")).ok();
        let siblings =
            read("topology/thread_siblings_list").map_or_else(|| vec![number], |list| parse(&list));
        let speed = read("cpufreq/cpuinfo_max_freq").and_then(|khz| khz.trim().parse().ok());
        Self { number, siblings, speed: speed.unwrap_or(0) }
    }
}

/// The core for one more pipeline: where the fewest sit, then whose siblings are the freest, then the fastest, then
/// the last, since the first has most of the interrupts.
fn choose(cores: &[Core], seated: &BTreeMap<usize, u32>) -> Option<usize> {
    let on = |core: usize| seated.get(&core).copied().unwrap_or(0);
    let beside = |core: &Core| core.siblings.iter().map(|sibling| on(*sibling)).sum::<u32>();
    let best = cores
        .iter()
        .min_by_key(|core| (on(core.number), beside(core), Reverse(core.speed), Reverse(core.number)));
    best.map(|core| core.number)
}

/// What is wrong with a core that somebody asked for, and what would be right.
fn fault(core: usize, allowed: &[usize], online: &[usize]) -> Option<String> {
    if allowed.contains(&core) {
        None
    } else if online.contains(&core) {
        let right = format!("it may use {}", list(allowed));
        Some(format!("core {core} may not be used by this program; {right} (see `taskset`, or its cgroup)"))
    } else {
        Some(format!("there is no core {core}; this machine has {}", list(online)))
    }
}

/// What is wrong with a core of this machine that somebody asks for.
pub(crate) fn fault_of(core: usize) -> Option<String> {
    fault(core, &allowed(), &online())
}

/// The cores that this process may use.
fn allowed() -> Vec<usize> {
    let found = sched_getaffinity(Some(getpid()));
    found.map_or_else(|_| Vec::new(), |set| (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

/// The cores that there are.
pub(crate) fn online() -> Vec<usize> {
    read_to_string(format!("{SYSTEM}/online")).map_or_else(|_| allowed(), |list| parse(&list))
}

/// Cores as the kernel lists them: `0-3,8`.
fn parse(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse().ok()?, last.parse::<usize>().ok()?);
        Some(first..=last.min(CpuSet::MAX_CPU))
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

/// Cores as people list them: `core 1`, `cores 0, 1`.
pub(crate) fn list(cores: &[usize]) -> String {
    let numbers: Vec<_> = cores.iter().map(ToString::to_string).collect();
    format!("core{} {}", if cores.len() == 1 { "" } else { "s" }, numbers.join(", "))
}

/// These cores as the kernel wants them; `None` if there are none.
pub(crate) fn cpu_set(cores: &[usize]) -> Option<CpuSet> {
    let mut set = CpuSet::new();
    cores.iter().filter(|core| **core < CpuSet::MAX_CPU).for_each(|core| set.set(*core));
    (set.count() > 0).then_some(set)
}

/// Keeps a process to these cores: every thread that it has, and so whatever those start. None given is no change.
pub(crate) fn pin(process: Pid, cores: &[usize]) {
    let Some(set) = cpu_set(cores) else { return };
    let mut done = BTreeSet::new();
    for _ in 0..ROUNDS {
        let before = done.len();
        for thread in threads(process) {
            // One that has ended meanwhile, or a core that is gone: it runs where it can.
            if done.insert(thread) {
                let _ = sched_setaffinity(Pid::from_raw(thread), &set);
            }
        }
        if done.len() == before {
            return;
        }
    }
}

/// The numbers of a process's threads; none if it has ended.
pub(crate) fn threads(process: Pid) -> Vec<i32> {
    let entries = read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(speeds: &[u64], siblings: &[&[usize]]) -> Vec<Core> {
        let of = |number: usize| {
            siblings.iter().find(|s| s.contains(&number)).map_or(vec![number], |s| s.to_vec())
        };
        let core = |(number, speed): (usize, &u64)| Core { number, siblings: of(number), speed: *speed };
        speeds.iter().enumerate().map(core).collect()
    }

    /// Where so many pipelines sit that come one after the other.
    fn seats(cores: &[Core], pipelines: usize) -> Vec<usize> {
        let mut seated = BTreeMap::new();
        let mut sit = || {
            let core = choose(cores, &seated).unwrap();
            *seated.entry(core).or_default() += 1;
            core
        };
        (0..pipelines).map(|_| sit()).collect()
    }

    #[test]
    fn pipelines_are_spread_over_the_cores_the_last_one_first() {
        assert_eq!(seats(&cores(&[0; 3], &[]), 7), [2, 1, 0, 2, 1, 0, 2]);
    }

    #[test]
    fn a_core_whose_hardware_is_shared_with_a_pipeline_comes_later() {
        assert_eq!(seats(&cores(&[0; 4], &[&[0, 1], &[2, 3]]), 4), [3, 1, 2, 0]);
    }

    #[test]
    fn a_fast_core_comes_before_a_slow_one_but_not_before_a_free_one() {
        assert_eq!(seats(&cores(&[5, 5, 3], &[]), 4), [1, 0, 2, 1]);
    }

    #[test]
    fn without_a_core_there_is_no_seat() {
        assert_eq!(choose(&[], &BTreeMap::new()), None);
    }

    #[test]
    fn a_seat_that_is_left_is_free_for_the_next() {
        let cores = Cores { all: cores(&[0; 2], &[]), seated: Mutex::default() };
        let first = cores.sit(&Affinity::Auto, true).unwrap();
        assert_eq!((&first[..], &cores.sit(&Affinity::Auto, true).unwrap()[..]), (&[1][..], &[0][..]));
        cores.leave(&first);
        assert_eq!(cores.sit(&Affinity::Auto, true).unwrap(), [1]);
        assert_eq!(cores.sit(&Affinity::Off, true).unwrap(), [0; 0]);
    }

    #[test]
    fn where_only_audio_threads_are_real_time_ones_the_kernel_chooses_unless_the_user_does() {
        let cores = Cores { all: cores(&[0; 2], &[]), seated: Mutex::default() };
        assert_eq!(cores.sit(&Affinity::Auto, false).unwrap(), [0; 0]);
        assert_eq!(cores.sit(&Affinity::Cores(vec![1]), false).unwrap(), [1]);
    }

    #[test]
    fn with_one_core_there_is_nothing_to_choose() {
        let cores = Cores { all: cores(&[0], &[]), seated: Mutex::default() };
        assert_eq!(cores.sit(&Affinity::Auto, true).unwrap(), [0; 0]);
    }

    #[test]
    fn a_core_that_is_not_there_or_not_allowed_is_told_with_those_that_are() {
        assert_eq!(fault(1, &[0, 1], &[0, 1]), None);
        let missing = fault(7, &[0, 1], &[0, 1]).unwrap();
        assert_eq!(missing, "there is no core 7; this machine has cores 0, 1");
        let forbidden = fault(1, &[0], &[0, 1]).unwrap();
        assert!(
            forbidden.contains("core 1 may not be used") && forbidden.contains("use core 0 "),
            "{forbidden}"
        );
    }

    #[test]
    fn the_kernels_lists_are_read() {
        assert_eq!(parse("0-2,8\n"), [0, 1, 2, 8]);
        assert_eq!(parse("nonsense"), [0; 0]);
    }
}
