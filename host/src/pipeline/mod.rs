//! A pipeline in real time: source, chain and sink, running on the clock of a device.
//!
//! The sink's device paces the pipeline; without one, or where `clock` is `"source"`, the source's does; without either
//! the virtual device. All of the chain runs in that device's callback. This half, for the thread that watches, opens
//! everything, tells how it goes, and closes it in the order that keeps every file whole.

mod attempt;
mod baton;
mod blame;
mod callback;
mod devices;
mod engine;
mod fade;
mod knobs;
mod latency;
mod lookout;
mod opening;
mod pace;
mod plugins;
mod port;
mod pulse;
mod streams;
mod transit;

pub use baton::{Baton, Claim};
pub use callback::{InputCallback, OutputCallback, QueueCallback};
pub use engine::Engine;
pub use pulse::Pulse;

use crate::backend::virtual_device::VirtualHost;
use crate::builtin::{MeterHandle, linear_to_db};
use crate::config::PipelineSpec;
use crate::disk::{PlayerThread, Progress, RecorderThread};
use crate::edge::CaptureCounts;
use crate::error::{Error, Result};
use crate::level::Level;
use crate::plugin::{Place, Plugin};
use crate::processor::Processor;
use crate::realtime::Seat;
use crate::report::{CaptureStatus, Latency, PipelineStatus, RealTimeStatus, Xruns};
use crate::supervisor::Supervisor;
use crate::telemetry::PluginStats;
use blame::Counts;
use devices::Devices;
use knobs::Knobs;
use latency::Plan;
pub(crate) use opening::with_format_of_source;
use opening::{Opening, format_of, source_file};
pub(crate) use port::Outgrown;
use port::Port;
use shared::format::Format;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A pipeline that is open: it plays until it is closed.
#[derive(Debug)]
pub struct Pipeline {
    name: String,
    format: Format,
    words: Words,
    plan: Plan,
    /// The one that paces it comes first. Their callbacks have the chain: they go before its plugins.
    ports: Vec<Port>,
    plugins: Vec<Plugin>,
    knobs: Knobs,
    section: Option<Arc<PluginStats>>,
    progress: Option<Arc<Progress>>,
    player: Option<PlayerThread>,
    recorders: Vec<(PathBuf, RecorderThread)>,
    /// Frames by which the chain is behind, for the recorders.
    behind_frames: Arc<AtomicU64>,
    meter: MeterHandle,
    frames: Arc<AtomicU64>,
    capture: Option<Arc<CaptureCounts>>,
    /// Each channel's peak of the whole run.
    highest: Vec<f32>,
    /// Failures of files that have been told.
    told: Vec<String>,
    seat: Seat,
}

/// What the ends and the clock are, in words.
#[derive(Debug, Clone)]
struct Words {
    /// `None`: an input device, which may be another one by the time that somebody asks.
    source: Option<String>,
    /// `None`: an output device.
    sink: Option<String>,
    record: Option<String>,
    clock: String,
}

impl Pipeline {
    /// Opens files and devices and starts the plugins; nothing is heard yet. `prefix` goes before the plugins'
    /// names in messages; `note` is told what the user should know about the start, and how much it matters.
    ///
    /// # Errors
    /// What can't be opened or started; nothing is left behind then.
    pub fn open(
        spec: &PipelineSpec,
        supervisor: &Supervisor,
        prefix: &str,
        note: &mut dyn FnMut(Level, String),
    ) -> Result<Self> {
        Self::open_around(spec, supervisor, prefix, Around::default(), note)
    }

    /// As [`Pipeline::open`], with processors of the caller's own around the elements.
    ///
    /// # Errors
    /// As [`Pipeline::open`].
    pub fn open_around(
        spec: &PipelineSpec,
        supervisor: &Supervisor,
        prefix: &str,
        around: Around,
        note: &mut dyn FnMut(Level, String),
    ) -> Result<Self> {
        let reader = source_file(spec, note)?;
        let format = format_of(spec, reader.as_ref())?;
        let devices = Devices::settle(spec, format, around.virtual_host.as_ref(), note)?;
        let seat = supervisor.realtime().seat(&spec.affinity, spec.power)?;
        let place = Place { format, kind: None, burst: devices.burst(format) };
        let remotes = plugins::start(spec, supervisor, prefix, place, seat.cores())?;
        remotes.plugins.iter().flat_map(Plugin::notes).for_each(|line| note(Level::Info, line.clone()));
        Opening::new(spec, format, devices).build(reader, remotes, around, seat)
    }

    /// Begins to play.
    ///
    /// # Errors
    /// Of kind `Device`, if a device refuses.
    pub fn play(&mut self) -> Result<()> {
        // An input has something to give when the output begins to take.
        let (inputs, outputs): (Vec<_>, Vec<_>) = self.ports.iter_mut().partition(|port| port.is_input());
        inputs.into_iter().chain(outputs).try_for_each(Port::play)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it gets of the machine.
    #[must_use]
    pub fn real_time(&self) -> RealTimeStatus {
        self.seat.status()
    }

    /// Its Python plugins, in the order of the chain.
    #[must_use]
    pub fn plugins(&self) -> &[Plugin] {
        &self.plugins
    }

    /// The same, to be changed.
    pub fn plugins_mut(&mut self) -> &mut [Plugin] {
        &mut self.plugins
    }

    /// Whether the source has ended and all of it has reached the sink, and has left it, if that is a device.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let end = self.progress.as_ref().and_then(|progress| progress.end());
        let played = self.frames.load(Ordering::Relaxed);
        let recorded = self.recorders.iter().all(|(_, r)| r.recording().is_done());
        let outputs = self.ports.iter().filter(|port| !port.is_input());
        let rest: u64 = outputs.map(Port::rest_frames).sum();
        let latency = u64::from(self.plan.delays.chain_frames) + u64::from(self.added_frames()) + rest;
        end.is_some_and(|end| played >= end + latency) && recorded
    }

    /// Frames that it comes later than planned, because plugins were moved to pipelined.
    fn added_frames(&self) -> u32 {
        self.plugins.iter().map(|plugin| plugin.stats().added_frames()).sum()
    }

    /// Its latency as it is now.
    fn latency(&self) -> Latency {
        let devices: Vec<_> = self.ports.iter().map(Port::added).collect();
        let grown = self.capture.as_deref().map_or(0, CaptureCounts::grown_frames);
        self.plan.latency(&devices, grown, self.added_frames())
    }

    /// Looks after its devices: one that is lost is opened again as soon as it is there. Tells what has happened to
    /// them, to files and to plugins' samples since the last time, in words, and how much it matters. To be called
    /// about every 20 ms; it waits for nothing but, where a device's buffer has grown, a block that is under way.
    pub fn news(&mut self) -> Vec<(Level, String)> {
        let of_plugins = self.plugins.iter_mut().filter_map(Plugin::news);
        let mut news: Vec<_> = of_plugins.map(|line| (Level::Warning, line)).collect();
        for why in self.file_failures() {
            if !self.told.contains(&why) {
                news.push((Level::Error, format!("{}: {why}", self.name)));
                self.told.push(why);
            }
        }
        let mut of_devices = Vec::new();
        self.ports.iter_mut().for_each(|port| port.tend(Instant::now(), &mut of_devices));
        self.take_delays();
        news.extend(of_devices.into_iter().map(|(level, line)| (level, format!("{}: {line}", self.name))));
        news
    }

    /// Why files can't be read or written any more, of each for which that is so.
    fn file_failures(&self) -> Vec<String> {
        let read = self.progress.iter().filter_map(|progress| progress.failure());
        let written = self.recorders.iter().filter_map(|(_, recorder)| recorder.recording().failure());
        read.chain(written).map(str::to_owned).collect()
    }

    /// The chain comes later than it did, once it has been planned for a device that takes or brings more at a time.
    fn take_delays(&mut self) {
        for delays in self.ports.iter_mut().filter_map(Port::new_delays) {
            self.plan = Plan { delays, ..self.plan };
            self.behind_frames.store(delays.chain_frames.into(), Ordering::Relaxed);
        }
    }

    /// A device that takes or brings more at a time now than there is room for in the pipeline: one that plays, or one that
    /// was lost, when it was tried last.
    pub(crate) fn outgrown(&self) -> Option<&Outgrown> {
        self.ports.iter().find_map(Port::outgrown)
    }

    /// How it is doing; the peaks are those since the last time.
    pub fn status(&mut self) -> PipelineStatus {
        let peaks = self.meter.take_peaks();
        self.status_with(peaks)
    }

    /// How it is doing, for whoever asks in between: the peaks are those so far.
    pub fn status_so_far(&mut self) -> PipelineStatus {
        let peaks = self.meter.peaks_so_far();
        self.status_with(peaks)
    }

    fn status_with(&mut self, mut peaks: Vec<f32>) -> PipelineStatus {
        let captured = |get: fn(&CaptureCounts) -> u64| self.capture.as_deref().map_or(0, get);
        let db = |peak: &f32| (*peak > 0.0).then(|| linear_to_db(*peak));
        for (highest, peak) in self.highest.iter_mut().zip(&peaks) {
            *highest = highest.max(*peak);
        }
        match self.ports.first() {
            Some(pacing) if !pacing.is_halted() => self.words.clock = pacing.clock(),
            _ => peaks.clone_from(&self.highest),
        }
        let now = Instant::now();
        self.ports.iter_mut().for_each(|port| port.judge(now));
        PipelineStatus {
            name: self.name.clone(),
            source: self.source(),
            sink: self.sink(),
            clock: self.words.clock.clone(),
            cores: self.seat.cores().to_vec(),
            fifo: self.seat.fifo(),
            rate: self.format.rate(),
            channels: self.format.channels(),
            block_frames: self.format.block_frames(),
            frames: self.frames.load(Ordering::Relaxed),
            latency: self.latency(),
            capture: self.capture.as_deref().map(CaptureStatus::of),
            peaks_db: peaks.iter().map(db).collect(),
            xruns: self.xruns(),
            devices: self.ports.iter().map(|port| port.status(now)).collect(),
            underrun_frames: self.progress.as_ref().map_or(0, |p| p.underrun_frames())
                + captured(CaptureCounts::underrun_frames),
            overrun_frames: self.recorders.iter().map(|(_, r)| r.recording().overrun_frames()).sum::<u64>()
                + captured(CaptureCounts::overrun_frames),
            file_failures: self.file_failures(),
            muted: self.is_muted(),
            section_lost: self.section.as_ref().map_or(0, |section| section.counts().lost()),
            plugins: self.plugins.iter_mut().map(Plugin::status).collect(),
            ended: self.has_ended(),
        }
    }

    /// Where the audio comes from, in words.
    fn source(&self) -> String {
        self.words.source.clone().unwrap_or_else(|| self.device(true))
    }

    /// Where it goes, in words.
    fn sink(&self) -> String {
        let sink = self.words.sink.clone().unwrap_or_else(|| self.device(false));
        self.words.record.iter().fold(sink, |sink, record| format!("{sink} and {record}"))
    }

    /// The input or output device as it is called now: a default may have become another one.
    fn device(&self, is_input: bool) -> String {
        let port = self.ports.iter().find(|port| port.is_input() == is_input);
        port.map_or_else(String::new, |port| port.name().to_owned())
    }

    /// Times that audio was not there when it was due, by whose doing that was.
    fn xruns(&self) -> Xruns {
        let Counts { device, host_late } =
            self.ports.iter().map(Port::counts).fold(Counts::default(), |a, b| a + b);
        // As far as they have been looked into, so that none is told of one and then of the other.
        let causes = self.plugins.iter().map(Plugin::causes);
        let (all, by_host) =
            causes.fold((0, 0), |(all, by_host), it| (all + it.total(), by_host + it.host_late));
        Xruns { device, host_late: host_late.max(by_host), plugin_late: all - by_host }
    }

    /// Lets whoever is opened next have its cores, as it is about to be closed.
    pub(crate) fn get_up(&mut self) {
        self.seat.get_up();
    }

    /// Stops the devices: nothing is processed from now on, and [`Pipeline::status`] is final.
    pub fn halt(&mut self) {
        self.ports.iter_mut().for_each(Port::halt);
    }

    /// Stops the devices, completes the files, ends the workers; what went wrong with any of it.
    pub fn close(mut self) -> Closed {
        self.halt();
        let recorded = self.recorders.into_iter().filter_map(|(_, recorder)| recorder.finish().err());
        let mut files: Vec<_> = recorded.collect();
        files.extend(self.player.as_mut().and_then(|player| player.finish().err()));
        Closed { files, plugins: plugins::shut_down(self.plugins) }
    }
}

/// What a program puts around a pipeline's elements: processors, which run on the audio thread, and a virtual device.
#[derive(Default)]
pub struct Around {
    /// Between the source and the first element.
    pub before: Vec<Box<dyn Processor>>,
    /// Between the last element and the sink.
    pub behind: Vec<Box<dyn Processor>>,
    /// The host that has the device `virtual`, instead of one that hears silence.
    pub virtual_host: Option<VirtualHost>,
    /// It goes on where another pipeline broke off: what is heard first rises from silence.
    pub rising: bool,
}

/// What went wrong when a pipeline was closed.
#[derive(Debug)]
pub struct Closed {
    /// Files that were not read or written to their end.
    pub files: Vec<Error>,
    /// Plugins whose `stop` or `shutdown` failed.
    pub plugins: Vec<Error>,
}
