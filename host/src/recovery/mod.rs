//! Recovery: one thread that watches over every plugin that plays, and brings back those that fail.
//!
//! For [`Plugin`](crate::plugin::Plugin), which puts itself under its care. The thread never waits for a worker: it
//! looks at what the audio thread counts, is told of deaths, decides (`succession`, `restart`, `hang`, `snapshots`: all
//! pure) and sends others on errands (`errand`) that may wait. The audio thread takes a new worker from a queue and
//! knows nothing of all this.

mod absence;
mod case;
mod errand;
mod failed_start;
mod floods;
pub(crate) mod hang;
mod joint;
mod news;
mod obituary;
pub(crate) mod restart;
#[cfg(test)]
pub(crate) mod simulation;
pub(crate) mod snapshots;
mod spares;
pub(crate) mod succession;
mod turn;
mod unborn;

use crate::clock::now_ns;
use crate::error::{Error, Kind, Result};
use crate::plugin::autopsy::{Remains, Subject};
use crate::plugin::care::Care;
use crate::plugin::cause::Miss;
use crate::plugin::edge::Edge;
use crate::plugin::line::Depot;
use crate::plugin::spec::{Mode, PluginSpec};
use crate::plugin::{Nature, Place};
use crate::realtime::priority;
use crate::supervisor::{Spare, Spawner};
use crate::telemetry::PluginStats;
use case::{Case, Closed};
use errand::{CaughtUp, Mark, NotPrepared, Prepared};
use joint::Joint;
use obituary::Rest;
use spares::Spares;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use unborn::Unborn;

/// How often the thread looks at each plugin, and how often while one is away. A hang is counted from the first look
/// at which an answer is owed, and found at the first one after its limit: both are on the way to its stacks.
const LOOK: Duration = Duration::from_millis(3);
const LOOK_CLOSELY: Duration = Duration::from_millis(2);
/// The shortest rest, before the look at which a hang may be over its limit.
const LOOK_AT_ONCE: Duration = Duration::from_micros(500);

/// A plugin to be watched over, as it is when its first worker plays.
#[derive(Debug)]
pub(crate) struct Patient {
    pub(crate) name: Arc<str>,
    pub(crate) spec: PluginSpec,
    pub(crate) place: Place,
    pub(crate) mode: Mode,
    /// Slots of its ring.
    pub(crate) slots: u32,
    pub(crate) nature: Nature,
    /// What is heard in place of a lost block, in a word.
    pub(crate) policy: &'static str,
    pub(crate) incarnation: u32,
    pub(crate) care: Arc<Care>,
    pub(crate) stats: Arc<PluginStats>,
    pub(crate) depot: Depot,
    pub(crate) misses: rtrb::Consumer<Miss>,
}

impl Patient {
    /// Of whom a report would be.
    fn subject(&self, incarnation: u32) -> Subject<'_> {
        Subject {
            name: &self.name,
            spec: &self.spec,
            nature: self.nature,
            mode: self.mode,
            format: self.place.format,
            care: &self.care,
            stats: &self.stats,
            incarnation,
        }
    }
}

/// A plugin under watch; dropped, it is watched over no more, and no worker takes the place of another from then on.
#[derive(Debug)]
pub(crate) struct Ward {
    orders: Sender<Order>,
    recovery: Arc<()>,
    id: u64,
}

/// A plugin under watch, as the chain that it stands in knows it.
#[derive(Debug, Clone)]
pub(crate) struct Neighbour {
    orders: Sender<Order>,
    recovery: Arc<()>,
    id: u64,
}

impl Neighbour {
    /// Has this plugin's workers hand their answers straight to those of the plugin behind it, and says so at `edge`
    /// each time that two have been joined; until nobody else has the edge any more.
    pub(crate) fn join(&self, next: &Self, edge: Arc<Edge>) {
        if Arc::ptr_eq(&self.recovery, &next.recovery) {
            let _ = self.orders.send(Order::Join(Joint::new(self.id, next.id, edge)));
        }
    }
}

/// The thread, and how plugins come under its watch.
#[derive(Debug)]
pub(crate) struct Recovery {
    orders: Sender<Order>,
    /// Tells this thread from others.
    identity: Arc<()>,
    last_id: AtomicU64,
    /// Where reports of those go that die while they are started first.
    reports: Mutex<Option<PathBuf>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Order {
    WatchOver { id: u64, patient: Box<Patient> },
    Restart(u64),
    Join(Joint),
    Release { id: u64, done: SyncSender<Rest> },
    ReportTo(PathBuf),
    Leave,
    Note(Note),
    End,
}

/// News of an errand or of a worker's end.
#[derive(Debug)]
struct Note {
    patient: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    /// The worker is known to have ended.
    Gone {
        incarnation: u32,
    },
    Prepared {
        incarnation: u32,
        result: std::result::Result<Box<Prepared>, NotPrepared>,
    },
    /// A twin has the parameters of this version.
    CaughtUp {
        incarnation: u32,
        result: Result<CaughtUp>,
    },
    Saved {
        incarnation: u32,
        state: Result<Option<Vec<u8>>>,
        took: Duration,
    },
    /// A twin was given the state of this number: whether it took it.
    Given {
        number: u64,
        result: Result<bool>,
    },
    /// A worker that was ready, and did not play, has ended by itself: all that is known of it.
    Fallen {
        incarnation: u32,
        remains: Box<Remains>,
    },
    /// The plugin's file is like this now; `asked_ns` is when its user wanted another worker, if that is why.
    Seen {
        mark: Mark,
        asked_ns: Option<u64>,
    },
    Warm {
        python: PathBuf,
        spare: Result<Box<Spare>>,
    },
}

/// Brings news of one plugin to the thread.
#[derive(Debug, Clone)]
struct Notes {
    orders: Sender<Order>,
    patient: u64,
}

impl Notes {
    /// A thread that has ended needs no news.
    fn send(&self, what: What) {
        let _ = self.orders.send(Order::Note(Note { patient: self.patient, what }));
    }
}

impl Recovery {
    /// Starts the thread; its workers come from `spawner`.
    pub(crate) fn start(spawner: Spawner) -> Result<Self> {
        let (orders, received) = channel();
        let mut watch = Watch::new(spawner, orders.clone());
        let thread = std::thread::Builder::new().name("nda-recovery".into());
        let thread = thread.spawn(move || {
            priority::watch_over_plugins();
            watch.run(&received);
        });
        let failed =
            |e| Error::new(Kind::System, "can't start the thread that watches over plugins").source(e);
        let identity = Arc::default();
        let (last_id, reports) = (AtomicU64::new(0), Mutex::default());
        Ok(Self { orders, identity, last_id, reports, thread: Some(thread.map_err(failed)?) })
    }

    /// Takes a plugin under watch.
    pub(crate) fn watch_over(&self, patient: Patient) -> Ward {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let _ = self.orders.send(Order::WatchOver { id, patient: Box::new(patient) });
        Ward { orders: self.orders.clone(), recovery: Arc::clone(&self.identity), id }
    }

    /// Where reports of deaths go from now on.
    pub(crate) fn report_to(&self, folder: PathBuf) {
        *self.reports.lock().unwrap_or_else(PoisonError::into_inner) = Some(folder.clone());
        let _ = self.orders.send(Order::ReportTo(folder));
    }

    /// Where reports go of those that die while they are started first; `None` if that is nowhere, or over.
    pub(crate) fn reports(&self) -> Option<PathBuf> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whoever dies from now on was asked to: nobody takes anybody's place any more.
    pub(crate) fn leave(&self) {
        *self.reports.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let _ = self.orders.send(Order::Leave);
    }

    /// Ends the thread and waits for it. The workers have been asked to go, so that no errand takes long.
    pub(crate) fn end(&mut self) {
        let _ = self.orders.send(Order::End);
        if let Some(thread) = self.thread.take() {
            join([thread]);
        }
    }
}

/// What is left of a watch that is over.
#[derive(Debug, Default)]
pub(crate) struct Released {
    /// Whether the end of the worker that played last has been told.
    pub(crate) is_told: bool,
    /// Where reports go, if they do.
    pub(crate) reports: Option<PathBuf>,
}

impl Ward {
    /// As the chain knows it.
    pub(crate) fn neighbour(&self) -> Neighbour {
        Neighbour { orders: self.orders.clone(), recovery: Arc::clone(&self.recovery), id: self.id }
    }

    /// Ends its worker and brings up another one, of its file as it is now.
    pub(crate) fn restart(&self) {
        let _ = self.orders.send(Order::Restart(self.id));
    }

    /// Watches no more, when all that there was to tell is told. What becomes of a worker that lives is its owner's
    /// to tell.
    pub(crate) fn release(&self) -> Released {
        let (done, over) = sync_channel(1);
        let _ = self.orders.send(Order::Release { id: self.id, done });
        // A thread that has ended meanwhile has told everything before.
        over.recv().map_or(Released { is_told: true, reports: None }, Rest::wait)
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        // Where that is done already there is nothing more.
        self.release();
    }
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    for thread in threads {
        // A panic over there has been printed.
        let _ = thread.join();
    }
}

/// The thread's own state.
#[derive(Debug)]
struct Watch {
    spawner: Spawner,
    orders: Sender<Order>,
    cases: BTreeMap<u64, Case>,
    /// Workers that are still being made for plugins that are closed.
    unborn: BTreeMap<(u64, u32), Unborn>,
    spares: Spares,
    joints: Vec<Joint>,
    reports: Option<PathBuf>,
    errands: Vec<JoinHandle<()>>,
    is_leaving: bool,
}

impl Watch {
    fn new(spawner: Spawner, orders: Sender<Order>) -> Self {
        let spares = Spares::new(spawner.clone(), Notes { orders: orders.clone(), patient: 0 });
        Self {
            spawner,
            orders,
            cases: BTreeMap::new(),
            unborn: BTreeMap::new(),
            spares,
            joints: Vec::new(),
            reports: None,
            errands: Vec::new(),
            is_leaving: false,
        }
    }

    fn run(&mut self, received: &Receiver<Order>) {
        loop {
            match received.recv_timeout(self.rest()) {
                Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(order) => self.obey(order),
                Err(RecvTimeoutError::Timeout) => self.look(),
            }
        }
        self.finish();
        // All errands are back.
        for order in received.try_iter() {
            if let Order::Note(Note { patient, what }) = order {
                self.hear(patient, what);
            }
        }
        join(self.errands.drain(..));
    }

    /// How long nobody needs to be looked at.
    fn rest(&self) -> Duration {
        let now_ns = now_ns();
        if self.cases.values().any(|case| case.is_awaited(now_ns)) {
            return LOOK_CLOSELY;
        }
        let rest = self.cases.values().filter_map(Case::rest).min().unwrap_or(LOOK);
        rest.clamp(LOOK_AT_ONCE, LOOK)
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::WatchOver { id, patient } => {
                let notes = Notes { orders: self.orders.clone(), patient: id };
                let mut case = Case::open(*patient, notes, self.spawner.clone(), now_ns());
                if self.is_leaving {
                    case.stop();
                }
                self.cases.insert(id, case);
            }
            Order::Join(joint) => self.joints.push(joint),
            Order::Restart(id) => self.with(id, |case, spares| case.restart(spares, now_ns())),
            Order::Release { id, done } => {
                let (rest, errands) = self.close(id);
                self.errands.extend(errands);
                let _ = done.send(rest);
            }
            Order::ReportTo(folder) => self.reports = Some(folder),
            Order::Leave => {
                self.is_leaving = true;
                self.cases.values_mut().for_each(Case::stop);
            }
            Order::Note(Note { what: What::Warm { python, spare }, .. }) => self.spares.put(python, spare),
            Order::Note(Note { patient, what }) => self.hear(patient, what),
            Order::End => {}
        }
        // An order may have come in the place of a look, many times in a row.
        self.look();
    }

    fn with(&mut self, id: u64, act: impl FnOnce(&mut Case, &mut Spares)) {
        if let Some(case) = self.cases.get_mut(&id) {
            act(case, &mut self.spares);
        }
    }

    fn hear(&mut self, patient: u64, what: What) {
        if let Some(case) = self.cases.get_mut(&patient) {
            return case.hear(what, &mut self.spares, now_ns());
        }
        if let What::Prepared { incarnation, result } = what
            && let Some(unborn) = self.unborn.remove(&(patient, incarnation))
        {
            self.errands.extend(errand::tell(unborn, result));
        }
    }

    /// Watches over this plugin no more; what is left to tell, and who is still on errands for it.
    fn close(&mut self, id: u64) -> (Rest, Vec<JoinHandle<()>>) {
        let closed = self.cases.remove(&id).map(|case| case.close(self.reports.as_deref()));
        let Some(Closed { rest, unborn, errands }) = closed else { return Default::default() };
        self.unborn.extend(unborn.into_iter().map(|unborn| ((id, unborn.incarnation), unborn)));
        (rest, errands)
    }

    fn look(&mut self) {
        for case in self.cases.values_mut() {
            case.look(&mut self.spares, now_ns());
            case.report(self.reports.as_deref(), now_ns());
        }
        if !self.is_leaving {
            self.spares.look(now_ns());
            self.joints.retain(Joint::is_wanted);
            self.look_at_joints();
        }
        self.errands.retain(|errand| !errand.is_finished());
    }

    fn look_at_joints(&mut self) {
        let Self { joints, cases, errands, .. } = self;
        for joint in joints {
            let playing = |id: u64| cases.get(&id).and_then(Case::playing);
            if cases.get(&joint.up()).is_some_and(Case::is_ended_for_floods) {
                joint.part(playing);
            }
            if let Some(errand) = joint.look(playing) {
                errands.push(errand);
                cases.get_mut(&joint.up()).into_iter().for_each(Case::hands_on);
            }
        }
    }

    /// Every worker has been, or is being, asked to go: nobody is waited for long.
    fn finish(&mut self) {
        let left: Vec<u64> = self.cases.keys().copied().collect();
        let closing: Vec<_> = left.into_iter().map(|id| self.close(id)).collect();
        self.spares.clear();
        for (rest, errands) in closing {
            rest.wait();
            join(errands);
        }
        join(self.errands.drain(..));
    }
}
