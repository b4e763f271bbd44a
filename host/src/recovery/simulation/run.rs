//! One seed from its first callback to its last: builds the chain, calls it as a device would, has all of it judged.

use super::super::{Neighbour, Patient};
use super::judge::{Deal, Judge, Truth, Truths, Verdict};
use super::row::{self, Row};
use super::seed::{Blow, Plot, Rng, Shape};
use super::tape::{After, Before, Shared};
use super::time::{self, now_ns};
use super::world::{MS, Side, World};
use crate::chain::Chain;
use crate::plugin::care::Care;
use crate::plugin::conceal::Plan;
use crate::plugin::line::{self, Line};
use crate::plugin::remote::{Remote, Terms};
use crate::plugin::spec::{DEADLINE_DEFAULT, Mode, PluginSpec, Spin, Standby};
use crate::plugin::uncached::Uncached;
use crate::plugin::{Nature, Place};
use crate::processor::Processor;
use crate::section::{self, Section};
use crate::telemetry::{self, PluginStats};
use shared::layout::Layout;
use shared::message::PluginKind;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Time that a plugin may need to be well again after the last fault: the longest delay between two restarts, and
/// some starts that go wrong meanwhile.
const WELL_WITHIN_NS: u64 = 30_000 * MS;
/// Good blocks in a row of one that is well.
const WELL: u32 = 30;

/// What has happened, over one seed or many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sums {
    pub(super) blocks: u64,
    pub(super) lost: u64,
    /// Blocks that went from worker to worker, and those whose answer was given up and taken all the same.
    pub(super) direct: u64,
    pub(super) taken_back: u64,
    pub(super) faults: u64,
    pub(super) blows: u64,
    pub(super) deaths: u64,
    pub(super) takeovers: u64,
    pub(super) moves: u64,
    /// Moves that went over from one result into the other.
    pub(super) faded: u64,
    pub(super) given_up: u64,
    pub(super) virtual_s: u64,
}

impl Sums {
    pub(super) fn add(&mut self, other: &Self) {
        self.blocks += other.blocks;
        self.lost += other.lost;
        self.direct += other.direct;
        self.taken_back += other.taken_back;
        self.faults += other.faults;
        self.blows += other.blows;
        self.deaths += other.deaths;
        self.takeovers += other.takeovers;
        self.moves += other.moves;
        self.faded += other.faded;
        self.given_up += other.given_up;
        self.virtual_s += other.virtual_s;
    }
}

/// A plugin and the verdicts on it.
struct Judged {
    tape: Shared,
    judge: Judge,
}

/// One seed's run.
pub(super) struct Run {
    world: Rc<RefCell<World>>,
    _guard: time::Guard,
    plot: Plot,
    rng: Rng,
    chain: Chain,
    /// The section that no thread runs, and when its blocks were published.
    section: Option<Section>,
    /// The plugins that have recorders around them, and the section around those, if there is one.
    judged: Vec<Judged>,
    /// Blocks of which it is known how long these were waited for.
    timed: usize,
    /// Those that have none between them.
    row: Option<Row>,
    section_judged: Option<Judged>,
    /// What goes into the first plugin, and what comes out of the last.
    ends: [Shared; 2],
    outer: Truths,
    blows: u64,
    given_up: u64,
}

impl Run {
    pub(super) fn new(seed: u64, traces: bool) -> Self {
        let mut rng = Rng::new(seed);
        let plot = Plot::of(&mut rng);
        time::set(1000 * MS);
        let world = Rc::new(RefCell::new(World::new(plot.clone(), Rng::new(rng.next()), traces)));
        let guard = time::enter(&world);
        world.borrow().trace(|| format!("{plot:?}"));
        let Plugins { processors: inner, judged, row, ends } = plugins(&world, &plot);
        let mut section_judged = None;
        let (chain, section) = match plot.shape.is_section() {
            true => {
                let burst = plot.burst;
                let (remote, section) = section::halves(plot.format, burst, inner).unwrap();
                let tape = Shared::default();
                let plan = remote.plan();
                section_judged =
                    Some(Judged { tape: Arc::clone(&tape), judge: Judge::new(outer_deal(&plot, plan)) });
                let after = After { plugins: vec![(Arc::clone(&tape), remote.stats())] };
                let before = Before { tape, pitch: 0.0437 };
                (
                    Chain::new(plot.format, vec![Box::new(before), Box::new(remote), Box::new(after)]),
                    Some(section),
                )
            }
            false => (Chain::new(plot.format, inner), None),
        };
        Self {
            world,
            _guard: guard,
            plot,
            rng,
            chain: chain.unwrap(),
            section,
            judged,
            timed: 0,
            row,
            section_judged,
            ends,
            outer: Truths::new(),
            blows: 0,
            given_up: 0,
        }
    }

    /// Plays it to the end.
    pub(super) fn play(mut self) -> Result<Sums, String> {
        for _ in 0..self.plot.callbacks {
            let runs_section = self.blow();
            self.callback(runs_section)?;
        }
        self.world.borrow_mut().faults = false;
        self.heal()?;
        self.come_back()?;
        let sums = self.sums();
        let Self { world, chain, section, judged, row, .. } = self;
        drop((chain, section, judged, row));
        let left = world.borrow_mut().end();
        if left.is_empty() { Ok(sums) } else { Err(left.join("\n")) }
    }

    /// Something befalls the host; false if the section's thread misses the next callback for it.
    fn blow(&mut self) -> bool {
        if self.plot.blows.is_empty() || !self.rng.once_in(self.plot.blow_in) {
            return true;
        }
        self.blows += 1;
        let blow = self.rng.one_of(&self.plot.blows);
        self.world.borrow_mut().strike(blow);
        let for_ns = self.rng.within(20 * MS, 4000 * MS);
        match blow {
            Blow::HostFrozen => {
                self.world.borrow_mut().delay_recovery(now_ns() + for_ns);
                self.go_on_until(now_ns() + for_ns);
            }
            Blow::Paused => {
                for _ in 0..8 {
                    self.go_on_until(now_ns() + for_ns);
                    if self.plot.blows.contains(&Blow::StandbyDies) {
                        self.world.borrow_mut().strike(Blow::StandbyDies);
                    }
                }
            }
            Blow::Suspended => self.world.borrow_mut().suspend(for_ns),
            _ => {}
        }
        blow != Blow::SectionLate
    }

    fn go_on_until(&self, until_ns: u64) {
        self.world.borrow_mut().run(until_ns, || false);
    }

    /// The device calls: a burst of blocks in a row, then the section's thread gets to them.
    fn callback(&mut self, runs_section: bool) -> Result<(), String> {
        self.go_on_until(now_ns());
        let began_ns = now_ns();
        let block_ns = self.plot.format.block_ns();
        for _ in 0..self.plot.burst {
            let mut samples = vec![0.0; self.plot.format.samples()];
            let block_began_ns = if self.section.is_some() { began_ns } else { now_ns() };
            self.chain.process_within(&mut samples, block_ns);
            self.world.borrow_mut().look_after_takeovers(block_began_ns);
        }
        self.go_on_until(now_ns());
        if runs_section {
            self.run_section(began_ns);
        }
        self.go_on_until(began_ns + u64::from(self.plot.burst) * block_ns);
        self.judge()
    }

    fn run_section(&mut self, published_ns: u64) {
        let Some(section) = &mut self.section else { return };
        let Some(outer) = self.section_judged.as_ref().map(|judged| Arc::clone(&judged.tape)) else { return };
        let [first, last] = &self.ends;
        while section.is_due() {
            let began_ns = now_ns();
            section.process(published_ns);
            self.world.borrow_mut().look_after_takeovers(began_ns);
            let original = first.lock().unwrap().original.clone();
            let block = outer.lock().unwrap().find(&original).expect("a block that was asked for");
            let samples = last.lock().unwrap().heard.last().and_then(|heard| heard.samples.clone());
            let samples = samples.expect("a block");
            // It may have taken no time at all, but the audio thread was here before.
            let truth = Truth { incarnation: 1, at_ns: now_ns() + 1, good: true, spoilt: false, samples };
            self.outer.insert(block, truth);
        }
    }

    fn judge(&mut self) -> Result<(), String> {
        let mut world = self.world.borrow_mut();
        let mut wrong = world.wrong.clone();
        for (number, judged) in self.judged.iter_mut().enumerate() {
            let verdict = judged.judge.judge(&judged.tape.lock().unwrap(), &world.sides[number].truths);
            wrong.extend(verdict.err().map(|why| format!("plugin {number}, {why}")));
        }
        // How long one in a section may take depends on the section's thread.
        if !self.plot.shape.is_section() {
            wrong.extend(check_waits(&self.judged, &mut self.timed).err());
        }
        if let Some(Judged { tape, judge }) = &mut self.section_judged {
            let verdict = judge.judge(&tape.lock().unwrap(), &self.outer);
            wrong.extend(verdict.err().map(|why| format!("section, {why}")));
        }
        wrong.extend(self.row.as_mut().and_then(|row| row.judge(&mut world).err()));
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    /// Without faults it is well again within a bound; one that was given up, when its user says so.
    fn heal(&mut self) -> Result<(), String> {
        let (mut since_ns, mut restarts) = (now_ns(), 0);
        while self.good_in_a_row() < WELL {
            // Starts that were bad before may go wrong yet, and have it given up again.
            let given_up = || (0..self.plot.faulty.len()).find(|at| self.world.borrow().is_given_up(*at));
            if now_ns() >= since_ns
                && restarts < 3 * self.plot.faulty().len()
                && let Some(plugin) = given_up()
            {
                (restarts, self.given_up) = (restarts + 1, self.given_up + 1);
                since_ns = now_ns() + 1000 * MS;
                self.world.borrow_mut().restart(plugin);
            }
            self.callback(true)?;
            if now_ns() > since_ns + WELL_WITHIN_NS {
                return Err(format!("not well {WELL_WITHIN_NS} ns after the last fault"));
            }
        }
        Ok(())
    }

    fn good_in_a_row(&self) -> u32 {
        let judges = self.judged.iter().chain(&self.section_judged).map(|judged| judged.judge.good_in_a_row);
        judges.chain(self.row.iter().map(Row::good_in_a_row)).min().unwrap_or(0)
    }

    /// One that was moved to pipelined once is same-block again when it has been fast for long enough.
    fn come_back(&mut self) -> Result<(), String> {
        let block_ns = self.plot.format.block_ns();
        // A fault that lasts for many blocks may be under way: pipelined, its blocks are good and it is slow all the same,
        // or hangs and is not found out yet.
        while self.plot.faulty().iter().any(|plugin| self.world.borrow().is_at_fault(*plugin)) {
            self.callback(true)?;
        }
        self.heal()?;
        let until_ns = now_ns() + (3010 * block_ns).max(4_000 * MS + 10 * block_ns);
        let stats: Vec<_> = self.world.borrow().sides.iter().map(|side| side.stats.clone()).collect();
        let moved = |stats: &Arc<PluginStats>| stats.progress().moves.load(Ordering::Relaxed) == 1;
        while stats.iter().any(moved) {
            if now_ns() > until_ns {
                return Err("fast for long, but still pipelined".into());
            }
            self.callback(true)?;
        }
        // A ramp later.
        (0..WELL).try_for_each(|_| self.callback(true))
    }

    fn sums(&self) -> Sums {
        let world = self.world.borrow();
        let counts = world.sides.iter().map(|side| side.stats.counts());
        let moves = |side: &Side| u64::from(side.stats.progress().moves.load(Ordering::Relaxed));
        let judged = self.judged.iter().chain(&self.section_judged).map(|judged| judged.judge.judged);
        let blocks: usize = judged.chain(self.row.iter().map(Row::judged)).sum();
        Sums {
            blocks: blocks as u64,
            lost: counts.clone().map(|counts| counts.lost()).sum(),
            direct: counts.map(|counts| counts.direct).sum(),
            taken_back: self.row.as_ref().map_or(0, |row| row.taken_back),
            faults: world.faults_dealt,
            blows: self.blows,
            deaths: world.sides.iter().map(|side| side.care.known().deaths).sum(),
            takeovers: world.takeovers,
            moves: world.sides.iter().map(moves).sum(),
            faded: self.judged.iter().map(|judged| judged.judge.faded).sum::<u64>()
                + self.row.as_ref().map_or(0, Row::faded),
            given_up: self.given_up,
            virtual_s: now_ns() / (1000 * MS),
        }
    }
}

/// No plugin outside a row was waited for beyond its deadline, to the nanosecond. Those that don't wait took no time.
fn check_waits(judged: &[Judged], timed: &mut usize) -> Verdict<()> {
    let Some(first) = judged.first() else { return Ok(()) };
    let heard = first.tape.lock().unwrap().heard.len();
    for block in std::mem::replace(timed, heard)..heard {
        let began_ns = first.tape.lock().unwrap().began_ns[block];
        let waits: Vec<_> =
            judged.iter().map(|plugin| plugin.judge.deal.waits(&plugin.tape, block)).collect();
        let mut before_ns = began_ns;
        for (at, plugin) in judged.iter().enumerate() {
            let block_ns = plugin.judge.deal.format.block_ns();
            let deadline_ns = match waits[at] {
                true => row::deadline_ns(DEADLINE_DEFAULT, at, &waits, began_ns, block_ns),
                false => before_ns,
            };
            let at_ns = plugin.tape.lock().unwrap().heard[block].at_ns;
            if at_ns > deadline_ns {
                return Err(format!(
                    "plugin {at}, block {block}: waited for until {at_ns}, not {deadline_ns}"
                ));
            }
            before_ns = at_ns;
        }
    }
    Ok(())
}

/// The plugins as they stand in the chain.
struct Plugins {
    processors: Vec<Box<dyn Processor>>,
    judged: Vec<Judged>,
    row: Option<Row>,
    ends: [Shared; 2],
}

fn plugins(world: &Rc<RefCell<World>>, plot: &Plot) -> Plugins {
    if plot.shape.is_row() { in_a_row(world, plot) } else { apart(world, plot) }
}

/// Each between its recorders.
fn apart(world: &Rc<RefCell<World>>, plot: &Plot) -> Plugins {
    let mut processors: Vec<Box<dyn Processor>> = Vec::new();
    let mut judged = Vec::new();
    for (number, pitch) in [0.0311, 0.0259].into_iter().enumerate() {
        let tape = Shared::default();
        let (remote, deal) = plugin(world, plot, number, &tape);
        let stats = remote.stats();
        processors.push(Box::new(Before { tape: Arc::clone(&tape), pitch }));
        processors.push(Box::new(remote));
        processors.push(Box::new(After { plugins: vec![(Arc::clone(&tape), stats)] }));
        judged.push(Judged { tape, judge: Judge::new(deal) });
    }
    let ends = [0, 1].map(|at: usize| Arc::clone(&judged[at].tape));
    Plugins { processors, judged, row: None, ends }
}

/// Side by side, with recorders at both ends.
fn in_a_row(world: &Rc<RefCell<World>>, plot: &Plot) -> Plugins {
    let first = Shared::default();
    let before = Before { tape: Arc::clone(&first), pitch: 0.0311 };
    let mut processors: Vec<Box<dyn Processor>> = vec![Box::new(before)];
    let (mut after, mut stages) = (Vec::new(), Vec::new());
    let recovery = Arc::default();
    for number in 0..plot.faulty.len() {
        let counted = Shared::default();
        let (mut remote, deal) = plugin(world, plot, number, &first);
        let (orders, id) = (world.borrow().orders.clone(), number as u64 + 1);
        remote.stand_beside(Neighbour { orders, recovery: Arc::clone(&recovery), id });
        after.push((Arc::clone(&counted), remote.stats()));
        stages.push((counted, deal));
        processors.push(Box::new(remote));
    }
    let deadline = (!plot.shape.is_section()).then_some(DEADLINE_DEFAULT);
    let last = Arc::clone(&stages[stages.len() - 1].0);
    processors.push(Box::new(After { plugins: after }));
    let row = Some(Row::new(Arc::clone(&first), stages, deadline));
    Plugins { processors, judged: Vec::new(), row, ends: [first, last] }
}

/// One plugin, loaded and put under watch as `Plugin::load_as` does.
fn plugin(world: &Rc<RefCell<World>>, plot: &Plot, number: usize, tape: &Shared) -> (Remote, Deal) {
    let format = plot.format;
    let faulty = plot.faulty[number];
    let burst = plot.burst;
    let is_in_section = plot.shape.is_section();
    let pipelined = is_in_section || (plot.shape == Shape::Pipelined && faulty);
    let mode = if pipelined { Mode::Pipelined } else { Mode::SameBlock };
    let own = if faulty { plot.own_latency } else { 0 };
    let spec = spec_of(plot, faulty, world.borrow().file.path());
    let burst_frames = burst as usize * format.block_frames();
    let latency_frames = own as usize + if pipelined { burst_frames } else { 0 };
    let latency_max_frames = if spec.adapt { own as usize + burst_frames } else { latency_frames };
    let closed = spec.fail_closed;
    let plan = Plan { lost: spec.lost, closed, ramp: true, latency_frames, latency_max_frames };
    let slots = (burst + 4).next_power_of_two().max(8);
    let layout = Layout::new(format, slots).unwrap();
    let mut world = world.borrow_mut();
    let (worker, end) = world.first_worker(number, layout, own as usize);
    let (relief, depot) = line::queues();
    let (figures, times, misses) = telemetry::plugin_figures();
    let stats = Arc::clone(&figures.stats);
    let terms = Terms {
        kind: PluginKind::Processor,
        mode,
        burst,
        deadline: spec.deadline,
        scrub: spec.scrub(),
        spin: Spin::Off,
        adapt: spec.adapt,
        own_latency_frames: own,
        plan,
    };
    let uncached = Uncached::new(None, end.worker_counts());
    let line = Line::new(end, worker.gone(), 1);
    let care = Arc::new(Care::new(worker, Vec::new(), uncached, times));
    let remote = Remote::new(number.to_string(), line, Some(relief), terms, figures);
    let deal = Deal {
        format,
        plan: if is_in_section { Plan { latency_frames: own as usize, ..plan } } else { plan },
        own_latency: own as usize,
        burst: burst as usize,
        pipelined: pipelined && !is_in_section,
        ceiling: 10f32.powf(spec.level_max_db / 20.0),
        // A section's thread that is late takes time from those in it.
        healthy: !(faulty || is_in_section && plot.blows.contains(&Blow::SectionLate)),
    };
    let patient = Patient {
        name: number.to_string().into(),
        place: Place { format, kind: None, burst },
        spec,
        mode,
        slots,
        nature: Nature { kind: PluginKind::Processor, latency_frames: own, is_closed: closed },
        policy: "policy",
        incarnation: 1,
        care,
        stats,
        depot,
        misses,
    };
    world.add(faulty, own as usize, Arc::clone(tape), patient);
    (remote, deal)
}

fn spec_of(plot: &Plot, faulty: bool, file: &Path) -> PluginSpec {
    let spec = PluginSpec::new(file);
    if !faulty {
        return PluginSpec { adapt: false, standby: Standby::None, ..spec };
    }
    PluginSpec {
        lost: plot.lost,
        fail_closed: plot.closed,
        adapt: plot.shape.adapts(),
        restart: plot.restart,
        standby: plot.standby,
        ..spec
    }
}

fn outer_deal(plot: &Plot, plan: Plan) -> Deal {
    Deal {
        format: plot.format,
        plan,
        own_latency: plot.own_latency as usize * plot.faulty().len(),
        burst: plot.burst as usize,
        pipelined: true,
        ceiling: f32::INFINITY,
        healthy: !plot.blows.contains(&Blow::SectionLate),
    }
}
