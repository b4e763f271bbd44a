//! What may wait for a worker: starting one, asking for its state, keeping a twin as its model is; or for a disk.
//!
//! Each errand runs on a thread of its own and brings its result back as a [`Note`]; the recovery thread itself never
//! waits for anybody.

#[cfg(test)]
use super::simulation;
use super::snapshots::Snapshot;
use super::unborn::Unborn;
use super::{Notes, What};
use crate::error::{Error, Kind, Result};
use crate::plugin::autopsy::Remains;
use crate::plugin::care::{Care, Parameters};
use crate::plugin::line::Line;
use crate::plugin::spec::PluginSpec;
use crate::plugin::worker::Worker;
use crate::plugin::{Nature, check_format, latency_frames};
use crate::supervisor::{Because, Spare, Spawner};
use shared::format::Format;
use shared::ring::WorkerCounts;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// How long a worker that is gone is waited for until all is known of its end.
const DEATH_WITHIN: Duration = Duration::from_secs(1);

/// A worker to be made for a plugin that has been running.
#[derive(Debug)]
pub(super) struct Replacement {
    pub(super) name: Arc<str>,
    pub(super) spec: PluginSpec,
    pub(super) format: Format,
    pub(super) slots: u32,
    /// What the plugin has to be, as it was when it was loaded first.
    pub(super) nature: Nature,
    pub(super) incarnation: u32,
    pub(super) parameters: Parameters,
    pub(super) snapshot: Option<Snapshot>,
    /// An interpreter that is ready, if there is one.
    pub(super) spare: Option<Spare>,
    /// It is to stand by: nobody waits for it yet.
    pub(super) stands_by: bool,
}

/// A worker that waits for its first block.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) worker: Arc<Worker>,
    pub(super) line: Line,
    pub(super) counts: WorkerCounts,
    /// The version of the parameters that it was given.
    pub(super) version: u64,
    /// Those that it did not take back.
    pub(super) refused: Vec<String>,
}

impl Prepared {
    /// Its worker, if it has ended and that was not the host's doing.
    pub(super) fn fallen(self) -> Option<Arc<Worker>> {
        let is_news = self.worker.is_gone() && self.worker.because() != Some(Because::Unwanted);
        is_news.then_some(self.worker)
    }
}

/// Parameters that a worker has been given.
#[derive(Debug)]
pub(super) struct CaughtUp {
    /// Their version.
    pub(super) version: u64,
    /// Those that it did not take, and nobody had before.
    pub(super) refused: Vec<String>,
}

/// Why there is no such worker.
#[derive(Debug)]
pub(super) struct NotPrepared {
    pub(super) why: Error,
    /// The state that it was given, if it failed from there on.
    pub(super) restoring: Option<Box<Snapshot>>,
    /// What is known of the worker, if it loaded the plugin or died.
    pub(super) remains: Option<Box<Remains>>,
}

/// Starts a replacement.
pub(super) fn prepare(spawner: Spawner, notes: Notes, job: Replacement) -> Option<JoinHandle<()>> {
    #[cfg(test)]
    if simulation::time::is_on() {
        return simulation::errands::send(simulation::errands::Errand::Prepare { notes, job: Box::new(job) });
    }
    let incarnation = job.incarnation;
    run(notes, move |notes| {
        let prepared = make(&spawner, notes, job);
        What::Prepared { incarnation, result: prepared.map(Box::new) }
    })
}

fn make(
    spawner: &Spawner,
    notes: &Notes,
    mut job: Replacement,
) -> std::result::Result<Prepared, NotPrepared> {
    let incarnation = job.incarnation;
    let worker = match job.spare.take_if(|spare| !spare.is_dead()) {
        Some(spare) => spare.load(&job.name, &job.spec),
        None if job.stands_by => spawner.spawn_gently(&job.name, &job.spec),
        None => spawner.spawn(&job.name, &job.spec),
    };
    let worker = worker.map_err(|mut why| {
        let remains = why.take_remains();
        NotPrepared { why, restoring: None, remains }
    })?;
    worker.tells_no_death();
    let told = notes.clone();
    worker.on_gone(Box::new(move || told.send(What::Gone { incarnation })));
    match equip(&worker, &job) {
        Ok((line, counts, refused)) => {
            let version = job.parameters.version;
            Ok(Prepared { worker: Arc::new(worker), line, counts, version, refused })
        }
        Err((why, restoring)) => {
            let restoring = job.snapshot.filter(|_| restoring).map(Box::new);
            Err(NotPrepared { why, restoring, remains: Some(Box::new(worker.remains(DEATH_WITHIN))) })
        }
    }
}

/// What a worker that is ready gives: its line, its count, the parameters that it does not accept any more.
type Equipped = (Line, WorkerCounts, Vec<String>);

/// Makes a worker ready for its first block; why that failed, and whether it had been given a state by then.
fn equip(worker: &Worker, job: &Replacement) -> std::result::Result<Equipped, (Error, bool)> {
    let early = |why| (why, false);
    let (name, loaded) = (&job.name, worker.loaded());
    let configured = worker.configure(job.format, job.slots, &job.parameters.list);
    let (end, configured) = configured.map_err(early)?;
    let delays = latency_frames(name, job.format, configured.latency_s).map_err(early)?;
    let is_closed = job.spec.fail_closed || loaded.fail_closed;
    job.nature.agree(name, Nature { kind: loaded.kind, latency_frames: delays, is_closed }).map_err(early)?;
    check_format(name, job.nature.kind, job.format, &configured).map_err(early)?;
    job.nature.keeps(name, &configured.refused).map_err(early)?;
    let restored = job
        .snapshot
        .as_ref()
        .map_or(Ok(true), |snapshot| restore(worker, snapshot, || job.parameters.clone()));
    // Silence after a state would wash that out.
    let warm_up = || if job.snapshot.is_some() { Ok(()) } else { worker.warm_up(true) };
    let started = restored.and_then(|_| worker.begin()).and_then(|()| warm_up());
    started.map_err(|why| (why, job.snapshot.is_some()))?;
    // Not before: those that play now share a processor with it.
    worker.go_on();
    end.let_worker_spin(job.spec.spin);
    let counts = end.worker_counts();
    Ok((Line::new(end, worker.gone(), job.incarnation), counts, configured.refused))
}

/// Warms an interpreter up for whoever needs it next.
pub(super) fn warm(
    spawner: Spawner,
    notes: Notes,
    python: PathBuf,
    module: PathBuf,
) -> Option<JoinHandle<()>> {
    #[cfg(test)]
    if simulation::time::is_on() {
        return simulation::errands::send(simulation::errands::Errand::Warm { notes, python });
    }
    run(notes, move |_| What::Warm { spare: spawner.warm(&python, &module).map(Box::new), python })
}

/// Gives a twin the parameters as they are now.
pub(super) fn catch_up(
    notes: Notes,
    incarnation: u32,
    twin: Arc<Worker>,
    now: Parameters,
) -> Option<JoinHandle<()>> {
    #[cfg(test)]
    if simulation::time::is_on() {
        return simulation::errands::send(simulation::errands::Errand::CatchUp {
            notes,
            incarnation,
            twin,
            version: now.version,
        });
    }
    run(notes, move |_| What::CaughtUp { incarnation, result: twin.aside(|twin| give_all(twin, &now)) })
}

fn give_all(worker: &Worker, now: &Parameters) -> Result<CaughtUp> {
    let mut refused = Vec::new();
    for (key, value) in &now.list {
        match worker.set_parameter(key, value) {
            Ok(true) => {}
            Ok(false) | Err(_) if now.is_presumed(key) && !worker.is_gone() => refused.push(key.clone()),
            Ok(false) => return Err(not_taken(worker.name(), key)),
            Err(why) => return Err(why),
        }
    }
    Ok(CaughtUp { version: now.version, refused })
}

/// Waits until all is known of the end of one that stood by.
pub(super) fn look_into(notes: Notes, incarnation: u32, worker: Arc<Worker>) -> Option<JoinHandle<()>> {
    #[cfg(test)]
    if simulation::time::is_on() {
        return None;
    }
    run(notes, move |_| What::Fallen { incarnation, remains: Box::new(worker.remains(DEATH_WITHIN)) })
}

/// Tells how one ended that was being made when its plugin was closed, if it died by itself.
pub(super) fn tell(
    unborn: Unborn,
    result: std::result::Result<Box<Prepared>, NotPrepared>,
) -> Option<JoinHandle<()>> {
    let work = move || unborn.tell(result, DEATH_WITHIN);
    std::thread::Builder::new().name("nda-errand".into()).spawn(work).ok()
}

/// Asks the plugin for its state.
pub(super) fn save(notes: Notes, incarnation: u32, worker: Arc<Worker>) -> Option<JoinHandle<()>> {
    #[cfg(test)]
    if simulation::time::is_on() {
        return simulation::errands::send(simulation::errands::Errand::Save { notes, incarnation, worker });
    }
    run(notes, move |_| {
        let began = Instant::now();
        let state = worker.save_state();
        What::Saved { incarnation, state, took: began.elapsed() }
    })
}

/// Gives a twin a state.
pub(super) fn give(
    notes: Notes,
    twin: Arc<Worker>,
    snapshot: Snapshot,
    care: Arc<Care>,
) -> Option<JoinHandle<()>> {
    #[cfg(test)]
    if simulation::time::is_on() {
        return simulation::errands::send(simulation::errands::Errand::Give {
            notes,
            twin,
            number: snapshot.number,
        });
    }
    let now = move || care.known().parameters.clone();
    run(notes, move |_| {
        let result = twin.aside(|twin| restore(twin, &snapshot, now));
        What::Given { number: snapshot.number, result: said_of_state(&twin, result) }
    })
}

/// What it says of a state how a worker took it: nothing, if the host has ended that meanwhile as nobody needs it, or as a
/// signal had stopped it.
pub(super) fn said_of_state(worker: &Worker, result: Result<bool>) -> Result<bool> {
    match worker.because() {
        Some(Because::Unwanted | Because::Hung { stopped: true, .. }) => Ok(true),
        _ => result,
    }
}

/// Gives a worker a state, and then what was set since that was saved, which it would undo. Until nothing was set
/// meanwhile: whoever sets a parameter gives it to a twin as well, and an older value must not come after it. Whether it
/// has it: a twin that has taken over meanwhile plays on as it is.
fn restore(worker: &Worker, snapshot: &Snapshot, now: impl Fn() -> Parameters) -> Result<bool> {
    if !worker.load_state(snapshot.bytes.to_vec())? {
        return Ok(false);
    }
    let mut given = snapshot.version;
    loop {
        let now = now();
        if now.version == given {
            return Ok(true);
        }
        now.list.iter().try_for_each(|(key, value)| worker.set_parameter(key, value).map(|_| ()))?;
        given = now.version;
    }
}

/// By what a change of a file is seen, if it is there.
pub(super) type Mark = Option<(SystemTime, u64)>;

/// Looks at a plugin's file, since its user wanted another worker if `asked_ns` says when. Nobody waits for this thread,
/// which the disk may keep for ever; whether there is one.
pub(super) fn look_at_file(notes: Notes, file: PathBuf, asked_ns: Option<u64>) -> bool {
    #[cfg(test)]
    if simulation::time::is_on() {
        let look = simulation::errands::Errand::LookAtFile { notes, file, asked_ns };
        return simulation::errands::send(look).is_some();
    }
    run(notes, move |_| What::Seen { mark: mark_of(&file), asked_ns }).is_some()
}

pub(super) fn mark_of(file: &Path) -> Mark {
    let metadata = file.metadata().ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Runs `errand` on a thread of its own. Without a thread there is no note.
fn run(notes: Notes, errand: impl FnOnce(&Notes) -> What + Send + 'static) -> Option<JoinHandle<()>> {
    let work = move || {
        let what = errand(&notes);
        notes.send(what);
    };
    std::thread::Builder::new().name("nda-errand".into()).spawn(work).ok()
}

impl Nature {
    /// A replacement has to be what its predecessor was: the chain is built around it.
    fn agree(&self, name: &str, now: Self) -> Result<()> {
        let refuse = |what: String| {
            Err(Error::new(Kind::Plugin, what).remedy("restart the host: its file has changed too much"))
        };
        if now.kind != self.kind {
            return refuse(format!("plugin {name} is a {} now, it was a {}", now.kind, self.kind));
        }
        if now.latency_frames != self.latency_frames {
            let (delays, was) = (now.latency_frames, self.latency_frames);
            return refuse(format!("plugin {name} delays by {delays} frames now, by {was} before"));
        }
        // What is closed stays closed, whatever its file says now.
        if now.is_closed && !self.is_closed {
            return refuse(format!("plugin {name} fails closed now, it did not before"));
        }
        Ok(())
    }

    /// One that fails closed does not play without what it was set to: that may be its key.
    fn keeps(&self, name: &str, refused: &[String]) -> Result<()> {
        match refused.first() {
            Some(key) if self.is_closed => Err(not_taken(name, key)),
            _ => Ok(()),
        }
    }
}

/// Without the value, which may be a secret.
fn not_taken(name: &str, key: &str) -> Error {
    Error::new(Kind::Plugin, format!("plugin {name} does not accept its parameter `{key}` any more"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::message::PluginKind;

    #[test]
    fn a_replacement_that_would_fail_closed_is_refused_where_the_chain_was_built_open() {
        let nature = |is_closed| Nature { kind: PluginKind::Processor, latency_frames: 0, is_closed };
        let agree = |was, now| nature(was).agree("it", nature(now)).map_err(|why| why.to_string());
        assert_eq!(agree(true, true).and(agree(true, false)).and(agree(false, false)), Ok(()));
        assert!(agree(false, true).unwrap_err().contains("plugin it fails closed now"));
    }
}
