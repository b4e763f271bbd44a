//! All variants in turns, so that whatever the machine does meanwhile befalls them alike.
//!
//! Everything is started beforehand. Then, again and again, each variant has its place prepared (processors, idle
//! states, load), a few blocks to warm up, and its share of the blocks that count.

use super::bare::Bare;
use super::batch::{Batch, Turn};
use super::in_python::InPython;
use super::isolated::{self, Pipeline};
use super::parts;
use super::place::{Processors, Surroundings, bind_process, bind_thread};
use super::plan::{Entry, block_ns, words};
use super::plugins::Plugins;
use super::rank;
use super::watchdog::Watchdog;
use crate::Outcome;
use crate::report::model::{Cores, Figures, Pace, Series, Variant, What};
use host::supervisor::Supervisor;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;

/// Turns of each variant.
pub const TURNS: u32 = 10;
/// Blocks before those that count: enough for caches to be warm, where they can be.
const WARM_UP: u32 = 20;
pub(super) const WARM_UP_PACED: u32 = 3;

/// Everything that has its turns.
pub struct Field<'a> {
    supervisor: &'a Supervisor,
    plugins: &'a Plugins,
    processors: Processors,
    surroundings: Surroundings,
    pipelines: HashMap<Variant, Vec<Pipeline>>,
    bare: HashMap<Variant, Bare>,
    python: Option<InPython>,
    /// What is not measured, and why: each a sentence.
    pub left_out: Vec<String>,
    /// And which variants those are.
    pub unmeasured: Vec<Variant>,
}

/// What was measured of one variant so far.
#[derive(Debug, Default)]
struct Record {
    batch: Batch,
    missed: u64,
    turns_p50_ns: Vec<u64>,
}

impl<'a> Field<'a> {
    /// An empty field.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn new(supervisor: &'a Supervisor, plugins: &'a Plugins) -> Outcome<Self> {
        Ok(Self {
            supervisor,
            plugins,
            processors: Processors::find()?,
            surroundings: Surroundings::quiet(),
            pipelines: HashMap::new(),
            bare: HashMap::new(),
            python: None,
            left_out: Vec::new(),
            unmeasured: Vec::new(),
        })
    }

    /// Starts what the entries need, and the watchdog hears of each; those that can't be measured here are left out.
    ///
    /// # Errors
    /// Of what does not start.
    pub fn start(&mut self, entries: Vec<Entry>, watchdog: &Watchdog) -> Outcome<Vec<Entry>> {
        let mut ready = Vec::new();
        for entry in entries {
            watchdog.pet();
            match self.missing(&entry.variant)? {
                Some(why) => self.leave_out(entry.variant, why),
                None => {
                    self.prepare(&entry.variant)?;
                    ready.push(entry);
                }
            }
        }
        Ok(ready)
    }

    fn leave_out(&mut self, variant: Variant, why: String) {
        self.unmeasured.push(variant);
        let why = format!("not measured: {why}");
        if !self.left_out.contains(&why) {
            self.left_out.push(why);
        }
    }

    fn missing(&mut self, variant: &Variant) -> Outcome<Option<String>> {
        if variant.what == What::Pedalboard && !self.python()?.can.pedalboard {
            let how = "install what benches/requirements.txt names (.ci/setup bench)";
            return Ok(Some(format!("pedalboard, which this Python can't import: {how}")));
        }
        let surroundings = Surroundings::missing(&self.processors, variant);
        Ok(surroundings.or_else(|| self.too_many(variant)))
    }

    /// Why there is no memory for so many workers of a plugin, if so: by what one takes that was started before.
    fn too_many(&self, variant: &Variant) -> Option<String> {
        let running = self.pipelines.get(&workers_of(variant)).map_or(0, Vec::len);
        let pipelines = (variant.pipelines as usize).saturating_sub(running);
        let workers = variant.chain * u32::try_from(pipelines).unwrap_or(u32::MAX);
        if variant.what != What::Isolated || workers < 2 {
            return None;
        }
        let alike = self.pipelines.iter().filter(|(it, _)| it.plugin == variant.plugin);
        let one = alike.filter_map(|(_, pipelines)| pipelines.first()?.memory()).next()?;
        let each_bytes = one.proportional_bytes;
        let is_room = has_room(workers, each_bytes, isolated::memory_left_bytes()?);
        let why = || {
            let each_mib = each_bytes >> 20;
            format!(
                "several {} for which there is too little memory: a worker takes {each_mib} MiB",
                variant.plugin
            )
        };
        (!is_room).then(why)
    }

    /// The interpreter of the plugins and its numpy.
    ///
    /// # Errors
    /// If it can't be asked.
    pub fn versions(&mut self) -> Outcome<String> {
        Ok(self.python()?.can.versions.clone())
    }

    fn python(&mut self) -> Outcome<&mut InPython> {
        if self.python.is_none() {
            let module = host::supervisor::module::find()?;
            let started = InPython::start(&self.plugins.python()?, &self.plugins.in_python(), &module)?;
            self.python = Some(started);
        }
        self.python.as_mut().ok_or_else(|| "just started".into())
    }

    fn prepare(&mut self, variant: &Variant) -> Outcome {
        match variant.what {
            What::Isolated | What::InProcess => {
                let pipelines = self.pipelines.entry(workers_of(variant)).or_default();
                while pipelines.len() < variant.pipelines as usize {
                    pipelines.push(Pipeline::start(self.supervisor, self.plugins, variant)?);
                }
            }
            What::NoOp | What::PlainNumpy | What::Pedalboard => {
                self.python()?;
            }
            _ => {
                if let Place::Vacant(place) = self.bare.entry(processes_of(variant)) {
                    place.insert(Bare::start(variant)?);
                }
            }
        }
        Ok(())
    }

    /// Gives each its turns; `tell` hears how many are over, and the watchdog that something goes on.
    ///
    /// # Errors
    /// Of the first that fails, with its name.
    pub fn run(
        &mut self,
        entries: &[Entry],
        watchdog: &Watchdog,
        mut tell: impl FnMut(u32),
    ) -> Outcome<Vec<Series>> {
        let mut records: Vec<Record> = entries.iter().map(|_| Record::default()).collect();
        for turn in 0..TURNS {
            tell(turn);
            for (entry, record) in entries.iter().zip(&mut records) {
                watchdog.pet();
                let batch = self.turn(&entry.variant, &share(entry, turn));
                record.add(
                    &entry.variant,
                    batch.map_err(|e| format!("{}: {e}", words(&entry.variant).join(" ")))?,
                );
            }
        }
        bind_thread(&self.processors.sides(Cores::Any, 0).host)?;
        Ok(entries.iter().zip(records).map(|(entry, record)| self.series(entry, record)).collect())
    }

    fn turn(&mut self, variant: &Variant, turn: &Turn) -> Outcome<Batch> {
        if turn.blocks == 0 {
            return Ok(Batch::default());
        }
        self.surroundings.suit(&self.processors, variant)?;
        let sides = self.processors.sides(variant.cores, 0);
        bind_thread(&sides.host)?;
        match variant.what {
            What::Isolated => self.isolated(variant, turn),
            What::InProcess => {
                let pipeline = self.pipelines.get_mut(&workers_of(variant)).and_then(|all| all.first_mut());
                let pipeline = pipeline.ok_or("no worker was started")?;
                pipeline.bind(&sides.worker)?;
                rank::as_audio(turn, || pipeline.drive(turn))
            }
            What::NoOp | What::PlainNumpy | What::Pedalboard => {
                let python = self.python()?;
                bind_process(python.pid(), &sides.worker)?;
                rank::answer(python.pid());
                rank::as_audio(turn, || python.turn(variant, turn))
            }
            _ => {
                let bare = self.bare.get_mut(&processes_of(variant)).ok_or("no process was started")?;
                bare.pids().try_for_each(|pid| bind_process(pid, &sides.worker))?;
                bare.pids().for_each(rank::answer);
                rank::as_audio(turn, || bare.turn(turn))
            }
        }
    }

    /// One pipeline on this thread, or several at once, each on a thread of its own.
    fn isolated(&mut self, variant: &Variant, turn: &Turn) -> Outcome<Batch> {
        let all = self.pipelines.get_mut(&workers_of(variant)).ok_or("no worker was started")?;
        let pipelines = &mut all[..variant.pipelines as usize];
        for (lane, pipeline) in (0..).zip(&*pipelines) {
            pipeline.bind(&self.processors.sides(variant.cores, lane).worker)?;
        }
        if let [only] = pipelines {
            return rank::as_audio(turn, || only.turn(turn));
        }
        let processors = &self.processors;
        let one = |lane: u32, pipeline: &mut Pipeline| {
            bind_thread(&processors.sides(variant.cores, lane).host)?;
            rank::as_audio(turn, || pipeline.turn(turn))
        };
        // An error of any kind does not pass from thread to thread; its words do.
        let one = |lane, pipeline: &mut Pipeline| one(lane, pipeline).map_err(|e| e.to_string());
        let batches = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..)
                .zip(pipelines)
                .map(|(lane, pipeline)| scope.spawn(move || one(lane, pipeline)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err("a panic".into())))
                .collect()
        });
        let batches: Result<Vec<Batch>, String> = batches;
        Ok(batches?.into_iter().fold(Batch::default(), Batch::and))
    }

    fn series(&self, entry: &Entry, record: Record) -> Series {
        let variant = entry.variant.clone();
        let worker = self.pipelines.get(&workers_of(&variant)).filter(|_| variant.what == What::Isolated);
        Series {
            times: Figures::of(&record.batch.times_ns),
            missed: record.missed,
            parts: parts::figures(&record.batch.parts_ns),
            by_plugin_p50_ns: parts::by_plugin(&record.batch.parts_ns),
            turns_p50_ns: record.turns_p50_ns,
            memory: worker.and_then(|pipelines| pipelines.first()?.memory()),
            variant,
        }
    }
}

impl Record {
    fn add(&mut self, variant: &Variant, batch: Batch) {
        if batch.times_ns.is_empty() {
            return;
        }
        let block_ns = block_ns(variant);
        let long = batch.times_ns.iter().filter(|ns| **ns > block_ns).count() as u64;
        // A block that took too long was given up before, mostly, and is not missed twice.
        self.missed += batch.lost.max(long);
        self.turns_p50_ns.push(Figures::of(&batch.times_ns).p50_ns);
        self.batch = std::mem::take(&mut self.batch).and(batch);
    }
}

/// Whether so many workers leave a quarter of the memory to others.
fn has_room(workers: u32, each_bytes: u64, left_bytes: u64) -> bool {
    u64::from(workers).saturating_mul(each_bytes) <= left_bytes / 4 * 3
}

/// The part of an entry's blocks that this turn has.
fn share(entry: &Entry, turn: u32) -> Turn {
    let blocks = entry.blocks / TURNS + u32::from(turn < entry.blocks % TURNS);
    let warm_up = if entry.variant.pace == Pace::Paced { WARM_UP_PACED } else { WARM_UP };
    Turn { blocks, warm_up, every_ns: entry.every_ns }
}

/// The variants that the same workers serve are one here.
fn workers_of(variant: &Variant) -> Variant {
    Variant { what: What::Isolated, pipelines: 1, ..processes_of(variant) }
}

/// As above, for processes of one kind.
fn processes_of(variant: &Variant) -> Variant {
    Variant { cores: Cores::One, pace: Pace::BackToBack, awake: false, loaded: false, ..variant.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::plan::{Wanted, plan};

    #[test]
    fn the_turns_of_an_entry_add_up_to_its_blocks() {
        for blocks in [1, 7, 10, 1000, 10_003] {
            let wanted = Wanted { blocks: Some(blocks), ..Wanted::default() };
            let entry = plan(&wanted).remove(0);
            assert_eq!((0..TURNS).map(|turn| share(&entry, turn).blocks).sum::<u32>(), blocks);
        }
    }

    #[test]
    fn so_many_workers_as_would_take_the_machines_memory_are_not_started() {
        let gib = 1 << 30;
        assert!(has_room(16, gib / 2, 12 * gib));
        assert!(!has_room(16, gib / 2, 10 * gib));
        assert!(!has_room(16, u64::MAX, u64::MAX));
    }

    #[test]
    fn a_block_that_was_given_up_and_one_that_took_too_long_are_missed() {
        let variant = plan(&Wanted::default()).remove(0).variant;
        let block_ns = 10_666_666;
        let mut record = Record::default();
        record
            .add(&variant, Batch { times_ns: vec![5, block_ns, block_ns + 1], lost: 0, ..Batch::default() });
        record.add(&variant, Batch { times_ns: vec![5, 6], lost: 2, ..Batch::default() });
        record.add(&variant, Batch::default());
        assert_eq!((record.missed, record.batch.times_ns.len()), (3, 5));
        assert_eq!(record.turns_p50_ns, [block_ns, 5]);
    }
}
