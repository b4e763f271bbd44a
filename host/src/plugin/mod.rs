//! One Python plugin in its worker process: what the user asks of it, and its two halves here.
//!
//! [`Plugin`] is the control half, for the thread that starts and watches; [`Remote`] is the audio half, a
//! [`Processor`](crate::processor::Processor) that moves to the audio thread. They share counters and nothing else.
//! When the worker dies, the supervisor's recovery brings up another one and gives both halves to it.

pub(crate) mod adapt;
pub(crate) mod autopsy;
pub(crate) mod care;
pub mod cause;
pub mod collector;
pub(crate) mod conceal;
pub(crate) mod edge;
pub mod interpreter;
pub(crate) mod line;
pub(crate) mod relay;
pub(crate) mod remote;
pub mod spec;
pub(crate) mod throttling;
pub(crate) mod uncached;
mod unwatched;
pub mod worker;

pub use care::Setting;
pub use remote::Remote;

use crate::crash::CrashReport;
use crate::edge::own_burst;
use crate::error::{Error, Kind, Result};
use crate::recovery::{Patient, Released, Ward};
use crate::report::PluginStatus;
use crate::supervisor::{Because, Supervisor};
use crate::telemetry::{self, Counts, GuardNews, Passage, PluginStats};
use autopsy::Subject;
use care::Care;
use cause::Causes;
use conceal::Plan;
use line::Line;
use remote::Terms;
use shared::format::Format;
use shared::layout::SLOTS_MAX;
use shared::message::{Configured, Loaded, PluginKind};
use shared::ring::HostEnd;
use spec::{DEADLINE_MAX, Guard, Lost, Mode, PluginSpec, Standby};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use uncached::Uncached;
use unwatched::FirstStart;
use worker::Worker;

/// Slots of a real-time ring: how many blocks a slow worker may fall behind before blocks are not handed over
/// at all.
const SLOTS: u32 = 8;
/// Slots of a pipelined plugin beside those of a burst.
const SPARE_SLOTS: u32 = 4;
/// A device may come back with a buffer so many times as long.
const LONGER: u32 = 4;
/// Longest delay of its own that a plugin can declare.
const LATENCY_MAX_S: f64 = 10.0;
/// The incarnation that a plugin is loaded as.
const FIRST: u32 = 1;

/// The control half of a plugin.
#[derive(Debug)]
pub struct Plugin {
    name: String,
    spec: PluginSpec,
    /// What it said of itself when it was loaded first.
    loaded: Loaded,
    care: Arc<Care>,
    /// Of a plugin in real time: the recovery that watches over it.
    ward: Option<Ward>,
    /// Where a report of its worker goes that dies when nobody watches over it any more.
    reports: Option<PathBuf>,
    format: Format,
    mode: Mode,
    closed: bool,
    own_latency_frames: u32,
    notes: Vec<String>,
    guard: GuardNews,
    stats: Arc<PluginStats>,
}

/// What a plugin is, for the chain around it; every incarnation is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nature {
    pub(crate) kind: PluginKind,
    /// What it says it delays by.
    pub(crate) latency_frames: u32,
    /// It fails closed: what it got, and with which parameters, is a secret.
    pub(crate) is_closed: bool,
}

impl Plugin {
    /// Starts the plugin in a worker of its own and gives both halves, ready to process blocks of this format.
    ///
    /// For callbacks that run one block or less; others say so by [`Plugin::load_as`]. Waits for the interpreter and
    /// for the plugin's own code, a tenth of a second or more.
    ///
    /// # Errors
    /// Of kind `Interpreter` or `Plugin`, with the plugin's traceback, if it can't be started.
    pub fn load(supervisor: &Supervisor, spec: PluginSpec, format: Format) -> Result<(Self, Remote)> {
        let name = spec.file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        Self::load_as(supervisor, &name, spec, Place { format, kind: None, burst: 1 })
    }

    /// As [`Plugin::load`] under a name of the user's and for this place in a chain. Where the place says that it is to
    /// be a source or a sink, that may want a rate or channels of its own: see [`Remote::format`].
    ///
    /// # Errors
    /// As [`Plugin::load`]; of kind `Plugin` if it is of another kind than the place, and of kind `Config` if it
    /// is pipelined and the bursts are too long.
    pub fn load_as(
        supervisor: &Supervisor,
        name: &str,
        spec: PluginSpec,
        place: Place,
    ) -> Result<(Self, Remote)> {
        let place = Place { burst: place.burst.max(1), ..place };
        let (mut plugin, end) = Self::open(supervisor, name, spec, place, None)?;
        // Also its replacements have the format that it has.
        let place = place.with(end.layout().format());
        if !end.is_locked() {
            plugin.notes.extend(supervisor.unlocked());
        }
        let worker = plugin.worker();
        worker.tells_no_death();
        plugin.start(supervisor, place, true)?;
        let (figures, times, misses) = telemetry::plugin_figures();
        plugin.stats = Arc::clone(&figures.stats);
        plugin.care.known().times = times;
        let terms = plugin.terms(place, &end);
        let (relief, depot) = line::queues();
        let slots = end.layout().slots();
        let line = Line::new(end, worker.gone(), FIRST);
        line.end.let_worker_spin(plugin.spec.spin);
        let mut remote = Remote::new(name.to_owned(), line, Some(relief), terms, figures);
        let ward = supervisor.recovery().watch_over(Patient {
            name: name.into(),
            spec: plugin.spec.clone(),
            place,
            mode: plugin.mode,
            slots,
            nature: plugin.nature(),
            policy: plugin.policy(),
            incarnation: FIRST,
            care: Arc::clone(&plugin.care),
            stats: Arc::clone(&plugin.stats),
            depot,
            misses,
        });
        remote.stand_beside(ward.neighbour());
        plugin.ward = Some(ward);
        Ok((plugin, remote))
    }

    /// Loads and configures, but does not start it; for whoever drives the ring himself, with `slots` of his own.
    ///
    /// # Errors
    /// As [`Plugin::load_as`]; one that has died is in a report.
    pub(crate) fn open(
        supervisor: &Supervisor,
        name: &str,
        spec: PluginSpec,
        place: Place,
        slots: Option<u32>,
    ) -> Result<(Self, HostEnd)> {
        let first = FirstStart { supervisor, name, spec: &spec, place };
        let worker = supervisor.spawn(name, &spec).map_err(|why| first.failed(why, None))?;
        let loaded = worker.loaded().clone();
        let made = Self::equip(name, spec.clone(), place, slots, worker);
        let (mut plugin, end) = made.map_err(|why| first.failed(why, Some(&loaded)))?;
        plugin.reports = supervisor.reports();
        Ok((plugin, end))
    }

    /// Starts it, the first time. One whose first block somebody waits for is warmed up, and if it dies of that, it has
    /// been started: it is watched over, and replaced as if it had died of that block.
    ///
    /// # Errors
    /// As [`Worker::start`]; one that has died is in a report.
    pub(crate) fn start(&self, supervisor: &Supervisor, place: Place, is_waited_for: bool) -> Result<()> {
        let first = FirstStart { supervisor, name: &self.name, spec: &self.spec, place };
        let failed = |why| first.failed(why, Some(&self.loaded));
        let worker = self.worker();
        worker.begin().map_err(failed)?;
        let warmed_up = worker.warm_up(is_waited_for);
        worker.go_on();
        if is_waited_for { Ok(()) } else { warmed_up.map_err(failed) }
    }

    fn equip(
        name: &str,
        spec: PluginSpec,
        place: Place,
        slots: Option<u32>,
        worker: Worker,
    ) -> Result<(Self, HostEnd)> {
        let format = place.format;
        let loaded = worker.loaded();
        check_kind(name, &spec, loaded.kind, place.kind)?;
        let closed = spec.fail_closed || loaded.fail_closed;
        let mode = spec.mode.unwrap_or(Mode::by_default(loaded.kind));
        // What is not audio can't be joined where it would move.
        let may_move = spec.adapt && spec.guard == Guard::On && loaded.kind != PluginKind::Sink;
        let slots = slots.map_or_else(|| slots_for(name, loaded.kind, mode, may_move, place), Ok)?;
        let (mut end, mut configured) = worker.configure(format, slots, &spec.set)?;
        check_parameters(name, &spec, &configured)?;
        let own = own_format(name, loaded.kind, place, &configured)?;
        let format = own.unwrap_or(format);
        if let Some(own) = own {
            let slots = slots_for(name, loaded.kind, mode, may_move, place.with(own))?;
            // It has its parameters, and may take them only before it is initialised.
            (end, configured) = worker.configure(own, slots, &[])?;
        }
        check_format(name, loaded.kind, format, &configured)?;
        let mut uncached = Uncached::new(configured.uncached.as_deref(), end.worker_counts());
        let mut notes: Vec<_> = uncached.line(name).into_iter().collect();
        notes.extend(rate_note(name, worker.loaded().kind, format, &configured));
        let own_latency_frames = latency_frames(name, format, configured.latency_s)?;
        let (figures, times, _) = telemetry::plugin_figures();
        let plugin = Self {
            name: name.to_owned(),
            loaded: worker.loaded().clone(),
            care: Arc::new(Care::new(worker, spec.set.clone(), uncached, times)),
            spec,
            ward: None,
            reports: None,
            format,
            mode,
            closed,
            own_latency_frames,
            notes,
            guard: GuardNews::default(),
            stats: figures.stats,
        };
        Ok((plugin, end))
    }

    fn terms(&self, place: Place, end: &HostEnd) -> Terms {
        let burst_frames = place.burst as usize * place.format.block_frames();
        let own = self.own_latency_frames as usize;
        let latency_frames = if self.mode == Mode::Pipelined { own + burst_frames } else { own };
        // Where a pipelined result could not be kept as long as it takes, it stays as it is.
        let adapt = self.spec.adapt && place.burst + SPARE_SLOTS <= end.layout().slots();
        let latency_max_frames = if adapt { own + burst_frames } else { latency_frames };
        Terms {
            kind: self.loaded.kind,
            mode: self.mode,
            burst: place.burst,
            deadline: self.spec.deadline.min(DEADLINE_MAX),
            scrub: self.spec.scrub(),
            spin: self.spec.spin,
            adapt,
            own_latency_frames: self.own_latency_frames,
            plan: Plan {
                latency_max_frames: if self.has_dry_signal() { latency_max_frames } else { 0 },
                ..self.plan(latency_frames)
            },
        }
    }

    fn nature(&self) -> Nature {
        let (kind, latency_frames, is_closed) = (self.loaded.kind, self.own_latency_frames, self.closed);
        Nature { kind, latency_frames, is_closed }
    }

    /// Of whom a report would be, for whoever drives the ring himself.
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            name: &self.name,
            spec: &self.spec,
            nature: self.nature(),
            mode: self.mode,
            format: self.format,
            care: &self.care,
            stats: &self.stats,
            incarnation: self.care.known().incarnation,
        }
    }

    /// What happens to its lost blocks, if its output comes this late.
    pub(crate) fn plan(&self, latency_frames: usize) -> Plan {
        let has_dry_signal = self.has_dry_signal();
        let latency_frames = if has_dry_signal { latency_frames } else { 0 };
        // What is not audio can neither be held nor joined, and a source has nothing dry.
        let lost = match self.spec.lost {
            Lost::Bypass if !has_dry_signal => Lost::Mute,
            lost => lost,
        };
        let ramp = self.spec.guard == Guard::On;
        Plan { lost, closed: self.closed, ramp, latency_frames, latency_max_frames: latency_frames }
    }

    fn has_dry_signal(&self) -> bool {
        self.loaded.kind == PluginKind::Processor
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was asked of it.
    #[must_use]
    pub fn spec(&self) -> &PluginSpec {
        &self.spec
    }

    /// Frames that it says it delays by.
    #[must_use]
    pub fn latency_frames(&self) -> u32 {
        self.own_latency_frames
    }

    /// What the user should know about how it was started, a line each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Its worker process: the one that plays, or the last that did. Parameters are better set by
    /// [`Plugin::set_parameter`], which a replacement gets too.
    #[must_use]
    pub fn worker(&self) -> Arc<Worker> {
        Arc::clone(&self.care.known().worker)
    }

    /// Sets a parameter, between two blocks if it runs; whether the plugin accepted it. A worker that takes this
    /// one's place is given it too. From any thread: of two who set the same one the later has its way.
    ///
    /// While nobody plays, because its worker has died and no other has taken its place, it is remembered for the one
    /// that does, and the answer is `true`. If that one does not accept it, the value from before is good again, and a
    /// line tells so.
    ///
    /// # Errors
    /// As [`Worker::set_parameter`]; also if the worker dies meanwhile. Then it is not remembered: it may have been
    /// the reason.
    pub fn set_parameter(&self, key: &str, value: &str) -> Result<bool> {
        self.care.set_parameter(key, value, self.ward.is_some()).map(|setting| setting != Setting::Refused)
    }

    /// What sets and reads its parameters, for another thread: either may take as long as the plugin does.
    #[must_use]
    pub fn parameters(&self) -> Steering {
        let (care, name) = (Arc::clone(&self.care), self.name.clone());
        Steering { care, name, another_may_come: self.ward.is_some() }
    }

    /// Has what goes into it heard in place of what comes out, as late as that and joined without a click, or no more.
    /// Its worker gets the blocks all the same, so that it plays on in the middle of things when it is wanted again.
    ///
    /// # Errors
    /// Of kind `Config`: it has no dry signal, or that must not be heard as it fails closed.
    pub fn set_bypassed(&self, bypassed: bool) -> Result<()> {
        let refused = |why: &str, right: &str| {
            let what = format!("plugin {} can't be bypassed: {why}", self.name);
            Err(Error::new(Kind::Config, what).remedy(right))
        };
        match self.loaded.kind {
            _ if !bypassed => {}
            PluginKind::Processor if self.closed => {
                return refused(
                    "it fails closed, so what goes into it must not be heard",
                    "mute its pipeline",
                );
            }
            PluginKind::Processor => {}
            PluginKind::Source => return refused("nothing goes into a source", "mute its pipeline"),
            PluginKind::Sink => return refused("nothing is heard behind a sink", "mute its pipeline"),
        }
        self.stats.set_bypassed(bypassed);
        Ok(())
    }

    /// Ends its worker and has another one play the file as it is now, also if it was given up: a twin at once if that was
    /// loaded from it. Until then its blocks are replaced.
    pub fn restart(&self) {
        if let Some(ward) = &self.ward {
            ward.restart();
        }
    }

    pub(crate) fn stats(&self) -> &Arc<PluginStats> {
        &self.stats
    }

    /// Takes note of a block's time, for whoever drives the ring himself.
    pub(crate) fn time(&mut self, stamps: shared::ring::Stamps) {
        self.care.known().times.record(&stamps);
    }

    /// When its blocks were where, of those that were kept since the last time; from now on this many are kept, the
    /// first ones that come. For measuring: nothing is kept before the first call.
    pub fn keep_passages(&self, passages: usize) -> Vec<Passage> {
        self.care.known().times.keep(passages)
    }

    /// What became of its blocks, counted from the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.stats.counts()
    }

    /// Why blocks were late, as far as that has been looked into.
    pub(crate) fn causes(&self) -> Causes {
        self.care.known().causes
    }

    /// What has happened to its blocks that the user has not been told yet, a line each.
    pub fn news(&mut self) -> Option<String> {
        let mut news = self.guard.lines(&self.name, &self.stats.counts(), Instant::now());
        news.extend(self.care.known().uncached.line(&self.name));
        (!news.is_empty()).then(|| news.join("\n"))
    }

    /// Whether its worker has ended and no other has taken its place.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.care.known().worker.is_gone()
    }

    /// How it is doing.
    pub fn status(&mut self) -> PluginStatus {
        let added_frames = self.stats.added_frames();
        let mut known = self.care.known();
        known.times.drain();
        // Before the reason: no count without one.
        let uncached_blocks = known.uncached.blocks();
        let (loaded, worker) = (&self.loaded, &known.worker);
        PluginStatus {
            name: self.name.clone(),
            title: format!("{} {}", loaded.name, loaded.version),
            file: self.spec.file.clone(),
            kind: loaded.kind.to_string(),
            mode: if self.mode == Mode::Pipelined || added_frames > 0 { "pipelined" } else { "same-block" },
            moves: self.stats.progress().moves.load(Ordering::Relaxed),
            added_frames,
            lost: self.policy(),
            pid: worker.pid(),
            python: worker.hello().python.clone(),
            standby: self.standby(),
            deaths: known.deaths,
            last_death: known.last_death.clone(),
            dead: known.dead(),
            quarantined: known.quarantined,
            bypassed: self.stats.is_bypassed(),
            uncached: known.uncached.why().map(ToOwned::to_owned),
            uncached_blocks,
            collector: known.collector.status(),
            counts: self.stats.counts(),
            causes: known.causes,
            plugin_time: known.times.plugin(),
            round_trip: known.times.round_trip(),
            interpreter_wait: known.times.interpreter_wait(),
        }
    }

    fn standby(&self) -> &'static str {
        match self.spec.standby {
            _ if !self.spec.restart || self.ward.is_none() => "none",
            Standby::None => "none",
            Standby::Spare => "spare",
            Standby::Twin => "twin",
        }
    }

    /// Whether a twin stands by, loaded and with its parameters.
    pub(crate) fn has_twin(&self) -> bool {
        self.care.known().twin.is_some()
    }

    fn policy(&self) -> &'static str {
        match (self.closed, self.plan(0).lost) {
            _ if self.loaded.kind == PluginKind::Sink => "nothing",
            (true, _) => "silence (fail-closed)",
            (_, Lost::Bypass) => "bypass",
            (_, Lost::Mute) => "mute",
            (_, Lost::Hold) => "hold",
        }
    }

    /// The error of a worker that was to go, and its report if it has died.
    fn kept(&self, why: Error) -> Error {
        let report = || {
            let good_before = self.care.known().good_before;
            let report = self.subject().report("it was being stopped".into());
            CrashReport { good_blocks: report.counts.good - good_before, ..report }
        };
        unwatched::stopped(why, self.reports.as_deref(), report)
    }

    /// Asks the worker to go, waits for it, and kills it if it stays.
    ///
    /// # Errors
    /// Of kind `Plugin` if its `stop` or `shutdown` failed; it is gone all the same. One that has died in it is in a
    /// report.
    pub fn shutdown(mut self) -> Result<()> {
        // Nobody takes the place of one that is to go; a twin goes as it does.
        let Released { is_told, reports } = self.ward.take().map(|ward| ward.release()).unwrap_or_default();
        // They may go elsewhere by now.
        self.reports = reports.or(self.reports.take());
        let (worker, twin) = {
            let mut known = self.care.known();
            (Arc::clone(&known.worker), known.twin.take())
        };
        std::thread::scope(|scope| {
            // Also one that has just died: nobody else tells of it any more.
            let is_wanted = |twin: &Arc<Worker>| twin.because() != Some(Because::Unwanted);
            let leaving = twin.filter(is_wanted).and_then(|twin| {
                let leave = std::thread::Builder::new().name("nda-twin".into());
                // Without a thread it is killed.
                leave.spawn_scoped(scope, move || twin.shutdown()).ok()
            });
            let left = worker.shutdown().map_err(|why| if is_told { why } else { self.kept(why) });
            let also = leaving.and_then(|leaving| leaving.join().ok()).unwrap_or(Ok(()));
            left.and(also.map_err(|why| self.kept(why)))
        })
    }
}

/// Sets and reads the parameters of a plugin from any thread, for as long as it plays. See [`Plugin::parameters`].
#[derive(Debug, Clone)]
pub struct Steering {
    care: Arc<Care>,
    name: String,
    another_may_come: bool,
}

impl Steering {
    /// The same, which calls the plugin as its user has to, to have it started again.
    pub(crate) fn called(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// As [`Plugin::set_parameter`]; also whether a worker has accepted it, or it is kept for the next one.
    ///
    /// # Errors
    /// As [`Plugin::set_parameter`].
    pub fn set(&self, key: &str, value: &str) -> Result<Setting> {
        self.care.set_parameter(key, value, self.another_may_come)
    }

    /// Asks the worker that plays for a parameter.
    ///
    /// # Errors
    /// As [`Worker::get_parameter`]. Of kind `Worker` while it is being replaced: ask again. If it was given up, of the
    /// kind that its end was, with how to have it back.
    pub fn get(&self, key: &str) -> Result<String> {
        self.care.get_parameter(&self.name, key, self.another_may_come)
    }
}

/// Where a plugin stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The format of the chain's blocks.
    pub format: Format,
    /// What it has to be.
    pub kind: Option<PluginKind>,
    /// How many blocks one callback of the device runs in a row: its buffer in blocks, rounded up, at least 1. With
    /// less than there are, a pipelined result would be asked for before it can be there.
    pub burst: u32,
}

impl Place {
    /// The same place for a plugin with a format of its own: at another rate a burst has as many blocks as last as long,
    /// and one that was begun.
    fn with(self, own: Format) -> Self {
        Self { format: own, burst: own_burst(self.burst, own, self.format), ..self }
    }
}

/// The format that a source or a sink has instead of the one that it was given, where that can be adapted.
fn own_format(name: &str, kind: PluginKind, place: Place, says: &Configured) -> Result<Option<Format>> {
    if kind == PluginKind::Processor || place.kind.is_none() {
        return Ok(None);
    }
    let whole = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let (channels, rate) = (whole(place.format.channels()), place.format.rate());
    let block = whole(place.format.block_frames());
    let own = Format::new(says.channels.unwrap_or(channels), block, says.rate.unwrap_or(rate));
    let own = own.map_err(|e| {
        Error::new(Kind::Plugin, format!("plugin {name} wants a format that there is none of: {e}"))
    })?;
    Ok((own != place.format).then_some(own))
}

/// Slots enough for a burst and for some blocks more that a slow worker may fall behind, and for bursts that become longer
/// where there can be so many. `None` if there can't for this one.
pub(crate) fn slots_of(burst: u32) -> Option<u32> {
    let fit = |blocks: u32| {
        let slots = blocks.saturating_add(SPARE_SLOTS).checked_next_power_of_two();
        slots.filter(|slots| *slots <= SLOTS_MAX)
    };
    fit(burst)?;
    Some(fit(burst.saturating_mul(LONGER)).unwrap_or(SLOTS_MAX).max(SLOTS))
}

fn slots_for(name: &str, kind: PluginKind, mode: Mode, may_move: bool, place: Place) -> Result<u32> {
    if mode == Mode::SameBlock && !may_move {
        return Ok(SLOTS);
    }
    let slots = slots_of(place.burst);
    // A sink has nothing to give back: what does not fit is not handed over, and counted. Who could move to pipelined,
    // stays where that does not fit.
    if kind == PluginKind::Sink || mode == Mode::SameBlock {
        return Ok(slots.unwrap_or(SLOTS_MAX));
    }
    slots.ok_or_else(|| {
        let (block, burst) = (place.format.block_frames(), place.burst);
        let what =
            format!("plugin {name} can't be pipelined: the device's buffer holds {burst} blocks of {block}");
        let remedy = "set a larger `block` or a smaller `buffer` for the device, or `mode = \"same-block\"`";
        Error::new(Kind::Config, what).remedy(remedy)
    })
}

fn check_kind(name: &str, spec: &PluginSpec, is: PluginKind, wanted: Option<PluginKind>) -> Result<()> {
    match wanted {
        Some(wanted) if wanted != is => {
            let place = match is {
                PluginKind::Source => "name it as `source`",
                PluginKind::Processor => "put it into `plugins`",
                PluginKind::Sink => "name it as `sink`",
            };
            let what = format!("plugin {name} ({}) is a {is}, not a {wanted}", spec.file.display());
            Err(Error::new(Kind::Plugin, what).remedy(place))
        }
        _ => Ok(()),
    }
}

/// What the plugin made of its parameters.
fn check_parameters(name: &str, spec: &PluginSpec, says: &Configured) -> Result<()> {
    if let Some(key) = says.refused.first() {
        let what = format!("plugin {name} ({}) does not accept parameter `{key}`", spec.file.display());
        let value = spec.set.iter().find(|(k, _)| k == key).map_or("", |(_, v)| v);
        let check = |value: String| {
            format!("check the name `{key}` and {value} against the plugin's file, or remove it")
        };
        return Err(Error::new(Kind::Plugin, what)
            .private_remedy(check(format!("the value `{value}`")), check("its value".to_owned())));
    }
    Ok(())
}

/// What the plugin made of the format. A processor works on the blocks it gets, whatever it says; a source or
/// sink that runs at another rate would be heard at the wrong pitch.
pub(crate) fn check_format(name: &str, kind: PluginKind, format: Format, says: &Configured) -> Result<()> {
    let channels = u32::try_from(format.channels()).unwrap_or(u32::MAX);
    let differs =
        |says: Option<u32>, is: u32| says.filter(|says| *says != is && kind != PluginKind::Processor);
    if let Some(rate) = differs(says.rate, format.rate()) {
        let what = format!("plugin {name} runs at {rate} Hz, the pipeline at {} Hz", format.rate());
        return Err(Error::new(Kind::Config, what).remedy(format!("set `rate = {rate}` for this pipeline")));
    }
    if let Some(n) = differs(says.channels, channels) {
        let what = format!("plugin {name} has {n} channels, the pipeline {channels}");
        return Err(Error::new(Kind::Config, what).remedy(format!("set `channels = {n}` for this pipeline")));
    }
    Ok(())
}

/// A processor that names another rate than the one it gets: unusual, but no reason not to run.
fn rate_note(name: &str, kind: PluginKind, format: Format, says: &Configured) -> Option<String> {
    let rate = says.rate.filter(|rate| *rate != format.rate() && kind == PluginKind::Processor)?;
    Some(format!("plugin {name} says that it runs at {rate} Hz; it gets {} Hz", format.rate()))
}

pub(crate) fn latency_frames(name: &str, format: Format, latency_s: f64) -> Result<u32> {
    if !(0.0..=LATENCY_MAX_S).contains(&latency_s) {
        let what = format!("plugin {name} says that it delays by {latency_s} s");
        return Err(Error::new(Kind::Plugin, what)
            .remedy(format!("let get_processing_latency return seconds, 0 to {LATENCY_MAX_S}")));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 10 s at no more than 192 kHz
    let frames = (latency_s * f64::from(format.rate())).round() as u32;
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_has_room_for_bursts_four_times_as_long_where_there_are_so_many_slots() {
        let slots = [1, 2, 4, 8, 15, 60, 61, u32::MAX].map(slots_of);
        assert_eq!(slots, [Some(8), Some(16), Some(32), Some(64), Some(64), Some(64), None, None]);
    }

    #[test]
    fn a_burst_has_one_block_more_only_at_another_rate() {
        let format = |channels, rate| Format::new(channels, 128, rate).unwrap();
        let place = Place { format: format(2, 48_000), kind: None, burst: 4 };
        let burst = |channels, rate| place.with(format(channels, rate)).burst;
        assert_eq!([burst(2, 48_000), burst(1, 48_000)], [4, 4]);
        assert_eq!([burst(2, 44_100), burst(2, 96_000), burst(1, 24_000)], [5, 9, 3]);
    }
}
