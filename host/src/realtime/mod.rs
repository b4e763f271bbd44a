//! What a pipeline gets of the machine: its cores, its priority, processors that don't sleep deeply.
//!
//! For [`Pipeline::open`](crate::pipeline::Pipeline::open), which takes a [`Seat`] and gives it back with its end. All
//! of it is tried, none of it needed: what the user may not do is told at the start, with how to get it, and the
//! pipeline plays all the same.

pub mod placement;
pub mod power;
pub(crate) mod priority;
pub(crate) mod waited;

pub use placement::Affinity;
pub use power::Power;

use crate::error::Result;
use crate::report::RealTimeStatus;
use placement::Cores;
use power::{Hold, IdleStates};
use priority::{AHEAD, Rank, Rights};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// The machine, as pipelines under one supervisor share it.
#[derive(Debug)]
pub(crate) struct RealTime {
    cores: Cores,
    idle: IdleStates,
}

impl RealTime {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { cores: Cores::found(), idle: IdleStates::default() })
    }

    /// A place for one more pipeline.
    ///
    /// # Errors
    /// Of kind `Config`, if there is no such core or it may not be used.
    pub(crate) fn seat(self: &Arc<Self>, affinity: &Affinity, power: Power) -> Result<Seat> {
        let rights = Rights::known();
        let cores = self.cores.sit(affinity, rights.fifo.is_some() == rights.worker_fifo().is_some())?;
        let rank = Rank {
            cores: placement::cpu_set(&cores),
            fifo: rights.fifo,
            given: Arc::new(AtomicU8::new(0)),
            is_taken: false,
            own: None,
        };
        Ok(Seat { cores, has_got_up: false, rank, hold: self.idle.hold(power), machine: Arc::clone(self) })
    }

    /// A place on these cores that nobody is to take meanwhile who can choose.
    pub(crate) fn reserve(self: &Arc<Self>, affinity: &Affinity) -> Option<Seat> {
        let is_bound = matches!(affinity, Affinity::Cores(_));
        is_bound.then(|| self.seat(affinity, Power::Balanced).ok()).flatten()
    }
}

/// A pipeline's place. Dropped, its cores are free for others, and processors may sleep if it was the last.
#[derive(Debug)]
pub(crate) struct Seat {
    cores: Vec<usize>,
    has_got_up: bool,
    rank: Rank,
    hold: Hold,
    machine: Arc<RealTime>,
}

impl Seat {
    /// The numbers of its cores; none, if it may use all that the host may.
    pub(crate) fn cores(&self) -> &[usize] {
        &self.cores
    }

    /// Lets whoever is seated next have its cores: it hardly uses them any more.
    pub(crate) fn get_up(&mut self) {
        if !std::mem::replace(&mut self.has_got_up, true) {
            self.machine.cores.leave(&self.cores);
        }
    }

    /// The place of its audio threads.
    pub(crate) fn rank(&self) -> &Rank {
        &self.rank
    }

    /// The real-time priority that its audio thread has, once it has played.
    pub(crate) fn fifo(&self) -> Option<u8> {
        Some(self.rank.given.load(Ordering::Relaxed)).filter(|priority| *priority > 0)
    }

    /// What it has got of what there is to get.
    pub(crate) fn status(&self) -> RealTimeStatus {
        let rights = Rights::known();
        let (idle_states, refusal) = match &self.hold {
            Hold::Held(_) => ("held off", None),
            Hold::Unwanted => ("as usual", None),
            Hold::Refused(why) => ("as usual", Some(why.clone())),
        };
        RealTimeStatus {
            audio_fifo: rights.fifo,
            worker_fifo: rights.worker_fifo(),
            worker_nice: (priority::own_nice() - if rights.ahead { AHEAD } else { 0 }).max(-20),
            workers_ahead: rights.ahead,
            idle_states,
            refusal,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.get_up();
    }
}
