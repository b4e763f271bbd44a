//! Everything but the audio thread: workers, the kernel and the supervisor's thread, simulated; and the real recovery
//! thread's code. Things happen one after the other, each at its time.

use super::super::errand::{CaughtUp, Mark, NotPrepared, Prepared, Replacement, mark_of, said_of_state};
use super::super::hang;
use super::super::joint::Joining;
use super::super::{Note, Notes, Order, Patient, Watch, What};
use super::actor::Actor;
use super::errands::{self, Errand};
use super::judge::Truths;
use super::row::Call;
use super::seed::{Blow, Fault, Plot, Rng};
use super::tape::Shared;
use super::time;
use crate::error::{Error, Kind};
use crate::plugin::care::Care;
use crate::plugin::line::Line;
use crate::plugin::worker::{Held, Origin, Worker};
use crate::supervisor::simulated::{Stage, hello};
use crate::supervisor::{Because, Spare};
use crate::telemetry::PluginStats;
use shared::layout::Layout;
use shared::message::{Loaded, PluginKind};
use shared::ring::{HostEnd, WorkerEnd};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tempfile::NamedTempFile;

pub(super) const MS: u64 = 1_000_000;
/// From a process's end until the supervisor's thread knows.
const REAPED_NS: u64 = 200_000;

/// What stands in the calendar, for the actor of this number.
#[derive(Debug)]
pub(super) enum Happening {
    Answer(usize, Option<Fault>),
    Die(usize),
    Hooks(usize),
    Reaped(usize),
    Prepared {
        actor: usize,
        notes: Notes,
        job: Box<Replacement>,
        worker: Box<Worker>,
        fate: Fate,
    },
    Warm {
        notes: Notes,
        python: PathBuf,
        spare: Box<Spare>,
    },
    CaughtUp {
        notes: Notes,
        incarnation: u32,
        twin: Arc<Worker>,
        version: u64,
    },
    Saved {
        notes: Notes,
        incarnation: u32,
        worker: Arc<Worker>,
    },
    Given {
        notes: Notes,
        twin: Arc<Worker>,
        number: u64,
    },
    Seen {
        notes: Notes,
        mark: Mark,
        asked_ns: Option<u64>,
    },
    /// It is these two's turn, unless it is others' still: the second can take blocks from the first, unless it is at
    /// one. Some time later the first hears of its doorstep, unless it is at one; and some time later others know.
    Attached(Join),
    Told {
        join: Join,
        doorstep: OwnedFd,
    },
    Joined(Join),
    /// The recovery thread runs, unless it was put off.
    Recovery,
}

/// Two incarnations that are to be joined, each with whose they are.
#[derive(Debug, Clone)]
pub(super) struct Join {
    pub(super) up: (u64, u32),
    pub(super) down: (u64, u32),
    pub(super) joining: Arc<Joining>,
}

/// How a start ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Good,
    Fails,
    Dies,
}

/// One plugin as the world sees it.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) id: u64,
    pub(super) faulty: bool,
    pub(super) own_latency: usize,
    pub(super) tape: Shared,
    /// Whether what comes in is what lies on the tape, not what the plugin before it makes of that.
    pub(super) is_first: bool,
    pub(super) truths: Truths,
    /// What its workers were called with.
    pub(super) calls: BTreeMap<usize, Call>,
    /// When the audio thread made up its mind about each block.
    pub(super) settled: BTreeMap<usize, u64>,
    pub(super) care: Arc<Care>,
    pub(super) stats: Arc<PluginStats>,
    /// When its workers died while they played, since its user or a new file forgave.
    pub(super) deaths: VecDeque<u64>,
    incarnation_seen: u32,
    /// Its file has changed since that one took over: the next one may come at once.
    file_changed: bool,
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) plot: Plot,
    pub(super) sides: Vec<Side>,
    pub(super) stage: Stage,
    pub(super) watch: Watch,
    pub(super) orders: Sender<Order>,
    received: Receiver<Order>,
    inbox: VecDeque<Order>,
    calendar: BTreeMap<(u64, u64), Happening>,
    entries: u64,
    recovery_at: u64,
    /// Nobody runs the recovery thread before.
    recovery_not_before: u64,
    /// When the audio thread made up its mind last: what is due then happens after that.
    pub(super) settled_ns: u64,
    pub(super) actors: Vec<Actor>,
    /// Blocks that each incarnation was asked for, by plugin, incarnation and sequence.
    pub(super) orders_of: BTreeMap<(usize, u32, u32), usize>,
    /// Incarnations that broke the protocol, with whose they are.
    pub(super) liars: BTreeSet<(usize, u32)>,
    /// Neighbours of whom two are being joined, and which.
    pub(super) turns: BTreeMap<(u64, u64), (u32, u32)>,
    /// Actors that answer at the deadline.
    on_the_edge: Vec<usize>,
    meddling: Option<usize>,
    /// The faulty plugin's file, of which nobody reads more than its length.
    pub(super) file: NamedTempFile,
    pub(super) faults: bool,
    pub(super) traces: bool,
    /// What must not have happened, but did.
    pub(super) wrong: Vec<String>,
    pub(super) faults_dealt: u64,
    pub(super) takeovers: u64,
}

impl World {
    pub(super) fn new(plot: Plot, rng: Rng, traces: bool) -> Self {
        let stage = Stage::new();
        let (orders, received) = channel();
        Self {
            watch: Watch::new(stage.spawner(), orders.clone()),
            rng,
            plot,
            sides: Vec::new(),
            stage,
            orders,
            received,
            inbox: VecDeque::new(),
            calendar: BTreeMap::new(),
            entries: 0,
            recovery_at: 0,
            recovery_not_before: 0,
            settled_ns: 0,
            actors: Vec::new(),
            orders_of: BTreeMap::new(),
            liars: BTreeSet::new(),
            turns: BTreeMap::new(),
            on_the_edge: Vec::new(),
            meddling: None,
            file: NamedTempFile::new().unwrap(),
            faults: true,
            traces,
            wrong: Vec::new(),
            faults_dealt: 0,
            takeovers: 0,
        }
    }

    // --- plugins ---

    /// A worker that has been loaded and configured, and its ring.
    pub(super) fn first_worker(&mut self, plugin: usize, layout: Layout, own: usize) -> (Worker, HostEnd) {
        let puppet = self.stage.puppet();
        let worker =
            self.worker(Held(Arc::clone(&puppet.link)), self.plot.faulty[plugin] && self.plot.keeps_state);
        let mut actor = Actor::new(Some(plugin), 1, puppet);
        let (end, theirs, memory) = ring(layout);
        actor.take_ring(theirs, memory, own);
        self.actors.push(actor);
        (worker, end)
    }

    fn worker(&self, link: Held, keeps_state: bool) -> Worker {
        let origin =
            Origin { name: "p".into(), file: "p".into(), python: "python".into(), module: "module".into() };
        let text = String::new;
        let loaded = Loaded {
            kind: PluginKind::Processor,
            name: text(),
            version: text(),
            author: text(),
            description: text(),
            fail_closed: false,
            silent_warm_up: false,
            keeps_state,
        };
        Worker::simulated(link, origin, hello(), loaded)
    }

    /// Puts a plugin under watch.
    pub(super) fn add(&mut self, faulty: bool, own_latency: usize, tape: Shared, patient: Patient) {
        let id = self.sides.len() as u64 + 1;
        self.sides.push(Side {
            id,
            faulty,
            own_latency,
            tape,
            is_first: !self.plot.shape.is_row() || id == 1,
            truths: Truths::new(),
            calls: BTreeMap::new(),
            settled: BTreeMap::new(),
            care: Arc::clone(&patient.care),
            stats: Arc::clone(&patient.stats),
            deaths: VecDeque::new(),
            incarnation_seen: 1,
            file_changed: false,
        });
        self.watch.obey(Order::WatchOver { id, patient: Box::new(patient) });
        self.after();
        self.recover_at(time::now_ns() + 20 * MS);
    }

    pub(super) fn is_given_up(&self, plugin: usize) -> bool {
        self.watch.cases[&self.sides[plugin].id].succession().is_given_up()
    }

    /// Whether a worker of this plugin has blocks before it that its last fault makes slow, unfit or missing.
    pub(super) fn is_at_fault(&self, plugin: usize) -> bool {
        self.actors.iter().any(|actor| actor.plugin == Some(plugin) && actor.is_at_fault())
    }

    // --- time ---

    /// The audio thread waits until this time, or until it is `over`. Somebody may answer in the last moment.
    pub(super) fn wait(&mut self, until_ns: u64, over: impl Fn() -> bool) {
        self.run(until_ns, &over);
        if !self.on_the_edge.is_empty() && !over() && self.rng.once_in(2) {
            self.answer_on_the_edge(None);
            self.notice();
        }
    }

    /// The audio thread has seen that somebody is late, and is interrupted.
    pub(super) fn preempt(&mut self) {
        if self.on_the_edge.is_empty() {
            return;
        }
        self.answer_on_the_edge(Some(Fault::OnTheEdge));
        if self.rng.once_in(2) {
            self.notice();
        }
    }

    fn answer_on_the_edge(&mut self, fault: Option<Fault>) {
        for number in std::mem::take(&mut self.on_the_edge) {
            if !self.actors[number].stuck {
                // It may have nothing to hand on, and the next one just seen that.
                let fault = if self.rng.once_in(3) { Some(Fault::Fail) } else { fault };
                self.trace(|| format!("worker answers on the edge, {fault:?}"));
                self.answer(number, fault);
            }
        }
        self.after();
    }

    /// Goes on until this time, or until it is `over`.
    pub(super) fn run(&mut self, until_ns: u64, over: impl Fn() -> bool) {
        loop {
            self.notice();
            if over() {
                return;
            }
            let next = self.calendar.first_key_value().map(|(key, _)| (*key, key.0.max(self.settled_ns + 1)));
            let Some((key, at_ns)) = next.filter(|(_, at_ns)| *at_ns <= until_ns) else { break };
            let happening = self.calendar.remove(&key);
            self.pass(at_ns);
            happening.into_iter().for_each(|happening| self.happen(happening));
            self.after();
        }
        self.pass(until_ns);
    }

    /// Time passes, but nothing happens: what was due is late.
    pub(super) fn pass(&mut self, until_ns: u64) {
        time::set(until_ns.max(time::now_ns()));
    }

    fn at(&mut self, at_ns: u64, happening: Happening) {
        self.entries += 1;
        self.calendar.insert((at_ns, self.entries), happening);
    }

    pub(super) fn after_ns(&mut self, ns: u64, happening: Happening) {
        self.at(time::now_ns() + ns, happening);
    }

    pub(super) fn trace(&self, what: impl FnOnce() -> String) {
        if self.traces {
            #[allow(clippy::print_stderr)] // asked for
            {
                eprintln!("{:12.3} ms  {}", time::now_ns() as f64 / 1e6, what());
            }
        }
    }

    // --- workers ---

    /// Workers that sleep see what has been published for them.
    fn notice(&mut self) {
        for number in 0..self.actors.len() {
            if self.actors[number].is_asked() {
                self.begin(number);
            } else {
                self.answer_in_haste(number);
            }
        }
    }

    fn begin(&mut self, number: usize) {
        let block_ns = self.plot.format.block_ns();
        let plugin = self.actors[number].plugin.unwrap_or(0);
        let playing =
            self.sides[plugin].stats.progress().incarnation.load(std::sync::atomic::Ordering::Relaxed);
        if self.actors[number].incarnation > playing.max(self.sides[plugin].incarnation_seen) {
            let incarnation = self.actors[number].incarnation;
            self.wrong.push(format!("incarnation {incarnation} was asked while {playing} plays"));
        }
        let samples = self.actors[number].take();
        self.actors[number].block = None;
        let fault = if samples.is_some() { self.draw(plugin) } else { None };
        let (rng, now_ns) = (&mut self.rng, time::now_ns());
        let takes_ns = self.actors[number].begin(fault, block_ns, rng);
        self.actors[number].busy_ns = Some(now_ns);
        if let Some(fault) = fault {
            let incarnation = self.actors[number].incarnation;
            self.trace(|| format!("worker {incarnation} of plugin {plugin}: {fault:?}, {takes_ns:?} ns"));
        }
        match (fault, samples) {
            (Some(Fault::DieBefore), _) => return self.die(number),
            (_, Some(samples)) => self.called(number, samples),
            _ => {}
        }
        match fault {
            Some(Fault::DieWithin) => {
                let after_ns = self.rng.within(0, 2 * block_ns);
                return self.after_ns(after_ns, Happening::Die(number));
            }
            Some(Fault::Lie) => {
                self.actors[number].lie(&mut self.rng);
                self.has_lied(number);
            }
            Some(Fault::OnTheEdge) => {
                self.on_the_edge.push(number);
                return self.after_ns(2 * block_ns, Happening::Answer(number, fault));
            }
            _ => {}
        }
        if let Some(takes_ns) = takes_ns {
            self.after_ns(takes_ns, Happening::Answer(number, fault));
        }
    }

    fn draw(&mut self, plugin: usize) -> Option<Fault> {
        let dealt = self.sides[plugin].faulty && self.faults && self.rng.once_in(self.plot.fault_in);
        if !dealt || self.plot.faults.is_empty() {
            return None;
        }
        self.faults_dealt += 1;
        Some(self.rng.one_of(&self.plot.faults))
    }

    fn answer(&mut self, number: usize, fault: Option<Fault>) {
        let actor = &mut self.actors[number];
        if !actor.lives || actor.busy_ns.is_none() {
            return;
        }
        let side = &mut self.sides[actor.plugin.unwrap_or(0)];
        if fault == Some(Fault::Tear) {
            actor.lied = true;
            self.meddling = Some(number);
            self.liars.insert((actor.plugin.unwrap_or(0), actor.incarnation));
        }
        let block = actor.block;
        let hands_on = actor.answer(fault, side.own_latency, time::now_ns(), &mut side.truths);
        if let Some(block) = block.filter(|_| hands_on) {
            self.handed_on(number, block);
        }
        if fault == Some(Fault::DieAfter) {
            self.die(number);
        }
    }

    /// A worker that tears writes its slot while it is read.
    pub(super) fn meddle(&mut self) {
        if let Some(number) = self.meddling.take()
            && let Some(ring) = &self.actors[number].ring
        {
            let last = ring.next.wrapping_sub(1);
            ring.forge(last, last ^ 0x5555);
        }
    }

    /// Its process ends; the supervisor's thread knows a little later.
    fn die(&mut self, number: usize) {
        let actor = &mut self.actors[number];
        if !std::mem::replace(&mut actor.lives, false) {
            return;
        }
        actor.puppet.say('Z');
        let (plugin, incarnation) = (actor.plugin, actor.incarnation);
        self.trace(|| format!("worker {incarnation} of plugin {plugin:?} ends"));
        self.after_ns(REAPED_NS, Happening::Reaped(number));
    }

    /// Whoever the host has given up, or nobody has any more, is killed.
    fn sweep(&mut self) {
        for number in 0..self.actors.len() {
            let actor = &mut self.actors[number];
            if actor.puppet.is_gone() {
                actor.gone_ns.get_or_insert(time::now_ns());
            }
            let is_alone = Arc::strong_count(&actor.puppet.link) == 1;
            if !actor.lives || actor.doomed || !(actor.puppet.is_gone() || is_alone) {
                continue;
            }
            actor.doomed = true;
            self.after_ns(100_000, Happening::Hooks(number));
            let within_ns = if is_alone { REAPED_NS } else { self.rng.within(300_000, 15 * MS) };
            self.after_ns(within_ns, Happening::Die(number));
        }
    }

    fn reaped(&mut self, number: usize) {
        let because = self.actors[number].puppet.end();
        let actor = &self.actors[number];
        let (incarnation, busy_ns) = (actor.incarnation, actor.busy_ns);
        let busy_for_ns = time::now_ns() - busy_ns.unwrap_or_else(time::now_ns);
        let fair = match &because {
            None | Some(Because::Unwanted) => true,
            Some(Because::Hung { .. }) => actor.lied || busy_for_ns >= 190 * MS,
            Some(Because::Hostile(_)) => actor.lied,
            Some(Because::Faulty(_)) => actor.was_unfit,
            Some(_) => false,
        };
        self.trace(|| format!("worker {incarnation} is reaped: {because:?}"));
        if !fair {
            self.wrong.push(format!("worker {incarnation} was ended without its fault: {because:?}"));
        }
        self.actors[number].ring = None;
    }

    // --- what happens ---

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Answer(number, Some(Fault::OnTheEdge)) => {
                if let Some(at) = self.on_the_edge.iter().position(|other| *other == number) {
                    self.on_the_edge.remove(at);
                    self.answer(number, Some(Fault::Late));
                }
            }
            Happening::Answer(number, fault) => self.answer(number, fault),
            Happening::Die(number) => self.die(number),
            Happening::Hooks(number) => self.actors[number].puppet.run_hooks(),
            Happening::Reaped(number) => self.reaped(number),
            Happening::Prepared { actor, notes, job, worker, fate } => {
                self.prepared(actor, &notes, *job, *worker, fate);
            }
            Happening::Warm { notes, python, spare } => notes.send(What::Warm { python, spare: Ok(spare) }),
            Happening::CaughtUp { notes, incarnation, twin, version } => {
                let current = CaughtUp { version, refused: Vec::new() };
                let result = if twin.is_gone() { Err(failed()) } else { Ok(current) };
                notes.send(What::CaughtUp { incarnation, result });
            }
            Happening::Saved { notes, incarnation, worker } => {
                let state = vec![u8::try_from(self.rng.within(0, 200)).unwrap(); 3];
                let state = if worker.is_gone() { Err(failed()) } else { Ok(Some(state)) };
                notes.send(What::Saved { incarnation, state, took: Duration::from_millis(1) });
            }
            Happening::Given { notes, twin, number } => {
                let result = if twin.is_gone() { Err(failed()) } else { Ok(true) };
                notes.send(What::Given { number, result: said_of_state(&twin, result) });
            }
            Happening::Seen { notes, mark, asked_ns } => notes.send(What::Seen { mark, asked_ns }),
            Happening::Attached(join) => self.attached(join),
            Happening::Told { join, doorstep } => self.told(join, doorstep),
            Happening::Joined(join) => self.joined(&join),
            Happening::Recovery => self.recover(),
        }
    }

    /// What follows from anything that happened: errands, news for the recovery thread, ends of workers.
    fn after(&mut self) {
        for errand in errands::sent() {
            self.start(errand);
        }
        self.inbox.extend(self.received.try_iter());
        self.sweep();
        if !self.inbox.is_empty() {
            let soon_ns = time::now_ns() + self.rng.within(5_000, 300_000);
            self.recover_at(soon_ns);
        }
    }

    /// The recovery thread runs then, unless it does before.
    fn recover_at(&mut self, at_ns: u64) {
        let at_ns = at_ns.max(self.recovery_not_before);
        if self.recovery_at <= time::now_ns() || at_ns < self.recovery_at {
            self.recovery_at = at_ns;
            self.at(at_ns, Happening::Recovery);
        }
    }

    /// Nobody runs the recovery thread until then.
    pub(super) fn delay_recovery(&mut self, until_ns: u64) {
        self.recovery_not_before = until_ns;
        self.recovery_at = until_ns;
        self.at(until_ns, Happening::Recovery);
    }

    fn recover(&mut self) {
        if time::now_ns() < self.recovery_at {
            return;
        }
        if self.inbox.is_empty() {
            self.watch.look();
        }
        while let Some(order) = self.inbox.pop_front() {
            self.look_after_deaths(&order);
            self.watch.obey(order);
        }
        for told in self.stage.told() {
            self.trace(|| told);
        }
        self.look_for_strangers();
        let rest_ns = u64::try_from(self.watch.rest().as_nanos()).unwrap();
        self.recovery_at = 0;
        self.recover_at(time::now_ns() + rest_ns);
    }

    // --- errands ---

    fn start(&mut self, errand: Errand) {
        match errand {
            Errand::Prepare { notes, job } => self.prepare(notes, job),
            Errand::Warm { notes, python } => {
                let puppet = self.stage.puppet();
                let spare = Box::new(puppet.spare(python.clone()));
                self.actors.push(Actor::new(None, 0, puppet));
                let after_ns = self.rng.within(100 * MS, 300 * MS);
                self.after_ns(after_ns, Happening::Warm { notes, python, spare });
            }
            Errand::CatchUp { notes, incarnation, twin, version } => {
                let after_ns = self.rng.within(MS / 2, 5 * MS);
                self.after_ns(after_ns, Happening::CaughtUp { notes, incarnation, twin, version });
            }
            Errand::Save { notes, incarnation, worker } => {
                let after_ns = self.rng.within(MS / 2, 20 * MS);
                self.after_ns(after_ns, Happening::Saved { notes, incarnation, worker });
            }
            Errand::Give { notes, twin, number } => {
                let after_ns = self.rng.within(MS / 2, 20 * MS);
                self.after_ns(after_ns, Happening::Given { notes, twin, number });
            }
            Errand::LookAtFile { notes, file, asked_ns } => {
                let mark = mark_of(&file);
                let after_ns = self.rng.within(MS / 10, 5 * MS);
                self.after_ns(after_ns, Happening::Seen { notes, mark, asked_ns });
            }
            Errand::Join { up, down, joining } => {
                // Once in a while so late that one of them has been replaced meanwhile.
                let after_ns = self.rng.within(MS / 10, 5 * MS) * self.rng.one_of(&[1, 1, 1, 20, 100]);
                self.after_ns(after_ns, Happening::Attached(Join { up, down, joining }));
            }
        }
    }

    fn prepare(&mut self, notes: Notes, mut job: Box<Replacement>) {
        let plugin = self.sides.iter().position(|side| side.id == notes.patient).unwrap();
        let spare = job.spare.take().map(Spare::into_held);
        let of = |actor: &Actor, link: &Held| Arc::ptr_eq(&actor.puppet.link, &link.0);
        let warm = spare.as_ref().and_then(|link| self.actors.iter().position(|actor| of(actor, link)));
        let is_warm = warm.is_some();
        let number = warm.unwrap_or_else(|| {
            let puppet = self.stage.puppet();
            self.actors.push(Actor::new(Some(plugin), job.incarnation, puppet));
            self.actors.len() - 1
        });
        let actor = &mut self.actors[number];
        (actor.plugin, actor.incarnation) = (Some(plugin), job.incarnation);
        let link = spare.unwrap_or_else(|| Held(Arc::clone(&actor.puppet.link)));
        let worker = Box::new(self.worker(link, self.plot.keeps_state));
        worker.tells_no_death();
        let (told, incarnation) = (notes.clone(), job.incarnation);
        worker.on_gone(Box::new(move || told.send(What::Gone { incarnation })));
        let is_bad = self.faults && self.rng.once_in(self.plot.bad_start_in);
        let fate = if is_bad { self.rng.one_of(&[Fate::Fails, Fate::Dies, Fate::Good]) } else { Fate::Good };
        let usual_ns =
            if is_warm { self.rng.within(5 * MS, 30 * MS) } else { self.rng.within(100 * MS, 300 * MS) };
        let takes_ns = if is_bad { usual_ns * self.rng.within(1, 20) } else { usual_ns };
        self.trace(|| format!("worker {incarnation} of plugin {plugin} is made: {fate:?}, {takes_ns} ns"));
        if fate == Fate::Dies {
            let after_ns = takes_ns.saturating_sub(self.rng.within(0, 2 * REAPED_NS));
            self.after_ns(after_ns, Happening::Die(number));
        }
        self.after_ns(takes_ns, Happening::Prepared { actor: number, notes, job, worker, fate });
    }

    fn prepared(&mut self, number: usize, notes: &Notes, job: Replacement, worker: Worker, fate: Fate) {
        let incarnation = job.incarnation;
        let restoring = job.snapshot.is_some() && self.rng.once_in(2);
        if fate != Fate::Good || !self.actors[number].lives {
            let restoring = job.snapshot.filter(|_| restoring).map(Box::new);
            let why = NotPrepared { why: failed(), restoring, remains: None };
            drop(worker);
            return notes.send(What::Prepared { incarnation, result: Err(why) });
        }
        let side = &self.sides[self.actors[number].plugin.unwrap()];
        let (end, theirs, memory) = ring(Layout::new(job.format, job.slots).unwrap());
        let own = side.own_latency;
        self.actors[number].take_ring(theirs, memory, own);
        let counts = end.worker_counts();
        let line = Line::new(end, worker.gone(), incarnation);
        let version = job.parameters.version;
        let prepared = Prepared { worker: Arc::new(worker), line, counts, version, refused: Vec::new() };
        notes.send(What::Prepared { incarnation, result: Ok(Box::new(prepared)) });
    }

    // --- blows ---

    pub(super) fn strike(&mut self, blow: Blow) {
        self.trace(|| format!("{blow:?}"));
        let now_ns = time::now_ns();
        let victim = self.victim();
        match blow {
            Blow::StandbyDies => {
                let playing = self.sides[victim].incarnation_now();
                let stands_by = |actor: &Actor| {
                    actor.lives
                        && (actor.plugin.is_none()
                            || actor.plugin == Some(victim) && actor.incarnation > playing)
                };
                if let Some(number) = self.actors.iter().position(stands_by) {
                    self.die(number);
                }
            }
            Blow::RecoveryLate => {
                let until_ns = now_ns + self.rng.within(MS, 400 * MS);
                self.delay_recovery(until_ns);
            }
            Blow::UserRestart => {
                self.restart(victim);
            }
            Blow::ParameterSet => self.sides[victim].care.known().parameters.set("gain", &now_ns.to_string()),
            Blow::FileChanged => {
                for plugin in self.plot.faulty() {
                    if self.is_given_up(plugin) {
                        self.sides[plugin].forgive();
                    }
                    self.sides[plugin].file_changed = true;
                }
                self.file.write_all(b"#").unwrap();
            }
            Blow::HostFrozen | Blow::Suspended | Blow::Paused | Blow::SectionLate => {}
        }
    }

    /// Its user has it restarted.
    pub(super) fn restart(&mut self, plugin: usize) {
        let _ = self.orders.send(Order::Restart(self.sides[plugin].id));
        self.after();
    }

    fn victim(&mut self) -> usize {
        let faulty = self.plot.faulty();
        if faulty.len() == 1 { faulty[0] } else { self.rng.one_of(&faulty) }
    }

    /// Everything stands still for so long; nobody is to blame for more than a tick of it.
    pub(super) fn suspend(&mut self, ns: u64) {
        self.pass(time::now_ns() + ns);
        let blameless_ns = ns.saturating_sub(hang::TICK_NS);
        for actor in &mut self.actors {
            actor.busy_ns = actor.busy_ns.map(|since_ns| since_ns + blameless_ns);
        }
    }

    // --- what must be so ---

    /// Deaths of one that plays count until its user restarts it, which may wait for a look at its file: also if the process
    /// had ended by itself before that, but nobody had heard of it.
    fn look_after_deaths(&mut self, order: &Order) {
        match order {
            Order::Restart(id)
            | Order::Note(Note { patient: id, what: What::Seen { asked_ns: Some(_), .. } }) => {
                self.sides.iter_mut().filter(|side| side.id == *id).for_each(Side::forgive);
            }
            Order::Note(Note { patient, what: What::Gone { incarnation } }) => {
                let playing = self.watch.cases[patient].succession().playing();
                if playing == Some(*incarnation)
                    && let Some(side) = self.sides.iter_mut().find(|side| side.id == *patient)
                {
                    side.deaths.push_back(time::now_ns());
                }
            }
            _ => {}
        }
    }

    /// After the block that began then: whether somebody took over who should not have.
    pub(super) fn look_after_takeovers(&mut self, began_ns: u64) {
        for plugin in 0..self.sides.len() {
            let side = &mut self.sides[plugin];
            let incarnation = side.incarnation_now();
            if incarnation == 0 || incarnation == side.incarnation_seen {
                continue;
            }
            let before = std::mem::replace(&mut side.incarnation_seen, incarnation);
            if std::mem::take(&mut side.file_changed) {
                side.forgive();
            }
            self.takeovers += 1;
            let wrong = self.takeover(plugin, before, incarnation, began_ns);
            self.wrong.extend(wrong.map(|why| format!("incarnation {incarnation} plays {why}")));
        }
    }

    fn takeover(&self, plugin: usize, before: u32, incarnation: u32, began_ns: u64) -> Option<String> {
        let now_ns = time::now_ns();
        let recent = |at: &&u64| now_ns - **at < 29_000 * MS;
        let deaths = || self.sides[plugin].deaths.iter().filter(recent);
        let gone_ns = |incarnation| {
            let is = |actor: &&Actor| (actor.plugin, actor.incarnation) == (Some(plugin), incarnation);
            self.actors.iter().find(is).and_then(|actor| actor.gone_ns)
        };
        if gone_ns(incarnation).is_some_and(|gone_ns| gone_ns < began_ns) {
            return Some("but is over".into());
        }
        let gone_ns = gone_ns(before)?;
        if deaths().count() > 5 {
            return Some(format!("after {} deaths in 30 s", deaths().count()));
        }
        // The first replacement comes at once, all others after a delay.
        let at_once = now_ns - gone_ns < 95 * MS && deaths().any(|at| *at < gone_ns);
        at_once.then(|| "at once, though another one died shortly before".into())
    }

    /// Who lives is known: it plays, it stands by, or it is being made.
    fn look_for_strangers(&mut self) {
        for actor in self.actors.iter().filter(|actor| actor.lives && !actor.doomed) {
            let Some(plugin) = actor.plugin else { continue };
            let succession = self.watch.cases[&self.sides[plugin].id].succession();
            let incarnation = actor.incarnation;
            let is_known = succession.playing() == Some(incarnation) || succession.expects(incarnation);
            if succession.is_given_up() && is_known {
                self.wrong.push(format!("plugin {plugin} is given up, but worker {incarnation} lives"));
            }
            let is_given_up = actor.puppet.is_gone() || Arc::strong_count(&actor.puppet.link) == 1;
            if !is_known && !is_given_up && actor.ring.is_some() {
                self.wrong
                    .push(format!("worker {incarnation} of plugin {plugin} lives, and nobody knows of it"));
            }
        }
    }

    /// The end: the recovery thread ends; whoever still lives has been let go.
    pub(super) fn end(&mut self) -> Vec<String> {
        self.calendar.clear();
        self.inbox.clear();
        self.received.try_iter().for_each(drop);
        self.watch.finish();
        self.sides.clear();
        errands::sent();
        let held = |actor: &&Actor| Arc::strong_count(&actor.puppet.link) > 1;
        let left = self.actors.iter().filter(held);
        left.map(|actor| format!("worker {} is still held at the end", actor.incarnation)).collect()
    }
}

impl Side {
    fn incarnation_now(&self) -> u32 {
        self.stats.progress().incarnation.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn forgive(&mut self) {
        self.deaths.clear();
    }
}

fn ring(layout: Layout) -> (HostEnd, WorkerEnd, OwnedFd) {
    let (end, handles) = HostEnd::create(layout).unwrap();
    let theirs = WorkerEnd::map(&handles, layout).unwrap();
    let memory = handles.reply.as_fd().try_clone_to_owned().unwrap();
    (end, theirs, memory)
}

fn failed() -> Error {
    Error::new(Kind::Plugin, "simulated")
}
