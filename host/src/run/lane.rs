//! One pipeline of a run over all its lives: as it is wanted, and as it is.
//!
//! For the thread that runs. Whoever wants something of a pipeline changes what is wanted; [`Lane::tend`] sees to it
//! step by step, and what takes long happens on other threads. Pipelines know nothing of each other.

use super::anew::Anew;
use super::contention::contend;
use super::job::{Job, Progress};
use super::recordings::Recordings;
use super::status::LaneStatus;
use super::told::{Ended, Past, Told};
use crate::builtin::{MuteHandle, louder};
use crate::config::{PipelineSpec, SinkSpec, SourceSpec};
use crate::control::Refusal;
use crate::error::{Error, Kind, Result};
use crate::level::Level;
use crate::pipeline::{Around, Pipeline};
use crate::plugin::Plugin;
use crate::report::PipelineStatus;
use crate::supervisor::Supervisor;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one may be on its way from playing to playing again, or to the first time: as long as the unit in the examples
/// gives a start, which is the same work. A plugin may import a model for a minute, and files are completed. What takes
/// longer hangs, such as a recorder on a server that has gone away, and nothing but a new process gets out of that.
const ON_ITS_WAY_MAX: Duration = Duration::from_secs(120);

/// One pipeline.
#[derive(Debug)]
pub(super) struct Lane {
    /// As it is wanted.
    pub(super) spec: PipelineSpec,
    /// It is to play.
    pub(super) is_wanted: bool,
    /// The configuration does not have it any more: it goes when it has stopped.
    pub(super) is_gone: bool,
    /// It is to begin anew, though it is as it is wanted.
    pub(super) is_to_begin_anew: bool,
    /// It does so to have a device back, again and again until it plays.
    anew: Option<Anew>,
    /// Why it could not be started as it is wanted.
    pub(super) why: Option<Refusal>,
    /// Why it is as it played before, and not as it was wanted since.
    pub(super) went_back: Option<Refusal>,
    /// As it played last, or was about to, until something plays in its place.
    before: Option<PipelineSpec>,
    /// As it was opened last, whatever has become of that: the devices that it had are waited for.
    had: Option<PipelineSpec>,
    by_hand: ByHand,
    /// Of the pipeline that was opened last, wherever it is: its devices may take their time to start.
    mute: Option<MuteHandle>,
    /// As it was opened last, with the files that it writes: what it has until it is closed.
    held: Option<PipelineSpec>,
    state: State,
    /// Since when it has been on its way to play, tries that have failed included.
    on_its_way: Option<Instant>,
    /// How it was when it was looked at last.
    status: Option<PipelineStatus>,
}

/// What a user has set over the control socket and the configuration says nothing of. It holds until it is taken back,
/// whatever becomes of the pipeline and its plugins meanwhile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ByHand {
    is_muted: bool,
    /// The plugins that are bypassed, by their names in the configuration.
    bypassed: BTreeSet<String>,
}

/// What is left of a pipeline that has gone, and what it was.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) spec: PipelineSpec,
    by_hand: ByHand,
}

#[derive(Debug)]
enum State {
    Idle,
    Opening(Job<Opened>),
    Beginning(Job<Begun>),
    Playing(Box<Playing>),
    Closing(Job<Ended>),
}

#[derive(Debug)]
struct Playing {
    pipeline: Pipeline,
    /// As it was asked for when it was opened, and has been adjusted since.
    spec: PipelineSpec,
    /// The same with the files that it writes.
    written: PipelineSpec,
}

/// What came of opening one.
#[derive(Debug)]
struct Opened {
    spec: PipelineSpec,
    written: PipelineSpec,
    pipeline: Result<Pipeline>,
    notes: Vec<(Level, String)>,
}

/// What came of telling its devices to play, for which each may take its time.
#[derive(Debug)]
struct Begun {
    playing: Playing,
    outcome: Result<()>,
}

impl Lane {
    /// One that is to be opened.
    pub(super) fn new(spec: PipelineSpec) -> Self {
        Self {
            spec,
            is_wanted: true,
            is_gone: false,
            is_to_begin_anew: false,
            anew: None,
            why: None,
            went_back: None,
            before: None,
            had: None,
            by_hand: ByHand::default(),
            mute: None,
            held: None,
            state: State::Idle,
            on_its_way: None,
            status: None,
        }
    }

    /// One that is to be opened, and was there before.
    pub(super) fn back(spec: PipelineSpec, left: Option<Left>) -> Self {
        Self { by_hand: left.map_or_else(ByHand::default, |left| left.by_hand), ..Self::new(spec) }
    }

    /// One that plays.
    pub(super) fn playing(spec: PipelineSpec, pipeline: Pipeline) -> Self {
        let (written, mute) = (spec.clone(), pipeline.mute());
        let state = State::Playing(Box::new(Playing { pipeline, spec: spec.clone(), written }));
        Self { state, mute, had: Some(spec.clone()), held: Some(spec.clone()), ..Self::new(spec) }
    }

    pub(super) fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its pipeline, if it plays.
    pub(super) fn pipeline(&self) -> Option<&Pipeline> {
        match &self.state {
            State::Playing(playing) => Some(&playing.pipeline),
            _ => None,
        }
    }

    /// Its plugin of this number, if it plays, in the order of [`PipelineSpec::plugin_names`].
    ///
    /// # Errors
    /// Of kind `Config`, if it does not play.
    pub(super) fn plugin(&self, number: usize) -> Result<&Plugin> {
        self.pipeline().and_then(|pipeline| pipeline.plugins().get(number)).ok_or_else(|| {
            let what = format!("pipeline {} does not play: it is {}", self.name(), self.state());
            Error::new(Kind::Config, what).remedy(format!("nda ctl start {}", self.name()))
        })
    }

    // --- what is wanted ---

    /// Mutes it, or not, now and whenever it is started again.
    pub(super) fn set_muted(&mut self, muted: bool) {
        self.by_hand.is_muted = muted;
        self.mute.iter().for_each(|mute| mute.set(muted));
    }

    /// Bypasses a plugin, or not, now and whenever it is started again. That can be taken back also where nothing plays.
    ///
    /// # Errors
    /// If it does not play, or the plugin refuses.
    pub(super) fn set_bypassed(&mut self, number: usize, bypassed: bool) -> Result<()> {
        if bypassed || self.has_pipeline() {
            self.plugin(number)?.set_bypassed(bypassed)?;
        }
        let name = self.spec.plugin_names().get(number).map(|name| (*name).to_owned());
        match name {
            Some(name) if bypassed => _ = self.by_hand.bypassed.insert(name),
            Some(name) => _ = self.by_hand.bypassed.remove(&name),
            None => {}
        }
        Ok(())
    }

    /// Is asked for as it is by now, as its parameters have been set.
    pub(super) fn adjusted(&mut self, spec: PipelineSpec) {
        if let State::Playing(playing) = &mut self.state {
            playing.spec = spec.clone();
        }
        self.spec = spec;
    }

    // --- how it is ---

    /// Whether it plays, and has nothing more to play.
    pub(super) fn is_over(&self) -> bool {
        self.pipeline().is_some_and(Pipeline::has_ended)
    }

    /// Whether it is as it is wanted, or can't be.
    pub(super) fn is_settled(&self) -> bool {
        match self.state {
            State::Idle => !self.is_to_open(),
            State::Playing(_) => !self.is_to_close(),
            State::Opening(_) | State::Beginning(_) | State::Closing(_) => false,
        }
    }

    /// Whether it has, or may have, what is to be let go: one that is on its way to play and not wanted any more too.
    pub(super) fn is_closing(&self) -> bool {
        match self.state {
            State::Closing(_) => true,
            State::Opening(_) | State::Beginning(_) => !self.is_wanted || self.is_gone,
            State::Idle | State::Playing(_) => self.is_to_close(),
        }
    }

    /// Whether one like this has to wait until this one has let go of what it has.
    pub(super) fn keeps_back(&self, spec: &PipelineSpec) -> bool {
        self.is_closing() && self.held.as_ref().is_none_or(|held| contend(held, spec))
    }

    /// Whether it ought to play by now and does not: its last try has failed, or it has been on its way for too long. To be
    /// asked often, as its time counts from when it is first asked on its way.
    pub(super) fn is_overdue(&mut self, now: Instant) -> bool {
        let is_to_play = self.is_wanted && !self.is_gone && self.pipeline().is_none();
        // What nobody tries again by itself is not on its way before it is asked for.
        let is_on_its_way = is_to_play && (self.anew.is_some() || !self.has_failed());
        self.on_its_way = is_on_its_way.then(|| self.on_its_way.unwrap_or(now));
        self.has_failed() || self.on_its_way.is_some_and(|since| now >= since + ON_ITS_WAY_MAX)
    }

    /// Whether it is to play and could not be started.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.state, State::Idle) && self.is_wanted && !self.is_gone && self.why.is_some()
    }

    /// Whether there are plugins that have been told what is bypassed.
    fn has_pipeline(&self) -> bool {
        matches!(self.state, State::Beginning(_) | State::Playing(_))
    }

    /// Whether there is nothing left of one that is to go.
    pub(super) fn is_past(&self) -> bool {
        self.is_gone && matches!(self.state, State::Idle)
    }

    /// In a word.
    pub(super) fn state(&self) -> &'static str {
        match &self.state {
            State::Opening(_) | State::Beginning(_) => "starting",
            State::Closing(_) => "stopping",
            State::Playing(_) if self.is_over() => "ended",
            State::Playing(_) => "playing",
            State::Idle if self.why.is_some() => "failed",
            State::Idle if self.is_to_open() => "starting",
            State::Idle => "stopped",
        }
    }

    /// Looks how it is doing, if it plays, and begins to measure its peaks anew.
    pub(super) fn look(&mut self) -> Option<&PipelineStatus> {
        let State::Playing(playing) = &mut self.state else { return None };
        self.status = Some(playing.pipeline.status());
        self.status.as_ref()
    }

    /// What is left of it in case it comes back: its name, and what is not as it would be without anybody's doing.
    pub(super) fn leave(self) -> Option<(String, Left)> {
        let Self { spec, by_hand, .. } = self;
        (by_hand != ByHand::default()).then(|| (spec.name.clone(), Left { spec, by_hand }))
    }

    /// Its plugins that are bypassed, or will be when it plays.
    fn bypassed(&self, pipeline: Option<&Pipeline>) -> Vec<String> {
        let plugin = |number: usize| pipeline.and_then(|pipeline| pipeline.plugins().get(number));
        let is_bypassed = |(number, name): &(usize, &str)| match plugin(*number) {
            Some(plugin) => plugin.stats().is_bypassed(),
            None => self.by_hand.bypassed.contains(*name),
        };
        let names = self.spec.plugin_names().into_iter().enumerate().filter(is_bypassed);
        names.map(|(_, name)| name.to_owned()).collect()
    }

    /// What keeps it from being heard as its plugins would have it, to be put behind its state: `, muted`; mostly nothing.
    pub(super) fn told_by_hand(&self, pipeline: Option<&Pipeline>) -> String {
        let muted = self.by_hand.is_muted.then(|| ", muted".to_owned());
        let bypassed = self.bypassed(pipeline).into_iter().map(|name| format!(", {name} bypassed"));
        muted.into_iter().chain(bypassed).collect()
    }

    /// How it was when it was [looked at](Lane::look) last.
    pub(super) fn status_as_looked(&self) -> LaneStatus {
        self.status_of(self.status.clone())
    }

    /// How it is, or was when it played; the peaks are those since it was looked at the time before last.
    pub(super) fn status(&mut self) -> LaneStatus {
        let status = match &mut self.state {
            State::Playing(playing) => {
                let mut now = playing.pipeline.status_so_far();
                let looked = self.status.iter().flat_map(|status| &status.peaks_db);
                now.peaks_db.iter_mut().zip(looked).for_each(|(peak, looked)| *peak = louder(*peak, *looked));
                Some(now)
            }
            _ => self.status.clone(),
        };
        self.status_of(status)
    }

    fn status_of(&self, status: Option<PipelineStatus>) -> LaneStatus {
        LaneStatus {
            name: self.name().to_owned(),
            state: self.state(),
            why: self.why.as_ref().or(self.went_back.as_ref()).map(|why| why.why.clone()),
            muted: self.by_hand.is_muted,
            bypassed: self.bypassed(self.pipeline()),
            status,
        }
    }

    /// What has happened, if it plays.
    pub(super) fn news(&mut self) -> Vec<(Level, String)> {
        match &mut self.state {
            State::Playing(playing) => playing.pipeline.news(),
            _ => Vec::new(),
        }
    }

    // --- step by step ---

    fn is_to_close(&self) -> bool {
        let State::Playing(playing) = &self.state else { return false };
        !self.is_wanted || self.is_gone || self.is_to_begin_anew || playing.spec != self.spec
    }

    /// Whether it is to be opened, and nothing is in its way here.
    pub(super) fn is_to_open(&self) -> bool {
        matches!(self.state, State::Idle) && self.is_wanted && !self.is_gone && self.why.is_none()
    }

    /// Takes what other threads have finished, stops what is not wanted any more, and what has to begin anew.
    pub(super) fn tend(&mut self, past: &mut Past, recordings: &mut Recordings, told: &mut Told<'_>) {
        self.state = match std::mem::replace(&mut self.state, State::Idle) {
            State::Opening(job) => match job.look() {
                Progress::UnderWay(job) => State::Opening(job),
                Progress::Done(opened) => self.opened(opened, recordings, told),
                Progress::Lost => self.failed(Error::new(Kind::System, "opening it panicked"), told),
            },
            State::Beginning(job) => match job.look() {
                Progress::UnderWay(job) => State::Beginning(job),
                Progress::Done(begun) => self.begun(begun, told),
                Progress::Lost => self.failed(Error::new(Kind::System, "starting it panicked"), told),
            },
            State::Closing(job) => match job.look() {
                Progress::UnderWay(job) => State::Closing(job),
                Progress::Done(ended) => self.ended(ended, past, told),
                Progress::Lost => State::Idle,
            },
            state => state,
        };
        self.tend_anew(told);
        if self.is_to_close()
            && let State::Playing(playing) = std::mem::replace(&mut self.state, State::Idle)
        {
            // One that is played again from its end on is in nobody's place.
            let is_again = std::mem::take(&mut self.is_to_begin_anew) && playing.pipeline.has_ended();
            let is_replaced = self.is_wanted && !self.is_gone && !is_again;
            self.before = is_replaced.then(|| playing.spec.clone());
            self.state = close(*playing);
        }
    }

    /// Has it begin anew if a device of it can't be had back otherwise. If it could not be opened so, that is tried again.
    fn tend_anew(&mut self, told: &mut Told<'_>) {
        if !self.is_wanted || self.is_gone {
            // Nor does anything play in anybody's place any more.
            (self.anew, self.before) = (None, None);
            return;
        }
        let outgrown = self.pipeline().filter(|pipeline| !pipeline.has_ended()).and_then(Pipeline::outgrown);
        if let Some(outgrown) = outgrown.filter(|_| !self.is_to_close()).cloned() {
            let line = format!("{}: it is opened anew: {}", self.name(), outgrown.words);
            told.line(Level::Warning, line);
            (self.is_to_begin_anew, self.anew) = (true, Some(Anew::new(outgrown, self.spec.clone())));
        }
        let is_idle = matches!(self.state, State::Idle);
        if let Some(anew) = self.anew.as_mut().filter(|_| is_idle)
            && anew.is_due(Instant::now())
        {
            self.why = None;
        }
    }

    /// Tells a line, but none twice while it is tried again and again.
    fn tell(&mut self, level: Level, line: String, told: &mut Told<'_>) {
        if self.anew.as_mut().is_none_or(|anew| anew.is_news(&line)) {
            told.line(level, line);
        }
    }

    /// Begins to open it, as it [is to be](Self::is_to_open).
    pub(super) fn open(
        &mut self,
        supervisor: &Arc<Supervisor>,
        prefix: String,
        recordings: &Recordings,
        told: &mut Told<'_>,
    ) {
        let (spec, supervisor) = (self.spec.clone(), Arc::clone(supervisor));
        let (mut written, lines) = recordings.spare(&spec);
        self.had.iter().for_each(|had| wait_for_devices_of(had, &mut written));
        let insists = self.anew.iter().filter(|anew| anew.is_of(&spec));
        insists.for_each(|anew| anew.insist(&mut written));
        for line in lines {
            self.tell(Level::Info, format!("{}: {line}", self.name()), told);
        }
        self.held = Some(written.clone());
        // What it broke off in is not gone on with by a step.
        let rising = self.anew.is_some();
        let job = Job::begin(move || {
            let mut notes = Vec::new();
            let around = Around { rising, ..Around::default() };
            let mut note = |level, line| notes.push((level, line));
            let pipeline = Pipeline::open_around(&written, &supervisor, &prefix, around, &mut note);
            Opened { spec, written, pipeline, notes }
        });
        self.state = job.map_or_else(|why| self.failed(no_thread(why), told), State::Opening);
    }

    fn opened(&mut self, opened: Opened, recordings: &mut Recordings, told: &mut Told<'_>) -> State {
        let Opened { spec, written, pipeline, notes } = opened;
        notes.into_iter().for_each(|(level, line)| self.tell(level, line, told));
        let pipeline = match pipeline {
            Ok(pipeline) => pipeline,
            // Its successor is to be judged by its own faults.
            Err(_) if spec != self.spec => return State::Idle,
            Err(why) => return self.failed(why, told),
        };
        recordings.add(&written);
        self.had = Some(spec.clone());
        if !self.is_wanted || self.is_gone || spec != self.spec {
            // It could have played: its successor is as good as it, or it is taken back.
            self.before = Some(spec.clone());
            return close(Playing { pipeline, spec, written });
        }
        self.prepare(&pipeline, told);
        self.mute = pipeline.mute();
        let mut playing = Playing { pipeline, spec, written };
        let job = Job::begin(move || {
            let outcome = playing.pipeline.play();
            Begun { playing, outcome }
        });
        job.map_or_else(|why| self.failed(no_thread(why), told), State::Beginning)
    }

    fn begun(&mut self, Begun { playing, outcome }: Begun, told: &mut Told<'_>) -> State {
        if let Err(why) = outcome {
            // Its successor is to be judged by its own faults.
            if playing.spec == self.spec {
                self.failed(why, told);
            }
            return close(playing);
        }
        (self.before, self.status, self.anew) = (None, None, None);
        let by_hand = self.told_by_hand(Some(&playing.pipeline));
        told.line(Level::Info, format!("{}: started{by_hand}", self.name()));
        State::Playing(Box::new(playing))
    }

    /// What is muted and bypassed by hand is so from its first block on. A plugin that can't be bypassed any more may be
    /// one again that can.
    fn prepare(&self, pipeline: &Pipeline, told: &mut Told<'_>) {
        pipeline.set_muted(self.by_hand.is_muted);
        for (name, plugin) in self.spec.plugin_names().into_iter().zip(pipeline.plugins()) {
            if self.by_hand.bypassed.contains(name)
                && let Err(why) = plugin.set_bypassed(true)
            {
                told.line(Level::Warning, why.to_string());
            }
        }
    }

    /// What played before is taken back if its successor can't be started; the first one stays failed, and one that is
    /// opened anew waits for the next try.
    fn failed(&mut self, why: Error, told: &mut Told<'_>) -> State {
        let before = self.before.as_ref().filter(|before| self.is_wanted && **before != self.spec);
        let Some(before) = before.cloned() else {
            let what = if self.anew.is_some() { "can't be opened anew yet" } else { "not started" };
            self.tell(Level::Error, format!("{}: {what}: {}", self.name(), why.for_log()), told);
            self.anew.iter_mut().for_each(|anew| anew.failed(Instant::now()));
            self.why = Some(Refusal::from(&why));
            return State::Idle;
        };
        let what = "it can't be started as it is configured now, and is started again as it was";
        told.line(Level::Error, format!("{}: {what}: {}", self.name(), why.for_log()));
        self.went_back = Some(Refusal { why: format!("{what}: {why}"), ..Refusal::from(&why) });
        self.spec = before;
        State::Idle
    }

    fn ended(&mut self, ended: Ended, past: &mut Past, told: &mut Told<'_>) -> State {
        self.status = Some(ended.status.clone());
        past.add(ended, told);
        told.line(Level::Info, format!("{}: stopped", self.name()));
        State::Idle
    }

    // --- at the end of the run ---

    /// Stops its devices.
    pub(super) fn halt(&mut self) {
        if let State::Playing(playing) = &mut self.state {
            playing.pipeline.halt();
        }
    }

    /// Closes it, if it plays, was told to or is being closed.
    pub(super) fn close(&mut self, past: &mut Past, told: &mut Told<'_>) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Playing(playing) => past.add(end(*playing), told),
            State::Beginning(job) => {
                if let Some(begun) = job.wait() {
                    past.add(end(begun.playing), told);
                }
            }
            State::Closing(job) => {
                if let Some(ended) = job.wait() {
                    self.ended(ended, past, told);
                }
            }
            state => self.state = state,
        }
    }

    /// Waits for one that is being opened, whose plugins have been asked to go.
    pub(super) fn give_up(self) {
        if let State::Opening(job) = self.state
            && let Some(Opened { pipeline: Ok(pipeline), .. }) = job.wait()
        {
            pipeline.close();
        }
    }
}

/// Has a pipeline begin without those of its devices that are not there and that it had when it was opened before: so it would
/// have gone on without them.
fn wait_for_devices_of(before: &PipelineSpec, spec: &mut PipelineSpec) {
    if let (SourceSpec::Device(had), SourceSpec::Device(device)) = (&before.source, &mut spec.source) {
        device.fallback_virtual |= had.name == device.name;
    }
    if let (SinkSpec::Device(had), SinkSpec::Device(device)) = (&before.sink, &mut spec.sink) {
        device.fallback_virtual |= had.name == device.name;
    }
}

fn no_thread(why: std::io::Error) -> Error {
    Error::new(Kind::System, "there is no thread to start it").source(why)
}

/// Closes one on a thread of its own.
fn close(mut playing: Playing) -> State {
    // Whoever is opened meanwhile may have its cores.
    playing.pipeline.get_up();
    // Without a thread it is dropped: its devices are stopped, and its workers end.
    Job::begin(move || end(playing)).map_or(State::Idle, State::Closing)
}

fn end(Playing { mut pipeline, written, .. }: Playing) -> Ended {
    pipeline.halt();
    let status = pipeline.status();
    Ended { spec: written, status, news: pipeline.news(), closed: pipeline.close() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::virtual_device::VirtualHost;
    use crate::backend::{Device, StreamFormat};
    use crate::config::{DeviceSpec, FileSinkSpec};
    use crate::plugin::spec::PluginSpec;
    use crate::run::owing;
    use crate::run::tests::Deaf;
    use crate::until::until;
    use std::time::Duration;

    /// Looks after it until it is no longer `state`.
    fn tend_while(lane: &mut Lane, state: &str, told: &mut Told<'_>) {
        until("another state", || {
            lane.tend(&mut Past::default(), &mut Recordings::default(), told);
            lane.state() != state
        });
    }

    #[test]
    fn a_device_that_takes_its_time_to_start_holds_up_nobody_who_looks_after_its_pipeline() {
        let (mut deaf, host) = (Deaf, VirtualHost::new());
        let mut told = Told::new(&mut deaf);
        let spec = PipelineSpec::new(SourceSpec::device("virtual"), SinkSpec::device("virtual"));
        let (supervisor, _events) = Supervisor::new().unwrap();
        let around = Around { virtual_host: Some(host.clone()), ..Around::default() };
        let pipeline = Pipeline::open_around(&spec, &supervisor, "", around, &mut |_, _| ());
        let mute = pipeline.as_ref().unwrap().mute().unwrap();
        let mut lane = Lane::new(spec.clone());
        host.outputs().hang();
        let opened = Opened { spec: spec.clone(), written: spec, pipeline, notes: Vec::new() };
        lane.state = lane.opened(opened, &mut Recordings::default(), &mut told);
        lane.tend(&mut Past::default(), &mut Recordings::default(), &mut told);
        assert_eq!(lane.state(), "starting");
        // Muted on the way, it is at once.
        lane.set_muted(true);
        assert!(mute.is_on());
        host.outputs().put_back();
        tend_while(&mut lane, "starting", &mut told);
        assert_eq!(
            (lane.state(), told.lines.make_contiguous()),
            ("playing", &mut ["main: started, muted".to_owned()][..])
        );
        assert!(lane.pipeline().is_some_and(Pipeline::is_muted));
    }

    /// One that is looked after.
    struct Scene {
        lane: Lane,
        recordings: Recordings,
        past: Past,
    }

    const PATIENCE: Duration = Duration::from_secs(60);
    const CABLE: &str = "a lane's radio";
    /// Frames of its buffer. At a sixth of the rate there is no room for them in the queue before it.
    const LONG: u32 = 8192;
    const SLOW: StreamFormat = StreamFormat { rate: 8_000, channels: 2, buffer_frames: Some(LONG) };

    fn cable(end: impl Fn(&VirtualHost, StreamFormat) -> Result<Device>) -> Device {
        end(&VirtualHost::new().cable(CABLE), SLOW).unwrap()
    }

    impl Scene {
        /// Of one that plays beside this host's devices.
        fn playing(spec: &PipelineSpec, host: &VirtualHost, supervisor: &Supervisor) -> Self {
            let around = Around { virtual_host: Some(host.clone()), ..Around::default() };
            let mut pipeline = Pipeline::open_around(spec, supervisor, "", around, &mut |_, _| ()).unwrap();
            pipeline.play().unwrap();
            let mut recordings = Recordings::default();
            recordings.add(spec);
            Self { lane: Lane::playing(spec.clone(), pipeline), recordings, past: Past::default() }
        }

        fn tend(&mut self, told: &mut Told<'_>) {
            for (level, line) in self.lane.news() {
                told.line(level, line);
            }
            self.lane.tend(&mut self.past, &mut self.recordings, told);
            std::thread::yield_now();
        }

        /// Looks after it until `done`.
        fn until(&mut self, what: &str, told: &mut Told<'_>, mut done: impl FnMut(&mut Self) -> bool) {
            let began = Instant::now();
            while !done(self) {
                assert!(began.elapsed() < PATIENCE, "waited in vain: {what}: {:?}", told.lines);
                self.tend(told);
            }
        }

        fn open(&mut self, supervisor: &Arc<Supervisor>, told: &mut Told<'_>) {
            self.lane.open(supervisor, String::new(), &self.recordings, told);
        }

        /// Opens it as often as it is to be opened, until it plays.
        fn until_it_plays(&mut self, supervisor: &Arc<Supervisor>, told: &mut Told<'_>) {
            let began = Instant::now();
            while self.lane.state() != "playing" {
                assert!(began.elapsed() < PATIENCE && !self.lane.has_failed(), "{:?}", told.lines);
                if self.lane.is_to_open() {
                    self.open(supervisor, told);
                }
                self.tend(told);
            }
        }

        fn lost(&mut self) -> Option<f64> {
            self.lane.status().status.and_then(|status| status.devices[0].lost_s)
        }
    }

    #[test]
    fn one_whose_device_comes_back_larger_is_opened_anew_as_it_was_as_often_as_that_takes() {
        let folder = tempfile::tempdir().unwrap();
        let record = Some(FileSinkSpec::new(folder.path().join("a.wav")));
        let sink = DeviceSpec { buffer_frames: Some(LONG), ..DeviceSpec::new(&format!("virtual:{CABLE}")) };
        let spec = PipelineSpec::new(SourceSpec::device("virtual"), SinkSpec::Device(sink));
        let spec = PipelineSpec { record, block_frames: 256, ..spec };
        let (mut silent, host) = (Deaf, VirtualHost::new());
        let mut told = Told::new(&mut silent);
        let (supervisor, _events) = Supervisor::new().unwrap();
        let supervisor = Arc::new(supervisor);
        let mut grown = Scene::playing(&spec, &host, &supervisor);
        grown.lane.set_muted(true);
        host.outputs().pull_out();
        grown.until("the loss", &mut told, |grown| grown.lost().is_some());
        // The cable has the rate of the first one that is on it.
        let is_free = || cable(VirtualHost::input_device).rate() == SLOW.rate;
        grown.until("nobody is on it", &mut told, |_| is_free());
        let _listener = cable(VirtualHost::input_device).open_input(|_| (), |_| ()).unwrap();
        host.outputs().put_back();
        grown.until("it is stopped", &mut told, |grown| grown.lane.state() == "starting");
        // Somebody else has it just now.
        let other = cable(VirtualHost::output_device).open_output(|_| (), |_| ()).unwrap();
        for _ in 0..2 {
            grown.open(&supervisor, &mut told);
            grown.until("it can't be opened", &mut told, |grown| grown.lane.state() == "failed");
            let status = grown.lane.status();
            assert!(status.why.as_ref().unwrap().contains(CABLE), "{status:?}");
            grown.until("it is tried again", &mut told, |grown| grown.lane.state() == "starting");
        }
        drop(other);
        grown.open(&supervisor, &mut told);
        grown.until("it plays", &mut told, |grown| grown.lane.state() == "playing");
        assert!(grown.lane.pipeline().is_some_and(Pipeline::is_muted));
        assert_eq!(grown.lost(), None);
        assert_eq!(grown.lane.spec, spec);
        assert!(folder.path().join("a-2.wav").exists() && !folder.path().join("a-3.wav").exists());
        let count = |words: &str| told.lines.iter().filter(|line| line.contains(words)).count();
        let anew = format!(
            "main: it is opened anew: the output device virtual:{CABLE}: its buffer has {LONG} \
             frames now, and the pipeline was opened for"
        );
        for words in [&anew, "main: stopped", "can't be opened anew yet", "a-2.wav", "main: started, muted"] {
            assert_eq!(count(words), 1, "{words}: {:?}", told.lines);
        }
    }

    fn song() -> PipelineSpec {
        PipelineSpec::new(SourceSpec::file("a.wav"), SinkSpec::device("virtual"))
    }

    /// As if a device of it had come back larger.
    fn anew(lane: &Lane) -> Anew {
        let outgrown = crate::pipeline::Outgrown { is_input: false, known: None, words: String::new() };
        Anew::new(outgrown, lane.spec.clone())
    }

    fn playing() -> Lane {
        let (supervisor, _events) = Supervisor::new().unwrap();
        let spec = PipelineSpec::new(SourceSpec::device("virtual"), SinkSpec::device("virtual"));
        let pipeline = Pipeline::open(&spec, &supervisor, "", &mut |_, _| ()).unwrap();
        Lane::playing(spec, pipeline)
    }

    #[test]
    fn one_that_is_replaced_while_its_device_is_away_plays_on_and_has_it_as_soon_as_it_is_there() {
        const RADIO: &str = "a lane's other radio";
        let name = format!("virtual:{RADIO}");
        let spec = PipelineSpec::new(SourceSpec::device("virtual"), SinkSpec::device(&name));
        let (mut silent, host) = (Deaf, VirtualHost::new());
        let mut told = Told::new(&mut silent);
        let (supervisor, _events) = Supervisor::new().unwrap();
        let supervisor = Arc::new(supervisor);
        let mut scene = Scene::playing(&spec, &host, &supervisor);
        host.outputs().pull_out();
        scene.until("the loss", &mut told, |scene| scene.lost().is_some());
        // For whoever opens it from now on, it is somebody else's.
        let format = StreamFormat { rate: 48_000, channels: 2, buffer_frames: None };
        let take =
            || VirtualHost::new().cable(RADIO).output_device(format).unwrap().open_output(|_| (), |_| ());
        let mut other = None;
        scene.until("it is let go", &mut told, |_| {
            other = take().ok();
            other.is_some()
        });
        // Another one in its place; then one that can't be started, and it again.
        let successor = PipelineSpec { block_frames: 128, ..spec.clone() };
        let bad = PipelineSpec { source: SourceSpec::file("/nowhere/in.wav"), ..spec.clone() };
        for wanted in [successor.clone(), bad] {
            scene.lane.spec = wanted;
            scene.until("it is stopped", &mut told, |scene| scene.lane.state() == "stopping");
            scene.until_it_plays(&supervisor, &mut told);
            assert_eq!(scene.lane.spec, successor);
            assert!(scene.lost().is_some());
        }
        assert!(scene.lane.went_back.is_some());
        drop(other.take());
        scene.until("it is back", &mut told, |scene| scene.lost().is_none());
        // So it is when it has been stopped meanwhile.
        scene.lane.is_wanted = false;
        scene.until("it is stopped", &mut told, |scene| scene.lane.state() == "stopped");
        let other = take().unwrap();
        scene.lane.is_wanted = true;
        scene.until_it_plays(&supervisor, &mut told);
        assert!(scene.lost().is_some());
        drop(other);
        scene.until("it is back again", &mut told, |scene| scene.lost().is_none());
    }

    #[test]
    fn one_that_is_to_be_opened_anew_and_is_stopped_stays_so() {
        let mut silent = Deaf;
        let mut told = Told::new(&mut silent);
        let mut lane = Lane::new(song());
        lane.anew = Some(anew(&lane));
        lane.failed(Error::new(Kind::Device, "it is away"), &mut told);
        assert_eq!(
            (lane.state(), lane.is_overdue(Instant::now()), lane.has_failed()),
            ("failed", true, true)
        );
        // As a client has it stopped.
        (lane.is_wanted, lane.why) = (false, None);
        assert!(!lane.is_overdue(Instant::now()) && !lane.has_failed());
        lane.tend(&mut Past::default(), &mut Recordings::default(), &mut told);
        assert_eq!((lane.state(), lane.anew.is_none()), ("stopped", true));
    }

    #[test]
    fn progress_is_owed_where_nothing_plays_and_a_try_has_failed() {
        let lane = |name: &str, has_failed: bool, is_opened_anew: bool| {
            let mut lane = Lane { spec: PipelineSpec { name: name.into(), ..song() }, ..Lane::new(song()) };
            let why = Error::new(Kind::Device, "it is away");
            lane.why = has_failed.then(|| Refusal::from(&why));
            lane.anew = is_opened_anew.then(|| anew(&lane));
            lane
        };
        let mut lanes =
            vec![lane("new", false, false), lane("failed", true, false), lane("anew", true, true)];
        let now = Instant::now();
        assert!(owing(&mut lanes, now));
        lanes[1].is_wanted = false;
        assert!(owing(&mut lanes, now), "the one that is opened anew");
        lanes[2].is_wanted = false;
        assert!(!owing(&mut lanes, now));
        lanes[1].is_wanted = true;
        assert!(owing(&mut lanes, now), "the one that has failed");
        lanes.push(playing());
        assert!(!owing(&mut lanes, now), "it is not ended for another's device");
        assert!(!owing(&mut lanes, now + ON_ITS_WAY_MAX), "nor because one hangs");
        lanes.pop();
        lanes[1].is_wanted = false;
        assert!(
            owing(&mut lanes, now + ON_ITS_WAY_MAX),
            "the new one hangs, as was seen while another played"
        );
    }

    #[test]
    fn one_that_is_on_its_way_owes_nothing_until_that_has_taken_too_long() {
        let (_release, held) = std::sync::mpsc::channel::<()>();
        // It never comes back, as from a file on a server that has gone away.
        let hung = Job::begin(move || {
            let _ = held.recv();
            std::panic::resume_unwind(Box::new(()))
        });
        let (mut lane, now, moment) = (playing(), Instant::now(), Duration::from_millis(1));
        assert!(!lane.is_overdue(now), "it plays");
        // As a reload has it closed for a successor.
        let left = now + ON_ITS_WAY_MAX;
        lane.state = State::Closing(hung.unwrap());
        assert!(!lane.is_overdue(left) && !lane.is_overdue(left + ON_ITS_WAY_MAX - moment));
        assert!(lane.is_overdue(left + ON_ITS_WAY_MAX));
        lane.is_wanted = false;
        assert!(!lane.is_overdue(left + ON_ITS_WAY_MAX), "nobody wants it");
        lane.is_wanted = true;
        let again = left + 2 * ON_ITS_WAY_MAX;
        assert!(!lane.is_overdue(again), "its time begins anew with what is wanted");
        assert!(lane.is_overdue(again + ON_ITS_WAY_MAX));
        lane.state = playing().state;
        assert!(!lane.is_overdue(again + ON_ITS_WAY_MAX), "it plays at last");
    }

    #[test]
    fn one_that_is_opened_anew_owes_nothing_during_a_try_but_between_them_and_after_too_many() {
        let (mut lane, now) = (Lane::new(song()), Instant::now());
        lane.anew = Some(anew(&lane));
        assert!(!lane.is_overdue(now), "its plugins are loaded");
        let why = Refusal::from(&Error::new(Kind::Device, "it is away"));
        for second in 1..120 {
            let now = now + Duration::from_secs(second);
            lane.why = (second % 2 == 0).then(|| why.clone());
            assert_eq!(lane.is_overdue(now), lane.why.is_some(), "second {second}");
        }
        lane.why = None;
        assert!(lane.is_overdue(now + ON_ITS_WAY_MAX), "tries alone are no progress");
        // Nobody tries it again by itself; later somebody asks for it.
        (lane.anew, lane.why) = (None, Some(why));
        assert!(lane.is_overdue(now + ON_ITS_WAY_MAX));
        lane.why = None;
        assert!(!lane.is_overdue(now + 2 * ON_ITS_WAY_MAX), "it is a new start");
    }

    #[test]
    fn a_bypass_can_be_taken_back_while_nothing_plays_and_none_be_set() {
        let spec = PipelineSpec::new(SourceSpec::device("virtual"), SinkSpec::device("virtual"));
        let spec = spec.then(PluginSpec::new("gain.py").into());
        let bypassed = ["gain".to_owned()].into();
        let mut lane =
            Lane::back(spec.clone(), Some(Left { spec, by_hand: ByHand { bypassed, ..ByHand::default() } }));
        assert_eq!(lane.status().bypassed, ["gain"]);
        lane.set_bypassed(0, false).unwrap();
        assert_eq!(lane.status().bypassed, [""; 0]);
        assert!(lane.set_bypassed(0, true).unwrap_err().to_string().contains("does not play"));
    }

    #[test]
    fn one_that_is_being_opened_and_not_wanted_any_more_is_waited_for_by_those_who_want_its_device() {
        let spec = PipelineSpec::new(SourceSpec::device("virtual"), SinkSpec::device("virtual"));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let mut lane = Lane::new(spec.clone());
        let opening = Job::begin(move || {
            let _ = held.recv();
            let pipeline = Err(Error::new(Kind::Device, "there is none"));
            Opened { spec: spec.clone(), written: spec, pipeline, notes: Vec::new() }
        });
        lane.state = State::Opening(opening.unwrap());
        let other = PipelineSpec::new(SourceSpec::file("a.wav"), SinkSpec::device("virtual:radio"));
        lane.held = Some(other.clone());
        assert!(!lane.is_closing() && !lane.keeps_back(&other), "it is wanted");
        lane.is_wanted = false;
        assert!(lane.is_closing() && lane.keeps_back(&other));
        assert!(!lane.keeps_back(&lane.spec), "who wants something else does not wait");
        (lane.is_wanted, lane.is_gone) = (true, true);
        assert!(lane.is_closing() && lane.keeps_back(&other));
        drop(release);
    }
}
