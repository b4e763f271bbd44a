//! One plugin under watch: what is seen of it, what is decided, and who is sent on which errand.
//!
//! For the recovery thread. Decisions are in `succession`, `hang` and `snapshots`; here they are carried out. Nothing
//! here waits.

mod file;
mod saving;
mod telling;

use super::absence::Absence;
use super::errand::{self, CaughtUp, NotPrepared, Prepared, Replacement};
use super::failed_start::{Background, FailedStart};
use super::floods::Floods;
use super::hang::{self, HangWatch};
use super::joint::Player;
use super::news::Telling;
use super::obituary::{self, Late, Obituary, Rest};
use super::snapshots::{Snapshot, Snapshots};
use super::spares::Spares;
use super::succession::{Step, Succession};
use super::turn::{Change, Turn};
use super::unborn::Unborn;
use super::{Notes, Patient, What};
use crate::crash::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::plugin::autopsy::Remains;
use crate::plugin::cause::{Attribution, Cause};
use crate::plugin::line::Line;
use crate::plugin::spec::Standby;
use crate::plugin::throttling::Throttling;
use crate::plugin::worker::Worker;
use crate::supervisor::{Because, Condition, Spawner};
use file::FileMark;
use saving::Saving;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use telling::Told;

/// Blocks in a row that are not fit to be played, after which a plugin is at fault: and at least for so long.
const UNFIT_BLOCKS: u32 = 20;
const UNFIT_NS: u64 = 250_000_000;
/// Blocks owed after which it is worth a look whether the worker is dying.
const OWED_BLOCKS: u64 = 3;
/// How often it is looked whether one that stands by has been stopped.
const TWIN_NS: u64 = 1_000_000_000;
/// How long the return of a plugin is looked for closely.
const AWAITED_NS: u64 = 15_000_000_000;

/// A plugin under watch.
#[derive(Debug)]
pub(super) struct Case {
    patient: Patient,
    notes: Notes,
    spawner: Spawner,
    succession: Succession,
    hang: HangWatch,
    turn: Turn,
    snapshots: Snapshots,
    playing: Option<Playing>,
    heir: Option<Heir>,
    /// Incarnations whose errand is not back, also of those that nobody waits for any more.
    being_made: Vec<u32>,
    absence: Option<Absence>,
    /// Gaps that were over when it was well.
    gaps_seen: u64,
    obituaries: Vec<Obituary>,
    failed_starts: Vec<FailedStart>,
    /// Workers that never played and have ended; how is being found out.
    falling: Vec<(u32, Arc<Worker>)>,
    /// Lines that came back before the end of their workers was known.
    returned: Vec<Line>,
    /// Why its late blocks were.
    attribution: Attribution,
    /// What its worker's cgroup has to do with it.
    throttling: Throttling,
    /// Blocks of which nobody knows why they were lost that have been counted.
    unexplained: u64,
    /// Blocks that were never answered, of each incarnation of whose end not all is known yet.
    unanswered: BTreeMap<u32, u64>,
    /// Why those of the last incarnations that ended were not.
    ends: VecDeque<(u32, Cause)>,
    saving: Saving,
    /// A state has been taken for the reason of a failed start since a worker took over.
    blames_state: bool,
    file: FileMark,
    twin_due_ns: u64,
    twin_was_stopped: bool,
    told: Told,
    errands: Vec<JoinHandle<()>>,
    tellings: Vec<Telling>,
    /// What is told after them.
    afterwards: Vec<String>,
    /// Whoever dies was asked to.
    is_over: bool,
}

/// The worker that plays.
#[derive(Debug)]
struct Playing {
    incarnation: u32,
    worker: Arc<Worker>,
    /// What it was before it played, in words: "its twin".
    was: &'static str,
    good_before: u64,
    floods: Floods,
    /// The state that it was given.
    snapshot: Option<Snapshot>,
    /// The one behind it has been given the memory of its answers, or is about to be: it can wake whoever waits for
    /// those.
    hands_on: bool,
    /// The host has ended it; its end is on its way.
    abandoned: bool,
}

/// A worker that is made or stands by.
#[derive(Debug)]
struct Heir {
    incarnation: u32,
    /// Of the parameters that it was given last.
    version: u64,
    was: &'static str,
    snapshot: Option<Snapshot>,
    prepared: Option<Box<Prepared>>,
    worker: Option<Arc<Worker>>,
    counts: Option<shared::ring::WorkerCounts>,
}

/// What is left of a plugin that is watched no more.
#[derive(Debug)]
pub(super) struct Closed {
    /// What is to be told of deaths, which doesn't take long.
    pub(super) rest: Rest,
    /// Workers that are still being made.
    pub(super) unborn: Vec<Unborn>,
    /// Threads that are on errands, which may take long.
    pub(super) errands: Vec<JoinHandle<()>>,
}

/// What is known of a start that failed.
struct Failed {
    why: Error,
    remains: Option<Box<Remains>>,
    /// The state that it was given.
    state: Option<Arc<[u8]>>,
    /// That is taken for the reason, and not what it was set to.
    blames_state: bool,
}

impl Case {
    pub(super) fn open(patient: Patient, notes: Notes, spawner: Spawner, now_ns: u64) -> Self {
        let spec = &patient.spec;
        let twin = spec.standby == Standby::Twin;
        let worker = Arc::clone(&patient.care.known().worker);
        let incarnation = patient.incarnation;
        let (limit_ns, limit_blocks) = hang::limits(spec.hang_after, patient.place.format);
        let playing = Playing {
            incarnation,
            worker,
            was: "the first one",
            good_before: 0,
            floods: Floods::from(0),
            snapshot: None,
            hands_on: false,
            abandoned: false,
        };
        let told = notes.clone();
        playing.worker.on_gone(Box::new(move || told.send(What::Gone { incarnation })));
        let mut case = Self {
            succession: Succession::new(incarnation, spec.restart, twin, now_ns),
            hang: HangWatch::new(limit_ns, limit_blocks),
            turn: Turn::new(patient.place.format.block_ns()),
            snapshots: Snapshots::default(),
            playing: Some(playing),
            heir: None,
            being_made: Vec::new(),
            absence: None,
            gaps_seen: 0,
            obituaries: Vec::new(),
            failed_starts: Vec::new(),
            falling: Vec::new(),
            returned: Vec::new(),
            attribution: Attribution::default(),
            throttling: Throttling::default(),
            unexplained: 0,
            unanswered: BTreeMap::new(),
            ends: VecDeque::new(),
            saving: Saving::from(now_ns),
            file: FileMark::from(now_ns),
            twin_due_ns: now_ns,
            twin_was_stopped: false,
            blames_state: false,
            told: Told::default(),
            errands: Vec::new(),
            tellings: Vec::new(),
            afterwards: Vec::new(),
            is_over: false,
            patient,
            notes,
            spawner,
        };
        case.mark_file();
        case
    }

    /// Whether its return is to be seen as soon as it happens. One that stays away, in a pipeline that stands still
    /// perhaps, is not worth it.
    pub(super) fn is_awaited(&self, now_ns: u64) -> bool {
        let is_recent =
            self.absence.is_some_and(|absence| now_ns.saturating_sub(absence.since_ns) < AWAITED_NS);
        is_recent && !self.is_over && !self.succession.is_given_up()
    }

    /// How long it takes at least until its worker can be called hung; `None` if it can't, or not before it is asked
    /// again.
    pub(super) fn rest(&self) -> Option<Duration> {
        let plays = self.playing.as_ref().is_some_and(|playing| !playing.abandoned);
        Some(Duration::from_nanos(self.hang.left_ns())).filter(|left| plays && !left.is_zero())
    }

    #[cfg(test)]
    pub(super) fn succession(&self) -> &Succession {
        &self.succession
    }

    // --- what happens ---

    pub(super) fn hear(&mut self, what: What, spares: &mut Spares, now_ns: u64) {
        if let What::Prepared { incarnation, .. } = &what {
            self.being_made.retain(|it| it != incarnation);
        }
        if self.is_over {
            return self.hear_at_the_end(what);
        }
        match what {
            What::Gone { incarnation } => self.gone(incarnation, spares, now_ns),
            What::Prepared { incarnation, result } => self.prepared(incarnation, result, spares, now_ns),
            What::CaughtUp { incarnation, result } => self.caught_up(incarnation, result, spares, now_ns),
            What::Saved { incarnation, state, took } => self.saved(incarnation, state, took, now_ns),
            What::Given { number, result } => self.given(number, &result, spares, now_ns),
            What::Seen { mark, asked_ns: None } => self.seen(mark, spares, now_ns),
            What::Seen { mark, asked_ns: Some(asked_ns) } => {
                self.seen_for_restart(mark, asked_ns, spares, now_ns)
            }
            What::Fallen { incarnation, remains } => self.fallen(incarnation, remains),
            What::Warm { .. } => {}
        }
    }

    /// All were asked to go: it is news only of one that died by itself while it was made.
    fn hear_at_the_end(&mut self, what: What) {
        let What::Prepared { incarnation, result } = what else { return };
        match result {
            Ok(prepared) => self.falling.extend(prepared.fallen().map(|worker| (incarnation, worker))),
            Err(failed) => self.failed_unneeded(incarnation, failed),
        }
    }

    /// One that nobody waited for has failed: that is told if it died by itself, and of its state as of any other's.
    fn failed_unneeded(&mut self, incarnation: u32, failed: NotPrepared) {
        let number = failed.restoring.as_ref().map(|snapshot| snapshot.number);
        let Some(failed) = FailedStart::of_one_not_needed(incarnation, failed) else { return };
        number.into_iter().for_each(|number| self.snapshots.failed(number));
        self.failed_starts.push(failed);
    }

    fn gone(&mut self, incarnation: u32, spares: &mut Spares, now_ns: u64) {
        let Some(over) = self.playing.take_if(|playing| playing.incarnation == incarnation) else {
            // The end of one that is still being made is told by its errand, with what it was about to do.
            let is_made = |heir: &mut Heir| heir.incarnation == incarnation && heir.worker.is_some();
            if let Some(heir) = self.heir.take_if(is_made) {
                self.patient.care.known().twin = None;
                self.returned.retain(|line| line.incarnation != incarnation);
                self.look_into(incarnation, heir.worker);
                let steps = self.succession.gone(incarnation, 0, now_ns);
                self.carry_out(steps, spares, now_ns);
            }
            return;
        };
        self.look_for_return(now_ns);
        // News that waited for its first good block wait no more.
        for earlier in self.obituaries.iter_mut().filter(|obituary| obituary.done.is_none()) {
            earlier.done = Some(format!("{} took over and died before its first good block", over.was));
        }
        let good_blocks = self.good_since(over.good_before);
        if let Some(number) = self.snapshots.died(good_blocks) {
            self.disown(number, spares, now_ns);
        }
        self.begin_absence(now_ns);
        self.bury(over, good_blocks, None, now_ns);
        self.patient.care.known().deaths += 1;
        let steps = self.succession.gone(incarnation, good_blocks, now_ns);
        self.carry_out(steps, spares, now_ns);
    }

    /// Its end is to be told when all is known about it. `wanted` is what was done if its user wanted it.
    fn bury(&mut self, over: Playing, good_blocks: u64, wanted: Option<String>, now_ns: u64) {
        let incarnation = over.incarnation;
        self.obituaries.push(Obituary {
            incarnation,
            at_ns: now_ns,
            when: Timestamp::now(),
            good_blocks,
            state: over.snapshot.map(|snapshot| snapshot.bytes),
            line: self.returned.extract_if(.., |line| line.incarnation == incarnation).next(),
            is_wanted: wanted.is_some(),
            done: wanted,
            is_told: false,
            worker: over.worker,
        });
    }

    fn begin_absence(&mut self, now_ns: u64) {
        self.absence.get_or_insert(Absence::begin(self.gaps_seen, now_ns));
        self.patient.care.known().down = Some("another one is to take over".to_owned());
    }

    fn prepared(
        &mut self,
        incarnation: u32,
        result: std::result::Result<Box<Prepared>, NotPrepared>,
        spares: &mut Spares,
        now_ns: u64,
    ) {
        let Some(heir) = self.heir.as_mut().filter(|heir| heir.incarnation == incarnation) else {
            // One that nobody waits for any more ends with its note.
            return result.map_or_else(|failed| self.failed_unneeded(incarnation, failed), drop);
        };
        match result {
            Ok(prepared) if prepared.worker.is_gone() => {
                self.heir = None;
                self.look_into(incarnation, Some(prepared.worker));
                let steps = self.succession.gone(incarnation, 0, now_ns);
                self.carry_out(steps, spares, now_ns);
            }
            Ok(prepared) => {
                heir.worker = Some(Arc::clone(&prepared.worker));
                heir.counts = Some(prepared.counts.clone());
                let version = prepared.version;
                let keys = prepared.refused.clone();
                let refused = keys.join("`, `");
                heir.prepared = Some(prepared);
                let mut known = self.patient.care.known();
                if known.parameters.version == version {
                    known.parameters.take_back(|key, _| keys.iter().any(|refused| refused == key));
                }
                drop(known);
                if !refused.is_empty() {
                    let name = &self.patient.name;
                    let text =
                        format!("plugin {name} was started again, but does not accept `{refused}` any more");
                    self.tell(text);
                }
                self.ready_if_current(incarnation, version, spares, now_ns);
            }
            Err(NotPrepared { why, restoring, remains }) => {
                if let Some(snapshot) = &restoring {
                    self.snapshots.failed(snapshot.number);
                }
                let state = restoring.map(|snapshot| snapshot.bytes);
                // The first time it is the state that is at fault. If the next one fails as well, it was not.
                let blames_state = state.is_some() && !std::mem::replace(&mut self.blames_state, true);
                let failed = Failed { why, remains, state, blames_state };
                self.not_prepared(incarnation, failed, spares, now_ns);
            }
        }
    }

    fn not_prepared(&mut self, incarnation: u32, failed: Failed, spares: &mut Spares, now_ns: u64) {
        let Some(heir) = self.heir.take_if(|heir| heir.incarnation == incarnation) else { return };
        let Failed { why, remains, state, blames_state } = failed;
        let was_loaded = remains.as_ref().is_some_and(|remains| remains.title.is_some());
        if was_loaded && !blames_state {
            // What it was given and nobody has accepted may be the reason.
            self.forget(|_, version| version <= heir.version);
        }
        let (when, is_known) = (Timestamp::now(), self.knows(&why));
        let failed =
            FailedStart { incarnation, when, why, is_known, stood_by: false, remains, state, done: None };
        self.failed_starts.push(failed);
        let steps = self.succession.failed(incarnation, now_ns);
        self.carry_out(steps, spares, now_ns);
    }

    /// Has it found out how one ended that never played, unless the host has ended it.
    fn look_into(&mut self, incarnation: u32, worker: Option<Arc<Worker>>) {
        let Some(worker) = worker.filter(|worker| worker.because() != Some(Because::Unwanted)) else {
            return;
        };
        self.falling.push((incarnation, Arc::clone(&worker)));
        self.errands.extend(errand::look_into(self.notes.clone(), incarnation, worker));
    }

    fn fallen(&mut self, incarnation: u32, remains: Box<Remains>) {
        self.falling.retain(|(falling, _)| *falling != incarnation);
        let mut failed = FailedStart::of_one_that_stood_by(incarnation, remains);
        failed.is_known = self.knows(&failed.why);
        self.failed_starts.push(failed);
    }

    fn caught_up(&mut self, incarnation: u32, result: Result<CaughtUp>, spares: &mut Spares, now_ns: u64) {
        match result {
            Ok(CaughtUp { version, refused }) if self.succession.expects(incarnation) => {
                if self.patient.care.known().parameters.version == version {
                    self.forget(|key, _| refused.iter().any(|refused| refused == key));
                }
                self.ready_if_current(incarnation, version, spares, now_ns);
            }
            Ok(_) => {}
            // It may live on, but is not what it is to stand in for.
            Err(why) => {
                let worker = self.heir.as_ref().and_then(|heir| heir.worker.as_deref());
                let remains = worker.map(|worker| Box::new(worker.remains(Duration::ZERO)));
                let failed = Failed { why, remains, state: None, blames_state: false };
                self.not_prepared(incarnation, failed, spares, now_ns);
            }
        }
    }

    /// Parameters that were set while nobody played, and that the one who came does not take.
    fn forget(&mut self, refused: impl Fn(&str, u64) -> bool) {
        let keys = self.patient.care.known().parameters.take_back(refused);
        if !keys.is_empty() {
            let (name, keys) = (&self.patient.name, keys.join("`, `"));
            self.tell(format!(
                "plugin {name} does not take `{keys}`, set while it was away: as before again"
            ));
        }
    }

    /// It is ready if it has the parameters as they are now; otherwise it is given them first.
    fn ready_if_current(&mut self, incarnation: u32, version: u64, spares: &mut Spares, now_ns: u64) {
        let Some(worker) = self.heir.as_ref().and_then(|heir| heir.worker.clone()) else { return };
        let mut known = self.patient.care.known();
        if known.parameters.version == version {
            // From now on whoever sets a parameter gives it to both.
            known.twin = Some(worker);
            known.parameters.confirm();
            drop(known);
            let steps = self.succession.ready(incarnation, now_ns);
            self.carry_out(steps, spares, now_ns);
        } else {
            let now = known.parameters.clone();
            drop(known);
            self.heir.iter_mut().for_each(|heir| heir.version = now.version);
            let errand = errand::catch_up(self.notes.clone(), incarnation, worker, now);
            if errand.is_none() {
                self.notes.send(What::CaughtUp { incarnation, result: Err(no_thread()) });
            }
            self.errands.extend(errand);
        }
    }

    // --- what is seen ---

    pub(super) fn look(&mut self, spares: &mut Spares, now_ns: u64) {
        if self.is_over {
            return;
        }
        if self.patient.spec.restart && self.patient.spec.standby == Standby::Spare {
            let known = self.patient.care.known();
            spares.keep(known.worker.python(), known.worker.module());
        }
        self.collect_lines();
        self.look_at_misses(now_ns);
        self.look_at_worker(now_ns);
        self.look_at_twin(now_ns);
        self.look_at_file(spares, now_ns);
        let steps = self.succession.tick(self.good_blocks(), now_ns);
        self.carry_out(steps, spares, now_ns);
        self.look_for_return(now_ns);
        if self.is_playing() && self.absence.is_none() {
            self.gaps_seen = self.patient.stats.gaps().0;
        }
        self.save_if_due(now_ns);
        self.tell_moves();
        self.errands.retain(|errand| !errand.is_finished());
    }

    fn collect_lines(&mut self) {
        self.patient.depot.refill();
        while let Some(line) = self.patient.depot.spent() {
            let of = |obituary: &&mut Obituary| obituary.incarnation == line.incarnation;
            let is_alive = self.is_alive(line.incarnation);
            match self.obituaries.iter_mut().find(of) {
                Some(obituary) => obituary.line = Some(line),
                // The audio thread may let go of it before anybody has told of its end. That of one that stood by,
                // and has ended, is nobody's.
                None if is_alive => self.returned.push(line),
                None => {}
            }
        }
    }

    /// Whether it plays or is to, as far as is known.
    fn is_alive(&self, incarnation: u32) -> bool {
        let playing = self.playing.as_ref().map(|playing| playing.incarnation);
        let heir = self.heir.as_ref().map(|heir| heir.incarnation);
        [playing, heir].contains(&Some(incarnation))
    }

    /// One that stands by owes nothing, so that nobody would miss it until it is needed. At the second look: where all were
    /// stopped, the host may go on before it.
    fn look_at_twin(&mut self, now_ns: u64) {
        if now_ns < self.twin_due_ns {
            return;
        }
        // Whoever looks so late has been stopped too, and the twin may be about to go on as well.
        let is_late = now_ns.saturating_sub(self.twin_due_ns) > TWIN_NS / 2;
        self.twin_due_ns = now_ns.saturating_add(TWIN_NS);
        let twin = self.heir.as_ref().and_then(|heir| heir.worker.as_ref());
        let stopped = twin.filter(|twin| twin.condition() == Condition::Stopped);
        if let Some(twin) = stopped.filter(|_| self.twin_was_stopped && !is_late) {
            twin.abandon(Because::Hung { for_ms: 0, stopped: true });
        }
        self.twin_was_stopped = stopped.is_some();
    }

    fn look_at_worker(&mut self, now_ns: u64) {
        let Some(playing) = self.playing.as_mut().filter(|playing| !playing.abandoned) else { return };
        let progress = self.patient.stats.progress();
        // Looked at first: the audio thread has let go of a liar already. If its twin has lied since, its line tells.
        let is_cut = |line: &Line| line.cut && line.incarnation == playing.incarnation;
        let is_liar = progress.liar.load(Ordering::Relaxed) == playing.incarnation;
        if is_liar || self.returned.iter().any(is_cut) {
            playing.abandoned = true;
            let why = "it wrote a sequence that nobody had asked for";
            return playing.worker.abandon(Because::Hostile(why.into()));
        }
        // SYNC: incarnation; with Release in `plugin::remote`. Until the audio thread has it, the counts are another's.
        if progress.incarnation.load(Ordering::Acquire) != playing.incarnation {
            return;
        }
        let (asked, answered) =
            (progress.asked.load(Ordering::Relaxed), progress.answered.load(Ordering::Relaxed));
        match self.turn.look(now_ns, asked, answered) {
            Some(Change::GivesWay) => playing.worker.give_way(),
            Some(Change::GoesOn) => playing.worker.go_on(),
            None => {}
        }
        self.hang.save(playing.worker.is_at_state());
        let hung = self.hang.look(now_ns, asked, answered);
        let block_ns = self.patient.place.format.block_ns().max(1);
        let unfit = progress.unfit.load(Ordering::Relaxed);
        let why = if playing.floods.look(self.patient.stats.counts().flooded, now_ns) {
            let who = if playing.hands_on { "it, or the plugin behind it," } else { "it" };
            let what = "woke the audio thread again and again for nothing, or kept wakes from it";
            Some(Because::Hostile(format!("{who} {what}")))
        } else if unfit >= UNFIT_BLOCKS && u64::from(unfit) * block_ns >= UNFIT_NS {
            let what = format!("{unfit} blocks in a row were not finite or far above full scale");
            Some(Because::Faulty(what))
        } else if let Some(hung) = hung {
            let stopped = playing.worker.condition() == Condition::Stopped;
            Some(Because::Hung { for_ms: hung.for_ns / 1_000_000, stopped })
        } else {
            if asked.wrapping_sub(answered) >= OWED_BLOCKS {
                // One that is dying is noticed by this long before its memory is freed.
                let _ = playing.worker.is_exiting();
                if playing.worker.condition() == Condition::Stopped {
                    self.attribution.see_stopped(now_ns);
                }
            }
            None
        };
        if let Some(why) = why {
            playing.abandoned = true;
            playing.worker.abandon(why);
        }
    }

    fn look_for_return(&mut self, now_ns: u64) {
        let Some(absence) = &self.absence else { return };
        let Some(back) = absence.end(&self.patient.stats, now_ns) else { return };
        self.absence = None;
        self.patient.care.known().down = None;
        let was = self.playing.as_ref().map_or("a new worker", |playing| playing.was);
        let words = obituary::replaced(was, back, self.patient.policy);
        match self.obituaries.iter_mut().rev().find(|obituary| obituary.done.is_none()) {
            Some(obituary) => obituary.done = Some(words),
            None => self.afterwards.push(format!("plugin {} is back: {words}", self.patient.name)),
        }
    }

    // --- what is done ---

    fn carry_out(&mut self, steps: Vec<Step>, spares: &mut Spares, now_ns: u64) {
        for step in steps {
            match step {
                Step::Prepare(incarnation) => self.prepare(incarnation, spares),
                Step::Arm(incarnation) => self.arm(incarnation),
                Step::Plays(incarnation) => self.play(incarnation, now_ns),
                Step::End(incarnation) => self.end(incarnation, now_ns),
                Step::Wait { until_ns } => {
                    let after = obituary::span(until_ns.saturating_sub(now_ns));
                    self.settle(&format!("it is started again in {after}"));
                }
                Step::GiveUp(why) => {
                    self.patient.care.known().quarantined = true;
                    let or = if self.patient.spec.restart { "its file changes or " } else { "" };
                    self.settle(&format!("it is not started again until {or}nda ctl restarts it: {why}"));
                }
            }
        }
    }

    fn prepare(&mut self, incarnation: u32, spares: &mut Spares) {
        let spare = match self.patient.spec.standby {
            Standby::Spare => spares.take(self.patient.care.known().worker.python()),
            Standby::None | Standby::Twin => None,
        };
        let was = match self.patient.spec.standby {
            Standby::Twin if self.absence.is_none() => "its twin",
            _ if spare.is_some() => "a spare",
            _ => "a new worker",
        };
        self.mark_file();
        let snapshot = self.snapshots.latest();
        let job = Replacement {
            name: Arc::clone(&self.patient.name),
            spec: self.patient.spec.clone(),
            format: self.patient.place.format,
            slots: self.patient.slots,
            nature: self.patient.nature,
            incarnation,
            parameters: self.patient.care.known().parameters.clone(),
            snapshot: snapshot.clone(),
            spare,
            stands_by: self.absence.is_none(),
        };
        self.patient.care.known().quarantined = false;
        let version = job.parameters.version;
        self.heir =
            Some(Heir { incarnation, version, was, snapshot, prepared: None, worker: None, counts: None });
        self.being_made.push(incarnation);
        let errand = errand::prepare(self.spawner.clone(), self.notes.clone(), job);
        if errand.is_none() {
            let why = NotPrepared { why: no_thread(), restoring: None, remains: None };
            self.notes.send(What::Prepared { incarnation, result: Err(why) });
        }
        self.errands.extend(errand);
    }

    fn arm(&mut self, incarnation: u32) {
        let heir = self.heir.as_mut().filter(|heir| heir.incarnation == incarnation);
        if let Some(prepared) = heir.and_then(|heir| heir.prepared.take()) {
            self.patient.depot.arm(prepared.line);
        }
    }

    fn play(&mut self, incarnation: u32, now_ns: u64) {
        let Some(heir) = self.heir.take_if(|heir| heir.incarnation == incarnation) else { return };
        let (Some(worker), Some(counts)) = (heir.worker, heir.counts) else { return };
        self.snapshots.restored(heir.snapshot.as_ref().map(|snapshot| snapshot.number));
        self.blames_state = false;
        let so_far = self.patient.stats.counts();
        let mut known = self.patient.care.known();
        known.worker = Arc::clone(&worker);
        (known.incarnation, known.good_before) = (incarnation, so_far.good);
        known.twin = None;
        known.uncached.follow(counts.clone());
        known.collector.follow(counts);
        drop(known);
        self.returned.retain(|line| line.incarnation >= incarnation);
        self.playing = Some(Playing {
            incarnation,
            worker,
            was: heir.was,
            good_before: so_far.good,
            floods: Floods::from(so_far.flooded),
            snapshot: heir.snapshot,
            hands_on: false,
            abandoned: false,
        });
        let (limit_ns, limit_blocks) = hang::limits(self.patient.spec.hang_after, self.patient.place.format);
        self.hang = HangWatch::new(limit_ns, limit_blocks);
        self.turn = Turn::new(self.patient.place.format.block_ns());
        // No sooner than the last save, which may have taken so long that it was the end of the one before, allows.
        let due_ns = now_ns.saturating_add(nanos(self.patient.spec.snapshot_every));
        self.saving.due_ns = self.saving.due_ns.max(due_ns);
        if let Some(absence) = &mut self.absence {
            absence.succeeded(&self.patient.stats);
        }
    }

    /// Ends a worker that is not wanted any more.
    fn end(&mut self, incarnation: u32, now_ns: u64) {
        if let Some(over) = self.playing.take_if(|playing| playing.incarnation == incarnation) {
            over.worker.abandon(Because::Unwanted);
            self.begin_absence(now_ns);
            // It may have ended by itself before.
            let good_blocks = self.good_since(over.good_before);
            let done = "its user had it started again".to_owned();
            self.bury(over, good_blocks, Some(done), now_ns);
        }
        if let Some(heir) = self.heir.take_if(|heir| heir.incarnation == incarnation) {
            self.dismiss(&heir);
        }
    }

    /// Ends one that stands by, at once: somebody may just be giving it something, and hold it as long as that takes.
    fn dismiss(&self, heir: &Heir) {
        self.patient.care.known().twin = None;
        if let Some(worker) = &heir.worker {
            worker.abandon(Because::Unwanted);
        }
    }

    /// Whoever dies from now on was asked to.
    pub(super) fn stop(&mut self) {
        self.succession.stop(crate::clock::now_ns());
        self.is_over = true;
    }

    /// Watches no more; a worker that is being made ends when it is made, a twin is its plugin's to end.
    pub(super) fn close(mut self, reports: Option<&Path>) -> Closed {
        // Of one whose end is known the news may be on its way. What ends after all were asked to go is not news here.
        if let Some(over) = self.playing.take_if(|playing| !self.is_over && playing.worker.is_gone()) {
            let good_blocks = self.good_since(over.good_before);
            self.bury(over, good_blocks, None, crate::clock::now_ns());
            self.patient.care.known().deaths += 1;
        }
        let is_news =
            |heir: &mut Heir| !self.is_over && heir.worker.as_ref().is_some_and(|worker| worker.is_gone());
        if let Some(Heir { incarnation, worker: Some(worker), .. }) = self.heir.take_if(is_news)
            && worker.because() != Some(Because::Unwanted)
        {
            self.patient.care.known().twin = None;
            self.falling.push((incarnation, worker));
        }
        self.stop();
        self.collect_lines();
        let is_told = self.playing.is_none();
        self.publish(reports, Obituary::has_ended);
        self.publish_failed_starts(reports);
        self.tell_afterwards();
        let Self { mut obituaries, falling, patient, being_made, spawner, tellings, errands, .. } = self;
        obituaries.retain(Obituary::is_news);
        let until = Instant::now() + Duration::from_nanos(obituary::WAIT_NS);
        let (reports, teller) = (reports.map(Path::to_owned), spawner.teller());
        let unborn = being_made.into_iter().map(|incarnation| {
            let background = Background::of(&patient, incarnation);
            Unborn { incarnation, background, reports: reports.clone(), teller: teller.clone() }
        });
        let unborn = unborn.collect();
        let for_late = reports.clone();
        let is_late = !obituaries.is_empty() || !falling.is_empty();
        let late = is_late.then(|| Late { obituaries, falling, patient, reports: for_late, teller, until });
        Closed { rest: Rest { tellings, late, is_told, reports }, unborn, errands }
    }

    // --- in short ---

    /// The one that plays hands its answers to the next plugin's, or is about to.
    pub(super) fn hands_on(&mut self) {
        self.playing.iter_mut().for_each(|playing| playing.hands_on = true);
    }

    /// Whether the one that plays has just been ended for spoilt waits.
    pub(super) fn is_ended_for_floods(&self) -> bool {
        self.playing.as_ref().is_some_and(|playing| playing.abandoned && playing.floods.are_too_many())
    }

    /// The worker that plays, unless its end is on its way.
    pub(super) fn playing(&self) -> Option<Player> {
        let playing = self.playing.as_ref().filter(|playing| !playing.abandoned)?;
        Some((playing.incarnation, Arc::clone(&playing.worker)))
    }

    fn is_playing(&self) -> bool {
        self.playing.as_ref().is_some_and(|playing| !playing.abandoned)
    }

    fn good_blocks(&self) -> u64 {
        self.playing.as_ref().map_or(0, |playing| self.good_since(playing.good_before))
    }

    fn good_since(&self, before: u64) -> u64 {
        self.patient.stats.counts().good.saturating_sub(before)
    }
}

fn no_thread() -> Error {
    Error::new(Kind::System, "there is no thread to start it on")
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
