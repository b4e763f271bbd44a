//! The fault table: every fault a plugin can have, injected into a real pipeline, counted.
//!
//! For `nda faults` and the tests. [`run`] plays two pipelines on the virtual device, at 48 kHz and 128 frames and
//! at the device's pace: in one a plugin fails in every way there is, in the other a healthy one is its neighbour.
//! Every sample of both is judged. Every second fault of a kind happens to a plugin that fails closed. Faults follow
//! from a seed; what the machine makes of them does not.

mod cycles;
mod heard;
mod kinds;
mod leftovers;
mod probe;
mod rig;
mod table;
mod tally;

pub use cycles::{Cycles, cycle};
pub use kinds::Kind;
pub use leftovers::{Leftovers, shared_names};
pub use table::{FaultRow, FaultTable, Spread, Verdict};

use crate::error::Result;
use crate::plugin::spec::Standby;
use crate::random::Random;
use leftovers::Names;
use rig::{Outcome, Rig};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The plugin that fails.
const FAULTY: &str = include_str!("faulty.py");
const RATE: u32 = 48_000;
const BLOCK_FRAMES: u32 = 128;
const CHANNELS: u32 = 2;
/// What the worker of the plugin under test may use.
const MEMORY_MAX: u64 = 300 << 20;
/// Faults of each kind where nothing else is said.
pub const EACH_DEFAULT: u32 = 10;
/// How long after a fault all must be good again, where nothing else is said. Far more than anything needs.
pub const PATIENCE_DEFAULT: Duration = Duration::from_secs(15);

/// What is to be injected, and into what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultsSpec {
    /// How many faults of each kind.
    pub each: u32,
    /// What the faults follow from.
    pub seed: u64,
    /// Which kinds, in the order of the table.
    pub kinds: Vec<Kind>,
    /// What stands by for the plugin that fails.
    pub standby: Standby,
    /// The interpreter; `None` is `$VIRTUAL_ENV` or `python3` on the path.
    pub python: Option<PathBuf>,
    /// Whether the neighbour is also listened to for as long without faults, to compare with.
    pub control: bool,
    /// How long after a fault all must be good again.
    pub patience: Duration,
}

impl Default for FaultsSpec {
    fn default() -> Self {
        Self {
            each: EACH_DEFAULT,
            seed: 1,
            kinds: Kind::ALL.to_vec(),
            standby: Standby::default(),
            python: None,
            control: true,
            patience: PATIENCE_DEFAULT,
        }
    }
}

/// Is told how it goes.
pub trait Observer {
    /// So many faults of a kind, of so many, have been injected and listened to.
    fn progress(&mut self, kind: Kind, done: u32, of: u32);
    /// All of a kind.
    fn row(&mut self, row: &FaultRow);
}

/// Injects all faults, one after the other, unless `stop` is set: the table then holds the kinds that are done.
///
/// To be called in a process that does nothing else: what it has open is compared before and after.
///
/// # Errors
/// If the pipelines can't be opened, as [`Pipeline::open`](crate::pipeline::Pipeline::open); a fault is no error.
pub fn run(spec: &FaultsSpec, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<FaultTable> {
    let began = Instant::now();
    let mut harness = Harness { spec, stop, observer, mark: mark() };
    harness.warm_up()?;
    let mut rows = Vec::new();
    for kind in &spec.kinds {
        let Some(row) = harness.kind(*kind)? else { break };
        harness.observer.row(&row);
        rows.push(row);
    }
    Ok(FaultTable {
        each: spec.each,
        seed: spec.seed,
        standby: table::standby_name(spec.standby),
        rate: RATE,
        block_frames: BLOCK_FRAMES,
        seconds: began.elapsed().as_secs_f64(),
        interrupted: rows.len() < spec.kinds.len(),
        rows,
    })
}

struct Harness<'a> {
    spec: &'a FaultsSpec,
    stop: &'a AtomicBool,
    observer: &'a mut dyn Observer,
    /// The name of processes that the plugin starts.
    mark: String,
}

impl Harness<'_> {
    /// Opens and closes everything once: what stays open for good then is there before it is counted.
    fn warm_up(&self) -> Result<()> {
        let mut rig = Rig::open(self.spec, &self.mark, 0)?;
        rig.prepare(false)?;
        rig.idle(1);
        rig.close();
        Ok(())
    }

    /// All faults of a kind; `None` if it was told to stop.
    fn kind(&mut self, kind: Kind) -> Result<Option<FaultRow>> {
        let mut names = Names::default();
        let before = Leftovers::now(&self.mark, &mut names);
        let mut random = Random::new(self.spec.seed ^ seed_of(kind));
        let mut rig = Rig::open(self.spec, &self.mark, random.next())?;
        rig.prepare(false)?;
        rig.begin_neighbour();
        let mut outcomes = Vec::new();
        // Each policy in a row: a pipeline is used again as long as its worker lives.
        let closed_from = self.spec.each.div_ceil(2);
        for done in 0..self.spec.each {
            if self.stop.load(Ordering::Relaxed) {
                rig.close();
                return Ok(None);
            }
            self.observer.progress(kind, done, self.spec.each);
            let fail_closed = done >= closed_from;
            outcomes.push((fail_closed, rig.fault(kind, random.next(), fail_closed, &mut names)?));
        }
        let neighbour = rig.neighbour();
        let control = self.spec.control.then(|| -> Result<_> {
            rig.prepare(false)?;
            Ok(rig.idle(neighbour.blocks))
        });
        let control = control.transpose()?;
        let past = rig.close();
        let leaks = before.grown(&self.mark, &mut names);
        Ok(Some(FaultRow::new(kind, &outcomes, &neighbour, control.as_ref(), leaks, past)))
    }
}

/// The name of processes that plugins of this run start.
fn mark() -> String {
    format!("nda-f-{}", std::process::id())
}

/// A seed of each kind's own, so that a kind alone repeats what it did among all.
fn seed_of(kind: Kind) -> u64 {
    let byte = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    kind.name().bytes().fold(0xcbf2_9ce4_8422_2325, byte)
}

/// What became of one fault, and whether the plugin failed closed.
type Judged = (bool, Outcome);
