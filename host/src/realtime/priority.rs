//! Who goes before whom: audio threads first, then the one that watches over plugins, then workers that play, then
//! everything else, workers that are being started last.
//!
//! A fair share is not enough for a worker that plays: among the groups that the kernel makes of sessions and services
//! neither a short slice nor a small nice value helps against another group's load. So its main thread is a real-time
//! one where that is allowed, below every thread of the host that has such a priority; its other threads and what they
//! start are not. Four threads that spin with the lowest real-time priority were seen to hold up an audio thread at a
//! high one for 50 ms, so one that does not come to an end gives way within a few blocks (`recovery::turn`), and the
//! kernel kills it should nobody be there to see to that. Where real-time priorities are not allowed, it has the
//! shortest slice, which needs no rights, and if it may a larger share. How that is done to a process is
//! `supervisor::pace`.

use rustix::process::{Pid, Resource, getpriority_process, getrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use shared::schedule::{self, Policy, Schedule};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

/// The priority of audio threads: above the kernel's threads for interrupts (50), below what must never wait.
const AUDIO: u8 = 70;
/// The priority of the thread that lets a worker give way which does not come to an end.
const RECOVERY: u8 = 60;
/// The priority of workers that play: below every thread of the kernel and of the host that has one, also those that
/// a JACK server gives its clients, 5 if it is not asked for more. There is one below it, for a worker that collects.
pub(crate) const WORKER: u8 = 2;
/// The shortest slice that the kernel gives.
pub(crate) const SHORT_NS: u64 = 100_000;
/// How far ahead of other programs workers that play are.
pub(crate) const AHEAD: i32 = 10;
/// How far ahead of those the threads that watch over them are.
const ABOVE_WORKERS: i32 = 1;

/// What this process may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rights {
    /// The real-time priority that its audio threads can have.
    pub(crate) fifo: Option<u8>,
    /// Whether its workers can be ahead of other programs by their share.
    pub(crate) ahead: bool,
}

impl Rights {
    /// Those of this process, tried once.
    pub(crate) fn known() -> Self {
        static TRIED: OnceLock<Rights> = OnceLock::new();
        *TRIED.get_or_init(Self::tried)
    }

    /// The priority that workers that play can have: none, unless the host's own threads can all be above.
    pub(crate) fn worker_fifo(self) -> Option<u8> {
        (self.fifo == Some(AUDIO)).then_some(WORKER)
    }

    /// Tries it, on a thread that then ends.
    fn tried() -> Self {
        let none = Self { fifo: None, ahead: false };
        std::thread::spawn(|| {
            let ahead = schedule::set(None, &fair(own_nice() - AHEAD)).is_ok();
            let limit = getrlimit(Resource::Rtprio).current.unwrap_or(0);
            let most = u8::try_from(limit).unwrap_or(AUDIO).min(AUDIO);
            let fifo =
                [AUDIO, most].into_iter().find(|priority| schedule::set(None, &fifo(*priority)).is_ok());
            Self { fifo, ahead }
        })
        .join()
        .unwrap_or(none)
    }
}

/// The place of a pipeline's audio threads: their cores and their priority.
#[derive(Debug, Clone)]
pub(crate) struct Rank {
    pub(super) cores: Option<CpuSet>,
    pub(super) fifo: Option<u8>,
    /// The priority that the pipeline's audio thread has, 0 if that is none: for whoever watches.
    pub(super) given: Arc<AtomicU8>,
    pub(super) is_taken: bool,
    /// The priority that [`Rank::take`] gave the thread that this one is of, if it did.
    pub(super) own: Option<u8>,
}

impl Rank {
    /// Puts the calling thread in its place, the first time that this is called. A thread that is a real-time one
    /// already keeps its priority, as its audio system knows why, if that is above the workers'.
    ///
    /// # Real-time
    /// Up to five system calls the first time, which do not wait; afterwards none. Nothing is allocated or freed.
    pub(crate) fn take(&mut self) {
        if !std::mem::replace(&mut self.is_taken, true) {
            self.own = self.give(None);
        }
    }

    /// Takes the priority back that [`Rank::take`] gave the calling thread: it does not keep time, and would leave
    /// others none. One that had its priority before keeps it, and so does one that has got another since.
    ///
    /// # Real-time
    /// Three system calls, which do not wait.
    pub(crate) fn step_back(&mut self) {
        let Some(own) = self.own else { return };
        let has_it = schedule::get(None).is_ok_and(|schedule| schedule.policy == Policy::Fifo(own));
        if has_it && schedule::set(None, &fair(own_nice())).is_ok() {
            self.own = None;
            self.given.store(0, Ordering::Relaxed);
        }
    }

    /// The same for a thread that is not the one whose priority is told.
    pub(crate) fn aside(self) -> Self {
        Self { given: Arc::default(), ..self }
    }

    /// Puts another thread in its place; the priority that it was given, if it had none.
    pub(crate) fn give(&self, thread: Option<Pid>) -> Option<u8> {
        if let Some(cores) = &self.cores {
            let _ = sched_setaffinity(thread, cores);
        }
        let (has, given) = match schedule::get(thread) {
            Ok(Schedule { policy: Policy::Fifo(priority), .. }) => {
                let above = WORKER + 1;
                let is_raised = priority < above && schedule::set(thread, &fifo(above)).is_ok();
                (Some(if is_raised { above } else { priority }), None)
            }
            other => {
                let given = self.fifo.filter(|priority| schedule::set(thread, &fifo(*priority)).is_ok());
                if let (None, Ok(Schedule { policy: Policy::Other | Policy::Batch, nice, .. })) =
                    (given, other)
                {
                    go_ahead_of_workers(thread, nice);
                }
                (given, given)
            }
        };
        self.given.store(has.unwrap_or(0), Ordering::Relaxed);
        given
    }
}

pub(crate) fn fifo(priority: u8) -> Schedule {
    Schedule { policy: Policy::Fifo(priority), nice: 0, slice_ns: 0, reset_on_fork: true }
}

/// A fair share with the shortest slice, which nothing inherits that this starts.
pub(crate) fn fair(nice: i32) -> Schedule {
    Schedule { policy: Policy::Other, nice: nice.max(-20), slice_ns: SHORT_NS, reset_on_fork: true }
}

/// Gives a thread without a real-time priority a larger share than workers that play have, or one as large, where
/// that is allowed.
fn go_ahead_of_workers(thread: Option<Pid>, nice: i32) {
    let _ = [ABOVE_WORKERS, 0]
        .map(|above| nice - AHEAD - above)
        .into_iter()
        .find(|nice| schedule::set(thread, &fair(*nice)).is_ok());
}

/// The calling thread's.
pub(crate) fn own_nice() -> i32 {
    getpriority_process(None).unwrap_or(0)
}

/// Lets the calling thread, which watches over workers, go before those, where that is allowed. What it starts goes
/// as any other.
pub(crate) fn watch_over_workers() {
    let nice = own_nice();
    if schedule::set(None, &fair(nice - AHEAD - ABOVE_WORKERS)).is_err() {
        let _ = schedule::set(None, &fair(nice));
    }
}

/// Lets the calling thread, which waits for nobody, go before workers that play, where that is allowed: it has them
/// give way.
pub(crate) fn watch_over_plugins() {
    if schedule::set(None, &fifo(RECOVERY)).is_err() {
        watch_over_workers();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank() -> Rank {
        let cores = crate::realtime::placement::cpu_set(&[0]);
        Rank { cores, fifo: Rights::known().fifo, given: Arc::default(), is_taken: false, own: None }
    }

    /// What a thread of its own answers.
    fn elsewhere<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(what).join().unwrap()
    }

    fn own_policy() -> Policy {
        schedule::get(None).unwrap().policy
    }

    fn told(rank: &Rank) -> u8 {
        rank.given.load(Ordering::Relaxed)
    }

    #[test]
    fn a_thread_has_the_place_that_it_took_and_what_it_starts_has_not() {
        let (rank, fifo) = (rank(), Rights::known().fifo);
        let mut own = rank.clone();
        let (policy, heir) = elsewhere(move || {
            own.take();
            (own_policy(), elsewhere(own_policy))
        });
        assert_eq!((policy, told(&rank)), (fifo.map_or(Policy::Other, Policy::Fifo), fifo.unwrap_or(0)));
        assert_eq!(heir, Policy::Other);
    }

    #[test]
    fn without_a_real_time_priority_it_has_a_larger_share_than_workers_where_that_is_allowed() {
        let mut own = Rank { fifo: None, ..rank() };
        let (before, after) = elsewhere(move || {
            let before = own_nice();
            own.take();
            (before, own_nice())
        });
        let ahead = if Rights::known().ahead { AHEAD + ABOVE_WORKERS } else { 0 };
        assert_eq!(after, (before - ahead).max(-20));
    }

    #[test]
    fn each_thread_that_runs_away_steps_back_and_keeps_its_nice_value() {
        let (rank, fifo) = (rank(), Rights::known().fifo);
        let (mut one, mut other) = (rank.clone(), rank.clone());
        let step_back = |mut rank: Rank| {
            let before = (own_policy(), own_nice());
            rank.step_back();
            (before, (own_policy(), own_nice()))
        };
        let stepped_back = elsewhere(move || {
            schedule::set(None, &fair(own_nice() + 5)).unwrap();
            one.take();
            let other = elsewhere(move || {
                other.take();
                step_back(other)
            });
            [step_back(one), other]
        });
        for ((took, nice), left) in stepped_back {
            assert_eq!((took, left), (fifo.map_or(Policy::Other, Policy::Fifo), (Policy::Other, nice)));
        }
        assert_eq!(told(&rank), 0);
    }

    #[test]
    fn a_thread_that_had_its_priority_before_keeps_it_when_it_runs_away() {
        let Some(priority) = Rights::known().fifo else { return };
        let rank = rank();
        let mut own = rank.clone();
        let policy = elsewhere(move || {
            schedule::set(None, &fifo(priority)).unwrap();
            own.take();
            own.step_back();
            own_policy()
        });
        assert_eq!((policy, told(&rank)), (Policy::Fifo(priority), priority));
    }

    #[test]
    fn a_thread_whose_own_priority_is_not_above_the_workers_is_raised_above_them() {
        if Rights::known().worker_fifo().is_none() {
            return;
        }
        for (had, has) in [(1, WORKER + 1), (WORKER, WORKER + 1), (5, 5)] {
            let rank = rank();
            let mut own = rank.clone();
            let policy = elsewhere(move || {
                schedule::set(None, &fifo(had)).unwrap();
                own.take();
                own_policy()
            });
            assert_eq!((policy, told(&rank)), (Policy::Fifo(has), has));
        }
    }

    #[test]
    fn what_a_thread_aside_has_or_loses_is_not_told_as_the_audio_threads() {
        let (rank, fifo) = (rank(), Rights::known().fifo);
        let (mut audio, mut input) = (rank.clone(), rank.clone().aside());
        elsewhere(move || audio.take());
        elsewhere(move || {
            input.take();
            input.step_back();
        });
        assert_eq!(told(&rank), fifo.unwrap_or(0));
    }

    #[test]
    fn whoever_watches_over_workers_has_their_slice_and_no_smaller_share() {
        std::thread::spawn(|| {
            let before = own_nice();
            watch_over_workers();
            let own = schedule::get(None).unwrap();
            let ahead = if Rights::known().ahead { AHEAD + ABOVE_WORKERS } else { 0 };
            assert_eq!((own.nice, own.reset_on_fork), ((before - ahead).max(-20), true));
        })
        .join()
        .unwrap();
    }
}
