//! A pipeline in real time: source, chain and sink, running on the clock of a device.
//!
//! The sink's device paces the pipeline; without one the source's does; without either the virtual device. All
//! of the chain runs in that device's callback. This half, for the thread that watches, opens everything, tells
//! how it goes, and closes it in the order that keeps every file whole.

mod capture;
mod devices;
mod latency;
mod opening;
mod plugins;
mod streams;

use crate::backend::{Stream, StreamEvent};
use crate::builtin::{MeterHandle, linear_to_db};
use crate::config::PipelineSpec;
use crate::disk::{PlayerThread, Progress, RecorderThread};
use crate::error::{Error, Result};
use crate::plugin::{Place, Plugin};
use crate::processor::Processor;
use crate::realtime::Seat;
use crate::reblock::FifoCounts;
use crate::report::{Latency, PipelineStatus, RealTimeStatus};
use crate::supervisor::Supervisor;
use crate::telemetry::PluginStats;
use devices::Devices;
use opening::{Opening, format_of, source_file};
use shared::format::Format;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

/// A pipeline that is open: it plays until it is closed.
#[derive(Debug)]
pub struct Pipeline {
    name: String,
    format: Format,
    words: Words,
    latency: Latency,
    chain_latency_frames: u64,
    plugins: Vec<Plugin>,
    section: Option<Arc<PluginStats>>,
    progress: Option<Arc<Progress>>,
    player: Option<PlayerThread>,
    recorders: Vec<(PathBuf, RecorderThread)>,
    meter: MeterHandle,
    frames: Arc<AtomicU64>,
    fifo: Option<Arc<FifoCounts>>,
    streams: Vec<Stream>,
    events: Receiver<StreamEvent>,
    device_lost: bool,
    /// Each channel's peak of the whole run.
    highest: Vec<f32>,
    /// Of streams that have been stopped.
    xruns: u64,
    /// Failures of files that have been told.
    told: Vec<String>,
    seat: Seat,
}

/// What the ends and the clock are, in words.
#[derive(Debug, Clone)]
struct Words {
    source: String,
    sink: String,
    clock: String,
}

impl Pipeline {
    /// Opens files and devices and starts the plugins; nothing is heard yet. `prefix` goes before the plugins'
    /// names in messages; `note` is told what the user should know about the start.
    ///
    /// # Errors
    /// What can't be opened or started; nothing is left behind then.
    pub fn open(
        spec: &PipelineSpec,
        supervisor: &Supervisor,
        prefix: &str,
        note: &mut dyn FnMut(String),
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
        note: &mut dyn FnMut(String),
    ) -> Result<Self> {
        let reader = source_file(spec, note)?;
        let format = format_of(spec, reader.as_ref())?;
        let devices = Devices::settle(spec, format, note)?;
        let seat = supervisor.realtime().seat(&spec.affinity, spec.power)?;
        let place = Place { format, kind: None, burst: devices.burst(format) };
        let remotes = plugins::start(spec, supervisor, prefix, place, seat.cores())?;
        remotes.plugins.iter().flat_map(Plugin::notes).for_each(|line| note(line.clone()));
        Opening::new(spec, format, devices).build(reader, remotes, around, seat)
    }

    /// Begins to play.
    ///
    /// # Errors
    /// Of kind `Device`, if a device refuses.
    pub fn play(&self) -> Result<()> {
        // An input has something to give when the output begins to take.
        self.streams.iter().rev().try_for_each(Stream::play)
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
    pub fn plugins_mut(&mut self) -> &mut [Plugin] {
        &mut self.plugins
    }

    /// Whether the source has ended and all of it has reached the sink.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let end = self.progress.as_ref().and_then(|progress| progress.end());
        let played = self.frames.load(Ordering::Relaxed);
        let recorded = self.recorders.iter().all(|(_, r)| r.recording().is_done());
        let latency = self.chain_latency_frames + u64::from(self.added_frames());
        end.is_some_and(|end| played >= end + latency) && recorded
    }

    /// Frames that it comes later than planned, because plugins were moved to pipelined.
    fn added_frames(&self) -> u32 {
        self.plugins.iter().map(|plugin| plugin.stats().added_frames()).sum()
    }

    /// Its latency as it is now.
    fn latency(&self) -> Latency {
        let added = self.added_frames();
        let added_ms = f64::from(added) * 1e3 / f64::from(self.format.rate());
        let Latency { mode_frames, total_ms, .. } = self.latency;
        Latency { mode_frames: mode_frames + added, total_ms: total_ms + added_ms, ..self.latency }
    }

    /// Whether the device that paces it is gone.
    #[must_use]
    pub fn has_lost_its_device(&self) -> bool {
        self.device_lost
    }

    /// What has happened to its devices, files and plugins' samples since this was asked last, in words.
    pub fn news(&mut self) -> Vec<String> {
        let mut news: Vec<_> = self.plugins.iter_mut().filter_map(Plugin::news).collect();
        for why in self.recorders.iter().filter_map(|(_, recorder)| recorder.recording().failure()) {
            if !self.told.iter().any(|told| told == why) {
                self.told.push(why.to_owned());
                news.push(format!("{}: {why}", self.name));
            }
        }
        for event in self.events.try_iter() {
            match event {
                StreamEvent::Xrun => {}
                StreamEvent::DeviceLost(why) => {
                    self.device_lost = true;
                    news.push(format!("{}: the device is gone ({why}); the pipeline has stopped", self.name));
                }
                StreamEvent::Other(what) => news.push(format!("{}: device: {what}", self.name)),
            }
        }
        news
    }

    /// How it is doing.
    pub fn status(&mut self) -> PipelineStatus {
        let fifo = |get: fn(&FifoCounts) -> u64| self.fifo.as_deref().map_or(0, get);
        let db = |peak: &f32| (*peak > 0.0).then(|| linear_to_db(*peak));
        let mut peaks = self.meter.take_peaks();
        for (highest, peak) in self.highest.iter_mut().zip(&peaks) {
            *highest = highest.max(*peak);
        }
        if self.streams.is_empty() {
            peaks.clone_from(&self.highest);
        }
        PipelineStatus {
            name: self.name.clone(),
            source: self.words.source.clone(),
            sink: self.words.sink.clone(),
            clock: self.words.clock.clone(),
            cores: self.seat.cores().to_vec(),
            fifo: self.seat.fifo(),
            rate: self.format.rate(),
            channels: self.format.channels(),
            block_frames: self.format.block_frames(),
            frames: self.frames.load(Ordering::Relaxed),
            latency: self.latency(),
            peaks_db: peaks.iter().map(db).collect(),
            xruns: self.xruns + self.streams.iter().map(Stream::xruns).sum::<u64>(),
            underrun_frames: self.progress.as_ref().map_or(0, |p| p.underrun_frames())
                + fifo(FifoCounts::underrun_frames),
            overrun_frames: self.recorders.iter().map(|(_, r)| r.recording().overrun_frames()).sum::<u64>()
                + fifo(FifoCounts::overrun_frames),
            section_lost: self.section.as_ref().map_or(0, |section| section.counts().lost()),
            plugins: self.plugins.iter_mut().map(Plugin::status).collect(),
            ended: self.has_ended(),
        }
    }

    /// Stops the devices: nothing is processed from now on, and [`Pipeline::status`] is final.
    pub fn halt(&mut self) {
        self.xruns += self.streams.iter().map(Stream::xruns).sum::<u64>();
        // The callbacks own the chain.
        self.streams.clear();
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

/// Processors of a program's own around a pipeline's elements. They run on the audio thread.
#[derive(Default)]
pub struct Around {
    /// Between the source and the first element.
    pub before: Vec<Box<dyn Processor>>,
    /// Between the last element and the sink.
    pub behind: Vec<Box<dyn Processor>>,
}

/// What went wrong when a pipeline was closed.
#[derive(Debug)]
pub struct Closed {
    /// Files that were not read or written to their end.
    pub files: Vec<Error>,
    /// Plugins whose `stop` or `shutdown` failed.
    pub plugins: Vec<Error>,
}
